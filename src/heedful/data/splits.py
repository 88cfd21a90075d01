"""Which examples are held out for validation: always the same ones of the same data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        labels: the class of each example, where a tenth of each class is to be held out. An example whose class has no other
            stays in the training part.
        at_most: the most examples that are held out; of many, fewer than a tenth.

    Example:
        >>> class Letters(list):
        ...     def select(self, rows):
        ...         return "".join(self[row] for row in rows)
        >>> EveryTenth()(Letters("abcdefghijklmnopqrstu"), "letter")
        Split(training='abcdefghiklmnopqrsu', validation='jt', held_out='every tenth letter', test=None)
    """

    labels: Callable[[Any], Sequence[Any]] | None = None
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
        rows = sorted(range(count), key=labels.__getitem__) if labels else list(range(count))
        held_out = set(rows[step - 1 :: step])
        words = f"every {ordinal(step)} {noun}"
        if labels:
            elsewhere = {label for row, label in enumerate(labels) if row not in held_out}
            alone = {row for row in held_out if labels[row] not in elsewhere}
            held_out -= alone
            words += " of each class" + (f" but {len(alone):,} without others of theirs" if alone else "")
        if not held_out:
            raise DataError(
                f"its labels must occur more often than once, to hold {noun}s out: got new ones in each {ordinal(step)}"
            )
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
