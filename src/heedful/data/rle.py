"""Masks as COCO has them: run lengths, column by column, and polygons."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError

__all__ = ["decode_rle", "encode_classes", "fill_polygon"]

Mask = NDArray[np.bool_]
_FIRST = 48  # the character of a group of five bits that are all 0
_MAX_PIXELS = 2**28


def encode_classes(labels: NDArray[np.uint8], classes: Sequence[int]) -> list[dict[str, Any]]:
    """The pixels of each class in a map `[h, w]`, as COCO's compressed run lengths.

    Example:
        >>> encode_classes(np.array([[0, 1, 1], [0, 0, 1]], np.uint8), [1])
        [{'size': [2, 3], 'counts': '2111'}]
    """
    flat = labels.T.ravel()  # column by column
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    values = flat[starts[:-1]]
    found = []
    for number in classes:
        own = np.flatnonzero(values == number)
        bounds = np.stack([starts[own], starts[own + 1]], axis=1)  # begin and end of each run of it
        edges = np.concatenate([[0], bounds.ravel(), [flat.size]])
        counts = np.diff(edges)
        counts = counts[:-1] if counts[-1] == 0 else counts
        found.append({"size": [int(side) for side in labels.shape], "counts": _packed(counts.tolist())})
    return found


def decode_rle(rle: Mapping[str, Any], location: str) -> Mask:
    """The pixels of run lengths, compressed or a list of numbers: `[h, w]`.

    Raises:
        DataError: they are none, or not of as many pixels as their `size` says.

    Example:
        >>> decode_rle({"size": [2, 3], "counts": [2, 1, 2, 1]}, "a.json").tolist()
        [[False, True, False], [False, False, True]]
    """
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise DataError(f"{location}: run lengths must have a `size`, height and width: got {size!r:.60}")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not (isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)):
        raise DataError(f"{location}: run lengths must be numbers, or COCO's compressed text: got {counts!r:.60}")
    pixels = size[0] * size[1]
    if sum(counts) != pixels or pixels > _MAX_PIXELS:
        raise DataError(f"{location}: run lengths must add up to {pixels:,} pixels: got {sum(counts):,}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[1], size[0]).T


def fill_polygon(points: Sequence[float], size: tuple[int, int], into: Mask) -> None:
    """Marks the pixels whose centers lie in a polygon x, y, x, y, ... of a picture of `size` (height, width).

    Example:
        >>> into = np.zeros((3, 4), bool)
        >>> fill_polygon([1, 1, 3, 1, 3, 3, 1, 3], (3, 4), into)
        >>> into.astype(int).tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    """
    corners = np.asarray(points, np.float64).reshape(-1, 2)
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, axis=0).T
    first, last = max(int(y0.min() - 0.5), 0), min(int(y0.max() + 0.5), size[0] - 1)
    for row in range(first, last + 1):
        y = row + 0.5
        crossed = (y0 <= y) != (y1 <= y)
        at = x0[crossed] + (y - y0[crossed]) * (x1[crossed] - x0[crossed]) / (y1[crossed] - y0[crossed])
        edges = np.ceil(np.sort(at) - 0.5).clip(0, size[1]).astype(int)
        for left, right in edges.reshape(-1, 2):
            into[row, left:right] = True


def _packed(counts: list[int]) -> str:
    """Five bits a character, the lowest first; from the third on, differences from the one before the last."""
    text = bytearray()
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(_FIRST + bits + 32 * more)
            if not more:
                break
    return text.decode()


def _unpacked(text: str) -> list[int] | None:
    counts: list[int] = []
    value = shift = 0
    for sign in text:
        bits = ord(sign) - _FIRST
        if not 0 <= bits < 64 or shift > 50:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts
