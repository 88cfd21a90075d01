"""Means over stretches of a series."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["moving_mean"]


def moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of about `width` rows around each row of `[T, C]`; at the ends of those that there are.

    Example:
        >>> moving_mean(np.array([[1.0], [2.0], [6.0]]), 3)[:, 0].tolist()
        [1.5, 3.0, 4.0]
    """
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    rows = np.arange(len(values))
    first, stop = np.maximum(rows - width // 2, 0), np.minimum(rows + width // 2 + 1, len(values))
    return (sums[stop] - sums[first]) / (stop - first)[:, None]  # type: ignore[no-any-return]
