"""Series on a grid of one frequency, as forecasts need them: gaps are filled and remembered."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._entries import listed, printable
from heedful.data.series import TimeSeries, read_series, read_series_by
from heedful.data.times import Frequency, Times

__all__ = ["Grid", "filled", "read_grid"]

_MOST_FILLED = 0.9  # of the values of a channel that may be missing


@dataclass(frozen=True, eq=False)
class Grid:
    """Series on a grid of one frequency, without gaps.

    Attributes:
        name: what messages call it.
        columns: the names of the channels.
        values: `[T, C]` in float64; what was missing is interpolated.
        observed: `[T, C]`, False where values were missing.
        times: `[T]`.
        frequency: of the times.
        known_columns: what is known of the future, too.
        known: `[T', K]`, with T' - T rows beyond the last value.
        notes: sentences for whoever reads the data.
    """

    name: str
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    times: Times
    frequency: Frequency
    known_columns: tuple[str, ...]
    known: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def named(self, name: str, before: str) -> "Grid":
        """The same by another name than it has in the notes."""
        return replace(self, name=name, notes=tuple(note.replace(before, name) for note in self.notes))

    def times_of(self, rows: NDArray[np.integer] | range) -> Times:
        """The times of rows, which may lie beyond the last one."""
        return self.frequency.at(self.times[0], np.asarray(rows))


def read_grid(
    source: Any,
    columns: Sequence[str] = (),
    known: Sequence[str] = (),
    *,
    series: str = "",
    **options: Any,
) -> Grid:
    """The series of a table, on the grid of their frequency, up to the last row that holds one of them.

    Args:
        source: as `read_series` takes it, or a file that is open.
        columns: the channels; none: all that hold numbers. Where `series` names the series, a channel is one of them:
            "north", or "north/price" where there are several columns.
        known: columns that are known of the future, too; rows behind the last value hold them alone.
        series: the column of the names of the series, where they stand below each other.
        options: as of `read_series`.

    Raises:
        DataError: as of `read_series`; times have no frequency, or two; nearly all values of a channel are missing.

    Example:
        >>> grid = read_grid({"day": ["2024-01-01", "2024-01-02", "2024-01-04"], "sold": [3, 4, 8]})
        >>> grid.values[:, 0].tolist(), grid.observed[:, 0].tolist()
        ([3.0, 4.0, 6.0, 8.0], [True, True, False, True])
    """
    if hasattr(source, "read"):
        return _of_stream(source, columns, known, series=series, **options)
    options = {name: value or None for name, value in options.items()}
    if series:
        if known:
            raise DataError("data.known must be columns of their own, with one series a column: got data.series, too")
        whole = _side_by_side(read_series_by(source, series, **options), columns)
    else:
        whole = read_series(source, [*columns, *known] if columns else None, **options).regular()
    known = [_meant(whole, name) for name in known]
    chosen = [name for name in whole.columns if name not in known]
    if not chosen:
        raise DataError(f"{whole.name}: must have a column to forecast beside {listed(known)}: got none")
    values, beside = (whole.values[:, [whole.columns.index(name) for name in names]] for names in (chosen, known))
    seen = ~np.isnan(values)
    count = int(np.flatnonzero(seen.any(1))[-1]) + 1
    values, seen = values[:count], seen[:count]
    notes = list(whole.notes)
    share = 1 - seen.mean(0)
    if (share > _MOST_FILLED).any():
        number = int(share.argmax())
        raise DataError(
            f"{whole.name}: '{printable(chosen[number])}' must hold at least {1 - _MOST_FILLED:.0%} of its values: "
            f"got {int(seen[:, number].sum()):,} of {count:,}"
        )
    if not seen.all():
        gone = [name for name, one in zip(chosen, share, strict=True) if one]
        notes.append(
            f"{whole.name}: {int((~seen).sum()):,} of {seen.size:,} values of {listed(gone)} are missing: they are interpolated, "
            "and no metric counts them"
        )
    last = [int(np.flatnonzero(~np.isnan(column))[-1]) + 1 for column in beside.T]  # what is known of all of them
    return Grid(
        whole.name, tuple(chosen), filled(values), seen, whole.times[:count], whole.frequency or Frequency(1, "number"),
        tuple(known), filled(beside[: max(min(last, default=0), count)]), tuple(notes),
    )  # fmt: skip


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same without NaN: between two values of a column on a line, before the first and behind the last the nearest one.

    Example:
        >>> filled(np.array([[np.nan], [1.0], [np.nan], [2.0], [np.nan]]))[:, 0].tolist()
        [1.0, 1.0, 1.5, 2.0, 2.0]
    """
    found, rows = values.copy(), np.arange(len(values))
    for column in range(values.shape[1]):
        missing = np.isnan(values[:, column])
        if missing.any() and not missing.all():
            found[missing, column] = np.interp(rows[missing], rows[~missing], values[~missing, column])
    return found


def _meant(series: TimeSeries, name: str) -> str:
    """A column that was read, as the table names it."""
    found = series.source.find(name)
    if found not in series.columns:
        raise DataError(f"{series.name}: '{printable(found)}' must hold numbers: got others")
    return found


def _side_by_side(series: Mapping[str, TimeSeries], columns: Sequence[str]) -> TimeSeries:
    """Series of one frequency as columns of one, each from its first time to its last one."""
    first = min(series.values(), key=lambda one: one.times[0])
    regular = {name: one.regular() for name, one in series.items()}
    for one in regular.values():
        if one.frequency != first.frequency:
            raise DataError(
                f"{one.name}: must have the frequency of {first.name}, {first.frequency}: got {one.frequency}"
            )
    assert first.frequency is not None
    starts = {
        name: round(float(first.frequency.positions(np.concatenate([first.times[:1], one.times[:1]]))[1]))
        for name, one in regular.items()
    }
    names = {
        f"{name}/{column}" if len(one.columns) > 1 else name: (name, number)
        for name, one in regular.items() for number, column in enumerate(one.columns)
    }  # fmt: skip
    wanted = {}
    for name in columns or names:
        if name not in names:
            raise DataError(f"{first.source.name}: must have the series '{printable(name)}': got {listed([*names])}")
        wanted[name] = names[name]
    count = max(starts[name] + len(one) for name, one in regular.items())
    values = np.full((count, len(wanted)), np.nan)
    for column, (name, number) in enumerate(wanted.values()):
        values[starts[name] : starts[name] + len(regular[name]), column] = regular[name].values[:, number]
    times = first.frequency.at(first.times[0], np.arange(count))
    notes = tuple(dict.fromkeys(note for one in series.values() for note in one.notes))
    return TimeSeries(
        first.source.name, tuple(wanted), values, times, first.time_column, first.frequency, np.full(count, -1), notes, first.source
    )  # fmt: skip


def _of_stream(stream: Any, columns: Sequence[str], known: Sequence[str], **options: Any) -> Grid:
    """The table that an open file holds; what it is, is told by its first bytes."""
    content = stream.read()
    content = content.encode() if isinstance(content, str) else content
    name = getattr(stream, "name", None) or "standard input"
    suffix = ".parquet" if content[:4] == b"PAR1" else ".jsonl" if content.lstrip()[:1] in (b"{", b"[") else ".csv"
    if suffix == ".csv" and b"\t" in content.partition(b"\n")[0]:
        suffix = ".tsv"
    handle, path = tempfile.mkstemp(suffix)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        return read_grid(path, columns, known, **options).named(str(name), path)
    except DataError as error:
        raise DataError(str(error).replace(path, str(name))) from None
    finally:
        os.unlink(path)
