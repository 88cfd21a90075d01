"""Charts as figures for papers, drawn by matplotlib."""

import os
from typing import Any

import numpy as np

from heedful.report.charts import HeatMap, LineChart
from heedful.report.drawing import COLORS, DOUBLE, INK, LINE, SINGLE
from heedful.report.figure import write_figure
from heedful.report.labels import plain

_HEIGHT = 2.4  # inches
_CELL, _AROUND = 0.26, 1.0  # inches, of a cell of a map and of what stands around it


def draw_chart(chart: LineChart | HeatMap, path: str | os.PathLike[str]) -> None:
    """Draws a chart into one file.

    Args:
        chart: what is drawn.
        path: the file; its folder must exist, and its suffix, .png, .svg or .pdf, says what is written.

    Raises:
        ValueError: the suffix is another one; nothing is written.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is missing.

    Example:
        >>> import tempfile
        >>> from heedful.report import ChartLine, LineChart
        >>> draw_chart(LineChart("Loss", "epoch", "loss", [ChartLine("train", [1, 2], [0.5, 0.4])]), tempfile.mkdtemp() + "/loss.png")
    """
    write_figure(path, lambda figure: (_lines if isinstance(chart, LineChart) else _heat)(figure, chart))


def _lines(figure: Any, chart: Any) -> None:
    figure.set_size_inches(SINGLE, _HEIGHT)
    axes = figure.add_subplot()
    for index, line in enumerate(chart.lines):
        compared = line.style == "dashed"
        axes.plot(
            np.asarray(line.x), np.asarray(line.y), label=plain(line.name, 40),
            color=LINE if compared else COLORS[index % len(COLORS)],
            linestyle="--" if compared else "" if line.style == "points" else "-",
            marker="o" if line.style in ("marked", "points") or np.size(line.x) == 1 else "", markersize=2.5,
            linewidth=1.0,
        )  # fmt: skip
    axes.set(title=plain(chart.title, 60), xlabel=plain(chart.x, 60), ylabel=plain(chart.y, 40))
    if len(chart.lines) > 1:
        axes.legend(frameon=False, fontsize="small")
    figure.tight_layout(pad=0.4)


def _heat(figure: Any, chart: Any) -> None:
    rows, columns = len(chart.rows), len(chart.columns)
    width = min(max(columns * _CELL + 1.6, SINGLE), DOUBLE)
    figure.set_size_inches(width, rows * (width - 1.6) / columns + _AROUND)
    axes, shares, counts = figure.add_subplot(), chart.shares(), np.asarray(chart.counts)
    axes.imshow(shares, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), [plain(name) for name in chart.columns], rotation=90)
    axes.set_yticks(range(rows), [plain(name) for name in chart.rows])
    axes.set(title=plain(chart.title, 60), xlabel=chart.column_title, ylabel=chart.row_title)
    if columns <= 16:
        for row, column in zip(*counts.nonzero(), strict=True):
            color = INK if shares[row, column] > 0.6 else "white"
            axes.text(
                column, row, f"{counts[row, column]:,.0f}", ha="center", va="center", color=color, fontsize="x-small"
            )
    figure.tight_layout(pad=0.4)
