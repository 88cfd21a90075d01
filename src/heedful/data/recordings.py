"""Recordings with a text or a label each: found, sliced and checked, decoded when they are asked for."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful._types import Tensor
from heedful.data import tones
from heedful.data._content import framed
from heedful.data._entries import printable
from heedful.data._limits import STREAMS
from heedful.data._recording_files import Samples, SoundClip, is_source, of_file, of_stream, of_value
from heedful.data._recording_folders import folder_recordings
from heedful.data._recording_tables import kaldi_recordings, table_recordings
from heedful.data._rows import RowLog, check_label
from heedful.data._sources import locate, split_slice
from heedful.data.frames import ColumnKind, from_frame, in_memory, meant
from heedful.data.text.tables import table_format

if TYPE_CHECKING:
    from heedful.data.log_mel import FeatureStore

__all__ = ["Answer", "Recordings", "SoundClip", "read_recordings", "read_unlabeled_recordings"]

Answer = Literal["text", "label"]
_EXPECTED = (
    "a table (.tsv, .csv, .jsonl), a folder or archive of sounds, a folder of Kaldi (wav.scp), or one sound file"
)


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings, each with its text or label where there is one; none of them is in memory.

    Args:
        recordings: found, not yet decoded.
        answers: the text or the label of each; None where unlabeled.
        notes: what was taken for what, and what was skipped.
        store: computes features and keeps them, as far as they fit; None: there are none yet (`heedful.data.log_mel.with_features`).

    Example:
        >>> found = read_recordings("tones[:3]", "text")
        >>> len(found), found.answers[2], found.names[2], found.samples(2).dtype
        (3, 'zero', 'tones[2]', dtype('float32'))
        >>> found.select([2]).answers
        ('zero',)
    """

    recordings: tuple[SoundClip, ...]
    answers: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    store: "FeatureStore | None" = None

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def names(self) -> tuple[str, ...]:
        """As the data name each."""
        return tuple(one.name for one in self.recordings)

    @property
    def locations(self) -> list[str]:
        """What an error about each begins with."""
        return [one.location for one in self.recordings]

    def samples(self, row: int, rate: int | None = None) -> NDArray[np.float32]:
        """All samples `[T]` of one, the mean of all channels, at its own rate or another; `recordings[row].blocks` gives pieces."""
        return self.recordings[row].read(rate)

    def features(self, row: int) -> Tensor:
        """The features `[frames, bands]` of one."""
        assert self.store is not None
        return self.store(self.recordings[row])

    def frames(self, row: int) -> int:
        """How many frames of features it has."""
        assert self.store is not None
        return self.store.frames[self.recordings[row]]

    def select(self, rows: Iterable[int]) -> "Recordings":
        """Those with these numbers, in this order."""
        chosen = [int(row) for row in rows]
        answers = None if self.answers is None else tuple(self.answers[row] for row in chosen)
        return replace(self, recordings=tuple(self.recordings[row] for row in chosen), answers=answers)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a sound, a segment or an answer does; a file of several segments is read once."""
        known: dict[Any, bytes] = {}
        for row, one in enumerate(self.recordings):
            answer = None if self.answers is None else self.answers[row]
            yield framed(answer, repr((one.start, one.end)))
            source = one.load()
            if isinstance(source, Path):
                if source not in known:
                    with open(source, "rb") as file:
                        known[source] = hashlib.file_digest(file, "sha256").digest()
                yield known[source]
            elif isinstance(source, Samples):
                yield framed(source.rate) + np.ascontiguousarray(source.values).tobytes()
            else:
                yield hashlib.sha256(source).digest()


def read_recordings(
    source: Any,
    answer: Answer = "text",
    *,
    path: str = "path",
    column: str = "",
    part: tones.Part = "train",
    labeled: bool = True,
    known: Collection[str] = (),
    rate: int = 0,
    skip: float | None = None,
) -> Recordings:
    """Reads which recordings there are, each with its text or its label, from what a person types for them.

    - A table (.tsv, .csv, .jsonl, .gz of each) with columns for the path and the answer, and for segments start and end in seconds.
      Paths are relative to the table (or to `clips` beside it: Common Voice); `archive.tar:member` and `.zip` name files in archives.
    - A folder or an archive: a folder for each label; or texts: LibriSpeech's transcripts, or `a.txt` beside `a.wav`.
    - A folder of Kaldi: `wav.scp`, `segments`, and `text` or `utt2spk`.
    - `tones`: digit strings of synthetic voices.
    - Any of these with a slice: `train.tsv[:500]`.
    - Data in memory, as `from_frame` takes them, or a pair of recordings and answers. A recording is a path, `(samples, rate)`, a
      mapping with `array` and `sampling_rate`, or samples at the rate that is given.

    Only what names them is read; a sound is decoded when it is asked for, a long one in pieces.

    Args:
        source: one of the above.
        answer: what is known of each: what is said, or a label, such as who says it.
        path: the column of paths.
        column: the column of answers; "": `text` or `speaker`, for which usual others are known.
        part: which of the tones; nothing else is parted.
        labeled: False: answers are not looked for.
        known: the known labels.
        rate: of samples in memory that come without one; 0: that is an error.
        skip: the largest share of bad rows that may be skipped; None: the first one is an error.

    Raises:
        DataError: the source is not there or does not hold what its format promises; the message names file and line.
    """
    log = RowLog(skip)
    column = column or ("text" if answer == "text" else "speaker")
    if in_memory(source):
        found = list(_of_memory(source, answer, path, column if labeled else None, rate, log))
        shown = "the data"
    else:
        base, rows = split_slice(str(source))
        shown = printable(base)
        found = list(_listed(base, answer, path, column, part, labeled, known, log))
        chosen = found[rows]
        if found and not chosen:
            raise DataError(f"{shown}: the slice must leave at least one of {len(found):,} recordings: got none")
        found = chosen
    notes = log.finish(len(found))
    if not found:
        raise DataError(f"{shown}: must hold at least one recording: got none")
    answers = tuple(one.answer or "" for one in found) if labeled else None
    if answers is not None and answer == "label":
        for one in found:
            check_label(one.answer or "", one.location)
    return Recordings(tuple(found), answers, notes)


def read_unlabeled_recordings(sources: Sequence[Any] | str | Path, *, rate: int = 0) -> Recordings:
    """Recordings without answers: sound files, `archive.tar:member`, folders, archives, tables, `tones[:3]`; binary streams; from Python.

    Args:
        sources: one, or several whose recordings follow each other.
        rate: of samples that come without one; 0: that is an error.

    Raises:
        DataError: as `read_recordings`.

    Example:
        >>> read_unlabeled_recordings(["tones[1:3]", (np.zeros(800), 8000)]).names
        ('tones[1151]', 'tones[1152]', 'row 1')
    """
    found: list[SoundClip] = []
    for row, source in enumerate([sources] if isinstance(sources, str | Path) else sources):
        if hasattr(source, "read"):
            found.append(of_stream(source))
        elif in_memory(source):
            found.append(of_value(source, f"row {row}", None, rate))
        elif str(source) in STREAMS:
            found += read_recordings(source, labeled=False).recordings
        else:
            base, rows = split_slice(str(source))
            listed = list(_listed(base, "label", "path", "", "test", False, (), RowLog()))
            if not listed[rows]:
                raise DataError(f"{printable(str(source))}: must hold at least one recording: got none")
            found += [replace(one, name=str(source)) for one in listed] if len(listed) == 1 else listed[rows]
    return Recordings(tuple(found), None)


def _listed(
    base: str,
    answer: Answer,
    path_column: str,
    column: str,
    part: tones.Part,
    labeled: bool,
    known: Collection[str],
    log: RowLog,
) -> Iterator[SoundClip]:
    """Every recording of a source, in the source's order; nothing is decoded."""
    if base == tones.TONES:
        yield from (_tone(row, part, answer) for row in range(tones.PARTS[part]))
        return
    if table_format(base) is not None and not Path(base).is_dir():
        yield from table_recordings(base, path_column, column if labeled else None, log)
        return
    member = base.replace(":", "/") if ":" in base and not Path(base).exists() else base
    path, inner = locate(member, _EXPECTED, (tones.TONES,))
    if path.is_dir() and (path / "wav.scp").is_file():
        yield from kaldi_recordings(path, answer, log, labeled)
    elif is_source(path):
        yield from folder_recordings(path, inner, answer, labeled, known, log)
    elif labeled:
        raise DataError(f"{printable(base)}: must be {_EXPECTED.rpartition(',')[0]}: got one file without an answer")
    else:
        yield of_file(path)


def _tone(row: int, part: tones.Part, answer: Answer) -> SoundClip:
    name = f"{tones.TONES}[{tones.first_of(part) + row}]"
    said = tones.spoken_by(row) if answer == "label" else tones.said_in(row, part=part)
    return SoundClip(name, name, partial(_spoken, row, part), said)


def _spoken(row: int, part: tones.Part) -> Samples:
    return Samples(tones.speak(row, part=part).samples, tones.RATE)


def _of_memory(
    source: Any, answer: Answer, path: str, column: str | None, rate: int, log: RowLog
) -> Iterator[SoundClip]:
    names = meant(source, [path, *([] if column is None else [column])], log)
    kinds: dict[str, ColumnKind] = {names[0]: "any", **dict.fromkeys(names[1:], "text")}
    frame = from_frame(source, kinds)
    answers = frame.values[1] if column is not None else [None] * len(frame.locations)
    for value, said, location in zip(frame.values[0], answers, frame.locations, strict=True):
        try:
            if said is not None and not said.strip() and answer == "label":
                raise DataError(f"{location}: must have a {column}: got an empty one")
            yield of_value(value, location, None if said is None else said.strip(), rate)
        except DataError as error:
            log.bad(error)
