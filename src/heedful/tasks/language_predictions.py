"""What a language model says of a text: its continuation, its gaps filled, or how likely it is."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Continuation:
    """The continuation of a prompt by a causal model.

    Attributes:
        input: the prompt.
        output: what was generated after it.
        sample: which of several continuations of the prompt, from 0.
        unknown: the characters of the prompt that the model does not know, each once; all of them have the same token.
    """

    input: str
    output: str
    sample: int = 0
    unknown: str = ""

    def to_format(self) -> str:
        """The whole text."""
        return self.input + self.output

    def __str__(self) -> str:
        return self.to_format()


@dataclass(frozen=True)
class FilledText:
    """The predictions of a masked model for the gaps of a text.

    Attributes:
        input: the text with its gaps.
        output: the whole text.
        fills: the prediction for each gap.
        probabilities: of each.
        unknown: as of a `Continuation`.
    """

    input: str
    output: str
    fills: list[str]
    probabilities: list[float]
    unknown: str = ""

    def to_format(self) -> str:
        """The whole text."""
        return self.output

    def __str__(self) -> str:
        return self.output


@dataclass(frozen=True)
class TextLikelihood:
    """The surprisal of each token of a text, nat; of a masked model, of its masked tokens, and its accuracy on them."""

    input: str
    nats: NDArray[np.floating] = field(repr=False)
    accuracy: float | None = None

    def to_format(self) -> str:
        return f"{self.nats.sum():.4f}"

    def __str__(self) -> str:
        return self.to_format()
