"""Tables of text: comma- or tab-separated values, or an object of JSON in each line, plain or as .gz."""

import csv
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedful._errors import DataError
from heedful.data._entries import separated
from heedful.data._limits import STREAMS, unpacked_name
from heedful.data.text._lines import LONGEST, lines, quoted, quoted_all, shown_path
from heedful.data.text.json_rows import json_rows

__all__ = ["TableRow", "read_table"]

DEFAULTS = ("text", "label")
PAIR_DEFAULTS = ("source", "target")

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}

_Cells = Iterator[tuple[int, list[str]]]  # the line where each row begins, and its cells; none on a blank line


class TableRow(NamedTuple):
    """The values of the wanted columns, in the order in which they were wanted, and `file:line` where the row begins."""

    values: tuple[str, ...]
    location: str


def read_table(source: str | Path, columns: Sequence[str | int] = DEFAULTS) -> Iterator[TableRow]:
    r"""The rows of a table, read as they are asked for.

    The format goes by the name: .csv (quotes as spreadsheets write them), .tsv or .tab (no quotes: a line is a row),
    .jsonl or .ndjson (an object in each line, whose strings, numbers and truth values become text as they stand), and
    each of them as .gz. A column is wanted by its name, for which case does not matter in .csv and .tsv, or by its
    number, 1 is the first.

    Whether the first row of a .csv or .tsv is a header:
    - It is one where it holds all the wanted names.
    - It is none, and all rows are data, where the columns are wanted by number alone.
    - It is none where the names are those that nobody chose, "text" and "label" or "source" and "target", neither
      stands in it, and there are exactly as many columns as wanted: these are taken in order, text and source first.
    - Anything else is an error that lists the columns that there are.

    Args:
        source: the file.
        columns: the wanted columns.

    Raises:
        DataError: the file cannot be read, a wanted column is not there, or a row does not have as many as the first.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "stars.csv")
        ...     _ = path.write_text('id,stars,review\n1,5,"Good, and cheap"\n')
        ...     [row.values for row in read_table(path, ["review", 2])]
        [('Good, and cheap', '5')]
    """
    path = shown_path(source)
    format = table_format(source)
    if format is None:
        raise another_name(source, f"must be a table, {', '.join(_SUFFIXES)}")
    if format == "jsonl":
        yield from _objects(source, path, columns)
        return
    wanted = [_wanted(column, path) for column in columns]
    rows = _csv_rows(source, path) if format == "csv" else _tsv_rows(source)
    begin, first = next(((number, cells) for number, cells in rows if cells), (0, []))
    if not begin:
        raise DataError(f"{path}: must hold at least one row: got none")
    indices, header = _column_indices(wanted, first, f"{path}:{begin}")
    if not header:
        yield TableRow(tuple(first[index] for index in indices), f"{path}:{begin}")
    blank: list[int] = []
    for number, cells in rows:
        if not cells:
            blank.append(number)  # nothing where the file ends, otherwise a row
            continue
        for line in blank:
            if len(first) > 1:
                raise DataError(f"{path}:{line}: must have {len(first)} columns, as line {begin} has: got a blank line")
            yield TableRow(("",) * len(indices), f"{path}:{line}")
        blank.clear()
        if len(cells) != len(first):
            raise DataError(
                f"{path}:{number}: must have {len(first)} columns, as line {begin} has: got {len(cells)}, "
                + quoted_all(cells)
            )
        yield TableRow(tuple(cells[index] for index in indices), f"{path}:{number}")


def table_format(source: str | Path) -> str | None:
    """The format that the name tells, or the first line of standard input: csv, tsv, jsonl, or None for none of them.

    Examples:
        >>> table_format("train.TSV.gz"), table_format("train.txt")
        ('tsv', None)
    """
    if str(source) in STREAMS:
        first = next((line for _, line in lines(source) if line.strip()), "")
        return "jsonl" if first.lstrip().startswith(("{", "[")) else "tsv" if "\t" in first else None
    return _SUFFIXES.get(Path(unpacked_name(source)).suffix)


