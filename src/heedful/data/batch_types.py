"""Batches of text as models take them: tokens, words, or the sentences of documents, padded at their ends."""

from typing import NamedTuple

from heedful._types import Int, Tensor

__all__ = ["PieceBatch", "SentenceBatch", "TokenBatch", "WordBatch"]


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
