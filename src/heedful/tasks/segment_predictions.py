"""The prediction of segment: which pixels of a picture belong to which class, as JSON and as a picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful._errors import needing
from heedful._terminal import json_line, visible
from heedful.data._mask_values import VOID
from heedful.data.class_tables import Color
from heedful.data.rle import decode_rle, encode_classes

_VEIL = 0.5  # how much of a color lies over a picture


@dataclass(frozen=True)
class Segmentation:
    """The classes of the pixels of one picture.

    Attributes:
        input: where the picture came from.
        labels: the classes that occur, the largest first.
        shares: of the pixels, of each of these classes.
        size: height and width of the picture.
        segmentation: the pixels of each of these classes, as COCO's run lengths.
        file: the file that was written of it, where one was.
        numbers: of these classes in the model.
        picture: red, green and blue of each pixel of the input, where they are to be seen.
    """

    input: str
    labels: list[str]
    shares: list[float]
    size: list[int]
    segmentation: dict[str, dict[str, Any]]
    file: str | None = field(default=None, metadata={"json": "set"})
    numbers: list[int] = field(default_factory=list, metadata={"json": False})
    picture: bytes = field(default=b"", metadata={"json": False})
    named: bool = field(default=True, metadata={"json": False})
    separator = ", "

    @classmethod
    def of(cls, name: str, labels: NDArray[np.uint8], classes: Sequence[str], picture: bytes = b"") -> "Segmentation":
        """The prediction of a map of class numbers `[h, w]`."""
        counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
        order = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
        names = [classes[number] for number in order]
        shares = [round(float(counts[number] / labels.size), 6) for number in order]
        runs = dict(zip(names, encode_classes(labels, order), strict=True))
        return cls(name, names, shares, list(labels.shape), runs, numbers=order, picture=picture)

    def map(self) -> NDArray[np.uint8]:
        """The number of the class of each pixel, `[h, w]`."""
        labels = np.full(self.size, VOID, np.uint8)
        for name, number in zip(self.labels, self.numbers, strict=True):
            labels[decode_rle(self.segmentation[name], self.input)] = number
        return labels

    def to_format(self) -> str:
        """A line of a list of pictures and masks, where the mask was written; otherwise COCO's results as JSON."""
        if self.file is not None:
            return f"{self.input}\t{self.file}"
        return json_line(
            [
                {"image_id": self.input, "category_id": number, "segmentation": self.segmentation[name]}
                for name, number in zip(self.labels, self.numbers, strict=True)
            ]
        )

    def __str__(self) -> str:
        """One line to read."""
        shares = ", ".join(f"{visible(name)} {100 * p:.1f} %" for name, p in zip(self.labels, self.shares, strict=True))
        return (f"{visible(self.input)}: " if self.named else "") + shares


def draw(found: Segmentation, colors: Sequence[Color], style: str) -> bytes:
    """A prediction as a PNG: indices with a palette, colors, or colors over the picture."""
    with needing("image", "writing images"):
        from PIL import Image

    labels, table = found.map(), np.array(colors, np.uint8)
    if style == "index":
        picture = Image.fromarray(labels, "P")
        picture.putpalette(table.ravel().tolist())
    else:
        seen = table[labels]
        if style == "overlay":
            below = np.frombuffer(found.picture, np.uint8).reshape(seen.shape)
            veiled = np.rint(_VEIL * seen + (1 - _VEIL) * below).astype(np.uint8)
            seen = np.where(
                seen.any(2, keepdims=True), veiled, below
            )  # a class that is black, mostly the background, hides nothing
        picture = Image.fromarray(seen)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
