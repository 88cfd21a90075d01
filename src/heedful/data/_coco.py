"""COCO's JSON: pictures, categories and annotations in one file, which is checked as a whole before a picture is read."""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from heedful._errors import DataError
from heedful.data._annotations import FoundBox, FoundImage, number_of, text_of
from heedful.data._entries import ImageFile, listed, printable
from heedful.data._limits import Budget, open_file, read_file

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class CocoFile(NamedTuple):
    """What a file holds.

    Attributes:
        location: its path.
        images: by their ids.
        categories: the names of the classes, by their ids in rising order.
        annotations: by the ids of their pictures; None where the file has none.
    """

    location: str
    images: dict[int, Mapping[str, Any]]
    categories: dict[int, str]
    annotations: dict[int, list[Mapping[str, Any]]] | None


class Coco(NamedTuple):
    """Pictures with boxes, and the classes that the file declares, with their numbers."""

    images: list[FoundImage]
    categories: dict[str, int]


def coco_file(path: Path) -> Path | None:
    """The JSON file of annotations that a path means: it, or the only one of a folder; None where it is none of COCO.

    Raises:
        DataError: the folder has several.
    """
    if path.is_file():
        return path if path.suffix == ".json" else None
    files = sorted([*path.glob("*.json"), *(path / "annotations").glob("instances*.json")])
    if len(files) > 1:
        choices = " or ".join(f"'{printable(str(one))}'" for one in files)
        raise DataError(f"{printable(str(path))}: must be one file of annotations: got several, name one: {choices}")
    return files[0] if files else None


def read_coco(path: Path, references: tuple[str, ...] = ("image_id", "category_id")) -> CocoFile:
    """A file, each id of which is there once and known; `references` are the ids that an annotation must have.

    Raises:
        DataError: it is not what COCO's format says; the message names the file and the object.
    """
    location = printable(str(path))
    with open_file(path, location) as file:
        raw = Budget(location).read(file)
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DataError(f"{location}: must be JSON in UTF-8: got other bytes") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{location}:{error.lineno}: must be JSON: got the error '{error.msg}'") from None
    except (RecursionError, ValueError):
        raise DataError(f"{location}: must be JSON: got too deep or too large values") from None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{location}: must be a JSON object with `images`, as COCO has it: got none")
    images = _by_id(content, "images", location)
    categories = {key: text_of(one, "name", f"{location}: categories: id {key}")
                  for key, one in sorted(_by_id(content, "categories", location).items())}  # fmt: skip
    if len(set(categories.values())) < len(categories):
        names = list(categories.values())
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{location}: must have each category's name once: got '{printable(twice)}' twice")
    if "annotations" not in content:
        return CocoFile(location, images, categories, None)
    annotations: dict[int, list[Mapping[str, Any]]] = {key: [] for key in images}
    for key, one in _by_id(content, "annotations", location).items():
        where = f"{location}: annotations: id {key}"
        for name, known in (("image_id", images), ("category_id", categories)):
            if name in references and (not isinstance(one.get(name), int) or one[name] not in known):
                got = printable(repr(one.get(name)))[:80]
                raise DataError(f"{where}: `{name}` must be an id that the file declares: got {got}")
        annotations[one["image_id"]].append(one)
    return CocoFile(location, images, categories, annotations)


def _by_id(content: Mapping[str, Any], name: str, location: str) -> dict[int, Mapping[str, Any]]:
    """The objects of a list, by their ids."""
    found: dict[int, Mapping[str, Any]] = {}
    listing = content.get(name, [])
    if not isinstance(listing, list):
        raise DataError(f"{location}: `{name}` must be a list: got {type(listing).__name__}")
    for row, one in enumerate(listing):
        key = one.get("id") if isinstance(one, dict) else None
        if not isinstance(key, int) or isinstance(key, bool):
            raise DataError(
                f"{location}: {name}[{row}] must have an `id`, a whole number: got {printable(repr(key))[:80]}"
            )
        if key in found:
            raise DataError(f"{location}: {name}[{row}] must have an `id` of its own: got {key} again")
        found[key] = one
    return found


def picture_paths(file: CocoFile, path: Path) -> dict[int, Path]:
    """Where each picture of a file lies.

    Beside the file, in a folder beside it or above it that is named `images`, or as the file is: `train2017` of
    `annotations/instances_train2017.json`.

    Raises:
        DataError: a name that leads elsewhere, or a picture that is not there.
    """
    part = path.stem.rpartition("_")[2]
    names = {key: text_of(one, "file_name", f"{file.location}: images: id {key}") for key, one in file.images.items()}
    for key, name in names.items():
        if Path(name).is_absolute() or ".." in Path(name).parts or _URL.match(name):
            raise DataError(
                f"{file.location}: images: id {key}: `file_name` must lie below a folder: got '{printable(name)}'"
            )
    above = (path.parent, path.parent.parent)
    folders = [one / inner for one in above for inner in ("", "images", part, f"images/{part}")]
    base = next(
        (folder for folder in folders if any((folder / name).is_file() for name in list(names.values())[:3])), None
    )
    for key, name in names.items():
        if base is None or not (base / name).is_file():
            looked = listed([str(folder) for folder in (folders if base is None else [base])])
            raise DataError(
                f"{file.location}: images: id {key}: must have a picture '{printable(name)}' below {looked}: there is none"
            )
    return {} if base is None else {key: base / name for key, name in names.items()}


def coco_images(path: Path) -> Coco:
    """The pictures of a file with their boxes, in its order."""
    file = read_coco(path)
    paths, found = picture_paths(file, path), []
    for key, one in file.images.items():
        where = f"{file.location}: images: id {key}"
        name = printable(str(paths[key]))
        sizes = [one.get("width"), one.get("height")]
        declared = tuple(int(number_of(size, "width", where)) for size in sizes) if all(sizes) else None
        boxes = tuple(_box(box, file) for box in (file.annotations or {}).get(key, []))
        found.append(
            FoundImage(ImageFile(name, name, None, partial(read_file, paths[key], name)), boxes, key, declared, where)  # type: ignore[arg-type]
        )
    if not found:
        raise DataError(f"{file.location}: must hold at least one picture: got none")
    return Coco(found, {name: key for key, name in file.categories.items()})


def _box(one: Mapping[str, Any], file: CocoFile) -> FoundBox:
    label = file.categories[one["category_id"]]
    where = f"{file.location}: annotations: id {one['id']} ('{printable(label)[:80]}')"
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: `bbox` must be [x, y, width, height]: got {printable(repr(box))[:80]}")
    x, y, width, height = (number_of(value, "bbox", where) for value in box)
    return FoundBox(where, label, (x, y, x + width, y + height), bool(one.get("iscrowd")))
