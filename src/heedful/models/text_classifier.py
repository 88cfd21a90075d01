"""The text classifier: tokens attend to each other, a learned query weighs them, one vector names the class.

    tokens -> vectors [B, N, D] -> + positions -> encoder -> + vectors -> attention pooling [B, D] -> logits [B, classes]

The encoder's input goes beside it to the pooling, so that what a single word says is not lost; and because pooling and output
are linear in the tokens, the logits are sums over tokens: `contributions` says what each of them added.

Source: Lin et al. 2017 (attention pooling); an ensemble of several that are trained side by side: Lakshminarayanan et al. 2017.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Float, Int, Tensor
from heedful.models.encoders import padding, placed
from heedful.models.words import WordEncoder, Words
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.ops import Global, Pattern, attention_weights

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
        self.token, self.norm, self.dropout = nn.Embedding(vocabulary, width), nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, batch: Pieces) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        return self.dropout(self.norm(self.token(batch.tokens)))  # type: ignore[no-any-return]


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
        tokens: WordEncoder | PieceEncoder,
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
        self.dropout, self.token_dropout = nn.Dropout(dropout), token_dropout
        self.head = nn.Linear(tokens.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Words | Pieces) -> Float[Tensor, "B classes"]:
        """The logits."""
        x, real = self.encode(batch)
        return self.head(self.dropout(self.pooling(x, pattern=real)))  # type: ignore[no-any-return]

    def encode(self, batch: Words | Pieces) -> tuple[Float[Tensor, "B N D"], Pattern]:
        """What is pooled, and which of it is no padding."""
        x = self.tokens(batch)  # [B, N, D]
        if self.training and self.token_dropout:
            shown = torch.rand(*x.shape[:2], 1, device=x.device) >= self.token_dropout
            x = torch.where(shown, x, self.hidden)
        real = padding(batch.lengths, x.shape[1])
        return x + self.encoder(placed(x, self.positions), pattern=self.pattern & real), real

    def contributions(self, batch: Words | Pieces) -> Float[Tensor, "B N classes"]:
        """What each token adds to each logit: these numbers and the offsets of the output add up to the logits."""
        x, real = self.encode(batch)
        split = x.unflatten(-1, (self.pooling.heads, -1)).transpose(1, 2)  # [B, H, N, d]
        query = self.pooling.query.expand(len(x), -1, -1, -1)
        weights = attention_weights(query, split, pattern=real).transpose(-1, -2)  # [B, H, N, 1]
        weighted = (weights * split).transpose(1, 2).flatten(2)  # [B, N, D]
        return F.linear(weighted, self.head.weight)


class Ensemble(nn.Module):
    """Several classifiers that are trained side by side and asked together: the probability is the mean of theirs.

    Args:
        members: which differ in what was drawn for them.
    """

    def __init__(self, members: Sequence[TextClassifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Words | Pieces) -> Float[Tensor, "K B classes"]:
        """The logits of each member."""
        return torch.stack([member(batch) for member in self.members])

    def probabilities(self, batch: Words | Pieces) -> Float[Tensor, "B classes"]:
        """The mean of the members' probabilities."""
        return self(batch).float().softmax(-1).mean(0)  # type: ignore[no-any-return]

    def contributions(self, batch: Words | Pieces) -> Float[Tensor, "B N classes"]:
        """The mean of what each token adds to each logit."""
        every = [member.contributions(batch) for member in self.members if isinstance(member, TextClassifier)]
        return torch.stack(every).mean(0)
