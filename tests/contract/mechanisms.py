"""The table: every mechanism that is exported, as a case that each law is tried on. A new mechanism adds rows here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import heedful
from heedful import ops
from tests.reference import naive

B, H, N, M, D, E = 2, 3, 5, 7, 11, 13  # a different prime for every axis
LENGTHS = torch.tensor([4, 0])
KEYS = torch.tensor([True, False, True, True, False, False, True])
MASK = torch.rand(B, H, N, M, generator=torch.Generator().manual_seed(3)) > 0.5


def everything(b: int, h: int, i: int, j: int) -> bool:
    return True


def within_lengths(b: int, h: int, i: int, j: int) -> bool:
    return j < LENGTHS[b].item()


def masked(b: int, h: int, i: int, j: int) -> bool:
    return bool(MASK[b, h, i, j])


def causal(b: int, h: int, i: int, j: int) -> bool:
    return j <= i


@dataclass(frozen=True)
class Case:
    """One mechanism (or a combination) and its naive twin.

    Attributes:
        covers: the exported names that this case tries.
        options: keyword arguments of `heedful.attention`.
        visible: the naive twin of the pattern.
        score: the naive twin of the score.
        queries: how many.
        bias: the axes of a bias, or None.
        groups: key heads.
    """

    covers: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    visible: Callable[[int, int, int, int], bool] = everything
    score: Callable[..., torch.Tensor] = naive.scaled_dot
    queries: int = N
    bias: tuple[int, ...] | None = None
    groups: int = H

    def operands(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """query, key, value and, where there is one, the bias."""
        generator = torch.Generator().manual_seed(seed)
        shapes = [(B, H, self.queries, D), (B, self.groups, M, D), (B, self.groups, M, E)]
        shapes += [] if self.bias is None else [self.bias]
        return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)

    def attention(self, query, key, value, bias=None, **more):
        return heedful.attention(query, key, value, bias=bias, **self.options, **more)

    def matrix(self, query, key, value=None, bias=None):
        return heedful.AttentionMatrix(query, key, bias=bias, **self.options)

    def naive(self, query, key, value, bias=None):
        whole = None if bias is None else bias.expand(B, H, self.queries, M)
        return naive.attention(query, key, value, score=self.score, visible=self.visible, bias=whole)

    def seen(self) -> torch.Tensor:
        """The pattern as a tensor [B, H, N, M], by the naive twin."""
        pairs = torch.zeros(B, H, self.queries, M, dtype=torch.bool)
        for place in pairs.nonzero().tolist() or torch.ones_like(pairs).nonzero().tolist():
            pairs[tuple(place)] = self.visible(*place)
        return pairs

    def grouped(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.repeat_interleave(H // self.groups, dim=1)


CASES = {
    "softmax(scaled dot)": Case((ops.ScaledDot, ops.softmax, ops.Global)),
    "dot": Case((ops.Dot,), {"score": ops.Dot()}, score=naive.dot),
    "grouped heads": Case((), groups=1),
    "causal": Case((ops.Causal,), {"pattern": ops.Causal()}, causal, queries=M),
    "causal, start": Case((ops.Causal,), {"pattern": ops.Causal("start")}, causal),
    "causal, end": Case((ops.Causal,), {"pattern": ops.Causal("end")}, lambda b, h, i, j: j <= i + M - N),
    "causal, end, more queries": Case(
        (ops.Causal,), {"pattern": ops.Causal("end")}, lambda b, h, i, j: j <= i + M - 11, queries=11
    ),
    "lengths": Case((ops.Lengths,), {"pattern": ops.Lengths(LENGTHS)}, within_lengths),
    "lengths, one for all": Case((ops.Lengths,), {"pattern": ops.Lengths(3)}, lambda b, h, i, j: j < 3),
    "mask": Case((ops.Mask,), {"pattern": ops.Mask(MASK)}, masked, groups=1),
    "mask of rows": Case(
        (ops.Mask,), {"pattern": ops.Mask(MASK[:, :, :, :1])}, lambda b, h, i, j: bool(MASK[b, h, i, 0])
    ),
    "mask of keys": Case((ops.Mask,), {"pattern": ops.Mask(KEYS)}, lambda b, h, i, j: bool(KEYS[j])),
    "causal & lengths": Case(
        (ops.And,), {"pattern": ops.Causal() & ops.Lengths(LENGTHS)},
        lambda b, h, i, j: causal(b, h, i, j) and within_lengths(b, h, i, j), queries=M,
    ),
    "causal & mask": Case(
        (ops.And,), {"pattern": ops.Causal("start") & ops.Mask(MASK)},
        lambda b, h, i, j: causal(b, h, i, j) and masked(b, h, i, j),
    ),
    "global & lengths": Case((ops.And, ops.Global), {"pattern": ops.Global() & ops.Lengths(LENGTHS)}, within_lengths),
    "causal | lengths": Case(
        (ops.Or,), {"pattern": ops.Causal("start") | ops.Lengths(LENGTHS)},
        lambda b, h, i, j: causal(b, h, i, j) or within_lengths(b, h, i, j),
    ),
    "~causal": Case((ops.Not,), {"pattern": ~ops.Causal("start")}, lambda b, h, i, j: not causal(b, h, i, j)),
    "~(lengths | mask)": Case(
        (ops.Not, ops.Or), {"pattern": ~(ops.Lengths(LENGTHS) | ops.Mask(MASK))},
        lambda b, h, i, j: not (within_lengths(b, h, i, j) or masked(b, h, i, j)),
    ),
    "~global": Case((ops.Not, ops.Global), {"pattern": ~ops.Global()}, lambda b, h, i, j: False),
    "bias": Case((), bias=(B, H, N, M), groups=1),
    "bias of keys": Case((), bias=(M,)),
    "bias of heads, dot, causal & mask": Case(
        (ops.Dot,), {"score": ops.Dot(), "pattern": ops.Causal("start") & ops.Mask(MASK)},
        lambda b, h, i, j: causal(b, h, i, j) and masked(b, h, i, j), naive.dot, bias=(H, 1, M),
    ),
    "bias, causal": Case((), {"pattern": ops.Causal()}, causal, queries=M, bias=(M, M)),
}  # fmt: skip
