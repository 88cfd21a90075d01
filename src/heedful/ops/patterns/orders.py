"""Orders in which a matrix can be read so that what a row may see is one run of columns.

In the order of the sequence, a window is a run; a dilated window is one among every k-th position, a neighborhood of a grid
among a few of its rows that are read along its columns. An order parts the matrix into lanes, and each pattern says which
orders suit it: an engine asks, and never looks at the class of a pattern.
"""

import abc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor

ColumnRange = tuple[Tensor, Tensor]  # the first column of each interval of rows, and one more than the last
Columns = Callable[[Tensor, Tensor], ColumnRange]  # of a pattern, for intervals of rows
Index = slice | Tensor  # a run of positions, or their numbers
Grid = tuple[int, int]


class StridedRows(NamedTuple):
    """Positions `offset + sum_a strides[a] * i_a` with `i_a < sizes[a]`, the last axis fastest."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def length(self) -> int:
        """How many positions."""
        return math.prod(self.sizes)

    @property
    def is_view(self) -> bool:
        """Whether the rows of a tensor at these positions are a view of it."""
        return len(self.sizes) == 1

    def positions(self) -> Int[Tensor, "n"]:
        """The positions, in order."""
        total = torch.full((1,) * len(self.sizes), self.offset)
        for axis, (size, stride) in enumerate(zip(self.sizes, self.strides, strict=True)):
            total = total + (torch.arange(size) * stride).reshape((-1,) + (1,) * (len(self.sizes) - 1 - axis))
        return total.flatten()

    def of(self, tensor: Float[Tensor, "x N F"]) -> Float[Tensor, "x n F"]:
        """The rows of a tensor at these positions: a view where there is one stride, a copy otherwise."""
        if self.strides == (1,):
            return tensor.narrow(1, self.offset, self.sizes[0])
        view = self._view(tensor)
        return view if self.is_view else view.reshape(len(tensor), self.length, tensor.shape[2])

    def add(self, tensor: Float[Tensor, "x N F"], values: Float[Tensor, "x n F"]) -> None:
        """Adds rows at these positions, in place."""
        view = self._view(tensor)
        view.add_(values.view(view.shape))

    def put(self, tensor: Float[Tensor, "x N F"], values: Float[Tensor, "x n F"]) -> None:
        """Writes rows at these positions."""
        view = self._view(tensor)
        view.copy_(values.view(view.shape))

    def _view(self, tensor: Tensor) -> Tensor:
        x, row, one = tensor.stride()
        sizes = (tensor.shape[0], *self.sizes, tensor.shape[2])
        strides = (x, *(stride * row for stride in self.strides), one)
        return tensor.as_strided(sizes, strides, tensor.storage_offset() + self.offset * row)


class Indices(NamedTuple):
    """Any positions, by number, in rising order."""

    numbers: Int[Tensor, "n"]
    is_view: bool = False

    @property
    def length(self) -> int:
        """How many positions."""
        return len(self.numbers)

    def positions(self) -> Int[Tensor, "n"]:
        """The positions, in order."""
        return self.numbers

    def of(self, tensor: Float[Tensor, "x N F"]) -> Float[Tensor, "x n F"]:
        """The rows of a tensor at these positions."""
        return tensor.index_select(1, self.numbers)

    def add(self, tensor: Float[Tensor, "x N F"], values: Float[Tensor, "x n F"]) -> None:
        """Adds rows at these positions, in place."""
        tensor.index_add_(1, self.numbers, values)

    def put(self, tensor: Float[Tensor, "x N F"], values: Float[Tensor, "x n F"]) -> None:
        """Writes rows at these positions."""
        tensor.index_copy_(1, self.numbers.long(), values)


class Lane(NamedTuple):
    """Some rows and some columns of the matrix, each in an order of their own, in cells of a few of them.

    Attributes:
        rows: the queries, `height` to a cell.
        columns: the keys, `width` to a cell.
        runs: for intervals `start <= c < stop` of cells of rows, the cells of columns beyond which none of them sees.
        height: rows of a cell.
        width: columns of a cell.
        block: how many cells of rows suit one block; None: as many as their runs suggest.
        natural: rows and columns are those of the matrix, in its own order.
    """

    rows: StridedRows | Indices
    columns: StridedRows | Indices
    runs: Columns
    height: int = 1
    width: int = 1
    block: int | None = None
    natural: bool = False


class Order(abc.ABC):
    """An order to read a matrix in; a pattern that suggests it shows nothing beyond its lanes."""

    separate: bool = False
    """Whether it takes few rows that see much: tiles compute them by themselves."""
    rank = 0  # of several orders, tiles take that of the highest rank

    @abc.abstractmethod
    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        """The lanes, of which no two have a row in common.

        Args:
            columns: what a pattern says of its columns: its runs may be narrower than the order's own.
            shape: of the matrix.
        """

    def translation_grid(self) -> Grid | None:
        """The grid along whose axes one goes from block to block; None: along the sequence."""
        return None

    def chunks(self, shape: Shape, size: int) -> Iterator[Index]:
        """All rows, in tiles of about `size` that see much the same."""
        yield from (slice(start, min(start + size, shape[-2])) for start in range(0, shape[-2], size))


@dataclass(frozen=True)
class SequenceOrder(Order):
    """Rows and columns as they stand."""

    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        yield Lane(_contiguous(shape[-2]), _contiguous(shape[-1]), columns, natural=True)


@dataclass(frozen=True)
class ResidueOrder(Order):
    """Every k-th position by itself: there a dilated window is a plain one.

    Attributes:
        step: k.
        offset: the position of query 0 among the keys.
        before: how many keys of the same residue a query sees before its own.
        after: how many after its own.
    """

    step: int
    offset: int
    before: int
    after: int
    rank = 1

    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        k = self.step
        for residue in range(min(k, shape[-1])):
            first_row = (residue - self.offset) % k
            n, m = len(range(first_row, shape[-2], k)), len(range(residue, shape[-1], k))
            if n and m:
                rows, keys = StridedRows(first_row, (n,), (k,)), StridedRows(residue, (m,), (k,))
                yield Lane(rows, keys, self._runs(columns, first_row, residue, m))

    def _runs(self, columns: Columns, first_row: int, residue: int, count: int) -> Columns:
        k, shift = self.step, (first_row + self.offset - residue) // self.step

        def runs(start: Tensor, stop: Tensor) -> ColumnRange:
            low, high = columns(first_row + start * k, first_row + (stop - 1) * k + 1)
            first = torch.maximum(start + shift - self.before, -((residue - low) // k)).clamp(0, count)
            last = torch.minimum(stop + shift + self.after, (high - 1 - residue) // k + 1).clamp(0, count)
            return first, last.maximum(first)

        return runs

    def chunks(self, shape: Shape, size: int) -> Iterator[Index]:
        for residue in range(min(self.step, shape[-2])):
            yield from (as_slice(rows) for rows in torch.arange(residue, shape[-2], self.step).split(size))


@dataclass(frozen=True)
class PatchOrder(Order):
    """A few rows of a grid, read along its columns: there a neighborhood is a window.

    Attributes:
        grid: (rows, columns).
        reach: how far a cell sees, down and to the side.
    """

    grid: Grid
    reach: tuple[int, int]
    rank = 3
    tall, wide = 4, 8  # rows and columns of the grid in a block of queries

    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        (height, width), (down, sideways) = self.grid, self.reach

        def runs(start: Tensor, stop: Tensor) -> ColumnRange:
            return (start - sideways).clamp(min=0), (stop + sideways).clamp(max=width)

        for top in range(0, height, self.tall):
            bottom = min(top + self.tall, height)
            above, below = max(top - down, 0), min(bottom + down, height)
            rows, keys = (
                _strided(first * width, (width, n), (1, width))
                for first, n in ((top, bottom - top), (above, below - above))
            )
            yield Lane(rows, keys, runs, bottom - top, below - above, block=self.wide)

    def translation_grid(self) -> Grid:
        return self.grid

    def chunks(self, shape: Shape, size: int) -> Iterator[Index]:
        height, width = self.grid
        for top in range(0, height, 8):
            for left in range(0, width, 8):
                y, x = torch.arange(top, min(top + 8, height)), torch.arange(left, min(left + 8, width))
                yield as_slice((y[:, None] * width + x).flatten())


@dataclass(frozen=True)
class LineOrder(Order):
    """Each row of a grid by itself, or each of its columns.

    Attributes:
        grid: (rows, columns).
        axis: 0 for the columns, which go along axis 0; 1 for the rows.
    """

    grid: Grid
    axis: int
    rank = 2

    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        height, width = self.grid
        order = _contiguous(height * width) if self.axis == 1 else _strided(0, (width, height), (1, width))
        size = self.grid[self.axis]
        yield Lane(order, order, lambda start, stop: (start, stop), size, size, block=1)

    def translation_grid(self) -> Grid:
        return self.grid

    def chunks(self, shape: Shape, size: int) -> Iterator[Index]:
        width = self.grid[1]
        for start in range(0, shape[-2], width):
            yield from (slice(start + left, start + min(left + 8, width)) for left in range(0, width, 8))


@dataclass(frozen=True, eq=False)
class IndexOrder(Order):
    """Chosen rows against all columns, or all rows against chosen columns.

    Attributes:
        index: the positions.
        axis: of the matrix: -2 for rows, -1 for columns.
    """

    index: Int[Tensor, " T"]
    axis: int

    @property
    def separate(self) -> bool:  # type: ignore[override]
        return self.axis == -2

    def lanes(self, columns: Columns, shape: Shape) -> Iterator[Lane]:
        indices = Indices(self.index.flatten().cpu().long().unique())
        rows, keys = (indices, _contiguous(shape[-1])) if self.separate else (_contiguous(shape[-2]), indices)

        def runs(start: Tensor, stop: Tensor) -> ColumnRange:
            return torch.zeros_like(start), torch.full_like(start, keys.length)

        if indices.length:
            yield Lane(rows, keys, runs)


SEQUENCE = SequenceOrder()


def as_slice(index: Int[Tensor, "n"]) -> Index:
    """A slice where numbers follow each other."""
    if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index) and bool((index.diff() == 1).all()):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def indices_of(index: Index) -> Int[Tensor, "n"]:
    """The positions, one by one."""
    return torch.arange(index.start, index.stop) if isinstance(index, slice) else index


def length_of(index: Index) -> int:
    """How many positions."""
    return index.stop - index.start if isinstance(index, slice) else len(index)


def intersection(a: Index, b: Index) -> Index:
    """Positions among which are all that two indices have in common."""
    if isinstance(a, slice) and isinstance(b, slice):
        start = max(a.start, b.start)
        return slice(start, max(min(a.stop, b.stop), start))
    smaller, larger = (a, b) if length_of(a) <= length_of(b) else (b, a)
    if isinstance(larger, slice) and torch.is_tensor(smaller):
        return smaller[(smaller >= larger.start) & (smaller < larger.stop)]
    return smaller


def union(a: Index, b: Index) -> Index:
    """The positions of both."""
    if not length_of(a) or not length_of(b):
        return a if length_of(a) else b
    return as_slice(torch.cat([indices_of(a), indices_of(b)]).unique())


def _contiguous(count: int) -> StridedRows:
    return StridedRows(0, (count,), (1,))


def _strided(offset: int, sizes: tuple[int, int], strides: tuple[int, int]) -> StridedRows:
    """Axes of size 1 say nothing, and two axes that follow each other are one: then rows are a view."""
    if 1 in sizes:
        axis = sizes.index(1)
        return StridedRows(offset, (sizes[1 - axis],), (strides[1 - axis],))
    if strides[0] == sizes[1] * strides[1]:
        return StridedRows(offset, (math.prod(sizes),), (strides[1],))
    return StridedRows(offset, sizes, strides)
