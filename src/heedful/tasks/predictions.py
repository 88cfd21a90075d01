"""A prediction as JSON: what `heedful predict --format jsonl` prints and `heedful serve` answers."""

import dataclasses
from typing import Any

from heedful._terminal import json_line


def as_json(prediction: Any) -> str:
    """A line of JSON: the fields, of which the first is `input`, but for those that only steer how it is shown.

    A field whose metadata say so (`"json": "set"`) is left out where it is None.
    """
    kept = {field.name: field.metadata.get("json", True) for field in dataclasses.fields(prediction)}
    values = {name: getattr(prediction, name) for name, json in kept.items() if json}
    return json_line({name: value for name, value in values.items() if kept[name] != "set" or value is not None})
