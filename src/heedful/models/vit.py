"""The Vision Transformer: an image becomes a grid of tokens, which attend to each other and are pooled into one vector.

    image [B, C, h, w] -> tokenizer -> tokens [B, rows, columns, D] -> + positions -> encoder -> pooling -> logits [B, classes]

Source: Dosovitskiy et al. 2021 (patches, class token); Hassani et al. 2021 (convolutional tokenizer, attention pooling).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_divides, check_positive
from heedful._types import Float, Tensor
from heedful.models.pictures import standardized
from heedful.nn import AttentionPooling, LearnedPositions, SinusoidalPositions, TransformerEncoder

Pooling = Literal["attention", "class-token"]


class PatchTokenizer(nn.Module):
    """Cuts an image into square patches and projects each to a token."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        check_positive("patch", patch)
        self.stride = patch
        self.projection = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B rows columns D"]:
        return self.projection(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class ConvolutionalTokenizer(nn.Module):
    """Stages of 3 x 3 convolutions; each stage halves the picture, what is left are the tokens.

    Args:
        channels: of the picture.
        stages: the channels of each stage.
        convolutions: how many each stage has; all but its first are residual.
        width: of a token.
    """

    def __init__(self, channels: int, stages: Sequence[int], convolutions: Sequence[int], width: int) -> None:
        super().__init__()
        if len(stages) != len(convolutions) or not stages:
            raise ValueError(
                f"`stages` and `convolutions` must have one number a stage each: got {list(stages)} and {list(convolutions)}."
            )
        self.stride = 2 ** len(stages)
        parts: list[nn.Module] = []
        for before, after, count in zip((channels, *stages), stages, convolutions, strict=False):
            check_positive("convolutions", count)
            parts.append(_Convolution(before, after, nn.MaxPool2d(2)))
            parts += [_Convolution(after, after) for _ in range(count - 1)]
        parts.append(nn.Conv2d(stages[-1], width, kernel_size=1) if stages[-1] != width else nn.Identity())
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B rows columns D"]:
        return self.layers(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class _Convolution(nn.Module):
    """Convolution, pooling where it is given, batch norm, GELU; residual where nothing changes the shape."""

    def __init__(self, before: int, after: int, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.residual = pool is None
        self.convolution = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
        self.pool = pool or nn.Identity()
        self.norm = nn.BatchNorm2d(after)
        nn.init.kaiming_normal_(self.convolution.weight)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D y z"]:
        y = F.gelu(self.norm(self.pool(self.convolution(x))))
        return x + y if self.residual else y


class VisionTransformer(nn.Module):
    """Classifies pictures of one size.

    Args:
        tokenizer: turns pictures `[B, C, h, w]` into tokens `[B, rows, columns, D]`; its `stride` is pixels a token.
        positions: is added to each token, by its row and column.
        encoder: lets the tokens attend to each other.
        pooling: "attention": a learned query weighs the tokens; "class-token": the output of one more token.
        pooling_heads: heads of the attention pooling.
        channels: of the pictures.
        classes: how many.

    The mean and the standard deviation of the training pictures' channels are buffers of the model, `mean` and `std`, so that it takes
    pictures as they are: uint8, or numbers from 0 to 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        tokenizer: PatchTokenizer | ConvolutionalTokenizer,
        positions: LearnedPositions | SinusoidalPositions,
        encoder: TransformerEncoder,
        pooling: Pooling,
        pooling_heads: int = 1,
        channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.tokenizer, self.positions, self.encoder = tokenizer, positions, encoder
        if pooling == "class-token":
            self.class_token = nn.Parameter(torch.zeros(1, 1, encoder.width))
        else:
            self.pooling = AttentionPooling(encoder.width, pooling_heads)
        self.head = nn.Linear(encoder.width, classes)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @property
    def stride(self) -> int:
        """Pixels from one token to the next."""
        return self.tokenizer.stride

    @property
    def class_tokens(self) -> int:
        """How many tokens stand before those of the grid: 1 or 0."""
        return int(hasattr(self, "class_token"))

    def forward(self, pictures: Tensor) -> Float[Tensor, "B classes"]:
        """The logits of pictures `[B, C, h, w]`, uint8 or from 0 to 1."""
        x = standardized(pictures, self.mean, self.std)  # [B, C, h, w]
        x = self.positions(self.tokenizer(x)).flatten(1, 2)  # [B, rows * columns, D]
        if self.class_tokens:
            x = torch.cat([self.class_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        x = self.encoder(x)
        x = x[:, 0] if self.class_tokens else self.pooling(x)  # [B, D]
        return self.head(x)  # type: ignore[no-any-return]


def vision_transformer(
    *,
    size: tuple[int, int],
    channels: int,
    classes: int,
    architecture: Literal["cct", "vit"] = "cct",
    patch_size: int = 4,
    stages: Sequence[int] = (32, 64),
    convolutions: Sequence[int] = (1, 1),
    positions: Literal["learned", "sinusoidal"] = "learned",
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    ffn_width: int = 128,
    dropout: float = 0.1,
    drop_path: float = 0.1,
    pooling: Pooling = "attention",
) -> VisionTransformer:
    """Builds the parts for pictures of `size` (height, width) and puts them together.

    Tokens are made by convolutions ("cct", Hassani et al. 2021) or of patches ("vit", Dosovitskiy et al. 2021).

    Example:
        >>> model = vision_transformer(size=(8, 8), channels=1, classes=10)
        >>> model(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([3, 10])
    """
    tokens: PatchTokenizer | ConvolutionalTokenizer
    if architecture == "vit":
        for name, pixels in zip(("height", "width"), size, strict=True):
            check_divides("patch_size", patch_size, f"picture {name}", pixels)
        tokens = PatchTokenizer(channels, patch_size, width)
    else:
        tokens = ConvolutionalTokenizer(channels, stages, convolutions, width)
    grid = (size[0] // tokens.stride, size[1] // tokens.stride)
    if min(grid) < 1:
        raise ValueError(
            f"a picture must have at least {tokens.stride} x {tokens.stride} pixels for {len(stages)} stages: got {size[0]} x {size[1]}."
        )
    return VisionTransformer(
        tokenizer=tokens,
        positions=LearnedPositions(grid, width) if positions == "learned" else SinusoidalPositions(width),
        encoder=TransformerEncoder(width, heads, layers, ffn_width=ffn_width, dropout=dropout, drop_path=drop_path),
        pooling=pooling,
        pooling_heads=heads if pooling == "attention" else 1,
        channels=channels,
        classes=classes,
    )
