"""Reads pictures: a small residual network makes the features of places, which a decoder attends to as it does to words."""

from collections.abc import Sequence

import torch
from torch import nn

from heedful._checks import check_positive
from heedful._types import Float, Tensor
from heedful.models.residual import ConvNorm, ResidualBlock


class PictureReader(nn.Module):
    """The features of places of pictures, in reading order: `[B, channels, H, W] -> [B, places, width]`.

    Two channels more tell where a pixel lies, so that features may tell where something is (Liu et al. 2018). A place is
    `2 ** len(stages)` pixels high and wide.

    Args:
        stages: channels of each stage, which halves the picture.
        width: features of a place.
        channels: of the pictures.

    Attributes:
        mean: of each channel, from 0 to 1, which is taken off; at first 0.
        std: by which it is divided then; at first 1.

    Example:
        >>> PictureReader([8, 16], 32)(torch.zeros(2, 3, 16, 24, dtype=torch.uint8)).shape
        torch.Size([2, 24, 32])
    """

    def __init__(self, stages: Sequence[int], width: int, channels: int = 3) -> None:
        super().__init__()
        for number in (len(stages), *stages):
            check_positive("stages", number)
        first, *others = stages
        self.stride = 2 ** len(stages)
        layers: list[nn.Module] = [ConvNorm(channels + 2, first, stride=2), ResidualBlock(first, first)]
        before = first
        for after in others:
            layers += [ResidualBlock(before, after, stride=2), ResidualBlock(after, after)]
            before = after
        self.layers = nn.Sequential(*layers)
        for block in layers:
            if isinstance(block, ResidualBlock):  # which adds nothing at first: a place would begin as a single pixel
                nn.init.ones_(block.second[1].weight)  # type: ignore[arg-type]
        self.out, self.norm = nn.Linear(before + 2, width), nn.LayerNorm(width)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of places of a picture."""
        return -(-height // self.stride), -(-width // self.stride)

    def forward(self, pictures: Tensor) -> Float[Tensor, "B places width"]:
        """Pictures are uint8, or numbers from 0 to 1."""
        x = pictures / 255 if pictures.dtype == torch.uint8 else pictures
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        x = self.layers(_with_places(x).contiguous(memory_format=torch.channels_last))
        return self.norm(self.out(_with_places(x).flatten(2).mT))  # type: ignore[no-any-return]


def _with_places(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E H W"]:
    """With two channels more, from -1 to 1: how far down, how far right."""
    y, z = (torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
    places = torch.stack(torch.meshgrid(y, z, indexing="ij"))
    return torch.cat([x, places.expand(len(x), -1, -1, -1)], 1)
