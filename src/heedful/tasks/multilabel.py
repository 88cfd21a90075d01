"""Several labels for each example: the prediction, binary cross entropy, F1 and mean average precision."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._errors import DataError
from heedful._terminal import visible
from heedful.data._rows import check_some_known
from heedful.data.targets import TargetFormat
from heedful.tasks.calibration import calibration_details, fit_temperature, fit_thresholds
from heedful.tasks.classification import candidates, described_classes, f1_scores, unseen_labels
from heedful.tasks.contract import Metric, Scores
from heedful.tasks.targets import BaselineFeatures, Target, check_weights
from heedful.training.objective import Mean

_MAX_REGRESSIONS = 300  # labels, for each of which a regression is fitted


@dataclass(frozen=True)
class LabelSet:
    """The labels of one input, any number of them.

    Attributes:
        input: the text, or where the image came from.
        labels: those whose probability reaches their threshold, the most probable first.
        probabilities: of these labels.
        candidates: the most probable labels and their probabilities, as many as were asked for.
        named: whether the printed line names the input.
        separator: stands between labels in a table.
        all_probabilities: of every label that the model knows.
        uncalibrated: the same before the temperature.
    """

    input: str
    labels: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    candidates: dict[str, float] | None = field(default=None, metadata={"json": "set"})
    named: bool = field(default=False, metadata={"json": False})
    separator: str = field(default=",", metadata={"json": False})
    all_probabilities: list[float] = field(default_factory=list, metadata={"json": False})
    uncalibrated: list[float] = field(default_factory=list, metadata={"json": False})

    def to_format(self) -> str:
        """A line of a table of inputs and labels."""
        cell = TargetFormat("labels", self.separator).cell(self.labels)
        return f"{' '.join(self.input.split())}\t{cell}"

    def __str__(self) -> str:
        """One line to read."""
        told = self.candidates or dict(zip(self.labels, self.probabilities, strict=True))
        words = ", ".join(f"{visible(label)} {100 * p:.1f} %" for label, p in told.items())
        return f"{visible(self.input)}: {words}" if self.named else words


@final
class SeveralLabels(Target):
    """Each example has any number of labels; the outputs are a logit for each."""

    monitor, prediction = "micro_f1", LabelSet

    def __init__(self, format: TargetFormat, vocabulary: Mapping[str, Any]) -> None:
        self.format = format
        self.classes: list[str] = vocabulary["classes"]
        self.outputs = len(self.classes)
        self._number = {name: number for number, name in enumerate(self.classes)}
        weights = vocabulary.get("class_weights")
        self._weights = None if weights is None else torch.tensor(weights)  # [2, C]: of there, of not there
        calibration = vocabulary.get("calibration") or {}
        self._temperature: float | None = calibration.get("temperature")
        thresholds = calibration.get("thresholds") or [0.5] * self.outputs
        if len(thresholds) != self.outputs:
            raise ValueError(f"`thresholds` must be one for each of {self.outputs} labels: got {len(thresholds)}.")
        self.thresholds = torch.tensor(thresholds)

    @classmethod
    def learn(cls, cells: Sequence[str], settings: Any, classes: Sequence[str] | None) -> dict[str, Any]:
        """The labels, and the weights of their presence and of their absence."""
        counts = Counter(label for cell in cells for label in settings.data.format.labels(cell))
        names = sorted(counts)
        if len(names) < 2:
            raise DataError(
                f"must hold at least two labels: got {names[0]!r} alone" if names else "must hold labels: got none"
            )
        if settings.loss.class_weights == "none":
            return {"classes": names}
        check_weights(names, [counts[name] for name in names])
        rows = ((counts[name], len(cells) - counts[name]) for name in names)
        weights = [[len(cells) / (2 * max(count, 1)) for count in row] for row in rows]
        return {"classes": names, "class_weights": [list(row) for row in zip(*weights, strict=True)]}

    def describe(self) -> str:
        return described_classes(self.classes).replace("classes", "labels", 1)

    def check(self, cells: Iterable[tuple[str, str]]) -> None:
        check_some_known(
            ((one, location) for cell, location in cells for one in self.format.labels(cell)), self.classes
        )

    def encode(self, cells: Sequence[str]) -> Tensor:
        targets = torch.zeros(len(cells), self.outputs)
        for row, cell in enumerate(cells):
            targets[row, [self._number[name] for name in self.format.labels(cell) if name in self._number]] = 1
        return targets

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        soft = targets * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, soft.expand_as(outputs), reduction="none")
        if self._weights is not None:
            losses = losses * torch.where(targets > 0, self._weights[0], self._weights[1])
        return losses.mean(-1)

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """The symmetric divergence of two coins: `(p - q) (logit p - logit q)`."""
        return ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(-1)

    def merge(self, outputs: Tensor, shares: Tensor) -> Tensor:
        return outputs.double().sigmoid().mul(shares).sum(0).logit(eps=1e-12).float()

    def means(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> dict[str, Mean]:
        guessed = outputs > 0
        hits, both = (guessed * targets).sum(0), guessed.sum(0) + targets.sum(0)
        return {
            "loss": Mean(self.loss(outputs, targets, smoothing).sum(), len(targets)),
            "micro_f1": Mean(2 * hits.sum(), both.sum()),
            "macro_f1": Mean(2 * hits, both),
        }

    def calibrate(self, outputs: Tensor, cells: Sequence[str]) -> dict[str, Any]:
        logits, targets = outputs.double(), self.encode(cells).double()

        def loss(temperature: float) -> float:
            return float(F.binary_cross_entropy_with_logits(logits / temperature, targets, reduction="sum"))

        temperature = fit_temperature(loss)
        return {"temperature": temperature, "thresholds": fit_thresholds((logits / temperature).sigmoid(), targets)}

    def values(self, outputs: Tensor) -> Tensor:
        return (outputs / (self._temperature or 1.0)).sigmoid()

    def predictions(
        self, inputs: Sequence[str], outputs: Tensor, options: Any, *, named: bool = False
    ) -> list[LabelSet]:
        before = outputs.sigmoid().tolist() if self._temperature is not None else [[]] * len(outputs)
        return self._predictions(inputs, self.values(outputs), self.thresholds, before, options, named=named)

    def _predictions(
        self,
        inputs: Sequence[str],
        probabilities: Tensor,
        thresholds: Tensor,
        before: Sequence[list[float]],
        options: Any = None,
        *,
        named: bool = False,
    ) -> list[LabelSet]:
        made = []
        told = candidates(probabilities, self.classes, options)
        for name, row, some, raw in zip(inputs, probabilities, told, before, strict=True):
            there = [i for i in row.argsort(descending=True).tolist() if row[i] >= thresholds[i]]
            values = row.tolist()
            labels, of_labels = [self.classes[i] for i in there], [values[i] for i in there]
            made.append(LabelSet(name, labels, of_labels, some, named, self.format.separator, values, raw))
        return made

    def blank(self, text: str) -> LabelSet:
        return LabelSet(text, separator=self.format.separator, all_probabilities=[0.0] * self.outputs)

    def score(self, predictions: Sequence[LabelSet], cells: Sequence[str]) -> Scores:
        """F1 over all labels together and over their mean; a label that is neither there nor predicted does not count."""
        from sklearn.metrics import average_precision_score

        truth = [self.format.labels(cell) for cell in cells]
        predicted = [prediction.labels for prediction in predictions]
        there, guessed = (Counter(label for row in rows for label in row) for rows in (truth, predicted))
        both = zip(truth, predicted, strict=True)
        right = Counter(label for labels, guesses in both for label in set(labels) & set(guesses))
        of_labels = {name: f1_scores(right[name], guessed[name], count) for name, count in there.most_common()}
        of_labels |= {name: f1_scores(0, count, 0) for name, count in guessed.items() if name not in there}
        probabilities = torch.tensor([prediction.all_probabilities for prediction in predictions], dtype=torch.float64)
        targets = self.encode(cells)
        precisions = [
            float(average_precision_score(targets[:, i].numpy(), probabilities[:, i].numpy()))
            for i, name in enumerate(self.classes)
            if there[name]
        ]
        same = [set(one) == set(other) for one, other in zip(truth, predicted, strict=True)]
        metrics = {
            "micro_f1": Metric(f1_scores(right.total(), guessed.total(), there.total())["f1"]),
            "macro_f1": Metric(sum(one["f1"] for one in of_labels.values()) / max(len(of_labels), 1)),
            "mean_average_precision": Metric(sum(precisions) / max(len(precisions), 1)),
            "exact_match": Metric(sum(same) / max(len(same), 1)),
        }
        details, note = unseen_labels(truth, self._number)
        details["by_class"] = of_labels
        if self._temperature is not None and all(prediction.uncalibrated for prediction in predictions):
            before = [p for prediction in predictions for p in prediction.uncalibrated]
            details["calibration"] = calibration_details(
                probabilities.flatten().tolist(), before, targets.flatten().bool().tolist(), self._temperature
            )
        return Scores(metrics, details, note)

    def baselines(
        self, inputs: Sequence[str], cells: Sequence[str], features: BaselineFeatures
    ) -> Mapping[str, list[LabelSet]]:
        """The shares of the labels; a logistic regression for each, with the threshold that is best on its training examples' own folds."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.multiclass import OneVsRestClassifier

        truth, none = self.encode(cells), [list[float]()] * len(inputs)
        shares = truth.mean(0)
        likely = shares.new_full((self.outputs,), min(0.5, float(shares.max())))  # those that half have, at least one
        found = {"most frequent labels": self._predictions(inputs, shares.expand(len(inputs), -1), likely, none)}
        if self.outputs <= _MAX_REGRESSIONS and len(cells) >= 10:
            model = OneVsRestClassifier(LogisticRegression(**features.logistic))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a label that all or none of a fold have
                folds = cross_val_predict(model, features.train, truth.numpy(), cv=3, method="predict_proba")
                probabilities = model.fit(features.train, truth.numpy()).predict_proba(features.test)
            thresholds = torch.tensor(fit_thresholds(torch.tensor(folds), truth))
            found[f"{features.name}logistic regression"] = self._predictions(
                inputs, torch.tensor(probabilities), thresholds, none
            )
        return found

    def shown(self, cell: str) -> str:
        return ", ".join(self.format.labels(cell))

    def evidence(self, outputs: Tensor, like: Tensor) -> Tensor:
        return outputs[..., int(like.argmax())] / (self._temperature or 1.0)

    def ranked(self, outputs: Tensor) -> list[tuple[str, float]]:
        from heedful.tasks.views._common import most_probable

        return most_probable(self.classes, self.values(outputs))
