"""SAGAN: a generator and a discriminator whose feature maps also attend, with or without classes.

    noise [B, Z] -> 4 x 4 places -> blocks, each twice as large, one of them followed by attention -> picture [B, C, h, w], from -1 to 1
    picture -> stem -> blocks, each half as large, attention at the same size -> sum over places -> score [B], + <class, features>

Source: Zhang et al. 2019 (self-attention); Miyato & Koyama 2018 (the projection of the class); Dumoulin et al. 2017 (norms by class).
Differs from these: a block changes the size between its convolutions, not before or behind both, for a third of the time.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from heedful._checks import check_positive
from heedful._types import Float, Int, Tensor
from heedful.models.attention_block import attention_block
from heedful.models.cnn import ConvolutionalNetwork

GanAttention = Literal["sagan", "none", "control"]
_ITERATIONS = 5
_JUDGE = (32, 64)  # channels of the classifier's stages


class Sagan(nn.Module):
    """A generator, a discriminator, and the classifier whose features judge what is generated.

    Args:
        size: height and width of the pictures.
        channels: of the pictures.
        classes: how many the classifier tells apart.
        conditional: whether a picture is generated, and told from others, by its class.
        latent: numbers of noise that a picture is made of.
        widths: channels of each block of the generator, the coarsest first; the discriminator mirrors them.
        attention: "sagan"; "none"; "control": 1 x 1 convolutions with as many parameters.
        attention_size: attention stands at the largest feature maps whose longer side is at most this.

    Example:
        >>> model = Sagan(size=(28, 28), channels=1, classes=10)
        >>> pictures = model.generator(torch.randn(2, 64), torch.tensor([3, 7]))
        >>> pictures.shape, model.discriminator(pictures, torch.tensor([3, 7])).shape
        (torch.Size([2, 1, 28, 28]), torch.Size([2]))
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        channels: int,
        classes: int,
        conditional: bool = True,
        latent: int = 64,
        widths: Sequence[int] = (128, 64, 32),
        attention: GanAttention = "sagan",
        attention_size: int = 16,
    ) -> None:
        super().__init__()
        sizes = [size]  # of feature maps, the finest first
        for _ in widths:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        level = next((i for i, one in enumerate(sizes[:-1]) if max(one) <= attention_size), len(widths) - 1)
        conditions = classes if conditional else 1
        self.latent = check_positive("latent", latent)
        self.generator = Generator(sizes[::-1], channels, conditions, latent, widths, attention, len(widths) - level)
        self.discriminator = Discriminator(channels, conditions, widths[::-1], attention, level)
        self.judge = ConvolutionalNetwork(
            architecture="cnn", channels=channels, classes=classes, stages=_JUDGE, blocks=(1, 1), attention_after=()
        )

    @torch.no_grad()
    def settle(self) -> None:
        """Finds the largest singular values anew: means of weights have others than the means of what was known of them."""
        for module in self.modules():
            if is_parametrized(module, "weight"):
                norm: Any = module.parametrizations.weight  # type: ignore[union-attr]
                training = norm.training
                norm.train()
                for _ in range(_ITERATIONS):  # of the power method, one each time that the weight is read in training
                    _ = module.weight
                norm.train(training)


class Generator(nn.Module):
    """Pictures of noise and classes.

    Args:
        sizes: height and width of the feature maps, the coarsest first; one more than `widths`.
        channels: of the pictures.
        conditions: how many classes there are; 1: none.
        latent: numbers of noise.
        widths: channels of each block.
        attention: the kind.
        level: behind which block it stands, the first of which is 1.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        channels: int,
        conditions: int,
        latent: int,
        widths: Sequence[int],
        attention: GanAttention,
        level: int,
    ) -> None:
        super().__init__()
        self.first, self.level = sizes[0], level
        self.start = nn.Linear(latent, widths[0] * math.prod(sizes[0]))
        self.blocks = nn.ModuleList(
            _UpBlock(before, after, conditions, size)
            for before, after, size in zip((widths[0], *widths), widths, sizes[1:], strict=False)
        )
        self.norm, self.output = nn.BatchNorm2d(widths[-1]), nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.attention = _attention(attention, widths[level - 1])

    def forward(self, noise: Float[Tensor, "B Z"], classes: Int[Tensor, " B"]) -> Float[Tensor, "B C h w"]:
        """Pictures from -1 to 1."""
        x = self.start(noise).unflatten(1, (-1, *self.first)).contiguous(memory_format=torch.channels_last)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, classes)
            if number == self.level:
                x = self.attention(x)
        return self.output(F.relu(self.norm(x))).tanh()  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """How real pictures seem, each as one of its class.

    Args:
        channels: of the pictures.
        conditions: how many classes there are; 1: none.
        widths: channels of the stem and of the blocks.
        attention: the kind.
        level: behind how many blocks it stands.
    """

    def __init__(
        self, channels: int, conditions: int, widths: Sequence[int], attention: GanAttention, level: int
    ) -> None:
        super().__init__()
        self.level = level
        self.stem = spectral_norm(nn.Conv2d(channels, widths[0], 3, padding=1))
        afters = (*widths[1:], widths[-1])
        self.blocks = nn.ModuleList(_DownBlock(before, after) for before, after in zip(widths, afters, strict=True))
        self.score = spectral_norm(nn.Linear(widths[-1], 1))
        self.embed = spectral_norm(nn.Embedding(conditions, widths[-1])) if conditions > 1 else None
        self.attention = _attention(attention, (widths[0], *afters)[level])

    def forward(self, pictures: Float[Tensor, "B C h w"], classes: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Scores of pictures from -1 to 1: positive for what seems real."""
        x = self.stem(pictures.contiguous(memory_format=torch.channels_last))
        x = self.attention(x) if self.level == 0 else x
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number == self.level:
                x = self.attention(x)
        x = F.relu(x).sum((2, 3))
        score = self.score(x).squeeze(1)
        return score if self.embed is None else score + (self.embed(classes) * x).sum(1)  # type: ignore[no-any-return]


class ConditionalNorm(nn.Module):
    """Batch normalization whose gain and shift depend on a class: `[B, C, H, W] -> [B, C, H, W]`.

    Args:
        channels: C.
        conditions: how many classes there are.
    """

    def __init__(self, channels: int, conditions: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.shift = nn.Embedding(conditions, channels), nn.Embedding(conditions, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Float[Tensor, "B C H W"], classes: Int[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        gain, shift = (table(classes)[..., None, None] for table in (self.gain, self.shift))
        return torch.addcmul(shift, gain, self.norm(x))


class _UpBlock(nn.Module):
    """A residual block of the generator; its output has the given size."""

    def __init__(self, before: int, after: int, conditions: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.norms = nn.ModuleList([ConditionalNorm(before, conditions), ConditionalNorm(after, conditions)])
        self.first, self.second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        y = self.first(F.relu(self.norms[0](x, classes)))
        y = self.second(self._grown(F.relu(self.norms[1](y, classes))))
        return y + self._grown(self.shortcut(x))  # type: ignore[no-any-return]

    def _grown(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=self.size, mode="nearest")


class _DownBlock(nn.Module):
    """A residual block of the discriminator; its output is half as large, rounded up."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(before, after, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(_halved(F.relu(self.first(F.relu(x)))))
        return self.shortcut(_halved(x)) + y  # type: ignore[no-any-return]


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def _attention(kind: GanAttention, channels: int) -> nn.Module:
    """Attention, or what it is compared with; the spectral norm of each convolution is 1."""
    block = attention_block(kind, channels, like="sagan" if kind == "control" else None)
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and not is_parametrized(module):
            spectral_norm(module)
    return block
