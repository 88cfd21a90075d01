"""Documents as lists of sentences, with their summaries or with labels that say which sentences belong into one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import torch

from heedful._errors import DataError
from heedful.data.text._lines import lines, quoted, quoted_all, shown_path
from heedful.data.text.cutting import Cutting
from heedful.data.text.pairs import read_pairs, read_sources
from heedful.data.text.tables import PAIR_DEFAULTS, json_object, table_form
from heedful.models.extractor import Sentences

__all__ = ["SentenceCorpus", "Summarized", "read_documents", "split_sentences"]

_LABELS = {"0": False, "1": True, "False": False, "True": True}


@dataclass(frozen=True)
class Summarized:
    """Documents, what is known of their summaries, and where each stood.

    Attributes:
        sources: the sentences of each, none of them blank.
        references: one or more summaries of each; None where none were read.
        labels: whether each sentence belongs into the summary; None where none were read.
        places: `file:line`.
    """

    sources: list[list[str]]
    references: list[list[str]] | None
    labels: list[list[bool]] | None
    places: list[str]

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, rows: Iterable[int]) -> "Summarized":
        """Those with these numbers."""
        rows = list(rows)
        references = None if self.references is None else [self.references[row] for row in rows]
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return Summarized([self.sources[row] for row in rows], references, labels, [self.places[row] for row in rows])


def read_documents(
    source: str | Path,
    text: str | int = PAIR_DEFAULTS[0],
    summary: str | int | None = PAIR_DEFAULTS[1],
    labels: str | None = None,
    *,
    language: str = "en",
) -> Summarized:
    r"""Reads documents, with their summaries, with labels of their sentences, with both or with neither.

    From JSON lines (.jsonl or .ndjson, also as .gz), where a text is a string or a list of its sentences, a summary is a string
    or a list of several that are equally good, and labels are a list of 0 and 1, or of false and true, one for each sentence.
    From anything that `read_pairs` takes, if there are no labels: tables with named columns, aligned files, data sets of Hugging
    Face; without summaries also from a file with a text a line.

    A text that is one string is cut into sentences; see `split_sentences`. Blank sentences are left out, with their labels.
    With summaries or labels, every document must have a sentence; otherwise an empty text keeps its place.

    Args:
        source: the file, files or data set.
        text: the name of the texts; of a column also its number, from 1.
        summary: likewise of the summaries; None reads none.
        labels: the name of the labels; None reads none.
        language: of the texts that are to be cut, as its ISO code.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the place.
        ModuleNotFoundError: the package that cuts into sentences, or that for Hugging Face, is needed and not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "papers.jsonl")
        ...     _ = path.write_text('{"source": ["We sort.", "It works."], "target": "Sorting", "chosen": [1, 0]}\n')
        ...     papers = read_documents(path, labels="chosen")
        >>> papers.sources, papers.references, papers.labels
        ([['We sort.', 'It works.']], [['Sorting']], [[True, False]])
    """
    path = shown_path(source)
    if table_form(source) == "jsonl":
        return _objects(source, path, text, summary, labels, language)
    if labels is not None:
        raise DataError(f"{path}: labels of sentences must be lists in a .jsonl or .jsonl.gz: got another name")
    if summary is None:
        texts = read_sources(source, (text, PAIR_DEFAULTS[text == PAIR_DEFAULTS[0]]))
        places = [f"{path}, text {number}" for number in range(1, len(texts) + 1)]
        return Summarized([split_sentences(document, language) for document in texts], None, None, places)
    pairs = read_pairs(source, (text, summary))
    return Summarized(
        [split_sentences(document, language) for document in pairs.sources],
        [[reference] for reference in pairs.targets],
        None,
        pairs.places,
    )


def split_sentences(text: str, language: str = "en") -> list[str]:
    """The sentences of a text, by the package sentencex, without the blanks around them.

    Args:
        text: of one paragraph or of several; a sentence ends with its paragraph.
        language: of the text, as its ISO code; one that the package does not know is cut as English is.

    Raises:
        ModuleNotFoundError: the package is not installed.

    Examples:
        >>> split_sentences("Dr. Hart measured it. It was 3.5 m long!")
        ['Dr. Hart measured it.', 'It was 3.5 m long!']
    """
    try:
        from sentencex import segment
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"cutting texts into sentences needs `pip install 'heedful[text]'`: the package {error.name} is missing.",
            name=error.name,
        ) from error
    return [sentence.strip() for sentence in segment(language, text) if not sentence.isspace()]


class SentenceCorpus:
    """Documents as numbers, from which batches are taken.

    Args:
        cutting: how a sentence becomes tokens.
        documents: one or more lists of sentences; none of them empty, and no sentence blank.
    """

    def __init__(self, cutting: Cutting, documents: Sequence[Sequence[str]]) -> None:
        self._corpus = cutting.corpus(list(chain.from_iterable(documents)))
        self.counts = [len(document) for document in documents]
        self._ends = [0, *accumulate(self.counts)]
        self.lengths = [sum(self._corpus.lengths[begin:end]) for begin, end in pairwise(self._ends)]  # in tokens
        self._longest = [max(self._corpus.lengths[begin:end]) for begin, end in pairwise(self._ends)]

    def __len__(self) -> int:
        return len(self.counts)

    def batches(self, room: int) -> list[list[int]]:
        """All documents, those with sentences of one length together; so many that sentences x the longest are at most `room`."""
        made: list[list[int]] = [[]]
        count = 0
        for i in sorted(range(len(self)), key=lambda i: (self._longest[i], self.counts[i])):
            count += self.counts[i]
            if made[-1] and count * self._longest[i] > room:
                made.append([])
                count = self.counts[i]
            made[-1].append(i)
        return made

    def batch(self, indices: Sequence[int]) -> Sentences:
        """Some documents, each sentence padded to the longest of all of them."""
        rows = [row for i in indices for row in range(self._ends[i], self._ends[i + 1])]
        return Sentences(self._corpus.batch(rows), torch.tensor([self.counts[i] for i in indices]))


def _objects(
    source: str | Path, path: str, text: str | int, summary: str | int | None, labels: str | None, language: str
) -> Summarized:
    names = [name for name in (text, summary, labels) if name is not None]
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: the columns of JSON lines must be wanted by name: got {names}")
    sources: list[list[str]] = []
    references: list[list[str]] = []
    chosen: list[list[bool]] = []
    places: list[str] = []
    for number, line in lines(source):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        row = json_object(line, place)
        for name in names:
            if name not in row:
                raise DataError(
                    f"{place}: must have {quoted(str(name))}: got {quoted_all(list(row)) or 'an empty object'}"
                )
        given = _texts(row, str(text), place)
        sentences = split_sentences(given, language) if isinstance(given, str) else [part.strip() for part in given]
        kept = [number for number, sentence in enumerate(sentences) if sentence]
        if not kept and len(names) > 1:
            raise DataError(f"{place}: {quoted(str(text))} must have a sentence: got an empty text")
        if summary is not None:
            references.append(_references(row, str(summary), place))
        if labels is not None:
            marks = _marks(row, labels, len(sentences), place)
            chosen.append([marks[number] for number in kept])
        sources.append([sentences[number] for number in kept])
        places.append(place)
    if not places:
        raise DataError(f"{path}: must hold at least one document: got none")
    if labels is not None and not any(map(any, chosen)):
        raise DataError(
            f"{path}: {quoted(labels)} must choose a sentence somewhere: got no 1 in {len(places):,} documents"
        )
    return Summarized(
        sources, None if summary is None else references, None if labels is None else chosen, places
    )  # fmt: skip


def _texts(row: dict[str, Any], name: str, place: str) -> str | list[str]:
    """A text, or a list of texts."""
    value = row[name]
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, str):
            inside = " with something else in it" if isinstance(value, list) else ""
            raise DataError(f"{place}: {quoted(name)} must be a text or a list of texts: got {_kind(value)}{inside}")
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{place}: {quoted(name)} must be text: got half a character, {quoted(part[error.start])}"
            ) from error
    return value  # type: ignore[no-any-return]


def _references(row: dict[str, Any], name: str, place: str) -> list[str]:
    given = _texts(row, name, place)
    found = [part.strip() for part in ([given] if isinstance(given, str) else given)]
    if not found:
        raise DataError(f"{place}: {quoted(name)} must hold at least one summary: got an empty list")
    if not all(found):
        which = f", number {found.index('') + 1} of {len(found)}" if len(found) > 1 else ""
        raise DataError(f"{place}: {quoted(name)} must be a summary: got an empty text{which}")
    return found


def _marks(row: dict[str, Any], name: str, count: int, place: str) -> list[bool]:
    value = row[name]
    if not isinstance(value, list):
        raise DataError(f"{place}: {quoted(name)} must be a list of 0 and 1: got {_kind(value)}")
    for mark in value:
        if isinstance(mark, (list, dict)) or str(mark) not in _LABELS:
            got = quoted(str(mark)) if isinstance(mark, str) else _kind(mark)
            raise DataError(f"{place}: {quoted(name)} must be a list of 0 and 1: got {got} in it")
    if len(value) != count:
        raise DataError(f"{place}: {quoted(name)} must have one label for each of {count} sentences: got {len(value)}")
    return [_LABELS[str(mark)] for mark in value]


def _kind(value: object) -> str:
    """What JSON calls it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case list():
            return "a list"
        case _:
            return "an object"
