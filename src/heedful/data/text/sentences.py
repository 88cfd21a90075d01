"""A sentence of words with labels, as every reader of tagged text gives it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heedful.data.text.words import split_words

__all__ = ["Sentence"]

_WORD = re.compile(r"\d+\t", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words, their labels, and where they stood.

    Args:
        words: the words.
        labels: for each column that was asked for, one label for each word.
        location: `file:line` of the first word.
        raw_lines: the lines of the file that belong to the sentence, without line ends and without the blank line after it.
        format: of the file: "conllu", "columns", or "" where it stands in none.
        text: of which the words were cut, where they were.
        rows: which of the lines are the words; empty where their form tells it.
    """

    words: tuple[str, ...]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    location: str = ""
    raw_lines: tuple[str, ...] = ()
    format: str = ""
    text: str = ""
    rows: tuple[int, ...] = ()

    @classmethod
    def of(cls, sentence: "str | Sequence[str] | Sentence") -> "Sentence":
        """A sentence of a text, which is split into words and signs, or of its words."""
        if isinstance(sentence, Sentence):
            return sentence
        words = split_words(sentence) if isinstance(sentence, str) else tuple(sentence)
        return cls(words, raw_lines=words, text=sentence if isinstance(sentence, str) else "")

    @property
    def locations(self) -> list[str]:
        """`file:line` of each word."""
        file, colon, first = self.location.rpartition(":")
        rows = list(self.rows) or [row for row, line in enumerate(self.raw_lines) if _WORD.match(line)]
        if len(rows) != len(self.words):  # no CoNLL-U: every line is a word
            rows = list(range(len(self.words)))
        return [f"{file}:{int(first) + row - rows[0]}" if colon else self.location for row in rows]


def check_new_labels(sentence: Sentence, labels: Mapping[str, Sequence[str]], separators: str) -> None:
    """Raises for labels that cannot be written: not one a word, empty, or with a separator of the format in them."""
    for column, given in labels.items():
        if len(given) != len(sentence.words):
            raise ValueError(
                f"`labels` must have one label for each of {len(sentence.words)} words: got {len(given)} for {column!r}"
            )
        for label in given:
            if not label or any(sign in label for sign in separators):
                raise ValueError(f"`labels` must be words that the format can hold: got {label!r} for {column!r}")
