"""Pictures of colored shapes, drawn on the fly: the embedded data `shapes` of all picture tasks.

A picture shows one large shape and up to six small ones, apart from each other, on an uneven gray ground. Its label is the color of
the large one. In half of the pictures all small ones have one other color: whoever counts colors is deceived, and whoever
compares sizes all over the picture is not.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "valid", "test"]

COLORS = {"red": (214, 48, 49), "green": (46, 160, 67), "blue": (52, 104, 214), "yellow": (232, 196, 40)}
SHAPES = "shapes"  # what a person types for them
KINDS = ("circle", "square", "triangle")
CLASSES = ("background", *KINDS)  # of masks, by number
PARTS: dict[Part, int] = {"train": 2000, "valid": 400, "test": 600}  # pictures of each

_LARGE = (0.145, 0.175)  # the radius of a circle of the same area; the shorter side of a picture is 1
_SMALL = (0.085, 0.13)
_GAP = 0.02  # between two shapes
_TRIES = 20  # of places for a shape
_EDGES = {"circle": 0, "square": 4, "triangle": 3}
_WORDS = ("no", "a", "two", "three", "four", "five", "six")


class Shape(NamedTuple):
    """A shape of a picture: its center and its radius in units of the shorter side, its turn in radians."""

    kind: str
    color: str
    x: float
    y: float
    radius: float  # of a circle of the same area
    turn: float


class Shapes(NamedTuple):
    """Pictures with all that is known of them; `n` are asked for.

    Attributes:
        pictures: uint8 `[n, 3, h, w]`.
        labels: the color of the largest shape of each.
        masks: uint8 `[n, h, w]`, numbers of `CLASSES`: 0 is the background.
        boxes: of each picture float32 `[shapes, 4]`: left, top, right and bottom of the pixels of a shape, right and bottom
            being the first that are outside; the large one first.
        kinds: of each picture the class of each box, int64 `[shapes]`, numbers of `KINDS`.
        captions: such as "a large red circle, two small blue squares and a small red triangle".
    """

    pictures: NDArray[np.uint8]
    labels: list[str]
    masks: NDArray[np.uint8]
    boxes: list[NDArray[np.float32]]
    kinds: list[NDArray[np.int64]]
    captions: list[str]


def draw_shapes(rows: Iterable[int], *, size: tuple[int, int] = (32, 32), part: Part = "train") -> Shapes:
    """The pictures of these rows of a part; each depends on its part, its row and the size alone.

    There is no end of rows; `PARTS` says how many the tasks take. Larger pictures of one shape (16 x 24, 32 x 48) show the
    same, with more pixels.

    Args:
        rows: numbers from 0 on.
        size: height and width of a picture.
        part: no two parts have a picture in common.

    Raises:
        ValueError: `size` is less than 16 pixels on a side: small shapes would not be seen.

    Example:
        >>> shapes = draw_shapes([0, 7], size=(24, 32))
        >>> shapes.pictures.shape, shapes.masks.shape, shapes.labels
        ((2, 3, 24, 32), (2, 24, 32), ['blue', 'yellow'])
        >>> shapes.captions[1]
        'a large yellow square, two small green circles and a small yellow circle'
        >>> shapes.boxes[1][:2].tolist(), [KINDS[kind] for kind in shapes.kinds[1]]
        ([[3.0, 8.0, 12.0, 17.0], [18.0, 5.0, 22.0, 9.0]], ['square', 'circle', 'circle', 'circle'])
    """
    if min(size) < 16:
        raise ValueError(f"`size` must be at least 16 x 16: got {size[0]} x {size[1]}.")
    result = Shapes(np.empty((0, 3, *size), np.uint8), [], np.empty((0, *size), np.uint8), [], [], [])
    pictures, masks = [], []
    for row in rows:
        random = np.random.default_rng([list(PARTS).index(part), row])
        scene = _scene(random, size[0] / min(size), size[1] / min(size))
        picture, mask, boxes = drawn(scene, size, random)
        pictures.append(picture)
        masks.append(mask)
        result.labels.append(scene[0].color)
        result.boxes.append(boxes)
        result.kinds.append(np.array([KINDS.index(shape.kind) for shape in scene]))
        result.captions.append(_caption(scene))
    if not pictures:
        return result
    return result._replace(pictures=np.stack(pictures), masks=np.stack(masks))


def first_of(part: Part) -> int:
    """The number of a part's first picture among those of all parts, which is in its name: `shapes[2000]`."""
    parts = list(PARTS)
    return sum(PARTS[one] for one in parts[: parts.index(part)])


