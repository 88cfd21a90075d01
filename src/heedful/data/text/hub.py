"""Data sets of Hugging Face, on the hub or in a folder here: `hf:NAMESPACE/NAME/CONFIG:SPLIT`."""

import importlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from heedful._errors import DataError, needing
from heedful.data._entries import printable, reading
from heedful.data._header import all_named, taken
from heedful.data._rows import RowLog
from heedful.data.text._lines import quoted, quoted_all

__all__ = ["Address", "address", "is_hub"]

_PREFIX = "hf:"
_TRANSLATION = "translation"


class Address(NamedTuple):
    """What a source names; `config` is None for the only one."""

    name: str
    config: str | None
    split: str


def is_hub(source: object) -> bool:
    """Whether a source is one of Hugging Face."""
    return isinstance(source, str) and source.startswith(_PREFIX)


def address(source: str) -> Address:
    """The data set, its configuration and its split ("train" unless told).

    A name has one or two parts, so a configuration is the third. A folder that is there wins over the hub.

    Examples:
        >>> address("hf:stanfordnlp/sst2:validation")
        Address(name='stanfordnlp/sst2', config=None, split='validation')
        >>> address("hf:nyu-mll/glue/sst2")
        Address(name='nyu-mll/glue', config='sst2', split='train')
    """
    name, _, split = source.removeprefix(_PREFIX).partition(":")
    name, config = name.rstrip("/"), None
    if os.path.isdir(name):
        return Address(name, None, split or "train")
    if name.startswith(("/", ".", "~")):
        raise DataError(f"{printable(source)}: must name a folder that is there: got {quoted(name)}")
    if name.count("/") == 2:
        name, _, config = name.rpartition("/")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise DataError(
            f"{printable(source)}: must look like hf:NAMESPACE/NAME, hf:NAMESPACE/NAME/CONFIG:SPLIT or hf:FOLDER: "
            f"got {quoted(name)} for the name"
        )
    return Address(name, config, split or "train")


def hub_rows(
    source: str, columns: Sequence[str], log: RowLog | None = None, *, lists: bool = False
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The place of each row, and its value in each of these columns; with `lists` the last one's may be lists, given as JSON.

    What is no column is looked for in the column `translation`, where data sets of translation have their languages.
    """
    data = _load(source, ())
    if _TRANSLATION in data.features and not any(column in data.features for column in columns):
        data = data.select_columns([_TRANSLATION]).flatten()
        columns = [f"{_TRANSLATION}.{column}" for column in columns]
    elif not all(column in data.features for column in columns):
        there, path = list(data.features), printable(source)
        indices = all_named(there, columns, path)
        if log is not None:
            log.notes += filter(None, [taken(path, there, columns, indices, True)])
        columns = [there[index] for index in indices]
    _check_columns(data, source, columns)
    data = data.select_columns(list(dict.fromkeys(columns)))
    features = [data.features[column] for column in columns]
    for number, row in enumerate(data):
        location = f"{printable(source)}[{number}]"
        yield (
            location,
            tuple(
                _list_as_json(row[column], feature, column, location)
                if lists and column == columns[-1] and isinstance(row[column], list)
                else _text(row[column], feature, column, location)
                for column, feature in zip(columns, features, strict=True)
            ),
        )


def hub_sentences(
    source: str, words: Sequence[str], columns: Sequence[str | None]
) -> Iterator[tuple[str, tuple[str, ...], dict[str, tuple[str, ...]]]]:
    """The place, the words and the labels of each row; lists of words and lists of labels stand in its columns.

    Args:
        source: the data set.
        words: the names that the column of words may have, likeliest first.
        columns: the columns of labels; None for the only one whose labels have names.
    """
    data = _load(source, ())
    word_column = next((name for name in words if name in data.features), words[0])
    labels = [_only_labels(data, source) if column is None else column for column in columns]
    wanted = (word_column, *labels)
    _check_columns(data, source, wanted)
    features = {}
    for column in wanted:
        features[column] = getattr(data.features[column], "feature", None)
        if features[column] is None:
            raise DataError(
                f"{printable(source)}: column {quoted(column)} must hold lists: got {data.features[column]}"
            )
    for number, row in enumerate(data.select_columns(list(dict.fromkeys(wanted)))):
        location = f"{printable(source)}[{number}]"
        several = {
            column: tuple(
                _text(value, features[column], column, location) for value in _list(row[column], column, location)
            )
            for column in wanted
        }
        count = len(several[word_column])
        for column, values in several.items():
            if len(values) != count:
                raise DataError(
                    f"{location}: {column} must have one label for each of {count} words: got {len(values)}"
                )
        yield location, several[word_column], {column: several[column] for column in labels}


def _load(source: str, columns: Sequence[str]) -> Any:
    """The rows of one split; with `columns`, nothing but these, which must be there."""
    with needing("datasets", "a data set of Hugging Face"):
        datasets: Any = importlib.import_module("datasets")
    name, config, split = address(source)
    with reading(printable(source), "a data set that can be loaded"):
        if any(os.path.isfile(os.path.join(name, file)) for file in ("state.json", "dataset_dict.json")):
            data = datasets.load_from_disk(name)
            if isinstance(data, dict):
                if split not in data:
                    raise DataError(
                        f"{printable(source)}: the split must be one of {quoted_all(list(data))}: got '{split}'"
                    )
                data = data[split]
        else:
            with _quietly():
                data = datasets.load_dataset(name, config, split=split)
        if columns:
            _check_columns(data, source, columns)
            data = data.select_columns(list(dict.fromkeys(columns)))
    if len(data) == 0:
        raise DataError(f"{printable(source)}: must hold at least one row: got none")
    return data


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's lines about each of its attempts: what came of them is said once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_columns(data: Any, source: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in data.features:
            there = quoted_all(list(data.features))
            raise DataError(f"{printable(source)}: must have a column {quoted(column)}: got {there}")


def _only_labels(data: Any, source: str) -> str:
    named = [name for name, feature in data.features.items() if _names(getattr(feature, "feature", None)) is not None]
    if len(named) != 1:
        raise DataError(
            f"{printable(source)}: the column of labels must be named, unless there is just one whose labels have names: "
            f"got {quoted_all(named or list(data.features))}"
        )
    return str(named[0])


def _names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel."""
    names = getattr(feature, "names", None)
    return list(names) if names is not None else None


def _list_as_json(values: list[Any], feature: Any, column: str, location: str) -> str:
    inner = getattr(feature, "feature", feature)
    return json.dumps([_text(value, inner, column, location) for value in values], ensure_ascii=False)


def _list(value: Any, column: str, location: str) -> list[Any]:
    if not isinstance(value, list):
        raise DataError(f"{location}: {column} must be a list: got {type(value).__name__}")
    return value


def _text(value: Any, feature: Any, column: str, location: str) -> str:
    names = _names(feature)
    if names is not None and isinstance(value, int):
        if not 0 <= value < len(names):
            raise DataError(f"{location}: {column} must be a label, 0 to {len(names) - 1}: got {value}")
        return names[value]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    got = "nothing" if value is None else type(value).__name__
    raise DataError(f"{location}: {column} must be a text, a number, true or false: got {got}")
