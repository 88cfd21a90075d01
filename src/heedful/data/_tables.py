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
from heedful.data._limits import Budget, open_file, read_file


def is_table(path: Path) -> bool:
    """Whether the name is one of a table."""
    return path.suffix.lower() in (".csv", ".tsv")


def table_entries(path: Path, *, labeled: bool) -> list[ImageFile]:
    """The pictures that a table names; their paths are relative to the table's folder."""
    rows = _rows(path)
    first_line, first = next(rows, (1, []))
    wanted = ("path", "label") if labeled else ("path",)
    columns = [name.strip().lower() for name in first]
    if any(columns.count(name) != 1 for name in wanted):
        if len(first) != 2 or not _exists(path.parent / first[0]):
            expected = " and ".join(f"'{name}'" for name in wanted)
            raise DataError(
                f"{path}:{first_line}: must name the columns {expected} once: got {listed(first) or 'nothing'}"
            )
        columns, rows = ["path", "label"], _rows(path)

    entries = []
    for line, fields in rows:
        location = f"{path}:{line}"
        if len(fields) != len(columns):
            raise DataError(f"{location}: must have {len(columns)} fields: got {len(fields)}")
        name = fields[columns.index("path")]
        label = printable(fields[columns.index("label")].strip()) if labeled else None
        if label == "":
            raise DataError(f"{location}: must have a label: got an empty field")
        file = _file(path.parent, name, location)
        name = printable(name)
        entries.append(ImageFile(name, f"{location}: {name}", label, partial(read_file, file, f"{location}: {name}")))
    return entries


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
