"""IDX files, the format of MNIST: a magic number, the size of every dimension, then the bytes."""

import math
import re
import struct
from functools import partial
from pathlib import Path

import numpy as np

from heedful._errors import DataError
from heedful.data._entries import ImageFile, Raster, listed, reading
from heedful.data._limits import Budget, open_unpacked

_UNSIGNED_BYTE = 0x08


def is_idx(path: Path) -> bool:
    """Whether the name is one of an IDX file: `t10k-images-idx3-ubyte.gz`, `t10k-images.idx3-ubyte`, `images.idx`."""
    return re.search(r"[-.]idx\d?(-ubyte)?(\.gz)?$", path.name.lower()) is not None


def idx_entries(path: Path, *, labeled: bool) -> list[ImageFile]:
    """The pictures of an IDX image file, with the labels of the label file beside it."""
    images = read_idx(path)
    if images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{path}: must have dimensions count x height x width, and 1 or 3 channels first or last: got {_by(images)}"
        )
    if images.size == 0:
        raise DataError(f"{path}: must hold at least one picture of at least one pixel: got {_by(images)}")
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    Budget(str(path)).take(items=len(images))
    labels = _labels_beside(path, len(images)) if labeled else [None] * len(images)
    return [
        ImageFile(f"{path.name}[{row}]", f"{path}[{row}]", label, partial(_picture, images, row))
        for row, label in enumerate(labels)
    ]


def read_idx(path: Path) -> Raster:
    """The array of an IDX file of unsigned bytes, plain or .gz.

    Raises:
        DataError: the file cannot be read, or its header promises something else than the file holds.
    """
    with reading(str(path), "a whole IDX file"), open_unpacked(path, str(path)) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0":
            raise DataError(
                f"{path}: must begin with the IDX magic number 00 00 08 0n: got {magic.hex(' ') or 'nothing'}"
            )
        kind, dimensions = magic[2], magic[3]
        if kind != _UNSIGNED_BYTE:
            raise DataError(f"{path}: must hold unsigned bytes (IDX type 08): got type {kind:02x}")
        header = file.read(4 * dimensions)
        if dimensions == 0 or len(header) < 4 * dimensions:
            raise DataError(f"{path}: must have a header of {4 + 4 * dimensions} bytes: got {4 + len(header)}")
        shape = struct.unpack(f">{dimensions}I", header)
        expected = math.prod(shape)
        content = Budget(str(path)).read(file)  # a header may promise far more than there is, or far less
        if len(content) != expected:
            sizes = " x ".join(map(str, shape))
            raise DataError(f"{path}: must hold the {expected:,} bytes of its {sizes} header: got {len(content):,}")
        return np.frombuffer(content, np.uint8).reshape(shape)


def _picture(images: Raster, row: int) -> Raster:
    return np.ascontiguousarray(images[row])


def _labels_beside(path: Path, count: int) -> list[str]:
    candidates = _label_names(path.name)
    beside = next((path.with_name(name) for name in candidates if path.with_name(name).is_file()), None)
    if beside is None:
        looked_for = listed(candidates) if candidates else "none, as 'images' is not in its name"
        raise DataError(f"{path}: must have a label file beside it: looked for {looked_for}")
    labels = read_idx(beside)
    if labels.ndim != 1:
        raise DataError(f"{beside}: a label file must have one dimension: got {_by(labels)}")
    if len(labels) != count:
        raise DataError(
            f"{beside}: must hold a label for each picture of {path.name}: got {len(labels):,} and {count:,}"
        )
    return [str(label) for label in labels]


def _label_names(images: str) -> list[str]:
    """The names that the label file may have, likeliest first.

    Examples:
        >>> _label_names("t10k-images-idx3-ubyte.gz")[:2]
        ['t10k-labels-idx1-ubyte.gz', 't10k-labels-idx1-ubyte']
        >>> _label_names("digits.idx")
        []
    """
    if "images" not in images:
        return []
    plain = re.sub(r"\.gz$", "", images)
    same = re.sub(r"idx\d", "idx1", plain.replace("images", "labels"))
    other = same.replace("-idx", ".idx") if "-idx" in same else same.replace(".idx", "-idx")
    endings = ("", ".gz") if plain == images else (".gz", "")
    return [name + ending for name in (same, other) for ending in endings]


def _by(array: Raster) -> str:
    return " x ".join(map(str, array.shape))
