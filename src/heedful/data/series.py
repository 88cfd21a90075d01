"""A table as a time series: rising times, columns of numbers, and what is odd about them, in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._entries import listed, printable
from heedful.data.columns import Columns, read_columns
from heedful.data.numbers import Decimal, is_missing, looks_numeric, to_numbers
from heedful.data.times import Frequency, Times, another_frequency, frequency_of, looks_like_times, to_times

__all__ = ["Duplicates", "TimeSeries", "read_series", "read_series_by"]

Duplicates = Literal["error", "mean", "first", "last"]
_TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "day", "week", "month", "quarter", "year", "t")


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Columns of numbers, in the order of their times.

    Attributes:
        name: what messages call it, such as its file.
        columns: the names of the columns.
        values: `[N, C]` in float64, NaN where nothing was measured.
        times: `[N]`, rising, each once: `datetime64[us]` (in UTC where a time zone is known) or numbers; without a column of
            times the numbers of the rows, from 0.
        time_column: the name of their column; None: the table has none.
        frequency: what most steps from time to time are multiples of; None: they have nothing in common.
        rows: which row of the table each was, from 0.
        notes: sentences for whoever reads the data: what was sorted, the gaps, columns that are no numbers.
        source: the table.
    """

    name: str
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    times: Times
    time_column: str | None
    frequency: Frequency | None
    rows: NDArray[np.intp]
    notes: tuple[str, ...]
    source: Columns

    def __len__(self) -> int:
        return len(self.values)

    def location(self, row: int) -> str:
        """Where a row stands, for errors: "prices.csv:812"."""
        return self.name if self.rows[row] < 0 else self.source.location(int(self.rows[row]))

    def texts(self) -> list[str]:
        """The times as texts: ISO 8601 as short as all of them allow; numbers as they are."""
        return as_texts(self.times)

    def seconds(self) -> NDArray[np.float64]:
        """The times as numbers: seconds after the first one, or of plain numbers their difference from it."""
        if self.times.dtype.kind == "M":
            seconds: NDArray[np.float64] = (self.times - self.times[0]).astype(np.int64) / 1e6
            return seconds
        return self.times.astype(float) - float(self.times[0])

    def after(self, count: int) -> Times:
        """The `count` times that follow the last one.

        Raises:
            DataError: the times have no frequency.
        """
        return self._frequency().after(self.times[-1], count)

    def regular(self) -> "TimeSeries":
        """The same on a grid of its frequency, with a row of NaN for each time that is missing; of those `rows` are -1.

        Raises:
            DataError: the times have no frequency, or two, or one of them stands beside the grid.
        """
        frequency = self._frequency()
        positions = frequency.positions(self.times)
        whole = np.round(positions).astype(np.int64)
        off = np.abs(positions - whole) > 1e-3
        if off.any():
            row = int(off.argmax())
            raise DataError(
                f"{self.location(row)}: times must be whole steps of {frequency} after {self.texts()[0]}: "
                f"got {self.texts()[row]}"
            )
        other = another_frequency(positions)
        if other is not None:
            raise DataError(
                f"{self.location(other)}: times must have one frequency: got steps of {frequency}, and from here on of "
                f"{round(positions[other] - positions[other - 1])} times that"
            )
        count = int(whole[-1]) + 1
        if count == len(self):
            return self
        if count > 100 * len(self) + 1000:
            raise DataError(f"{self.name}: at most 99 of 100 times may be missing: got {len(self):,} of {count:,}")
        values, rows = np.full((count, len(self.columns)), np.nan), np.full(count, -1)
        values[whole], rows[whole] = self.values, self.rows
        times = frequency.at(self.times[0], np.arange(count))
        times[whole] = self.times
        return replace(self, values=values, times=times, rows=rows)

    def select(self, rows: Any) -> "TimeSeries":
        """Some of the rows, as a slice or rising numbers."""
        return replace(self, values=self.values[rows], times=self.times[rows], rows=self.rows[rows])

    def _frequency(self) -> Frequency:
        if self.frequency is None:
            raise DataError(f"{self.name}: times must have a frequency: got steps that have nothing in common")
        return self.frequency


