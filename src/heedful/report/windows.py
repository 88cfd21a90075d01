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
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Tensor
from heedful.inspection.calls import num_heads
from heedful.ops import AttentionMatrix
from heedful.report.cell_grid import Box, CellAxis, CellGrid, Edges, cell_means
from heedful.report.cells import cell_starts, cells_of, starts_between
from heedful.report.window_sums import Alive, window_sums

Finer = Literal["", "now", "later"]

_STEP = 2**23  # pairs that are computed at a time while nobody asks: 20 ms
_TIMED = 2**22  # pairs that tell how fast pairs are computed
_SIZES = (6144, 4096, 3072, 2048, 1536, 1024, 768, 512, 384, 256)  # of a fine map; their divisors are dense


class Window(NamedTuple):
    """A part of a matrix, pooled to cells.

    Attributes:
        edges: where its cells begin; they cover what was asked for, or more where they are those of a map.
        values: `[rows, columns]`: the mean over the queries of a cell, and over the heads, of what they give to its keys.
        finer: whether more work would show more: "" no, "now" yes, "later" once more of the matrix is known.
    """

    edges: Edges
    values: NDArray[np.float32]
    finer: Finer


class MatrixWindows:
    """The windows of one matrix; used by one thread.

    Attributes:
        pace: how many pairs a second were computed lately; infinite before any were.

    Args:
        matrix: of `[..., H, N, M]`.
        sample: which one of a batch.
        coarse: a map of it `[H, R, C]`: means over queries and sums over keys.
        memory: bytes that the fine map may take.
        cuts: the positions of queries and of keys at which a cell must begin.
        starts: where rows and columns of `coarse` begin, and end; None: they are as alike as they can be.
    """

    def __init__(
        self,
        matrix: AttentionMatrix,
        sample: int,
        coarse: NDArray[np.floating],
        memory: int,
        cuts: Sequence[Sequence[int]] = ((), ()),
        starts: Sequence[Tensor] | None = None,
    ) -> None:
        self.queries, self.keys = matrix.shape[-2:]
        self.heads = num_heads(matrix)
        self._sums = window_sums(matrix, sample)
        rows, columns = _fine_cells(self.heads, self.queries, self.keys, memory)
        self._cuts = cuts
        lengths, cells = (self.queries, self.keys), coarse.shape[1:]
        even = [cell_starts(length, count) for length, count in zip(lengths, cells, strict=True)]
        self._coarse = self._grid(even if starts is None else starts)
        self._coarse.sums.copy_(torch.as_tensor(coarse) * self._coarse.rows.counts()[:, None])
        self._coarse.known[:] = True
        axes = zip(lengths, (rows, columns), cuts, strict=True)
        self._fine = self._grid([cell_starts(*axis) for axis in axes])
        self._last_missing: tuple[list[int], int, int] | None = None
        self.pace = math.inf

    def _grid(self, starts: Sequence[Tensor]) -> CellGrid:
        return CellGrid(self.heads, *(CellAxis(*axis) for axis in zip(starts, self._cuts, strict=True)))

    def window(
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
        pairs = self._sums.work(heads, box)
        first, last = self._fine.rows.around(box.top, box.bottom)
        missing = self._missing(heads, first, last)
        suffices = self._fine.is_whole or (not only_pairs and self._fine.suffices(box, rows, columns))
        if not (suffices and missing == 0) and pairs <= limit:
            since = time.perf_counter()
            values, edges = self._computed(heads, box, rows, columns, alive)
            if pairs >= _TIMED:
                self.pace = pairs / (time.perf_counter() - since)
            return Window(edges, values, "")
        if missing <= limit and (self._fine.is_whole or not only_pairs):
            for head in heads:
                self._fill(head, first, last, alive)
            values, edges = self._fine.window(heads, box, rows, columns)
            return Window(edges, values, "" if suffices else self._finer(heads, box, pairs, most))
        self._last_missing = heads, first, last
        if only_pairs:
            return None
        values, edges = self._coarse.window(heads, box, rows, columns)
        finer: Finer = "now" if min(pairs, missing) <= most else "later"
        return Window(edges, values, finer)

    def step(self) -> bool:
        """Fills a little of the fine map, first where it was last asked for; False if it is full."""
        for heads, first, last in (
            *([self._last_missing] if self._last_missing else []),
            (range(self.heads), 0, self._fine.rows.cells),
        ):
            for head in heads:
                start = self._fine.next_unknown(head, first, last)
                if start is not None:
                    self._fill(head, start, min(last, start + self._at_once()), lambda: True)
                    return True
            self._last_missing = None
        return False

    def _finer(self, heads: list[int], box: Box, pairs: float, most: float) -> Finer:
        if pairs <= most:
            return "now"
        return "later" if self._sums.work(heads, box, known=True) <= most else ""

    def _missing(self, heads: Sequence[int], first: int, last: int) -> float:
        """The work that fills some rows of the fine map."""
        unknown = int((~self._fine.known[heads, first:last]).sum()) if first < last else 0
        if not unknown:
            return 0
        box = Box(self._fine.rows.start(first), self._fine.rows.start(last), 0, self.keys)
        return self._sums.work(heads, box) * unknown / (len(heads) * (last - first))

    def _fill(self, head: int, first: int, last: int, alive: Alive) -> None:
        """Fills rows of the fine map for one head, or for all where they come together."""
        heads = [head] if self._sums.together == 1 else list(range(self.heads))
        while (start := self._fine.next_unknown(head, first, last)) is not None:
            stop = min(last, start + self._at_once())
            box = Box(self._fine.rows.start(start), self._fine.rows.start(stop), 0, self.keys)
            row_cells = self._fine.rows.of(box.top, box.bottom) - start
            sums = self._sums.sums(heads, box, row_cells, self._fine.columns.of(0, self.keys), True, alive)
            self._fine.sums[heads, start:stop] = sums.float()
            self._fine.known[heads, start:stop] = True

    def _at_once(self) -> int:
        """How many rows of the fine map are filled at a time."""
        pairs = self.keys * self.queries / self._fine.rows.cells * self._sums.together
        return max(int(_STEP / pairs), 1)

    def _computed(
        self, heads: list[int], box: Box, rows: int, columns: int, alive: Alive
    ) -> tuple[NDArray[np.float32], Edges]:
        edges = Edges(
            starts_between(box.top, box.bottom, rows, self._cuts[0]),
            starts_between(box.left, box.right, columns, self._cuts[1]),
        )
        row_cells, column_cells = (cells_of(starts, int(starts[0])) for starts in edges)
        sums = self._sums.sums(heads, box, row_cells, column_cells, False, alive)[0]
        return cell_means(sums, edges.rows.diff(), len(heads)), edges


def _fine_cells(heads: int, queries: int, keys: int, memory: int) -> tuple[int, int]:
    """The rows and columns of a fine map: one for each position where that fits."""
    if 4 * heads * queries * keys <= memory:
        return queries, keys
    for size in _SIZES:
        rows, columns = min(size, queries), min(size, keys)
        if 4 * heads * rows * columns <= memory:
            return rows, columns
    return min(_SIZES[-1], queries), min(_SIZES[-1], keys)
