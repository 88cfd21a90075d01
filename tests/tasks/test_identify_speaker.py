import json
import threading

import numpy as np
import pytest
import torch

import heedful
from heedful._errors import DataError, HeedfulError, SettingsError
from heedful.data.tones import GUESTS, RATE, VOICES, speak
from heedful.models.speaker import MOST_FRAMES
from heedful.tasks.speaker_augmentation import SpeakerAugmentation, changed, cropped, curves
from heedful.tasks.speaker_predictions import Identification
from tests.sounds import beep, write

SETTINGS = {
    "model.width": 16, "model.heads": 2, "model.ffn_width": 16, "model.layers": 1, "model.pooling_heads": 2, "model.embedding": 8,
    "training.epochs": 8, "training.batch_size": 20, "training.learning_rate": 0.02, "augmentation.noise": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """High, low and middle beeps."""
    folder = tmp_path_factory.mktemp("speakers")
    random = np.random.default_rng(0)
    for row in range(60):
        name, pitch = (("low", 250), ("middle", 500), ("high", 1000))[row % 3]
        write(folder / "data" / name / f"{row}.wav", beep(0.4, pitch * random.uniform(0.95, 1.05)))
    return heedful.train(
        "identify-speaker", str(folder / "data"), settings=SETTINGS, out=folder / "run", progress=False
    )


def test_it_learns_and_tells_how_alike_recordings_are(model):
    assert model.metrics["metrics"]["accuracy"] == 1
    found = model.metrics["details"]["verification"]
    assert (found["equal_error_rate"], found["pairs"]) == (0, 15)
    assert "of 15 pairs of recordings, the equal error rate is 0.0 %." in model.metrics["note"]
    fitted = json.loads((model.folder.path / "vocabulary.json").read_text())["calibration"]
    assert fitted["threshold"] == model.task.threshold
    assert fitted["equal_error_rate"] == 0


def test_two_recordings_are_compared(model, tmp_path):
    low, lower, high = (str(write(tmp_path / f"{pitch}.wav", beep(0.5, pitch))) for pitch in (250, 245, 1000))
    same, different = model.predict([lower, high], verify=low)
    assert (same.label, different.label, same.other) == ("same", "different", low)
    assert same.score > model.task.threshold > different.score
    assert str(same) == f"{lower}: same speaker as {low}, score {same.score:.3f}, threshold {same.threshold:.3f}"
    assert str(different).startswith(f"{high}: different speaker than {low}, score ")
    vectors = [np.array(one.embedding) for one in model.predict([low, lower], embedding=True)]
    assert vectors[0] @ vectors[1] == pytest.approx(same.score, abs=1e-5)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)
    itself = model.predict([low], verify=low)[0]
    assert itself.score == pytest.approx(1, abs=1e-5)


def test_speakers_that_training_never_had_are_enrolled(model, tmp_path):
    files = {pitch: str(write(tmp_path / f"{pitch}.wav", beep(0.5, pitch))) for pitch in (240, 250, 990, 1000, 500)}
    ann = ("ann=" + files[240], "ann=" + files[250], "bob=" + files[990])
    first, second, stranger = model.predict([files[250], files[1000], files[500]], enroll=ann)
    assert (first.label, second.label, stranger.label) == ("ann", "bob", "unknown")
    assert str(first).startswith(f"{files[250]}: ann, score ")
    assert first.runner_up.startswith("bob ")
    assert model.predict([files[1000]], enroll="ann=" + files[250])[0].label == "unknown"
    for wrong in ("ann", "=a.wav", "ann="):
        with pytest.raises(
            SettingsError, match=rf"`enroll.*`: must be name=FILE, as in ann=a\.wav: got \('{wrong}',\)\."
        ):
            model.predict([files[250]], enroll=(wrong,))
    with pytest.raises(DataError, match=rf"^{tmp_path}/no.wav: must be .*: got a path where no file or folder is"):
        model.predict([files[250]], enroll=(f"ann={tmp_path}/no.wav",))


