"""Self-attention in which nothing is learned."""

from torch import nn

from heedful._checks import check_fraction
from heedful._types import Float, Tensor
from heedful.nn._values import register_values, values_of
from heedful.ops import Bias, Normalizer, Pattern, Score, Selection, attention, softmax
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, SOFT


class ParameterFreeAttention(nn.Module):
    """Each position becomes a mean of all, weighted by how similar they are to it: `softmax(x x^T / sqrt(D)) x`.

    Args:
        score: how similar two positions are, such as `Gaussian(bandwidth)`.
        normalize: what makes weights of the scores.
        select: what is done with the weights: their mean of all values, or one value alone.
        dropout: the share of the weights that is set to 0 in training.

    Example:
        >>> x = torch.tensor([[[5.0], [5.0], [-5.0]]])
        >>> ParameterFreeAttention()(x)
        tensor([[[ 5.],
                 [ 5.],
                 [-5.]]])

    Source: Vaswani et al. 2017, equation 1, with Q = K = V = x; with Gaussian similarities it is the regression of
    Nadaraya 1964 and Watson 1964, and the non-local means of Buades et al. 2005.
    """

    def __init__(
        self,
        *,
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        select: Selection = SOFT,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = check_fraction("dropout", dropout)
        register_values(self, score=score, normalize=normalize, select=select)

    def forward(
        self,
        x: Float[Tensor, "... N D"],
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        scale: Float[Tensor, "..."] | float | None = None,
        softcap: float | None = None,
        sinks: Float[Tensor, "..."] | None = None,
        seed: int | None = None,
    ) -> Float[Tensor, "... N D"]:
        """Re-weights `[..., positions, width]`; the other arguments are those of `heedful.attention`."""
        return attention(
            x, x, x, **values_of(self), pattern=pattern, bias=bias, scale=scale, softcap=softcap, sinks=sinks,
            dropout=self.dropout if self.training else 0.0, seed=seed,
        )  # fmt: skip
