"""Pictures with masks that are larger than memory: as many pairs as fit are kept, the others are read again when they are asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

import torch

from heedful._types import Tensor
from heedful.data._mask_values import MaskedFile, MaskTable, RawMask

Pair = tuple[Tensor, RawMask]  # a picture, uint8 [3, height, width], and its mask as it was stored


class Kept(NamedTuple):
    """A picture and its mask, decoded."""

    image: Tensor
    mask: Tensor


@dataclass(eq=False)
class PairStorage:
    """Where pictures and masks come from.

    Attributes:
        files: all pairs.
        kept: those that are decoded, by their rows.
        sizes: height and width of each.
        digests: of the pixels of each, and of its mask.
        read: reads a pair.
        table: what the values of masks mean.
        workers: how many processes read.
    """

    files: Sequence[MaskedFile]
    kept: dict[int, Kept]
    sizes: Sequence[tuple[int, int]]
    digests: Sequence[bytes]
    read: Callable[[MaskedFile], Pair]
    table: MaskTable
    workers: int
    _last: tuple[int, Kept] | None = field(default=None, repr=False)  # a picture is mostly asked for with its mask

    def pair(self, row: int) -> Kept:
        """A picture and its mask, of numbers of classes.

        Raises:
            DataError: a file is not what it was.
        """
        if row in self.kept:
            return self.kept[row]
        if self._last is None or self._last[0] != row:
            self._last = row, decoded_pair(self.read(self.files[row]), self.table, self.files[row])
        return self._last[1]


def decoded_pair(pair: Pair, table: MaskTable, file: MaskedFile) -> Kept:
    """A picture and its mask, of numbers of classes. Raises DataError: a value of the mask is unknown."""
    image, raw = pair
    return Kept(image, torch.from_numpy(table.numbers(raw, file.mask_location)))


class StoredColumn(Sequence[Tensor]):
    """The pictures, or the masks, of a storage: a sequence whose tensors are made when they are asked for.

    Args:
        storage: where they come from.
        rows: which of its pairs these are.
        part: 0: the pictures; 1: the masks.
    """

    def __init__(self, storage: PairStorage, rows: Sequence[int], part: int) -> None:
        self.storage, self.rows, self.part = storage, rows, part

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> Tensor: ...
    @overload
    def __getitem__(self, row: slice) -> "StoredColumn": ...
    def __getitem__(self, row: int | slice) -> "Tensor | StoredColumn":
        if isinstance(row, slice):
            return StoredColumn(self.storage, self.rows[row], self.part)
        return self.storage.pair(self.rows[row])[self.part]

    def select(self, rows: Iterable[int]) -> "StoredColumn":
        """Some of them, in this order; nothing is decoded."""
        return StoredColumn(self.storage, [self.rows[row] for row in rows], self.part)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each."""
        return [self.storage.sizes[row] for row in self.rows]

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a pixel or a mask did when they were first read."""
        return (self.storage.digests[row] for row in self.rows)
