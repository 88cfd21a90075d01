"""Text files, line by line: unpacked, decoded, numbered; every reader of this package begins here."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._entries import printable, reading
from heedful.data._limits import STREAMS, Budget, open_unpacked

LONGEST = 1_000_000  # characters of a line: a file of another kind may be one line of many gigabytes

_OTHERS = {  # how files begin that are no text, and what to do with them
    b"PK\x03\x04": "a zip archive or a document such as .xlsx; unpack it, or save the sheet as .csv",
    b"\xd0\xcf\x11\xe0": "an office document such as .xls; save the sheet as .csv",
    b"PAR1\x15": "a Parquet file; put it into a folder of its own and name that, as hf:FOLDER",
    b"ARROW1\0\0": "an Arrow file; put it into a folder of its own and name that, as hf:FOLDER",
    b"\x28\xb5\x2f\xfd": "a file packed by Zstandard; unpack it, e.g. with zstd -d",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"%PDF-": "a PDF; extract its text, e.g. with pdftotext",
    b"SQLite format 3": "an SQLite database; export its table as .csv",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
_MARK = b"\xef\xbb\xbf"  # some editors begin a file of UTF-8 with it


def lines(source: str | Path, *, longest: int | None = LONGEST) -> Iterator[tuple[int, str]]:
    r"""The numbered lines of a text file read as they are asked for.

    The text must be UTF-8, with or without a byte order mark. Lines end with \n or \r\n, in a file without
    any with \r, which is not part of them; no other character ends one.

    Args:
        source: the file, plain or packed by gzip, xz or bzip2, as its first bytes say; `-` is standard input.
        longest: how many characters a line may have; None for any number.

    Raises:
        DataError: the file cannot be read, is empty, or holds something else than lines of text.
    """
    location = shown_path(source)
    # A character of UTF-8 takes up to four bytes; the rest is for the byte order mark and the end of the line.
    most = -1 if longest is None else 4 * longest + len(_MARK) + 2
    number, budget = 0, Budget(location)
    for number, raw in zip(count(1), _raw_lines(source, location, most), strict=False):
        budget.take(size=len(raw), items=1)
        if len(raw) == most and not raw.endswith(b"\n"):
            raise DataError(f"{location}:{number}: a line must have at most {longest:,} characters: got more")
        if number == 1:
            raw = raw.removeprefix(_MARK)
        text = _decoded(raw.removesuffix(b"\n").rstrip(b"\r"), location, number)
        if longest is not None and len(text) > longest:
            raise DataError(f"{location}:{number}: a line must have at most {longest:,} characters: got {len(text):,}")
        yield number, text
    if number == 0:
        raise DataError(f"{location}: must hold at least one line: got an empty file")


def whole(source: str | Path, budget: Budget | None = None) -> str:
    r"""The whole text of a file, plain or packed, with the line ends of `lines` as \n. A `budget` may be one for several files."""
    location = shown_path(source)
    with _opened(source, location) as file:
        raw = (budget or Budget(location)).read(file)
    raw = raw.removeprefix(_MARK)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        start = raw.rfind(b"\n", 0, error.start) + 1
        raise _not_utf8(raw[start:], error.start - start, location, raw.count(b"\n", 0, start) + 1) from error
    if "\0" in text:
        start = raw.rfind(b"\n", 0, raw.index(0)) + 1
        raise _binary(raw[start:], location, raw.count(b"\n", 0, start) + 1)
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def shown_path(source: str | os.PathLike[str]) -> str:
    """The path as it stands in messages."""
    return "standard input" if str(source) in STREAMS else printable(str(source))


def quoted(text: str) -> str:
    r"""What stood in a file, for a message: in quotes, on one line, and short.

    Examples:
        >>> print(quoted("two\tparts"), quoted("a" * 100))
        'two\tparts' 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'
    """
    return f"'{printable(text[:60])}{'...' if len(text) > 60 else ''}'"


def quoted_all(texts: Sequence[str]) -> str:
    """Several of them, ten at most.

    Examples:
        >>> quoted_all(["id", "text"])
        "'id', 'text'"
    """
    return ", ".join(map(quoted, texts[:10])) + (f" and {len(texts) - 10:,} more" if len(texts) > 10 else "")


def _raw_lines(source: str | Path, location: str, most: int) -> Iterator[bytes]:
    with _opened(source, location) as file:
        first = file.readline(most)
        if b"\r" in first.rstrip(b"\r\n") and not first.endswith(b"\n") and len(first) != most:
            yield from (raw + b"\n" for raw in first.rstrip(b"\r").split(b"\r"))  # as old Macs ended lines
            return
        raw = first
        while raw:
            yield raw
            raw = file.readline(most)


@contextmanager
def _opened(source: str | Path, location: str) -> Iterator[Any]:
    with reading(location, "a readable file"), open_unpacked(source, location) as file:
        first = file.peek(16)[:16]
        if (other := next((words for begin, words in _OTHERS.items() if first.startswith(begin)), None)) is not None:
            raise DataError(f"{location}: must be a text file: got {other}")
        yield file


def _decoded(raw: bytes, location: str, number: int) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(raw, error.start, location, number) from error
    if "\0" in text:
        raise _binary(raw, location, number)
    return text


def _not_utf8(line: bytes, start: int, location: str, number: int) -> DataError:
    advice = convert(line.partition(b"\n")[0])
    return DataError(f"{location}:{number}: must be UTF-8: got byte {line[start]:#04x} at column {start + 1}; {advice}")


def _binary(line: bytes, location: str, number: int) -> DataError:
    advice = convert(line.partition(b"\n")[0])
    got = f"UTF-16; {advice}" if "utf-16" in advice else "a NUL byte, which only binary files hold"
    return DataError(f"{location}:{number}: must be a text file in UTF-8: got {got}")
