"""Files with a word a line and its labels beside it, as those of CoNLL-2003; a blank line after a sentence."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from heedful._errors import DataError
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.sentences import Sentence, check_new_labels

__all__ = ["read_columns", "write_columns"]

_DOCUMENT = "-DOCSTART-"


def read_columns(source: str | Path, columns: Sequence[int | None] = (None,)) -> Iterator[Sentence]:
    """The sentences of a file of columns, read as they are asked for.

    A row is separated by tabs where there is one, otherwise by blanks. The first column is the word. Rows that begin
    with -DOCSTART- are no words; they are kept in `Sentence.raw_lines` of the next sentence.

    Args:
        source: the file, plain or packed.
        columns: the columns to take as labels, 1 is the first; None is the last one. Their numbers, as text, are the
            keys of `Sentence.labels`.

    Raises:
        DataError: the file cannot be read, or its rows do not have the same columns.
    """
    return sentences(lines(source), shown_path(source), columns)


def sentences(numbered: Iterable[tuple[int, str]], path: str, columns: Sequence[int | None]) -> Iterator[Sentence]:
    """`read_columns` of numbered lines."""
    raw_lines: list[str] = []
    rows: list[list[str]] = []
    selected: list[int] = []
    first = begin = width = 0  # line of the sentence's first word; line and number of columns of the file's first word
    for number, line in numbered:
        if not line.strip(" \t"):
            if rows:
                yield _sentence(raw_lines, rows, selected, f"{path}:{first}")
                raw_lines, rows = [], []
            elif raw_lines:
                raw_lines.append(line)
            continue
        raw_lines.append(line)
        cells = _cells(line)
        if cells[0] == _DOCUMENT:
            continue
        if not begin:
            begin, width = number, len(cells)
            selected = [_selected(column, width, f"{path}:{number}") for column in columns]
        if len(cells) != width:
            raise DataError(
                f"{path}:{number}: must have as many columns as line {begin}, {width}: got {len(cells)} in {quoted(line)}"
            )
        if not all(cells):
            raise DataError(f"{path}:{number}: must have something in every column: got {quoted(line)}")
        first = first if rows else number
        rows.append(cells)
    if rows:
        yield _sentence(raw_lines, rows, selected, f"{path}:{first}")


def write_columns(sentence: Sentence, labels: Sequence[str], column: int | None = None) -> str:
    r"""The text of a sentence with other labels in one column, and the blank line after it; all else stays as it was.

    Args:
        sentence: as `read_columns` gave it.
        labels: a label for each word.
        column: which column they replace, 1 is the first; None, or the number after the last, adds one.

    Raises:
        ValueError: the labels are not as many as the words, the format cannot hold them, or there is no such column.

    Examples:
        >>> write_columns(Sentence(("Bo", "ran"), raw_lines=("Bo  NN O", "ran VB O")), ["B-PER", "O"], 3)
        'Bo  NN B-PER\nran VB O\n\n'
        >>> write_columns(Sentence(("Bo", "ran"), raw_lines=("Bo", "ran")), ["B-PER", "O"])
        'Bo\tB-PER\nran\tO\n\n'
    """
    tabs = all("\t" in line for line in sentence.raw_lines)
    check_new_labels(sentence, {str(column): labels}, "\t\r\n" if tabs else " \t\r\n")
    output = []
    word = 0
    for line in sentence.raw_lines:
        if line.strip(" \t") and _cells(line)[0] != _DOCUMENT:
            line = _replaced(line, labels[word], column)
            word += 1
        output.append(line)
    return "\n".join([*output, "", ""])


def _replaced(line: str, label: str, column: int | None) -> str:
    cell = r"[^\t]+" if "\t" in line else "[^ ]+"
    cells = list(re.finditer(cell, line))
    if column is None or column == len(cells) + 1:
        return line.rstrip(" \t") + (" " if len(cells) > 1 and "\t" not in line else "\t") + label
    if not 2 <= column <= len(cells):
        raise ValueError(f"`column` must be a column of labels, 2 to {len(cells) + 1}: got {column}")
    start, end = cells[column - 1].span()
    return line[:start] + label + line[end:]


def _cells(line: str) -> list[str]:
    # No other white space than tabs and blanks: a word may hold, or be, a no-break space.
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def _selected(column: int | None, width: int, location: str) -> int:
    if width < 2:
        raise DataError(f"{location}: must have a label beside each word, separated by a tab or blanks: got 1 column")
    if column is not None and not 2 <= column <= width:
        raise DataError(f"{location}: the column of labels must be from 2 to {width}, those of the file: got {column}")
    return column or width


def _sentence(raw_lines: list[str], rows: list[list[str]], selected: list[int], location: str) -> Sentence:
    labels = {str(column): tuple([row[column - 1] for row in rows]) for column in selected}
    return Sentence(tuple([row[0] for row in rows]), labels, location, tuple(raw_lines), "columns")
