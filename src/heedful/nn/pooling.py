"""A sequence becomes one vector: the mean of its positions, weighted by attention."""

import torch
from torch import nn

from heedful._checks import as_integer, check_divides, check_features
from heedful._types import Float, Tensor
from heedful.ops import Pattern, attention
from heedful.ops.mechanism import GLOBAL


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
