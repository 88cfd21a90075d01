"""Augmentation of pictures with boxes: both are placed anew, parts of four pictures make one, colors change."""

from collections.abc import Sequence

import torch
from torch import Tensor

from heedful.models.boxes import IGNORED, PADDING, BoxTargets
from heedful.tasks.detect_settings import DetectAugmentation
from heedful.tasks.geometric_augmentation import draw_placements, jitter_colors, place_boxes, place_images

_LEAST = 0.3  # share of a box that must be seen
_CENTER = (0.3, 0.7)  # where the four parts of a mosaic meet


def padded(boxes: Sequence[tuple[Tensor, Tensor]], size: tuple[int, int]) -> BoxTargets:
    """The boxes of a batch, from those of each picture in pixels, with their labels."""
    most = max((len(labels) for _, labels in boxes), default=0)
    corners, labels = torch.zeros(len(boxes), most, 4), torch.full((len(boxes), most), PADDING)
    for row, (own, numbers) in enumerate(boxes):
        corners[row, : len(own)] = own / torch.tensor([size[1], size[0], size[1], size[0]])
        labels[row, : len(own)] = numbers
    return BoxTargets(corners, labels)


@torch.no_grad()
def augmented(
    images: Tensor, boxes: Sequence[tuple[Tensor, Tensor]], settings: DetectAugmentation, *, mosaics: bool
) -> tuple[Tensor, BoxTargets]:
    """A batch as training sees it, by PyTorch's random numbers.

    Args:
        images: `[B, C, h, w]`, uint8.
        boxes: of each picture corners in pixels `[n, 4]` and labels `[n]`.
        settings: how.
        mosaics: whether there are some.

    Returns:
        Pictures from 0 to 1, and their boxes; of a box of which little is left, nothing counts.
    """
    size = (images.shape[-2], images.shape[-1])
    placements = draw_placements([size] * len(images), size, settings)
    fill = images.float().mean((0, 2, 3))
    pixels = place_images(list(images), placements, size, fill) / 255
    placed = [_placed(*one, placement, size) for one, placement in zip(boxes, placements, strict=True)]
    chosen = [mosaics and float(torch.rand(())) < settings.mosaic for _ in placed]
    whole, own = pixels.clone(), list(placed)
    for row, parts in enumerate(chosen):
        if parts:
            whole[row], own[row] = _mosaic(row, pixels, placed)
    if whole.shape[1] == 3:
        whole = jitter_colors(whole, settings)
    return whole, padded(own, size)


def _placed(corners: Tensor, labels: Tensor, placement: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    corners, shares = place_boxes(corners, placement, size)
    return _seen(corners, labels, shares)


def _seen(corners: Tensor, labels: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes that are seen; those of which there is little are neither right nor wrong."""
    there = (corners[:, 2:] - corners[:, :2]).amin(1) >= 1
    return corners[there], torch.where(shares < _LEAST, IGNORED, labels)[there]


def _mosaic(row: int, pixels: Tensor, placed: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Quarters of a picture and the three that follow it in the batch, each at its place."""
    h, w = pixels.shape[-2:]
    low, high = _CENTER
    x, y = (round(side * (low + (high - low) * float(torch.rand(())))) for side in (w, h))
    whole, found = torch.empty_like(pixels[0]), []
    windows = [(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)]
    for part, (x0, y0, x1, y1) in enumerate(windows):
        other = (row + part) % len(pixels)
        whole[:, y0:y1, x0:x1] = pixels[other, :, y0:y1, x0:x1]
        corners, labels = placed[other]
        inside = torch.stack(
            [corners[:, 0].clamp(x0, x1), corners[:, 1].clamp(y0, y1), corners[:, 2].clamp(x0, x1), corners[:, 3].clamp(y0, y1)], 1
        )  # fmt: skip
        shares = (inside[:, 2:] - inside[:, :2]).prod(1) / (corners[:, 2:] - corners[:, :2]).prod(1)
        found.append(_seen(inside, labels, shares))
    corners, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return whole, (corners, labels)
