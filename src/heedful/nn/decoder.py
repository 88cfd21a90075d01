"""The Transformer decoder: a target attends to itself and to a source."""

from collections.abc import Sequence

from torch import nn

from heedful._checks import check_divides, check_features, check_fraction, check_positive, size_or_default
from heedful._types import Float, Int, Tensor
from heedful.nn._values import register_values
from heedful.nn.cache import Cache, KeyValueCache
from heedful.nn.dropout import Dropout
from heedful.nn.multihead import MultiHeadAttention
from heedful.nn.positions import RotaryPositions
from heedful.nn.transformer import (
    Norm,
    Positions,
    check_caches,
    copy_if_learned,
    init_projections,
    split_positions,
    with_positions,
)
from heedful.ops import Bias, Causal, Normalizer, Pattern, Score, softmax
from heedful.ops.mechanism import GLOBAL, SCALED_DOT

_PAST = Causal("end")


class DecoderCache:
    """What one layer of a decoder keeps from step to step: its own keys and values, and those of the source, projected once.

    Attributes:
        target: of the positions so far.
        source: of the source; None until the first step.

    Example:
        >>> layer, cache = TransformerDecoderLayer(width=8, heads=2), DecoderCache()
        >>> for step in range(3):
        ...     out = layer(torch.randn(1, 1, 8), torch.randn(1, 7, 8) if step == 0 else None, cache=cache)
        >>> cache.length, cache.source[0].shape
        (3, torch.Size([1, 2, 7, 4]))
    """

    def __init__(self) -> None:
        self.target: Cache = KeyValueCache()
        self.source: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        """How many positions of the target are held."""
        return self.target.length

    def reorder(self, index: Int[Tensor, "b"]) -> None:
        """Sample i goes on with what sample `index[i]` holds, which must have the same source."""
        self.target.reorder(index)

    def select(self, index: Int[Tensor, "b"], sources: Int[Tensor, "s"]) -> None:
        """Keeps the samples `index` and the sources `sources`."""
        self.target.reorder(index)
        if self.source is not None:
            key, value = self.source
            self.source = key.index_select(0, sources), value.index_select(0, sources)


