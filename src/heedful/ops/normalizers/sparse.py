"""Weights of which many are exactly 0: a threshold a row, found by Newton's method without sorting.

The sum of a row's weights is a convex falling function of the threshold, so that Newton's steps from below never pass it.
With the keys above the threshold known, it has a closed form, which is what is differentiated.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from heedful._types import Tensor
from heedful.ops._concrete import concrete_on_cpu
from heedful.ops.normalizers.base import Normalizer
from heedful.ops.normalizers.pointwise import row_dot

_STEPS = 20  # rarely more than 8 are taken, 12 of 100,000 equal scores


@dataclass(frozen=True)
class Sparsemax(Normalizer):
    """The nearest point to the scores that is a distribution, `p_ij = max(s_ij - tau_i, 0)` with `sum_j p_ij = 1`.

    Example:
        >>> sparsemax(torch.tensor([[1.0, 0.5, -1.0]]))
        tensor([[0.7500, 0.2500, 0.0000]])

    Source: Martins and Astudillo 2016, equation 2.
    """

    normalized: ClassVar[bool] = True
    exact_zeros: ClassVar[bool] = False
    has_threshold: ClassVar[bool] = True

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        scores, support = _centered(scores, masked, self)
        count = support.sum(-1, keepdim=True).clamp(min=1)
        tau = (scores.masked_fill(~support, 0).sum(-1, keepdim=True) - 1) / count
        return (scores - tau).masked_fill(~support, 0).relu()

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        may_read, tolerance = concrete_on_cpu(scores), torch.finfo(scores.dtype).eps
        rest, level = _above_lowest_(scores, 1.0)
        signs = torch.empty_like(rest)
        for _ in range(_STEPS):
            count = (torch.sign(rest, out=signs) if may_read else rest.sign()).sum(-1, keepdim=True)
            step = (rest.sum(-1, keepdim=True) - 1).relu_() / count.clamp(min=1)
            rest.sub_(step).relu_()
            level.add_(step)
            if may_read and not bool((step > tolerance).any()):
                break
        return rest, level

    def _recompute(self, scores: Tensor, row: Tensor) -> Tensor:
        return scores.sub_(row).relu_()

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        return _threshold_backward(weights.sign_(), grad)


@dataclass(frozen=True)
class Entmax15(Normalizer):
    """Halfway between softmax and sparsemax, `p_ij = max(s_ij / 2 - tau_i, 0)^2` with `sum_j p_ij = 1`.

    Example:
        >>> entmax15(torch.tensor([[1.0, 0.5, -1.0]]))
        tensor([[0.6740, 0.3260, 0.0000]])

    Source: Peters et al. 2019, equation 13 with alpha = 1.5.
    """

    normalized: ClassVar[bool] = True
    exact_zeros: ClassVar[bool] = False
    has_threshold: ClassVar[bool] = True

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        scores, support = _centered(scores, masked, self)
        halves, count = scores / 2, support.sum(-1, keepdim=True).clamp(min=1)
        mean = halves.masked_fill(~support, 0).sum(-1, keepdim=True) / count
        squared_deviation = (halves - mean).masked_fill(~support, 0).square().sum(-1, keepdim=True)
        least = torch.finfo(
            scores.dtype
        ).eps  # (1 - squared_deviation) / count is at least 1 / count^2 but for rounding
        tau = mean - ((1 - squared_deviation).clamp(min=least) / count).sqrt()
        rest = (halves - tau).masked_fill(~support, 0).relu()
        # one step more takes the rounding out of tau; the sum of roots of an empty row is set to 1
        total = rest.sum(-1, keepdim=True)
        step = (rest.square().sum(-1, keepdim=True) - 1) / (2 * total.masked_fill(total == 0, 1))
        return (halves - (tau + step)).masked_fill(~support, 0).relu().square()

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        eps = torch.finfo(scores.dtype).eps
        may_read, small = concrete_on_cpu(scores), math.sqrt(eps) / 8
        rest, level = _above_lowest_(scores, 2.0)  # twice the roots of the weights
        for _ in range(_STEPS):
            length = torch.linalg.vector_norm(rest, 2, -1, keepdim=True)
            total = rest.sum(-1, keepdim=True).clamp(min=eps)
            step = (length - 2).relu_().mul_(length).div_(total)  # of the length, which is straighter than its square
            rest.sub_(step).relu_()
            level.add_(step)
            if may_read and not bool((step > small).any()):  # a step doubles the digits
                break
        return rest.mul_(rest).mul_(0.25), level

    def _recompute(self, scores: Tensor, row: Tensor) -> Tensor:
        rest = scores.sub_(row).relu_()
        return rest.mul_(rest).mul_(0.25)

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        tiny = torch.finfo(
            weights.dtype
        ).tiny  # an even power of 2; the root of 0 is five times slower than that of others
        return _threshold_backward(weights.clamp_min_(tiny).sqrt_().sub_(math.sqrt(tiny)), grad)


sparsemax = Sparsemax()
entmax15 = Entmax15()


def _centered(scores: Tensor, masked: Tensor, normalizer: Normalizer) -> tuple[Tensor, Tensor]:
    """The scores relative to the largest visible one of their row, masked ones 0; and where the weight is positive."""
    with torch.no_grad():
        visible_scores = scores.detach().masked_fill(masked, -math.inf)
        top = visible_scores.amax(-1, keepdim=True)
        top = top.masked_fill(top == -math.inf, 0)
        support = normalizer.forward_(visible_scores)[0] != 0  # a NaN is kept
    return (scores - top).masked_fill(masked, 0), support


def _above_lowest_(scores: Tensor, lowest: float) -> tuple[Tensor, Tensor]:
    """In place: how far each score stands above the largest of its row minus `lowest`, where the threshold is at least; or 0."""
    top = scores.amax(-1, keepdim=True)
    level = top.masked_fill_(top == -math.inf, 0).sub_(lowest)
    return scores.sub_(level).relu_(), level


def _threshold_backward(slopes: Tensor, grad: Tensor) -> Tensor:
    """`dS_ij = g_ij (dP_ij - sum_l g_il dP_il / sum_l g_il)` for `g = p^(2 - alpha)`, 0 off the support."""
    total = slopes.sum(-1, keepdim=True)
    mean = row_dot(slopes, grad).div_(total.masked_fill_(total == 0, 1))
    return grad.sub_(mean).mul_(slopes)
