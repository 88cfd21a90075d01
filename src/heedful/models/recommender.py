"""What comes next in a history: items in, for each position the features of the next item out.

SASRec: causal self-attention over the items of a user. A score is the inner product of features and an item's embedding, which is
also its input. The losses are functions of features, items and targets.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import Shape, check_positive
from heedful._types import Float, Int, Tensor
from heedful.models.encoders import add_positions
from heedful.nn import LearnedPositions, SinusoidalPositions, TransformerEncoder
from heedful.nn.cross_entropy import linear_cross_entropy
from heedful.nn.dropout import Dropout
from heedful.ops import Bias, Causal, Pattern

LossName = Literal["sampled-softmax", "softmax", "bce", "gbce"]
TIME_BUCKETS = 32
_PAST = Causal("end")
_INIT = 0.02


class HistoryBatch(NamedTuple):
    """A batch of histories, padded at their ends.

    Attributes:
        items: `[B, N]`, numbers of items from 1; 0 padding.
        lengths: `[B]`, how many items each history has, at least one.
        times: `[B, N]`, of the items, in the model's unit; or None.
    """

    items: Int[Tensor, "B N"]
    lengths: Int[Tensor, " B"]
    times: Float[Tensor, "B N"] | None = None


@dataclass(frozen=True, eq=False)
class TimeBias(Bias):
    """A number for how long before the query's item the key's was: `bias_bhij = table[h, bucket(t_bi - t_bj)]`.

    The bucket of an interval d is `floor(2 log2(1 + d))`, and at most the last; a key that is later than the query counts as d = 0.

    Args:
        table: `[H, K]`; it may learn.
        times: `[B, N]`, of the positions, in any unit.

    Example:
        >>> index = torch.arange(2)
        >>> bias = TimeBias(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.5]]))
        >>> bias.at(index[:, None], index[None], (1, 1, 2, 2))
        tensor([[[[0., 0.],
                  [2., 0.]]]])

    Source: the intervals: Li et al. 2020 (TiSASRec), where they are embedded and added to keys and values; a bias by buckets of
    their logarithm: Zhai et al. 2024 (HSTU).
    """

    table: Float[Tensor, "H K"]
    times: Float[Tensor, "B N"]

    def at(self, rows: Tensor, columns: Tensor, shape: Shape) -> Float[Tensor, "..."]:
        interval = (self.times[:, rows] - self.times[:, columns]).clamp_min(0)  # [B, *tiles, n, m]
        bucket = (2 * torch.log2(1 + interval)).long().clamp_max(self.table.shape[-1] - 1)
        return self.table[:, bucket].movedim(0, 1)  # [B, H, *tiles, n, m]

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        batch, heads, rows, columns = shape
        if self.table.shape[0] != heads or self.times.shape != (batch, rows) or rows != columns:
            raise ValueError(
                f"`times` must be [{batch}, {columns}] and `table` [{heads}, K]: "
                f"got {list(self.times.shape)} and {list(self.table.shape)}."
            )


class Recommender(nn.Module):
    """Embedding -> positions -> causal encoder -> inner products with the same embedding.

    Args:
        items: how many there are.
        encoder: lets the items of a history attend to each other.
        positions: is added to the embedded items; None where the encoder itself knows the distances, or nobody.
        pattern: which earlier items one may attend to; it must be causal.
        dropout: share of the embedded features that is set to 0 in training.
        time_bias: whether a bias for the time between two items is learned.

    Source: Kang and McAuley 2018 (SASRec); there queries alone are normalized before the attention, and positions count from the end.
    """

    def __init__(
        self,
        items: int,
        encoder: TransformerEncoder,
        *,
        positions: LearnedPositions | SinusoidalPositions | None = None,
        pattern: Pattern = _PAST,
        dropout: float = 0.0,
        time_bias: bool = False,
    ) -> None:
        super().__init__()
        self.items = check_positive("items", items)
        self.embedding = nn.Embedding(items + 1, encoder.width, padding_idx=0)
        # Small, and scaled up where it is the input: steps of Adam then move an item that is seldom seen by much of its length.
        nn.init.normal_(self.embedding.weight, std=_INIT)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.positions, self.encoder, self.pattern = positions, encoder, pattern
        self.dropout = Dropout(dropout)
        layer: Any = encoder.layers[0]
        self.time_table = nn.Parameter(torch.zeros(layer.attention.heads, TIME_BUCKETS)) if time_bias else None

    @property
    def weight(self) -> Float[Tensor, "M D"]:
        """The embeddings of the items, by which features are scored."""
        return self.embedding.weight[1:]

    def features(self, batch: HistoryBatch) -> Float[Tensor, "B N D"]:
        """What is known at each item of the next one. What stands at padding means nothing."""
        x = self.embedding(batch.items) * self.encoder.width**0.5
        x = self.dropout(add_positions(x, self.positions))
        bias = None
        if self.time_table is not None:
            if batch.times is None:
                raise ValueError("`times` must be given, since the model has a bias for them: got None.")
            bias = TimeBias(self.time_table, batch.times)
        # Padding stands at the end, where no item before it attends to it.
        return self.encoder(x, pattern=self.pattern, bias=bias)  # type: ignore[no-any-return]

    def last(self, batch: HistoryBatch) -> Float[Tensor, "B D"]:
        """The features at the end of each history."""
        rows = torch.arange(len(batch.items), device=batch.items.device)
        return self.features(batch)[rows, batch.lengths - 1]

    def forward(self, batch: HistoryBatch) -> Float[Tensor, "B M"]:
        """The score of each item to come next."""
        return F.linear(self.last(batch), self.weight)


class Negatives(NamedTuple):
    """Items that are drawn to stand for all others.

    Attributes:
        items: `[n]`, shared by all targets, numbers from 0.
        log_expected: `[n]`, the logarithm of how often each is expected among them, n Q.
    """

    items: Int[Tensor, " n"]
    log_expected: Float[Tensor, " n"]


def draw_negatives(
    count: int, items: int, probabilities: Float[Tensor, " M"] | None, device: torch.device
) -> Negatives:
    """Draws items with replacement: each alike, or by their probabilities."""
    if probabilities is None:
        drawn = torch.randint(items, (count,), device=device)
        return Negatives(drawn, torch.full((count,), count / items, device=device).log())
    drawn = torch.multinomial(probabilities, count, replacement=True)
    return Negatives(drawn, (count * probabilities[drawn]).log())


def sampled_softmax_loss(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "M D"],
    targets: Int[Tensor, " T"],
    negatives: Negatives,
    *,
    log_q: bool = True,
    weights: Float[Tensor, " T"] | None = None,
) -> Float[Tensor, ""]:
    """The sum of the cross entropies of each target among itself and the drawn items.

    With log-Q correction the sum over the drawn items estimates that over all others: `exp(s_j) / (n Q_j)`. The target, which is
    always there, is not corrected, and does not count among the drawn.

    Args:
        x: features.
        weight: a row for each item.
        targets: the right item of each feature.
        negatives: the drawn items.
        log_q: whether scores are corrected by how often an item is drawn.
        weights: of the targets; None: 1.

    Source: Bengio and Senecal 2008; Jean et al. 2015, section 3; a target that is not drawn: Khrylchenko et al. 2025.
    """
    target = (x * weight[targets]).sum(-1)  # [T]
    scores = x @ weight[negatives.items].T  # [T, n]
    if log_q:
        scores = scores - negatives.log_expected
    hidden = torch.finfo(scores.dtype).min / 2  # finite, so that gradients are, too, where all of them are the target
    scores = scores.masked_fill(negatives.items == targets[:, None], hidden)
    losses = torch.logaddexp(target, scores.logsumexp(-1)) - target
    return losses.sum() if weights is None else (losses * weights).sum()


def binary_loss(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "M D"],
    targets: Int[Tensor, " T"],
    negatives: Int[Tensor, "T n"] | Int[Tensor, " n"],
    *,
    beta: float = 1.0,
    weights: Float[Tensor, " T"] | None = None,
) -> Float[Tensor, ""]:
    """The sum over the targets of `-beta log sigmoid(s) - sum_j log(1 - sigmoid(s_j))`; a drawn item that is the target does not count.

    Args:
        x: features.
        weight: a row for each item.
        targets: the right item of each feature.
        negatives: drawn items of each target, or shared by all.
        beta: 1: binary cross entropy; `gbce_beta` gives that of gBCE.
        weights: of the targets; None: 1.

    Source: Kang and McAuley 2018, equation 6; beta: Petrov and Macdonald 2023 (gSASRec), equation 7.
    """
    target = (x * weight[targets]).sum(-1)
    drawn = weight[negatives]
    scores = x @ drawn.T if negatives.dim() == 1 else (drawn @ x[:, :, None])[..., 0]  # [T, n]
    others = F.softplus(scores).masked_fill(negatives == targets[:, None], 0.0).sum(-1)
    losses = beta * F.softplus(-target) + others
    return losses.sum() if weights is None else (losses * weights).sum()


def gbce_beta(negatives: int, items: int, calibration: float) -> float:
    """The exponent of gBCE, between the share of items that are drawn (calibration 1) and 1 (calibration 0).

    `alpha (t (1 - 1 / alpha) + 1 / alpha)` with `alpha = negatives / (items - 1)`.

    Example:
        >>> gbce_beta(256, 1025, 0.0), gbce_beta(256, 1025, 1.0), gbce_beta(256, 1025, 0.75)
        (1.0, 0.25, 0.4375)

    Source: Petrov and Macdonald 2023, equation 9.
    """
    alpha = min(negatives / max(items - 1, 1), 1.0)
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def softmax_loss(
    x: Float[Tensor, "T D"],
    weight: Float[Tensor, "M D"],
    targets: Int[Tensor, " T"],
    weights: Float[Tensor, " T"] | None = None,
) -> Float[Tensor, ""]:
    """The sum of the cross entropies among all items, whose scores are not stored all at once."""
    return linear_cross_entropy(x, weight, targets, row_weights=weights)
