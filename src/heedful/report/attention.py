"""The attention of a model on one input: every layer and head of it, from an overview down to single pairs.

A map of the whole matrix is always there; what the file holds of single pairs is in `pair_weights.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heedful.report.axes import Axis
from heedful.report.blocks import ArrayBlocks, Json, as_cell, as_count, as_floats, as_text
from heedful.report.cells import cuts_of
from heedful.report.pair_weights import Dense, QueryKey, TopWeights, WholeRows

NUMBERS = (
    "entropy", "largest", "first", "distance", "received", "previous", "next", "current", "same", "induction",
    "separator", "local", "uniform", "alignment",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of attention: H heads, N queries, M keys.

    Attributes:
        name: of its module.
        label: what the reader calls it, such as "layer 3".
        kind: "self", "cross", or a word for another kind, such as "rollout" or "channel".
        map: `[H, R, C]`: the mean over the queries of a cell of what they give to its keys together.
        pairs: what is known of single pairs; None: nothing more than the map.
        whole_rows: all weights of some queries, such as the class token, where `pairs` has not all.
        queries: N.
        keys: M.
        rows: which of the section's axes stands along the queries.
        columns: which stands along the keys.
        numbers: one number a head for each name (those of `NUMBERS`); NaN: not defined.
        kinds: of each head the kind that it was found to be, "" or "other" for none.
        curves: "entropy" of each query `[H, N]`, and "received", of each key the sum over the queries `[H, M]`; with fewer points,
            means of equal stretches.
        facts: names and values, such as the engine.
        nan: which heads and rows hold NaN, in words; "": none.
        row_starts: the first query of each row of the map, and N; None: rows are as alike as they can be.
        column_starts: the first key of each column of the map, and M; None: columns are as alike as they can be.
    """

    name: str
    label: str
    kind: str
    map: NDArray[np.floating]
    pairs: Dense | QueryKey | TopWeights | None
    queries: int
    keys: int
    rows: int
    columns: int
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    kinds: Sequence[str] = ()
    curves: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str | int | float]] = ()
    nan: str = ""
    whole_rows: WholeRows | None = None
    row_starts: Sequence[int] | None = None
    column_starts: Sequence[int] | None = None

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of the layer.

        Raises:
            ValueError: its parts do not fit each other.
        """
        where = f"of {self.name[:60]!r}"
        grid = as_floats(f"`map` {where}", self.map, "heads, rows, columns", nan=True)
        heads = len(grid)
        queries, keys = as_count(f"`queries` {where}", self.queries), as_count(f"`keys` {where}", self.keys)
        if grid.shape[1] > queries or grid.shape[2] > keys:
            raise ValueError(
                f"`map` {where} must have at most {queries} rows and {keys} columns: got shape {grid.shape}"
            )
        for held in (self.pairs, self.whole_rows):
            if held is not None:
                held.check(where, (heads, queries, keys))
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
            "edges": [_edges(self.row_starts, grid.shape[1], queries), _edges(self.column_starts, grid.shape[2], keys)],
            "pairs": None if self.pairs is None else self.pairs.encode(blocks),
            "wholeRows": None if self.whole_rows is None else self.whole_rows.encode(blocks),
            "numbers": {name: [_or_none(v) for v in values] for name, values in self.numbers.items()},
            "kinds": [as_text("a kind", kind) for kind in self.kinds],
            "curves": {
                name: blocks.add_packed(as_floats(f"`curves[{name!r}]` {where}", values, "heads, positions", nan=True))
                for name, values in self.curves.items()
            },
            "nan": as_text("`nan`", self.nan),
            "facts": [[as_text("a name in `facts`", n), as_cell("a value in `facts`", v)] for n, v in self.facts],
        }


@dataclass(frozen=True, eq=False)
class AttentionSection:
    """A model's attention on one input.

    Attributes:
        title: the heading.
        text: one or two sentences below it.
        layers: the calls, in their order; at least one.
        axes: what stands along the axes of the matrices; a layer names them by their index here.
        predictions: labels with probabilities, in the order in which they are shown.
        truth: the right label, where it is known.
        output: what the model wrote, where it wrote something.
        samples: the same of other samples of the batch, to choose from.
        opens: what is shown first, as an address has it, such as {"view": "map", "layer": "3"}.
    """

    title: str
    text: str
    layers: Sequence[Layer]
    axes: Sequence[Axis]
    predictions: Sequence[tuple[str, float]] = ()
    truth: str | None = None
    output: str | None = None
    opens: Mapping[str, str] = field(default_factory=dict)
    samples: Sequence["AttentionSection"] = ()

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON that `attention.js` reads.

        Raises:
            ValueError: there is no layer, or its parts do not fit each other.
        """
        if not self.layers:
            raise ValueError("`layers` must have at least one layer: got none")
        for layer in self.layers:
            for role, index, count in (("rows", layer.rows, layer.queries), ("columns", layer.columns, layer.keys)):
                if not 0 <= index < len(self.axes):
                    raise ValueError(
                        f"`{role}` of {layer.name[:60]!r} must be one of {len(self.axes)} axes: got {index}"
                    )
                if self.axes[index].count not in (None, count):
                    raise ValueError(
                        f"`{role}` of {layer.name[:60]!r} must stand for {count} positions: got an axis of {self.axes[index].count}"
                    )
        return {
            "kind": "attention",
            "title": as_text("`title`", self.title),
            "text": as_text("`text`", self.text),
            "layers": [layer.encode(blocks) for layer in self.layers],
            "axes": [axis.encode(blocks) | {"cuts": cuts_of(axis)} for axis in self.axes],
            "predictions": [as_prediction(label, probability) for label, probability in self.predictions],
            "truth": None if self.truth is None else as_text("`truth`", self.truth),
            "opens": {as_text("a name in `opens`", n): as_text("a value in `opens`", v) for n, v in self.opens.items()},
            "samples": [section.encode(blocks) for section in self.samples],
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


def _edges(starts: Sequence[int] | None, cells: int, count: int) -> list[int] | None:
    if starts is None or cells == count:
        return None
    edges = [int(start) for start in starts]
    if len(edges) != cells + 1 or edges[0] != 0 or edges[-1] != count or sorted(set(edges)) != edges:
        raise ValueError(
            f"`row_starts` and `column_starts` must be {cells + 1} rising positions from 0 to {count}: got {edges!r:.60}"
        )
    return edges


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
