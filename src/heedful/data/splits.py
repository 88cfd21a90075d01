"""Which examples are held out for validation: always the same ones of the same data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Protocol

from heedful._errors import DataError

__all__ = ["EveryTenth", "LastTenth", "Split", "Splitter", "ordinal"]

_WORDS = ("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class Split(NamedTuple):
    """The parts of the examples, and how validation was chosen, in words that precede " of FILE".

    Attributes:
        training: to learn from.
        validation: to choose the best epoch by, and for the metrics where there is no test part.
        held_out: how validation was chosen, in words.
        test: for the metrics, or None.
    """

    training: Any
    validation: Any
    held_out: str
    test: Any = None


class Splitter(Protocol):
    """How examples are held out of the training; `noun` is what one is called."""

    def __call__(self, examples: Any, noun: str) -> Split:
        """Parts the examples; raises DataError where there are too few."""


@dataclass(frozen=True)
class EveryTenth:
    """Holds every tenth example out.

    Args:
        labels: the label of each example, or its labels. An example whose label occurs in no other stays in the training part.
        stratify: whether to count class by class, so that a tenth of each class is held out; needs one label an example.
        at_most: the most examples that are held out; of many, fewer than a tenth.

    Example:
        >>> class Letters(list):
        ...     def select(self, rows):
        ...         return "".join(self[row] for row in rows)
        >>> EveryTenth()(Letters("abcdefghijklmnopqrstu"), "letter")
        Split(training='abcdefghiklmnopqrsu', validation='jt', held_out='every tenth letter', test=None)
    """

    labels: Callable[[Any], Sequence[Any]] | None = None
    stratify: bool = False
    at_most: int | None = None

    def __call__(self, examples: Any, noun: str) -> Split:
        """Parts the examples."""
        count = len(examples)
        if count < 10:
            raise DataError(
                f"must hold at least 10 {noun}s, to hold one out (or give --train and --valid): got {count}"
            )
        step = 10 if self.at_most is None else max(10, -(-count // self.at_most))
        labels = [] if self.labels is None else list(self.labels(examples))
        rows = sorted(range(count), key=labels.__getitem__) if self.stratify else list(range(count))
        held_out = set(rows[step - 1 :: step])
        if labels:
            sets = [{label} if self.stratify else set(label) for label in labels]
            elsewhere = set(chain.from_iterable(own for row, own in enumerate(sets) if row not in held_out))
            held_out = {row for row in held_out if sets[row] <= elsewhere}
        if not held_out:
            raise DataError(
                f"its labels must occur more often than once, to hold {noun}s out: got new ones in each {ordinal(step)}"
            )
        words = f"every {ordinal(step)} {noun}" + (" of each class" if self.stratify else "")
        training = examples.select(row for row in range(count) if row not in held_out)
        return Split(training, examples.select(sorted(held_out)), words)


@dataclass(frozen=True)
class LastTenth:
    """Holds out the last tenth, for examples that have an order."""

    def __call__(self, examples: Any, noun: str) -> Split:
        """Parts the examples."""
        count = len(examples)
        if count < 10:
            raise DataError(
                f"must have at least 10 {noun}s, to hold a tenth out (or give --train and --valid): got {count}"
            )
        cut = count - count // 10
        return Split(examples.select(range(cut)), examples.select(range(cut, count)), "the last tenth")


def ordinal(number: int) -> str:
    """A number as an ordinal.

    Example:
        >>> [ordinal(number) for number in (1, 10, 11, 21, 22, 103, 112)]
        ['first', 'tenth', '11th', '21st', '22nd', '103rd', '112th']
    """
    if number < len(_WORDS):
        return _WORDS[number]
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
