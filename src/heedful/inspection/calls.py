"""What is recorded of a model: calls of attention, and attention that was expected but not seen."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from heedful.inspection.cached import CachedCall
from heedful.ops import AttentionMatrix


@dataclass(frozen=True)
class AttentionCall:
    """One call of attention.

    Attributes:
        module: the dotted name of the innermost module that was running, "" outside of all.
        kind: "self" or "cross"; "channel" where queries and keys are the channels of a feature map.
        matrix: of the query and key that it had, on the CPU; made when it is asked for where calls share their keys.
        engine: what computed it, such as "scaled_dot_product_attention" or "eager".
        notes: what one should know of it.
        causal: whether no query sees a later key.
        window: how many keys a row sees at most where it sees those near its own position only; None: there is no such limit.
        step: in which forward pass of the watch it was, from 0; text that is generated has one a step.
        grid: rows and columns of the feature map whose places, row by row, the queries are; None: they are of none.
    """

    module: str
    kind: str
    matrix: AttentionMatrix
    engine: str
    notes: tuple[str, ...] = ()
    causal: bool = False
    window: int | None = None
    step: int = 0
    grid: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix, `(..., H, N, M)`."""
        return tuple(self.cached.shape if self.cached else self.matrix.shape)

    @property
    def cached(self) -> CachedCall | None:
        """Where its queries and keys are kept, if other calls may share them."""
        made = vars(self)["_matrix"]
        return made if isinstance(made, CachedCall) else None

    @property
    def stack(self) -> str:
        """The name of its module before the number of the layer: what layers that follow each other share, such as "encoder.layers"."""
        number = layer_number(self.module)
        return self.module[: number.start()] if number else self.module

    @property
    def square(self) -> bool:
        """Whether it is self-attention of as many queries as keys, as a rollout goes through."""
        return self.kind == "self" and self.shape[-1] == self.shape[-2]


class _MatrixField:
    """A field that is given a matrix, or what makes one each time that it is asked for."""

    def __get__(self, call: Any, owner: type) -> Any:
        if call is None:
            return self
        made = vars(call)["_matrix"]
        return made.matrix() if isinstance(made, CachedCall) else made

    def __set__(self, call: Any, made: AttentionMatrix | CachedCall) -> None:
        vars(call)["_matrix"] = made


AttentionCall.matrix = _MatrixField()  # type: ignore[assignment]


class Unseen(NamedTuple):
    """Attention that was expected but not seen.

    Attributes:
        module: the dotted name of the module.
        why: what is known of it.
    """

    module: str
    why: str


class RankedHead(NamedTuple):
    """A head and a number.

    Attributes:
        module: the dotted name of the module.
        head: its index.
        value: the mean over batch and queries of what was asked.
    """

    module: str
    head: int
    value: float


def layer_number(module: str) -> re.Match[str] | None:
    """Where a module's name has the number of its layer: "layers.3.attention", else "block3.attention"."""
    return re.search(r"(?:^|\.)\d+(?=\.|$)", module) or re.search(r"\d+(?=\.|$)", module)


def chains(calls: Iterable[AttentionCall], *, one_stack: bool = False) -> list[list[AttentionCall]]:
    """The square self-attention of each stack in each forward pass, in order: what a rollout may go through.

    Layers that are called one by one, each a forward pass of its own, are one chain, too. With `one_stack` names of stacks
    do not count. Where a stack goes on with fewer positions, as one of windows does, another chain begins.
    """
    found: list[list[AttentionCall]] = []
    latest: dict[str, list[AttentionCall]] = {}
    for call in calls:
        if call.square:
            stack = "" if one_stack else call.stack
            chain = latest.get(stack)
            if chain is None or chain[-1].matrix.shape != call.shape or _is_again(call, chain):
                found.append(chain := [])
                latest[stack] = chain
            chain.append(call)
    return found


def _is_again(call: AttentionCall, chain: list[AttentionCall]) -> bool:
    """Whether a module of a chain runs in another step."""
    return call.step != chain[-1].step and any(call.module == one.module for one in chain)


def num_heads(matrix: AttentionMatrix) -> int:
    """How many heads a matrix `[..., H, N, M]` has; one of `[N, M]` is of one head."""
    return matrix.shape[-3] if len(matrix.shape) > 2 else 1
