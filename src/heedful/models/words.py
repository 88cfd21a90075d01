"""Words become vectors: what is known of the word itself, and what the pieces say that it is spelt with.

    words [B, N] -> vectors [B, N, W] ; pieces of the U distinct words -> [U, P] -> [B, N, P] ; both -> [B, N, D]

Source: Bojanowski et al. 2017, equation 1 (a word is the sum of its pieces).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor
from heedful.nn.dropout import Dropout, dropout


class Words(NamedTuple):
    """A batch of sentences, padded at their ends.

    Each distinct word is spelt once: what a model makes of its pieces is made once, however often the word occurs.

    Attributes:
        words: `[B, N]`, numbers of words without regard to case; 0 padding, 1 a word that is not in the vocabulary.
        forms: `[B, N]`, likewise of words as they are written.
        spelling: `[B, N]`, which of the distinct words.
        pieces: `[P]`, those of all distinct words, one word after the other.
        starts: `[U]`, where in `pieces` each distinct word begins.
        lengths: `[B]`, how many words each sentence has.
    """

    words: Int[Tensor, "B N"]
    forms: Int[Tensor, "B N"]
    spelling: Int[Tensor, "B N"]
    pieces: Int[Tensor, " P"]
    starts: Int[Tensor, " U"]
    lengths: Int[Tensor, " B"]


class WordEncoder(nn.Module):
    """Embeds words, known and unknown ones.

    Args:
        words: how often each known word occurred, without regard to case; numbers 0 and 1 are padding and unknown words.
        forms: likewise of words as they are written.
        pieces: how many are known; 0 is none of them.
        word_width: features that a known word has of its own.
        form_width: features that the way it is written adds; may be 0.
        piece_width: features that its pieces have.
        width: the features of a word, D.
        dropout: share of these that is set to 0 in training.
        piece_dropout: share of the pieces of each word that is left out in training.
        word_dropout: the probability that a known word counts as unknown in training.
        forget: the same, for a word that occurred n times: besides, with probability `forget / (forget + n)`.

    Example:
        >>> from heedful.data.text.words import WordVocabulary
        >>> vocabulary = WordVocabulary.fit([["a", "rose", "is", "a", "Rose"]])
        >>> encoder = WordEncoder(
        ...     list(vocabulary.words.values()), list(vocabulary.forms.values()), len(vocabulary.pieces),
        ...     word_width=6, form_width=5, piece_width=4, width=8,
        ... )
        >>> encoder(vocabulary.encode([["the", "rose"], ["roses"]])).shape
        torch.Size([2, 2, 8])
    """

    def __init__(
        self,
        words: Sequence[int],
        forms: Sequence[int],
        pieces: int,
        *,
        word_width: int,
        form_width: int = 0,
        piece_width: int,
        width: int,
        dropout: float = 0.0,
        piece_dropout: float = 0.0,
        word_dropout: float = 0.0,
        forget: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"pieces": pieces, "word_width": word_width, "piece_width": piece_width}.items():
            check_positive(name, value)
        for name, share in {"dropout": dropout, "piece_dropout": piece_dropout, "word_dropout": word_dropout}.items():
            check_fraction(name, share)
        self.width, self.piece_dropout = width, piece_dropout
        self.word = _Known(words, word_width, word_dropout, forget)
        self.form = _Known(forms, form_width, word_dropout, forget) if form_width else None
        self.piece = nn.EmbeddingBag(pieces + 1, piece_width, mode="sum")
        self.projection = nn.Linear(word_width + form_width + piece_width, width)
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        nn.init.normal_(self.piece.weight, std=0.03)

    def forward(self, batch: Words) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        counts = batch.starts.diff(append=batch.starts.new_tensor([len(batch.pieces)]))
        kept = None
        if self.training and self.piece_dropout:
            kept = dropout(self.piece.weight.new_ones(len(batch.pieces)), self.piece_dropout)
        spelt = self.piece(batch.pieces, batch.starts, per_sample_weights=kept) / counts[:, None].sqrt()  # [U, P]
        parts = [self.word(batch.words), spelt[batch.spelling]]
        if self.form is not None:
            parts.append(self.form(batch.forms))
        return self.dropout(self.norm(self.projection(torch.cat(parts, dim=-1))))  # type: ignore[no-any-return]


class WordSum(nn.Module):
    """Embeds words by addition alone: the vector of a known word, and the mean of those of its pieces.

    Nothing stands between these vectors and what they are used for, so that what a word says grows with how much was learned
    of it: the better choice where a text is more than the sum of few examples.

    Args:
        words: how many known words there are; numbers 0 and 1 are padding and unknown words.
        pieces: how many are known; 0 is none of them.
        width: the features of a word, D.
        dropout: share of these that is set to 0 in training.

    Source: Bojanowski et al. 2017, section 3.2.
    """

    def __init__(self, words: int, pieces: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive("width", width)
        check_fraction("dropout", dropout)
        self.width = width
        self.word = nn.Embedding(words + 2, width, padding_idx=0)
        self.piece = nn.EmbeddingBag(pieces + 1, width, mode="mean")
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.word.weight, std=0.1)
        nn.init.normal_(self.piece.weight, std=0.3)

    def forward(self, batch: Words) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        spelt = self.piece(batch.pieces, batch.starts)  # [U, D]
        return self.dropout(self.word(batch.words) + spelt[batch.spelling])  # type: ignore[no-any-return]


class _Known(nn.Module):
    """A vector for each known word, some of which are forgotten in training."""

    forgotten: Tensor

    def __init__(self, counts: Sequence[int], width: int, dropout: float, forget: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(counts) + 2, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        kept = [(1 - dropout) * count / (forget + count) for count in counts]
        self.register_buffer("forgotten", 1 - torch.tensor([1.0, 1.0, *kept]), persistent=False)

    def forward(self, numbers: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        if self.training:
            drawn = torch.rand(numbers.shape, device=numbers.device)
            numbers = numbers.masked_fill(drawn < self.forgotten[numbers], 1)
        return self.embedding(numbers)  # type: ignore[no-any-return]
