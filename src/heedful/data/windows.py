"""Windows of a time series: so many rows of the past, and those behind them that are forecast. Their values are never copied."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data.grids import Grid
from heedful.data.splits import Split
from heedful.data.times import Times

__all__ = ["ByTime", "SeriesWindows", "TimeParts", "part_sizes"]

_FEWEST = 10  # windows to train on


class TimeParts(NamedTuple):
    """The rows at which the training, the validation and the test part end."""

    train: int
    valid: int
    test: int


@dataclass(frozen=True, eq=False)
class SeriesWindows:
    """Windows of one grid, as examples of a task.

    Attributes:
        grid: of which they are.
        origins: the first row that each window forecasts; rising.
        length: rows before it that are seen.
        horizon: rows that are forecast.
        parts: how the grid is split by time, where it is.
        notes: sentences for whoever reads the data.
        labeled: whether what is forecast is known.
    """

    grid: Grid
    origins: NDArray[np.int64]
    length: int
    horizon: int
    parts: TimeParts | None = None
    notes: tuple[str, ...] = ()
    labeled: bool = True

    @classmethod
    def all_of(cls, grid: Grid, length: int, horizon: int, parts: TimeParts | None = None) -> Self:
        """All windows of a grid."""
        return cls(grid, np.arange(length, len(grid) - horizon + 1), length, horizon, parts, grid.notes)

    def __len__(self) -> int:
        return len(self.origins)

    def select(self, rows: Iterable[int]) -> Self:
        """Some of the windows."""
        return replace(self, origins=self.origins[np.fromiter(rows, np.int64)])

    def between(self, first: int, stop: int) -> Self:
        """All windows that forecast rows from `first` on and before `stop`; what they see may lie before."""
        return replace(self, origins=np.arange(max(first, self.length), stop - self.horizon + 1))

    def content(self) -> Iterator[bytes]:
        """What the checksum is taken of: names, origins, and all rows that a window sees or forecasts."""
        grid = self.grid
        yield framed(self.length, self.horizon, str(grid.frequency), grid.columns, grid.known_columns)
        yield self.origins.tobytes()
        if len(self.origins):
            rows = slice(int(self.origins[0]) - self.length, int(self.origins[-1]) + self.horizon)
            for array in (grid.times, grid.values, grid.observed, grid.known):
                yield np.ascontiguousarray(array[rows]).tobytes()


@dataclass(frozen=True)
class ByTime:
    """Splits windows by time, as the settings say that they were read with: the training part comes first, the test part last."""

    def __call__(self, examples: SeriesWindows, noun: str) -> Split:
        """TimeParts the examples."""
        assert examples.parts is not None
        train, valid, test = examples.parts
        training, span = examples.between(0, train), examples.length + examples.horizon
        if len(training) < _FEWEST:
            raise DataError(
                f"must have at least {_FEWEST} {noun}s to train on, of {examples.length:,} rows that are seen (data.input_length) and "
                f"{examples.horizon:,} that are forecast (data.horizon): got {train:,} rows, {span + _FEWEST - 1:,} are needed"
            )
        bounds = {"valid": (train, valid), "test": (valid, test)}
        parts = {name: examples.between(*rows) for name, rows in bounds.items()}
        for name, (first, stop) in bounds.items():
            if not len(parts[name]) and (name == "valid" or stop > first):
                raise DataError(
                    f"must have at least {examples.horizon:,} rows, data.horizon, in the part data.{name}: got {stop - first:,}"
                )
        words = f"the {valid - train:,} rows behind the first {train:,}"
        return Split(training, parts["valid"], words, parts["test"] if test > valid else None)


def part_sizes(train: float | str, valid: float | str, test: float | str, times: Times) -> TimeParts:
    """Where the parts of a series end.

    Each is a number of rows from 1, a share of all rows below 1, or the time at which the part ends, with which the next one begins.
    `train` may be "auto": all that the others leave. What is left at the end belongs to none.

    Raises:
        DataError: they are more than there is, or not in this order; or a time is none.

    Examples:
        >>> times = np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]").astype("datetime64[us]")
        >>> part_sizes("auto", 0.1, 0.2, times)
        TimeParts(train=70, valid=80, test=100)
        >>> part_sizes("2024-03-01", "2024-03-15", 10, times)
        TimeParts(train=60, valid=74, test=84)
    """
    total, ends = len(times), [0]
    if train == "auto":
        if isinstance(valid, str) or isinstance(test, str):
            raise DataError("must have data.train, too, where data.valid or data.test is a time: got auto")
        train = total - _rows(valid, total) - _rows(test, total)
    for name, value in (("train", train), ("valid", valid), ("test", test)):
        if isinstance(value, str):
            try:
                time: Any = np.datetime64(value, "us") if times.dtype.kind == "M" else float(value)
            except ValueError:
                raise DataError(
                    f"must have data.{name} as a share, a number of rows or a time: got '{value}'"
                ) from None
            ends.append(int(np.searchsorted(times, time)))
        else:
            ends.append(ends[-1] + _rows(value, total))
    if ends[-1] > total or ends != sorted(ends):
        raise DataError(
            f"must have as many rows as data.train, data.valid and data.test: got {total:,} for {train:g}, {valid:g} and {test:g}"
            if not any(isinstance(value, str) for value in (train, valid, test))
            else f"must be split at rising times by data.train, data.valid and data.test: got rows {ends[1]:,}, {ends[2]:,}, {ends[3]:,}"
        )
    return TimeParts(*ends[1:])


def _rows(value: float, total: int) -> int:
    return round(value) if value >= 1 else round(value * total)
