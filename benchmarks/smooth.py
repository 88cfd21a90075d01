"""Smoothing against classical smoothers that are tuned on the truth: `python -m benchmarks smooth`.

Four functions of Donoho and Johnstone and a sine of 16 periods, in unit noise. heedful sees the noisy values alone; of each other
method the setting is taken whose error against the truth is least. Beside the ten rows that count: a sine of 4 periods, and wavelets.

`python -m benchmarks smooth-picture` draws four of them. `python -m benchmarks smooth-time`: a million values with a local window
against NumPy doing the same multiply-adds.
"""

import math
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._measure import keep, size
from heedful.smoothing import SmoothSettings, smooth

VALUES, SNRS, SEEDS = 2048, (7, 3), (1, 2, 3)
PICTURE = Path("smoothing.png")
COUNTED = ("blocks", "bumps", "heavisine", "doppler", "sine")
WIDTHS = (3, 5, 7, 9, 11, 15, 19, 23, 27, 31, 39, 47, 55, 63, 79, 95, 127, 159, 191, 255, 319, 383, 511)
CLASSICAL = ("moving average", "Savitzky-Golay", "LOWESS", "median")
LONG, WINDOW, LENGTH = 1_000_000, 200, 11

Floats = NDArray[np.float64]


def signals(count: int) -> dict[str, Floats]:
    """The true functions at 1/N ... 1, each with standard deviation 1. Source: Donoho and Johnstone 1994, table 1."""
    t = np.arange(1, count + 1) / count
    places = (0.1, 0.13, 0.15, 0.23, 0.25, 0.40, 0.44, 0.65, 0.76, 0.78, 0.81)
    jumps = (4, -5, 3, -4, 5, -4.2, 2.1, 4.3, -3.1, 2.1, -4.2)
    heights = (4, 5, 3, 4, 5, 4.2, 2.1, 4.3, 3.1, 5.1, 4.2)
    widths = (0.005, 0.005, 0.006, 0.01, 0.01, 0.03, 0.01, 0.01, 0.005, 0.008, 0.005)
    found = {
        "blocks": sum(h * (1 + np.sign(t - p)) / 2 for h, p in zip(jumps, places, strict=True)),
        "bumps": sum(h / (1 + np.abs((t - p) / w)) ** 4 for h, p, w in zip(heights, places, widths, strict=True)),
        "heavisine": 4 * np.sin(4 * np.pi * t) - np.sign(t - 0.3) - np.sign(0.72 - t),
        "doppler": np.sqrt(t * (1 - t)) * np.sin(2.1 * np.pi / (t + 0.05)),
        "sine": np.sin(32 * np.pi * t),
        "slow sine": np.sin(8 * np.pi * t),
    }
    return {name: np.asarray(f) / np.std(f) for name, f in found.items()}


def tuned(truth: Floats, noisy: Floats) -> dict[str, float]:
    """The least mean squared error that each other method has with any of its settings."""

    def least(results: Iterator[Floats]) -> float:
        return float(min(((one - truth) ** 2).mean() for one in results))

    return {
        "moving average": least(moving_averages(noisy)),
        "Savitzky-Golay": least(polynomials(noisy)),
        "LOWESS": least(lowesses(noisy)),
        "median": least(medians(noisy)),
        "wavelets": least(wavelets(noisy)),
    }


def widths_for(values: Floats) -> list[int]:
    return [width for width in WIDTHS if width <= len(values)]


def moving_averages(values: Floats) -> Iterator[Floats]:
    from scipy.ndimage import uniform_filter1d

    yield from (uniform_filter1d(values, width, mode="reflect") for width in widths_for(values))


def medians(values: Floats) -> Iterator[Floats]:
    from scipy.ndimage import median_filter

    yield from (median_filter(values, width, mode="reflect") for width in widths_for(values) if width < 256)


def polynomials(values: Floats) -> Iterator[Floats]:
    from scipy.signal import savgol_filter

    for order in range(2, 7):
        yield from (savgol_filter(values, width, order) for width in widths_for(values) if width > order)


def lowesses(values: Floats) -> Iterator[Floats]:
    from statsmodels.nonparametric.smoothers_lowess import lowess

    places = np.arange(len(values))
    for width in widths_for(values):
        if 4 < width < 400:
            yield lowess(values, places, frac=width / len(values), it=0, delta=0, return_sorted=False)


def wavelets(values: Floats) -> Iterator[Floats]:
    """Translation-invariant, soft and hard, by factors of the universal threshold."""
    import pywt

    levels = min(6, int(math.log2(len(values))) - 1)
    noise = np.median(np.abs(pywt.dwt(values, "db1")[1])) / 0.6745
    for name in ("haar", "sym8"):
        rough, *details = pywt.swt(values, name, levels, norm=True, trim_approx=True)
        for factor in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
            for mode in ("hard", "soft"):
                limit = factor * noise * math.sqrt(2 * math.log(len(values)))
                kept = [
                    pywt.threshold(detail, limit * 2 ** ((level - levels) / 2), mode)
                    for level, detail in enumerate(details)
                ]
                yield pywt.iswt([rough, *kept], name, norm=True)


