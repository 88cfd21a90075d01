"""The prediction of generate-images: a picture as JSON, as a line and as a file; and many pictures as one grid."""

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heedful._errors import needing
from heedful._terminal import visible

_GAP = 1  # pixels between the pictures of a grid
_SEEN = 32  # pixels that the shorter side of a picture in a grid has at least


@dataclass(frozen=True)
class GeneratedImage:
    """A picture that was generated.

    Attributes:
        input: its name, by its number.
        label: the class that it was to be of; without classes, the one that it seems to be of.
        probability: that it is of this class, by heedful's own classifier.
        image: a PNG, in base64.
        file: the file that was written of it, where one was.
    """

    input: str
    label: str
    probability: float
    image: str
    file: str | None = field(default=None, metadata={"json": "set"})

    @classmethod
    def of(cls, name: str, label: str, probability: float, pixels: NDArray[np.uint8]) -> "GeneratedImage":
        """A picture of pixels `[channels, height, width]`."""
        return cls(name, label, round(probability, 6), base64.b64encode(png(pixels)).decode())

    def png(self) -> bytes:
        """The picture as a file."""
        return base64.b64decode(self.image)

    def pixels(self) -> NDArray[np.uint8]:
        """`[channels, height, width]`."""
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(self.png())))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def to_format(self) -> str:
        """A line of a table of pictures and labels, as classify-image reads it."""
        return f"{self.file or self.input}\t{self.label}"

    def __str__(self) -> str:
        """One line to read."""
        return f"{visible(self.input)}: {visible(self.label)} ({100 * self.probability:.3f} %)"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels `[channels, height, width]` as a PNG."""
    with needing("image", "writing pictures"):
        from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def grid(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures `[count, channels, height, width]` in one, row by row, about as wide as high; small ones larger."""
    count, channels, *sides = pictures.shape
    factor = -(-_SEEN // min(sides))
    large = pictures.repeat(factor, 2).repeat(factor, 3)
    columns = int(np.ceil(np.sqrt(count)))
    height, width = (factor * side + _GAP for side in sides)
    whole = np.full((channels, -(-count // columns) * height - _GAP, columns * width - _GAP), 128, np.uint8)
    for number, picture in enumerate(large):
        top, left = number // columns * height, number % columns * width
        whole[:, top : top + height - _GAP, left : left + width - _GAP] = picture
    return whole
