"""Augmentation through which gradients go, alike for pictures and samples: a discriminator learns few pictures less soon by heart."""

import torch
import torch.nn.functional as F
from pydantic import Field

from heedful._types import Float, Tensor
from heedful.training.settings import Section


class DifferentiableAugmentation(Section):
    """What is done to pictures and samples before the discriminator sees them; what is 0 is not done."""

    translation: float = Field(0.125, ge=0, lt=1, description="shift by up to this fraction of the size")
    cutout: float = Field(0.3, ge=0, lt=1, description="side of a rectangle that is cut out, as a fraction of the size")
    color: float = Field(
        0.0, ge=0, le=1, description="jitter of brightness, saturation and contrast by up to this fraction"
    )


def augmented(pictures: Float[Tensor, "B C h w"], settings: DifferentiableAugmentation) -> Float[Tensor, "B C h w"]:
    """Pictures from -1 to 1, each changed in its own way; what is not seen is 0.

    Source: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020.
    """
    x = _colored(pictures, settings.color) if settings.color else pictures
    x = _moved(x, settings.translation) if settings.translation else x
    return _cut(x, settings.cutout) if settings.cutout else x


def _colored(x: Tensor, strength: float) -> Tensor:
    brightness, saturation, contrast = strength * (2 * torch.rand(3, len(x), 1, 1, 1, device=x.device) - 1)
    x = x + brightness / 2
    x = torch.lerp(x.mean(1, keepdim=True), x, 1 + saturation)
    return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, 1 + contrast)


def _moved(x: Tensor, fraction: float) -> Tensor:
    height, width = x.shape[2:]
    down, right = (round(fraction * side + 0.25) for side in (height, width))  # a quarter: 1 of 6 pixels, too
    padded = F.pad(x, (right, right, down, down))
    rows = (
        torch.randint(0, 2 * down + 1, (len(x), 1, 1), device=x.device) + torch.arange(height, device=x.device)[:, None]
    )
    columns = torch.randint(0, 2 * right + 1, (len(x), 1, 1), device=x.device) + torch.arange(width, device=x.device)
    places = torch.arange(len(x), device=x.device)[:, None, None], rows, columns
    return padded.permute(0, 2, 3, 1)[places].permute(0, 3, 1, 2)


def _cut(x: Tensor, fraction: float) -> Tensor:
    seen = []
    for side in x.shape[2:]:
        length = round(fraction * side)
        start = torch.randint(-(length // 2), side - (length + 1) // 2 + 1, (len(x), 1), device=x.device)
        place = torch.arange(side, device=x.device)
        seen.append((place < start) | (place >= start + length))
    return x * (seen[0][:, None, :, None] | seen[1][:, None, None, :])
