"""CoNLL-U, the format of Universal Dependencies: a word a line, ten columns, a blank line after a sentence."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from heedful._errors import DataError
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.sentences import Sentence, check_new_labels

__all__ = ["read_conllu", "write_conllu"]

COLUMNS = {"LEMMA": 2, "UPOS": 3, "XPOS": 4, "FEATS": 5, "DEPREL": 7}  # those that may be labels, and where they stand

_ID = re.compile(r"(\d{1,9})(?:([-.])(\d{1,9}))?", re.ASCII)
_FEATURE = re.compile(r"[\w.-]+(\[[\w.-]+\])?")
_FORM, _FEATS, _WIDTH = 1, COLUMNS["FEATS"], 10


def read_conllu(source: str | Path, columns: Sequence[str] = ()) -> Iterator[Sentence]:
    """The sentences of a CoNLL-U file, read as they are asked for.

    Words are the rows whose id is a whole number. Multiword tokens (`3-4`), empty nodes (`8.1`) and comments are
    checked and kept in `Sentence.raw_lines`. Comments that no sentence follows directly belong to the next one, or to the last.

    Args:
        source: the file, plain or packed.
        columns: the columns to take as labels: LEMMA, UPOS, XPOS, FEATS, DEPREL, or the name of one feature, `Number`
            or `FEATS.Number`, which is "_" where a word has none. They are the keys of `Sentence.labels`, as
            `canonical` writes them.

    Raises:
        DataError: the file cannot be read, a line breaks the format, or a name cannot be one of a column.
    """
    return sentences(lines(source), shown_path(source), columns)


def sentences(numbered: Iterable[tuple[int, str]], path: str, columns: Sequence[str]) -> Iterator[Sentence]:
    """`read_conllu` of numbered lines."""
    names = [canonical(column, path) for column in columns]
    raw_lines: list[str] = []
    rows: list[list[str]] = []
    last: Sentence | None = None  # waits for comments behind the last sentence
    first = reach = empties = number = 0  # first row; end of the last multiword token; empty nodes since the last word
    for number, line in numbered:
        if not line.strip(" \t"):
            if first:
                if last is not None:
                    yield last
                last = _sentence(raw_lines, rows, names, path, first, reach)
                raw_lines, rows, first, reach, empties = [], [], 0, 0, 0
            elif raw_lines:
                raw_lines.append(line)
            continue
        raw_lines.append(line)
        if line[0] == "#":
            continue
        first = first or number
        cells = line.split("\t")
        if len(cells) != _WIDTH:
            raise DataError(f"{path}:{number}: must have 10 columns, separated by tabs: got {_columns(line, cells)}")
        if not cells[_FORM]:
            raise DataError(f"{path}:{number}: must have a word in column 2: got an empty column")
        if cells[0] == str(len(rows) + 1):
            rows.append(cells)
            empties = 0
        else:
            reach, empties = _other(cells[0], len(rows), reach, empties, f"{path}:{number}")
    if first:
        if last is not None:
            yield last
        yield _sentence(raw_lines, rows, names, path, first, reach)
    elif last is not None:
        while raw_lines and not raw_lines[-1].strip(" \t"):
            raw_lines.pop()
        yield replace(last, raw_lines=(*last.raw_lines, "", *raw_lines)) if raw_lines else last


def canonical(column: str, path: str) -> str:
    """The column as `Sentence.labels` names it.

    Examples:
        >>> canonical("upos", ""), canonical("feats.Number", ""), canonical("Number", "")
        ('UPOS', 'Number', 'Number')
    """
    name = column.strip()
    if name.upper() in COLUMNS:
        return name.upper()
    if name.upper().startswith("FEATS."):
        name = name[len("FEATS.") :]
    if not _FEATURE.fullmatch(name):
        raise DataError(
            f"{path}: the column must be {', '.join(COLUMNS)} or the name of a feature, e.g. Number: "
            f"got {quoted(column)}"
        )
    return name


def write_conllu(sentence: Sentence, labels: Mapping[str, Sequence[str]]) -> str:
    r"""The text of a sentence with other labels, and the blank line after it; all else stays as it was read.

    A feature takes the place of the one of that name, or its alphabetical place among the others; "_" removes it.

    Args:
        sentence: as `read_conllu` gave it.
        labels: for each column to replace, named as in `read_conllu`, a label for each word.

    Raises:
        ValueError: the labels are not as many as the words, or the format cannot hold them.

    Examples:
        >>> raw_lines = "# text = No!", "1\tNo\tno\t_\t_\tPolarity=Neg\t0\troot\t_\t_", "2\t!\t!\t_\t_\t_\t1\tpunct\t_\t_"
        >>> output = write_conllu(Sentence(("No", "!"), raw_lines=raw_lines), {"UPOS": ["INTJ", "PUNCT"], "Abbr": ["Yes", "_"]})
        >>> print(output.expandtabs(4), end="")
        # text = No!
        1   No  no  INTJ    _   Abbr=Yes|Polarity=Neg   0   root    _   _
        2   !   !   PUNCT   _   _   1   punct   _   _
        <BLANKLINE>
    """
    check_new_labels(sentence, labels, "\t\r\n")
    named = {canonical(column, "`labels`"): values for column, values in labels.items()}
    output = []
    word = 0
    for line in sentence.raw_lines:
        cells = line.split("\t")
        if line[:1] == "#" or not cells[0].isdecimal():
            output.append(line)
            continue
        for name, values in named.items():
            if name in COLUMNS:
                cells[COLUMNS[name]] = values[word]
            else:
                cells[_FEATS] = _with_feature(cells[_FEATS], name, values[word])
        output.append("\t".join(cells))
        word += 1
    return "\n".join([*output, "", ""])


def check_words(parsed: Sequence[Sentence], path: str) -> None:
    """Raises where every word of a file is `_`: some treebanks are published without their text, for which there is no license."""
    words = [word for sentence in parsed for word in sentence.words]
    if set(words) == {"_"}:
        raise DataError(
            f"{path}: must hold words in column FORM: got '_' for all {len(words):,}; the text of this treebank must be added first"
        )


def check_labels(parsed: Sequence[Sentence], columns: Sequence[str], path: str) -> None:
    """Raises where a column, named as in `Sentence.labels`, is `_` for every word of a file."""
    for name in columns:
        if any(label != "_" for sentence in parsed for label in sentence.labels[name]):
            continue
        filled, features = _filled_columns(parsed)
        words = sum(len(sentence.words) for sentence in parsed)
        known = f"{', '.join(filled) or 'no column'}{' and the features ' + ', '.join(features) if features else ''}"
        if name in COLUMNS:
            raise DataError(
                f"{path}: column {name} must hold labels: got '_' for all {words:,} words; labels stand in {known}"
            )
        near = difflib.get_close_matches(name.lower(), {key.lower(): key for key in (*COLUMNS, *features)}, n=1)
        hint = [key for key in (*COLUMNS, *features) if [key.lower()] == near]
        raise DataError(
            f"{path}: the column must be one that holds labels, {known}: got {quoted(name)}"
            + (f"; did you mean {hint[0]}?" if hint else "")
        )


def _filled_columns(parsed: Sequence[Sentence]) -> tuple[list[str], list[str]]:
    """The columns and the features that a file has labels in."""
    filled, features = set(), set()
    for sentence in parsed:
        for line in sentence.raw_lines:
            cells = line.split("\t")
            if cells[0].isdecimal():
                filled |= {name for name, index in COLUMNS.items() if cells[index] != "_"}
                features |= {name for name, equals, _ in _features(cells[_FEATS]) if equals}
    return [name for name in COLUMNS if name in filled], sorted(features, key=str.lower)


def _other(identity: str, words: int, reach: int, empties: int, location: str) -> tuple[int, int]:
    """Checks the id of a row that is not the next word; gives the new `reach` and `empties` of `sentences`."""
    parts = _ID.fullmatch(identity)
    if parts:
        start, kind, end = parts.groups()
        if kind == "-" and int(start) == words + 1 > reach and int(end) >= int(start):
            return int(end), empties
        if kind == "." and int(start) == words and int(end) == empties + 1:
            return reach, empties + 1
    raise DataError(
        f"{location}: id must be {words + 1}, a multiword token {words + 1}-n or the empty node {words}.{empties + 1}: "
        f"got {quoted(identity)}"
    )


def _sentence(
    raw_lines: list[str], rows: list[list[str]], names: list[str], path: str, first: int, reach: int
) -> Sentence:
    location = f"{path}:{first}"
    if not rows:
        raise DataError(
            f"{location}: a sentence must have at least one word: got multiword tokens and empty nodes alone"
        )
    if reach > len(rows):
        raise DataError(f"{location}: a multiword token must end within its sentence of {len(rows)} words: got {reach}")
    labels = {name: tuple([_label(row, name, location) for row in rows]) for name in names}
    return Sentence(tuple([row[_FORM] for row in rows]), labels, location, tuple(raw_lines), "conllu")


def _label(row: list[str], name: str, location: str) -> str:
    if name in COLUMNS:
        label = row[COLUMNS[name]]
        if not label:
            raise DataError(f"{location}: every word must have a {name} or '_': got an empty column at word {row[0]}")
        return label
    for feature, _, value in _features(row[_FEATS]):
        if feature == name:
            return value or "_"
    return "_"


def _features(cell: str) -> list[tuple[str, str, str]]:
    return [] if cell in ("_", "") else [part.partition("=") for part in cell.split("|")]


def _with_feature(cell: str, name: str, value: str) -> str:
    features = _features(cell)
    at = next((index for index, feature in enumerate(features) if feature[0] == name), None)
    if at is not None:
        features[at : at + 1] = [] if value == "_" else [(name, "=", value)]
    elif value != "_":
        later = (index for index, feature in enumerate(features) if feature[0].lower() > name.lower())
        features.insert(next(later, len(features)), (name, "=", value))
    return "|".join("".join(feature) for feature in features) or "_"


def _columns(line: str, cells: list[str]) -> str:
    if len(cells) == 1:
        return f"no tab in {quoted(line)}"
    return f"{len(cells)}"
