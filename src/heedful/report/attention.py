"""The attention of a model on one input: every layer and head of it, from an overview down to single pairs.

What the file holds of the pairs of a layer depends on its room: every cell; queries and keys, from which the page computes
any row; or the largest weights of each row (`Cells`, `Vectors`, `Links`). A map of the whole matrix is always there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heedful.report.blocks import Blocks, Json, as_cell, as_count, as_floats, as_text
from heedful.report.sides import Side

NUMBERS = (
    "entropy", "largest", "first", "distance", "received", "previous", "next", "current", "same", "induction",
    "separator", "local", "uniform", "alignment",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cells:
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

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON of the cells."""
        return {"kind": "cells", "weights": blocks.add_weights(self.weights)}


@dataclass(frozen=True, eq=False)
class Vectors:
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

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON of the vectors."""
        return {
            "kind": "vectors",
            "query": blocks.add_packed(as_floats("`query`", self.query, "heads, queries, width")),
            "key": blocks.add_packed(as_floats("`key`", self.key, "heads, keys, width")),
            "scale": float(self.scale),
            "ahead": self.ahead,
        }


@dataclass(frozen=True, eq=False)
class Links:
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
        links = self.indices.shape[-1]
        _check_shape(f"`indices` {where}", "heads, queries, links", self.indices.shape, (*shape[:2], links))
        _check_shape(f"`weights` {where}", "heads, queries, links", self.weights.shape, (*shape[:2], links))
        if self.indices.max(initial=-1) >= shape[2]:
            raise ValueError(f"`indices` {where} must be less than {shape[2]}: got {self.indices.max()}")

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON of the links."""
        indices = np.maximum(self.indices, 0)
        stored = indices.astype(np.uint16 if indices.max(initial=0) < 2**16 else np.uint32)
        return {
            "kind": "links",
            "indices": blocks.add_packed(stored),
            "weights": blocks.add_weights(self.weights),
        }


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of attention: H heads, N queries, M keys.

    Attributes:
        name: of its module.
        label: what the reader calls it, such as "layer 3".
        kind: "self", "cross", or a word for another kind, such as "rollout" or "channel".
        map: `[H, R, C]`: the mean over the queries of a cell of what they give to its keys together; cells as
            `AttentionMatrix.pool` has them.
        pairs: what is known of single pairs; None: nothing more than the map.
        queries: N.
        keys: M.
        rows: which of the section's sides stands along the queries.
        columns: which stands along the keys.
        numbers: one number a head for each name (those of `NUMBERS`); NaN: not defined.
        kinds: of each head the kind that it was found to be, "" or "other" for none.
        curves: for each of "entropy" (over the queries) and "received" (over the keys) `[H, P]`, means of P stretches.
        facts: names and values, such as the engine.
    """

    name: str
    label: str
    kind: str
    map: NDArray[np.floating]
    pairs: Cells | Vectors | Links | None
    queries: int
    keys: int
    rows: int
    columns: int
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    curves: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str | int | float]] = ()

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON of the layer.

        Raises:
            ValueError: its parts do not fit each other.
        """
        where = f"of {self.name[:60]!r}"
        grid = as_floats(f"`map` {where}", self.map, "heads, rows, columns")
        heads = len(grid)
        queries, keys = as_count(f"`queries` {where}", self.queries), as_count(f"`keys` {where}", self.keys)
        if grid.shape[1] > queries or grid.shape[2] > keys:
            raise ValueError(
                f"`map` {where} must have at most {queries} rows and {keys} columns: got shape {grid.shape}"
            )
        if self.pairs is not None:
            self.pairs.check(where, (heads, queries, keys))
        for name, values in self.numbers.items():
            if name not in NUMBERS or len(values) != heads:
                raise ValueError(f"`numbers[{name!r}]` {where} must be one of {', '.join(NUMBERS)}, {heads} numbers")
        if self.kinds and len(self.kinds) != heads:
            raise ValueError(f"`kinds` {where} must have {heads} words: got {len(self.kinds)}")
        return {
            "name": as_text("`name`", self.name),
            "label": as_text("`label`", self.label),
            "kind": as_text("`kind`", self.kind),
            "heads": heads,
            "queries": queries,
            "keys": keys,
            "rows": self.rows,
            "columns": self.columns,
            "map": blocks.add_weights(grid),
            "pairs": None if self.pairs is None else self.pairs.encode(blocks),
            "numbers": {name: [_or_none(v) for v in values] for name, values in self.numbers.items()},
            "kinds": [as_text("a kind", kind) for kind in self.kinds],
            "curves": {
                name: blocks.add_packed(as_floats(f"`curves[{name!r}]` {where}", values, "heads, positions"))
                for name, values in self.curves.items()
            },
            "facts": [[as_text("a name in `facts`", n), as_cell("a value in `facts`", v)] for n, v in self.facts],
        }


@dataclass(frozen=True, eq=False)
class AttentionSection:
    """A model's attention on one input.

    Attributes:
        title: the heading.
        text: one or two sentences below it.
        layers: the calls, in their order; at least one.
        sides: what stands along the axes; a layer names them by their place here.
        predictions: labels with probabilities, in the order in which they are shown.
        truth: the right label, where it is known.
        output: what the model wrote, where it wrote something.
    """

    title: str
    text: str
    layers: Sequence[Layer]
    sides: Sequence[Side]
    predictions: Sequence[tuple[str, float]] = ()
    truth: str | None = None
    output: str | None = None

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON that `attention.js` reads.

        Raises:
            ValueError: there is no layer, or its parts do not fit each other.
        """
        if not self.layers:
            raise ValueError("`layers` must have at least one layer: got none")
        for layer in self.layers:
            for axis, index, count in (("rows", layer.rows, layer.queries), ("columns", layer.columns, layer.keys)):
                if not 0 <= index < len(self.sides):
                    raise ValueError(
                        f"`{axis}` of {layer.name[:60]!r} must be one of {len(self.sides)} sides: got {index}"
                    )
                if self.sides[index].count not in (None, count):
                    raise ValueError(
                        f"`{axis}` of {layer.name[:60]!r} must stand for {count} positions: got a side of {self.sides[index].count}"
                    )
        return {
            "kind": "attention",
            "title": as_text("`title`", self.title),
            "text": as_text("`text`", self.text),
            "layers": [layer.encode(blocks) for layer in self.layers],
            "sides": [side.encode(blocks) for side in self.sides],
            "predictions": [as_prediction(label, probability) for label, probability in self.predictions],
            "truth": None if self.truth is None else as_text("`truth`", self.truth),
            "output": None if self.output is None else as_text("`output`", self.output),
        }


def as_prediction(label: str, probability: float) -> Json:
    """Returns a label and its probability as the page reads them.

    Raises:
        ValueError: the probability is none.
    """
    number = as_cell("a probability in `predictions`", probability)
    if not isinstance(number, int | float) or not 0 <= number <= 1 + 1e-6:
        raise ValueError(f"a probability in `predictions` must lie in 0 to 1: got {number!r}")
    return {"label": as_text("a label in `predictions`", label), "probability": min(float(number), 1.0)}


def _check_shape(name: str, axes: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(got) != wanted:
        raise ValueError(f"{name} must be [{axes}] = {wanted}: got shape {tuple(got)}")


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
