"""PyTorch's fused kernel: nothing N x M is stored.

The kernel wants four axes, equal widths of key and value, and what is hidden as one mask. Leading axes are flattened,
widths are padded with zeros, a causal part becomes the kernel's own flag, and a mask that depends on rows and columns
both is handed over for a tile of rows at a time.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Tensor
from heedful.ops.patterns import And, Causal, Global, Pattern
from heedful.ops.scores import Score

_TILE = 2**22  # pairs of one mask that is held at a time


def attention(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    score: Score,
    pattern: Pattern,
    bias: Float[Tensor, "..."] | None,
    shape: Shape,
) -> Float[Tensor, "... N E"]:
    """`A V`, by `scaled_dot_product_attention`."""
    query, key, scale = score.as_inner_product(query, key)
    width = value.shape[-1]
    plain = query.dim() == 4 and query.shape[-1] == width and query.shape[0] == key.shape[0] == value.shape[0]
    flag = isinstance(pattern, Causal) and pattern.offset(shape) == 0
    if plain and bias is None and (flag or isinstance(pattern, Global)):
        return _call(query, key, value, None, flag, scale)
    q, k, v = _four_axes(query, shape), _four_axes(key, shape), _four_axes(value, shape)
    widest = max(q.shape[-1], width)
    q, k, v = _widen(q, widest), _widen(k, widest), _widen(v, widest)
    tiles = [
        _call(q[:, :, rows], k, v, mask, causal, scale) for rows, mask, causal in _tiles(pattern, bias, shape, query)
    ]
    out = tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=-2)
    return out[..., :width].reshape(*shape[:-1], width)


def product_and_lse(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    score: Score,
    pattern: Pattern,
    bias: Float[Tensor, "..."] | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """`A V` and the log-sum-exp of each row's scores (-inf for an empty row), both differentiable; float32 or float64."""
    query, key, scale = score.as_inner_product(query, key)
    q, k, v = _four_axes(query, shape), _four_axes(key, shape), _four_axes(value, shape)
    width = value.shape[-1]
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    streamed = not _has_lse(query) or 0 in (*shape, width) or (bias is not None and bias.requires_grad)
    spare = None
    if not streamed:
        if differentiable or bias is not None or pattern.empties(shape):
            spare = width  # a value column of ones: its product is 0 in an empty row, 1 in all others
            v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        widest = max(q.shape[-1], v.shape[-1])
        q, k, v = _widen(q, widest), _widen(k, widest), _widen(v, widest)
    if (streamed or differentiable) and q.shape[1] != k.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    products, lses = [], []
    for rows, mask, causal in _tiles(pattern, bias, shape, query, tiled=streamed):
        if streamed:
            product, lse = _stored_rows(q[:, :, rows], k, v, mask, scale)
        else:
            product, lse = _ProductAndLse.apply(q[:, :, rows], k, v, _additive(mask, q), causal, scale, spare)
        products.append(product[..., :width])
        lses.append(lse)
    out, lse = torch.cat(products, dim=-2), torch.cat(lses, dim=-1)
    return out.reshape(*shape[:-1], width), lse.reshape(shape[:-1])


class _ProductAndLse(torch.autograd.Function):
    """The kernel with its log-sum-exp, and a gradient for both.

    The gradient g of the log-sum-exp enters the scores' gradient as `A * (dA - delta + g)` with `delta = sum(dO * O)`: a
    spare value column that is 0, whose product is taken to be 1 and whose gradient is -g, lowers delta by g.
    """

    @staticmethod
    def forward(ctx, q, k, v, mask, causal, scale, spare):  # type: ignore[no-untyped-def]
        q, k, v = (t.contiguous() for t in (q, k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=mask, scale=scale
        )
        ctx.save_for_backward(q, k, v, out, lse, mask)
        ctx.options = causal, scale, spare
        if spare is not None:
            lse = lse.masked_fill(out[..., spare] == 0, -math.inf)
        return out, lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout, dlse):  # type: ignore[no-untyped-def]
        q, k, v, out, lse, mask = ctx.saved_tensors
        causal, scale, spare = ctx.options
        dlse = dlse.masked_fill(out[..., spare] == 0, 0)
        v, out, dout = v.clone(), out.clone(), dout.clone()
        v[..., spare], out[..., spare], dout[..., spare] = 0, 1, -dlse
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            dout, q, k, v, out, lse, 0.0, causal, attn_mask=mask, scale=scale
        )
        return dq, dk, dv, None, None, None, None


def _call(
    q: Float[Tensor, "B H n D"],
    k: Float[Tensor, "B G M D"],
    v: Float[Tensor, "B G M D"],
    mask: Tensor | None,
    causal: bool,
    scale: float,
) -> Float[Tensor, "B H n D"]:
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped)


