"""Files of captions: COCO, Flickr8k, Flickr30k, and tables; each becomes captions with the name of their picture."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from heedful._errors import DataError
from heedful.data._annotations import text_of
from heedful.data._coco import read_coco
from heedful.data._entries import listed, printable
from heedful.data._rows import RowLog
from heedful.data._sources import locate
from heedful.data.shapes import SHAPES
from heedful.data.text._lines import lines, quoted
from heedful.data.text.json_rows import texts_of
from heedful.data.text.tables import read_table, table_format

_ENDS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".token", ".txt")
_TOKEN = re.compile(r"(.+?)#\d+\t(.*)")  # a line of Flickr8k
NONE: Sequence[str | None] = (None,)  # of a picture without a caption
_EXPECTED = (
    "a file of captions (COCO's .json, Flickr's .token or .txt, a .csv, .tsv or .jsonl), or a folder that has one"
)


class FoundCaption(NamedTuple):
    """A caption as it stands in a file.

    Attributes:
        picture: the name of its picture.
        text: None where the picture has none.
        location: where it stands, for errors.
    """

    picture: str
    text: str | None
    location: str


def caption_file(source: str) -> Path:
    """The file of captions that a path means: it, or the only one of a folder.

    Raises:
        DataError: there is none, or the folder has several.
    """
    path, inner = locate(source, _EXPECTED, [SHAPES])
    if inner:
        raise DataError(f"{printable(source)}: must be {_EXPECTED}: got a path in an archive")
    if path.is_file():
        return path
    files = sorted(one for one in path.iterdir() if one.is_file() and one.suffix.lower() in _ENDS)
    files = [one for one in files if "caption" in one.name.lower() or "token" in one.name.lower()] or files
    if len(files) != 1:
        got = f"several, name one: {listed([str(one) for one in files])}" if files else "a folder without any"
        raise DataError(f"{printable(source)}: must be {_EXPECTED}: got {got}")
    return files[0]


def found_captions(file: Path, columns: Sequence[str | int], log: RowLog) -> Iterator[FoundCaption]:
    """The captions of a file, in its order."""
    if file.suffix.lower() == ".json" and not _begins(file).startswith("["):
        yield from _coco(file)
    elif (read := _flickr(file)) is not None:
        yield from read(file)
    elif table_format(file) is None:
        raise DataError(f"{printable(str(file))}: must be {_EXPECTED}: got a file of another kind")
    else:
        for row in read_table(file, columns, log=log, lists=True):
            name, text = row.values
            for one in texts_of(text) or NONE:
                yield FoundCaption(name, one, row.location)


def _begins(file: Path) -> str:
    """The first line that is not blank."""
    return next((line.strip() for _, line in lines(file, longest=None) if line.strip()), "")


def _flickr(file: Path) -> Callable[[Path], Iterator[FoundCaption]] | None:
    """How a file of Flickr8k or Flickr30k is read; None where it is none."""
    if file.suffix.lower() not in (".txt", ".token", ".csv"):
        return None
    first = _begins(file)
    if _TOKEN.fullmatch(first):
        return _tokens
    names = [name.strip().lower() for name in re.split(r"[|,]", first)]
    if "|" in first and names[0] == "image_name":
        return _bars
    return _commas if file.suffix.lower() == ".txt" and names == ["image", "caption"] else None


def _tokens(file: Path) -> Iterator[FoundCaption]:
    for number, line in lines(file):
        location, found = f"{printable(str(file))}:{number}", _TOKEN.fullmatch(line)
        if found is not None:
            yield FoundCaption(found[1], found[2], location)
        elif line.strip():
            raise DataError(f"{location}: must be a picture, `#`, a number, a tab and a caption: got {quoted(line)}")


def _bars(file: Path) -> Iterator[FoundCaption]:
    for number, line in lines(file):
        location, cells = f"{printable(str(file))}:{number}", [cell.strip() for cell in line.split("|", 2)]
        if number == 1 or not line.strip():
            continue
        if len(cells) < 3:
            raise DataError(f"{location}: must have 3 columns with bars between them: got {quoted(line)}")
        yield FoundCaption(cells[0], cells[2], location)


def _commas(file: Path) -> Iterator[FoundCaption]:
    for number, line in lines(file):
        cells = next(csv.reader([line]), [])
        if number > 1 and len(cells) >= 2:
            yield FoundCaption(cells[0].strip(), ",".join(cells[1:]), f"{printable(str(file))}:{number}")


def _coco(file: Path) -> Iterator[FoundCaption]:
    content = read_coco(file, ("image_id",))
    for key, image in content.images.items():
        where = f"{content.location}: images: id {key}"
        name = text_of(image, "file_name", where)
        ones = (content.annotations or {}).get(key, [])
        if not ones:
            yield FoundCaption(name, None, where)
        for one in ones:
            text = one.get("caption")
            location = f"{content.location}: annotations: id {one['id']}"
            if not isinstance(text, str):
                raise DataError(f"{location}: `caption` must be a text: got {printable(repr(text))[:80]}")
            yield FoundCaption(name, text, location)
