"""How good forecasts are over all windows, and intervals around them: conformal, by step, following what was missed."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful.data.windows import SeriesWindows
from heedful.tasks.contract import Metric, Scores
from heedful.tasks.forecast_settings import LEVELS

_MOST_ERRORS = 1 << 25  # that intervals are fitted on
_SHOWN = 2  # index of the level whose coverage is told: 0.9

Floats = NDArray[np.floating[Any]]


class Scale(NamedTuple):
    """What the training part told of the channels.

    Attributes:
        mean: `[C]`.
        std: `[C]`.
        seasonal_error: `[C]`: mean absolute error of the seasonal-naive forecast one period ahead.
        period: steps.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    seasonal_error: NDArray[np.float64]
    period: int

    def standardized(self, values: Floats) -> NDArray[np.float64]:
        """Values minus their mean, over their standard deviation."""
        return np.asarray((values - self.mean) / self.std)

    def original(self, values: Floats) -> NDArray[np.float64]:
        """The inverse of `standardized`."""
        return np.asarray(values * self.std + self.mean)


@dataclass(frozen=True, eq=False)
class Backtest:
    """The forecasts of all windows of a series. They are made when they are asked for, some windows at a time, and not kept.

    Attributes:
        input: the series.
        windows: which.
        blocks: gives the standardized forecasts `[W, H, C]` of the windows, in their order, in pieces.
        widths: of the intervals, `[levels, H, C]`, as fitted on the validation part; None: there are none.
        adapt: by which share they grow where they miss.
    """

    input: str
    windows: SeriesWindows
    blocks: Callable[[], Iterator[NDArray[np.float32]]]
    widths: NDArray[np.float64] | None = None
    adapt: float = 0.0

    def __str__(self) -> str:
        return f"{self.input}: {len(self.windows):,} windows of {self.windows.horizon:,} steps"

    def to_format(self) -> str:
        """The series; a forecast of one window has a form of its own."""
        return self.input

    def errors(self, scale: Scale) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Truth minus forecast, standardized, `[W, H, C]`, and which of the truth was observed, in pieces; behind the last row none was."""
        grid, done, steps = self.windows.grid, 0, np.arange(self.windows.horizon)
        for block in self.blocks():
            rows = self.windows.origins[done : done + len(block), None] + steps
            done += len(block)
            inside = np.minimum(rows, len(grid) - 1)
            yield scale.standardized(grid.values[inside]) - block, grid.observed[inside] & (rows < len(grid))[..., None]


class IntervalTracker:
    """Intervals of fixed coverage around forecasts, whatever the series does: where one misses it grows, elsewhere it shrinks a little.

    For each level, step and channel, the width is multiplied by `exp(adapt (missed - (1 - level)))` as soon as it is known whether the
    forecast so many steps ago was missed. In the long run as many values are missed as shall be.

    Args:
        widths: `[levels, H, C]` to begin with.
        adapt: 0: they stay.

    Source: Gibbs and Candes 2021, "Adaptive conformal inference under distribution shift"; Angelopoulos et al. 2023, "Conformal PID
    control for time series prediction".
    """

    def __init__(self, widths: NDArray[np.float64], adapt: float) -> None:
        self.widths, self.adapt, self.count = widths.copy(), adapt, 0
        self._misses = np.full(
            (widths.shape[1], *widths.shape), 1 - np.array(LEVELS)[:, None, None], np.float32
        )  # [H, levels, H, C]

    def next(self) -> NDArray[np.float64]:
        """The widths of the next window, by all that is known when its forecast is made."""
        if self.adapt:
            steps = np.arange(1, min(self.count, self.widths.shape[1]) + 1)
            missed = self._misses[(self.count - steps) % len(self._misses), :, steps - 1]  # [steps, levels, C]
            excess = missed.transpose(1, 0, 2) - (1 - np.array(LEVELS))[:, None, None]
            self.widths[:, : len(steps)] *= np.exp(self.adapt * excess)
        return self.widths

    def saw(self, error: Floats, observed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Takes what the forecast of the window got wrong, `[H, C]`; gives which values its intervals hold, `[levels, H, C]`."""
        held = np.abs(error) <= self.widths
        unknown = (1 - np.array(LEVELS))[:, None, None]
        self._misses[self.count % len(self._misses)] = np.where(observed, ~held, unknown)
        self.count += 1
        return np.asarray(held)


