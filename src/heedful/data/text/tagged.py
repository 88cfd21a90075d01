"""Sentences whose words have labels, from any file or data set that holds some."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data._limits import unpacked_name
from heedful.data.frames import from_frame, in_memory
from heedful.data.text import columns, conllu
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.hub import hub_sentences, is_hub
from heedful.data.text.sentences import Sentence, check_new_labels

__all__ = ["Tagged", "TaggedFormat", "read_tagged", "write_sentence", "write_tagged"]

TaggedFormat = Literal[
    "conllu", "columns", "rows"
]  # rows: of a word, a tab and a label, for data that stood in no file

_AUXILIARY = ("XPOS", "FEATS", "DEPREL")
_WORDS = ("tokens", "words", "form", "text")


@dataclass(frozen=True)
class Tagged:
    """Sentences, all with labels in the same columns.

    Args:
        sentences: at least one.
        format: what they were read from; they are written in the same.
        column: the main column of labels, a key of `Sentence.labels` where labels were read; None is one to be added.
        notes: what form the file was taken to have.
    """

    sentences: tuple[Sentence, ...]
    format: TaggedFormat
    column: str | None
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        sentences: Sequence[Sequence[str]],
        labels: Sequence[Sequence[str]] | None = None,
        *,
        column: str = "label",
        locations: Sequence[str] | None = None,
    ) -> "Tagged":
        """Sentences and labels from Python.

        Args:
            sentences: lists of words, none of them empty.
            labels: for each sentence a label for each word.
            column: what the column of labels is called.
            locations: where each sentence stood; "row 0" and so on unless given.

        Raises:
            DataError: they are not as many as each other, or something is missing or no text.

        Examples:
            >>> tagged = Tagged.of([["Sky", "is", "clear"]], [["NOUN", "VERB", "ADJ"]])
            >>> tagged.sentences[0].labels
            {'label': ('NOUN', 'VERB', 'ADJ')}
        """
        frames: dict[str, Any] = (
            {"sentences": sentences} if labels is None else {"sentences": sentences, "labels": labels}
        )
        frame = from_frame(frames, dict.fromkeys(frames, "texts"))
        checked = []
        for *values, location in zip(*frame.values, locations or frame.locations, strict=True):
            words = tuple(values[0])
            if not all(words) or not words:
                raise DataError(
                    f"{location}: a sentence must have at least one word, and no empty one: got {list(words)}"
                )
            if len(values[-1]) != len(words):
                raise DataError(
                    f"{location}: must have one label for each of {len(words)} words: got {len(values[-1])}"
                )
            if not all(values[-1]):
                raise DataError(f"{location}: every word must have a label: got an empty one")
            checked.append(Sentence(words, {} if labels is None else {column: tuple(values[1])}, location))
        _check_some(checked, "`sentences`")
        return cls(tuple(checked), "rows", None if labels is None else column)

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of labels; none where words alone were read."""
        return tuple(self.sentences[0].labels)

    @property
    def locations(self) -> list[str]:
        """Where each sentence begins, for errors: `file:line`."""
        return [sentence.location for sentence in self.sentences]

    def select(self, rows: Iterable[int]) -> "Tagged":
        """Those with these numbers."""
        return replace(self, sentences=tuple(self.sentences[row] for row in rows))

    def with_column(self, column: str) -> "Tagged":
        """The same with another name for the main column; of another format, it has another one."""
        if self.column == column:
            return self
        sentences = (replace(one, labels={column: one.labels[str(self.column)]}) for one in self.sentences)
        return Tagged(tuple(sentences), self.format, column, self.notes)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a word, a label or the name of a column does."""
        yield framed(self.column)
        for sentence in self.sentences:
            yield framed(sentence.words, *chain.from_iterable(sentence.labels.items()))


def read_tagged(
    source: Any,
    column: str | int | None = None,
    auxiliary_columns: Sequence[str | int] = (),
    *,
    labels: bool = True,
    word_column: int | None = None,
    known: Collection[str] | None = None,
) -> Tagged:
    r"""Reads words and their labels.

    - CoNLL-U, known by its name (.conllu, .conll-u) or by its contents: `read_conllu`. Columns have names; the main
      one is UPOS unless told.
    - Any other file has a word and its labels in a row: `read_columns`. Columns have numbers; the main one is the
      last unless told; the words stand in the first, or the second after a column that counts them.
    - A data set of Hugging Face, `hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`, with lists of words (in a column
      tokens, words, form or text) and of labels. The main column is the only one whose labels have names unless told.
    - Data in memory, as `from_frame` takes them: a column `tokens`, and one of labels, `labels` unless told.

    Args:
        source: the file, plain or packed, the data set, or data in memory.
        column: the main column of labels.
        auxiliary_columns: more columns of labels; ("auto",): XPOS, FEATS and DEPREL of CoNLL-U, where the file has them.
        labels: False reads words alone: nothing needs to stand in `column`, to which `write_tagged` will write.
        word_column: the column of the words in a file that is not CoNLL-U, where it is another one.
        known: labels, some of which stand in a file of more columns than words; sentences, one a line, are refused by them.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the location.
        MissingPackageError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "names.txt")
        ...     _ = path.write_text("Bo NN B-PER\nran VB O\n\nRun VB O\n")
        ...     tagged = read_tagged(path, auxiliary_columns=[2])
        >>> tagged.column, [sentence.words for sentence in tagged.sentences], tagged.sentences[0].labels
        ('3', [('Bo', 'ran'), ('Run',)], {'3': ('B-PER', 'O'), '2': ('NN', 'VB')})
    """
    if in_memory(source):
        name = str(column or "labels")
        frame = from_frame(source, dict.fromkeys(["tokens", name] if labels else ["tokens"], "texts"))
        return Tagged.of(*frame.values, column=name, locations=frame.locations)
    if tuple(auxiliary_columns) == ("auto",):
        return _with_auxiliary(source, column, word_column)
    if is_hub(source):
        return _from_hub(str(source), column, auxiliary_columns, labels)
    path = shown_path(source)
    numbered = lines(source)
    format, numbered = _format_of(source, numbered)
    if format == "conllu":
        names = [
            conllu.canonical(str(name), path) for name in ("UPOS" if column is None else column, *auxiliary_columns)
        ]
        sentences = tuple(conllu.sentences(numbered, path, names if labels else ()))
        _check_some(sentences, path)
        conllu.check_words(sentences, path)
        if labels:
            conllu.check_labels(sentences, names, path)
            _check_upos(sentences)
        return Tagged(sentences, format, names[0], () if labels else (f"{path}: CoNLL-U",))
    main = None if column is None else _number(column, path)
    others = [_number(name, path) for name in auxiliary_columns]
    notes: list[str] = []
    wanted = (main, *others) if labels else ()
    sentences = tuple(
        columns.sentences(numbered, path, wanted, word_column, known=None if labels else known, notes=notes)
    )
    _check_some(sentences, path)
    if not labels:
        return Tagged(sentences, format, None if main is None else str(main), tuple(notes))
    return Tagged(sentences, format, next(iter(sentences[0].labels)), tuple(notes))


def _with_auxiliary(source: str | Path, column: str | int | None, word_column: int | None) -> Tagged:
    """With the other columns of CoNLL-U that say something of each word, where the file has them."""
    tagged = read_tagged(source, column, word_column=word_column)
    columns: list[str] = []
    for name in _AUXILIARY if tagged.format == "conllu" else ():
        if name != tagged.column:
            try:
                tagged = read_tagged(source, column, [*columns, name])
                columns.append(name)
            except DataError:
                continue  # the file has no such labels
    return tagged


def _check_upos(sentences: Iterable[Sentence]) -> None:
    """Every word has a UPOS: `_` is what stands where nobody has said one."""
    for sentence in sentences:
        if "_" in sentence.labels.get("UPOS", ()):
            location = sentence.locations[sentence.labels["UPOS"].index("_")]
            raise DataError(f"{location}: must have a UPOS: got '_'")


def write_tagged(tagged: Tagged, predictions: Iterable[Sequence[str]]) -> Iterator[str]:
    r"""The text of each sentence with other labels in the main column, in the format that it was read from.

    All else in a file stays as it was, but for line ends (\n) and runs of blank lines (one). What came from a data set
    becomes rows of a word, a tab and a label.

    Args:
        tagged: as `read_tagged` gave it.
        predictions: for each sentence a label for each word.

    Raises:
        ValueError: there are not as many sentences or labels, or the format cannot hold a label.
    """
    for sentence, labels in zip(tagged.sentences, predictions, strict=True):
        yield write_sentence(sentence, labels, tagged.format, tagged.column)


def write_sentence(sentence: Sentence, labels: Sequence[str], format: TaggedFormat, column: str | None) -> str:
    """The text of one sentence; see `write_tagged`.

    Args:
        sentence: as `read_tagged` gave it.
        labels: a label for each word.
        format: of `Tagged`.
        column: of `Tagged`.

    Raises:
        ValueError: there are not as many labels as words, or the format cannot hold one.
    """
    if format == "conllu":
        assert column is not None
        return conllu.write_conllu(sentence, {column: labels})
    if format == "columns":
        return columns.write_columns(sentence, labels, None if column is None else int(column))
    check_new_labels(sentence, {"column 2": labels}, "\t\r\n")
    rows = zip(map(_one_cell, sentence.words), labels, strict=True)
    return "".join(f"{word}\t{label}\n" for word, label in rows) + "\n"


def _one_cell(word: str) -> str:
    """A word as a column holds it, so that its row is read as one: blanks for tabs and ends of lines, `_` for nothing."""
    cell = re.sub(r"[\t\r\n]+", " ", word).strip(" ")
    return "_" if cell in ("", "-DOCSTART-") else cell


def write_like(sentence: Sentence, labels: Sequence[str], column: str) -> str:
    """The text of one sentence in the format of its own file, or in rows of words and labels where that cannot hold the column."""
    if not sentence.words:
        return ""
    if sentence.format == "conllu" and not column.isdigit():
        return write_sentence(sentence, labels, "conllu", column).removesuffix("\n")
    if sentence.format == "columns" and column.isdigit():
        there = int(column) <= columns.width_of(sentence)
        return write_sentence(sentence, labels, "columns", column if there else None).removesuffix("\n")
    return write_sentence(sentence, labels, "rows", None).removesuffix("\n")


def _format_of(
    source: str | Path, numbered: Iterator[tuple[int, str]]
) -> tuple[TaggedFormat, Iterator[tuple[int, str]]]:
    """Which format a file has, and its lines: the first ones may have been needed to know."""
    name = unpacked_name(source)
    if name.endswith((".conllu", ".conll-u")):
        return "conllu", numbered
    begin = []
    for number, line in numbered:
        begin.append((number, line))
        if line.strip(" \t") and not line.startswith("#"):
            break
    last = begin[-1][1]
    ten = last.count("\t") == 9 and re.match(r"\d+([-.]\d+)?\t", last, re.ASCII)
    return "conllu" if ten else "columns", chain(begin, numbered)


def _from_hub(source: str, column: str | int | None, auxiliary_columns: Sequence[str | int], labels: bool) -> Tagged:
    selected = [None if name is None else str(name) for name in (column, *auxiliary_columns)] if labels else []
    sentences = []
    for location, words, values in hub_sentences(source, _WORDS, selected):
        if not words:
            continue
        sentences.append(Sentence(words, values, location))
    _check_some(sentences, source)
    return Tagged(tuple(sentences), "rows", next(iter(sentences[0].labels), None))


def _number(column: str | int, path: str) -> int:
    text = str(column).strip()
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise DataError(
            f"{path}: the columns of this format have no names, so one must be a number: got {quoted(text)}"
        )
    return int(text)


def _check_some(sentences: Sequence[Sentence], path: str) -> None:
    if not sentences:
        raise DataError(f"{path}: must hold at least one sentence: got none")
