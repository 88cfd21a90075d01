"""Texts, each with the name of its class, its labels or its number where there are some."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data._rows import RowLog, check_some_known
from heedful.data.frames import ColumnKind, from_frame, in_memory, meant
from heedful.data.targets import ONE_LABEL, TargetFormat
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.hub import hub_rows, is_hub
from heedful.data.text.tables import DEFAULTS, TableRow, another_name, read_table, table_format

__all__ = ["LabeledTexts", "read_texts"]


@dataclass(frozen=True)
class LabeledTexts:
    """Texts, each with its label where there is one.

    Attributes:
        texts: the texts.
        labels: of each, the cell of the column of labels; None where unlabeled.
        locations: where each stood, for errors: `file:line`.
        notes: what was taken for what, and what was skipped.
        format: what a cell of the column of labels holds.
    """

    texts: list[str]
    labels: list[str] | None
    locations: list[str]
    notes: tuple[str, ...] = field(default=(), compare=False)
    format: TargetFormat = ONE_LABEL

    @classmethod
    def of(
        cls, texts: Sequence[str], labels: Sequence[str | int] | None = None, *, locations: Sequence[str] | None = None
    ) -> "LabeledTexts":
        """Texts and labels from Python; every text that has a label must not be blank.

        Args:
            texts: a list, an array or a series.
            labels: likewise; numbers and truth values become text.
            locations: where each stood; "row 0" and so on unless given.

        Raises:
            DataError: they are not as many as each other, or one is missing or of another type.

        Examples:
            >>> LabeledTexts.of(["fine", "awful"], [1, 0]).labels
            ['1', '0']
        """
        columns = {"texts": texts} if labels is None else {"texts": texts, "labels": labels}
        frame = from_frame(columns, list(columns))
        where = list(frame.locations if locations is None else locations)
        if labels is None:
            return cls(frame.values[0], None, where)
        for values, location in zip(zip(*frame.values, strict=True), where, strict=True):
            _check(values, location, ONE_LABEL)
        return cls(frame.values[0], [label.strip() for label in frame.values[1]], where)

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Iterable[int]) -> "LabeledTexts":
        """Those with these numbers."""
        rows = list(rows)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        texts, locations = ([column[row] for row in rows] for column in (self.texts, self.locations))
        return replace(self, texts=texts, labels=labels, locations=locations)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a text or a label does."""
        for row, text in enumerate(self.texts):
            yield framed(text, None if self.labels is None else self.labels[row])


def read_texts(
    source: Any,
    text: str | int = DEFAULTS[0],
    label: str | int | None = DEFAULTS[1],
    *,
    classes: Sequence[str] | None = None,
    labeled: bool = True,
    skip: float | None = None,
    format: TargetFormat = ONE_LABEL,
) -> LabeledTexts:
    r"""Reads texts and their labels.

    From a table (.csv, .tsv, .jsonl, also as .gz: `read_table`, which tells what a header is), a data set of Hugging
    Face (`hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`), data in memory (`from_frame`), or, without labels, from any
    other file with a text a line.

    With labels, every row must have a text and a label. Without, an empty text keeps its place.

    Args:
        source: the file or data set.
        text: the column of texts, by name or by number from 1.
        label: the column of labels; None reads texts alone.
        labeled: False reads texts alone; labels may stand beside them.
        classes: the known classes, of which some label must be one; None takes those of the source, at least two.
        skip: the largest share of bad rows that may be skipped; None: the first one is an error.
        format: what a cell of the column of labels holds.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the location.
        MissingPackageError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "reviews.tsv")
        ...     _ = path.write_text("a fine film\tgood\nawful\tbad\n")
        ...     reviews = read_texts(path)
        >>> reviews.texts, reviews.labels
        (['a fine film', 'awful'], ['good', 'bad'])
    """
    if not labeled and label is not None:
        return _without_labels(source, text, label, classes)
    path = "the data" if in_memory(source) else shown_path(source)
    columns = (text,) if label is None else (text, label)
    texts, labels, locations, log = [], [], [], RowLog(skip)
    for values, location in _rows(source, columns, path, classes, log, lists=format.kind == "labels"):
        if label is not None:
            try:
                _check(values, location, format)
            except DataError as error:
                log.bad(error)
                continue
            labels.append(values[1].strip())
        texts.append(values[0])
        locations.append(location)
    notes = log.finish(len(texts))
    if not texts:
        raise DataError(f"{path}: must hold at least one text: got none")
    if label is None:
        return LabeledTexts(texts, None, locations, notes)
    if classes is None and format.kind == "label" and len(set(labels)) < 2:
        raise DataError(f"{path}: must hold at least two classes: got 1, {quoted(labels[0])}")
    if classes is not None:
        check_some_known(zip(labels, locations, strict=True), classes)
    return LabeledTexts(texts, labels, locations, notes, format)


def _without_labels(source: Any, text: str | int, label: str | int, classes: Sequence[str] | None) -> LabeledTexts:
    """Texts alone; of a table without a header both columns tell which one has the texts."""
    try:
        return read_texts(source, text, None)
    except DataError as error:
        log = RowLog()
        try:
            rows = list(_rows(source, (text, label), shown_path(source), classes, log))
        except DataError:
            raise error from None  # it is no table with labels either
    return LabeledTexts([values[0] for values, _ in rows], None, [location for _, location in rows], tuple(log.notes))


def _rows(
    source: Any,
    columns: Sequence[str | int],
    path: str,
    classes: Sequence[str] | None,
    log: RowLog,
    *,
    lists: bool = False,
) -> Iterator[TableRow]:
    """The rows of a source; with `lists` those of the last column may be lists of texts, which are given as JSON."""
    names = [str(column) for column in columns]
    if in_memory(source):
        there = meant(source, names, log)
        kinds: dict[str, ColumnKind] = {name: "list" if lists and name == there[-1] else "text" for name in there}
        frame = from_frame(source, kinds)
        yield from map(TableRow, zip(*frame.values, strict=True), frame.locations)
    elif is_hub(source):
        for location, values in hub_rows(str(source), names, log, lists=lists):
            yield TableRow(values, location)
    elif table_format(source, is_table=len(columns) > 1) is not None or Path(source).is_dir():
        yield from read_table(source, columns, classes=classes, log=log, lists=lists)
    elif len(columns) > 1:
        raise another_name(source, "texts with labels must be a .csv, .tsv or .jsonl")
    else:
        for number, line in lines(source):
            yield TableRow((line,), f"{path}:{number}")


def _check(values: Sequence[str], location: str, format: TargetFormat) -> None:
    text, label = values[0], values[1].strip()
    if not text or text.isspace():
        raise DataError(f"{location}: must have a text: got an empty one, with the label {quoted(label)}")
    if not label and format.kind != "labels":
        raise DataError(f"{location}: must have a {format.kind}: got an empty one, for the text {quoted(text)}")
    format.check(label, location)
