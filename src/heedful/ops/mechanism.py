"""All that says how attention is computed, as one value."""

from dataclasses import dataclass

from heedful._types import Float, Tensor
from heedful.ops._tree import Value
from heedful.ops.biases import Bias
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Global, Pattern
from heedful.ops.scores import ScaledDot, Score
from heedful.ops.selection import Selection, Soft

_SCALED_DOT, _GLOBAL, _SOFT = ScaledDot(), Global(), Soft()


@dataclass(frozen=True, eq=False)
class Mechanism(Value):
    """The axes of attention; the fields are the arguments of `heedful.attention`."""

    score: Score = _SCALED_DOT
    normalize: Normalizer = softmax
    pattern: Pattern = _GLOBAL
    select: Selection = _SOFT
    bias: Bias | None = None
    scale: Float[Tensor, "..."] | float | None = None
    softcap: float | None = None
    sinks: Float[Tensor, "..."] | None = None
    dropout: float = 0.0
    seed: int = 0
    bare: bool = False  # one of a kind: it holds no tensor, and what is made of it may be kept

    def factor(self, width: int) -> Float[Tensor, "..."] | float:
        """What the score of each pair is multiplied by."""
        return self.score.scale(width) if self.scale is None else self.scale