def read_series(
    source: Any,
    columns: Sequence[str] | None = None,
    *,
    time: str | None = None,
    decimal: Decimal = "auto",
    time_format: str | None = None,
    timezone: str | None = None,
    duplicates: Duplicates = "error",
) -> TimeSeries:
    """Columns of a table over time.

    Rows are sorted by their times, and a note says so. A cell that is empty, NaN, null or NA is missing, and NaN. Gaps are noted, and
    filled with NaN by `TimeSeries.regular`.

    Args:
        source: a path (.csv, .tsv, .jsonl, .parquet, each text also as .gz; `-` is standard input), a data frame of pandas or polars,
            a mapping of names to columns, rows that are mappings, an array; see `read_columns`.
        columns: which ones, by name or number from 1. None: all whose first value is a number.
        time: the column of times, see `to_times`. None: one called time, date, timestamp, ds or the like, or the first one if it holds
            dates; otherwise the rows are the times.
        decimal: the decimal sign; "auto": as the cells tell.
        time_format: as `datetime.strptime` reads it.
        timezone: of the clock that the times were read from, "Europe/Berlin".
        duplicates: what two rows of one time are: an error, or their mean, the first or the last of them.

    Raises:
        DataError: the file and the row, what was expected, and what was there.

    Examples:
        >>> series = read_series({"date": ["2024-01-03", "2024-01-01", "2024-01-02"], "close": ["3", "1,5", ""]})
        >>> series.texts(), series.values[:, 0].tolist(), str(series.frequency)
        (['2024-01-01', '2024-01-02', '2024-01-03'], [1.5, nan, 3.0], '1 day')
        >>> series.notes
        ('the data: rows were not in the order of time, and are sorted',)
    """
    table = read_columns(source)
    notes: list[str] = []
    time_column = _time_column(table, time, columns)
    names = _value_columns(table, columns, time_column, notes)
    return _series(
        table, names, time_column, np.arange(len(table)), table.name, notes, decimal, time_format, timezone, duplicates
    )


def read_series_by(source: Any, by: str, columns: Sequence[str] | None = None, **options: Any) -> dict[str, TimeSeries]:
    """Several series of one table, one below the other: a column says which series a row belongs to.

    Args:
        source: as of `read_series`.
        by: the column of the names of the series, in the order in which they come.
        columns: as of `read_series`.
        options: as of `read_series`.

    Raises:
        DataError: as of `read_series`; or a row does not say which series it belongs to.

    Examples:
        >>> found = read_series_by({"shop": ["a", "b", "a"], "day": ["2024-01-01"] * 2 + ["2024-01-02"], "sold": [3, 4, 5]}, "shop")
        >>> found["a"].values[:, 0].tolist()
        [3.0, 5.0]
    """
    table = read_columns(source)
    by, notes = table.find(by), list[str]()
    time_column = _time_column(table, options.pop("time", None), columns)
    kept = Columns(table.name, {n: c for n, c in table.cells.items() if n != by}, table.location, table.separator)
    names = _value_columns(kept, columns, time_column, notes)
    groups: dict[str, list[int]] = {}
    for row, cell in enumerate(table.cells[by]):
        if is_missing(cell):
            raise DataError(f"{table.location(row)}: '{printable(by)}' must say which series it is: got nothing")
        groups.setdefault(str(cell), []).append(row)
    chosen: list[Any] = [options.get(name, default) for name, default in _OPTIONS.items()]
    return {
        key: _series(table, names, time_column, np.array(rows), f"{table.name}, {printable(key)}", notes, *chosen)
        for key, rows in groups.items()
    }


_OPTIONS = {"decimal": "auto", "time_format": None, "timezone": None, "duplicates": "error"}


def as_texts(times: Times) -> list[str]:
    """Times as texts: ISO 8601 as short as all of them allow; of numbers no more digits than they need."""
    if times.dtype.kind != "M":
        return [f"{number:.15g}" for number in times.tolist()]
    for unit in ("D", "m", "s"):
        if (times == times.astype(f"datetime64[{unit}]")).all():
            return [*map(str, np.datetime_as_string(times, unit=unit))]
    return [*map(str, np.datetime_as_string(times, unit="us"))]


def _time_column(table: Columns, time: str | None, columns: Sequence[str] | None) -> str | None:
    if time is not None:
        return table.find(time)
    chosen = {table.find(column) for column in columns or ()}
    for wanted in _TIME_NAMES:
        found = [name for name in table.cells if name.strip().lower() == wanted and name not in chosen]
        if len(found) == 1:
            return found[0]
    first = next(iter(table.cells))
    return first if first not in chosen and looks_like_times(table.cells[first]) else None


def _value_columns(
    table: Columns, columns: Sequence[str] | None, time_column: str | None, notes: list[str]
) -> list[str]:
    if columns is not None:
        names = list(dict.fromkeys(table.find(column) for column in columns))
    else:
        others = [name for name in table.cells if name != time_column]
        names = [name for name in others if looks_numeric(table.cells[name])]
        left = [name for name in others if name not in names]
        if left and names:
            notes.append(f"{table.name}: {listed(left)} {'is' if len(left) == 1 else 'are'} no numbers, and not read")
    if not names:
        raise DataError(f"{table.name}: must have a column of numbers: got {listed([*table.cells])}")
    return names


