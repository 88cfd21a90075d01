"""Which engine computes an attention, why, and what it costs."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._readable import nested_forward_mode, transformed
from heedful.ops._tree import tensors
from heedful.ops.engines import assemble, banded, flex, fused, layout, reference, tiling
from heedful.ops.engines.inplace import CACHED_TERMS, cached, tile_size
from heedful.ops.engines.tiled import Tile
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1
from heedful.ops.patterns import Causal
from heedful.ops.scores import Additive
from heedful.ops.selection import Soft

Engine = Literal["reference", "fused", "banded", "tiled", "flex"]


class Cost(NamedTuple):
    """What a pass costs.

    Attributes:
        flops: floating-point operations; an exponential counts as one.
        bytes: the most memory that is taken beside query, key, value and the parameters.

    Example:
        >>> query = torch.zeros(1, 8, 1024, 64)
        >>> heedful.plan(query, query, query).forward.flops
        2197815296
    """

    flops: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Plan:
    """How an attention is computed; `print` it for an account.

    Attributes:
        engine: which engine runs.
        reason: why.
        linear: whether its memory is linear in N and M.
        shape: of the matrix, `(..., H, N, M)`.
        pairs: the pairs (query, key), of all heads, that are computed.
        forward: the cost of the forward pass: its memory holds the output.
        training: the cost of forward and backward pass together: its memory holds the output and its gradient, what is kept
            for the backward pass, and the gradients of query, key and value.

    Example:
        >>> query = torch.zeros(1, 8, 8192, 64)
        >>> print(heedful.plan(query, query, query, pattern=Local(128)))
        engine     banded: the pattern shows each row a part of the keys
        matrix     1 x 8 x 8,192 x 8,192, of which 3.5 % is computed
        forward    4.93 GFLOP, 26 MB
        training   17 GFLOP, 101 MB
        memory     linear in the number of positions
    """

    engine: Engine
    reason: str
    linear: bool
    shape: Shape
    operands: tuple[Tensor, Tensor, Tensor] = field(repr=False)  # their sizes and dtype count
    mechanism: Mechanism = field(repr=False)
    strips: tuple[banded.Strip, ...] | None = field(repr=False, default=None)
    direct: bool = field(repr=False, default=False)

    def run(self, query: Tensor, key: Tensor, value: Tensor) -> assemble.Result:
        """The output `[..., H, N, E]`, and the log-probability of what was drawn."""
        if self.engine == "reference":
            return reference.attention(query, key, value, self.mechanism, self.shape)
        given = assemble.operands(query, key, value, self.mechanism, self.shape, no_bias=self.engine == "banded")
        if self.engine == "flex":
            q, k, v, m = given
            return flex.attention(q, k, v, m, float(m.factor(0)), self.shape), None
        if self.direct:
            q, k, v, m = given
            return fused.attention(q, k, v, m.scale, m.pattern, m.bias, self.shape).to(value.dtype), None  # type: ignore[arg-type]
        return assemble.function(given, self.shape, self.engine, self.strips)

    @functools.cached_property
    def pairs(self) -> int:
        """The pairs (query, key), of all heads, that are computed."""
        whole, lead = math.prod(self.shape), math.prod(self.shape[:-2])
        if self.strips is not None:
            return pairs_of(self.strips)
        if self.engine == "tiled":
            return lead * sum(math.prod(tile_size(tile)) for tile in self._tiles())
        flag = any(isinstance(p, Causal) and p.offset(self.shape) == 0 for p in self.mechanism.pattern.parts())
        return whole // 2 if flag and self.engine == "fused" else whole

    @property
    def forward(self) -> Cost:
        """The cost of the forward pass."""
        widths = sum(t.shape[-1] for t in self.operands[1:])
        if isinstance(self.mechanism.score, Additive):
            widths += self.operands[1].shape[-1]  # a product, a sum and a reciprocal
        return Cost(self.pairs * (2 * widths + 6), self._kept() + self._scratch(1))

    @property
    def training(self) -> Cost:
        """The cost of the forward and the backward pass."""
        gradients = sum(t.numel() for t in self.operands) + math.prod(self.shape[:-1]) * self.operands[2].shape[-1]
        more = gradients * self.operands[0].element_size()
        return Cost(self.forward.flops * 7 // 2, self._kept() + more + self._scratch(2))

    def _kept(self) -> int:
        """Bytes of the output and of what is kept beside it."""
        value = self.operands[-1]
        rows = math.prod(self.shape[:-1])
        stored = 2 * math.prod(self.shape) * 4 if self.engine == "reference" else 0
        return rows * (value.shape[-1] * value.element_size() + 4 * (not self.direct)) + stored

    def _scratch(self, passes: int) -> int:
        """Bytes that are taken and given back on the way: copies of operands with other widths or heads, buffers, masks."""
        query, key, value = self.operands
        size, heads = query.element_size(), math.prod(self.shape[:-2])
        n, m, widest = *self.shape[-2:], max(query.shape[-1], value.shape[-1])
        copied = 0
        if self.engine in ("fused", "banded") and query.shape[-1] != value.shape[-1]:
            narrow = [t for t in (query, key, value) if t.shape[-1] != widest]
            copied += sum(t.numel() // t.shape[-1] for t in narrow) * widest * size
            copied += heads * n * widest * size * passes  # the output with as many columns
        grouped = key.dim() > 3 and key.shape[-3] != query.shape[-3]
        if grouped and (self.engine == "banded" or passes == 2):
            copied += 2 * passes * heads * m * widest * size
        if self.engine == "banded":
            return copied + 4 * passes * banded.CHUNK * size + 4 * sum(mask_numbers(self.strips))
        if self.engine == "tiled":
            half = size == 2
            raised = sum(t.numel() for t in self.operands) * 4 * passes if half else 0
            additive = isinstance(self.mechanism.score, Additive)
            room = max(
                [0 if additive else cached(self.mechanism), *(r * (c + 1) for r, c in map(tile_size, self._tiles()))]
            )
            numbers = 2 * room
            if additive:  # exponentials, and a number for each pair and feature of a tile
                numbers += query.numel() + key.numel() + 2 * CACHED_TERMS
            return copied + raised + passes * 4 * numbers
        depends = all(self.mechanism.pattern.depends(self.shape)) and not isinstance(self.mechanism.pattern, Causal)
        return copied + (5 * min(fused.TILE, n * m) if depends or self.mechanism.bias is not None else 0)

    def _tiles(self) -> Sequence[Tile]:
        pairs = assemble.tile_pairs(self.mechanism, self.shape, self.operands[0].shape[-1])
        return tiling.tiles(self.mechanism.pattern, self.shape, pairs)

    def __str__(self) -> str:
        share = self.pairs / max(math.prod(self.shape), 1)
        lines = {
            "engine": f"{self.engine}: {self.reason}",
            "matrix": " x ".join(f"{n:,}" for n in self.shape) + f", of which {100 * share:.3g} % is computed",
            "forward": _words(self.forward),
            "training": _words(self.training),
            "memory": "linear in the number of positions" if self.linear else "N x M numbers a head are stored",
        }
        return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


def _words(cost: Cost) -> str:
    return f"{_short(float(cost.flops))}FLOP, {_short(float(cost.bytes))}B"


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5 or unit == "T":
            return f"{number:.3g} {unit}" if number < 10 else f"{number:.0f} {unit}"
        number /= 1000
    raise AssertionError


def compiles(query: Tensor, mechanism: Mechanism, engine: Engine | None) -> bool:
    """Whether `torch.compile` can have it in its graph: PyTorch's fused kernel, with its gradient of first order."""
    if engine not in (None, "fused") or (engine is None and layout.structured(mechanism.pattern)):
        return engine == "reference"
    return not fused.learns(mechanism.bias) and _obstacle(query, mechanism) is None


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
    def plan(name: Engine, reason: str, linear: bool = True, **more: Any) -> Plan:
        return Plan(name, reason, linear, shape, (query, key, value), mechanism, **more)

    def refuse(hindrance: str) -> ValueError:
        return ValueError(f"`engine` {engine!r} cannot compute this: {hindrance}.")

    if engine == "reference":
        return plan("reference", "asked for", linear=False)
    if engine == "flex":
        if hindrance := flex.obstacle(query, key, value, mechanism, shape):
            raise refuse(hindrance)
        return plan("flex", "asked for", linear=query.device.type != "cpu")
    obstacle = _obstacle(query, mechanism) or _obstacle_of_shape(query, mechanism, shape)
    if obstacle and engine in ("fused", "banded"):
        raise refuse(obstacle)
    if obstacle or engine == "tiled":
        return plan("tiled", obstacle or "asked for", linear=not nested_forward_mode())
    few = "the pattern shows each row a part of the keys"
    if engine == "banded" or (engine is None and layout.structured(mechanism.pattern)):
        strips = layout.strips(mechanism.pattern, shape, query.dtype) if fused.has_kernel(query) else None
        added = mechanism.bias is not None and not assemble.as_columns(mechanism.bias, shape, query, no_bias=True)
        if engine == "banded":
            if added:
                raise refuse("there is a bias to add")
            if strips is None:
                raise refuse("the pattern differs between heads, or the device has no kernel for it")
            return plan("banded", "asked for", strips=strips)
        if strips is not None and 1.3 * pairs_of(strips) < math.prod(shape):
            return plan("tiled", f"{few}, and there is a bias to add") if added else plan("banded", few, strips=strips)
    direct = (
        torch.compiler.is_compiling()
        or not fused.has_kernel(query)
        or not _differentiable(query, key, value, mechanism)
    )
    return plan("fused", "softmax of inner products", direct=direct and not _sinks(mechanism))


