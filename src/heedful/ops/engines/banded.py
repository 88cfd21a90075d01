"""Attention whose cost follows the visible pairs: blocks of queries against the keys that they can see.

A band takes rows and columns of the matrix in an order in which what a block of rows can see is one run of columns, and
the run moves on by a fixed step from block to block: then all blocks are one view, without a copy, and one call of PyTorch's
fused kernel. Several bands may see the same row (a window, then global tokens): their results are merged by the
log-sum-exp of each, and in the backward pass each needs no more than the whole row's.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Tensor
from heedful.ops._tree import key_of
from heedful.ops.engines import assemble, bands, kernel, softmax
from heedful.ops.engines.bands import Bands, Blocks, mask_numbers
from heedful.ops.engines.base import Call, Engine, Result
from heedful.ops.engines.features import as_columns, operands
from heedful.ops.engines.reference import all_heads
from heedful.ops.mechanism import Mechanism

CHUNK = 2**19  # numbers of one operand of one call; the temporary results stay in the processor's cache


class Banded(Engine):
    """The visible blocks, by PyTorch's kernel."""

    name = "banded"
    reason = "the pattern shows each row a part of the keys"

    def obstacle(self, call: Call) -> str | None:
        if reason := softmax.obstacle_of_call(call):
            return reason
        if not kernel.is_available(call.query) or torch.compiler.is_compiling():
            return "the device has no kernel for it, or a graph is made, which cannot look for blocks"
        if call.bands is None:
            return (
                "the pattern differs between heads" if call.requested else "the pattern shows each row most of the keys"
            )
        bias = call.mechanism.bias
        added = bias is not None and not as_columns(bias, call.shape, call.query, no_bias=True)
        return "there is a bias to add" if added else None

    def run(self, call: Call) -> Result:
        inputs = operands(call.query, call.key, call.value, call.mechanism, call.shape, no_bias=True)
        return assemble.run(inputs, call.shape, self.name, lambda m: BandedKernel(m, call.shape, call.bands))

    def pairs(self, call: Call) -> int:
        return sum(band.pairs for band in call.bands or ())

    def scratch_bytes(self, call: Call, passes: int) -> int:
        masks, size = 4 * sum(mask_numbers(call.bands or ())), call.query.element_size()
        return softmax.padding_bytes(call, passes, all_heads=True) + 4 * passes * CHUNK * size + masks


