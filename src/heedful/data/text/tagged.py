"""Sentences whose words have labels, from any file or data set that holds some."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from heedful._errors import DataError
from heedful.data.text import columns, conllu
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.hub import hub_sentences, is_hub
from heedful.data.text.sentences import Sentence, check_new_labels

__all__ = ["Tagged", "read_tagged", "write_tagged"]

Form = Literal["conllu", "columns", "hub"]

_WORDS = ("tokens", "words", "form", "text")


@dataclass(frozen=True)
class Tagged:
    """Sentences, all with labels in the same columns.

    Args:
        sentences: at least one.
        form: what they were read from; they are written in the same.
        column: the main column of labels, a key of `Sentence.labels` where labels were read; None is one to be added.
    """

    sentences: tuple[Sentence, ...]
    form: Form
    column: str | None


def read_tagged(
    source: str | Path, column: str | int | None = None, also: Sequence[str | int] = (), *, labels: bool = True
) -> Tagged:
    r"""Reads words and their labels.

    - CoNLL-U, known by its name (.conllu, .conll-u) or by its contents: `read_conllu`. Columns have names; the main
      one is UPOS unless told.
    - Any other file has a word and its labels in a row: `read_columns`. Columns have numbers; the main one is the
      last unless told.
    - A data set of Hugging Face, `hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`, with lists of words (in a column
      tokens, words, form or text) and of labels. The main column is the only one whose labels have names unless told.

    Args:
        source: the file, its .gz, or the data set.
        column: the main column of labels.
        also: more columns of labels.
        labels: False reads words alone: nothing needs to stand in `column`, to which `write_tagged` will write.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the place.
        ModuleNotFoundError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "names.txt")
        ...     _ = path.write_text("Bo NN B-PER\nran VB O\n\nRun VB O\n")
        ...     tagged = read_tagged(path, also=[2])
        >>> tagged.column, [sentence.words for sentence in tagged.sentences], tagged.sentences[0].labels
        ('3', [('Bo', 'ran'), ('Run',)], {'3': ('B-PER', 'O'), '2': ('NN', 'VB')})
    """
    if is_hub(source):
        return _from_hub(str(source), column, also, labels)
    path = shown_path(source)
    numbered = lines(source)
    form, numbered = _form(source, numbered)
    if form == "conllu":
        names = [conllu.canonical(str(name), path) for name in ("UPOS" if column is None else column, *also)]
        found = tuple(conllu.sentences(numbered, path, names if labels else ()))
        _check_some(found, path)
        if labels:
            conllu.check_labels(found, names, path)
        return Tagged(found, form, names[0])
    main = None if column is None else _number(column, path)
    others = [_number(name, path) for name in also]
    found = tuple(columns.sentences(numbered, path, (main, *others) if labels else ()))
    _check_some(found, path)
    if not labels:
        return Tagged(found, form, None if main is None else str(main))
    return Tagged(found, form, next(iter(found[0].labels)))


def write_tagged(tagged: Tagged, predictions: Iterable[Sequence[str]]) -> Iterator[str]:
    r"""The text of each sentence with other labels in the main column, in the form that it was read from.

    All else in a file stays as it was, but for line ends (\n) and runs of blank lines (one). What came from a data set
    becomes rows of a word, a tab and a label.

    Args:
        tagged: as `read_tagged` gave it.
        predictions: for each sentence a label for each word.

    Raises:
        ValueError: there are not as many sentences or labels, or the form cannot hold a label.
    """
    for sentence, labels in zip(tagged.sentences, predictions, strict=True):
        if tagged.form == "conllu":
            assert tagged.column is not None
            yield conllu.write_conllu(sentence, {tagged.column: labels})
        elif tagged.form == "columns":
            yield columns.write_columns(sentence, labels, None if tagged.column is None else int(tagged.column))
        else:
            check_new_labels(sentence, {"column 2": labels}, "\t\r\n")
            rows = (f"{word}\t{label}\n" for word, label in zip(sentence.words, labels, strict=True))
            yield "".join([*rows, "\n"])


def _form(source: str | Path, numbered: Iterator[tuple[int, str]]) -> tuple[Form, Iterator[tuple[int, str]]]:
    """Which format a file has, and its lines: the first ones may have been needed to know."""
    name = str(source).lower().removesuffix(".gz")
    if name.endswith((".conllu", ".conll-u")):
        return "conllu", numbered
    seen = []
    for number, line in numbered:
        seen.append((number, line))
        if line.strip(" \t") and not line.startswith("#"):
            break
    last = seen[-1][1]
    ten = last.count("\t") == 9 and re.match(r"\d+([-.]\d+)?\t", last, re.ASCII)
    return "conllu" if ten else "columns", chain(seen, numbered)


def _from_hub(source: str, column: str | int | None, also: Sequence[str | int], labels: bool) -> Tagged:
    wanted = [None if name is None else str(name) for name in (column, *also)] if labels else []
    found = []
    for place, words, given in hub_sentences(source, _WORDS, wanted):
        if not words:
            continue
        found.append(Sentence(words, given, place))
    _check_some(found, source)
    return Tagged(tuple(found), "hub", next(iter(found[0].labels), None))


def _number(column: str | int, path: str) -> int:
    text = str(column).strip()
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise DataError(
            f"{path}: the columns of this format have no names, so one must be a number: got {quoted(text)}"
        )
    return int(text)


def _check_some(found: Sequence[Sentence], path: str) -> None:
    if not found:
        raise DataError(f"{path}: must hold at least one sentence: got none")
