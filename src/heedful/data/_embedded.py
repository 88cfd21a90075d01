"""Data that comes with the installed libraries, or is drawn, so that the first run needs no file."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from heedful.data import shapes
from heedful.data._entries import ImageFile, Raster

EmbeddedSplit = Literal["train", "valid", "test"]


class EmbeddedImages(NamedTuple):
    """Pictures of one part of an embedded set, and the number of its first one in the whole set."""

    images: Raster  # [count, height, width] or [count, height, width, 3]
    labels: Sequence[str]
    first: int


def _digits(split: EmbeddedSplit) -> EmbeddedImages:
    # The set seems to be ordered by writer: its last fifth is nearly all by other people than the first four.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels, train = [str(label) for label in digits.target], len(images) * 4 // 5
    part = slice(train) if split == "train" else slice(train, None)
    return EmbeddedImages(images[part], labels[part], part.start or 0)


def _shapes(split: EmbeddedSplit) -> EmbeddedImages:
    drawn = shapes.draw_shapes(range(shapes.PARTS[split]), part=split)
    return EmbeddedImages(drawn.pictures.transpose(0, 2, 3, 1), drawn.labels, shapes.first_of(split))


EMBEDDED: Mapping[str, Callable[[EmbeddedSplit], EmbeddedImages]] = {
    "digits": _digits,  # 1,797 gray pictures of 8 x 8 pixels, handwritten, from scikit-learn
    "shapes": _shapes,  # 3,000 pictures of 32 x 32 pixels
}


def embedded_entries(name: str, split: EmbeddedSplit) -> list[ImageFile]:
    """The entries of one part; their numbers count through the whole set."""
    images, labels, first = EMBEDDED[name](split)
    locations = [f"{name}[{first + row}]" for row in range(len(images))]
    return [
        ImageFile(location, location, label, partial(images.__getitem__, row))
        for row, (location, label) in enumerate(zip(locations, labels, strict=True))
    ]
