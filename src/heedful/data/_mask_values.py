"""What the pixels of a mask mean: indices, colors of a table, or one layer a class."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._decode import _open, _pillow_rules
from heedful.data._entries import ImageFile, listed, reading
from heedful.data.class_tables import ClassTable, Color, palette_color

if TYPE_CHECKING:
    from PIL import Image

MaskKind = Literal["index", "color"]
VOID = 255  # the number of a pixel that has no class
MOST_CLASSES = 255
_NUMPY = b"\x93NUMPY"
_GRAY = 0x010101


class RawMask(NamedTuple):
    """A mask as it was stored.

    Attributes:
        values: `[h, w]`, an index or a color (red, green and blue as one number) for each pixel.
        kind: which of the two.
        palette: the color of each index, where a file has a palette.
    """

    values: NDArray[np.integer]
    kind: MaskKind
    palette: NDArray[np.int64] | None = None

    def as_kind(self, kind: MaskKind, location: str) -> NDArray[np.integer]:
        """Its values as indices or as colors; of grays both are the same.

        Raises:
            DataError: colors are no indices.
        """
        if kind == self.kind:
            return self.values
        if kind == "color":
            return self.values * np.int64(_GRAY) if self.palette is None else self.palette[self.values]
        if not self.is_gray:
            raise DataError(f"{location}: a mask must have indices, as the others: got colors")
        return (self.values & 255).astype(np.uint8)

    @property
    def is_gray(self) -> bool:
        """Whether colors are all grays, so that they may be indices."""
        return self.kind == "color" and bool((self.values == (self.values & 255) * _GRAY).all())


MaskLoader = Callable[[tuple[int, int]], RawMask]  # given the height and width of the picture


class MaskedFile(NamedTuple):
    """A picture that was found, and its mask.

    Attributes:
        image: the picture.
        mask: reads the mask; None where there is none.
        mask_location: what an error about the mask begins with.
    """

    image: ImageFile
    mask: MaskLoader | None
    mask_location: str = ""


class Found(NamedTuple):
    """What a source holds.

    Attributes:
        files: in natural order.
        names: the classes that the format itself knows.
        table: a file of classes that lies beside.
    """

    files: list[MaskedFile]
    names: ClassTable | None = None
    table: Path | None = None


@dataclass(frozen=True)
class MaskTable:
    """Which value stands for which class.

    Attributes:
        kind: what the values are.
        classes: the names.
        values: of each class.
        void: values that have no class.
        colors: red, green and blue of each class, for masks that are to be seen.
    """

    kind: MaskKind
    classes: tuple[str, ...]
    values: tuple[int, ...]
    void: tuple[int, ...]
    colors: tuple[Color, ...]

    def numbers(self, mask: RawMask, location: str) -> NDArray[np.uint8]:
        """The number of the class of each pixel, VOID for none.

        Raises:
            DataError: a value is unknown; the message tells it, its pixels and the nearest known color.
        """
        values = mask.as_kind(self.kind, location)
        there, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        known = self._known()
        unknown = sorted(
            (-count, value) for value, count in zip(there.tolist(), counts.tolist(), strict=True) if value not in known
        )
        if unknown:
            more = f", and {len(unknown) - 1:,} others" if len(unknown) > 1 else ""
            raise DataError(f"{location}: {self._unknown(unknown[0][1], -unknown[0][0])}{more}")
        numbers = np.array([known[value] for value in there.tolist()], np.uint8)
        return numbers[inverse].reshape(values.shape)

    def knows(self, mask: RawMask) -> bool:
        """Whether each of its values has a meaning."""
        try:
            return set(np.unique(mask.as_kind(self.kind, "")).tolist()) <= set(self._known())
        except DataError:
            return False

    def _known(self) -> dict[int, int]:
        """The number of the class of each value."""
        return {**dict.fromkeys(self.void, VOID), **{value: number for number, value in enumerate(self.values)}}

    def _unknown(self, value: int, count: int) -> str:
        names = {**{value: name for name, value in zip(self.classes, self.values, strict=True)}}
        pixels = f"in {count:,} pixel{'s' if count > 1 else ''}"
        if self.kind == "index":
            return f"a mask must have known classes, {listed([*map(str, self.values)])}: got {value} {pixels}"
        nearest = min((*self.values, *self.void), key=lambda other: _distance(value, other))
        name = f"'{names[nearest]}'" if nearest in names else "void"
        return f"a mask must have known colors: got {hexadecimal(value)} {pixels}; the nearest is {hexadecimal(nearest)}, {name}"


def hexadecimal(color: int) -> str:
    """A color as web pages have it.

    Example:
        >>> hexadecimal(0x804000)
        '#804000'
    """
    return f"#{color:06x}"


def as_color(value: int) -> Color:
    """Red, green and blue."""
    return value >> 16, value >> 8 & 255, value & 255


def _distance(one: int, other: int) -> int:
    return sum((a - b) ** 2 for a, b in zip(as_color(one), as_color(other), strict=True))


def decode_mask(raw: "bytes | NDArray[Any] | Image.Image", location: str) -> RawMask:
    """A mask of a picture file, of NumPy's format, or from Python.

    Raises:
        DataError: it is none.
    """
    if hasattr(raw, "shape"):
        array = raw.detach().cpu().numpy() if isinstance(raw, torch.Tensor) else np.asarray(raw)
        return _of_array(array, location)
    if isinstance(raw, bytes) and raw.startswith(_NUMPY):
        with reading(location, "an array of NumPy"):
            array = np.load(io.BytesIO(raw), allow_pickle=False)
        return _of_array(array, location)
    with _pillow_rules(), reading(location, "a whole picture"), _open(raw, location) as picture:
        from PIL import ImageOps

        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode == "F":
            raise DataError(f"{location}: a mask must have whole numbers or colors: got floating point numbers")
        if picture.mode == "P":
            palette = np.zeros((256, 3), np.int64)
            colors = np.array(picture.getpalette("RGB") or [], np.int64).reshape(-1, 3)
            palette[: len(colors)] = colors
            return RawMask(np.array(picture), "index", _packed(palette))
        if picture.mode in ("1", "L", "LA") or picture.mode.startswith("I"):
            values = np.array(picture.getchannel(0) if picture.mode == "LA" else picture)
            return RawMask(values.astype(np.uint8) if values.dtype == bool else values, "index")
        return RawMask(_packed(np.array(picture.convert("RGB"))), "color")


def _packed(colors: NDArray[Any]) -> NDArray[np.int64]:
    """Red, green and blue `[..., 3]` as one number."""
    red, green, blue = np.moveaxis(colors.astype(np.int64), -1, 0)
    packed: NDArray[np.int64] = red << 16 | green << 8 | blue
    return packed


def _of_array(array: NDArray[Any], location: str) -> RawMask:
    if array.dtype.kind not in "biu":
        raise DataError(f"{location}: a mask must have whole numbers: got {array.dtype}")
    if array.ndim == 2 and array.size:
        return RawMask(array.astype(np.uint8) if array.dtype == bool else array, "index")
    if array.ndim != 3 or not array.size:
        got = " x ".join(map(str, array.shape)) or "a number"
        raise DataError(f"{location}: a mask must be height x width, or have one layer a class: got {got}")
    if array.min() >= 0 and array.max() <= 1:
        for axis in (2, 0):
            layers = np.moveaxis(array, axis, 0)
            if len(layers) < MOST_CLASSES and (layers.sum(0) <= 1).all():
                return RawMask(np.where(layers.any(0), layers.argmax(0), VOID).astype(np.uint8), "index")
    if array.shape[2] in (3, 4) and array.dtype == np.uint8:
        return RawMask(_packed(array[..., :3]), "color")
    raise DataError(
        f"{location}: a mask of several layers must have at most one 1 a pixel, or colors (uint8): got others"
    )


def learn_table(
    masks: Sequence[tuple[RawMask, str]],
    names: ClassTable | None,
    void: Sequence[str | int],
    kind: MaskKind | Literal["auto"],
    named_in: str,
    binary: bool,
) -> MaskTable:
    """What the values of training masks mean.

    Args:
        masks: with their locations.
        names: of the classes, where they are known, with colors or without.
        void: which have no class: indices, names of classes, or colors (#rrggbb).
        kind: what the values are; auto: colors where a mask has more than grays, or a palette and the classes have colors.
        named_in: what an error about the names begins with.
        binary: whether 255 is a class where masks have 0 and 255 alone.

    Raises:
        DataError: there are too many values or too few, or names without colors for masks of colors.
    """
    if kind == "auto":
        colored = any(mask.kind == "color" and not mask.is_gray for mask, _ in masks)
        by_palette = (
            names is not None and names.colors is not None and all(mask.palette is not None for mask, _ in masks)
        )
        kind = "color" if colored or by_palette else "index"
    there: set[int] = set()
    for mask, location in masks:
        there |= set(np.unique(mask.as_kind(kind, location)).tolist())
        if len(there) > MOST_CLASSES + len(void):
            hint = "; is it a JPEG, whose colors are not exact?" if kind == "color" else ""
            raise DataError(f"{location}: masks must have at most {MOST_CLASSES} classes: got more values{hint}")
    values: dict[str, int]
    if names is not None and kind == "color":
        if names.colors is None:
            raise DataError(f"{named_in}: the classes of masks of colors must have colors: got names alone")
        values = {name: _packed_one(color) for name, color in zip(names.names, names.colors, strict=True)}
    elif names is not None:
        values = {name: number for number, name in enumerate(names.names)}
    else:
        values = {hexadecimal(value) if kind == "color" else str(value): value for value in sorted(there)}
    if kind == "index" and binary and there == {0, 255} and len(values) == 2:
        return _table(kind, dict(zip(values, (0, 255), strict=True)), (), names)
    ignored = tuple(value for one in void if (value := _void_value(one, values, kind)) is not None)
    return _table(kind, {name: value for name, value in values.items() if value not in ignored}, ignored, names)


def _table(kind: MaskKind, values: dict[str, int], void: tuple[int, ...], names: ClassTable | None) -> MaskTable:
    named = {} if names is None or names.colors is None else dict(zip(names.names, names.colors, strict=True))
    colors = {
        name: named.get(name) or (as_color(value) if kind == "color" else palette_color(number))
        for number, (name, value) in enumerate(values.items())
    }
    return MaskTable(kind, tuple(values), tuple(values.values()), void, tuple(colors.values()))


def _void_value(one: str | int, values: dict[str, int], kind: MaskKind) -> int | None:
    """The value of what has no class; None where masks have no such thing."""
    text = str(one)
    if text in values:
        return values[text]
    if kind == "index":
        return int(text) if text.isdecimal() else None
    with_sign = text.startswith("#") and len(text) == 7
    return int(text[1:], 16) if with_sign and all(sign in "0123456789abcdef" for sign in text[1:].lower()) else None


def _packed_one(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]
