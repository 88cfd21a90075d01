"""What every pattern can say about itself, and how patterns combine."""

import abc
from dataclasses import dataclass

import torch

from heedful._checks import Shape, check_broadcasts
from heedful._types import Bool, ColumnIndex, Int, RowIndex, Tensor
from heedful.ops._pairs import PairRule, no_rule
from heedful.ops._tree import Value
from heedful.ops.patterns.orders import SEQUENCE, ColumnRange, Grid, Index, Order, intersection, union


class Pattern(Value):
    """Which pairs (query i, key j) may attend, for a matrix of shape `(..., H, N, M)`."""

    @abc.abstractmethod
    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        """True where a row may see a column; broadcasts to `(..., H, *tiles, n, m)`.

        Rows and columns are any places inside the matrix, in any order.
        """

    @abc.abstractmethod
    def check(self, shape: Shape) -> None:
        """Raises ValueError where the pattern contradicts the shape `(..., H, N, M)` of the matrix."""

    @abc.abstractmethod
    def depends(self, shape: Shape) -> tuple[bool, bool]:
        """Whether what is visible depends on the row, and on the column."""

    def masks_any(self, shape: Shape) -> bool:
        """Whether a pair may be masked."""
        return True

    def may_be_empty(self, shape: Shape) -> bool:
        """Whether a row may see nothing at all."""
        return True

    def is_diagonal(self, shape: Shape) -> bool:
        """Whether it shows exactly the pairs `j <= i`: kernels have a flag for that."""
        return False

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        """Whether a pair stays visible, or masked, when row and column move on together.

        Args:
            grid: both move by a step along an axis of this grid, without leaving it; None: by any number of positions.
        """
        return False

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        """For each interval of rows, `start <= i < stop`, the columns `first <= j < last` beyond which none of them sees.

        Args:
            start: the first row of each interval, on the CPU.
            stop: one more than its last row.
            shape: of the matrix.

        Returns:
            `first` and `last`, from 0 to M, `first <= last`, over all batches and heads.
        """
        return torch.zeros_like(start), torch.full_like(start, shape[-1])

    def narrow(self) -> bool:
        """Whether a row may see so few columns that blocks of them are worth looking for."""
        return type(self).columns is not Pattern.columns

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        """The orders in which a row sees few columns that stand together; the last one is that of the sequence."""
        return (SEQUENCE,)

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        """Columns among which are all that some rows see, at least one row; the rows stand in rising order."""
        first, last = self.columns(rows[:1], rows[-1:] + 1, shape)
        return slice(int(first), int(last))

    def pair_rule(self, shape: Shape) -> PairRule:
        """The pattern for one pair at a time, for a matrix of four axes; raises `Unsupported` where it has none."""
        return no_rule(self)

    def batched(self, shape: Shape) -> bool:
        """Whether the pattern differs along the axes before the heads; along the first axis if there are three."""
        return False

    def batch_entry(self, index: int, shape: Shape) -> "Pattern":
        """The pattern of one entry of the first axis of `shape`, for a matrix of shape `shape[1:]`."""
        return self

    def conjuncts(self) -> tuple["Pattern", ...]:
        """The patterns that all have to allow a pair; none of them is an `And`. What shows everything has none."""
        return (self,)

    def disjuncts(self) -> tuple["Pattern", ...]:
        """The patterns of which at least one has to allow a pair; none of them is an `Or`."""
        return (self,)

    def transposed(self) -> "Pattern":
        """The pattern of the transposed matrix, read backwards on both axes (so that a causal one is causal again)."""
        return _TransposedPattern(self)

    def __and__(self, other: "Pattern") -> "Pattern":
        """Pairs that both allow."""
        return And(self, other) if isinstance(other, Pattern) else NotImplemented

    def __or__(self, other: "Pattern") -> "Pattern":
        """Pairs that at least one allows."""
        return Or(self, other) if isinstance(other, Pattern) else NotImplemented

    def __invert__(self) -> "Pattern":
        """Pairs that this one masks."""
        return Not(self)


