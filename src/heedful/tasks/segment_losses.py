"""Losses over the pixels of pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_loss(logits: Tensor, targets: Tensor, weights: Tensor | None, void: int, lovasz: float = 0.0) -> Tensor:
    """The cross entropy of logits `[B, C, h, w]`, and so much of the Lovasz loss; pixels without a class do not count.

    Where the logits are fewer than the pixels of the targets `[B, H, W]`, each is compared with the nearest pixel.
    """
    if logits.shape[-2:] != targets.shape[-2:]:
        targets = F.interpolate(targets[:, None].float(), size=logits.shape[-2:], mode="nearest-exact")[:, 0].long()
    known = targets != void
    if not known.any():
        return logits.sum() * 0.0
    loss = F.cross_entropy(logits, targets, None if weights is None else weights.to(logits), ignore_index=void)
    if lovasz:
        probabilities = logits.softmax(1).movedim(1, -1)[known]  # [pixels, C]
        loss = loss + lovasz * lovasz_softmax(probabilities, targets[known])
    return loss


def lovasz_softmax(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The Lovasz extension of 1 - intersection over union, the mean over the classes that occur.

    Args:
        probabilities: `[pixels, C]`.
        targets: `[pixels]`.

    Example:
        >>> lovasz_softmax(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]))
        tensor(0.5000)

    Source: Berman et al., "The Lovasz-Softmax loss", 2018.
    """
    losses = []
    for number in targets.unique():
        own = (targets == number).to(probabilities.dtype)
        errors, order = (own - probabilities[:, number]).abs().sort(descending=True)
        own = own[order]
        union = own.sum() + (1 - own).cumsum(0)
        jaccard = 1 - (own.sum() - own.cumsum(0)) / union
        losses.append(errors @ torch.diff(jaccard, prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean()
