"""Where a task's data come from: paths, embedded names and Python data, read, parted and checked."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from heedful._errors import DataError, RunFolderError
from heedful.data._limits import STREAMS
from heedful.data.splits import Split
from heedful.data.text._lines import shown_path
from heedful.tasks.contract import TRAINING, Embedded, Examples, Reading, Task
from heedful.training.schema import checked
from heedful.training.settings import AUTO, decided

IN_MEMORY = "data in memory"  # what run.json says of data that have no path


def source_of(source: Any) -> Any:
    """A source as it is read: in a path, `~` is the home folder; an empty text, such as a variable that was not set, is none."""
    if isinstance(source, os.PathLike):
        return os.path.expanduser(source)
    if not isinstance(source, str):
        return source
    if not source.strip():
        raise DataError(f"the data must be a path or the name of embedded data: got {source!r}.")
    return ",".join(map(os.path.expanduser, source.split(",")))


def prepare(
    kind: type[Task[Any]], settings: Any, sources: Mapping[str, Any], base: Task[Any] | None = None
) -> tuple[Split, Task[Any]]:
    """The parts of the data, read and checked, and the task: its settings follow the training part, of which it has learned.

    Of a base it has learned, too, where there is one.
    """
    split, valid = split_of(kind, settings, sources)
    source = next(iter(sources.values()))
    found = {"training.batch_size": AUTO, **kind.adapt(split.training, settings)}  # the size is tried later
    settings = decided(settings, found)
    try:
        vocabulary = (
            kind.learn(split.training, settings) if base is None else kind.extend(split.training, settings, base)
        )
        if kind.Vocabulary is not None:
            checked(kind.Vocabulary, vocabulary, shown(source))
        ours = kind(settings, vocabulary)
    except RunFolderError as error:
        raise DataError(str(error)) from None
    except DataError as error:
        raise DataError(f"{shown(source)}: {error}") from None
    if valid is None:
        words = f"{split.held_out} of {counted(ours, split.validation, source)}"
        parts = split._replace(
            held_out=words if split.test is None else f"{words}; test: {len(split.test):,} {kind.example}s"
        )
    else:
        other = read(kind, valid, settings, Reading("valid", vocabulary=ours.vocabulary))
        embedded = _embedded(kind, valid)
        words = embedded.validation if embedded is not None and "data" in sources else ""
        parts = Split(split.training, other, words or counted(ours, other, valid))
    for part in (parts.training, parts.validation, parts.test):
        if part is not None:
            ours.check(part)
    return parts, ours


def split_of(kind: type[Task[Any]], settings: Any, sources: Mapping[str, Any]) -> tuple[Split, Any]:
    """The training examples; and those that are held out of them, or the source of the validation examples."""
    source = next(iter(sources.values()))
    valid, embedded = sources.get("valid"), _embedded(kind, source)
    if valid is None and embedded is not None and "valid" in embedded.parts:
        valid = source
    examples = read(kind, source, settings, TRAINING)
    try:
        parts = kind.split(examples, kind.example) if valid is None else Split(examples, None, "")
        return parts._replace(training=_first(kind, parts.training, settings)), valid
    except DataError as error:
        raise DataError(f"{shown(source)}: {error}") from None


def _first(kind: type[Task[Any]], examples: Any, settings: Any) -> Any:
    """As many examples as are to be trained on."""
    most = getattr(getattr(settings, "training", None), "max_examples", 0)
    if most > len(examples):
        raise DataError(
            f"must have at least {most:,} {kind.example}s to train on, `training.max_examples`: got {len(examples):,}."
        )
    return examples.select(range(most)) if most else examples


def read(kind: type[Task[Any]], source: Any, settings: Any, reading: Reading) -> Any:
    """The examples of a source; what holds examples already is taken as it is."""
    return source if hasattr(source, "content") and hasattr(source, "select") else kind.read(source, settings, reading)


def checksum(examples: Examples) -> str:
    """A run is resumed, and its baselines are fitted, with the data with which it was begun."""
    digest = hashlib.sha256()
    for piece in examples.content():
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


def located(kind: type[Task[Any]], source: Any) -> str:
    """How run.json names a source: with absolute paths, so that they are found from anywhere."""
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if not isinstance(source, str) or source in STREAMS:
        return IN_MEMORY
    if _embedded(kind, source) is not None:
        return source
    if source.startswith("hf:"):
        return f"hf:{os.path.abspath(source[3:])}" if os.path.isdir(source[3:]) else source
    halves = source.split(",")
    if len(halves) == 2 and not os.path.exists(source):
        return ",".join(os.path.abspath(half.strip()) for half in halves)
    return os.path.abspath(source)


def preset(kind: type[Task[Any]], sources: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that suit embedded data."""
    embedded = _embedded(kind, sources.get("data"))
    return () if embedded is None else embedded.settings


def counted(task: Task[Any], examples: Examples, source: Any) -> str:
    """Words for examples of a source."""
    return f"{shown(source)}, {len(examples):,} {task.example}s"


def shown(source: Any) -> str:
    """Words for a source."""
    return shown_path(source) if isinstance(source, str | os.PathLike) else "the data"


def is_embedded(kind: type[Task[Any]], source: Any) -> bool:
    """Whether data need no file."""
    return _embedded(kind, source) is not None


def notes_of(*examples: Any) -> list[str]:
    """What the readers of examples said, each sentence once."""
    return list(dict.fromkeys(note for one in examples for note in getattr(one, "notes", ())))


def _embedded(kind: type[Task[Any]], source: Any) -> Embedded | None:
    return kind.embedded.get(source.partition("[")[0]) if isinstance(source, str) else None
