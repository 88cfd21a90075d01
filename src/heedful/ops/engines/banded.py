"""Attention whose cost follows the visible pairs: blocks of queries against the keys that they can see.

A strip takes rows and columns of the matrix in an order in which what a block of rows can see is one run of columns, and
the run moves on by a fixed step from block to block: then all blocks are one view, without a copy, and one call of PyTorch's
fused kernel. Several strips may see the same row (a window, then global tokens): their results are merged by the
log-sum-exp of each, and in the backward pass each needs no more than the whole row's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from heedful._types import Bool, Float, Int, Tensor

CHUNK = 2**19  # numbers of one operand of one call; the temporary results stay in the processor's cache


class Box(NamedTuple):
    """Positions `offset + sum_a strides[a] * i_a` with `i_a < sizes[a]`, the last axis fastest."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def length(self) -> int:
        """How many positions."""
        return math.prod(self.sizes)

    def positions(self) -> Int[Tensor, "n"]:
        """The positions, in order."""
        total = torch.full((1,) * len(self.sizes), self.offset)
        for axis, (size, stride) in enumerate(zip(self.sizes, self.strides, strict=True)):
            total = total + (torch.arange(size) * stride).reshape((-1,) + (1,) * (len(self.sizes) - 1 - axis))
        return total.flatten()

    def of(self, tensor: Float[Tensor, "x N F"]) -> Float[Tensor, "x n F"]:
        """The rows of a tensor at these positions: a view where they are side by side, a copy otherwise."""
        if self.strides == (1,):
            return tensor.narrow(1, self.offset, self.sizes[0])
        return self._view(tensor).flatten(1, -2)

    def add(self, tensor: Float[Tensor, "x N F"], part: Float[Tensor, "x n F"]) -> None:
        """Adds rows at these positions, in place."""
        view = self._view(tensor)
        view.add_(part.view(view.shape))

    def put(self, tensor: Float[Tensor, "x N F"], part: Float[Tensor, "x n F"]) -> None:
        """Writes rows at these positions."""
        view = self._view(tensor)
        view.copy_(part.view(view.shape))

    def _view(self, tensor: Tensor) -> Tensor:
        x, row, one = tensor.stride()
        sizes = (tensor.shape[0], *self.sizes, tensor.shape[2])
        strides = (x, *(stride * row for stride in self.strides), one)
        return tensor.as_strided(sizes, strides, tensor.storage_offset() + self.offset * row)


class Places(NamedTuple):
    """Any positions, by number."""

    numbers: Int[Tensor, "n"]

    @property
    def length(self) -> int:
        """How many positions."""
        return len(self.numbers)

    def positions(self) -> Int[Tensor, "n"]:
        """The positions, in order."""
        return self.numbers

    def of(self, tensor: Float[Tensor, "x N F"]) -> Float[Tensor, "x n F"]:
        """The rows of a tensor at these positions."""
        return tensor.index_select(1, self.numbers)

    def add(self, tensor: Float[Tensor, "x N F"], part: Float[Tensor, "x n F"]) -> None:
        """Adds rows at these positions, in place."""
        tensor.index_add_(1, self.numbers, part)

    def put(self, tensor: Float[Tensor, "x N F"], part: Float[Tensor, "x n F"]) -> None:
        """Writes rows at these positions."""
        tensor.index_copy_(1, self.numbers.long(), part)


