"""A convolution as attention: each head looks at one place of the kernel, and may learn to look elsewhere."""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_channels, check_positive, check_positive_finite
from heedful._types import Float, Tensor
from heedful.ops import Dot, attention

_DOT = Dot()
_NEAR = 8  # places around a head's own that its weight is shared with


class HeadOffset(NamedTuple):
    """Where a head looks.

    Attributes:
        head: its number.
        down: rows from the place that asks to the place that is looked at.
        right: columns from the place that asks to the place that is looked at.
        weight: the share of its weight that falls on the nearest place, where the picture has no border.
        gate: the share of what it gathers that it chooses by content: 0 in what was a convolution.

    Example:
        >>> conv_as_attention(torch.nn.Conv2d(4, 4, (1, 3))).looks_at()[2]._asdict()
        {'head': 2, 'down': 0.0, 'right': 2.0, 'weight': 0.99..., 'gate': 0.0}
    """

    head: int
    down: float
    right: float
    weight: float
    gate: float


class ConvAttention2d(nn.Module):
    """Multi-head attention with relative positions that begins as a given convolution; see `conv_as_attention`.

    Head h of H gathers `z_ih = (1 - g_h) sum_j P_hij x_j + g_h sum_j C_hij x_j`, where `P_hi = softmax_j(-a_h |p_j - s p_i - d_h|^2)`
    looks at the place that lies d_h from the place s p_i (s is the stride), and `C_hi = softmax_j(q_ih . k_j / sqrt(D))` at what is
    like it. The output is `W z_i + b` of all heads. Offsets d, sharpness a, gates g, W, b, and the projections to q and k are
    parameters.

    Args:
        conv: whose kernel, stride, padding and its mode, dilation, groups and offset are taken; its weights are copied.
        qk_channels: D, the channels of a head's queries and keys.
        sharpness: a at first. Where it is 32, all weight is on one place, exactly; at 2, offsets have a gradient, too.

    Example:
        >>> layer = ConvAttention2d(torch.nn.Conv2d(3, 16, kernel_size=(1, 3)))
        >>> layer(torch.randn(2, 3, 9, 9)).shape
        torch.Size([2, 16, 9, 7])
    """

    def __init__(self, conv: nn.Conv2d, *, qk_channels: int = 8, sharpness: float = 32.0) -> None:
        super().__init__()
        if not isinstance(conv, nn.Conv2d):
            raise TypeError(f"`conv` must be a torch.nn.Conv2d: got {type(conv).__name__}.")
        (height, width), (down, right) = conv.kernel_size, conv.dilation
        self.channels, self.stride = conv.in_channels, conv.stride
        self.span = (down * (height - 1) + 1, right * (width - 1) + 1)
        self.padding = [int(side) for side in conv._reversed_padding_repeated_twice]  # left, right, top, bottom
        self.padding_mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        weight, self.heads = conv.weight.detach(), height * width
        steps = itertools.product(range(0, self.span[0], down), range(0, self.span[1], right))
        offsets = [(float(y - self.padding[2]), float(x - self.padding[0])) for y, x in steps]
        self.offset = nn.Parameter(torch.tensor(offsets))  # [H, 2]
        self.sharpness = nn.Parameter(torch.full((self.heads,), float(check_positive_finite("sharpness", sharpness))))
        self.gate = nn.Parameter(torch.zeros(self.heads))
        qk_channels = check_positive("qk_channels", qk_channels)
        self.query = nn.Conv2d(self.channels, self.heads * qk_channels, 1)
        self.key = nn.Conv2d(self.channels, qk_channels, 1, bias=False)
        has_bias, gathered = conv.bias is not None, self.channels * self.heads
        self.output = nn.Conv2d(gathered, conv.out_channels, 1, groups=conv.groups, bias=has_bias)
        self.to(weight.device, weight.dtype)
        with torch.no_grad():
            self.output.weight.copy_(weight.flatten(1)[:, :, None, None])
            if conv.bias is not None:
                self.output.bias.copy_(conv.bias)  # type: ignore[union-attr]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E Y X"]:
        """As the convolution: a feature map of any size that its kernel fits into, `[B, in_channels, H, W]`."""
        check_channels("x", x, self.channels)
        padded = F.pad(x, self.padding, self.padding_mode)
        sizes = [(n - span) // s + 1 for n, span, s in zip(padded.shape[2:], self.span, self.stride, strict=True)]
        if min(sizes) < 1:
            raise ValueError(
                f"`x` must be at least as large as the kernel, {self.span} with padding: got {list(padded.shape[2:])}."
            )
        with torch.autocast(x.device.type, enabled=False):  # large numbers, of which small differences count
            gathered = self._gather(padded.to(torch.promote_types(self.offset.dtype, torch.float32)), sizes).to(x.dtype)
        return self.output(gathered)  # type: ignore[no-any-return]

    def looks_at(self) -> list[HeadOffset]:
        """Which head looks at which offset.

        Example:
            >>> layer = conv_as_attention(torch.nn.Conv2d(8, 8, 3, padding=1))
            >>> [(one.down, one.right) for one in layer.looks_at()][:4], round(layer.looks_at()[8].weight, 6)
            ([(-1.0, -1.0), (-1.0, 0.0), (-1.0, 1.0), (0.0, -1.0)], 1.0)
        """
        offset, sharpness = self.offset.detach().double(), self.sharpness.detach().double()
        places = (
            torch.arange(-_NEAR, _NEAR + 1, device=offset.device) - (offset - offset.round())[..., None]
        )  # [H, 2, places]
        weight = (-sharpness[:, None, None] * places.square()).softmax(-1)[..., _NEAR].prod(-1)
        numbers = torch.stack([*offset.unbind(-1), weight, self.gate.detach().double()], dim=-1)
        return [HeadOffset(head, *row) for head, row in enumerate(numbers.tolist())]

    def _gather(self, padded: Float[Tensor, "B C h w"], sizes: list[int]) -> Float[Tensor, "B F y x"]:
        """What all heads gather, the heads of a channel side by side."""
        dtype, (rows, columns) = padded.dtype, sizes
        (top, left), (down, right) = ((n - 1) // 2 for n in self.span), self.stride
        asking = padded[:, :, top::down, left::right][:, :, :rows, :columns]  # the middle of each window
        q = F.conv2d(asking, self.query.weight.to(dtype), self.query.bias.to(dtype))  # type: ignore[union-attr]
        q = q.flatten(2).unflatten(1, (self.heads, -1)).mT  # [B, H, N, D]
        k = F.conv2d(padded, self.key.weight.to(dtype)).flatten(2).mT[:, None]  # [B, 1, M, D]
        middle = [n // 2 for n in padded.shape[2:]]
        key = _grid(padded.shape[2:], (1, 1), middle, padded)  # [M, 2], of the padded picture
        borders = self.offset.new_tensor([self.padding[2], self.padding[0]])
        place = _grid(sizes, self.stride, middle, padded) + (self.offset + borders).to(dtype)[:, None]  # [H, N, 2]
        a = self.sharpness.to(dtype)[:, None, None]
        place = a * torch.cat(
            [2 * place, torch.full_like(place[..., :1], -1), -place.square().sum(-1, keepdim=True)], dim=-1
        )
        key = torch.cat([key, key.square().sum(-1, keepdim=True), torch.ones_like(key[:, :1])], dim=-1)
        batch, width = len(padded), q.shape[-1]
        q = torch.cat([F.pad(place, (0, width)).expand(batch, -1, -1, -1), F.pad(q * width**-0.5, (4, 0))], dim=1)
        k = torch.cat([key.expand(batch, 1, -1, -1), k], dim=-1)
        by_place, by_content = attention(q, k, padded.flatten(2).mT[:, None], score=_DOT).chunk(2, dim=1)
        gathered = torch.lerp(by_place, by_content, self.gate.to(dtype)[:, None, None])  # [B, H, N, C]
        return gathered.permute(0, 3, 1, 2).flatten(1, 2).unflatten(-1, (rows, columns))  # type: ignore[no-any-return]


def conv_as_attention(conv: nn.Conv2d, *, qk_channels: int = 8, sharpness: float = 32.0) -> ConvAttention2d:
    """Multi-head attention that computes what a convolution computes, and can be trained to look elsewhere.

    There is a head for each place of the kernel, which looks at that place; the weights of the convolution become those of
    the output projection. Attention by content stands behind gates that are 0 at first.

    Args:
        conv: any `torch.nn.Conv2d`; it is left as it is.
        qk_channels: the channels of a head's queries and keys.
        sharpness: how sharply a head looks at its place: 32 for exactly, 2 for offsets that learn from the start.

    Raises:
        TypeError: `conv` is something else.

    Example:
        >>> conv, x = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, padding_mode="reflect"), torch.randn(2, 4, 11, 8)
        >>> layer = conv_as_attention(conv)
        >>> layer(x).shape, (layer(x) - conv(x)).abs().max().item() < 1e-5
        (torch.Size([2, 6, 6, 4]), True)

    Every pair of a place and a place that may be looked at is computed, in linear memory: it is slower than the convolution.

    Source: Cordonnier et al., "On the Relationship between Self-Attention and Convolutional Layers", 2020, theorem 1; gates:
    d'Ascoli et al., "ConViT", 2021, where a sigmoid gives the share.
    """
    return ConvAttention2d(conv, qk_channels=qk_channels, sharpness=sharpness)


def _grid(
    sizes: list[int] | torch.Size, steps: tuple[int, ...], origin: list[int], like: Tensor
) -> Float[Tensor, "N 2"]:
    """Rows and columns of places, row by row, from an origin near their middle: so numbers are small, and exact."""
    axes = (
        torch.arange(n, device=like.device, dtype=like.dtype) * step - start
        for n, step, start in zip(sizes, steps, origin, strict=True)
    )
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
