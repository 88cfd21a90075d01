"""Numbers that are reduced from the weights while they pass by, tile by tile: any mechanism, in every derivative too."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._tree import flatten
from heedful.ops.engines import reference
from heedful.ops.engines.assemble import pairs_of_definition, placed
from heedful.ops.engines.derivatives import Kind, Tile, TiledFunction, put, take
from heedful.ops.engines.products import operands
from heedful.ops.engines.tiled import TiledRows, in_buffers, pairs_of_tile
from heedful.ops.engines.tiles import positions_of, tiles
from heedful.ops.mechanism import Mechanism
from heedful.ops.patterns import Global, Or, Pattern


@dataclass(eq=False)
class Part:
    """Some rows of the matrix, with columns among which are all that they may see.

    Attributes:
        weights: of the rows and columns.
        rows: their numbers.
        columns: their numbers.
        heads: which heads, of all heads and batches as one axis; None: all, with axes of their own.
        largest: gives the largest score of each row, -inf where there is none.
        other: the weights of a second matrix.
        room: a buffer for as many numbers as there are weights, where there is no gradient: a new one each time would cost
            more than what is computed in it.
    """

    weights: Float[Tensor, "... n m"]
    rows: Int[Tensor, " n"]
    columns: Int[Tensor, " m"]
    heads: slice | None
    largest: Callable[[], Float[Tensor, "... n"]]
    other: Float[Tensor, "... n m"] | None = None
    room: Tensor | None = None

    def __post_init__(self) -> None:
        self._cells: dict[int, tuple[Tensor, Tensor]] = {}

    @functools.cached_property
    def mass(self) -> Float[Tensor, "... n 1"]:
        """The sum of each row's weights."""
        return self.weights.sum(-1, keepdim=True)

    @functools.cached_property
    def top(self) -> Float[Tensor, "... n 1"]:
        """The largest weight of each row."""
        return self.weights.amax(-1, keepdim=True)

    def by_cells(self, cells: Int[Tensor, " N"]) -> tuple[Int[Tensor, " c"], Float[Tensor, "... c m"]]:
        """The cells to which rows belong, given in rising order for all rows of the matrix, and the sums over their rows."""
        if id(cells) not in self._cells:
            row = cells[self.rows]
            here = torch.arange(int(row[0]), int(row[-1]) + 1, device=row.device)
            sums = self.weights.new_zeros(*self.weights.shape[:-2], len(here), self.weights.shape[-1])
            self._cells[id(cells)] = here, sums.index_add(-2, row - row[0], self.weights)
        return self._cells[id(cells)]

    def scratch(self) -> Float[Tensor, "... n m"] | None:
        """The buffer, in the shape of the weights."""
        return None if self.room is None else self.room[: self.weights.numel()].view(self.weights.shape)


class Statistic(NamedTuple):
    """What is asked of the weights.

    Attributes:
        kind: "row": numbers for each row, "column": for each column; these, and "whole", are summed over the tiles.
        sizes: the last two axes of the whole result: (N, c), (M, c), or any.
        of: what a part adds to it, `[..., n, c]`, `[..., m, c]` or the whole.
        scores: whether it asks for the largest scores.
    """

    kind: Kind
    sizes: tuple[int, int]
    of: Callable[[Part], Tensor]
    scores: bool = False


class Source(NamedTuple):
    """A matrix to be read: operands in at least float32, free of what is not finite.

    Attributes:
        query: `[..., H, N, D]`.
        key: `[..., G, M, D]`.
        mechanism: selects nothing, drops nothing.
        poison: what is added to the weights of the rows that see something that is not finite; None: no row does.
    """

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M K"]
    mechanism: Mechanism
    poison: Float[Tensor, "... N 1"] | None


