"""From a pattern to the bands of blocks that the banded engine computes.

A pattern is a union of conjunctions. What a conjunction shows to a block of rows is a run of columns in one of the orders that
its parts suggest, and the order is taken in which the fewest pairs are computed.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Bool, Float, Tensor
from heedful.ops._cache import LRUCache
from heedful.ops._tree import key_of
from heedful.ops.patterns import Pattern, all_of
from heedful.ops.patterns.orders import ColumnRange, Indices, Lane, Order, StridedRows

CALL = 2**14  # pairs that could be computed in the time that a call of the kernel takes by itself
_BUILD = 2**18  # and in the time that it takes to find the bands of one pattern
_MASK = 2**22  # pairs of one mask
_LEAST = 32  # rows that make a block worth a call of its own
_DISJUNCTS = 16  # more conjunctions than these are left to a mask


class Span(NamedTuple):
    """In block c, the `size` positions from `start + c * step` on, in the order of a band."""

    start: int
    step: int
    size: int

    def of(self, tensor: Float[Tensor, "x n F"], first: int, count: int) -> Float[Tensor, "x c s F"]:
        """The rows of a tensor for `count` blocks from `first` on: a view in which blocks may overlap."""
        x, row, one = tensor.stride()
        start = self.start + first * self.step
        if start < 0 or start + (count - 1) * self.step + self.size > tensor.shape[1]:
            raise RuntimeError(f"{count} blocks of {self} from {first} on lie outside of {tensor.shape[1]} positions.")
        sizes = (tensor.shape[0], count, self.size, tensor.shape[2])
        return tensor.as_strided(sizes, (x, self.step * row, row, one), tensor.storage_offset() + start * row)

    def add(self, tensor: Float[Tensor, "x n F"], values: Float[Tensor, "x c s F"], first: int) -> None:
        """Adds what each block has, in place: blocks so far apart that they do not overlap at once."""
        count = values.shape[1]
        stride = max(-(-self.size // self.step), 1) if self.step else count
        for start in range(min(stride, count)):
            blocks = values[:, start::stride]
            span = Span(self.start + (first + start) * self.step, self.step * stride, self.size)
            span.of(tensor, 0, blocks.shape[1]).add_(blocks)


class Group(NamedTuple):
    """Blocks of one shape that move on by one step."""

    rows: Span
    columns: Span
    blocks: int
    causal: bool = False

    @property
    def pairs(self) -> int:
        """The pairs that are computed."""
        whole = self.blocks * self.rows.size * self.columns.size
        return whole // 2 if self.causal else whole


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of one shape: rows against columns, of which a mask or the causal flag masks some.

    Attributes:
        rows: the rows of each block.
        columns: the columns that it may see.
        count: how many blocks.
        causal: the rows and columns of each block see each other causally.
        mask: numbers to add, 0 or -inf `[1 or count, rows, columns]`; None: all pairs of a block are visible.
        empty: the rows that see nothing in a block `[1 or count, rows, 1]`; None: there are none.
    """

    rows: Span
    columns: Span
    count: int
    causal: bool
    mask: Float[Tensor, "..."] | None
    empty: Bool[Tensor, "..."] | None


@dataclass(frozen=True, eq=False)
class Band:
    """A part of the matrix, in an order of its own.

    Attributes:
        rows: the queries, in the order of the band.
        columns: the keys.
        blocks: what is computed; no row is in two of them.
        heads: which of the matrices, counted over all leading axes.
        merge: another band may have seen the same rows before.
    """

    rows: StridedRows | Indices
    columns: StridedRows | Indices
    blocks: tuple[Blocks, ...]
    heads: slice
    merge: bool

    @property
    def covered(self) -> int:
        """The rows, of all heads, that are in a block."""
        return self._count() * sum(b.count * b.rows.size for b in self.blocks)

    @property
    def pairs(self) -> int:
        """The pairs, of all heads, that are computed."""
        return self._count() * sum(Group(b.rows, b.columns, b.count, b.causal).pairs for b in self.blocks)

    def _count(self) -> int:
        heads: int = self.heads.stop - self.heads.start
        return heads


Bands = tuple[Band, ...]


