"""The Transformer encoder: attention, then a small network at each position, again and again."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from heedful._checks import check_features, check_fraction, check_positive, size_or_default
from heedful._types import Float, Tensor
from heedful.nn._values import register_values, values_of
from heedful.nn.cache import Cache, KeyValueCache
from heedful.nn.dropout import Dropout
from heedful.nn.multihead import MultiHeadAttention
from heedful.nn.positions import LearnedALiBi, LearnedRelativeBias, RotaryPositions
from heedful.ops import Bias, Normalizer, Pattern, Score, softmax
from heedful.ops._tree import tensors
from heedful.ops.mechanism import GLOBAL, SCALED_DOT

Norm = Literal["pre", "post"]
Positions = RotaryPositions | LearnedRelativeBias | LearnedALiBi | Bias


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a two-layer network, each with a residual connection and a layer norm.

    Pre-norm: `x + attend(norm(x))`; post-norm: `norm(x + attend(x))`; then the same with the network.

    Args:
        width: the features.
        heads: the number of heads; divides `width`.
        ffn_width: the features inside the network; by default 4 x `width`.
        dropout: the share of each sublayer's output that is set to 0 in training.
        drop_path: the probability that a sample skips a sublayer in training (stochastic depth).
        norm: "pre" or "post".
        score: how relevant a key is to a query, as in `MultiHeadAttention`.
        normalize: what makes weights of the scores.
        rotary: turns queries and keys by where they stand.

    Example:
        >>> TransformerEncoderLayer(width=8, heads=2)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 5, 8])

    Source: Vaswani et al. 2017, section 3.1; pre-norm: Xiong et al. 2020; stochastic depth: Huang et al. 2016.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        ffn_width: int | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: Norm = "pre",
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        rotary: RotaryPositions | None = None,
    ) -> None:
        super().__init__()
        dropout, drop_path = check_fraction("dropout", dropout), check_fraction("drop_path", drop_path)
        if norm not in ("pre", "post"):
            raise ValueError(f"`norm` must be 'pre' or 'post': got {norm!r}.")
        width = check_positive("width", width)
        ffn_width = size_or_default("ffn_width", ffn_width, 4 * width)
        self.width, self.drop_path, self.norm = width, drop_path, norm
        self.attention = MultiHeadAttention(width, heads, score=score, normalize=normalize, rotary=rotary)
        self.network = nn.Sequential(nn.Linear(width, ffn_width), nn.GELU(), nn.Linear(ffn_width, width))
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; `pattern`, `bias` and `cache` as in `MultiHeadAttention`."""
        if self.norm == "pre":
            x = x + self._drop(self.attention(self.attention_norm(x), pattern=pattern, bias=bias, cache=cache))
            return x + self._drop(self.network(self.network_norm(x)))
        x = self.attention_norm(x + self._drop(self.attention(x, pattern=pattern, bias=bias, cache=cache)))
        return self.network_norm(x + self._drop(self.network(x)))  # type: ignore[no-any-return]

    def _drop(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        x = self.dropout(x)
        if not self.training or self.drop_path == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
        return x * keep.to(x.dtype) / (1 - self.drop_path)


class TransformerEncoder(nn.Module):
    """A stack of encoder layers; with pre-norm, a last layer norm closes it. With `Causal()`, a decoder without a source.

    Args:
        width: the features.
        heads: the number of heads of each layer.
        layers: how many layers.
        ffn_width: the features inside each layer's network; by default 4 x `width`.
        dropout: as in a layer.
        drop_path: the last layer's probability of being skipped; it grows linearly from 0 at the first.
        norm: "pre" or "post".
        score: as in a layer; each layer learns its own.
        normalize: as in a layer; each layer learns its own.
        positions: how queries and keys know how far they stand from each other: `RotaryPositions`, or a bias that all layers
            share, learned (`LearnedRelativeBias`, `LearnedALiBi`) or not (`ALiBi`). By default they do not: what the input
            says of its positions (`LearnedPositions`, `SinusoidalPositions`) is all.

    Example:
        >>> TransformerEncoder(width=8, heads=2, layers=3)(torch.randn(3, 5, 8), pattern=Global()).shape
        torch.Size([3, 5, 8])
        >>> encoder = TransformerEncoder(8, 2, 3, normalize=entmax15, positions=RotaryPositions(4)).eval()
        >>> caches, x = encoder.caches(), torch.randn(1, 5, 8)
        >>> with torch.no_grad():
        ...     steps = [encoder(x[:, i : i + 1], pattern=Causal("end"), caches=caches) for i in range(5)]
        ...     torch.allclose(torch.cat(steps, 1), encoder(x, pattern=Causal()), atol=1e-5)
        True

    Source: Vaswani et al. 2017, section 3.1; biases shared by the layers: Raffel et al. 2020.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        ffn_width: int | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: Norm = "pre",
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        positions: Positions | None = None,
    ) -> None:
        super().__init__()
        width, heads = check_positive("width", width), check_positive("heads", heads)
        layers = check_positive("layers", layers)
        drop_path = check_fraction("drop_path", drop_path)
        rotary, self.positions = split_positions(positions, width, heads)
        self.width = width
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(
                width, heads, ffn_width=ffn_width, dropout=dropout, drop_path=drop_path * i / max(layers - 1, 1), norm=norm,
                score=copy_if_learned(score), normalize=copy_if_learned(normalize), rotary=rotary,
            )
            for i in range(layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        register_values(self, bias=positions if isinstance(positions, Bias) else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initializes every projection matrix Glorot uniform."""
        init_projections(self.layers)

    def caches(self) -> list[Cache]:
        """An empty cache for each layer."""
        return [KeyValueCache() for _ in self.layers]

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        *,
        pattern: Pattern = GLOBAL,
        bias: Bias | Float[Tensor, "..."] | None = None,
        caches: Sequence[Cache] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; every layer sees the same `pattern` and `bias`.

        Args:
            x: `[batch, positions, width]`.
            pattern: as in `heedful.attention`.
            bias: likewise; added to that of the positions.
            caches: keys and values of earlier positions, one for each layer, as `MultiHeadAttention` takes one.
        """
        check_features("x", x, self.width, "[batch, positions, width]")
        check_caches(caches, len(self.layers))
        bias = with_positions(self, bias)
        for i, layer in enumerate(self.layers):
            x = layer(x, pattern=pattern, bias=bias, cache=None if caches is None else caches[i])
        return self.norm(x)  # type: ignore[no-any-return]


def split_positions(
    positions: Positions | None, width: int, heads: int
) -> tuple[RotaryPositions | None, LearnedRelativeBias | LearnedALiBi | None]:
    """Splits positions into rotary ones, which turn queries and keys, and ones that learn a bias."""
    if isinstance(positions, RotaryPositions) and positions.width * heads != width:
        raise ValueError(f"`positions` must turn the {width // heads} features of a head: got {positions.width}.")
    rotary = positions if isinstance(positions, RotaryPositions) else None
    return rotary, positions if isinstance(positions, (LearnedRelativeBias, LearnedALiBi)) else None


def with_positions(stack: Any, bias: Bias | Tensor | None) -> Bias | Tensor | None:
    """A bias together with that of the positions."""
    position_bias = values_of(stack)["bias"] if stack.positions is None else stack.positions()
    return position_bias if bias is None else bias if position_bias is None else position_bias + bias


def check_caches(caches: Sequence[Any] | None, layers: int) -> None:
    """Raises unless there is one for each layer."""
    if caches is not None and len(caches) != layers:
        raise ValueError(f"`caches` must be one for each of {layers} layers: got {len(caches)}.")


def init_projections(layers: nn.Module) -> None:
    """Initializes every projection matrix Glorot uniform."""
    for name, parameter in layers.named_parameters():
        if parameter.dim() > 1 and not name.split(".")[-1].startswith(("score", "normalize")):
            nn.init.xavier_uniform_(parameter)


def copy_if_learned(value: Any) -> Any:
    """A deep copy of a value with tensors, so that each layer learns its own; other values as they are."""
    return copy.deepcopy(value) if tensors(value) else value
