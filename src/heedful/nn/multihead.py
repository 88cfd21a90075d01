"""Attention with learned projections, of one head and of many."""

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_divides, check_features, check_positive
from heedful._types import Float, Tensor
from heedful.ops import Global, Pattern, ScaledDot, Score, attention

_GLOBAL, _SCALED_DOT = Global(), ScaledDot()


class SelfAttention(nn.Module):
    """One head in which a sequence attends to itself: `attention(x W_q, x W_k, x W_v)`.

    Args:
        width: the features of the input, D.
        key_width: the features of queries and keys; by default `width`.
        value_width: the features of values and of the output, E; by default `width`.
        bias: whether the projections have an offset.
        score: how relevant a key is to a query.

    Example:
        >>> layer = SelfAttention(width=8)
        >>> layer(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Source: Vaswani et al. 2017, section 3.2.1.
    """

    def __init__(
        self,
        width: int,
        *,
        key_width: int | None = None,
        value_width: int | None = None,
        bias: bool = True,
        score: Score = _SCALED_DOT,
    ) -> None:
        super().__init__()
        check_positive("width", width)
        self.width, self.score = width, score
        self.query_projection = nn.Linear(width, key_width or width, bias=bias)
        self.key_projection = nn.Linear(width, key_width or width, bias=bias)
        self.value_projection = nn.Linear(width, value_width or width, bias=bias)

    def forward(
        self, x: Float[Tensor, "B N D"], *, pattern: Pattern = _GLOBAL, bias: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B N E"]:
        """Attends within each sequence `[batch, positions, width]`; `pattern` and `bias` as in `heedful.attention`."""
        check_features("x", x, self.width, "[batch, positions, width]")
        return attention(
            self.query_projection(x), self.key_projection(x), self.value_projection(x),
            score=self.score, pattern=pattern, bias=bias,
        )  # fmt: skip


class MultiHeadAttention(nn.Module):
    """Several heads side by side, each with its own part of the width: `concat(head_1, ..., head_H) W_o`.

    The parameters are named as those of `torch.nn.MultiheadAttention`, so that its `state_dict` loads unchanged.

    Args:
        width: the features of the query and of the output.
        heads: the number of heads, H; divides `width`.
        key_heads: the number of key/value heads, G; divides `heads`. By default as many as heads.
        key_width: the features of the key's input; by default `width`.
        value_width: the features of the value's input; by default `width`.
        bias: whether the projections have an offset.
        score: how relevant a key is to a query.

    Example:
        >>> layer = MultiHeadAttention(width=12, heads=3)
        >>> layer.load_state_dict(torch.nn.MultiheadAttention(12, 3).state_dict())
        <All keys matched successfully>
        >>> layer(torch.randn(2, 5, 12), torch.randn(2, 7, 12)).shape
        torch.Size([2, 5, 12])

    Differs from `torch.nn.MultiheadAttention`: the batch stands first; patterns say True = may attend; a sample that is all
    padding gives `W_o`'s offset, not NaN; no weights are returned (look through `heedful.inspection.watch`);
    there is neither `add_bias_kv` nor input without a batch.

    Source: Vaswani et al. 2017, section 3.2.2; grouped heads: Ainslie et al. 2023.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_heads: int | None = None,
        key_width: int | None = None,
        value_width: int | None = None,
        bias: bool = True,
        score: Score = _SCALED_DOT,
    ) -> None:
        super().__init__()
        check_divides("heads", heads, "width", width)
        key_heads = heads if key_heads is None else key_heads
        check_divides("key_heads", key_heads, "heads", heads)
        self.width, self.heads, self.key_heads, self.score = width, heads, key_heads, score
        self.key_width, self.value_width = key_width or width, value_width or width
        inner = width // heads * key_heads  # features of all key heads together
        self.sizes = [width, inner, inner]
        if self.key_width == self.value_width == width:
            self.in_proj_weight = nn.Parameter(torch.empty(sum(self.sizes), width))
        else:
            self.q_proj_weight = nn.Parameter(torch.empty(width, width))
            self.k_proj_weight = nn.Parameter(torch.empty(inner, self.key_width))
            self.v_proj_weight = nn.Parameter(torch.empty(inner, self.value_width))
        if bias:
            self.in_proj_bias = nn.Parameter(torch.empty(sum(self.sizes)))
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = nn.Linear(width, width, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights as PyTorch's layer does: Glorot uniform, offsets 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and name != "out_proj.weight":
                nn.init.xavier_uniform_(parameter)
            elif parameter.dim() == 1:
                nn.init.zeros_(parameter)

    def forward(
        self,
        query: Float[Tensor, "B N D"],
        key: Float[Tensor, "B M F"] | None = None,
        value: Float[Tensor, "B M E"] | None = None,
        *,
        pattern: Pattern = _GLOBAL,
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attends from `query` to `key` (by default the query itself) and gathers `value` (by default the key).

        Args:
            query: `[batch, queries, width]`.
            key: `[batch, keys, key_width]`.
            value: `[batch, keys, value_width]`.
            pattern: who may see whom, over a matrix `[batch, heads, queries, keys]`.
            bias: added to the scores; broadcasts to that matrix.
        """
        check_features("query", query, self.width, "[batch, positions, width]")
        if key is not None:
            check_features("key", key, self.key_width, "[batch, positions, width]")
        if value is not None:
            check_features("value", value, self.value_width, "[batch, positions, width]")
        q, k, v = self._project(query, query if key is None else key, value)
        out = attention(
            self._split(q, self.heads), self._split(k, self.key_heads), self._split(v, self.key_heads),
            score=self.score, pattern=pattern, bias=bias,
        )  # fmt: skip
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _project(self, query: Tensor, key: Tensor, value: Tensor | None) -> tuple[Tensor, ...]:
        value = key if value is None else value
        if "in_proj_weight" in self._parameters and query is key is value:
            return tuple(F.linear(query, self.in_proj_weight, self.in_proj_bias).split(self.sizes, dim=-1))
        if "in_proj_weight" in self._parameters:
            weights = self.in_proj_weight.split(self.sizes)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        offsets = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.split(self.sizes)
        return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, offsets, strict=True))

    @staticmethod
    def _split(x: Float[Tensor, "B N D"], heads: int) -> Float[Tensor, "B H N d"]:
        batch, positions, _ = x.shape
        return x.view(batch, positions, heads, -1).transpose(1, 2)
