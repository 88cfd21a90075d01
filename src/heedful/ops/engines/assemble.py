"""From a mechanism and an engine to the function that computes it, with all its derivatives.

Each engine is a `TiledFunction`: the definition on tiles, which serves every derivative. What differs is the fast version of
the function and of its first gradient.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._tree import flatten
from heedful.ops.biases import Bias, Sum, TensorBias
from heedful.ops.engines import banded, fused, layout, reference, tiling
from heedful.ops.engines.inplace import CACHED_TERMS, Rows, cached, places
from heedful.ops.engines.tiled import Kind, Tile, TiledFunction, shown
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax1, softmax
from heedful.ops.scores import Additive, Dot
from heedful.ops.selection import Sampled

# scores of all heads that the definition holds at a time; for a derivative up to a hundred times that many numbers
DEFINED = 2**19

Result = tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"] | None]


class Operands(NamedTuple):
    """What an engine computes with: scores are `scale * query . key` (or additive), features made where needed."""

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M D"]
    value: Float[Tensor, "... M E"]
    mechanism: Mechanism


def operands(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape, *, no_bias: bool = False
) -> Operands:
    """Scores as inner products: their features, a scale that is a tensor and a bias of low rank that learns become columns.

    With `no_bias`, for an engine that adds none, also one that does not learn.
    """
    if query.shape[:-3] != shape[:-3] or key.shape[:-3] != shape[:-3] or value.shape[:-3] != shape[:-3]:
        query, key, value = (t.expand(*shape[:-3], *t.shape[-3:]) for t in (query, key, value))
    score, scale, bias = mechanism.score, mechanism.factor(query.shape[-1]), mechanism.bias
    pair = score.features(query, key)
    if pair is None:
        return Operands(query, key, value, mechanism)
    q, k = pair
    extra = _columns(bias, shape, q, no_bias) if mechanism.softcap is None else None  # the cap is not on the bias
    if torch.is_tensor(scale) or (extra is not None and scale != 1.0):
        q, scale = q * (scale.to(q.dtype) if torch.is_tensor(scale) else scale), 1.0
    if extra is not None:
        q, k, bias = *_beside(q, k, extra, shape), None
    turned = _kept_as_dot if mechanism.bare else _as_dot
    return Operands(q, k, value, turned(mechanism, float(scale), bias))


def _as_dot(mechanism: Mechanism, scale: float, bias: Bias | None) -> Mechanism:
    return dataclasses.replace(mechanism, score=Dot(), scale=scale, bias=bias)


_kept_as_dot = functools.lru_cache(maxsize=256)(_as_dot)


def function(given: Operands, shape: Shape, engine: str, strips: tuple[banded.Strip, ...] | None = None) -> Result:
    """The attention of the operands by an engine: "fused", "banded" or "tiled"."""
    query, key, value, mechanism = given
    exponential = engine in ("fused", "banded")
    if exponential and isinstance(mechanism.normalize, Softmax1):
        zero = query.new_zeros(())
        sinks = zero if mechanism.sinks is None else torch.logaddexp(mechanism.sinks, zero.to(mechanism.sinks.dtype))
        mechanism = dataclasses.replace(mechanism, normalize=softmax, sinks=sinks)
    prepared = _kept if mechanism.bare else assembled
    tiled, tensors = prepared(mechanism, tuple(shape), engine, query.shape[-1], value.shape[-1], strips)
    out, *more = tiled(query, key, value, *tensors)
    return out, more[0][..., 0] if more else None


def assembled(
    mechanism: Mechanism,
    shape: Shape,
    engine: str,
    width: int,
    value_width: int,
    strips: tuple[banded.Strip, ...] | None,
) -> tuple[TiledFunction, list[Tensor]]:
    """The function, and the tensors of the mechanism that it takes behind query, key and value."""
    own, kinds = placed(mechanism)
    tensors, build = flatten(own)
    learned, _ = flatten(mechanism)  # in the same order

    @functools.cache
    def fast_tiles(gradient: bool) -> list[Tile]:
        return tiling.tiles(mechanism.pattern, shape, tile_pairs(mechanism, shape, width, gradient=gradient))

    tiles = functools.cache(
        lambda: tiling.tiles(mechanism.pattern, shape, pairs_of_definition(mechanism, shape, width))
    )
    outputs: list[tuple[Kind, Shape]] = [("row", (*shape[:-1], value_width))]
    if isinstance(mechanism.select, Sampled):
        outputs.append(("row", (*shape[:-1], 1)))

    def body(tile: Tile, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        rows, columns = (places(p, q.device) for p in tile)
        q32, k32, v32 = (
            reference.at_least_float32(t) for t in (q, reference.all_heads(k, q), reference.all_heads(v, q))
        )
        out, log_probability = reference.rows_of(q32, k32, v32, build(iter(rest)), shape, rows, columns)
        return (out.to(v.dtype),) if log_probability is None else (out.to(v.dtype), log_probability[..., None])

    fast, fast_pull = None, None
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, learned)):
        pass  # a fast version reads the mechanism's own tensors, and what it is given is unwrapped
    elif engine == "fused":
        fast, fast_pull = _exponential(_Fused(mechanism, shape), mechanism, learned)
    elif engine == "banded":
        assert strips is not None
        fast, fast_pull = _exponential(_Banded(strips, mechanism, shape), mechanism, learned)
    elif in_place(mechanism, width):
        fast, fast_pull = _rows(mechanism, shape, fast_tiles, learned)
    return TiledFunction(body, tiles, ("row", "column", "column", *kinds), tuple(outputs), fast, fast_pull), tensors


_kept = functools.lru_cache(maxsize=256)(assembled)


class Plain(torch.autograd.Function):
    """The plain case with a gradient: as little Python as can be, since behind a kernel each line costs microseconds.

    What is not a first gradient is left to the tiled function of the same attention.
    """

    @staticmethod
    def forward(
        ctx: Any, function: TiledFunction, causal: bool, scale: float, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        out, lse = fused.kernel(query, key, value, 0.0, causal, scale=scale)
        ctx.options = function, causal, scale
        ctx.save_for_backward(query, key, value, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        function, causal, scale = ctx.options
        if not torch.is_grad_enabled() and dout.stride(-1) == 1 and not shown((dout,)):
            return None, None, None, *fused.kernel_backward(dout, query, key, value, out, lse, 0.0, causal, scale=scale)
        wanted, operands = ctx.needs_input_grad[3:], (query, key, value)
        pulled = function.pull(wanted, [t.shape for t in operands], (out.detach(), lse))(*operands, dout)
        results = iter(pulled)
        return None, None, None, *(next(results) if want else None for want in wanted)


class _Fused:
    """The whole matrix by PyTorch's kernel."""

    def __init__(self, mechanism: Mechanism, shape: Shape) -> None:
        factor = mechanism.factor(0)
        assert not torch.is_tensor(factor)
        self.options = factor, mechanism.pattern, mechanism.bias, shape

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return fused.forward(q, k, v, *self.options)

    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
        return fused.backward(dout, q, k, v, out, lse, *self.options)


