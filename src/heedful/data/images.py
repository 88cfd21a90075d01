"""Pictures: read, cut into parts, with one size and one number of channels."""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._errors import DataError, SettingsError
from heedful._types import Tensor
from heedful.data._content import framed
from heedful.data._decode import Progress, decode
from heedful.data._embedded import EmbeddedSplit
from heedful.data._entries import ImageFile, Raster, natural_key
from heedful.data._rows import RowLog, check_some_known
from heedful.data._sources import labeled_entries, split_slice, stream_entry, unlabeled_entries
from heedful.data.frames import ColumnKind, from_frame, in_memory, meant
from heedful.data.stored_images import Images, StoredImages, content_of, selected, stored
from heedful.data.targets import ONE_LABEL, TargetFormat

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["LabeledImages", "read_images", "read_unlabeled"]

E = TypeVar("E")


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Decoded pictures of one size, with what is known about them.

    Args:
        images: uint8 [count, channels, height, width], 1 channel (gray) or 3 (red, green, blue); `StoredImages` where they do not
            all fit into memory.
        labels: int64 [count], positions in `classes`; None where unlabeled.
        classes: the names of the classes; empty where unlabeled.
        names: where each picture came from: `cats/3.jpg`, `t10k-images-idx3-ubyte.gz[17]`, `digits[3]`.
        notes: what was taken for what, and what was skipped.
        format: what the name of a class stands for: itself, several labels or a number.

    Raises:
        ValueError: the parts do not fit each other.

    Examples:
        >>> images = torch.zeros(3, 1, 5, 7, dtype=torch.uint8)
        >>> pictures = LabeledImages(images, torch.tensor([0, 1, 1]), ("cat", "dog"), ("a.png", "b.png", "c.png"))
        >>> len(pictures), pictures.select([2, 0]).names
        (3, ('c.png', 'a.png'))
    """

    images: Images
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    format: TargetFormat = ONE_LABEL

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} with {self.images.ndim}"
            raise ValueError(f"`images` must be torch.uint8 with 4 dimensions: got {got}")
        if len(self.names) != len(self.images):
            raise ValueError(f"`names` must be as many as `images`: got {len(self.names)} and {len(self.images)}")
        if self.labels is not None and self.labels.shape != self.images.shape[:1]:
            got = f"shape {tuple(self.labels.shape)} for {len(self.images)}"
            raise ValueError(f"`labels` must hold one number for each of `images`: got {got}")

    @classmethod
    def of(
        cls,
        images: "Tensor | Sequence[Any] | NDArray[Any]",
        labels: Sequence[str | int] | None = None,
        *,
        size: tuple[int, int] | None = None,
        channels: Literal[1, 3] | None = None,
        classes: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        log: RowLog | None = None,
        format: TargetFormat = ONE_LABEL,
    ) -> "LabeledImages":
        """Images from Python, decoded as those of files are.

        Args:
            images: arrays, tensors or images of Pillow, one or more; or all in one array or tensor. An array has the axes height
                and width, and 1 channel (gray), 3 (red, green, blue) or 4 (transparency) before or after them, where it has any;
                its numbers are uint8, or floating point numbers from 0 to 1.
            labels: the class of each; numbers become text.
            size: (height, width) to which each image is resized; None where all have one size already.
            channels: 1 for gray, 3 for color; None takes 1 where every image is gray.
            classes: the known classes; None takes those of the labels, in natural order.
            names: of each image, "row 0" and so on unless given.
            log: takes the images that are to be skipped; None: the first bad one is an error.
            format: what a label is.

        Raises:
            DataError: they are not as many as each other, or one is missing or no image.
            SettingsError: `size` or `channels` is not one that images can have.

        Examples:
            >>> images = LabeledImages.of(torch.zeros(2, 1, 5, 7, dtype=torch.uint8), ["cat", "dog"])
            >>> images.images.shape, images.classes
            (torch.Size([2, 1, 5, 7]), ('cat', 'dog'))
        """
        check_size(size, channels)
        columns: dict[str, ColumnKind] = (
            {"images": "any"}
            if labels is None
            else {"images": "any", "labels": "list" if format.kind == "labels" else "text"}
        )
        frame = from_frame({"images": list(images), "labels": labels}, columns)
        if not frame.locations:
            raise DataError("`images` must hold at least one image: got none")
        values = frame.values[1] if labels is not None else [None] * len(frame.locations)
        for label, location in zip(values, frame.locations, strict=True):
            if label is not None:
                format.check(label, location)
        entries = [
            ImageFile(name, name, label, partial(raster_of, image, name))
            for name, label, image in zip(names or frame.locations, values, frame.values[0], strict=True)
        ]
        log = log or RowLog()
        return _labeled(entries, entries, None if labels is None else classes or (), size, channels, iter, log, format)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def cells(self) -> list[str]:
        """The name of the class of each picture; none where unlabeled."""
        return [] if self.labels is None else [self.classes[number] for number in self.labels.tolist()]

    @property
    def locations(self) -> list[str]:
        """Where each image came from, for errors: its name."""
        return list(self.names)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel, a label or a class does."""
        yield framed(self.images.shape, self.classes, None if self.labels is None else self.labels.tolist())
        yield from content_of(self.images)

    def select(self, indices: Iterable[int]) -> "LabeledImages":
        """The pictures at these positions, in this order; the classes stay.

        Raises:
            IndexError: there is no such position.
        """
        rows = [int(index) for index in indices]
        labels = None if self.labels is None else self.labels[rows]
        return replace(
            self, images=selected(self.images, rows), labels=labels, names=tuple(self.names[row] for row in rows)
        )


