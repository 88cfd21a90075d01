"""What detectors do with boxes: overlaps, non-maximum suppression, targets of a dense head, pairs of predictions and objects.

Boxes are x0, y0, x1, y1 in shares of the picture's width and height; labels are positions in the classes, `PADDING` where a row of a
batch has no more boxes, and `IGNORED` where finding a box is neither right nor wrong.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from heedful._types import Bool, Float, Int

PADDING, IGNORED = -1, -2
_TINY = 1e-9
_SPREAD = 0.09  # standard deviation of an object's peak, in sizes of its box (Liu et al. 2020, TTFNet)


class BoxTargets(NamedTuple):
    """The boxes of a batch."""

    corners: Float[Tensor, "B M 4"]
    labels: Int[Tensor, "B M"]

    def to(self, device: torch.device) -> "BoxTargets":
        """The same on a device."""
        return BoxTargets(self.corners.to(device), self.labels.to(device))


class DenseTargets(NamedTuple):
    """What a dense head is to give."""

    heat: Float[Tensor, "B C h w"]
    counted: Bool[Tensor, "B 1 h w"]  # where it matters that there is nothing
    cells: Bool[Tensor, "B h w"]  # from which a box is measured
    corners: Float[Tensor, "n 4"]  # of the box of each of them


def area(boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "..."]:
    """Of boxes; those that are none have 0."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def intersection(one: Float[Tensor, "... 4"], other: Float[Tensor, "... 4"]) -> Float[Tensor, "..."]:
    """The area that boxes have in common, pair by pair."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    return (high - low).clamp_min(0).prod(-1)


def iou(one: Float[Tensor, "... 4"], other: Float[Tensor, "... 4"]) -> Float[Tensor, "..."]:
    """Intersection over union, pair by pair; `iou(a[:, None], b)` is all pairs.

    Example:
        >>> iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0]]))
        tensor([0.3333, 0.0000])
    """
    common = intersection(one, other)
    return common / (area(one) + area(other) - common + _TINY)


def giou(one: Float[Tensor, "... 4"], other: Float[Tensor, "... 4"]) -> Float[Tensor, "..."]:
    """Generalized intersection over union, pair by pair: less than 0 where boxes are apart.

    Source: Rezatofighi et al. 2019.
    """
    common = intersection(one, other)
    union = area(one) + area(other) - common
    hull = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    around = hull.clamp_min(0).prod(-1)
    return common / (union + _TINY) - (around - union) / (around + _TINY)


def to_centers(corners: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """From x0, y0, x1, y1 to center x, center y, width, height."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def to_corners(centers: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """From center x, center y, width, height to x0, y0, x1, y1."""
    center, size = centers[..., :2], centers[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], -1)


def suppress(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, "n"], labels: Int[Tensor, "n"], most: float
) -> Int[Tensor, "k"]:
    """Non-maximum suppression: which boxes stay, best first; of two of one class that overlap more than `most` the better one.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.9], [0.0, 0.0, 1.0, 0.9]])
        >>> suppress(boxes, torch.tensor([0.5, 0.9, 0.8]), torch.tensor([0, 0, 1]), 0.6)
        tensor([1, 2])
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    rivals = (iou(boxes[:, None], boxes) > most) & (labels[:, None] == labels)
    kept = torch.ones_like(order, dtype=torch.bool)
    for row in range(len(order)):
        if kept[row]:
            kept[row + 1 :] &= ~rivals[row, row + 1 :]
    return order[kept]


def dense_targets(targets: BoxTargets, classes: int, grid: tuple[int, int]) -> DenseTargets:
    """A peak for each object on a map of its class, and the 3 x 3 cells around its center, from which its sides are measured.

    A cell that is near to two centers belongs to the smaller box. Where a box is ignored, nothing counts but other boxes' peaks.
    """
    (h, w), (corners, labels) = grid, targets
    cells = to_centers(corners) * corners.new_tensor([w, h, w, h])
    x, y, width, height = (part[..., None, None] for part in cells.unbind(-1))  # [B, M, 1, 1] in cells
    at_x, at_y = x.floor().clamp(0, w - 1), y.floor().clamp(0, h - 1)
    rows, columns = torch.arange(h, device=corners.device)[:, None], torch.arange(w, device=corners.device)
    dy, dx = rows - at_y, columns - at_x
    spread = [(_SPREAD * side).clamp_min(0.05) for side in (width, height)]
    peaks = torch.exp(-0.5 * ((dx / spread[0]) ** 2 + (dy / spread[1]) ** 2))  # [B, M, h, w]
    real = (labels >= 0)[..., None, None]
    peaks = peaks * real
    heat = corners.new_zeros(len(corners), classes, h * w)
    index = labels.clamp_min(0)[..., None].expand(-1, -1, h * w)
    heat = heat.scatter_reduce(1, index, peaks.flatten(2), "amax").unflatten(2, grid)

    near = (dx.abs() <= 1) & (dy.abs() <= 1) & real
    inside = ((columns + 0.5 - x).abs() < width / 2) & ((rows + 0.5 - y).abs() < height / 2)
    near &= inside | ((dx == 0) & (dy == 0))
    sizes = torch.where(near, area(corners)[..., None, None], torch.inf)  # [B, M, h, w]
    if corners.shape[1]:
        smallest, owner = sizes.min(1)
        own = corners.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4)).unflatten(1, grid)
        chosen = smallest.isfinite()
        covered = (inside & (labels == IGNORED)[..., None, None]).any(1, keepdim=True)
    else:
        chosen = corners.new_zeros(len(corners), h, w, dtype=torch.bool)
        own, covered = corners.new_zeros(len(corners), h, w, 4), chosen[:, None]
    return DenseTargets(heat, ~covered, chosen, own[chosen])


def matched(cost: Float[Tensor, "N M"], repeats: int = 1) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"]]:
    """Pairs of predictions and objects of the least total cost; each object is there `repeats` times (Hungarian matching).

    Example:
        >>> matched(torch.tensor([[3.0, 1.0], [1.0, 0.0], [9.0, 9.0]]))
        (tensor([0, 1]), tensor([1, 0]))
    """
    from scipy.optimize import linear_sum_assignment

    objects = cost.shape[1]
    rows, columns = linear_sum_assignment(cost.detach().repeat(1, repeats).double().numpy(force=True))
    pairs = torch.from_numpy(rows), torch.from_numpy(columns) % max(objects, 1)
    return pairs[0].to(cost.device), pairs[1].to(cost.device)
