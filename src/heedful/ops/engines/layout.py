"""From a pattern to the strips of blocks that the banded engine computes.

A pattern is a union of alternatives, each of them a conjunction of parts. What a conjunction shows to a block of rows is a
run of columns, in an order that its parts suggest: the sequence itself, every k-th position, a grid read along its columns.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from heedful._checks import Shape
from heedful._types import Int, Tensor
from heedful.ops._tree import tensors
from heedful.ops.engines.banded import Blocks, Box, Places, Span, Strip
from heedful.ops.patterns import Causal, Dilated, Documents, Local, Neighborhood2d, Pattern
from heedful.ops.patterns.base import And, Or
from heedful.ops.patterns.grid import Axial, _SameColumn, _SameRow
from heedful.ops.patterns.marks import Tokens, _TokenKeys, _TokenQueries
from heedful.ops.patterns.sequence import Global

_STRUCTURED = (
    Local,
    Dilated,
    Documents,
    Neighborhood2d,
    Axial,
    Tokens,
    _SameColumn,
    _SameRow,
    _TokenKeys,
    _TokenQueries,
)
_MASK = 2**22  # pairs of one mask
_LEAST = 32  # rows that make a block worth a call of its own
_PATCH = (4, 8)  # rows and columns of a grid in a block of queries


def structured(pattern: Pattern) -> bool:
    """Whether a pattern may show so little that its blocks are worth finding."""
    if isinstance(pattern, (And, Or)):
        return structured(pattern.first) or structured(pattern.second)
    return isinstance(pattern, _STRUCTURED)


def strips(pattern: Pattern, shape: Shape, dtype: torch.dtype, *, backward: bool = False) -> tuple[Strip, ...] | None:
    """The strips that together compute a pattern; None where it hides pairs differently in each head.

    In the backward pass blocks have more rows: they are paid for in columns that several blocks write.
    """
    if tensors(pattern):
        return _strips(pattern, tuple(shape), dtype, backward)
    return _kept_strips(pattern, tuple(shape), dtype, backward)


def _strips(pattern: Pattern, shape: Shape, dtype: torch.dtype, backward: bool) -> tuple[Strip, ...] | None:
    heads = shape[-3] if len(shape) > 3 else 1
    found: list[Strip] = []
    for at, (sample, inner) in enumerate(_samples(pattern, shape)):
        some = slice(at * heads, (at + 1) * heads) if sample is not pattern else slice(0, math.prod(shape[:-2]))
        earlier: list[Pattern] = []
        for alternative in sample.alternatives():
            conjunction = _Conjunction(alternative, tuple(earlier), inner, some, dtype, 4 if backward else 8)
            try:
                found.extend(conjunction.strips())
            except _OfHeads:
                return None
            earlier.append(alternative)
    return tuple(found)


_kept_strips = functools.lru_cache(maxsize=32)(_strips)


def _samples(pattern: Pattern, shape: Shape) -> Iterator[tuple[Pattern, Shape]]:
    """The pattern of each matrix of a batch, or the one of all."""
    if len(shape) == 2 or not pattern.batched(shape):
        yield pattern, shape
    elif len(shape) == 3:
        yield from ((pattern.sample(i, shape), shape[1:]) for i in range(shape[0]))
    else:
        for i in range(shape[0]):
            yield from (
                _samples(pattern.sample(i, shape), shape[1:])
                if len(shape) > 4
                else [(pattern.sample(i, shape), shape[1:])]
            )


class _OfHeads(Exception):
    """A pattern differs between heads."""


class _Conjunction:
    """One alternative of a pattern, less the pairs that earlier ones have shown."""

    def __init__(
        self, pattern: Pattern, earlier: tuple[Pattern, ...], shape: Shape, heads: slice, dtype: torch.dtype, part: int
    ) -> None:
        self.part = part  # a block has one row for so many columns that one of them sees
        self.pattern, self.earlier, self.shape, self.heads, self.dtype = pattern, earlier, shape, heads, dtype
        self.rows, self.columns = shape[-2:]
        self.parts = pattern.parts()
        self.even = all(_shifts(p) for p in (*self.parts, *(q for e in earlier for q in e.parts())))

    def strips(self) -> Iterator[Strip]:
        """What has to be computed."""
        for part in self.parts:
            if isinstance(part, Neighborhood2d):
                return self._patches(part)
            if isinstance(part, _SameColumn):
                return iter([self._lines(part.grid[::-1], Box(0, part.grid[::-1], (1, part.grid[1])))])
            if isinstance(part, _SameRow):
                return iter([self._lines(part.grid, self._all(self.rows))])
            if isinstance(part, _TokenQueries):
                return iter([self._some(Places(index_of(part, self.rows)), self._all(self.columns))])
            if isinstance(part, _TokenKeys):
                return iter([self._some(self._all(self.rows), Places(index_of(part, self.columns)))])
            if isinstance(part, Dilated):
                return self._residues(part)
        return iter([self._runs()])

    def _all(self, count: int) -> Box:
        return Box(0, (count,), (1,))

    def _strip(self, rows: Box | Places, columns: Box | Places, spans: Sequence[tuple[Span, Span, int, bool]]) -> Strip:
        row, column = rows.positions(), columns.positions()
        blocks = [self._blocks(row, column, *span) for span in spans]
        return Strip(rows, columns, tuple(b for b in blocks if b is not None), self.heads, bool(self.earlier))

    def _blocks(
        self, row: Tensor, column: Tensor, rows: Span, columns: Span, count: int, causal: bool
    ) -> Blocks | None:
        """Blocks with their mask; None where they show nothing."""
        if 0 in (rows.size, columns.size, count):
            return None
        shown = torch.arange(1 if self.even else count)[:, None]
        r = row[rows.start + shown * rows.step + torch.arange(rows.size)][..., None]
        c = column[columns.start + shown * columns.step + torch.arange(columns.size)][:, None]
        parts = [p for p in self.parts if not (causal and isinstance(p, Causal))]
        allowed = torch.ones((), dtype=torch.bool)
        for part in parts:
            allowed = allowed & self._at(part, r, c)
        for other in self.earlier:
            allowed = allowed & ~self._at(other, r, c)
        if allowed.all():
            return Blocks(rows, columns, count, None, causal)
        if not allowed.any():
            return None
        allowed = allowed.expand(len(shown), rows.size, columns.size)
        if len(allowed) > 1 and bool((allowed == allowed[:1]).all()):
            allowed = allowed[:1]
        mask = torch.zeros(allowed.shape, dtype=self.dtype).masked_fill_(~allowed, -math.inf)
        empty = ~allowed.any(-1, keepdim=True)
        return Blocks(rows, columns, count, mask, causal, empty if bool(empty.any()) else None)

    def _at(self, pattern: Pattern, r: Tensor, c: Tensor) -> Tensor:
        allowed = pattern.allowed(r, c, self.shape)
        if math.prod(allowed.shape[:-3]) != 1:
            raise _OfHeads
        return allowed.reshape(allowed.shape[-3:])

    def _of_rows(self, pattern: Pattern) -> tuple[Tensor, Tensor]:
        """The run of columns that each row may see."""
        row = torch.arange(self.rows)
        return pattern.columns(row, row + 1, self.shape)

    def _runs(self) -> Strip:
        """In the order of the sequence: rows that see the same run of columns together, all others in even blocks."""
        flag = not self.earlier and any(isinstance(p, Causal) and p.offset(self.shape) == 0 for p in self.parts)
        rest: Pattern = Global()
        for part in self.parts:
            if not (flag and isinstance(part, Causal)):
                rest = And(rest, part)
        first, last = self._of_rows(rest)
        if flag:
            self.hulls = self._of_rows(self.pattern)
        else:
            self.hulls = first, last
        changes = ((first[1:] != first[:-1]) | (last[1:] != last[:-1])).nonzero()[:, 0] + 1
        bounds = [0, *changes.tolist(), self.rows]
        width = int((last - first).float().median()) if self.rows else 0
        spans: list[tuple[Span, Span, int, bool]] = []
        loose = 0  # the first row of those that wait for a block
        for start, stop in itertools.pairwise(bounds):
            if stop - start < _LEAST and not (start == 0 and stop == self.rows):
                continue
            spans += self._even(loose, start, width)
            loose = stop
            a, b = int(first[start]), int(last[start])
            if flag and a == start:
                spans.append((Span(start, 0, stop - start), Span(a, 0, min(b, stop) - a), 1, True))
            else:
                spans += self._even(start, stop, b - a) if flag else self._whole(start, stop, a, b)
        spans += self._even(loose, self.rows, width)
        return self._strip(self._all(self.rows), self._all(self.columns), spans)

    def _whole(self, start: int, stop: int, first: int, last: int) -> list[tuple[Span, Span, int, bool]]:
        """Rows that see one run of columns, as many at a time as a mask may have."""
        size = max(_MASK // max(last - first, 1), 1)
        return [
            (Span(at, 0, min(size, stop - at)), Span(first, 0, last - first), 1, False)
            for at in range(start, stop, size)
        ]

    def _even(self, start: int, stop: int, width: int) -> list[tuple[Span, Span, int, bool]]:
        """Blocks with a part as many rows as one of them sees columns, grouped where they move on evenly."""
        if start >= stop:
            return []
        size = self._size(width)
        starts = range(start, stop, size)
        stops = [min(at + size, stop) for at in starts]
        first, last = (h[start:stop] for h in self.hulls)
        filler = -len(first) % size
        lowest = torch.nn.functional.pad(
            torch.where(first < last, first, self.columns), (0, filler), value=self.columns
        )
        highest = torch.nn.functional.pad(torch.where(first < last, last, 0), (0, filler))
        lows, highs = lowest.view(-1, size).amin(1), highest.view(-1, size).amax(1)
        return _joined(grouped(list(starts), stops, lows.tolist(), highs.maximum(lows).tolist()), 4 * size)

    def _size(self, width: int) -> int:
        """The rows of a block, of which one sees so many columns: a power of two from 32 to 256."""
        return 1 << min(max(round(math.log2(max(width / self.part, 1))), 5), 8)

    def _residues(self, part: Dilated) -> Iterator[Strip]:
        """Every k-th position by itself: there a dilated window is a plain one."""
        k, offset = part.dilation, part.offset(self.shape)
        after = part.before if part.after is None else part.after
        for residue in range(k):
            at = (residue - offset) % k
            rows = Box(at, (len(range(at, self.rows, k)),), (k,))
            columns = Box(residue, (len(range(residue, self.columns, k)),), (k,))
            if not rows.length or not columns.length:
                continue
            size = self._size(part.before + after + 1)
            starts = torch.arange(0, rows.length, size)
            stops = (starts + size).clamp_max(rows.length)
            hull_first, hull_last = self.pattern.columns(at + starts * k, at + (stops - 1) * k + 1, self.shape)
            shift = (at + offset - residue) // k
            first = torch.maximum(starts + shift - part.before, -((residue - hull_first) // k)).clamp(0, columns.length)
            last = torch.minimum(stops + shift + after, (hull_last - 1 - residue) // k + 1).clamp(0, columns.length)
            spans = grouped(starts.tolist(), stops.tolist(), first.tolist(), last.maximum(first).tolist())
            yield self._strip(rows, columns, spans)

    def _lines(self, grid: tuple[int, int], order: Box) -> Strip:
        """Each row of a grid by itself (or each column, in an order that has them as rows)."""
        count, size = grid
        return self._strip(order, order, [(Span(0, size, size), Span(0, size, size), count, False)])

    def _some(self, rows: Box | Places, columns: Box | Places) -> Strip:
        """Chosen rows or columns against all."""
        step = max(_MASK // max(columns.length, 1), 1)
        spans = [
            (Span(at, 0, min(step, rows.length - at)), Span(0, 0, columns.length), 1, False)
            for at in range(0, rows.length, step)
        ]
        return self._strip(rows, columns, spans)

    def _patches(self, part: Neighborhood2d) -> Iterator[Strip]:
        """A few rows of a grid, read along the columns: there a neighbourhood is a window."""
        (height, width), (up, side) = part.grid, part.reach()
        tall, wide = _PATCH
        for top in range(0, height, tall):
            bottom = min(top + tall, height)
            above, below = max(top - up, 0), min(bottom + up, height)
            rows = Box(top * width, (width, bottom - top), (1, width))
            columns = Box(above * width, (width, below - above), (1, width))
            starts = range(0, width, wide)
            stops = [min(x + wide, width) for x in starts]
            tiles = grouped(
                list(starts), stops, [max(x - side, 0) for x in starts], [min(x + side, width) for x in stops]
            )
            n, m = bottom - top, below - above
            spans = [
                (Span(r.start * n, r.step * n, r.size * n), Span(c.start * m, c.step * m, c.size * m), count, False)
                for r, c, count, _ in tiles
            ]
            yield self._strip(rows, columns, spans)


def grouped(
    starts: list[int], stops: list[int], first: list[int], last: list[int]
) -> list[tuple[Span, Span, int, bool]]:
    """Blocks of rows and of the columns that they see; neighbours of one shape that move on by one step become one group."""
    spans: list[tuple[Span, Span, int, bool]] = []
    at = 0
    while at < len(starts):
        size, width, step = stops[at] - starts[at], last[at] - first[at], 0
        end = at + 1
        if end < len(starts):
            step = starts[end] - starts[at]
        while (
            end < len(starts)
            and stops[end] - starts[end] == size
            and last[end] - first[end] == width
            and first[end] - first[end - 1] == step
            and starts[end] - starts[end - 1] == step
        ):
            end += 1
        count = end - at
        step = step if count > 1 else 0
        spans.append((Span(starts[at], step, size), Span(first[at], step, width), count, False))
        at = end
    return spans


def _joined(spans: list[tuple[Span, Span, int, bool]], most: int) -> list[tuple[Span, Span, int, bool]]:
    """Single blocks in a row that begin or end at the same column, as at both ends of a sequence, become one of up to `most` rows."""
    done: list[tuple[Span, Span, int, bool]] = []
    for span in spans:
        rows, columns, count, causal = span
        if done and count == done[-1][2] == 1:
            above, left, *_ = done[-1]
            stop, last = rows.start + rows.size, columns.start + columns.size
            same = columns.start == left.start or last == left.start + left.size
            if same and above.start + above.size == rows.start and stop - above.start <= most:
                first = min(left.start, columns.start)
                last = max(left.start + left.size, last)
                done[-1] = Span(above.start, 0, stop - above.start), Span(first, 0, last - first), 1, causal
                continue
        done.append(span)
    return done


def index_of(part: Pattern, size: int) -> Int[Tensor, "n"]:
    """The tokens of a pattern, each once, in order."""
    index = torch.as_tensor(part.index).flatten().cpu()  # type: ignore[attr-defined]
    return index.remainder(size).unique() if size else index[:0]


def _shifts(pattern: Pattern) -> bool:
    return pattern.shifts() or isinstance(pattern, Neighborhood2d)
