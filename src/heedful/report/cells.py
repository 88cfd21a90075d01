"""Where the cells of a map begin: as alike as they can be, but none of them mixes special tokens with others."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch

from heedful._types import Int, Tensor
from heedful.report.axes import Axis, Picture, Text

_MOST_ALONE = 8  # special tokens in a row, such as registers, that have a cell each; more are padding


def cuts_of(axis: Axis) -> list[int]:
    """The positions at which a cell must begin, so that special tokens and pictures among tokens share none with others.

    Example:
        >>> cuts_of(Text(["[CLS]", "the", "sky", "[SEP]"], special=[0, 3]))
        [0, 1, 3, 4]
    """
    special = range(len(axis.extra)) if isinstance(axis, Picture) else axis.special if isinstance(axis, Text) else ()
    cuts: set[int] = set()
    for start, stop in _runs(special):
        cuts.update(range(start, stop + 1) if stop - start <= _MOST_ALONE else (start, stop))
    pictures = axis.pictures if isinstance(axis, Text) else ()
    cuts.update(edge for start, picture in pictures for edge in (start, start + picture.count))
    return sorted(cuts)


def cell_starts(count: int, most: int, cuts: Sequence[int] = ()) -> Int[Tensor, " cells+1"]:
    """The first position of each of at most so many cells, and `count`; of more than `most / 2` cuts the first ones count.

    Example:
        >>> cell_starts(9, 3), cell_starts(9, 4, cuts=[0, 1])
        (tensor([0, 3, 6, 9]), tensor([0, 1, 5, 9]))
    """
    if count <= most:
        return torch.arange(count + 1)
    edges = [0, *[cut for cut in cuts if 0 < cut < count][: (most - 1) // 2], count]
    spare = most - (len(edges) - 1)
    starts = []
    for start, stop in pairwise(edges):
        cells = min(stop - start, 1 + spare * (stop - start) // count)
        starts.append(start - (-torch.arange(cells) * (stop - start) // cells))
    return torch.cat([*starts, torch.tensor([count])])


def starts_between(start: int, stop: int, most: int, cuts: Iterable[int] = ()) -> Int[Tensor, " cells+1"]:
    """The same of the positions from `start` up to `stop`: about so many, but every cut counts."""
    inner = [cut - start for cut in cuts if start < cut < stop]
    return start + cell_starts(stop - start, most + 2 * len(inner), inner)


def cells_of(starts: Int[Tensor, " cells+1"], start: int = 0, stop: int | None = None) -> Int[Tensor, " N"]:
    """The cell of each position, or of those from `start` up to `stop`."""
    positions = torch.arange(start, int(starts[-1]) if stop is None else stop)
    return torch.bucketize(positions, starts, right=True) - 1


def _runs(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Positions that follow each other, as ranges."""
    runs: list[tuple[int, int]] = []
    for position in sorted(set(positions)):
        if runs and runs[-1][1] == position:
            runs[-1] = runs[-1][0], position + 1
        else:
            runs.append((position, position + 1))
    return runs
