"""Cross entropy of many features against a large vocabulary, whose logits are never stored all at once."""

from typing import Any

import torch
import torch.nn.functional as F

from heedful._checks import autocasts, check_fraction
from heedful._types import Float, Int, Tensor

# Logits of a part: more leave the processor's cache, with fewer the gradient of `weight` is summed up too often.
_CHUNK_LOGITS = 2**21


def linear_cross_entropy(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "T"],
    label_smoothing: float = 0.0,
    row_weights: Float[Tensor, "T"] | None = None,
) -> Float[Tensor, ""]:
    """The sum of the cross entropies of `x @ weight.T`, as `F.linear` and `F.cross_entropy` give it.

    The logits `[T, V]` are made some rows at a time; their gradient is known at once, so that a part of it, too, is gone when the
    next one begins. What is stored is as large as `x` and `weight`.

    Args:
        x: features.
        weight: a row for each class.
        targets: the right class of each feature.
        label_smoothing: the share of each target that is spread over all classes.
        row_weights: what each feature's cross entropy is multiplied by, without a gradient; None: 1.

    Raises:
        ValueError: shapes do not fit, or `label_smoothing` is no fraction.

    Example:
        >>> x, weight, targets = torch.randn(7, 4), torch.randn(9, 4), torch.arange(7)
        >>> expected = F.cross_entropy(x @ weight.T, targets, reduction="sum")
        >>> torch.allclose(linear_cross_entropy(x, weight, targets), expected)
        True

    Source: the label smoothing: Szegedy et al. 2016, section 7.
    """
    label_smoothing = check_fraction("label_smoothing", label_smoothing)
    if len(x) != len(targets) or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"`x` must be [{len(targets)}, {weight.shape[1]}] to fit `targets` and `weight`: got {list(x.shape)}."
        )
    if row_weights is not None and row_weights.shape != targets.shape:
        raise ValueError(f"`row_weights` must be [{len(targets)}], as `targets` are: got {list(row_weights.shape)}.")
    total: Tensor = _LinearCrossEntropy.apply(x, weight, targets, label_smoothing, row_weights)
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, row_weights: Tensor | None
    ) -> Tensor:
        needs_grad = ctx.needs_input_grad[:2]
        # Half precision would lose the small probabilities of a large vocabulary; the products that make gradients of them may have it.
        low = torch.get_autocast_dtype(x.device.type) if autocasts(x) else None
        with torch.autocast(x.device.type, enabled=False):
            full, matrix = (t.float() if t.itemsize < 4 else t for t in (x, weight))
            rows = None if row_weights is None else row_weights.to(full.dtype)[:, None]  # [T, 1]
            total, grads = _in_chunks(full, matrix, targets, smoothing, rows, needs_grad, low)
        ctx.grads = [None if g is None else g.to(t.dtype) for g, t in zip(grads, (x, weight), strict=True)]
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if grad is None else grad * outer[0].to(grad.dtype) for grad in ctx.grads), None, None, None


def _in_chunks(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
    rows: Tensor | None,
    needs_grad: tuple[bool, bool],
    low: torch.dtype | None,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    # A probability is e / norm. The division, and what label smoothing takes from every class alike, are left to the small
    # factors of the products: each pass over the logits costs as much as a third of a product.
    uniform = smoothing / len(weight)
    weight_sum = weight.sum(0)  # [D]
    weighted = x if rows is None else x * rows
    total = -uniform * (weighted @ weight_sum).sum()
    x_grad = torch.empty_like(x) if needs_grad[0] else None
    weight_grad = (-uniform * weighted.sum(0)).expand_as(weight).clone() if needs_grad[1] else None
    factor = weight if low is None else weight.to(low)
    size = max(_CHUNK_LOGITS // len(weight), 1)
    for chunk, target, start in zip(x.split(size), targets.split(size), range(0, len(x), size), strict=False):
        logits = F.linear(chunk, weight)  # [t, V]
        target_logit = logits.gather(1, target[:, None])
        max_logit = logits.amax(1, keepdim=True)
        e = logits.sub_(max_logit).exp_()
        norm = e.sum(1, keepdim=True)
        losses = max_logit + norm.log() - (1 - smoothing) * target_logit  # [t, 1]
        own = None if rows is None else rows[start : start + len(chunk)]
        total += losses.sum() if own is None else (own * losses).sum()
        e.scatter_add_(1, target[:, None], (smoothing - 1) * norm)
        scaled = weighted[start : start + len(chunk)] / norm
        if low is not None:
            e, scaled = e.to(low), scaled.to(low)
        if x_grad is not None:
            grad = (e @ factor) / norm - uniform * weight_sum
            x_grad[start : start + len(chunk)] = grad if own is None else own * grad
        if weight_grad is None:
            continue
        if low is None:
            weight_grad.addmm_(e.T, scaled)
        else:
            weight_grad.add_(e.T @ scaled)
    return total, (x_grad, weight_grad)