def _series(
    table: Columns, names: list[str], time_column: str | None, rows: NDArray[np.intp], name: str, notes: list[str],
    decimal: Any, time_format: str | None, timezone: str | None, duplicates: Duplicates,
) -> TimeSeries:  # fmt: skip
    whole = len(rows) == len(table)

    def cells(column: str) -> Sequence[Any]:
        found = table.cells[column]
        return found if whole else found[rows] if isinstance(found, np.ndarray) else [found[row] for row in rows]

    def location(row: int) -> str:
        return table.location(int(rows[row]))

    notes = list(notes)
    values = to_numbers({column: cells(column) for column in names}, location, decimal)
    for column, number in zip(names, (~np.isnan(values)).sum(0).tolist(), strict=True):
        if not number:
            raise DataError(f"{name}: '{printable(column)}' must hold a number: got {len(values):,} empty cells")
    if time_column is None:
        numbered: Times = np.arange(len(rows), dtype=float)
        return TimeSeries(name, tuple(names), values, numbered, None, Frequency(1, "number"), rows, tuple(notes), table)
    times = to_times(cells(time_column), time_column, location, format=time_format, timezone=timezone)
    order = np.argsort(times, kind="stable")
    if (order[1:] < order[:-1]).any():
        notes.append(f"{name}: rows were not in the order of time, and are sorted")
        values, times, rows = values[order], times[order], rows[order]
    twice = np.flatnonzero(times[1:] == times[:-1])
    if len(twice):
        if duplicates == "error":
            row = int(twice[0])
            clock = timezone is None and _near_autumn(times[row])
            hint = "; for a clock that is set back in autumn, set timezone" if clock else ""
            raise DataError(
                f"{location(row + 1)}: each time must stand once: got {as_texts(times[row : row + 1])[0]} as in "
                f"{location(row)}; set duplicates to mean, first or last{hint}"
            )
        words = "row has" if len(twice) == 1 else "rows have"
        notes.append(f"{name}: {len(twice):,} {words} a time that was there before; of each time, {_KEPT[duplicates]}")
        values, times, rows = _once(values, times, rows, duplicates)
    frequency = frequency_of(times)
    notes += _oddities(name, times, frequency, lambda row: table.location(int(rows[row])))
    return TimeSeries(name, tuple(names), values, times, time_column, frequency, rows, tuple(notes), table)


_KEPT = {"mean": "the mean is taken", "first": "the first one is taken", "last": "the last one is taken"}


def _once(
    values: NDArray[np.float64], times: Times, rows: NDArray[np.intp], duplicates: Duplicates
) -> tuple[NDArray[np.float64], Times, NDArray[np.intp]]:
    """Each time once."""
    starts = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1]]))
    if duplicates == "mean":
        counts = np.add.reduceat((~np.isnan(values)).astype(float), starts)
        sums = np.add.reduceat(np.nan_to_num(values), starts)
        with np.errstate(invalid="ignore"):
            return sums / np.where(counts, counts, np.nan), times[starts], rows[starts]
    kept = starts if duplicates == "first" else np.append(starts[1:], len(times)) - 1
    return values[kept], times[kept], rows[kept]


def _near_autumn(time: Any) -> bool:
    """Whether it is an hour in which clocks are set back: from September to November in the north, March and April in the south."""
    text = str(time)
    return "T" in text and text[5:7] in ("03", "04", "09", "10", "11") and text[11:13] <= "03"


def _oddities(name: str, times: Times, frequency: Frequency | None, location: Any) -> list[str]:
    """What a person should know of the times."""
    if frequency is None:
        return [] if len(times) < 2 else [f"{name}: times are irregular: their steps have nothing in common"]
    positions = frequency.positions(times)
    other = another_frequency(positions)
    if other is not None:
        return [f"{name}: times have two frequencies: {frequency}, and another from {location(other)} on"]
    steps = np.diff(positions)
    notes, off = [], int((np.abs(positions - np.round(positions)) > 1e-3).sum())
    if off:
        notes.append(f"{name}: {off:,} of {len(times):,} times stand beside the grid of {frequency}")
    gaps = np.flatnonzero(np.round(steps) > 1)
    if len(gaps):
        longest = int(gaps[steps[gaps].argmax()])
        missing = int(np.round(steps[gaps]).sum()) - len(gaps)
        first, last = as_texts(times[longest : longest + 2])
        words = "time is" if missing == 1 else "times are"
        notes.append(
            f"{name}: {missing:,} {words} missing in {len(gaps):,} {'gap' if len(gaps) == 1 else 'gaps'} "
            f"of a grid of {frequency}; the longest is from {first} to {last}"
        )
    return notes