def read_images(
    source: Any,
    *,
    split: EmbeddedSplit = "train",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress = iter,
    skip: float | None = None,
    format: TargetFormat = ONE_LABEL,
    cache: int | None = None,
    workers: int = 0,
) -> LabeledImages:
    """Reads labeled pictures from what a person types for them.

    - A folder with one folder a class, or the same inside a .zip, .tar, .tar.gz or .tgz; a path that continues behind
      an archive names a folder inside it: `cifar10.zip/train`. A lone folder around the class folders is stepped over.
    - An IDX image file, also as .gz: `t10k-images-idx3-ubyte.gz`, with its label file beside it.
    - A .csv or .tsv with columns `path` (relative to the table's folder) and `label`. A URL is never fetched.
    - The name of an embedded set: `digits`. It wins over a file of that name, which is reached as `./digits`.
    - Any of these with a slice: `digits[:500]`. What it leaves out is not decoded.
    - Data in memory, as `from_frame` takes them: columns `image` and `label`.

    Classes are in natural order of their names ("2" before "10") and those of the whole source, sliced or not.
    Transparency is put over white, the orientation that a camera noted is applied, 16 bits are scaled to 8 (as 12 bits
    where none is above 4,095), and of an animation the first frame is read.

    Args:
        source: one of the above.
        split: which part of an embedded set; nothing else is parted. "train" without `classes` needs two classes.
        size: (height, width) to which each picture is resized; None where all have one size already.
        channels: 1 for gray, 3 for color; None takes 1 where every picture is gray.
        classes: the known classes, behind which others of the source stand; None takes those of the source.
        progress: wraps the list of pictures while they are decoded, as a progress bar does.
        skip: the largest share of bad pictures and rows that may be skipped; None: the first one is an error.
        format: what a label is; several labels and numbers need no known classes.
        cache: how many bytes of decoded pictures are kept; others are decoded again each time. None: all are kept, as are those
            of a packed archive (.tar.gz) and of data in memory.
        workers: how many processes decode the others.

    Raises:
        DataError: the source is not there or does not hold what its format promises; the message begins with the file.
        SettingsError: `size` or `channels` is not one that pictures can have.

    Examples:
        >>> digits = read_images("digits", split="test")
        >>> digits.images.shape, digits.names[0], digits.classes[int(digits.labels[0])]
        (torch.Size([360, 1, 8, 8]), 'digits[1437]', '2')
    """
    log = RowLog(skip)
    if in_memory(source):
        image, label = meant(source, ["image", "label"], log)
        frame = from_frame(source, {image: "any", label: "list" if format.kind == "labels" else "text"})
        return LabeledImages.of(
            *frame.values, size=size, channels=channels, classes=classes, names=frame.locations, log=log, format=format
        )
    check_size(size, channels)
    base, part = split_slice(source)
    with ExitStack() as stack:
        entries = labeled_entries(base, split, classes or (), stack, log, optional=format.kind == "labels")
        chosen = chosen_of(source, entries, part)
        chosen = [entry for entry in chosen if _fits(entry, format, log)]
        if (
            split == "train"
            and classes is None
            and format.kind == "label"
            and len({entry.label for entry in chosen}) < 2
        ):
            raise DataError(f"{source}: must hold at least two classes: got 1, '{chosen[0].label}'")
        read = _labeled(entries, chosen, classes or (), size, channels, progress, log, format, cache, workers)
        if isinstance(read.images, StoredImages):
            weakref.finalize(read.images.storage, stack.pop_all().close)  # files of an archive
        return read


def _labeled(
    entries: list[ImageFile],
    chosen: list[ImageFile],
    classes: Sequence[str] | None,
    size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress,
    log: RowLog,
    format: TargetFormat = ONE_LABEL,
    cache: int | None = None,
    workers: int = 0,
) -> LabeledImages:
    """The chosen pictures; their classes are the known ones, then the others of all entries; None for no labels."""
    if classes:
        check_some_known([(str(entry.label), entry.location) for entry in chosen], classes)
    most = cache if all(entry.again for entry in chosen) else None
    decoded = decode(chosen, size, channels, progress, log, most=most, workers=workers)
    images, kept = stored(decoded, chosen, workers, log), decoded.rows
    names = tuple(chosen[row].name for row in kept)
    if classes is None:
        return LabeledImages(images, None, (), names, tuple(log.notes))
    others = {str(entry.label) for entry in entries} - set(classes)
    numbers = {name: number for number, name in enumerate((*classes, *sorted(others, key=natural_key)))}
    labels = torch.tensor([numbers[str(chosen[row].label)] for row in kept])
    return LabeledImages(images, labels, tuple(numbers), names, tuple(log.notes), format)


