"""From a pattern to the tiles that the tiled engine computes: rows that see much the same, with the columns that they see."""

import math
from collections.abc import Iterator, Sequence

import torch

from heedful._checks import Shape
from heedful._types import Int, Tensor
from heedful.ops.engines.layout import index_of, structured
from heedful.ops.engines.tiled import Place, Tile
from heedful.ops.patterns import Causal, Dilated, Neighborhood2d, Pattern
from heedful.ops.patterns.grid import _SameColumn, _SameRow
from heedful.ops.patterns.marks import _TokenKeys, _TokenQueries


def tiles(pattern: Pattern, shape: Shape, pairs: int) -> list[Tile]:
    """Tiles of about so many pairs; each row with all columns that it may see."""
    rows, columns = shape[-2:]
    if not rows or not columns:
        return []
    alternatives = pattern.alternatives()
    tokens = [p.index for a in alternatives for p in a.parts() if isinstance(p, (_TokenQueries, _TokenKeys))]
    if any(torch._C._functorch.is_functorch_wrapped_tensor(index) for index in tokens):  # it cannot be read
        size = max(pairs // columns, 1)
        return [Tile(slice(start, min(start + size, rows)), slice(0, columns)) for start in range(0, rows, size)]
    special = [p for a in alternatives for p in a.parts() if isinstance(p, _TokenQueries)]
    found, apart = [], torch.zeros(rows, dtype=torch.bool)
    for part in special:
        apart[index_of(part, rows)] = True
    if special:
        found += [Tile(some, slice(0, columns)) for some in apart.nonzero()[:, 0].split(max(pairs // columns, 1))]
        alternatives = tuple(a for a in alternatives if not any(isinstance(p, _TokenQueries) for p in a.parts()))
    for chosen in _row_chunks(pattern, alternatives, shape, pairs):
        if special:
            index = _numbers(chosen)
            index = index[~apart[index]]
            chosen = _as_run(index)
            if not len(index):
                continue
        reached = [_reach(a, chosen, shape) for a in alternatives]
        column = _union([r for r in reached if _length(r)])
        if column is not None:
            found.append(Tile(chosen, column))
    return found


def _row_chunks(pattern: Pattern, alternatives: Sequence[Pattern], shape: Shape, pairs: int) -> Iterator[Place]:
    """Rows that see much the same, in an order that the pattern suggests."""
    rows, columns = shape[-2:]
    parts = [p for a in alternatives for p in a.parts()]
    grid = next((p for p in parts if isinstance(p, Neighborhood2d)), None)
    line = next((p for p in parts if isinstance(p, (_SameRow, _SameColumn))), None)
    dilated = next((p for p in parts if isinstance(p, Dilated)), None)
    if grid is not None:
        height, width = grid.grid
        for top in range(0, height, 8):
            for left in range(0, width, 8):
                y, x = torch.arange(top, min(top + 8, height)), torch.arange(left, min(left + 8, width))
                yield _as_run((y[:, None] * width + x).flatten())
        return
    if line is not None:
        width = line.grid[1]
        for start in range(0, rows, width):
            for left in range(0, width, 8):
                yield slice(start + left, start + min(left + 8, width))
        return
    seen = sum(_length(_reach(a, slice(rows // 2, rows // 2 + 1), shape)) for a in alternatives)
    seen = max(seen, 1) if structured(pattern) else columns
    size = max((math.isqrt(seen * seen + 4 * pairs) - seen) // 2, 1) if seen < columns else max(pairs // columns, 1)
    if seen < columns:
        size = min(size, max(seen // 4, 32))
    if any(isinstance(p, Causal) for p in parts):  # the lower a tile is, the less it computes in vain
        size = min(size, max(rows // 8, 128))
    if dilated is not None:
        k = dilated.dilation
        for residue in range(min(k, rows)):
            yield from (_as_run(some) for some in torch.arange(residue, rows, k).split(size))
        return
    yield from (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _reach(alternative: Pattern, chosen: Place, shape: Shape) -> Place:
    """Columns among which are all that some rows see."""
    columns = shape[-1]
    index = _numbers(chosen)
    low, high = int(index.min()), int(index.max())
    first, last = (int(t) for t in alternative.columns(torch.tensor([low]), torch.tensor([high + 1]), shape))
    best: Place = slice(first, last)
    for part in alternative.parts():
        found: Tensor | None = None
        if isinstance(part, _TokenKeys):
            found = index_of(part, columns)
        elif isinstance(part, Dilated):
            k = part.dilation
            at = ((index + part.offset(shape)) % k).unique()
            column = torch.arange(first, last)
            found = column[torch.isin(column % k, at)]
        elif isinstance(part, (Neighborhood2d, _SameRow, _SameColumn)):
            height, width = part.grid
            y, x = (index // width).unique(), (index % width).unique()
            up, side = part.reach() if isinstance(part, Neighborhood2d) else (0, 0)
            if isinstance(part, _SameColumn):
                y = torch.arange(height)
            elif isinstance(part, _SameRow):
                x = torch.arange(width)
            else:
                y = torch.arange(max(int(y.min()) - up, 0), min(int(y.max()) + up + 1, height))
                x = torch.arange(max(int(x.min()) - side, 0), min(int(x.max()) + side + 1, width))
            found = (y[:, None] * width + x).flatten()
        if found is not None and len(found) < _length(best):
            best = _as_run(found)
    return best


def _union(places: list[Place]) -> Place | None:
    if len(places) < 2:
        return places[0] if places else None
    return _as_run(torch.cat([_numbers(p) for p in places]).unique())


def _numbers(place: Place) -> Int[Tensor, "n"]:
    return torch.arange(place.start, place.stop) if isinstance(place, slice) else place


def _as_run(index: Int[Tensor, "n"]) -> Place:
    """A slice where numbers follow each other."""
    if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index) and bool((index.diff() == 1).all()):
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _length(place: Place) -> int:
    return place.stop - place.start if isinstance(place, slice) else len(place)
