"""Tables of text: comma- or tab-separated values, or an object of JSON in each line, plain or as .gz."""

import csv
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedful._errors import DataError
from heedful.data._header import KNOWN, all_named, by_contents, by_names, missing, taken, wanted_number
from heedful.data._limits import STREAMS, unpacked_name
from heedful.data._rows import RowLog
from heedful.data.text._lines import LONGEST, lines, quoted, quoted_all, shown_path
from heedful.data.text.json_rows import json_rows

__all__ = ["TableRow", "read_table"]

DEFAULTS = ("text", "label")
PAIR_DEFAULTS = ("source", "target")

_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}

_CELL = re.compile(r'("[^"]*(?:""[^"]*)*"|[^"\t\n]*)[\t\n]')
_VALUES = {",": "comma-separated values", "\t": "tab-separated values"}

_Cells = Iterator[tuple[int, list[str]]]  # the line where each row begins, and its cells; none on a blank line


class TableRow(NamedTuple):
    """The values of the wanted columns, in the order in which they were wanted, and `file:line` where the row begins."""

    values: tuple[str, ...]
    location: str


def read_table(
    source: str | Path,
    columns: Sequence[str | int] = DEFAULTS,
    *,
    classes: Collection[str] | None = None,
    log: RowLog | None = None,
    lists: bool = False,
) -> Iterator[TableRow]:
    r"""The rows of a table, read as they are asked for.

    The format goes by the name: .csv (quotes as spreadsheets write them), .tsv or .tab (a line is a row, unless every quote
    is one that pandas writes around a cell), .jsonl or .ndjson (an object in each line, whose strings, numbers and truth
    values become text as they stand), and each of them as .gz. A column is wanted by its name, for which case does not
    matter in .csv and .tsv, or by its number, 1 is the first.

    Whether the first row of a .csv or .tsv is a header:
    - It is one where it holds all the wanted names. For the names that nobody chose, "text" and "label" or "source" and
      "target", usual others are known too: review, sentence, sentiment, class, src, tgt, two codes of languages, ...
    - It is none, and all rows are data, where the columns are wanted by number alone.
    - Of a table of two columns, the contents tell it, and which of the two holds the labels, as long as nobody chose a name.
    - Anything else, and contents that do not tell, is an error that lists the columns that there are.

    Args:
        source: the file.
        columns: the wanted columns.
        classes: the known classes, of which the column "label" holds some.
        log: takes what was taken for what, and the rows that do not fit, where they may be skipped.
        lists: whether the last column of JSON lines may hold lists of texts; they are given as JSON.

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
    path, log = shown_path(source), log or RowLog()
    format = table_format(source, is_table=True)
    if format is None:
        raise another_name(source, f"must be a table, {', '.join(_SUFFIXES)}")
    wanted = [wanted_number(column, path) for column in columns]
    if format == "jsonl":
        yield from _objects(source, path, columns, log, lists)
        return
    rows = csv_rows(lines(source), path, ",") if format == "csv" else tsv_rows(source, path)
    begin, first = next(((number, cells) for number, cells in rows if cells), (0, []))
    if not begin:
        raise DataError(f"{path}: must hold at least one row: got none")
    location, header = f"{path}:{begin}", any(isinstance(column, str) for column in wanted)
    indices = by_names(first, wanted, location)
    if None in indices and len(first) == len(wanted):
        buffered = list(rows)
        rows = iter(buffered)
        rest = [cells for _, cells in buffered if len(cells) == len(first)]
        indices[:], header = by_contents(first, rest, wanted, location, classes)
    for column, index in zip(wanted, indices, strict=True):
        if index is None:
            raise missing(first, str(column), location)
    chosen = [index for index in indices if index is not None]
    log.notes += filter(None, [taken(path, first, wanted, chosen, header)])
    if not header:
        yield TableRow(tuple(first[index] for index in chosen), location)
    blank: list[int] = []
    for number, cells in rows:
        if not cells:
            blank.append(number)  # nothing where the file ends, otherwise a row
            continue
        for line in blank:
            if len(first) > 1:
                log.bad(
                    DataError(f"{path}:{line}: must have {len(first)} columns, as line {begin} has: got a blank line")
                )
            else:
                yield TableRow(("",) * len(chosen), f"{path}:{line}")
        blank.clear()
        if len(cells) != len(first):
            log.bad(
                DataError(
                    f"{path}:{number}: must have {len(first)} columns, as line {begin} has: got {len(cells)}, "
                    + quoted_all(cells)
                )
            )
            continue
        yield TableRow(tuple(cells[index] for index in chosen), f"{path}:{number}")


def table_columns(source: str | Path) -> tuple[list[str], str]:
    """The cells of the first row, or of JSON lines the keys of the first object; and `file:line`.

    Raises:
        DataError: the file cannot be read or holds nothing.
    """
    path, format = shown_path(source), table_format(source, is_table=True)
    if format == "jsonl":
        number, line = next(iter(json_rows(source)), (0, ""))
        return (list(json_object(line, f"{path}:{number}")) if number else []), f"{path}:{number}"
    rows = csv_rows(lines(source), path, ",") if format == "csv" else tsv_rows(source, path)
    number, cells = next(((number, cells) for number, cells in rows if cells), (0, []))
    if not number:
        raise DataError(f"{path}: must hold at least one row: got none")
    return cells, f"{path}:{number}"


def table_format(source: str | Path, *, is_table: bool = False) -> str | None:
    """The format that the name tells, or the first line of standard input: csv, tsv, jsonl, or None for none of them.

    Lines with commas on standard input are csv where it must be a table; else they may be texts.

    Examples:
        >>> table_format("train.TSV.gz"), table_format("train.txt")
        ('tsv', None)
    """
    if str(source) in STREAMS:
        first = next((line for _, line in lines(source) if line.strip()), "")
        return (
            "jsonl"
            if first.lstrip().startswith(("{", "["))
            else "tsv"
            if "\t" in first
            else "csv"
            if is_table
            else None
        )
    return _SUFFIXES.get(Path(unpacked_name(source)).suffix)


def another_name(source: str | Path, expected: str) -> DataError:
    """The error that a name tells no format; of a file that is no text, what it is."""
    if Path(source).is_file():
        next(lines(source), None)
    return DataError(f"{shown_path(source)}: {expected}, or one of them as .gz: got another name")


def tsv_rows(source: str | Path, path: str) -> _Cells:
    numbered = list(lines(source))
    if _quoted_as_pandas(numbered):
        yield from csv_rows(iter(numbered), path, "\t")
    else:
        for number, line in numbered:
            yield number, line.split("\t") if line else []


def _quoted_as_pandas(numbered: list[tuple[int, str]]) -> bool:
    """Whether quotes stand around the cells that need them, or around all: elsewhere they are signs like any other.

    A quoted cell may hold a tab or the end of a line only where lines alone would not have one number of cells.
    """
    if not any('"' in line for _, line in numbered):
        return False
    inside = '"' if len({line.count("\t") for _, line in numbered if line}) == 1 else '"\t\n'
    text = "".join(f"{line}\n" for _, line in numbered)
    found = list(_CELL.finditer(text))
    if sum(len(cell[0]) for cell in found) != len(text):
        return False
    cells = [cell[1] for cell in found if cell[1]]
    around = [cell[1:-1] for cell in cells if cell[0] == '"']
    if inside == '"' and any("\t" in cell or "\n" in cell for cell in around):
        return False
    return len(around) == len(cells) or all(any(sign in cell for sign in inside) for cell in around)


def csv_rows(numbered: Iterator[tuple[int, str]], path: str, delimiter: str) -> _Cells:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # there is only the one for the whole process
    reader = csv.reader((line + "\n" for _, line in numbered), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{begin}: must be a row of {_VALUES[delimiter]}: got the error '{error}'") from error


def _objects(
    source: str | Path, path: str, wanted: Sequence[str | int], log: RowLog, lists: bool
) -> Iterator[TableRow]:
    names = [column for column in wanted if isinstance(column, str)]
    if len(names) != len(wanted):
        raise DataError(f"{path}: the columns of JSON lines must be wanted by name: got {list(wanted)}")
    keys: list[str] = []
    for number, line in json_rows(source):
        location = f"{path}:{number}"
        try:
            row = json_object(line, location)
            keys = keys or keys_of(row, names, path, location, log)
            values = tuple(_value(row, name, location, lists and name == keys[-1]) for name in keys)
        except DataError as error:
            log.bad(error)
        else:
            yield TableRow(values, location)


def keys_of(row: dict[str, Any], names: Sequence[str], path: str, location: str, log: RowLog) -> list[str]:
    """The keys that are meant by names, of which those that nobody chose may be others there."""
    there = list(row)
    if all(name in row for name in names):
        return list(names)
    indices = all_named(there, names, location)
    log.notes += filter(None, [taken(path, there, names, indices, True)])
    return [there[index] for index in indices]


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


def _value(row: dict[str, Any], name: str, location: str, lists: bool) -> str:
    if name not in row:
        raise DataError(f"{location}: must have {quoted(name)}: got {quoted_all(list(row)) or 'an empty object'}")
    value = row[name]
    if lists and isinstance(value, list):
        return json.dumps([_value({name: item}, name, location, False) for item in value], ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        got = "null" if value is None else "a list" if isinstance(value, list) else "an object"
        hint = "; data.target=labels reads several labels" if got == "a list" and name in KNOWN["label"].split() else ""
        raise DataError(f"{location}: {quoted(name)} must be a text, a number, true or false: got {got}{hint}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{location}: {quoted(name)} must be text: got half a character, {quoted(value[error.start])}"
        ) from error
    return str(value)
