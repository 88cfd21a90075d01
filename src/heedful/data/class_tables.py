"""Names of classes and their colors, from the files that come with masks.

A line each: a name alone; or a name and red, green, blue, in any order, as `class_dict.csv`, `label_colors.txt` and CVAT's
`labelmap.txt` have them.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._entries import printable
from heedful.data._limits import Budget, open_file

__all__ = ["VOC_CLASSES", "ClassTable", "palette_color", "read_class_table", "table_beside"]

Color = tuple[int, int, int]

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_BESIDE = ("class_dict.csv", "classes.txt", "labelmap.txt", "label_colors.txt", "codes.txt", "labels.txt")
_COLOR = re.compile(r"(?<![^\s,;:])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![^\s,;:])")


class ClassTable(NamedTuple):
    """Classes in the order of their numbers.

    Attributes:
        names: of the classes.
        colors: red, green and blue of each; None where masks are indices.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None


def palette_color(number: int) -> Color:
    """The color that Pascal VOC gives to a number.

    Example:
        >>> [palette_color(number) for number in (0, 1, 2, 15)]
        [(0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128)]
    """
    red, green, blue = (
        sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


def read_class_table(path: str | Path) -> ClassTable:
    """The classes that a file names.

    Raises:
        DataError: it cannot be read, names a class or a color twice, or has colors for some classes only.
    """
    location = printable(str(path))
    try:
        with open_file(path, location) as file:
            raw = Budget(location, largest=1 << 20).read(file)
    except OSError as error:
        raise DataError(f"{location}: the classes cannot be read: {error.strerror}") from None
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{location}: must be UTF-8: {convert(raw)}") from None
    rows = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    rows = [(number, line) for number, line in rows if line and not line.startswith("#")]
    if rows and Path(path).suffix.lower() == ".csv" and not any(sign.isdigit() for sign in rows[0][1]):
        rows = rows[1:]  # a header
    names: list[str] = []
    colors: list[Color] = []
    for number, line in rows:
        where = f"{location}:{number}"
        if (found := _COLOR.search(line)) is not None:
            color = (int(found[1]), int(found[2]), int(found[3]))
            if max(color) > 255 or color in colors:
                raise DataError(f"{where}: must have a color of its own, numbers from 0 to 255: got {color}")
            colors.append(color)
            line = line[: found.start()] + line[found.end() :]
        name = re.sub(r"(:[^:]*)*$", "", line.strip(" \t,;:")).strip() if found else line
        if not name or name in names:
            raise DataError(f"{where}: must have a name of its own: got '{printable(name)}'")
        names.append(printable(name))
    return class_table(names, colors, location)


def class_table(names: Sequence[str], colors: Sequence[Color], location: str) -> ClassTable:
    """Names with as many colors, or none. Raises DataError where they are none of both."""
    if not names:
        raise DataError(f"{location}: must name at least one class: got none")
    if colors and len(colors) < len(names):
        raise DataError(f"{location}: must have a color for each class, or for none: got {len(colors)} of {len(names)}")
    return ClassTable(tuple(names), tuple(colors) or None)


def table_beside(folder: Path) -> Path | None:
    """The file of classes that lies in a folder, or in the one around it."""
    files = (one / name for one in (folder, folder.parent) for name in _BESIDE)
    return next((file for file in files if file.is_file()), None)
