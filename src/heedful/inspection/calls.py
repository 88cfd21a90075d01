"""What is recorded of a model: calls of attention, and attention that was expected but not seen."""

from dataclasses import dataclass
from typing import NamedTuple

from heedful.ops import AttentionMatrix


@dataclass(frozen=True)
class AttentionCall:
    """One call of attention.

    Attributes:
        module: the dotted name of the innermost module that was running, "" outside of all.
        kind: "self" or "cross".
        matrix: of the query and key that it had, on the CPU.
        engine: what computed it, such as "scaled_dot_product_attention" or "eager".
        notes: what one should know of it.
        causal: whether no query sees a later key.
        window: how many keys a row sees at most where it sees those near its own position only; None: there is no such limit.
    """

    module: str
    kind: str
    matrix: AttentionMatrix
    engine: str
    notes: tuple[str, ...] = ()
    causal: bool = False
    window: int | None = None

    @property
    def square(self) -> bool:
        """Whether it is self-attention of as many queries as keys, as a rollout goes through."""
        return self.kind == "self" and self.matrix.shape[-1] == self.matrix.shape[-2]


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


def num_heads(matrix: AttentionMatrix) -> int:
    """How many heads a matrix `[..., H, N, M]` has; one of `[N, M]` is of one head."""
    return matrix.shape[-3] if len(matrix.shape) > 2 else 1
