"""A series in the manner of sunspots, drawn and not observed: the embedded data `sunspots` of forecasts.

Monthly values with a trend, a season of 12 months, one of about eleven years whose height and length vary, and a break: in 1899
another way of counting begins, whose numbers are larger.
"""

import numpy as np

from heedful.data.grids import Grid
from heedful.data.times import Frequency

__all__ = ["SUNSPOTS", "draw_sunspots"]

SUNSPOTS = "sunspots"  # what a person types for them
_MONTHS, _BREAK = 3000, 1800  # from January 1749 to December 1998
_CYCLE = 132  # months, the mean


def draw_sunspots() -> Grid:
    """Always the same series.

    Example:
        >>> grid = draw_sunspots()
        >>> grid.columns, grid.values.shape, str(grid.frequency)
        (('spots',), (3000, 1), '1 month')
    """
    random, months = np.random.default_rng(0), np.arange(_MONTHS)
    cycles = _MONTHS // _CYCLE + 3
    ends = np.cumsum(_CYCLE + random.normal(0, 6, cycles).round()) - _CYCLE // 2
    number = np.searchsorted(ends, months)
    first = np.concatenate([[-_CYCLE // 2], ends])[number]
    place = (months - first) / (ends[number] - first)  # from 0 to 1 within a cycle
    height = (60 + 15 * random.standard_normal(cycles + 1))[number]
    spots = height * np.sin(np.pi * place**0.8) ** 2 + 8 * np.sin(2 * np.pi * months / 12) + 0.008 * months + 12
    noise = np.zeros(_MONTHS)
    shocks = random.normal(0, 3, _MONTHS)
    for month in months[1:]:
        noise[month] = 0.7 * noise[month - 1] + shocks[month]
    values = np.where(months < _BREAK, 1.0, 1.4) * (spots + noise) + np.where(months < _BREAK, 0.0, 15.0)
    times = (np.datetime64("1749-01", "M") + months).astype("datetime64[us]")
    values = np.maximum(values, 0).round(1)[:, None]
    return Grid(
        SUNSPOTS,
        ("spots",),
        values,
        np.ones_like(values, bool),
        times,
        Frequency(1, "month"),
        (),
        np.zeros((_MONTHS, 0)),
    )
