"""The Transformer encoder: attention, then a small network at each position, again and again."""

from typing import Literal

import torch
from torch import nn

from heedful._checks import check_features, check_fraction, check_positive
from heedful._types import Float, Tensor
from heedful.nn.multihead import MultiHeadAttention
from heedful.ops import Bias, Global, Pattern

_GLOBAL = Global()
Norm = Literal["pre", "post"]


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a two-layer network, each with a residual connection and a layer norm.

    Pre-norm: `x + attend(norm(x))`; post-norm: `norm(x + attend(x))`; then the same with the network.

    Args:
        width: the features.
        heads: the number of heads; divides `width`.
        hidden: the features inside the network; by default 4 x `width`.
        dropout: the share of each sublayer's output that is set to 0 in training.
        drop_path: the probability that a sample skips a sublayer in training (stochastic depth).
        norm: "pre" or "post".

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
        hidden: int | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: Norm = "pre",
    ) -> None:
        super().__init__()
        check_fraction("dropout", dropout)
        check_fraction("drop_path", drop_path)
        if norm not in ("pre", "post"):
            raise ValueError(f"`norm` must be 'pre' or 'post': got {norm!r}.")
        hidden = 4 * width if hidden is None else hidden
        self.width, self.drop_path, self.norm = width, drop_path, norm
        self.attention = MultiHeadAttention(width, heads)
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B N D"], *, pattern: Pattern = _GLOBAL, bias: Bias | Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; `pattern` and `bias` as in `heedful.attention`."""
        if self.norm == "pre":
            x = x + self._dropped(self.attention(self.attention_norm(x), pattern=pattern, bias=bias))
            return x + self._dropped(self.network(self.network_norm(x)))
        x = self.attention_norm(x + self._dropped(self.attention(x, pattern=pattern, bias=bias)))
        return self.network_norm(x + self._dropped(self.network(x)))  # type: ignore[no-any-return]

    def _dropped(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        x = self.dropout(x)
        if not self.training or self.drop_path == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
        return x * keep.to(x.dtype) / (1 - self.drop_path)


class TransformerEncoder(nn.Module):
    """A stack of encoder layers; with pre-norm, a last layer norm closes it.

    Args:
        width: the features.
        heads: the number of heads of each layer.
        layers: how many layers.
        hidden: the features inside each layer's network; by default 4 x `width`.
        dropout: as in a layer.
        drop_path: the last layer's probability of being skipped; it grows linearly from 0 at the first.
        norm: "pre" or "post".

    Example:
        >>> TransformerEncoder(width=8, heads=2, layers=3)(torch.randn(3, 5, 8), pattern=Global()).shape
        torch.Size([3, 5, 8])

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: Norm = "pre",
    ) -> None:
        super().__init__()
        check_positive("layers", layers)
        check_fraction("drop_path", drop_path)
        self.width = width
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(
                width, heads, hidden=hidden, dropout=dropout, drop_path=drop_path * i / max(layers - 1, 1), norm=norm
            )
            for i in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws every matrix Glorot uniform."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, x: Float[Tensor, "B N D"], *, pattern: Pattern = _GLOBAL, bias: Bias | Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; every layer sees the same `pattern` and `bias`."""
        check_features("x", x, self.width, "[batch, positions, width]")
        for layer in self.layers:
            x = layer(x, pattern=pattern, bias=bias)
        return self.norm(x)  # type: ignore[no-any-return]
