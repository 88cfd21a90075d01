"""A linear model of n-grams: beside attention, what counting alone can say.

    words [B, N] -> words and known pairs of neighbors [B, 2 N - 1], weighed by TF-IDF -> logits [B, classes]

A text is the vector of its n-grams: the logarithm of how often each occurs, times that of how few texts have it, at norm 1.

Source: Wang & Manning 2012 (pairs of words, linear); Salton & Buckley 1988 (TF-IDF).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Bool, Float, Int, Tensor
from heedful.data.batch_types import WordBatch

_SCALE = 10.0  # of a text's vector: a weight learns as fast as AdamW's steps allow
_PADDING, _UNKNOWN = 0, 1


class NgramClassificationModel(nn.Module):
    """Classifies texts by their words and pairs of words, each by itself.

    Args:
        words: how often each known word occurred; numbers 0 and 1 are padding and unknown words.
        pairs: numbers of two words that stand side by side, the left one first; in their order, as sorted.
        pair_counts: how often each of these occurred.
        texts: how many there were.
        classes: how many.
        token_dropout: the probability that a word is masked, in training.
    """

    idf: Tensor
    keys: Tensor

    def __init__(
        self,
        words: Sequence[int],
        pairs: Sequence[tuple[int, int]],
        pair_counts: Sequence[int],
        *,
        texts: int,
        classes: int,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_fraction("token_dropout", token_dropout)
        self.token_dropout, self.known = token_dropout, len(words) + 2
        keys = torch.tensor([left * self.known + right for left, right in pairs], dtype=torch.long)
        self.register_buffer("keys", keys, persistent=False)
        counts = torch.tensor([0, 0, *words, *pair_counts], dtype=torch.float32)
        idf = (1 + math.log(1 + texts) - counts.log1p()).clamp_min(0)
        idf[:2] = 0
        self.register_buffer("idf", idf, persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(idf) * classes))  # [n-grams, classes], each number by itself
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, batch: WordBatch, masked: Bool[Tensor, "T N"] | None = None) -> Float[Tensor, "T classes"]:
        """The logits.

        Args:
            batch: texts.
            masked: words that do not count, nor the pairs that they are part of.
        """
        words = batch.words
        if self.training and self.token_dropout:
            masked = torch.rand(words.shape, device=words.device) < self.token_dropout
        if masked is not None:
            words = words.masked_fill(masked, _UNKNOWN)
        ngrams = self._numbers(words)
        x = _SCALE * F.normalize(self._tf_idf(ngrams), dim=-1)
        return (self.weight.view(-1, len(self.bias))[ngrams] * x[..., None]).sum(1) + self.bias

    def _numbers(self, words: Int[Tensor, "T N"]) -> Int[Tensor, "T L"]:
        """Of the words and pairs of each text, sorted; those that are not known are 0."""
        words = words.masked_fill(words == _UNKNOWN, _PADDING)
        if not len(self.keys):
            return words.sort(-1).values
        sought = words[:, :-1] * self.known + words[:, 1:]
        found = torch.zeros_like(sought)
        for power in reversed(range(len(self.keys).bit_length())):  # a binary search: exporters lack torch.searchsorted
            further = (found + 2**power).clamp_max(len(self.keys) - 1)
            found = torch.where(self.keys[further] <= sought, further, found)
        pairs = torch.where(self.keys[found] == sought, found + self.known, _PADDING)
        return torch.cat([words, pairs], -1).sort(-1).values

    def _tf_idf(self, ngrams: Int[Tensor, "T L"]) -> Float[Tensor, "T L"]:
        """The weight of each n-gram, at the first of its places; elsewhere 0."""
        first = F.pad(ngrams[:, 1:] != ngrams[:, :-1], (1, 0), value=True)
        distinct = first.long().cumsum(-1) - 1
        counts = torch.zeros_like(distinct).scatter_add(-1, distinct, torch.ones_like(distinct))
        return torch.where(first, self.idf[ngrams] * (1 + counts.gather(-1, distinct).log()), 0)
