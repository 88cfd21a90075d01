"""Tables that name a recording, its text or label, and perhaps a segment, in each row: TSV, CSV, JSON lines, Common Voice, Kaldi."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful.data._entries import listed, printable
from heedful.data._header import by_names
from heedful.data._limits import STREAMS
from heedful.data._recording_files import Finder, SoundClip
from heedful.data._rows import RowLog
from heedful.data.text._lines import lines, quoted
from heedful.data.text.tables import read_table, table_columns

_START, _END, _DURATION = "start", "end", "duration"


def table_recordings(path: str | Path, recording: str, answer: str | None, log: RowLog) -> Iterator[SoundClip]:
    """The recordings that a table names; paths are relative to it, or to the folder `clips` beside it, as Common Voice has them.

    Columns are found by their names: `path` (audio, wav, audio_filepath, ...), the answer, and for segments `start`
    (offset) and `end`, or `start` and `duration`, in seconds. A table without a header has two columns, one of which names files.

    Args:
        path: the table.
        recording: the name of the column of paths.
        answer: that of texts or labels; None: they are not looked for.
        log: takes what was taken for what, and the rows that do not fit, where they may be skipped.

    Raises:
        DataError: a column is missing, or a row does not fit; the message names the line.
    """
    folder = Path() if str(path) in STREAMS else Path(path).parent
    finder = Finder(folder, folder / "clips")
    wanted: list[str | int] = [recording, *([] if answer is None else [answer])]
    there, location = table_columns(path)
    segment: list[str] = []
    if by_names(there, wanted[:1], location)[0] is None and (file := _named_file(there, finder, location)):
        wanted = [file, *([] if answer is None else [3 - file])]
    else:
        segment = _segment_columns(there, location)
    for values, row in read_table(path, [*wanted, *segment], log=log):
        try:
            name, *rest = values
            text = rest.pop(0) if answer is not None else None
            if text is not None and not text.strip() and answer != "text":
                raise DataError(f"{row}: must have a {answer}: got an empty one")
            start, end = _segment(dict(zip(segment, rest, strict=True)), row)
            yield finder(name.strip(), row, None if text is None else text.strip(), start, end)
        except DataError as error:
            log.bad(error)


def _named_file(first: Sequence[str], finder: Finder, location: str) -> int:
    """Which of two columns without a header names a file, from 1; 0: none."""
    for number, word in enumerate(first, start=1):
        try:
            finder(word, location, None)
        except DataError:
            continue
        return number if len(first) <= 2 else 0
    return 0


def _segment_columns(there: Sequence[str], location: str) -> list[str]:
    start, end, duration = by_names(there, (_START, _END, _DURATION), location)
    chosen = (
        []
        if start is None
        else [start]
        if end is None and duration is None
        else [start, duration if end is None else end]
    )
    if start is None and end is not None:
        chosen = [end]
    return [there[index].strip() for index in chosen if index is not None]


def _segment(cells: Mapping[str, str], location: str) -> tuple[float, float | None]:
    """Where the segment of a row begins and ends; empty cells leave it out."""
    times: dict[str, float] = {}
    for name, cell in cells.items():
        if not cell.strip():
            continue
        role = next(role for role in (_START, _END, _DURATION) if by_names([name], (role,), location)[0] is not None)
        times[role] = seconds_of(cell, f"{location}: {role}")
    start = times.get(_START, 0.0)
    end = times.get(_END, start + times[_DURATION] if _DURATION in times else None)
    if end is not None and end <= start:
        raise DataError(f"{location}: a segment must end after it begins: got {start:g} s to {end:g} s")
    return start, end


def seconds_of(cell: str, location: str) -> float:
    """A time in a file. Raises DataError."""
    try:
        time = float(cell)
    except ValueError:
        time = math.nan
    if not 0 <= time < 1e9:
        raise DataError(f"{location} must be seconds from 0 on, as in 12.5: got {quoted(cell)}")
    return time


def kaldi_recordings(folder: Path, kind: str, log: RowLog, labeled: bool = True) -> Iterator[SoundClip]:
    """The recordings of a folder of Kaldi: `wav.scp`, `segments` where there is one, and `text`, or `utt2spk` for labels.

    Raises:
        DataError: a line does not fit, or names what another file lacks; a command is never run.
    """
    finder = Finder(folder, Path())
    files = {name: (word, row) for name, word, row in _pairs(folder / "wav.scp")}
    segments: dict[str, tuple[str, float, float | None]] = {name: (name, 0.0, None) for name in files}
    if (folder / "segments").is_file():
        segments = {}
        for name, rest, row in _pairs(folder / "segments"):
            parts = rest.split()
            if len(parts) != 3:
                raise DataError(
                    f"{row}: must be a name, a recording, a start and an end: got {quoted(f'{name} {rest}')}"
                )
            begin, stop = (seconds_of(cell, f"{row}: a time") for cell in parts[1:])
            segments[name] = parts[0], begin, stop
    answers: Any = ((name, None, f"{folder}/wav.scp") for name in segments)
    table = folder / ("text" if kind == "text" else "utt2spk")
    if labeled:
        answers = _pairs(table, empty=kind == "text")
    for name, answer, row in answers:
        try:
            if name not in segments or segments[name][0] not in files:
                lacking = name if name not in segments else segments[name][0]
                raise DataError(f"{row}: must name a recording of {folder / 'wav.scp'}: got '{printable(lacking)}'")
            recording, start, end = segments[name]
            word, where = files[recording]
            if word.endswith("|"):
                raise DataError(f"{where}: must name a file, a command is never run: got {quoted(word)}")
            yield finder(word, where, answer, start, end, name)
        except DataError as error:
            log.bad(error)


def _pairs(path: Path, *, empty: bool = False) -> Iterator[tuple[str, str, str]]:
    """The first word of each line, the rest of it, and `file:line`."""
    seen: set[str] = set()
    for number, line in lines(path):
        name, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        location = f"{path}:{number}"
        if not name or (not rest.strip() and not empty):
            raise DataError(f"{location}: must be a name and a value, separated by a space: got {quoted(line)}")
        if name in seen:
            raise DataError(f"{location}: must have each name once: got {listed([name])} again")
        seen.add(name)
        yield name, rest.strip(), location
