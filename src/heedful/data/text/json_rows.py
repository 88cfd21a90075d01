"""Objects of JSON, one after the other: one a line, or all in one array."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from heedful._errors import DataError
from heedful.data._limits import STREAMS, unpacked_name
from heedful.data.text._lines import lines, quoted, shown_path, whole

__all__ = ["json_rows", "texts_of"]

_BLANK = re.compile(r"[ \t\r\n]*")


def json_rows(source: str | Path) -> Iterator[tuple[int, str]]:
    r"""The text of each object, and the number of the line on which it begins; blank lines are none.

    Args:
        source: JSON lines; or a .json with an array of objects.

    Raises:
        DataError: the file cannot be read, or its array is no JSON.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.json")
        ...     _ = path.write_text('[{"a": 1},\n {"a": 2}]\n')
        ...     list(json_rows(path))
        [(1, '{"a": 1}'), (2, '{"a": 2}')]
    """
    if unpacked_name(source).endswith(".json") or str(source) in STREAMS:
        text = whole(source)
        begin = _after_blanks(text, 0)
        if text.startswith("[", begin):
            yield from _elements(text, begin + 1, shown_path(source))
            return
    yield from ((number, line) for number, line in lines(source) if line.strip())


def texts_of(value: str) -> list[str]:
    """The texts of a list in JSON, or the one text that it is.

    Example:
        >>> texts_of('["a cat", "my cat"]'), texts_of("a cat")
        (['a cat', 'my cat'], ['a cat'])
    """
    if value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return found
    return [value]


def _elements(text: str, at: int, path: str) -> Iterator[tuple[int, str]]:
    """The elements of an array that begins before `at`, and on which line each begins."""
    decoder, counted, line = json.JSONDecoder(parse_int=str), 0, 1
    at = _after_blanks(text, at)
    while not text.startswith("]", at):
        line, counted = line + text.count("\n", counted, at), at
        try:
            end = decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too many brackets in each other"
            number = line + text.count("\n", at, getattr(error, "pos", at))
            raise DataError(f"{path}:{number}: must be an array of JSON: got the error '{reason}'") from error
        yield line, text[at:end]
        at = _after_blanks(text, end)
        if text.startswith(",", at):
            at = _after_blanks(text, at + 1)
        elif not text.startswith("]", at):
            break
    if not text.startswith("]", at) or _after_blanks(text, at + 1) < len(text):
        at = min(_after_blanks(text, at + text.startswith("]", at)), len(text))
        got = quoted(text[at : at + 20]) if at < len(text) else "the end of the file"
        number = text.count("\n", 0, at) + 1
        raise DataError(f"{path}:{number}: must be an array of JSON, [{{...}}, {{...}}]: got {got}")


def _after_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()
