"""Several models of one kind, trained side by side on the same batches: their probabilities are averaged."""

from collections.abc import Sequence

import torch
from torch import nn

from heedful._types import Bool, Float, Tensor
from heedful.data.batch_types import SentenceBatch, TokenBatch, WordBatch


class Ensemble(nn.Module):
    """Text classifiers or sentence extractors that differ in what was drawn for them.

    Args:
        members: one model at least.
        linear: a model of another kind, which counts as much as all members together.

    Attributes:
        shares: what each model counts in the mean of all, `[K, 1, 1]`.

    Source: Lakshminarayanan et al. 2017.
    """

    shares: Tensor

    def __init__(self, members: Sequence[nn.Module], linear: nn.Module | None = None) -> None:
        super().__init__()
        if not members:
            raise ValueError("`members` must hold at least one model: got none.")
        self.members, self.linear = nn.ModuleList(members), linear
        count = len(members)
        shares = [1 / count] * count if linear is None else [0.5 / count] * count + [0.5]
        self.register_buffer("shares", torch.tensor(shares)[:, None, None], persistent=False)

    def forward(
        self, batch: WordBatch | TokenBatch | SentenceBatch, masked: Bool[Tensor, "T N"] | None = None
    ) -> Float[Tensor, "K B C"]:
        """The logits of each member, and those of the linear model last.

        Args:
            batch: what each member reads.
            masked: tokens that the members must not read; see `TextClassificationModel`.
        """
        models = [*self.members, *([] if self.linear is None else [self.linear])]
        return torch.stack([model(batch, masked) for model in models])

    def probabilities(
        self, batch: WordBatch | TokenBatch | SentenceBatch, masked: Bool[Tensor, "T N"] | None = None
    ) -> Float[Tensor, "B C"]:
        """The mean of all probabilities, which sum to 1."""
        return (self(batch, masked).float().softmax(-1) * self.shares).sum(0)  # type: ignore[no-any-return]
