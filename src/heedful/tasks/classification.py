"""What all classifiers share: a prediction, its scores, and what an epoch shows."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from heedful._terminal import visible
from heedful.data._entries import printable
from heedful.tasks.contract import Metric, Scores
from heedful.training.objective import Mean
from heedful.training.settings import Section

Labels = Sequence[Sequence[str]]
UNSEEN = -1  # the target of a label that training never saw


@dataclass(frozen=True)
class Classification:
    """The class of one input; of an empty text none.

    Attributes:
        input: the text, or where the image came from.
        label: the most probable class.
        probability: of that class.
        runner_up: the second class.
        runner_up_probability: of the second class.
        named: whether the printed line names the input.
        candidates: the most probable classes and their probabilities, as many as were asked for.
    """

    input: str
    label: str = ""
    probability: float = 0.0
    runner_up: str = ""
    runner_up_probability: float = 0.0
    named: bool = field(default=False, metadata={"json": False})
    candidates: dict[str, float] | None = field(default=None, metadata={"json": "set"})

    def to_format(self) -> str:
        """A line of a table of inputs and labels."""
        return f"{' '.join(self.input.split())}\t{self.label}"

    def __str__(self) -> str:
        """One line to read."""
        if not self.label:
            return ""
        name = f"{visible(self.input)}: " if self.named else ""
        if self.candidates is not None:
            return name + ", ".join(f"{visible(label)} {100 * p:.1f} %" for label, p in self.candidates.items())
        second = f"{visible(self.runner_up)} {100 * self.runner_up_probability:.1f} %"
        return f"{name}{visible(self.label)} {100 * self.probability:.1f} % (then {second})"


class ClassificationOptions(Section):
    """What is told of each answer."""

    top_k: int | None = Field(None, ge=0, description="also tell this many of the most probable labels; 0: all")


def classifications(
    inputs: Iterable[str],
    probabilities: Tensor,
    classes: Sequence[str],
    options: ClassificationOptions | None = None,
    *,
    named: bool = False,
) -> list[Classification]:
    """The most probable classes of each input, from probabilities `[inputs, classes]`."""
    best = probabilities.topk(2)
    rows = zip(
        inputs, best.indices.tolist(), best.values.tolist(), candidates(probabilities, classes, options), strict=True
    )
    return [Classification(name, classes[i], p, classes[j], q, named, told) for name, (i, j), (p, q), told in rows]


def candidates(
    probabilities: Tensor, labels: Sequence[str], options: ClassificationOptions | None
) -> Sequence[dict[str, float] | None]:
    """The most probable labels of each row of `[rows, labels]`, the best first; None where they are not asked for."""
    if options is None or options.top_k is None:
        return [None] * len(probabilities)
    best = probabilities.topk(min(options.top_k or len(labels), len(labels)))
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [{labels[i]: p for i, p in zip(*row, strict=True)} for row in rows]


def classification_scores(
    predictions: Sequence[Classification], truth: Sequence[str], classes: Sequence[str]
) -> Scores:
    """Accuracy, macro F1 (torchmetrics' way: a class that is neither there nor predicted does not count), confusions."""
    from torchmetrics.functional.classification import multiclass_f1_score

    predicted = [prediction.label for prediction in predictions]
    number = {name: i for i, name in enumerate(classes)}
    other = len(classes)  # one more class for all that training never saw
    guesses, targets = (torch.tensor([number.get(name, other) for name in names]) for names in (predicted, truth))
    f1 = float(multiclass_f1_score(guesses, targets, num_classes=other + 1, average="macro"))
    metrics = {"accuracy": Metric(accuracy([truth], [predicted])), "macro_f1": Metric(f1)}
    details, note = unseen_labels([truth], number)
    return Scores(metrics, details | {"confusions": confusions([truth], [predicted])}, note)


def unseen_labels(truth: Labels, known: Collection[str]) -> tuple[dict[str, Any], str]:
    """How many labels training never saw, as a detail and in words: they count as wrong."""
    unseen = Counter(label for labels in truth for label in labels if label not in known)
    if not unseen:
        return {}, ""
    some = ", ".join(printable(label) for label in list(unseen)[:5]) + (", ..." if len(unseen) > 5 else "")
    count = unseen.total()
    note = (
        f"{count:,} of {sum(map(len, truth)):,} labels occur nowhere in the training data and count as wrong: {some}."
    )
    return {"unseen_labels": count}, note


def described_classes(classes: Sequence[str]) -> str:
    """How many classes there are, and the first ones."""
    return f"{len(classes)} classes ({', '.join(map(printable, classes[:10]))}{' ...' if len(classes) > 10 else ''})"


def class_means(outputs: Tensor, labels: Tensor, loss: Tensor) -> dict[str, Mean]:
    """What an epoch shows of logits or probabilities `[B, classes]`: the sum of the losses of known labels, accuracy, macro F1."""
    classes = outputs.shape[-1]
    known = labels != UNSEEN
    right = F.one_hot(torch.where(known, labels, classes), classes + 1)  # one more for all that training never saw
    guessed = F.one_hot(outputs.argmax(-1), classes + 1)
    hits = (right * guessed).sum(0)
    return {
        "loss": Mean(loss, known.sum()),
        "accuracy": Mean(hits.sum(), len(labels)),
        "macro_f1": Mean(2 * hits, right.sum(0) + guessed.sum(0)),
    }


def accuracy(truth: Labels, predicted: Labels, counted: Sequence[Sequence[bool]] | None = None) -> float:
    """The fraction of correct labels, of all or of those that are counted."""
    flags = chain.from_iterable(counted) if counted is not None else (True for row in truth for _ in row)
    pairs = zip(chain.from_iterable(truth), chain.from_iterable(predicted), flags, strict=True)
    right = [label == guess for label, guess, flag in pairs if flag]
    return sum(right) / max(len(right), 1)


def confusions(truth: Labels, predicted: Labels) -> list[list[Any]]:
    """[label, prediction, count] of the wrong predictions, the most frequent first."""
    pairs = Counter(zip(chain.from_iterable(truth), chain.from_iterable(predicted), strict=True)).most_common()
    return [[label, guess, count] for (label, guess), count in pairs if label != guess]
