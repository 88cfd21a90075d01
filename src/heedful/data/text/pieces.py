"""The tokenizer of a pretrained model: texts as its tokens, and which word each of them belongs to."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from heedful._errors import DataError, caught_panics, needing
from heedful._types import Int, Tensor
from heedful.data.batch_types import PieceBatch
from heedful.data.text.sentences import Sentence
from heedful.data.text.tokenizers import IntArray

__all__ = ["EncodedPieces", "Pieces", "ShownPieces"]


class ShownPieces(NamedTuple):
    """The tokens of a text as a page shows them.

    Attributes:
        tokens: as the tokenizer has them.
        words: to which word each belongs, -1 for none.
        special: the positions of those that are not of the text.
    """

    tokens: list[str]
    words: list[int]
    special: list[int]


class Pieces:
    """A tokenizer by its tokenizer.json; it adds the special tokens that the model expects around a text.

    What reads as a special token in a text is text.

    Args:
        saved: the text of the file.
        max_tokens: the most tokens of a text, special ones included.

    Raises:
        ValueError: it is no such file.
    """

    def __init__(self, saved: str, max_tokens: int) -> None:
        with needing("text", "the tokenizer of a pretrained model"):
            from tokenizers import Tokenizer
        try:
            with caught_panics():
                self._whole, self._cut = Tokenizer.from_str(saved), Tokenizer.from_str(saved)
                for one in (self._whole, self._cut):
                    one.no_padding()
                    one.no_truncation()
                    one.encode_special_tokens = True
                self._cut.enable_truncation(max_tokens)
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"`saved` must be a tokenizer.json: got the error '{error}'") from None
        self.max_tokens = max_tokens

    @property
    def size(self) -> int:
        """One more than the largest number of a token."""
        return 1 + max(self._whole.get_vocab(with_added_tokens=True).values(), default=0)

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """The tokens of each text; of one that is too long the first ones, and the special ones behind it."""
        with caught_panics():
            encoded = self._cut.encode_batch(list(texts))
        return [np.array(one.ids or [0], np.int64) for one in encoded]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[IntArray, list[int]]]:
        """Of each sentence, whose words are joined by blanks, the tokens and which one each word begins with.

        A word without a token of its own has the one of the word before it.
        """
        found = []
        for one, words in zip(self._encode(sentences), sentences, strict=True):
            own: dict[int, int] = {}
            for token, word in enumerate(_words_of(one, words)):
                own.setdefault(word, token)
            first = [own[0]] if 0 in own else [0]
            for word in range(1, len(words)):
                first.append(own.get(word, first[-1]))
            found.append((np.array(one.ids or [0], np.int64), first))
        return found

    def show(self, text: str | Sequence[str]) -> ShownPieces:
        """The tokens of a text, or of words that are joined by blanks; the words of a text are those that the tokenizer finds."""
        if isinstance(text, str):
            with caught_panics():
                one = self._cut.encode(text)
            words = [-1 if word is None else word for word in one.word_ids]
        else:
            (one,) = self._encode([text])
            words = _words_of(one, text)
        special = [i for i, marked in enumerate(one.special_tokens_mask) if marked]
        return ShownPieces(list(one.tokens) or [""], words or [-1], special)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text as the tokenizer has them."""
        return self.show(text).tokens

    def _encode(self, sentences: Sequence[Sequence[str]]) -> list[Any]:
        with caught_panics():
            encoded: list[Any] = self._whole.encode_batch([" ".join(words) for words in sentences])
        return encoded


def _words_of(encoding: Any, words: Sequence[str]) -> list[int]:
    """The word of each token, by the characters that it comes from; -1 for none."""
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    found = []
    for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
        word = bisect_right(ends, start)
        inside = not special and word < len(words) and ends[word] - len(words[word]) < end
        found.append(word if inside else -1)
    return found


class EncodedPieces:
    """Sentences as tokens of a pretrained model, from which batches are taken.

    Args:
        pieces: the tokenizer.
        sentences: none of them without words.

    Raises:
        DataError: a sentence has more tokens than the model takes.
    """

    def __init__(self, pieces: Pieces, sentences: Sequence[Sentence]) -> None:
        pairs = pieces.encode_words([sentence.words for sentence in sentences])
        self.lengths = [len(sentence.words) for sentence in sentences]
        self._tokens = [torch.from_numpy(tokens) for tokens, _ in pairs]
        self._first = torch.tensor(list(chain.from_iterable(first for _, first in pairs)))
        self._ends = torch.tensor([0, *accumulate(self.lengths)])
        for sentence, tokens in zip(sentences, self._tokens, strict=True):
            if len(tokens) > pieces.max_tokens:
                location = f"{sentence.location}: " if sentence.location else ""
                raise DataError(
                    f"{location}a sentence must have at most {pieces.max_tokens:,} tokens of the pretrained model: got {len(tokens):,}"
                )

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int]) -> PieceBatch:
        """The sentences with these numbers, padded to the longest of them."""
        tokens = [self._tokens[i] for i in indices]
        return PieceBatch(
            tokens=pad_sequence(tokens, batch_first=True),
            token_lengths=torch.tensor([len(own) for own in tokens]),
            first=self.padded(self._first, indices, 0),
            lengths=torch.tensor([self.lengths[i] for i in indices]),
        )

    def padded(self, values: Int[Tensor, " T"], indices: Sequence[int], padding: int) -> Int[Tensor, "B W"]:
        """Numbers of the words of all sentences, one after the other, as `[B, W]` for some of the sentences."""
        parts = [values[self._ends[i] : self._ends[i + 1]] for i in indices]
        return pad_sequence(parts, batch_first=True, padding_value=padding)
