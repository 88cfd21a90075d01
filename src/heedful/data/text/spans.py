"""Spans that labels such as B-PER, I-PER and O describe, and how well predicted spans agree with the true ones."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["LabeledSpan", "SpanScore", "SpanScores", "find_spans", "is_bio", "score_spans"]

_LABEL = re.compile(r"O|([BIESLU])-(.+)", re.DOTALL)
_BEGINS, _ENDS = "BSU", "ESLU"


class LabeledSpan(NamedTuple):
    """Words `start` to `end` (which is the first word after it) have this label."""

    start: int
    end: int
    label: str


class SpanScore(NamedTuple):
    """How well predicted spans agree with the true ones.

    precision = correct / predicted, recall = correct / true, f1 = their harmonic mean; 0 where one would divide by 0.
    """

    precision: float
    recall: float
    f1: float
    true: int
    predicted: int
    correct: int


class SpanScores(NamedTuple):
    """The score of all spans together, and of those of each label, sorted by name."""

    overall: SpanScore
    by_label: dict[str, SpanScore]


def is_bio(labels: Iterable[str]) -> bool:
    """Whether these labels describe spans: each is O or begins with B-, I-, E-, S- (or L-, U-), and not all are O.

    Examples:
        >>> is_bio({"O", "B-PER", "I-PER"}), is_bio({"O"}), is_bio({"NOUN", "O"})
        (True, False, False)
    """
    others = set(labels) - {"O"}
    return bool(others) and all(_LABEL.fullmatch(label) for label in others)


def find_spans(labels: Sequence[str]) -> list[LabeledSpan]:
    """The spans of a sentence.

    Every scheme is read by the same rule. A span begins at B and S, and at any other label that continues nothing:
    after O, after E or S, or where the label changes. It goes on while tags of its label follow that do not begin one.
    So IOB1, IOB2, IOBES and BILOU need not be told apart, and wrong sequences mean what CoNLL's scorer takes them for.

    Raises:
        ValueError: a label is not one of these schemes.

    Examples:
        >>> find_spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
        [LabeledSpan(start=0, end=2, label='PER'), LabeledSpan(start=3, end=4, label='LOC'), LabeledSpan(start=4, end=5, label='LOC')]
    """
    spans = []
    start = 0
    current, closed = None, False  # the label of the open span; `closed`: nothing may continue it
    for position, tag in enumerate(labels):
        parts = _LABEL.fullmatch(tag)
        if parts is None:
            raise ValueError(f"`labels` must be O or begin with B-, I-, E- or S-: got {tag!r} at {position}")
        letter, label = parts.groups()
        if current is not None and (label != current or closed or letter in _BEGINS):
            spans.append(LabeledSpan(start, position, current))
            current = None
        if label is not None and current is None:
            start, current = position, label
        closed = letter is not None and letter in _ENDS
    if current is not None:
        spans.append(LabeledSpan(start, len(labels), current))
    return spans


def score_spans(true: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> SpanScores:
    """Precision, recall and F1 of spans, over all sentences together: a span is correct where both ends and the label are.

    Args:
        true: the labels of each sentence.
        predicted: those that were predicted, as many.

    Raises:
        ValueError: a label does not describe spans, or sentences are not of the same number or length.

    Examples:
        >>> scores = score_spans([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "B-LOC", "O"]])
        >>> scores.overall.f1, scores.by_label["PER"].f1
        (0.5, 1.0)
    """
    counts: tuple[Counter[str], ...] = (Counter(), Counter(), Counter())
    for labels, guess in zip(true, predicted, strict=True):
        if len(labels) != len(guess):
            raise ValueError(f"`predicted` must have as many labels as `true`: got {len(guess)} and {len(labels)}")
        expected, found = set(find_spans(labels)), set(find_spans(guess))
        for count, spans in zip(counts, (expected, found, expected & found), strict=True):
            count.update(span.label for span in spans)
    names = sorted(counts[0].keys() | counts[1].keys())
    by_label = {name: _score(*(count[name] for count in counts)) for name in names}
    return SpanScores(_score(*(count.total() for count in counts)), by_label)


def _score(true: int, predicted: int, correct: int) -> SpanScore:
    precision = correct / predicted if predicted else 0.0
    recall = correct / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return SpanScore(precision, recall, f1, true, predicted, correct)
