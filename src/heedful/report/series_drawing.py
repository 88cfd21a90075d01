"""A series and what it became, as a figure."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.report.drawing import COLORS, DOUBLE, LINE
from heedful.report.figure import write_figure
from heedful.report.labels import plain

_HEIGHT = 1.9  # inches, of one column
_MOST_POINTS = 4000  # along a panel; of more, the lowest and the highest of each stretch


def draw_series(
    path: str | os.PathLike[str],
    times: NDArray[Any],
    names: Sequence[str],
    values: NDArray[np.float64],
    smoothed: NDArray[np.float64],
) -> None:
    """Draws columns over time, each as dots or, of many, as a band, with what it became as a line.

    Args:
        path: the file; its suffix, .png, .svg or .pdf, says what is written.
        times: `[N]`, dates or numbers.
        names: of the columns.
        values: `[N, C]`; NaN is left out.
        smoothed: `[N, C]`.

    Raises:
        ValueError: the suffix is another one; nothing is written.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is missing.
    """
    write_figure(path, lambda figure: _draw(figure, times, names, values, smoothed))


def _draw(figure: Any, times: Any, names: Sequence[str], values: Any, smoothed: Any) -> None:
    figure.set_size_inches(DOUBLE, _HEIGHT * len(names) + 0.3)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name, raw, smooth in zip(panels, names, values.T, smoothed.T, strict=True):
        if len(raw) <= _MOST_POINTS:
            panel.plot(times, raw, ".", color=LINE, markersize=2.0, alpha=0.6, label="values", markeredgewidth=0)
            panel.plot(times, smooth, color=COLORS[0], linewidth=1.1, label="smoothed")
        else:
            starts = np.linspace(0, len(raw), _MOST_POINTS // 2, endpoint=False).astype(int)
            low, high = (reduce.reduceat(raw, starts) for reduce in (np.fmin, np.fmax))
            panel.fill_between(times[starts], low, high, color=LINE, alpha=0.4, linewidth=0, label="values")
            panel.plot(times[starts], smooth[starts], color=COLORS[0], linewidth=0.9, label="smoothed")
        panel.set_ylabel(plain(name, 40))
        panel.margins(x=0.01)
    panels[0].legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
    figure.tight_layout(pad=0.4)
