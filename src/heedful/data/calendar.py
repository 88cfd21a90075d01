"""What times say by themselves: their place in the day, the week and the year; and the period that values have."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.data._moving import moving_mean
from heedful.data.times import Times

__all__ = ["CALENDAR", "calendar", "calendar_of", "period_of"]

_DAY = 86400.0  # seconds
CALENDAR = {"day": (_DAY, 2), "week": (7 * _DAY, 3), "year": (365.2425 * _DAY, 2)}  # seconds, and waves within
_SURE, _RISE = 0.2, 0.1  # of an autocorrelation at a period: at least, and above its lowest value before
_LONGEST = 0.25  # of the series: a period must be seen some times


def calendar(times: Times, names: Sequence[str]) -> NDArray[np.float64]:
    """The place of each time in each cycle, as waves `[T, F]`; of times that are numbers there are none.

    Args:
        times: of which.
        names: "day", "week", "year".

    Example:
        >>> calendar(np.array(["2024-01-01T06:00"], "datetime64[us]"), ["day"]).round(3).tolist()
        [[1.0, 0.0, 0.0, -1.0]]
    """
    waves = [np.zeros((len(times), 0))]
    for name in names if times.dtype.kind == "M" else ():
        seconds, count = CALENDAR[name]
        day = (times - np.datetime64("1970-01-05T00:00", "us")).astype(np.int64) / 1e6  # from a Monday on
        if name == "year":
            day = (times - times.astype("datetime64[Y]")).astype(np.int64) / 1e6
        angle = 2 * np.pi * np.outer(day / seconds, np.arange(1, count + 1))
        waves.append(np.stack([np.sin(angle), np.cos(angle)], 2).reshape(len(times), 2 * count))
    return np.concatenate(waves, 1)


def calendar_of(times: Times, without: int = 0) -> list[str]:
    """Which cycles of the calendar a series shows: it has several steps in each, and was seen for two of them.

    Args:
        times: of the training part.
        without: a number of steps that is learned by itself.

    Example:
        >>> hours = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[h]").astype("datetime64[us]")
        >>> calendar_of(hours, without=24)
        ['week']
    """
    if times.dtype.kind != "M" or len(times) < 2:
        return []
    step = float((times[-1] - times[0]).astype(np.int64)) / 1e6 / (len(times) - 1)  # seconds, the mean
    return [
        name for name, (seconds, _) in CALENDAR.items()
        if 3 * step <= seconds and 2 * seconds <= step * len(times) and abs(without * step - seconds) > 0.01 * seconds
    ]  # fmt: skip


def period_of(values: NDArray[np.float64]) -> int:
    """After how many steps values recur: the lag of the highest peak of the autocorrelation, the mean of all channels; 1: never.

    What is slower than a quarter of the series is taken away before.

    Args:
        values: `[T, C]`.

    Example:
        >>> period_of(np.sin(np.arange(500) * 2 * np.pi / 24)[:, None] + 0.01 * np.arange(500)[:, None])
        24
    """
    longest = int(len(values) * _LONGEST)
    if longest < 3:
        return 1
    slow = moving_mean(values, longest)
    rest = values - slow
    rest = rest / np.maximum(rest.std(0), 1e-12)
    size = 1 << (2 * len(rest) - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(rest, size, axis=0))).mean(1)
    products = np.fft.irfft(power, size)[: longest + 1] / np.arange(len(rest), len(rest) - longest - 1, -1)
    correlation = products / max(products[0], 1e-12)
    inner = correlation[1:-1]
    least = np.minimum.accumulate(correlation)[1:-1]
    is_peak = (inner > correlation[:-2]) & (inner >= correlation[2:]) & (inner > _SURE) & (inner > least + _RISE)
    peaks = np.flatnonzero(is_peak) + 1
    if not len(peaks):
        return 1
    best = correlation[peaks].max()
    return int(peaks[correlation[peaks] >= 0.95 * best][0])  # its multiples are as high
