"""Sections of random attention of any size, made from arrays without a model."""

import numpy as np

from heedful.report import AttentionSection, Dense, Layer, Positions, Text, TopWeights

KINDS = ("other", "previous", "first", "induction")


def random_map(random, heads, rows, columns):
    """Pooled maps of heads that look at a sink, along the diagonal, and anywhere; each row sums to 1."""
    i, j = np.arange(rows)[:, None] / rows, np.arange(columns)[None] / columns
    maps = random.random((heads, rows, columns)) ** 4 * 0.05
    width = 0.01 + 0.1 * random.random((heads, 1, 1))
    maps += random.random((heads, 1, 1)) * np.exp(-(((i - j) / width) ** 2))
    maps[:, :, 0] += 3 * random.random((heads, 1))
    return (maps / maps.sum(-1, keepdims=True)).astype(np.float32)


def random_links(random, heads, queries, keys, links):
    """The largest weights of each row, which sum to a part of 1: a sink, neighbors, and anything."""
    indices = random.integers(0, keys, size=(heads, queries, links))
    indices[:, :, 0] = 0
    for link in range(1, links // 2):
        indices[:, :, link] = np.clip(np.arange(queries) * keys // queries - link, 1, keys - 1)
    weights = np.sort(random.random((heads, queries, links)) ** 3, axis=-1)[..., ::-1]
    return TopWeights(indices, (0.9 * weights / weights.sum(-1, keepdims=True)).astype(np.float32))


def random_layer(random, index, *, heads, queries, keys, cells, pairs, kind="self", rows=0, columns=0):
    """A layer; `pairs` is "cells", or how many links of each row are kept, or 0 for the map alone."""
    held = None
    if pairs == "cells":
        grid = random_map(random, heads, queries, keys)
        held = Dense(grid)
    else:
        grid = random_map(random, heads, min(cells, queries), min(cells, keys))
        if pairs:
            held = random_links(random, heads, queries, keys, pairs)
    defined = random.random(heads)
    return Layer(
        name=f"encoder.{index}",
        label=f"layer {index}",
        kind=kind,
        map=grid,
        pairs=held,
        queries=queries,
        keys=keys,
        rows=rows,
        columns=columns,
        numbers={
            "entropy": (5 * random.random(heads)).tolist(),
            "first": random.random(heads).tolist(),
            "distance": (keys * random.random(heads)).tolist(),
            "previous": random.random(heads).tolist(),
            "induction": np.where(defined < 0.3, np.nan, defined).tolist(),
            "received": random.random(heads).tolist(),
        },
        kinds=[KINDS[head % len(KINDS)] for head in range(heads)],
        curves={
            "entropy": 3 + random.random((heads, min(queries, 1024))).cumsum(-1).astype(np.float32) / 100,
            "received": random.random((heads, min(keys, 1024))).astype(np.float32),
        },
    )


def random_section(*, layers=12, heads=12, n=1024, cells=64, pairs=4, tokens=None, title="Random attention"):
    """Self-attention of `n` positions, or of the given tokens."""
    random = np.random.default_rng(0)
    n = n if tokens is None else len(tokens)
    axes = [Positions(n) if tokens is None else Text(tokens)]
    parts = [random_layer(random, i, heads=heads, queries=n, keys=n, cells=cells, pairs=pairs) for i in range(layers)]
    return AttentionSection(title, "", parts, axes)


def cross_section(source, target, *, heads=4, pairs="cells"):
    """Self-attention over one text, and cross-attention from another to it."""
    random = np.random.default_rng(1)
    own = random_layer(random, 0, heads=heads, queries=len(source), keys=len(source), cells=32, pairs=pairs)
    across = random_layer(
        random, 1, heads=heads, queries=len(target), keys=len(source), cells=32, pairs=pairs, kind="cross", rows=1
    )
    return AttentionSection("Two texts", "", [own, across], [Text(source, name="source"), Text(target, name="target")])
