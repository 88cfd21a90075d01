"""From entries to one array of pixels; the only one that knows about color modes, orientation and resizing."""

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heedful._errors import DataError, needing
from heedful._terminal import quiet_c
from heedful.data._entries import ImageFile, Raster, reading
from heedful.data._limits import Budget
from heedful.data._rows import RowLog
from heedful.data.orientation import STORED, exchanged

if TYPE_CHECKING:
    from PIL import Image

# Named one by one: for some others (EPS) Pillow starts a program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # the EXIF tag

Progress = Callable[[list[int]], Iterable[int]]


class Decoded(NamedTuple):
    """A picture, as it is seen.

    Attributes:
        pixels: `[channels, height, width]`.
        size: height and width before it was resized.
        orientation: how it was stored, as EXIF numbers it: `heedful.data.orientation` turns what belongs to it.
    """

    pixels: Raster
    size: tuple[int, int]
    orientation: int


def decode(
    entries: Sequence[ImageFile],
    size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress,
    log: RowLog | None = None,
) -> tuple[Raster, list[int]]:
    """All pictures in one array, [count, channels, height, width], and their rows: 1 channel where all are gray, 3 otherwise.

    Pictures that `log` lets skip are left out.

    Raises:
        DataError: of the first picture that is bad and not to be skipped; its `before` is the array of those before it.
    """
    log = log or RowLog()
    order = sorted(range(len(entries)), key=lambda row: entries[row].position)
    images: Raster | None = None
    first, count, failed = "", len(entries), None
    skipped = set()
    with _pillow_rules():
        for row in progress(order):
            if row >= count:
                continue  # behind one that is bad
            location = entries[row].location
            try:
                with reading(location, "a whole picture"):
                    pixels = _decoded(entries[row].load(), location, size, channels).pixels
                if images is not None and pixels.shape[1:] != images.shape[2:]:
                    raise DataError(
                        f"{location}: all pictures must have one size, height x width: got {_by(pixels)} here "
                        f"and {_by(images)} in {first}; resize them with --set data.size=32"
                    )
            except DataError as error:
                if log.skip is None:
                    count, failed = row, error
                else:
                    log.bad(error)
                    skipped.add(row)
                continue
            if images is None or len(pixels) > images.shape[1]:
                Budget("the pictures").take(size=len(entries) * pixels.size)
            if images is None:
                first, images = location, np.zeros((len(entries), *pixels.shape), np.uint8)
            if len(pixels) > images.shape[1]:  # the first one in color: those before it were gray
                images = np.repeat(images, len(pixels), axis=1)
            images[row] = pixels
    if failed is not None:
        failed.before = images[:count] if images is not None and count else None
        raise failed
    kept = [row for row in range(len(entries)) if row not in skipped]
    log.finish(len(kept))
    assert images is not None  # where all are bad, that was an error
    return images[kept] if skipped else images, kept


def decode_picture(raw: bytes, location: str) -> "Image.Image":
    """The picture that a file's bytes are, upright and in mode L or RGB.

    Raises:
        DataError: they are none.
    """
    with _pillow_rules(), reading(location, "a whole picture"), _open(raw, location) as picture:
        return _upright(picture, location)


def decode_one(
    raw: "bytes | Raster | Image.Image", location: str, size: tuple[int, int] | None = None, channels: int | None = 3
) -> Decoded:
    """One picture with its own size and orientation; `size` (height, width) is what it is resized to.

    Raises:
        DataError: it is none.
    """
    with _pillow_rules(), reading(location, "a whole picture"):
        return _decoded(raw, location, size, channels)


@contextmanager
def _pillow_rules() -> Iterator[None]:
    """Within it Pillow does not warn, and a picture that is far larger than its file (a decompression bomb) is an error."""
    with needing("image", "reading images"):
        from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _by(pixels: Raster) -> str:
    return " x ".join(map(str, pixels.shape[-2:]))


def _decoded(
    raw: "bytes | Raster | Image.Image", location: str, size: tuple[int, int] | None, channels: int | None
) -> Decoded:
    """One picture, of `size` and with `channels` where these are given."""
    with _open(raw, location) as picture:
        orientation = picture.getexif().get(_ORIENTATION, STORED)
        own = exchanged(picture.size, orientation)
        if size is not None:
            picture.draft(None, (2 * max(size), 2 * max(size)))  # large JPEGs are shrunk while they are unpacked
        upright = _upright(picture, location)
    if channels is not None:
        upright = upright.convert("L" if channels == 1 else "RGB")
    if size is not None:
        upright = _resized(upright, size)
    pixels: Raster = np.atleast_3d(np.asarray(upright)).transpose(2, 0, 1)
    return Decoded(pixels, (own[1], own[0]), orientation)


def resized(pixels: Raster, size: tuple[int, int]) -> Raster:
    """A picture `[3, h, w]` of another height and width."""
    with needing("image", "reading images"):
        from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return np.asarray(_resized(picture, size)).transpose(2, 0, 1)


def _resized(picture: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    from PIL import Image

    if picture.size == size[::-1]:
        return picture
    whole = picture.width % size[1] == 0 and picture.height % size[0] == 0
    return picture.resize(size[::-1], Image.Resampling.BOX if whole else Image.Resampling.LANCZOS)


def _open(raw: "bytes | Raster | Image.Image", location: str) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    if isinstance(raw, Image.Image):
        with _quietly(raw):
            return raw.copy()  # what is done to it here must not be done to the caller's
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    try:
        return Image.open(io.BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError as error:
        got = f"{len(raw):,} bytes that begin with {raw[:8]!r}" if raw else "an empty file"
        raise DataError(f"{location}: must be a picture ({', '.join(FORMATS)}): got {got}") from error


def _upright(picture: "Image.Image", location: str) -> "Image.Image":
    """The way up that a camera noted, in mode L or RGB."""
    from PIL import ImageOps

    with _quietly(picture):
        ImageOps.exif_transpose(picture, in_place=True)
        return _gray_or_color(picture, location)


def _quietly(picture: "Image.Image") -> AbstractContextManager[None]:
    """For libtiff, which prints what it finds damaged."""
    return quiet_c() if picture.format == "TIFF" else nullcontext()


def _gray_or_color(picture: "Image.Image", location: str) -> "Image.Image":
    """The picture in mode L or RGB, 8 bits a channel: 16 bits scaled down, transparency over white."""
    from PIL import Image

    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{location}: must have 8 or 16 bits a channel: got values {values.min():,} to {values.max():,}"
            )
        largest = 4095 if values.max() <= 4095 else 65535  # cameras put 12 bits into 16
        return Image.fromarray(((values * 255 + largest // 2) // largest).astype(np.uint8))
    if picture.mode == "F":
        raise DataError(f"{location}: must have 8 or 16 bits a channel: got floating point numbers")
    gray = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return picture.convert("L" if gray else "RGB")
