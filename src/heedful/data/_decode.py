"""From entries to one array of pixels; the only one that knows about color modes, orientation and resizing."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heedful._errors import DataError, needing
from heedful._loader import loader
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

_FEW = 1000  # pictures that are not worth other processes
_PART = 32  # pictures that a process decodes at once

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


class DecodedImages(NamedTuple):
    """What `decode` gives.

    Attributes:
        images: `[count, channels, height, width]`; the first ones where not all fit.
        rows: of the entries that are no bad ones.
        digests: of the pixels of each row, where not all fit; else empty.
    """

    images: Raster
    rows: list[int]
    digests: list[bytes]


def decode(
    entries: Sequence[ImageFile],
    size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress,
    log: RowLog | None = None,
    *,
    most: int | None = None,
    workers: int = 0,
) -> DecodedImages:
    """All pictures in one array, and their rows: 1 channel where all are gray, 3 otherwise.

    Pictures that `log` lets skip are left out. With `most` bytes, the others are decoded once, to see that they are good; by so many
    `workers`, processes.

    Raises:
        DataError: of the first picture that is bad and not to be skipped; its `before` is the array of those before it.
    """
    log = log or RowLog()
    order = sorted(range(len(entries)), key=lambda row: entries[row].position)
    images: Raster | None = None
    first, count, failed = "", len(entries), None
    skipped, digests = set[int](), dict[int, bytes]()
    ahead = _ahead(entries, order, size, channels, workers) if workers and len(order) > _FEW else None
    for row in progress(order):
        if row >= count and ahead is None:
            continue  # behind one that is bad
        found = _tried(entries[row], size, channels) if ahead is None else next(ahead)
        if row >= count:
            continue
        location = entries[row].location
        if not isinstance(found, DataError) and images is not None and found.shape[1:] != images.shape[2:]:
            found = DataError(
                f"{location}: all pictures must have one size, height x width: got {_by(found)} here "
                f"and {_by(images)} in {first}; resize them with --set data.size=32"
            )
        if isinstance(found, DataError):
            if log.skip is None:
                count, failed = row, found
            else:
                log.bad(found)
                skipped.add(row)
            continue
        room = len(entries) if most is None else max(most // found.size, 1)
        if images is None or len(found) > images.shape[1]:
            Budget("the pictures").take(size=min(room, len(entries)) * found.size)
        if images is None:
            first, images = location, np.zeros((min(room, len(entries)), *found.shape), np.uint8)
        if len(found) > images.shape[1]:  # the first one in color: those before it were gray
            images = np.repeat(images[:room], len(found), axis=1)
        if row < len(images):
            images[row] = found
        if most is not None:
            digests[row] = hashlib.blake2b(found.tobytes(), digest_size=16).digest()
    if failed is not None:
        failed.before = images[:count] if images is not None and count else None
        raise failed
    rows = [row for row in range(len(entries)) if row not in skipped]
    log.finish(len(rows))
    assert images is not None  # where all are bad, that was an error
    inside = [row for row in rows if row < len(images)] if skipped else slice(None)
    images = images[inside] if skipped else images
    return DecodedImages(images, rows, [digests[row] for row in rows] if len(images) < len(rows) else [])


def _tried(entry: ImageFile, size: tuple[int, int] | None, channels: int | None) -> Raster | DataError:
    """A picture, or what is wrong with it."""
    try:
        with _pillow_rules(), reading(entry.location, "a whole picture"):
            return _decoded(entry.load(), entry.location, size, channels).pixels
    except DataError as error:
        return error


def _ahead(
    entries: Sequence[ImageFile], order: list[int], size: tuple[int, int] | None, channels: int | None, workers: int
) -> Iterator[Raster | DataError]:
    """The pictures in this order, decoded by other processes."""
    parts = [order[start : start + _PART] for start in range(0, len(order), _PART)]
    for part in loader(lambda rows: [_tried(entries[row], size, channels) for row in rows], parts, workers):
        yield from part


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
