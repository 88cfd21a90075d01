"""A map of an attention matrix in cells, which is filled row by row, and windows that are made of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Tensor


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


class CellAxis:
    """One axis of a map: position i belongs to cell `i * cells // count`."""

    def __init__(self, cells: int, count: int) -> None:
        self.cells, self.count = cells, count

    def start(self, cell: int) -> int:
        """The first position of a cell."""
        return -(-cell * self.count // self.cells)

    def of(self, start: int, stop: int) -> Tensor:
        """The cells of some positions."""
        return torch.arange(start, stop) * self.cells // self.count

    def counts(self) -> Tensor:
        """How many positions each cell has."""
        return torch.bincount(self.of(0, self.count), minlength=self.cells)

    def around(self, start: int, stop: int) -> tuple[int, int]:
        """The cells that cover some positions: the first, and one more than the last."""
        return start * self.cells // self.count, (stop - 1) * self.cells // self.count + 1

    def grouped(self, start: int, stop: int, most: int) -> tuple[int, int, Tensor]:
        """Cells that cover some positions, taken together so that at most so many remain, all alike.

        Returns:
            The first, one more than the last, and to which of those that remain each belongs.
        """
        first, last = self.around(start, stop)
        if self.cells == self.count:  # then they need not be alike
            most = min(most, last - first)
            return first, last, torch.arange(last - first) * most // (last - first)
        for size in range(1, self.cells + 1):
            low, high = first // size * size, min(-(-last // size) * size, self.cells)
            if self.cells % size == 0 and (high - low) // size <= most:
                return low, high, torch.arange(high - low) // size
        return 0, self.cells, torch.zeros(self.cells, dtype=torch.long)


class CellGrid:
    """A map of sums: what all queries of a cell give to its keys."""

    def __init__(self, heads: int, queries: int, keys: int, rows: int, columns: int) -> None:
        self.rows, self.columns = CellAxis(rows, queries), CellAxis(columns, keys)
        self.is_whole = rows == queries and columns == keys
        self.sums = torch.empty(heads, rows, columns)
        self.known = torch.zeros(heads, rows, dtype=torch.bool)

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

    def window(self, heads: Sequence[int], box: Box, rows: int, columns: int) -> tuple[NDArray[np.float32], Box]:
        """The mean of some heads where a box lies, and the box of the cells that were taken."""
        top, bottom, row_cells = self.rows.grouped(box.top, box.bottom, rows)
        left, right, column_cells = self.columns.grouped(box.left, box.right, columns)
        sums = self.sums.new_zeros(int(row_cells[-1]) + 1, right - left)
        for head in heads:
            sums.index_add_(0, row_cells, self.sums[head, top:bottom, left:right])
        box_of_cells = Box(
            self.rows.start(top), self.rows.start(bottom), self.columns.start(left), self.columns.start(right)
        )
        counts = torch.bincount(row_cells[self.rows.of(box_of_cells.top, box_of_cells.bottom) - top])
        return cell_means(sum_columns(sums, column_cells), counts, len(heads)), box_of_cells


def sum_columns(rows: Tensor, cells: Tensor) -> Tensor:
    """Sums over the columns of each cell, given in rising order."""
    if int(cells[-1]) - int(cells[0]) + 1 == len(cells):
        return rows
    starts = torch.cat([torch.zeros(1, dtype=torch.long), cells.diff().nonzero()[:, 0] + 1])
    return torch.from_numpy(np.add.reduceat(rows.numpy(), starts.numpy(), axis=1))


def cell_means(sums: Tensor, counts: Tensor, heads: int) -> NDArray[np.float32]:
    """Sums of so many heads as means over the queries of a cell, and over the heads."""
    return (sums / (counts[:, None] * heads)).float().numpy()
