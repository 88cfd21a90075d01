"""An annotated picture that has been found and not yet read; its boxes are checked once the size of the picture is known."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heedful._errors import DataError
from heedful.data._decode import _ORIENTATION, _open
from heedful.data._entries import ImageFile, Raster, printable
from heedful.data.orientation import STORED, belongs_upright, exchanged, turn_boxes

if TYPE_CHECKING:
    from PIL import Image

_ROUNDING = 1.0  # pixels by which a box may stand out of its picture

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class FoundBox:
    """A box as a file has it.

    Attributes:
        location: what an error about it begins with.
        label: the name of its class.
        corners: x0, y0, x1, y1 in pixels of the picture, 0 at its left and upper edges.
        ignored: whether finding it is neither right nor wrong: VOC's `difficult`, COCO's `iscrowd`.
    """

    location: str
    label: str
    corners: Corners
    ignored: bool = False


@dataclass(frozen=True)
class FoundImage:
    """A picture with its boxes.

    Attributes:
        file: the picture.
        boxes: as the file has them.
        id: what COCO's results call the picture; None: the number, or the name, of its file.
        declared: the width and height that the file gives the picture; None where it does not.
        location: of what declares them.
    """

    file: ImageFile
    boxes: tuple[FoundBox, ...] = ()
    id: int | None = None
    declared: tuple[int, int] | None = None
    location: str = ""


class Header(NamedTuple):
    """What a picture says before it is unpacked: its stored width and height, and EXIF's orientation."""

    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the picture as it is seen."""
        return exchanged(self.size, self.orientation)


def header_of(raw: "bytes | Raster | Image.Image", location: str) -> Header:
    """The header of a picture."""
    if isinstance(raw, np.ndarray):
        return Header((raw.shape[1], raw.shape[0]), STORED)
    with _open(raw, location) as picture:
        return Header(picture.size, picture.getexif().get(_ORIENTATION, STORED))


@dataclass
class BoxChecks:
    """Checks boxes against their pictures, and counts what was left out or changed.

    Args:
        strict: whether duplicates, boxes without area and boxes that stand out of their picture are errors.
    """

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def checked(self, found: FoundImage, header: Header) -> list[FoundBox]:
        """The boxes of a picture, the right way up, within it, each once.

        Raises:
            DataError: a box that lies outside of its picture or is no box; a picture of another size than its file says;
                or, where it is strict, what would be left out or cut.
        """
        upright = self._is_upright(found, header)
        kept: dict[tuple[str, Corners], FoundBox] = {}
        for box in found.boxes:
            if not all(map(math.isfinite, box.corners)):
                raise DataError(f"{box.location}: a box must have four finite numbers: got {_shown(box.corners)}")
            corners = box.corners if upright else _turned(box.corners, header)
            if corners[0] >= corners[2] or corners[1] >= corners[3]:
                self._leave_out("without area", f"{box.location}: a box must have an area: got {_shown(box.corners)}")
                continue
            inside = self._inside(replace(box, corners=corners), header.upright)
            if (box.label, corners) in kept:
                self._leave_out("twice", f"{box.location}: a box must be there once: got {_shown(box.corners)} again")
                continue
            kept[box.label, corners] = inside
        return list(kept.values())

    def notes(self) -> list[str]:
        """What a reader should know, a sentence each."""
        words = {
            "without area": "without area left out",
            "twice": "that stood there before left out",
            "cut": "beyond the edge of a picture cut",
        }
        counts = {name: self.counts[name] for name in words if self.counts[name]}
        return [f"{count:,} box{'es' if count > 1 else ''} {words[name]}" for name, count in counts.items()]

    def _is_upright(self, found: FoundImage, header: Header) -> bool:
        """Whether the boxes are those of the picture the right way up, as the size that their file declares tells."""
        declared = found.declared
        if declared is not None and declared not in (header.size, header.upright):
            (w, h), (width, height) = declared, header.size
            raise DataError(
                f"{found.location}: must have the size of its picture {found.file.location}, {width} x {height} pixels: "
                f"got {w} x {h}"
            )
        return declared is not None and belongs_upright(declared[::-1], header.upright[::-1], header.orientation)

    def _inside(self, box: FoundBox, size: tuple[int, int]) -> FoundBox:
        (x0, y0, x1, y1), (w, h) = box.corners, size
        if x0 >= w or y0 >= h or x1 <= 0 or y1 <= 0:
            raise DataError(
                f"{box.location}: a box must lie in its picture of {w} x {h} pixels: got {_shown(box.corners)}"
            )
        if max(-x0, -y0, x1 - w, y1 - h) > _ROUNDING:
            words = f"a box must not stand out of its picture of {w} x {h} pixels: got {_shown(box.corners)}"
            self._leave_out("cut", f"{box.location}: {words}")
        return replace(box, corners=(max(x0, 0.0), max(y0, 0.0), min(x1, float(w)), min(y1, float(h))))

    def _leave_out(self, reason: str, error: str) -> None:
        if self.strict:
            raise DataError(error)
        self.counts[reason] += 1


def number_of(value: Any, name: str, location: str) -> float:
    """A number of a file. Raises DataError: it is none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        got = printable(str(value))[:80]
        raise DataError(f"{location}: `{name}` must be a number: got '{got}'") from None


def text_of(values: Mapping[str, Any], name: str, location: str) -> str:
    """A text of a file. Raises DataError: it is missing, or none."""
    value = values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{location}: `{name}` must be a text: got {printable(repr(value))[:80]}")
    return value


def _turned(corners: Corners, header: Header) -> Corners:
    (turned,) = turn_boxes(np.array([corners]), header.orientation, header.size[::-1]).tolist()
    return tuple(turned)


def _shown(corners: Corners) -> str:
    return "x0 {:g}, y0 {:g}, x1 {:g}, y1 {:g}".format(*corners)
