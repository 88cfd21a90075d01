"""Tables (.csv, .tsv) that name a picture file and its label in each row."""

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._entries import ImageFile, listed, printable, reading
from heedful.data._header import by_names, taken
from heedful.data._limits import Budget, open_file, read_file
from heedful.data._rows import RowLog


def is_table(path: Path) -> bool:
    """Whether the name is one of a table."""
    return path.suffix.lower() in (".csv", ".tsv")


def table_entries(path: Path, log: RowLog, *, labeled: bool, optional: bool = False) -> list[ImageFile]:
    """The pictures that a table names; their paths are relative to the table's folder; labels may be blank where they are optional."""
    rows = _rows(path)
    first_line, first = next(rows, (1, []))
    wanted = ("path", "label") if labeled else ("path",)
    location = f"{path}:{first_line}"
    indices = by_names(first, wanted, location)
    header = None not in indices
    if not header:
        files = [column for column, name in enumerate(first) if _exists(path.parent / name)]
        if len(first) != 2 or not files:
            expected = " and ".join(f"'{name}'" for name in wanted)
            raise DataError(f"{location}: must name the columns {expected} once: got {listed(first) or 'nothing'}")
        indices, rows = [files[0], 1 - files[0]], _rows(path)
    chosen = [index for index in indices if index is not None]
    log.notes += filter(None, [taken(str(path), first, wanted, chosen[: len(wanted)], header)])

    entries = []
    for line, fields in rows:
        try:
            entries.append(
                _entry(path, fields, len(first), chosen, f"{path}:{line}", labeled=labeled, optional=optional)
            )
        except DataError as error:
            log.bad(error)
    return entries


def _entry(
    path: Path, fields: list[str], width: int, chosen: list[int], location: str, *, labeled: bool, optional: bool
) -> ImageFile:
    if len(fields) != width:
        raise DataError(f"{location}: must have {width} fields: got {len(fields)}")
    name = fields[chosen[0]]
    label = printable(fields[chosen[1]].strip()) if labeled else None
    if label == "" and not optional:
        raise DataError(f"{location}: must have a label: got an empty field")
    file = _file(path.parent, name, location)
    name = printable(name)
    return ImageFile(name, f"{location}: {name}", label, partial(read_file, file, f"{location}: {name}"))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of the line on which it begins."""
    budget = Budget(str(path))
    with reading(str(path), "a readable table"), open_file(path, str(path)) as file:
        content = budget.read(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: must be UTF-8: got the byte {content[error.start]:#04x}; {convert(content)}"
        ) from error
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
    )
    line = 1
    try:
        for fields in reader:
            budget.take(items=1)
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: must be a row of fields: {error}") from error


def _file(folder: Path, name: str, location: str) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE):
        raise DataError(f"{location}: must name a file here, a URL is never fetched: got '{printable(name)}'")
    if not name or not _exists(folder / name):
        raise DataError(
            f"{location}: must name a picture file below {folder}: got '{printable(name)}', which is not there"
        )
    return folder / name


def _exists(path: Path) -> bool:
    with reading(str(path), "a path"):
        return path.is_file()
