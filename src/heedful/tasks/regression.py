"""A number for each example: the prediction, the squared error of standardized numbers, R2 and rank correlation."""

import statistics
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful._terminal import visible
from heedful.data.targets import TargetFormat
from heedful.tasks.contract import Metric, Scores
from heedful.tasks.targets import BaselineFeatures, Target
from heedful.training.objective import Mean

_ALPHAS = [0.1, 0.3, 1.0, 3.0, 10.0]  # penalties of which ridge regression takes the best


@dataclass(frozen=True)
class Estimate:
    """The number of one input.

    Attributes:
        input: the text, or where the image came from.
        number: the estimate.
        named: whether the printed line names the input.
    """

    input: str
    number: float
    named: bool = field(default=False, metadata={"json": False})

    def to_format(self) -> str:
        """A line of a table of inputs and numbers."""
        return f"{' '.join(self.input.split())}\t{self.number:.6g}"

    def __str__(self) -> str:
        """One line to read."""
        return f"{visible(self.input)}: {self.number:.6g}" if self.named else f"{self.number:.6g}"


@final
class OneNumber(Target):
    """Each example has a number; the output is that number, less the mean of the training and over its standard deviation."""

    monitor, prediction = "loss", Estimate
    outputs = 1

    def __init__(self, format: TargetFormat, vocabulary: Mapping[str, Any]) -> None:
        self._mean, self._std = vocabulary["target_mean"], vocabulary["target_std"]
        if self._std <= 0:
            raise ValueError(f"`target_std` must be positive: got {self._std}.")

    @classmethod
    def learn(cls, cells: Sequence[str], settings: Any, classes: Sequence[str] | None) -> dict[str, Any]:
        """The mean and the standard deviation."""
        if settings.loss.class_weights != "none":
            raise SettingsError("`loss.class_weights`: numbers have no classes: must be none with data.target=number.")
        numbers = _numbers(cells)
        std = statistics.pstdev(numbers)
        if not std > 0:
            raise DataError(f"must hold at least two different numbers: got {numbers[0]:g} alone")
        return {"target_mean": statistics.fmean(numbers), "target_std": std}

    def describe(self) -> str:
        return f"numbers of mean {self._mean:.4g} and standard deviation {self._std:.4g}"

    def check(self, cells: Iterable[tuple[str, str]]) -> None:
        """Every number can be predicted."""

    def encode(self, cells: Sequence[str]) -> Tensor:
        return torch.tensor([(number - self._mean) / self._std for number in _numbers(cells)])

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        losses: Tensor = F.mse_loss(outputs[..., 0], targets.expand(outputs.shape[:-1]), reduction="none")
        return losses

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        return ((first - second) ** 2)[..., 0]

    def merge(self, outputs: Tensor, shares: Tensor) -> Tensor:
        return outputs.float().mul(shares).sum(0)

    def means(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> dict[str, Mean]:
        error = (outputs[..., 0] - targets).abs().sum() * self._std
        return {"loss": Mean(self.loss(outputs, targets).sum(), len(targets)), "mae": Mean(error, len(targets))}

    def calibrate(self, outputs: Tensor, cells: Sequence[str]) -> dict[str, Any]:
        """A number has no probability."""
        return {}

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.double().mul(self._std).add(self._mean)

    def predictions(
        self, inputs: Sequence[str], outputs: Tensor, options: Any, *, named: bool = False
    ) -> list[Estimate]:
        if getattr(options, "top_k", None) is not None:
            raise SettingsError("`top_k`: numbers are predicted, and no labels of which some are the most probable.")
        values = self.values(outputs)[:, 0].tolist()
        return [Estimate(name, value, named) for name, value in zip(inputs, values, strict=True)]

    def blank(self, text: str) -> Estimate:
        return Estimate(text, self._mean)

    def score(self, predictions: Sequence[Estimate], cells: Sequence[str]) -> Scores:
        """R2 and the rank correlation are 0 where all numbers, or all estimates, are the same."""
        from scipy.stats import spearmanr

        truth, found = np.array(_numbers(cells)), np.array([prediction.number for prediction in predictions])
        errors, spread = found - truth, float(((truth - truth.mean()) ** 2).sum())
        varied = len(set(truth.tolist())) > 1 and len(set(found.tolist())) > 1
        metrics = {
            "r2": Metric(1 - float((errors**2).sum()) / spread if spread > 0 else 0.0, "of 1"),
            "spearman": Metric(float(spearmanr(truth, found).statistic) if varied else 0.0, "of 1"),
            "mae": Metric(float(np.abs(errors).mean()), ""),
            "mse": Metric(float((errors**2).mean()), ""),
        }
        return Scores(metrics)

    def baselines(
        self, inputs: Sequence[str], cells: Sequence[str], features: BaselineFeatures
    ) -> Mapping[str, list[Estimate]]:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV
        from sklearn.neighbors import KNeighborsRegressor

        numbers = np.array(_numbers(cells))
        found: dict[str, Any] = {"mean": [self._mean] * len(inputs)}
        if features.neighbors is not None:
            neighbors = KNeighborsRegressor(n_neighbors=min(3, len(cells))).fit(features.neighbors[0], numbers)
            found["nearest neighbors"] = neighbors.predict(features.neighbors[1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pixels that are the same in all images
            ridge = GridSearchCV(Ridge(), {"alpha": _ALPHAS}, cv=min(3, len(cells)), scoring="neg_mean_squared_error")
            found[f"{features.name}ridge regression"] = ridge.fit(features.train, numbers).predict(features.test)
        return {
            name: [Estimate(*pair) for pair in zip(inputs, map(float, values), strict=True)]
            for name, values in found.items()
        }

    def shown(self, cell: str) -> str:
        return f"{float(cell):.6g}"

    def evidence(self, outputs: Tensor, like: Tensor) -> Tensor:
        return self.values(outputs)[..., 0]

    def ranked(self, outputs: Tensor) -> list[tuple[str, float]]:
        return []


def _numbers(cells: Sequence[str]) -> list[float]:
    return [float(cell) for cell in cells]
