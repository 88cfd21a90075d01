"""The way up that a camera noted (EXIF), for what belongs to a picture: its mask and its boxes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["STORED", "belongs_upright", "exchanged", "turn", "turn_boxes"]

STORED = 1  # the orientation of a picture that is stored as it is to be seen

_STEPS = {  # mirror left and right, mirror up and down, then exchange the axes
    1: (False, False, False), 2: (True, False, False), 3: (True, True, False), 4: (False, True, False),
    5: (False, False, True), 6: (False, True, True), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip

T = TypeVar("T", bound=np.generic)


def turn(array: NDArray[T], orientation: int) -> NDArray[T]:
    """An array `[h, w, ...]` of a stored picture, as the picture is seen.

    Example:
        >>> turn(np.array([[1, 2, 3], [4, 5, 6]]), 6).tolist()
        [[4, 1], [5, 2], [6, 3]]
    """
    horizontal, vertical, exchange = _STEPS.get(orientation, _STEPS[STORED])
    array = array[::-1] if vertical else array
    array = array[:, ::-1] if horizontal else array
    return array.swapaxes(0, 1) if exchange else array


def turn_boxes(boxes: NDArray[T], orientation: int, size: tuple[int, int]) -> NDArray[T]:
    """Boxes `[count, 4]` (left, top, right, bottom) of a stored picture of `size` (height, width), as the picture is seen.

    Example:
        >>> turn_boxes(np.array([[0, 1, 1, 2]]), 6, (2, 3)).tolist()
        [[0, 0, 1, 1]]
    """
    horizontal, vertical, exchange = _STEPS.get(orientation, _STEPS[STORED])
    left, top, right, bottom = boxes.T
    if horizontal:
        left, right = size[1] - right, size[1] - left
    if vertical:
        top, bottom = size[0] - bottom, size[0] - top
    sides = (top, left, bottom, right) if exchange else (left, top, right, bottom)
    return np.stack(sides, axis=1)


def exchanged(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Two sides of a stored picture, as it is seen: exchanged where it is turned by a quarter."""
    return size[::-1] if _STEPS.get(orientation, _STEPS[STORED])[2] else size


def belongs_upright(size: tuple[int, int], upright: tuple[int, int], orientation: int) -> bool:
    """Whether what has a `size` (height, width) belongs to the picture as it is seen, and not to the stored one.

    Where both have that size, it belongs to the stored one: who draws on a picture that was turned, stores it so.

    Example:
        >>> belongs_upright((2, 3), (2, 3), 6), belongs_upright((3, 2), (2, 3), 6), belongs_upright((3, 3), (3, 3), 6)
        (True, False, False)
    """
    return orientation == STORED or (size == upright and size != exchanged(upright, orientation))
