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

    Source: Lakshminarayanan et al. 2017.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("`members` must hold at least one model: got none.")
        self.members = nn.ModuleList(members)

    def forward(
        self, batch: WordBatch | TokenBatch | SentenceBatch, masked: Bool[Tensor, "T N"] | None = None
    ) -> Float[Tensor, "K B C"]:
        """The logits of each member.

        Args:
            batch: what each member reads.
            masked: tokens that the members must not read; see `TextClassificationModel`.
        """
        return torch.stack([member(batch, masked) for member in self.members])

    def probabilities(
        self, batch: WordBatch | TokenBatch | SentenceBatch, masked: Bool[Tensor, "T N"] | None = None
    ) -> Float[Tensor, "B C"]:
        """The mean of the members' probabilities, each of which sums to 1."""
        return self(batch, masked).float().softmax(-1).mean(0)  # type: ignore[no-any-return]
