"""The text classifier: tokens attend to each other, and a learned query pools them into one vector, of which come the logits.

    tokens -> vectors [B, N, D] -> + positions -> encoder -> + vectors -> attention pooling [B, D] -> logits [B, classes]

The encoder's input is added to its output, so that what a single word says is not lost. In training some tokens are masked, so
that later a token can be masked to ask how much it contributed.

Source: Lin et al. 2017 (attention pooling).
"""

import torch
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Bool, Float, Tensor
from heedful.data.batch_types import TokenBatch, WordBatch
from heedful.models.encoders import add_positions, padding
from heedful.models.words import FastTextEmbedding
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.dropout import Dropout
from heedful.ops import Pattern
from heedful.ops.mechanism import GLOBAL


class TokenEmbedding(nn.Module):
    """Embeds subwords or characters.

    Args:
        vocabulary_size: how many there are.
        width: the features of a token, D.
        dropout: share of these that is set to 0 in training.
    """

    def __init__(self, vocabulary_size: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.width = width
        self.token, self.dropout = nn.Embedding(vocabulary_size, width), Dropout(dropout)
        nn.init.normal_(self.token.weight, std=0.1)

    def forward(self, batch: TokenBatch) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        return self.dropout(self.token(batch.tokens))  # type: ignore[no-any-return]


class TextClassificationModel(nn.Module):
    """Classifies texts of any length.

    Args:
        tokens: embeds words, subwords or characters.
        positions: is added to them; None where the encoder itself knows the distances, or nobody.
        encoder: lets them attend to each other.
        pattern: who may see whom within a text.
        pooling_heads: each weighs its own part of the features.
        classes: how many.
        token_dropout: the probability that a token is masked, in training.
        dropout: share of the pooled vector that is set to 0 in training.
    """

    def __init__(
        self,
        *,
        tokens: FastTextEmbedding | TokenEmbedding,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        encoder: TransformerEncoder,
        pattern: Pattern = GLOBAL,
        pooling_heads: int = 1,
        classes: int,
        token_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_fraction("token_dropout", token_dropout)
        self.tokens, self.positions, self.encoder, self.pattern = tokens, positions, encoder, pattern
        self.mask_vector = nn.Parameter(torch.zeros(tokens.width))
        self.pooling = AttentionPooling(tokens.width, pooling_heads)
        self.dropout, self.token_dropout = Dropout(dropout), token_dropout
        self.head = nn.Linear(tokens.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, batch: WordBatch | TokenBatch, masked: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B classes"]:
        """The logits.

        Args:
            batch: texts.
            masked: tokens that are replaced by the mask vector.
        """
        x = self.tokens(batch)  # [B, N, D]
        if self.training and self.token_dropout:
            masked = torch.rand(x.shape[:2], device=x.device) < self.token_dropout
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_vector, x)
        real = padding(batch.lengths, x.shape[1])
        x = x + self.encoder(add_positions(x, self.positions), pattern=self.pattern & real)
        return self.head(self.dropout(self.pooling(x, pattern=real)))  # type: ignore[no-any-return]
