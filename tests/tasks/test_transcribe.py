"""What transcribe does beyond the laws of all tasks."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from heedful._errors import DataError, HeedfulError, SettingsError
from heedful.data.sounds import Resampler
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.word_tokens import WholeWords, joined_tokens, load_tokens
from heedful.models.ctc import PrefixBeamSearch, TimedToken
from heedful.report import Sound
from heedful.tasks.hearing import WordBuilder, encoded_pieces
from heedful.tasks.raw_samples import samples_of
from heedful.tasks.run import TrainedModel
from heedful.tasks.sources import prepare
from heedful.tasks.speech_augmentation import changed, hide, joined
from heedful.tasks.transcribe import Transcribe
from heedful.tasks.transcribe_scores import errors_of, scores_of
from heedful.tasks.transcribe_settings import SoundAugmentation, TranscribeOptions
from heedful.tasks.transcripts import TimedWord, Transcript, subtitles
from heedful.training.settings import settings_of
from tests.tasks.cases import CASES

RATE = 8000
TINY = (
    "model.width=12",
    "model.heads=2",
    "model.layers=2",
    "model.ffn_width=16",
    "model.before=10",
    "model.after=2",
    "data.bands=8",
    "data.tokenizer=words",
    "augmentation.join=3",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    CASES["transcribe"].write(folder, 12, 0)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """A model whose weights are random, but whose head is set so that each token is the best one as often as others."""
    _, task = prepare(Transcribe, settings_of(Transcribe.Settings, TINY), {"data": str(folder / "data.tsv")})
    torch.manual_seed(1)
    model = task.build().eval()
    frames = task.features(sound(folder))
    with torch.no_grad():
        middle = model.encode(frames[None], torch.tensor([len(frames)]), task.window()).features[0].mean(0)
        torch.nn.init.normal_(model.head.weight, std=4.0)
        model.head.bias.copy_(-model.head.weight @ middle)
        model.head.bias[1:4] = -1000.0
    return TrainedModel(task, model, None)


def sound(folder, seconds=3.0):
    files = sorted((folder / "sounds").iterdir())
    import soundfile

    whole = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])
    return whole[: round(seconds * RATE)]


@pytest.mark.parametrize(
    "options", [{}, {"before": 4, "after": 0}, {"before": 6, "chunk": 5}, {"beams": 4, "settle": 0.2}]
)
def test_a_stream_gives_what_the_recording_gives(trained, folder, options):
    samples = (sound(folder) * 32767).astype("<i2")
    task, options = trained.task, TranscribeOptions(rate=RATE, **options)
    (whole,) = task.predict(trained.model, [(samples.astype(np.float32) / 32768, RATE)], options)
    assert len(whole.words) > 8
    read = io.BytesIO(samples.tobytes()).read
    sizes = iter([1, 3001, 700, 2] * 100)
    stream = SimpleNamespace(read=lambda most: read(next(sizes)))
    heard = [one.words[0] for one in task.listen(trained.model, stream, options)]
    assert heard == whole.words
    # By the model's own pass over all frames at once, too.
    frames = task.features(samples.astype(np.float32) / 32768)
    with torch.inference_mode():
        encoded = trained.model.encode(frames[None], torch.tensor([len(frames)]), task.window(options))
        rows = trained.model.log_probabilities(encoded.features)[0].double().numpy()
    hearing = task.hearing(trained.model, options)
    tokens = hearing.search.push(rows) + hearing.search.finish()
    assert task.tokenizer.decode([one.token for one in tokens]) == whole.output


def test_the_memory_of_a_stream_does_not_grow(trained):
    """Nor does what is told later cost more: all that is kept is counted, each second of a long sound."""
    task, random = trained.task, np.random.default_rng(0)
    hearing, kept = task.hearing(trained.model, TranscribeOptions()), []
    blocks = (random.normal(0, 0.1, RATE).astype(np.float32) for _ in range(60))
    for piece in encoded_pieces(trained.model, task.features, blocks, task.window()):
        hearing.push(piece)
        kept.append(
            (len(hearing.builder._heard), len(hearing._silent), len(hearing.search._scores), len(hearing.builder._open))
        )
    assert hearing.search.frame > 2900
    assert max(kept[30:]) <= (1100, 10, 1, 1)


def test_silence_and_what_is_too_short_say_nothing(trained):
    for samples in (np.zeros(RATE), np.zeros(24), np.full(24, 0.1), np.zeros(1)):
        (found,) = trained.task.predict(trained.model, [(samples.astype(np.float32), RATE)], TranscribeOptions())
        assert (found.output, found.words) == ("", [])
    assert list(trained.task.listen(trained.model, io.BytesIO(b""), TranscribeOptions(rate=RATE))) == []


def test_several_texts_with_scores(trained, folder):
    samples = (sound(folder, 0.6), RATE)
    for decoder in ("ctc", "attention", "joint"):
        options = TranscribeOptions(n_best=3, decoder=decoder, scores=True)
        found = trained.task.predict(trained.model, [samples], options)
        assert [one.rank for one in found] == [0, 1, 2]
        assert sorted((one.score for one in found), reverse=True) == [one.score for one in found]
        assert len({one.output for one in found}) == 3
        assert str(found[0]).endswith(f"\t{found[0].score:.4f}")


def test_a_word_lies_where_it_is_loud():
    builder = WordBuilder(WholeWords(["a", "b"]), 0.02, -5.0)
    loudness = np.full(60, -9.0, np.float32)
    loudness[10:20] = loudness[30:45] = -2
    builder.hear(loudness)
    found = builder.add([TimedToken(4, 22), TimedToken(5, 40), TimedToken(4, 41)])
    assert found == [("a", 0.2, 0.4), ("b", 0.6, 0.82), ("a", 0.82, 0.84)]


def test_words_of_characters_and_subwords():
    texts = ["one two", "two one one"]
    for tokenizer in (Characters.fit(texts), Subwords.fit(texts * 9, 270)):
        builder = WordBuilder(tokenizer, 0.02, -5.0)
        numbers = tokenizer.encode("one two").tolist()
        words = builder.add([TimedToken(token, 10 * i) for i, token in enumerate(numbers)])
        assert [one.word for one in words] == ["one"]
        assert [one.word for one in builder.add([], settled=200)] == ["two"]
        assert builder.finish() == []
    # A gap ends a word, even where no blank was written.
    builder = WordBuilder(Characters.fit(texts), 0.02, -5.0)
    letters = Characters.fit(texts).encode("one").tolist()
    words = builder.add([TimedToken(token, 40 * i) for i, token in enumerate(letters)]) + builder.finish()
    assert [one.word for one in words] == ["o", "n", "e"]


def test_tokens_are_saved_and_joined():
    words = WholeWords(["b", "a"])
    assert load_tokens(words.save()).words == ["a", "b"]
    assert load_tokens(Characters("ab").save()).alphabet == "ab"
    assert load_tokens(joined_tokens(words.save(), WholeWords(["c"]).save())).words == ["a", "b", "c"]
    assert load_tokens(joined_tokens(Characters("ab").save(), Characters("c").save())).alphabet == "abc"
    assert joined_tokens(words.save(), WholeWords(["c"]).save(), frozen=True) == words.save()
    assert joined_tokens(words.save(), Characters("c").save()) == Characters("c").save()
    for bad in (["b", "a"], ["a", "a"], ["a b"], [""], "ab"):
        with pytest.raises(ValueError, match="`words` must be words in their order, each once: got "):
            load_tokens(json.dumps({"format": "heedful words 1", "words": bad}))


def test_formats():
    words = [TimedWord("one", 0.5, 0.75), TimedWord("two", 0.9, 1.25), TimedWord("three", 3661.0, 3661.5)]
    said = [Transcript("talks/a b.wav", "one two three", words), Transcript("talks/a b.wav", "one", [], rank=1)]
    assert list(subtitles(said, "srt")) == [
        "1\n00:00:00,500 --> 00:00:01,250\none two\n",
        "2\n01:01:01,000 --> 01:01:01,500\nthree\n",
    ]
    assert list(subtitles(said, "vtt"))[:2] == ["WEBVTT\n", "00:00:00.500 --> 00:00:01.250\none two\n"]
    assert list(subtitles(said, "ctm")) == ["a_b 1 0.50 0.25 one", "a_b 1 0.90 0.35 two", "a_b 1 3661.00 0.50 three"]
    spoken = [Transcript("standard input", one.word, [one], spoken=True) for one in words]
    assert list(subtitles(spoken, "srt")) == list(subtitles(said, "srt"))
    assert str(spoken[0]) == "    0.50     0.75  one"
    with pytest.raises(HeedfulError, match="--format vtt is for one recording: --out FOLDER writes a file for each."):
        list(subtitles([*said, Transcript("b.wav", "one", words[:1])], "vtt"))
    assert Transcribe.file(None, said[0], TranscribeOptions(subtitles="ctm"))[0] == ".ctm"
    long = [TimedWord("word" * 3, i, i + 0.9) for i in range(10)]
    assert all(len(text.splitlines()[-1]) <= 42 for text in subtitles([Transcript("a", "", long)], "vtt"))


def test_error_rates_by_hand():
    assert errors_of(["one three", "", "two"], ["one two", "two two", ""]) == (2, 1, 1, 4)
    scores = scores_of(["one three", "ONE"], ["one two", "one"], lowercase=True)
    assert scores.metrics["wer"].value == pytest.approx(100 / 3)
    assert scores.metrics["cer"].value == pytest.approx(100 * 4 / 10)  # "_t-wo" beside "_three"
    assert scores.metrics["exact_match"].value == 0.5
    assert scores.details["errors"] == {"words": 3, "deletions": 0, "insertions": 0, "substitutions": 1}
    assert scores.details["confusions"] == [["two", "three", 1]]
    assert scores.details["worst"][0]["alignment"] == ["REF: one   two", "HYP: one three", "             S"]
    assert scores_of(["", ""], ["", ""], lowercase=False).metrics["wer"].value == 0


def test_joined_recordings_lie_where_it_is_said():
    random = np.random.default_rng(0)
    parts = [random.normal(0, 0.1, n).astype(np.float32) for n in (900, 500, 30)]
    whole, places = joined(parts, RATE, (0.05, 0.2), random)
    for part, (start, end) in zip(parts, places, strict=True):
        assert np.array_equal(whole[round(start * RATE) : round(end * RATE)], part)
    gaps = np.diff([0, *(time for place in places for time in place), len(whole) / RATE])[::2]
    assert len(gaps) == 4
    assert gaps.min() >= 0.049
    assert gaps.max() <= 0.201
    pause = whole[: round(places[0][0] * RATE)]
    assert 0.03 < pause.std() < 0.3, "noise as loud as the recordings' ends"


def test_augmentation_changes_what_it_says():
    random, samples = np.random.default_rng(0), np.sin(np.arange(4000) / 9).astype(np.float32)
    plain = {"speed": (1.0,), "gain": 0.0, "noise": 0.0}
    assert np.array_equal(changed(samples, RATE, SoundAugmentation(**plain), random), samples)
    assert len(changed(samples, RATE, SoundAugmentation(**plain | {"speed": (2.0,)}), random)) == 2000
    noisy = (
        changed(samples, RATE, SoundAugmentation(**plain | {"noise": 1.0, "noise_snr": (20.0, 20.0)}), random) - samples
    )
    assert 20 * np.log10(samples.std() / noisy.std()) == pytest.approx(20, abs=0.5)
    louder = [changed(samples, RATE, SoundAugmentation(**plain | {"gain": 6.0}), random).max() for _ in range(50)]
    assert 0.5 < min(louder) < 0.7
    assert 1.5 < max(louder) < 2.0
    frames, lengths = torch.ones(3, 50, 8), torch.tensor([50, 50, 6])
    hide(frames, lengths, torch.zeros(8), SoundAugmentation(), random)
    assert 0 < (frames == 0).float().mean() < 0.7
    assert (frames[2, 6:] == 0).all(1).sum() == 0
    with pytest.raises(ValueError, match="`pause` must be a lower and a higher number: got 1 and 0"):
        SoundAugmentation(pause=(1.0, 0.0))


def test_raw_samples():
    values = np.array([0.5, -0.25, 1.0], "<f4")
    same = Resampler(RATE, RATE)
    assert np.concatenate([*samples_of(io.BytesIO(values.tobytes()), "f32", same)]).tolist() == values.tolist()
    with pytest.raises(DataError, match=r"standard input: a sample must be a number up to 2\*\*32: got nan at 1"):
        list(samples_of(io.BytesIO(np.array([0.5, np.nan], "<f4").tobytes()), "f32", same))
    with pytest.raises(DataError, match=r"must be whole samples of 2 bytes \(s16\): got 1 more behind 2 samples."):
        list(samples_of(io.BytesIO(b"\1\0\1\0\1"), "s16", same))


def test_what_was_said_before_a_stream_breaks_is_told(trained, folder):
    raw = (sound(folder, 1.0) * 32767).astype("<i2").tobytes()
    whole = [str(one) for one in trained.task.listen(trained.model, io.BytesIO(raw), TranscribeOptions(rate=RATE))]
    told = []
    with pytest.raises(DataError, match="got 1 more behind 8,000 samples."):
        told.extend(map(str, trained.task.listen(trained.model, io.BytesIO(raw + b"x"), TranscribeOptions(rate=RATE))))
    assert told == whole
    assert told


def test_what_cannot_stream(trained):
    model, listen = trained.model, trained.task.listen
    for options in ({"before": -1}, {"after": -1}):
        with pytest.raises(SettingsError, match=r"a stream needs a window that ends \(--before; --after or --chunk\)"):
            list(listen(model, io.BytesIO(b""), TranscribeOptions(**options)))
    for options in ({"decoder": "joint"}, {"n_best": 2}):
        with pytest.raises(
            SettingsError, match="a stream is decoded by ctc, to one text: leave out --decoder and --n-best."
        ):
            list(listen(model, io.BytesIO(b""), TranscribeOptions(**options)))
    with pytest.raises(
        SettingsError, match="`stream` must be left out where there are inputs: it reads standard input."
    ):
        trained.task.predict(model, ["a.wav"], TranscribeOptions(stream=True))


def test_the_command_line_streams(folder, heedful, refused, monkeypatch, tmp_path):
    run, words = tmp_path / "run", [w for setting in (*TINY, "training.epochs=1") for w in ("--set", setting)]
    assert heedful("train", "transcribe", "--data", folder / "data.tsv", "--out", run, *words).status == 0
    file = sorted((folder / "sounds").iterdir())[0]
    assert heedful("predict", run, file, "--format", "vtt").out.startswith("WEBVTT\n")
    assert heedful("predict", run, folder / "sounds", "--format", "ctm").status == 0

    def piped(content, *words):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return "predict", run, "--stream", "--rate", RATE, *words

    answer = heedful(*piped(np.zeros(RATE, "<i2").tobytes()))
    assert answer == (0, "", "")
    line = refused(*piped(b"\0\0\0"))
    assert line == "standard input: must be whole samples of 2 bytes (s16): got 1 more behind 1 samples."
    nan = np.array([0, np.nan], "<f4").tobytes()
    assert refused(*piped(nan, "--encoding", "f32")).startswith("standard input: a sample must be a number")
    assert "`rate`" in refused("predict", run, "--stream", "--rate", 0)
    assert refused(*piped(b""), file) == "--stream reads standard input: give neither inputs nor --data."


def test_what_was_not_in_the_training(folder, trained, tmp_path):
    """A text with characters or words that training never had counts as errors; nothing else happens."""
    file = tmp_path / "other.tsv"
    some = sorted((folder / "sounds").iterdir())[0]
    file.write_text(f"path\ttext\n{some}\tgrüße 東京\n")
    task = trained.task
    examples = task.read(str(file), task.settings)
    batch = next(iter(task.batches(examples, training=False).order))
    with torch.no_grad():
        metrics = task.validate(trained.model, task.batches(examples, training=False).make(batch))
    assert metrics["wer"].count == 2


def test_a_report_shows_the_sound_with_its_words_and_the_window(trained, folder):
    file = sorted((folder / "sounds").iterdir())[0]
    (section,) = trained.task.inspect(trained.model, [str(file)])
    (axis,) = [one for one in section.axes if isinstance(one, Sound)]
    assert axis.spectrogram.shape[0] == 8
    assert "attends to 10 frames before its own and 2 frames after it" in section.text
    assert [layer.label for layer in section.layers[:2]] == ["alignment", "window"]
    assert section.opens == {"view": "input"}
    kinds = [layer.name for layer in section.layers]
    assert any("cross_attention" in name for name in kinds)
    assert sum("encoder.layers" in name for name in kinds) == 2


def test_settings_that_do_not_fit(folder):
    for words, message in (
        (
            ["model.decoder_layers=0", "search.decoder=joint"],
            "`search.decoder` must be ctc where `model.decoder_layers` is 0.",
        ),
        (["loss.ctc_weight=0"], "`search.decoder` must be attention where `loss.ctc_weight` is 0."),
        (["model.kernel=4"], "`kernel` must be odd: got 4."),
    ):
        _, task = prepare(
            Transcribe, settings_of(Transcribe.Settings, [*TINY, *words]), {"data": str(folder / "data.tsv")}
        )
        with pytest.raises(ValueError, match=message):
            task.build()


def test_beams_are_followed_as_far_as_they_differ(trained, folder):
    """One beam and the best path: the search of the validation is that of predictions."""
    samples = sound(folder, 1.0)
    frames = trained.task.features(samples)
    with torch.inference_mode():
        encoded = trained.model.encode(frames[None], torch.tensor([len(frames)]), trained.task.window())
        rows = trained.model.log_probabilities(encoded.features)[0].numpy()
    search = PrefixBeamSearch()
    found = search.push(rows) + search.finish()
    (said,) = trained.task.predict(trained.model, [(samples, RATE)], TranscribeOptions())
    assert trained.task.tokenizer.decode([one.token for one in found]) == said.output
