"""Augmentation of pictures of any size together with what belongs to them: masks and boxes follow, exactly.

A placement is an affine map `[2, 3]` from a picture to what training sees, in pixels: the first one reaches from 0 to 1. Pictures are
moved by bilinear interpolation, masks by the nearest pixel, boxes by their corners.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from heedful._errors import needing
from heedful.training.settings import Section


class PlacementSettings(Section):
    """How training pictures are augmented together with their masks or boxes."""

    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.5, 2.0), description="zoom by a factor between these two; what does not fit is cut off"
    )
    rotate: float = Field(0.0, ge=0, le=180, description="rotate by up to this many degrees")
    flip: Literal["none", "horizontal", "both"] = Field(
        "horizontal", description="mirror left and right, or up and down, too"
    )
    quarter_turns: bool = Field(False, description="turn by 0, 90, 180 or 270 degrees")
    brightness: float = Field(0.0, ge=0, le=1, description="change the brightness by up to this fraction")
    contrast: float = Field(0.0, ge=0, le=1, description="likewise the contrast")
    saturation: float = Field(0.0, ge=0, le=1, description="likewise the saturation")
    hue: float = Field(0.0, ge=0, le=0.5, description="turn the hue by up to this fraction of the circle of colors")

    @model_validator(mode="after")
    def _ordered(self) -> "PlacementSettings":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"the factors of `scale` must be in order: got {list(self.scale)}")
        return self


def draw_placements(sizes: Sequence[tuple[int, int]], size: tuple[int, int], settings: PlacementSettings) -> Tensor:
    """A random placement for each picture, by PyTorch's random numbers: float64 `[B, 2, 3]`.

    Args:
        sizes: height and width of each picture.
        size: those of what training sees. A smaller picture lies anywhere in it, of a larger one any part is seen.
        settings: how.
    """
    placements = torch.zeros(len(sizes), 2, 3, dtype=torch.float64)
    for placement, (height, width) in zip(placements, sizes, strict=True):
        zoom, angle, across, down, *place = torch.rand(6, dtype=torch.float64).tolist()
        low, high = settings.scale
        factor = low * (high / low) ** zoom
        turn = math.radians(settings.rotate) * (2 * angle - 1)
        if settings.quarter_turns:
            turn += math.pi / 2 * int(torch.randint(4, ()))
        cos, sin = factor * math.cos(turn), factor * math.sin(turn)
        linear = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        if across < 0.5 and settings.flip != "none":
            linear[:, 0] *= -1
        if down < 0.5 and settings.flip == "both":
            linear[:, 1] *= -1
        corners = linear @ torch.tensor([[0, width, 0, width], [0, 0, height, height]], dtype=torch.float64)
        first, extent = corners.amin(1), corners.amax(1) - corners.amin(1)
        free = torch.tensor([size[1], size[0]], dtype=torch.float64) - extent
        placement[:, :2] = linear
        placement[:, 2] = free * torch.tensor(place, dtype=torch.float64) - first
    return placements


def place_images(images: Sequence[Tensor], placements: Tensor, size: tuple[int, int], fill: Tensor) -> Tensor:
    """Pictures `[C, h, w]` of any size, placed: float32 `[B, C, height, width]` in the same range of numbers.

    Args:
        images: the pictures.
        placements: of each.
        size: height and width of the result.
        fill: what is seen beyond a picture, `[C]`.
    """
    fill = fill[:, None, None].to(images[0].device, torch.float32)
    placed = [
        _sampled(image.float() - fill, own, size, "bilinear") for image, own in zip(images, placements, strict=True)
    ]
    return torch.stack(placed) + fill


def place_masks(masks: Sequence[Tensor], placements: Tensor, size: tuple[int, int], void: int) -> Tensor:
    """Masks `[h, w]` of any size, placed: int64 `[B, height, width]`, `void` beyond a mask."""
    one_more = ((mask.float() - void)[None] for mask in masks)
    placed = [_sampled(mask, own, size, "nearest")[0] for mask, own in zip(one_more, placements, strict=True)]
    return torch.stack(placed).long() + void


def place_boxes(boxes: Tensor, placement: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes `[count, 4]` (left, top, right, bottom) of one picture, placed and cut to `size`; and which share of each is left, `[count]`.

    Example:
        >>> half = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, -2.0]], dtype=torch.float64)
        >>> place_boxes(torch.tensor([[2.0, 2.0, 6.0, 6.0]]), half, (4, 4))
        (tensor([[1., 0., 3., 1.]]), tensor([0.5000]))
    """
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]].double()  # [count, 4 corners, 2]
    corners = corners @ placement[:, :2].T + placement[:, 2]
    low, high = corners.amin(1), corners.amax(1)
    limit = torch.tensor([size[1], size[0]], dtype=torch.float64)
    inside = torch.cat([low.clamp_min(0).minimum(limit), high.clamp_min(0).minimum(limit)], dim=1)
    share = _area(inside) / _area(torch.cat([low, high], dim=1)).clamp_min(1e-12)
    return inside.to(boxes.dtype), share.to(boxes.dtype)


def jitter_colors(images: Tensor, settings: PlacementSettings) -> Tensor:
    """Pictures `[B, 3, h, w]` from 0 to 1 with other brightness, contrast, saturation and hue."""
    strengths = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if not any(strengths):
        return images
    with needing("augmentation", "training on images"):
        from kornia.augmentation import ColorJiggle

    with torch.no_grad():
        jittered: Tensor = ColorJiggle(*strengths, p=1.0)(images.clamp(0, 1))
    return jittered


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _sampled(picture: Tensor, placement: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """A picture `[C, h, w]`, placed; 0 beyond it."""
    height, width = picture.shape[-2:]
    inverse = torch.linalg.inv(placement[:, :2])
    rows = (torch.arange(size[0], dtype=torch.float64) + 0.5)[:, None]
    columns = torch.arange(size[1], dtype=torch.float64) + 0.5
    x, y = columns - placement[0, 2], rows - placement[1, 2]
    there = [2 * (inverse[i, 0] * x + inverse[i, 1] * y) / side - 1 for i, side in enumerate((width, height))]
    grid = torch.stack(torch.broadcast_tensors(*there), dim=-1).to(picture)
    return F.grid_sample(picture[None], grid[None], mode, align_corners=False)[0]
