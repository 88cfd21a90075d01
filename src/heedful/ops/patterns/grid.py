"""Patterns of positions that lie on a grid, read row by row."""

from dataclasses import dataclass

import torch

from heedful._checks import Shape, as_grid, as_odd_sizes
from heedful._types import Bool, ColumnIndex, Int, RowIndex, Tensor
from heedful.ops._pairs import PairRule
from heedful.ops.patterns.base import Pattern
from heedful.ops.patterns.orders import SEQUENCE, ColumnRange, Grid, Index, LineOrder, Order, PatchOrder, as_slice


class _OnGrid(Pattern):
    """Queries and keys are the places of one grid."""

    grid: tuple[int, int]

    def check(self, shape: Shape) -> None:
        height, width = self.grid
        if shape[-2] != height * width or shape[-1] != height * width:
            raise ValueError(
                f"`grid` must have one place for each query and for each key: got {height} x {width} = {height * width} "
                f"places for a matrix of shape {list(shape)}."
            )

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def may_be_empty(self, shape: Shape) -> bool:
        return shape[-1] == 0

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return grid == self.grid

    def narrow(self) -> bool:
        return True

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        y, x = self._lines((rows // self.grid[1]).unique(), (rows % self.grid[1]).unique())
        return as_slice((y[:, None] * self.grid[1] + x).flatten())

    def _lines(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the columns of the grid in which all lies that some of its rows and columns see."""
        return torch.arange(self.grid[0]), torch.arange(self.grid[1])

    def transposed(self) -> Pattern:
        return self  # a grid read backwards is turned by half, and none of these notices


@dataclass(frozen=True)
class Neighborhood2d(_OnGrid):
    """Places of a grid see the places around them.

    `|y_j - y_i| <= height // 2` and `|x_j - x_i| <= width // 2`, where position i lies at row `y_i = i // columns` and
    column `x_i = i % columns`.

    Args:
        size: of the neighborhood, an odd number or two: (height, width).
        grid: (rows, columns); N = M = rows * columns.

    Raises:
        ValueError: `size` is not odd, `grid` is not two positive numbers, or the matrix is of another size.

    Example:
        >>> index = torch.arange(6)
        >>> Neighborhood2d(3, grid=(2, 3)).allowed(index[:2, None], index[None], (6, 6)).int()
        tensor([[1, 1, 0, 1, 1, 0],
                [1, 1, 1, 1, 1, 1]], dtype=torch.int32)

    Source: Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", 2019, equation 2.
    Differs from Hassani et al., "Neighborhood Attention Transformer", 2023, where a neighborhood at the border is moved
    inside: here it is cut off.
    """

    size: int | tuple[int, int]
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_odd_sizes("size", self.size))
        object.__setattr__(self, "grid", as_grid("grid", self.grid))

    def reach(self) -> tuple[int, int]:
        """How far a place sees, down and to the side."""
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        return height // 2, width // 2

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        down, sideways = self.reach()
        width = self.grid[1]
        near = (columns // width - rows // width).abs() <= down
        return near & ((columns % width - rows % width).abs() <= sideways)

    def pair_rule(self, shape: Shape) -> PairRule:
        (down, sideways), width = self.reach(), self.grid[1]
        return lambda b, h, i, j: (
            ((i // width - j // width).abs() <= down) & ((i % width - j % width).abs() <= sideways)
        )

    def masks_any(self, shape: Shape) -> bool:
        down, sideways = self.reach()
        return down < self.grid[0] - 1 or sideways < self.grid[1] - 1

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        height, width = self.grid
        down = self.reach()[0]
        first = (start // width - down).clamp(0, height) * width
        last = ((stop - 1) // width + 1 + down).clamp(0, height) * width
        return first, last.maximum(first)

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return PatchOrder(self.grid, self.reach()), SEQUENCE

    def _lines(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        lines = (
            (int(n.min()) - r, int(n.max()) + r + 1, size)
            for n, r, size in zip((y, x), self.reach(), self.grid, strict=True)
        )
        down, sideways = (torch.arange(max(first, 0), min(last, size)) for first, last, size in lines)
        return down, sideways


@dataclass(frozen=True)
class Axial(_OnGrid):
    """Places of a grid see their row and their column.

    `y_j = y_i` or `x_j = x_i`, where position i lies at row `y_i = i // columns` and column `x_i = i % columns`.

    Args:
        grid: (rows, columns); N = M = rows * columns.

    Raises:
        ValueError: `grid` is not two positive numbers, or the matrix is of another size.

    Example:
        >>> index = torch.arange(6)
        >>> Axial(grid=(2, 3)).allowed(index[:2, None], index[None], (6, 6)).int()
        tensor([[1, 1, 1, 1, 0, 0],
                [1, 1, 1, 0, 1, 0]], dtype=torch.int32)

    Source: Ho et al., "Axial Attention in Multidimensional Transformers", 2019, section 3.
    Differs from it: one attention over the row and the column, not one after the other.
    """

    grid: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", as_grid("grid", self.grid))

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        width = self.grid[1]
        return (rows // width == columns // width) | (rows % width == columns % width)

    def pair_rule(self, shape: Shape) -> PairRule:
        width = self.grid[1]
        return lambda b, h, i, j: (i // width == j // width) | (i % width == j % width)

    def masks_any(self, shape: Shape) -> bool:
        return min(self.grid) > 1

    def disjuncts(self) -> tuple[Pattern, ...]:
        return _SameRow(self.grid), _SameColumn(self.grid)


@dataclass(frozen=True)
class _SameRow(_OnGrid):
    """Places see the row of the grid that they lie in."""

    grid: tuple[int, int]

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return rows // self.grid[1] == columns // self.grid[1]

    def masks_any(self, shape: Shape) -> bool:
        return self.grid[0] > 1

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        width = self.grid[1]
        first = start // width * width
        return first, (((stop - 1) // width + 1) * width).maximum(first)

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return LineOrder(self.grid, 1), SEQUENCE

    def _lines(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return y, torch.arange(self.grid[1])


@dataclass(frozen=True)
class _SameColumn(_OnGrid):
    """Places see the column of the grid that they lie in."""

    grid: tuple[int, int]

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return rows % self.grid[1] == columns % self.grid[1]

    def masks_any(self, shape: Shape) -> bool:
        return self.grid[1] > 1

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return LineOrder(self.grid, 0), SEQUENCE

    def _lines(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.arange(self.grid[0]), x
