"""Biases by distance: from the query's position to the key's, along a line or on a grid."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from heedful._checks import Shape, as_grid, as_integer, check_broadcasts, check_positive
from heedful._types import ColumnIndex, Float, Int, RowIndex, Tensor
from heedful.ops._pairs import PairRule
from heedful.ops.biases.base import Bias, check_device, check_numbers, wide

Align = Literal["start", "end"] | None
Grid = tuple[int, int]


@dataclass(frozen=True, eq=False)
class ALiBi(Bias):
    """The farther away, the less: `bias_hij = -slope_h |p_i - j|`, where query i stands at position p_i among the keys.

    Args:
        slopes: one a head, `[H]` (or `[..., H]`); they may learn. A number of heads stands for those of the paper,
            `alibi_slopes(heads)`, in float32.
        align: where the queries stand if they are not as many as the keys. "start": query 0 at key 0; "end": the last
            query at the last key, as with a cache of earlier keys. None: they must be equally many.

    Raises:
        TypeError: `slopes` is not floating point.
        ValueError: `slopes` or `align` is not one of those.

    Example:
        >>> index = torch.arange(3)
        >>> ALiBi(torch.tensor([0.5])).at(index[:, None], index[None], (1, 3, 3))
        tensor([[[ 0.0000, -0.5000, -1.0000],
                 [-0.5000,  0.0000, -0.5000],
                 [-1.0000, -0.5000,  0.0000]]])

    Differs from the paper, which is about causal attention only, in that later keys fall off as earlier ones do.

    Source: Press et al. 2022, section 3.
    """

    slopes: Float[Tensor, "... H"] | int
    align: Align = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "slopes", _as_slopes(self.slopes))
        _check_align(self.align)

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        return _linear_decay(self.slopes, (columns - rows - self.offset(shape)).abs())

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        offset, slopes = self.offset(shape), self.slopes
        slopes = torch.tensor(alibi_slopes(slopes)) if isinstance(slopes, int) else slopes
        each = slopes.to(device).expand(shape[:-2])
        return lambda b, h, i, j: -each[b, h] * (i + offset - j).abs()

    def offset(self, shape: Shape) -> int:
        """The position of query 0 among the keys."""
        return _offset(self.align, shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        _check_aligned("ALiBi", self.align, shape)
        _check_heads("slopes", self.slopes, query, shape)


@dataclass(frozen=True, eq=False)
class ALiBi2d(Bias):
    """The farther away on a grid, the less: `bias_hij = -slope_h sqrt(dy^2 + dx^2)`, the Euclidean distance in cells.

    Args:
        slopes: one a head, as in `ALiBi`.
        grid: the (rows, columns) of the grid, whose cells are the positions, row by row.

    Raises:
        TypeError: `slopes` is not floating point.
        ValueError: `slopes` or `grid` is not one of those.

    Example:
        >>> index = torch.arange(4)
        >>> ALiBi2d(torch.tensor([1.0]), grid=(2, 2)).at(index[:1, None], index[None], (1, 4, 4))
        tensor([[[ 0.0000, -1.0000, -1.0000, -1.4142]]])

    Source: Press et al. 2022, section 3, with the distance of a plane in the place of that on a line.
    """

    slopes: Float[Tensor, "... H"] | int
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "slopes", _as_slopes(self.slopes))
        object.__setattr__(self, "grid", as_grid("grid", self.grid))

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        down, right = _steps(rows, columns, self.grid)
        dtype = torch.float32 if isinstance(self.slopes, int) else wide(self.slopes).dtype
        return _linear_decay(self.slopes, (down * down + right * right).to(dtype).sqrt())

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        _check_cells(self.grid, shape)
        _check_heads("slopes", self.slopes, query, shape)


@dataclass(frozen=True, eq=False)
class RelativeBias(Bias):
    """A number for each distance, from a table: `bias_hij = table[h, bucket(j - p_i)]`, query i at position p_i of the keys.

    "clip": a bucket for each distance from -reach to reach, the outermost ones also for what is farther away,
    `bucket(d) = clamp(d, -reach, reach) + reach`. "log": the buckets of T5, `log_buckets`. Any length works.

    Args:
        table: `[H, 2 reach + 1]` for "clip", `[H, buckets]` for "log" (or with axes in front of H); it may learn.
        buckets: "clip" or "log".
        max_distance: where "log" begins to use its last bucket.
        bidirectional: whether later keys have buckets of their own. If not, a later key counts as one at distance 0, and the table
            of "clip" is `[H, reach + 1]`, by how far the key lies behind.
        align: as in `ALiBi`.

    Raises:
        TypeError: `table` is not floating point.
        ValueError: the table's size does not fit `buckets` and `max_distance`, or one of the others is not what it can be.

    Example:
        >>> index = torch.arange(4)
        >>> RelativeBias(torch.tensor([[-1.0, 0.0, 1.0]])).at(index[:, None], index[None], (1, 4, 4))
        tensor([[[ 0.,  1.,  1.,  1.],
                 [-1.,  0.,  1.,  1.],
                 [-1., -1.,  0.,  1.],
                 [-1., -1., -1.,  0.]]])

    Source: Shaw et al. 2018, section 3.2 (clipping; there the table holds vectors); Raffel et al. 2020, section 2.1.
    """

    table: Float[Tensor, "... H K"]
    buckets: Literal["clip", "log"] = "clip"
    max_distance: int = 128
    bidirectional: bool = True
    align: Align = None

    def __post_init__(self) -> None:
        check_numbers("table", self.table, "[..., H, buckets]")
        _check_align(self.align)
        object.__setattr__(self, "max_distance", as_integer("max_distance", self.max_distance))
        if self.buckets == "log":
            _check_buckets(self.table.shape[-1], self.max_distance, self.bidirectional)
        elif self.buckets != "clip":
            raise ValueError(f"`buckets` must be 'clip' or 'log': got {self.buckets!r}.")
        elif self.table.shape[-1] < 1 or (self.bidirectional and self.table.shape[-1] % 2 == 0):
            rule = "an odd number of buckets, 2 reach + 1" if self.bidirectional else "at least one bucket"
            raise ValueError(f"`table` must have {rule}: got {self.table.shape[-1]}.")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        distance, count = columns - rows - _offset(self.align, shape), self.table.shape[-1]
        if self.buckets == "log":
            index = log_buckets(distance, count, max_distance=self.max_distance, bidirectional=self.bidirectional)
        elif self.bidirectional:
            index = distance.clamp(-(count // 2), count // 2) + count // 2
        else:
            index = (-distance).clamp(0, count - 1)
        return _entries(self.table, index)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        _check_aligned("RelativeBias", self.align, shape)
        _check_heads("table", self.table[..., 0], query, shape)


@dataclass(frozen=True, eq=False)
class RelativeBias2d(Bias):
    """A number for each step on a grid, from a table: `bias_hij = table[h, dy + R - 1, dx + C - 1]`.

    The step (dy, dx) goes from the query's cell to the key's, on a grid of R rows and C columns.

    Args:
        table: `[H, 2 R - 1, 2 C - 1]` (or with axes in front of H); it may learn.
        grid: the (rows, columns) of the grid, whose cells are the positions, row by row.

    Raises:
        TypeError: `table` is not floating point.
        ValueError: the table's size does not fit the grid.

    Example:
        >>> index = torch.arange(4)
        >>> table = torch.arange(9.0).reshape(1, 3, 3)
        >>> RelativeBias2d(table, grid=(2, 2)).at(index[:, None], index[None], (1, 4, 4))
        tensor([[[4., 5., 7., 8.],
                 [3., 4., 6., 7.],
                 [1., 2., 4., 5.],
                 [0., 1., 3., 4.]]])

    Differs from the authors' code, where a step goes from the key to the query: flip both axes of a table from there.

    Source: Liu et al. 2021 (Swin), equation 4.
    """

    table: Float[Tensor, "... H Y X"]
    grid: Grid

    def __post_init__(self) -> None:
        check_numbers("table", self.table, "[..., H, 2 R - 1, 2 C - 1]")
        object.__setattr__(self, "grid", as_grid("grid", self.grid))
        wanted = [2 * n - 1 for n in self.grid]
        if list(self.table.shape[-2:]) != wanted:
            got = list(self.table.shape[-2:])
            raise ValueError(f"`table` must end with the axes {wanted} for a grid of {self.grid}: got {got}.")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        (down, right), (height, width) = _steps(rows, columns, self.grid), self.grid
        return _entries(self.table.flatten(-2), (down + height - 1) * (2 * width - 1) + right + width - 1)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        _check_cells(self.grid, shape)
        _check_heads("table", self.table[..., 0, 0], query, shape)


def alibi_slopes(heads: int) -> list[float]:
    """The slopes of `ALiBi`: from head to head a constant factor, down to 2^-8, `slope_h = 2^(-8 h / H)`, h from 1 to H.

    That is for a power of two. For other numbers of heads P, the power of two below, gives its slopes to the first P heads; the
    rest take the 1st, 3rd, 5th ... of those for 2 P heads, which lie between them.

    Raises:
        ValueError: `heads` is not positive.

    Example:
        >>> alibi_slopes(4)
        [0.25, 0.0625, 0.015625, 0.00390625]

    Source: Press et al. 2022, section 3; other numbers of heads: the authors' code.
    """
    heads = check_positive("heads", heads)
    power = 1 << (heads.bit_length() - 1)
    first = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    return first + [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)][: heads - power]


def log_buckets(
    distance: Int[Tensor, "*axes"], count: int, *, max_distance: int = 128, bidirectional: bool = True
) -> Int[Tensor, "*axes"]:
    """The buckets of T5: one for each short distance, and for long ones wider and wider, by their logarithm.

    With two sides, the first half of the buckets is for keys at or behind the query, the second for those after it. Of the n
    buckets of a side, half are for the distances 0 to e - 1, e = n // 2; a longer distance d is in
    `e + floor((n - e) log(d / e) / log(max_distance / e))`, and at the most in n - 1.

    Args:
        distance: from the query to the key, `j - p_i`.
        count: the number of buckets; even with two sides.
        max_distance: from here on everything is in the last bucket.
        bidirectional: if not, all keys after the query are in bucket 0.

    Raises:
        TypeError: `distance` holds no integers.
        ValueError: `count` is too small or odd, or `max_distance` is not beyond the short distances.

    Example:
        >>> log_buckets(torch.tensor([-200, -20, -2, 0, 2, 20, 200]), 32)
        tensor([15, 10,  2,  0, 18, 26, 31])

    Source: Raffel et al. 2020, section 2.1.
    """
    count, max_distance = as_integer("count", count), as_integer("max_distance", max_distance)
    _check_buckets(count, max_distance, bidirectional)
    if distance.is_floating_point() or distance.dtype == torch.bool:
        raise TypeError(f"`distance` must be integers: got {distance.dtype}.")
    distance = distance.long()  # narrow ones have no place for their opposite, nor for large buckets
    side = count // 2 if bidirectional else count
    short = side // 2
    far = distance.abs() if bidirectional else (-distance).clamp(min=0)
    logs = (far.clamp(min=1).float() / short).log() / math.log(max_distance / short)
    wide = (short + (logs * (side - short)).to(far.dtype)).clamp(max=side - 1)
    bucket = torch.where(far < short, far, wide)
    return bucket + side * (distance > 0) if bidirectional else bucket


def _entries(table: Tensor, index: Tensor) -> Tensor:
    """The entries `[..., H, *tiles, n, m]` of a table `[..., H, K]` at `index [*tiles, n, m]`."""
    return table.index_select(-1, index.flatten()).reshape(*table.shape[:-1], *index.shape)


def _linear_decay(slopes: Tensor | int, distance: Tensor) -> Tensor:
    if isinstance(slopes, int):
        slopes = torch.tensor(alibi_slopes(slopes), dtype=torch.float32, device=distance.device)
    slopes = wide(slopes)
    return slopes.reshape(*slopes.shape, *(1,) * distance.dim()) * (0 - distance).to(slopes.dtype)


def _steps(rows: Tensor, columns: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """From each query's cell to each key's: down and to the right."""
    return columns // grid[1] - rows // grid[1], columns % grid[1] - rows % grid[1]


def _offset(align: Align, shape: Shape) -> int:
    """The position of query 0 among the keys."""
    return shape[-1] - shape[-2] if align == "end" else 0


def _as_slopes(slopes: Tensor | int) -> Tensor | int:
    if isinstance(slopes, Tensor):
        check_numbers("slopes", slopes, "[..., H]")
        return slopes
    heads = as_integer("slopes", slopes, rule="a tensor, or a positive number of heads")
    if heads < 1:
        raise ValueError(f"`slopes` must be a tensor, or a positive number of heads: got {heads}.")
    return heads


def _check_heads(name: str, per_head: Tensor | int, query: Tensor, shape: Shape) -> None:
    if isinstance(per_head, int):
        per_head = query.new_empty(per_head)
    check_device(f"`{name}`", per_head, query)
    axes = "[..., H]" if name == "slopes" else "[..., H] with its axes of heads"
    check_broadcasts(f"`{name}`", per_head, shape[:-2], axes)


def _check_align(align: Align) -> None:
    if align not in (None, "start", "end"):
        raise ValueError(f"`align` must be None, 'start' or 'end': got {align!r}.")


def _check_aligned(name: str, align: Align, shape: Shape) -> None:
    if align is None and shape[-2] != shape[-1]:
        raise ValueError(
            f"`{name}` needs as many queries as keys unless `align` is 'start' or 'end': got {shape[-2]} and {shape[-1]}."
        )


def _check_cells(grid: Grid, shape: Shape) -> None:
    if shape[-2:] != (grid[0] * grid[1],) * 2:
        raise ValueError(
            f"`grid` must have as many cells as there are queries and keys, {shape[-2]} and {shape[-1]}: got {grid}."
        )


def _check_buckets(count: int, max_distance: int, bidirectional: bool) -> None:
    least, short = (4, count // 4) if bidirectional else (2, count // 2)
    if count < least or (bidirectional and count % 2):
        rule = f"even and at least {least}" if bidirectional else f"at least {least}"
        raise ValueError(f"the number of buckets must be {rule}: got {count}.")
    if max_distance <= short:
        raise ValueError(
            f"`max_distance` must be more than {short}, the short distances of {count} buckets: got {max_distance}."
        )