def worth_searching(pattern: Pattern, shape: Shape) -> bool:
    """Whether a pattern may show so little that finding its bands pays."""
    if not pattern.narrow() or 0 in shape:
        return False
    samples = math.prod(shape[:-3] or shape[:-2]) if pattern.batched(shape) else 1
    return samples == 1 or samples * (CALL + _BUILD) < math.prod(shape)


def faster_than_all(bands: Bands, shape: Shape) -> bool:
    """Whether computing the bands takes less time than computing the whole matrix."""
    calls = sum(len(band.blocks) for band in bands)
    return 1.3 * sum(band.pairs for band in bands) + CALL * max(calls - 16, 0) < math.prod(shape)


def bands(pattern: Pattern, shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> Bands | None:
    """The bands that together compute a pattern; None where it masks pairs differently in each head, or has too many parts.

    In the backward pass blocks have more rows: they are paid for in columns that several blocks write.
    """

    def find() -> Bands | None:
        return _make_bands(pattern, shape, dtype, 4 if backward else 8)

    key = key_of(pattern)
    return find() if key is None else _BANDS.get((key, tuple(shape), dtype, backward), find)


def mask_numbers(bands: Bands) -> Iterator[int]:
    """The numbers of each mask, of which blocks may share one."""
    return (b.mask.numel() for band in bands for b in band.blocks if b.mask is not None)


_BANDS: LRUCache[Bands | None] = LRUCache(2**26, lambda bands: 4096 + 5 * sum(mask_numbers(bands or ())))


def _make_bands(pattern: Pattern, shape: Shape, dtype: torch.dtype, columns_per_row: int) -> Bands | None:
    pattern_bands: list[Band] = []
    for entry, entry_shape, heads in _entries(pattern, shape, slice(0, math.prod(shape[:-2]))):
        earlier: list[Pattern] = []
        disjuncts = entry.disjuncts()
        if len(disjuncts) > _DISJUNCTS:
            return None
        for conjunction in disjuncts:
            try:
                pattern_bands += _Conjunction(conjunction, tuple(earlier), entry_shape, columns_per_row).bands(
                    heads, dtype
                )
            except _VariesByHead:
                return None
            earlier.append(conjunction)
    return tuple(pattern_bands)


def _entries(pattern: Pattern, shape: Shape, heads: slice) -> Iterator[tuple[Pattern, Shape, slice]]:
    """The pattern of each matrix of a batch, or the one of all, the shape that it is of, and which heads it is for."""
    if len(shape) == 2 or not pattern.batched(shape):
        yield pattern, shape, heads
        return
    heads_per_entry = (heads.stop - heads.start) // shape[0]
    for i in range(shape[0]):
        first_head = heads.start + i * heads_per_entry
        yield from _entries(pattern.batch_entry(i, shape), shape[1:], slice(first_head, first_head + heads_per_entry))


class _VariesByHead(Exception):
    """A pattern differs between heads."""


class _Conjunction:
    """One disjunct of a pattern, less the pairs that earlier ones have shown.

    Args:
        pattern: the disjunct.
        earlier: the disjuncts before it.
        shape: of the matrix.
        columns_per_row: a block has 1/`columns_per_row` as many rows as a row has visible columns.
    """

    def __init__(self, pattern: Pattern, earlier: tuple[Pattern, ...], shape: Shape, columns_per_row: int) -> None:
        self.pattern, self.earlier, self.shape, self.columns_per_row = pattern, earlier, shape, columns_per_row
        self.conjuncts = pattern.conjuncts()
        self.beside_flag = [p for p in self.conjuncts if not p.is_diagonal(shape)]
        self.flag = not earlier and len(self.beside_flag) < len(self.conjuncts)

    def bands(self, heads: slice, dtype: torch.dtype) -> Iterator[Band]:
        """What has to be computed."""
        orders = self.pattern.orders(self.shape)
        order, lanes = min(
            ((order, self._lanes(order)) for order in orders),
            key=lambda order_and_lanes: self._cost(order_and_lanes[1]),
        )
        same_mask = all(p.translation_invariant(order.translation_grid()) for p in (*self.conjuncts, *self.earlier))
        for lane, groups in lanes:
            positions = lane.rows.positions(), lane.columns.positions()
            blocks = (self._blocks(group, *positions, same_mask, dtype) for group in groups)
            yield Band(lane.rows, lane.columns, tuple(b for b in blocks if b), heads, bool(self.earlier))

    def _lanes(self, order: Order) -> list[tuple[Lane, list[Group]]]:
        """The lanes of an order, and the blocks of each."""
        return [(lane, self._groups(lane)) for lane in order.lanes(self._columns, self.shape)]

    def _columns(self, start: Tensor, stop: Tensor) -> ColumnRange:
        return self.pattern.columns(start, stop, self.shape)

    def _cost(self, lanes: list[tuple[Lane, list[Group]]]) -> int:
        """What an order costs, in pairs."""
        heads = math.prod(self.shape[:-2])
        return sum(heads * group.pairs + CALL for _, groups in lanes for group in groups)

    def _groups(self, lane: Lane) -> list[Group]:
        """Rows that see the same run of columns together, all others in even blocks."""
        cells = lane.rows.length // lane.height
        start = torch.arange(cells)
        ranges = first, last = lane.runs(start, start + 1)
        flag = self.flag and lane.natural
        if flag:
            first, last = all_of(self.beside_flag).columns(start, start + 1, self.shape)
        changes = ((first[1:] != first[:-1]) | (last[1:] != last[:-1])).nonzero()[:, 0] + 1
        size = lane.block or self._size(int((last - first).float().median()))
        groups: list[Group] = []
        pending = 0  # the first cell of those that wait for a block
        for begin, end in itertools.pairwise([0, *changes.tolist(), cells]):
            too_short = end - begin == 1 or (end - begin) * lane.height < _LEAST
            if too_short and not (begin == 0 and end == cells):
                continue
            groups += _even_blocks(pending, begin, size, ranges)
            pending = end
            left, right = int(first[begin]), int(last[begin])
            causal = Group(Span(begin, 0, end - begin), Span(left, 0, min(right, end) - left), 1, causal=True)
            if flag and left == begin and (2 * causal.pairs <= _MASK or self._all_allowed(causal)):
                groups.append(causal)
            elif flag:
                groups += _even_blocks(begin, end, self._size(right - left), ranges)
            else:
                groups += _full_blocks(begin, end, left, right, _MASK // (lane.height * lane.width))
        groups = _merge([*groups, *_even_blocks(pending, cells, size, ranges)])
        return [
            _scale(group, lane.height, lane.width) for group in groups if 0 not in (group.rows.size, group.columns.size)
        ]

    def _size(self, width: int) -> int:
        """The rows of a block, of which one sees so many columns: a power of two from 32 to 256."""
        return 1 << min(max(round(math.log2(max(width / self.columns_per_row, 1))), 5), 8)

    def _blocks(self, group: Group, row: Tensor, column: Tensor, same_mask: bool, dtype: torch.dtype) -> Blocks | None:
        """Blocks with their mask, one for all of them with `same_mask`; None where nothing in them is visible."""
        rows, columns, count, causal = group
        conjuncts = self.beside_flag if causal else self.conjuncts
        if not conjuncts and not self.earlier:
            return Blocks(rows, columns, count, causal, None, None)
        step, index = max(_MASK // (rows.size * columns.size), 1), torch.arange(1 if same_mask else count)
        masks = [
            self._allowed_blocks(
                conjuncts, _positions_of(rows, row, blocks)[..., None], _positions_of(columns, column, blocks)[:, None]
            )
            for blocks in index.split(step)
        ]
        if all(bool(block_mask.all()) for block_mask in masks):
            return Blocks(rows, columns, count, causal, None, None)
        allowed = torch.cat(
            [
                block_mask.expand(len(blocks), rows.size, columns.size)
                for block_mask, blocks in zip(masks, index.split(step), strict=True)
            ]
        )
        if not allowed.any():
            return None
        if len(allowed) > 1 and bool((allowed == allowed[:1]).all()):
            allowed = allowed[:1]
        mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, -math.inf)
        empty = ~(allowed.tril() if causal else allowed).any(-1, keepdim=True)
        return Blocks(rows, columns, count, causal, mask, empty if bool(empty.any()) else None)

    def _all_allowed(self, group: Group) -> bool:
        """Whether nothing beside the causal flag masks a pair of a block that is too large for a mask."""
        if not self.beside_flag:
            return True
        rows, columns = (torch.arange(s.start, s.start + s.size) for s in (group.rows, group.columns))
        step = max(_MASK // len(columns), 1)
        return all(
            bool(self._allowed_blocks(self.beside_flag, r[None, :, None], columns[None, None]).all())
            for r in rows.split(step)
        )

    def _allowed_blocks(self, conjuncts: list[Pattern] | tuple[Pattern, ...], r: Tensor, c: Tensor) -> Tensor:
        """What all parts show of blocks, and no earlier disjunct, `[blocks, rows or 1, columns or 1]`."""
        allowed = [self._allowed(conjunct, r, c) for conjunct in conjuncts] + [
            ~self._allowed(other, r, c) for other in self.earlier
        ]
        return functools.reduce(torch.logical_and, allowed)

    def _allowed(self, pattern: Pattern, r: Tensor, c: Tensor) -> Tensor:
        allowed = pattern.allowed(r, c, self.shape)
        if math.prod(allowed.shape[:-3]) != 1:
            raise _VariesByHead
        return allowed.reshape(allowed.shape[-3:])


def _even_blocks(start: int, stop: int, size: int, ranges: ColumnRange) -> list[Group]:
    """Cells in blocks of `size`, each with the run of all that its cells see."""
    if start >= stop:
        return []
    first, last = (bound[start:stop] for bound in ranges)
    visible, padding, end = first < last, -len(first) % size, int(last.max())
    lowest = torch.nn.functional.pad(torch.where(visible, first, end), (0, padding), value=end)
    highest = torch.nn.functional.pad(torch.where(visible, last, 0), (0, padding))
    spans = zip(lowest.view(-1, size).amin(1).tolist(), highest.view(-1, size).amax(1).tolist(), strict=True)
    blocks = zip(range(start, stop, size), spans, strict=True)
    groups = [
        Group(Span(row, 0, min(size, stop - row)), Span(low, 0, high - low), 1)
        for row, (low, high) in blocks
        if low < high
    ]
    return _join(_merge(groups), 4 * size)


def _full_blocks(start: int, stop: int, first: int, last: int, max_cells: int) -> list[Group]:
    """Cells that see one run of columns, as many at a time as `max_cells` pairs of cells."""
    size = max(max_cells // max(last - first, 1), 1)
    columns = Span(first, 0, last - first)
    return [Group(Span(row, 0, min(size, stop - row)), columns, 1) for row in range(start, stop, size)]


def _join(groups: list[Group], max_rows: int) -> list[Group]:
    """Single blocks in a row that begin or end at the same column, as at both ends of a sequence, become one of up to `max_rows` rows."""
    merged: list[Group] = []
    for group in groups:
        rows, columns, count, _ = group
        if merged and count == merged[-1].blocks == 1:
            rows_above, columns_above, *_ = merged[-1]
            stop, last = rows.start + rows.size, columns.start + columns.size
            aligned = columns.start == columns_above.start or last == columns_above.start + columns_above.size
            if aligned and rows_above.start + rows_above.size == rows.start and stop - rows_above.start <= max_rows:
                first = min(columns_above.start, columns.start)
                last = max(columns_above.start + columns_above.size, last)
                merged[-1] = Group(Span(rows_above.start, 0, stop - rows_above.start), Span(first, 0, last - first), 1)
                continue
        merged.append(group)
    return merged


def _merge(groups: list[Group]) -> list[Group]:
    """Neighbors of one shape that move on by one step become one group."""
    merged: list[Group] = []
    for group in groups:
        if merged and group.blocks == 1:
            rows, columns, count, causal = merged[-1]
            step = rows.step if count > 1 else group.rows.start - rows.start
            follows = group.rows.start - rows.start == group.columns.start - columns.start == count * step
            if follows and (rows.size, columns.size, causal) == (group.rows.size, group.columns.size, group.causal):
                spans = Span(rows.start, step, rows.size), Span(columns.start, step, columns.size)
                merged[-1] = Group(*spans, count + 1, causal)
                continue
        merged.append(group)
    return merged


def _scale(group: Group, height: int, width: int) -> Group:
    """A group of cells as one of rows and columns."""
    rows, columns = (Span(*(n * unit for n in s)) for s, unit in ((group.rows, height), (group.columns, width)))
    return Group(rows, columns, group.blocks, group.causal)


def _positions_of(span: Span, positions: Tensor, blocks: Tensor) -> Tensor:
    """The positions `[blocks, size]` that a span takes in some blocks."""
    return positions[span.start + blocks[:, None] * span.step + torch.arange(span.size)]
