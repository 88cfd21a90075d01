"""Pictures larger than memory: as many as fit are kept, the others are decoded again each time that they are asked for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from heedful._loader import loader
from heedful._types import Tensor
from heedful.data._decode import DecodedImages, decode_one
from heedful.data._entries import ImageFile, Raster, reading
from heedful.data._rows import RowLog


@dataclass(frozen=True, eq=False)
class Storage:
    """Where pictures come from.

    Attributes:
        entries: all pictures.
        kept: the first of them, decoded: uint8 [some, channels, height, width].
        digests: of the pixels of each.
        workers: how many processes decode.
    """

    entries: Sequence[ImageFile]
    kept: Raster
    digests: Sequence[bytes]
    workers: int

    def one(self, row: int) -> Raster:
        """A picture: [channels, height, width].

        Raises:
            DataError: its file is not what it was.
        """
        if row < len(self.kept):
            return np.asarray(self.kept[row])
        entry, (_, channels, *size) = self.entries[row], self.kept.shape
        with reading(entry.location, "a whole picture"):
            raw = entry.load()
        return decode_one(raw, entry.location, (size[0], size[1]), channels).pixels


class StoredImages:
    """A tensor of pictures, uint8 [count, channels, height, width], of which parts are made when they are asked for.

    Args:
        storage: where they come from.
        rows: which of its pictures these are.
    """

    dtype, ndim = torch.uint8, 4

    def __init__(self, storage: Storage, rows: Sequence[int]) -> None:
        self.storage, self.rows = storage, rows

    @property
    def shape(self) -> torch.Size:
        """Of the tensor that is never made as a whole."""
        return torch.Size((len(self.rows), *self.storage.kept.shape[1:]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Sequence[int]) -> Tensor:
        chosen = self.rows[rows] if isinstance(rows, slice) else [self.rows[row] for row in rows]
        pictures = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for picture, row in zip(pictures, chosen, strict=True):
            picture[:] = self.storage.one(row)
        return torch.from_numpy(pictures)

    def select(self, rows: Iterable[int]) -> "StoredImages":
        """Some of them, in this order; nothing is decoded."""
        return StoredImages(self.storage, [self.rows[row] for row in rows])

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them, so many at a time."""
        batches = [list(range(start, min(start + size, len(self)))) for start in range(0, len(self), size)]
        yield from loader(self.__getitem__, batches, self.storage.workers)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel did when the pictures were first read."""
        return (self.storage.digests[row] for row in self.rows)


Images = Tensor | StoredImages


def stored(decoded: DecodedImages, entries: Sequence[ImageFile], workers: int, log: RowLog) -> Images:
    """The pictures of `decode`: a tensor where all were kept; else those that were not are decoded again, as the log says then."""
    pixels, rows, digests = decoded
    if len(pixels) == len(rows):
        return torch.from_numpy(pixels)
    log.notes.append(kept_note(len(pixels), len(rows)))
    return StoredImages(Storage([entries[row] for row in rows], pixels, digests, workers), range(len(rows)))


def kept_note(kept: int, count: int) -> str:
    """What a reader is told where not all pictures are kept."""
    return (
        f"{kept:,} of {count:,} images are kept decoded (data.cache_mb); "
        "the others are decoded again each time that they are needed"
    )


def selected(images: Images, rows: Sequence[int]) -> Images:
    """Some of the pictures, in this order."""
    return images[rows] if isinstance(images, Tensor) else images.select(rows)


def content_of(images: Images) -> Iterator[bytes]:
    """Bytes that change whenever a pixel does."""
    if isinstance(images, StoredImages):
        yield from images.content()
        return
    for some in images.split(256):
        yield some.contiguous().numpy().tobytes()


def workers_of(images: object) -> int:
    """How many processes make batches of them: none where all pictures are kept."""
    return images.storage.workers if isinstance(images, StoredImages) else 0
