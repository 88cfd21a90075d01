"""`heedful predict RUN INPUT ...`."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from heedful._errors import HeedfulError


def predict(
    run_folder: Path,
    /,
    *inputs: str,
    format: Literal["text", "jsonl"] = "text",
) -> None:
    """Predict with a trained model: a line for each input, in their order.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    inputs
        Files, folders or archives. Without any, standard input: a path a line, or one file's bytes.
    format
        text: for a person; jsonl: a JSON object a line.
    """
    import dataclasses
    import json

    from heedful.tasks.catalog import task
    from heedful.training.run_folder import RunFolder

    run = RunFolder(run_folder)
    module = task(run.about()["task"]).load()
    for prediction in module.predict(run, given(inputs)):
        if format == "jsonl":
            print(json.dumps(dataclasses.asdict(prediction), ensure_ascii=False), flush=True)
        else:
            print(prediction, flush=True)


def given(inputs: tuple[str, ...]) -> Iterator[str | BinaryIO]:
    """The inputs by position, or those of standard input: paths, one a line, unless it begins with bytes that are no text."""
    if inputs:
        yield from inputs
        return
    if sys.stdin.isatty():
        raise HeedfulError("give inputs by position, or on standard input: got neither.")
    first = sys.stdin.buffer.readline()
    try:
        line = first.decode("utf-8").strip()
        if "\0" in line or line.startswith("\ufffd"):
            raise UnicodeDecodeError("utf-8", first, 0, 1, "not a path")
    except UnicodeDecodeError:
        yield io.BytesIO(first + sys.stdin.buffer.read())
        return
    while first:
        line = first.decode("utf-8", errors="replace").strip()
        if line:
            yield line
        first = sys.stdin.buffer.readline()
