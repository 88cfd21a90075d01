"""What a detector is trained by: focal loss and GIoU of the dense head; Hungarian matching, varifocal loss and boxes of the set head."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._types import Float, Int
from heedful.models.boxes import IGNORED, BoxTargets, area, dense_targets, giou, intersection, iou, matched, to_centers
from heedful.models.detector import Detected, FoundObjects

_FOCUS, _DISTANCE = 2.0, 4.0  # exponents of the focal loss of maps (Law and Deng 2018)
_RARE = 0.75  # weight of queries without an object
_BOX, _GIOU = 5.0, 2.0  # weights beside that of the classes (Carion et al. 2020)
_COVERED = 0.5  # share of a query's box that an ignored one covers, so that it does not count


class LossWeights(NamedTuple):
    """How much each part of the loss counts: the boxes of the dense head, and the set head."""

    boxes: float = 5.0
    set: float = 1.0


def detection_loss(found: Detected, targets: BoxTargets, weights: LossWeights, repeats: int) -> Float[Tensor, ""]:
    """The loss of a batch, for each object of it.

    Args:
        found: what the detector said.
        targets: the objects.
        weights: of the parts.
        repeats: how often an object is there for those queries that share objects.
    """
    loss = _dense_loss(found, targets, weights.boxes)
    for layer in found.layers:
        loss = loss + weights.set * _set_loss(layer, found, targets, repeats)
    return loss


def _dense_loss(found: Detected, targets: BoxTargets, weight: float) -> Float[Tensor, ""]:
    grid = (found.heat.shape[-2], found.heat.shape[-1])
    wanted = dense_targets(targets, found.heat.shape[1], grid)
    heat, score = found.heat.float(), found.heat.float().sigmoid()
    peaks = wanted.heat == 1
    hit = -F.logsigmoid(heat) * (1 - score) ** _FOCUS
    miss = -F.logsigmoid(-heat) * score**_FOCUS * (1 - wanted.heat) ** _DISTANCE * wanted.counted
    classes = torch.where(peaks, hit, miss).sum() / peaks.sum().clamp_min(1)
    boxes = 1 - giou(found.corners[wanted.cells].float(), wanted.corners)
    return classes + weight * boxes.sum() / max(len(boxes), 1)


def _set_loss(layer: FoundObjects, found: Detected, targets: BoxTargets, repeats: int) -> Float[Tensor, ""]:
    """Of one layer: the queries of predicting, those that share objects, and those that were objects with noise."""
    groups, loss = found.groups, layer.scores.new_zeros(())
    ends = [groups.single, groups.single + groups.repeated]
    for start, end, times in ((0, ends[0], 1), (ends[0], ends[1], repeats)):
        if end > start:
            part = FoundObjects(layer.scores[:, start:end].float(), layer.corners[:, start:end].float())
            loss = loss + _of_pairs(
                part, targets, [_pairs(part, targets, row, times) for row in range(len(part.scores))]
            )
    if layer.scores.shape[1] > ends[1]:
        part = FoundObjects(layer.scores[:, ends[1] :].float(), layer.corners[:, ends[1] :].float())
        loss = loss + _of_pairs(part, targets, None)
    return loss


def _pairs(
    part: FoundObjects, targets: BoxTargets, row: int, repeats: int
) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"]]:
    """Queries of one picture and their objects."""
    objects = (targets.labels[row] >= 0).nonzero()[:, 0]
    labels, corners = targets.labels[row, objects], targets.corners[row, objects]
    with torch.no_grad():
        score = part.scores[row][:, labels].sigmoid()
        classes = _focal(score, 0.25, positive=True) - _focal(score, 0.75, positive=False)
        boxes = torch.cdist(to_centers(part.corners[row]), to_centers(corners), p=1)
        cost = 2 * classes + _BOX * boxes - _GIOU * giou(part.corners[row][:, None], corners)
    queries, chosen = matched(cost, repeats)
    return queries, objects[chosen]


def _focal(score: Tensor, weight: float, *, positive: bool) -> Tensor:
    score = score.clamp(1e-6, 1 - 1e-6)
    if positive:
        return -weight * (1 - score) ** 2 * score.log()
    return -weight * score**2 * (1 - score).log()


def _of_pairs(part: FoundObjects, targets: BoxTargets, pairs: list[tuple[Tensor, Tensor]] | None) -> Float[Tensor, ""]:
    """The loss of queries whose objects are known; None: the objects in their order, again and again.

    The score of a query's class is to be the overlap of its box with the object's (Zhang et al. 2021), all others 0.
    """
    scores, corners = part
    if pairs is None:
        times = scores.shape[1] // targets.labels.shape[1]
        rows, queries = (targets.labels >= 0).repeat(1, times).nonzero(as_tuple=True)
        objects = queries % targets.labels.shape[1]
        counted = torch.zeros_like(scores[..., 0], dtype=torch.bool)
        counted[rows, queries] = True  # padding and ignored objects are no queries
    else:
        rows = torch.cat([torch.full_like(queries, row) for row, (queries, _) in enumerate(pairs)])
        queries, objects = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        counted = _counted(corners, targets)
        counted[rows, queries] = True
    own, wanted = corners[rows, queries], targets.corners[rows, objects]
    labels = targets.labels[rows, objects]
    quality = torch.zeros_like(scores)
    quality[rows, queries, labels] = iou(own.detach(), wanted).clamp_min(0.01)
    found = quality > 0
    weight = torch.where(found, quality, _RARE * scores.detach().sigmoid() ** 2) * counted[..., None]
    classes = (F.binary_cross_entropy_with_logits(scores, quality, reduction="none") * weight).sum()
    boxes = (to_centers(own) - to_centers(wanted)).abs().sum()
    return (classes + _BOX * boxes + _GIOU * (1 - giou(own, wanted)).sum()) / max(len(rows), 1)


def _counted(corners: Float[Tensor, "B N 4"], targets: BoxTargets) -> Tensor:
    """Which queries are wrong where they find something that is no object: those not in an ignored box."""
    ignored = targets.labels == IGNORED
    if not ignored.any():
        return torch.ones_like(corners[..., 0], dtype=torch.bool)
    common = intersection(corners[:, :, None], targets.corners[:, None])  # [B, N, M]
    covered = (common / area(corners)[..., None].clamp_min(1e-9)).detach() > _COVERED
    return ~(covered & ignored[:, None]).any(-1)
