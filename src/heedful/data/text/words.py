"""Words as numbers: each by its index in a vocabulary, and by its character n-grams, so that no word is quite unknown."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, groupby, pairwise

import numpy as np
import regex
import torch

from heedful._types import Int, Tensor
from heedful.data.batch_types import WordBatch

__all__ = ["EncodedWords", "WordVocabulary", "folded_words", "split_words"]

# Letters of scripts without blanks between words, each with its marks; runs of all other letters, marks, joiners and digits; signs.
_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Line_Break=SA}]--\p{M}]"
_CHARACTER = rf"{_UNSPACED}[\p{{M}}\p{{Join_Control}}ー]*"
_RUN = rf"[[\w\p{{N}}]--{_UNSPACED}]+"
_SIGN = r"(?=[^\w\p{N}\s])\X"
_WORD = regex.compile(rf"{_CHARACTER}|{_RUN}(?:['’.\-]{_RUN})*|{_SIGN}", regex.V1)
_PLAIN = regex.compile(rf"{_CHARACTER}|[{_RUN[:-1]}--_]+|{_SIGN}|_", regex.V1)
_UNKNOWN = 1  # 0 is padding
_UNKNOWN_NGRAM = 0
_MAX_WORD = 30  # characters of a word that are read; of a longer one the first and the last half of so many
_MAX_NGRAM = 5  # characters
_BEGIN, _END, _SHAPE = "\x02", "\x03", "\x04"


def split_words(text: str) -> tuple[str, ...]:
    """Words and signs of a text; in scripts without blanks between words, its characters.

    Marks and joiners belong to the letter before them, as Unicode has it.

    Example:
        >>> split_words("It's Tom-and-Jerry."), split_words("हिन्दी में"), split_words("好的ok")
        (("It's", 'Tom-and-Jerry', '.'), ('हिन्दी', 'में'), ('好', '的', 'ok'))

    Source: Unicode Standard Annex 29, sections 3 and 4.
    """
    return tuple(_WORD.findall(text))


def folded_words(text: str) -> list[str]:
    """Runs of letters and digits, and signs, in lower case and composed (NFC): what bags of words and ROUGE compare.

    Example:
        >>> folded_words("It's CAFE\u0301") == ["it", "'", "s", "caf\u00e9"]
        True
    """
    found: list[str] = _PLAIN.findall(_composed(text).lower())
    return found


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class WordVocabulary:
    """The words that a model knows by number, with and without regard to case, and the character n-grams of any word.

    The n-grams of a word have 1 to 5 characters, in lower case and between its two ends ("no" has n, o, <n, no, o>, <no, no>, <no>);
    its shape is one more ("iPhone-12" is xXx.0). An n-gram is known if at least two words have it.

    Attributes:
        words: in lower case, each with how often it occurred, from the most frequent on.
        forms: likewise, as they were written.
        char_ngrams: those that are known.

    Example:
        >>> vocabulary = WordVocabulary.fit([["The", "cat", "the", "hat"]])
        >>> vocabulary.words, len(vocabulary.forms)
        ({'the': 2, 'cat': 1, 'hat': 1}, 4)
        >>> batch = vocabulary.encode([["the", "bat"], ["The"]])
        >>> batch.words.tolist(), batch.forms.tolist(), batch.lengths.tolist()
        ([[2, 1], [2, 0]], [[5, 1], [2, 0]], [2, 1])

    Source: Bojanowski et al. 2017, section 3.2 (n-grams of words, hashed).
    """

    words: dict[str, int]
    forms: dict[str, int]
    char_ngrams: tuple[str, ...]
    _words: dict[str, int] = field(init=False, repr=False, compare=False)
    _forms: dict[str, int] = field(init=False, repr=False, compare=False)
    _ngrams: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, known in (("_words", self.words), ("_forms", self.forms)):
            object.__setattr__(self, name, {word: number for number, word in enumerate(known, start=_UNKNOWN + 1)})
        object.__setattr__(
            self, "_ngrams", {ngram: number for number, ngram in enumerate(self.char_ngrams, start=_UNKNOWN_NGRAM + 1)}
        )

    @classmethod
    def fit(
        cls, sentences: Iterable[Sequence[str]], *, min_count: int = 1, min_form_count: int = 1
    ) -> "WordVocabulary":
        """Takes the words that occur at least `min_count` times, and the forms as they were written likewise."""
        forms = Counter(map(_composed, chain.from_iterable(sentences)))
        words: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        for form, count in forms.items():
            words[form.lower()] += count
            shapes[_shape(form)] += 1
        ngrams = Counter(chain.from_iterable(set(_ngrams(word)) for word in words)) + shapes
        known = tuple(sorted(ngram for ngram, count in ngrams.items() if count >= 2))
        return cls(_frequent(words, min_count), _frequent(forms, min_form_count), known)

    def joined(self, other: "WordVocabulary") -> "WordVocabulary":
        """The words and n-grams of both; how often words occurred is the sum.

        Example:
            >>> WordVocabulary({"the": 2}, {}, ("a",)).joined(WordVocabulary({"cat": 3, "the": 2}, {}, ("b", "a"))).words
            {'the': 4, 'cat': 3}
        """
        words, forms = (
            _frequent(Counter(mine) + Counter(theirs), 1)
            for mine, theirs in ((self.words, other.words), (self.forms, other.forms))
        )
        return WordVocabulary(words, forms, tuple(sorted({*self.char_ngrams, *other.char_ngrams})))

    def __contains__(self, word: str) -> bool:
        return _composed(word).lower() in self._words

    def numbers(self, word: str) -> tuple[int, int]:
        """The numbers of a word without and with regard to case."""
        word = _composed(word)
        return self._words.get(word.lower(), _UNKNOWN), self._forms.get(word, _UNKNOWN)

    def ngrams_of(self, word: str) -> list[int]:
        """The numbers of a word's character n-grams, as far as they are known; where none is, 0."""
        word = _composed(word)
        numbers = (self._ngrams.get(ngram) for ngram in (*_ngrams(word.lower()), _shape(word)))
        return [number for number in numbers if number is not None] or [_UNKNOWN_NGRAM]

    def pairs(self, sentences: Iterable[Sequence[str]], min_count: int = 1) -> dict[str, int]:
        """Known words that stand side by side, with a blank between them, and how often they do."""
        found: Counter[str] = Counter()
        for sentence in sentences:
            words = [_composed(word).lower() for word in sentence]
            found.update(
                f"{left} {right}" for left, right in pairwise(words) if left in self._words and right in self._words
            )
        return _frequent(found, min_count)

    def pair(self, words: str) -> tuple[int, int]:
        """The numbers of two words with a blank between them. Raises KeyError for one that is not known."""
        left, right = words.split(" ")
        return self._words[left], self._words[right]

    def encode(self, sentences: Sequence[Sequence[str]]) -> WordBatch:
        """All sentences as one batch."""
        return EncodedWords(self, sentences).batch(range(len(sentences)))