def _stored_rows(
    q: Float[Tensor, "B H n D"],
    k: Float[Tensor, "B H M D"],
    v: Float[Tensor, "B H M E"],
    mask: Tensor | None,
    scale: float,
) -> tuple[Float[Tensor, "B H n E"], Float[Tensor, "B H n"]]:
    """The same for a tile of rows in plain operations: on other devices, and where a bias wants a gradient."""
    scores = q @ k.mT * scale
    additive = _additive(mask, q)
    if additive is not None:
        scores = scores + additive
    empty = (scores == -math.inf).all(-1, keepdim=True)
    scores = scores.masked_fill(empty, 0)
    lse = scores.logsumexp(-1).masked_fill(empty[..., 0], -math.inf)
    return scores.softmax(-1).masked_fill(empty, 0) @ v, lse


def _has_lse(query: Tensor) -> bool:
    """Whether PyTorch's private operator that also gives the log-sum-exp is there for this tensor."""
    return query.device.type == "cpu" and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")


def _tiles(
    pattern: Pattern, bias: Tensor | None, shape: Shape, query: Tensor, *, tiled: bool = False
) -> Iterator[tuple[slice, Tensor | None, bool]]:
    """Tiles of rows, each with its mask (bool, or numbers where there is a bias) and the kernel's causal flag.

    One tile serves where no mask depends on rows and columns both, or where it is small; `tiled` asks for small tiles anyway.
    """
    queries, keys = shape[-2:]
    rest = [part for part in pattern.parts() if not (isinstance(part, Causal) and part.offset(shape) == 0)]
    flag = len(rest) < len(pattern.parts()) and query.device.type == "cpu" and (bias is None or not bias.requires_grad)
    pattern_beside_flag = _all_of(rest)
    by_row, by_column = pattern_beside_flag.depends(shape)
    wide = (by_row and by_column) or (bias is not None and bias.dim() > 1 and bias.shape[-2] > 1)
    step = max(_TILE // max(keys, 1), 1)
    if not tiled and flag and (queries <= step or not wide):
        yield slice(None), _mask(pattern_beside_flag, bias, shape, query, slice(None)), True
    elif not tiled and not wide and not all(pattern.depends(shape)):
        yield slice(None), _mask(pattern, bias, shape, query, slice(None)), False
    else:
        for start in range(0, max(queries, 1), step):
            rows = slice(start, min(start + step, queries))
            yield rows, _mask(pattern, bias, shape, query, rows), False


def _mask(pattern: Pattern, bias: Tensor | None, shape: Shape, query: Tensor, rows: slice) -> Tensor | None:
    """What the kernel adds or hides in some rows, with four axes of which any may be 1; None where there is nothing."""
    by_row, by_column = pattern.depends(shape)
    mask = None
    if pattern.hides(shape):
        row = (
            torch.arange(shape[-2], device=query.device)[rows]
            if by_row
            else torch.zeros(1, dtype=torch.long, device=query.device)
        )
        column = torch.arange(shape[-1] if by_column else 1, device=query.device)
        mask = pattern.allowed(row[:, None], column[None], shape)
    if bias is not None:
        bias = bias.reshape((1,) * (2 - bias.dim()) + bias.shape).to(query.dtype)
        bias = bias[..., rows, :] if bias.shape[-2] > 1 else bias
        mask = bias if mask is None else torch.where(mask, bias, -math.inf)
    return None if mask is None else _four_axes(mask, shape)


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as numbers to add."""
    if mask is None or mask.is_floating_point():
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(~mask, -math.inf)


def _all_of(parts: list[Pattern]) -> Pattern:
    pattern: Pattern = Global()
    for part in parts:
        pattern = part if isinstance(pattern, Global) else And(pattern, part)
    return pattern


def _four_axes(tensor: Tensor, shape: Shape) -> Tensor:
    """A tensor `[..., a, b]` that belongs to a matrix of `shape`, as `[batch, heads, a, b]`."""
    if len(shape) == 2:
        return tensor[None, None]
    if len(shape) == 3:
        return (tensor if tensor.dim() == 3 else tensor[None])[:, None]
    tensor = tensor.reshape((1,) * (4 - tensor.dim()) + tensor.shape)
    lead = torch.Size(shape[:-3])
    if len(lead) == 1 and tensor.shape[0] in (1, lead[0]) and tensor.dtype == torch.bool:
        return tensor
    return tensor.expand(*lead, *tensor.shape[-3:]).flatten(0, -4)


def _widen(tensor: Tensor, width: int) -> Tensor:
    return tensor if tensor.shape[-1] == width else F.pad(tensor, (0, width - tensor.shape[-1]))