def main() -> None:
    """The quality of all, which is the same on every machine up to rounding."""
    rows = []
    for snr in SNRS:
        for name, truth in signals(size(VALUES)).items():
            runs: list[dict[str, Any]] = []
            for seed in SEEDS:
                noisy = snr * truth + np.random.default_rng(seed).standard_normal(len(truth))
                found = smooth(noisy)
                error = float(((found.values - snr * truth) ** 2).mean())
                expected = found.expected_error
                runs.append(
                    {
                        "seed": seed, "heedful": error, **tuned(snr * truth, noisy),
                        "expected": None if expected is None else expected * float(found.noise[0]) ** 2,
                        "settings": vars(found.settings),
                    }
                )  # fmt: skip
            means = {
                method: float(np.mean([run[method] for run in runs])) for method in ("heedful", *CLASSICAL, "wavelets")
            }
            best = min(CLASSICAL, key=lambda method: means[method])
            ratio = means["heedful"] / means[best]
            rows.append(
                {
                    "signal": name,
                    "snr": snr,
                    "counted": name in COUNTED,
                    **means,
                    "best": best,
                    "ratio": ratio,
                    "runs": runs,
                }
            )
            shown = "  ".join(f"{method} {value:.4f}" for method, value in means.items())
            print(f"{name:<10} SNR {snr}  {shown}  ratio to {best} {ratio:.2f}", flush=True)
    ratios = [row["ratio"] for row in rows if row["counted"]]
    print(f"ahead on {sum(ratio < 1 for ratio in ratios)} of {len(ratios)}; the largest ratio is {max(ratios):.2f}")
    keep("smooth", {"values": VALUES, "rows": rows})


def picture() -> None:
    """Four of the functions at an SNR of 7, and what heedful makes of them, as smoothing.png."""
    from heedful.report.series_drawing import draw_series

    found = signals(size(VALUES))
    names = ("blocks", "bumps", "doppler", "sine")
    noisy = np.stack(
        [7 * found[name] + np.random.default_rng(1).standard_normal(len(found[name])) for name in names], 1
    )
    smoothed = np.stack([smooth(values).values for values in noisy.T], 1)
    draw_series(PICTURE, np.arange(len(noisy)), names, noisy, smoothed)


def time_main() -> None:
    """Seconds and memory for a million values: one stage with set settings, and all that is chosen automatically."""
    count, window = size(LONG), min(WINDOW, size(LONG) // 4)
    truth = (
        np.sin(np.arange(count) * (2 * np.pi / 500)) * 5
        + np.cumsum(np.random.default_rng(1).standard_normal(count)) * 0.01
    )
    noisy = truth + np.random.default_rng(2).standard_normal(count)
    one = SmoothSettings(1.0, LENGTH, window // 2, None, 1, 1)
    seconds = {
        "heedful": best_of(lambda: smooth(noisy, noise=1.0, settings=one)),
        "numpy, the same pairs": best_of(lambda: by_rows(noisy, LENGTH, window // 2)),
        "numpy, blocks": best_of(lambda: by_blocks(noisy, LENGTH, window // 2)),
        "heedful, chosen, two stages": best_of(lambda: smooth(noisy), rounds=1),
    }
    part = noisy[:5000]
    expected = smooth(part, noise=1.0, settings=one).values
    error = max(float(np.abs(expected - other(part, LENGTH, window // 2)).max()) for other in (by_rows, by_blocks))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ratios = {name: took / seconds["heedful"] for name, took in seconds.items() if name.startswith("numpy")}
    print(
        {name: round(took, 2) for name, took in seconds.items()},
        {name: round(ratio, 2) for name, ratio in ratios.items()},
    )
    print(f"largest difference {error:.1e}, peak memory of all {peak / 1e9:.2f} GB")
    keep(
        "smooth-time",
        {
            "values": count, "window": window, "length": LENGTH, "seconds": seconds, "ratios": ratios, "difference": error,
            "peak_bytes": peak,
        },
    )  # fmt: skip


def best_of(call: Callable[[], Any], rounds: int = 3) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def windows_of(values: Floats, length: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Values, their windows, and half the squared lengths of these, in float32."""
    numbers = values.astype(np.float32)
    padded = np.pad(numbers, length // 2, mode="reflect")
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, length)) / np.float32(
        math.sqrt(length)
    )
    return numbers, windows, 0.5 * np.einsum("nl,nl->n", windows, windows)


def by_rows(values: Floats, length: int, window: int, block: int = 1024) -> Floats:
    """The same by NumPy: each row's window times those that it sees, and no others."""
    numbers, windows, norms = windows_of(values, length)

    def seen(array: NDArray[np.float32], beyond: float) -> NDArray[np.float32]:
        width = ((window, window), *[(0, 0)] * (array.ndim - 1))
        return np.lib.stride_tricks.sliding_window_view(
            np.pad(array, width, constant_values=beyond), 2 * window + 1, axis=0
        )

    keys, lengths, means = seen(windows, 0), seen(norms, np.inf), seen(numbers, 0)
    out = np.empty(len(values))
    for start in range(0, len(values), block):
        rows = slice(start, start + block)
        scores = (windows[rows, None] @ keys[rows])[:, 0] - lengths[rows]
        scores -= scores.max(1, keepdims=True)
        weights = np.exp(scores, out=scores)
        out[rows] = np.einsum("nk,nk->n", weights, means[rows]) / weights.sum(1)
    return out


def by_blocks(values: Floats, length: int, window: int, block: int = 256) -> Floats:
    """The same by NumPy: a block of rows against all that any of them sees, as two products of matrices; more pairs than are seen."""
    numbers, windows, norms = windows_of(values, length)
    out = np.empty(len(values))
    for start in range(0, len(values), block):
        stop = min(start + block, len(values))
        first, last = max(start - window, 0), min(stop + window, len(values))
        scores = windows[start:stop] @ windows[first:last].T
        scores -= norms[first:last]
        far = np.abs(np.arange(start, stop)[:, None] - np.arange(first, last)) > window
        scores[far] = -np.inf
        scores -= scores.max(1, keepdims=True)
        weights = np.exp(scores, out=scores)
        out[start:stop] = (weights @ numbers[first:last]) / weights.sum(1)
    return out
