"""Pictures with masks, which say of each pixel what it belongs to: read, checked and resized together."""

import hashlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful._types import Tensor
from heedful.data._content import framed
from heedful.data._decode import decode_one, resized
from heedful.data._entries import ImageFile
from heedful.data._limits import Budget
from heedful.data._mask_files import masked_files
from heedful.data._mask_values import VOID, Found, MaskedFile, MaskKind, MaskTable, RawMask, decode_mask, learn_table
from heedful.data._rows import RowLog
from heedful.data._sources import split_slice, stream_entry, unlabeled_entries
from heedful.data.class_tables import ClassTable, class_table, palette_color, read_class_table
from heedful.data.frames import from_frame, in_memory, meant
from heedful.data.images import raster_of
from heedful.data.orientation import belongs_upright, turn
from heedful.data.shapes import CLASSES, PARTS, SHAPES, Part, draw_shapes, first_of
from heedful.data.stored_images import kept_note
from heedful.data.stored_masks import Pair, PairStorage, StoredColumn, decoded_pair

__all__ = [
    "DEFAULT_VOID",
    "EMPTY_TABLE",
    "VOID",
    "MaskTable",
    "SegmentedImages",
    "nearest",
    "read_masks",
    "read_unmasked",
    "resized_image",
]

EMPTY_TABLE = MaskTable("index", (), (), (), ())  # of pictures without masks
_SHAPES_SIZE = (48, 48)
DEFAULT_VOID = (255, "void", "ignore", "unlabeled", "unlabelled")


@dataclass(frozen=True, eq=False)
class SegmentedImages:
    """Decoded pictures, each with its mask.

    Args:
        images: uint8 [3, height, width] each; a `StoredColumn` where they do not all fit into memory, as then the masks.
        masks: uint8 [height, width] each: the number of the class of each pixel, 255 for none; None where unlabeled.
        table: the classes, and which values of masks stand for them.
        names: where each picture came from.
        notes: what was left out or skipped.

    Example:
        >>> image, mask = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)
        >>> pictures = SegmentedImages((image, image), (mask, mask), MaskTable("index", ("a",), (0,), (), ((0, 0, 0),)), ("1", "2"))
        >>> len(pictures), pictures.select([1]).names
        (2, ('2',))
    """

    images: Sequence[Tensor]
    masks: Sequence[Tensor] | None
    table: MaskTable
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def locations(self) -> list[str]:
        """Where each picture came from, for errors: its name."""
        return list(self.names)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel, a mask or a class does."""
        yield framed(self.table.classes)
        if isinstance(self.images, StoredColumn):
            yield from self.images.content()
            return
        for row, image in enumerate(self.images):
            mask = None if self.masks is None else self.masks[row]
            yield framed(image.shape, None if mask is None else mask.shape)
            yield image.contiguous().numpy().tobytes()
            if mask is not None:
                yield mask.contiguous().numpy().tobytes()

    def select(self, indices: Iterable[int]) -> "SegmentedImages":
        """The pictures at these positions, in this order."""
        rows = [int(index) for index in indices]
        masks = None if self.masks is None else _selected(self.masks, rows)
        names = tuple(self.names[row] for row in rows)
        return replace(self, images=_selected(self.images, rows), masks=masks, names=names)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each picture."""
        if isinstance(self.images, StoredColumn):
            return self.images.sizes
        return [(image.shape[1], image.shape[2]) for image in self.images]

    @property
    def workers(self) -> int:
        """How many processes read pictures that are not kept."""
        return self.images.storage.workers if isinstance(self.images, StoredColumn) else 0


def _selected(tensors: Sequence[Tensor], rows: Sequence[int]) -> Sequence[Tensor]:
    return tensors.select(rows) if isinstance(tensors, StoredColumn) else tuple(tensors[row] for row in rows)


