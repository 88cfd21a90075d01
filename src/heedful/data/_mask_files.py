"""Which mask belongs to which picture: folders, archives, lists, Pascal VOC and COCO. Nothing is decoded here."""

import csv
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._coco_masks import coco_masks
from heedful.data._entries import ImageFile, natural_key, printable
from heedful.data._limits import Budget, open_file, read_file
from heedful.data._mask_values import Found, MaskedFile, MaskLoader, decode_mask
from heedful.data._rows import RowLog
from heedful.data._sources import locate
from heedful.data._trees import _SPLITS, _TRAINING, Tree, archive_tree, folder_tree, is_archive
from heedful.data.class_tables import VOC_CLASSES, ClassTable, table_beside
from heedful.data.shapes import SHAPES

EXPECTED = "a folder of pictures and masks, two folders `pictures,masks`, a list of pairs (.txt, .csv, .tsv), Pascal VOC or COCO (.json)"
_MASKS = {
    "masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "groundtruth", "ground_truth",
    "segmentations", "segmentation", "segmentationclass", "targets",
}  # fmt: skip
_PICTURES = {"images", "image", "imgs", "img", "pictures", "jpegimages", "photos"}
_MASK_END = re.compile(r"(annot|[_-](annot|labels?|masks?|gt|seg|l))$", re.IGNORECASE)
_ENDS = ("annot", "_annot", "_labels", "_label", "_masks", "_mask", "_gt", "-masks", "-labels")
_OBJECTS = "segmentationobject"  # of Pascal VOC: which object, not which class


def masked_files(source: str, stack: ExitStack, log: RowLog) -> Found:
    """Every picture of a source with its mask, in the source's order.

    Raises:
        DataError: it is not there, or a mask has no picture.
    """
    halves = [half.strip() for half in source.split(",")]
    if len(halves) == 2 and not os.path.exists(source):
        return _two_folders(halves[0], halves[1], stack, log)
    path, inner = locate(source, EXPECTED, [SHAPES])
    if path.is_dir() or is_archive(path):
        tree = folder_tree(path) if path.is_dir() else archive_tree(path, stack)
        tree = tree.below(printable(inner)) if inner else tree
        beside = _folder_of_masks(path) if path.is_dir() and not _masks_in(tree) else None
        if beside is not None:
            return _two_folders(str(path), str(beside), stack, log)
        return Found(_paired(tree, tree, log), _voc_names(tree), table_beside(path) if path.is_dir() else None)
    if path.suffix.lower() == ".json":
        return coco_masks(path)
    if path.suffix.lower() in (".txt", ".csv", ".tsv", ".lst"):
        return _list(path, log)
    raise DataError(f"{printable(str(path))}: must be {EXPECTED}: got a file named '{printable(path.name)}'")


def _two_folders(pictures: str, masks: str, stack: ExitStack, log: RowLog) -> Found:
    """Pictures in one folder, masks of the same names in another; or a file of COCO."""
    trees = []
    for one in (pictures, masks):
        path, inner = locate(one, "a folder, or an archive", [SHAPES])
        if path.suffix.lower() == ".json" and one is masks:
            return coco_masks(path, Path(pictures))
        if not path.is_dir() and not is_archive(path):
            raise DataError(f"{printable(one)}: must be a folder, or an archive: got a file")
        tree = folder_tree(path) if path.is_dir() else archive_tree(path, stack)
        trees.append(tree.below(printable(inner)) if inner else tree)
    return Found(_paired(trees[0], trees[1], log), _voc_names(trees[1]), table_beside(Path(masks)))


def _masks_in(tree: Tree) -> bool:
    return any(_is_mask(path) for path in tree.files)


def _is_mask(path: str) -> bool:
    """Whether a file is a mask, by its name or by that of a folder around it."""
    *folders, name = path.lower().split("/")
    stem = posixpath.splitext(name)[0]
    return any(folder in _MASKS or _MASK_END.search(folder) for folder in folders) or bool(_MASK_END.search(stem))


def _key(path: str) -> tuple[str, ...]:
    """What a picture and its mask have in common."""
    *folders, name = path.split("/")
    kept = [_MASK_END.sub("", one) for one in folders if one.lower() not in _MASKS | _PICTURES]
    return (*kept, _MASK_END.sub("", posixpath.splitext(name)[0]))


def _paired(pictures: Tree, masks: Tree, log: RowLog) -> list[MaskedFile]:
    """Each mask of a tree with its picture of another, or of the same one."""
    same = pictures is masks
    there = {path for path in masks.files if _OBJECTS not in path.lower().split("/")}
    marked = {path for path in there if not same or _is_mask(path)}
    if same:
        _check_one_split(pictures)
    found: dict[tuple[str, ...], str] = {}
    for path in sorted(marked, key=natural_key):
        if (other := found.setdefault(_key(path), path)) is not path:
            raise DataError(
                f"{masks.location}/{path}: a picture must have one mask: got this one and '{other}'; name two folders: pictures,masks"
            )
    if not found:
        raise DataError(f"{masks.location}: must be {EXPECTED}: got no masks")
    files, alone = [], list[str]()
    others = (path for path in pictures.files if not same or (path in there and path not in marked))
    for path in sorted(others, key=lambda path: [natural_key(part) for part in path.split("/")]):
        mask = found.pop(_key(path), None)
        load, position = pictures.files[path]
        location = f"{pictures.location}/{path}"
        if mask is None:
            alone.append(location)
            continue
        image = ImageFile(path, location, None, partial(load, location), position)
        mask_location = f"{masks.location}/{mask}"
        files.append(
            MaskedFile(image, _loader(partial(masks.files[mask][0], mask_location), mask_location), mask_location)
        )
    if found:
        mask = next(iter(found.values()))
        stem = printable(_key(mask)[-1])
        raise DataError(
            f"{masks.location}/{mask}: a mask must have a picture: got none named '{stem}' in {pictures.location}"
        )
    if alone:
        log.notes.append(f"{len(alone):,} pictures have no mask and are left out; the first: {alone[0]}")
    return files


