"""Documents as lists of sentences, with their summaries or with labels that say which sentences belong into one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import torch

from heedful._errors import DataError, needing
from heedful.data._content import framed
from heedful.data._rows import RowLog
from heedful.data.batch_types import SentenceBatch
from heedful.data.frames import from_frame, in_memory, meant
from heedful.data.text._lines import quoted, quoted_all, shown_path
from heedful.data.text.json_rows import json_rows
from heedful.data.text.parallel import read_pairs, read_sources
from heedful.data.text.tables import PAIR_DEFAULTS, json_object, keys_of, table_format
from heedful.data.text.tokenization import Tokenization

__all__ = ["EncodedDocuments", "SummaryExamples", "read_documents", "split_sentences"]

_LABELS = {"0": False, "1": True, "False": False, "True": True}


@dataclass(frozen=True)
class SummaryExamples:
    """Documents, what is known of their summaries, and where each stood.

    Attributes:
        sources: the sentences of each, none of them blank.
        references: one or more summaries of each; None where none were read.
        labels: whether each sentence belongs into the summary; None where none were read.
        locations: `file:line`.
        notes: what was taken for what, and what was skipped.
    """

    sources: list[list[str]]
    references: list[list[str]] | None
    labels: list[list[bool]] | None
    locations: list[str]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        sources: Sequence[str | Sequence[str]],
        references: Sequence[str | Sequence[str]] | None = None,
        labels: Sequence[Sequence[bool]] | None = None,
        *,
        language: str = "en",
        locations: Sequence[str] | None = None,
        log: RowLog | None = None,
    ) -> "SummaryExamples":
        """Documents from Python, by the rules of `read_documents` for JSON lines.

        Args:
            sources: texts, or lists of sentences.
            references: of each a summary, or a list of several that are equally good.
            labels: of each a list of 0 and 1, or of false and true, one for each sentence.
            language: of texts that are to be cut into sentences, as its ISO code.
            locations: where each stood; "row 0" and so on unless given.
            log: takes the documents that are to be skipped; None: the first one is an error.

        Raises:
            DataError: they are not as many as each other, or something is missing or of another type.
            MissingPackageError: a text is to be cut into sentences and the package for it is not installed.

        Examples:
            >>> SummaryExamples.of([["We sort.", "It works."]], ["Sorting"]).references
            [['Sorting']]
        """
        columns: dict[str, Any] = {"sources": sources, "references": references, "labels": labels}
        columns = {name: column for name, column in columns.items() if column is not None}
        frame = from_frame(columns, dict.fromkeys(columns, "any"))
        rows = [
            (dict(zip(columns, map(_plain, values), strict=True)), location)
            for *values, location in zip(*frame.values, locations or frame.locations, strict=True)
        ]
        return _examples(
            rows,
            "sources",
            None if references is None else "references",
            None if labels is None else "labels",
            language,
            log or RowLog(),
        )

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, rows: Iterable[int]) -> "SummaryExamples":
        """Those with these numbers."""
        rows = list(rows)
        references = None if self.references is None else [self.references[row] for row in rows]
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        sources, locations = [self.sources[row] for row in rows], [self.locations[row] for row in rows]
        return SummaryExamples(sources, references, labels, locations, self.notes)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a sentence, a summary or a label does."""
        for row, sentences in enumerate(self.sources):
            yield framed(
                sentences,
                None if self.references is None else self.references[row],
                None if self.labels is None else self.labels[row],
            )


