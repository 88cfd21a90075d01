"""Words become vectors: one of the word itself where it is known, and one of its character n-grams.

    words [B, N] -> vectors [B, N, W] ; n-grams of the U distinct words -> [U, P] -> [B, N, P] ; both -> [B, N, D]

Source: Bojanowski et al. 2017, equation 1 (a word is the sum of its n-grams).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction, check_positive
from heedful._types import Float, Int, Tensor
from heedful.data.batch_types import PaddedWords, WordBatch
from heedful.nn.dropout import Dropout, dropout


class WordEmbedding(nn.Module):
    """Embeds words, known and unknown ones.

    Args:
        words: how often each known word occurred, without regard to case; numbers 0 and 1 are padding and unknown words.
        forms: likewise of words as they are written.
        char_ngrams: how many character n-grams are known; number 0 is an unknown one.
        word_width: features that a known word has of its own.
        form_width: features that the way it is written adds; may be 0.
        ngram_width: features that a word has from its character n-grams.
        width: the features of a word, D.
        dropout: share of these that is set to 0 in training.
        ngram_dropout: share of the n-grams of each word that is left out in training.
        word_dropout: the probability that a known word counts as unknown in training.
        rare_word_dropout: c: besides, a word that occurred n times counts as unknown with probability c / (c + n).

    Example:
        >>> from heedful.data.text.words import WordVocabulary
        >>> vocabulary = WordVocabulary.fit([["a", "rose", "is", "a", "Rose"]])
        >>> encoder = WordEmbedding(
        ...     list(vocabulary.words.values()), list(vocabulary.forms.values()), len(vocabulary.char_ngrams),
        ...     word_width=6, form_width=5, ngram_width=4, width=8,
        ... )
        >>> encoder(vocabulary.encode([["the", "rose"], ["roses"]])).shape
        torch.Size([2, 2, 8])
    """

    def __init__(
        self,
        words: Sequence[int],
        forms: Sequence[int],
        char_ngrams: int,
        *,
        word_width: int,
        form_width: int = 0,
        ngram_width: int,
        width: int,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
        word_dropout: float = 0.0,
        rare_word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"word_width": word_width, "ngram_width": ngram_width}.items():
            check_positive(name, value)
        for name, share in {"dropout": dropout, "ngram_dropout": ngram_dropout, "word_dropout": word_dropout}.items():
            check_fraction(name, share)
        self.width, self.ngram_dropout = width, ngram_dropout
        self.word = _Known(words, word_width, word_dropout, rare_word_dropout)
        self.form = _Known(forms, form_width, word_dropout, rare_word_dropout) if form_width else None
        self.ngram = nn.EmbeddingBag(char_ngrams + 1, ngram_width, mode="sum")
        self.projection = nn.Linear(word_width + form_width + ngram_width, width)
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        nn.init.normal_(self.ngram.weight, std=0.03)

    def forward(self, batch: WordBatch | PaddedWords) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        parts = [self.word(batch.words), self._ngrams(batch)]
        if self.form is not None:
            parts.append(self.form(batch.forms))
        return self.dropout(self.norm(self.projection(torch.cat(parts, dim=-1))))  # type: ignore[no-any-return]

    def _ngrams(self, batch: WordBatch | PaddedWords) -> Float[Tensor, "B N P"]:
        if isinstance(batch, PaddedWords):
            total, counts = padded_sums(self.ngram, batch)
            return total / counts.sqrt()
        sizes = batch.offsets.diff(append=batch.offsets.new_tensor([len(batch.char_ngrams)]))
        weights = None
        if self.training and self.ngram_dropout:
            weights = dropout(self.ngram.weight.new_ones(len(batch.char_ngrams)), self.ngram_dropout)
        ngrams = self.ngram(batch.char_ngrams, batch.offsets, per_sample_weights=weights) / sizes[:, None].sqrt()
        return ngrams[batch.inverse]  # type: ignore[no-any-return]


class FastTextEmbedding(nn.Module):
    """Embeds words by addition alone: the vector of a known word, and the mean of those of its character n-grams.

    Nothing stands between these vectors and what they are used for, so that what a word says grows with how much was learned
    of it: the better choice where a text is more than the sum of few examples.

    Args:
        words: how many known words there are; numbers 0 and 1 are padding and unknown words.
        char_ngrams: how many character n-grams are known; number 0 is an unknown one.
        width: the features of a word, D.
        dropout: share of these that is set to 0 in training.

    Source: Bojanowski et al. 2017, section 3.2.
    """

    def __init__(self, words: int, char_ngrams: int, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive("width", width)
        check_fraction("dropout", dropout)
        self.width = width
        self.word = nn.Embedding(words + 2, width, padding_idx=0)
        self.ngram = nn.EmbeddingBag(char_ngrams + 1, width, mode="mean")
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.word.weight, std=0.1)
        nn.init.normal_(self.ngram.weight, std=0.3)

    def forward(self, batch: WordBatch | PaddedWords) -> Float[Tensor, "B N D"]:
        """The vectors of a batch; those of padding mean nothing."""
        if isinstance(batch, PaddedWords):
            total, counts = padded_sums(self.ngram, batch)
            ngrams = total / counts
        else:
            ngrams = self.ngram(batch.char_ngrams, batch.offsets)[batch.inverse]  # of [U, D]
        return self.dropout(self.word(batch.words) + ngrams)  # type: ignore[no-any-return]


def padded_sums(bag: nn.EmbeddingBag, batch: PaddedWords) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B N 1"]]:
    """The sum of the vectors of each word's n-grams, by gathering alone, and how many these are; 1 of padding."""
    there = (batch.char_ngrams >= 0).to(bag.weight.dtype)[..., None]  # [B, N, n-grams, 1]
    total = (F.embedding(batch.char_ngrams.clamp_min(0), bag.weight) * there).sum(-2)
    return total, there.sum(-2).clamp_min(1)


class _Known(nn.Module):
    """A vector for each known word, some of which count as unknown in training."""

    unknown_probability: Tensor

    def __init__(self, counts: Sequence[int], width: int, dropout: float, rare_word_dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(counts) + 2, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        known = [(1 - dropout) * count / (rare_word_dropout + count) for count in counts]
        self.register_buffer("unknown_probability", 1 - torch.tensor([1.0, 1.0, *known]), persistent=False)

    def forward(self, numbers: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        if self.training:
            uniform = torch.rand(numbers.shape, device=numbers.device)
            numbers = numbers.masked_fill(uniform < self.unknown_probability[numbers], 1)
        return self.embedding(numbers)  # type: ignore[no-any-return]
