import itertools

import numpy as np
import pytest

from heedful.tasks.verification import equal_error, pair_scores


def naive_equal_error(same, different):
    """The mean of both errors at the threshold, among all between two scores, at which they are nearest to each other."""
    levels = sorted({*same, *different})
    thresholds = [levels[0], *((a + b) / 2 for a, b in itertools.pairwise(levels)), levels[-1] + 1e-6]
    best = None
    for threshold in thresholds:
        misses = sum(score < threshold for score in same) / len(same)
        alarms = sum(score >= threshold for score in different) / len(different)
        if best is None or abs(misses - alarms) < best[0]:
            best = abs(misses - alarms), (misses + alarms) / 2, threshold
    return best[1:]


@pytest.mark.parametrize("seed", range(8))
def test_the_equal_error_rate_is_that_of_the_naive_twin(seed):
    random = np.random.default_rng(seed)
    same = random.normal(0.5, 0.3, 5 + 7 * seed).round(1 + seed % 3).tolist()
    different = random.normal(0, 0.3, 40 - 4 * seed).round(1 + seed % 3).tolist()
    assert equal_error(same, different) == pytest.approx(naive_equal_error(same, different), abs=1e-12)


def test_edges_of_the_equal_error_rate():
    assert equal_error([1.0], [0.0]) == (0.0, 0.5)
    assert equal_error([0.0], [1.0]).rate == 1.0
    assert equal_error([0.3, 0.3], [0.3, 0.3]).rate == 0.5


def test_pairs_of_one_label_and_of_two():
    vectors = np.eye(3)[[0, 0, 1, 2]]
    same, different = pair_scores(vectors, ["a", "a", "b", "b"])
    assert (same.tolist(), different.tolist()) == ([1.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    many = pair_scores(np.ones((4001, 1)), ["a"] * 4001)[0]
    assert len(many) == 1334 * 1333 // 2
