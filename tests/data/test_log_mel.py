import numpy as np
import pytest
import torch

from heedful._errors import DataError
from heedful.data.log_mel import LogMel, mean_and_std_of, with_features
from heedful.data.recordings import read_recordings, read_unlabeled_recordings
from tests.sounds import beep, write


def naive_log_mel(samples, rate, bands):
    """Kaldi's features in float64, one frame and one band at a time."""
    window, shift, size = int(0.025 * rate), int(0.010 * rate), 1
    while size < window:
        size *= 2
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))) ** 0.85

    def mel(frequency):
        return 1127 * np.log(1 + frequency / 700)

    edges = np.linspace(mel(20.0), mel(rate / 2), bands + 2)
    rows = []
    for start in range(0, len(samples) - window + 1, shift):
        frame = samples[start : start + window].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] * (1 - 0.97)], frame[1:] - 0.97 * frame[:-1]])
        power = np.abs(np.fft.rfft(frame * povey, size)) ** 2
        row = []
        for band in range(bands):
            left, center, right = edges[band : band + 3]
            energy = 0.0
            for bin in range(size // 2):
                at = mel(bin * rate / size)
                if left < at < right:
                    energy += power[bin] * min((at - left) / (center - left), (right - at) / (right - center))
            row.append(np.log(max(energy, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)


def test_features_are_those_of_the_naive_twin():
    sound = (beep(0.1) + np.random.default_rng(0).normal(0, 0.01, 800)).astype(np.float32)
    features = LogMel(8000, bands=20)(sound).double().numpy()
    np.testing.assert_allclose(features, naive_log_mel(sound, 8000, 20), atol=2e-3)
    assert torch.allclose(LogMel(8000)(np.zeros(400, np.float32)), torch.tensor(-15.9424), atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_a_stream_gives_the_same_frames_and_holds_no_more_than_a_window(rate):
    sound = np.random.default_rng(1).normal(0, 0.1, rate).astype(np.float32)
    whole = LogMel(rate)(sound)
    for size in (1, 333, 4000) if rate == 8000 else (777,):
        stream = LogMel(rate).stream()
        parts = []
        for start in range(0, len(sound) if size > 1 else 2000, size):
            parts.append(stream(sound[start : start + size]))
            assert len(stream._held) < LogMel(rate).window
        frames = torch.cat(parts)
        assert torch.equal(frames, whole[: len(frames)])
        assert len(frames) == len(whole) or size == 1


def test_what_is_kept_and_what_is_too_short(tmp_path):
    write(tmp_path / "a.wav", beep(1.0))
    write(tmp_path / "b.wav", beep(0.003))
    found = read_unlabeled_recordings(str(tmp_path / "a.wav"))
    ready = with_features(found, LogMel(8000), most=98 * 40 * 4)
    assert (ready.frames(0), ready.features(0) is ready.features(0)) == (98, True)
    again = with_features(found, LogMel(8000), most=98 * 40 * 4 - 1)
    assert again.features(0) is not again.features(0)
    assert torch.equal(again.features(0), ready.features(0))
    told = rf"^{tmp_path}/b.wav: must last at least 25 ms: got fewer than 25 ms$"
    with pytest.raises(DataError, match=told):
        with_features(read_unlabeled_recordings(str(tmp_path / "b.wav")), LogMel(8000))
    both = with_features(read_unlabeled_recordings([str(tmp_path)]), LogMel(8000), skip=0.5)
    assert (len(both), both.notes[0][:40]) == (1, "1 of 2 rows are bad and were skipped; th")


def test_mean_and_deviation_are_those_of_all_frames():
    found = with_features(read_recordings("tones[:5]"), LogMel(8000))
    frames = torch.cat([found.features(row) for row in range(5)]).double()
    mean, std = mean_and_std_of(found)
    torch.testing.assert_close(torch.tensor(mean), frames.mean(0).float())
    torch.testing.assert_close(torch.tensor(std), frames.std(0, correction=0).float())
