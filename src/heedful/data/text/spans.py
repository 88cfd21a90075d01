"""Spans that labels such as B-PER, I-PER and O describe, and how well predicted spans agree with the true ones."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Score", "Span", "SpanScores", "find_spans", "is_bio", "score_spans"]

_LABEL = re.compile(r"O|([BIESLU])-(.+)", re.DOTALL)
_BEGINS, _ENDS = "BSU", "ESLU"


class Span(NamedTuple):
    """Words `start` to `end` (which is the first word after it) are one thing of this kind."""

    start: int
    end: int
    kind: str


class Score(NamedTuple):
    """How well predicted spans agree with the true ones.

    precision = right / predicted, recall = right / true, f1 = their harmonic mean; 0 where one would divide by 0.
    """

    precision: float
    recall: float
    f1: float
    true: int
    predicted: int
    right: int


class SpanScores(NamedTuple):
    """The score of all spans together, and of those of each kind, sorted by name."""

    overall: Score
    by_kind: dict[str, Score]


def is_bio(labels: Iterable[str]) -> bool:
    """Whether these labels describe spans: each is O or begins with B-, I-, E-, S- (or L-, U-), and not all are O.

    Examples:
        >>> is_bio({"O", "B-PER", "I-PER"}), is_bio({"O"}), is_bio({"NOUN", "O"})
        (True, False, False)
    """
    others = set(labels) - {"O"}
    return bool(others) and all(_LABEL.fullmatch(label) for label in others)


def find_spans(labels: Sequence[str]) -> list[Span]:
    """The spans of a sentence.

    Every scheme is read by the same rule. A span begins at B and S, and at any other label that continues nothing:
    after O, after E or S, or where the kind changes. It goes on while labels of its kind follow that do not begin one.
    So IOB1, IOB2, IOBES and BILOU need not be told apart, and wrong sequences mean what CoNLL's scorer takes them for.

    Raises:
        ValueError: a label is not one of these schemes.

    Examples:
        >>> find_spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
        [Span(start=0, end=2, kind='PER'), Span(start=3, end=4, kind='LOC'), Span(start=4, end=5, kind='LOC')]
    """
    found = []
    start = 0
    kind, closed = None, False  # of the open span; `closed`: nothing may continue it
    for position, label in enumerate(labels):
        parts = _LABEL.fullmatch(label)
        if parts is None:
            raise ValueError(f"`labels` must be O or begin with B-, I-, E- or S-: got {label!r} at {position}")
        letter, here = parts.groups()
        if kind is not None and (here != kind or closed or letter in _BEGINS):
            found.append(Span(start, position, kind))
            kind = None
        if here is not None and kind is None:
            start, kind = position, here
        closed = letter is not None and letter in _ENDS
    if kind is not None:
        found.append(Span(start, len(labels), kind))
    return found


def score_spans(true: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> SpanScores:
    """Precision, recall and F1 of spans, over all sentences together: a span is right where both ends and the kind are.

    Args:
        true: the labels of each sentence.
        predicted: those that were predicted, as many.

    Raises:
        ValueError: a label does not describe spans, or sentences are not of the same number or length.

    Examples:
        >>> scores = score_spans([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "B-LOC", "O"]])
        >>> scores.overall.f1, scores.by_kind["PER"].f1
        (0.5, 1.0)
    """
    counts: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
    for labels, guess in zip(true, predicted, strict=True):
        if len(labels) != len(guess):
            raise ValueError(f"`predicted` must have as many labels as `true`: got {len(guess)} and {len(labels)}")
        there, given = set(find_spans(labels)), set(find_spans(guess))
        for count, several in zip(counts, (there, given, there & given), strict=True):
            count.update(span.kind for span in several)
    kinds = sorted(counts[0].keys() | counts[1].keys())
    by_kind = {kind: _score(*(count[kind] for count in counts)) for kind in kinds}
    return SpanScores(_score(*(count.total() for count in counts)), by_kind)


def _score(true: int, predicted: int, right: int) -> Score:
    precision = right / predicted if predicted else 0.0
    recall = right / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return Score(precision, recall, f1, true, predicted, right)
