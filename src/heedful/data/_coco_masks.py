"""COCO's polygons and run lengths as masks: the class of each pixel, small things above large ones."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heedful._errors import DataError
from heedful.data._coco import picture_paths, read_coco
from heedful.data._entries import ImageFile, printable
from heedful.data._limits import read_file
from heedful.data._mask_values import Found, MaskedFile, RawMask
from heedful.data.class_tables import ClassTable
from heedful.data.rle import Mask, decode_rle, fill_polygon

BACKGROUND = "background"  # what nothing is annotated of


def coco_masks(path: Path, folder: Path | None = None) -> Found:
    """The pictures of a file with what is annotated of them; crowds too.

    Args:
        path: of the file.
        folder: where the pictures lie; None: where COCO has them.
    """
    file = read_coco(path)
    paths = picture_paths(file, path) if folder is None else _below(file, folder)
    names = [BACKGROUND, *(name for name in file.categories.values() if name != BACKGROUND)]
    numbers = {key: names.index(name) for key, name in file.categories.items()}
    files = []
    for key, one in file.images.items():
        name, where = printable(str(paths[key])), f"{file.location}: images: id {key}"
        image = ImageFile(name, name, None, partial(read_file, paths[key], name))
        own = None if file.annotations is None else file.annotations.get(key, [])
        declared = (one.get("height"), one.get("width"))
        size = None if None in declared else declared
        load = None if own is None else partial(_mask, own, numbers, size, file.location)
        files.append(MaskedFile(image, load, where))
    return Found(files, ClassTable(tuple(names)))


def _below(file: Any, folder: Path) -> dict[int, Path]:
    """The pictures of a file in a folder that was named."""
    paths = {key: folder / Path(str(one.get("file_name", ""))).name for key, one in file.images.items()}
    for key, one in paths.items():
        if not one.is_file():
            raise DataError(
                f"{file.location}: images: id {key}: must have a picture: got {printable(str(one))}, which is not there"
            )
    return paths


def _mask(
    annotations: Sequence[Mapping[str, Any]],
    numbers: Mapping[int, int],
    declared: tuple[Any, Any] | None,
    location: str,
    size: tuple[int, int],
) -> RawMask:
    """What is annotated of a picture, drawn."""
    height, width = declared or size
    if not (type(height) is int and type(width) is int and 0 < height * width <= 2**28):
        raise DataError(f"{location}: pictures must have a height and a width: got {height!r:.40} and {width!r:.40}")
    drawn = [
        (_one(one, (height, width), f"{location}: annotations: id {one['id']}"), numbers[one["category_id"]])
        for one in annotations
    ]
    labels = np.zeros((height, width), np.uint8 if max(numbers.values(), default=0) < 256 else np.int32)
    for inside, number in sorted(drawn, key=lambda pair: -int(pair[0].sum())):
        labels[inside] = number
    return RawMask(labels, "index")


def _one(annotation: Mapping[str, Any], size: tuple[int, int], location: str) -> Mask:
    """The pixels of one object; none where it has no segmentation."""
    shape = annotation.get("segmentation") or []
    if isinstance(shape, Mapping):
        inside = decode_rle(shape, location)
        if inside.shape != size:
            got = " x ".join(map(str, inside.shape))
            raise DataError(f"{location}: must have the size of its picture, {size[0]} x {size[1]}: got {got}")
        return inside
    into = np.zeros(size, bool)
    for polygon in shape if isinstance(shape, list) else [shape]:
        numbers: list[Any] = polygon if isinstance(polygon, list) else []
        real = all(isinstance(value, int | float) and abs(value) < 2**31 for value in numbers)
        if len(numbers) < 6 or len(numbers) % 2 or not real:
            raise DataError(
                f"{location}: a polygon must have the x and y of at least three points: got {polygon!r:.60}"
            )
        fill_polygon(numbers, size, into)
    return into
