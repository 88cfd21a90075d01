"""Columns of data in memory: data frames, data sets of Hugging Face, rows or columns of Python, all by one function.

No library of data frames is imported: their columns are asked for by name and taken by position.
"""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from heedful._errors import DataError
from heedful.data._entries import listed, printable
from heedful.data._header import all_named, taken
from heedful.data._rows import RowLog

__all__ = ["ColumnKind", "FrameColumns", "from_frame", "in_memory", "meant"]

ColumnKind = Literal["text", "texts", "list", "any"]

_MISSING = ("nothing", "NaN")


class FrameColumns(NamedTuple):
    """Columns as lists of one length.

    Attributes:
        values: the columns, in the order in which they were asked for.
        locations: of each row, for errors: "row 3", counted from 0 as `iloc` does.
    """

    values: tuple[list[Any], ...]
    locations: list[str]


def from_frame(data: Any, columns: Mapping[str, ColumnKind] | Sequence[str]) -> FrameColumns:
    """The named columns of data in memory.

    - A data frame of pandas or polars, or a data set of Hugging Face: its columns of these names, row by row as they stand,
      whatever the index says. Labels of a data set that have names become these names.
    - A mapping of names to columns, such as a dict of lists.
    - Rows that are mappings, such as a list of dicts or an iterable data set.
    - A tuple or list of columns, as many as are named and in this order: `(texts, labels)`.

    Args:
        data: one of the above.
        columns: the names; of a mapping, with what each column holds: "text" (numbers and truth values become text as the readers
            of files write them), "texts" (a list of texts in each row), "list" (a text, or a list of texts that becomes JSON), or "any"
            (all but nothing). Names alone: texts.

    Raises:
        DataError: a column is not there, a row has no value or one of another kind, or the columns differ in length.

    Examples:
        >>> from_frame({"text": ["fine", "awful"], "label": [1, 0]}, ["text", "label"])
        FrameColumns(values=(['fine', 'awful'], ['1', '0']), locations=['row 0', 'row 1'])
        >>> from_frame((["fine", "awful"], ["good", "bad"]), ["text", "label"]).values[1]
        ['good', 'bad']
        >>> from_frame([{"words": ["Sky", "is"]}], {"words": "texts"}).values
        ([['Sky', 'is']],)
    """
    kinds: dict[str, ColumnKind] = dict(columns) if isinstance(columns, Mapping) else dict.fromkeys(columns, "text")
    raw = _columns(data, list(kinds))
    first = next(iter(kinds))
    for name, column in raw.items():
        if len(column) != len(raw[first]):
            raise DataError(
                f"column {_quoted(name)} must have as many rows as {_quoted(first)}, {len(raw[first]):,}: got {len(column):,}"
            )
    locations = [f"row {row}" for row in range(len(raw[first]))]
    features = getattr(data, "features", None)
    values = tuple(
        _checked(column, name, kinds[name], locations, features.get(name) if isinstance(features, Mapping) else None)
        for name, column in raw.items()
    )
    return FrameColumns(values, locations)


def in_memory(source: Any) -> bool:
    """Whether a source of data is Python's own, and no path, name or address."""
    return not isinstance(source, str | os.PathLike)


def meant(data: Any, names: Sequence[str], log: RowLog | None = None) -> list[str]:
    """The columns of data in memory that names mean: of names that nobody chose, usual others are known, too."""
    there = _names_of(data)
    if there is None or all(name in there for name in names):
        return list(names)
    shown = [str(name) for name in there]
    indices = all_named(shown, names, "the data")
    if log is not None:
        log.notes += filter(None, [taken("the data", shown, names, indices, True)])
    return [there[index] for index in indices]