class _TwoPatterns(Pattern):
    """Two patterns of which each has its say."""

    first: Pattern
    second: Pattern

    def check(self, shape: Shape) -> None:
        self.first.check(shape)
        self.second.check(shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        a, b = self.first.depends(shape), self.second.depends(shape)
        return a[0] or b[0], a[1] or b[1]

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return self.first.translation_invariant(grid) and self.second.translation_invariant(grid)

    def narrow(self) -> bool:
        return self.first.narrow() or self.second.narrow()

    def batched(self, shape: Shape) -> bool:
        return self.first.batched(shape) or self.second.batched(shape)


@dataclass(frozen=True)
class And(_TwoPatterns):
    """Pairs that both patterns allow: `first & second`."""

    first: Pattern
    second: Pattern

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) & self.second.allowed(rows, columns, shape)

    def masks_any(self, shape: Shape) -> bool:
        return self.first.masks_any(shape) or self.second.masks_any(shape)

    def may_be_empty(self, shape: Shape) -> bool:
        if not self.first.masks_any(shape):
            return self.second.may_be_empty(shape)
        return self.second.masks_any(shape) or self.first.may_be_empty(shape)

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        (a, b), (c, d) = self.first.columns(start, stop, shape), self.second.columns(start, stop, shape)
        first = torch.maximum(a, c)
        return first, torch.minimum(b, d).maximum(first)

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        both = (*self.first.orders(shape)[:-1], *self.second.orders(shape)[:-1])
        return (*dict.fromkeys(both), SEQUENCE)

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        return intersection(self.first.visible_columns(rows, shape), self.second.visible_columns(rows, shape))

    def pair_rule(self, shape: Shape) -> PairRule:
        first, second = self.first.pair_rule(shape), self.second.pair_rule(shape)
        return lambda b, h, i, j: first(b, h, i, j) & second(b, h, i, j)

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        return And(self.first.batch_entry(index, shape), self.second.batch_entry(index, shape))

    def conjuncts(self) -> tuple[Pattern, ...]:
        return self.first.conjuncts() + self.second.conjuncts()

    def disjuncts(self) -> tuple[Pattern, ...]:
        seconds = self.second.disjuncts()
        return tuple(_intersection(a, b) for a in self.first.disjuncts() for b in seconds)

    def transposed(self) -> Pattern:
        return And(self.first.transposed(), self.second.transposed())


@dataclass(frozen=True)
class Or(_TwoPatterns):
    """Pairs that at least one of two patterns allows: `first | second`."""

    first: Pattern
    second: Pattern

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) | self.second.allowed(rows, columns, shape)

    def masks_any(self, shape: Shape) -> bool:
        return self.first.masks_any(shape) and self.second.masks_any(shape)

    def may_be_empty(self, shape: Shape) -> bool:
        return self.first.may_be_empty(shape) and self.second.may_be_empty(shape)

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        (a, b), (c, d) = self.first.columns(start, stop, shape), self.second.columns(start, stop, shape)
        hull = torch.minimum(a, c), torch.maximum(b, d)
        first_empty, second_empty = a == b, c == d  # what sees nothing does not widen the hull
        first, last = (
            torch.where(first_empty, of_second, torch.where(second_empty, of_first, both))
            for of_first, of_second, both in zip((a, b), (c, d), hull, strict=True)
        )
        return first, last

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        return union(self.first.visible_columns(rows, shape), self.second.visible_columns(rows, shape))

    def pair_rule(self, shape: Shape) -> PairRule:
        first, second = self.first.pair_rule(shape), self.second.pair_rule(shape)
        return lambda b, h, i, j: first(b, h, i, j) | second(b, h, i, j)

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        return Or(self.first.batch_entry(index, shape), self.second.batch_entry(index, shape))

    def conjuncts(self) -> tuple[Pattern, ...]:
        return (self,) if self.first.conjuncts() and self.second.conjuncts() else ()

    def disjuncts(self) -> tuple[Pattern, ...]:
        disjuncts = self.first.disjuncts() + self.second.disjuncts()
        return next(((disjunct,) for disjunct in disjuncts if _allows_all(disjunct)), disjuncts)

    def transposed(self) -> Pattern:
        return Or(self.first.transposed(), self.second.transposed())


