"""The weights of single pairs, as the file holds them.

Every weight (`Dense`); queries and keys, from which the page computes any row (`QueryKey`); or the largest weights of each
row (`TopWeights`). Which of them a layer has depends on the budget of the file (`budget.py`). Of special queries, such as the
class token, all weights are held in any case (`WholeRows`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.report.blocks import ArrayBlocks, Json, as_floats


@dataclass(frozen=True, eq=False)
class Dense:
    """Every weight.

    Attributes:
        weights: `[H, N, M]`.
    """

    weights: NDArray[np.floating]

    @staticmethod
    def bytes(heads: int, queries: int, keys: int) -> int:
        """What they take in a file."""
        return 2 * heads * queries * keys

    def check(self, where: str, shape: tuple[int, int, int]) -> None:
        """Raises ValueError unless they are those of H heads, N queries and M keys."""
        _check_shape(f"`weights` {where}", "heads, queries, keys", self.weights.shape, shape)

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the weights."""
        return {"kind": "cells", "weights": blocks.add_weights(self.weights)}


@dataclass(frozen=True, eq=False)
class QueryKey:
    """Queries and keys: a weight is `exp(scale * q_i . k_j)` over the sum of its row.

    Attributes:
        query: `[H, N, D]`.
        key: `[H, M, D]`.
        scale: the factor of the inner product.
        ahead: query i sees the keys up to i + ahead; None: all.
    """

    query: NDArray[np.floating]
    key: NDArray[np.floating]
    scale: float
    ahead: int | None = None

    @staticmethod
    def bytes(heads: int, queries: int, keys: int, width: int) -> int:
        """What they take in a file."""
        return 4 * heads * (queries + keys) * width

    def check(self, where: str, shape: tuple[int, int, int]) -> None:
        """Raises ValueError unless they are those of H heads, N queries and M keys."""
        heads, queries, keys = shape
        width = self.query.shape[-1]
        _check_shape(f"`query` {where}", "heads, queries, width", self.query.shape, (heads, queries, width))
        _check_shape(f"`key` {where}", "heads, keys, width", self.key.shape, (heads, keys, width))
        if not math.isfinite(self.scale):
            raise ValueError(f"`scale` {where} must be finite: got {self.scale}")

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of queries and keys."""
        return {
            "kind": "vectors",
            "query": blocks.add_packed(as_floats("`query`", self.query, "heads, queries, width", nan=True)),
            "key": blocks.add_packed(as_floats("`key`", self.key, "heads, keys, width", nan=True)),
            "scale": float(self.scale),
            "ahead": self.ahead,
        }


@dataclass(frozen=True, eq=False)
class TopWeights:
    """The largest weights of each row.

    Attributes:
        indices: of which keys `[H, N, k]`, the largest first; anything where the weight is 0.
        weights: `[H, N, k]`.
    """

    indices: NDArray[np.integer]
    weights: NDArray[np.floating]

    @staticmethod
    def bytes_each(keys: int) -> int:
        """What one takes in a file."""
        return 4 if keys <= 2**16 else 6

    def check(self, where: str, shape: tuple[int, int, int]) -> None:
        """Raises ValueError unless they are those of H heads, N queries and M keys."""
        count = self.indices.shape[-1]
        _check_shape(f"`indices` {where}", "heads, queries, largest", self.indices.shape, (*shape[:2], count))
        _check_shape(f"`weights` {where}", "heads, queries, largest", self.weights.shape, (*shape[:2], count))
        if self.indices.max(initial=-1) >= shape[2]:
            raise ValueError(f"`indices` {where} must be less than {shape[2]}: got {self.indices.max()}")

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the largest weights."""
        indices = np.maximum(self.indices, 0)
        stored = indices.astype(np.uint16 if indices.max(initial=0) < 2**16 else np.uint32)
        return {
            "kind": "links",
            "indices": blocks.add_packed(stored),
            "weights": blocks.add_weights(self.weights),
        }


@dataclass(frozen=True, eq=False)
class WholeRows:
    """Every weight of some queries.

    Attributes:
        queries: which, in rising order.
        weights: `[H, S, M]` of these S queries.
    """

    queries: Sequence[int]
    weights: NDArray[np.floating]

    @staticmethod
    def bytes_each(heads: int, keys: int) -> int:
        """What a row takes in a file."""
        return 2 * heads * keys

    def check(self, where: str, shape: tuple[int, int, int]) -> None:
        """Raises ValueError unless they are those of H heads, N queries and M keys."""
        heads, queries, keys = shape
        _check_shape(f"`weights` {where}", "heads, queries, keys", self.weights.shape, (heads, len(self.queries), keys))
        if not all(0 <= query < queries for query in self.queries):
            raise ValueError(f"`queries` {where} must be from 0 to {queries - 1}: got {list(self.queries)}")

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the rows."""
        return {"queries": [int(query) for query in self.queries], "weights": blocks.add_weights(self.weights)}


def _check_shape(name: str, axes: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(got) != wanted:
        raise ValueError(f"{name} must be [{axes}] = {wanted}: got shape {tuple(got)}")
