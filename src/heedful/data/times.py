"""Cells of a table as times, and the frequency of times: of seconds, business days, months or plain numbers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._entries import printable
from heedful.data.numbers import is_missing

__all__ = ["Frequency", "Times", "frequency_of", "looks_like_times", "to_times"]

Times = NDArray[Any]  # datetime64[us], in UTC where a zone is known; or numbers

_MICROSECONDS = {
    "second": 10**6,
    "minute": 60 * 10**6,
    "hour": 3600 * 10**6,
    "day": 86400 * 10**6,
    "week": 7 * 86400 * 10**6,
}
_OFFSET = re.compile(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$", re.IGNORECASE)
_DAY = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:[ T,]+(.+))?")
_QUARTER = re.compile(r"(\d{4})[ -]?Q([1-4])", re.IGNORECASE)
_NAMED = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%b %Y", "%B %Y", "%b-%Y")
_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
_RUN = 5  # as many longer steps in a row are another frequency, and no gaps


def to_times(
    cells: Sequence[Any],
    name: str,
    location: Callable[[int], str],
    *,
    format: str | None = None,
    timezone: str | None = None,
) -> Times:
    """A column as times.

    - Dates and times as ISO 8601 writes them, `2024-03-31 02:00`, also without a day (`2024-03`) or with a slash (`2024/03/31`);
      `31.12.2024`, `12/31/2024` and `31/12/2024`, where some day beyond 12 tells which is meant; `2024Q1`; `31 Dec 2024`,
      `Dec 2024`; `20241231` and `202412`; whatever `format` says.
    - Numbers, such as years, seconds or the number of a measurement: they stay numbers.

    Times with an offset from UTC, such as `+01:00`, become those of UTC. Times of a clock that is set twice a year become so with
    `timezone`: where an hour comes twice, the first time is that of summer.

    Args:
        cells: texts, numbers, or times of Python, NumPy or pandas.
        name: of the column, for errors.
        location: where a row stands, for errors.
        format: as `datetime.strptime` reads it, "%d/%m/%y".
        timezone: in which the times are written, "Europe/Berlin".

    Raises:
        DataError: a cell is no time, or the order of day and month is not clear.

    Examples:
        >>> to_times(["2024-01-31", "2024-02-29"], "month", "row {}".format)
        array(['2024-01-31T00:00:00.000000', '2024-02-29T00:00:00.000000'], dtype='datetime64[us]')
        >>> to_times(["1700", "1701"], "year", "row {}".format).tolist()
        [1700.0, 1701.0]
    """
    for row, cell in enumerate(cells) if not isinstance(cells, np.ndarray) or cells.dtype.kind not in "iuM" else ():
        if is_missing(cell):
            raise DataError(f"{location(row)}: '{printable(name)}' must be a time: got nothing")
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iufM":
        found = cells.astype("datetime64[us]" if cells.dtype.kind == "M" else float)
        if (bad := np.isnat(found) if cells.dtype.kind == "M" else ~np.isfinite(found)).any():
            raise DataError(f"{location(int(bad.argmax()))}: '{printable(name)}' must be a time: got nothing")
    else:
        found = _parsed([*cells], name, location, format)
    return found if timezone is None else _to_utc(found, timezone, name, location)


def looks_like_times(cells: Sequence[Any]) -> bool:
    """Whether the first cell is a date or a time, and no plain number."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iufM":
        return cells.dtype.kind == "M"
    first = next((cell for cell in cells if not is_missing(cell)), None)
    if isinstance(first, str):
        return not re.fullmatch(r"[+-]?\d+", first.strip()) and _parse(first.strip(), True) is not None
    return isinstance(first, date | np.datetime64)


def _parsed(cells: list[Any], name: str, location: Callable[[int], str], format: str | None) -> Times:
    if format is None and not any(isinstance(cell, date | np.datetime64) for cell in cells):
        numbers = _as_numbers(cells)
        if numbers is not None:
            return _compact_dates(cells) if _are_compact_dates(cells) else numbers
    texts = all(isinstance(cell, str) for cell in cells)
    if format is None and texts and not any(_OFFSET.search(cell) for cell in cells):
        try:
            return np.array([cell.strip() for cell in cells], "datetime64[us]")
        except ValueError:
            pass
    day_first = _day_first(cells, name, location) if texts and format is None else True
    found, zoned = np.empty(len(cells), "datetime64[us]"), False
    for row, cell in enumerate(cells):
        time: Any = cell if not isinstance(cell, str) else _parse(cell.strip(), day_first, format)
        if isinstance(time, datetime) and (time.tzinfo is not None) != zoned:
            if row:
                raise DataError(
                    f"{location(row)}: '{printable(name)}' must have {'an' if zoned else 'no'} offset from UTC, as the rows "
                    f"before it: got '{printable(str(cell))}'"
                )
            zoned = True
        if isinstance(time, datetime) and zoned:
            time = time.astimezone(UTC).replace(tzinfo=None)
        if not isinstance(time, date | np.datetime64):
            got = printable(str(cell)[:60])
            raise DataError(f"{location(row)}: '{printable(name)}' must be a time: got '{got}'")
        found[row] = np.datetime64(cast(Any, time), "us")
    return found