@dataclass(frozen=True)
class Not(Pattern):
    """Pairs that a pattern masks: `~pattern`."""

    inner: Pattern

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return ~self.inner.allowed(rows, columns, shape)

    def check(self, shape: Shape) -> None:
        self.inner.check(shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.inner.depends(shape)

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return self.inner.translation_invariant(grid)

    def pair_rule(self, shape: Shape) -> PairRule:
        inner = self.inner.pair_rule(shape)
        return lambda b, h, i, j: ~inner(b, h, i, j)

    def batched(self, shape: Shape) -> bool:
        return self.inner.batched(shape)

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        return Not(self.inner.batch_entry(index, shape))

    def transposed(self) -> Pattern:
        return Not(self.inner.transposed())


@dataclass(frozen=True)
class _TransposedPattern(Pattern):
    """Rows and columns exchanged, both read backwards."""

    inner: Pattern

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        inner_shape = _transposed_shape(shape)
        return self.inner.allowed(inner_shape[-2] - 1 - columns.mT, inner_shape[-1] - 1 - rows.mT, inner_shape).mT

    def check(self, shape: Shape) -> None:
        self.inner.check(_transposed_shape(shape))

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = self.inner.depends(_transposed_shape(shape))
        return by_column, by_row

    def masks_any(self, shape: Shape) -> bool:
        return self.inner.masks_any(_transposed_shape(shape))

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return self.inner.translation_invariant(grid)

    def batched(self, shape: Shape) -> bool:
        return self.inner.batched(_transposed_shape(shape))

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        return _TransposedPattern(self.inner.batch_entry(index, _transposed_shape(shape)))

    def disjuncts(self) -> tuple[Pattern, ...]:
        inner = self.inner.disjuncts()
        return (self,) if len(inner) == 1 else tuple(disjunct.transposed() for disjunct in inner)

    def transposed(self) -> Pattern:
        return self.inner


def align_leading_axes(tensor: Tensor, own_axes: int, shape: Shape) -> Tensor:
    """A tensor whose axes but its last `own_axes` are the first of the matrix, with axes of size 1 for the matrix's others."""
    lead = tensor.dim() - own_axes
    return tensor.reshape(tensor.shape[:lead] + (1,) * (len(shape) - 2 - lead) + tensor.shape[lead:])


def check_leading_axes(name: str, tensor: Tensor, own_axes: int, shape: Shape) -> None:
    """Checks that the axes of `tensor` but its last `own_axes` are the first axes of the matrix, or of size 1."""
    axes = max(len(shape) - 3, len(shape) == 3) + own_axes
    if tensor.dim() > axes or tensor.dim() < own_axes:
        rule = f"at most {axes}" if tensor.dim() > axes else f"at least {own_axes}"
        raise ValueError(
            f"`{name}` must have {rule} axes for a matrix of shape {list(shape)}: got {list(tensor.shape)}."
        )
    lead = tensor.shape[: tensor.dim() - own_axes]
    padded = torch.empty(lead + (1,) * (len(shape) - len(lead)), device="meta")
    check_broadcasts(f"`{name}`, one for each of the first axes,", padded, shape)


def batch_entry_of(tensor: Tensor, index: int) -> Tensor:
    """One entry of the first axis, which may be of size 1 and stand for all."""
    return tensor[index if tensor.shape[0] > 1 else 0]


def _intersection(a: Pattern, b: Pattern) -> Pattern:
    if _allows_all(a):
        return b
    return a if _allows_all(b) else And(a, b)


def _allows_all(pattern: Pattern) -> bool:
    return not pattern.conjuncts()


def _transposed_shape(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])
