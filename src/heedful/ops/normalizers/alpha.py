"""The family from softmax (alpha = 1) through sparsemax (alpha = 2), with an alpha that may learn."""

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch

from heedful._checks import as_number
from heedful._types import Float, Tensor
from heedful.ops._concrete import concrete, concrete_on_cpu
from heedful.ops.normalizers.base import Normalizer, number
from heedful.ops.normalizers.exponential import softmax
from heedful.ops.normalizers.pointwise import row_dot
from heedful.ops.normalizers.sparse import entmax15, sparsemax

_STEPS = 100  # about 6 are taken, and more for alpha > 2
_BLIND = 24  # where nobody may look whether it is done; two steps more follow
_NEAR = 0.03  # where log1p(x) / x is a series of ten terms
_TERMS = tuple((-1) ** k / (k + 1) for k in range(10))


def entmax(alpha: float | Float[Tensor, "..."]) -> Normalizer:
    """Entmax for any alpha of at least 1: softmax at 1, sparsemax at 2; the higher, the fewer weights are not 0.

    `p_ij = max(1 + (alpha - 1)(s_ij - lambda_i), 0)^(1 / (alpha - 1))` with `sum_j p_ij = 1`.

    Args:
        alpha: a number, or a tensor that may learn; it broadcasts to `[..., H, N, 1]`.

    Raises:
        ValueError: `alpha` is less than 1.

    Example:
        >>> entmax(1.25)(torch.tensor([[1.0, 0.5, -1.0]]))
        tensor([[0.6315, 0.3451, 0.0235]])

    Source: Peters et al. 2019, equation 10; Correia et al. 2019 (an alpha that learns).
    """
    if not isinstance(alpha, Tensor):
        alpha = as_number("alpha", alpha, "a number or a tensor")
    special: dict[float, Normalizer] = {1.0: softmax, 1.5: entmax15, 2.0: sparsemax}
    if not isinstance(alpha, Tensor) and alpha in special:
        return special[alpha]
    return Entmax(alpha)


@dataclass(frozen=True, eq=False)
class Entmax(Normalizer):
    """What `entmax` gives where alpha is not a number with a name.

    Written with `lambda`, which is the log-sum-exp at alpha = 1, it is smooth in alpha there. An alpha that an optimizer pushed below
    1 counts as 1, with the gradient that it has there, so that it may come back; on a CPU a warning says so.

    Args:
        alpha: a number, or a tensor that may learn; it broadcasts to `[..., H, N, 1]`.

    Raises:
        ValueError: `alpha` is less than 1.

    Example:
        >>> Entmax(torch.tensor(1.0))(torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.5000]])
    """

    alpha: float | Float[Tensor, "..."]
    normalized: ClassVar[bool] = True
    exact_zeros: ClassVar[bool] = False
    has_threshold: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.alpha, Tensor):
            if not concrete(self.alpha) or bool((self.alpha >= 1).all()):
                return
            least = self.alpha.min().item()
        else:
            least = as_number("alpha", self.alpha, "a number or a tensor")
            object.__setattr__(self, "alpha", least)
            if 1 <= least < math.inf:
                return
        raise ValueError(f"`alpha` must be at least 1{'' if least < 1 else ' and finite'}: got {least:g}.")

    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        excess = self._excess(scores)
        with torch.no_grad():
            visible_scores = scores.detach().masked_fill(masked, -math.inf)
            top = visible_scores.amax(-1, keepdim=True)
            top = top.masked_fill(top == -math.inf, 0)
            root = _root(visible_scores - top, excess.detach())
            centered = (scores - top).masked_fill(masked, 0)
            support = ~(masked | (1 + excess.detach() * (centered - root) <= 0))  # a NaN is kept
        scores = (scores - top).masked_fill(~support, 0)
        # n steps make the derivatives up to order 2^n - 1 right, of the scores and of alpha
        for _ in range(3):
            weights, slopes = _powers(scores - root, excess, support)
            total = slopes.sum(-1, keepdim=True)
            root = root + (weights.sum(-1, keepdim=True) - 1) / total.masked_fill(total == 0, 1)
        return _powers(scores - root, excess, support)[0]

    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        top = scores.amax(-1, keepdim=True)
        top = top.masked_fill_(top == -math.inf, 0)
        root = _root(scores.sub_(top), self._excess(scores).detach())
        return self._recompute(scores, root), top + root

    def _recompute(self, scores: Tensor, row: Tensor) -> Tensor:
        excess = self._excess(scores).detach().clamp(min=1e-30)
        return scores.sub_(row).mul_(excess).clamp_min_(-1).log1p_().div_(excess).exp_()

    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor:
        power = 1 - self._excess(weights).detach()
        slopes = torch.pow(weights, power).masked_fill_(weights == 0, 0)
        total = slopes.sum(-1, keepdim=True)
        mean = row_dot(slopes, grad).div_(total.masked_fill_(total == 0, 1))
        return grad.sub_(mean).mul_(slopes)

    def _excess(self, scores: Tensor) -> Tensor:
        """`alpha - 1`, at least 0; computed before it is rounded to the dtype of the scores."""
        excess = self.alpha - 1
        if isinstance(excess, Tensor):
            if concrete_on_cpu(excess) and bool((excess < 0).any()):
                warnings.warn(
                    "`alpha` of entmax must be at least 1: got less, as an optimizer may make it; it counts as 1.",
                    stacklevel=2,
                )
            excess = excess - excess.detach().clamp(max=0)  # not by `clamp`, whose gradient would be 0
        return number(excess, scores)


