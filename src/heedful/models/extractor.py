"""The sentence extractor: which sentences of a document belong into its summary.

    words of all T sentences [T, N, D] -> encoder -> + vectors -> attention pooling [T, D] -> document by document [B, S, D]
    -> + positions from the start and from the end -> encoder -> + vectors -> inner product with a learned query: logits [B, S]

The words of a sentence attend to each other, then the sentences of a document do. The softmax of the logits is the attention of the
learned query to the sentences.

Source: Liu and Lapata 2019, section 3 (an encoder across sentence vectors, for extraction); Lin et al. 2017 (attention pooling).
"""

from collections.abc import Sequence

import torch
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Bool, Float, Tensor
from heedful.data.batch_types import IndexedSentences, PaddedWords, SentenceBatch, TokenBatch, WordBatch, sentence_rows
from heedful.models.encoders import add_positions, padding
from heedful.models.text_classifier import TokenEmbedding
from heedful.models.words import FastTextEmbedding
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.dropout import Dropout
from heedful.ops import Pattern
from heedful.ops.mechanism import GLOBAL


class SentenceExtractor(nn.Module):
    """Scores each sentence of a document.

    The words of a sentence attend to each other alone, so that the cost is linear in the number of sentences. A sentence knows how
    far it is from the start and from the end of its document.

    Args:
        tokens: embeds words, subwords or characters.
        positions: is added to them; None where the encoder itself knows the distances, or nobody.
        encoder: lets the tokens of a sentence attend to each other.
        pattern: who may see whom within a sentence.
        pooling_heads: each weighs its own part of the features of a sentence.
        document: lets the sentences of a document attend to each other.
        max_positions: how many positions from either end of a document have a vector of their own; those beyond share the last.
        token_dropout: the probability that a token is masked, in training.
        dropout: share of a sentence's vector that is set to 0 in training.
    """

    def __init__(
        self,
        *,
        tokens: FastTextEmbedding | TokenEmbedding,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        encoder: TransformerEncoder,
        pattern: Pattern = GLOBAL,
        pooling_heads: int = 1,
        document: TransformerEncoder,
        max_positions: int = 16,
        token_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("max_positions", max_positions)
        check_fraction("token_dropout", token_dropout)
        self.tokens, self.positions, self.encoder, self.pattern = tokens, positions, encoder, pattern
        self.mask_vector = nn.Parameter(torch.zeros(tokens.width))
        self.pooling = AttentionPooling(tokens.width, pooling_heads)
        self.from_start, self.from_end = (nn.Embedding(max_positions, tokens.width) for _ in range(2))
        self.document = document
        self.dropout, self.token_dropout = Dropout(dropout), token_dropout
        self.query = nn.Linear(tokens.width, 1, bias=False)
        for layer in (self.from_start, self.from_end, self.query):
            nn.init.normal_(layer.weight, std=0.02)

    def forward(
        self, batch: SentenceBatch | IndexedSentences, masked: Bool[Tensor, "T N"] | None = None
    ) -> Float[Tensor, "B S"]:
        """The logits; those of padding are -inf.

        Args:
            batch: documents, each of at least one sentence.
            masked: tokens that are replaced by the mask vector.
        """
        sentences = self._sentences(batch.tokens, masked)  # [T, D]
        rows = batch.rows if isinstance(batch, IndexedSentences) else sentence_rows(batch.counts)  # [B, S]
        there = rows >= 0
        counts = there.sum(1)
        start = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape[0], -1)  # how many stand before each
        end = counts[:, None] - 1 - start  # and behind it
        x = sentences[rows.clamp_min(0)].masked_fill(~there[..., None], 0)  # [B, S, D]
        last = self.from_start.num_embeddings - 1
        x = x + self.from_start(start.clamp(max=last)) + self.from_end(end.clamp(0, last))
        x = x + self.document(x, pattern=padding(counts, there.shape[1]))
        return self.query(self.dropout(x))[..., 0].masked_fill(~there, -torch.inf)  # type: ignore[no-any-return]

    def _sentences(
        self, tokens: WordBatch | PaddedWords | TokenBatch, masked: Bool[Tensor, "T N"] | None
    ) -> Float[Tensor, "T D"]:
        x = self.tokens(tokens)  # [T, N, D]
        if self.training and self.token_dropout:
            masked = torch.rand(x.shape[:2], device=x.device) < self.token_dropout
        if masked is not None:
            x = torch.where(masked[..., None], self.mask_vector, x)
        real = padding(tokens.lengths, x.shape[1])
        x = x + self.encoder(add_positions(x, self.positions), pattern=self.pattern & real)
        return self.dropout(self.pooling(x, pattern=real))  # type: ignore[no-any-return]


def soft_targets(gains: Sequence[Sequence[float]], temperature: float) -> Float[Tensor, "B S"]:
    """Target probabilities of the sentences from their gains: `softmax(gains / temperature)`.

    Args:
        gains: of the sentences of each document, such as their ROUGE with the summary.
        temperature: near 0 the best sentence has all the probability; the larger, the more even they are.

    Example:
        >>> soft_targets([[0.4, 0.1, 0.1], [0.3]], temperature=0.1)
        tensor([[0.9094, 0.0453, 0.0453],
                [1.0000, 0.0000, 0.0000]])
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be positive: got {temperature}.")
    return _padded(gains, -torch.inf).div(temperature).softmax(-1)


def label_targets(labels: Sequence[Sequence[bool]]) -> Float[Tensor, "B S"]:
    """Target probabilities of the sentences from labels: even over those that are labeled.

    Example:
        >>> label_targets([[True, False, True], [False]])
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.0000]])
    """
    chosen = _padded(labels, 0.0)
    return chosen / chosen.sum(-1, keepdim=True).clamp_min(1)


def soft_cross_entropy(logits: Float[Tensor, "*K B S"], targets: Float[Tensor, "B S"]) -> Float[Tensor, ""]:
    """Cross entropy of the logits with target probabilities: the mean over the documents, the sum over the members.

    `-sum_s targets_s log softmax(logits)_s`; a document without a target adds nothing.

    Args:
        logits: with -inf for padding.
        targets: the probabilities of the sentences, with 0 for padding.
    """
    log = logits.float().log_softmax(-1).masked_fill(targets == 0, 0.0)  # 0 x -inf counts as 0
    return -(targets * log).sum(-1).mean(-1).sum()


def _padded(rows: Sequence[Sequence[float]] | Sequence[Sequence[bool]], value: float) -> Float[Tensor, "B S"]:
    parts = [torch.tensor(row, dtype=torch.float32) for row in rows]
    return nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)
