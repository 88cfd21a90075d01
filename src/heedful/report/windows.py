"""Any window of an attention matrix within a given amount of work, for a page that asks while somebody zooms.

A window is made in one of three ways, of which the finest within reach is taken:

- pair by pair, from queries, keys and the log-sum-exp of each row: 1.5 ns a pair on two cores;
- from a fine map, which is filled a few rows at a time while nobody asks, 3,072 x 3,072 cells of each head or what fits
  into its memory;
- from the coarse map that the page itself holds.

At 100,000 positions a cell of the fine map is 33 x 33 pairs. A window of at most 10,000 x 10,000 pairs is computed in about
0.15 s, and one that is wider has more than 300 cells of the map along each axis.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Tensor
from heedful.ops import AttentionMatrix, Causal, softmax
from heedful.ops.engines.reference import at_least_float32

Alive = Callable[[], bool]
Finer = Literal["", "now", "later"]

_TILE = (128, 8192)  # positions of the axis that is summed first, and of the other
_STEP = 2**23  # pairs that are computed at a time while nobody asks: 20 ms
_TIMED = 2**22  # pairs that tell how fast pairs are computed
_STREAMED = 2**22  # weights of all heads that a matrix without a shortcut holds at a time
_SIDES = (6144, 4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256)  # of a fine map; their divisors are dense
_WIDTH = 64  # of queries for which one pair is one unit of work


class Gone(Exception):
    """Nobody waits for the answer any more."""


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


class Window(NamedTuple):
    """What was found.

    Attributes:
        box: what it shows: what was asked for, or more where it is made of the cells of a map.
        values: `[rows, columns]`: the mean over the queries of a cell, and over the heads, of what they give to its keys.
        finer: whether more work would show more: "" no, "now" yes, "later" once more of the matrix is known.
    """

    box: Box
    values: NDArray[np.float32]
    finer: Finer


class Windows:
    """The windows of one matrix; used by one thread.

    Attributes:
        pace: how many pairs a second were computed lately; infinite before any were.

    Args:
        matrix: of `[..., H, N, M]`.
        sample: which one of a batch.
        coarse: a map of it `[H, R, C]` as `AttentionMatrix.pool` gives it.
        memory: bytes that the fine map may take.
    """

    def __init__(self, matrix: AttentionMatrix, sample: int, coarse: NDArray[np.floating], memory: int) -> None:
        self.queries, self.keys = matrix.shape[-2:]
        self.heads = matrix.shape[-3] if len(matrix.shape) > 2 else 1
        self._weights: _Weights = _Exponentials(matrix, sample) if _is_plain(matrix) else _Rows(matrix, sample)
        rows, columns = _fine_sides(self.heads, self.queries, self.keys, memory)
        self._coarse = _Grid(self.heads, self.queries, self.keys, *coarse.shape[1:])
        self._coarse.sums.copy_(torch.as_tensor(coarse) * self._coarse.rows.counts()[:, None])
        self._coarse.known[:] = True
        self._fine = _Grid(self.heads, self.queries, self.keys, rows, columns)
        self._wish: tuple[list[int], int, int] | None = None
        self.pace = math.inf

    def find(
        self,
        heads: Sequence[int],
        box: Box,
        rows: int,
        columns: int,
        *,
        limit: float,
        most: float = 0,
        only_pairs: bool = False,
        alive: Alive = lambda: True,
    ) -> Window | None:
        """A window of the mean of some heads, pooled to at most so many cells.

        Args:
            heads: which heads.
            box: which part.
            rows: the most rows of cells.
            columns: the most columns of cells.
            limit: how many pairs of 64 features may be computed.
            most: how many may be if the same is asked again for a finer answer.
            only_pairs: whether a map is no answer.
            alive: says whether somebody still waits.

        Returns:
            The window; None if it takes pairs that are too many for now.

        Raises:
            Gone: nobody waits.
        """
        heads, rows, columns = list(heads), min(rows, box.height), min(columns, box.width)
        pairs = self._weights.work(heads, box)
        first, last = self._fine.rows.around(box.top, box.bottom)
        missing = self._missing(heads, first, last)
        suffices = self._fine.is_whole or (not only_pairs and self._fine.suffices(box, rows, columns))
        if not (suffices and missing == 0) and pairs <= limit:
            since = time.perf_counter()
            values = self._computed(heads, box, rows, columns, alive)
            if pairs >= _TIMED:
                self.pace = pairs / (time.perf_counter() - since)
            return Window(box, values, "")
        if missing <= limit and (self._fine.is_whole or not only_pairs):
            for head in heads:
                self._fill(head, first, last, alive)
            values, found = self._fine.window(heads, box, rows, columns)
            return Window(found, values, "" if suffices else self._finer(heads, box, pairs, most))
        self._wish = heads, first, last
        if only_pairs:
            return None
        values, found = self._coarse.window(heads, box, rows, columns)
        finer: Finer = "now" if min(pairs, missing) <= most else "later"
        return Window(found, values, finer)

    def step(self) -> bool:
        """Fills a little of the fine map, first where it was last asked for; False if it is full."""
        for heads, first, last in (
            *([self._wish] if self._wish else []),
            (range(self.heads), 0, self._fine.rows.cells),
        ):
            for head in heads:
                start = self._fine.next_unknown(head, first, last)
                if start is not None:
                    self._fill(head, start, min(last, start + self._at_once()), lambda: True)
                    return True
            self._wish = None
        return False

    def _finer(self, heads: list[int], box: Box, pairs: float, most: float) -> Finer:
        if pairs <= most:
            return "now"
        return "later" if self._weights.work(heads, box, known=True) <= most else ""

    def _missing(self, heads: Sequence[int], first: int, last: int) -> float:
        """The work that fills some rows of the fine map."""
        unknown = int((~self._fine.known[heads, first:last]).sum()) if first < last else 0
        if not unknown:
            return 0
        box = Box(self._fine.rows.start(first), self._fine.rows.start(last), 0, self.keys)
        return self._weights.work(heads, box) * unknown / (len(heads) * (last - first))

    def _fill(self, head: int, first: int, last: int, alive: Alive) -> None:
        """Fills rows of the fine map for one head, or for all where they come together."""
        heads = [head] if self._weights.together == 1 else list(range(self.heads))
        while (start := self._fine.next_unknown(head, first, last)) is not None:
            stop = min(last, start + self._at_once())
            box = Box(self._fine.rows.start(start), self._fine.rows.start(stop), 0, self.keys)
            row_cells = self._fine.rows.of(box.top, box.bottom) - start
            sums = self._weights.sums(heads, box, row_cells, self._fine.columns.of(0, self.keys), True, alive)
            self._fine.sums[heads, start:stop] = sums.float()
            self._fine.known[heads, start:stop] = True

    def _at_once(self) -> int:
        """How many rows of the fine map are filled at a time."""
        pairs = self.keys * self.queries / self._fine.rows.cells * self._weights.together
        return max(int(_STEP / pairs), 1)

    def _computed(self, heads: list[int], box: Box, rows: int, columns: int, alive: Alive) -> NDArray[np.float32]:
        row_cells = torch.arange(box.height) * rows // box.height
        column_cells = torch.arange(box.width) * columns // box.width
        sums = self._weights.sums(heads, box, row_cells, column_cells, False, alive)[0]
        return _means(sums, torch.bincount(row_cells), len(heads))


class _Weights(Protocol):
    """The weights of a matrix, summed while they pass by."""

    together: int  # heads (of all of a batch) that are computed at once, even if one is asked for

    def work(self, heads: Sequence[int], box: Box, *, known: bool = False) -> float:
        """How many pairs the sums take; with `known`, if all that can be known beforehand were."""
        ...

    def sums(
        self, heads: Sequence[int], box: Box, row_cells: Tensor, column_cells: Tensor, each: bool, alive: Alive
    ) -> Tensor:
        """The sums over the cells of a box `[heads or 1, rows, columns]`.

        Args:
            heads: which heads.
            box: which part.
            row_cells: the cell of each of its rows, 0, 0, 1, ...
            column_cells: the cell of each of its columns.
            each: whether heads are kept apart.
            alive: says whether somebody still waits.

        Raises:
            Gone: nobody waits.
        """
        ...


class _Exponentials:
    """Softmax of inner products: a weight is `exp(factor * f_i . g_j - lse_i)`, whichever others are asked for."""

    together = 1

    def __init__(self, matrix: AttentionMatrix, sample: int) -> None:
        self.pattern, self.shape = matrix.pattern, matrix.shape
        features, others, factor = matrix.inner_product()
        lead = matrix.shape[:-3]
        self.heads = matrix.shape[-3] if len(matrix.shape) > 2 else 1
        self.sample, self.factor = sample, factor
        self.query, self.key = (_of_sample(t, lead, sample) for t in (features, others))
        queries, self.keys = matrix.shape[-2:]
        self.lse = self.query.new_zeros(self.heads, queries)
        self.known = torch.zeros(self.heads, queries, dtype=torch.bool)
        if matrix._known_lse is not None:
            self.lse = matrix._known_lse.detach().to(self.lse).reshape(-1, self.heads, queries)[sample]
            self.known[:] = True
        self._room = self.query.new_empty(_TILE[0] * _TILE[1])
        self._unit = (self.query.shape[-1] + _WIDTH) / (2 * _WIDTH)

    def work(self, heads: Sequence[int], box: Box, *, known: bool = False) -> float:
        pairs = float(self._visible(box) * len(heads))
        unknown = 0 if known else int((~self.known[list(heads), box.top : box.bottom]).sum())
        if unknown:
            pairs += self._visible(box._replace(left=0, right=self.keys)) * unknown / box.height
        return pairs * self._unit

    def sums(
        self, heads: Sequence[int], box: Box, row_cells: Tensor, column_cells: Tensor, each: bool, alive: Alive
    ) -> Tensor:
        rows, columns = int(row_cells[-1]) + 1, int(column_cells[-1]) + 1
        sums = self.query.new_zeros(len(heads) if each else 1, rows, columns)
        by_column = box.width * rows > 2 * box.height * columns  # the axis of the larger cells is summed first
        cells = (column_cells, row_cells) if by_column else (row_cells, column_cells)
        for at, head in enumerate(heads):
            self._find_lse(head, box.top, box.bottom, alive)
            out = sums[at if each else 0]
            self._add(out.mT if by_column else out, head, box, by_column, cells, alive)
        return sums

    def _add(
        self, out: Tensor, head: int, box: Box, by_column: bool, cells: tuple[Tensor, Tensor], alive: Alive
    ) -> None:
        """Adds the weights of a head to the sums of its cells, tile by tile; all of it transposed with `by_column`."""
        start, other = (box.left, box.top) if by_column else (box.top, box.left)
        step = max(math.prod(_TILE) // min(len(cells[1]), _TILE[1]), 1)
        for a in range(0, len(cells[0]), step):
            first = cells[0][a : a + step]
            for b in range(0, len(cells[1]), _TILE[1]):
                if not alive():
                    raise Gone
                second = cells[1][b : b + _TILE[1]]
                long, wide = (start + a, start + a + len(first)), (other + b, other + b + len(second))
                weights = self._tile(head, *wide, *long, True) if by_column else self._tile(head, *long, *wide, False)
                if weights is None:
                    continue
                low, high = int(first[0]), int(first[-1]) + 1
                summed = weights.new_zeros(high - low, len(second)).index_add_(0, first - low, weights)
                out[low:high, int(second[0]) : int(second[-1]) + 1] += _by_columns(summed, second)

    def _tile(self, head: int, top: int, bottom: int, left: int, right: int, turned: bool) -> Tensor | None:
        """Weights `[n, m]`, or `[m, n]` if turned, which the next ones overwrite; None where all are hidden."""
        first, last = self._reach(top, bottom)
        if first >= right or last <= left:
            return None
        scores = self._scores(head, top, bottom, left, right, turned)
        lse = self.lse[head, top:bottom]
        lse = lse.masked_fill(lse == -math.inf, 0)
        return scores.sub_(lse[None] if turned else lse[:, None]).exp_()

    def _scores(self, head: int, top: int, bottom: int, left: int, right: int, turned: bool) -> Tensor:
        """Scores in the one room, -inf where hidden."""
        query = self.query[head, top:bottom] * self.factor
        key = self.key[head * len(self.key) // self.heads, left:right]
        n, m = len(query), len(key)
        first, second = (key, query) if turned else (query, key)
        scores = torch.mm(first, second.mT, out=self._room[: n * m].view(len(first), len(second)))
        if self._hides(top, right):
            rows, columns = torch.arange(top, bottom)[:, None], torch.arange(left, right)[None]
            allowed = self.pattern.allowed(rows, columns, self.shape)
            if allowed.dim() > 2:
                allowed = allowed.expand(*self.shape[:-2], n, m).reshape(-1, self.heads, n, m)[self.sample, head]
            scores.masked_fill_(~(allowed.mT if turned else allowed), -math.inf)
        return scores

    def _hides(self, top: int, right: int) -> bool:
        """Whether some pair of a tile may be hidden."""
        if isinstance(self.pattern, Causal):
            return right - 1 > top + self.pattern.offset(self.shape)
        return self.pattern.masks_any(self.shape)

    def _find_lse(self, head: int, top: int, bottom: int, alive: Alive) -> None:
        """The log-sum-exp of those of some rows that are not known."""
        unknown = (~self.known[head, top:bottom]).nonzero()[:, 0] + top
        if not len(unknown):
            return
        for start in range(int(unknown[0]), int(unknown[-1]) + 1, _TILE[0]):
            stop = min(start + _TILE[0], int(unknown[-1]) + 1)
            if bool(self.known[head, start:stop].all()):
                continue
            first, last = self._reach(start, stop)
            lse = self.lse.new_full((stop - start,), -math.inf)
            for left in range(first, last, _TILE[1]):
                if not alive():
                    raise Gone
                scores = self._scores(head, start, stop, left, min(left + _TILE[1], last), False)
                high = scores.amax(-1)
                high.masked_fill_(high == -math.inf, 0)
                lse = torch.logaddexp(lse, scores.sub_(high[:, None]).exp_().sum(-1).log_().add_(high))
            self.lse[head, start:stop] = lse
            self.known[head, start:stop] = True

    def _reach(self, top: int, bottom: int) -> tuple[int, int]:
        """The columns beyond which no row of some sees."""
        first, last = self.pattern.columns(torch.tensor([top]), torch.tensor([bottom]), self.shape)
        return int(first), int(last)

    def _visible(self, box: Box) -> int:
        """About how many pairs of a box have to be computed."""
        starts = torch.arange(box.top, box.bottom, max(box.height // 64, 1))
        stops = torch.cat([starts[1:], torch.tensor([box.bottom])])
        first, last = self.pattern.columns(starts, stops, self.shape)
        return int(((last.clamp_max(box.right) - first.clamp_min(box.left)).clamp_min(0) * (stops - starts)).sum())


class _Rows:
    """Any other matrix: all heads of some whole rows at a time."""

    def __init__(self, matrix: AttentionMatrix, sample: int) -> None:
        self.matrix, self.sample = matrix, sample
        self.heads = matrix.shape[-3] if len(matrix.shape) > 2 else 1
        self.together = math.prod(matrix.shape[:-2])
        self._unit = (matrix.query.shape[-1] + _WIDTH) / _WIDTH

    def work(self, heads: Sequence[int], box: Box, *, known: bool = False) -> float:
        return box.height * self.matrix.shape[-1] * self.together * self._unit

    def sums(
        self, heads: Sequence[int], box: Box, row_cells: Tensor, column_cells: Tensor, each: bool, alive: Alive
    ) -> Tensor:
        rows, columns = int(row_cells[-1]) + 1, int(column_cells[-1]) + 1
        sums = at_least_float32(self.matrix.query).new_zeros(len(heads) if each else 1, rows, columns)
        step = max(_STREAMED // (self.together * self.matrix.shape[-1]), 1)
        for start in range(0, box.height, step):
            if not alive():
                raise Gone
            cells = row_cells[start : start + step]
            top, low = box.top + start, int(cells[0])
            found = self.matrix[..., top : top + len(cells), box.left : box.right]
            weights = found.reshape(-1, self.heads, *found.shape[-2:])[self.sample, list(heads)]
            weights = weights if each else weights.sum(0, keepdim=True)
            for out, of_head in zip(sums, weights, strict=True):
                summed = of_head.new_zeros(int(cells[-1]) + 1 - low, box.width).index_add_(0, cells - low, of_head)
                out[low : int(cells[-1]) + 1] += _by_columns(summed, column_cells)
        return sums


class _Axis:
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


class _Grid:
    """A map of sums: what all queries of a cell give to its keys."""

    def __init__(self, heads: int, queries: int, keys: int, rows: int, columns: int) -> None:
        self.rows, self.columns = _Axis(rows, queries), _Axis(columns, keys)
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
        found = Box(self.rows.start(top), self.rows.start(bottom), self.columns.start(left), self.columns.start(right))
        counts = torch.bincount(row_cells[self.rows.of(found.top, found.bottom) - top])
        return _means(_by_columns(sums, column_cells), counts, len(heads)), found


def _by_columns(rows: Tensor, cells: Tensor) -> Tensor:
    """Sums over the columns of each cell, given in rising order."""
    if int(cells[-1]) - int(cells[0]) + 1 == len(cells):
        return rows
    starts = torch.cat([torch.zeros(1, dtype=torch.long), cells.diff().nonzero()[:, 0] + 1])
    return torch.from_numpy(np.add.reduceat(rows.numpy(), starts.numpy(), axis=1))


def _means(sums: Tensor, counts: Tensor, heads: int) -> NDArray[np.float32]:
    return (sums / (counts[:, None] * heads)).float().numpy()


def _of_sample(tensor: Tensor, lead: Sequence[int], sample: int) -> Tensor:
    """`[heads, positions, width]` of one of a batch."""
    if tensor.dim() < 3:
        return tensor[None]
    return tensor.expand(*lead, *tensor.shape[-3:]).reshape(-1, *tensor.shape[-3:])[sample]


def _is_plain(matrix: AttentionMatrix) -> bool:
    """Whether weights follow from inner products and one number a row."""
    m = matrix.mechanism
    return (
        m.score.inner
        and m.normalize is softmax
        and m.bias is None
        and m.softcap is None
        and m.sinks is None
        and not torch.is_tensor(m.factor(matrix.query.shape[-1]))
        and matrix.query.device.type == "cpu"
        and all(bool(t.isfinite().all()) for t in (matrix.query, matrix.key))
    )


def _fine_sides(heads: int, queries: int, keys: int, memory: int) -> tuple[int, int]:
    """The rows and columns of a fine map: one for each position where that fits."""
    if 4 * heads * queries * keys <= memory:
        return queries, keys
    for side in _SIDES:
        rows, columns = min(side, queries), min(side, keys)
        if 4 * heads * rows * columns <= memory:
            return rows, columns
    return min(_SIDES[-1], queries), min(_SIDES[-1], keys)