def _powers(distances: Tensor, excess: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """On the support, `y^(1 / a)` and `y^(1 / a - 1)` for `y = 1 + a t`, smooth in a at 0; else 0."""
    lowest = torch.finfo(distances.dtype).eps - 1  # what rounding takes below the threshold stays on the support
    products = (excess * distances).clamp(min=lowest)
    near = products.abs() < _NEAR
    small = products.masked_fill(~near, 0)
    series = torch.zeros_like(small)
    for term in reversed(_TERMS):
        series = series * small + term
    far = products.masked_fill(near | ~support, 1)
    divisor = torch.where(near | ~support, torch.ones_like(far), excess)
    logarithm = torch.where(near, distances * series, far.log1p() / divisor)
    weights = logarithm.masked_fill(~support, 0).exp().masked_fill(~support, 0)
    return weights, weights / (1 + products.masked_fill(~support, 0))


def _root(scores: Tensor, excess: Tensor) -> Tensor:
    """Lambda of each row, for scores whose largest is 0 and whose masked ones are -inf: Newton's method in a bracket.

    The step is that of `(sum_j p_j)^a`, which is nearly straight in lambda (and straight at a = 0 and for one key).
    """
    may_read, eps = concrete_on_cpu(scores, excess), torch.finfo(scores.dtype).eps
    excess = excess.clamp(min=1e-30)
    count = (scores != -math.inf).sum(-1, keepdim=True).to(scores.dtype)
    low = torch.zeros_like(excess * count)
    high = torch.expm1(-excess * count.clamp(min=1).log()).neg() / excess
    root, last = low, torch.full_like(high, math.inf)
    for _ in range(_STEPS if may_read else _BLIND):
        products = ((scores - root) * excess).clamp_min_(-1)
        logarithms = products.log1p()
        weights = (logarithms / excess).exp_()
        total = weights.sum(-1, keepdim=True)
        slope = weights.div_(products.add_(1).clamp_min_(torch.finfo(scores.dtype).tiny)).sum(-1, keepdim=True)
        too_low = total > 1
        low, high = torch.where(too_low, root, low), torch.where(too_low, high, root)
        level = total.log()
        step = torch.expm1(excess * level) / excess / (((excess - 1) * level).exp() * slope)
        step = step.masked_fill(count == 0, 0)
        newton = root + step
        done = ~(step.abs() > 2 * eps * (1 + root))  # also where it is NaN
        # a step that leaves the bracket, or is not half as long as the last one, is a bisection
        good = done | ((newton >= low) & (newton <= high) & (step.abs() < 0.5 * last))
        new = torch.where(good, newton, (low + high) / 2)
        last, root = (new - root).abs(), new
        if may_read and bool(done.all()):
            break
    return root
