"""Patterns of positions in a row."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from heedful._checks import Shape, as_integer, as_integers
from heedful._types import Bool, ColumnIndex, Int, RowIndex, Tensor
from heedful.ops._concrete import concrete
from heedful.ops._pairs import PairRule, per_batch
from heedful.ops.patterns.base import (
    And,
    Pattern,
    align_leading_axes,
    batch_entry_of,
    check_leading_axes,
)
from heedful.ops.patterns.orders import SEQUENCE, ColumnRange, Grid, Index, Order, ResidueOrder, as_slice, indices_of


@dataclass(frozen=True)
class Global(Pattern):
    """Everything sees everything."""

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return torch.ones(1, 1, dtype=torch.bool, device=rows.device)

    def check(self, shape: Shape) -> None:
        pass

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, False

    def pair_rule(self, shape: Shape) -> PairRule:
        return lambda b, h, i, j: j >= 0

    def masks_any(self, shape: Shape) -> bool:
        return False

    def may_be_empty(self, shape: Shape) -> bool:
        return shape[-1] == 0

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return True

    def conjuncts(self) -> tuple[Pattern, ...]:
        return ()

    def transposed(self) -> Pattern:
        return self


def all_of(patterns: Sequence[Pattern]) -> Pattern:
    """Pairs that all of some patterns allow."""
    return functools.reduce(And, patterns) if patterns else Global()


class _Aligned(Pattern):
    """What is visible depends on where a query stands among the keys."""

    align: Literal["start", "end"] | None

    def offset(self, shape: Shape) -> int:
        """The position of query 0 among the keys."""
        return shape[-1] - shape[-2] if self.align == "end" else 0

    def check(self, shape: Shape) -> None:
        if self.align is None and shape[-2] != shape[-1]:
            raise ValueError(
                f"`{type(self).__name__}()` needs as many queries as keys unless `align` is 'start' or 'end': "
                f"got {shape[-2]} and {shape[-1]}."
            )

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True


@dataclass(frozen=True)
class Causal(_Aligned):
    """Query i sees the keys up to its own position, `j <= i`.

    Args:
        align: what "its own position" means where there are not as many queries as keys. "start": query 0 stands at
            key 0; "end": the last query stands at the last key, as with a cache of earlier keys, `j <= i + M - N`.
            None: queries and keys must be equally many.

    Example:
        >>> index = torch.arange(3)
        >>> Causal().allowed(index[:, None], index[None], (3, 3)).int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """

    align: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        _check_align(self.align)

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return columns <= rows + self.offset(shape)

    def pair_rule(self, shape: Shape) -> PairRule:
        offset = self.offset(shape)
        return lambda b, h, i, j: j <= i + offset

    def masks_any(self, shape: Shape) -> bool:
        return self.offset(shape) < shape[-1] - 1

    def may_be_empty(self, shape: Shape) -> bool:
        return self.offset(shape) < 0 or shape[-1] == 0

    def is_diagonal(self, shape: Shape) -> bool:
        return self.offset(shape) == 0

    def narrow(self) -> bool:
        return False  # half of the matrix, for which there is a flag

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return True

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        return torch.zeros_like(start), (stop + self.offset(shape)).clamp(0, shape[-1])

    def transposed(self) -> Pattern:
        return Causal(_other_end(self.align))


@dataclass(frozen=True)
class Local(_Aligned):
    """Query i sees the keys near its own position p, `p - before <= j <= p + after`.

    Args:
        before: how many keys before its own.
        after: how many keys after its own; None: as many as before.
        align: where query 0 stands where there are not as many queries as keys, as in `Causal`: `p = i` ("start"), or
            `p = i + M - N` ("end"). None: queries and keys must be equally many.

    Raises:
        TypeError: `before` or `after` is no integer.
        ValueError: `before` or `after` is negative, or the sizes of the matrix differ and `align` is None.

    Example:
        >>> index = torch.arange(4)
        >>> Local(1, 0).allowed(index[:, None], index[None], (4, 4)).int()
        tensor([[1, 0, 0, 0],
                [1, 1, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)

    Source: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", 2015, section 3.2 (the
    window of local-m); Beltagy et al., "Longformer", 2020, section 3.1 (sliding window).
    """

    before: int
    after: int | None = None
    align: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", as_integer("before", self.before, 0))
        if self.after is not None:
            object.__setattr__(self, "after", as_integer("after", self.after, 0))
        _check_align(self.align)

    def reach(self) -> tuple[int, int]:
        """How many keys before and after its own a query sees."""
        return self.before, self.before if self.after is None else self.after

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        before, after = self.reach()
        position = rows + self.offset(shape)
        return (columns >= position - before) & (columns <= position + after)

    def pair_rule(self, shape: Shape) -> PairRule:
        (before, after), offset = self.reach(), self.offset(shape)
        return lambda b, h, i, j: (j >= i + offset - before) & (j <= i + offset + after)

    def masks_any(self, shape: Shape) -> bool:
        return _window_masks_any(*self.reach(), self.offset(shape), shape)

    def may_be_empty(self, shape: Shape) -> bool:
        before, after = self.reach()
        offset = self.offset(shape)
        return offset + after < 0 or shape[-2] + offset - before > shape[-1] or shape[-1] == 0

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return True

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        return _window_columns(*self.reach(), start + self.offset(shape), stop + self.offset(shape), shape)

    def transposed(self) -> Pattern:
        return Local(self.before, self.after, _other_end(self.align))


@dataclass(frozen=True)
class Dilated(_Aligned):
    """Query i sees every k-th key near its own position p: `j = p + k t` with `-before <= t <= after`, k the dilation.

    Args:
        before: how many keys before its own.
        after: how many keys after its own; None: as many as before.
        dilation: the step k from one to the next.
        align: where query 0 stands where there are not as many queries as keys, as in `Causal` and `Local`.

    Raises:
        TypeError: `before`, `after` or `dilation` is no integer.
        ValueError: `before` or `after` is negative, `dilation` is not positive, or the sizes of the matrix differ and
            `align` is None.

    Example:
        >>> index = torch.arange(5)
        >>> Dilated(1, dilation=2).allowed(index[:3, None], index[None], (5, 5)).int()
        tensor([[1, 0, 1, 0, 0],
                [0, 1, 0, 1, 0],
                [1, 0, 1, 0, 1]], dtype=torch.int32)

    Source: Beltagy et al., "Longformer", 2020, section 3.1 (dilated sliding window).
    """

    before: int
    after: int | None = None
    dilation: int = 2
    align: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", as_integer("before", self.before, 0))
        if self.after is not None:
            object.__setattr__(self, "after", as_integer("after", self.after, 0))
        object.__setattr__(self, "dilation", as_integer("dilation", self.dilation, 1))
        _check_align(self.align)

    def reach(self) -> tuple[int, int]:
        """How many keys before and after its own a query sees, in steps of the dilation."""
        return self.before, self.before if self.after is None else self.after

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        before, after = self.reach()
        distance = columns - rows - self.offset(shape)
        near = (distance >= -before * self.dilation) & (distance <= after * self.dilation)
        return near & (distance % self.dilation == 0)

    def pair_rule(self, shape: Shape) -> PairRule:
        (before, after), k, offset = self.reach(), self.dilation, self.offset(shape)
        return lambda b, h, i, j: (
            (j >= i + offset - before * k) & (j <= i + offset + after * k) & ((j - i - offset) % k == 0)
        )

    def masks_any(self, shape: Shape) -> bool:
        before, after = self.reach()
        return self.dilation > 1 or _window_masks_any(before, after, self.offset(shape), shape)

    def may_be_empty(self, shape: Shape) -> bool:
        offset = self.offset(shape)
        return offset < 0 or shape[-2] + offset > shape[-1] or shape[-1] == 0  # a query off the keys may step over them

    def translation_invariant(self, grid: Grid | None = None) -> bool:
        return True

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        before, after = (n * self.dilation for n in self.reach())
        return _window_columns(before, after, start + self.offset(shape), stop + self.offset(shape), shape)

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return ResidueOrder(self.dilation, self.offset(shape), *self.reach()), SEQUENCE

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        column = indices_of(super().visible_columns(rows, shape))
        residue = ((rows + self.offset(shape)) % self.dilation).unique()
        return as_slice(column[torch.isin(column % self.dilation, residue)])

    def transposed(self) -> Pattern:
        return Dilated(self.before, self.after, self.dilation, _other_end(self.align))


@dataclass(frozen=True, eq=False)
class Prefix(_Aligned):
    """Everything sees the first n keys; beyond them query i sees the keys up to its own position, `j < n or j <= i`.

    Args:
        n: how many, one number or integers `[B]`, a tensor, an array or a list, whose axes line up with the first axes
            of the matrix.
        align: where query 0 stands where there are not as many queries as keys, as in `Causal`.

    Raises:
        TypeError: `n` is no integer, or holds none.
        ValueError: a number is not from 0 to M, or the sizes of the matrix differ and `align` is None.

    Example:
        >>> index = torch.arange(4)
        >>> Prefix(2).allowed(index[:, None], index[None], (4, 4)).int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0],
                [1, 1, 1, 0],
                [1, 1, 1, 1]], dtype=torch.int32)

    Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020,
    figure 4 ("prefix LM").
    """

    n: Int[Tensor, "..."] | int
    align: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", as_integers("n", self.n))
        _check_align(self.align)

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return (columns < _first_keys(self.n, columns, shape)) | (columns <= rows + self.offset(shape))

    def check(self, shape: Shape) -> None:
        _Aligned.check(self, shape)
        _check_counts("n", self.n, shape)

    def pair_rule(self, shape: Shape) -> PairRule:
        n, offset = per_batch(self.n, shape), self.offset(shape)
        return lambda b, h, i, j: (j < n(b)) | (j <= i + offset)

    def masks_any(self, shape: Shape) -> bool:
        return self.offset(shape) < shape[-1] - 1 and not (isinstance(self.n, int) and self.n >= shape[-1])

    def may_be_empty(self, shape: Shape) -> bool:
        return shape[-1] == 0 or (self.offset(shape) < 0 and not (isinstance(self.n, int) and self.n > 0))

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        last = (stop + self.offset(shape)).clamp(0, shape[-1])
        return torch.zeros_like(start), last.clamp(min=_max_count(self.n, shape))

    def narrow(self) -> bool:
        return False

    def batched(self, shape: Shape) -> bool:
        return isinstance(self.n, Tensor) and self.n.dim() > 0 and max(self.n.shape) > 1

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        if not isinstance(self.n, Tensor) or self.n.dim() == 0:
            return self
        return Prefix(batch_entry_of(self.n, index), self.align)


@dataclass(frozen=True, eq=False)
class Lengths(Pattern):
    """The first n keys are visible, the rest is padding.

    Args:
        lengths: how many, one number or integers `[B]`, a tensor, an array or a list, whose axes line up with the first
            axes of the matrix.

    Example:
        >>> index = torch.arange(4)[None]
        >>> Lengths(torch.tensor([4, 2])).allowed(index[:, :1], index, (2, 1, 4)).int()
        tensor([[[1, 1, 1, 1]],
        <BLANKLINE>
                [[1, 1, 0, 0]]], dtype=torch.int32)
    """

    lengths: Int[Tensor, "..."] | int

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_integers("lengths", self.lengths))

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return columns < _first_keys(self.lengths, columns, shape)

    def pair_rule(self, shape: Shape) -> PairRule:
        lengths = per_batch(self.lengths, shape)
        return lambda b, h, i, j: j < lengths(b)

    def check(self, shape: Shape) -> None:
        _check_counts("lengths", self.lengths, shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, True

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        return torch.zeros_like(start), torch.full_like(start, _max_count(self.lengths, shape))

    def narrow(self) -> bool:
        return False

    def batched(self, shape: Shape) -> bool:
        return isinstance(self.lengths, Tensor) and self.lengths.dim() > 0 and max(self.lengths.shape) > 1

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        if not isinstance(self.lengths, Tensor) or self.lengths.dim() == 0:
            return self
        return Lengths(batch_entry_of(self.lengths, index))


def _check_align(align: object) -> None:
    if align not in (None, "start", "end"):
        raise ValueError(f"`align` must be None, 'start' or 'end': got {align!r}.")


def _other_end(align: Literal["start", "end"] | None) -> Literal["start", "end"] | None:
    """The alignment of the matrix that is read backwards."""
    return {"start": "end", "end": "start"}.get(align or "")  # type: ignore[return-value]


def _window_masks_any(before: int, after: int, offset: int, shape: Shape) -> bool:
    return shape[-2] - 1 + offset > before or shape[-1] - 1 - offset > after


def _window_columns(before: int, after: int, start: Tensor, stop: Tensor, shape: Shape) -> ColumnRange:
    first = (start - before).clamp(0, shape[-1])
    return first, (stop + after).clamp(0, shape[-1]).maximum(first)


def _first_keys(counts: Tensor | int, columns: Tensor, shape: Shape) -> Tensor | int:
    """How many of the first keys, with an axis for each axis of the matrix and of the tiles."""
    if not isinstance(counts, Tensor):
        return counts
    counts = align_leading_axes(counts.to(columns.device), 0, shape)
    return counts.reshape(counts.shape + (1,) * columns.dim())


def _check_counts(name: str, counts: Tensor | int, shape: Shape) -> None:
    if isinstance(counts, Tensor):
        check_leading_axes(name, counts, 0, shape)
        if not concrete(counts) or counts.numel() == 0:
            return
        low, high = int(counts.min()), int(counts.max())
    else:
        low = high = counts
    if low < 0 or high > shape[-1]:
        raise ValueError(
            f"`{name}` must be from 0 to the number of keys, {shape[-1]}: got values from {low} to {high}."
        )


def _max_count(counts: Tensor | int, shape: Shape) -> int:
    """The largest of some numbers of keys, or that of all keys where they cannot be read."""
    if not isinstance(counts, Tensor):
        return counts
    if not concrete(counts):
        return shape[-1]
    return int(counts.max()) if counts.numel() else 0
