"""The sentence extractor: the words of a sentence attend to each other, then the sentences of a document do, and a query chooses.

    words of all T sentences [T, N, D] -> encoder -> + vectors -> attention pooling [T, D] -> document by document [B, S, D]
    -> + places from the start and from the end -> encoder -> + vectors -> what a learned query makes of each: logits [B, S]

The softmax of the logits is the attention of that query to the sentences: it learns to look at what a summary would be cut from.

Source: Liu and Lapata 2019, section 3 (an encoder across sentence vectors, for extraction); Lin et al. 2017 (attention pooling).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Bool, Float, Int, Tensor
from heedful.models.encoders import padding, placed
from heedful.models.text_classifier import PieceEncoder, Pieces
from heedful.models.words import Words, WordSum
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.dropout import Dropout
from heedful.ops import Global, Pattern

_GLOBAL = Global()


class Sentences(NamedTuple):
    """A batch of documents.

    Attributes:
        tokens: of T sentences, those of one document after those of the other.
        counts: `[B]`, how many sentences each document has; T is their sum.
    """

    tokens: Words | Pieces
    counts: Int[Tensor, " B"]


class SentenceExtractor(nn.Module):
    """Says of each sentence of a document how much a summary would be made of it.

    A sentence is read by itself, so that the cost grows with the number of sentences alone; it knows how far it is from the
    start and from the end of its document.

    Args:
        tokens: makes vectors of words, subwords or characters.
        positions: is added to them; None where the encoder knows where tokens stand.
        encoder: lets the tokens of a sentence attend to each other.
        pattern: who may see whom within a sentence.
        pooling_heads: each weighs its own part of the features of a sentence.
        document: lets the sentences of a document attend to each other.
        places: how many places from either end of a document have a vector of their own; all beyond share the last.
        token_dropout: the probability that a token is hidden from all that follows, in training.
        dropout: share of a sentence's vector that is set to 0 in training.
    """

    def __init__(
        self,
        *,
        tokens: WordSum | PieceEncoder,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        encoder: TransformerEncoder,
        pattern: Pattern = _GLOBAL,
        pooling_heads: int = 1,
        document: TransformerEncoder,
        places: int = 16,
        token_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("places", places)
        check_fraction("token_dropout", token_dropout)
        self.tokens, self.positions, self.encoder, self.pattern = tokens, positions, encoder, pattern
        self.hidden = nn.Parameter(torch.zeros(tokens.width))
        self.pooling = AttentionPooling(tokens.width, pooling_heads)
        self.from_start, self.from_end = (nn.Embedding(places, tokens.width) for _ in range(2))
        self.document = document
        self.dropout, self.token_dropout = Dropout(dropout), token_dropout
        self.query = nn.Linear(tokens.width, 1, bias=False)
        for layer in (self.from_start, self.from_end, self.query):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(self, batch: Sentences, hidden: Bool[Tensor, "T N"] | None = None) -> Float[Tensor, "B S"]:
        """The logits; those of padding are -inf.

        Args:
            batch: documents, each of at least one sentence.
            hidden: tokens of which the model sees only that one stands there.
        """
        sentences = self._sentences(batch.tokens, hidden)  # [T, D]
        there, start, end = _places(batch.counts)  # [B, S]
        x = sentences.new_zeros(*there.shape, sentences.shape[-1])  # [B, S, D]
        x[there] = sentences
        last = self.from_start.num_embeddings - 1
        x = x + self.from_start(start.clamp(max=last)) + self.from_end(end.clamp(0, last))
        x = x + self.document(x, pattern=padding(batch.counts, there.shape[1]))
        return self.query(self.dropout(x))[..., 0].masked_fill(~there, -torch.inf)  # type: ignore[no-any-return]

    def _sentences(self, tokens: Words | Pieces, hidden: Bool[Tensor, "T N"] | None) -> Float[Tensor, "T D"]:
        x = self.tokens(tokens)  # [T, N, D]
        if self.training and self.token_dropout:
            hidden = torch.rand(x.shape[:2], device=x.device) < self.token_dropout
        if hidden is not None:
            x = torch.where(hidden[..., None], self.hidden, x)
        real = padding(tokens.lengths, x.shape[1])
        x = x + self.encoder(placed(x, self.positions), pattern=self.pattern & real)
        return self.dropout(self.pooling(x, pattern=real))  # type: ignore[no-any-return]


class Extractors(nn.Module):
    """Several extractors that are trained side by side and asked together: the probability is the mean of theirs.

    Args:
        members: which differ in what was drawn for them.

    Source: Lakshminarayanan et al. 2017.
    """

    def __init__(self, members: Sequence[SentenceExtractor]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Sentences, hidden: Bool[Tensor, "T N"] | None = None) -> Float[Tensor, "K B S"]:
        """The logits of each member."""
        return torch.stack([member(batch, hidden) for member in self.members])

    def probabilities(self, batch: Sentences, hidden: Bool[Tensor, "T N"] | None = None) -> Float[Tensor, "B S"]:
        """The mean of the members' probabilities, each of which sums to 1 over the sentences of a document."""
        return self(batch, hidden).float().softmax(-1).mean(0)  # type: ignore[no-any-return]


def soft_choice(gains: Sequence[Sequence[float]], temperature: float) -> Float[Tensor, "B S"]:
    """Which sentence should be chosen, as a distribution: the softmax of what each would be worth over the temperature.

    Args:
        gains: of the sentences of each document, what is to be large, such as their likeness to a summary.
        temperature: near 0 only the best sentence counts; the larger, the more all of them do.

    Example:
        >>> soft_choice([[0.4, 0.1, 0.1], [0.3]], temperature=0.1)
        tensor([[0.9094, 0.0453, 0.0453],
                [1.0000, 0.0000, 0.0000]])
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be positive: got {temperature}.")
    return _padded(gains, -torch.inf).div(temperature).softmax(-1)


def even_choice(labels: Sequence[Sequence[bool]]) -> Float[Tensor, "B S"]:
    """Which sentence should be chosen, as a distribution over those that are labelled: all of them alike.

    Example:
        >>> even_choice([[True, False, True], [False]])
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """
    chosen = _padded(labels, 0.0)
    return chosen / chosen.sum(-1, keepdim=True).clamp_min(1)


def choice_loss(logits: Float[Tensor, "*K B S"], wanted: Float[Tensor, "B S"]) -> Float[Tensor, ""]:
    """Cross entropy of the choice with what it should be: the mean over the documents, the sum over the members.

    `-sum_s wanted_s log softmax(logits)_s`; a document of which no sentence is wanted teaches nothing.

    Args:
        logits: with -inf for padding.
        wanted: the probabilities of the sentences, with 0 for padding.
    """
    log = logits.float().log_softmax(-1).masked_fill(wanted == 0, 0.0)  # 0 x -inf counts as 0
    return -(wanted * log).sum(-1).mean(-1).sum()


def _places(counts: Int[Tensor, " B"]) -> tuple[Bool[Tensor, "B S"], Int[Tensor, "B S"], Int[Tensor, "B S"]]:
    """Which sentences there are, and how many stand before and behind each."""
    start = torch.arange(int(counts.max()), device=counts.device).expand(len(counts), -1)
    end = counts[:, None] - 1 - start
    return end >= 0, start, end


def _padded(rows: Sequence[Sequence[float]] | Sequence[Sequence[bool]], value: float) -> Float[Tensor, "B S"]:
    parts = [torch.tensor(row, dtype=torch.float32) for row in rows]
    return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)
