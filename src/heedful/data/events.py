"""Events, "user item [time] [weight]", from lines, tables, Parquet and Python's own data, as histories."""

import importlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heedful._errors import DataError, needing
from heedful.data._entries import listed
from heedful.data._header import missing, wanted_number
from heedful.data._limits import Budget
from heedful.data._rows import RowLog
from heedful.data.frames import as_text, described, from_frame, in_memory
from heedful.data.genres import GENRES, genre_histories
from heedful.data.histories import Histories, SplitName, histories_of
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.json_rows import json_rows
from heedful.data.text.tables import csv_rows, json_object, table_format

__all__ = ["EventColumns", "read_histories"]

ROLES = ("user", "item", "time", "weight")
NONE = "none"  # a column that is not to be read

_KNOWN = {  # what people call the columns, by the name that nobody chose
    "user": "user user_id userid uid customer customer_id session session_id sessionid reviewerid reviewer_id visitorid",
    "item": "item item_id itemid iid movie movie_id movieid product product_id productid asin parent_asin track_id article_id",
    "time": "time timestamp date datetime unixreviewtime event_time created_at ts",
    "weight": "weight",
}
_AUTO = "auto"

_Rows = Iterator[tuple[str, Sequence[Any]]]  # where each row stands, and its cells


class EventColumns(NamedTuple):
    """Which columns hold what: their names, or their numbers from 1.

    Attributes:
        user: who.
        item: what.
        time: when; "auto": where a column is called so; "none": it is not read.
        weight: how much an event counts; likewise.
    """

    user: str | int = "user"
    item: str | int = "item"
    time: str | int = _AUTO
    weight: str | int = _AUTO


DEFAULT_COLUMNS = EventColumns()


def read_histories(
    source: Any,
    *,
    columns: EventColumns = DEFAULT_COLUMNS,
    split: SplitName = "leave-one-out",
    labeled: bool = True,
    drop_duplicates: bool = True,
    skip: float | None = None,
    part: str = "train",
) -> Histories:
    """The histories of a source of events.

    - Lines without a header: user, item, and where there are more columns time and weight, separated by tabs, or else by commas,
      or else by blanks.
    - .csv, .tsv, .jsonl (also as .gz) and .parquet with names of columns; usual ones such as `user_id`, `asin` and `timestamp` are
      known, too.
    - A data frame, a mapping of columns, rows that are mappings, or a tuple of two to four columns.
    - `genres`: embedded data.

    Times are numbers, in seconds or any other unit, or dates as ISO 8601 has them, in UTC where they do not say another zone.

    Args:
        source: one of them.
        columns: which columns hold what.
        split: how examples are held out later.
        labeled: whether the last item of a user is to be predicted.
        drop_duplicates: as of `histories_of`.
        skip: the largest share of bad rows that may be skipped; None: the first one is an error.
        part: of the embedded data.

    Raises:
        DataError: the source cannot be read, a column is not there, or a row is not what it must be.

    Example:
        >>> found = read_histories((["ann", "bob", "ann"], ["tea", "tea", "milk"]))
        >>> found.users, [found.items[number] for number in found.of(0)]
        (('ann', 'bob'), ['tea', 'milk'])
    """
    if isinstance(source, str) and source == GENRES:
        return replace(genre_histories("test" if part == "test" else "train"), split=split, labeled=labeled)
    log, location = RowLog(skip), "the data" if in_memory(source) else shown_path(source)
    names, rows = _in_memory(source) if in_memory(source) else _of_file(source, columns)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{location}: must hold at least one event: got none")
    found = _chosen(names, first, columns)
    events = [event for row in itertools.chain([first], rows) if (event := _event(row, found, len(first[1]), log))]
    notes = log.finish(len(events))
    if not events:
        raise DataError(f"{location}: must hold at least one event: got none that is good")
    users, items, times, weights = zip(*events, strict=True)
    histories = histories_of(
        users, items, None if found["time"] is None else times, None if found["weight"] is None else weights,
        drop_duplicates=drop_duplicates, split=split, labeled=labeled, location=location,
    )  # fmt: skip
    return replace(histories, notes=(*notes, *histories.notes))


def _chosen(names: Sequence[str] | None, first: tuple[str, Sequence[Any]], columns: EventColumns) -> dict[str, Any]:
    """Where each role stands; None for one that is not there."""
    location, cells = first
    found: dict[str, int | None] = {}
    if names is None and not 2 <= len(cells) <= len(ROLES) and not isinstance(columns.user, int):
        raise DataError(
            f"{location}: must have 2 to 4 columns, user, item, time and weight, or a header that names them: got {len(cells)}"
        )
    for place, (role, column) in enumerate(zip(ROLES, columns, strict=True)):
        column = wanted_number(column, location) if column not in (_AUTO, NONE) else column
        optional = role in ("time", "weight") and column == _AUTO
        if column == NONE:
            found[role] = None
        elif isinstance(column, int):
            if column > len(cells):
                raise DataError(f"{location}: must have a column {column}, the {role}: got {len(cells)}")
            found[role] = column - 1
        elif names is None:
            found[role] = place if place < len(cells) else None
        else:
            found[role] = _named(names, role, role if optional else column)
            if found[role] is None and not optional:
                raise missing(names, column, location, numbers=False)
    return found


def _named(names: Sequence[str], role: str, column: str) -> int | None:
    """Where a column of this name stands; of a name that nobody chose, one that is called alike."""
    there = [name.strip().lower() for name in names]
    wanted = [column.strip().lower(), *(_KNOWN[role].split() if column == role else ())]
    return next((there.index(name) for name in wanted if name in there), None)