class Span(NamedTuple):
    """In block c, the `size` places from `start + c * step` on, in the order of a strip."""

    start: int
    step: int
    size: int

    def of(self, tensor: Float[Tensor, "x n F"], first: int, count: int) -> Float[Tensor, "x c s F"]:
        """The rows of a tensor for `count` blocks from `first` on: a view in which blocks may overlap."""
        x, row, one = tensor.stride()
        offset = tensor.storage_offset() + (self.start + first * self.step) * row
        return tensor.as_strided(
            (tensor.shape[0], count, self.size, tensor.shape[2]), (x, self.step * row, row, one), offset
        )

    def add(self, tensor: Float[Tensor, "x n F"], part: Float[Tensor, "x c s F"], first: int) -> None:
        """Adds what each block has, in place: blocks so far apart that they do not overlap at once."""
        count = part.shape[1]
        apart = max(-(-self.size // self.step), 1) if self.step else count
        for start in range(min(apart, count)):
            some = part[:, start::apart]
            span = Span(self.start + (first + start) * self.step, self.step * apart, self.size)
            span.of(tensor, 0, some.shape[1]).add_(some)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of one shape: rows against columns, of which a mask or the causal flag hides some.

    Attributes:
        rows: the rows of each block.
        columns: the columns that it may see.
        count: how many blocks.
        mask: numbers to add, 0 or -inf `[1 or count, rows, columns]`; None: all pairs of a block are visible.
        causal: the rows and columns of each block see each other causally.
        empty: the rows that see nothing in a block `[1 or count, rows, 1]`; None: there are none.
    """

    rows: Span
    columns: Span
    count: int
    mask: Float[Tensor, "..."] | None = None
    causal: bool = False
    empty: Bool[Tensor, "..."] | None = None

    def pairs(self) -> int:
        """The pairs that are computed."""
        whole = self.count * self.rows.size * self.columns.size
        return whole // 2 if self.causal else whole


@dataclass(frozen=True, eq=False)
class Strip:
    """A part of the matrix, in an order of its own.

    Attributes:
        rows: the queries, in the order of the strip.
        columns: the keys.
        blocks: what is computed; no row is in two of them.
        heads: which of the matrices, counted over all leading axes.
        merge: another strip may have seen the same rows before.
    """

    rows: Box | Places
    columns: Box | Places
    blocks: tuple[Blocks, ...]
    heads: slice
    merge: bool = False

    def covered(self) -> int:
        """The rows, of all heads, that are in a block."""
        heads: int = self.heads.stop - self.heads.start
        return heads * sum(b.count * b.rows.size for b in self.blocks)


def forward(
    q: Float[Tensor, "X N F"],
    k: Float[Tensor, "X M F"],
    v: Float[Tensor, "X M F"],
    strips: Sequence[Strip],
    scale: float,
) -> tuple[Float[Tensor, "X N F"], Float[Tensor, "X N"]]:
    """`A V` and the log-sum-exp of each row (-inf where nothing is visible)."""
    out, lse = torch.empty_like(q), q.new_full((*q.shape[:2], 1), -math.inf, dtype=_lse_dtype(q))
    if not _cover(strips, q):
        out.zero_()
    for strip in strips:
        some_out, some_lse = out[strip.heads], lse[strip.heads]
        queries, keys, values = (
            strip.rows.of(q[strip.heads]),
            strip.columns.of(k[strip.heads]),
            strip.columns.of(v[strip.heads]),
        )
        in_place = isinstance(strip.rows, Box) and strip.rows.strides == (1,)
        strip_out, strip_lse = strip.rows.of(some_out), strip.rows.of(some_lse)
        for blocks in strip.blocks:
            for heads, first, count in _chunks(len(queries), blocks, blocks.rows.size * q.shape[2]):
                mask, empty = (_of_blocks(t, first, count) for t in (blocks.mask, blocks.empty))
                part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    blocks.rows.of(queries[heads], first, count),
                    blocks.columns.of(keys[heads], first, count),
                    blocks.columns.of(values[heads], first, count),
                    0.0, blocks.causal, attn_mask=mask, scale=scale,
                )  # fmt: skip
                part_lse = part_lse[..., None]
                if empty is not None:
                    part_lse = part_lse.masked_fill(empty, -math.inf)
                out_view = blocks.rows.of(strip_out[heads], first, count)
                lse_view = blocks.rows.of(strip_lse[heads], first, count)
                if strip.merge:
                    both = torch.logaddexp(lse_view, part_lse)
                    kept = both.masked_fill(both == -math.inf, 0)
                    out_view.mul_((lse_view - kept).exp()).addcmul_(part, (part_lse - kept).exp().to(part.dtype))
                    lse_view.copy_(both)
                else:
                    out_view.copy_(part)
                    lse_view.copy_(part_lse)
        if not in_place:
            strip.rows.put(some_out, strip_out)
            strip.rows.put(some_lse, strip_lse)
    return out, lse[..., 0]


def backward(
    dout: Float[Tensor, "X N F"],
    q: Float[Tensor, "X N F"],
    k: Float[Tensor, "X M F"],
    v: Float[Tensor, "X M F"],
    out: Float[Tensor, "X N F"],
    lse: Float[Tensor, "X N"],
    strips: Sequence[Strip],
    scale: float,
) -> tuple[Float[Tensor, "X N F"], Float[Tensor, "X M F"], Float[Tensor, "X M F"]]:
    """The gradients of q, k and v: each block needs the output and the log-sum-exp of its whole rows."""
    once = _cover(strips, q) and not any(strip.merge for strip in strips)  # each row is in one block
    dq, dk, dv = torch.empty_like(q) if once else torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    lse = lse.masked_fill(lse == -math.inf, 0)[..., None]
    for strip in strips:
        h, rows, columns = strip.heads, strip.rows, strip.columns
        row_wise = [rows.of(t[h]) for t in (q, out, dout, lse)]
        keys, values = columns.of(k[h]), columns.of(v[h])
        plain_rows = isinstance(rows, Box) and rows.strides == (1,)
        plain_columns = isinstance(columns, Box) and columns.strides == (1,)
        strip_dq = rows.of(dq[h]) if plain_rows else torch.zeros_like(row_wise[0])
        strip_dk, strip_dv = (columns.of(t[h]) if plain_columns else torch.zeros_like(keys) for t in (dk, dv))
        for blocks in strip.blocks:
            for heads, first, count in _chunks(
                len(keys), blocks, max(blocks.columns.size, blocks.rows.size) * q.shape[2]
            ):
                mask = _of_blocks(blocks.mask, first, count)
                queries, o, g, row_lse = (blocks.rows.of(t[heads], first, count) for t in row_wise)
                part_dq, part_dk, part_dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    g, queries,
                    blocks.columns.of(keys[heads], first, count), blocks.columns.of(values[heads], first, count),
                    o, row_lse[..., 0].contiguous(), 0.0, blocks.causal, attn_mask=mask, scale=scale,
                )  # fmt: skip
                view = blocks.rows.of(strip_dq[heads], first, count)
                view.copy_(part_dq) if once else view.add_(part_dq)
                blocks.columns.add(strip_dk[heads], part_dk, first)
                blocks.columns.add(strip_dv[heads], part_dv, first)
        if not plain_rows:
            (rows.put if once else rows.add)(dq[h], strip_dq)
        if not plain_columns:
            columns.add(dk[h], strip_dk)
            columns.add(dv[h], strip_dv)
    return dq, dk, dv


def _chunks(heads: int, blocks: Blocks, numbers: int) -> Iterator[tuple[slice, int, int]]:
    """Some heads and some of the blocks at a time."""
    step = min(max(CHUNK // max(numbers, 1), 1), blocks.count)
    together = max(CHUNK // max(numbers * blocks.count, 1), 1) if step == blocks.count else 1
    for head in range(0, heads, together):
        for first in range(0, blocks.count, step):
            yield slice(head, min(head + together, heads)), first, min(step, blocks.count - first)


def _cover(strips: Sequence[Strip], q: Tensor) -> bool:
    """Whether every row is in a block of a strip that is not merged."""
    return sum(strip.covered() for strip in strips if not strip.merge) == len(q) * q.shape[1]


def _of_blocks(tensor: Tensor | None, first: int, count: int) -> Tensor | None:
    """What some of the blocks have, `[1, 1 or count, ...]`."""
    if tensor is None:
        return None
    return tensor[None] if len(tensor) == 1 else tensor[None, first : first + count]


def _lse_dtype(q: Tensor) -> torch.dtype:
    return torch.float64 if q.dtype == torch.float64 else torch.float32
