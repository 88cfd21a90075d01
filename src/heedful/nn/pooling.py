"""A sequence becomes one vector: the mean of its positions, weighted by attention; or mean and deviation."""

import torch
from torch import nn

from heedful._checks import as_integer, check_divides, check_features, check_positive
from heedful._types import Float, Tensor
from heedful.ops import Pattern, attention
from heedful.ops.mechanism import GLOBAL

_SMALLEST = 1e-6  # a variance of which the root is taken


class AttentionPooling(nn.Module):
    """A learned query attends to all positions; each head weighs its own part of the features.

    With one head it is `softmax(x w) x`; a query of 0, as at the start, is the plain mean.

    Args:
        width: the features of the input.
        heads: the number of heads; divides `width`.

    Example:
        >>> pool = AttentionPooling(width=8, heads=2)
        >>> x = torch.randn(3, 5, 8)
        >>> torch.allclose(pool(x), x.mean(1))
        True

    Source: Lin et al. 2017, equation 5; Hassani et al. 2021, section 3.3 (SeqPool).
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        width = as_integer("width", width)
        heads = check_divides("heads", heads, "width", width)
        self.width, self.heads = width, heads
        self.query = nn.Parameter(torch.zeros(heads, 1, width // heads))

    def forward(self, x: Float[Tensor, "B N D"], *, pattern: Pattern = GLOBAL) -> Float[Tensor, "B D"]:
        """Pools `[batch, positions, width]` to `[batch, width]`; a sequence that is all padding gives 0."""
        check_features("x", x, self.width, "[batch, positions, width]")
        split = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, N, d]
        query = self.query.to(x.dtype).expand(x.shape[0], -1, -1, -1)
        return attention(query, split, split, pattern=pattern).flatten(1)


class AttentiveStatistics(nn.Module):
    """The mean and the standard deviation over the positions, weighted by attention; each head weighs its own part of the features.

    `a = softmax_n(w . tanh(W x_n + b))`, `mean = sum_n a_n x_n`, `std = sqrt(sum_n a_n x_n^2 - mean^2)`. It is one call of the
    operator: the query is 1, the key of a position is how relevant it is, one number, and the values are x and its squares. A weight w
    of 0, as at the start, gives the plain mean and deviation.

    Args:
        width: the features of the input.
        heads: the number of heads; divides `width`.
        hidden: the features of which the relevance is made, a head.

    Example:
        >>> pool = AttentiveStatistics(width=8, heads=2)
        >>> x = torch.randn(3, 5, 8)
        >>> mean, std = pool(x).chunk(2, dim=1)
        >>> torch.allclose(mean, x.mean(1), atol=1e-6), torch.allclose(std, x.std(1, correction=0), atol=1e-4)
        (True, True)

    Source: Okabe et al., "Attentive Statistics Pooling for Deep Speaker Embedding", 2018, equations 2 to 5.
    """

    def __init__(self, width: int, heads: int = 1, hidden: int = 32) -> None:
        super().__init__()
        width, hidden = as_integer("width", width), check_positive("hidden", hidden)
        heads = check_divides("heads", heads, "width", width)
        self.width, self.heads = width, heads
        self.hidden = nn.Linear(width, heads * hidden)
        self.weight = nn.Parameter(torch.zeros(heads, hidden))

    def forward(self, x: Float[Tensor, "B N D"], *, pattern: Pattern = GLOBAL) -> Float[Tensor, "B two_D"]:
        """Pools `[batch, positions, width]` to `[batch, 2 * width]`: all means, then all deviations; of padding alone 0 and 0.001."""
        check_features("x", x, self.width, "[batch, positions, width]")
        split = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, N, d]
        hidden = self.hidden(x).tanh().unflatten(-1, (self.heads, -1))  # [B, N, H, hidden]
        key = (hidden * self.weight).sum(-1).transpose(1, 2)[..., None]  # [B, H, N, 1]
        values = torch.cat([split, split.square()], -1)
        pooled = attention(
            key.new_ones(*key.shape[:2], 1, 1), key, values, scale=1.0, pattern=pattern
        )  # [B, H, 1, 2 d]
        mean, square = pooled.squeeze(2).chunk(2, -1)
        std = (square - mean.square()).clamp_min(_SMALLEST).sqrt()
        return torch.cat([mean.flatten(1), std.flatten(1)], 1)
