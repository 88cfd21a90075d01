"""Weights without an exponential race: each score by itself, over how many or how much there is."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from heedful._checks import check_finite
from heedful._types import Float, Tensor
from heedful.ops._concrete import concrete_on_cpu
from heedful.ops.normalizers.base import Normalizer, number, visible_keys, visible_keys_of


@dataclass(frozen=True)
class Relu(Normalizer):
    """The positive part of the scores over the number of visible keys, `p_ij = max(s_ij, 0) / m_i`.

    Example:
        >>> relu(torch.tensor([[4.0, -4.0, 2.0]]), torch.tensor([[True, True, False]]))
        tensor([[2., 0., 0.]])

    Source: Wortsman et al. 2023, equation 2 with alpha = 1.
    """

    normalized: ClassVar[bool] = False

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        return scores.relu().masked_fill(masked, 0) / visible_keys(masked)

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        row = visible_keys_of(scores).reciprocal_()
        return scores.relu_().mul_(row), row

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        assert row is not None
        return where_positive_(grad, weights).mul_(row)


@dataclass(frozen=True)
class Proportional(Normalizer):
    """The positive part of the scores over its sum, `p_ij = max(s_ij, 0) / sum_l max(s_il, 0)`: rows add up to 1.

    A row without a positive score counts as empty.

    Example:
        >>> proportional(torch.tensor([[3.0, -4.0, 1.0], [-1.0, 0.0, -2.0]]))
        tensor([[0.7500, 0.0000, 0.2500],
                [0.0000, 0.0000, 0.0000]])

    Source: Shen et al. 2023, with a sum in place of the count.
    """

    normalized: ClassVar[bool] = True

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        positive = scores.relu().masked_fill(masked, 0)
        total = positive.sum(-1, keepdim=True)
        return positive / total.masked_fill(total == 0, 1)

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        positive = scores.relu_()
        total = positive.sum(-1, keepdim=True)
        row = total.masked_fill_(total == 0, 1).reciprocal()
        return positive.div_(total), row  # a row of subnormal scores has no finite reciprocal

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        assert row is not None
        return where_positive_(grad.sub_(row_dot(weights, grad)), weights).mul_(row)


@dataclass(frozen=True, eq=False)
class Sigmoid(Normalizer):
    """Each score by itself, `p_ij = 1 / (1 + exp(-(s_ij + b)))`: keys do not compete.

    Args:
        offset: b. None: `-log m_i` for a row with m_i visible keys, so that m_i scores of 0 add up to about 1. A tensor may
            learn; it broadcasts to `[..., H, N, 1]`.

    Example:
        >>> sigmoid(torch.zeros(1, 4)), Sigmoid(offset=0.0)(torch.zeros(1, 4))
        (tensor([[0.2000, 0.2000, 0.2000, 0.2000]]), tensor([[0.5000, 0.5000, 0.5000, 0.5000]]))

    Source: Ramapuram et al. 2024, equation 3.
    """

    offset: float | Float[Tensor, "..."] | None = None
    normalized: ClassVar[bool] = False
    exact_zeros: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.offset, Tensor) and self.offset is not None:
            object.__setattr__(self, "offset", check_finite("offset", self.offset, "a number or a tensor"))

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        offset = -visible_keys(masked).to(scores.dtype).log() if self.offset is None else self._offset(scores)
        return (scores + offset).sigmoid().masked_fill(masked, 0)

    def _forward(self, scores: Tensor) -> tuple[Tensor, None]:
        offset = visible_keys_of(scores).log_().neg_() if self.offset is None else self._offset(scores)
        return scores.add_(offset).sigmoid_(), None

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        if concrete_on_cpu(weights, grad):
            torch.ops.aten.sigmoid_backward.grad_input(grad, weights, grad_input=grad)
            return grad
        return grad.mul_(weights).mul_(1 - weights)

    def _offset(self, scores: Tensor) -> Tensor:
        assert self.offset is not None
        return number(self.offset, scores)


@dataclass(frozen=True)
class Linear(Normalizer):
    """The scores over the number of visible keys, `p_ij = s_ij / m_i`: weights may be negative.

    Example:
        >>> linear(torch.tensor([[4.0, -2.0]]))
        tensor([[ 2., -1.]])

    Source: Katharopoulos et al. 2020 (without a feature map); Wang et al. 2018, section 3.2 ("dot product").
    """

    normalized: ClassVar[bool] = False
    signed: ClassVar[bool] = True

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        return (scores / visible_keys(masked)).masked_fill(masked, 0)

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        row = visible_keys_of(scores).reciprocal_()
        weights = scores.mul_(row).add_(0.0)  # -0 becomes 0
        if (
            scores.shape[-1] > 1 and concrete_on_cpu(scores) and bool((row * scores.shape[-1] == 1).all())
        ):  # all are visible
            return weights, row
        return weights.masked_fill_(weights == -math.inf, -0.0), row  # -0: a masked pair, for `backward_` to know it

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        assert row is not None
        grad.mul_(row)
        if grad.shape[-1] > 1 and concrete_on_cpu(row) and bool((row * grad.shape[-1] == 1).all()):
            return grad
        return grad.masked_fill_((weights == 0) & weights.signbit(), 0)


relu = Relu()
proportional = Proportional()
sigmoid = Sigmoid()
linear = Linear()


def where_positive_(grad: Tensor, weights: Tensor) -> Tensor:
    """In place: `grad` where the weight is positive, else 0."""
    if concrete_on_cpu(weights, grad):
        torch.ops.aten.threshold_backward.grad_input(grad, weights, 0, grad_input=grad)
        return grad
    return grad.masked_fill_(weights <= 0, 0)


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each row with its twin, `[..., N, 1]`."""
    products: Tensor = torch.linalg.vecdot(a, b)
    return products.unsqueeze(-1)
