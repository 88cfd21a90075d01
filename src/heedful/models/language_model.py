"""A language model: tokens in, for each position the logits of a token out.

Causal (GPT): of the next token, seen from those before it. Masked (BERT): of the token at the position itself, seen from both sides.
"""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor
from heedful.models.encoders import NormalizerName, PositionName, ScoreName, build_encoder, placed, visible
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.cache import Cache
from heedful.nn.dropout import Dropout
from heedful.ops import Global, Pattern

_GLOBAL = Global()


class LanguageModel(nn.Module):
    """Embedding -> positions -> encoder -> logits by the same embedding.

    Args:
        vocabulary: how many tokens there are.
        context: the most positions that it looks at together.
        encoder: lets the tokens attend to each other.
        positions: what is added to tell the place of each token; None where the encoder itself knows the distances, or nobody.
        window: a token sees those up to so many positions away; 0: all.
        masked: whether it sees both sides, to fill gaps; otherwise the past alone, to go on.
        dropout: share of the embedded features that is set to 0 in training.

    Source: Radford et al. 2019; Devlin et al. 2019; the shared embedding: Press and Wolf 2017.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        encoder: TransformerEncoder,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        window: int = 0,
        masked: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("vocabulary", vocabulary)
        check_positive("context", context)
        check_fraction("dropout", dropout)
        if window < 0:
            raise ValueError(f"`window` must be at least 0: got {window}.")
        self.vocabulary, self.context, self.masked = vocabulary, context, masked
        self.embedding = nn.Embedding(vocabulary, encoder.width)
        self.positions, self.encoder = positions, encoder
        self.dropout = Dropout(dropout)
        self.pattern: Pattern = visible(window, causal=not masked)
        self.window = window
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the embedding so that the logits of a new model have a variance of 1, and the encoder as it draws itself."""
        # On small texts this learned faster than GPT-2's way (0.02 everywhere, residual projections still smaller).
        nn.init.normal_(self.embedding.weight, std=self.encoder.width**-0.5)
        self.encoder.reset_parameters()

    def forward(
        self, tokens: Int[Tensor, "B N"], *, caches: Sequence[Cache] | None = None
    ) -> Float[Tensor, "B N vocabulary"]:
        """The logits at every position.

        Args:
            tokens: their numbers.
            caches: keys and values of earlier positions, one for each layer (`model.encoder.caches()`); those of `tokens` are
                appended. A causal model alone can have them.
        """
        return self.logits(self.features(tokens, caches=caches))

    def features(self, tokens: Int[Tensor, "B N"], *, caches: Sequence[Cache] | None = None) -> Float[Tensor, "B N D"]:
        """What `forward` makes logits of; who needs few of them takes the features first."""
        start = caches[0].length if caches else 0
        length = tokens.shape[-1]
        if start + length > self.context:
            raise ValueError(f"`tokens` must be at most {self.context}, the model's context: got {start + length}.")
        if caches and self.masked:
            raise ValueError("`caches` must be None for a model that sees both sides: got some.")
        # One position that sees the whole past is a plain case, with the fastest way through the operator.
        pattern = _GLOBAL if caches and length == 1 and not self.window else self.pattern
        x = self.embedding(tokens)  # [B, N, D]
        x = self.dropout(placed(x, self.positions, start))
        return self.encoder(x, pattern=pattern, caches=caches)  # type: ignore[no-any-return]

    def logits(self, features: Float[Tensor, "*axes D"]) -> Float[Tensor, "*axes vocabulary"]:
        """The logits of features: how much each embedding lies in their direction."""
        return F.linear(features, self.embedding.weight)


def language_model(
    *,
    vocabulary: int,
    context: int = 128,
    width: int = 128,
    heads: int = 4,
    layers: int = 4,
    hidden: int = 512,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    window: int = 0,
    masked: bool = False,
) -> LanguageModel:
    """Builds the parts and puts them together.

    Example:
        >>> model = language_model(vocabulary=65, context=16, width=12, heads=2, layers=2, hidden=20)
        >>> model(torch.zeros(3, 10, dtype=torch.long)).shape
        torch.Size([3, 10, 65])
        >>> caches = model.encoder.caches()
        >>> for step in range(3):
        ...     last = model(torch.zeros(1, 1, dtype=torch.long), caches=caches)
        >>> last.shape, caches[0].length
        (torch.Size([1, 1, 65]), 3)
    """
    built = build_encoder(
        width=width, heads=heads, layers=layers, hidden=hidden, dropout=dropout, drop_path=drop_path,
        norm=norm, score=score, normalize=normalize, positions=positions, longest=context, align=None if masked else "end",
    )  # fmt: skip
    return LanguageModel(
        vocabulary=vocabulary, context=context, encoder=built.layers, positions=built.positions, window=window,
        masked=masked, dropout=dropout,
    )  # fmt: skip