def read_documents(
    source: Any,
    text: str | int = PAIR_DEFAULTS[0],
    summary: str | int | None = PAIR_DEFAULTS[1],
    labels: str | None = None,
    *,
    language: str = "en",
    labeled: bool = True,
    skip: float | None = None,
) -> SummaryExamples:
    r"""Reads documents, with their summaries, with labels of their sentences, with both or with neither.

    From JSON lines (.jsonl or .ndjson, also as .gz), where a text is a string or a list of its sentences, a summary is a string
    or a list of several that are equally good, and labels are a list of 0 and 1, or of false and true, one for each sentence.
    From anything that `read_pairs` takes, if there are no labels: tables with named columns, aligned files, data sets of Hugging
    Face; without summaries also from a file with a text a line. From data in memory (`from_frame`), by the rules of JSON lines.

    A text that is one string is cut into sentences; see `split_sentences`. Blank sentences are left out, with their labels.
    With summaries or labels, every document must have a sentence; otherwise an empty text keeps its place.

    Args:
        source: the file, files or data set.
        text: the name of the texts; of a column also its number, from 1.
        summary: likewise of the summaries; None reads none.
        labels: the name of the labels; None reads none.
        language: of the texts that are to be cut, as its ISO code.
        labeled: False reads texts alone; summaries and labels may stand beside them.
        skip: the largest share of bad rows that may be skipped; None: the first one is an error.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the location.
        MissingPackageError: the package that cuts into sentences, or that for Hugging Face, is needed and not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "papers.jsonl")
        ...     _ = path.write_text('{"source": ["We sort.", "It works."], "target": "Sorting", "chosen": [1, 0]}\n')
        ...     papers = read_documents(path, labels="chosen")
        >>> papers.sources, papers.references, papers.labels
        ([['We sort.', 'It works.']], [['Sorting']], [[True, False]])
    """
    log = RowLog(skip if labeled else None)
    if in_memory(source):
        names = {"sources": text, "references": summary, "labels": labels}
        chosen = {key: str(name) for key, name in names.items() if name is not None}
        frame = from_frame(source, dict.fromkeys(meant(source, list(chosen.values()), log), "any"))
        return SummaryExamples.of(
            **dict(zip(chosen, frame.values, strict=True)), language=language, locations=frame.locations, log=log
        )
    path = shown_path(source)
    beside = PAIR_DEFAULTS[text == PAIR_DEFAULTS[0]] if summary is None else summary
    summary, labels = (summary, labels) if labeled else (None, None)
    if table_format(source) == "jsonl":
        return _objects(source, path, text, summary, labels, language, log)
    if labels is not None:
        raise DataError(f"{path}: labels of sentences must be lists in a .jsonl or .jsonl.gz: got another name")
    if summary is None:
        texts = read_sources(source, (text, beside), log)
        locations = [f"{path}, text {number}" for number in range(1, len(texts) + 1)]
        documents = [split_sentences(document, language) for document in texts]
        return SummaryExamples(documents, None, None, locations, log.finish(len(texts)))
    pairs = read_pairs(source, (text, summary), skip=skip)
    return SummaryExamples(
        [split_sentences(document, language) for document in pairs.sources],
        [[reference] for reference in pairs.targets],
        None,
        pairs.locations,
        pairs.notes,
    )


def split_sentences(text: str, language: str = "en") -> list[str]:
    """The sentences of a text, by the package sentencex, without the blanks around them.

    Args:
        text: of one paragraph or of several; a sentence ends with its paragraph.
        language: of the text, as its ISO code; one that the package does not know is cut as English is.

    Raises:
        MissingPackageError: the package is not installed.

    Examples:
        >>> split_sentences("Dr. Hart measured it. It was 3.5 m long!")
        ['Dr. Hart measured it.', 'It was 3.5 m long!']
    """
    with needing("text", "cutting texts into sentences"):
        from sentencex import segment
    return [sentence.strip() for sentence in segment(language, text) if not sentence.isspace()]


class EncodedDocuments:
    """Documents as numbers, from which batches are taken.

    Args:
        tokenization: of the sentences.
        documents: one or more lists of sentences; none of them empty, and no sentence blank.
    """

    def __init__(self, tokenization: Tokenization, documents: Sequence[Sequence[str]]) -> None:
        self._sentences = tokenization.encode(list(chain.from_iterable(documents)))
        self.counts = [len(document) for document in documents]
        self._ends = [0, *accumulate(self.counts)]
        self.lengths = [sum(self._sentences.lengths[begin:end]) for begin, end in pairwise(self._ends)]  # in tokens
        self._max_lengths = [max(self._sentences.lengths[begin:end]) for begin, end in pairwise(self._ends)]

    def __len__(self) -> int:
        return len(self.counts)

    def batches(self, max_tokens: int) -> list[list[int]]:
        """Numbers of all documents, sorted by their longest sentence, in batches of at most `max_tokens` tokens with padding."""
        batches: list[list[int]] = [[]]
        count = 0
        for i in sorted(range(len(self)), key=lambda i: (self._max_lengths[i], self.counts[i])):
            count += self.counts[i]
            if batches[-1] and count * self._max_lengths[i] > max_tokens:
                batches.append([])
                count = self.counts[i]
            batches[-1].append(i)
        return batches

    def batch(self, indices: Sequence[int]) -> SentenceBatch:
        """The documents with these numbers, each sentence padded to the longest of all of them."""
        rows = [row for i in indices for row in range(self._ends[i], self._ends[i + 1])]
        return SentenceBatch(self._sentences.batch(rows), torch.tensor([self.counts[i] for i in indices]))