class _Banded:
    """The strips of a structured pattern."""

    def __init__(self, strips: Sequence[banded.Strip], mechanism: Mechanism, shape: Shape) -> None:
        factor = mechanism.factor(0)
        assert not torch.is_tensor(factor)
        self.strips, self.pattern, self.scale, self.shape = strips, mechanism.pattern, factor, shape

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q3, k3, v3 = self._operands(q, k, v)
        out, lse = banded.forward(q3, k3, v3, self.strips, self.scale)
        return out[..., : v.shape[-1]].reshape(*self.shape[:-1], v.shape[-1]), lse.view(self.shape[:-1])

    def backward(self, dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
        q3, k3, v3 = self._operands(q, k, v)
        dout, out = (self._three(t, q3.shape[-1]) for t in (dout, out))
        strips = layout.strips(self.pattern, self.shape, q.dtype, backward=True)
        assert strips is not None
        found = banded.backward(dout, q3, k3, v3, out, lse.reshape(len(q3), -1), strips, self.scale)
        return tuple(self._back(d, t) for d, t in zip(found, (q, k, v), strict=True))

    def _operands(self, *given: Tensor) -> tuple[Tensor, ...]:
        """All heads `[X, positions, width]`, of one width, each row side by side in memory."""
        width = max(t.shape[-1] for t in given)
        return tuple(self._three(reference.all_heads(t, given[0]), width) for t in given)

    @staticmethod
    def _three(t: Tensor, width: int) -> Tensor:
        t = t if t.shape[-1] == width else F.pad(t, (0, width - t.shape[-1]))
        return t.reshape(math.prod(t.shape[:-2]), *t.shape[-2:]).contiguous()

    def _back(self, gradient: Tensor, operand: Tensor) -> Tensor:
        gradient = gradient[..., : operand.shape[-1]]
        if gradient.shape[0] == math.prod(operand.shape[:-2]):
            return gradient.reshape(operand.shape)
        group = self.shape[-3] // operand.shape[-3]  # heads that share a key head
        return gradient.reshape(-1, group, *gradient.shape[-2:]).sum(1).reshape(operand.shape)


def _exponential(kernel: _Fused | _Banded, mechanism: Mechanism, learned: Sequence[Tensor]) -> Any:
    """The fast version of a function whose rows are softmax: with sinks, and with what the backward pass needs kept."""

    def fast(q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        out, lse = kernel.forward(q, k, v)
        if mechanism.sinks is None:
            return out, lse
        sinks = mechanism.sinks.detach().to(lse.dtype)[..., None]
        both = torch.logaddexp(lse, sinks)
        return out * (lse - both).exp()[..., None].to(out.dtype), both

    def fast_pull(wanted: tuple[bool, ...], kept: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]] | None:
        if not kept:
            return None

        def pull(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            out, lse, dout = *kept, rest[-1]
            found: list[Tensor | None] = list(kernel.backward(dout, q, k, v, out, lse))
            for tensor in learned:
                if tensor is mechanism.sinks:
                    share = (tensor.detach().to(lse.dtype)[..., None] - lse).exp()
                    delta = (dout.to(lse.dtype) * out.to(lse.dtype)).sum(-1)
                    found.append(-(share * delta).sum(-1).sum_to_size(tensor.shape).to(tensor.dtype))
                else:
                    found.append(None)
            return tuple(t for t, want in zip(found, wanted, strict=True) if want and t is not None)

        return pull

    return fast, fast_pull


def _rows(
    mechanism: Mechanism, shape: Shape, tiles: Callable[[bool], Sequence[Tile]], learned: Sequence[Tensor]
) -> Any:
    """The fast version of everything else."""

    def fast(q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        raised = (reference.at_least_float32(t) for t in (q, k, v))
        out, levels = Rows(mechanism, shape, tiles(False)).forward(*raised)
        return (out.to(v.dtype),) if levels is None else (out.to(v.dtype), levels)

    def fast_pull(wanted: tuple[bool, ...], kept: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]] | None:
        def pull(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            q32, k32, v32, dout = (reference.at_least_float32(t) for t in (q, k, v, rest[-1]))
            levels = kept[1] if kept else None
            *found, others = Rows(mechanism, shape, tiles(True)).backward(q32, k32, v32, dout, levels)
            found = [d.to(t.dtype) for d, t in zip(found, (q, k, v), strict=True)]
            found += [others.get(id(t), t) for t in learned]
            return tuple(t for t, want in zip(found, wanted, strict=True) if want)

        return pull

    return fast, fast_pull


def in_place(mechanism: Mechanism, width: int) -> bool:
    """Whether the hot loop knows the mechanism; what has parameters of its own that learn goes through the definition."""
    known = mechanism.score.inner or isinstance(mechanism.score, Additive)
    learns = mechanism.normalize.learns or mechanism.normalize.varies or torch.is_tensor(mechanism.factor(width))
    return known and not learns and not isinstance(mechanism.select, Sampled)


def tile_pairs(mechanism: Mechanism, shape: Shape, width: int, *, gradient: bool = False) -> int:
    """Pairs of a tile, of the function itself or of its gradient, which needs the terms of additive scores once more."""
    if in_place(mechanism, width):
        few = gradient and isinstance(mechanism.score, Additive)
        return max(2 * CACHED_TERMS // max(width, 1), 1) if few else cached(mechanism)
    return pairs_of_definition(mechanism, shape, width)


def pairs_of_definition(mechanism: Mechanism, shape: Shape, width: int) -> int:
    """Pairs of a tile of the definition, which takes all heads at once and holds many numbers for each pair."""
    heads = math.prod(shape[:-2]) * (width if isinstance(mechanism.score, Additive) else 1)
    return max(DEFINED // max(heads, 1), 1)


def as_columns(bias: Bias | None, shape: Shape, query: Tensor, *, no_bias: bool = False) -> bool:
    """Whether a bias that learns (with `no_bias`, any) can be more columns of queries and keys."""
    return _columns(bias, shape, query, no_bias) is not None


def _columns(bias: Bias | None, shape: Shape, like: Tensor, no_bias: bool) -> tuple[Tensor, Tensor] | None:
    """A bias of low rank whose tensors learn, as columns; None where there is none, and where it can stay a mask."""
    if bias is None or not (no_bias or fused.learns(bias)) or any(isinstance(p, TensorBias) for p in _parts(bias)):
        return None  # a tensor may hold -inf
    pair = bias.features(shape, like.device, like.dtype)
    return None if pair is None or pair[0].shape[-1] > max(like.shape[-1], 16) else pair


def _beside(q: Tensor, k: Tensor, extra: tuple[Tensor, Tensor], shape: Shape) -> tuple[Tensor, Tensor]:
    """Queries and keys with more columns."""
    u, v = extra
    if k.dim() > 3 and v.dim() > 2 and v.shape[-3] not in (1, k.shape[-3]):
        k = reference.all_heads(k, q)
    u, v = u.expand(*q.shape[:-1], u.shape[-1]), v.expand(*k.shape[:-1], v.shape[-1])
    return torch.cat([q, u], dim=-1), torch.cat([k, v], dim=-1)


def _parts(bias: Bias) -> tuple[Bias, ...]:
    return bias.parts if isinstance(bias, Sum) else (bias,)


@dataclasses.dataclass(frozen=True, eq=False)
class _Placed(Bias):
    """The numbers of one tile, cut out already."""

    tensor: Float[Tensor, "..."]

    def at(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Float[Tensor, "..."]:
        return self.tensor

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Tensor, shape: Shape) -> None:
        pass


def placed(mechanism: Mechanism) -> tuple[Mechanism, list[Kind]]:
    """The mechanism of a tile, and the kinds of its tensors: given biases and numbers for rows are cut to it, the rest is whole."""
    if mechanism.bias is not None:
        parts = tuple(_Placed(p.tensor) if isinstance(p, TensorBias) else p for p in _parts(mechanism.bias))
        mechanism = dataclasses.replace(mechanism, bias=Sum(parts))
    cut = {id(p.tensor) for p in _parts(mechanism.bias) if isinstance(p, _Placed)} if mechanism.bias else set()
    cut |= {id(t) for t in flatten(mechanism.normalize)[0]}  # numbers for each row
    return mechanism, ["pair" if id(t) in cut else "whole" for t in flatten(mechanism)[0]]