def _as_numbers(cells: list[Any]) -> NDArray[np.float64] | None:
    try:
        numbers = np.array(cells, float)
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _are_compact_dates(cells: list[Any]) -> bool:
    """Whether all are whole numbers that read as year, month and perhaps day."""
    texts = [str(cell).strip() for cell in cells]
    if len(set(map(len, texts))) > 1 or not all(text.isdecimal() and "1800" <= text[:4] < "2200" for text in texts):
        return False
    return len(texts[0]) in (6, 8) and all(_parse_compact(text) is not None for text in texts)


def _compact_dates(cells: list[Any]) -> Times:
    return np.array([_parse_compact(str(cell).strip()) for cell in cells], "datetime64[us]")


def _parse_compact(text: str) -> datetime | None:
    try:
        return datetime(int(text[:4]), int(text[4:6]), int(text[6:] or 1))
    except ValueError:
        return None


def _day_first(cells: list[str], name: str, location: Callable[[int], str]) -> bool:
    """Whether `03/04/2024` is the third of April: some day beyond 12 tells it."""
    unclear = None
    for row, cell in enumerate(cells):
        if (match := _DAY.fullmatch(cell.strip())) is None:
            continue
        if match[2] == "." or int(match[1]) > 12:
            return True
        if int(match[3]) > 12:
            return False
        unclear = unclear or (row, cell)
    if unclear is not None:
        row, cell = unclear
        raise DataError(
            f"{location(row)}: '{printable(name)}' must tell day from month: got '{printable(cell)}', and no day beyond 12; "
            "set time_format to %d/%m/%Y or %m/%d/%Y"
        )
    return True


def _parse(text: str, day_first: bool, format: str | None = None) -> datetime | None:
    """One text as a time."""
    if format is not None:
        return _strptime(text, format)
    if (match := _DAY.fullmatch(text)) is not None:
        day, month = (match[1], match[3]) if day_first else (match[3], match[1])
        clock = (
            None if match[5] is None else next(filter(None, (_strptime(match[5], clock) for clock in _CLOCKS)), None)
        )
        if match[5] is not None and clock is None:
            return None
        try:
            whole = datetime(int(match[4]), int(month), int(day))
        except ValueError:
            return None
        return whole if clock is None else datetime.combine(whole, clock.time())
    if (match := _QUARTER.fullmatch(text)) is not None:
        return datetime(int(match[1]), 3 * int(match[2]) - 2, 1)
    try:
        return datetime.fromisoformat(re.sub(r"^(\d{4})/(\d{1,2})/(\d{1,2})", _iso, text))
    except ValueError:
        pass
    if re.fullmatch(r"\d{4}-\d\d", text):
        return _strptime(text, "%Y-%m")
    return next(filter(None, (_strptime(text, form) for form in _NAMED)), None)


def _iso(match: re.Match[str]) -> str:
    return f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}"


def _strptime(text: str, format: str) -> datetime | None:
    try:
        return datetime.strptime(text, format)
    except ValueError:
        return None


def _to_utc(times: Times, timezone: str, name: str, location: Callable[[int], str]) -> Times:
    """Times of a clock as those of UTC."""
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise DataError(f"the time zone must be one such as Europe/Berlin: got '{printable(timezone)}'") from None
    if times.dtype.kind != "M":
        raise DataError(f"{location(0)}: '{printable(name)}' must be a time of a clock for a time zone: got a number")
    found, seen = times.copy(), set()
    for row, time in enumerate(times.astype("datetime64[us]").tolist()):
        local = time.replace(tzinfo=zone, fold=int(time in seen))
        again = local.astimezone(UTC).astimezone(zone)
        if again.replace(tzinfo=None) != time:
            raise DataError(
                f"{location(row)}: '{printable(name)}' must be a time of {timezone}: got '{time}', which its clocks skip"
            )
        seen.add(time)
        found[row] = np.datetime64(local.astimezone(UTC).replace(tzinfo=None), "us")
    return found


