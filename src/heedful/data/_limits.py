"""How much is read of a source: every reader counts what it really reads, and believes no header that promises more or less.

Two environment variables raise or lower the limits of a source: `HEEDFUL_MAX_BYTES`, unpacked, and `HEEDFUL_MAX_ITEMS`: lines
of a file, files of a folder or of an archive, images of an IDX file.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from heedful._errors import DataError, SettingsError
from heedful.data._entries import printable, reading

LARGEST_FILE = 1 << 28  # bytes of one picture or sound, unpacked
DEEPEST = 100  # folders in each other
LONGEST_PATH = 4096  # characters
LONGEST_HEADER = 1 << 27  # bytes that one header of an archive, or the list of all its files, may take
PIECE = 1 << 20  # bytes that are asked for at once

STREAMS = ("-", "/dev/stdin")  # the sources that are standard input

_PACKED: dict[
    bytes, tuple[str, tuple[str, ...], Callable[[Any], Any]]
] = {  # how each begins: its name, the ends of files' names, what opens it
    rb"\x1f\x8b": ("gzip", (".gz", ".tgz"), gzip.open),
    rb"\xfd7zXZ\x00": ("xz", (".xz", ".txz"), lzma.open),
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": ("bzip2", (".bz2", ".tbz2"), bz2.open),
}
_streams: WeakKeyDictionary[Any, bytes] = (
    WeakKeyDictionary()
)  # what was read of standard input: some readers read twice
_DEFAULTS = {"BYTES": 1 << 32, "ITEMS": 10_000_000}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe, which can be read only once; write what it holds into a file",
    stat.S_IFSOCK: "a socket",
}


class Budget:
    """What may still be read of a source.

    Args:
        location: what an error begins with.
        largest: bytes of what is one thing, such as a picture; None where the source may hold many.

    Examples:
        >>> budget = Budget("a.png", largest=10)
        >>> budget.take(size=10)
        >>> budget.take(size=1)
        Traceback (most recent call last):
        heedful._errors.DataError: a.png: must have at most 10 bytes: got more
    """

    def __init__(self, location: str, *, largest: int | None = None) -> None:
        self.location, self._largest = location, largest
        self._bytes = _limit("BYTES") if largest is None else min(largest, _limit("BYTES"))
        self._items = _limit("ITEMS")

    def take(self, *, size: int = 0, items: int = 0) -> None:
        """Counts what was read, in bytes and in items.

        Raises:
            DataError: it is more than the limit.
        """
        self._bytes -= size
        self._items -= items
        if self._bytes < 0 or self._items < 0:
            raise self._too_much()

    def _too_much(self) -> DataError:
        if self._bytes < 0 and self._largest is not None:
            most = min(self._largest, _limit("BYTES"))
            return DataError(f"{self.location}: must have at most {most:,} bytes: got more")
        name, what = ("BYTES", "bytes, unpacked") if self._bytes < 0 else ("ITEMS", "lines, files or images")
        return DataError(
            f"{self.location}: must hold at most {_limit(name):,} {what}: got more; the environment variable "
            f"HEEDFUL_MAX_{name} sets the limit"
        )

    def read(self, file: Any, piece: int = PIECE) -> bytes:
        """All that is left of a stream, in pieces."""
        content = bytearray()
        while part := file.read(piece):
            self.take(size=len(part))
            content += part
        return bytes(content)


def _limit(name: str) -> int:
    text = os.environ.get(f"HEEDFUL_MAX_{name}", str(_DEFAULTS[name]))
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise SettingsError(f"the environment variable HEEDFUL_MAX_{name} must be a whole number from 1: got {text!r}")
    return int(text)


def open_file(path: str | Path, location: str) -> BufferedReader:
    """A regular file, opened: some readers go through a file twice, a pipe waits for its writer, and a device has no end.

    Raises:
        DataError: it is none.
        OSError: it cannot be opened.
    """
    if str(path) in STREAMS:
        return BufferedReader(io.BytesIO(_standard_input()))
    kind = file_kind(path)
    if kind is not None:
        raise DataError(f"{location}: must be a regular file: got {kind}")
    return open(path, "rb")


@contextmanager
def open_unpacked(path: str | Path, location: str) -> Iterator[Any]:
    """A regular file, opened, and unpacked if its first bytes say that it is packed by gzip, xz or bzip2.

    Raises:
        DataError: it is no regular file, or its name says that it is packed and it is not.
    """
    with open_file(path, location) as file:
        first = file.peek(10)[:10]
        for begin, (name, suffixes, unpack) in _PACKED.items():
            if re.match(begin, first):
                with unpack(file) as unpacked:
                    yield unpacked
                return
            if str(path).lower().endswith(suffixes) and first:
                got = first[:2].hex(" ")
                raise DataError(
                    f"{location}: must be a file packed by {name}, as its name says: got the first bytes {got}"
                )
        yield file


def unpacked_name(path: str | Path) -> str:
    """The name of a text file in lower case, without the end that says that it is packed.

    Examples:
        >>> unpacked_name("Train.TSV.gz"), unpacked_name("dev.conllu.xz")
        ('train.tsv', 'dev.conllu')
    """
    name = str(path).lower()
    return next((name.removesuffix(end) for end in (".gz", ".xz", ".bz2") if name.endswith(end)), name)


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("standard input: must hold data, since they were named `-`: got none")
    if sys.stdin not in _streams:
        _streams[sys.stdin] = Budget("standard input").read(sys.stdin.buffer)
    return _streams[sys.stdin]


def file_kind(path: str | Path) -> str | None:
    """What is there, in words, if it is no regular file.

    Raises:
        OSError: there is nothing.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "a device")


def read_file(path: str | Path, location: str) -> bytes:
    """The bytes of a file that is to be one picture or sound."""
    with open_file(path, location) as file:
        return Budget(location, largest=LARGEST_FILE).read(file)


def files_below(folder: str | Path, budget: Budget) -> Iterator[tuple[str, str]]:
    """The files and folders in a folder and below: the path of each, and the path from the folder; links are followed.

    The second has slashes, also at the end of a folder's.

    Raises:
        DataError: a folder in it cannot be read, or lies in itself by a link, or there are too many files or levels.
    """
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(os.fspath(folder), "", frozenset())]
    while pending:
        path, inner, above = pending.pop()
        location = printable(path)
        check_path(inner, location)
        with reading(location, "a readable folder"):
            status = os.stat(path)
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise DataError(f"{location}: a folder must not hold itself: got a link to a folder in which it lies")
            with os.scandir(path) as entries:
                for entry in entries:
                    budget.take(size=len(inner) + len(entry.name), items=1)
                    below = inner + entry.name + "/" * entry.is_dir()
                    if below.endswith("/"):
                        pending.append((entry.path, below, above | {here}))
                    yield entry.path, below


def check_path(path: str, location: str) -> None:
    """Raises for a path in a folder or an archive that is longer or deeper than paths are."""
    if len(path) > LONGEST_PATH or path.count("/") > DEEPEST:
        raise DataError(
            f"{location}: must have paths of at most {LONGEST_PATH:,} characters and {DEEPEST} folders in each other: "
            f"got {len(path):,} characters and {path.count('/'):,} folders"
        )
