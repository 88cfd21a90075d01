"""From a pattern to the tiles that the tiled engine computes: rows that see much the same, with the columns that they see."""

import functools
import math
from collections.abc import Iterator, Sequence

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._cache import LRUCache
from heedful.ops._tree import key_of
from heedful.ops.engines.derivatives import Tile
from heedful.ops.patterns import Pattern
from heedful.ops.patterns.orders import Index, as_slice, indices_of, length_of, union


def tiles(pattern: Pattern, shape: Shape, pairs: int) -> list[Tile]:
    """Tiles of about so many pairs; each row with all columns that it may see."""
    key = key_of(pattern)
    if key is None:
        return _make_tiles(pattern, shape, pairs)
    return _TILES.get((key, shape[-2:], pairs), lambda: _make_tiles(pattern, shape, pairs))


def _bytes(result: list[Tile]) -> int:
    return sum(400 + sum(8 * len(index) for index in tile if torch.is_tensor(index)) for tile in result)


_TILES: LRUCache[list[Tile]] = LRUCache(2**25, _bytes)


def _make_tiles(pattern: Pattern, shape: Shape, pairs: int) -> list[Tile]:
    rows, columns = shape[-2:]
    if not rows or not columns:
        return []
    result, own_tiles, disjuncts = [], torch.zeros(rows, dtype=torch.bool), []
    for disjunct in pattern.disjuncts():
        separate_orders = [order for order in disjunct.orders(shape) if order.separate]
        if separate_orders:  # few rows that see much
            for lane in separate_orders[0].lanes(functools.partial(disjunct.columns, shape=shape), shape):
                own_tiles[lane.rows.positions()] = True
        else:
            disjuncts.append(disjunct)
    size = max(pairs // columns, 1)
    result += [Tile(index, slice(0, columns)) for index in own_tiles.nonzero()[:, 0].split(size) if len(index)]
    for chunk in _chunks(disjuncts, shape, pairs):
        index = indices_of(chunk)
        index = index[~own_tiles[index]]
        if not len(index):
            continue
        column: Index = slice(0, 0)
        for disjunct in disjuncts:
            column = union(column, disjunct.visible_columns(index, shape))
        if length_of(column):
            result.append(Tile(as_slice(index), column))
    return result


def _chunks(disjuncts: Sequence[Pattern], shape: Shape, pairs: int) -> Iterator[Index]:
    """Rows that see much the same, in an order that the pattern suggests."""
    rows, columns = shape[-2:]
    orders = [order for disjunct in disjuncts for order in disjunct.orders(shape)]
    if not orders:
        return
    middle = torch.tensor([rows // 2])
    narrow = any(disjunct.narrow() for disjunct in disjuncts)
    visible = (
        max(sum(length_of(disjunct.visible_columns(middle, shape)) for disjunct in disjuncts), 1) if narrow else columns
    )
    if visible < columns:
        size = min(max((math.isqrt(visible * visible + 4 * pairs) - visible) // 2, 1), max(visible // 4, 32))
    else:
        size = max(pairs // columns, 1)
    ends = torch.tensor([0, rows - 1])
    if any(bool((t[0] != t[1]).any()) for disjunct in disjuncts for t in disjunct.columns(ends, ends + 1, shape)):
        size = min(size, max(rows // 8, 128))  # what rows see moves on: the lower a tile, the less it computes in vain
    yield from max(orders, key=lambda order: order.rank).chunks(shape, size)


def positions_of(index: Index, device: torch.device | None) -> Tensor:
    """The positions that a tile takes."""
    return torch.arange(index.start, index.stop, device=device) if isinstance(index, slice) else index.to(device)


def tile_size(tile: Tile) -> tuple[int, int]:
    """The rows and the columns of a tile."""
    rows, columns = map(length_of, tile)
    return rows, columns
