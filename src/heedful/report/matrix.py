"""A matrix too large to store: its pooled map, its curves, and facts about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heedful.report.blocks import ArrayBlocks, Json, as_cell, as_count, as_floats, as_text


@dataclass(frozen=True, eq=False)
class MatrixSection:
    """An attention matrix of N queries and M keys, seen through a map of R x C cells and a few curves.

    Attributes:
        title: the heading.
        text: one or two sentences below it.
        shape: N and M.
        pooled: `[R, C]`, one number for each block of queries and keys; the blocks are as even as possible.
        rows: curves over the queries, each with at most N points. A name carries its unit: "entropy (nat)".
        columns: curves over the keys, each with at most M points.
        facts: names and values, shown as a list.
        cell: what a number of `pooled` is, in words.
    """

    title: str
    text: str
    shape: tuple[int, int]
    pooled: NDArray[np.floating]
    rows: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    columns: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str | int | float]] = ()
    cell: str = "attention that a query gives to these keys, on average"

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON that `matrix.js` reads."""
        queries, keys = (as_count("`shape` (queries, keys)", count) for count in self.shape)
        pooled = as_floats("`pooled`", self.pooled, "rows, columns", lowest=0)
        if pooled.shape[0] > queries or pooled.shape[1] > keys:
            raise ValueError(
                f"`pooled` must have at most as many cells as the matrix has entries, {(queries, keys)}: "
                f"got shape {pooled.shape}"
            )
        return {
            "kind": "matrix",
            "title": as_text("`title`", self.title),
            "text": as_text("`text`", self.text),
            "shape": [queries, keys],
            "pooled": blocks.add(pooled),
            "rows": _curves("rows", self.rows, queries, blocks),
            "columns": _curves("columns", self.columns, keys, blocks),
            "facts": [
                [as_text("a name in `facts`", name), as_cell("a value in `facts`", value)] for name, value in self.facts
            ],
            "cell": as_text("`cell`", self.cell),
        }


def _curves(side: str, curves: Mapping[str, NDArray[np.floating]], most: int, blocks: ArrayBlocks) -> list[Json]:
    encoded = []
    for name, values in curves.items():
        points = as_floats(f"`{side}[{name!r}]`", values, "positions")
        if len(points) > most:
            raise ValueError(f"`{side}[{name!r}]` must have at most {most} positions: got {len(points)}")
        encoded.append({"name": as_text(f"a name in `{side}`", name), "values": blocks.add(points)})
    return encoded
