"""Ranks and their metrics, beside a naive twin in float64 that sorts."""

import math

import numpy as np
import pytest
import torch

from heedful.tasks import ranking
from heedful.tasks.ranking import MISSED, rank, ranking_metrics, targets_of

USERS, ITEMS = 23, 37


@pytest.fixture
def given():
    random = np.random.default_rng(0)
    scores = random.integers(0, 50, (USERS, ITEMS)) / 4  # some are equal
    seen = [random.choice(ITEMS, size=random.integers(0, 9)) for _ in range(USERS)]
    wanted = random.integers(ITEMS, size=USERS)
    wanted[3] = -1  # not known
    return scores, seen, wanted


def naive(scores, seen, wanted, remove):
    """The rank of the right item of one user: behind all that are as good."""
    allowed = [item for item in range(ITEMS) if not (remove and item in seen)]
    if wanted not in allowed:
        return None
    ordered = sorted(allowed, key=lambda item: (-scores[item], item == wanted))
    return ordered.index(wanted) + 1


@pytest.mark.parametrize("remove", [True, False])
def test_ranks_are_those_of_sorting(given, remove, monkeypatch):
    monkeypatch.setattr(ranking, "_MOST_SCORES", 5 * ITEMS)  # some users at a time
    scores, seen, wanted = given
    targets = targets_of(seen, wanted, ITEMS)
    found = rank(
        lambda rows: torch.from_numpy(scores[rows.start : rows.stop].copy()), targets, ITEMS, remove_seen=remove
    )
    expected = [naive(*one, remove) for one in zip(scores, seen, wanted, strict=True)]
    assert None in expected
    assert [None if one == MISSED else one for one in found.ranks.tolist()] == expected
    for row in range(USERS):
        allowed = [item for item in range(ITEMS) if not (remove and item in seen[row])]
        best = sorted((scores[row, item] for item in allowed), reverse=True)[:20]
        assert scores[row, found.best[row]].tolist() == best
        if expected[row]:
            beaten = sum(scores[row, item] >= scores[row, wanted[row]] for item in targets.drawn[row])
            assert found.sampled[row] == 1 + beaten


def test_drawn_items_are_neither_seen_nor_right(given):
    _, seen, wanted = given
    targets = targets_of(seen, wanted, ITEMS)
    assert targets.drawn.shape == (USERS, 100)
    assert np.array_equal(targets.drawn, targets_of(seen, wanted, ITEMS).drawn)
    for own, right, drawn in zip(seen, wanted, targets.drawn, strict=True):
        assert not set(drawn) & {*own, right}
        assert len(set(drawn)) > 20


def test_metrics_are_the_naive_ones():
    random = np.random.default_rng(0)
    ranks = [int(one) for one in random.integers(1, 40, 50)] + [MISSED]
    sampled = [int(one) for one in random.integers(1, 102, 50)] + [MISSED]
    best = [random.choice(60, 20, replace=False).tolist() for _ in ranks]
    found = {name: metric.value for name, metric in ranking_metrics(ranks, sampled, best, 60).items()}
    assert next(iter(found)) == "ndcg_at_10"
    assert len(found) == 14
    for k in (5, 10, 20):
        assert found[f"ndcg_at_{k}"] == pytest.approx(
            sum(1 / math.log2(1 + r) for r in ranks if r <= k) / 51, rel=1e-12
        )
        assert found[f"hit_rate_at_{k}"] == sum(r <= k for r in ranks) / 51
        assert found[f"mrr_at_{k}"] == pytest.approx(sum(1 / r for r in ranks if r <= k) / 51, rel=1e-12)
        assert found[f"coverage_at_{k}"] == len({item for one in best for item in one[:k]}) / 60
    assert found["sampled_ndcg_at_10"] == pytest.approx(sum(1 / math.log2(1 + r) for r in sampled if r <= 10) / 51)


def test_a_method_that_tells_nothing_apart_finds_nothing(given):
    _, seen, wanted = given
    found = rank(lambda rows: torch.zeros(len(rows), ITEMS), targets_of(seen, wanted, ITEMS), ITEMS, remove_seen=True)
    assert found.ranks.min() > 20
    assert found.sampled.min() == 101
