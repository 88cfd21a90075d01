"""Pictures with boxes: read from Pascal VOC, COCO or Python, with one size and one number of channels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch

from heedful._errors import DataError
from heedful._types import Tensor
from heedful.data._annotations import BoxChecks, FoundBox, FoundImage, Header, header_of, number_of
from heedful.data._coco import coco_file, coco_images
from heedful.data._content import framed
from heedful.data._decode import decode
from heedful.data._entries import ImageFile, natural_key, printable
from heedful.data._rows import RowLog, check_some_known
from heedful.data._sources import split_slice, stream_entry, unlabeled_entries
from heedful.data._voc import is_voc, voc_images
from heedful.data.frames import from_frame, in_memory, meant
from heedful.data.images import check_size, chosen_of, raster_of
from heedful.data.shapes import KINDS, PARTS, SHAPES, draw_shapes, first_of
from heedful.data.stored_images import Images, content_of, selected, stored

__all__ = ["BoxedImages", "Boxes", "read_boxes", "read_without_boxes"]

_SHAPES_SIZE = (64, 64)
_EXPECTED = (
    "a folder of Pascal VOC (Annotations, JPEGImages), a list in its ImageSets/Main, a COCO file (.json) or its folder"
)


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one picture.

    Args:
        corners: float32 [boxes, 4]: x0, y0, x1, y1 in pixels of the picture as it was, the right way up.
        labels: int64 [boxes], positions in the classes.
        ignored: bool [boxes]: finding these is neither right nor wrong (VOC's `difficult`, COCO's `iscrowd`).
    """

    corners: Tensor
    labels: Tensor
    ignored: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """Decoded pictures of one size with the boxes of what is on them.

    Args:
        images: uint8 [count, channels, height, width].
        boxes: of each picture; None where unlabeled.
        sizes: height and width of each picture as it was, [count, 2], in whose pixels boxes are.
        classes: the names of the classes.
        names: where each picture came from.
        ids: what COCO's results call each picture.
        categories: what COCO's results call each class.
        notes: what was left out, and what was skipped.
        files: the pictures as they were, to be read again.

    Example:
        >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> one = Boxes(torch.tensor([[1.0, 2.0, 5.0, 4.0]]), torch.tensor([0]), torch.tensor([False]))
        >>> pictures = BoxedImages(images, (one, one), torch.tensor([[8, 8], [8, 8]]), ("cell",), ("a.png", "b.png"), (1, 2), (1,))
        >>> pictures.select([1]).names, len(pictures.boxes[0])
        (('b.png',), 1)
    """

    images: Images
    boxes: tuple[Boxes, ...] | None
    sizes: Tensor
    classes: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[int | str, ...]
    categories: tuple[int, ...]
    notes: tuple[str, ...] = ()
    files: tuple[ImageFile, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def locations(self) -> list[str]:
        """Where each picture came from, for errors: its name."""
        return list(self.names)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel, a box or a class does."""
        yield framed(self.images.shape, self.classes, self.sizes.flatten().tolist())
        for one in self.boxes or ():
            yield framed(one.labels.tolist(), [int(flag) for flag in one.ignored.tolist()])
            yield one.corners.contiguous().numpy().tobytes()
        yield from content_of(self.images)

    def select(self, indices: Iterable[int]) -> "BoxedImages":
        """The pictures at these positions, in this order; the classes stay."""
        rows = [int(index) for index in indices]
        boxes = None if self.boxes is None else tuple(self.boxes[row] for row in rows)
        names, ids = tuple(self.names[row] for row in rows), tuple(self.ids[row] for row in rows)
        files = tuple(self.files[row] for row in rows) if self.files else ()
        images, sizes = selected(self.images, rows), self.sizes[rows]
        return replace(self, images=images, boxes=boxes, sizes=sizes, names=names, ids=ids, files=files)

    def scaled(self, row: int) -> Tensor:
        """The boxes of a picture in pixels of `images`, [boxes, 4]."""
        assert self.boxes is not None
        (h, w), (height, width) = self.images.shape[-2:], self.sizes[row].tolist()
        return self.boxes[row].corners * torch.tensor([w / width, h / height, w / width, h / height])


def read_boxes(
    source: Any,
    *,
    split: Literal["train", "valid", "test"] = "train",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    skip: float | None = None,
    cache: int | None = None,
    workers: int = 0,
) -> BoxedImages:
    """Reads pictures with boxes from what a person types for them.

    - Pascal VOC: its folder, where it has no lists; one of its lists, `VOC2012/ImageSets/Main/train.txt`; or a folder of XML
      files beside their pictures. Its pixels count from 1 and the last one belongs to a box: 1 is taken off `xmin` and `ymin`.
    - COCO: a file of annotations, `annotations/instances_train2017.json`, or a folder that has one.
    - `shapes`, made on the fly; and any of these with a slice: `shapes[:100]`.
    - Data in memory: columns `image`, `boxes` (of each picture a list of x0, y0, x1, y1) and `labels` (as many).

    Boxes without area and boxes that are there twice are left out, and boxes that stand out of their picture are cut; it is counted
    how many. Boxes turn with pictures whose cameras noted that they lie on a side, unless the file declares the size that such
    a picture has when it stands upright. VOC's `difficult` and COCO's `iscrowd` mark boxes as ignored.

    Args:
        source: one of the above.
        split: which part of embedded data.
        size: (height, width) to which each picture is resized; None where all have one size already.
        channels: 1 for gray, 3 for color; None takes 1 where every picture is gray.
        classes: the known classes, behind which others of the source stand; None takes those of the source.
        strict: whether what would be left out or cut is an error.
        skip: the largest share of bad pictures that may be skipped; None: the first one is an error.
        cache: how many bytes of decoded pictures are kept; others are decoded again each time. None: all are kept.
        workers: how many processes decode the others.

    Raises:
        DataError: the source is not there or does not hold what its format promises; the message begins with the file.
    """
    log = RowLog(skip)
    check_size(size, channels)
    if in_memory(source):
        found, categories = _of_python(source, log), dict[str, int]()
    else:
        base, part = split_slice(str(source))
        if base == SHAPES:
            return _shapes(part, split, size, channels)
        found, categories = _of_path(base)
        found = chosen_of(str(source), found, part)
    checks, headers, kept_boxes = BoxChecks(strict), {}, {}

    def load(row: int) -> Any:
        raw = found[row].file.load()
        headers[row] = header_of(raw, found[row].file.location)
        kept_boxes[row] = checks.checked(found[row], headers[row])
        return raw

    files = [replace(one.file, load=partial(load, row)) for row, one in enumerate(found)]
    decoded = decode(files, size, channels, iter, log, most=cache)
    images, rows = stored(decoded, [one.file for one in found], workers, log), decoded.rows
    boxes = [kept_boxes[row] for row in rows]
    if classes:
        check_some_known([(box.label, box.location) for ones in boxes for box in ones], classes)
    known = {name: number for number, name in enumerate(classes or ())}
    others = {box.label for one in found for box in one.boxes} - set(known) if not categories else ()
    ordered = [name for name in categories if name not in known] or sorted(others, key=natural_key)
    numbers = {name: number for number, name in enumerate((*known, *ordered))}
    notes = (*log.notes, *checks.notes())
    return replace(
        _unlabeled(images, rows, found, headers, notes),
        boxes=tuple(_tensors(ones, numbers) for ones in boxes),
        classes=tuple(numbers),
        categories=tuple(categories.get(name, number + 1) for name, number in numbers.items()),
    )


def read_without_boxes(
    sources: str | Path | Sequence[str | Path | BinaryIO | Any],
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
) -> BoxedImages:
    """Reads pictures alone: every source of `read_boxes`, whose boxes are not looked at, and of `read_unlabeled`.

    Args:
        sources: one source, or several whose pictures follow each other.
        size: see `read_boxes`.
        channels: see `read_boxes`.

    Raises:
        DataError: see `read_boxes`; its `before` are the pictures before the bad one.
    """
    check_size(size, channels)
    found: list[FoundImage] = []
    with ExitStack() as stack:
        for row, source in enumerate([sources] if isinstance(sources, str | Path) else sources):
            found += _pictures(source, row, stack, size)
        if not found:
            raise DataError("`sources` must name at least one picture: got none")
        headers: dict[int, Header] = {}

        def load(row: int) -> Any:
            raw = found[row].file.load()
            headers[row] = header_of(raw, found[row].file.location)
            return raw

        files = [replace(one.file, load=partial(load, row)) for row, one in enumerate(found)]
        try:
            pixels, rows, _ = decode(files, size, channels, iter)
        except DataError as error:
            if error.before is not None:
                before = range(len(error.before))
                error.before = _unlabeled(torch.from_numpy(error.before), before, found, headers)
            raise
        return _unlabeled(torch.from_numpy(pixels), rows, found, headers)


def _unlabeled(
    images: Images, rows: Iterable[int], found: Sequence[FoundImage], headers: Mapping[int, Header], notes: Any = ()
) -> BoxedImages:
    """Pictures without boxes."""
    rows = list(rows)
    sizes = torch.tensor([headers[row].upright[::-1] for row in rows]).reshape(-1, 2)
    names = tuple(found[row].file.name for row in rows)
    ids = tuple(_id_of(found[row]) for row in rows)
    files = tuple(found[row].file for row in rows)
    return BoxedImages(images, None, sizes, (), names, ids, (), tuple(notes), files)


def _id_of(found: FoundImage) -> int | str:
    """COCO's id of a picture; else the number that its file is named by, or that name."""
    stem = Path(found.file.name).stem
    return (
        found.id
        if found.id is not None
        else int(stem)
        if stem.isascii() and stem.isdigit() and len(stem) < 16
        else stem
    )


def _tensors(boxes: Sequence[FoundBox], numbers: Mapping[str, int]) -> Boxes:
    corners = torch.tensor([box.corners for box in boxes], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([numbers[box.label] for box in boxes], dtype=torch.int64)
    return Boxes(corners, labels, torch.tensor([box.ignored for box in boxes], dtype=torch.bool))


def _of_path(base: str) -> tuple[list[FoundImage], dict[str, int]]:
    """The pictures of a path, and COCO's numbers of the classes, where it has them."""
    path = Path(base)
    if path.exists() and is_voc(path):
        return voc_images(path), {}
    file = coco_file(path) if path.exists() else None
    if file is None:
        there = "a path that is none of these" if path.exists() else "no path"
        hint = "" if path.exists() else f"; embedded data: {SHAPES}"
        raise DataError(f"{printable(base)}: must be {_EXPECTED}: got {there}{hint}")
    return coco_images(file)


def _pictures(source: Any, row: int, stack: ExitStack, size: tuple[int, int] | None) -> list[FoundImage]:
    """The pictures that one source of `read_without_boxes` holds."""
    if hasattr(source, "read"):
        entry = stream_entry(source)
        return [
            FoundImage(replace(entry, load=partial(bytes, entry.load())))
        ]  # it may be read again, which a stream may not
    if not isinstance(source, str | Path):
        name = f"row {row}"
        return [FoundImage(ImageFile(name, name, None, partial(raster_of, source, name)))]
    base, part = split_slice(str(source))
    if base == SHAPES:
        return [FoundImage(file) for file in _shapes(part, "test", size, None).files]
    path = Path(base)
    if path.exists() and (is_voc(path) or coco_file(path)):
        found, _ = _of_path(base)
    else:
        found = [FoundImage(entry) for entry in unlabeled_entries(base, "test", stack, RowLog())]
    return chosen_of(str(source), found, part)


def _of_python(source: Any, log: RowLog) -> list[FoundImage]:
    """The rows of data in memory."""
    names = meant(source, ["image", "boxes", "labels"], log)
    frame = from_frame(source, dict.fromkeys(names, "any"))
    found = []
    for image, boxes, labels, location in zip(*frame.values, frame.locations, strict=True):
        corners = _listed(boxes, "boxes", location)
        called = _listed(labels, "labels", location)
        if len(corners) != len(called):
            raise DataError(f"{location}: must have as many labels as boxes, {len(corners)}: got {len(called)}")
        ones = tuple(
            _of_row(box, label, f"{location}: box {number}")
            for number, (box, label) in enumerate(zip(corners, called, strict=True))
        )
        found.append(FoundImage(ImageFile(location, location, None, partial(raster_of, image, location)), ones))
    return found


def _listed(values: Any, name: str, location: str) -> list[Any]:
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(f"{location}: '{name}' must be a list: got {type(values).__name__}")
    return list(values)


def _of_row(box: Any, label: Any, location: str) -> FoundBox:
    numbers = _listed(box, "boxes", location)
    if len(numbers) != 4:
        raise DataError(f"{location}: must be x0, y0, x1, y1: got {len(numbers)} numbers")
    x0, y0, x1, y1 = (number_of(number, "boxes", location) for number in numbers)
    return FoundBox(location, str(label), (x0, y0, x1, y1))


def _shapes(part: slice, split: Literal["train", "valid", "test"], size: Any, channels: Any) -> BoxedImages:
    """Embedded pictures of colored shapes, with a box around each."""
    rows = list(range(PARTS[split]))[part]
    if size and min(size) < 16:
        raise DataError(
            f"{SHAPES}: `data.size` must be at least 16 x 16, or shapes are not seen: got {size[0]} x {size[1]}"
        )
    if not rows:
        raise DataError(f"{SHAPES}: the slice must leave at least one of {PARTS[split]:,} pictures: got none")
    shapes = draw_shapes(rows, size=size or _SHAPES_SIZE, part=split)
    images = torch.from_numpy(shapes.pictures)
    if channels == 1:
        images = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True).round().byte()
    boxes = tuple(
        Boxes(torch.from_numpy(corners), torch.from_numpy(kinds), torch.zeros(len(kinds), dtype=torch.bool))
        for corners, kinds in zip(shapes.boxes, shapes.kinds, strict=True)
    )
    sizes = torch.tensor(images.shape[-2:]).repeat(len(rows), 1)
    numbers = [first_of(split) + row for row in rows]  # through all parts
    names = tuple(f"{SHAPES}[{number}]" for number in numbers)
    files = tuple(
        ImageFile(name, name, None, partial(np.ascontiguousarray, picture.transpose(1, 2, 0)))
        for name, picture in zip(names, shapes.pictures, strict=True)
    )
    categories = tuple(range(1, len(KINDS) + 1))
    return BoxedImages(images, boxes, sizes, KINDS, names, tuple(numbers), categories, files=files)
