"""Ridge regression over windows, beside scikit-learn's over windows that are stored."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from heedful.models.ridge import centered, fit_effects, fit_ridge, solve_ridge, window_gram

LENGTH, HORIZON = 7, 5


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    return np.cumsum(random.normal(size=(97, 3)), axis=0) + 100


def stored(values, starts):
    """Every window of every channel as a row, in float64."""
    rows = [values[start : start + LENGTH + HORIZON, channel] for start in starts for channel in range(values.shape[1])]
    windows = np.array(rows)
    return windows - windows[:, :LENGTH].mean(1, keepdims=True)


@pytest.mark.parametrize("starts", [np.arange(86), np.array([0, 1, 2, 11, 40, 41, 85])], ids=["all", "some"])
def test_it_is_the_gram_matrix_of_windows_that_are_stored(values, starts):
    windows = stored(values, starts)
    gram = centered(window_gram(values, starts, LENGTH + HORIZON), LENGTH)
    np.testing.assert_allclose(gram, windows.T @ windows, rtol=1e-7, atol=1e-6)


def test_the_weights_are_those_of_scikit_learn(values):
    windows = stored(values, range(86))
    past, future = windows[:, :LENGTH], windows[:, LENGTH:]
    strength = 0.3
    twin = Ridge(alpha=strength * np.square(past).sum(0).mean(), fit_intercept=False, solver="cholesky").fit(
        past, future
    )
    gram = centered(window_gram(values, np.arange(86), LENGTH + HORIZON), LENGTH)
    np.testing.assert_allclose(solve_ridge(gram, LENGTH, strength), twin.coef_.T, rtol=1e-6, atol=1e-9)
    ridge = fit_ridge(values, np.arange(86), LENGTH, HORIZON, [strength])
    mean = values[50 : 50 + LENGTH].mean(0)
    expected = twin.predict((values[50 : 50 + LENGTH] - mean).T).T + mean
    np.testing.assert_allclose(ridge(values[50 : 50 + LENGTH]), expected, rtol=1e-9)


def test_the_penalty_is_that_which_is_best_on_later_windows():
    """Of noise that repeats nothing, a strong one; of a season without noise, a weak one."""
    random = np.random.default_rng(1)
    starts, strengths = np.arange(300), [1e-4, 1e-2, 1.0, 100.0]
    assert fit_ridge(random.normal(size=(400, 1)), starts, 24, 6, strengths).strength == 100.0
    season = np.sin(np.arange(400) * 2 * np.pi / 12)[:, None]
    assert fit_ridge(season, starts, 24, 6, strengths).strength == 1e-4


def test_what_known_columns_add_is_found_beside_a_trend():
    random = np.random.default_rng(2)
    known = random.normal(size=(500, 2))
    effects = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 3.0]])
    values = known @ effects + 0.05 * np.arange(500)[:, None] + random.normal(0, 0.01, (500, 3))
    np.testing.assert_allclose(fit_effects(values, known, 40), effects, atol=0.01)
