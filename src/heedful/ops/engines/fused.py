"""PyTorch's fused kernel over the whole matrix: nothing N x M is stored.

The kernel wants four axes, equal widths of key and value, and what is hidden as one mask. Leading axes are flattened,
widths are padded with zeros, a causal part becomes the kernel's own flag, and a mask that depends on rows and columns
both is made for a tile of rows at a time, again in the backward pass.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Tensor
from heedful.ops._tree import tensors
from heedful.ops.biases import Bias
from heedful.ops.patterns import And, Causal, Global, Pattern

TILE = 2**22  # pairs of one mask that is held at a time
_SHORT = 256  # of fewer keys, the kernel's gradient in half precision takes up to five times as long as in float32

_IS_THERE = hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward")


def attention(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> Float[Tensor, "... N E"]:
    """`softmax(scale * Q K^T + bias) V`, by `scaled_dot_product_attention`; its own gradient, of first order."""
    width = value.shape[-1]
    plain = query.dim() == 4 and query.shape[-1] == width and query.shape[0] == key.shape[0] == value.shape[0]
    flag = isinstance(pattern, Causal) and pattern.offset(shape) == 0
    if plain and bias is None and (flag or isinstance(pattern, Global)):
        return _call(query, key, value, None, flag, scale)
    q, k, v = _operands(query, key, value, shape)
    tiles = [
        _call(q[:, :, rows], k, v, mask, causal, scale) for rows, mask, causal in _tiles(pattern, bias, shape, query)
    ]
    out = tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=-2)
    return out[..., :width].reshape(*shape[:-1], width)


def forward(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """The same with the log-sum-exp of each row, which is 0 where nothing is visible; no gradient."""
    width = value.shape[-1]
    q, k, v = _operands(query, key, value, shape)
    flag = isinstance(pattern, Causal) and pattern.offset(shape) == 0
    if q is query and bias is None and (flag or isinstance(pattern, Global)):
        out, lse = kernel(q, k, v, 0.0, flag, scale=scale)
        return out, lse
    parts = [
        kernel(q[:, :, rows], k, v, 0.0, causal, attn_mask=_additive(mask, q), scale=scale)
        for rows, mask, causal in _tiles(pattern, bias, shape, query)
    ]
    out, lse = parts[0] if len(parts) == 1 else (torch.cat(t, dim=2) for t in zip(*parts, strict=True))
    return out[..., :width].reshape(*shape[:-1], width), lse.reshape(shape[:-1])


def backward(
    dout: Float[Tensor, "... N E"],
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    out: Float[Tensor, "... N E"],
    lse: Float[Tensor, "... N"],
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N D"], Float[Tensor, "... M D"], Float[Tensor, "... M E"]]:
    """The gradients of query, key and value, of what `forward` gave."""
    q, k, v = _operands(query, key, value, shape)
    heads, groups = q.shape[1], k.shape[1]
    if heads != groups:
        k, v = (t.repeat_interleave(heads // groups, dim=1) for t in (k, v))
    dout, out = (_rows_in_memory(_widen(_four_axes(t, shape), q.shape[-1])) for t in (dout, out))
    lse = _four_axes(lse[..., None], shape)[..., 0]
    tiles = list(_tiles(pattern, bias, shape, query))
    if len(tiles) == 1:
        [(_, mask, causal)] = tiles
        dq, dk, dv = kernel_backward(dout, q, k, v, out, lse, 0.0, causal, attn_mask=_additive(mask, q), scale=scale)
    else:
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for rows, mask, causal in _tiles(pattern, bias, shape, query):
            dq[:, :, rows], some_dk, some_dv = kernel_backward(
                dout[:, :, rows], q[:, :, rows], k, v, out[:, :, rows], lse[:, :, rows], 0.0, causal,
                attn_mask=_additive(mask, q), scale=scale,
            )  # fmt: skip
            dk += some_dk
            dv += some_dv
    if heads != groups:
        dk, dv = (t.unflatten(1, (groups, -1)).sum(2) for t in (dk, dv))
    return tuple(_narrow(d, t) for d, t in ((dq, query), (dk, key), (dv, value)))  # type: ignore[return-value]


def product_and_lse(
    query: Float[Tensor, "... N D"],
    key: Float[Tensor, "... M D"],
    value: Float[Tensor, "... M E"],
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """`A V` and the log-sum-exp of each row's scores (-inf for an empty row), both differentiable; float32 or float64."""
    q, k, v = _four_axes(query, shape), _four_axes(key, shape), _four_axes(value, shape)
    width = value.shape[-1]
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    streamed = not has_kernel(query) or 0 in (*shape, width) or learns(bias)
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
        out, lse = kernel(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
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
        dq, dk, dv = kernel_backward(dout, q, k, v, out, lse, 0.0, causal, attn_mask=mask, scale=scale)
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


def has_kernel(query: Tensor) -> bool:
    """Whether PyTorch's private operators, which also give the log-sum-exp, are there for this tensor."""
    return query.device.type == "cpu" and _IS_THERE


def learns(bias: Bias | None) -> bool:
    """Whether a gradient of the bias may be asked for."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors(bias))


def kernel(*operands: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """PyTorch's private operator: the output and the log-sum-exp."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*operands, **options)  # type: ignore[no-any-return]


def kernel_backward(*operands: Any, attn_mask: Tensor | None = None, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Its gradient: of query, key and value."""
    gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    dtype, keys = operands[1].dtype, operands[2].shape[-2]
    if dtype.itemsize >= 4 or keys >= _SHORT:
        return gradients(*operands, attn_mask=attn_mask, scale=scale)  # type: ignore[no-any-return]
    raised = (t.float() if isinstance(t, Tensor) else t for t in operands)
    mask = None if attn_mask is None else attn_mask.float()
    return tuple(g.to(dtype) for g in gradients(*raised, attn_mask=mask, scale=scale))


def _tiles(
    pattern: Pattern, bias: Bias | None, shape: Shape, query: Tensor, *, tiled: bool = False
) -> Iterator[tuple[slice, Tensor | None, bool]]:
    """Tiles of rows, each with its mask (bool, or numbers where there is a bias) and the kernel's causal flag.

    One tile serves where no mask depends on rows and columns both, or where it is small; `tiled` asks for small tiles anyway.
    """
    queries, keys = shape[-2:]
    rest = [part for part in pattern.parts() if not (isinstance(part, Causal) and part.offset(shape) == 0)]
    flag = len(rest) < len(pattern.parts()) and query.device.type == "cpu" and not learns(bias)
    pattern_beside_flag = _all_of(rest)
    by_row, by_column = pattern_beside_flag.depends(shape)
    wide = (by_row and by_column) or (bias is not None and bias.depends(shape)[0])
    heads = math.prod(shape[:-2]) if bias is not None else 1
    step = max(TILE // max(keys * heads, 1), 1)
    if not tiled and flag and (queries <= step or not wide):
        yield slice(None), _mask(pattern_beside_flag, bias, shape, query, slice(None)), True
    elif not tiled and not wide and not all(pattern.depends(shape)):
        yield slice(None), _mask(pattern, bias, shape, query, slice(None)), False
    else:
        for start in range(0, max(queries, 1), step):
            rows = slice(start, min(start + step, queries))
            yield rows, _mask(pattern, bias, shape, query, rows), False


def _mask(pattern: Pattern, bias: Bias | None, shape: Shape, query: Tensor, rows: slice) -> Tensor | None:
    """What the kernel adds or hides in some rows, with four axes of which any may be 1; None where there is nothing."""
    mask = None
    if pattern.hides(shape):
        mask = pattern.allowed(*_places(pattern.depends(shape), rows, shape, query), shape)
    if bias is not None:
        numbers = bias.at(*_places(bias.depends(shape), rows, shape, query), shape).to(query.dtype)
        numbers = numbers if learns(bias) else numbers.detach()  # the kernel takes no mask that could learn
        mask = numbers if mask is None else torch.where(mask, numbers, -math.inf)
    return None if mask is None else _four_axes(mask.reshape((1,) * (2 - mask.dim()) + mask.shape), shape)


def _places(depends: tuple[bool, bool], rows: slice, shape: Shape, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[n, 1]` and columns `[1, M]`, one of each where it does not matter which."""
    by_row, by_column = depends
    row = (
        torch.arange(shape[-2], device=like.device)[rows]
        if by_row
        else torch.zeros(1, dtype=torch.long, device=like.device)
    )
    column = torch.arange(shape[-1] if by_column else 1, device=like.device)
    return row[:, None], column[None]


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


def _operands(query: Tensor, key: Tensor, value: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """The operands with four axes and one width."""
    widest = max(query.shape[-1], value.shape[-1])
    if query.dim() == 4 and all(t.shape[-1] == widest and t.stride(-1) == 1 for t in (query, key, value)):
        return query, key, value
    q, k, v = (_rows_in_memory(_widen(_four_axes(t, shape), widest)) for t in (query, key, value))
    return q, k, v


def _rows_in_memory(tensor: Tensor) -> Tensor:
    """The private kernel takes it for granted that the numbers of a row lie side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _narrow(gradient: Tensor, operand: Tensor) -> Tensor:
    return gradient[..., : operand.shape[-1]].reshape(operand.shape)


def _widen(tensor: Tensor, width: int) -> Tensor:
    return tensor if tensor.shape[-1] == width else F.pad(tensor, (0, width - tensor.shape[-1]))
