"""Pictures with captions: read from COCO, Flickr8k, Flickr30k, tables or Python, with one size and in color."""

import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch

from heedful._errors import DataError
from heedful._types import Tensor
from heedful.data._caption_files import NONE, FoundCaption, caption_file, found_captions
from heedful.data._content import framed
from heedful.data._decode import decode
from heedful.data._entries import ImageFile
from heedful.data._pictures_beside import PicturesBeside
from heedful.data._rows import RowLog
from heedful.data._sources import split_slice
from heedful.data.frames import from_frame, in_memory, meant
from heedful.data.images import LabeledImages, check_size, chosen_of, raster_of, read_unlabeled
from heedful.data.shape_scenes import CAPTIONED, draw_scenes
from heedful.data.shapes import SHAPES, Part
from heedful.data.stored_images import Images, StoredImages, content_of, selected, stored
from heedful.data.text.json_rows import texts_of

__all__ = ["CaptionedImages", "NamedPicture", "read_captions", "read_without_captions"]

CAPTION_DEFAULTS = ("path", "caption")
_SHAPES_SIZE = (40, 40)
_CHANNELS: Literal[3] = 3
_PARTS: tuple[Part, ...] = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class NamedPicture:
    """A picture as a model takes it.

    Attributes:
        name: where it came from.
        pixels: uint8 [3, height, width].
    """

    name: str
    pixels: Tensor


