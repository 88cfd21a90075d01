"""Probabilities that mean what they say: a temperature, and thresholds, that are fitted on the validation part."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from heedful.training.schema import Schema

BINS = 15  # of equal width, in which confidence and accuracy are compared
_PRIOR = 0.5  # standard deviation of the logarithm of a temperature: few examples do not make a model sure
_FEWEST = 20  # examples that have a label, for which a threshold is chosen


class Calibration(Schema):
    """What is fitted on the validation part after the training.

    Attributes:
        temperature: by which logits are divided.
        thresholds: of each label, from which probability on it is predicted, where any number of labels may be.
    """

    temperature: Annotated[float, Field(gt=0, le=1e3)]
    thresholds: list[Annotated[float, Field(ge=0, le=1)]] | None = None


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature T at which `loss(T)`, summed over the examples, plus `(log T)^2 / (2 * 0.5^2)` is least.

    The second term is a prior around 1. It fades as there are more examples.

    Example:
        >>> right, wrong = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> logits, labels = torch.cat([right.expand(70, 2), wrong.expand(30, 2)]).double(), torch.zeros(100).long()
        >>> round(fit_temperature(lambda T: torch.nn.functional.cross_entropy(logits / T, labels, reduction="sum").item()), 1)
        2.0

    Source: Guo et al. 2017.
    """
    from scipy.optimize import minimize_scalar

    def regularized(log: float) -> float:
        return loss(float(torch.tensor(log, dtype=torch.float64).exp())) + 0.5 * (log / _PRIOR) ** 2

    found: Any = minimize_scalar(regularized, bounds=(-4, 4), method="bounded", options={"xatol": 1e-4})
    return float(torch.tensor(found.x, dtype=torch.float64).exp())


def fit_thresholds(probabilities: Tensor, truth: Tensor) -> list[float]:
    """Of each label the threshold of the best F1; of a rare one that of all labels together.

    Args:
        probabilities: `[examples, labels]`.
        truth: which labels there are, likewise.
    """
    common = _threshold(probabilities.flatten(), truth.flatten())
    return [
        _threshold(column, there) if int(there.sum()) >= _FEWEST else common
        for column, there in zip(probabilities.T, truth.bool().T, strict=True)
    ]


def _threshold(probabilities: Tensor, truth: Tensor) -> float:
    """Halfway between the last probability that is taken and the first that is not; 0.5 where nearly nothing is there."""
    total = int(truth.sum())
    if total < _FEWEST:
        return 0.5
    values, order = probabilities.double().sort(descending=True, stable=True)
    f1 = 2 * truth[order].double().cumsum(0) / (torch.arange(1, len(order) + 1) + total)
    after = torch.cat([values[1:], values.new_zeros(1)])
    f1[values == after] = -1  # equal probabilities are taken together
    best = int(f1.argmax())
    return float((values[best] + after[best]) / 2)


def calibration_error(confidences: Sequence[float] | Tensor, correct: Sequence[bool] | Tensor) -> float:
    """The expected calibration error: of 15 bins of confidence, how far their accuracy is from it, by their examples.

    Example:
        >>> round(calibration_error([0.9, 0.9, 0.9, 0.9], [True, True, True, False]), 4)
        0.15
    """
    from torchmetrics.functional.classification import binary_calibration_error

    p = torch.as_tensor(confidences, dtype=torch.float64)
    return float(binary_calibration_error(p, torch.as_tensor(correct).long(), n_bins=BINS))


def calibration_details(
    confidences: Sequence[float], uncalibrated: Sequence[float], correct: Sequence[bool], temperature: float
) -> dict[str, Any]:
    """What metrics.json says of it: the errors before and after, and [confidence, accuracy, count] of the bins that are filled."""
    p, right = torch.tensor(confidences, dtype=torch.float64), torch.tensor(correct, dtype=torch.float64)
    cell = (p * BINS).long().clamp_max(BINS - 1)
    count, sums, hits = (
        torch.zeros(BINS, dtype=torch.float64).index_add(0, cell, x) for x in (right * 0 + 1, p, right)
    )
    bins = zip((sums / count).tolist(), (hits / count).tolist(), count.long().tolist(), strict=True)
    return {
        "temperature": temperature,
        "error_before": calibration_error(uncalibrated, correct),
        "error": calibration_error(confidences, correct),
        "bins": [list(row) for row in bins if row[2]],
    }
