"""Layers of a report made from arrays, without a model."""

import numpy as np

from heedful.report import Dense, Layer


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def random_weights(heads, queries, keys, seed=0):
    weights = np.random.default_rng(seed).random((heads, queries, keys)).astype(np.float32) ** 4
    return weights / weights.sum(-1, keepdims=True)


def pooled(weights, rows, columns):
    """The map of `[H, N, M]`, by the sentence that says what a cell is."""
    heads, queries, keys = weights.shape
    grid = np.zeros((heads, rows, columns))
    row, column = np.arange(queries) * rows // queries, np.arange(keys) * columns // keys
    np.add.at(grid, (slice(None), row[:, None], column[None]), weights)
    return grid / np.bincount(row)[:, None]


def layer_of(weights, pairs="cells", *, name=None, label="layer 0", kind="self", rows=0, columns=0, most=64, **more):
    """The map has at most `most` cells along an axis; all weights are held unless `pairs` says what is."""
    _, queries, keys = weights.shape
    grid = pooled(weights, min(queries, most), min(keys, most)).astype(np.float32)
    pairs = Dense(weights) if isinstance(pairs, str) else pairs
    return Layer(name or label.replace(" ", "."), label, kind, grid, pairs, queries, keys, rows, columns, **more)
