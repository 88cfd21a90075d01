"""A language model: tokens in, for each position the logits of a token out.

Causal (GPT): of the next token, seen from those before it. Masked (BERT): of the token at the position itself, seen from both sides.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor
from heedful.models.encoders import (
    NormalizerName,
    PositionName,
    ScoreName,
    add_positions,
    attention_pattern,
    build_encoder,
)
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.cache import Cache
from heedful.nn.dropout import Dropout
from heedful.ops import Pattern
from heedful.ops.mechanism import GLOBAL

Objective = Literal["causal", "masked"]


class LanguageModel(nn.Module):
    """Embedding -> positions -> encoder -> logits by the same embedding.

    Args:
        vocabulary_size: how many tokens there are.
        context_length: the most positions of one text.
        encoder: lets the tokens attend to each other.
        positions: is added to the embedded tokens; None where the encoder itself knows the distances, or nobody.
        window: a token sees those up to so many positions away; 0: all.
        objective: "causal" sees the past alone, to continue a text; "masked" sees both sides, to fill masked tokens.
        dropout: share of the embedded features that is set to 0 in training.

    Source: Radford et al. 2019; Devlin et al. 2019; the shared embedding: Press and Wolf 2017.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        context_length: int,
        encoder: TransformerEncoder,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        window: int = 0,
        objective: Objective = "causal",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("vocabulary_size", vocabulary_size)
        check_positive("context_length", context_length)
        check_fraction("dropout", dropout)
        if objective not in get_args(Objective):
            raise ValueError(f"`objective` must be causal or masked: got {objective!r}.")
        if window < 0:
            raise ValueError(f"`window` must be at least 0: got {window}.")
        self.vocabulary_size, self.context_length, self.objective = vocabulary_size, context_length, objective
        self.embedding = nn.Embedding(vocabulary_size, encoder.width)
        self.positions, self.encoder = positions, encoder
        self.dropout = Dropout(dropout)
        self.pattern: Pattern = attention_pattern(window, causal=objective == "causal")
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
        """The features that `forward` computes logits from: where few logits are needed, select from these first."""
        start = caches[0].length if caches else 0
        length = tokens.shape[-1]
        if start + length > self.context_length:
            raise ValueError(
                f"`tokens` must be at most {self.context_length}, the model's context: got {start + length}."
            )
        if caches and self.objective == "masked":
            raise ValueError("`caches` must be None for a model that sees both sides: got some.")
        # One position that sees the whole past needs no pattern, and so takes the fastest way through the operator.
        pattern = GLOBAL if caches and length == 1 and not self.window else self.pattern
        x = self.embedding(tokens)  # [B, N, D]
        x = self.dropout(add_positions(x, self.positions, start))
        return self.encoder(x, pattern=pattern, caches=caches)  # type: ignore[no-any-return]

    def logits(self, features: Float[Tensor, "*axes D"]) -> Float[Tensor, "*axes vocabulary"]:
        """The logits of features: their inner products with the embeddings."""
        return F.linear(features, self.embedding.weight)


def language_model(
    *,
    vocabulary_size: int,
    context_length: int = 128,
    width: int = 128,
    heads: int = 4,
    layers: int = 4,
    ffn_width: int = 512,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    norm: Literal["pre", "post"] = "pre",
    score: ScoreName = "scaled-dot",
    normalize: NormalizerName = "softmax",
    positions: PositionName = "rotary",
    window: int = 0,
    objective: Objective = "causal",
) -> LanguageModel:
    """Builds the parts and puts them together.

    Example:
        >>> model = language_model(vocabulary_size=65, context_length=16, width=12, heads=2, layers=2, ffn_width=20)
        >>> model(torch.zeros(3, 10, dtype=torch.long)).shape
        torch.Size([3, 10, 65])
        >>> caches = model.encoder.caches()
        >>> for step in range(3):
        ...     last = model(torch.zeros(1, 1, dtype=torch.long), caches=caches)
        >>> last.shape, caches[0].length
        (torch.Size([1, 1, 65]), 3)
    """
    built = build_encoder(
        width=width, heads=heads, layers=layers, ffn_width=ffn_width, dropout=dropout, drop_path=drop_path,
        norm=norm, score=score, normalize=normalize, positions=positions, max_positions=context_length,
        align="end" if objective == "causal" else None,
    )  # fmt: skip
    return LanguageModel(
        vocabulary_size=vocabulary_size, context_length=context_length, encoder=built.layers, positions=built.positions, window=window,
        objective=objective, dropout=dropout,
    )  # fmt: skip