@dataclass(frozen=True, eq=False)
class CaptionedImages:
    """Decoded pictures of one size, with what is said of each.

    Attributes:
        images: uint8 [count, 3, height, width]; `StoredImages` where they do not all fit into memory.
        captions: one or more of each picture; None where there are none.
        names: where each picture came from.
        notes: what was taken for what, and what was skipped.
        complete: whether the captions of a picture are all that are true of it.

    Example:
        >>> pictures = CaptionedImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), (("a cat",), ("a dog", "my dog")), ("a", "b"))
        >>> pictures.select([1]).captions
        (('a dog', 'my dog'),)
    """

    images: Images
    captions: tuple[tuple[str, ...], ...] | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    complete: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def locations(self) -> list[str]:
        """Where each picture came from, for errors: its name."""
        return list(self.names)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel or a caption does."""
        yield framed(self.images.shape)
        for captions in self.captions or ():
            yield framed(captions)
        yield from content_of(self.images)

    def select(self, indices: Iterable[int]) -> "CaptionedImages":
        """The pictures at these positions, in this order."""
        rows = [int(index) for index in indices]
        captions = None if self.captions is None else tuple(self.captions[row] for row in rows)
        images = selected(self.images, rows)
        return replace(self, images=images, captions=captions, names=tuple(self.names[row] for row in rows))

    def pictures(self) -> list[NamedPicture]:
        """The pictures alone, one by one."""
        pixels = itertools.chain.from_iterable(self.images.split(256))
        return [NamedPicture(name, one) for name, one in zip(self.names, pixels, strict=True)]


def read_captions(
    source: Any,
    *,
    part: Part = "train",
    columns: Sequence[str | int] = CAPTION_DEFAULTS,
    size: tuple[int, int] | None = None,
    max_words: int = 200,
    skip: float | None = None,
    cache: int | None = None,
    workers: int = 0,
) -> CaptionedImages:
    """Reads pictures with captions from what a person types for them.

    - COCO: a file of captions, `annotations/captions_train2017.json`.
    - Flickr8k, Flickr30k: a file of lines `picture.jpg#0`, a tab, a caption (`Flickr8k.token.txt`, `results_20130124.token`), or
      `results.csv` with bars between its columns, or `captions.txt` with commas.
    - A table (.csv, .tsv, .jsonl) with columns `path` and `caption`; of JSON lines a caption may be a list of several.
    - A folder that has one such file.
    - `shapes`, made on the fly; and any of these with a slice: `shapes[:100]`.
    - Data in memory: columns `image` and `caption`, a text or a list of texts.

    Pictures lie beside the file, in a folder or an archive there; those of COCO also one folder above. Rows that name one picture are
    several captions of it.

    Args:
        source: one of the above.
        part: which part of the embedded pictures.
        columns: the columns of a table: of the pictures, and of the captions.
        size: (height, width) to which each picture is resized; None where all have one size already.
        max_words: the most words of a caption.
        skip: the largest share of bad captions and pictures that may be skipped; None: the first one is an error.
        cache: how many bytes of decoded pictures are kept; others are decoded again each time. None: all are kept.
        workers: how many processes decode the others.

    Raises:
        DataError: the source is not there or does not hold what its format promises; the message begins with the file.
    """
    log = RowLog(skip)
    check_size(size, _CHANNELS)
    if in_memory(source):
        entries, captions = _of_python(source, max_words, log)
        return _decoded(entries, captions, size, log)
    base, chosen = split_slice(str(source))
    if base == SHAPES:
        return _shapes(chosen, part, size)
    file = caption_file(base)
    by_name: dict[str, list[FoundCaption]] = {}
    for one in found_captions(file, columns, log):
        by_name.setdefault(one.picture, []).append(one)
    with ExitStack() as stack:
        kept = _checked(by_name, max_words, log)
        beside = PicturesBeside(file, list(kept), stack)
        entries, captions = [], []
        for name, ones in chosen_of(str(source), list(kept.items()), chosen):
            try:
                entries.append(beside.entry(name, by_name[name][0].location))
            except DataError as error:
                log.bad(error)
            else:
                captions.append(ones)
        read = _decoded(entries, captions, size, log, cache, workers)
        if isinstance(read.images, StoredImages):
            weakref.finalize(read.images.storage, stack.pop_all().close)  # files of an archive
        return read


def read_without_captions(
    sources: str | Path | Sequence[str | Path | BinaryIO | Any], *, size: tuple[int, int] | None = None
) -> CaptionedImages:
    """Reads pictures alone, as `read_unlabeled` does, in color; of `shapes` those of the test.

    Raises:
        DataError: see `read_unlabeled`.
    """
    if isinstance(sources, str | Path) and split_slice(str(sources))[0] == SHAPES:
        return replace(_shapes(split_slice(str(sources))[1], "test", size), captions=None)
    try:
        return _uncaptioned(read_unlabeled(sources, size=size, channels=_CHANNELS))
    except DataError as error:
        if error.before is not None:
            error.before = _uncaptioned(error.before)
        raise


def _uncaptioned(pictures: LabeledImages) -> CaptionedImages:
    return CaptionedImages(pictures.images, None, pictures.names, pictures.notes)


def _checked(found: dict[str, list[FoundCaption]], max_words: int, log: RowLog) -> dict[str, tuple[str, ...]]:
    """The captions of each picture without those that are bad; a picture that keeps none is left out."""
    kept: dict[str, tuple[str, ...]] = {}
    for name, ones in found.items():
        captions = []
        for one in ones:
            try:
                captions.append(_caption(one, max_words))
            except DataError as error:
                log.bad(error)
        if captions:
            kept[name] = tuple(captions)
    return kept


def _caption(found: FoundCaption, max_words: int) -> str:
    if found.text is None:
        raise DataError(f"{found.location}: the picture '{found.picture}' must have a caption: got none")
    words = found.text.split()
    if not words:
        raise DataError(f"{found.location}: must have a caption: got an empty one, for '{found.picture}'")
    if len(words) > max_words:
        raise DataError(
            f"{found.location}: a caption must have at most {max_words:,} words (data.max_words): got {len(words):,}"
        )
    return " ".join(words)


def _of_python(source: Any, max_words: int, log: RowLog) -> tuple[list[ImageFile], list[tuple[str, ...]]]:
    image, caption = meant(source, ["image", "caption"], log)
    frame = from_frame(source, {image: "any", caption: "list"})
    entries, captions = [], []
    for picture, text, location in zip(*frame.values, frame.locations, strict=True):
        found = [FoundCaption(location, one, location) for one in (texts_of(text) or NONE)]
        if kept := _checked({location: found}, max_words, log):
            entries.append(ImageFile(location, location, None, partial(raster_of, picture, location)))
            captions.append(kept[location])
    return entries, captions


def _decoded(
    entries: list[ImageFile],
    captions: list[tuple[str, ...]],
    size: tuple[int, int] | None,
    log: RowLog,
    cache: int | None = None,
    workers: int = 0,
) -> CaptionedImages:
    if not entries:
        log.finish(0)
        raise DataError("must hold at least one picture with a caption: got none")
    most = cache if all(entry.again for entry in entries) else None
    decoded = decode(entries, size, _CHANNELS, iter, log, most=most, workers=workers)
    images, rows = stored(decoded, entries, workers, log), decoded.rows
    names = tuple(entries[row].name for row in rows)
    return CaptionedImages(images, tuple(captions[row] for row in rows), names, tuple(log.notes))


def _shapes(chosen: slice, part: Part, size: tuple[int, int] | None) -> CaptionedImages:
    """Embedded pictures of colored shapes, with all that is true of each."""
    rows = list(range(CAPTIONED[part]))[chosen]
    if not rows:
        raise DataError(f"{SHAPES}: the slice must leave at least one of {CAPTIONED[part]:,} pictures: got none")
    size = size or _SHAPES_SIZE
    if min(size) < 16:
        raise DataError(
            f"{SHAPES}: `data.size` must be at least 16 x 16, or shapes are not seen: got {size[0]} x {size[1]}"
        )
    scenes = draw_scenes(rows, size=size, part=part)
    first = sum(CAPTIONED[one] for one in _PARTS[: _PARTS.index(part)])
    names = tuple(f"{SHAPES}[{first + row}]" for row in rows)
    return CaptionedImages(torch.from_numpy(scenes.pictures), tuple(scenes.captions), names, complete=True)
