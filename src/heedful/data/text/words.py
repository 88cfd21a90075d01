"""Words as numbers: each by its place in a vocabulary, and by the pieces that it is spelt with, so that no word is unknown."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, groupby

import numpy as np
import torch

from heedful._types import Int, Tensor
from heedful.models.words import Words

__all__ = ["Corpus", "WordVocabulary", "split_words"]

_WORD = re.compile(r"\w+(?:['’.\-]\w+)*|[^\w\s]")
_UNKNOWN = 1  # 0 is padding
_NONE = 0  # of the pieces: nothing that is known
_READ = 30  # characters of a word; of a longer one its first and its last half
_LONGEST = 5  # characters of a piece
_BEGIN, _END, _SHAPE = "\x02", "\x03", "\x04"


def split_words(text: str) -> tuple[str, ...]:
    """Words and signs of a text.

    Example:
        >>> split_words("It's Tom-and-Jerry.")
        ("It's", 'Tom-and-Jerry', '.')
    """
    return tuple(_WORD.findall(text))


@dataclass(frozen=True)
class WordVocabulary:
    """The words that a model knows by number, with and without regard to case, and how any word is spelt.

    A word is spelt with its pieces of 1 to 5 characters between its two ends, in lower case ("no" with n, o, <n, no, o>, <no, no>,
    <no>), and with its shape ("iPhone-12" is xXx.0). Known are the pieces of at least two words.

    Attributes:
        words: in lower case, each with how often it occurred, from the most frequent on.
        forms: likewise, as they were written.
        pieces: those that are known.

    Example:
        >>> vocabulary = WordVocabulary.fit([["The", "cat", "the", "hat"]])
        >>> vocabulary.words, len(vocabulary.forms)
        ({'the': 2, 'cat': 1, 'hat': 1}, 4)
        >>> batch = vocabulary.encode([["the", "bat"], ["The"]])
        >>> batch.words.tolist(), batch.forms.tolist(), batch.lengths.tolist()
        ([[2, 1], [2, 0]], [[5, 1], [2, 0]], [2, 1])

    Source: Bojanowski et al. 2017, section 3.2 (pieces of words, hashed).
    """

    words: dict[str, int]
    forms: dict[str, int]
    pieces: tuple[str, ...]
    _words: dict[str, int] = field(init=False, repr=False, compare=False)
    _forms: dict[str, int] = field(init=False, repr=False, compare=False)
    _pieces: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("_words", self.words), ("_forms", self.forms)):
            object.__setattr__(self, name, {word: number for number, word in enumerate(known, start=_UNKNOWN + 1)})
        object.__setattr__(
            self, "_pieces", {piece: number for number, piece in enumerate(self.pieces, start=_NONE + 1)}
        )

    @classmethod
    def fit(cls, sentences: Iterable[Sequence[str]], *, at_least: int = 1, forms_at_least: int = 1) -> "WordVocabulary":
        """Takes the words, and the forms as they were written, that occur so often."""
        forms = Counter(chain.from_iterable(sentences))
        words: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        for form, count in forms.items():
            words[form.lower()] += count
            shapes[_shape(form)] += 1
        pieces = Counter(chain.from_iterable(set(_pieces(word)) for word in words)) + shapes
        known = tuple(sorted(piece for piece, count in pieces.items() if count >= 2))
        return cls(_frequent(words, at_least), _frequent(forms, forms_at_least), known)

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._words

    def numbers(self, word: str) -> tuple[int, int]:
        """The numbers of a word without and with regard to case."""
        return self._words.get(word.lower(), _UNKNOWN), self._forms.get(word, _UNKNOWN)

    def spell(self, word: str) -> list[int]:
        """The numbers of a word's pieces, as far as they are known; where none is, 0."""
        numbers = (self._pieces.get(piece) for piece in (*_pieces(word.lower()), _shape(word)))
        return [number for number in numbers if number is not None] or [_NONE]

    def encode(self, sentences: Sequence[Sequence[str]]) -> Words:
        """All sentences as one batch."""
        return Corpus(self, sentences).batch(range(len(sentences)))


def _frequent(counts: Counter[str], at_least: int) -> dict[str, int]:
    kept = sorted((-count, word) for word, count in counts.items() if count >= at_least)
    return {word: -count for count, word in kept}


@lru_cache(maxsize=100_000)
def _pieces(word: str) -> list[str]:
    shown = word if len(word) <= _READ else word[: _READ // 2] + word[-_READ // 2 :]
    ended = f"{_BEGIN}{shown}{_END}"
    last = len(ended)
    return [
        ended[start : start + size]
        for size in range(1, _LONGEST + 1)
        for start in range(size == 1, last - size + (size > 1))
    ]


def _shape(word: str) -> str:
    """Upper and lower case, digits and signs, each run of one kind as one sign."""
    kinds = (
        "X" if sign.isupper() else "x" if sign.isalpha() else "0" if sign.isdigit() else "." for sign in word[:_READ]
    )
    return _SHAPE + "".join(kind for kind, _ in groupby(kinds))


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
        self._words, self._forms = torch.tensor([vocabulary.numbers(form) for form in forms]).unbind(1)
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
            words=self._words[rows].masked_fill(~real, 0),
            forms=self._forms[rows].masked_fill(~real, 0),
            spelling=spelling,
            pieces=self._pieces[places],
            starts=starts,
            lengths=torch.tensor([self.lengths[i] for i in indices]),
        )

    def padded(self, values: Int[Tensor, " T"], indices: Sequence[int], padding: int) -> Int[Tensor, "B N"]:
        """Numbers of the words of all sentences, one after the other, as `[B, N]` for some of the sentences."""
        parts = [values[self._ends[i] : self._ends[i + 1]] for i in indices]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=padding)
