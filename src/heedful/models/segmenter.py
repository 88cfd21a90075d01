"""A class for each pixel: a small residual network with attention where its features are coarsest, and a way back to the pixels.

    image [B, 3, H, W] -> stem, /2 -> stage 1, /2 -> stage 2, /4 -> stage 3, /8, dilated -> attention -> up, /4 -> up, /2 -> logits

An auxiliary head reads what stands before the attention, so that training reaches the trunk also around it.

Source: Fu et al., "Dual Attention Network for Scene Segmentation", 2019 (attention at stride 8, dilated); Ronneberger et al., "U-Net",
2015 (features of the way down help on the way up); Zhao et al., "PSPNet", 2017 (auxiliary head).
"""

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Float, Tensor
from heedful.models.attention_block import Kind, attention_block
from heedful.models.residual import ConvNorm, ResidualBlock
from heedful.nn.image import GridPattern

STRIDE = 8  # pixels from one position of the attention to the next


class SegmentationNetwork(nn.Module):
    """Gives pictures `[B, 3, H, W]` of any size the logits of each pixel, `[B, classes, H, W]`.

    Args:
        classes: how many.
        width: channels of the first stage; the next have twice and four times as many.
        attention: what stands at stride 8: "none", "control", "spatial", "channel", "dual" or "sagan".
        heads: of attention over places.
        pattern: which places a place sees, as `heedful.nn.SpatialAttention` takes it.
        dropout: of whole channels before the head.

    The mean and the standard deviation of the training pictures' channels are buffers, `mean` and `std`, so that it takes pictures as they
    are: uint8, or numbers from 0 to 1.

    Example:
        >>> model = SegmentationNetwork(classes=4, width=8).eval()
        >>> model(torch.zeros(1, 3, 37, 50, dtype=torch.uint8)).shape
        torch.Size([1, 4, 37, 50])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        classes: int,
        width: int = 32,
        attention: Kind = "dual",
        heads: int = 1,
        pattern: GridPattern = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        w1, w2, w3 = width, 2 * width, 4 * width
        self.stem = ConvNorm(3, w1, stride=2)
        self.stage1 = ResidualBlock(w1, w1)
        self.stage2 = nn.Sequential(ResidualBlock(w1, w2, stride=2), ResidualBlock(w2, w2))
        self.stage3 = nn.Sequential(
            ResidualBlock(w2, w3, stride=2), ResidualBlock(w3, w3, dilation=2), ResidualBlock(w3, w3, dilation=4)
        )
        self.up2 = _Up(w3, w2, w2)
        self.up1 = _Up(w2, w1, w1)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(w1, classes, 1)
        self.auxiliary = nn.Conv2d(w3, classes, 1)
        self.attention = attention_block(attention, w3, heads=heads, pattern=pattern)  # last: all else begins alike
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    def forward(self, images: Tensor) -> Float[Tensor, "B classes H W"]:
        """The logits of each pixel; images are uint8 or from 0 to 1."""
        fine, middle, coarse = self.trunk(images)
        return self.decode(fine, middle, self.attention(coarse), images)

    def with_auxiliary(self, images: Tensor) -> tuple[Float[Tensor, "B classes H W"], Float[Tensor, "B classes h w"]]:
        """The logits, and those of the auxiliary head at stride 8."""
        fine, middle, coarse = self.trunk(images)
        return self.decode(fine, middle, self.attention(coarse), images), self.auxiliary(coarse)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at stride 2, 4 and 8; the attention stands behind the last."""
        x = images / 255 if images.dtype == torch.uint8 else images
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        fine = self.stage1(self.stem(x.contiguous(memory_format=torch.channels_last)))
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)

    def decode(self, fine: Tensor, middle: Tensor, coarse: Tensor, images: Tensor) -> Tensor:
        """From features to the logits of each pixel."""
        x = self.up1(self.up2(coarse, middle), fine)
        return F.interpolate(self.head(self.dropout(x)), size=images.shape[-2:], mode="bilinear")


class _Up(nn.Module):
    """Coarse features, made as fine as others are, and joined with these."""

    def __init__(self, coarse: int, fine: int, after: int) -> None:
        super().__init__()
        self.coarse = ConvNorm(coarse, after, 1, relu=False)
        self.fine = ConvNorm(fine, after, 1, relu=False)
        self.block = ResidualBlock(after, after)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        x = F.interpolate(self.coarse(coarse), size=fine.shape[-2:], mode="bilinear")
        return self.block(F.relu(x + self.fine(fine)))  # type: ignore[no-any-return]
