"""Batches of text as models take them: tokens, words, or the sentences of documents, padded at their ends."""

from typing import NamedTuple

import torch

from heedful._types import Int, Tensor

__all__ = ["IndexedSentences", "PaddedWords", "PieceBatch", "SentenceBatch", "TokenBatch", "WordBatch", "sentence_rows"]


class TokenBatch(NamedTuple):
    """A batch of texts as subwords or characters, padded at their ends.

    Attributes:
        tokens: `[B, N]`, numbers of tokens.
        lengths: `[B]`, how many tokens each text has.
    """

    tokens: Int[Tensor, "B N"]
    lengths: Int[Tensor, " B"]


class WordBatch(NamedTuple):
    """A batch of sentences as words, padded at their ends.

    The character n-grams of each distinct word are listed once, however often the word occurs.

    Attributes:
        words: `[B, N]`, numbers of words without regard to case; 0 padding, 1 a word that is not in the vocabulary.
        forms: `[B, N]`, likewise of words as they are written.
        inverse: `[B, N]`, which of the distinct words, as `torch.unique` returns it.
        char_ngrams: `[P]`, those of all distinct words, one word after the other.
        offsets: `[U]`, where in `char_ngrams` each distinct word begins, as `torch.nn.EmbeddingBag` takes it.
        lengths: `[B]`, how many words each sentence has.
    """

    words: Int[Tensor, "B N"]
    forms: Int[Tensor, "B N"]
    inverse: Int[Tensor, "B N"]
    char_ngrams: Int[Tensor, " P"]
    offsets: Int[Tensor, " U"]
    lengths: Int[Tensor, " B"]


class PaddedWords(NamedTuple):
    """The same with the character n-grams of each word beside it: more numbers, but all are rows, as exported models take them.

    Attributes:
        words: as of `WordBatch`.
        forms: likewise.
        char_ngrams: `[B, N, P]`, those of each word; -1 is padding.
        lengths: as of `WordBatch`.
    """

    words: Int[Tensor, "B N"]
    forms: Int[Tensor, "B N"]
    char_ngrams: Int[Tensor, "B N P"]
    lengths: Int[Tensor, " B"]

    @classmethod
    def of(cls, batch: WordBatch) -> "PaddedWords":
        """The words of a batch.

        Example:
            >>> offsets, inverse = torch.tensor([0, 2]), torch.tensor([[1, 0], [0, 0]])
            >>> words, lengths = torch.tensor([[3, 2], [2, 0]]), torch.tensor([2, 1])
            >>> PaddedWords.of(WordBatch(words, words, inverse, torch.tensor([5, 6, 7]), offsets, lengths)).char_ngrams.tolist()
            [[[7, -1], [5, 6]], [[5, 6], [-1, -1]]]
        """
        counts = batch.offsets.diff(append=batch.offsets.new_tensor([len(batch.char_ngrams)]))
        there = torch.arange(int(counts.max())) < counts[:, None]
        rows = torch.full(there.shape, -1)
        rows[there] = batch.char_ngrams
        ngrams = rows[batch.inverse].masked_fill((batch.words == 0)[..., None], -1)
        return cls(batch.words, batch.forms, ngrams, batch.lengths)


class PieceBatch(NamedTuple):
    """A batch of sentences as tokens of a pretrained model, padded at their ends.

    Attributes:
        tokens: `[B, N]`, numbers of tokens.
        token_lengths: `[B]`, how many tokens each sentence has.
        first: `[B, W]`, the first token of each word.
        lengths: `[B]`, how many words each sentence has.
    """

    tokens: Int[Tensor, "B N"]
    token_lengths: Int[Tensor, " B"]
    first: Int[Tensor, "B W"]
    lengths: Int[Tensor, " B"]


class SentenceBatch(NamedTuple):
    """A batch of documents.

    Attributes:
        tokens: of T sentences, those of one document after those of the other.
        counts: `[B]`, how many sentences each document has; T is their sum.
    """

    tokens: WordBatch | TokenBatch
    counts: Int[Tensor, " B"]


class IndexedSentences(NamedTuple):
    """The same as exported models take it.

    Attributes:
        tokens: as of `SentenceBatch`.
        rows: `[B, S]`, which of the T sentences are those of each document; -1 is padding.
    """

    tokens: PaddedWords | WordBatch | TokenBatch
    rows: Int[Tensor, "B S"]


def sentence_rows(counts: Int[Tensor, " B"]) -> Int[Tensor, "B S"]:
    """Which sentences are those of each document, of so many sentences each; -1 is padding.

    Example:
        >>> sentence_rows(torch.tensor([2, 1])).tolist()
        [[0, 1], [2, -1]]
    """
    position = torch.arange(int(counts.max()), device=counts.device)
    rows = (counts.cumsum(0) - counts)[:, None] + position
    return rows.masked_fill(position >= counts[:, None], -1)
