"""Which engine computes an attention, why, and what it costs."""

import functools
import math
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops.engines import softmax
from heedful.ops.engines.banded import Banded
from heedful.ops.engines.base import Call, Engine, EngineName, Result
from heedful.ops.engines.features import requires_grad
from heedful.ops.engines.flex import Flex
from heedful.ops.engines.fused import Fused
from heedful.ops.engines.reference import Reference
from heedful.ops.engines.tiled import Tiled
from heedful.ops.mechanism import Mechanism
from heedful.ops.scores import Additive

_AUTOMATIC: tuple[Engine, ...] = (Banded(), Fused(), Tiled())  # the first without an obstacle is taken
_ENGINES: dict[EngineName, Engine] = {engine.name: engine for engine in (*_AUTOMATIC, Reference(), Flex())}


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
        linear_memory: whether its memory is linear in N and M.
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

    engine: EngineName
    reason: str
    linear_memory: bool
    shape: Shape
    call: Call = field(repr=False)

    def run(self) -> Result:
        """The output `[..., H, N, E]`, and the log-probability of what was drawn."""
        return _ENGINES[self.engine].run(self.call)

    @functools.cached_property
    def pairs(self) -> int:
        """The pairs (query, key), of all heads, that are computed."""
        return _ENGINES[self.engine].pairs(self.call)

    @property
    def forward(self) -> Cost:
        """The cost of the forward pass."""
        widths = self.call.key.shape[-1] + self.call.value.shape[-1]
        if isinstance(self.call.mechanism.score, Additive):
            widths += self.call.key.shape[-1]  # a product, a sum and a reciprocal
        return Cost(self.pairs * (2 * widths + 6), self._saved_bytes() + self._scratch_bytes(1))

    @property
    def training(self) -> Cost:
        """The cost of the forward and the backward pass."""
        operands = self.call.query, self.call.key, self.call.value
        gradients = sum(t.numel() for t in operands) + math.prod(self.shape[:-1]) * operands[2].shape[-1]
        gradient_bytes = gradients * operands[0].element_size()
        return Cost(self.forward.flops * 7 // 2, self._saved_bytes() + gradient_bytes + self._scratch_bytes(2))

    def _saved_bytes(self) -> int:
        """Bytes of the output, and of what is kept of the rows."""
        rows, value = math.prod(self.shape[:-1]), self.call.value
        return rows * (value.shape[-1] * value.element_size() + _ENGINES[self.engine].bytes_of_row(self.call))

    def _scratch_bytes(self, passes: int) -> int:
        return _ENGINES[self.engine].scratch_bytes(self.call, passes)

    def __str__(self) -> str:
        fraction = self.pairs / max(math.prod(self.shape), 1)
        lines = {
            "engine": f"{self.engine}: {self.reason}",
            "matrix": " x ".join(f"{n:,}" for n in self.shape) + f", of which {100 * fraction:.3g} % is computed",
            "forward": _words(self.forward),
            "training": _words(self.training),
            "memory": "linear in the number of positions" if self.linear_memory else "N x M numbers a head are stored",
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


def compiles(query: Tensor, mechanism: Mechanism, engine: EngineName | None) -> bool:
    """Whether `torch.compile` can have it in its graph: PyTorch's fused kernel, with its gradient of first order."""
    if engine == "reference":
        return True
    if engine not in (None, "fused") or (engine is None and mechanism.pattern.narrow()):
        return False
    return not requires_grad(mechanism.bias) and softmax.obstacle(query, mechanism) is None


def choose(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mechanism: Mechanism,
    shape: Shape,
    engine: EngineName | None,
    strict: bool,
) -> Plan:
    """The plan for operands that fit; raises ValueError where `engine` cannot, or where `strict` forbids."""
    if engine is not None and engine not in get_args(EngineName):
        words = ", ".join(repr(e) for e in get_args(EngineName))
        raise ValueError(f"`engine` must be one of {words} or None: got {engine!r}.")
    call = Call(query, key, value, mechanism, shape, engine)
    plan = _choose(call)
    if strict and not plan.linear_memory:
        raise ValueError(f"`strict` allows linear memory only: got engine {plan.engine!r} ({plan.reason}).")
    return plan


def _choose(call: Call) -> Plan:
    if call.requested is not None:
        engine = _ENGINES[call.requested]
        if obstacle := engine.obstacle(call):
            raise ValueError(f"`engine` {call.requested!r} cannot compute this: {obstacle}.")
        return Plan(engine.name, "asked for", engine.linear_memory(call), call.shape, call)
    obstacles = []
    for engine in _AUTOMATIC:
        if (obstacle := engine.obstacle(call)) is None:
            break
        obstacles.append(obstacle)
    reason = engine.reason if engine is not _AUTOMATIC[-1] else obstacles[-1]
    return Plan(engine.name, reason, engine.linear_memory(call), call.shape, call)
