"""A call of attention as it was captured, before it is checked and copied."""

from dataclasses import dataclass, field
from typing import Any

from heedful._types import Float, Tensor


@dataclass
class CapturedCall:
    """A call of attention as it was captured, before it is checked and copied.

    Attributes:
        query: `[..., H, N, D]`.
        key: `[..., G, M, D]`.
        engine: what computed it.
        options: further arguments of the matrix.
        output: of the call, `[..., H, N, E]`, to check the matrix against; None: it cannot be checked.
        value: `[..., G, M, E]`, with `output`.
        kind: "self", "cross" or "channel"; None: to be told from names and sizes.
        causal: whether it is causal by what the module says; None: as the pattern says.
        notes: what one should know of it.
        suspects: arguments that are named if the matrix does not give the output.
        rows: the tensor `[..., N, *]` of the model whose rows the queries are made of; None: `query`.
    """

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M D"]
    engine: str
    options: dict[str, Any] = field(default_factory=dict)
    output: Float[Tensor, "... N E"] | None = None
    value: Float[Tensor, "... M E"] | None = None
    kind: str | None = None
    causal: bool | None = None
    notes: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    rows: Tensor | None = None
