import re

import numpy as np
import pandas as pd
import pytest
import torch

import heedful
from heedful.smoothing import SmoothSettings, smooth
from heedful.smoothing.choice import candidates, expected_errors, noise_of
from heedful.smoothing.passes import Pass, SeriesBatch, run, windows
from tests.reference import smoothing as naive

STEPS = np.repeat([0.0, 6.0, 2.0, 5.0], 47)
RANDOM = np.random.default_rng(0)
NOISY = STEPS + RANDOM.standard_normal(len(STEPS))
SETTINGS = SmoothSettings(1.0, 5, 23, 9.0, 2, 3)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("lost", [(), (0, 1, 50, 90)])
@pytest.mark.parametrize("window", [None, 23])
def test_it_is_what_the_loops_say(online, lost, window):
    values = NOISY[:101].copy()
    values[list(lost)] = np.nan
    first = 0 if not lost else 2
    settings = SmoothSettings(1.0, 5, window, 9.0, 2, 3)
    found = smooth(values, noise=1.0, settings=settings, online=online)
    known = ~np.isnan(values)
    guess = values.copy()
    if lost and online:
        guess = pd.Series(values).ffill().bfill().to_numpy()
    elif lost:
        guess[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), values[known])
    skip = slice(first if online else 0, None)
    with np.errstate(invalid="ignore"):  # the first rows see nothing online
        weights, expected = naive.smoothed(
            guess[skip], ~known[skip], (5, 1.0, window, None), (3, 1.0, window, 9.0), online
        )
    if not (online and lost):  # else the windows of the first rows are other ones
        np.testing.assert_allclose(found.values[skip], expected, atol=1e-4)
        dense = found.attention.dense().numpy()
        np.testing.assert_allclose(dense, weights, atol=2e-5)
        for row in (3, 60, -1):
            rows, row_weights = found.weights_of(row)
            np.testing.assert_allclose(row_weights, weights[row, rows], atol=2e-5)
            assert row_weights.sum() == pytest.approx(1)
    else:
        assert np.isnan(found.values[:2]).all()
        assert np.isfinite(found.values[2:]).all()
    assert found.filled == len(lost)


def test_it_comes_near_to_the_truth_without_it():
    found = smooth(NOISY)
    assert ((found.values - STEPS) ** 2).mean() < 0.1
    assert found.noise == pytest.approx(1, rel=0.2)
    assert found.expected_error == min(one.error for one in found.candidates)
    assert len(found.candidates) >= 15
    assert len({one.settings for one in found.candidates}) == len(found.candidates)
    again = smooth(NOISY * 1000 + 5e6)
    assert again.settings == found.settings
    np.testing.assert_allclose((again.values - 5e6) / 1000, found.values, atol=1e-3)


def test_the_expected_error_is_the_one_against_the_truth():
    truth = np.sin(np.arange(4000) / 30) * 4
    draws = np.stack([truth + np.random.default_rng(seed).standard_normal(4000) for seed in range(4)])
    samples = SeriesBatch(torch.from_numpy(draws)[..., None])
    [one] = expected_errors(samples, [SETTINGS], seed=0)
    error = ((run(samples, SETTINGS.passes()).values[..., 0].numpy() - truth) ** 2).mean()
    assert one.error == pytest.approx(error, abs=0.04)


def test_noise_is_told_from_trends_and_jumps():
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((4000, 1))) * 0.5
    jumps = torch.from_numpy(np.repeat(np.arange(20.0), 200))[:, None] + torch.linspace(0, 50, 4000)[:, None]
    assert noise_of(noise + jumps, torch.zeros(4000, dtype=torch.bool)).item() == pytest.approx(0.5, rel=0.06)


