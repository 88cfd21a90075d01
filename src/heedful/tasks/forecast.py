"""forecast: what follows of a series, or of several.

data         heedful/data/grids.py: tables with a column of times, on the grid of their frequency; windows.py: the windows of it
model        heedful/models/forecaster.py; its linear path begins as the ridge regression of heedful/models/ridge.py
loss         the mean squared error of standardized values
score        tasks/forecast_scores.py: over all windows; intervals that are fitted on the validation part and follow their misses
predict      what follows, with times and intervals; or the last windows of the series
view         heedful/tasks/views/forecast.py: which past days, and which channels, a forecast looked at
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful._errors import DataError
from heedful.data.batches import SequentialBatches, ShuffledBatches
from heedful.data.calendar import calendar, calendar_of, period_of
from heedful.data.frames import in_memory
from heedful.data.grids import Grid, read_grid
from heedful.data.inputs import InputKind
from heedful.data.series import as_texts
from heedful.data.sunspots import SUNSPOTS, draw_sunspots
from heedful.data.times import Frequency
from heedful.data.windows import ByTime, SeriesWindows, part_sizes
from heedful.models.forecaster import Forecaster
from heedful.models.ridge import Ridge, fit_effects, fit_ridge
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.forecast_scores import Backtest, Scale, fitted_widths, followed, scores_of
from heedful.tasks.forecast_settings import (
    LEVELS,
    ForecastData,
    ForecastOptions,
    ForecastSettings,
    ForecastVocabulary,
)
from heedful.tasks.forecasts import Forecast, plot
from heedful.tasks.forward_pass import ForwardPass, Layout, Operand
from heedful.training.objective import Batches, Mean
from heedful.training.settings import AUTO, epochs_for

_AT_ONCE = 1 << 22  # values that are forecast, or seen, in one pass
_FOLLOWED = 3000  # windows of the past, at most, whose misses the intervals of a prediction follow


class Inputs(NamedTuple):
    """What the model sees of windows: standardized values `[B, L, C]`; what is known `[B, L + H, K]`; the place in the cycle `[B]`."""

    past: Tensor
    known: Tensor | None
    phase: Tensor | None


class ForecastBatch(NamedTuple):
    """What is seen, what follows `[B, H, C]`, and which of it was observed."""

    inputs: Inputs
    future: Tensor
    observed: Tensor


class ForecastTask(Task[SeriesWindows]):
    """What follows of a series."""

    name = "forecast"
    example, unit, input = "window", "windows", InputKind.SERIES
    Settings, Options, Vocabulary = ForecastSettings, ForecastOptions, ForecastVocabulary
    split = ByTime()
    prediction = Forecast
    embedded = {
        SUNSPOTS: Embedded(
            ("train", "test"), ("data.horizon=24", "data.input_length=264", "training.learning_rate=0.001")
        )
    }

    def __init__(self, settings: ForecastSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.horizon, self.length = settings.data.horizon, int(settings.data.input_length)
        self.columns, self.known = list(vocabulary["columns"]), list(vocabulary["known"])
        count, (mean, std) = len(self.columns), (np.array(vocabulary[name], float) for name in ("mean", "std"))
        self.scale = Scale(
            mean[:count], std[:count], np.array(vocabulary["seasonal_error"], float), vocabulary["period"]
        )
        self._known_mean, self._known_std = mean[count:], std[count:]
        self.frequency = Frequency(*vocabulary["frequency"])
        calibration = vocabulary.get("calibration") or {}
        self.widths = np.array(calibration.get("widths", []), float)  # [levels, H, C]
        if calibration and self.widths.shape != (len(LEVELS), self.horizon, count):
            raise ValueError("the intervals must be one for each level, step and channel")

    @classmethod
    def read(cls, source: Any, settings: ForecastSettings, reading: Reading = TRAINING) -> SeriesWindows:
        data, known = settings.data, reading.vocabulary
        grid = draw_sunspots() if not in_memory(source) and source == SUNSPOTS else _read(source, data, known)
        length: Any = data.input_length
        if not reading.labeled:
            return _following(grid, int(length), data.horizon)
        if known is None:
            parts = part_sizes(data.train, data.valid, data.test, grid.times)
            length = max(min(512, parts.train // 4), 1) if length == AUTO else length
            return SeriesWindows.all_of(grid, int(length), data.horizon, parts)
        windows = SeriesWindows.all_of(grid, int(length), data.horizon)
        if not len(windows):
            rows = f"{windows.length + data.horizon:,} rows, data.input_length and data.horizon"
            raise DataError(f"{grid.name}: must have at least {rows}: got {len(grid):,}")
        first = _row(grid, known["end"]) if reading.part == "test" else 0
        later = windows.between(first, len(grid))
        if not len(later) or len(later) == len(windows):
            return windows
        left = f"{len(windows) - len(later):,} windows that begin before {known['end']}, the end of the validation part, are left out"
        return replace(later, notes=(*grid.notes, f"{grid.name}: {left}"))

    @classmethod
    def adapt(cls, training: SeriesWindows, settings: ForecastSettings) -> Mapping[str, Any]:
        period = _period(training)
        return {
            "data.input_length": training.length,
            "model.cycle": period if 1 < period <= training.length else 0,
            "model.patch": period if 4 <= period <= 64 else 16,
            "training.epochs": epochs_for(len(training), settings.training, usual=5, steps=500),
        }

    @classmethod
    def learn(cls, training: SeriesWindows, settings: ForecastSettings) -> dict[str, Any]:
        grid, stop = training.grid, int(training.origins[-1]) + training.horizon
        values, period = grid.values[:stop], _period(training)
        both = np.concatenate([values, grid.known[:stop]], 1)
        std, end = both.std(0), training.parts.valid if training.parts else len(grid)
        recurring = np.abs(values[period:] - values[:-period]).mean(0)
        return {
            "columns": list(grid.columns), "known": list(grid.known_columns), "mean": both.mean(0).tolist(),
            "std": np.where(std > 1e-12, std, 1.0).tolist(), "seasonal_error": recurring.tolist(), "period": period,
            "calendar": calendar_of(grid.times[:stop], settings.model.cycle) if settings.model.calendar else [],
            "start": as_texts(grid.times[:1])[0], "end": as_texts(grid.times_of(range(end, end + 1)))[0],
            "frequency": [grid.frequency.step, grid.frequency.unit],
        }  # fmt: skip

    @classmethod
    def extend(cls, training: SeriesWindows, settings: ForecastSettings, base: "ForecastTask") -> dict[str, Any]:
        """The cycle and the calendar go on from where those of the base began."""
        return cls.learn(training, settings) | {name: base.vocabulary[name] for name in ("start", "calendar")}

    def describe(self) -> str:
        period = f", a period of {self.scale.period:,}" if self.scale.period > 1 else ""
        return f"{len(self.columns):,} series, steps of {self.frequency}{period}"

    def check(self, examples: SeriesWindows) -> None:
        """Raises DataError for a series of another frequency."""
        self._check(examples.grid)

    def _check(self, grid: Grid) -> None:
        if grid.frequency != self.frequency:
            raise DataError(
                f"{grid.name}: must have steps of {self.frequency}, as the training had: got {grid.frequency}"
            )

    def build(self) -> Forecaster:
        s = self.settings.model
        return Forecaster(
            length=self.length, horizon=self.horizon, channels=len(self.columns), cycle=int(s.cycle),
            known=len(self.known) + calendar(np.zeros(1, "datetime64[us]"), self.vocabulary["calendar"]).shape[1],
            attention=s.attention, patch=int(s.patch), stride=s.stride or int(s.patch), width=s.width, heads=s.heads, ffn_width=s.ffn_width,
            layers=s.layers, dropout=s.dropout,
        )  # fmt: skip

    def prepare(self, model: Forecaster, training: SeriesWindows, validation: SeriesWindows) -> list[str]:
        """Solves the linear path."""
        if not self.settings.model.ridge:
            return []
        ridge, effects = self._ridge(training)
        with torch.no_grad():
            model.linear.copy_(torch.from_numpy(ridge.weight))
            if model.effects is not None and len(effects):
                model.effects[:, -len(effects) :] = torch.from_numpy(effects).mT
        return [
            f"the linear path begins as a ridge regression of {len(training):,} windows, with a penalty of {ridge.strength:.2g}"
        ]

    def rows(self) -> Mapping[str, Rows]:
        return {name: Rows("series", self.columns) for name in ("cycle", "effects", "channel_table")}

    def rates(self, model: Forecaster) -> Mapping[str, float]:
        return {"linear": self.settings.training.linear_rate if self.settings.model.ridge else 1.0}

    def _ridge(self, training: SeriesWindows) -> tuple[Ridge, NDArray[np.float64]]:
        """The linear forecast, and what known columns add to values, in closed form."""
        stop = int(training.origins[-1]) + training.horizon
        values, known = self.scale.standardized(training.grid.values[:stop]), self._standard_known(training.grid)[:stop]
        effects = fit_effects(values, known, training.length + training.horizon)
        starts = training.origins - training.length
        return fit_ridge(values - known @ effects, starts, training.length, training.horizon), effects

    def _standard_known(self, grid: Grid) -> NDArray[np.float64]:
        return (grid.known - self._known_mean) / self._known_std if self.known else np.zeros((len(grid), 0))

    def _tensors(self, grid: Grid) -> tuple[Tensor, Tensor | None, int]:
        """The standardized values of all rows, what is known of them and of those that follow, and the phase of the first."""
        self._check(grid)
        values = torch.from_numpy(self.scale.standardized(grid.values)).float()
        times = grid.times_of(range(len(grid) + self.horizon))
        known = calendar(times, self.vocabulary["calendar"])
        if self.known:
            rows = min(len(grid.known), len(times))
            beyond = np.pad(self._standard_known(grid)[:rows], ((0, len(times) - rows), (0, 0)), "edge")
            known = np.concatenate([known, beyond], 1)
        phase = -_row(grid, self.vocabulary["start"])
        return values, torch.from_numpy(known).float() if known.shape[1] else None, phase

    def batches(self, examples: SeriesWindows, *, training: bool) -> Batches:
        values, known, phase = self._tensors(examples.grid)
        observed, origins = torch.from_numpy(examples.grid.observed), torch.from_numpy(examples.origins)
        offsets, cycle = torch.arange(-self.length, self.horizon), int(self.settings.model.cycle)

        def make(numbers: list[int]) -> ForecastBatch:
            rows = origins[numbers][:, None] + offsets
            seen, future = rows[:, : self.length], rows[:, self.length :]
            place = (rows[:, 0] + phase) % cycle if cycle else None
            inside = future.clamp_max(len(values) - 1)  # of what follows the last row nothing is known, nor used
            return ForecastBatch(
                Inputs(values[seen], None if known is None else known[rows], place), values[inside], observed[inside]
            )

        settings, count = self.settings.training, len(examples)
        if training:
            order: Any = ShuffledBatches(count, int(settings.batch_size), settings.seed)
        else:
            size = max(_AT_ONCE // (len(offsets) * len(self.columns)), 1)
            order = SequentialBatches(count, min(size, 512))
        return Batches(make, order, lambda batch: len(batch.future))

    def loss(self, model: Forecaster, batch: Any, optimizer: str) -> Tensor:
        error = (model(*batch.inputs) - batch.future).square() * batch.observed
        return torch.div(error.sum(), batch.observed.sum().clamp_min(1))

    def validate(self, model: Forecaster, batch: Any) -> Mapping[str, Mean]:
        error = (model(*batch.inputs) - batch.future) * batch.observed
        count = int(batch.observed.sum())
        return {"loss": Mean(error.square().sum(), count), "mae": Mean(error.abs().sum(), count)}

    def calibrate(self, model: Forecaster, examples: SeriesWindows) -> dict[str, Any]:
        widths = fitted_widths(self._backtest(model, examples), self.scale)
        return {
            "levels": list(LEVELS),
            "widths": [[[float(f"{x:.5g}") for x in row] for row in one] for one in widths.tolist()],
        }

    def _backtest(self, model: Forecaster, windows: SeriesWindows) -> Backtest:
        """The forecasts of all windows, made when they are asked for."""

        def blocks() -> Iterator[NDArray[np.float32]]:
            batches = self.batches(windows, training=False)
            for rows in batches.order:
                with torch.inference_mode():
                    yield model(*batches.make(rows).inputs).float().numpy()

        widths = self.widths if self.widths.size else None
        return Backtest(windows.grid.name, windows, blocks, widths, self.settings.intervals.adapt)

    def predict(
        self, model: Forecaster, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Any]:
        """What follows each series, or with `windows` its last windows; of windows that are known all forecasts, as a `Backtest`."""
        found: list[Any] = []
        for one in inputs:
            if isinstance(one, SeriesWindows) and one.labeled:
                found.append(self._backtest(model, one))
                continue
            windows = self._windows(one)
            if options.windows:
                windows = self._last(windows, options.windows)
            found += self._forecasts(model, windows, options.level, _name(one, windows.grid))
        return found

    def _windows(self, given: Any) -> SeriesWindows:
        """The window behind the last row of a series."""
        if isinstance(given, SeriesWindows):
            return given
        return self.read(given, self.settings, Reading("test", False, self.vocabulary))

    def _last(self, windows: SeriesWindows, count: int) -> SeriesWindows:
        stop, rows = len(windows.grid), self.length + count * self.horizon
        if stop < rows:
            raise DataError(
                f"{windows.grid.name}: must have at least {rows:,} rows for {count:,} windows of {self.horizon:,} steps: got {stop:,}"
            )
        return replace(windows, origins=stop - self.horizon * np.arange(count, 0, -1), labeled=True)

    def _forecasts(self, model: Forecaster, windows: SeriesWindows, level: float, name: str) -> list[Forecast]:
        """Forecasts with intervals that follow what was missed since the validation part."""
        grid, number = windows.grid, LEVELS.index(level)
        last = int(windows.origins[-1])
        first = max(_row(grid, self.vocabulary["end"]), self.length, last - _FOLLOWED)
        past = replace(windows, origins=np.arange(first, last))
        widths = followed(self._backtest(model, past), self.scale, windows.origins)
        values = np.concatenate(list(self._backtest(model, windows).blocks()))
        found = []
        for origin, forecast, width in zip(windows.origins.tolist(), values, widths, strict=True):
            rows = range(origin, origin + self.horizon)
            bounds = (forecast, forecast - width[number], forecast + width[number])
            middle, lower, upper = (self.scale.original(one).T.tolist() for one in bounds)
            seen = range(max(origin - 4 * self.horizon, 0), origin)
            truth = None
            if windows.labeled:
                there = np.where(grid.observed[list(rows)], grid.values[list(rows)], np.nan)
                truth = [[None if value != value else value for value in column] for column in there.T.tolist()]
            found.append(
                Forecast(
                    name, self.columns, as_texts(grid.times_of(rows)), middle, lower, upper, level, truth,
                    past=grid.values[list(seen)].T.tolist(), times_of_past=as_texts(grid.times_of(seen)),
                )
            )  # fmt: skip
        return found

    def forward_pass(self) -> ForwardPass:
        operands = {
            "past": Operand(("batch", self.length, len(self.columns)), "values minus their `mean`, over their `std`")
        }
        model = self.build()
        if model.effects is not None:
            holds = "waves of the calendar, then the known columns minus their `mean`, over their `std`"
            operands["known"] = Operand(("batch", self.length + self.horizon, model.effects.shape[1]), holds)
        if model.cycle is not None:
            operands["phase"] = Operand(
                ("batch",), f"steps from `start` to the first value, modulo {model.cycle.shape[1]}"
            )
        layout = Layout(
            operands, lambda batch: tuple(one for one in batch if one is not None),
            lambda *tensors: Inputs(*(dict(zip(operands, tensors, strict=True)).get(name) for name in Inputs._fields)),  # type: ignore[arg-type]
        )  # fmt: skip
        names = ("columns", "known", "calendar", "mean", "std", "start", "frequency")
        return ForwardPass(
            layout, lambda model, batch: model(*batch), "forecast",
            Operand(("batch", self.horizon, len(self.columns)), "values minus their `mean`, over their `std`"),
            lambda one, other: torch.isclose(one, other, rtol=1e-3, atol=1e-3).all(-1),
            {"vocabulary.json": {name: self.vocabulary[name] for name in names}},
        )  # fmt: skip

    def inputs(self, examples: SeriesWindows) -> Sequence[SeriesWindows]:
        return [examples]

    def score(self, predictions: Sequence[Backtest], examples: SeriesWindows) -> Scores:
        return scores_of(predictions[0], self.scale, self.columns)

    def baselines(self, training: SeriesWindows, examples: SeriesWindows) -> Mapping[str, list[Backtest]]:
        grid, period = examples.grid, self.scale.period
        values, known = self.scale.standardized(grid.values), self._standard_known(grid)
        ridge, effects = self._ridge(training)
        base = values - known[: len(values)] @ effects
        steps = np.arange(self.horizon)

        def blocks(kind: str) -> Iterator[NDArray[np.float32]]:
            size = max(_AT_ONCE // (self.length * len(self.columns)), 1)
            for start in range(0, len(examples), size):
                origins = examples.origins[start : start + size, None]
                if kind == "ridge":
                    future = known[origins + steps] @ effects
                    yield (ridge(base[origins + np.arange(-self.length, 0)]) + future).astype(np.float32)
                else:
                    rows = -1 - 0 * steps if kind == "last value" else steps % period - period
                    yield values[np.maximum(origins + rows, 0)].astype(np.float32)

        names = {"last value": "last value", "seasonal naive": f"seasonal naive, {period:,} steps", "ridge": "ridge"}
        return {
            name: [Backtest(grid.name, examples, lambda kind=kind: blocks(kind))]  # type: ignore[misc]
            for kind, name in names.items() if kind != "seasonal naive" or period > 1
        }  # fmt: skip

    def inspect(self, model: Forecaster, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.forecast import forecast_section

        found = []
        for one in inputs:
            windows = self._windows(one)
            found.append(forecast_section(self, model, windows.select([len(windows) - 1]), _name(one, windows.grid)))
        return found

    def file(self, prediction: Forecast, options: Any) -> tuple[str, bytes]:
        return ".csv", f"{prediction.to_format()}\n".encode()

    def plot(self, predictions: Sequence[Forecast], path: str) -> None:
        plot(predictions, path)


def _read(source: Any, data: ForecastData, vocabulary: Mapping[str, Any] | None) -> Grid:
    """The series of a source; those that a vocabulary knows, where there is one."""
    columns, known = (data.columns, data.known) if vocabulary is None else (vocabulary["columns"], vocabulary["known"])
    return read_grid(
        source, columns, known, series=data.series, time=data.time, decimal=data.decimal, time_format=data.time_format,
        timezone=data.timezone, duplicates=data.duplicates,
    )  # fmt: skip


def _following(grid: Grid, length: int, horizon: int) -> SeriesWindows:
    """The window whose forecast begins behind the last row."""
    if len(grid) < length:
        raise DataError(f"{grid.name}: must have at least {length:,} rows, data.input_length: got {len(grid):,}")
    if grid.known_columns and len(grid.known) < len(grid) + horizon:
        after = as_texts(grid.times[-1:])[0]
        raise DataError(
            f"{grid.name}: the known columns must have values for {horizon:,} steps after {after}: got {len(grid.known) - len(grid):,}"
        )
    return SeriesWindows(grid, np.array([len(grid)]), length, horizon, None, grid.notes, False)


def _period(training: SeriesWindows) -> int:
    return period_of(training.grid.values[: int(training.origins[-1]) + training.horizon])


def _row(grid: Grid, time: str) -> int:
    """How many steps a time is after the first row of a grid, or before it, less than 0."""
    moment: Any = np.datetime64(time, "us") if grid.times.dtype.kind == "M" else float(time)
    steps = grid.frequency.positions(np.array([grid.times[0], moment]))
    return round(float(steps[1]))


def _name(given: Any, grid: Grid) -> str:
    return given if isinstance(given, str) else grid.name
