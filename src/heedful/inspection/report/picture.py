"""A picture, what a model decided about it, and the attention of every head at every patch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.inspection.report.attention import as_prediction
from heedful.inspection.report.blocks import Blocks, Json, as_count, as_floats, as_text
from heedful.inspection.report.sides import as_pixels


@dataclass(frozen=True, eq=False)
class LayerHeads:
    """The attention of one layer as its queries and keys: row i of head h is `softmax(scale * query[h, i] @ key[h].T)`.

    Attributes:
        name: what the reader calls the layer, for example "layer 3".
        query: `[heads, queries, width]`.
        key: `[heads, keys, width]`.
        scale: the factor before the softmax.
        received: `[heads, keys]`, what each key receives from all queries together (an even share is queries / keys).
            Shown for the decision where the layer has no class token.
    """

    name: str
    query: NDArray[np.floating]
    key: NDArray[np.floating]
    scale: float
    received: NDArray[np.floating] | None = None

    def encode(self, blocks: Blocks, *, queries: int, keys: int) -> Json:
        """Returns the JSON of a layer that must have this many queries and keys."""
        as_text("`name` of a layer", self.name)
        where = f"of layer {self.name[:60]!r}"
        query = as_floats(f"`query` {where}", self.query, "heads, queries, width")
        key = as_floats(f"`key` {where}", self.key, "heads, keys, width")
        for name, array, rule, wanted in (
            ("query", query, "queries", (key.shape[0], queries, key.shape[2])),
            ("key", key, "keys", (query.shape[0], keys, query.shape[2])),
        ):
            if array.shape != wanted:
                raise ValueError(f"`{name}` {where} must be [heads, {rule}, width] = {wanted}: got shape {array.shape}")
        if not np.isfinite(self.scale):
            raise ValueError(f"`scale` {where} must be finite: got {self.scale}")
        received = None
        if self.received is not None:
            received = as_floats(f"`received` {where}", self.received, "heads, keys", lowest=0)
            if received.shape != (key.shape[0], keys):
                raise ValueError(
                    f"`received` {where} must be [heads, keys] = {(key.shape[0], keys)}: got shape {received.shape}"
                )
        return {
            "name": self.name,
            "scale": float(self.scale),
            "query": blocks.add_heads(query),
            "key": blocks.add_heads(key),
            "received": None if received is None else blocks.add(received),
        }


@dataclass(frozen=True, eq=False)
class PictureSection:
    """One picture cut into a grid of patches, with attention drawn over it.

    The page computes the row of the patch that is pointed at from queries and keys, so a section grows with the
    number of patches and not with its square. A large picture should be made smaller first: its pixels are stored raw.

    Attributes:
        title: the heading.
        picture: uint8, `[height, width]` or `[height, width, 3]`.
        caption: where the picture is from, for example a file name.
        grid: rows and columns of patches; tokens are in reading order.
        class_tokens: 1 if a class token stands before the patches, else 0.
        layers: the encoder's self-attention, first layer first.
        pooling: an attention that pools the patches with one query for each head.
        rollout: `[tokens]`, the decision's attention followed through all layers.
        predictions: labels with probabilities, in the order in which they are shown.
        truth: the right label, where it is known.
    """

    title: str
    picture: NDArray[np.uint8]
    caption: str
    grid: tuple[int, int]
    class_tokens: int
    layers: Sequence[LayerHeads]
    pooling: LayerHeads | None = None
    rollout: NDArray[np.floating] | None = None
    predictions: Sequence[tuple[str, float]] = ()
    truth: str | None = None

    def encode(self, blocks: Blocks) -> Json:
        """Returns the JSON that `picture.js` reads."""
        rows, columns = (as_count("`grid` (rows, columns)", count) for count in self.grid)
        if self.class_tokens not in (0, 1):
            raise ValueError(f"`class_tokens` must be 0 or 1: got {self.class_tokens!r}")
        tokens = int(self.class_tokens) + rows * columns
        if not self.layers and self.pooling is None:
            raise ValueError("`layers` must have at least one layer where there is no `pooling`: got none")
        for layer in self.layers:
            if self.class_tokens == 0 and layer.received is None:
                raise ValueError(
                    f"`received` of layer {layer.name[:60]!r} must be given where `class_tokens` is 0: got None"
                )
        rollout = None
        if self.rollout is not None:
            rollout = as_floats("`rollout`", self.rollout, "tokens", lowest=0)
            if rollout.shape != (tokens,):
                raise ValueError(f"`rollout` must be [tokens] = ({tokens},): got shape {rollout.shape}")
        return {
            "kind": "picture",
            "title": as_text("`title`", self.title),
            "picture": blocks.add(as_pixels(self.picture)),
            "caption": as_text("`caption`", self.caption),
            "grid": [rows, columns],
            "classTokens": int(self.class_tokens),
            "layers": [layer.encode(blocks, queries=tokens, keys=tokens) for layer in self.layers],
            "pooling": None if self.pooling is None else self.pooling.encode(blocks, queries=1, keys=tokens),
            "rollout": None if rollout is None else blocks.add(rollout),
            "predictions": [as_prediction(label, probability) for label, probability in self.predictions],
            "truth": None if self.truth is None else as_text("`truth`", self.truth),
        }
