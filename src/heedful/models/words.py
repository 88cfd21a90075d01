"""Words become vectors: what is known of the word itself, and what the pieces say that it is spelt with.

    words [B, N] -> vectors [B, N, W] ; pieces of the U distinct words -> [U, P] -> [B, N, P] ; both -> [B, N, D]

Source: Bojanowski et al. 2017, equation 1 (a word is the sum of its pieces).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor


class Words(NamedTuple):
    """A batch of sentences, padded at their ends.

    Each distinct word is spelt once: what a model makes of its pieces is made once, however often the word occurs.

    Attributes:
        words: `[B, N]`, numbers of words; 0 padding, 1 a word that is not in the vocabulary.
        spelling: `[B, N]`, which of the distinct words.
        pieces: `[P]`, those of all distinct words, one word after the other.
        starts: `[U]`, where in `pieces` each distinct word begins.
        lengths: `[B]`, how many words each sentence has.
    """

    words: Int[Tensor, "B N"]
    spelling: Int[Tensor, "B N"]
    pieces: Int[Tensor, " P"]
    starts: Int[Tensor, " U"]
    lengths: Int[Tensor, " B"]


class WordEncoder(nn.Module):
    """Embeds words, known and unknown ones.

    Args:
        counts: how often each known word occurred; numbers 0 and 1 are padding and unknown words.
        buckets: how many numbers pieces have.
        word_width: features that a known word has of its own.
        piece_width: features that its pieces have.
        width: the features of a word, D.
        dropout: share of these that is set to 0 in training.
        piece_dropout: share of the pieces of each word that is left out in training.
        forget: in training a known word counts as unknown with probability `forget / (forget + count)`: rare ones often.

    Example:
        >>> from heedful.data.text.words import WordVocabulary
        >>> vocabulary = WordVocabulary.fit([["a", "rose", "is", "a", "rose"]], buckets=64)
        >>> encoder = WordEncoder(vocabulary.counts, 64, word_width=6, piece_width=4, width=8)
        >>> encoder(vocabulary.encode([["the", "rose"], ["roses"]])).shape
        torch.Size([2, 2, 8])
    """

    forgotten: Tensor

    def __init__(
        self,
        counts: Sequence[int],
        buckets: int,
        *,
        word_width: int,
        piece_width: int,
        width: int,
        dropout: float = 0.0,
        piece_dropout: float = 0.0,
        forget: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"buckets": buckets, "word_width": word_width, "piece_width": piece_width}.items():
            check_positive(name, value)
        check_fraction("dropout", dropout)
        check_fraction("piece_dropout", piece_dropout)
        self.width, self.piece_dropout = width, piece_dropout
        self.word = nn.Embedding(len(counts) + 2, word_width, padding_idx=0)
        self.piece = nn.EmbeddingBag(buckets, piece_width, mode="sum")
        self.projection = nn.Linear(word_width + piece_width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        nn.init.normal_(self.word.weight, std=0.1)
        nn.init.normal_(self.piece.weight, std=0.03)
        chances = [0.0, 0.0, *(forget / (forget + count) for count in counts)]
        self.register_buffer("forgotten", torch.tensor(chances), persistent=False)

    def forward(self, batch: Words) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        words = batch.words
        if self.training:
            words = words.masked_fill(torch.rand(words.shape, device=words.device) < self.forgotten[words], 1)
        counts = batch.starts.diff(append=batch.starts.new_tensor([len(batch.pieces)]))
        kept = None
        if self.training and self.piece_dropout:
            kept = F.dropout(self.piece.weight.new_ones(len(batch.pieces)), self.piece_dropout)
        spelt = self.piece(batch.pieces, batch.starts, per_sample_weights=kept) / counts[:, None].sqrt()  # [U, P]
        both = torch.cat([self.word(words), spelt[batch.spelling]], dim=-1)  # [B, N, W + P]
        return self.dropout(self.norm(self.projection(both)))  # type: ignore[no-any-return]
