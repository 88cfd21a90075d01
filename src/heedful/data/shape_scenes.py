"""Pictures of up to three colored shapes and the sentences that are true of them: the embedded data `shapes` of captions.

A sentence tells where one shape lies, and where from another: "a red circle on the left, above a blue square"; of shapes that lie
rather beside each other, "at the top" or "at the bottom". Of a single shape it tells where it lies. Of a picture all such sentences are
known, so that what a model says of it is true or false. An eighth of all combinations (a shape and its color, a relation, another shape
and its color) is kept for the test: no training picture shows one, and of a test picture, which has two or three shapes, each pair is one.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful.data.shapes import COLORS, KINDS, Part, Shape, drawn

CAPTIONED: dict[Part, int] = {"train": 6000, "valid": 400, "test": 600}  # pictures of each part

_COUNTS = (1, 2, 3)  # shapes of a picture; of the test two or three
_RADIUS = (0.13, 0.155)  # of a circle of the same area; the shorter side of a picture is 1
_EDGE, _APART = 0.2, 0.4  # of centers, from the edge and from each other
_CLEAR = 0.1  # how much clearer than another a place or a relation must be
_LAYOUTS = 200  # that are drawn at once
_NAMES = [(color, kind) for color in COLORS for kind in KINDS]
_CHOICES = {count: np.array([*itertools.permutations(range(len(_NAMES)), count)]) for count in _COUNTS}
_UNSEEN = np.random.default_rng(0).random((len(_NAMES), len(_NAMES), 2)) < 1 / 8  # of one left of, or above, another


class Scenes(NamedTuple):
    """Pictures with all that can be said of them.

    Attributes:
        pictures: uint8 `[n, 3, h, w]`.
        captions: of each picture the sentences that are true.
    """

    pictures: NDArray[np.uint8]
    captions: list[tuple[str, ...]]


def draw_scenes(rows: Iterable[int], *, size: tuple[int, int] = (32, 32), part: Part = "train") -> Scenes:
    """The pictures of these rows of a part; each depends on its part, its row and the size alone.

    Args:
        rows: numbers from 0 on.
        size: height and width of a picture.
        part: the training and the validation have the same combinations, the test has others.

    Raises:
        ValueError: `size` is less than 16 pixels on a side: shapes would not be seen.

    Example:
        >>> scenes = draw_scenes([0])
        >>> scenes.pictures.shape, len(scenes.captions[0])
        ((1, 3, 32, 32), 6)
        >>> scenes.captions[0][0]
        'a green triangle at the top, left of a yellow triangle'
    """
    if min(size) < 16:
        raise ValueError(f"`size` must be at least 16 x 16: got {size[0]} x {size[1]}.")
    pictures, captions = [], []
    for row in rows:
        random = np.random.default_rng([10 + list(CAPTIONED).index(part), row])
        scene = _scene(random, size[0] / min(size), size[1] / min(size), part)
        pictures.append(drawn(scene, size, random)[0])
        captions.append(tuple(_captions(scene, size[0] / min(size), size[1] / min(size))))
    return Scenes(np.stack(pictures) if pictures else np.empty((0, 3, *size), np.uint8), captions)


def _scene(random: np.random.Generator, height: float, width: float, part: Part) -> list[Shape]:
    """Shapes no two of which are one, in places and relations that are clear."""
    count = int(random.choice(_COUNTS[part == "test" :]))
    choices = _CHOICES[count]
    for places in _layouts(random, count, height, width):
        fits = np.ones(len(choices), bool)
        for i, j, axis in _pairs(places):
            fits &= _UNSEEN[choices[:, i], choices[:, j], axis] == (part == "test")
        if fits.any():
            names = [_NAMES[number] for number in random.choice(choices[fits])]
            return [
                Shape(kind, color, x, y, random.uniform(*_RADIUS), random.uniform(-0.05, 0.05))
                for (color, kind), (x, y) in zip(names, places.tolist(), strict=True)
            ]
    raise AssertionError("there is no end of layouts")


def _layouts(random: np.random.Generator, count: int, height: float, width: float) -> Iterator[NDArray[np.float64]]:
    """Centers `[shapes, 2]`: x, y."""
    room = np.array([width, height]) - 2 * _EDGE
    while True:
        layouts = _EDGE + random.random((_LAYOUTS, count, 2)) * room
        apart = layouts[:, :, None] - layouts[:, None]  # [layouts, shapes, shapes, 2]
        far = np.linalg.norm(apart, axis=-1) >= _APART
        clear = np.abs(np.abs(apart[..., 0]) - np.abs(apart[..., 1])) >= _CLEAR
        sided = np.abs(layouts - np.array([width, height]) / 2) >= _CLEAR / 2
        good = (far & clear | np.eye(count, dtype=bool)).all((1, 2)) & sided.all((1, 2))
        yield from layouts[good]


def _pairs(places: NDArray[np.float64]) -> Iterator[tuple[int, int, int]]:
    """Each pair once: which is left of the other (0), or above it (1), whichever is clearer."""
    for i in range(len(places)):
        for j in range(i):
            apart = places[i] - places[j]
            axis = int(abs(apart[1]) > abs(apart[0]))
            yield (j, i, axis) if apart[axis] > 0 else (i, j, axis)


def _captions(scene: list[Shape], height: float, width: float) -> Iterator[str]:
    """Of shapes beside each other whether the first is at the top, of others whether it is on the left."""
    names = [f"a {shape.color} {shape.kind}" for shape in scene]
    sides = [
        (
            "at the top" if shape.y < height / 2 else "at the bottom",
            "on the left" if shape.x < width / 2 else "on the right",
        )
        for shape in scene
    ]
    if len(scene) == 1:
        yield from (f"{names[0]} {side}" for side in sides[0])
    for first, second, axis in _pairs(np.array([(shape.x, shape.y) for shape in scene])):
        relation, inverse = (("left of", "right of"), ("above", "below"))[axis]
        yield f"{names[first]} {sides[first][axis]}, {relation} {names[second]}"
        yield f"{names[second]} {sides[second][axis]}, {inverse} {names[first]}"
