"""Columns of a table, as they stand: CSV, TSV, JSON lines, Parquet, data frames, arrays."""

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heedful._errors import DataError, needing
from heedful.data._entries import listed, printable, reading
from heedful.data._header import missing
from heedful.data._limits import STREAMS, Budget
from heedful.data.frames import from_frame, in_memory
from heedful.data.text._lines import lines, quoted_all, shown_path
from heedful.data.text.json_rows import json_rows
from heedful.data.text.tables import csv_rows, json_object, table_format, tsv_rows

__all__ = ["Columns", "read_columns"]


@dataclass(frozen=True, eq=False)
class Columns:
    """A table as columns of cells.

    Attributes:
        name: what messages call the table.
        cells: each column by its name: texts of a file; of a data frame, an array or Parquet what they hold.
        location: where a row stands, "prices.csv:812" or "row 810".
        separator: of a file of separated values; else nothing.
    """

    name: str
    cells: Mapping[str, Sequence[Any]]
    location: Callable[[int], str]
    separator: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def find(self, column: str) -> str:
        """The name of a column: case does not matter, and a number from 1 is one, too.

        Raises:
            DataError: there is no such column, or there are several.
        """
        names = list(self.cells)
        if column in names:
            return column
        alike = [name for name in names if name.strip().lower() == column.strip().lower()]
        if len(alike) > 1:
            raise DataError(f"{self.name}: must have one column '{printable(column)}': got {listed(alike)}")
        if alike:
            return alike[0]
        if column.isdecimal() and 1 <= int(column) <= len(names):
            return names[int(column) - 1]
        raise missing(names, column, self.name)


def read_columns(source: Any) -> Columns:
    """All columns of a table.

    - A path: .csv (separated by commas, semicolons, or whatever the first line has most of), .tsv, .jsonl, each also as .gz; .parquet;
      `-` is standard input. Columns of a file without a header are called 1, 2, 3.
    - Data in memory: a data frame of pandas or polars (an index of times is a column, too), a mapping of names to columns, a list
      of rows that are mappings, an array `[rows]` or `[rows, columns]`.

    Raises:
        DataError: it cannot be read, has no rows, a row has too many or too few cells, or two columns have one name.

    Examples:
        >>> read_columns({"close": [1.0, 2.5]}).cells["close"]
        [1.0, 2.5]
    """
    columns = _of_memory(source) if in_memory(source) else _of_file(os.fspath(source))
    if not len(columns):
        raise DataError(f"{columns.name}: must hold at least one row: got none")
    return columns


def _of_file(source: str) -> Columns:
    path = shown_path(source)
    if source.lower().endswith((".parquet", ".pq")):
        return _of_parquet(source, path)
    format = table_format(source, is_table=True)
    if format is None and source not in STREAMS and not Path(source).exists():
        raise DataError(f"{path}: cannot be read: No such file or directory")
    if format is None:
        raise DataError(
            f"{path}: must be a table, .csv, .tsv, .jsonl, .parquet, or one of them as .gz: got another name"
        )
    if format == "jsonl":
        return _of_json(source, path)
    separator = "\t" if format == "tsv" else _separator(source)
    rows = tsv_rows(source, path) if format == "tsv" else csv_rows(lines(source), path, separator)
    numbers: list[int] = []
    cells: list[list[str]] = []
    begin, names = 0, []
    for number, row in rows:
        if not row:
            continue
        if not begin:
            begin, names = number, [name.strip() for name in row]
            if not all(_is_cell(name) for name in names):
                continue
            names = [str(column) for column in range(1, len(row) + 1)]  # no header: the first row is data
        if len(row) != len(names):
            got = f"got {len(row)}, {quoted_all(row)}"
            raise DataError(f"{path}:{number}: must have {len(names)} columns, as line {begin} has: {got}")
        numbers.append(number)
        cells.append(row)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{path}:{begin}: must name each column once: got '{printable(twice)}' {names.count(twice)} times"
        )
    columns = (
        dict(zip(names, map(list, zip(*cells, strict=True)), strict=True)) if cells else {name: [] for name in names}
    )
    return Columns(path, columns, lambda row: f"{path}:{numbers[row]}", separator)


def _separator(source: str) -> str:
    first = next((line for _, line in lines(source) if line.strip()), "")
    return max(";\t|,", key=first.count) if any(sign in first for sign in ";\t|") else ","


def _is_cell(name: str) -> bool:
    """Whether a cell of the first row is data: a number or a date, or nothing."""
    return not name or name[0].isdecimal() or (name[0] in "+-.," and name[1:2].isdecimal())


def _of_json(source: str, path: str) -> Columns:
    cells: dict[str, list[Any]] = {}
    numbers: list[int] = []
    for number, line in json_rows(source):
        row = json_object(line, f"{path}:{number}")
        for name, value in row.items():
            if isinstance(value, list | dict):
                value = json.dumps(value)[:60]
            cells.setdefault(name, [None] * len(numbers)).append(value)
        numbers.append(number)
        for column in cells.values():
            if len(column) < len(numbers):
                column.append(None)
    return Columns(path, cells, lambda row: f"{path}:{numbers[row]}")


def _of_parquet(source: str, path: str) -> Columns:
    with needing("parquet", "a Parquet file"):
        parquet: Any = importlib.import_module("pyarrow.parquet")
    with reading(path, "a Parquet file"):
        file = parquet.ParquetFile(source)
        budget = Budget(path)
        budget.take(items=file.metadata.num_rows)
        table = file.read()
        cells = {name: table.column(name).to_numpy() for name in table.column_names}
    return Columns(path, cells, lambda row: f"{path}: row {row}")


def _of_memory(data: Any) -> Columns:
    name = "the data"
    if isinstance(data, np.ndarray):
        if data.ndim not in (1, 2):
            raise DataError(f"{name}: must be an array [rows] or [rows, columns]: got shape {list(data.shape)}")
        columns: dict[str, Any] = (
            {"value": data} if data.ndim == 1 else {str(i + 1): data[:, i] for i in range(data.shape[1])}
        )
        return Columns(name, columns, "row {}".format)
    cells: dict[str, Any] = {}
    index: Any = getattr(data, "index", None)
    if hasattr(data, "columns") and getattr(getattr(index, "dtype", None), "kind", "") == "M":
        cells[str(index.name or "time")] = index.to_numpy() if index.tz is None else list(index)
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        for column in data.columns:
            values = data[column].to_numpy()
            cells[str(column)] = values if values.dtype.kind in "iufM" else list(values)
        return Columns(name, cells, "row {}".format)
    names = (
        [str(key) for key in data] if isinstance(data, Mapping) else sorted({str(key) for row in data for key in row})
    )
    frame = from_frame(data, dict.fromkeys(names, "any")) if not isinstance(data, Mapping) else None
    if frame is not None:
        return Columns(name, dict(zip(names, frame.values, strict=True)), "row {}".format)
    for key, column in data.items():
        cells[str(key)] = column if isinstance(column, np.ndarray) else list(column)
    lengths = {key: len(column) for key, column in cells.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"{name}: columns must have one length: got {', '.join(f'{k} {n:,}' for k, n in lengths.items())}"
        )
    return Columns(name, cells, "row {}".format)