def test_long_and_short_and_silent_recordings(model, tmp_path):
    low = beep(0.5, 250)
    long = np.tile(low, 2 * (MOST_FRAMES // 50 + 10))
    found = model.predict([(long, 8000), (low, 8000)], embedding=True)
    assert found[0].label == found[1].label == "low"
    assert np.dot(found[0].embedding, found[1].embedding) > 0.8
    silent, loud = model.predict([(np.zeros(4000, np.float32), 8000), (np.clip(50 * low, -1, 1), 8000)])
    assert silent.label in model.task.classes
    assert loud.label in model.task.classes
    file = write(tmp_path / "short.wav", beep(0.003))
    with pytest.raises(DataError, match=rf"^{file}: must last at least 25 ms: got fewer than 25 ms$"):
        model.predict([str(file)])
    resampled = model.predict([(beep(0.5, 250, rate=16000), 16000)], verify=str(write(tmp_path / "low.wav", low)))[0]
    assert resampled.score > 0.9


def test_a_section_shows_which_frames_decided(model, tmp_path):
    file = str(write(tmp_path / "low.wav", beep(0.5, 250)))
    (section,) = model.inspect([file])
    assert section.title == f"{file}: low"
    pooled = section.layers[-1]
    assert (pooled.queries, pooled.keys) == (1, 48)
    assert len(pooled.map) == 2
    assert section.axes[pooled.columns].count == 48
    assert section.axes[pooled.columns].spectrogram.shape == (40, 48)


def test_no_request_opens_a_file_of_the_server(model):
    from heedful.tasks.serve import ModelServer
    from heedful.tasks.serve_schema import openapi

    server = ModelServer(model, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for name, value in (("verify", "/etc/passwd"), ("enroll", ["a=/etc/passwd"])):
            body = json.dumps({"inputs": ["AAAA"], "options": {name: value}}).encode()
            with pytest.raises(HeedfulError, match=rf"^`{name}` names a file of this machine: no request may\.$"):
                server._parsed(body)
    finally:
        server.stop()
        thread.join(20)
    assert "verify" not in json.dumps(openapi(model.task))


def test_predictions_in_words():
    one = Identification("a.wav", "ann", 0.9, "bob", 0.1)
    assert (str(one), one.to_format()) == ("a.wav: ann 90.0 % (then bob 10.0 %)", "a.wav\tann")
    told = Identification("a.wav", "ann", 0.9, candidates={"ann": 0.9, "bob": 0.1})
    assert str(told) == "a.wav: ann 90.0 %, bob 10.0 %"
    assert str(Identification("a\nb", "ann", embedding=[0.6, -0.8])) == "a\\nb: 0.6000 -0.8000"


def test_augmentation_changes_loudness_bands_and_noise():
    torch.manual_seed(0)
    frames, lengths = torch.randn(400, 20, 8), torch.tensor([20] * 399 + [5])
    quiet = SpeakerAugmentation(gain=6, equalizer=0, noise=0)
    louder = changed(frames, lengths, quiet) - frames
    assert torch.allclose(louder.std((1, 2)), torch.zeros(400), atol=1e-5)
    assert louder[:, 0, 0].std().item() * 10 / np.log(10) == pytest.approx(6, rel=0.1)
    shaped = changed(frames, lengths, SpeakerAugmentation(gain=0, equalizer=4, noise=0)) - frames
    assert torch.allclose(shaped.std(1), torch.zeros(400, 8), atol=1e-5)
    assert shaped[:, 0].std(0).mean().item() * 10 / np.log(10) == pytest.approx(4, rel=0.2)
    noisy = changed(frames, lengths, SpeakerAugmentation(gain=0, equalizer=0, noise=1, noise_ratio=(0, 0))) - frames
    assert (noisy >= 0).all()
    assert (noisy.mean((1, 2)) > 0.1).all()
    half = changed(frames, lengths, SpeakerAugmentation(gain=0, equalizer=0, noise=0.5)) - frames
    assert 100 < (half.abs().sum((1, 2)) < 1e-3).sum() < 300
    assert curves(3, 40).shape == (3, 40)
    lengths = {len(one) for _ in range(50) for one in cropped([frames[0].repeat(10, 1)], SpeakerAugmentation())}
    assert min(lengths) >= 28
    assert max(lengths) <= 79
    assert len(lengths) > 20
    assert torch.equal(cropped([frames[0]], SpeakerAugmentation())[0], frames[0])
    for wrong, says in (
        ((0.8, 0.3), r"`crop` must rise, from 0.05 s on: got 0.8 to 0.3"),
        ((0.01, 0.3), "got 0.01 to 0.3"),
    ):
        with pytest.raises(ValueError, match=says):
            SpeakerAugmentation(crop=wrong)


def test_the_tones_have_voices_that_training_knows_and_strangers():
    model = heedful.train("identify-speaker", "tones[:48]", settings={**SETTINGS, "training.epochs": 1}, progress=False)
    assert model.task.classes == sorted(VOICES)
    strangers = [(speak(row, voice=voice).samples, RATE) for voice in GUESTS for row in range(2)]
    assert len(model.predict(strangers)) == 4
