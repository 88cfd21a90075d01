"""Data that comes with the installed libraries, so that the first run needs no file."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from heedful.data._entries import ImageFile, Raster

EmbeddedSplit = Literal["train", "test"]


class EmbeddedImages(NamedTuple):
    """All pictures of one embedded set; the first `train` of them are for training, the rest for testing."""

    images: Raster  # [count, height, width]
    labels: list[str]
    train: int


def _digits() -> EmbeddedImages:
    # The set seems to be ordered by writer: its last fifth is nearly all by other people than the first four.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return EmbeddedImages(images, [str(label) for label in digits.target], train=len(images) * 4 // 5)


EMBEDDED: dict[str, Callable[[], EmbeddedImages]] = {
    "digits": _digits,  # 1,797 gray pictures of 8 x 8 pixels, handwritten, from scikit-learn
}


def embedded_entries(name: str, split: EmbeddedSplit) -> list[ImageFile]:
    """The entries of one split; their numbers count through the whole set, both splits."""
    images, labels, train = EMBEDDED[name]()
    rows = range(train) if split == "train" else range(train, len(images))
    locations = [f"{name}[{row}]" for row in rows]
    return [
        ImageFile(location, location, labels[row], partial(images.__getitem__, row))
        for row, location in zip(rows, locations, strict=True)
    ]