def as_text(value: Any, name: str, location: str) -> str:
    """A value as text, as the readers of files write it: numbers as they stand, true and false.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float) and value == value:  # NaN is not what it is
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{location}: {_quoted(name)} must be text: got half a character, '{printable(text[error.start])}'"
            ) from error
        return text
    raise DataError(f"{location}: {_quoted(name)} must be a text, a number, true or false: got {described(value)}")


def as_texts(value: Any, name: str, location: str) -> list[str]:
    """A list of texts.

    Raises:
        DataError: it is none.
    """
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise DataError(f"{location}: {_quoted(name)} must be a list of texts: got {described(value)}")
    return [as_text(item, name, location) for item in value]


def _names_of(data: Any) -> list[Any] | None:
    """The names of the columns, where there are some."""
    if isinstance(data, Mapping):
        return list(data)
    there = getattr(data, "columns", None)
    if there is None:
        there = getattr(data, "column_names", None)
    if there is not None and hasattr(data, "__getitem__"):
        return [*there]
    if isinstance(data, list | tuple) and data and all(isinstance(item, Mapping) for item in data):
        return list(data[0])
    return None


def _columns(data: Any, names: list[str]) -> dict[str, list[Any]]:
    """Each named column as a list."""
    there = _names_of(data)
    if there is not None and not isinstance(data, list | tuple):
        return {name: _list(data[_known(name, there, data)], name) for name in names}
    if isinstance(data, str | bytes) or not hasattr(data, "__iter__"):
        raise DataError(
            f"data must be a data frame, a mapping of columns, rows that are mappings, or a tuple of columns: got {described(data)}"
        )
    items = [*data]
    if items and all(isinstance(item, Mapping) for item in items):
        return {name: [_cell(item, name, f"row {row}") for row, item in enumerate(items)] for name in names}
    if len(items) != len(names) or not isinstance(data, tuple | list):
        raise DataError(
            f"data must be {len(names)} columns, {listed(names)}, or rows that are mappings: got {len(items):,} items"
            + (f", the first of which is {described(items[0])}" if items else "")
        )
    return {name: _list(item, name) for name, item in zip(names, items, strict=True)}


def _known(name: str, there: list[Any], data: Any) -> str:
    if there.count(name) == 1:
        return name
    if name in there:
        raise DataError(f"data must have one column {_quoted(name)}: got {there.count(name)}")
    shown = [str(column) for column in there]
    near = difflib.get_close_matches(name, shown, n=1)
    hint = f"; did you mean {_quoted(near[0])}?" if near else ""
    if there and isinstance(data, Mapping) and all(hasattr(data[one], "column_names") for one in there):
        hint = "; these are splits: give one of them"
    raise DataError(f"data must have a column {_quoted(name)}: got {listed(shown) or 'none'}{hint}")


def _cell(row: Mapping[str, Any], name: str, location: str) -> Any:
    if name not in row:
        raise DataError(f"{location}: must have {_quoted(name)}: got {listed([str(key) for key in row]) or 'nothing'}")
    return row[name]


def _list(column: Any, name: str) -> list[Any]:
    """A column as a list of Python's values, in the order of its rows."""
    for method in ("to_list", "tolist"):  # a series of polars or pandas; an array of one axis
        if hasattr(column, method) and getattr(column, "ndim", 1) == 1:
            return list(getattr(column, method)())
    if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__iter__"):
        raise DataError(f"column {_quoted(name)} must be a list: got {described(column)}")
    return [*column]


def _checked(column: list[Any], name: str, kind: ColumnKind, locations: list[str], feature: Any) -> list[Any]:
    """The values of a column as what it holds."""
    names = _class_names(feature)
    return [*_values(column, name, kind, locations, names)]


def _values(
    column: Iterable[Any], name: str, kind: ColumnKind, locations: list[str], names: list[str] | None
) -> Iterator[Any]:
    for value, location in zip(column, locations, strict=True):
        if described(value) in _MISSING:
            raise DataError(f"{location}: {_quoted(name)} must have a value: got {described(value)}")
        if kind == "any":
            yield value
        elif kind == "texts":
            texts = as_texts(value, name, location)
            yield texts if names is None else [_class_name(text, name, names, location) for text in texts]
        elif kind == "list" and hasattr(value, "__iter__") and not isinstance(value, str | bytes | Mapping):
            texts = [one for (one,) in (_values([item], name, "text", [location], names) for item in value)]
            yield json.dumps(texts, ensure_ascii=False)
        else:
            text = as_text(value, name, location)
            yield text if names is None or isinstance(value, str) else _class_name(text, name, names, location)


def _class_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel, or of a list of them."""
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else [str(name) for name in names]


def _class_name(number: str, name: str, names: list[str], location: str) -> str:
    if not number.isdecimal() or int(number) >= len(names):
        raise DataError(f"{location}: {_quoted(name)} must be a label, 0 to {len(names) - 1}: got {number}")
    return names[int(number)]


def _quoted(name: str) -> str:
    return f"'{printable(str(name))}'"


def described(value: Any) -> str:
    """What stood there, for a message."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return "nothing"
    if isinstance(value, float) and value != value:
        return "NaN"
    return f"a value of type {type(value).__name__}"
