"""How predictions are printed: `heedful predict --format`."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from heedful._errors import HeedfulError
from heedful._terminal import visible
from heedful.tasks.predictions import as_json

Format = Literal["text", "label", "jsonl", "data"]
_ANSWERS = ("label", "labels", "items", "number", "output")  # the first of these fields that a prediction has


def formatter(format: Format) -> Callable[[Any], str]:
    """From a prediction to what is printed of it. A file gets labels and data as they are, a terminal nothing that steers it."""
    if format == "jsonl":
        return as_json
    if format == "text":
        return lambda prediction: visible(prediction, keep="\n\t")
    plain = as_label if format == "label" else lambda prediction: str(prediction.to_format())
    return (lambda prediction: visible(plain(prediction), keep="\n\t")) if sys.stdout.isatty() else plain


def printed(predictions: Iterable[Any], format: Format) -> Iterator[str]:
    """What is printed of predictions, as soon as each is there: a line for each.

    Where the task's format is one document, such as a list of JSON, a prediction's class says in `document` what begins it, what stands
    between two of its parts, and what ends it.
    """
    shown, ends, parts = formatter(format), "", 0
    for number, prediction in enumerate(predictions):
        begins, between, ends = getattr(prediction, "document", ("", "", "")) if format == "data" else ("", "", "")
        if begins and not number:
            yield begins
        text = shown(prediction)
        if text or not begins:
            yield (between if parts else "") + text
            parts += 1
    if ends:
        yield ends


def as_label(prediction: Any) -> str:
    """The answer alone, on one line: the label, the labels of the words between blanks, or what was generated."""
    name = next((name for name in _ANSWERS if hasattr(prediction, name)), None)
    if name is None:
        raise HeedfulError(
            f"--format label needs predictions with one of {', '.join(_ANSWERS)}: this task's have none."
        )
    answer = getattr(prediction, name)
    if not isinstance(answer, list):
        return " ".join(str(answer).splitlines())
    return " ".join(getattr(prediction, "separator", " ").join(answer).splitlines())
