"""Text files, line by line: unpacked, decoded, numbered; every reader of this package begins here."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._entries import printable, reading
from heedful.data._limits import Budget, open_unpacked

LONGEST = 1_000_000  # characters of a line: a file of another kind may be one line of many gigabytes

_MARK = b"\xef\xbb\xbf"  # some editors begin a file of UTF-8 with it


def lines(source: str | Path, *, longest: int | None = LONGEST) -> Iterator[tuple[int, str]]:
    r"""The numbered lines of a text file or of its .gz, read as they are asked for.

    The text must be UTF-8, with or without a byte order mark. Lines end with \n or \r\n, which is not part of them;
    no other character ends one.

    Args:
        source: the file; a .gz is known by its name or by its first bytes.
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
    r"""The whole text of a file or of its .gz, with \n for \r\n; see `lines`. A `budget` may be one for several files."""
    location = shown_path(source)
    with reading(location, "a readable file"), open_unpacked(source, location) as file:
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
    return text.replace("\r\n", "\n")


def shown_path(source: str | Path) -> str:
    """The path as it stands in messages."""
    return printable(str(source))


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
    with reading(location, "a readable file"), open_unpacked(source, location) as file:
        while raw := file.readline(most):
            yield raw


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