def _obstacle(query: Tensor, mechanism: Mechanism) -> str | None:
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
    if transformed():
        return "a transform of torch.func is at work"
    if _sinks(mechanism) and (not fused.has_kernel(query) or torch.compiler.is_compiling()):
        return "sinks need the log-sum-exp, which PyTorch's public kernel does not give"
    return None


def _obstacle_of_shape(query: Tensor, mechanism: Mechanism, shape: Shape) -> str | None:
    """The same, of what is only known with the shape of the matrix."""
    bias = mechanism.bias
    if bias is not None and fused.learns(bias) and not assemble.as_columns(bias, shape, query):
        return "the bias learns"
    return "there are no pairs" if 0 in shape else None


def _sinks(mechanism: Mechanism) -> bool:
    """Whether a part of the weights goes to nothing."""
    return mechanism.sinks is not None or isinstance(mechanism.normalize, Softmax1)


def mask_numbers(strips: tuple[banded.Strip, ...] | None) -> Iterator[int]:
    """The numbers of each mask, of which blocks may share one."""
    return (b.mask.numel() for s in strips or () for b in s.blocks if b.mask is not None)


def pairs_of(strips: tuple[banded.Strip, ...]) -> int:
    """The pairs that strips compute."""
    return sum((s.heads.stop - s.heads.start) * sum(b.pairs() for b in s.blocks) for s in strips)


def _differentiable(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> bool:
    """Whether a derivative may be asked for."""
    if torch.autograd.forward_ad._current_level >= 0:
        return True
    if not torch.is_grad_enabled():
        return False
    return (
        query.requires_grad
        or key.requires_grad
        or value.requires_grad
        or any(t.requires_grad for t in tensors(mechanism))
    )