def read_masks(
    source: Any,
    *,
    part: Part = "train",
    size: tuple[int, int] | None = None,
    table: MaskTable | None = None,
    classes: str | Sequence[str] = (),
    void: Sequence[str | int] = DEFAULT_VOID,
    kind: MaskKind | Literal["auto"] = "auto",
    skip: float | None = None,
    cache: int | None = None,
    workers: int = 0,
) -> SegmentedImages:
    """Reads pictures with masks from what a person types for them.

    - A folder or an archive in which masks are told by their names or folders: `images/a.jpg` and `masks/a.png`, `train` beside
      `trainannot`, `a.jpg` and `a_mask.png`; Pascal VOC (`JPEGImages`, `SegmentationClass`). Two folders: `pictures,masks`.
    - A list (.txt, .csv, .tsv) of a picture and its mask a line, relative to it; or one of `ImageSets/Segmentation` of Pascal VOC.
    - COCO's JSON: polygons and run lengths, crowds too; what nothing is annotated of is the class "background".
    - Data in memory, as `from_frame` takes them: columns `image` and `mask`.
    - `shapes`: pictures of colored shapes, drawn on the fly.

    A mask is a picture of indices (gray or with a palette), or of colors; or an array (.npy, or in memory) of indices, or with a
    layer of 0 and 1 for each class. It turns along where a camera noted the way up of its picture.

    Args:
        source: one of the above, also with a slice: `train.txt[:50]`.
        part: which of the shapes; nothing else is parted.
        size: (height, width) to which each picture and its mask are resized; None: as they are.
        table: what values of masks mean to a trained model; None: that is learned.
        classes: their names in the order of their numbers, or a file that names them, with colors or without. Nothing: a file
            beside the masks (`class_dict.csv`, `classes.txt`, `labelmap.txt`, ...), or the values that occur.
        void: what has no class: indices, names, or colors (#rrggbb).
        kind: what masks hold; auto: colors where not all are gray.
        skip: the largest share of bad pictures that may be skipped; None: the first one is an error.
        cache: how many bytes of decoded pictures and masks are kept; others are read again each time. None: all are kept, as are
            those of a packed archive (.tar.gz) and of data in memory.
        workers: how many processes read the others.

    Raises:
        DataError: a picture or a mask is not what it should be; the message names the file.
    """
    log = RowLog(skip)
    with ExitStack() as stack:
        if in_memory(source):
            found, shown = _of_memory(source, log), "the data"
        else:
            base, rows = split_slice(str(source))
            if base == SHAPES:
                return _shapes(part, rows, size or _SHAPES_SIZE)
            found, shown = masked_files(base, stack, log), base
            found = found._replace(files=found.files[rows])
        if not found.files:
            raise DataError(f"{shown}: must hold at least one picture with a mask: got none")
        most = cache if all(file.image.again for file in found.files) else None
        pairs = _decoded(found.files, size, log, most)
        if table is None:
            names, named_in = _names(classes, found, shown)
            raws = [(one.raw, one.file.mask_location) for one in pairs]
            table = learn_table(raws, names, void, kind, named_in, binary=tuple(void) == DEFAULT_VOID)
        return _segmented(pairs, table, partial(_pair, size=size), workers, stack, log)


def read_unmasked(sources: Sequence[Any]) -> Iterator[tuple[str, Tensor]]:
    """Pictures without masks, one at a time: the name, and the pixels `[3, h, w]`.

    Args:
        sources: paths of pictures, folders and archives; lists and COCO's files, of which the pictures are taken; binary streams,
            arrays, tensors and images of Pillow.

    Raises:
        DataError: as `read_masks`.
    """
    log = RowLog()
    for row, source in enumerate(sources):
        with ExitStack() as stack:
            for entry in _entries(source, f"row {row}", stack, log):
                pixels = decode_one(entry.load(), entry.location).pixels
                yield entry.name, torch.from_numpy(np.ascontiguousarray(pixels))