def _event(row: tuple[str, Sequence[Any]], found: Mapping[str, Any], width: int, log: RowLog) -> Any:
    """User, item, time and weight of a row; None where it is bad and may be skipped."""
    location, cells = row
    try:
        if len(cells) != width:
            raise DataError(f"{location}: must have {width} columns, as the first row has: got {len(cells)}")
        texts = []
        for role in ("user", "item"):
            cell = cells[found[role]]
            text = cell.strip() if isinstance(cell, str) else as_text(cell, role, location)
            if not text:
                raise DataError(
                    f"{location}: must have {'a user' if role == 'user' else 'an item'}: got an empty field"
                )
            if any(sign in text for sign in "\t\r\n"):
                raise DataError(f"{location}: the {role} must be one line without tabs: got {quoted(text)}")
            texts.append(text)
        when = 0.0 if found["time"] is None else _seconds(cells[found["time"]], location)
        weight = 1.0 if found["weight"] is None else _weight(cells[found["weight"]], location)
        return *texts, when, weight
    except DataError as error:
        log.bad(error)
        return None


def _seconds(value: Any, location: str) -> float:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise DataError(
                    f"{location}: the time must be a number, or a date such as 2024-05-01T12:30: got {quoted(value)}"
                ) from None
    if isinstance(value, datetime) and value == value:  # pandas has one that is no time
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float | np.number) and math.isfinite(value):
        return float(value)
    got = value if isinstance(value, float) else described(value)
    raise DataError(f"{location}: the time must be a number, or a date such as 2024-05-01T12:30: got {got}")


def _weight(value: Any, location: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        got = quoted(value) if isinstance(value, str) else described(value) if value is None else value
        raise DataError(f"{location}: the weight must be a positive number: got {got}")
    return number


def _of_file(source: str | Path, columns: EventColumns) -> tuple[Sequence[str] | None, _Rows]:
    """The names of the columns, where there are some, and the rows of a file."""
    path = shown_path(source)
    if str(source).lower().endswith((".parquet", ".pq")) and Path(source).is_file():
        return _parquet(source, path)
    format = table_format(source)
    if format == "jsonl":
        return _objects(source, path)
    numbered = lines(source)
    rows = csv_rows(numbered, path, ",") if format == "csv" else _cells(numbered, "\t" if format == "tsv" else None)
    located = ((f"{path}:{number}", cells) for number, cells in rows if cells)
    first = next(located, None)
    if first is None:
        return None, iter(())
    names = [str(column) for column in columns[:2]]
    if all(_named(first[1], role, name) is not None for role, name in zip(ROLES, names, strict=False)):
        return first[1], located
    if chosen := [name for role, name in zip(ROLES, names, strict=False) if name != role and not name.isdecimal()]:
        raise missing(first[1], chosen[0], first[0])
    return None, itertools.chain([first], located)


def _cells(numbered: Iterator[tuple[int, str]], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Rows of lines; without a delimiter, the first line tells it."""
    for number, line in numbered:
        if not line.strip():
            continue
        if delimiter is None:
            delimiter = next((sign for sign in "\t," if sign in line), " ")
        yield number, re.split(" +", line.strip()) if delimiter == " " else line.split(delimiter)


def _objects(source: str | Path, path: str) -> tuple[Sequence[str] | None, _Rows]:
    objects = ((f"{path}:{number}", line) for number, line in json_rows(source))
    first = next(objects, None)
    if first is None:
        return None, iter(())
    names = list(json_object(first[1], first[0]))

    def rows() -> _Rows:
        for location, line in itertools.chain([first], objects):
            row = json_object(line, location)
            yield location, [row.get(name) for name in names]

    return names, rows()


def _parquet(source: str | Path, path: str) -> tuple[Sequence[str], _Rows]:
    with needing("parquet", "a Parquet file"):
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(source)
        names = list(file.schema_arrow.names)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: must be a Parquet file: got the error {quoted(str(error))}") from None

    def rows() -> _Rows:
        number, budget = 0, Budget(path)
        try:
            for batch in file.iter_batches():
                budget.take(items=batch.num_rows)
                for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield f"{path}: row {number}", cells
                    number += 1
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: must be a whole Parquet file: got the error {quoted(str(error))}") from None

    return names, rows()


def _in_memory(source: Any) -> tuple[Sequence[str] | None, _Rows]:
    """The columns of data in memory that are known."""
    if isinstance(source, tuple | list) and not (source and isinstance(source[0], Mapping)):
        if not 2 <= len(source) <= len(ROLES):
            raise DataError(f"the data must be 2 to 4 columns, {listed(ROLES)}: got {len(source)}")
        found, names = from_frame(tuple(source), dict.fromkeys(ROLES[: len(source)], "any")), None
    else:
        there = [
            *(
                source[0]
                if isinstance(source, list)
                else getattr(source, "columns", getattr(source, "column_names", source))
            )
        ]
        names = [str(name) for name in there]
        wanted = [index for role in ROLES if (index := _named(names, role, role)) is not None]
        for role in ("user", "item"):
            if _named(names, role, role) is None:
                raise missing(names, role, "the data", numbers=False)
        names = [there[index] for index in wanted]
        found = from_frame(source, dict.fromkeys(names, "any"))
    return names, ((place, cells) for place, *cells in zip(found.locations, *found.values, strict=True))
