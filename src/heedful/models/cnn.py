"""A convolutional network with or without attention: a residual network whose feature maps also attend.

    image [B, C, h, w] -> stem -> stages, each half as large, some of them followed by attention -> mean -> logits [B, classes]

Source: He et al. 2016 (residual blocks); Fu et al. 2019 (attention over positions and channels of feature maps).
"""

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import nn

from heedful._checks import check_positive
from heedful._types import Float, Tensor
from heedful.models.attention_block import Kind, attention_block
from heedful.models.pictures import standardized
from heedful.models.residual import ConvNorm, ResidualBlock
from heedful.nn.dropout import Dropout

Architecture = Literal["cnn", "cnn_spatial", "cnn_channel", "cnn_dual", "cnn_sagan"]
_KINDS: dict[Architecture, Kind] = {
    "cnn": "control", "cnn_spatial": "spatial", "cnn_channel": "channel", "cnn_dual": "dual", "cnn_sagan": "sagan",
}  # fmt: skip


class ConvolutionalNetwork(nn.Module):
    """Classifies pictures of any size.

    All architectures have as many parameters as `cnn_dual`, except for less than a row of a 1 x 1 convolution: where their own
    attention has fewer, 1 x 1 convolutions take the rest, and so all of it in `cnn`. With one seed, they begin as the same function:
    attention adds nothing at first, and what else is random is drawn before it.

    Args:
        architecture: "cnn": no attention; "cnn_spatial", "cnn_channel", "cnn_dual": attention over positions, channels, or both;
            "cnn_sagan": over positions, as SAGAN has it.
        channels: of the pictures.
        classes: how many.
        stages: channels of each stage; a stage halves the picture.
        blocks: how many residual blocks each stage has.
        attention_after: the stages behind which attention stands, the first of which is 1.
        heads: of attention over positions.
        dropout: share of the pooled vector that is set to 0 in training.

    The mean and the standard deviation of the training pictures' channels are buffers of the model, `mean` and `std`, so that it takes
    pictures as they are: uint8, or numbers from 0 to 1.

    Raises:
        ValueError: the arguments do not fit each other.

    Example:
        >>> model = ConvolutionalNetwork(architecture="cnn_dual", channels=3, classes=10)
        >>> model(torch.zeros(2, 3, 32, 48, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    stride = 1  # pixels from one position of the finest features to the next
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        architecture: Architecture,
        channels: int,
        classes: int,
        stages: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1),
        attention_after: Collection[int] = (2,),
        heads: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(stages) != len(blocks) or not stages:
            raise ValueError(
                f"`stages` and `blocks` must have one number a stage each: got {list(stages)} and {list(blocks)}."
            )
        if not set(attention_after) <= set(range(1, len(stages) + 1)):
            raise ValueError(
                f"`attention_after` must name stages from 1 to {len(stages)}: got {list(attention_after)}."
            )
        self.stem, self.stages = ConvNorm(channels, stages[0]), nn.ModuleList()
        for before, after, count in zip((stages[0], *stages), stages, blocks, strict=False):
            more = [ResidualBlock(after, after) for _ in range(check_positive("blocks", count) - 1)]
            self.stages.append(nn.Sequential(ResidualBlock(before, after, stride=2), *more))
        self.dropout, self.head = Dropout(dropout), nn.Linear(stages[-1], classes)
        nn.init.zeros_(self.head.bias)
        kind = _KINDS[architecture]
        self.attention = nn.ModuleDict(
            {
                str(number): attention_block(kind, stages[number - 1], heads=heads, like="dual")
                for number in attention_after
            }
        )
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, pictures: Tensor) -> Float[Tensor, "B classes"]:
        """The logits of pictures `[B, C, h, w]`, uint8 or from 0 to 1."""
        return self.head(self.dropout(self.features(pictures)))  # type: ignore[no-any-return]

    def features(self, pictures: Tensor) -> Float[Tensor, "B F"]:
        """What the logits are made of: the mean of the last stage's feature maps."""
        x = self.stem(standardized(pictures, self.mean, self.std))
        for number, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if str(number) in self.attention:
                x = self.attention[str(number)](x)
        return x.mean((2, 3))  # type: ignore[no-any-return]
