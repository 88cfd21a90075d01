"""A map of an attention matrix in cells, which is filled row by row, and windows that are made of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Tensor
from heedful.report.cells import cells_of, starts_between


class Box(NamedTuple):
    """Rows from `top` up to, but not with, `bottom`, and columns from `left` up to `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """How many rows it has."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """How many columns it has."""
        return self.right - self.left


class Edges(NamedTuple):
    """Where the cells of a window begin, and where the last of them ends."""

    rows: Tensor
    columns: Tensor

    @property
    def box(self) -> Box:
        """What they cover."""
        (top, bottom), (left, right) = ((int(edges[0]), int(edges[-1])) for edges in self)
        return Box(top, bottom, left, right)


class CellAxis:
    """One axis of a map: cell c has the positions from `starts[c]` up to, but not with, `starts[c + 1]`.

    Args:
        starts: where they begin, and how many positions there are.
        cuts: positions at which a cell must begin, also where cells are taken together.
    """

    def __init__(self, starts: Tensor, cuts: Sequence[int] = ()) -> None:
        self.starts, self.cells, self.count = starts, len(starts) - 1, int(starts[-1])
        self._cuts = torch.isin(self.starts, torch.tensor(cuts, dtype=torch.long)).nonzero()[:, 0].tolist()

    def start(self, cell: int) -> int:
        """The first position of a cell."""
        return int(self.starts[cell])

    def of(self, start: int, stop: int) -> Tensor:
        """The cells of some positions."""
        return cells_of(self.starts, start, stop)

    def counts(self) -> Tensor:
        """How many positions each cell has."""
        return self.starts.diff()

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """The cells that cover some positions: the first, and one more than the last."""
        first, last = self.of(start, start + 1), self.of(stop - 1, stop)
        return int(first), int(last) + 1

    def grouped(self, start: int, stop: int, most: int) -> tuple[Tensor, Tensor]:
        """Cells that cover some positions, taken together so that about so many remain; none is taken across a cut.

        Returns:
            The first cell of each of those that remain, and one more than the last; and the positions at which they begin.
        """
        first, last = self.around(start, stop)
        low, high = first, last
        if self.cells == self.count:  # then they need not be alike
            count = min(most, last - first)
        else:
            size = -(-(last - first) // most)
            while not self._cuts and size < self.cells and self.cells % size:
                size += 1
            low, high = first // size * size, min(-(-last // size) * size, self.cells)
            count = -(-(high - low) // size)
        groups = starts_between(low, high, count, self._cuts)
        return groups, self.starts[groups]


class CellGrid:
    """A map of sums: what all queries of a cell give to its keys."""

    def __init__(self, heads: int, rows: CellAxis, columns: CellAxis) -> None:
        self.rows, self.columns = rows, columns
        self.is_whole = rows.cells == rows.count and columns.cells == columns.count
        self.sums = torch.empty(heads, rows.cells, columns.cells)
        self.known = torch.zeros(heads, rows.cells, dtype=torch.bool)

    def next_unknown(self, head: int, first: int, last: int) -> int | None:
        """The first row of cells of some that is not known."""
        unknown = (~self.known[head, first:last]).nonzero()
        return first + int(unknown[0]) if len(unknown) else None

    def suffices(self, box: Box, rows: int, columns: int) -> bool:
        """Whether it can show a box with about as many cells as were asked for."""
        return all(
            axis.cells == axis.count or (stop - start) * axis.cells >= most * axis.count
            for axis, start, stop, most in (
                (self.rows, box.top, box.bottom, rows),
                (self.columns, box.left, box.right, columns),
            )
        )

    def window(self, heads: Sequence[int], box: Box, rows: int, columns: int) -> tuple[NDArray[np.float32], Edges]:
        """The mean of some heads where a box lies, and where the cells that were taken begin."""
        row_groups, row_starts = self.rows.grouped(box.top, box.bottom, rows)
        column_groups, column_starts = self.columns.grouped(box.left, box.right, columns)
        top, bottom, left, right = (int(groups[at]) for groups in (row_groups, column_groups) for at in (0, -1))
        sums = self.sums.new_zeros(len(row_groups) - 1, right - left)
        for head in heads:
            sums.index_add_(0, cells_of(row_groups, top), self.sums[head, top:bottom, left:right])
        summed = sum_columns(sums, cells_of(column_groups, left))
        return cell_means(summed, row_starts.diff(), len(heads)), Edges(row_starts, column_starts)


def sum_columns(rows: Tensor, cells: Tensor) -> Tensor:
    """Sums over the columns of each cell, given in rising order."""
    if int(cells[-1]) - int(cells[0]) + 1 == len(cells):
        return rows
    starts = torch.cat([torch.zeros(1, dtype=torch.long), cells.diff().nonzero()[:, 0] + 1])
    return torch.from_numpy(np.add.reduceat(rows.numpy(), starts.numpy(), axis=1))


def cell_means(sums: Tensor, counts: Tensor, heads: int) -> NDArray[np.float32]:
    """Sums of so many heads as means over the queries of a cell, and over the heads."""
    return (sums / (counts[:, None] * heads)).float().numpy()
