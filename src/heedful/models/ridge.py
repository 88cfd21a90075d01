"""Linear forecasts in closed form: ridge regression over all windows of a series, without ever storing the windows."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful.data._moving import moving_mean

__all__ = ["Ridge", "centered", "fit_effects", "fit_ridge", "solve_ridge", "window_gram"]

Matrix = NDArray[np.float64]
STRENGTHS = tuple(10.0**power for power in np.arange(-5, 1.1, 0.5))
_HELD_OUT = 0.2  # of the windows choose the strength


class Ridge(NamedTuple):
    """A linear forecast: of values minus the mean of the input, `weight` `[L, H]` gives the next ones minus the same mean.

    Attributes:
        weight: shared by all channels.
        strength: of the penalty, as a share of the mean square of the inputs.
    """

    weight: Matrix
    strength: float

    def __call__(self, past: NDArray[np.floating]) -> NDArray[np.floating]:
        """The next values `[..., H, C]` after `[..., L, C]`."""
        mean = past.mean(-2, keepdims=True)
        return np.asarray(mean + self.weight.T.astype(past.dtype) @ (past - mean))


def window_gram(values: Matrix, starts: NDArray[np.integer], width: int) -> Matrix:
    """The sum over windows and channels of the products of each two positions within a window, `[width, width]`.

    It is `X.T @ X`, where each window of each channel is a row of `X`, at the cost of the series, not of the windows: neighboring
    windows share all products but one.

    Args:
        values: `[T, C]`.
        starts: the rows at which the windows begin, rising.
        width: rows of a window.

    Example:
        >>> values = np.arange(6.0)[:, None]
        >>> window_gram(values, np.arange(4), 3).tolist()
        [[14.0, 20.0, 26.0], [20.0, 30.0, 40.0], [26.0, 40.0, 54.0]]
    """
    runs = np.split(starts, np.flatnonzero(np.diff(starts) != 1) + 1)  # of windows, each a row after the one before
    bounds = [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    gram = np.zeros((width, width))
    for lag in range(width):
        products = np.einsum("tc,tc->t", values[: len(values) - lag], values[lag:])
        sums = np.concatenate([[0.0], np.cumsum(products)])
        positions = np.arange(width - lag)
        row = sum(sums[stop + positions] - sums[first + positions] for first, stop in bounds)
        gram[positions, positions + lag] = gram[positions + lag, positions] = row
    return gram


def centered(gram: Matrix, length: int) -> Matrix:
    """The gram matrix of windows minus the mean of their first `length` values."""
    mean = gram[:, :length].mean(1)
    return gram - mean[:, None] - mean[None] + mean[:length].mean()  # type: ignore[no-any-return]


def solve_ridge(gram: Matrix, length: int, strength: float) -> Matrix:
    """The weights `[L, H]` that forecast the rest of a window from its first `length` values with the least squared error.

    `(X.T X + s I)^-1 X.T Y`, where `s` is `strength` times the mean of the diagonal of `X.T X`.
    """
    inner, cross = gram[:length, :length], gram[:length, length:]
    penalty = strength * max(float(np.trace(inner)) / length, 1e-12)
    return np.asarray(np.linalg.solve(inner + penalty * np.eye(length), cross), float)


def fit_ridge(
    values: Matrix, starts: NDArray[np.integer], length: int, horizon: int, strengths: Iterable[float] = STRENGTHS
) -> Ridge:
    """Ridge regression from each `length` values to the next `horizon`, the same for all channels, minus the mean of the input.

    The penalty is that which is best on the last fifth of the windows, fitted on those before which have no value in common.

    Args:
        values: `[T, C]`, of one scale.
        starts: the rows at which the windows begin, rising.
        length: L.
        horizon: H.
        strengths: of the penalty, to choose from.

    Example:
        >>> season = np.sin(np.arange(200) * 2 * np.pi / 12)[:, None]
        >>> ridge = fit_ridge(season, np.arange(170), 24, 6)
        >>> bool(np.abs(ridge(season[100:124]) - season[124:130]).max() < 0.01)
        True

    Source: Toner and Darlow 2024, "An analysis of linear time series forecasting models": the published ones are this regression.
    """
    strengths, width = list(strengths), length + horizon
    whole = centered(window_gram(values, starts, width), length)
    later = starts[len(starts) - round(_HELD_OUT * len(starts)) :]
    earlier = starts[: np.searchsorted(starts, later[0] - width + 1)] if len(later) else starts[:0]
    if len(strengths) == 1 or not len(earlier):
        best = strengths[0] if len(strengths) == 1 else 0.1
    else:
        before, after = (centered(window_gram(values, rows, width), length) for rows in (earlier, later))
        errors = [_error(after, solve_ridge(before, length, strength), length) for strength in strengths]
        best = strengths[int(np.argmin(errors))]
    return Ridge(solve_ridge(whole, length, best), best)


def _error(gram: Matrix, weight: Matrix, length: int) -> float:
    """The sum of squared errors on the windows of a gram matrix, but for what no weight changes."""
    explained = np.einsum("lh,lh->", weight, gram[:length, length:])
    return float(np.einsum("lh,lh->", weight, gram[:length, :length] @ weight) - 2 * explained)


def fit_effects(values: Matrix, known: Matrix, width: int, strength: float = 1e-3) -> Matrix:
    """What each known column adds to each channel at the same time, `[K, C]`, by ridge regression.

    Both are taken minus their moving means, so that a common trend is no effect.

    Args:
        values: `[T, C]`.
        known: `[T, K]`, of one scale.
        width: rows of the moving mean.
        strength: of the penalty, as in `solve_ridge`.

    Example:
        >>> holiday = (np.arange(100)[:, None] % 9 == 0).astype(float)
        >>> fit_effects(2 * holiday + 0.1 * np.arange(100)[:, None], holiday, 30).round(1).tolist()
        [[2.0]]
    """
    if not known.shape[1]:
        return np.zeros((0, values.shape[1]))
    both = np.concatenate([known, values], 1)
    rest = both - moving_mean(both, width)
    return solve_ridge(rest.T @ rest, known.shape[1], strength)
