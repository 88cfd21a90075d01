"""From a mechanism and a kernel to the function that computes it, with all its derivatives.

It is the definition on tiles, which serves every derivative; what differs from engine to engine is the fast version of the
function and of its first gradient.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._cache import LRUCache
from heedful.ops._tree import flatten, key_of
from heedful.ops.biases import Bias, Sum, TensorBias
from heedful.ops.engines import reference, verify
from heedful.ops.engines.base import EngineName, Kernel, Result
from heedful.ops.engines.derivatives import Kind, Tile, TiledFunction
from heedful.ops.engines.features import Operands
from heedful.ops.engines.softmax import SoftmaxKernel
from heedful.ops.engines.tiles import positions_of, tiles
from heedful.ops.mechanism import Mechanism
from heedful.ops.scores import Additive
from heedful.ops.selection import Sampled

# scores of all heads that the definition holds at a time; for a derivative up to a hundred times that many numbers
DEFINED = 2**19

Assembled = tuple[TiledFunction, list[Tensor]]


def run(operands: Operands, shape: Shape, name: EngineName, kernel: Callable[[Mechanism], Kernel | None]) -> Result:
    """The attention of the operands, by the kernel that is made of their mechanism; by the definition where it is None."""
    query, key, value, mechanism = operands
    widths = query.shape[-1], value.shape[-1]

    def make() -> Assembled:
        return assembled(mechanism, shape, *widths, kernel(mechanism))

    cacheable = key_of(mechanism) is not None
    function, tensors = _FUNCTIONS.get((mechanism, name, shape, widths), make) if cacheable else make()
    out, *extra = function(query, key, value, *tensors)
    return out, extra[0][..., 0] if extra else None


_FUNCTIONS: LRUCache[Assembled] = LRUCache(2**22, lambda _: 4096)  # tiles and bands are kept by themselves


def assembled(mechanism: Mechanism, shape: Shape, width: int, value_width: int, kernel: Kernel | None) -> Assembled:
    """The function, and the tensors of the mechanism that it takes behind query, key and value."""
    of_tile, kinds = tile_mechanism(mechanism)
    tensors, build = flatten(of_tile)
    mechanism_tensors, _ = flatten(mechanism)  # in the same order
    outputs: list[tuple[Kind, Shape]] = [("row", (*shape[:-1], value_width))]
    if isinstance(mechanism.select, Sampled):
        outputs.append(("row", (*shape[:-1], 1)))

    def body(tile: Tile, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        rows, columns = (positions_of(p, q.device) for p in tile)
        q32, k32, v32 = (
            reference.at_least_float32(t) for t in (q, reference.all_heads(k, q), reference.all_heads(v, q))
        )
        out, log_probability = reference.rows_of(q32, k32, v32, build(iter(rest)), shape, rows, columns)
        return (out.to(v.dtype),) if log_probability is None else (out.to(v.dtype), log_probability[..., None])

    whole, checks = Tile(slice(0, shape[-2]), slice(0, shape[-1])), isinstance(kernel, SoftmaxKernel)
    checks = checks and math.prod(shape) <= verify.LARGEST
    fast, fast_vjp, fast_second = None, None, None
    # a kernel reads the mechanism's own tensors, and under a transform what it is given is unwrapped
    if kernel is not None and not any(map(torch._C._functorch.is_functorch_wrapped_tensor, mechanism_tensors)):

        def fast(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            result = kernel.forward(q, k, v)
            if verify.on and checks:
                verify.compare("the output", result[0], body(whole, q, k, v, *rest)[0], verify.max_abs(v))
            return result

        def fast_vjp(
            needs_grad: tuple[bool, ...], saved: tuple[Tensor, ...], *tensors: Tensor
        ) -> tuple[Tensor, ...] | None:
            q, k, v, *rest, dout = tensors
            result = kernel.backward(dout, q, k, v, saved)
            if result is None:
                return None
            if verify.on and checks and verify.all_finite(q, k, v, dout):
                expected = torch.func.vjp(lambda *x: body(whole, *x, *rest)[0], q, k, v)[1](dout)
                height = verify.max_abs(dout) * max(verify.max_abs(v), 1) * max(verify.max_abs(q), verify.max_abs(k), 1)
                for name, got, wanted in zip(("query", "key", "value"), result[:3], expected, strict=True):
                    verify.compare(f"the gradient of `{name}`", got, wanted, height)
            gradients = (*result[:3], *(result[3].get(id(t)) for t in mechanism_tensors))
            return tuple(t for t, needed in zip(gradients, needs_grad, strict=True) if needed)  # type: ignore[misc]

        def fast_second(
            needs_first: tuple[bool, ...],
            saved: tuple[Tensor, ...],
            needs_grad: tuple[bool, ...],
            _: tuple[Tensor, ...],
            *tensors: Tensor,
        ) -> tuple[Tensor, ...] | None:
            if mechanism_tensors:
                return None
            q, k, v, dout, *given = tensors
            rest = iter(given)
            directions = [next(rest) if n else torch.zeros_like(t) for t, n in zip((q, k, v), needs_first, strict=True)]
            result = kernel.second_backward(dout, q, k, v, saved, directions)
            if result is None:
                return None
            return tuple(t for t, needed in zip(result, needs_grad, strict=True) if needed)

    make_tiles = functools.partial(tiles, mechanism.pattern, shape, pairs_of_definition(mechanism, shape, width))
    inputs: tuple[Kind, ...] = ("row", "column", "column", *kinds)
    return TiledFunction(body, make_tiles, inputs, tuple(outputs), fast, fast_vjp, fast_second), tensors


def pairs_of_definition(mechanism: Mechanism, shape: Shape, width: int) -> int:
    """Pairs of a tile of the definition, which takes all heads at once and holds many numbers for each pair."""
    heads = math.prod(shape[:-2]) * (width if isinstance(mechanism.score, Additive) else 1)
    return max(DEFINED // max(heads, 1), 1)


@dataclasses.dataclass(frozen=True, eq=False)
class _TileBias(Bias):
    """The numbers of one tile, cut out already."""

    tensor: Float[Tensor, "..."]

    def at(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Float[Tensor, "..."]:
        return self.tensor

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Tensor, shape: Shape) -> None:
        pass


def tile_mechanism(mechanism: Mechanism) -> tuple[Mechanism, list[Kind]]:
    """The mechanism of a tile, and the kinds of its tensors: given biases and numbers for rows are cut to it, the rest is whole."""
    per_tile = {id(t) for t in flatten(mechanism.normalize)[0]}  # numbers for each row
    if mechanism.bias is not None:
        terms = mechanism.bias.terms if isinstance(mechanism.bias, Sum) else (mechanism.bias,)
        per_tile |= {id(term.tensor) for term in terms if isinstance(term, TensorBias)}
        terms = tuple(_TileBias(term.tensor) if isinstance(term, TensorBias) else term for term in terms)
        mechanism = dataclasses.replace(mechanism, bias=Sum(terms))
    return mechanism, ["pair" if id(t) in per_tile else "whole" for t in flatten(mechanism)[0]]