@dataclass(frozen=True)
class Frequency:
    """How far it is from one time to the next.

    Attributes:
        step: how many of the unit.
        unit: "microsecond" (of any clock), "business day" (Monday to Friday), "month", or "number" of plain numbers.

    Examples:
        >>> str(Frequency(900 * 10**6, "microsecond")), str(Frequency(3, "month")), str(Frequency(1, "business day"))
        ('15 minutes', '3 months', '1 business day')
    """

    step: float
    unit: Literal["microsecond", "business day", "month", "number"]

    def __str__(self) -> str:
        step, unit = self.step, str(self.unit)
        if unit == "microsecond":
            unit, step = next(
                ((name, step / size) for name, size in reversed(_MICROSECONDS.items()) if step % size == 0),
                ("second", step / 10**6),
            )
        if unit == "month" and step % 12 == 0:
            unit, step = "year", step / 12
        return f"{step:g}" if unit == "number" else f"{step:g} {unit}{'' if step == 1 else 's'}"

    def positions(self, times: Times) -> NDArray[np.float64]:
        """How many steps each time is after the first; whole numbers where it stands on the grid."""
        found: NDArray[np.float64]
        if self.unit == "number":
            found = (times.astype(float) - float(times[0])) / self.step
        elif self.unit == "microsecond":
            found = (times - times[0]).astype(np.int64) / self.step
        elif self.unit == "business day":
            days = times.astype("datetime64[D]")
            found = np.busday_count(days[0], days) + (~np.is_busday(days)) * 0.5
        else:
            months = times.astype("datetime64[M]").astype(np.int64)
            found = (months - months[0]) / self.step
        return found

    def after(self, last: Any, count: int) -> Times:
        """The `count` times that come after a time.

        Examples:
            >>> Frequency(1, "month").after(np.datetime64("2024-01-31T00:00:00.000000"), 2).astype("datetime64[D]").tolist()
            [datetime.date(2024, 2, 29), datetime.date(2024, 3, 31)]
        """
        return self.at(last, np.arange(1, count + 1))

    def at(self, first: Any, positions: NDArray[np.integer[Any]]) -> Times:
        """The times so many steps after a time; a month that has no such day ends with its last one."""
        found: Times
        if self.unit == "number":
            found = float(first) + self.step * positions
            return found
        first = np.datetime64(first, "us")
        if self.unit == "microsecond":
            found = first + (int(self.step) * positions).astype("timedelta64[us]")
            return found
        day, month = first.astype("datetime64[D]"), first.astype("datetime64[M]")
        if self.unit == "business day":
            found = np.busday_offset(day, positions, roll="forward")
        else:
            months = month + (int(self.step) * positions).astype("timedelta64[M]")
            begins = months.astype("datetime64[D]")
            lengths = ((months + 1).astype("datetime64[D]") - begins).astype(np.int64)
            number = int((day - month.astype("datetime64[D]")).astype(np.int64))
            last = day + 1 == (month + 1).astype("datetime64[D]")
            found = begins + (lengths - 1 if last else np.minimum(number, lengths - 1)).astype("timedelta64[D]")
        found = found.astype("datetime64[us]") + (first - day)
        return found


def frequency_of(times: Times) -> Frequency | None:
    """The frequency of rising times: the most frequent step, if it divides nine of ten steps; None where there is none.

    Examples:
        >>> print(frequency_of(np.array(["2024-01-01", "2024-01-02", "2024-01-05"], "datetime64[us]")))
        1 day
        >>> print(frequency_of(np.array([0.0, 0.1, 0.2, 0.4])))
        0.1
    """
    if len(times) < 2:
        return None
    if times.dtype.kind == "M" and (months := _in_months(times)) is not None:
        return months
    steps = np.diff(times).astype(float)
    if times.dtype.kind != "M":
        exponent = np.floor(np.log10(np.abs(times).max() or 1.0))
        steps = np.round(steps, int(12 - exponent)) if exponent < 300 else steps
    values, counts = np.unique(steps, return_counts=True)
    step = float(values[counts.argmax()])
    ratios = steps / step
    if (np.abs(ratios - np.round(ratios)) > 1e-6).mean() > 0.1:
        return None
    if times.dtype.kind != "M":
        return Frequency(step, "number")
    days = times.astype("datetime64[D]")
    weekend = len(times) > 5 and step == _MICROSECONDS["day"] and bool(np.is_busday(days).all())
    if weekend and int((days[-1] - days[0]).astype(int)) >= 7:
        return Frequency(1, "business day")
    return Frequency(step, "microsecond")


def _in_months(times: Times) -> Frequency | None:
    """Of times on one day of the month, or on the last of each, with one clock."""
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    if len(np.unique(times - days)) > 1:
        return None
    number = (days - months.astype("datetime64[D]")).astype(np.int64)
    ends = bool((days + 1 == (months + 1).astype("datetime64[D]")).all())
    if len(np.unique(number)) > 1 and not ends:
        return None
    order = months.astype(np.int64)
    steps = order[1:] - order[:-1]
    if (steps <= 0).any():
        return None
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[counts.argmax()])
    return Frequency(step, "month") if (steps % step == 0).mean() >= 0.9 else None


def another_frequency(positions: NDArray[np.float64]) -> int | None:
    """The row where times begin to have another frequency: several longer steps of one length in a row; None where none does."""
    steps = np.round(np.diff(positions), 6)
    same = np.ones(max(len(steps) - _RUN + 1, 0), bool)
    for shift in range(1, _RUN):
        same &= steps[shift : len(steps) - _RUN + 1 + shift] == steps[: len(same)]
    other = same & (steps[: len(same)] > 1)
    return int(other.argmax()) + 1 if other.any() else None
