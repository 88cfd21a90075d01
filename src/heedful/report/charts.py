"""Charts of a few numbers: lines and points over two axes, and a map whose rows and columns have names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from heedful.report.blocks import ArrayBlocks, Json, as_floats, as_text


@dataclass(frozen=True, eq=False)
class ChartLine:
    """Points `(x, y)`, in the order in which a line joins them.

    Attributes:
        name: of the legend.
        x: `[points]`.
        y: likewise.
        style: "line": joined; "marked": joined, with a dot at each; "points": dots alone; "dashed": something to compare with.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    style: Literal["line", "marked", "points", "dashed"] = "line"


@dataclass(frozen=True, eq=False)
class LineChart:
    """Lines over two axes.

    Attributes:
        title: above the chart.
        x: what stands below it.
        y: what stands to the left.
        lines: one at least.
    """

    title: str
    x: str
    y: str
    lines: Sequence[ChartLine]

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the chart."""
        if not self.lines:
            raise ValueError("`lines` must hold at least one line: got none")
        encoded: list[Json] = []
        for line in self.lines:
            x, y = (
                as_floats(f"`{axis}` of a line", values, "points") for axis, values in (("x", line.x), ("y", line.y))
            )
            if len(x) != len(y):
                raise ValueError(f"`y` of a line must be as many as its `x`, {len(x)}: got {len(y)}")
            name = as_text("`name` of a line", line.name)
            encoded.append({"name": name, "x": blocks.add(x), "y": blocks.add(y), "style": line.style})
        words = {name: as_text(f"`{name}`", getattr(self, name)) for name in ("title", "x", "y")}
        return {"kind": "lines", **words, "lines": encoded}


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Counts of pairs of names; the color of a cell is its share of its row.

    Attributes:
        title: above the map.
        rows: the names of the rows.
        columns: the names of the columns.
        counts: `[rows, columns]`.
        row_title: what a row is.
        column_title: what a column is.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    counts: ArrayLike
    row_title: str
    column_title: str

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the map."""
        counts = as_floats("`counts`", self.counts, "rows, columns", lowest=0)
        if counts.shape != (len(self.rows), len(self.columns)):
            raise ValueError(
                f"`counts` must have a cell for each of {len(self.rows)} rows and {len(self.columns)} columns: got shape {counts.shape}"
            )
        names: dict[str, Any] = {
            side: [as_text(f"a name in `{side}`", name) for name in getattr(self, side)] for side in ("rows", "columns")
        }
        words = {name: as_text(f"`{name}`", getattr(self, name)) for name in ("title", "row_title", "column_title")}
        return {"kind": "heat", **words, **names, "counts": blocks.add(counts)}

    def shares(self) -> Any:
        """Of each row, `[rows, columns]`; of an empty row 0."""
        counts = np.asarray(self.counts, dtype=float)
        return counts / np.maximum(counts.sum(1, keepdims=True), 1)


@dataclass(frozen=True, eq=False)
class ChartsSection:
    """Charts side by side, under one heading.

    Attributes:
        title: the heading.
        text: one or two sentences below it.
        charts: what is drawn, one chart at least.
    """

    title: str
    text: str
    charts: Sequence[LineChart | HeatMap] = field(default_factory=list)

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON that `charts.js` reads."""
        if not self.charts:
            raise ValueError("`charts` must hold at least one chart: got none")
        return {
            "kind": "charts",
            "title": as_text("`title`", self.title),
            "text": as_text("`text`", self.text),
            "charts": [chart.encode(blocks) for chart in self.charts],
        }