def resized_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture `[3, h, w]` of another height and width, as `read_masks` resizes it."""
    return torch.from_numpy(np.ascontiguousarray(resized(image.numpy(), size)))


def _entries(source: Any, name: str, stack: ExitStack, log: RowLog) -> list[ImageFile]:
    if not hasattr(source, "__fspath__") and not isinstance(source, str):
        if hasattr(source, "read"):
            return [stream_entry(source)]
        return [ImageFile(name, name, None, partial(raster_of, source, name))]
    base, part = split_slice(str(source))
    if base == SHAPES:
        drawn = _shapes("test", part, _SHAPES_SIZE)
        pictures = zip(drawn.names, drawn.images, strict=True)
        return [ImageFile(one, one, None, partial(raster_of, image.permute(1, 2, 0), one)) for one, image in pictures]
    listed = base.lower().endswith((".txt", ".lst", ".json", ".csv", ".tsv")) or "," in base
    entries = (
        [one.image for one in masked_files(base, stack, log).files]
        if listed
        else unlabeled_entries(base, "test", stack, log)
    )
    if not entries[part]:
        raise DataError(f"{base}: must hold at least one picture: got none")
    return entries[part]


def _shapes(part: Part, rows: slice, size: tuple[int, int]) -> SegmentedImages:
    """Pictures of colored shapes, drawn on the fly."""
    numbers = range(PARTS[part])[rows]
    if min(size) < 16:
        raise DataError(
            f"{SHAPES}: `data.size` must be at least 16 x 16, or shapes are not seen: got {size[0]} x {size[1]}"
        )
    if not numbers:
        raise DataError(f"{SHAPES}: the slice must leave at least one of {PARTS[part]:,} pictures: got none")
    drawn = draw_shapes(numbers, size=size, part=part)
    colors = tuple(map(palette_color, range(len(CLASSES))))
    table = MaskTable("index", CLASSES, tuple(range(len(CLASSES))), (VOID,), colors)
    images, masks = (tuple(torch.from_numpy(all_of_them)) for all_of_them in (drawn.pictures, drawn.masks))
    return SegmentedImages(images, masks, table, tuple(f"{SHAPES}[{first_of(part) + number}]" for number in numbers))


def _of_memory(source: Any, log: RowLog) -> Found:
    image, mask = meant(source, ["image", "mask"], log)
    frame = from_frame(source, {image: "any", mask: "any"})
    files = []
    for picture, drawn, location in zip(*frame.values, frame.locations, strict=True):
        entry = ImageFile(location, location, None, partial(raster_of, picture, location))
        where = f"{location}, mask"
        files.append(MaskedFile(entry, lambda size, drawn=drawn, where=where: decode_mask(drawn, where), where))  # type: ignore[misc]
    return Found(files)


def _names(classes: str | Sequence[str], found: Found, shown: str) -> tuple[ClassTable | None, str]:
    """The names of the classes, and what an error about them begins with."""
    if isinstance(classes, str) and classes:
        return read_class_table(classes), classes
    if classes:
        return class_table(classes, (), "data.classes"), "data.classes"
    if found.names is not None or found.table is None:
        return found.names, shown
    return read_class_table(found.table), str(found.table)


def _segmented(
    pairs: "Sequence[_Read]",
    table: MaskTable,
    read: Callable[[MaskedFile], Pair],
    workers: int,
    stack: ExitStack,
    log: RowLog,
) -> SegmentedImages:
    """The pairs with the numbers of their classes; where not all are kept, the others are read again when they are asked for."""
    files, names = [one.file for one in pairs], tuple(one.file.image.name for one in pairs)
    kept = {
        row: decoded_pair((one.image, one.raw), table, one.file)
        for row, one in enumerate(pairs)
        if one.image is not None
    }
    if len(kept) == len(pairs):
        images, masks = ([one[part] for one in kept.values()] for part in (0, 1))
        return SegmentedImages(tuple(images), tuple(masks), table, names, tuple(log.notes))
    sizes, digests = [one.size for one in pairs], [one.digest for one in pairs]
    storage = PairStorage(files, kept, sizes, digests, read, table, workers)
    for row, one in enumerate(pairs):
        if one.image is None and not table.knows(one.raw):
            storage.pair(row)  # raises: the error counts all of its pixels
    weakref.finalize(storage, stack.pop_all().close)  # files of an archive
    log.notes.append(kept_note(len(kept), len(pairs)))
    every = range(len(pairs))
    return SegmentedImages(
        StoredColumn(storage, every, 0), StoredColumn(storage, every, 1), table, names, tuple(log.notes)
    )


class _Read(NamedTuple):
    """A pair of a source: the picture, where it is kept; the mask, or one pixel of each of its values."""

    row: int
    file: MaskedFile
    image: Tensor | None
    raw: RawMask
    size: tuple[int, int]
    digest: bytes


def _decoded(files: Sequence[MaskedFile], size: tuple[int, int] | None, log: RowLog, most: int | None) -> list[_Read]:
    """The pairs that are good, of which the first ones, of at most so many bytes, are kept."""
    budget, found, taken = Budget("the pictures"), list[_Read](), 0
    for row in sorted(range(len(files)), key=lambda row: files[row].image.position):
        try:
            image, raw = _pair(files[row], size)
        except DataError as error:
            log.bad(error)
            continue
        taken += image.numel() + raw.values.nbytes
        own, digest = (image.shape[1], image.shape[2]), b""
        if most is not None:
            digest = hashlib.blake2b(image.numpy().tobytes() + raw.values.tobytes(), digest_size=16).digest()
        if most is None or taken <= most or not found:
            budget.take(size=image.numel() + raw.values.nbytes)
            found.append(_Read(row, files[row], image, raw, own, digest))
        else:
            found.append(_Read(row, files[row], None, raw._replace(values=np.unique(raw.values)), own, digest))
    log.finish(len(found))
    return sorted(found, key=lambda one: one.row)


def _pair(file: MaskedFile, size: tuple[int, int] | None) -> tuple[Tensor, RawMask]:
    """A picture and its mask, of one size and the same way up."""
    found = decode_one(file.image.load(), file.image.location)
    if file.mask is None:
        raise DataError(f"{file.mask_location}: must have a mask: got none")
    raw = file.mask(found.size)
    values, own = raw.values, (raw.values.shape[0], raw.values.shape[1])
    if not belongs_upright(own, found.size, found.orientation):
        values = turn(values, found.orientation)
    if values.shape != found.size:
        (h, w), (height, width) = own, found.size
        raise DataError(
            f"{file.mask_location}: a mask must have the size of its picture {file.image.location}, {height} x {width}: got {h} x {w}"
        )
    pixels = found.pixels
    if size is not None:
        values, pixels = nearest(values, size), resized(pixels, size)
    return torch.from_numpy(np.ascontiguousarray(pixels)), raw._replace(values=np.ascontiguousarray(values))


def nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A map `[h, w]` of another size, each pixel the nearest one.

    Example:
        >>> nearest(np.array([[1, 2], [3, 4]]), (2, 4)).tolist()
        [[1, 1, 2, 2], [3, 3, 4, 4]]
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(values.shape, size, strict=True)
    )
    moved: NDArray[Any] = values[rows[:, None], columns]
    return moved
