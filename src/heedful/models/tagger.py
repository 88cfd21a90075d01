"""The tagger: the words of a sentence attend to each other, and each gets a label.

    words -> WordEmbedding -> [B, N, D] -> + positions -> encoder -> one linear layer a column of labels -> logits [B, N, labels]

Source: Vaswani et al. 2017 (the encoder); to compare with it, Collobert et al. 2011, section 3.3.1 (a window of neighbors).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_positive
from heedful._types import Bool, Float, Tensor
from heedful.data.batch_types import WordBatch
from heedful.models.encoders import add_positions, padding
from heedful.models.words import WordEmbedding
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.dropout import Dropout
from heedful.ops import Pattern
from heedful.ops.mechanism import GLOBAL


class NeighborEncoder(nn.Module):
    """A baseline without attention: each layer is a network that reads every word together with its neighbors.

    `x + network(concat(norm(x)[i - reach], ..., norm(x)[i + reach]))`; with a reach of 0 no word sees another.

    Args:
        width: the features of a word.
        layers: how many.
        ffn_width: features inside each layer's network.
        reach: how many neighbors on each side.
        dropout: share of each layer's output that is dropped in training.

    Example:
        >>> encoder = NeighborEncoder(width=8, layers=2, ffn_width=16, reach=1)
        >>> encoder(torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, width: int, layers: int, *, ffn_width: int, reach: int, dropout: float = 0.0) -> None:
        super().__init__()
        for name, value in {"width": width, "layers": layers, "ffn_width": ffn_width}.items():
            check_positive(name, value)
        self.reach = reach
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear((2 * reach + 1) * width, ffn_width), nn.GELU(), nn.Linear(ffn_width, width))
            for _ in range(layers)
        )
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)

    def forward(self, x: Float[Tensor, "B N D"], real: Bool[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """Transforms `[batch, positions, width]`; beyond the ends of a sentence, where nothing is `real`, stand zeros."""
        for norm, network in zip(self.norms, self.networks, strict=True):
            padded = F.pad(norm(x) * real[..., None], (0, 0, self.reach, self.reach))
            neighbors = padded.unfold(1, 2 * self.reach + 1, 1).flatten(2)  # [B, N, D (2 reach + 1)]
            x = x + self.dropout(network(neighbors))
        return self.norm(x)  # type: ignore[no-any-return]


class Tagger(nn.Module):
    """Labels each word of a sentence.

    Args:
        words: embeds words.
        positions: is added to them; None where the encoder itself knows the distances, or nobody.
        encoder: lets them see each other.
        pattern: who may see whom within a sentence.
        labels: how many labels each column has; the first column is predicted, the others are auxiliary targets of the encoder.
        dropout: share of the encoder's output that is set to 0 in training.
    """

    def __init__(
        self,
        *,
        words: WordEmbedding,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        encoder: TransformerEncoder | NeighborEncoder,
        pattern: Pattern = GLOBAL,
        labels: Sequence[int],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words, self.positions, self.encoder, self.pattern = words, positions, encoder, pattern
        self.dropout = Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(words.width, count) for count in labels)

    def forward(self, batch: WordBatch) -> Float[Tensor, "B N D"]:
        """The encoded words."""
        x = add_positions(self.words(batch), self.positions)  # [B, N, D]
        if isinstance(self.encoder, NeighborEncoder):
            x = self.encoder(x, torch.arange(x.shape[1], device=x.device) < batch.lengths[:, None])
        else:
            x = self.encoder(x, pattern=self.pattern & padding(batch.lengths, x.shape[1]))
        return self.dropout(x)  # type: ignore[no-any-return]

    def logits(self, encoded: Float[Tensor, "*axes D"], column: int = 0) -> Float[Tensor, "*axes labels"]:
        """The logits of a column's labels."""
        return self.heads[column](encoded)  # type: ignore[no-any-return]
