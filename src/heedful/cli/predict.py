"""`heedful predict RUN INPUT ...`."""

import io
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from cyclopts import Group, Parameter

from heedful._errors import HeedfulError

_AT_ONCE = 64  # inputs that are taken together, if they are there
_DRAWING = Group("Options of tasks that write")
_SEARCH = Group("Options of translate and summarize")


def predict(
    run_folder: Path,
    /,
    *inputs: str,
    data: str | None = None,
    format: Literal["text", "jsonl", "data"] = "text",
    tokens: Annotated[int | None, Parameter(group=_DRAWING)] = None,
    temperature: Annotated[float | None, Parameter(group=_DRAWING)] = None,
    top_k: Annotated[int | None, Parameter(group=_DRAWING)] = None,
    top_p: Annotated[float | None, Parameter(group=_DRAWING)] = None,
    samples: Annotated[int | None, Parameter(group=_DRAWING)] = None,
    seed: Annotated[int | None, Parameter(group=_DRAWING)] = None,
    beams: Annotated[int | None, Parameter(group=_SEARCH)] = None,
    n_best: Annotated[int | None, Parameter(group=_SEARCH)] = None,
    length_penalty: Annotated[float | None, Parameter(group=_SEARCH)] = None,
    no_repeat: Annotated[int | None, Parameter(group=_SEARCH)] = None,
    scores: Annotated[bool | None, Parameter(group=_SEARCH, negative="")] = None,
    alignment: Annotated[bool | None, Parameter(group=_SEARCH, negative="")] = None,
) -> None:
    """Predict with a trained model: a line for each input, in their order, as soon as it is known.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    inputs
        Texts, or pictures: files, folders or archives. Without any, standard input: a text or a path a line, or one
        picture's bytes.
    data
        A file of inputs, in the form in which the task reads its data.
    format
        text: for a person; jsonl: a JSON object a line; data: as the task's data files have it.
    tokens
        How many to write; of what ends by itself, the most of them.
    temperature
        Below 1 bolder, above 1 wilder; 0 always takes the most probable token.
    top_k
        Draw among so many of the most probable tokens; 0: all.
    top_p
        Draw among the most probable tokens that have so much probability together.
    samples
        Draw so many texts for each input.
    seed
        Of what is drawn.
    beams
        Beginnings that the beam search keeps; 1: greedy.
    n_best
        How many texts for each input, the best first: so many lines.
    length_penalty
        0 prefers short texts, 1 takes nearly the mean over tokens.
    no_repeat
        No sequence of so many tokens stands twice in a text; 0: all may.
    scores
        Behind a tab, the log probability of each text for its length.
    alignment
        Behind a tab, pairs of words as in 0-0 1-2: of the input, and of the output.
    """
    from heedful.tasks.catalog import task
    from heedful.training.run_folder import RunFolder

    run = RunFolder(run_folder)
    name = run.about()["task"]
    entry = task(name)
    given: dict[str, Any] = {"tokens": tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    given |= {"samples": samples, "seed": seed, "beams": beams, "n_best": n_best, "length_penalty": length_penalty}
    given |= {"no_repeat": no_repeat, "scores": scores, "alignment": alignment}
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        if key not in entry.options:
            raise HeedfulError(f"`--{key.replace('_', '-')}` is no option of {name}.")
    module = entry.load()
    taken = _of_file(module, run, inputs, data) if data is not None else taken_from(inputs, entry.takes)
    for prediction in module.predict(run, chunks(taken), **options):
        print(_written(prediction, format), flush=True)


def _written(prediction: Any, format: str) -> str:
    import dataclasses
    import json

    if format == "jsonl":
        return json.dumps(dataclasses.asdict(prediction), ensure_ascii=False)
    if format == "data":
        return str(prediction.as_data())
    return str(prediction)


def _of_file(module: Any, run: Any, inputs: tuple[str, ...], data: str) -> Iterator[Any]:
    if inputs:
        raise HeedfulError(f"give inputs by position or --data, not both: got {inputs[0]!r} and --data {data}.")
    return iter(module.read_inputs(run, data))


def chunks(items: Iterator[Any], most: int = _AT_ONCE) -> Iterator[list[Any]]:
    """The items, as many together as are there, at most `most`: who writes one line and waits gets an answer.

    A thread reads ahead, by two chunks at most.
    """
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(2 * most)

    def read() -> None:
        try:
            for item in items:
                waiting.put((True, item))
            waiting.put((False, None))
        except BaseException as error:
            waiting.put((False, error))

    threading.Thread(target=read, daemon=True).start()
    while True:
        chunk: list[Any] = []
        more, item = waiting.get()
        while more:
            chunk.append(item)
            if len(chunk) == most or waiting.empty():
                break
            more, item = waiting.get()
        if chunk:
            yield chunk
        if not more:
            if item is not None:
                raise item
            return


def taken_from(inputs: tuple[str, ...], kind: Literal["pictures", "texts"]) -> Iterator[str | BinaryIO]:
    """The inputs by position, or those of standard input."""
    if inputs:
        yield from map(checked_text, inputs) if kind == "texts" else inputs
        return
    if sys.stdin.isatty():
        raise HeedfulError("give inputs by position, or on standard input: got neither.")
    yield from _pictures() if kind == "pictures" else _texts()


def checked_text(word: str) -> str:
    """A text from the command line, where bytes that are no UTF-8 have become half characters."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        byte = ord(word[error.start]) & 0xFF
        raise HeedfulError(f"an input must be UTF-8: got byte 0x{byte:02x} at character {error.start + 1}.") from None
    return word


def _texts() -> Iterator[str]:
    """A text a line, an empty one for an empty line."""
    number = 0
    while line := sys.stdin.buffer.readline(_LONGEST + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > _LONGEST:
            raise HeedfulError(f"standard input:{number}: a line must have at most {_LONGEST:,} bytes: got more.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise HeedfulError(
                f"standard input:{number}: must be UTF-8: got byte 0x{line[error.start]:02x} at column {error.start + 1}."
            ) from None


_LONGEST = 1_000_000  # bytes of a line


def _pictures() -> Iterator[str | BinaryIO]:
    """Paths, one a line, unless standard input begins with bytes that are no text."""
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
