"""Plain text as one string, for models that read characters or subwords one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data._entries import natural_key
from heedful.data._limits import Budget, files_below, unpacked_name
from heedful.data.frames import from_frame, in_memory
from heedful.data.text._lines import lines, shown_path, whole
from heedful.data.text.hub import hub_rows, is_hub
from heedful.data.text.labeled import LabeledTexts

__all__ = ["PlainText", "read_plain"]


@dataclass(frozen=True)
class PlainText:
    """One text without examples of its own, for language models.

    Its examples are its characters: what is selected is a range of them.

    Attributes:
        text: the whole of it.
        location: where it stood, for errors.
    """

    text: str
    location: str = "the text"

    @classmethod
    def of(cls, texts: str | Iterable[str], location: str = "the text") -> "PlainText":
        r"""A text from Python, or several, between which a blank line is put; of a table its column `text`.

        Raises:
            DataError: it is none, or blank.

        Examples:
            >>> PlainText.of(["One day.", "Another."]).text
            'One day.\n\nAnother.\n'
        """
        if not isinstance(texts, str):
            table = any(hasattr(texts, name) for name in ("keys", "columns", "column_names"))
            name = "text" if table else "texts"
            texts = _joined(from_frame(texts if table else {name: texts}, [name]).values[0])
        _check_text(texts, location)
        return cls(texts, location)

    def __len__(self) -> int:
        return len(self.text)

    @property
    def locations(self) -> list[str]:
        """Where it stood: the one location."""
        return [self.location]

    def select(self, rows: range) -> "PlainText":
        """The characters of a range.

        Examples:
            >>> PlainText("0123456789").select(range(9, 10)).text
            '9'
        """
        return replace(self, text=self.text[rows.start : rows.stop : rows.step])

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever the text does."""
        yield framed(self.text)


def read_lines(source: str | Path) -> LabeledTexts:
    """Reads a text a line, without labels; an empty line is an empty text."""
    numbered = list(lines(source))
    path = shown_path(source)
    return LabeledTexts([line for _, line in numbered], None, [f"{path}:{number}" for number, _ in numbered])


def read_plain(source: Any, text: str = "text") -> PlainText:
    r"""Reads the whole text of a source.

    - A file, plain or packed: its text, with \n for \r\n.
    - A folder: the .txt files, plain or packed, in it and below, links followed, in natural order, a blank line between them.
    - A data set of Hugging Face (`hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`): its texts, a blank line between them.
    - Texts in memory, a blank line between them.

    Args:
        source: the file, folder, data set or texts.
        text: the column of texts of a data set.

    Raises:
        DataError: the source cannot be read, is no text, or is empty; the message begins with the location.
        MissingPackageError: a data set of Hugging Face is asked for and the package for it is not installed.
    """
    if in_memory(source):
        return PlainText.of(source)
    location = shown_path(source)
    if is_hub(source):
        content = _joined([values[0] for _, values in hub_rows(str(source), [text])])
    elif Path(source).is_dir():
        budget = Budget(location)
        files = {inner: file for file, inner in files_below(source, budget) if _is_text(inner)}
        if not files:
            raise DataError(f"{location}: must hold .txt or .txt.gz files: got a folder without any")
        content = _joined([whole(files[inner], budget) for inner in sorted(files, key=natural_key)])
    else:
        content = whole(source)
    _check_text(content, location)
    return PlainText(content, location)


def _check_text(text: str, location: str) -> None:
    if not text or text.isspace():
        raise DataError(f"{location}: must hold text: got none")


def _is_text(path: str) -> bool:
    return unpacked_name(path).endswith(".txt") and not path.rpartition("/")[2].startswith(".")


def _joined(texts: list[str]) -> str:
    stripped = [text.strip("\n") for text in texts]
    return "\n\n".join([text for text in stripped if text]) + "\n"