def _check_one_split(tree: Tree) -> None:
    """Raises where a folder holds the parts of data side by side."""
    tops = {top for top in (_MASK_END.sub("", top) for top in tree.tops()) if top.lower() in _SPLITS}
    if len(tops) > 1 and {top.lower() for top in tops} & _TRAINING:
        choices = " or ".join(f"'{tree.location}/{top}'" for top in sorted(tops))
        raise DataError(f"{tree.location}: must be one split: got several, name one: {choices}")


def _folder_of_masks(path: Path) -> Path | None:
    """The folder of masks that lies beside a folder of pictures: `trainannot` of `train`, `masks/train` of `images/train`."""
    beside = [path.with_name(path.name + end) for end in _ENDS]
    if path.parent.name.lower() in _PICTURES:
        above = path.parent.parent
        beside += [one / path.name for one in sorted(above.iterdir()) if one.name.lower() in _MASKS]
    if path.name.lower() in _PICTURES:
        beside += [one for one in sorted(path.parent.iterdir()) if one.name.lower() in _MASKS]
    return next((one for one in beside if one.is_dir()), None)


def _voc_names(tree: Tree) -> ClassTable | None:
    voc = any("SegmentationClass" in path.split("/") for path in tree.files) or tree.location.endswith(
        "SegmentationClass"
    )
    return ClassTable(VOC_CLASSES) if voc else None


def _loader(load: Callable[[], Any], location: str) -> MaskLoader:
    return lambda size: decode_mask(load(), location)


def _list(path: Path, log: RowLog) -> Found:
    """A list of pairs, "picture mask" a line; or of names of Pascal VOC."""
    location = printable(str(path))
    rows = list(_rows(path, location))
    voc = path.parents[2] if len(path.parents) > 2 and path.parents[1].name == "ImageSets" else None
    first, second = 0, 1
    if rows and len(rows[0][1]) > 1 and not any(_there(path.parent, cell) for cell in rows[0][1]):
        header = [cell.strip().lower() for cell in rows[0][1]]
        names = [next((i for i, cell in enumerate(header) if cell in known), None) for known in (_PICTURES, _MASKS)]
        if None not in names:
            (first, second), rows = (names[0] or 0, names[1] or 0), rows[1:]
    files = []
    for line, cells in rows:
        where = f"{location}:{line}"
        try:
            if voc is not None and len(cells) == 1:
                pair = [voc / "JPEGImages" / f"{cells[0]}.jpg", voc / "SegmentationClass" / f"{cells[0]}.png"]
                missing = next((file for file in pair if not file.is_file()), None)
                if missing is not None:
                    raise DataError(
                        f"{where}: must name a picture and its mask: got '{printable(cells[0])}', {missing} is not there"
                    )
            elif len(cells) <= max(first, second):
                raise DataError(
                    f"{where}: must name a picture and its mask: got {len(cells)} field{'s' * (len(cells) != 1)}"
                )
            else:
                pair = [_file(path.parent, cells[column], where) for column in (first, second)]
        except DataError as error:
            log.bad(error)
            continue
        name = printable(os.path.relpath(pair[0], path.parent))
        picture, mask = (printable(str(one)) for one in pair)
        image = ImageFile(name, picture, None, partial(read_file, pair[0], picture))
        files.append(MaskedFile(image, _loader(partial(read_file, pair[1], mask), mask), mask))
    return Found(files, None if voc is None else ClassTable(VOC_CLASSES), table_beside(path.parent))


def _rows(path: Path, location: str) -> Iterator[tuple[int, Sequence[str]]]:
    with open_file(path, location) as file:
        raw = Budget(location).read(file)
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{location}: must be UTF-8: {convert(raw)}") from None
    suffix = path.suffix.lower()
    for line, text in enumerate(lines, start=1):
        if text.strip():
            separator = "\t" if "\t" in text else "," if suffix == ".csv" else None
            yield (
                line,
                text.rstrip(" ;").split() if separator is None else next(csv.reader([text], delimiter=separator)),
            )


def _there(folder: Path, name: str) -> Path | None:
    """A file that a list names: relative to the list's folder, or to one of the two around it."""
    name = name.strip()
    if not name or len(name) > 4096 or "\0" in name:
        return None
    if os.path.isabs(name) and os.path.isfile(name):
        return Path(name)
    bases = (folder, *folder.absolute().parents[:2])
    return next((base / name.lstrip("/") for base in bases if (base / name.lstrip("/")).is_file()), None)


def _file(folder: Path, name: str, location: str) -> Path:
    if (found := _there(folder, name)) is None:
        raise DataError(
            f"{location}: must name a file below {printable(str(folder))}: got '{printable(name)}', which is not there"
        )
    return found