class BandedKernel(softmax.SoftmaxKernel):
    """The bands of a pattern."""

    def __init__(self, mechanism: Mechanism, shape: Shape, pattern_bands: Bands | None) -> None:
        super().__init__(mechanism, shape)
        self.pattern_bands = (
            pattern_bands if key_of(mechanism.pattern) is None else None
        )  # the others are kept by themselves

    def rows(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`A V` and the log-sum-exp of each row, -inf where nothing is visible."""
        pattern_bands = self.pattern_bands if self.pattern_bands is not None else self._bands(q.dtype)
        q3, k3, v3 = self._operands(q, k, v)
        out, lse = forward(q3, k3, v3, pattern_bands, self.scale)
        return out[..., : v.shape[-1]].reshape(*self.shape[:-1], v.shape[-1]), lse.view(self.shape[:-1])

    def gradients(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v."""
        q3, k3, v3 = self._operands(q, k, v)
        dout, out = (_three_axes(t, q3.shape[-1]) for t in (dout, out))
        pattern_bands = self._bands(q.dtype, backward=True)
        dq, dk, dv = backward(dout, q3, k3, v3, out, lse.reshape(q3.shape[:2]), pattern_bands, self.scale)
        return self._like(dq, q), self._like(dk, k), self._like(dv, v)

    def _bands(self, dtype: torch.dtype, *, backward: bool = False) -> Bands:
        pattern_bands = bands.bands(self.mechanism.pattern, self.shape, dtype, backward=backward)
        assert pattern_bands is not None
        return pattern_bands

    def _operands(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """All heads `[X, positions, width]`, of one width, each row side by side in memory."""
        width = max(t.shape[-1] for t in tensors)
        return tuple(_three_axes(all_heads(t, tensors[0]), width) for t in tensors)

    def _like(self, gradient: Tensor, operand: Tensor) -> Tensor:
        """Without what was padded, and summed over heads that share a key head."""
        gradient = gradient[..., : operand.shape[-1]]
        if len(gradient) == math.prod(operand.shape[:-2]):
            return gradient.reshape(operand.shape)
        return gradient.reshape(*operand.shape[:-2], -1, *operand.shape[-2:]).sum(-3)


def forward(
    q: Float[Tensor, "X N F"], k: Float[Tensor, "X M F"], v: Float[Tensor, "X M F"], pattern_bands: Bands, scale: float
) -> tuple[Float[Tensor, "X N F"], Float[Tensor, "X N"]]:
    """`A V` and the log-sum-exp of each row (-inf where nothing is visible)."""
    wide = torch.promote_types(q.dtype, torch.float32)
    merged = any(band.merge for band in pattern_bands)
    out = torch.empty_like(
        q, dtype=wide if merged else q.dtype
    )  # merged in half precision, rows would be rounded each time
    lse = q.new_full((*q.shape[:2], 1), -math.inf, dtype=wide)
    if not _cover(pattern_bands, q):
        out.zero_()
    for band in pattern_bands:
        rows, columns, h = band.rows, band.columns, band.heads
        queries, band_out, band_lse = (rows.of(t[h]) for t in (q, out, lse))
        keys, values = columns.of(k[h]), columns.of(v[h])
        for blocks in band.blocks:
            for heads, first, count in _chunks(queries.shape[0], blocks, blocks.rows.size * q.shape[2]):
                mask, empty = (_of_blocks(t, first, count) for t in (blocks.mask, blocks.empty))
                block_out, block_lse = kernel.forward(
                    blocks.rows.of(queries[heads], first, count),
                    blocks.columns.of(keys[heads], first, count),
                    blocks.columns.of(values[heads], first, count),
                    scale=scale, causal=blocks.causal, mask=mask,
                )  # fmt: skip
                block_lse = block_lse[..., None]
                if empty is not None:
                    block_lse = block_lse.masked_fill(empty, -math.inf)
                out_view = blocks.rows.of(band_out[heads], first, count)
                lse_view = blocks.rows.of(band_lse[heads], first, count)
                if band.merge:
                    # of the difference, which large scores do not round off; where both see nothing it is NaN
                    block_weight = (block_lse - lse_view).sigmoid().masked_fill(block_lse == -math.inf, 0)
                    out_view.lerp_(block_out.to(wide), block_weight)
                    lse_view.copy_(torch.logaddexp(lse_view, block_lse))
                else:
                    out_view.copy_(block_out)
                    lse_view.copy_(block_lse)
        if not rows.is_view:
            rows.put(out[h], band_out)
            rows.put(lse[h], band_lse)
    return out.to(q.dtype), lse[..., 0]


def backward(
    dout: Float[Tensor, "X N F"],
    q: Float[Tensor, "X N F"],
    k: Float[Tensor, "X M F"],
    v: Float[Tensor, "X M F"],
    out: Float[Tensor, "X N F"],
    lse: Float[Tensor, "X N"],
    pattern_bands: Bands,
    scale: float,
) -> tuple[Float[Tensor, "X N F"], Float[Tensor, "X M F"], Float[Tensor, "X M F"]]:
    """The gradients of q, k and v: each block needs the output and the log-sum-exp of its whole rows."""
    disjoint = _cover(pattern_bands, q) and not any(band.merge for band in pattern_bands)  # each row is in one block
    wide = torch.promote_types(q.dtype, torch.float32)  # in half precision, what is added up would be rounded each time
    dq = torch.empty_like(q) if disjoint else torch.zeros_like(q, dtype=wide)
    dk, dv = (torch.zeros_like(t, dtype=wide) for t in (k, v))
    lse = lse.masked_fill(lse == -math.inf, 0)[..., None]
    for band in pattern_bands:
        rows, columns, h = band.rows, band.columns, band.heads
        row_wise = [rows.of(t[h]) for t in (q, out, dout, lse)]
        keys, values = columns.of(k[h]), columns.of(v[h])
        band_dq = rows.of(dq[h]) if rows.is_view else torch.zeros_like(row_wise[0], dtype=dq.dtype)
        band_dk, band_dv = (
            columns.of(t[h]) if columns.is_view else torch.zeros_like(keys, dtype=wide) for t in (dk, dv)
        )
        for blocks in band.blocks:
            widest = max(blocks.columns.size, blocks.rows.size) * q.shape[2]
            for heads, first, count in _chunks(keys.shape[0], blocks, widest):
                queries, o, g, row_lse = (blocks.rows.of(t[heads], first, count) for t in row_wise)
                block_dq, block_dk, block_dv = kernel.backward(
                    g, queries,
                    blocks.columns.of(keys[heads], first, count), blocks.columns.of(values[heads], first, count),
                    o, row_lse[..., 0], scale=scale, causal=blocks.causal, mask=_of_blocks(blocks.mask, first, count),
                )  # fmt: skip
                view = blocks.rows.of(band_dq[heads], first, count)
                view.copy_(block_dq) if disjoint else view.add_(block_dq)
                blocks.columns.add(band_dk[heads], block_dk, first)
                blocks.columns.add(band_dv[heads], block_dv, first)
        if not rows.is_view:
            (rows.put if disjoint else rows.add)(dq[h], band_dq)
        if not columns.is_view:
            columns.add(dk[h], band_dk)
            columns.add(dv[h], band_dv)
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _chunks(heads: int, blocks: Blocks, numbers: int) -> Iterator[tuple[slice, int, int]]:
    """Some heads and some of the blocks at a time."""
    step = min(max(CHUNK // max(numbers, 1), 1), blocks.count)
    heads_at_a_time = max(CHUNK // max(numbers * blocks.count, 1), 1) if step == blocks.count else 1
    for head in range(0, heads, heads_at_a_time):
        for first in range(0, blocks.count, step):
            yield slice(head, min(head + heads_at_a_time, heads)), first, min(step, blocks.count - first)


def _cover(pattern_bands: Bands, q: Tensor) -> bool:
    """Whether every row is in a block of a band that is not merged."""
    return sum(band.covered for band in pattern_bands if not band.merge) == q.shape[0] * q.shape[1]


def _of_blocks(tensor: Tensor | None, first: int, count: int) -> Tensor | None:
    """What some of the blocks have, `[1, 1 or count, ...]`."""
    if tensor is None:
        return None
    return tensor[None] if tensor.shape[0] == 1 else tensor[None, first : first + count]


def _three_axes(t: Tensor, width: int) -> Tensor:
    t = t if t.shape[-1] == width else F.pad(t, (0, width - t.shape[-1]))
    return t.reshape(math.prod(t.shape[:-2]), *t.shape[-2:]).contiguous()