def mean_and_std(images: LabeledImages) -> tuple[list[float], list[float]]:
    """Of each channel, from 0 to 1; the deviation is at least 0.001.

    Example:
        >>> mean_and_std(LabeledImages(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), None, (), ("a", "b")))
        ([0.5], [0.7071067811865476])
    """
    count, channels, height, width = images.images.shape
    total, squares = torch.zeros(2, channels, dtype=torch.long)
    for part in images.images.split(256):
        total += part.sum((0, 2, 3))
        squares += part.long().square().sum((0, 2, 3))
    number, mean = count * height * width, total.double() / (count * height * width)
    variance = (squares.double() - number * mean**2).clamp_min(0) / max(number - 1, 1)
    return (mean / 255).tolist(), (variance.sqrt() / 255).clamp_min(1e-3).tolist()


def read_unlabeled(
    sources: str | Path | Sequence[str | Path | BinaryIO | Any],
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    progress: Progress = iter,
) -> LabeledImages:
    """Reads pictures without labels: picture files, binary streams of one picture, and every source of `read_images`.

    Arrays, tensors and images of Pillow are taken, too, as `LabeledImages.of` does, by the name of their row.

    Folders and archives are read to any depth, in natural order of the paths; of an embedded set the test split.

    Args:
        sources: one source, or several whose pictures follow each other.
        size: see `read_images`.
        channels: see `read_images`.
        progress: see `read_images`.

    Raises:
        DataError: see `read_images`.
        SettingsError: see `read_images`.

    Examples:
        >>> pictures = read_unlabeled("digits[:2]", size=(16, 16), channels=3)
        >>> pictures.images.shape, pictures.labels, pictures.names
        (torch.Size([2, 3, 16, 16]), None, ('digits[1437]', 'digits[1438]'))
    """
    check_size(size, channels)
    log = RowLog()
    chosen: list[ImageFile] = []
    with ExitStack() as stack:
        for row, source in enumerate([sources] if isinstance(sources, str | Path) else sources):
            if isinstance(source, str | Path):
                base, part = split_slice(str(source))
                chosen += chosen_of(str(source), unlabeled_entries(base, "test", stack, log), part)
            elif hasattr(source, "read"):
                chosen.append(stream_entry(source))
            else:
                name = f"row {row}"
                chosen.append(ImageFile(name, name, None, partial(raster_of, source, name)))
        if not chosen:
            raise DataError("`sources` must name at least one picture: got none")
        try:
            return _labeled(chosen, chosen, None, size, channels, progress, log)
        except DataError as error:
            if error.before is not None:
                before = torch.from_numpy(error.before)
                names = tuple(entry.name for entry in chosen[: len(before)])
                error.before = LabeledImages(before, None, (), names)
            raise


def raster_of(image: Any, location: str) -> "Raster | Image.Image":
    """An image of Pillow as it is, or the pixels of an array: [height, width] or [height, width, channels], uint8."""
    if not hasattr(image, "shape"):
        if not hasattr(image, "getexif"):
            got = type(image).__name__
            raise DataError(f"{location}: an image must be an array, a tensor or an image of Pillow: got {got}")
        return image  # type: ignore[no-any-return]
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        got = " x ".join(map(str, array.shape)) or "a number"
        raise DataError(
            f"{location}: an image must be height x width, with 1, 3 or 4 channels first or last: got {got}"
        )
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise DataError(
                f"{location}: an image of floating point numbers must have them from 0 to 1: got {array.min()} to {array.max()}"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"{location}: an image must be uint8, or floating point numbers from 0 to 1: got {array.dtype}")
    return np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def check_size(size: tuple[int, int] | None, channels: int | None) -> None:
    """Raises SettingsError for a size or a number of channels that pictures cannot have."""
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise SettingsError(f"`size` must be a height and a width of at least 1: got {size}")
    if channels not in (None, 1, 3):
        raise SettingsError(f"`channels` must be 1, 3 or None: got {channels}")


def _fits(entry: ImageFile, format: TargetFormat, log: RowLog) -> bool:
    """Whether its label is what labels are; of one that is to be skipped the log is told."""
    if format.kind != "label":
        try:
            format.check(str(entry.label), entry.location)
        except DataError as error:
            log.bad(error)
            return False
    return True


def chosen_of(source: str, entries: list[E], part: slice) -> list[E]:
    """The entries of a slice. Raises DataError: there are none."""
    if not entries:
        raise DataError(f"{source}: must hold at least one picture: got none")
    chosen = entries[part]
    if not chosen:
        raise DataError(f"{source}: the slice must leave at least one of {len(entries):,} pictures: got none")
    return chosen