def _scene(random: np.random.Generator, height: float, width: float) -> list[Shape]:
    """The shapes of a picture, none of which touches another; the large one first."""
    colors, kinds = list(COLORS), list(KINDS)
    first, other = random.permutation(len(colors))[:2]
    deceives, scene = random.random() < 0.5, list[Shape]()
    for number in range(1 + random.integers(4 if deceives else 1, 7)):
        color = first if not number else other if deceives else random.integers(len(colors))
        kind, radius = kinds[random.integers(len(kinds))], random.uniform(*(_SMALL if number else _LARGE))
        reach, turn = _reach(kind, radius), random.uniform(-0.4, 0.4)
        places = reach + random.random((_TRIES, 2)) * ((width, height) - np.array(2 * reach))  # [tries, 2]: x, y
        taken = np.array([(one.x, one.y, _reach(one.kind, one.radius)) for one in scene]).reshape(-1, 3)
        apart = np.linalg.norm(places[:, None] - taken[:, :2], axis=2) > taken[:, 2] + reach + _GAP  # [tries, shapes]
        for x, y in places[apart.all(1)][:1].tolist():  # where there is no place for it, it stays away
            scene.append(Shape(kind, colors[color], x, y, radius, turn))
    return scene


def _inner(kind: str, radius: float) -> float:
    """From the center of a shape to the middle of an edge."""
    edges = _EDGES[kind]
    return radius * math.sqrt(math.pi / (edges * math.tan(math.pi / edges))) if edges else radius


def _reach(kind: str, radius: float) -> float:
    """From the center of a shape to its corners."""
    edges = _EDGES[kind]
    return _inner(kind, radius) / math.cos(math.pi / edges) if edges else radius


def drawn(
    scene: list[Shape], size: tuple[int, int], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """A picture, its mask, and the boxes of its shapes."""
    unit = min(size)
    y, x = (np.arange(0.5, side) / unit for side in size)
    slope = random.uniform(-40, 40, 2)
    ground = random.uniform(90, 165) + slope[0] * (y[:, None] - 0.5) + slope[1] * (x - 0.5)  # [h, w]
    picture = np.repeat(ground[None], 3, axis=0)
    mask, boxes = np.zeros(size, np.uint8), []
    for shape in scene:
        outside = _distance(shape, x, y) * unit  # pixels
        covered = np.clip(0.5 - outside, 0, 1)
        color = np.array(COLORS[shape.color]) + random.uniform(-20, 20, 3)
        picture += covered * (color[:, None, None] - picture)
        inside = outside < 0
        mask[inside] = CLASSES.index(shape.kind)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    noise = random.normal(0, 8, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8), mask, np.array(boxes, np.float32)


def _distance(shape: Shape, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each pixel `[h, w]` is outside a shape, in units of the shorter side; inside it is negative."""
    dx, dy = x - shape.x, y[:, None] - shape.y
    edges = _EDGES[shape.kind]
    if not edges:
        return np.asarray(np.hypot(dx, dy) - shape.radius)
    angles = (
        shape.turn + math.pi * (0.5 + 2 * edge / edges) for edge in range(edges)
    )  # of what is orthogonal to each edge
    along = [math.cos(angle) * dx + math.sin(angle) * dy for angle in angles]
    return np.asarray(np.max(along, axis=0) - _inner(shape.kind, shape.radius))


def _caption(scene: list[Shape]) -> str:
    large, *small = scene
    words = [f"a large {large.color} {large.kind}"]
    for (color, kind), count in Counter((shape.color, shape.kind) for shape in small).items():
        words.append(f"{_WORDS[count]} small {color} {kind}{'s' if count > 1 else ''}")
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