def test_online_nothing_looks_ahead():
    found = smooth(NOISY, online=True, settings=SETTINGS, noise=1.0)
    changed = NOISY.copy()
    changed[100:] += 40
    after = smooth(changed, online=True, settings=SETTINGS, noise=1.0)
    np.testing.assert_allclose(after.values[:100], found.values[:100], atol=1e-5)
    assert abs(after.values[100:] - found.values[100:]).min() > 1
    assert found.weights_of(50).rows.max() == 50
    long = np.tile(NOISY, 8)
    changed = long.copy()
    changed[1200:] *= 9  # what is chosen comes from the first 1,000
    first, second = smooth(long, online=True), smooth(changed, online=True)
    assert first.settings == second.settings
    np.testing.assert_allclose(first.values[:1200], second.values[:1200], atol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    values = np.tile(NOISY, 6)
    whole = smooth(values, noise=1.0, settings=SETTINGS)
    monkeypatch.setattr("heedful.smoothing.passes._CHUNK", 100)
    monkeypatch.setattr("heedful.smoothing.passes._TOGETHER", 3)
    cut = smooth(values, noise=1.0, settings=SETTINGS)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-3)
    np.testing.assert_allclose(cut.compared.numpy(), whole.compared.numpy(), atol=1e-3)
    long = smooth(values, noise=1.0, settings=SETTINGS, times=np.arange(len(values)) ** 1.01)
    monkeypatch.undo()
    uncut = smooth(values, noise=1.0, settings=SETTINGS, times=np.arange(len(values)) ** 1.01)
    np.testing.assert_allclose(long.values, uncut.values, atol=1e-3)


def test_large_numbers_are_compared_in_float64():
    drift = np.arange(len(NOISY)) * 1e5
    found = smooth(NOISY + drift, noise=1.0, settings=SmoothSettings(1.0, 3, 5, None, 1, 1))
    assert found.attention.query.dtype == torch.float64
    np.testing.assert_allclose(found.values, NOISY + drift, atol=1e-6)  # no two windows are alike


def test_channels_share_one_matrix():
    both = np.stack([NOISY, 3 * STEPS + 3 * RANDOM.standard_normal(len(STEPS))], 1)
    found = smooth(both)
    assert found.values.shape == both.shape
    assert found.noise.tolist() == pytest.approx([1, 3], rel=0.25)
    one, two = (smooth(values, settings=SETTINGS).values for values in (NOISY, both))
    assert ((two[:, 0] - STEPS) ** 2).mean() < ((one - STEPS) ** 2).mean()
    lost = both.copy()
    lost[60, 1] = np.nan  # then no row is made of this one
    assert smooth(lost, settings=SETTINGS).weights_of(60).weights[23] == pytest.approx(0, abs=1e-12)
    constant = smooth(np.stack([NOISY, np.full(len(NOISY), 7.0)], 1), settings=SETTINGS)
    assert constant.values[:, 1].tolist() == [7.0] * len(NOISY)


def test_regular_times_change_nothing_and_irregular_ones_do():
    days = pd.date_range("2024-01-01", periods=len(NOISY))
    plain = smooth(NOISY, settings=SETTINGS).values
    assert (smooth(NOISY, days, settings=SETTINGS).values == plain).all()
    assert (smooth(pd.Series(NOISY, days), settings=SETTINGS).values == plain).all()
    kept = np.delete(np.arange(len(NOISY)), range(20, 26))
    gap = smooth(NOISY[kept], kept, settings=SETTINGS)
    assert gap.samples.steps is not None
    assert (
        gap.weights_of(20).weights[19] < smooth(NOISY[kept], settings=SETTINGS).weights_of(20).weights[19]
    )  # seven steps before it
    uneven = np.sort(np.random.default_rng(2).uniform(0, len(NOISY), len(NOISY)))
    truth = STEPS[uneven.astype(int)]
    found = smooth(truth + np.random.default_rng(3).standard_normal(len(truth)), uneven)
    assert ((found.values - truth) ** 2).mean() < 0.12


