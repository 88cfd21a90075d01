"""Log-mel features of sound: all at once, or as it arrives, to the same numbers.

A frame is the logarithm of the energy in bands of the mel scale, over 25 ms (povey window), each 10 ms. Frames do not reach beyond
the ends of a sound, so that a frame depends on its own 25 ms alone. The scale is that of samples from -1 to 1; silence is -15.94.

Source: Davis and Mermelstein, "Comparison of Parametric Representations for Monosyllabic Word Recognition", 1980; computed by
kaldi-native-fbank, as Kaldi does, without dither.
"""

import importlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError, needing
from heedful._types import Float, Tensor
from heedful.data._recording_files import SoundClip
from heedful.data._rows import RowLog
from heedful.data.recordings import Recordings

__all__ = ["SHIFT", "WINDOW", "FeatureStore", "LogMel", "LogMelStream", "mean_and_std_of", "with_features"]

WINDOW, SHIFT = 0.025, 0.010  # seconds that a frame covers, and from one to the next


@dataclass(frozen=True)
class LogMel:
    """How features are made.

    Args:
        rate: samples a second of what it is given.
        bands: of the mel scale, from 20 Hz to half the rate.

    Example:
        >>> features = LogMel(rate=8000, bands=40)
        >>> features(np.zeros(8000, np.float32)).shape
        torch.Size([98, 40])
    """

    rate: int
    bands: int = 40

    def __call__(self, samples: NDArray[np.float32]) -> Float[Tensor, "frames bands"]:
        """The features of samples `[T]` from -1 to 1: a frame each 10 ms, none of fewer than 25 ms."""
        return self.stream()(samples)

    def stream(self) -> "LogMelStream":
        """Features of a sound that arrives in pieces."""
        return LogMelStream(self)

    def of(self, recording: SoundClip) -> Float[Tensor, "frames bands"]:
        """The features of a recording, which is read in pieces.

        Raises:
            DataError: it cannot be decoded.
        """
        stream = self.stream()
        parts = [stream(block) for block in recording.blocks(self.rate)]
        return torch.cat(parts) if parts else torch.zeros(0, self.bands)

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return int(SHIFT * self.rate)

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return int(WINDOW * self.rate)


class LogMelStream:
    """Features of a sound that arrives in pieces; they equal those of the whole, and memory does not grow with its length.

    Args:
        features: how they are made.

    Example:
        >>> sound = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
        >>> stream = LogMel(8000).stream()
        >>> parts = [stream(sound[i : i + 123]) for i in range(0, 4000, 123)]
        >>> torch.equal(torch.cat(parts), LogMel(8000)(sound))
        True
    """

    def __init__(self, features: LogMel) -> None:
        with needing("sound", "features of sound"):
            knf: Any = importlib.import_module("kaldi_native_fbank")
        options = knf.FbankOptions()
        options.frame_opts.samp_freq, options.frame_opts.dither = features.rate, 0.0
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = features.bands
        self._options, self._make, self.features = options, knf.OnlineFbank, features
        self._held = np.zeros(0, np.float32)  # samples that further frames need

    def __call__(self, samples: NDArray[np.float32]) -> Float[Tensor, "frames bands"]:
        """The frames that are complete with these samples `[T]`."""
        samples = np.concatenate([self._held, np.asarray(samples, np.float32)])
        count = max((len(samples) - self.features.window) // self.features.shift + 1, 0)
        if not count:
            self._held = samples
            return torch.zeros(0, self.features.bands)
        used, self._held = samples, samples[count * self.features.shift :]
        computer: Any = self._make(self._options)
        computer.accept_waveform(self.features.rate, used)
        frames = np.stack([computer.get_frame(row) for row in range(count)])
        return torch.from_numpy(frames)


class FeatureStore:
    """Features of recordings, kept as far as they fit; others are computed again each time.

    Args:
        features: how they are made.
        most: bytes that are kept.

    Attributes:
        frames: how many frames each recording has that was computed once.
    """

    def __init__(self, features: LogMel, most: int) -> None:
        self.features, self.most, self._left = features, most, most
        self.frames: dict[SoundClip, int] = {}
        self._kept: dict[SoundClip, Tensor] = {}

    def __reduce__(self) -> Any:
        return FeatureStore, (self.features, self.most)

    def __call__(self, recording: SoundClip) -> Float[Tensor, "frames bands"]:
        """The features of a recording."""
        if (kept := self._kept.get(recording)) is not None:
            return kept
        found = self.features.of(recording)
        self.frames[recording] = len(found)
        if (size := found.numel() * found.element_size()) <= self._left:
            self._left -= size
            self._kept[recording] = found
        return found


def with_features(
    recordings: Recordings, features: LogMel, *, most: int = 1 << 31, skip: float | None = None, least: int = 1
) -> Recordings:
    """The recordings with features, each computed once: what cannot be decoded, or is too short, is told now.

    Args:
        recordings: found, not yet decoded.
        features: how they are made.
        most: bytes of features that are kept in memory.
        skip: the largest share of bad recordings that may be skipped; None: the first one is an error.
        least: frames that one must have.

    Raises:
        DataError: a recording cannot be decoded or is too short; the message names the file and its row.
    """
    store, log, kept = FeatureStore(features, most), RowLog(skip), []
    for row, one in enumerate(recordings.recordings):
        try:
            if (count := len(store(one))) < least:
                short = WINDOW + (least - 1) * SHIFT
                raise DataError(
                    f"{one.location}: must last at least {1000 * short:.0f} ms: got fewer than {1000 * (WINDOW + count * SHIFT):.0f} ms"
                )
            kept.append(row)
        except DataError as error:
            log.bad(error)
    notes = (*recordings.notes, *log.finish(len(kept)))
    return replace(recordings.select(kept), notes=notes, store=store)


def mean_and_std_of(recordings: Recordings) -> tuple[list[float], list[float]]:
    """Of each band over all frames of all recordings; the deviation is at least 0.001.

    Example:
        >>> from heedful.data.recordings import read_recordings
        >>> found = with_features(read_recordings("tones[:4]"), LogMel(8000, bands=3))
        >>> mean, std = mean_and_std_of(found)
        >>> len(mean), min(std) > 0.5
        (3, True)
    """
    assert recordings.store is not None
    total = squares = torch.zeros(recordings.store.features.bands, dtype=torch.float64)
    count = 0
    for row in range(len(recordings)):
        frames = recordings.features(row).double()
        total, squares, count = total + frames.sum(0), squares + frames.square().sum(0), count + len(frames)
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean**2).clamp_min(0).sqrt().clamp_min(1e-3)
    return mean.tolist(), std.tolist()