def _frequent(counts: Counter[str], min_count: int) -> dict[str, int]:
    frequent = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    return {word: -count for count, word in frequent}


@lru_cache(maxsize=100_000)
def _ngrams(word: str) -> list[str]:
    shown = word if len(word) <= _MAX_WORD else word[: _MAX_WORD // 2] + word[-_MAX_WORD // 2 :]
    ended = f"{_BEGIN}{shown}{_END}"
    last = len(ended)
    return [
        ended[start : start + size]
        for size in range(1, _MAX_NGRAM + 1)
        for start in range(size == 1, last - size + (size > 1))
    ]


def _shape(word: str) -> str:
    """Upper and lower case, digits and signs, each run of one kind as one sign; marks belong to their letter."""
    kinds = (
        "X" if sign.isupper() else "x" if sign.isalpha() else "0" if sign.isdigit() else "."
        for sign in word[:_MAX_WORD]
        if sign.isascii() or unicodedata.category(sign)[0] != "M"
    )
    return _SHAPE + "".join(kind for kind, _ in groupby(kinds))


class EncodedWords:
    """Sentences as numbers, from which batches are taken.

    Args:
        vocabulary: of the words.
        sentences: lists of words, none of them empty.
    """

    def __init__(self, vocabulary: WordVocabulary, sentences: Sequence[Sequence[str]]) -> None:
        self.lengths = [len(sentence) for sentence in sentences]
        forms: dict[str, int] = {}
        rows = [forms.setdefault(form, len(forms)) for form in chain.from_iterable(sentences)]
        ngrams = [vocabulary.ngrams_of(form) for form in forms]
        self._rows = torch.tensor(rows)
        self._ends = torch.tensor([0, *np.cumsum(self.lengths).tolist()])
        numbers = torch.tensor([vocabulary.numbers(form) for form in forms], dtype=torch.long)
        self._words, self._forms = numbers.reshape(-1, 2).unbind(1)
        self._ngrams = torch.tensor(list(chain.from_iterable(ngrams)))
        self._counts = torch.tensor([len(own) for own in ngrams])
        self._offsets = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int]) -> WordBatch:
        """The sentences with these numbers, padded to the longest of them."""
        rows = self.padded(self._rows, indices, -1)
        distinct, inverse = rows.unique(return_inverse=True)
        real = rows >= 0
        if not real.all():
            distinct, inverse = distinct[1:], (inverse - 1).clamp_min(0)
        counts = self._counts[distinct]
        offsets = counts.cumsum(0) - counts
        index = torch.arange(int(counts.sum())) + (self._offsets[distinct] - offsets).repeat_interleave(counts)
        return WordBatch(
            words=self._words[rows].masked_fill(~real, 0),
            forms=self._forms[rows].masked_fill(~real, 0),
            inverse=inverse,
            char_ngrams=self._ngrams[index],
            offsets=offsets,
            lengths=torch.tensor([self.lengths[i] for i in indices]),
        )

    def padded(self, values: Int[Tensor, " T"], indices: Sequence[int], padding: int) -> Int[Tensor, "B N"]:
        """Numbers of the words of all sentences, one after the other, as `[B, N]` for some of the sentences."""
        parts = [values[self._ends[i] : self._ends[i + 1]] for i in indices]
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=padding)
