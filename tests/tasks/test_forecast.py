"""What forecast does beyond the laws of all tasks."""

import csv
import io
import math

import numpy as np
import pytest
import torch

from heedful._errors import DataError, HeedfulError
from heedful.data.grids import Grid
from heedful.data.times import Frequency
from heedful.data.windows import SeriesWindows
from heedful.tasks.forecast import ForecastTask
from heedful.tasks.forecast_scores import Backtest, IntervalTracker, Scale, fitted_widths, followed, scores_of
from heedful.tasks.forecast_settings import LEVELS
from heedful.tasks.run import load
from heedful.tasks.sources import prepare
from heedful.training.settings import settings_of
from tests.tasks.cases import CASES

HORIZON, LENGTH = 5, 11


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return CASES["forecast"].write(tmp_path_factory.mktemp("forecast"), 100, 0)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with attention over channels, and with a test part."""
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [
        *CASES["forecast"].words,
        "--set",
        "data.test=20",
        "--set",
        "model.attention=both",
        "--set",
        "training.epochs=1",
    ]
    assert command(["train", "forecast", "--data", str(data), "--out", str(folder), *words]) == 0
    return folder


def prepared(source, *words):
    return prepare(ForecastTask, settings_of(ForecastTask.Settings, ["training.epochs=1", *words]), {"data": source})


def grid_of(values, observed=None):
    times = np.datetime64("2024-01-01", "us") + np.arange(len(values)) * np.timedelta64(1, "h")
    observed = np.ones(values.shape, bool) if observed is None else observed
    names = tuple("abc"[: values.shape[1]])
    return Grid(
        "the data",
        names,
        values,
        observed,
        times,
        Frequency(3600 * 10**6, "microsecond"),
        (),
        np.zeros((len(values), 0)),
    )


def backtest(values, forecasts, first, observed=None, widths=None, adapt=0.0):
    origins = np.arange(first, first + len(forecasts))
    windows = SeriesWindows(grid_of(values, observed), origins, LENGTH, HORIZON)
    return Backtest("a", windows, lambda: iter([forecasts[:3], forecasts[3:]]), widths, adapt)


def columns_of(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_the_metrics_are_those_of_a_loop_over_all_windows():
    random = np.random.default_rng(0)
    values, observed = random.normal(size=(60, 2)) * (1, 10) + (0, 5), random.random((60, 2)) > 0.2
    forecasts = random.normal(size=(40, HORIZON, 2)).astype(np.float32)
    scale = Scale(np.array([0.5, 4.0]), np.array([2.0, 9.0]), np.array([1.5, 3.0]), 24)
    widths = random.random((len(LEVELS), HORIZON, 2)).cumsum(0)
    found = scores_of(backtest(values, forecasts, 15, observed, widths), scale, ["a", "b"])
    squares, own, held, losses, of_channel = [], [], [], [], ([], [])
    for window, origin in enumerate(range(15, 55)):
        for step in range(HORIZON):
            for channel in range(2):
                if not observed[origin + step, channel]:
                    continue
                std, mean = scale.std[channel], scale.mean[channel]
                truth, forecast = values[origin + step, channel], float(forecasts[window, step, channel]) * std + mean
                squares.append(((truth - forecast) / std) ** 2)
                own.append(abs(truth - forecast))
                of_channel[channel].append(abs(truth - forecast))
                held.append(abs(truth - forecast) <= widths[2, step, channel] * std)
                quantiles = [(0.5, forecast)]
                for level, width in zip(LEVELS, widths[:, step, channel] * std, strict=True):
                    quantiles += [((1 - level) / 2, forecast - width), ((1 + level) / 2, forecast + width)]
                losses.append(np.mean([max(q * (truth - at), (q - 1) * (truth - at)) for q, at in quantiles]))
    metrics = {name: metric.value for name, metric in found.metrics.items()}
    assert metrics["standardized_mse"] == pytest.approx(np.mean(squares))
    assert metrics["standardized_mae"] == pytest.approx(np.mean(np.sqrt(squares)))
    assert metrics["mse"] == pytest.approx(np.mean(np.square(own)))
    assert metrics["mae"] == pytest.approx(np.mean(own))
    assert metrics["mase"] == pytest.approx(
        np.mean([np.mean(one) / naive for one, naive in zip(of_channel, (1.5, 3.0), strict=True)])
    )
    assert metrics["coverage"] == pytest.approx(np.mean(held))
    assert metrics["pinball"] == pytest.approx(np.mean(losses))
    assert found.details["windows"] == 40


def test_intervals_hold_as_much_as_they_say_of_values_of_the_same_kind():
    random, scale = np.random.default_rng(1), Scale(np.zeros(1), np.ones(1), np.ones(1), 1)
    values, forecasts = random.standard_t(4, (3000, 1)), np.zeros((1400, HORIZON, 1), np.float32)
    widths = fitted_widths(backtest(values, forecasts, 20), scale)
    assert widths.shape == (len(LEVELS), HORIZON, 1)
    errors = np.sort(
        np.abs(np.stack([values[20 + window : 20 + window + HORIZON, 0] for window in range(1400)])), axis=0
    )
    expected = [errors[math.ceil(1401 * level) - 1] for level in LEVELS]
    np.testing.assert_allclose(widths[..., 0], expected)
    held = scores_of(backtest(values, forecasts, 1500, widths=widths), scale, ["a"]).details["coverage"]
    assert all(abs(share - float(level)) < 0.03 for level, share in held.items())


def test_intervals_follow_a_series_that_becomes_wilder():
    random, scale = np.random.default_rng(2), Scale(np.zeros(1), np.ones(1), np.ones(1), 1)
    values, forecasts = random.normal(size=(3000, 1)), np.zeros((1400, HORIZON, 1), np.float32)
    values[1500:] *= 3
    widths = fitted_widths(backtest(values, forecasts, 20), scale)
    fixed = scores_of(backtest(values, forecasts, 1500, widths=widths), scale, ["a"])
    follows = scores_of(backtest(values, forecasts, 1500, widths=widths, adapt=0.05), scale, ["a"])
    assert fixed.metrics["coverage"].value < 0.5
    assert 0.87 < follows.metrics["coverage"].value < 0.92


def test_intervals_know_nothing_of_what_comes():
    """The width of step h at a window depends on what was missed h windows before and earlier."""
    widths = np.ones((len(LEVELS), HORIZON, 1))
    calm, wild = (IntervalTracker(widths, 0.1) for _ in range(2))
    seen = np.ones((HORIZON, 1), bool)
    for tracker, error in ((calm, 0.0), (wild, 9.0)):
        tracker.next()
        tracker.saw(np.full((HORIZON, 1), error), seen)
    for window in range(1, HORIZON + 1):
        differ = ~np.isclose(calm.next(), wild.next())
        assert differ[:, :window].all()
        assert not differ[:, window:].any()
        for tracker in (calm, wild):
            tracker.saw(np.zeros((HORIZON, 1)), seen)


def test_the_intervals_of_a_prediction_are_those_of_the_back_test():
    random, scale = np.random.default_rng(3), Scale(np.zeros(1), np.ones(1), np.ones(1), 1)
    values, forecasts = random.normal(size=(80, 1)), np.zeros((30, HORIZON, 1), np.float32)
    widths = np.full((len(LEVELS), HORIZON, 1), 0.8)
    tracker, expected = IntervalTracker(widths, 0.1), {}
    for window, origin in enumerate(range(50, 80)):
        expected[origin] = tracker.next().copy()
        rows = np.minimum(np.arange(origin, origin + HORIZON), 79)
        tracker.saw(values[rows] - forecasts[window], np.arange(origin, origin + HORIZON)[:, None] < 80)
    expected[80] = tracker.next()
    found = followed(backtest(values, forecasts, 50, widths=widths, adapt=0.1), scale, np.array([20, 70, 80]))
    np.testing.assert_array_equal(found[0], widths)
    np.testing.assert_allclose(found[1], expected[70])
    np.testing.assert_allclose(found[2], expected[80])


def test_every_window_of_a_part_is_measured_and_sees_no_part_that_comes(data):
    parts, _ = prepared(
        str(data), "data.horizon=5", "data.input_length=11", "data.train=70", "data.valid=20", "data.test=25"
    )
    assert [len(one) for one in (parts.training, parts.validation, parts.test)] == [70 - 16 + 1, 16, 21]
    assert parts.training.origins[-1] + 5 == 70
    assert (parts.validation.origins[0], parts.validation.origins[-1] + 5) == (70, 90)
    assert (parts.test.origins[0], parts.test.origins[-1] + 5) == (90, 115)
    assert parts.held_out.startswith("the 20 rows behind the first 70 of ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data.horizon=300"], "must have at least 10 windows to train on, of 24 rows that are seen (data.input_length) and 300 that"),
        (["data.train=100", "data.valid=20"], "as many rows as data.train, data.valid and data.test: got 120 for 100, 20 and 0.1"),
        (["data.valid=2024-01-04"], "must have data.train, too, where data.valid or data.test is a time: got auto"),
        (["data.train=2024-01-04", "data.valid=2024-01-03"], "must be split at rising times by data.train, data.valid and data.test"),
        (["data.train=soon"], "must have data.train as a share, a number of rows or a time: got 'soon'"),
        (["data.horizon=20", "data.input_length=9"], "must have at least 20 rows, data.horizon, in the part data.valid: got 12"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_are_one_line(data, words, says):
    with pytest.raises(DataError) as error:
        prepared(str(data), *words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_baselines_are_what_they_say(data):
    parts, task = prepared(
        str(data), "data.horizon=8", "data.input_length=11", "data.train=80", "data.valid=20", "data.test=20"
    )
    found = task.baselines(parts.training, parts.test)
    assert list(found) == ["last value", "seasonal naive, 6 steps", "ridge"]
    values = task.scale.standardized(parts.test.grid.values)
    blocks = {name: np.concatenate(list(one.blocks())) for name, (one,) in found.items()}
    for number, origin in enumerate(parts.test.origins):
        for step in range(8):
            np.testing.assert_allclose(blocks["last value"][number, step], values[origin - 1], rtol=1e-5)
            np.testing.assert_allclose(
                blocks["seasonal naive, 6 steps"][number, step], values[origin + step % 6 - 6], rtol=1e-5
            )
    model = task.build()
    task.prepare(model, parts.training, parts.validation)
    ours = np.concatenate(list(task._backtest(model.eval(), parts.test).blocks()))
    np.testing.assert_allclose(ours, blocks["ridge"], atol=1e-5)  # where the training begins


def test_gaps_are_filled_named_and_not_measured(tmp_path):
    rows = [
        f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{hour % 6}" for hour in range(150) if not 100 <= hour < 104
    ]
    file = tmp_path / "gaps.csv"
    file.write_text("time,a\n" + "\n".join(rows) + "\n")
    parts, task = prepared(
        str(file), "data.horizon=3", "data.input_length=8", "data.train=90", "data.valid=20", "data.test=20"
    )
    assert "4 times are missing in 1 gap" in parts.training.notes[0]
    assert parts.training.notes[1].endswith(
        "4 of 150 values of 'a' are missing: they are interpolated, and no metric counts them"
    )
    batch = task.batches(parts.validation, training=False).make(list(range(len(parts.validation))))
    assert int((~batch.observed).sum()) == 4 * 3


def test_columns_that_are_known_of_the_future(tmp_path):
    """A holiday adds 5: a forecast knows it where the table says that one comes."""
    random, days = np.random.default_rng(0), np.arange(230)
    holiday = (random.random(230) < 0.2).astype(int)
    sold = np.sin(days / 7 * 2 * np.pi) + 5 * holiday + random.normal(0, 0.05, 230)
    table = {
        "day": [str(np.datetime64("2024-01-01") + int(day)) for day in days],
        "sold": sold.round(3).tolist(),
        "holiday": holiday.tolist(),
    }
    table["sold"][-20:] = [None] * 20
    words = ["data.known=['holiday']", "data.horizon=10", "data.input_length=21", "data.test=30"]
    parts, task = prepared(table, *words)
    assert task.columns == ["sold"]
    assert len(parts.training.grid) == 210
    model = task.build()
    task.prepare(model, parts.training, parts.validation)
    task.widths = fitted_widths(task._backtest(model.eval(), parts.validation), task.scale)
    (found,) = task.predict(model, [table], task.Options())
    assert np.abs(np.array(found.values[0]) - sold[210:220]).max() < 0.6
    (ridge,) = task.baselines(parts.training, parts.test)["ridge"]
    assert scores_of(ridge, task.scale, ["sold"]).metrics["mae"].value < 0.5
    short = {name: column[:-15] for name, column in table.items()}
    with pytest.raises(DataError, match="the known columns must have values for 10 steps after 2024-07-28: got 5"):
        task.predict(model, [short], task.Options())


def test_series_that_stand_below_each_other(tmp_path):
    random = np.random.default_rng(0)
    rows = [("north", hour, random.random()) for hour in range(120)] + [
        ("south", hour, random.random()) for hour in range(30, 120)
    ]
    table = columns_of([{"shop": shop, "t": hour, "sold": value} for shop, hour, value in rows])
    parts, task = prepared(table, "data.series=shop", "data.horizon=4", "data.input_length=9")
    assert task.columns == ["north", "south"]
    grid = parts.training.grid
    assert (grid.observed.sum(0) == (120, 90)).all()
    assert grid.values[30, 1] == table["sold"][120]


def test_what_is_predicted_goes_on_with_the_series(data, run, heedful, tmp_path):
    out = heedful("predict", run, data, "--format", "data").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["time", "a", "b"]
    assert [row["time"] for row in rows] == ["2024-01-06T00:00", "2024-01-06T01:00", "2024-01-06T02:00"]
    (found,) = load(run).predict(str(data))
    assert all(
        low < middle < high for low, middle, high in zip(found.lower[0], found.values[0], found.upper[0], strict=True)
    )
    (narrow,) = load(run).predict(str(data), level=0.5)
    assert narrow.upper[0][0] < found.upper[0][0]
    windows = load(run).predict(str(data), windows=2)
    assert [one.times[0] for one in windows] == ["2024-01-05T18:00", "2024-01-05T21:00"]
    with open(data) as file:
        assert windows[1].truth[0][-1] == float(file.read().split()[-1].split(",")[1])
    assert " was " in str(windows[0])
    with pytest.raises(DataError, match=r"must have at least 308 rows for 100 windows of 3 steps: got 120"):
        load(run).predict(str(data), windows=100)


def test_a_plot_is_one_file(data, run, heedful, refused, tmp_path):
    assert heedful("predict", run, data, "--windows", "3", "--plot", tmp_path / "out.png").status == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    says = refused("predict", run, data, "--plot", tmp_path / "out.txt")
    assert says.startswith("--plot: `path` must end in one of .png, .svg, .pdf: got ")
    assert refused("predict", run, data, "--level", "0.7") == "`level`: must be one of 0.5, 0.8, 0.9, 0.95: got '0.7'."


def test_the_report_has_the_patches_of_each_channel_and_the_channels(data, run):
    (section,) = load(run).inspect(str(data))
    assert [one.title for one in (section, *section.samples)] == [f"{data}: a", f"{data}: b"]
    assert "a: the last layer looked most at 2024-01-05" in section.text
    assert any(layer.label.endswith(", channels") for layer in section.layers)
    parts, task = prepared(str(data), "data.horizon=3", "data.input_length=8", "model.attention=none")
    with pytest.raises(HeedfulError, match="there is nothing to inspect: model.attention=none attends to nothing."):
        task.inspect(task.build(), [parts.validation])


def test_a_constant_series_is_forecast_as_it_is():
    table = {
        "time": [f"2024-01-{day:02d}" for day in range(1, 32)] + [f"2024-02-{day:02d}" for day in range(1, 30)],
        "a": [3.0] * 60,
    }
    parts, task = prepared(table, "data.horizon=2", "data.input_length=6", "data.test=10")
    model = task.build()
    task.prepare(model, parts.training, parts.validation)
    task.widths = fitted_widths(task._backtest(model.eval(), parts.validation), task.scale)
    (found,) = task.predict(model, [table], task.Options())
    assert found.values == [[3.0, 3.0]]
    metrics = task.score([task._backtest(model, parts.test)], parts.test).metrics
    assert metrics["mse"].value == 0
    assert "mase" not in metrics


def test_another_frequency_is_refused_and_a_file_that_is_too_short(data, run, refused, tmp_path):
    daily = tmp_path / "daily.csv"
    daily.write_text("time,a,b\n" + "".join(f"2024-01-{day:02d},{day},{day}\n" for day in range(1, 32)))
    assert refused("predict", run, daily) == f"{daily}: must have steps of 1 hour, as the training had: got 1 day"
    short = tmp_path / "short.csv"
    short.write_text("\n".join(data.read_text().splitlines()[:6]) + "\n")
    assert refused("predict", run, short) == f"{short}: must have at least 8 rows, data.input_length: got 5"
    assert refused("evaluate", run, "--data", short) == (
        f"{short}: must have at least 11 rows, data.input_length and data.horizon: got 5"
    )


def test_windows_that_were_seen_are_left_out_and_counted(data, run):
    found = load(run).evaluate(str(data))
    assert found.examples == 18
    assert "92 windows that begin before 2024-01-05T04:00, the end of the validation part, are left out" in found.note


def test_the_gate_is_where_attention_enters(run):
    model = load(run).model
    assert torch.isfinite(model.gate).all()
    assert model.gate.item() != 0
