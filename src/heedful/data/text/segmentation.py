"""Word segmentation: where a raw text is cut into words, learned from a treebank that has the text as people wrote it."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful.data.text.sentences import Sentence
from heedful.data.text.words import split_words

__all__ = ["Segmenter", "is_tokenized", "raw_texts", "sentences_of"]

_Bits = NDArray[np.uint64]

_BUCKETS = 2**18  # of features, by their hash
_REACH = 6  # characters on each side
_NGRAMS = [(a, b) for a in range(5) for b in range(5) if a + b <= 6]  # characters before, and behind
_CLASSES = [(2, 2), (3, 3), (6, 1), (1, 6), (6, 6)]  # likewise, of letters, digits and signs, each its own
_SIGNS = [(1, 1), (2, 2), (3, 3)]  # likewise, where all signs are alike
_QUOTES = dict(zip("‘’“”", "''\"\"", strict=True))
_SCALE = 100  # weights are whole numbers of hundredths
_CHARACTERS = 2_000_000  # that are learned from
_EPOCHS, _BLOCK = 3, 20_000
_LEAST = 10  # smaller weights are dropped
_FACTOR = 0x9E3779B97F4A7C15  # odd: it has an inverse modulo 2 ** 64
_MAX_WEIGHT = 1_000_000  # of a saved segmenter
_ALONE = re.compile(r"(?<!\S)[.,،。、](?!\S)")
_ATTACHED = re.compile(r"\w[,،、](?!\S)|\w[.。!?]$")


class RawText(NamedTuple):
    """A text as people wrote it, and its words.

    Attributes:
        text: with single blanks.
        ends: where its tokens end, in characters.
        words: for each token what stands for it: itself, or the words of a contraction ("du": "de", "le").
    """

    text: str
    ends: list[int]
    words: list[tuple[str, ...]]


def raw_texts(sentences: Iterable[Sentence]) -> Iterator[RawText]:
    """The raw texts of sentences of CoNLL-U, from `# text` or SpaceAfter=No; of others nothing is known."""
    for sentence in sentences:
        if sentence.format != "conllu":
            continue
        text, tokens, spaced, last = "", [], False, 0
        joined = ""
        for line in sentence.raw_lines:
            if line.startswith("#"):
                text = line.partition("=")[2] if line.replace(" ", "").startswith("#text=") else text
                continue
            cells = line.split("\t")
            if len(cells) != 10 or "." in cells[0]:
                continue
            first, _, end = cells[0].partition("-")
            if int(first) <= last:
                continue
            start, last = int(first) - 1, int(end or first)
            tokens.append((" ".join(cells[1].split()), sentence.words[start:last]))
            no_blank = "SpaceAfter=No" in cells[9].split("|")
            spaced |= no_blank
            joined += cells[1] + ("" if no_blank else " ")
        if text or spaced:
            found = _aligned(" ".join((text or joined).split()), tokens)
            if found is not None:
                yield found


def _aligned(text: str, tokens: list[tuple[str, tuple[str, ...]]]) -> RawText | None:
    """None where the tokens are not what the text says."""
    ends, units, at = [], [], 0
    for form, words in tokens:
        at += text.startswith(" ", at)
        if not form or not text.startswith(form, at):
            return None
        inner = words if "".join(words) == form else (form,)
        for part in inner:
            at += len(part)
            ends.append(at)
            units.append((part,) if inner is words else words)
    return RawText(text, ends, units) if at == len(text) else None


@dataclass(frozen=True)
class Segmenter:
    r"""Cuts raw texts into words as the texts were cut that it learned from.

    Each place between two characters is a yes or no of a logistic regression over the characters around it.

    Attributes:
        weights: by the hash of a feature, in hundredths.
        joins: whether a word may have a blank in it, as in Vietnamese.
        contractions: what stands for a word: {"du": ("de", "le")}.

    Example:
        >>> words = ("I", "do", "n't", ".")
        >>> lines = ["# text = I don't.", *(f"{i}\t{word}" + "\t_" * 8 for i, word in enumerate(words, start=1))]
        >>> segmenter = Segmenter.fit([Sentence(words, raw_lines=tuple(lines), format="conllu")] * 9)
        >>> segmenter.split(["I don't.", "don't I"])
        [('I', 'do', "n't", '.'), ('do', "n't", 'I')]
    """

    weights: Mapping[int, int]
    joins: bool = False
    contractions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, sentences: Iterable[Sentence]) -> "Segmenter | None":
        """Learns from the raw texts of sentences, of very many from every n-th; None where blanks alone separate words."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import SGDClassifier

        texts = list(raw_texts(sentences))
        texts = texts[:: 1 + sum(len(one.text) for one in texts) // _CHARACTERS]
        said: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        for one in texts:
            for start, end, words in zip([0, *one.ends], one.ends, one.words, strict=False):
                said[one.text[start:end].strip().lower()][tuple(word.lower() for word in words)] += 1
        best = {token: counts.most_common(1)[0][0] for token, counts in said.items()}
        contractions = {token: words for token, words in best.items() if words != (token,)}
        joins = any(" " in token for token in said)
        page = _Page([one.text for one in texts])
        places = page.places(joins)
        cuts = np.zeros(len(page.codes) + 1, dtype=bool)
        for start, one in zip(page.starts, texts, strict=True):
            cuts[start + np.array(one.ends)] = True
        targets = cuts[places]
        if not targets.any():
            return None
        model = SGDClassifier(loss="log_loss", alpha=1e-6, average=True, fit_intercept=False, random_state=0)
        random = np.random.default_rng(0)
        for _ in range(_EPOCHS):
            for rows in np.array_split(random.permutation(len(places)), 1 + len(places) // _BLOCK):
                features = page.features(places[rows])
                count, width = features.shape
                starts = np.arange(0, count * width + 1, width)
                table = csr_matrix((np.ones(count * width), features.ravel(), starts), (count, _BUCKETS))
                model.partial_fit(table, targets[rows], classes=[False, True])
        rounded = np.rint(_SCALE * model.coef_[0]).astype(int)
        large = np.flatnonzero(abs(rounded) >= _LEAST)
        return cls(dict(zip(large.tolist(), rounded[large].tolist(), strict=True)), joins, contractions)

    def save(self) -> dict[str, Any]:
        """As JSON has it."""
        contractions = {token: list(words) for token, words in self.contractions.items()}
        features, weights = list(self.weights), list(self.weights.values())
        return {"features": features, "weights": weights, "joins": self.joins, "contractions": contractions}

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> "Segmenter":
        """From what `save` gave.

        Raises:
            ValueError: it is something else.
        """
        rules = {
            "features": lambda value: _all_whole(value, 0, _BUCKETS) and len(set(value)) == len(value),
            "weights": lambda value: (
                _all_whole(value, -_MAX_WEIGHT, _MAX_WEIGHT) and len(value) == len(saved["features"])
            ),
            "joins": lambda value: isinstance(value, bool),
            "contractions": lambda value: isinstance(value, dict) and all(map(_all_words, value.values())),
        }
        if not isinstance(saved, dict) or saved.keys() != rules.keys():
            raise ValueError(f"`segmenter` must hold {', '.join(rules)}: got {str(saved)[:60]}")
        for name, rule in rules.items():
            if not rule(saved[name]):
                raise ValueError(
                    f"`segmenter.{name}` must be as `Segmenter.save` gives it: got {str(saved[name])[:60]}"
                )
        contractions = {token: tuple(words) for token, words in saved["contractions"].items()}
        return cls(dict(zip(saved["features"], saved["weights"], strict=True)), saved["joins"], contractions)

    def split(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The words of each text."""
        texts = [" ".join(text.split()) for text in texts]
        page = _Page(texts)
        places = page.places(self.joins)
        blocks = np.array_split(places, 1 + len(places) // _BLOCK)
        cuts = np.concatenate([block[self._table[page.features(block)].sum(1) > 0] for block in blocks])
        found = []
        for start, text in zip(page.starts, texts, strict=True):
            first, last = np.searchsorted(cuts, (start + 1, start + len(text)))
            ends = {*(cuts[first:last] - start).tolist(), len(text)}
            if not self.joins:
                ends |= {at for at, sign in enumerate(text) if sign == " "}
            pieces = (text[a:b].strip() for a, b in pairwise([0, *sorted(ends)]))
            found.append(tuple(chain.from_iterable(self._words(piece) for piece in pieces if piece)))
        return found

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """The weight of each bucket."""
        table = np.zeros(_BUCKETS, dtype=np.int64)
        table[list(self.weights)] = list(self.weights.values())
        return table

    def _words(self, token: str) -> tuple[str, ...]:
        first, *others = self.contractions.get(token.lower(), (token,))
        return (first.capitalize() if token[0].isupper() and first != token else first, *others)


def sentences_of(
    inputs: Sequence[str | Sequence[str] | Sentence], segmenter: Segmenter | None, *, words: bool = False
) -> list[Sentence]:
    """Sentences of texts, of lists of words, and of sentences, which stay what they are.

    Args:
        inputs: the texts and sentences.
        segmenter: what cuts texts; None: `split_words` does.
        words: whether blanks separate the words of all texts; those that `is_tokenized` knows are not cut again anyway.
    """
    raw = {i: one for i, one in enumerate(inputs) if isinstance(one, str) and not (words or is_tokenized(one))}
    cut = map(split_words, raw.values()) if segmenter is None else segmenter.split(list(raw.values()))
    found, sentences = dict(zip(raw, cut, strict=True)), []
    for i, one in enumerate(inputs):
        own = found.get(i, tuple(one.split())) if isinstance(one, str) else ()
        sentences.append(Sentence(own, raw_lines=own, text=one) if isinstance(one, str) else Sentence.of(one))
    return sentences


def is_tokenized(text: str) -> bool:
    """Whether blanks separate all words and signs already: a comma or a full stop stands alone, and none at a word's end.

    Examples:
        >>> is_tokenized("Well , I do n't ."), is_tokenized("Well, I don't."), is_tokenized("Pourquoi ? Non.")
        (True, False, False)
    """
    return _ALONE.search(text) is not None and _ATTACHED.search(text.rstrip()) is None


def _all_whole(values: Any, least: int, below: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and least <= value < below for value in values)


def _all_words(values: Any) -> bool:
    return (
        isinstance(values, list) and bool(values) and all(isinstance(word, str) and _is_word(word) for word in values)
    )


def _is_word(text: str) -> bool:
    """Whether it can stand in a file: not empty, no other white space than single blanks within it, and no half of a character."""
    return text != "" and " ".join(text.split()) == text == text.encode("utf-8", "ignore").decode()


class _Page:
    """Texts, one after the other, so far apart that the characters around a place are those of its own text."""

    def __init__(self, texts: Sequence[str]) -> None:
        gap = "\n" * _REACH
        page = gap + "".join(text + gap for text in texts)
        lengths = np.array([len(text) + _REACH for text in texts], dtype=np.int64)
        self.starts = _REACH + np.cumsum(lengths) - lengths
        numbers = {sign: _numbers(sign) for sign in set(page)}
        kinds = np.array([numbers[sign] for sign in page], dtype=np.uint64).T
        self.codes = kinds[0]
        index = np.arange(len(page))
        self.blank = (self.codes == ord(" ")) | (self.codes == ord("\n"))
        self.begins = np.maximum.accumulate(np.where(self.blank, index + 1, 0))
        self.finishes = np.minimum.accumulate(np.where(self.blank, index, len(page))[::-1])[::-1]
        powers = np.cumprod(np.full(len(page) + 1, _FACTOR, dtype=np.uint64))
        self._inverse = np.cumprod(np.full(len(page) + 1, pow(_FACTOR, -1, 2**64), dtype=np.uint64))
        self._sums = [_sums(codes * powers[:-1]) for codes in kinds[:3]]
        self._marks = kinds[3] > 0
        self._signs = [_sums(self.codes == ord(sign)) for sign in "@/.-"]

    def places(self, joins: bool) -> NDArray[np.int64]:
        """Where a word may end: between two characters with their marks, and before a blank where words may have blanks in them."""
        behind = ~(self.blank | self._marks)[1:] | (joins & (self.codes[1:] == ord(" ")))
        return 1 + np.flatnonzero(~self.blank[:-1] & behind)

    def features(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The features of each place: `[places, features]`, as numbers below the number of buckets."""
        begin, end = self.begins[places - 1], self.finishes[places]
        columns = [self._ngram(0, places - a, places + b) for a, b in _NGRAMS]
        columns += [self._ngram(1, places - a, places + b) for a, b in _CLASSES]
        columns += [self._ngram(2, places - a, places + b) for a, b in _SIGNS]
        before, behind = self._ngram(0, begin, places), self._ngram(0, places, end)
        shape = np.zeros(len(places), dtype=np.uint64)
        for sums in self._signs:
            shape = shape * np.uint64(4) + np.minimum(sums[end] - sums[begin], 3)
        near = self._ngram(1, places - 1, places + 1)
        columns += [before, behind, before + behind * np.uint64(3), shape, shape + near * np.uint64(5)]
        table = np.stack(columns, 1) + np.arange(1, len(columns) + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)
        table = (table ^ (table >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        table = (table ^ (table >> np.uint64(29))) * np.uint64(_FACTOR)
        buckets: NDArray[np.int64] = (table >> np.uint64(64 - 18)).astype(np.int64)
        return buckets

    def _ngram(self, kind: int, start: NDArray[np.int64], end: NDArray[np.int64]) -> _Bits:
        """The hash of characters, or of their classes of one kind or the other, wherever they stand."""
        sums = self._sums[kind]
        hashes: _Bits = np.multiply(sums[end] - sums[start], self._inverse[start], dtype=np.uint64)
        return hashes


def _sums(values: NDArray[Any]) -> _Bits:
    """The sums of the values before each index."""
    sums: _Bits = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)], dtype=np.uint64)
    return sums


def _numbers(sign: str) -> tuple[int, int, int, int]:
    """A character in lower case, its class, that of all signs, and whether it is a mark or a joiner."""
    sign = _QUOTES.get(sign, sign)
    mark = unicodedata.category(sign)[0] == "M" or sign in "\u200c\u200d"
    letter = 1 if sign.isupper() else 2 if sign.isalpha() or mark else 3 if sign.isdigit() else 0
    return ord(sign.lower()[:1]), letter or ord(sign), letter or (4 if sign.isspace() else 5), mark
