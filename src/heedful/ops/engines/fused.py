"""PyTorch's fused kernel over the whole matrix: nothing N x M is stored.

The kernel wants four axes, equal widths of key and value, and what is masked as one mask. Leading axes are flattened,
widths are padded with zeros, a causal part becomes the kernel's own flag, and a mask that depends on rows and columns
both is made for a tile of rows at a time, again in the backward pass.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Queries, Tensor, Values
from heedful.ops._tree import tensors
from heedful.ops.biases import Bias
from heedful.ops.engines import assemble, kernel, matmuls, softmax, verify
from heedful.ops.engines.base import Call, Engine, Result
from heedful.ops.engines.derivatives import TiledFunction, traced
from heedful.ops.engines.features import operands, requires_grad
from heedful.ops.engines.tiled import TiledKernel
from heedful.ops.patterns import Pattern, all_of

TILE = 2**22  # pairs of one mask that is held at a time
ROUNDED = 1e-4  # by how much a weight may be off that is made from the log-sum-exp of its row


class Fused(Engine):
    """The whole matrix, by PyTorch's kernel."""

    name = "fused"
    reason = "softmax of inner products"

    def obstacle(self, call: Call) -> str | None:
        if reason := softmax.obstacle_of_call(call):
            return reason
        if not call.requested and not torch.compiler.is_compiling() and call.bands is not None:
            return "the pattern shows each row a part of the keys, and there is a bias to add"
        return None

    def run(self, call: Call) -> Result:
        inputs = operands(call.query, call.key, call.value, call.mechanism, call.shape)
        if self._uses_public_kernel(call):
            q, k, v, m = inputs
            return attention(q, k, v, float(m.factor(0)), m.pattern, m.bias, call.shape), None
        return assemble.run(inputs, call.shape, self.name, lambda mechanism: FusedKernel(mechanism, call.shape))

    def pairs(self, call: Call) -> int:
        whole = math.prod(call.shape)
        return whole // 2 if any(p.is_diagonal(call.shape) for p in call.mechanism.pattern.conjuncts()) else whole

    def scratch_bytes(self, call: Call, passes: int) -> int:
        pattern = call.mechanism.pattern
        masked = all(pattern.depends(call.shape)) and not pattern.is_diagonal(call.shape)
        mask = 5 * min(TILE, math.prod(call.shape[-2:])) if masked or call.mechanism.bias is not None else 0
        return softmax.padding_bytes(call, passes, all_heads=False) + mask

    def bytes_of_row(self, call: Call) -> int:
        return 0 if self._uses_public_kernel(call) else 4

    def _uses_public_kernel(self, call: Call) -> bool:
        """Whether PyTorch's public function serves: where nothing is asked that only the private one gives."""
        if softmax.has_sinks(call.mechanism):
            return False
        if torch.compiler.is_compiling() or not kernel.is_available(call.query):
            return True
        if verify.on:
            return False
        forward_mode = torch.autograd.forward_ad._current_level >= 0
        inputs = (call.query, call.key, call.value, *tensors(call.mechanism))
        return not forward_mode and not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs))