def reduced(source: Source, shape: Shape, statistics: Sequence[Statistic]) -> tuple[Tensor, ...]:
    """The statistics `[..., H, *sizes]`, all in one pass."""
    source = _as_products(source, shape)
    reader = _Reader(source, shape)

    def body(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _all(statistics, tile, [reader.read(tile, tensors)], shape)

    def fast(query: Tensor, key: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        totals = [query.new_zeros(math.prod(shape[:-2]), *s.sizes) for s in statistics]
        scores = any(s.scores for s in statistics)
        for tile, part in _in_place_parts(source._replace(query=query, key=key), shape, scores):
            for total, statistic in zip(totals, statistics, strict=True):
                put(total[part.heads], statistic.of(part), statistic.kind, tile)
        return tuple(total.view(*shape[:-2], *total.shape[1:]) for total in totals)

    quick = fast if _fits_in_buffers(source) else None
    return _tiled(body, _pattern(source), shape, reader.kinds, statistics, reader, quick)(*reader.tensors)


def parts(source: Source, shape: Shape) -> Iterator[Part]:
    """The weights, tile by tile, with all heads and batches as one axis; without a gradient. A part is overwritten by the next."""
    source = _as_products(source, shape)
    if _fits_in_buffers(source):
        yield from (part for _, part in _in_place_parts(source, shape, scores=False))
        return
    reader = _Reader(source, shape)
    for tile in tiles(_pattern(source), shape, reader.pairs):
        weights, largest = reader.at(tile)
        rows, columns = (positions_of(p, weights.device) for p in tile)
        weights = weights.expand(*shape[:-2], -1, -1).reshape(-1, *weights.shape[-2:])
        yield Part(weights, rows, columns, slice(0, len(weights)), lambda: largest().reshape(-1, len(rows)))  # noqa: B023


def weights_of(source: Source, shape: Shape, rows: Int[Tensor, " n"]) -> Float[Tensor, "... n M"]:
    """Some rows of the matrix, stored."""
    reader, tile = _Reader(source, shape), Tile(rows, slice(0, shape[-1]))
    return reader.at(tile)[0].expand(*shape[:-2], -1, -1)


def _in_place_parts(source: Source, shape: Shape, scores: bool) -> Iterator[tuple[Tile, Part]]:
    query, key, mechanism, _ = source
    pairs = pairs_of_tile(mechanism, shape, query.shape[-1])
    rows = TiledRows(mechanism, shape, tiles(_pattern(source), shape, pairs))
    room = query.new_empty(rows.buffer)
    for tile, parts_of_tile in rows.weighed(query, key, scores):
        row, column = (positions_of(p, query.device) for p in tile)
        for heads, weights, largest in parts_of_tile:
            yield tile, Part(weights, row, column, heads, lambda: cast(Tensor, largest), room=room)  # noqa: B023


def _fits_in_buffers(source: Source) -> bool:
    return source.poison is None and in_buffers(source.mechanism, source.query.shape[-1])


def _pattern(source: Source) -> Pattern:
    """What says where weights have to be looked at: everywhere, if a hidden 0 may be the largest."""
    return Global() if source.mechanism.normalize.signed else source.mechanism.pattern


def _as_products(source: Source, shape: Shape) -> Source:
    """The same with scores that are inner products, where they can be."""
    query, key, _, mechanism = operands(source.query, source.key, source.key[..., :1], source.mechanism, shape)
    return Source(query, key, mechanism, source.poison)


def reduced_pair(first: Source, second: Source, shape: Shape, statistics: Sequence[Statistic]) -> tuple[Tensor, ...]:
    """The same of two matrices of one shape, whose weights stand beside each other."""
    readers = [_Reader(_as_products(source, shape), shape) for source in (first, second)]
    count = len(readers[0].tensors)
    pattern = Or(_pattern(first), _pattern(second))

    def body(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
        read = [readers[0].read(tile, tensors[:count]), readers[1].read(tile, tensors[count:])]
        return _all(statistics, tile, read, shape)

    kinds = (*readers[0].kinds, *readers[1].kinds)
    function = _tiled(body, pattern, shape, kinds, statistics, readers[0], None)
    return function(*readers[0].tensors, *readers[1].tensors)


class _Reader:
    """The weights of a tile by the definition, as a function of the tensors that they come from."""

    def __init__(self, source: Source, shape: Shape) -> None:
        self.shape, self.pattern, self.poisoned = shape, source.mechanism.pattern, source.poison is not None
        mechanism, kinds = placed(source.mechanism)
        numbers, self.build = flatten(mechanism)
        more = [] if source.poison is None else [source.poison]
        self.tensors = [source.query, source.key, *numbers, *more]
        self.kinds: tuple[Kind, ...] = ("row", "column", *kinds, *cast(list[Kind], ["row"] * len(more)))
        self.pairs = pairs_of_definition(source.mechanism, shape, source.query.shape[-1])

    def at(self, tile: Tile) -> tuple[Tensor, Callable[[], Tensor]]:
        """The same of a tile of the tensors themselves."""
        return self.read(tile, [take(t, kind, tile) for t, kind in zip(self.tensors, self.kinds, strict=True)])

    def read(self, tile: Tile, tensors: Sequence[Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
        """The weights, and what gives the largest scores."""
        query, key, *numbers = tensors
        poison = numbers.pop() if self.poisoned else None
        rows, columns = (positions_of(p, query.device) for p in tile)
        mechanism, key = self.build(iter(numbers)), reference.all_heads(key, query)
        weights = reference.weights(query, key, mechanism, self.shape, rows, columns)
        if poison is not None:
            hidden = ~self.pattern.allowed(rows[:, None], columns[None], self.shape)
            weights = weights + poison.masked_fill(hidden, 0)

        def largest() -> Tensor:
            scores = reference.scores(query, key, mechanism, self.shape, rows, columns)
            if self.pattern.masks_any(self.shape):
                scores = scores.masked_fill(~self.pattern.allowed(rows[:, None], columns[None], self.shape), -math.inf)
            return scores.amax(-1)

        return weights, largest


def _all(
    statistics: Sequence[Statistic], tile: Tile, read: Sequence[tuple[Tensor, Callable[[], Tensor]]], shape: Shape
) -> tuple[Tensor, ...]:
    (weights, largest), *others = read
    rows, columns = (positions_of(p, weights.device) for p in tile)
    part = Part(weights, rows, columns, None, largest, others[0][0] if others else None)
    return tuple(statistic.of(part).expand(*shape[:-2], -1, -1) for statistic in statistics)


def _tiled(
    body: Callable[..., tuple[Tensor, ...]],
    pattern: Pattern,
    shape: Shape,
    kinds: tuple[Kind, ...],
    statistics: Sequence[Statistic],
    reader: _Reader,
    fast: Callable[..., tuple[Tensor, ...]] | None,
) -> TiledFunction:
    found = functools.partial(tiles, pattern, shape, reader.pairs)
    outputs = tuple((s.kind, (*shape[:-2], *s.sizes)) for s in statistics)
    return TiledFunction(body, found, kinds, outputs, fast)
