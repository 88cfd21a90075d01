"""`heedful smooth TABLE`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from heedful._errors import DataError, HeedfulError
from heedful._files import write_atomic
from heedful._terminal import visible
from heedful._version import __version__
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.data.series import TimeSeries
    from heedful.smoothing import Smoothed

_MOST_MADE_OF = 10  # values that --weights shows
_CELLS = 128  # of the map of the matrix


def smooth(
    table: str,
    /,
    *,
    column: Annotated[list[str] | None, Parameter(negative="")] = None,
    time: str | None = None,
    out: UserPath | None = None,
    plot: UserPath | None = None,
    weights: str | None = None,
    inspect: UserPath | None = None,
    strength: float | None = None,
    length: int | None = None,
    window: str | None = None,
    decay: float | None = None,
    stages: Literal[1, 2] = 2,
    online: bool = False,
    noise: float | None = None,
    decimal: Literal["auto", ".", ","] = "auto",
    time_format: str | None = None,
    timezone: str | None = None,
    duplicates: Literal["error", "mean", "first", "last"] = "error",
    seed: int = 0,
) -> None:
    """Smooth columns of a table by self-similarity: nothing is trained.

    Each value becomes a mean of the values whose surroundings are like its own. What is not set is chosen without the truth, and printed.

    Parameters
    ----------
    table
        A file: .csv, .tsv, .jsonl (each also as .gz) or .parquet; `-` is standard input.
    column
        A column to smooth, by name or number from 1; given several times, several columns share one matrix. Without it all numeric ones.
    time
        The column of times; by default one called time, date, timestamp or the like, or a first one of dates.
    out
        Write the times, the columns and what they became: .csv, .tsv or .jsonl.
    plot
        Draw the values and what they became: .png, .svg or .pdf.
    weights
        Show which values the one of this time, or of this row from 0, was made of.
    inspect
        Write the whole attention matrix as one HTML file that works offline.
    strength
        The difference of two windows, in units of the noise, at which a weight falls to 0.61.
    length
        Of the windows that are compared, an odd number of values.
    window
        How many values before and after its own a row sees, or all.
    decay
        How many steps away a weight falls to 0.61.
    stages
        1 or 2.
    online
        Each value is made of itself and earlier ones only.
    noise
        Its standard deviation; by default it is estimated.
    decimal
        The decimal sign; by default as the cells tell.
    time_format
        How times are written, such as %d/%m/%Y.
    timezone
        Of the clock that the times were read from, such as Europe/Berlin.
    duplicates
        What two rows of one time are: an error, or their mean, the first or the last of them.
    seed
        Of the random directions by which the expected error is estimated.
    """
    from heedful.data.series import read_series
    from heedful.smoothing import smooth as smoothed_series

    for path in (out, plot, inspect):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise HeedfulError(f"{path}: must be a file in a folder that exists.")
    if out is not None and out.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise HeedfulError(f"{out}: --out must end in .csv, .tsv or .jsonl.")
    series = read_series(
        table, column, time=time, decimal=decimal, time_format=time_format, timezone=timezone, duplicates=duplicates
    )
    for note in series.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    options = {"strength": strength, "length": length, "decay": decay}
    chosen: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if window is not None:
        chosen["window"] = _window(window)
    row = None if weights is None else _row(series, weights)
    values = series.values if len(series.columns) > 1 else series.values[:, 0]
    frequency = series.frequency
    times = series.seconds() if frequency is None else frequency.positions(series.times)
    try:
        found = smoothed_series(values, times, stages=stages, online=online, noise=noise, seed=seed, **chosen)
    except ValueError as error:
        raise DataError(f"{series.name}: {error}") from None
    for name, text in _summary(series, found):
        print(visible(f"{name:<10} {text}"))
    if row is not None:
        _show_weights(series, found, row)
    if out is not None:
        write_atomic(out, _table(series, found, out.suffix.lower()))
        print(visible(f"smoothed: {out}"))
    if plot is not None:
        _draw(series, found, plot)
        print(visible(f"plot: {plot}"))
    if inspect is not None:
        _inspect(series, found, inspect)
        print(visible(f"report: {inspect}"))


def _window(words: str) -> int | None:
    if words == "all":
        return None
    if not words.isdecimal() or int(words) < 1:
        raise HeedfulError(f"--window must be a number of values from 1, or all: got {words!r}.")
    return int(words)


def _row(series: "TimeSeries", words: str) -> int:
    """The row of a time, or of a number."""
    texts = series.texts()
    found = [row for row, text in enumerate(texts) if text == words] or [
        row for row, text in enumerate(texts) if text.startswith(words)
    ][:1]
    if found and (series.time_column is not None or found[0] == int(words)):
        return found[0]
    if words.isdecimal() and int(words) < len(series):
        return int(words)
    raise DataError(
        f"{series.name}: --weights must be a time from {texts[0]} to {texts[-1]}, or a row from 0 to {len(series) - 1:,}: "
        f"got {words!r}"
    )


def _summary(series: "TimeSeries", found: "Smoothed") -> list[tuple[str, str]]:
    """What was read and what was chosen."""
    texts, settings = series.texts(), found.settings
    grid = "" if series.frequency is None or series.time_column is None else f", in steps of {series.frequency}"
    noise = ", ".join(f"{name} {value:.4g}" for name, value in zip(series.columns, found.noise.tolist(), strict=True))
    seen = (
        "all values"
        if settings.window is None
        else f"{settings.window:,} values before" + ("" if found.samples.online else " and after")
    )
    near = "" if settings.decay is None else f", nearer ones more (decay {settings.decay:.4g} steps)"
    filled = f"; {found.filled:,} missing, filled" if found.filled else ""
    lines = [
        ("values", f"{len(series):,}, from {texts[0]} to {texts[-1]}{grid}{filled}"),
        ("noise", noise),
        ("chosen" if found.candidates else "set", f"windows of {settings.length}"
         + (f", then of {settings.last_length}" if settings.stages == 2 else "")
         + f"; {seen}{near}; strength {settings.strength:g}; {settings.stages} stage{'s' * (settings.stages == 2)}"),
    ]  # fmt: skip
    if found.expected_error is not None:
        error = "below 0.01" if found.expected_error < 0.01 else f"{found.expected_error:.2f}"
        lines.append(
            ("expected", f"mean squared error {error} of the noise's, the least of {len(found.candidates)} settings (Stein's estimate)")
        )  # fmt: skip
    return lines


def _show_weights(series: "TimeSeries", found: "Smoothed", row: int) -> None:
    """The values that one was made of, the largest weights first."""
    texts = series.texts()
    rows, weights = found.weights_of(row)
    order = weights.argsort()[::-1][:_MOST_MADE_OF]
    print(visible(f"{texts[row]} was made of"))
    width = max(len(texts[rows[i]]) for i in order)
    for i in order:
        cells = " ".join(f"{value:.6g}" for value in series.values[rows[i]])
        print(visible(f"  {100 * weights[i]:5.1f} %  {texts[rows[i]]:<{width}}  {cells}"))
    rest = len(rows) - len(order)
    if rest:
        print(f"  {100 * (1 - weights[order].sum()):5.1f} %  of {rest:,} others")


def _columns(found: "Smoothed") -> Any:
    return found.values[:, None] if found.values.ndim == 1 else found.values


def _table(series: "TimeSeries", found: "Smoothed", suffix: str) -> str:
    """Times, values and smoothed values as a table."""
    import csv
    import io
    import json

    names = [series.time_column or "row", *series.columns, *(f"{name}_smoothed" for name in series.columns)]
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    if suffix != ".jsonl":
        writer.writerow(names)
    for time, raw, smooth in zip(series.texts(), series.values.tolist(), _columns(found).tolist(), strict=True):
        cells = [None if value != value else value for value in (*raw, *smooth)]
        if suffix == ".jsonl":
            stream.write(json.dumps(dict(zip(names, [time, *cells], strict=True))) + "\n")
        else:
            writer.writerow([time, *("" if cell is None else f"{cell:.10g}" for cell in cells)])
    return stream.getvalue()


def _draw(series: "TimeSeries", found: "Smoothed", path: Path) -> None:
    """Values and what they became, a panel a column."""
    from heedful.report.series_drawing import draw_series

    try:
        draw_series(path, series.times, series.columns, series.values, _columns(found))
    except OSError as error:
        raise HeedfulError(f"{path}: the drawing cannot be written: {error.strerror}.") from None
    except ValueError as error:
        raise HeedfulError(f"{path}: {error}") from None


def _inspect(series: "TimeSeries", found: "Smoothed", path: Path) -> None:
    """The matrix of the last stage as a page."""
    from heedful.inspection.calls import AttentionCall
    from heedful.report import Series, attention_section, write_report

    last = found.settings.passes()[-1]
    window = None if last.window is None else (1 if found.samples.online else 2) * last.window + 1
    call = AttentionCall("smooth", "self", found.attention, "heedful", causal=found.samples.online, window=window)
    axis = Series(_columns(found), list(series.columns), name="smoothed series")
    text = " ".join(f"{name.capitalize()}: {words}." for name, words in _summary(series, found))
    section = attention_section([call], title=f"What each value of {series.name} was made of", text=text, axes=[axis])
    section = replace(section, opens={"view": "map", "layer": "0"})
    about = {"table": series.name, "heedful": __version__}
    try:
        write_report(path, title="Smoothing by self-similarity", sections=[section], about=about)
    except OSError as error:
        raise HeedfulError(f"{path}: the report cannot be written: {error.strerror}.") from None
