"""Forecasts as they are printed, written and drawn."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heedful._errors import HeedfulError

_SHOWN = 6  # channels of a line
_PANELS = 12  # of a picture
_NOT_JSON = {"json": False}


@dataclass(frozen=True)
class Forecast:
    """What follows a series.

    Attributes:
        input: the series.
        columns: the channels.
        times: of the steps.
        values: of each channel, at each step.
        lower: where the interval of each begins.
        upper: where it ends.
        level: the share of the values that the intervals are to hold.
        truth: what was measured, where it is known; None for what is missing.
        past: what stands before, of each channel.
        times_of_past: its times.
    """

    input: str
    columns: list[str]
    times: list[str]
    values: list[list[float]]
    lower: list[list[float]]
    upper: list[list[float]]
    level: float
    truth: list[list[float | None]] | None = field(default=None, metadata={"json": "set"})
    past: list[list[float]] = field(default_factory=list, repr=False, compare=False, metadata=_NOT_JSON)
    times_of_past: list[str] = field(default_factory=list, repr=False, compare=False, metadata=_NOT_JSON)

    @property
    def output(self) -> list[str]:
        """The values as texts, channel by channel."""
        return [f"{value:.6g}" for column in self.values for value in column]

    def __str__(self) -> str:
        shown = range(min(len(self.columns), _SHOWN))
        more = f"; and {len(self.columns) - _SHOWN:,} more series" if len(self.columns) > _SHOWN else ""
        lines = [
            f"{self.input}: {len(self.times):,} steps, with intervals that hold {100 * self.level:g} % of the values{more}"
        ]
        for step, time in enumerate(self.times):
            cells = [
                f"{self.columns[i]} {self.values[i][step]:.4g} ({self.lower[i][step]:.4g} to {self.upper[i][step]:.4g})"
                + ("" if self.truth is None else f" was {_known(self.truth[i][step])}")
                for i in shown
            ]
            lines.append("   ".join([time, *cells]))
        return "\n".join(lines)

    def to_format(self) -> str:
        """A table as `train` reads it, which goes on where the series ended."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["time", *self.columns])
        for step, time in enumerate(self.times):
            writer.writerow([time, *(f"{column[step]:.7g}" for column in self.values)])
        return text.getvalue().rstrip("\n")


def _known(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"


def plot(predictions: Sequence[Forecast], path: str) -> None:
    """Draws forecasts behind what precedes them, a panel for each channel, into a .png, .svg or .pdf.

    Raises:
        HeedfulError: the file has another name, or cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    from heedful.report.figure import write_figure

    try:
        write_figure(path, lambda figure: _draw(figure, predictions))
    except (ValueError, OSError) as error:
        if isinstance(error, HeedfulError):
            raise
        raise HeedfulError(f"--plot: {error}") from None


def _draw(figure: Any, predictions: Sequence[Forecast]) -> None:
    from heedful.report.drawing import COLORS, DOUBLE, LINE

    panels: dict[tuple[str, str], list[tuple[Forecast, int]]] = {}
    for one in predictions:
        for number, column in enumerate(one.columns):
            panels.setdefault((one.input, column), []).append((one, number))
    chosen = list(panels.items())[:_PANELS]
    columns = 1 if len(chosen) < 4 else 2
    rows = -(-len(chosen) // columns)
    figure.set_size_inches(DOUBLE, max(1.7 * rows, 2.4))
    inputs = {name for name, _ in panels}
    for place, ((name, column), forecasts) in enumerate(chosen, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for order, (one, number) in enumerate(forecasts):
            times, past = _times(one.times), _times(one.times_of_past)
            if order == 0:
                axes.plot(past, one.past[number], color=LINE, linewidth=0.8, label="measured")
            if one.truth is not None:
                truth = [np.nan if value is None else value for value in one.truth[number]]
                axes.plot(times, truth, color=LINE, linewidth=0.8)
            label = {"label": "forecast"} if order == 0 else {}
            axes.plot(times, one.values[number], color=COLORS[0], linewidth=1.0, **label)
            label = {"label": f"{100 * one.level:g} % interval"} if order == 0 else {}
            axes.fill_between(
                times, one.lower[number], one.upper[number], color=COLORS[0], alpha=0.2, linewidth=0, **label
            )
        axes.set_title(column if len(inputs) == 1 else f"{name}: {column}", fontsize="small")
        axes.tick_params(labelsize="x-small")
        if place == 1:
            axes.legend(frameon=False, fontsize="x-small", loc="upper left")
        if times.dtype.kind == "M":
            from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

            locator = AutoDateLocator(maxticks=6)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    figure.tight_layout(pad=0.4)


def _times(times: Sequence[str]) -> Any:
    """Times as an axis has them: dates, or numbers."""
    try:
        return np.array([float(time) for time in times])
    except ValueError:
        return np.array(times, "datetime64[us]")
