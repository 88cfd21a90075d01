"""What a person gives to a task, as a list of its inputs."""

import dataclasses
import os
from collections.abc import Iterable, KeysView, Mapping, Set
from contextlib import suppress
from typing import Any

from heedful._errors import DataError
from heedful.data.frames import described
from heedful.data.inputs import InputKind
from heedful.tasks.contract import Task


def listed(inputs: Any, task: Task[Any]) -> list[Any]:
    """One input, or each of several, as a list; a text, a path, an image or a file that is open is one.

    Raises:
        DataError: what is no input of the task, with its position; a table or a set.
    """
    if hasattr(inputs, "content") and hasattr(inputs, "select"):
        return list(task.inputs(inputs))
    unordered = isinstance(inputs, Mapping | Set) and not isinstance(inputs, KeysView)
    if task.input is InputKind.SERIES and (isinstance(inputs, Mapping) or hasattr(inputs, "columns")):
        return [inputs]
    if unordered or hasattr(inputs, "columns") or hasattr(inputs, "column_names"):
        raise DataError(
            f"`inputs` must be one input or a list of them, such as one column of a table: got a {type(inputs).__name__}."
        )
    single = isinstance(inputs, (str, bytes, os.PathLike)) or hasattr(inputs, "read") or hasattr(inputs, "convert")
    if single or not isinstance(inputs, Iterable) or _is_one_array(inputs, task):
        items, several = [inputs], False
    else:
        items, several = list(inputs), True
    if task.input is InputKind.NONE and not all(hasattr(one, "content") for one in items):
        raise DataError(f"there must be no inputs, since this task takes none: got {len(items)}.")
    if task.input is not InputKind.TEXT:
        return items
    return [_text(one, f"inputs[{row}]" if several else "inputs", task.lists) for row, one in enumerate(items)]


def _is_one_array(inputs: Any, task: Task[Any]) -> bool:
    """Whether an array is one input: a series, an image, or a text in an array of no axis."""
    shape = getattr(inputs, "shape", None)
    if task.input is InputKind.SERIES:
        return shape is not None
    if shape is None or task.input is not InputKind.IMAGE:
        return shape == ()
    if len(shape) == 3 and shape[0] in (3, 4) and shape[-1] not in (1, 3, 4):
        raise DataError(
            f"an array of shape {tuple(shape)} may be one image in color or {shape[0]} in gray: give a list of images."
        )
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4))


def _text(value: Any, name: str, lists: bool) -> Any:
    """One text; where lists are taken, it may be one of its words or sentences; a sentence that was read stays what it is."""
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            value.encode()
            return value
        raise DataError(f"`{name}` must be a text: got half a character in {value!r}.")
    if dataclasses.is_dataclass(value):
        return value
    if lists and isinstance(value, list | tuple):
        return [_text(part, f"{name}[{row}]", False) for row, part in enumerate(value)]
    raise DataError(f"`{name}` must be a text{' or a list of texts' if lists else ''}: got {described(value)}.")
