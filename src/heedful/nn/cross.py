"""One head in which a sequence attends to another one."""

from torch import nn

from heedful._checks import check_features, check_fraction, check_positive, size_or_default
from heedful._types import Float, Tensor
from heedful.nn._values import register_values, values_of
from heedful.ops import Bias, Normalizer, Pattern, Score, Selection, attention, softmax
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, SOFT


class CrossAttention(nn.Module):
    """One head in which a sequence attends to a source: `attention(x W_q, y W_k, y W_v)`.

    Args:
        width: the features of the sequence that asks, D.
        source_width: the features of the source, F; by default `width`.
        key_width: the features of queries and keys; by default `width`.
        value_width: the features of values and of the output, E; by default `width`.
        bias: whether the projections have an offset.
        score: how relevant a key is to a query. Tensors of the score and of the normalizer become the layer's own: a
            `torch.nn.Parameter` is trained with the layer, as `score_weight` of `Additive(weight)`.
        normalize: what makes weights of the scores.
        select: what is done with the weights: their mean of all values, or one value alone.
        dropout: the share of the weights that is set to 0 in training.

    Example:
        >>> layer = CrossAttention(width=8, source_width=6)
        >>> layer(torch.randn(2, 5, 8), torch.randn(2, 7, 6), pattern=Lengths(torch.tensor([7, 4]))).shape
        torch.Size([2, 5, 8])

    Source: Bahdanau et al. 2015; with scaled dot products: Vaswani et al. 2017, section 3.2.3.
    """

    def __init__(
        self,
        width: int,
        source_width: int | None = None,
        *,
        key_width: int | None = None,
        value_width: int | None = None,
        bias: bool = True,
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        select: Selection = SOFT,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = check_positive("width", width)
        self.source_width = size_or_default("source_width", source_width, width)
        self.width, self.dropout = width, check_fraction("dropout", dropout)
        register_values(self, score=score, normalize=normalize, select=select)
        key_width = size_or_default("key_width", key_width, width)
        value_width = size_or_default("value_width", value_width, width)
        self.query_projection = nn.Linear(width, key_width, bias=bias)
        self.key_projection = nn.Linear(self.source_width, key_width, bias=bias)
        self.value_projection = nn.Linear(self.source_width, value_width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        source: Float[Tensor, "B M F"],
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        scale: Float[Tensor, "..."] | float | None = None,
        softcap: float | None = None,
        sinks: Float[Tensor, "..."] | None = None,
        seed: int | None = None,
    ) -> Float[Tensor, "B N E"]:
        """Attends from `[batch, positions, width]` to `[batch, keys, source_width]`; the rest as in `heedful.attention`."""
        check_features("x", x, self.width, "[batch, positions, width]")
        check_features("source", source, self.source_width, "[batch, positions, width]")
        return attention(
            self.query_projection(x), self.key_projection(source), self.value_projection(source), **values_of(self),
            pattern=pattern, bias=bias, scale=scale, softcap=softcap, sinks=sinks,
            dropout=self.dropout if self.training else 0.0, seed=seed,
        )  # fmt: skip
