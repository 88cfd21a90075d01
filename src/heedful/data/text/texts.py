"""Texts, each with the name of its class where there is one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from heedful._errors import DataError
from heedful.data.text._lines import lines, quoted, quoted_all, shown_path
from heedful.data.text.hub import hub_rows, is_hub
from heedful.data.text.tables import DEFAULTS, Row, read_table, table_form

__all__ = ["Texts", "read_texts"]


@dataclass(frozen=True)
class Texts:
    """Texts, their labels (None where unlabelled), and where each stood: `file:line`."""

    texts: list[str]
    labels: list[str] | None
    places: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Iterable[int]) -> "Texts":
        """Those with these numbers."""
        rows = list(rows)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return Texts([self.texts[row] for row in rows], labels, [self.places[row] for row in rows])


def read_texts(
    source: str | Path,
    text: str | int = DEFAULTS[0],
    label: str | int | None = DEFAULTS[1],
    *,
    classes: Sequence[str] | None = None,
) -> Texts:
    r"""Reads texts and their labels.

    From a table (.csv, .tsv, .jsonl, also as .gz: `read_table`, which tells what a header is), a data set of Hugging
    Face (`hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`), or, without labels, from any other file with a text a line.

    With labels, every row must have a text and a label. Without, an empty text keeps its place.

    Args:
        source: the file or data set.
        text: the column of texts, by name or by number from 1.
        label: the column of labels; None reads texts alone.
        classes: the known classes, of which each label must be one; None takes those of the source, at least two.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the place.
        ModuleNotFoundError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "reviews.tsv")
        ...     _ = path.write_text("a fine film\tgood\nawful\tbad\n")
        ...     reviews = read_texts(path)
        >>> reviews.texts, reviews.labels
        (['a fine film', 'awful'], ['good', 'bad'])
    """
    path = shown_path(source)
    columns = (text,) if label is None else (text, label)
    texts, labels, places = [], [], []
    for values, place in _rows(source, columns, path):
        if label is not None:
            _check(values, classes, place)
            labels.append(values[1].strip())
        texts.append(values[0])
        places.append(place)
    if not texts:
        raise DataError(f"{path}: must hold at least one text: got none")
    if label is None:
        return Texts(texts, None, places)
    if classes is None and len(set(labels)) < 2:
        raise DataError(f"{path}: must hold at least two classes: got 1, {quoted(labels[0])}")
    return Texts(texts, labels, places)


def _rows(source: str | Path, columns: Sequence[str | int], path: str) -> Iterator[Row]:
    if is_hub(source):
        for place, values in hub_rows(str(source), [str(column) for column in columns]):
            yield Row(values, place)
    elif table_form(source) is not None or Path(source).is_dir():
        yield from read_table(source, columns)
    elif len(columns) > 1:
        raise DataError(
            f"{path}: texts with labels must be a .csv, .tsv or .jsonl, or one of them as .gz: got another name"
        )
    else:
        for number, line in lines(source):
            yield Row((line,), f"{path}:{number}")


def _check(values: tuple[str, ...], classes: Sequence[str] | None, place: str) -> None:
    text, label = values[0], values[1].strip()
    if not text or text.isspace():
        raise DataError(f"{place}: must have a text: got an empty one, with the label {quoted(label)}")
    if not label:
        raise DataError(f"{place}: must have a label: got an empty one, for the text {quoted(text)}")
    if classes is not None and label not in classes:
        raise DataError(f"{place}: label must be a known class, {quoted_all(classes)}: got {quoted(label)}")
