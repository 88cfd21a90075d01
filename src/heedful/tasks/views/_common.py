"""What several views share."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from heedful.report import AttentionSection, Dense, Layer, Text


def shortened(text: str, most: int = 80) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def with_rows(section: AttentionSection, rows: Sequence[str], name: str) -> AttentionSection:
    """The same attention with words of their own for the rows."""
    axis = len(section.axes)
    layers = [replace(layer, rows=axis) if layer.rows == 0 else layer for layer in section.layers]
    return replace(section, axes=[*section.axes, Text(list(rows), name=name)], layers=layers)


def most_probable(names: Sequence[Any], probabilities: Any, most: int = 5) -> list[tuple[Any, float]]:
    """The most probable of the names, as a section lists its predictions."""
    best = probabilities.topk(min(most, len(probabilities)))
    return [(names[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def occlusion_layer(drops: Tensor, effect: str, what: str, rows: int = 1) -> Layer:
    """What "supports" a decision, or what "opposes" it, as shares of both; `rows`: the axis of the decision.

    Args:
        drops: by how much the decision loses without each position.
        effect: which of them.
        what: the decision, in a word.
        rows: the number of its axis.
    """
    part = drops.clamp_min(0) if effect == "supports" else (-drops).clamp_min(0)
    shares = (part / drops.abs().sum().clamp_min(1e-12))[None, None].numpy()  # [1, 1, N]
    cells = min(512, len(drops))
    grid = np.add.reduceat(shares, np.arange(cells) * len(drops) // cells, axis=-1)
    return Layer(
        name=f"what {effect} the {what}", label=f"{effect} it", kind="words", map=grid, pairs=Dense(shares), queries=1,
        keys=len(drops), rows=rows, columns=0,
    )  # fmt: skip
