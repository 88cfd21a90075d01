"""Pictures in memory: read, cut into parts, with one size and one number of channels."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import torch

from heedful._errors import DataError, SettingsError
from heedful._types import Tensor
from heedful.data._decode import Progress, decode
from heedful.data._embedded import Split
from heedful.data._entries import Entry, listed, natural_key
from heedful.data._sources import labelled_entries, split_slice, stream_entry, unlabelled_entries

__all__ = ["Pictures", "hold_out", "read_pictures", "read_unlabelled"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Decoded pictures of one size, with what is known about them.

    Args:
        images: uint8 [count, channels, height, width], 1 channel (grey) or 3 (red, green, blue).
        labels: int64 [count], positions in `classes`; None where unlabelled.
        classes: the names of the classes; empty where unlabelled.
        names: where each picture came from: `cats/3.jpg`, `t10k-images-idx3-ubyte.gz[17]`, `digits[3]`.

    Raises:
        ValueError: the parts do not fit each other.

    Examples:
        >>> images = torch.zeros(3, 1, 5, 7, dtype=torch.uint8)
        >>> pictures = Pictures(images, torch.tensor([0, 1, 1]), ("cat", "dog"), ("a.png", "b.png", "c.png"))
        >>> len(pictures), pictures.select([2, 0]).names
        (3, ('c.png', 'a.png'))
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} with {self.images.ndim}"
            raise ValueError(f"`images` must be torch.uint8 with 4 dimensions: got {got}")
        if len(self.names) != len(self.images):
            raise ValueError(f"`names` must be as many as `images`: got {len(self.names)} and {len(self.images)}")
        if self.labels is not None and self.labels.shape != self.images.shape[:1]:
            got = f"shape {tuple(self.labels.shape)} for {len(self.images)}"
            raise ValueError(f"`labels` must hold one number for each of `images`: got {got}")

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Iterable[int]) -> "Pictures":
        """The pictures at these positions, in this order; the classes stay.

        Raises:
            IndexError: there is no such position.
        """
        rows = [int(index) for index in indices]
        labels = None if self.labels is None else self.labels[rows]
        return Pictures(self.images[rows], labels, self.classes, tuple(self.names[row] for row in rows))


def hold_out(pictures: Pictures, every: int = 10) -> tuple[Pictures, Pictures]:
    """Parts `pictures` into those kept and those held out: every tenth picture, counted class by class.

    Of each class about a tenth is held out, whatever the order of the pictures; both parts keep it.

    Raises:
        DataError: one of the two parts would be empty.

    Examples:
        >>> pictures = Pictures(torch.zeros(23, 1, 2, 2, dtype=torch.uint8), None, (), tuple(map(str, range(23))))
        >>> kept, held_out = hold_out(pictures)
        >>> len(kept), held_out.names
        (21, ('9', '19'))
    """
    if not 2 <= every <= len(pictures):
        raise DataError(
            f"`every` must be between 2 and the number of pictures to hold one out: got {every} and {len(pictures)}"
        )
    rows = torch.arange(len(pictures)) if pictures.labels is None else pictures.labels.argsort(stable=True)
    held_out = set(rows[every - 1 :: every].tolist())
    return pictures.select(row for row in range(len(pictures)) if row not in held_out), pictures.select(
        sorted(held_out)
    )


def read_pictures(
    source: str,
    *,
    split: Split = "train",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress = iter,
) -> Pictures:
    """Reads labelled pictures from what a person types for them.

    - A folder with one folder a class, or the same inside a .zip, .tar, .tar.gz or .tgz; a path that continues behind
      an archive names a folder inside it: `cifar10.zip/train`. A lone folder around the class folders is stepped over.
    - An IDX image file, also as .gz: `t10k-images-idx3-ubyte.gz`, with its label file beside it.
    - A .csv or .tsv with columns `path` (relative to the table's folder) and `label`. A URL is never fetched.
    - The name of an embedded set: `digits`. It wins over a file of that name, which is reached as `./digits`.
    - Any of these with a slice: `digits[:500]`. What it leaves out is not decoded.

    Classes are in natural order of their names ("2" before "10") and those of the whole source, sliced or not.
    Transparency is put over white, the orientation that a camera noted is applied, 16 bits are scaled to 8, and of an
    animation the first frame is read.

    Args:
        source: one of the above.
        split: which part of an embedded set; nothing else is parted. "train" without `classes` needs two classes.
        size: (height, width) to which each picture is resized; None where all have one size already.
        channels: 1 for grey, 3 for colour; None takes 1 where every picture is grey.
        classes: the known classes, to which the labels are mapped; None takes those of the source.
        progress: wraps the list of pictures while they are decoded, as a progress bar does.

    Raises:
        DataError: the source is not there or does not hold what its format promises; the message begins with the file.
        SettingsError: `size` or `channels` is not one that pictures can have.

    Examples:
        >>> digits = read_pictures("digits", split="test")
        >>> digits.images.shape, digits.names[0], digits.classes[int(digits.labels[0])]
        (torch.Size([360, 1, 8, 8]), 'digits[1437]', '2')
    """
    _check(size, channels)
    location, part = split_slice(source)
    with ExitStack() as stack:
        entries = labelled_entries(location, split, classes or (), stack)
        chosen = _chosen(source, entries, part)
        known = sorted({str(entry.label) for entry in entries}, key=natural_key) if classes is None else list(classes)
        labels = _numbers(chosen, known)
        if split == "train" and classes is None and len(set(labels)) < 2:
            raise DataError(f"{source}: must hold at least two classes: got 1, '{known[labels[0]]}'")
        images = torch.from_numpy(decode(chosen, size, channels, progress))
    return Pictures(images, torch.tensor(labels), tuple(known), tuple(entry.name for entry in chosen))


def read_unlabelled(
    sources: str | Path | Sequence[str | Path | BinaryIO],
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    progress: Progress = iter,
) -> Pictures:
    """Reads pictures without labels: picture files, binary streams of one picture, and every source of `read_pictures`.

    Folders and archives are read to any depth, in natural order of the paths; of an embedded set the test split.

    Args:
        sources: one source, or several whose pictures follow each other.
        size: see `read_pictures`.
        channels: see `read_pictures`.
        progress: see `read_pictures`.

    Raises:
        DataError: see `read_pictures`.
        SettingsError: see `read_pictures`.

    Examples:
        >>> pictures = read_unlabelled("digits[:2]", size=(16, 16), channels=3)
        >>> pictures.images.shape, pictures.labels, pictures.names
        (torch.Size([2, 3, 16, 16]), None, ('digits[1437]', 'digits[1438]'))
    """
    _check(size, channels)
    chosen: list[Entry] = []
    with ExitStack() as stack:
        for source in [sources] if isinstance(sources, str | Path) else sources:
            if isinstance(source, str | Path):
                location, part = split_slice(str(source))
                chosen += _chosen(str(source), unlabelled_entries(location, "test", stack), part)
            else:
                chosen.append(stream_entry(source))
        if not chosen:
            raise DataError("`sources` must name at least one picture: got none")
        images = torch.from_numpy(decode(chosen, size, channels, progress))
    return Pictures(images, None, (), tuple(entry.name for entry in chosen))


def _check(size: tuple[int, int] | None, channels: int | None) -> None:
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise SettingsError(f"`size` must be a height and a width of at least 1: got {size}")
    if channels not in (None, 1, 3):
        raise SettingsError(f"`channels` must be 1, 3 or None: got {channels}")


def _chosen(source: str, entries: list[Entry], part: slice) -> list[Entry]:
    if not entries:
        raise DataError(f"{source}: must hold at least one picture: got none")
    chosen = entries[part]
    if not chosen:
        raise DataError(f"{source}: the slice must leave at least one of {len(entries):,} pictures: got none")
    return chosen


def _numbers(entries: list[Entry], known: list[str]) -> list[int]:
    numbers = {name: number for number, name in enumerate(known)}
    for entry in entries:
        if entry.label not in numbers:
            raise DataError(f"{entry.place}: label must be a known class, {listed(known)}: got '{entry.label}'")
    return [numbers[str(entry.label)] for entry in entries]