def fitted_widths(backtest: Backtest, scale: Scale) -> NDArray[np.float64]:
    """Half the width of an interval for each level, step and channel: the quantile of the absolute errors on windows held out.

    Of n errors the one of rank `ceil((n + 1) level)`: an interval holds the next value with at least that probability, if it is of
    the same kind as they.

    Source: Vovk et al. 2005; by step: Stankeviciute et al. 2021, "Conformal time-series forecasting".
    """
    count, size = len(backtest.windows), backtest.windows.horizon * len(scale.mean)
    every, pieces, seen, first = max(-(-count * size // _MOST_ERRORS), 1), [], [], 0
    for errors, observed in backtest.errors(scale):
        rows = slice(-first % every, None, every)
        pieces.append(np.abs(errors[rows]))
        seen.append(observed[rows])
        first += len(errors)
    errors, observed = np.concatenate(pieces), np.concatenate(seen)
    errors[~observed] = np.inf
    errors.sort(0)  # [n, H, C]; what was not observed stands last
    known = observed.sum(0)
    widths = []
    for level in LEVELS:
        rank = np.clip(np.ceil((known + 1) * level).astype(int), 1, np.maximum(known, 1)) - 1
        width = np.take_along_axis(errors, rank[None], 0)[0]
        widths.append(np.where(np.isfinite(width), width, 0.0))
    return np.asarray(np.maximum(np.stack(widths), 1e-9))


def followed(backtest: Backtest, scale: Scale, origins: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """The widths at some origins, having followed the windows of a back-test, which begin before the last origin, one behind the other."""
    assert backtest.widths is not None
    if not backtest.adapt or not len(backtest.windows):
        return [backtest.widths for _ in origins]
    tracker, found, wanted = IntervalTracker(backtest.widths, backtest.adapt), {}, set(origins.tolist())
    for origin, errors, observed in _by_window(backtest, scale):
        widths = tracker.next()
        if origin in wanted:
            found[origin] = widths.copy()
        tracker.saw(errors, observed)
    found[int(origins[-1])] = tracker.next()
    return [found.get(origin, backtest.widths) for origin in origins.tolist()]


def _by_window(backtest: Backtest, scale: Scale) -> Iterator[tuple[int, Floats, NDArray[np.bool_]]]:
    """The origin of each window, its errors, and what was observed."""
    origins = iter(backtest.windows.origins.tolist())
    for errors, observed in backtest.errors(scale):
        for error, seen in zip(errors, observed, strict=True):
            yield next(origins), error, seen


def scores_of(backtest: Backtest, scale: Scale, columns: Sequence[str]) -> Scores:
    """The metrics over all windows.

    Of standardized values, and of the original ones, in which channels of large numbers count most; the absolute error as a share
    of that of the seasonal-naive forecast (MASE), the mean over the channels; of intervals their coverage, and the pinball loss
    of all quantiles that they give.
    """
    shape = (backtest.windows.horizon, len(columns))
    count, squares, absolute = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    held, pinball = np.zeros((len(LEVELS), *shape)), np.zeros(shape)
    tracker = None if backtest.widths is None else IntervalTracker(backtest.widths, _adapt(backtest))
    for errors, observed in backtest.errors(scale):
        errors = np.where(observed, errors, 0.0)
        count += observed.sum(0)
        squares += np.square(errors).sum(0)
        absolute += np.abs(errors).sum(0)
        if tracker is not None:
            for error, seen in zip(errors, observed, strict=True):
                widths = tracker.next()
                pinball += np.where(seen, _pinball(error, widths), 0.0)
                held += tracker.saw(error, seen) & seen
    total, per_channel = max(count.sum(), 1), np.maximum(count.sum(0), 1)
    metrics = {
        "standardized_mse": Metric(float(squares.sum() / total), "of standardized values"),
        "standardized_mae": Metric(float(absolute.sum() / total), "of standardized values"),
        "mse": Metric(float((squares * scale.std**2).sum() / total), "of the values"),
        "mae": Metric(float((absolute * scale.std).sum() / total), "of the values"),
    }
    errors_of = absolute.sum(0) / per_channel * scale.std
    varied = scale.seasonal_error > 1e-12
    if varied.any():
        relative = float((errors_of[varied] / scale.seasonal_error[varied]).mean())
        metrics["mase"] = Metric(relative, "of the seasonal-naive error")
    details: dict[str, Any] = {
        "windows": len(backtest.windows),
        "by_step": {"standardized_mse": _rounded(squares.sum(1) / np.maximum(count.sum(1), 1))},
        "by_column": {
            name: {"standardized_mse": float(squares[:, i].sum() / per_channel[i]), "mae": float(errors_of[i])}
            for i, name in enumerate(columns)
        },
    }
    if tracker is not None:
        metrics["pinball"] = Metric(float((pinball * scale.std).sum() / total), "of the values")
        metrics["coverage"] = Metric(float(held[_SHOWN].sum() / total))
        details["by_step"]["coverage"] = _rounded(held[_SHOWN].sum(1) / np.maximum(count.sum(1), 1))
        details["coverage"] = {f"{level:g}": float(one.sum() / total) for level, one in zip(LEVELS, held, strict=True)}
    return Scores(metrics, details, "coverage is that of the 90 % intervals." if tracker is not None else "")


def _adapt(backtest: Backtest) -> float:
    """Intervals follow windows that stand one behind the other."""
    return backtest.adapt if (np.diff(backtest.windows.origins) == 1).all() else 0.0


def _pinball(error: Floats, widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean pinball loss of the median and of both ends of the intervals, `[H, C]`.

    Of a quantile q, with `d` the truth minus it, `max(q d, (q - 1) d)`.
    """
    losses = [np.abs(error) / 2]
    for level, width in zip(LEVELS, widths, strict=True):
        for quantile, difference in (((1 - level) / 2, error + width), ((1 + level) / 2, error - width)):
            losses.append(np.maximum(quantile * difference, (quantile - 1) * difference))
    return np.mean(losses, 0)  # type: ignore[no-any-return]


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.4g}") if math.isfinite(value) else 0.0 for value in values.tolist()]