class FusedKernel(softmax.SoftmaxKernel):
    """The whole matrix, with the log-sum-exp of each row."""

    def rows(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """`A V` and the log-sum-exp, 0 where nothing is visible."""
        return forward(q, k, v, self.scale, self.mechanism.pattern, self.mechanism.bias, self.shape)

    def gradients(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v; the kernel makes weights again as `exp(score - lse)`, which large numbers round off."""
        if self.mechanism.bias is not None and float(lse.abs().amax()) * torch.finfo(lse.dtype).eps > ROUNDED:
            return TiledKernel(self.mechanism, self.shape, q.shape[-1]).backward(dout, q, k, v, ())[:3]
        if self._sees_all and matmuls.faster(q, v):
            return matmuls.first(dout, q, k, v, out, lse, self.scale)
        return backward(dout, q, k, v, out, lse, self.scale, self.mechanism.pattern, self.mechanism.bias, self.shape)

    def second_backward(
        self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, saved: Sequence[Tensor], directions: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """The gradients of q, k, v and dout of what `backward` gives for q, k and v times `directions`."""
        if not self._sees_all or not saved or q.dtype.itemsize < 4:
            return None
        out, lse = saved
        return matmuls.second(dout, q, k, v, out, lse, self.scale, directions)

    @property
    def _sees_all(self) -> bool:
        """Whether each query sees each key, and nothing else takes part."""
        mechanism = self.mechanism
        plain = mechanism.bias is None and not softmax.has_sinks(mechanism)
        return plain and not mechanism.pattern.masks_any(self.shape)


class FastAttention(torch.autograd.Function):
    """The plain case with a gradient: as little Python as can be, since behind a kernel each line costs microseconds.

    What is not a first gradient is left to the tiled function of the same attention.
    """

    @staticmethod
    def forward(
        ctx: Any, function: TiledFunction, unchecked: kernel.UncheckedKernel, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        out, lse = unchecked.forward(query, key, value)
        ctx.function, ctx.unchecked = function, unchecked
        ctx.save_for_backward(query, key, value, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        if not torch.is_grad_enabled() and not traced((dout,)):
            return None, None, *ctx.unchecked.backward(dout, query, key, value, out, lse)
        needs_grad, operands = ctx.needs_input_grad[2:], (query, key, value)
        gradients = ctx.function.vjp(needs_grad, [t.shape for t in operands], (out.detach(), lse))(*operands, dout)
        results = iter(gradients)
        return None, None, *(next(results) if needed else None for needed in needs_grad)


def attention(
    query: Queries,
    key: Float[Tensor, "... M D"],
    value: Values,
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> Float[Tensor, "... N E"]:
    """`softmax(scale * Q K^T + bias) V`, by `scaled_dot_product_attention`; its own gradient, of first order."""
    width = value.shape[-1]
    plain = query.dim() == 4 and query.shape[-1] == width and query.shape[0] == key.shape[0] == value.shape[0]
    flag = bool(pattern.is_diagonal(shape))  # of a size that is not known yet, a comparison is no bool
    if plain and bias is None and (flag or not pattern.masks_any(shape)):
        return _call(query, key, value, None, flag, scale)
    q, k, v = _operands(query, key, value, shape)
    tiles = [
        _call(q[:, :, rows], k, v, mask, causal, scale) for rows, mask, causal in _tiles(pattern, bias, shape, query)
    ]
    out = tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=-2)
    return out[..., :width].reshape(*shape[:-1], width)


def forward(
    query: Queries,
    key: Float[Tensor, "... M D"],
    value: Values,
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """The same with the log-sum-exp of each row, which is 0 where nothing is visible; no gradient."""
    width = value.shape[-1]
    q, k, v = _operands(query, key, value, shape)
    flag = pattern.is_diagonal(shape)
    if q is query and bias is None and (flag or not pattern.masks_any(shape)):
        return kernel.forward(q, k, v, scale=scale, causal=flag)
    results = [
        kernel.forward(q[:, :, rows], k, v, scale=scale, causal=causal, mask=_additive(mask, q))
        for rows, mask, causal in _tiles(pattern, bias, shape, query)
    ]
    out, lse = results[0] if len(results) == 1 else (torch.cat(t, dim=2) for t in zip(*results, strict=True))
    return out[..., :width].reshape(*shape[:-1], width), lse.reshape(shape[:-1])


def backward(
    dout: Float[Tensor, "... N E"],
    query: Queries,
    key: Float[Tensor, "... M D"],
    value: Values,
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
    dout, out = (_widen(_four_axes(t, shape), q.shape[-1]) for t in (dout, out))
    lse = _four_axes(lse[..., None], shape)[..., 0]
    tiles = (
        (rows, kernel.backward(
            dout[:, :, rows], q[:, :, rows], k, v, out[:, :, rows], lse[:, :, rows],
            scale=scale, causal=causal, mask=_additive(mask, q),
        ))
        for rows, mask, causal in _tiles(pattern, bias, shape, query)
    )  # fmt: skip
    rows, (dq, dk, dv) = next(tiles)
    if dq.shape != q.shape:
        first, dq = dq, torch.empty_like(q)
        dq[:, :, rows] = first
    for rows, (tile_dq, tile_dk, tile_dv) in tiles:
        dq[:, :, rows] = tile_dq
        dk, dv = dk.add_(tile_dk), dv.add_(tile_dv)
    if heads != groups:
        dk, dv = (t.unflatten(1, (groups, -1)).sum(2) for t in (dk, dv))
    pairs = ((dq, query), (dk, key), (dv, value))
    return tuple(d[..., : t.shape[-1]].reshape(t.shape) for d, t in pairs)  # type: ignore[return-value]


def product_and_lse(
    query: Queries,
    key: Float[Tensor, "... M D"],
    value: Values,
    scale: float,
    pattern: Pattern,
    bias: Bias | None,
    shape: Shape,
) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """`A V` and the log-sum-exp of each row's scores (-inf for an empty row), both differentiable; float32 or float64."""
    q, k, v = _four_axes(query, shape), _four_axes(key, shape), _four_axes(value, shape)
    width = value.shape[-1]
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    streamed = not kernel.is_available(query) or 0 in (*shape, width) or requires_grad(bias)
    ones_column = None
    if not streamed:
        if differentiable or bias is not None or pattern.may_be_empty(shape):
            ones_column = width  # a value column of ones: its product is 0 in an empty row, 1 in all others
            v = torch.cat([v, v.new_ones(*v.shape[:-1], 1)], dim=-1)
        widest = max(q.shape[-1], v.shape[-1])
        q, k, v = _widen(q, widest), _widen(k, widest), _widen(v, widest)
    if (streamed or differentiable) and q.shape[1] != k.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    products, lses = [], []
    for rows, mask, causal in _tiles(pattern, bias, shape, query, tiled=streamed):
        if streamed:
            product, lse = _stored_rows(q[:, :, rows], k, v, mask, scale)
        else:
            product, lse = _ProductAndLse.apply(q[:, :, rows], k, v, _additive(mask, q), causal, scale, ones_column)
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
    def forward(ctx, q, k, v, mask, causal, scale, ones_column):  # type: ignore[no-untyped-def]
        q, k, v = (_rows_in_memory(t) for t in (q, k, v))
        out, lse = kernel.forward(q, k, v, scale=scale, causal=causal, mask=mask)
        ctx.save_for_backward(q, k, v, out, lse, mask)
        ctx.options = causal, scale, ones_column
        if ones_column is not None:
            lse = lse.masked_fill(out[..., ones_column] == 0, -math.inf)
        return out, lse

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout, dlse):  # type: ignore[no-untyped-def]
        q, k, v, out, lse, mask = ctx.saved_tensors
        causal, scale, ones_column = ctx.options
        dlse = dlse.masked_fill(out[..., ones_column] == 0, 0)
        v, out, dout = v.clone(), out.clone(), dout.clone()
        v[..., ones_column], out[..., ones_column], dout[..., ones_column] = 0, 1, -dlse
        dq, dk, dv = kernel.backward(dout, q, k, v, out, lse, scale=scale, causal=causal, mask=mask)
        return dq, dk, dv, None, None, None, None


def _call(
    q: Float[Tensor, "B H n D"],
    k: Float[Tensor, "B G M D"],
    v: Float[Tensor, "B G M D"],
    mask: Tensor | None,
    causal: bool,
    scale: float,
) -> Float[Tensor, "B H n D"]:
    if scale <= 0 and (causal or torch.compiler.is_exporting()):  # a kernel multiplies -inf by it, ONNX takes its root
        q, scale = q * math.copysign(float(scale != 0), scale), abs(scale) or 1.0
    few_keys = min(q.shape[-2], k.shape[-2]) < kernel.NAN_SAFE_KEYS
    if few_keys and kernel.is_available(q) and not torch.compiler.is_compiling():
        q, k, v = (_rows_in_memory(t) for t in (q, k, v))  # PyTorch's own call takes NaN for a row that sees nothing
        return kernel.forward(q, k, v, scale=scale, causal=causal, mask=_additive(mask, q))[0]
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


def _tiles(
    pattern: Pattern, bias: Bias | None, shape: Shape, query: Tensor, *, tiled: bool = False
) -> Iterator[tuple[slice, Tensor | None, bool]]:
    """Tiles of rows, each with its mask (bool, or numbers where there is a bias) and the kernel's causal flag.

    One tile serves where no mask depends on rows and columns both, or where it is small; `tiled` asks for small tiles anyway.
    """
    queries, keys = shape[-2:]
    conjuncts = pattern.conjuncts()
    masked_conjuncts = [conjunct for conjunct in conjuncts if not conjunct.is_diagonal(shape)]
    flag = len(masked_conjuncts) < len(conjuncts) and query.device.type == "cpu" and not requires_grad(bias)
    if torch.compiler.is_exporting():  # a graph is for all sizes; its operator takes the flag or a mask
        alone = flag and not masked_conjuncts and bias is None
        yield slice(None), None if alone else _mask(pattern, bias, shape, query, slice(None)), alone
        return
    pattern_beside_flag = all_of(masked_conjuncts)
    by_row, by_column = pattern_beside_flag.depends(shape)
    wide = (by_row and by_column) or (bias is not None and bias.depends(shape)[0])
    lead = shape[:-2] if bias is not None else shape[:-3] if pattern.batched(shape) else ()
    heads = math.prod(lead)  # that have a mask of their own
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
    """What the kernel adds or masks in some rows, with four axes of which any may be 1; None where there is nothing."""
    mask = None
    if pattern.masks_any(shape):
        mask = pattern.allowed(*_positions(pattern.depends(shape), rows, shape, query), shape)
    if bias is not None:
        numbers = bias.at(*_positions(bias.depends(shape), rows, shape, query), shape)
        on_cpu = query.device.type == "cpu"  # there the kernel takes a mask in float32 beside queries in half precision
        numbers = numbers.to(torch.promote_types(query.dtype, torch.float32) if on_cpu else query.dtype)
        numbers = numbers if requires_grad(bias) else numbers.detach()  # the kernel takes no mask that could learn
        mask = numbers if mask is None else torch.where(mask, numbers, -math.inf)
    return None if mask is None else _four_axes(mask.reshape((1,) * (2 - mask.dim()) + mask.shape), shape)


def _positions(depends: tuple[bool, bool], rows: slice, shape: Shape, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[n, 1]` and columns `[1, M]`, one of each where it does not matter which."""
    by_row, by_column = depends
    column = torch.arange(shape[-1] if by_column else 1, device=like.device)
    row = torch.arange(shape[-2], device=like.device)[rows] if by_row else column.new_zeros(1)
    return row[:, None], column[None]


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as numbers to add."""
    if mask is None or mask.is_floating_point():
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(~mask, -math.inf)


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
    if tensor.stride(-1) == 1:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)  # `contiguous` leaves the strides of axes of one number


def _widen(tensor: Tensor, width: int) -> Tensor:
    return tensor if tensor.shape[-1] == width else F.pad(tensor, (0, width - tensor.shape[-1]))