def _objects(
    source: str | Path,
    path: str,
    text: str | int,
    summary: str | int | None,
    labels: str | None,
    language: str,
    log: RowLog,
) -> SummaryExamples:
    names = [name for name in (text, summary, labels) if name is not None]
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: the columns of JSON lines must be wanted by name: got {names}")
    rows = []
    for number, line in json_rows(source):
        location = f"{path}:{number}"
        try:
            rows.append((json_object(line, location), location))
        except DataError as error:
            log.bad(error)
    keys = iter(keys_of(rows[0][0], list(map(str, names)), path, rows[0][1], log) if rows else map(str, names))
    text_key, summary_key, labels_key = (None if name is None else next(keys) for name in (text, summary, labels))
    examples = _examples(rows, str(text_key), summary_key, labels_key, language, log)
    if not len(examples):
        raise DataError(f"{path}: must hold at least one document: got none")
    if examples.labels is not None and not any(map(any, examples.labels)):
        raise DataError(
            f"{path}: {quoted(str(labels))} must choose a sentence somewhere: got no 1 in {len(examples):,} documents"
        )
    return examples


def _examples(
    rows: Iterable[tuple[dict[str, Any], str]],
    text: str,
    summary: str | None,
    labels: str | None,
    language: str,
    log: RowLog,
) -> SummaryExamples:
    """Documents from rows, and where each stood; `text`, `summary` and `labels` are names of their values."""
    examples = SummaryExamples([], None if summary is None else [], None if labels is None else [], [])
    for row, location in rows:
        try:
            sentences, references, marks = _example(row, location, text, summary, labels, language)
        except DataError as error:
            log.bad(error)
            continue
        examples.sources.append(sentences)
        examples.locations.append(location)
        if examples.references is not None:
            examples.references.append(references)
        if examples.labels is not None:
            examples.labels.append(marks)
    return replace(examples, notes=log.finish(len(examples)))


def _example(
    row: dict[str, Any], location: str, text: str, summary: str | None, labels: str | None, language: str
) -> tuple[list[str], list[str], list[bool]]:
    """The sentences of a document, its summaries and its labels."""
    names = [name for name in (text, summary, labels) if name is not None]
    for name in names:
        if name not in row:
            raise DataError(f"{location}: must have {quoted(name)}: got {quoted_all(list(row)) or 'an empty object'}")
    value = _texts(row, text, location)
    sentences = split_sentences(value, language) if isinstance(value, str) else [part.strip() for part in value]
    filled = [index for index, sentence in enumerate(sentences) if sentence]
    if not filled and len(names) > 1:
        raise DataError(f"{location}: {quoted(text)} must have a sentence: got an empty text")
    references = [] if summary is None else _references(row, summary, location)
    marks = [] if labels is None else _marks(row, labels, len(sentences), location)
    return [sentences[index] for index in filled], references, [marks[index] for index in filled if marks]


def _texts(row: dict[str, Any], name: str, location: str) -> str | list[str]:
    """A text, or a list of texts."""
    value = row[name]
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, str):
            inside = " with something else in it" if isinstance(value, list) else ""
            raise DataError(f"{location}: {quoted(name)} must be a text or a list of texts: got {_kind(value)}{inside}")
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{location}: {quoted(name)} must be text: got half a character, {quoted(part[error.start])}"
            ) from error
    return value  # type: ignore[no-any-return]


def _references(row: dict[str, Any], name: str, location: str) -> list[str]:
    value = _texts(row, name, location)
    references = [part.strip() for part in ([value] if isinstance(value, str) else value)]
    if not references:
        raise DataError(f"{location}: {quoted(name)} must hold at least one summary: got an empty list")
    if not all(references):
        which = f", number {references.index('') + 1} of {len(references)}" if len(references) > 1 else ""
        raise DataError(f"{location}: {quoted(name)} must be a summary: got an empty text{which}")
    return references


def _marks(row: dict[str, Any], name: str, count: int, location: str) -> list[bool]:
    value = row[name]
    if not isinstance(value, list):
        raise DataError(f"{location}: {quoted(name)} must be a list of 0 and 1: got {_kind(value)}")
    for mark in value:
        if isinstance(mark, (list, dict)) or str(mark) not in _LABELS:
            got = quoted(str(mark)) if isinstance(mark, str) else _kind(mark)
            raise DataError(f"{location}: {quoted(name)} must be a list of 0 and 1: got {got} in it")
    if len(value) != count:
        raise DataError(
            f"{location}: {quoted(name)} must have one label for each of {count} sentences: got {len(value)}"
        )
    return [_LABELS[str(mark)] for mark in value]


def _plain(value: Any) -> Any:
    """Tuples and arrays as lists, and what they hold as Python's values, as JSON would have them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


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
        case int() | float():
            return str(value)
        case dict():
            return "an object"
        case _:
            return f"a value of type {type(value).__name__}"