def another_name(source: str | Path, expected: str) -> DataError:
    """The error that a name tells no format; of a file that is no text, what it is."""
    if Path(source).is_file():
        next(lines(source), None)
    return DataError(f"{shown_path(source)}: {expected}, or one of them as .gz: got another name")


def _wanted(column: str | int, path: str) -> str | int:
    number = int(column) if str(column).isdecimal() and len(str(column)) < 10 else column
    if isinstance(number, int) and number < 1:
        raise DataError(f"{path}: a column must be a name or a number from 1: got {number}")
    return number


def _column_indices(wanted: Sequence[str | int], first: list[str], location: str) -> tuple[list[int], bool]:
    """Where the wanted columns stand, counted from 0, and whether the first row is a header; see `read_table`."""
    there = [name.strip().lower() for name in first]
    names = [column.strip().lower() for column in wanted if isinstance(column, str)]
    missing = [name for name in names if name not in there]
    order = next((known for known in (DEFAULTS, PAIR_DEFAULTS) if set(names) <= set(known)), None)
    if order is not None and len(missing) == len(wanted) == len(first):
        return [sorted(names, key=order.index).index(name) for name in names], False
    if missing:
        near = difflib.get_close_matches(missing[0], there, n=1)
        hint = f"; did you mean {quoted(near[0])}?" if near else "; name the columns, or number them from 1"
        hint = separated(first) or hint
        raise DataError(f"{location}: must have a column {quoted(missing[0])}: got {quoted_all(first)}{hint}")
    twice = next((name for name in names if there.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{location}: must have one column {quoted(twice)}: got {quoted_all(first)}")
    for column in wanted:
        if isinstance(column, int) and column > len(first):
            raise DataError(
                f"{location}: must have a column {column}: got {len(first)}, {quoted_all(first)}{separated(first)}"
            )
    return [column - 1 if isinstance(column, int) else there.index(column.strip().lower()) for column in wanted], bool(
        names
    )


def _tsv_rows(source: str | Path) -> _Cells:
    for number, line in lines(source):
        yield number, line.split("\t") if line else []


def _csv_rows(source: str | Path, path: str) -> _Cells:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # there is only the one for the whole process
    reader = csv.reader((line + "\n" for _, line in lines(source)), strict=True)
    begin = 1
    try:
        for cells in reader:
            yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: must be a row of comma-separated values: got the error '{error}'") from error


def _objects(source: str | Path, path: str, wanted: Sequence[str | int]) -> Iterator[TableRow]:
    names = [column for column in wanted if isinstance(column, str)]
    if len(names) != len(wanted):
        raise DataError(f"{path}: the columns of JSON lines must be wanted by name: got {list(wanted)}")
    for number, line in json_rows(source):
        location = f"{path}:{number}"
        if line.strip():
            yield TableRow(tuple(_value(json_object(line, location), name, location) for name in names), location)


def json_object(line: str, location: str) -> dict[str, Any]:
    """The object of JSON that a line is; numbers stay as they are written."""
    try:
        # Numbers are kept as they are written: 1.0 stays 1.0, and there is no limit to their digits.
        value = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError) as error:
        reason = (
            f"'{getattr(error, 'msg', error)}'" if isinstance(error, ValueError) else "brackets in brackets without end"
        )
        raise DataError(f"{location}: must be an object of JSON: got {quoted(line)}, {reason}") from error
    if not isinstance(value, dict):
        raise DataError(f"{location}: must be an object of JSON, {{...}}: got {quoted(line)}")
    return value


class _Number(str):
    """A number as it stands in JSON."""


def _value(row: dict[str, Any], name: str, location: str) -> str:
    if name not in row:
        raise DataError(f"{location}: must have {quoted(name)}: got {quoted_all(list(row)) or 'an empty object'}")
    value = row[name]
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        got = "null" if value is None else "a list" if isinstance(value, list) else "an object"
        raise DataError(f"{location}: {quoted(name)} must be a text, a number, true or false: got {got}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{location}: {quoted(name)} must be text: got half a character, {quoted(value[error.start])}"
        ) from error
    return str(value)
