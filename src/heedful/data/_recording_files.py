"""Recordings that were found and not yet read: files, members of archives, samples in memory."""

import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._entries import listed, printable, reading
from heedful.data._limits import LARGEST_FILE, Budget, file_kind
from heedful.data._trees import Tree, archive_tree, folder_tree, is_archive
from heedful.data.sounds import SUFFIXES, Resampler, checked_rate, finite, open_sound

_MEMBER = re.compile(r"(.+\.(?:zip|tar|tar\.gz|tgz))[:/](.+)", re.IGNORECASE | re.DOTALL)
_BLOCK = 1 << 16  # samples in memory that are given at once


class Samples(NamedTuple):
    """Sound in memory: float32 `[T]`, and samples a second."""

    values: NDArray[np.float32]
    rate: int


@dataclass(frozen=True, eq=False)
class SoundClip:
    """One recording, or a segment of one, found and not yet read.

    Attributes:
        name: as it was given, or as the data name it.
        location: what an error about it begins with, such as `train.tsv:7: clips/3.wav`.
        load: gives a path, the bytes of a file, or samples.
        answer: its text or its label; None where it has none.
        start: seconds at which the segment begins.
        end: seconds at which it ends; None: with the recording.
    """

    name: str
    location: str
    load: Callable[[], Path | bytes | Samples]
    answer: str | None = None
    start: float = 0.0
    end: float | None = None

    def blocks(self, rate: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Its samples `[T]` in pieces, the mean of all channels, at its own rate or at another: it may be longer than memory.

        Raises:
            DataError: it cannot be decoded; the message names the file and its row.
        """
        source = self.load()
        if isinstance(source, Samples):
            first, last = (None if time is None else round(time * source.rate) for time in (self.start, self.end))
            values = source.values[first:last]
            pieces = (values[at : at + _BLOCK] for at in range(0, len(values), _BLOCK))
            yield from _at_rate(pieces, source.rate, rate)
            return
        with open_sound(source, self.location) as sound:
            yield from _at_rate(sound.blocks(self.start, self.end), sound.rate, rate)

    def read(self, rate: int | None = None) -> NDArray[np.float32]:
        """All of its samples, as `blocks` gives them."""
        return np.concatenate([np.zeros(0, np.float32), *self.blocks(rate)])

    def rate(self) -> int:
        """Its own rate."""
        source = self.load()
        if isinstance(source, Samples):
            return source.rate
        with open_sound(source, self.location) as sound:
            return sound.rate


class Archives:
    """Archives that are open as long as a recording of theirs is needed; each is listed once."""

    def __init__(self) -> None:
        self._stack, self._trees = ExitStack(), dict[Path, Tree]()
        weakref.finalize(self, self._stack.close)

    def __reduce__(self) -> Any:
        return Archives, ()

    def tree(self, path: Path) -> Tree:
        """What a folder or an archive holds, tables and transcripts too."""
        if path not in self._trees:
            self._trees[path] = folder_tree(path, ()) if path.is_dir() else archive_tree(path, self._stack, ())
        return self._trees[path]

    def load(self, path: Path, member: str, location: str) -> bytes:
        """The bytes of a member."""
        with reading(location, "a whole archive"):
            content: bytes = self.tree(path).files[member][0](location)
            return content


class Finder:
    """Finds the recordings that data files name.

    Args:
        folders: where relative paths begin; the first one that has the file counts.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders, self.archives = folders, Archives()

    def __call__(
        self, word: str, location: str, answer: str | None, start: float = 0.0, end: float | None = None, name: str = ""
    ) -> SoundClip:
        """The recording that a path names, or `archive.tar:member`.

        Raises:
            DataError: there is none; the message begins with `location`.
        """
        if re.match(r"[a-z][a-z0-9+.-]*://", word, re.IGNORECASE):
            raise DataError(f"{location}: must name a file here, a URL is never fetched: got '{printable(word)}'")
        shown = f"{location}: {printable(word)}"
        make = partial(SoundClip, name or word, shown, answer=answer, start=start, end=end)
        for folder in self.folders:
            with reading(location, "a path"):
                if word and (folder / word).is_file():
                    return make(partial(Path, folder / word))
        if (parts := _MEMBER.fullmatch(word)) is not None:
            for folder in self.folders:
                if (path := folder / parts[1]).is_file():
                    return make(partial(self.archives.load, path, self._member(path, parts[2], location), shown))
        where = " or ".join(printable(str(folder)) for folder in self.folders)
        raise DataError(f"{location}: must name a sound below {where}: got '{printable(word)}', which is not there")

    def _member(self, path: Path, member: str, location: str) -> str:
        files = self.archives.tree(path).files
        inner = member.removeprefix("./").lstrip("/")
        if inner not in files:
            some = listed(sorted(files)[:3])
            raise DataError(
                f"{location}: {printable(str(path))} must hold the member '{printable(member)}': got {some or 'nothing'}"
                + (f" and {len(files) - 3:,} more" if len(files) > 3 else "")
            )
        return inner


def of_file(path: Path) -> SoundClip:
    """One file, without an answer."""
    name = printable(str(path))
    kind = file_kind(path)
    if kind is not None:
        raise DataError(f"{name}: must be a regular file: got {kind}")
    return SoundClip(str(path), name, partial(Path, path))


def of_tree(archives: Archives, path: Path, inner: str, location: str, answer: str | None, name: str) -> SoundClip:
    """A file of a folder or of an archive."""
    if path.is_dir():
        return SoundClip(name, location, partial(Path, path / inner), answer)
    return SoundClip(name, location, partial(archives.load, path, inner, location), answer)


def of_stream(stream: Any) -> SoundClip:
    """The sound that a binary stream holds."""
    named = getattr(stream, "name", None)
    name = printable(named) if isinstance(named, str) else "stream"
    content = Budget(name, largest=LARGEST_FILE).read(stream)
    return SoundClip(name, name, partial(bytes, content))


def of_value(value: Any, location: str, answer: str | None, rate: int, name: str = "") -> SoundClip:
    """A recording from Python: a path; `(samples, rate)`; a mapping with `array` and `sampling_rate`; samples at the rate that is known.

    Samples are `[T]`, or with a second axis for channels, which is the shorter one; whole numbers are scaled by their type.

    Raises:
        DataError: it is none, or comes without a rate.
    """
    if isinstance(value, str | os.PathLike):
        return Finder(Path())(os.path.expanduser(value), location, answer, name=name or str(value))
    if hasattr(value, "read"):
        content = Budget(location, largest=LARGEST_FILE).read(value)
        return SoundClip(name or location, location, partial(bytes, content), answer)
    if isinstance(value, Mapping) and "sampling_rate" in value:
        value = value.get("array"), value["sampling_rate"]
    if isinstance(value, Sequence) and len(value) == 2 and hasattr(value[0], "__len__"):
        value, rate = value
        if isinstance(value, int):
            value, rate = rate, value
    if not rate:
        raise DataError(f"{location}: samples must come with their rate, as in (samples, 16000): got samples alone")
    samples = Samples(_mono(value, location), checked_rate(int(rate), location))
    return SoundClip(name or location, location, partial(Samples, *samples), answer)


def sounds_of(tree: Tree) -> list[str]:
    """The paths of all sounds in it, by their names."""
    return [path for path in tree.files if path.lower().endswith(SUFFIXES)]


def is_source(path: Path) -> bool:
    """Whether it is a folder or an archive."""
    return path.is_dir() or is_archive(path)


def _mono(values: Any, location: str) -> NDArray[np.float32]:
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim not in (1, 2) or not array.size or array.dtype.kind not in "fiu":
        got = f"{array.dtype} of shape {list(array.shape)}"
        raise DataError(f"{location}: samples must be numbers [T], or [T, channels]: got {got}")
    if array.dtype.kind in "iu":
        bits = 8 * array.dtype.itemsize
        array = (array - (2.0 ** (bits - 1) if array.dtype.kind == "u" else 0.0)) / 2.0 ** (bits - 1)
    if array.ndim == 2:
        array = array.mean(int(array.shape[1] <= array.shape[0]))
    return finite(np.ascontiguousarray(array, np.float32), location)


def _at_rate(pieces: Iterator[NDArray[np.float32]], rate: int, new_rate: int | None) -> Iterator[NDArray[np.float32]]:
    change = Resampler(rate, new_rate or rate)
    for piece in pieces:
        if len(changed := change(piece)):
            yield changed
    if len(changed := change.end()):
        yield changed
