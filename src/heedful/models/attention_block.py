"""What stands at one point of a picture model: a kind of attention, or what it is compared with, of equal size."""

from typing import Literal

import torch
from torch import nn

from heedful._checks import check_choice
from heedful._types import Float, Tensor
from heedful.nn import ChannelAttention, DualAttention, SelfAttention2d, SpatialAttention
from heedful.nn.image import GridPattern

Kind = Literal["none", "spatial", "channel", "dual", "sagan", "control"]
KINDS: tuple[Kind, ...] = ("none", "spatial", "channel", "dual", "sagan", "control")


class ControlBlock(nn.Module):
    """Two 1 x 1 convolutions, for comparisons with attention: `x + gamma W_2 relu(W_1 x)`, gamma 0 at first.

    Each position is changed by itself, so that what attention adds to it is what it brings from elsewhere.

    Args:
        channels: of what it is given, and of what it gives.
        hidden: channels between the convolutions.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return torch.addcmul(x, self.gamma, self.layers(x))


def attention_block(
    kind: Kind, channels: int, *, heads: int = 1, pattern: GridPattern = None, like: Kind | None = None
) -> nn.Module:
    """A kind of attention on feature maps `[B, channels, H, W]` of any size; the shape stays, and at first the values do.

    Args:
        kind: "spatial", "channel", "dual" or "sagan": `SpatialAttention`, `ChannelAttention`, `DualAttention`,
            `SelfAttention2d`; "none": nothing; "control": 1 x 1 convolutions.
        channels: of the feature maps.
        heads: of attention over positions.
        pattern: which positions a position sees, as the layers take it.
        like: the kind whose number of parameters it is to have: where it has fewer, 1 x 1 convolutions follow it. None: those of
            "dual" for "control"; others stay as they are.

    Raises:
        ValueError: there is no such kind, or `heads` does not divide `channels`.

    Example:
        >>> counts = [sum(p.numel() for p in attention_block(kind, 64).parameters()) for kind in ("dual", "control", "channel")]
        >>> counts, sum(p.numel() for p in attention_block("channel", 64, like="dual").parameters())
        ([5202, 5225, 1], 5226)
    """
    check_choice("kind", kind, KINDS)
    block = _block(kind, channels, heads, pattern)
    like = "dual" if kind == "control" and like is None else like
    if like is None:
        return block
    missing = _count(_block(check_choice("like", like, KINDS), channels, heads, pattern)) - _count(block)
    hidden = round((missing - channels - 1) / (2 * channels + 1))  # of the convolutions that have as many
    if hidden < 1:
        return block
    control = ControlBlock(channels, hidden)
    return nn.Sequential(block, control) if _count(block) else control


def _block(kind: Kind, channels: int, heads: int, pattern: GridPattern) -> nn.Module:
    if kind == "spatial":
        return SpatialAttention(channels, heads=heads, pattern=pattern)
    if kind == "channel":
        return ChannelAttention(channels)
    if kind == "dual":
        return DualAttention(channels, heads=heads, pattern=pattern)
    if kind == "sagan":
        return SelfAttention2d(channels, heads=heads, pattern=pattern)
    return nn.Identity()


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
