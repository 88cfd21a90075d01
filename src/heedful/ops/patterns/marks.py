"""Patterns of marked positions: documents, chosen tokens, any mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from heedful._checks import Shape, as_integers, as_tensor, check_broadcasts
from heedful._types import Bool, ColumnIndex, Int, RowIndex, Tensor
from heedful.ops._concrete import concrete
from heedful.ops._pairs import PairRule
from heedful.ops.patterns.base import (
    Pattern,
    align_leading_axes,
    batch_entry_of,
    check_leading_axes,
)
from heedful.ops.patterns.orders import SEQUENCE, ColumnRange, Index, IndexOrder, Order, as_slice


@dataclass(frozen=True, eq=False)
class Documents(Pattern):
    """Positions see the positions of their own document, `id_i = id_j >= 0`.

    Args:
        ids: of the document of each query, integers `[..., N]`, a tensor, an array or lists, whose other axes line up with
            the first axes of the matrix. A negative one is padding: it sees nothing and nothing sees it.
        key_ids: of each key, `[..., M]`; None: the keys are the queries.

    Raises:
        TypeError: ids are no integers.
        ValueError: there are not as many ids as positions.

    Example:
        >>> index = torch.arange(4)
        >>> Documents(torch.tensor([0, 0, 1, -1])).allowed(index[:, None], index[None], (4, 4)).int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0],
                [0, 0, 1, 0],
                [0, 0, 0, 0]], dtype=torch.int32)

    Source: Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021, section 3.2.
    """

    ids: Int[Tensor, "..."]
    key_ids: Int[Tensor, "..."] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _as_ids("ids", self.ids))
        if self.key_ids is not None:
            object.__setattr__(self, "key_ids", _as_ids("key_ids", self.key_ids))

    @classmethod
    def from_offsets(cls, cu_seqlens: Int[Tensor, "..."]) -> "Documents":
        """Documents that lie one behind the other.

        Args:
            cu_seqlens: where each begins, and where the last one ends, `[K + 1]`: from 0 to N, never falling.

        Raises:
            TypeError: the offsets are no integers.
            ValueError: they do not begin with 0, or fall.

        Example:
            >>> Documents.from_offsets(torch.tensor([0, 3, 5])).ids
            tensor([0, 0, 0, 1, 1])
        """
        cu_seqlens = _as_ids("cu_seqlens", cu_seqlens)
        if cu_seqlens.dim() != 1 or len(cu_seqlens) == 0:
            raise ValueError(f"`cu_seqlens` must have one axis and at least one number: got {list(cu_seqlens.shape)}.")
        if cu_seqlens[0] != 0 or (cu_seqlens.diff() < 0).any():
            raise ValueError(f"`cu_seqlens` must begin with 0 and never fall: got {cu_seqlens.tolist()}.")
        ends = cu_seqlens[1:].contiguous()
        return cls(torch.searchsorted(ends, torch.arange(int(cu_seqlens[-1]), device=ends.device), right=True))

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        ids, key_ids = self._query_and_key_ids()
        ids = align_leading_axes(ids.to(rows.device), 1, shape)[..., rows]
        return (ids == align_leading_axes(key_ids.to(rows.device), 1, shape)[..., columns]) & (ids >= 0)

    def check(self, shape: Shape) -> None:
        if self.key_ids is None and shape[-2] != shape[-1]:
            raise ValueError(
                f"`Documents(ids)` needs as many queries as keys unless `key_ids` are given: got {shape[-2]} and {shape[-1]}."
            )
        for name, ids, size in (("ids", self.ids, shape[-2]), ("key_ids", self.key_ids, shape[-1])):
            if ids is not None:
                check_leading_axes(name, ids, 1, shape)
                if ids.shape[-1] != size:
                    side = "query" if name == "ids" else "key"
                    raise ValueError(f"`{name}` must have one number for each {side}, {size}: got {ids.shape[-1]}.")

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        ids, key_ids = self._query_and_key_ids()
        if not (concrete(ids) and concrete(key_ids)) or not ids.numel() or not key_ids.numel():
            return torch.zeros_like(start), torch.full_like(start, shape[-1])
        first, last = _occurrences(ids.cpu(), key_ids.cpu())
        first, last = _range_minimum(first, start, stop), -_range_minimum(-last, start, stop)
        empty = first >= last
        return first.masked_fill(empty, 0), last.masked_fill(empty, 0)

    def pair_rule(self, shape: Shape) -> PairRule:
        ids, keys = (t.expand(shape[0], t.shape[-1]) for t in self._query_and_key_ids())
        return lambda b, h, i, j: (ids[b, i] == keys[b, j]) & (ids[b, i] >= 0)

    def batched(self, shape: Shape) -> bool:
        return any(max(ids.shape[:-1], default=1) > 1 for ids in self._query_and_key_ids())

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        ids, key_ids = (
            batch_entry_of(t, index) if t is not None and t.dim() > 1 else t for t in (self.ids, self.key_ids)
        )
        assert ids is not None
        return Documents(ids, key_ids)

    def transposed(self) -> Pattern:
        ids, key_ids = self._query_and_key_ids()
        return Documents(key_ids.flip(-1), None if self.key_ids is None else ids.flip(-1))

    def _query_and_key_ids(self) -> tuple[Tensor, Tensor]:
        return self.ids, self.ids if self.key_ids is None else self.key_ids


class _IndexedPositions(Pattern):
    """Positions that are chosen by their index."""

    index: Any
    axis = -1  # of the matrix

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return (IndexOrder(self.index, self.axis), SEQUENCE) if concrete(self.index) else (SEQUENCE,)

    def check(self, shape: Shape) -> None:
        size = shape[self.axis]
        if concrete(self.index) and self.index.numel():
            low, high = int(self.index.min()), int(self.index.max())
            if low < 0 or high >= size:
                raise ValueError(
                    f"`index` must be from 0 to less than {size}, the number of positions: got values from {low} to {high}."
                )

    def _chosen(self, positions: Tensor, size: int) -> Tensor:
        index = self.index.to(positions.device, torch.long)
        return torch.zeros(size, dtype=torch.bool, device=positions.device).scatter(0, index, True)[positions]


@dataclass(frozen=True, eq=False)
class GlobalTokens(_IndexedPositions):
    """Chosen positions see everything and are seen by everything, `i in index or j in index`.

    Args:
        index: the positions, `[T]` or a sequence of integers.
        align: None: the positions are those of queries and of keys, which are equally many. "keys": of keys only;
            these are seen by everything.

    Raises:
        TypeError: `index` holds no integers.
        ValueError: a position lies outside, or the sizes of the matrix differ and `align` is None.

    Example:
        >>> index = torch.arange(4)
        >>> GlobalTokens([0]).allowed(index[:, None], index[None], (4, 4)).int()
        tensor([[1, 1, 1, 1],
                [1, 0, 0, 0],
                [1, 0, 0, 0],
                [1, 0, 0, 0]], dtype=torch.int32)

    Source: Beltagy et al., "Longformer", 2020, section 3.1 (global attention); Zaheer et al., "Big Bird", 2020,
    section 2.
    """

    index: Int[Tensor, " T"] | Sequence[int]
    align: Literal["keys"] | None = None

    def __post_init__(self) -> None:
        index = as_integers("index", self.index)
        if not isinstance(index, Tensor) or index.dim() != 1:
            got = list(index.shape) if isinstance(index, Tensor) else repr(index)
            raise ValueError(f"`index` must have one axis: got {got}.")
        object.__setattr__(self, "index", index)
        if self.align not in (None, "keys"):
            raise ValueError(f"`align` must be None or 'keys': got {self.align!r}.")

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        is_chosen = self._chosen(columns, shape[-1])
        return is_chosen if self.align == "keys" else is_chosen | self._chosen(rows, shape[-2])

    def check(self, shape: Shape) -> None:
        if self.align is None and shape[-2] != shape[-1]:
            raise ValueError(
                f"`GlobalTokens()` needs as many queries as keys unless `align` is 'keys': got {shape[-2]} and {shape[-1]}."
            )
        _IndexedPositions.check(self, shape)

    def pair_rule(self, shape: Shape) -> PairRule:
        chosen = torch.zeros(shape[-1], dtype=torch.bool, device=self._index().device)
        chosen[self._index()] = True
        return (lambda b, h, i, j: chosen[j]) if self.align == "keys" else (lambda b, h, i, j: chosen[j] | chosen[i])

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.align is None, True

    def may_be_empty(self, shape: Shape) -> bool:
        return len(self.index) == 0 or shape[-1] == 0

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        keys = _GlobalKeys(self._index())
        pattern: Pattern = keys if self.align == "keys" else keys | _GlobalQueries(self._index())
        return pattern.columns(start, stop, shape)

    def disjuncts(self) -> tuple[Pattern, ...]:
        keys = _GlobalKeys(self._index())
        return (keys,) if self.align == "keys" else (keys, _GlobalQueries(self._index()))

    def orders(self, shape: Shape) -> tuple[Order, ...]:
        return (SEQUENCE,)  # each of its disjuncts has one

    def _index(self) -> Tensor:
        assert isinstance(self.index, Tensor)  # whatever was given, `__post_init__` made it one
        return self.index


@dataclass(frozen=True, eq=False)
class _GlobalKeys(_IndexedPositions):
    """Everything sees the keys at `index`."""

    index: Int[Tensor, " T"]

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return self._chosen(columns, shape[-1])

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, True

    def may_be_empty(self, shape: Shape) -> bool:
        return len(self.index) == 0 or shape[-1] == 0

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        if not concrete(self.index):
            return torch.zeros_like(start), torch.full_like(start, shape[-1])
        if len(self.index) == 0:
            return torch.zeros_like(start), torch.zeros_like(start)
        return torch.full_like(start, int(self.index.min())), torch.full_like(start, int(self.index.max()) + 1)

    def visible_columns(self, rows: Int[Tensor, " n"], shape: Shape) -> Index:
        return as_slice(self.index.cpu().long().unique()) if concrete(self.index) else slice(0, shape[-1])


@dataclass(frozen=True, eq=False)
class _GlobalQueries(_IndexedPositions):
    """The queries at `index` see everything, the others nothing."""

    index: Int[Tensor, " T"]
    axis = -2

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        return self._chosen(rows, shape[-2])

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, False

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> ColumnRange:
        if not concrete(self.index):
            return torch.zeros_like(start), torch.full_like(start, shape[-1])
        positions = self.index.cpu().long().sort().values
        before, within = (torch.searchsorted(positions, end.contiguous()) for end in (start, stop))
        return torch.zeros_like(start), (before < within) * shape[-1]


@dataclass(frozen=True, eq=False)
class Mask(Pattern):
    """Any pattern, as a tensor: True = may attend.

    Args:
        mask: bool, a tensor or an array, broadcastable to the matrix, `[..., H, N, M]`.

    Differs from `torch.nn.MultiheadAttention`, where True = masked.
    """

    mask: Bool[Tensor, "..."]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", as_tensor(self.mask))
        if not torch.is_tensor(self.mask) or self.mask.dtype != torch.bool:
            kind = self.mask.dtype if torch.is_tensor(self.mask) else type(self.mask).__name__
            raise TypeError(
                f"`mask` must be a bool tensor (True = may attend; numbers to add are a `bias`): got {kind}."
            )

    def allowed(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Bool[Tensor, "..."]:
        mask = self._matrix().to(rows.device)
        by_row, by_column = self.depends(shape)
        if max(rows.dim(), columns.dim()) > 2:
            one = torch.zeros((1,) * max(rows.dim(), columns.dim()), dtype=torch.long, device=rows.device)
            return mask[..., rows if by_row else one, columns if by_column else one]
        if by_row:
            mask = mask.index_select(-2, rows.flatten())
        return mask.index_select(-1, columns.flatten()) if by_column else mask

    def check(self, shape: Shape) -> None:
        check_broadcasts("`mask`", self.mask, shape)

    def pair_rule(self, shape: Shape) -> PairRule:
        mask = self.mask.expand(shape)
        return lambda b, h, i, j: mask[b, h, i, j]

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        rows, columns = (1, 1, *self.mask.shape)[-2:]
        return rows != 1, columns != 1

    def batched(self, shape: Shape) -> bool:
        heads = 2 if len(shape) < 4 else 3
        return any(size != 1 for size in self.mask.shape[:-heads])

    def batch_entry(self, index: int, shape: Shape) -> Pattern:
        return Mask(batch_entry_of(self.mask, index)) if self.mask.dim() == len(shape) else self

    def transposed(self) -> Pattern:
        return Mask(self._matrix().mT.flip(-1, -2))

    def _matrix(self) -> Tensor:
        return self.mask.reshape((1,) * (2 - self.mask.dim()) + self.mask.shape)


def _as_ids(name: str, ids: object) -> Tensor:
    numbers = as_integers(name, ids)
    if not isinstance(numbers, Tensor) or numbers.dim() == 0:
        got = list(numbers.shape) if isinstance(numbers, Tensor) else repr(numbers)
        raise TypeError(f"`{name}` must be integers with at least one axis: got {got}.")
    return numbers


def _occurrences(ids: Tensor, key_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each query the first key of its document and one more than the last, over all samples; M and 0 if it has none."""
    N, M = ids.shape[-1], key_ids.shape[-1]
    axes = max(ids.dim(), key_ids.dim())
    ids, key_ids = (align_leading_axes(t, 1, (0,) * (axes + 1)) for t in (ids, key_ids))
    lead = torch.broadcast_shapes(ids.shape[:-1], key_ids.shape[:-1])
    all_ids = torch.cat([t.expand(*lead, -1).reshape(-1, t.shape[-1]) for t in (ids, key_ids)], dim=-1)
    codes = all_ids.unique(return_inverse=True)[1]  # small numbers, so that those of samples can be told apart
    if len(codes) > 1:
        codes = codes + torch.arange(len(codes))[:, None] * (int(codes.max()) + 1)
        codes = codes.unique(return_inverse=True)[1]
    of_query, of_key = codes[:, :N], codes[:, N:].flatten()
    position = torch.arange(M).repeat(len(codes))
    first = torch.full((int(codes.max()) + 1,), M).scatter_reduce(0, of_key, position, "amin")
    last = torch.zeros_like(first).scatter_reduce(0, of_key, position + 1, "amax")
    padding = all_ids[:, :N] < 0
    return first[of_query].masked_fill(padding, M).amin(0), last[of_query].masked_fill(padding, 0).amax(0)


def _range_minimum(numbers: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """The least of `numbers[start:stop]` for each interval: by tables of the least of 1, 2, 4, ... neighbors."""
    minimum, length = torch.full_like(start, torch.iinfo(torch.long).max), stop - start
    width, table = 1, numbers  # table[i] = numbers[i : i + width].min()
    while len(table) and bool((length >= width).any()):
        in_level = (length >= width) & (length < 2 * width)
        minimum[in_level] = torch.minimum(table[start[in_level]], table[stop[in_level] - width])
        table = torch.minimum(table[:-width], table[width:])
        width *= 2
    return minimum
