"""One label for each example: its prediction, its scores, and what taggers share with it."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from heedful._errors import DataError
from heedful._terminal import visible
from heedful.data._entries import printable
from heedful.data._rows import check_some_known
from heedful.data.targets import TargetFormat
from heedful.tasks.calibration import calibration_details, fit_temperature
from heedful.tasks.contract import Metric, Scores
from heedful.tasks.targets import BaselineFeatures, Target, check_weights
from heedful.training.objective import Mean
from heedful.training.settings import Section

Labels = Sequence[Sequence[str]]
UNSEEN = -1  # the target of a label that training never saw
_SMALLEST = 1e-30  # a probability of which the logarithm is taken
_MAX_CLASSES = 300  # of which metrics.json has the scores, the most frequent first


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
        uncalibrated: the probability before the temperature.
    """

    input: str
    label: str = ""
    probability: float = 0.0
    runner_up: str = ""
    runner_up_probability: float = 0.0
    named: bool = field(default=False, metadata={"json": False})
    candidates: dict[str, float] | None = field(default=None, metadata={"json": "set"})
    uncalibrated: float = field(default=0.0, metadata={"json": False})

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


@final
class OneLabel(Target):
    """Each example has one label; the outputs are logits."""

    monitor, prediction = "accuracy", Classification

    def __init__(self, format: TargetFormat, vocabulary: Mapping[str, Any]) -> None:
        self.classes: list[str] = vocabulary["classes"]
        self.outputs = len(self.classes)
        self._number = {name: number for number, name in enumerate(self.classes)}
        weights = vocabulary.get("class_weights")
        self._weight = None if weights is None else torch.tensor(weights)[0]
        calibration = vocabulary.get("calibration")
        self._temperature: float | None = None if calibration is None else calibration["temperature"]

    @classmethod
    def learn(cls, cells: Sequence[str], settings: Any, classes: Sequence[str] | None) -> dict[str, Any]:
        """The classes, and their weights."""
        counts = Counter(cells)
        classes = sorted(counts) if classes is None else list(classes)
        if len(classes) < 2:
            raise DataError(f"must hold at least two classes: got {classes[0]!r} alone")
        if settings.loss.class_weights == "none":
            return {"classes": classes}
        check_weights(classes, [counts[name] for name in classes])
        return {
            "classes": classes,
            "class_weights": [[len(cells) / (len(classes) * counts[name]) for name in classes]],
        }

    def describe(self) -> str:
        return described_classes(self.classes)

    def check(self, cells: Iterable[tuple[str, str]]) -> None:
        check_some_known(cells, self.classes)

    def encode(self, cells: Sequence[str]) -> Tensor:
        return torch.tensor([self._number.get(cell, UNSEEN) for cell in cells])

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        targets = targets.expand(outputs.shape[:-1])
        losses = F.cross_entropy(
            outputs.flatten(0, -2), targets.flatten(), weight=self._weight, label_smoothing=smoothing,
            reduction="none", ignore_index=UNSEEN,
        )  # fmt: skip
        return losses.view_as(targets)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        both = F.kl_div(p, q, log_target=True, reduction="none") + F.kl_div(q, p, log_target=True, reduction="none")
        return both.sum(-1)

    def merge(self, outputs: Tensor, shares: Tensor) -> Tensor:
        return outputs.float().softmax(-1).mul(shares).sum(0).clamp_min(_SMALLEST).log()

    def means(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> dict[str, Mean]:
        weight = None if self._weight is None else self._weight[targets.clamp_min(0)]
        return class_means(outputs, targets, self.loss(outputs, targets, smoothing).sum(), weight)

    def calibrate(self, outputs: Tensor, cells: Sequence[str]) -> dict[str, Any]:
        logits, targets = outputs.double(), self.encode(cells)

        def loss(temperature: float) -> float:
            return float(F.cross_entropy(logits / temperature, targets, reduction="sum", ignore_index=UNSEEN))

        return {"temperature": fit_temperature(loss)}

    def values(self, outputs: Tensor) -> Tensor:
        return (outputs / (self._temperature or 1.0)).softmax(-1)

    def predictions(
        self, inputs: Sequence[str], outputs: Tensor, options: Any, *, named: bool = False
    ) -> list[Classification]:
        probabilities = self.values(outputs)
        best, before = probabilities.topk(2), outputs.softmax(-1).amax(-1).tolist()
        told = candidates(probabilities, self.classes, options)
        rows = zip(inputs, best.indices.tolist(), best.values.tolist(), told, before, strict=True)
        names = self.classes
        return [
            Classification(name, names[i], p, names[j], q, named, some, raw) for name, (i, j), (p, q), some, raw in rows
        ]

    def blank(self, text: str) -> Classification:
        return Classification(text)

    def score(self, predictions: Sequence[Classification], cells: Sequence[str]) -> Scores:
        scores = classification_scores(predictions, cells, self.classes)
        if self._temperature is None or not any(prediction.uncalibrated for prediction in predictions):
            return scores
        details = calibration_details(
            [prediction.probability for prediction in predictions],
            [prediction.uncalibrated for prediction in predictions],
            [prediction.label == cell for prediction, cell in zip(predictions, cells, strict=True)],
            self._temperature,
        )
        return scores._replace(details={**scores.details, "calibration": details})

    def baselines(
        self, inputs: Sequence[str], cells: Sequence[str], features: BaselineFeatures
    ) -> Mapping[str, list[Classification]]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        labels = {"majority": [Counter(cells).most_common(1)[0][0]] * len(inputs)}
        if features.neighbors is not None:
            neighbors = KNeighborsClassifier(n_neighbors=min(3, len(cells))).fit(features.neighbors[0], cells)
            labels["nearest neighbors"] = neighbors.predict(features.neighbors[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not fully converged is good enough to compare with
            regression = LogisticRegression(**features.logistic).fit(features.train, cells)
        labels[f"{features.name}logistic regression"] = regression.predict(features.test)
        return {
            name: [Classification(*pair) for pair in zip(inputs, map(str, found), strict=True)]
            for name, found in labels.items()
        }

    def shown(self, cell: str) -> str:
        return cell

    def evidence(self, outputs: Tensor, like: Tensor) -> Tensor:
        return torch.logit(self.values(outputs)[..., int(like.argmax())], eps=1e-6)

    def ranked(self, outputs: Tensor) -> list[tuple[str, float]]:
        from heedful.tasks.views._common import most_probable

        return most_probable(self.classes, self.values(outputs))


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
    details |= {"confusions": confusions([truth], [predicted]), "by_class": by_class([truth], [predicted])}
    return Scores(metrics, details, note)


def by_class(truth: Labels, predicted: Labels) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of examples of each label, the most frequent first.

    Example:
        >>> by_class([["cat", "cat", "dog"]], [["cat", "dog", "dog"]])["cat"]
        {'examples': 2, 'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666}
    """
    pairs = Counter(zip(chain.from_iterable(truth), chain.from_iterable(predicted), strict=True))
    there, guessed, right = Counter[str](), Counter[str](), Counter[str]()
    for (label, guess), count in pairs.items():
        there[label] += count
        guessed[guess] += count
        right[label] += count * (label == guess)
    return {name: f1_scores(right[name], guessed[name], count) for name, count in there.most_common(_MAX_CLASSES)}


def f1_scores(right: int, guessed: int, there: int) -> dict[str, float]:
    """Of one label, from how often it is right, predicted and there."""
    f1 = 2 * right / max(guessed + there, 1)
    return {"examples": there, "precision": right / max(guessed, 1), "recall": right / max(there, 1), "f1": f1}


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


def class_means(outputs: Tensor, labels: Tensor, loss: Tensor, weight: Tensor | None = None) -> dict[str, Mean]:
    """What an epoch shows of logits or probabilities `[B, classes]`: the sum of the losses of known labels, accuracy, macro F1.

    `weight` are those of the labels in the loss.
    """
    classes = outputs.shape[-1]
    known = labels != UNSEEN
    right = F.one_hot(torch.where(known, labels, classes), classes + 1)  # one more for all that training never saw
    guessed = F.one_hot(outputs.argmax(-1), classes + 1)
    hits = (right * guessed).sum(0)
    return {
        "loss": Mean(loss, known.sum() if weight is None else weight[known].sum()),
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
