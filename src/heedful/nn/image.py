"""Attention on feature maps `[B, C, H, W]`: over places, over channels, and both; each begins as the identity."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as normalize_spectrum

from heedful._checks import check_channels, check_choice, check_divides, check_fraction, check_multiple, check_positive
from heedful._types import Float, Tensor
from heedful.nn._values import register_values, values_of
from heedful.ops import Dot, Normalizer, Pattern, Score, attention, softmax
from heedful.ops.mechanism import GLOBAL

GridPattern = Pattern | Callable[..., Pattern] | None
Order = Literal["parallel", "spatial-first", "channel-first"]
Merge = Literal["sum", "concatenation"]

_DOT = Dot()


class SpatialAttention(nn.Module):
    """Each place of a feature map attends to all places: `x + gamma attention(W_q x, W_k x, W_v x)`.

    gamma is 0 at first, so that a network with a new layer computes what it did before.

    Args:
        channels: C, the channels of the input and of the output.
        heads: the number of heads, H; divides `channels`.
        qk_channels: the channels of queries and of keys, of all heads together; a multiple of `heads`. By default about
            C / 8.
        pattern: which places a place sees. None: all. Any size of picture needs a function of its (rows, columns), which is
            called as `pattern(grid=(H, W))`: `heedful.Axial`, or `functools.partial(heedful.Neighborhood2d, 7)`. A pattern is
            for one size.
        score: how relevant a place is to another. Tensors of the score and of the normalizer become the layer's own.
        normalize: what makes weights of the scores.
        dropout: the share of the weights that is set to 0 in training.

    Example:
        >>> layer = SpatialAttention(16, pattern=heedful.Axial)
        >>> x = torch.randn(2, 16, 5, 7)
        >>> layer(x).shape, torch.equal(layer(x), x)
        (torch.Size([2, 16, 5, 7]), True)

    Memory is linear in H W, in training and in second derivatives too. The parameters are named as in the authors' code, so
    that its `state_dict` loads unchanged.

    Source: Fu et al., "Dual Attention Network for Scene Segmentation", 2019, section 3.2; Wang et al., "Non-local Neural
    Networks", 2018.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 1,
        qk_channels: int | None = None,
        pattern: GridPattern = None,
        score: Score = _DOT,
        normalize: Normalizer = softmax,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels = check_positive("channels", channels)
        self.heads = check_divides("heads", heads, "channels", self.channels)
        width = _width("qk_channels", qk_channels, self.channels // 8, self.heads)
        self.pattern, self.dropout = _check_pattern(pattern), check_fraction("dropout", dropout)
        register_values(self, score=score, normalize=normalize)
        self.query_conv = nn.Conv2d(channels, width, 1)
        self.key_conv = nn.Conv2d(channels, width, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(
        self, x: Float[Tensor, "B C H W"], *, add_to: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """What each place of a feature map of any size gathers, times gamma, added to `add_to`, by default `x`."""
        check_channels("x", x, self.channels)
        q, k, v = (as_places(conv(x), self.heads) for conv in (self.query_conv, self.key_conv, self.value_conv))
        out = attention(
            q, k, v, **values_of(self), pattern=_pattern_of(self.pattern, x),
            dropout=self.dropout if self.training else 0.0,
        )  # fmt: skip
        return torch.addcmul(x if add_to is None else add_to, self.gamma, as_picture(out, x))


class ChannelAttention(nn.Module):
    """Each channel of a feature map attends to all channels: `x + gamma normalize(scale X X^T) X`, with X of `[C, H W]`.

    Args:
        channels: C, the channels of the input and of the output.
        scale: what a score is multiplied by; None: the score's own factor. The authors' code subtracts the products from the
            largest of their row, which is a scale of -1: a channel looks at those that are unlike it.
        score: how relevant a channel is to another. `heedful.Cosine()` does not depend on the size of the picture.
        normalize: what makes weights of the scores.

    Example:
        >>> layer, x = ChannelAttention(16, score=heedful.Cosine(), scale=10.0), torch.randn(2, 16, 5, 7)
        >>> with torch.no_grad():
        ...     _ = layer.gamma.fill_(0.5)
        >>> layer(x).shape
        torch.Size([2, 16, 5, 7])

    Source: Fu et al., "Dual Attention Network for Scene Segmentation", 2019, section 3.3.
    Differs from its equation 3, and does as its code: see `scale`.
    """

    attends_to = "channels"  # heedful.watch reads it

    def __init__(
        self, channels: int, *, scale: float | None = -1.0, score: Score = _DOT, normalize: Normalizer = softmax
    ) -> None:
        super().__init__()
        self.channels, self.scale = check_positive("channels", channels), scale
        register_values(self, score=score, normalize=normalize)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(
        self, x: Float[Tensor, "B C H W"], *, add_to: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """What each channel of a feature map of any size gathers, times gamma, added to `add_to`, by default `x`."""
        check_channels("x", x, self.channels)
        rows = x.flatten(2)[:, None]  # [B, 1, C, H W]
        out = attention(rows, rows, rows, **values_of(self), scale=self.scale).view(x.shape)
        return torch.addcmul(x if add_to is None else add_to, self.gamma, out)


class DualAttention(nn.Module):
    """Attention over places and attention over channels, of one feature map.

    In parallel, both read x; otherwise the second reads x with what the first gathers added. "sum" adds both to x;
    "concatenation" adds `W [spatial; channel]`, a 1 x 1 convolution of both. It begins as the identity.

    Args:
        channels: C, the channels of the input and of the output.
        order: "parallel", "spatial-first" or "channel-first".
        merge: "sum" or "concatenation".
        heads: of the spatial attention.
        qk_channels: of the spatial attention.
        pattern: of the spatial attention.
        channel_scale: `scale` of the channel attention.
        channel_score: `score` of the channel attention.

    Example:
        >>> layer, x = DualAttention(16, order="channel-first"), torch.randn(2, 16, 6, 6)
        >>> torch.equal(layer(x), x), [name for name, _ in layer.named_children()]
        (True, ['spatial', 'channel'])

    Source: Fu et al., "Dual Attention Network for Scene Segmentation", 2019; one after the other: Woo et al., "CBAM", 2018,
    section 3.
    """

    def __init__(
        self,
        channels: int,
        *,
        order: Order = "parallel",
        merge: Merge = "sum",
        heads: int = 1,
        qk_channels: int | None = None,
        pattern: GridPattern = None,
        channel_scale: float | None = -1.0,
        channel_score: Score = _DOT,
    ) -> None:
        super().__init__()
        self.order = check_choice("order", order, get_args(Order))
        self.spatial = SpatialAttention(channels, heads=heads, qk_channels=qk_channels, pattern=pattern)
        self.channel = ChannelAttention(channels, scale=channel_scale, score=channel_score)
        concatenates = check_choice("merge", merge, get_args(Merge)) == "concatenation"
        self.merge = nn.Conv2d(2 * channels, channels, 1, bias=False) if concatenates else None

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """A feature map of any size, with what its places and its channels gather added."""
        first, second = (self.channel, self.spatial) if self.order == "channel-first" else (self.spatial, self.channel)
        if self.merge is None:
            y = first(x)
            return second(x if self.order == "parallel" else y, add_to=y)  # type: ignore[no-any-return]
        zero = x.new_zeros(())
        gathered = first(x, add_to=zero)
        both = gathered, second(x if self.order == "parallel" else x + gathered, add_to=zero)
        return x + self.merge(torch.cat(both if first is self.spatial else both[::-1], dim=1))  # type: ignore[no-any-return]


class SelfAttention2d(nn.Module):
    """The self-attention of SAGAN: `x + gamma W_o attention(W_q x, W_k x, W_v x)`, for generators and discriminators.

    Args:
        channels: C, the channels of the input and of the output.
        heads: the number of heads, H.
        qk_channels: the channels of queries and of keys, of all heads together; by default about C / 8.
        value_channels: the channels of the values, of all heads together; by default about C / 2.
        pool: of how many places by how many the largest keys and values are taken; 1: keys and values are not pooled.
        spectral_norm: whether the largest singular value of each projection is kept at 1.
        pattern: which places a place sees, as in `SpatialAttention`; only without pooling.

    Example:
        >>> layer, x = SelfAttention2d(16, pool=2), torch.randn(2, 16, 9, 7, requires_grad=True)
        >>> gradient, = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        >>> gradient.square().sum().backward()                   # a penalty on the gradient, in linear memory too
        >>> layer.gamma.grad.shape
        torch.Size([1])

    At the bottom and at the right of a picture of odd size, fewer keys are pooled.

    Source: Zhang et al., "Self-Attention Generative Adversarial Networks", 2019, section 3; pooling: the authors' code.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 1,
        qk_channels: int | None = None,
        value_channels: int | None = None,
        pool: int = 1,
        spectral_norm: bool = True,
        pattern: GridPattern = None,
    ) -> None:
        super().__init__()
        self.channels, self.heads = check_positive("channels", channels), check_positive("heads", heads)
        width = _width("qk_channels", qk_channels, self.channels // 8, self.heads)
        value_width = _width("value_channels", value_channels, self.channels // 2, self.heads)
        self.pool, self.pattern = check_positive("pool", pool), _check_pattern(pattern)
        if self.pool > 1 and pattern is not None:
            raise ValueError(f"`pattern` must be None where keys are pooled: got a pattern and `pool` {pool}.")
        sizes = (channels, width), (channels, width), (channels, value_width), (value_width, channels)
        convs: list[nn.Module] = [nn.Conv2d(before, after, 1, bias=False) for before, after in sizes]
        if spectral_norm:
            convs = [normalize_spectrum(conv) for conv in convs]
        self.query, self.key, self.value, self.output = convs
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """A feature map of any size, with what each place gathers added."""
        check_channels("x", x, self.channels)
        q, k, v = self.query(x), self.key(x), self.value(x)
        if self.pool > 1:
            k, v = (F.max_pool2d(t, self.pool, ceil_mode=True) for t in (k, v))
        q, k, v = (as_places(t, self.heads) for t in (q, k, v))
        out = attention(q, k, v, score=_DOT, pattern=_pattern_of(self.pattern, x))
        return torch.addcmul(x, self.gamma, self.output(as_picture(out, x)))


def as_places(x: Float[Tensor, "B C h w"], heads: int) -> Float[Tensor, "B H N D"]:
    """The places of a feature map, row by row, as a sequence; each head has its own channels."""
    return x.flatten(2).unflatten(1, (heads, x.shape[1] // heads)).mT  # type: ignore[no-any-return]


def as_picture(out: Float[Tensor, "B H N D"], x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B E h w"]:
    """What the heads gave for each place, as a feature map of the size of `x`."""
    return out.transpose(1, 2).flatten(2).mT.unflatten(-1, x.shape[-2:])  # type: ignore[no-any-return]


def _width(name: str, width: int | None, default: int, heads: int) -> int:
    return max(default // heads, 1) * heads if width is None else check_multiple(name, width, heads)


def _check_pattern(pattern: GridPattern) -> GridPattern:
    if pattern is None or isinstance(pattern, Pattern) or callable(pattern):
        return pattern
    raise TypeError(
        f"`pattern` must be a pattern, a function that makes one of `grid`, or None: got {type(pattern).__name__}."
    )


def _pattern_of(pattern: GridPattern, x: Tensor) -> Pattern:
    """The pattern for the size of a feature map."""
    if pattern is None or isinstance(pattern, Pattern):
        return GLOBAL if pattern is None else pattern
    return pattern(grid=tuple(x.shape[-2:]))
