"""Weights by exponentials."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from heedful._types import Tensor
from heedful.ops._concrete import concrete_on_cpu
from heedful.ops.normalizers.base import Normalizer, empty_rows


@dataclass(frozen=True)
class Softmax(Normalizer):
    """The softmax of each row over its visible keys, `p_ij = exp(s_ij) / sum_l exp(s_il)`; an empty row is 0.

    Example:
        >>> softmax(torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]]), torch.tensor([[True, True, False], [False, False, False]]))
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 0.0000]])

    Differs from `torch.softmax` on rows without a visible key, which are NaN there.
    """

    normalized: ClassVar[bool] = True
    exact_zeros: ClassVar[bool] = False

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        empty = masked.all(-1, keepdim=True)
        return scores.masked_fill(masked & ~empty, -math.inf).softmax(-1).masked_fill(empty, 0)

    def _forward(self, scores: Tensor) -> tuple[Tensor, None]:
        empty = empty_rows(scores)
        weights = torch.softmax(scores, -1, out=scores) if concrete_on_cpu(scores) else scores.softmax(-1)
        return weights if empty is None else weights.masked_fill_(empty, 0), None

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        return _softmax_backward(weights, grad)


@dataclass(frozen=True)
class Softmax1(Normalizer):
    """The softmax with room for nothing, `p_ij = exp(s_ij) / (1 + sum_l exp(s_il))`: a row adds up to less than 1.

    It is the softmax over one key more, whose score is 0 and whose weight goes nowhere.

    Example:
        >>> softmax1(torch.tensor([[0.0, 0.0], [-3.0, -3.0]]))
        tensor([[0.3333, 0.3333],
                [0.0453, 0.0453]])

    Source: Miller 2023, "Attention is off by one".
    """

    normalized: ClassVar[bool] = True
    exact_zeros: ClassVar[bool] = False

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        top = scores.masked_fill(masked, 0).detach().amax(-1, keepdim=True).clamp(min=0)
        powers = (scores - top).exp().masked_fill(masked, 0)
        return powers / ((-top).exp() + powers.sum(-1, keepdim=True))

    def _forward(self, scores: Tensor) -> tuple[Tensor, None]:
        top = scores.amax(-1, keepdim=True).relu()
        powers = scores.sub_(top).exp_()
        return powers.div_((-top).exp_().add_(powers.sum(-1, keepdim=True))), None

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        return _softmax_backward(weights, grad)


softmax = Softmax()
softmax1 = Softmax1()


def _softmax_backward(weights: Tensor, grad: Tensor) -> Tensor:
    """`dS_ij = P_ij (dP_ij - sum_l P_il dP_il)`; it holds for any row of exponentials over their sum and a constant."""
    if concrete_on_cpu(weights, grad) and grad.is_contiguous():  # else PyTorch writes what is wrong, silently
        softmax_backward = torch.ops.aten._softmax_backward_data.out
        softmax_backward(grad, weights, -1, grad.dtype, grad_input=grad)
        return grad
    return grad.sub_((weights * grad).sum(-1, keepdim=True)).mul_(weights)