def test_windows_between_values_are_interpolated():
    values = torch.tensor([0.0, 1, 2, 4])[None, :, None].double()
    steps = torch.tensor([[0.0, 1, 2, 4]]).double()
    assert windows(values, 3, steps=steps)[0].tolist() == [[1, 0, 1], [0, 1, 2], [1, 2, 3], [3, 4, 3]]
    assert windows(values, 3, True, steps)[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [2, 3, 4]]
    assert windows(values[:, :1], 3)[0].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_short_series(count):
    found = smooth(NOISY[:count])
    assert found.values.shape == (count,)
    assert np.isfinite(found.values).all()
    assert all(one.length <= max(count // 4, 1) for one in candidates(count, count))


def test_what_stays_as_it_is():
    assert smooth(np.full(50, 3.0)).values.tolist() == [3.0] * 50
    assert smooth([1.0, np.nan, 3.0]).values.tolist() == [1.0, 2.0, 3.0]
    clean = smooth(STEPS)
    assert (clean.values.tolist(), clean.noise.tolist(), clean.candidates) == (STEPS.tolist(), [0.0], ())


def test_what_is_set_is_taken():
    found = smooth(NOISY, strength=0.5, length=7, window=20, decay=None, stages=1)
    assert (found.settings, found.candidates) == (SmoothSettings(0.5, 7, 20, None, 1, 1), ())
    assert {one.settings.window for one in smooth(NOISY, window=20).candidates} == {20}


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 2, 2)), {}, "`values` must be [N] or [N, C], one at least: got shape [2, 2, 2]."),
        ([], {}, "`values` must be [N] or [N, C], one at least: got shape [0]."),
        (["a"], {}, "`values` must be numbers: got something else; `heedful smooth` reads tables."),
        ([1.0, np.inf], {}, "`values` must be finite or NaN: got infinity in row 1."),
        ([np.nan, np.nan], {}, "`values` must hold a number: got 2 missing ones."),
        ([[1.0, np.nan], [np.nan, np.nan], [1.0, np.nan]], {}, "`values` must hold a number: got 3 missing ones."),
        ([1.0, 2.0], {"times": [1, 2, 3]}, "`times` must be 2 dates or numbers, one for each value: got shape [3]."),
        ([1.0, 2.0, 3.0], {"times": [1, 3, 2]}, "`times` must rise: got 2 in row 2, after 3."),
        ([1.0, 2.0], {"stages": 3}, "`stages` must be 1 or 2: got 3."),
        ([1.0, 2.0], {"strength": 0}, "`strength` must be positive: got 0."),
        ([1.0, 2.0], {"length": 4}, "`length` must be an odd number of values: got 4."),
        ([1.0, 2.0], {"window": 0}, "`window` must be a number of values from 1, or None: got 0."),
        ([1.0, 2.0], {"noise": -1.0}, "`noise` must be 0 or more: got -1.0."),
        ([1.0, 2.0], {"noise": [1.0, 2.0]}, "`noise` must be a number, or one for each of 1 channels: got [1.0, 2.0]."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(values, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        smooth(values, **options)


def test_rows_that_are_not_there():
    with pytest.raises(IndexError, match="`row` must be from -188 to 187: got 188."):
        smooth(NOISY, settings=SETTINGS).weights_of(188)
    assert heedful.smooth is smooth


def test_a_pass_sees_its_window_only():
    samples = SeriesBatch(torch.from_numpy(NOISY)[None, :, None])
    before = run(samples, [Pass(3, 1.0, 10)]).values
    samples.values[0, 120:] += 30
    after = run(SeriesBatch(samples.values), [Pass(3, 1.0, 10)]).values
    assert torch.equal((before - after).abs()[0, :108, 0] < 1e-5, torch.ones(108, dtype=torch.bool))


def test_of_a_long_series_no_row_sees_all():
    assert any(one.window is None for one in candidates(4000, 4000))
    assert max(one.window or 10**9 for one in candidates(10**6, 1000)) == 255
    values = np.tile(STEPS, 130) + np.random.default_rng(1).standard_normal(
        130 * len(STEPS)
    )  # beyond 10,000: stretches are compared
    found = smooth(values, stages=1, decay=None, length=5)
    assert found.settings.window in {one.settings.window for one in found.candidates} <= {31, 63, 127, 255}
    assert ((found.values - np.tile(STEPS, 130)) ** 2).mean() < 0.25
