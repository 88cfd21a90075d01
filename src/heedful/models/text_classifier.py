"""The text classifier: tokens attend to each other, a learned query weighs them, one vector names the class.

    tokens -> vectors [B, N, D] -> + positions -> encoder -> + vectors -> attention pooling [B, D] -> logits [B, classes]

The encoder's input goes beside it to the pooling, so that what a single word says is not lost. In training some tokens are
hidden; so what a token said can be asked later: by hiding it.

Source: Lin et al. 2017 (attention pooling); an ensemble of several that are trained side by side: Lakshminarayanan et al. 2017.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Bool, Float, Int, Tensor
from heedful.models.encoders import padding, placed
from heedful.models.words import Words, WordSum
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.dropout import Dropout
from heedful.ops import Global, Pattern

_GLOBAL = Global()


class Pieces(NamedTuple):
    """A batch of texts, cut into subwords or characters and padded at their ends.

    Attributes:
        tokens: `[B, N]`, numbers of tokens.
        lengths: `[B]`, how many tokens each text has.
    """

    tokens: Int[Tensor, "B N"]
    lengths: Int[Tensor, " B"]


class PieceEncoder(nn.Module):
    """Embeds subwords or characters.

    Args:
        vocabulary: how many there are.
        width: the features of a token, D.
        dropout: share of these that is set to 0 in training.
    """

    def __init__(self, vocabulary: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        self.width = width
        self.token, self.dropout = nn.Embedding(vocabulary, width), Dropout(dropout)
        nn.init.normal_(self.token.weight, std=0.1)

    def forward(self, batch: Pieces) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        return self.dropout(self.token(batch.tokens))  # type: ignore[no-any-return]


class TextClassifier(nn.Module):
    """Classifies texts of any length.

    Args:
        tokens: makes vectors of words, subwords or characters.
        positions: is added to them; None where the encoder knows where tokens stand.
        encoder: lets them attend to each other.
        pattern: who may see whom within a text.
        pooling_heads: each weighs its own part of the features.
        classes: how many.
        token_dropout: the probability that a token is hidden from all that follows, in training.
        dropout: share of the pooled vector that is set to 0 in training.
    """

    def __init__(
        self,
        *,
        tokens: WordSum | PieceEncoder,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        encoder: TransformerEncoder,
        pattern: Pattern = _GLOBAL,
        pooling_heads: int = 1,
        classes: int,
        token_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_fraction("token_dropout", token_dropout)
        self.tokens, self.positions, self.encoder, self.pattern = tokens, positions, encoder, pattern
        self.hidden = nn.Parameter(torch.zeros(tokens.width))
        self.pooling = AttentionPooling(tokens.width, pooling_heads)
        self.dropout, self.token_dropout = Dropout(dropout), token_dropout
        self.head = nn.Linear(tokens.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Words | Pieces, hidden: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B classes"]:
        """The logits.

        Args:
            batch: texts.
            hidden: tokens of which the model sees only that one stands there.
        """
        x = self.tokens(batch)  # [B, N, D]
        if self.training and self.token_dropout:
            hidden = torch.rand(x.shape[:2], device=x.device) < self.token_dropout
        if hidden is not None:
            x = torch.where(hidden[..., None], self.hidden, x)
        real = padding(batch.lengths, x.shape[1])
        x = x + self.encoder(placed(x, self.positions), pattern=self.pattern & real)
        return self.head(self.dropout(self.pooling(x, pattern=real)))  # type: ignore[no-any-return]


class Ensemble(nn.Module):
    """Several classifiers that are trained side by side and asked together: the probability is the mean of theirs.

    Args:
        members: which differ in what was drawn for them.
    """

    def __init__(self, members: Sequence[TextClassifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Words | Pieces, hidden: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "K B classes"]:
        """The logits of each member."""
        return torch.stack([member(batch, hidden) for member in self.members])

    def probabilities(
        self, batch: Words | Pieces, hidden: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B classes"]:
        """The mean of the members' probabilities."""
        return self(batch, hidden).float().softmax(-1).mean(0)  # type: ignore[no-any-return]
