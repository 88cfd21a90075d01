"""The weights that a section holds, as numbers: whole, pooled, or those of the patches of a picture."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.report.attention import Layer
from heedful.report.axes import Picture
from heedful.report.labels import MOST_NAME, plain
from heedful.report.pair_weights import Dense, QueryKey, TopWeights

_MOST_ROWS = 2048  # of which pairs are computed from queries and keys
_FINEST = 512  # cells of a drawn matrix along each axis


def weights_of(layer: Layer, heads: Sequence[int]) -> NDArray[np.float32] | None:
    """The mean over heads of all weights `[N, M]`; None where the section does not hold them, or there are too many."""
    pairs = layer.pairs
    if isinstance(pairs, TopWeights) and pairs.weights.shape[-1] < layer.keys:
        return None
    if pairs is None or (isinstance(pairs, QueryKey) and max(layer.queries, layer.keys) > _MOST_ROWS):
        return None
    rows = np.arange(layer.queries)
    return np.asarray(sum(rows_of(layer, head, rows) for head in heads) / len(heads), np.float32)


def rows_of(layer: Layer, head: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Some rows of the weights of a head, with what is known of them."""
    pairs, whole = layer.pairs, layer.whole_rows
    if isinstance(pairs, Dense):
        return np.asarray(pairs.weights[head, rows], np.float32)
    if whole is not None and np.isin(rows, whole.queries).all():
        return np.asarray(whole.weights[head, np.searchsorted(whole.queries, rows)], np.float32)
    if isinstance(pairs, QueryKey):
        scores = pairs.scale * (pairs.query[head, rows] @ pairs.key[head].T).astype(np.float32)
        if pairs.ahead is not None:
            scores[np.arange(layer.keys) > rows[:, None] + pairs.ahead] = -math.inf
        top = scores.max(1, keepdims=True)
        weights = np.exp(scores - np.where(top == -math.inf, 0, top))
        return np.asarray(weights / np.maximum(weights.sum(1, keepdims=True), 1e-30), np.float32)
    known = np.zeros((len(rows), layer.keys), np.float32)
    assert isinstance(pairs, TopWeights)
    for row, index, weight in zip(known, pairs.indices[head, rows], pairs.weights[head, rows], strict=True):
        row[index[weight > 0]] = weight[weight > 0]
    return known


def pool(weights: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """At most so many cells: the mean over the queries of a cell of what they give to its keys together."""
    queries, keys = weights.shape
    if columns < keys:
        weights = np.add.reduceat(weights, -(-np.arange(columns) * keys // columns), axis=1)
    if rows < queries:
        starts = -(-np.arange(rows) * queries // rows)
        means = np.add.reduceat(weights, starts, axis=0) / np.diff([*starts, queries])[:, None]
        weights = means.astype(np.float32)
    return weights


def map_of(layer: Layer, heads: Sequence[int]) -> tuple[NDArray[np.float32], bool]:
    """What a map shows of some heads, and whether each cell is one weight."""
    weights = weights_of(layer, heads)
    if weights is None:
        grid = np.asarray(layer.map[list(heads)].astype(np.float32).mean(0), np.float32)
        return _laid_out(layer, grid), grid.shape == (layer.queries, layer.keys)
    if max(weights.shape) <= _FINEST:
        return weights, True
    return pool(weights, _FINEST, _FINEST), False


def _laid_out(layer: Layer, grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map with one pixel a position where its cells are of unlike sizes and positions are not too many."""
    if layer.row_starts is None or layer.column_starts is None or max(layer.queries, layer.keys) > _MOST_ROWS:
        return grid
    return np.repeat(np.repeat(grid, np.diff(layer.row_starts), 0), np.diff(layer.column_starts), 1)


def patch_weights(layer: Layer, axis: Picture, heads: Sequence[int]) -> tuple[NDArray[np.float32], str] | None:
    """What each key of a picture gets, and from whom; None where the section does not say."""
    square = layer.queries == layer.keys and layer.rows == layer.columns
    if axis.extra and square and (layer.pairs is not None or (layer.whole_rows and layer.whole_rows.queries[0] == 0)):
        first = np.zeros(1, np.int64)
        row = np.asarray(sum(rows_of(layer, head, first)[0] for head in heads) / len(heads), np.float32)
        return row, f"from {plain(axis.extra[0], MOST_NAME)}"
    weights = weights_of(layer, heads)
    if weights is not None:
        return np.asarray(weights.mean(0), np.float32), "from an average query"
    received = layer.curves.get("received")
    if received is None or received.shape[-1] != layer.keys:
        return None
    return np.asarray(received[list(heads)].mean(0) / layer.queries, np.float32), "from an average query"
