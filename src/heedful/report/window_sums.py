"""The sums of the weights of a window over cells, tile by tile, so that no matrix is stored."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from heedful._types import Tensor
from heedful.inspection.calls import num_heads
from heedful.ops import AttentionMatrix, Causal, softmax
from heedful.ops.engines.reference import at_least_float32
from heedful.report.cell_grid import Box, sum_columns

Alive = Callable[[], bool]

_TILE = (128, 8192)  # positions of the axis that is summed first, and of the other
_STREAMED = 2**22  # weights of all heads that a matrix without a shortcut holds at a time
_WIDTH = 64  # of queries for which one pair is one unit of work


class Gone(Exception):
    """Nobody waits for the answer any more."""


def window_sums(matrix: AttentionMatrix, sample: int) -> "WindowSums":
    """The quickest way to the sums of a matrix."""
    return SoftmaxSums(matrix, sample) if _is_softmax_of_products(matrix) else StreamedSums(matrix, sample)


class WindowSums(Protocol):
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


class SoftmaxSums:
    """Softmax of inner products: a weight is `exp(factor * f_i . g_j - lse_i)`, whichever others are asked for."""

    together = 1

    def __init__(self, matrix: AttentionMatrix, sample: int) -> None:
        self.pattern, self.shape = matrix.pattern, matrix.shape
        features, others, factor = matrix.inner_product()
        lead = matrix.shape[:-3]
        self.heads = num_heads(matrix)
        self.sample, self.factor = sample, factor
        self.query, self.key = (_of_sample(t, lead, sample) for t in (features, others))
        queries, self.keys = matrix.shape[-2:]
        self.lse = self.query.new_zeros(self.heads, queries)
        self.known = torch.zeros(self.heads, queries, dtype=torch.bool)
        if matrix._known_lse is not None:
            self.lse = matrix._known_lse.detach().to(self.lse).reshape(-1, self.heads, queries)[sample]
            self.known[:] = True
        self._buffer = self.query.new_empty(_TILE[0] * _TILE[1])
        self._unit = (self.query.shape[-1] + _WIDTH) / (2 * _WIDTH)

    def work(self, heads: Sequence[int], box: Box, *, known: bool = False) -> float:
        """How many pairs the sums take."""
        pairs = float(self._visible(box) * len(heads))
        unknown = 0 if known else int((~self.known[list(heads), box.top : box.bottom]).sum())
        if unknown:
            pairs += self._visible(box._replace(left=0, right=self.keys)) * unknown / box.height
        return pairs * self._unit

    def sums(
        self, heads: Sequence[int], box: Box, row_cells: Tensor, column_cells: Tensor, each: bool, alive: Alive
    ) -> Tensor:
        """The sums over the cells of a box."""
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
                out[low:high, int(second[0]) : int(second[-1]) + 1] += sum_columns(summed, second)

    def _tile(self, head: int, top: int, bottom: int, left: int, right: int, transposed: bool) -> Tensor | None:
        """Weights `[n, m]`, or `[m, n]` if transposed, which the next ones overwrite; None where all are masked."""
        first, last = self._reach(top, bottom)
        if first >= right or last <= left:
            return None
        scores = self._scores(head, top, bottom, left, right, transposed)
        lse = self.lse[head, top:bottom]
        lse = lse.masked_fill(lse == -math.inf, 0)
        return scores.sub_(lse[None] if transposed else lse[:, None]).exp_()

    def _scores(self, head: int, top: int, bottom: int, left: int, right: int, transposed: bool) -> Tensor:
        """Scores in the one buffer, -inf where masked."""
        query = self.query[head, top:bottom] * self.factor
        key = self.key[head * len(self.key) // self.heads, left:right]
        n, m = len(query), len(key)
        first, second = (key, query) if transposed else (query, key)
        scores = torch.mm(first, second.mT, out=self._buffer[: n * m].view(len(first), len(second)))
        if self._masks_any(top, right):
            rows, columns = torch.arange(top, bottom)[:, None], torch.arange(left, right)[None]
            allowed = self.pattern.allowed(rows, columns, self.shape)
            if allowed.dim() > 2:
                allowed = allowed.expand(*self.shape[:-2], n, m).reshape(-1, self.heads, n, m)[self.sample, head]
            scores.masked_fill_(~(allowed.mT if transposed else allowed), -math.inf)
        return scores

    def _masks_any(self, top: int, right: int) -> bool:
        """Whether some pair of a tile may be masked."""
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


class StreamedSums:
    """Any other matrix: all heads of some whole rows at a time."""

    def __init__(self, matrix: AttentionMatrix, sample: int) -> None:
        self.matrix, self.sample = matrix, sample
        self.heads = num_heads(matrix)
        self.together = math.prod(matrix.shape[:-2])
        self._unit = (matrix.query.shape[-1] + _WIDTH) / _WIDTH

    def work(self, heads: Sequence[int], box: Box, *, known: bool = False) -> float:
        """How many pairs the sums take."""
        return box.height * self.matrix.shape[-1] * self.together * self._unit

    def sums(
        self, heads: Sequence[int], box: Box, row_cells: Tensor, column_cells: Tensor, each: bool, alive: Alive
    ) -> Tensor:
        """The sums over the cells of a box."""
        rows, columns = int(row_cells[-1]) + 1, int(column_cells[-1]) + 1
        sums = at_least_float32(self.matrix.query).new_zeros(len(heads) if each else 1, rows, columns)
        step = max(_STREAMED // (self.together * self.matrix.shape[-1]), 1)
        for start in range(0, box.height, step):
            if not alive():
                raise Gone
            cells = row_cells[start : start + step]
            top, low = box.top + start, int(cells[0])
            block = self.matrix[..., top : top + len(cells), box.left : box.right]
            weights = block.reshape(-1, self.heads, *block.shape[-2:])[self.sample, list(heads)]
            weights = weights if each else weights.sum(0, keepdim=True)
            for out, of_head in zip(sums, weights, strict=True):
                summed = of_head.new_zeros(int(cells[-1]) + 1 - low, box.width).index_add_(0, cells - low, of_head)
                out[low : int(cells[-1]) + 1] += sum_columns(summed, column_cells)
        return sums


def _of_sample(tensor: Tensor, lead: Sequence[int], sample: int) -> Tensor:
    """`[heads, positions, width]` of one of a batch."""
    if tensor.dim() < 3:
        return tensor[None]
    return tensor.expand(*lead, *tensor.shape[-3:]).reshape(-1, *tensor.shape[-3:])[sample]


def _is_softmax_of_products(matrix: AttentionMatrix) -> bool:
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
