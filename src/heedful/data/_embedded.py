"""Data that comes with the installed libraries, so that the first run needs no file."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from heedful.data._entries import Entry, Raster

Split = Literal["train", "test"]


class Embedded(NamedTuple):
    """All pictures of one embedded set; the first `train` of them are for training, the rest for testing."""

    images: Raster  # [count, height, width]
    labels: list[str]
    train: int


def _digits() -> Embedded:
    # The set seems to be ordered by writer: its last fifth is nearly all by other people than the first four.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Embedded(images, [str(label) for label in digits.target], train=len(images) * 4 // 5)


EMBEDDED: dict[str, Callable[[], Embedded]] = {
    "digits": _digits,  # 1,797 grey pictures of 8 x 8 pixels, handwritten, from scikit-learn
}


def embedded_entries(name: str, split: Split) -> list[Entry]:
    """The entries of one split; their numbers count through the whole set, both splits."""
    images, labels, train = EMBEDDED[name]()
    rows = range(train) if split == "train" else range(train, len(images))
    places = [f"{name}[{row}]" for row in rows]
    return [
        Entry(place, place, labels[row], partial(images.__getitem__, row))
        for row, place in zip(rows, places, strict=True)
    ]
