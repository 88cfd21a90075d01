"""Which engine computes an attention, why, and what it costs."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._readable import nested_forward_mode, transformed
from heedful.ops._tree import tensors
from heedful.ops.biases import Bias
from heedful.ops.engines import assemble, banded, flex, fused, layout, reference
from heedful.ops.engines.inplace import CACHED
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1
from heedful.ops.scores import Additive, Dot, ScaledDot
from heedful.ops.selection import Soft

Engine = Literal["reference", "fused", "banded", "tiled", "flex"]


@dataclass(frozen=True, eq=False)
class Plan:
    """How an attention is computed; `print` it for an account.

    Attributes:
        engine: which engine runs.
        reason: why.
        linear: whether its memory is linear in N and M.
        shape: of the matrix, `(..., H, N, M)`.
        pairs: the pairs (query, key) of all heads that are computed.
        flops: floating-point operations of the forward pass; those of the forward and the backward pass.
        bytes: the most memory beside the operands: of the forward pass; of the forward and the backward pass, with the
            output, what is kept and the gradients.
    """

    engine: Engine
    reason: str
    linear: bool
    shape: Shape
    mechanism: Mechanism = field(repr=False)
    strips: tuple[banded.Strip, ...] | None = field(repr=False, default=None)
    direct: bool = field(repr=False, default=False)

    def run(self, query: Tensor, key: Tensor, value: Tensor) -> assemble.Result:
        """The output `[..., H, N, E]`, and the log-probability of what was drawn."""
        if self.engine == "reference":
            return reference.attention(query, key, value, self.mechanism, self.shape)
        if self.engine == "flex":
            return flex.attention(query, key, value, self.mechanism, self.shape), None
        if torch.compiler.is_compiling() and not self.direct:
            return _eagerly(self, query, key, value)
        given = assemble.operands(query, key, value, self.mechanism, self.shape)
        if self.direct:
            q, k, v, m = given
            return fused.attention(q, k, v, m.scale, m.pattern, m.bias, self.shape).to(value.dtype), None  # type: ignore[arg-type]
        return assemble.function(given, self.shape, self.engine, self.strips)


@torch.compiler.disable
def _eagerly(plan: Plan, query: Tensor, key: Tensor, value: Tensor) -> assemble.Result:
    """Under `torch.compile`: one break of the graph."""
    return plan.run(query, key, value)


def choose(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mechanism: Mechanism,
    shape: Shape,
    engine: Engine | None,
    strict: bool,
) -> Plan:
    """The plan for operands that fit; raises ValueError where `engine` cannot, or where `strict` forbids."""
    if engine is not None and engine not in get_args(Engine):
        words = ", ".join(repr(e) for e in get_args(Engine))
        raise ValueError(f"`engine` must be one of {words} or None: got {engine!r}.")
    plan = _choose(query, key, value, mechanism, shape, engine)
    if strict and not plan.linear:
        raise ValueError(f"`strict` allows linear memory only: got engine {plan.engine!r} ({plan.reason}).")
    return plan


def _choose(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape, engine: Engine | None
) -> Plan:
    if engine == "reference":
        return Plan("reference", "asked for", False, shape, mechanism)
    if engine == "flex":
        flex.check(query, key, value, mechanism, shape)
        return Plan("flex", "asked for", True, shape, mechanism)
    obstacle = _obstacle(query, mechanism, shape)
    if engine in ("fused", "banded") and obstacle:
        raise ValueError(f"`engine` {engine!r} cannot compute this: {obstacle}.")
    if engine == "tiled" or obstacle:
        linear = not nested_forward_mode()
        return Plan("tiled", obstacle or "asked for", linear, shape, mechanism)
    compiling = torch.compiler.is_compiling()
    strips = None
    if engine == "banded" or (engine is None and layout.structured(mechanism.pattern) and not compiling):
        strips = layout.strips(mechanism.pattern, shape, query.dtype) if fused.has_kernel(query) else None
        if strips is not None and (engine == "banded" or _worth(strips, mechanism, shape)):
            return Plan("banded", "the pattern shows each row a part of the keys", True, shape, mechanism, strips)
        if engine == "banded":
            raise ValueError("`engine` 'banded' cannot compute this: the pattern differs between heads, or the device has no kernel for it.")
    direct = compiling or not fused.has_kernel(query) or not _differentiable(query, key, value, mechanism)
    if mechanism.sinks is not None or isinstance(mechanism.normalize, Softmax1):
        direct = False
    return Plan("fused", "softmax of inner products", True, shape, mechanism, direct=direct)


def _obstacle(query: Tensor, mechanism: Mechanism, shape: Shape) -> str | None:
    """Why PyTorch's fused kernel cannot compute it; None where it can."""
    if not mechanism.score.inner:
        return "the score is no inner product"
    if not isinstance(mechanism.normalize, (Softmax, Softmax1)):
        return "the normaliser is not softmax"
    if not isinstance(mechanism.select, Soft):
        return "keys are selected"
    if mechanism.softcap is not None:
        return "scores are capped"
    if mechanism.dropout:
        return "weights are dropped"
    if mechanism.bias is not None and fused.learns(mechanism.bias) and not assemble.as_columns(mechanism.bias, shape, query):
        return "the bias learns"
    if transformed():
        return "a transform of torch.func is at work"
    if (mechanism.sinks is not None or isinstance(mechanism.normalize, Softmax1)) and (
        not fused.has_kernel(query) or torch.compiler.is_compiling()
    ):
        return "sinks need the log-sum-exp, which PyTorch's public kernel does not give"
    if 0 in shape:
        return "there are no pairs"
    return None


def _worth(strips: tuple[banded.Strip, ...], mechanism: Mechanism, shape: Shape) -> bool:
    """Whether the pairs of the strips are clearly fewer than those of the whole matrix."""
    return 1.3 * pairs_of(strips) < math.prod(shape)


def pairs_of(strips: tuple[banded.Strip, ...]) -> int:
    """The pairs that strips compute."""
    return sum((s.heads.stop - s.heads.start) * sum(b.pairs() for b in s.blocks) for s in strips)


def _differentiable(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> bool:
    """Whether a derivative may be asked for."""
    if torch.autograd.forward_ad._current_level >= 0:
        return True
    if not torch.is_grad_enabled():
        return False
    return query.requires_grad or key.requires_grad or value.requires_grad or any(t.requires_grad for t in tensors(mechanism))
