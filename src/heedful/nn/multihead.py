"""Attention with learned projections, of one head and of many."""

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import as_integer, check_divides, check_features, check_fraction, check_positive, size_or_default
from heedful._types import Float, Int, Tensor
from heedful.nn._values import register_values, values_of
from heedful.nn.cache import Cache
from heedful.ops import Bias, Normalizer, Pattern, Score, Selection, attention, softmax
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, SOFT


class SelfAttention(nn.Module):
    """One head in which a sequence attends to itself: `attention(x W_q, x W_k, x W_v)`.

    Args:
        width: the features of the input, D.
        key_width: the features of queries and keys; by default `width`.
        value_width: the features of values and of the output, E; by default `width`.
        bias: whether the projections have an offset.
        score: how relevant a key is to a query. Tensors of the score and of the normalizer become the layer's own: a
            `torch.nn.Parameter` is trained with the layer, as `score_weight` of `Additive(weight)`.
        normalize: what makes weights of the scores.
        select: what is done with the weights: their mean of all values, or one value alone.
        dropout: the share of the weights that is set to 0 in training.

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
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        select: Selection = SOFT,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = check_positive("width", width)
        self.width, self.dropout = width, check_fraction("dropout", dropout)
        register_values(self, score=score, normalize=normalize, select=select)
        key_width = size_or_default("key_width", key_width, width)
        value_width = size_or_default("value_width", value_width, width)
        self.query_projection = nn.Linear(width, key_width, bias=bias)
        self.key_projection = nn.Linear(width, key_width, bias=bias)
        self.value_projection = nn.Linear(width, value_width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        scale: Float[Tensor, "..."] | float | None = None,
        softcap: float | None = None,
        sinks: Float[Tensor, "..."] | None = None,
        seed: int | None = None,
    ) -> Float[Tensor, "B N E"]:
        """Attends within each sequence `[batch, positions, width]`; the other arguments are those of `heedful.attention`."""
        check_features("x", x, self.width, "[batch, positions, width]")
        return attention(
            self.query_projection(x), self.key_projection(x), self.value_projection(x), **values_of(self),
            pattern=pattern, bias=bias, scale=scale, softcap=softcap, sinks=sinks,
            dropout=self.dropout if self.training else 0.0, seed=seed,
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
        score: how relevant a key is to a query. Tensors of the score and of the normalizer become the layer's own: a
            `torch.nn.Parameter` is trained with the layer, as `score_weight` of `Additive(weight)`.
        normalize: what makes weights of the scores.
        select: what is done with the weights: their mean of all values, or one value alone.
        dropout: the share of the weights that is set to 0 in training.
        rotary: turns queries and keys by where they stand, `rotary(query, key, positions) -> (query, key)`, such as
            `RotaryPositions`; with a cache, positions go on where it ends.

    Example:
        >>> layer = MultiHeadAttention(width=12, heads=3)
        >>> layer.load_state_dict(torch.nn.MultiheadAttention(12, 3).state_dict())
        <All keys matched successfully>
        >>> layer(torch.randn(2, 5, 12), torch.randn(2, 7, 12)).shape
        torch.Size([2, 5, 12])

    Differs from `torch.nn.MultiheadAttention`: the batch stands first; patterns say True = may attend; a sample that is all
    padding gives `W_o`'s offset, not NaN; no weights are returned (look through `heedful.inspection.watch`);
    there is neither `add_bias_kv` nor input without a batch. `from_torch` makes a layer with none of these differences.

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
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        select: Selection = SOFT,
        dropout: float = 0.0,
        rotary: nn.Module | None = None,
    ) -> None:
        super().__init__()
        width, dropout = as_integer("width", width), check_fraction("dropout", dropout)
        heads = check_divides("heads", heads, "width", width)
        key_heads = heads if key_heads is None else check_divides("key_heads", key_heads, "heads", heads)
        self.width, self.heads, self.key_heads, self.dropout = width, heads, key_heads, dropout
        register_values(self, score=score, normalize=normalize, select=select)
        self.key_width = size_or_default("key_width", key_width, width)
        self.value_width = size_or_default("value_width", value_width, width)
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
        self.rotary = rotary
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights as PyTorch's layer does: Glorot uniform, offsets 0."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if name in self._parameters:
                nn.init.xavier_uniform_(getattr(self, name))
        for offset in (self.in_proj_bias, self.out_proj.bias):
            if offset is not None:
                nn.init.zeros_(offset)

    def forward(
        self,
        query: Float[Tensor, "B N D"],
        key: Float[Tensor, "B M F"] | None = None,
        value: Float[Tensor, "B M E"] | None = None,
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        scale: Float[Tensor, "..."] | float | None = None,
        softcap: float | None = None,
        sinks: Float[Tensor, "..."] | None = None,
        seed: int | None = None,
        cache: Cache | None = None,
        projected: tuple[Float[Tensor, "B G M d"], Float[Tensor, "B G M d"]] | None = None,
        positions: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attends from `query` to `key` (by default the query itself) and gathers `value` (by default the key).

        Args:
            query: `[batch, queries, width]`.
            key: `[batch, keys, key_width]`.
            value: `[batch, keys, value_width]`.
            pattern: who may see whom, over a matrix `[batch, heads, queries, keys]`.
            bias: added to the scores; broadcasts to that matrix.
            scale: in the place of the score's own factor, as in `heedful.attention`.
            softcap: bounds the scores, as in `heedful.attention`.
            sinks: one more score for each head, whose weight goes to nothing, as in `heedful.attention`.
            seed: of what is drawn: dropout and a sampled selection.
            cache: keys and values of earlier positions. Those of this call are appended, and the queries attend to all:
                `pattern` and `bias` are over `[batch, heads, queries, cache.length]`, as `Causal("end")` reads it.
            projected: what `project` made of a key and a value, in their place.
            positions: where the queries stand, for `rotary`; with `projected`, whose keys were given theirs. By default 0, 1, 2 ...
        """
        check_features("query", query, self.width, "[batch, positions, width]")
        if key is not None:
            check_features("key", key, self.key_width, "[batch, positions, width]")
        if value is not None:
            check_features("value", value, self.value_width, "[batch, positions, width]")
        if projected is not None:
            if key is not None or value is not None or cache is not None:
                raise ValueError("`projected` stands in the place of `key`, `value` and `cache`: got one of them too.")
            weight, offset = self._projection(0)
            q, (k, v) = self._split(F.linear(query, weight, offset), self.heads), projected
            if self.rotary is not None:
                q, _ = self.rotary(q, q, positions)
        elif positions is not None:
            raise ValueError("`positions` must be None without `projected`: got a tensor.")
        else:
            q, k, v = self._project(query, query if key is None else key, value)
            q, k, v = self._split(q, self.heads), self._split(k, self.key_heads), self._split(v, self.key_heads)
            if self.rotary is not None:
                if cache is not None:
                    positions = torch.arange(cache.length, cache.length + k.shape[-2], device=k.device)
                q, k = self.rotary(q, k, positions)
        if cache is not None:
            k, v = cache.append(k, v)
        out = attention(
            q, k, v, **values_of(self), pattern=pattern, bias=bias, scale=scale, softcap=softcap, sinks=sinks,
            dropout=self.dropout if self.training else 0.0, seed=seed,
        )  # fmt: skip
        return self.out_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def project(
        self,
        key: Float[Tensor, "B M F"],
        value: Float[Tensor, "B M E"] | None = None,
        *,
        positions: Int[Tensor, " M"] | None = None,
    ) -> tuple[Float[Tensor, "B G M d"], Float[Tensor, "B G M d"]]:
        """Keys and values of the heads, for `forward(query, projected=...)`: whoever is attended to again and again is projected once.

        With `rotary`, keys are turned by their `positions`, by default 0, 1, 2 ...: a stream goes on with those that follow.

        Example:
            >>> layer, source = MultiHeadAttention(8, heads=2), torch.randn(1, 5, 8)
            >>> query, once = torch.randn(1, 3, 8), layer.project(source)
            >>> torch.allclose(layer(query, projected=once), layer(query, source), atol=1e-6)
            True
        """
        check_features("key", key, self.key_width, "[batch, positions, width]")
        projections = zip(
            (key, key if value is None else value), (self._projection(1), self._projection(2)), strict=True
        )
        k, v = (self._split(F.linear(x, weight, offset), self.key_heads) for x, (weight, offset) in projections)
        if self.rotary is not None:
            k, _ = self.rotary(k, k, positions)
        return k, v

    def _projection(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Weight and offset of the queries' projection (0), the keys' (1) or the values' (2)."""
        if "in_proj_weight" in self._parameters:
            weight = self.in_proj_weight.split(self.sizes)[index]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[index]
        return weight, None if self.in_proj_bias is None else self.in_proj_bias.split(self.sizes)[index]

    def _project(self, query: Tensor, key: Tensor, value: Tensor | None) -> tuple[Tensor, ...]:
        value = key if value is None else value
        if "in_proj_weight" in self._parameters and query is key is value:
            return tuple(F.linear(query, self.in_proj_weight, self.in_proj_bias).split(self.sizes, dim=-1))
        projections = (self._projection(index) for index in range(3))
        return tuple(F.linear(x, w, b) for x, (w, b) in zip((query, key, value), projections, strict=True))

    @staticmethod
    def _split(x: Float[Tensor, "B N D"], heads: int) -> Float[Tensor, "B H N d"]:
        split: Tensor = x.unflatten(-1, (heads, x.shape[-1] // heads))
        return split.transpose(1, 2)
