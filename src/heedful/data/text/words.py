"""Words as numbers: each by its place in a vocabulary, and by the pieces that it is spelt with, so that no word is unknown."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import numpy as np
import torch

from heedful._types import Int, Tensor
from heedful.models.words import Words

__all__ = ["Corpus", "WordVocabulary", "split_words"]

_WORD = re.compile(r"\w+(?:['’.\-]\w+)*|[^\w\s]")
_UNKNOWN = 1  # 0 is padding
_READ = 30  # characters of a word; of a longer one its first and its last half
_LONGEST = 5  # characters of a piece


def split_words(text: str) -> tuple[str, ...]:
    """Words and signs of a text.

    Example:
        >>> split_words("It's Tom-and-Jerry.")
        ("It's", 'Tom-and-Jerry', '.')
    """
    return tuple(_WORD.findall(text))


@dataclass(frozen=True)
class WordVocabulary:
    """The words that a model knows by number, without regard to case, and how any word is spelt.

    A word is spelt with all pieces of 1 to 5 characters of it between its two ends: "no" with n, o, <n, no, o>, <no, no>, <no>.
    A piece's number is its checksum, so that several share one where there are more than numbers.

    Attributes:
        words: from the most frequent on.
        counts: how often each occurred.
        buckets: how many numbers pieces have.

    Example:
        >>> vocabulary = WordVocabulary.fit([["The", "cat", "the", "hat"]], buckets=1000)
        >>> vocabulary.words
        ('the', 'cat', 'hat')
        >>> batch = vocabulary.encode([["the", "bat"], ["The"]])
        >>> batch.words.tolist(), batch.lengths.tolist()
        ([[2, 1], [2, 0]], [2, 1])

    Source: Bojanowski et al. 2017, section 3.2 (pieces of words, hashed).
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    buckets: int
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {word: i for i, word in enumerate(self.words, start=_UNKNOWN + 1)})

    @classmethod
    def fit(cls, sentences: Iterable[Sequence[str]], *, buckets: int, at_least: int = 1) -> "WordVocabulary":
        """Takes the words that occur `at_least` so often."""
        words = Counter(word.lower() for word in chain.from_iterable(sentences))
        kept = sorted((-count, word) for word, count in words.items() if count >= at_least)
        return cls(tuple(word for _, word in kept), tuple(-count for count, _ in kept), buckets)

    def __len__(self) -> int:
        """How many numbers words have, those of padding and of unknown words among them."""
        return len(self.words) + _UNKNOWN + 1

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._numbers

    def number(self, word: str) -> int:
        """The number of a word."""
        return self._numbers.get(word.lower(), _UNKNOWN)

    def spell(self, word: str) -> list[int]:
        """The numbers of a word's pieces."""
        return _pieces(word if len(word) <= _READ else word[: _READ // 2] + word[-_READ // 2 :], self.buckets)

    def encode(self, sentences: Sequence[Sequence[str]]) -> Words:
        """All sentences as one batch."""
        return Corpus(self, sentences).batch(range(len(sentences)))


@lru_cache(maxsize=100_000)
def _pieces(word: str, buckets: int) -> list[int]:
    ended = f"\x02{word}\x03"
    last = len(ended)
    return [
        zlib.crc32(ended[start : start + size].encode("utf-8", "surrogatepass")) % buckets
        for size in range(1, _LONGEST + 1)
        for start in range(size == 1, last - size + (size > 1))
    ]


class Corpus:
    """Sentences as numbers, from which batches are taken.

    Args:
        vocabulary: of the words.
        sentences: lists of words, none of them empty.
    """

    def __init__(self, vocabulary: WordVocabulary, sentences: Sequence[Sequence[str]]) -> None:
        self.lengths = [len(sentence) for sentence in sentences]
        forms: dict[str, int] = {}
        rows = [forms.setdefault(form, len(forms)) for form in chain.from_iterable(sentences)]
        spelt = [vocabulary.spell(form) for form in forms]
        self._rows = torch.tensor(rows)
        self._ends = torch.tensor([0, *np.cumsum(self.lengths).tolist()])
        self._numbers = torch.tensor([vocabulary.number(form) for form in forms])
        self._pieces = torch.tensor(list(chain.from_iterable(spelt)))
        self._counts = torch.tensor([len(pieces) for pieces in spelt])
        self._starts = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int]) -> Words:
        """Some sentences, padded to the longest of them."""
        rows = self.padded(self._rows, indices, -1)
        distinct, spelling = rows.unique(return_inverse=True)
        real = rows >= 0
        if not real.all():
            distinct, spelling = distinct[1:], (spelling - 1).clamp_min(0)
        counts = self._counts[distinct]
        starts = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum())) + (self._starts[distinct] - starts).repeat_interleave(counts)
        return Words(
            words=self._numbers[rows].masked_fill(~real, 0),
            spelling=spelling,
            pieces=self._pieces[places],
            starts=starts,
            lengths=torch.tensor([self.lengths[i] for i in indices]),
        )

    def padded(self, values: Int[Tensor, " T"], indices: Sequence[int], padding: int) -> Int[Tensor, "B N"]:
        """Numbers of the words of all sentences, one after the other, as `[B, N]` for some of the sentences."""
        parts = [values[self._ends[i] : self._ends[i + 1]] for i in indices]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=padding)
