import math
from collections import Counter

import numpy as np
import pytest

from heedful.tasks.ngrams import NeighborCounts, around, before, nats_around, nats_before

VOCABULARY = 5


def text(count=400, seed=0):
    """Tokens that follow on each other more often than by chance."""
    random = np.random.default_rng(seed)
    tokens = [0]
    while len(tokens) < count:
        tokens.append((tokens[-1] + 1) % VOCABULARY if random.random() < 0.6 else int(random.integers(VOCABULARY)))
    return np.array(tokens)


def discounts(counts):
    n = Counter(min(count, 4) for count in counts)
    if not all(n[j] for j in (1, 2, 3, 4)):
        return [0.0, 0.5, 0.5, 0.5]
    y = n[1] / (n[1] + 2 * n[2])
    return [0.0] + [min(max(j - (j + 1) * y * n[j + 1] / n[j], 0.05), j - 0.05) for j in (1, 2, 3)]


def naive_probability(tokens, neighbors, token, context):
    """Interpolated Kneser-Ney smoothing, by its definition, for one token."""
    size = len(context)
    every = [(tuple(row), token) for row, token in zip(neighbors.tolist(), tokens.tolist(), strict=True)]
    chance = 1 / VOCABULARY
    for k in range(size + 1):
        if k == size:
            counts = Counter((row[:k], token) for row, token in every)
        else:
            counts = Counter((row[:k], token) for row, token in {(row[: k + 1], token) for row, token in every})
        discount = discounts(counts.values())
        beside = {token: count for (row, token), count in counts.items() if row == context[:k]}
        if not beside:
            return chance
        left = sum(discount[min(count, 3)] for count in beside.values())
        seen = beside.get(token, 0)
        chance = (seen - discount[min(seen, 3)] + left * chance) / sum(beside.values())
    return chance


@pytest.mark.parametrize("beside", [lambda t: before(t, 3), lambda t: around(t, 1)])
def test_the_probability_is_its_definition(beside):
    tokens, other = text(), text(30, seed=1)
    learned, neighbors = NeighborCounts(tokens, beside(tokens), VOCABULARY), beside(other)
    expected = [
        -math.log(naive_probability(tokens, beside(tokens), token, tuple(row)))
        for token, row in zip(other.tolist(), neighbors.tolist(), strict=True)
    ]
    assert learned.nats(other, neighbors) == pytest.approx(expected)


def test_probabilities_add_up_to_one_whatever_stands_beside():
    tokens = text()
    learned = NeighborCounts(tokens, before(tokens, 2), VOCABULARY)
    for first in (*range(VOCABULARY), -1):
        for second in (*range(VOCABULARY), -1):
            nats = learned.nats(np.arange(VOCABULARY), np.full((VOCABULARY, 2), [first, second]))
            assert np.exp(-nats).sum() == pytest.approx(1)
            assert np.isfinite(nats).all()


def test_neighbors_are_the_nearest_first():
    tokens = np.array([5, 6, 7, 8])
    assert before(tokens, 3).tolist() == [[-1, -1, -1], [5, -1, -1], [6, 5, -1], [7, 6, 5]]
    assert around(tokens, 2).tolist() == [[-1, 6, -1, 7], [5, 7, -1, 8], [6, 8, 5, -1], [7, -1, 6, -1]]
    assert around(tokens, 1, left_first=False).tolist() == [[6, -1], [7, 5], [8, 6], [-1, 7]]
    assert before(np.array([5]), 2).tolist() == [[-1, -1]]


def test_what_stood_before_tells_more_than_frequencies():
    training, held_out = text(3000), text(500, seed=1)
    frequencies, pairs, triples = (nats_before(training, held_out, VOCABULARY, count).sum() for count in (0, 1, 2))
    assert frequencies / 500 == pytest.approx(math.log(VOCABULARY), abs=0.05)
    entropy = -(0.68 * math.log(0.68) + 4 * 0.08 * math.log(0.08))
    assert pairs / 500 == pytest.approx(entropy, abs=0.1)
    assert pairs < 0.8 * frequencies
    assert triples < 1.1 * pairs


def test_what_is_masked_is_not_seen():
    training, held_out = text(3000), text(500, seed=1)
    masked = np.arange(3, 500, 4)
    both, none = (nats_around(training, held_out, masked, VOCABULARY, count, mask=VOCABULARY - 1) for count in (1, 0))
    assert both.shape == none.shape == masked.shape
    assert both.sum() < none.sum()
    vocabulary, mask = VOCABULARY + 1, VOCABULARY
    both = nats_around(training, held_out, np.array([7, 8]), vocabulary, 1, mask)
    learned = NeighborCounts(training, around(training, 1, left_first=False), vocabulary)
    right = learned.nats(held_out[8:9], np.array([[held_out[9], mask]]))[0]
    learned = NeighborCounts(training, around(training, 1), vocabulary)
    left = learned.nats(held_out[7:8], np.array([[held_out[6], mask]]))[0]
    assert both == pytest.approx([left, right])


def test_little_text_is_enough():
    assert np.isfinite(nats_before(np.array([1]), np.array([2, 1]), VOCABULARY, 5)).all()
    assert np.isfinite(nats_around(np.array([1]), np.array([2]), np.array([0]), VOCABULARY, 3, 4)).all()
