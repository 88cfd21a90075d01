"""What training recordings of speech become: joined, faster or slower, louder or softer, with noise, and partly hidden.

Source: speed: Ko et al. 2015; SpecAugment: Park et al. 2019.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful._errors import needing
from heedful._types import Float, Int, Tensor

Samples = NDArray[np.float32]
_EDGE = 0.03  # seconds of the ends of recordings, of which the noise of pauses is made
_TRIED = 512  # frequencies of its spectrum


def groups_of(count: int, most: int, random: np.random.Generator) -> list[list[int]]:
    """Numbers from 0 in a random order, in groups of 1 to `most`.

    Example:
        >>> groups_of(7, 3, np.random.default_rng(0))
        [[2], [4, 3, 6], [5, 0], [1]]
    """
    order, groups = random.permutation(count).tolist(), []
    while order:
        size = int(random.integers(1, most + 1))
        groups.append(order[:size])
        order = order[size:]
    return groups


def joined(
    parts: Sequence[Samples], rate: int, pause: tuple[float, float], random: np.random.Generator
) -> tuple[Samples, list[tuple[float, float]]]:
    """One recording of several, with pauses of random seconds before, between and behind them, and where each lies, in seconds.

    Pauses are filled with noise that has the loudness and the spectrum of the recordings' ends.
    """
    edges = [
        edge for part in parts for edge in (part[: round(_EDGE * rate)], part[-round(_EDGE * rate) :]) if len(edge)
    ]
    quiet = sorted(edges, key=lambda edge: float(np.square(edge).mean()))[: max(len(edges) // 2, 1)]
    pieces, places, length = [], [], 0
    for number in range(len(parts) + 1):
        gap = round(random.uniform(*pause) * rate)
        pieces.append(_noise_like(quiet[random.integers(len(quiet))], gap, random))
        length += gap
        if number < len(parts):
            pieces.append(parts[number])
            places.append((length / rate, (length + len(parts[number])) / rate))
            length += len(parts[number])
    return np.concatenate(pieces), places


def _noise_like(edge: Samples, count: int, random: np.random.Generator) -> Samples:
    """So many samples of noise with the spectrum of a short sound."""
    if not count:
        return np.zeros(0, np.float32)
    shape = np.abs(np.fft.rfft(edge, _TRIED)) / np.sqrt(len(edge))
    spectrum = np.fft.rfft(random.normal(size=count))
    at = np.linspace(0, len(shape) - 1, len(spectrum))
    noise: Samples = np.fft.irfft(spectrum * np.interp(at, np.arange(len(shape)), shape), count).astype(np.float32)
    return noise


def changed(samples: Samples, rate: int, settings: Any, random: np.random.Generator) -> Samples:
    """A recording at another speed, as loud as another, with noise.

    Args:
        samples: `[T]`.
        rate: samples a second.
        settings: with `speed`, `gain` in dB, `noise`, a probability, and `noise_snr` in dB.
        random: of what is drawn.
    """
    speed = settings.speed[random.integers(len(settings.speed))]
    if speed != 1 and len(samples):
        with needing("sound", "another speed"):
            soxr: Any = importlib.import_module("soxr")
        samples = soxr.resample(samples, rate * speed, rate)
    if random.random() < settings.noise and len(samples):
        power = float(np.square(samples, dtype=np.float64).mean())
        level = np.sqrt(power) * 10 ** (-random.uniform(*settings.noise_snr) / 20)
        samples = samples + random.normal(0, level, len(samples)).astype(np.float32)
    loudness = 10 ** (random.uniform(-settings.gain, settings.gain) / 20)
    louder: Samples = (samples * np.float32(loudness)).astype(np.float32)
    return louder


def silence(rate: int, random: np.random.Generator) -> Samples:
    """A recording in which nothing is said: faint noise, or nothing at all."""
    count = round(random.uniform(0.3, 1.5) * rate)
    level = 10 ** (random.uniform(-90, -45) / 20) * float(random.random() < 0.8)
    faint: Samples = random.normal(0, 1, count).astype(np.float32) * np.float32(level)
    return faint


def hide(
    frames: Float[Tensor, "B T bands"], lengths: Int[Tensor, " B"], fill: Float[Tensor, " bands"], settings: Any,
    random: np.random.Generator,
) -> None:  # fmt: skip
    """Hides stretches of frames and of bands, in place (SpecAugment); a stretch of frames is at most a fifth of a recording.

    Args:
        frames: of recordings.
        lengths: frames of each.
        fill: what stands for what is hidden, of each band.
        settings: with `time_masks`, `time_width`, `band_masks` and `band_width`.
        random: of what is drawn.
    """
    bands = frames.shape[2]
    for row, length in enumerate(lengths.tolist()):
        for _ in range(settings.time_masks):
            width = int(random.integers(0, min(settings.time_width, length // 5) + 1))
            start = int(random.integers(0, length - width + 1))
            frames[row, start : start + width] = fill
        for _ in range(settings.band_masks):
            width = int(random.integers(0, min(settings.band_width, bands) + 1))
            start = int(random.integers(0, bands - width + 1))
            frames[row, :, start : start + width] = fill[start : start + width]