class TransformerDecoderLayer(nn.Module):
    """Self-attention over the target, cross-attention to a source, and a two-layer network.

    Args:
        width: the features.
        heads: the number of heads; divides `width`.
        ffn_width: the features inside the network; by default 4 x `width`.
        source_width: the features of the source; by default `width`.
        dropout: the share of each sublayer's output that is set to 0 in training.
        norm: "pre" or "post", as in `TransformerEncoderLayer`.
        score: how relevant a key is to a query, in both attentions.
        normalize: what makes weights of the scores, in both.
        rotary: turns queries and keys of the self-attention by where they stand.

    Example:
        >>> layer = TransformerDecoderLayer(width=8, heads=2)
        >>> layer(torch.randn(3, 5, 8), torch.randn(3, 7, 8)).shape
        torch.Size([3, 5, 8])

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        ffn_width: int | None = None,
        source_width: int | None = None,
        dropout: float = 0.0,
        norm: Norm = "pre",
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        rotary: RotaryPositions | None = None,
    ) -> None:
        super().__init__()
        dropout = check_fraction("dropout", dropout)
        if norm not in ("pre", "post"):
            raise ValueError(f"`norm` must be 'pre' or 'post': got {norm!r}.")
        width = check_positive("width", width)
        ffn_width = size_or_default("ffn_width", ffn_width, 4 * width)
        self.width, self.norm = width, norm
        self.attention = MultiHeadAttention(width, heads, score=score, normalize=normalize, rotary=rotary)
        self.cross_attention = MultiHeadAttention(
            width,
            heads,
            key_width=source_width,
            value_width=source_width,
            score=copy_if_learned(score),
            normalize=copy_if_learned(normalize),
        )
        self.network = nn.Sequential(nn.Linear(width, ffn_width), nn.GELU(), nn.Linear(ffn_width, width))
        self.attention_norm, self.cross_norm, self.network_norm = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        source: Float[Tensor, "S M F"] | None,
        *,
        pattern: Pattern = _PAST,
        source_pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        cache: DecoderCache | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`.

        Args:
            x: the target.
            source: `[sources, positions, source_width]`. Neighboring samples may share one, as the beams of a search do: then there
                are a whole number of samples for each source. None where the cache holds it.
            pattern: who sees whom in the target, as in `heedful.attention`.
            source_pattern: who sees what of the source, over `[sources, heads, samples of a source x positions, source positions]`.
            bias: added to the scores of the self-attention.
            cache: of earlier positions.
        """
        check_features("x", x, self.width, "[batch, positions, width]")
        if self.norm == "pre":
            x = x + self.dropout(self._self(self.attention_norm(x), pattern, bias, cache))
            x = x + self.dropout(self._cross(self.cross_norm(x), source, source_pattern, cache))
            return x + self.dropout(self.network(self.network_norm(x)))  # type: ignore[no-any-return]
        x = self.attention_norm(x + self.dropout(self._self(x, pattern, bias, cache)))
        x = self.cross_norm(x + self.dropout(self._cross(x, source, source_pattern, cache)))
        return self.network_norm(x + self.dropout(self.network(x)))  # type: ignore[no-any-return]

    def _self(
        self, x: Tensor, pattern: Pattern, bias: Bias | Tensor | None, cache: DecoderCache | None
    ) -> Float[Tensor, "B N D"]:
        return self.attention(x, pattern=pattern, bias=bias, cache=None if cache is None else cache.target)  # type: ignore[no-any-return]

    def _cross(
        self, x: Float[Tensor, "B N D"], source: Tensor | None, pattern: Pattern, cache: DecoderCache | None
    ) -> Float[Tensor, "B N D"]:
        projected = None if cache is None else cache.source
        if projected is None:
            if source is None:
                raise ValueError("`source` must be given where no cache holds it: got None.")
            projected = self.cross_attention.project(source)
            if cache is not None:
                cache.source = projected
        sources, (samples, positions, _) = len(projected[0]), x.shape
        if sources or samples:
            check_divides("sources", sources, "samples", samples)
        # Samples of one source are so many queries more: nothing of it is repeated.
        query = x.reshape(sources, samples // max(sources, 1) * positions, self.width)
        out: Tensor = self.cross_attention(query, projected=projected, pattern=pattern)
        return out.view_as(x)


class TransformerDecoder(nn.Module):
    """A stack of decoder layers; with pre-norm, a last layer norm closes it.

    Args:
        width: the features.
        heads: the number of heads of each layer.
        layers: how many layers.
        ffn_width: the features inside each layer's network; by default 4 x `width`.
        source_width: the features of the source; by default `width`.
        dropout: as in a layer.
        norm: "pre" or "post".
        score: as in a layer; each attention learns its own.
        normalize: as in a layer; each attention learns its own.
        positions: how the target knows its distances, as in `TransformerEncoder`.

    Example:
        >>> decoder = TransformerDecoder(8, 2, 3, positions=RotaryPositions(4)).eval()
        >>> x, source, caches = torch.randn(1, 5, 8), torch.randn(1, 7, 8), decoder.caches()
        >>> with torch.no_grad():
        ...     steps = [decoder(x[:, i : i + 1], source if i == 0 else None, caches=caches) for i in range(5)]
        ...     torch.allclose(torch.cat(steps, 1), decoder(x, source), atol=1e-5)
        True

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        ffn_width: int | None = None,
        source_width: int | None = None,
        dropout: float = 0.0,
        norm: Norm = "pre",
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        positions: Positions | None = None,
    ) -> None:
        super().__init__()
        width, heads = check_positive("width", width), check_positive("heads", heads)
        layers = check_positive("layers", layers)
        rotary, self.positions = split_positions(positions, width, heads)
        self.width = width
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(
                width, heads, ffn_width=ffn_width, source_width=source_width, dropout=dropout, norm=norm,
                score=copy_if_learned(score), normalize=copy_if_learned(normalize), rotary=rotary,
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        register_values(self, bias=positions if isinstance(positions, Bias) else None)
        init_projections(self.layers)

    def caches(self) -> list[DecoderCache]:
        """An empty cache for each layer."""
        return [DecoderCache() for _ in self.layers]

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        source: Float[Tensor, "S M F"] | None,
        *,
        pattern: Pattern = _PAST,
        source_pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        caches: Sequence[DecoderCache] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; the arguments are those of a layer, with a cache for each."""
        check_features("x", x, self.width, "[batch, positions, width]")
        check_caches(caches, len(self.layers))
        bias = with_positions(self, bias)
        for i, layer in enumerate(self.layers):
            x = layer(
                x, source, pattern=pattern, source_pattern=source_pattern, bias=bias,
                cache=None if caches is None else caches[i],
            )  # fmt: skip
        return self.norm(x)  # type: ignore[no-any-return]
