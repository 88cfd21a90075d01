"""Texts side by side: each with its translation, its summary, or whatever else it is to become."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data._rows import RowLog
from heedful.data.frames import from_frame, in_memory, meant
from heedful.data.text._lines import lines, quoted, shown_path
from heedful.data.text.hub import hub_rows, is_hub
from heedful.data.text.tables import PAIR_DEFAULTS, TableRow, read_table, table_format

__all__ = ["ParallelTexts", "read_pairs", "read_sources"]

_FORMS = "a .csv, .tsv or .jsonl (also as .gz), two aligned files joined by a comma, or the common beginning of two"


@dataclass(frozen=True)
class ParallelTexts:
    """Source texts, each with its target text.

    Attributes:
        sources: what is read.
        targets: what each is to become.
        locations: where each stood, for errors: `file:line`, of two files the first.
        notes: what was taken for what, and what was skipped.
    """

    sources: list[str]
    targets: list[str]
    locations: list[str]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        locations: Sequence[str] | None = None,
        log: RowLog | None = None,
    ) -> "ParallelTexts":
        """Sources and targets from Python, without the blanks around them; neither may be empty.

        Args:
            sources: a list, an array or a series.
            targets: likewise.
            locations: where each stood; "row 0" and so on unless given.
            log: takes the pairs that are to be skipped; None: the first one is an error.

        Raises:
            DataError: they are not as many as each other, or one is missing, empty, or no text.

        Examples:
            >>> ParallelTexts.of(["good morning"], [" guten Morgen "]).targets
            ['guten Morgen']
        """
        frame = from_frame({"sources": sources, "targets": targets}, ["sources", "targets"])
        rows = map(TableRow, zip(*frame.values, strict=True), locations or frame.locations)
        return _pairs([(row, row.location) for row in rows], log or RowLog(), blank=False)

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, rows: Iterable[int]) -> "ParallelTexts":
        """Those with these numbers."""
        rows = list(rows)
        sources, targets, locations = (
            [column[row] for row in rows] for column in (self.sources, self.targets, self.locations)
        )
        return ParallelTexts(sources, targets, locations, self.notes)

    def content(self) -> Iterator[bytes]:
        """Bytes that change whenever a text does."""
        for source, target in zip(self.sources, self.targets, strict=True):
            yield framed(source, target)


def read_pairs(
    source: Any, names: tuple[str | int, str | int] = PAIR_DEFAULTS, *, skip: float | None = None
) -> ParallelTexts:
    r"""Reads texts and what each is to become, without the blanks around them.

    - Two files with a text a line, aligned line by line and joined by a comma: `train.en.gz,train.de.gz`.
    - The common beginning of two such files that end in the names: with ("en", "de"), `data/train` is `data/train.en`
      and `data/train.de`, each plain or as .gz.
    - A table (.csv, .tsv, .jsonl, also as .gz: `read_table`, which tells what a header is) with these columns, which
      may be numbers. Without a header, two columns are taken in order unless names were chosen.
    - A data set of Hugging Face (`hf:NAMESPACE/NAME/CONFIG:SPLIT` or `hf:FOLDER`), or data in memory (`from_frame`), with
      these columns.

    Where both sides are empty there is no pair.

    Args:
        source: the file, files or data set.
        names: the columns or ends of the file names: of the texts, and of what they become.
        skip: the largest share of bad pairs that may be skipped; None: the first one is an error.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the location.
        MissingPackageError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "train.en").write_text("good morning\nthank you\n")
        ...     _ = Path(folder, "train.de").write_text("guten Morgen\ndanke\n")
        ...     pairs = read_pairs(Path(folder, "train"), ("en", "de"))
        >>> pairs.sources, pairs.targets
        (['good morning', 'thank you'], ['guten Morgen', 'danke'])
    """
    _check_names(names)
    log = RowLog(skip)
    if in_memory(source):
        frame = from_frame(source, meant(source, [str(name) for name in names], log))
        return ParallelTexts.of(*frame.values, locations=frame.locations, log=log)
    files = _aligned(source, names)
    pairs = _pairs(_rows(source, names, log) if files is None else _side_by_side(*files), log)
    if not pairs.sources:
        raise DataError(f"{shown_path(source)}: must hold at least one pair of texts: got none")
    return pairs


def _pairs(rows: Iterable[tuple[TableRow, str]], log: RowLog, *, blank: bool = True) -> ParallelTexts:
    """The pairs of rows, each with the location of its target; where both sides are empty there is none, if that is allowed."""
    pairs = ParallelTexts([], [], [])
    for row, other in rows:
        text, target = (value.strip() for value in row.values)
        if blank and not text and not target:
            continue
        try:
            _check_pair(text, target, row.location, other)
        except DataError as error:
            log.bad(error)
            continue
        pairs.sources.append(text)
        pairs.targets.append(target)
        pairs.locations.append(row.location)
    return replace(pairs, notes=log.finish(len(pairs)))


def read_sources(
    source: str | Path, names: tuple[str | int, str | int] = PAIR_DEFAULTS, log: RowLog | None = None
) -> list[str]:
    r"""Reads texts that are to become something, without the blanks around them; an empty text keeps its place.

    From the first of two columns of a table or of a data set of Hugging Face, where the second need not be, from the
    first of two aligned files (see `read_pairs`), or from any other file, each of whose lines is a text.

    Args:
        source: the file, files or data set.
        names: as of `read_pairs`.
        log: takes what was taken for what.

    Raises:
        DataError: the source cannot be read or does not hold what its format promises; the message begins with the location.
        MissingPackageError: a data set of Hugging Face is asked for and the package for it is not installed.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "test.tsv")
        ...     _ = path.write_text("source\tby\ngood morning\tAda\n")
        ...     read_sources(path)
        ['good morning']
    """
    _check_names(names)
    if is_hub(source):
        texts = [values[0] for _, values in hub_rows(str(source), [str(names[0])], log)]
    elif (files := _aligned(source, names)) is not None:
        texts = [line for _, line in lines(files[0])]
    elif table_format(source) is not None:
        texts = [row.values[0] for row in read_table(source, _first_of_two(source, names), log=log)]
    else:
        texts = [line for _, line in lines(source)]
    if not texts:
        raise DataError(f"{shown_path(source)}: must hold at least one text: got none")
    return [text.strip() for text in texts]


def _check_pair(source: str, target: str, location: str, target_location: str) -> None:
    if not source:
        raise DataError(f"{location}: must have a source: got an empty one, for the target {quoted(target)}")
    if not target:
        raise DataError(f"{target_location}: must have a target: got an empty one, for the source {quoted(source)}")


def _check_names(names: tuple[str | int, str | int]) -> None:
    if names[0] == names[1]:
        raise ValueError(f"`names` must be two different ones: got {names[0]!r} twice.")


def _aligned(source: str | Path, names: Sequence[str | int]) -> tuple[Path, Path] | None:
    """The two files that a source means, or None where it means something else."""
    text = str(source)
    if is_hub(source) or os.path.isfile(source):
        return None
    if "," in text:
        return _halves(text)
    tried = _tried(source, names)
    one, other = (next(filter(os.path.isfile, files), None) for files in tried)
    if one is not None and other is not None:
        return one, other
    for present, missing in ((one, tried[1]), (other, tried[0])):
        if present is not None:
            raise DataError(
                f"{shown_path(source)}: must be the beginning of two files: got {shown_path(present)}, "
                f"but no {_either(missing)}"
            )
    return None


def _tried(source: str | Path, names: Sequence[str | int]) -> list[list[Path]]:
    """The files that a common beginning may mean: for each of the two a plain and a packed one."""
    return [[Path(f"{source}.{name}{packed}") for packed in ("", ".gz", ".xz", ".bz2")] for name in names]


def _either(files: Sequence[Path]) -> str:
    return " or ".join(map(shown_path, files[:2]))


def _halves(text: str) -> tuple[Path, Path]:
    """The files to both sides of a comma; their names may hold commas too, as long as the files are there."""
    commas = [index for index, sign in enumerate(text) if sign == ","]
    halves = [(Path(text[:index].strip()), Path(text[index + 1 :].strip())) for index in commas]
    for one, other in halves:
        if os.path.isfile(one) and os.path.isfile(other):
            return one, other
    path = shown_path(text)
    if len(halves) > 1:
        raise DataError(f"{path}: must be two files joined by one comma: got {len(halves)} commas")
    missing = next(file for file in halves[0] if not os.path.isfile(file))
    got = "a folder" if os.path.isdir(missing) else "no such file"
    raise DataError(f"{path}: must be two files joined by a comma: got {got}, {quoted(str(missing))}")


def _side_by_side(first: Path, second: Path) -> Iterator[tuple[TableRow, str]]:
    """The rows of two aligned files, and where the second value of each stood."""
    one, other = ([line.strip() for _, line in lines(file)] for file in (first, second))
    shorter = min(len(one), len(other))
    if any(one[shorter:]) or any(other[shorter:]):
        raise DataError(
            f"{shown_path(first)}: must have as many lines as {shown_path(second)}: got {len(one):,} and {len(other):,}"
        )
    for number, values in enumerate(zip(one, other, strict=False), start=1):
        yield TableRow(values, f"{shown_path(first)}:{number}"), f"{shown_path(second)}:{number}"


def _rows(source: str | Path, names: Sequence[str | int], log: RowLog) -> Iterator[tuple[TableRow, str]]:
    if is_hub(source):
        for location, values in hub_rows(str(source), [str(name) for name in names], log):
            yield TableRow(values, location), location
    elif table_format(source) is not None:
        for row in read_table(source, names, log=log):
            yield row, row.location
    else:
        got = "one file of another name"
        if not os.path.isfile(source):
            got = "a folder" if os.path.isdir(source) else "no such file"
            got += f", and no {', '.join(map(_either, _tried(source, names)))}"
        raise DataError(f"{shown_path(source)}: must be {_FORMS}: got {got}")


def _first_of_two(source: str | Path, names: Sequence[str | int]) -> Sequence[str | int]:
    """The columns to ask a table for: the second one where that tells which the first is, as it does without a header."""
    if table_format(source) == "jsonl":
        return names[:1]
    try:
        next(read_table(source, names), None)
    except DataError:
        return names[:1]
    return names
