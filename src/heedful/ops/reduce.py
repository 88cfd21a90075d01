"""Numbers that are reduced from the weights while they pass by, tile by tile: any mechanism, in every derivative too."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._tree import flatten
from heedful.ops.engines import reference
from heedful.ops.engines.assemble import pairs_of_definition, tile_mechanism
from heedful.ops.engines.derivatives import Kind, Tile, TiledFunction, put, take
from heedful.ops.engines.features import operands
from heedful.ops.engines.tiled import TiledRows, in_buffers, pairs_of_tile
from heedful.ops.engines.tiles import positions_of, tiles
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1, softmax
from heedful.ops.patterns import Global, Or, Pattern
from heedful.ops.statistics import Statistic, WeightTile


class WeightSource(NamedTuple):
    """A matrix to be read: operands in at least float32, free of what is not finite.

    Attributes:
        query: `[..., H, N, D]`.
        key: `[..., G, M, D]`.
        mechanism: selects nothing, drops nothing.
        nonfinite: what is added to the weights of the rows that see something that is not finite; None: no row does.
        sinks: of softmax, set apart from the mechanism.
    """

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M K"]
    mechanism: Mechanism
    nonfinite: Float[Tensor, "... N 1"] | None
    sinks: Float[Tensor, "..."] | None = None


def reduced(source: WeightSource, shape: Shape, statistics: Sequence[Statistic]) -> tuple[Tensor, ...]:
    """The statistics `[..., H, *sizes]`, all in one pass."""
    source = _as_products(source, shape)
    in_place = None
    if source.nonfinite is None and in_buffers(source.mechanism, source.query.shape[-1]):
        in_place = functools.partial(_in_place, source, shape, statistics)
    return _tiled([source], shape, statistics, in_place)


def reduced_pair(
    first: WeightSource, second: WeightSource, shape: Shape, statistics: Sequence[Statistic]
) -> tuple[Tensor, ...]:
    """The same of two matrices of one shape, whose weights stand beside each other."""
    return _tiled([_as_products(source, shape) for source in (first, second)], shape, statistics, None)


def weights_of(source: WeightSource, shape: Shape, rows: Int[Tensor, " n"]) -> Float[Tensor, "... n M"]:
    """Some rows of the matrix, stored."""
    reader, tile = _Reader(_without_sink(source), shape), Tile(rows, slice(0, shape[-1]))
    tensors = [take(t, kind, tile) for t, kind in zip(reader.tensors, reader.kinds, strict=True)]
    return reader.read(tile, tensors).weights.expand(*shape[:-2], -1, -1)


def _in_place(
    source: WeightSource, shape: Shape, statistics: Sequence[Statistic], query: Tensor, key: Tensor, *_: Tensor
) -> tuple[Tensor, ...]:
    """All statistics without a gradient, from weights in a buffer that the next ones overwrite."""
    mechanism, sinks = source.mechanism, source.sinks
    pairs = pairs_of_tile(mechanism, shape, query.shape[-1])
    rows = TiledRows(mechanism, shape, tiles(_pattern(source), shape, pairs))
    totals = [query.new_zeros(math.prod(shape[:-2]), *s.sizes) for s in statistics]
    scratch = query.new_empty(rows.buffer)
    sinks = None if sinks is None else sinks.detach().expand(shape[:-2]).reshape(-1, 1, 1)
    for tile_indices, head_weights in rows.weights_by_tile(
        query, key, sinks is not None or any(s.lse for s in statistics)
    ):
        row, column = (positions_of(p, query.device) for p in tile_indices)
        for heads, weights, max_score in head_weights:
            tile = WeightTile(
                weights, row, column, heads, mechanism.normalize.normalized, None, max_score, scratch=scratch
            )
            tile.sinks = None if sinks is None else sinks[heads]
            for total, statistic in zip(totals, statistics, strict=True):
                put(total[heads], statistic.function(tile), statistic.kind, tile_indices)
    return tuple(total.view(*shape[:-2], *total.shape[1:]) for total in totals)


def _tiled(
    sources: Sequence[WeightSource],
    shape: Shape,
    statistics: Sequence[Statistic],
    fast: Callable[..., tuple[Tensor, ...]] | None,
) -> tuple[Tensor, ...]:
    """All statistics by the definition, tile by tile, with every derivative."""
    readers = [_Reader(source, shape) for source in sources]
    count = len(readers[0].tensors)
    pattern = functools.reduce(Or, map(_pattern, sources))

    def body(tile_indices: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
        tile, *others = (
            r.read(tile_indices, t) for r, t in zip(readers, (tensors[:count], tensors[count:]), strict=False)
        )
        tile.other = others[0] if others else None
        return tuple(statistic.function(tile).expand(*shape[:-2], -1, -1) for statistic in statistics)

    make_tiles = functools.cache(lambda: tiles(pattern, shape, readers[0].pairs))
    outputs = tuple((s.kind, (*shape[:-2], *s.sizes)) for s in statistics)
    kinds = tuple(kind for reader in readers for kind in reader.kinds)
    return TiledFunction(body, make_tiles, kinds, outputs, fast)(*(t for reader in readers for t in reader.tensors))


def _pattern(source: WeightSource) -> Pattern:
    """What says where weights have to be looked at: everywhere, if a masked 0 may be the largest."""
    return Global() if source.mechanism.normalize.signed else source.mechanism.pattern


def _as_products(source: WeightSource, shape: Shape) -> WeightSource:
    """The same with scores that are inner products, where they can be."""
    query, key, _, mechanism = operands(source.query, source.key, source.key[..., :1], source.mechanism, shape)
    return _without_sink(WeightSource(query, key, mechanism, source.nonfinite))


def _without_sink(source: WeightSource) -> WeightSource:
    """The same with the sinks of softmax apart; that of `softmax1` is one more, of score 0."""
    mechanism, sinks = source.mechanism, source.mechanism.sinks
    if isinstance(mechanism.normalize, Softmax1):
        zero = source.query.new_zeros(())
        sinks = zero if sinks is None else torch.logaddexp(sinks.to(zero.dtype), zero)
    elif sinks is None or not isinstance(mechanism.normalize, Softmax):
        return source
    mechanism = dataclasses.replace(mechanism, normalize=softmax, sinks=None)
    return source._replace(mechanism=mechanism, sinks=sinks.to(source.query.dtype))


class _Reader:
    """The weights of a tile by the definition, as a function of the tensors that they come from."""

    def __init__(self, source: WeightSource, shape: Shape) -> None:
        self.shape, self.source = shape, source
        mechanism, kinds = tile_mechanism(source.mechanism)
        numbers, self.build = flatten(mechanism)
        extra: list[tuple[Tensor | None, Kind]] = [(source.nonfinite, "row"), (source.sinks, "whole")]
        extra_given = [(tensor, kind) for tensor, kind in extra if tensor is not None]
        self.tensors = [source.query, source.key, *numbers, *(tensor for tensor, _ in extra_given)]
        self.kinds: tuple[Kind, ...] = ("row", "column", *kinds, *(kind for _, kind in extra_given))
        self.pairs = pairs_of_definition(source.mechanism, shape, source.query.shape[-1])

    def read(self, tile_indices: Tile, tensors: Sequence[Tensor]) -> WeightTile:
        """A tile, from what it needs of the tensors."""
        query, key, *numbers = tensors
        sinks = None if self.source.sinks is None else numbers.pop()[..., None, None]
        nonfinite = None if self.source.nonfinite is None else numbers.pop()
        rows, columns = (positions_of(p, query.device) for p in tile_indices)
        mechanism, key, scores = self.build(iter(numbers)), reference.all_heads(key, query), None
        pattern, normalize = mechanism.pattern, mechanism.normalize
        masks = pattern.masks_any(self.shape) or (nonfinite is not None and mechanism.bias is not None)
        masked = ~reference.visible(mechanism, self.shape, rows, columns) if masks else None
        if isinstance(normalize, Softmax):
            scores = reference.scores(query, key, mechanism, self.shape, rows, columns)
            scores = scores if masked is None else scores.masked_fill(masked, -math.inf)
            weights = normalize(scores)
        else:
            weights = reference.weights(query, key, mechanism, self.shape, rows, columns)
        if nonfinite is not None:
            noise = nonfinite if masked is None else nonfinite.masked_fill(masked, 0)
            weights, scores = weights + noise, None if scores is None else scores + noise
        return WeightTile(weights, rows, columns, None, normalize.normalized, scores, sinks=sinks)
