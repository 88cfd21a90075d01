"""What several views share."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heedful.report import AttentionSection, Text


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
