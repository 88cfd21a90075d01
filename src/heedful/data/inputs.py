"""Inputs of a model, one at a time: a text, a picture or a sound, from the command line, a file or standard input.

What a file holds is told by its first bytes, not by its name.
"""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO

from heedful._errors import DataError
from heedful._files import convert
from heedful.data._decode import decode_picture
from heedful.data._limits import LARGEST_FILE, STREAMS, Budget, open_file
from heedful.data.sounds import decode_sound, one_line, resampled

__all__ = [
    "SUFFIXES",
    "WORDS",
    "InputKind",
    "ModelInput",
    "all_inputs",
    "checked_text",
    "from_bytes",
    "inputs_of",
    "one_line",
    "read_input",
    "read_stream",
    "resampled",
    "shortened",
]


class InputKind(StrEnum):
    """What a model or a task takes as one input."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    HISTORY = "history"  # items, one after the other, on one line
    SERIES = "series"  # a table of numbers
    NONE = "none"


WORDS: dict[str, str] = {InputKind.TEXT: "text", InputKind.IMAGE: "a picture", InputKind.AUDIO: "a sound"}
SUFFIXES = (
    ".txt", ".md", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".wav", ".flac", ".ogg", ".mp3",
)  # fmt: skip

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")
_MAX_BYTES = 2**24  # of a text: beyond what any model reads
_MAX_LINE = 1_000_000  # bytes
_STREAM = "standard input"


@dataclass(frozen=True, eq=False)
class ModelInput:
    """One input, read.

    Attributes:
        kind: text, image or audio.
        name: what messages call it: its file, or the text itself.
        value: a string; a picture of Pillow in red, green and blue; or samples of one channel from -1 to 1.
        rate: of a sound, samples a second.
    """

    kind: InputKind
    name: str
    value: Any
    rate: int = 0


def read_input(word: str) -> ModelInput:
    """A file's text, picture or sound where there is such a file, or that of standard input; otherwise the word itself, as text.

    Raises:
        DataError: it is empty, or a file that cannot be read as any of them.
    """
    if word in STREAMS:
        return from_bytes(read_stream(open_file(word, _STREAM), _STREAM), _STREAM)
    if os.path.isdir(word):
        raise DataError(f"{word}: must be a file of text, a picture or a sound: got a folder.")
    if os.path.exists(word):
        try:
            with open(word, "rb") as file:
                return from_bytes(read_stream(file, word), word)
        except OSError as error:
            raise DataError(f"{word}: cannot be read: {error.strerror or error}.") from None
    if word.lower().endswith(SUFFIXES) and not any(sign.isspace() for sign in word):
        raise DataError(f"{word}: there is no such file.")
    return _text(word, "the text")


def read_stream(stream: BinaryIO, name: str) -> bytes:
    """All bytes of a file or of standard input, which is to be one input.

    Raises:
        DataError: there are more than one may have.
    """
    return Budget(name, largest=LARGEST_FILE).read(stream)


def from_bytes(data: bytes, name: str) -> ModelInput:
    """What the bytes of a file are.

    Raises:
        DataError: they are not text, a picture or a sound, or damaged.
    """
    riff = data[8:12] if data.startswith(b"RIFF") else b""
    if data.startswith(_SOUNDS) or riff == b"WAVE":
        samples, rate = decode_sound(data, name)
        return ModelInput(InputKind.AUDIO, name, samples, rate)
    if data.startswith(_PICTURES) or riff == b"WEBP":
        return ModelInput(InputKind.IMAGE, name, decode_picture(data, name).convert("RGB"))
    if len(data) > _MAX_BYTES:
        raise DataError(f"{name}: must be a text of at most {_MAX_BYTES:,} bytes: got {len(data):,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: must be text in UTF-8, a picture or a sound: got byte {data[error.start]:#04x} at {error.start:,}; {convert(data)}."
        ) from None
    if "\0" in text:
        raise DataError(f"{name}: must be text in UTF-8, a picture or a sound: got a byte 0 at {data.index(0):,}.")
    return _text(text, name, name)


def inputs_of(kind: InputKind, words: Sequence[str], stream: BinaryIO | None) -> Iterator[str | BinaryIO]:
    r"""The inputs of one call: those given by position, or where there are none, those of standard input, as they come.

    - text, history: each word, or each line; an empty line is an empty one.
    - image, audio: each word or line is a path; a stream of other bytes is one picture or sound.
    - series: each word is a path; the stream is one table.
    - none: nothing.

    Args:
        kind: what the task takes.
        words: those on the command line; a single `-` is standard input.
        stream: standard input as bytes; None where there is none.

    Returns:
        Strings, and streams of bytes for what is not text.

    Raises:
        DataError: there are none, words where none are taken, or text that is not UTF-8 or too long.

    Examples:
        >>> list(inputs_of(InputKind.TEXT, (), io.BytesIO(b"Sky is clear\nIt rains\n")))
        ['Sky is clear', 'It rains']
        >>> list(inputs_of(InputKind.IMAGE, ("cat.png",), None))
        ['cat.png']
    """
    words = () if len(words) == 1 and words[0] in STREAMS else words
    if kind is InputKind.NONE:
        if words:
            raise DataError(f"there must be no inputs, since this task takes none: got {words[0]!r}.")
        return
    if words:
        yield from map(checked_text, words) if kind in (InputKind.TEXT, InputKind.HISTORY) else words
    elif stream is None or stream.isatty():
        raise DataError("give inputs by position, or on standard input: got neither.")
    elif kind in (InputKind.TEXT, InputKind.HISTORY):
        yield from _lines(stream)
    elif kind is InputKind.SERIES:
        yield io.BytesIO(read_stream(stream, _STREAM))
    else:
        yield from _paths_or_bytes(stream)


def all_inputs(kind: InputKind, words: Sequence[str], stream: BinaryIO | None) -> list[str | BinaryIO]:
    """All of `inputs_of` at once.

    Raises:
        DataError: as `inputs_of`; or there are too many of them.
    """
    budget, found = Budget(_STREAM), []
    for one in inputs_of(kind, words, stream):
        budget.take(size=len(one) if isinstance(one, str) else 0, items=1)
        found.append(one)
    return found


def checked_text(word: str) -> str:
    """A text from the command line, where bytes that are not UTF-8 have become half characters.

    Raises:
        DataError: it holds such bytes.
    """
    try:
        word.encode()
    except UnicodeEncodeError as error:
        byte = ord(word[error.start]) & 0xFF
        raise DataError(f"an input must be UTF-8: got byte 0x{byte:02x} at character {error.start + 1}.") from None
    return word


def _lines(stream: BinaryIO) -> Iterator[str]:
    """A text a line, an empty one for an empty line."""
    number = 0
    while line := stream.readline(_MAX_LINE + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > _MAX_LINE:
            raise DataError(f"standard input:{number}: a line must have at most {_MAX_LINE:,} bytes: got more.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"standard input:{number}: must be UTF-8: got byte {line[error.start]:#04x} at column {error.start + 1}; "
                f"{convert(line)}."
            ) from None


def _paths_or_bytes(stream: BinaryIO) -> Iterator[str | BinaryIO]:
    """Paths, one a line, unless the stream begins with bytes that are no text."""
    first = stream.readline(_MAX_LINE + 2)
    try:
        line = first.decode("utf-8").strip()
        if "\0" in line or line.startswith("\ufffd"):
            raise UnicodeDecodeError("utf-8", first, 0, 1, "not a path")
    except UnicodeDecodeError:
        budget = Budget(_STREAM, largest=LARGEST_FILE)
        budget.take(size=len(first))
        yield io.BytesIO(first + budget.read(stream))
        return
    while first:
        if len(first) > _MAX_LINE:
            raise DataError(f"{_STREAM}: a path must have at most {_MAX_LINE:,} bytes: got more.")
        line = first.decode("utf-8", errors="replace").strip()
        if line:
            yield line
        first = stream.readline(_MAX_LINE + 2)


def _text(text: str, where: str, name: str | None = None) -> ModelInput:
    text = text.encode("utf-8", "replace").decode("utf-8").strip()  # an argument may hold bytes that are no text
    if not text:
        raise DataError(f"{where} must not be empty: got no character but spaces.")
    return ModelInput(InputKind.TEXT, name or text, text)


def shortened(words: Sequence[str], max_length: int = 80) -> str:
    """Names of inputs as a heading."""
    whole = " / ".join(" ".join(word.split()) for word in words)
    return whole if len(whole) <= max_length else whole[: max_length - 1].rstrip() + "\u2026"
