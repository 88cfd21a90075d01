"""What a classifier predicts: one label, several labels, or a number. All that differs between the three is in these files.

classification.py   one label: cross entropy, accuracy
multilabel.py       several labels: binary cross entropy, F1, mean average precision
regression.py       a number: squared error, R2
target_kinds.py     the table of the three
"""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from heedful._errors import DataError
from heedful.data.targets import TargetFormat, TargetKind
from heedful.tasks.calibration import Calibration
from heedful.tasks.contract import Scores
from heedful.training.objective import Mean
from heedful.training.schema import Classes, Schema
from heedful.training.settings import LossSettings, RowSettings


class TargetSettings(RowSettings):
    """What the column of labels holds."""

    target: TargetKind = Field("label", description="what is predicted: one label, any number of labels, or a number")
    separator: str = Field(",", min_length=1, description="target=labels: what stands between labels in a table")

    @property
    def format(self) -> TargetFormat:
        """How a cell is read."""
        return TargetFormat(self.target, self.separator)


class TargetLoss(LossSettings):
    """What is minimized: a cross entropy; of numbers the squared error."""

    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare labels weigh more, so that all count as much"
    )


class TargetVocabulary(Schema):
    """What the outputs of a model mean."""

    classes: Classes | None = None
    class_weights: list[list[float]] | None = None
    target_mean: float | None = None
    target_std: float | None = None
    calibration: Calibration | None = None


class BaselineFeatures(NamedTuple):
    """What simple methods see of the training examples and of others, `[examples, features]`.

    Attributes:
        train: of the training examples.
        test: of those that are to be predicted.
        name: what precedes the name of a linear method: "TF-IDF + ".
        logistic: options of scikit-learn's logistic regression.
        neighbors: what nearest neighbors are looked for in, of both, where that is sensible.
    """

    train: Any
    test: Any
    name: str
    logistic: Mapping[str, Any]
    neighbors: tuple[Any, Any] | None = None


class Target(abc.ABC):
    """What a model's outputs `[..., B, C]` mean, C of them an example. Cells are those of the column of labels."""

    monitor: ClassVar[str]  # what chooses the best epoch, where examples are many
    prediction: ClassVar[type[Any]]
    classes: Sequence[str] = ()
    outputs: int  # C

    @abc.abstractmethod
    def describe(self) -> str:
        """In a few words: "2 classes"."""

    @abc.abstractmethod
    def check(self, cells: Iterable[tuple[str, str]]) -> None:
        """Raises DataError where no cell, each with its location, is one that the model can predict."""

    @abc.abstractmethod
    def encode(self, cells: Sequence[str]) -> Tensor:
        """What the outputs are compared with, `[B]` or `[B, C]`."""

    @abc.abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Of each example, `[..., B]`."""

    @abc.abstractmethod
    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """How far two predictions of one example are apart, `[..., B]`."""

    @abc.abstractmethod
    def merge(self, outputs: Tensor, shares: Tensor) -> Tensor:
        """The outputs of an ensemble `[K, B, C]` as those of one model `[B, C]`, by the share that each has, `[K, 1, 1]`."""

    @abc.abstractmethod
    def means(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> dict[str, Mean]:
        """What an epoch shows of a batch; the loss is that of the known labels."""

    @abc.abstractmethod
    def calibrate(self, outputs: Tensor, cells: Sequence[str]) -> dict[str, Any]:
        """What `Calibration` holds, fitted on outputs of examples that were not trained on."""

    @abc.abstractmethod
    def values(self, outputs: Tensor) -> Tensor:
        """Probabilities, calibrated, or numbers, `[B, C]`."""

    @abc.abstractmethod
    def predictions(self, inputs: Sequence[str], outputs: Tensor, options: Any, *, named: bool = False) -> list[Any]:
        """A prediction for each input; `named`: its line names the input."""

    @abc.abstractmethod
    def blank(self, text: str) -> Any:
        """The prediction for a text that says nothing."""

    @abc.abstractmethod
    def score(self, predictions: Sequence[Any], cells: Sequence[str]) -> Scores:
        """The metrics."""

    @abc.abstractmethod
    def baselines(
        self, inputs: Sequence[str], cells: Sequence[str], features: BaselineFeatures
    ) -> Mapping[str, list[Any]]:
        """Predictions for the inputs by simple methods, fitted on the features and cells of the training examples."""

    @abc.abstractmethod
    def shown(self, cell: str) -> str:
        """A cell in words."""

    @abc.abstractmethod
    def evidence(self, outputs: Tensor, like: Tensor) -> Tensor:
        """How much of `[B, C]` speaks for the prediction of outputs `[C]`: log-odds or a number, `[B]`."""

    @abc.abstractmethod
    def ranked(self, outputs: Tensor) -> list[tuple[str, float]]:
        """The most probable labels of outputs `[C]` with their probabilities; of a number none."""


def check_weights(classes: Sequence[str], counts: Sequence[int]) -> None:
    """Raises DataError for a label that cannot be balanced since no example has it."""
    for name, count in zip(classes, counts, strict=True):
        if not count:
            raise DataError(
                f"loss.class_weights=balanced needs an example of each label to train on: got none of '{name}'"
            )
