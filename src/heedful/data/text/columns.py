"""Files with a word a line and its labels beside it, as those of CoNLL-2003; a blank line after a sentence."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from heedful._errors import DataError
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.sentences import Sentence, check_new_labels
from heedful.data.text.spans import is_bio

__all__ = ["read_columns", "write_columns"]

_DOCUMENT = "-DOCSTART-"
_HEAD = 20  # blocks from which the form of a file is taken
_WORDS = ("word", "words", "token", "tokens", "form")
_LABELS = re.compile(r"(ner|pos|upos|xpos|bio|iob|chunk|entity)?[-_ ]?(tag|label)?s?", re.IGNORECASE)
_COMMENT = re.compile(r"#\s*(id\s|[\w.-]+\s*=)")

_Lines = list[tuple[int, str]]


class _Form(NamedTuple):
    """What a file of columns looks like: how many, which holds the words, and whether they are separated by tabs."""

    width: int
    word: int  # from 1
    tabs: bool
    begin: int  # the line of the first word
    header: int  # the line of a header, or 0

    def described(self, labels: Sequence[int]) -> str:
        words = f"words in column {self.word}" if self.width > 1 else "words alone"
        if labels:
            words += f", labels in column {', '.join(map(str, labels))}"
        between = f"columns separated by {'tabs' if self.tabs else 'blanks'}, " if self.width > 1 else ""
        return f"{between}{words}" + (f"; line {self.header} is a header" if self.header else "")


def read_columns(
    source: str | Path, columns: Sequence[int | None] = (None,), word_column: int | None = None
) -> Iterator[Sentence]:
    """The sentences of a file of columns, read as they are asked for.

    A row is separated by tabs where there is one, otherwise by blanks. The first column is the word, or the second where
    the first one counts the words of each sentence. Lines that begin with # before the words of a sentence, with another
    number of columns than rows have, are comments; they, rows that begin with -DOCSTART-, and a header are no words, and
    are kept in `Sentence.raw_lines` of the next sentence, at the end of the file of the last one.

    Args:
        source: the file, plain or packed.
        columns: the columns to take as labels, 1 is the first; None is the last one. Their numbers, as text, are the
            keys of `Sentence.labels`.
        word_column: the column of the words, where it is another one.

    Raises:
        DataError: the file cannot be read, or its rows do not have the same columns.
    """
    return sentences(lines(source), shown_path(source), columns, word_column)


def sentences(
    numbered: Iterable[tuple[int, str]],
    path: str,
    columns: Sequence[int | None],
    word_column: int | None = None,
    *,
    known: Collection[str] | None = None,
    notes: list[str] | None = None,
) -> Iterator[Sentence]:
    """`read_columns` of numbered lines.

    Args:
        numbered: the lines.
        path: for errors.
        columns: as of `read_columns`.
        word_column: as of `read_columns`.
        known: labels of which a file without labels may hold some; what seems to be sentences, one a line, is refused.
        notes: takes what form the file has.
    """
    blocks = _blocks(numbered)
    head = list(islice(blocks, _HEAD))
    form = _form_of(head, path, word_column)
    selected = [] if form is None else [_selected(column, form, path) for column in columns]
    if form is not None and known is not None:
        _check_no_text(head, form, known, path)
    if form is not None and notes is not None:
        notes.append(f"{path}: {form.described(selected)}")
    pending: list[str] = []  # lines before the words of a sentence
    last: Sentence | None = None
    for block in chain(head, blocks):
        start = len(pending)
        pending += [line for _, line in block]
        if form is None or (first := _first_row(block, form)) == len(block):
            pending.append("")
            continue
        rows = [_row(line, f"{path}:{number}", form) for number, line in block[first:]]
        labels = {str(column): tuple([row[column - 1] for row in rows]) for column in selected}
        if last is not None:
            yield last
        words = tuple([row[form.word - 1] for row in rows])
        at = tuple(range(start + first, len(pending)))
        last = Sentence(words, labels, f"{path}:{block[first][0]}", tuple(pending), "columns", rows=at)
        pending = []
    if last is not None:
        rest = tuple(pending[:-1])  # without the blank line behind the block
        yield replace(last, raw_lines=(*last.raw_lines, "", *rest)) if rest else last


def _blocks(numbered: Iterable[tuple[int, str]]) -> Iterator[_Lines]:
    """The lines between blank ones."""
    block: _Lines = []
    for number, line in numbered:
        if line.strip(" \t"):
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _form_of(head: list[_Lines], path: str, word_column: int | None) -> _Form | None:
    """The form of a file, from its first blocks; None where they hold no word."""
    plain = [(n, line) for block in head for n, line in block if line[0] != "#" and _cells(line)[0] != _DOCUMENT]
    begin, first = next(iter(plain or [pair for block in head for pair in block]), (0, ""))
    if not begin or _cells(first)[0] == _DOCUMENT:
        return None
    form = _Form(len(_cells(first)), word_column or 1, "\t" in first, begin, 0)
    if form.word > form.width:
        raise DataError(f"{path}:{begin}: the column of the words must be from 1 to {form.width}: got {form.word}")
    rows = [[_cells(line) for _, line in block[_first_row(block, form) :]] for block in head]
    if word_column is None and form.width > 2 and all(_counts(block) for block in rows):
        form = form._replace(word=2)
    several = [cells for block in rows for cells in block if len(cells) == form.width]
    labels = {cells[-1] for cells in several[1:]}
    if form.width > 1 and several and several[0][-1] not in labels:
        name, label = several[0][form.word - 1].lower(), several[0][-1]
        named = name in _WORDS and _LABELS.fullmatch(label)
        if labels and (named or (is_bio(labels) and not is_bio({label, "B-X"}))):
            later = plain[1][0] if len(plain) > 1 else begin
            form = form._replace(header=begin, begin=later)
    return form


def _counts(block: list[list[str]]) -> bool:
    return [cells[0] for cells in block] == [str(number) for number in range(1, len(block) + 1)]


def _first_row(block: _Lines, form: _Form) -> int:
    """How many lines of a block stand before its words."""
    for index, (number, line) in enumerate(block):
        by_tabs = form.tabs and "\t" in line
        comment = line[0] == "#" and (
            len(_cells(line)) != form.width or (not by_tabs and _COMMENT.match(line) is not None)
        )
        if not comment and _cells(line)[0] != _DOCUMENT and number != form.header:
            return index
    return len(block)


def _row(line: str, location: str, form: _Form) -> list[str]:
    cells = _cells(line)
    if len(cells) != form.width:
        raise DataError(
            f"{location}: must have as many columns as line {form.begin}, {form.width}: got {len(cells)} in {quoted(line)}"
        )
    if not all(cells):
        raise DataError(f"{location}: must have something in every column: got {quoted(line)}")
    return cells


def _check_no_text(head: list[_Lines], form: _Form, known: Collection[str], path: str) -> None:
    """Raises for sentences, one a line: of each, no more than the first word would be read."""
    rows = [(n, line, _cells(line)) for block in head for n, line in block[_first_row(block, form) :]]
    uneven = any(len(cells) != form.width for _, _, cells in rows)
    labeled = any(cell in known and any(map(str.isalpha, cell)) for _, _, cells in rows for cell in cells[1:])
    alone = len(head) == 1 or all(len(block) == 1 for block in head)
    if not form.tabs and rows and (uneven or form.width > 1) and not labeled and (uneven or alone):
        number, line, _ = rows[0]
        raise DataError(
            f"{path}:{number}: must be a word a line, its labels beside it or none: got what seems to be a sentence, "
            f"{quoted(line)}; sentences, one a line, are read from standard input"
        )


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
    check_new_labels(sentence, {str(column): labels}, "\t\r\n")
    output = list(sentence.raw_lines)
    plain = [row for row, line in enumerate(output) if line.strip(" \t") and _cells(line)[0] != _DOCUMENT]
    blanks = any(" " in label for label in labels)
    for row, label in zip(sentence.rows or plain, labels, strict=True):
        if blanks and "\t" not in output[row]:
            output[row] = "\t".join(_cells(output[row]))  # blanks do not separate where there is a tab
        output[row] = _replaced(output[row], label, column)
    return "\n".join([*output, "", ""])


def width_of(sentence: Sentence) -> int:
    """How many columns the rows of a sentence have."""
    return min(len(_cells(sentence.raw_lines[row])) for row in sentence.rows)


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


def _selected(column: int | None, form: _Form, path: str) -> int:
    location, first = f"{path}:{form.begin}", 2 if form.word == 1 else 1
    if form.width < 2:
        raise DataError(f"{location}: must have a label beside each word, separated by a tab or blanks: got 1 column")
    if column is not None and (not first <= column <= form.width or column == form.word):
        raise DataError(
            f"{location}: the column of labels must be from {first} to {form.width}, those of the file: got {column}"
            + (", that of the words" if column == form.word > 1 else "")
        )
    return column or form.width
