"""N-gram language models, the baselines of neural ones: counts of tokens and their neighbors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

_BEYOND = -1  # a neighbor beyond the text's end


class _Level(NamedTuple):
    """Counts of the tokens next to the nearest k neighbors.

    Attributes:
        contexts: the known contexts, each as (the context of one neighbor less, the neighbor), in rising order.
        pairs: the known pairs of context and token, in rising order.
        counts: of the pairs, each less its discount.
        total: of each context, the sum of its counts.
        left: of each context, the sum of its discounts, which goes to the level below.
    """

    contexts: Ints
    pairs: Ints
    counts: Floats
    total: Floats
    left: Floats


class NeighborCounts:
    """The probability of a token given its neighbors: interpolated Kneser-Ney smoothing with three discounts.

    Contexts are of no neighbor, of the nearest, of the two nearest, and so on. Below the longest contexts, what counts is not
    how often a token stood there, but with how many different next neighbors.

    Args:
        tokens: `[N]`, to learn from.
        neighbors: `[N, K]`, the neighbors of each, the nearest first, as `before` and `around` give them.
        vocabulary: how many tokens there are.

    Example:
        >>> tokens = np.array([0, 1, 0, 1, 0, 1, 2, 0])
        >>> counts = NeighborCounts(tokens, before(tokens, 2), 3)
        >>> nats = counts.nats(np.array([0, 1, 2]), np.full((3, 2), [1, 0]))  # after 0, then 1: is it 0, 1 or 2?
        >>> np.exp(-nats).round(2), np.exp(-nats).sum().round(6)
        (array([0.68, 0.03, 0.28]), np.float64(1.0))

    Source: Chen and Goodman 1999, section 3.
    """

    def __init__(self, tokens: Ints, neighbors: Ints, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        context = np.zeros(len(tokens), np.int64)
        found = []  # of each level: contexts, their number, pairs, the pair of each position
        for k in range(neighbors.shape[1] + 1):
            contexts = np.zeros(1, np.int64)
            if k:
                contexts, context = np.unique(self._extended(context, neighbors[:, k - 1]), return_inverse=True)
            pairs, first, pair, counts = np.unique(
                context * vocabulary + tokens, return_index=True, return_inverse=True, return_counts=True
            )
            found.append((contexts, pairs, first, pair, counts))
        self.levels: list[_Level] = []
        for k, (contexts, pairs, _, pair, counts) in enumerate(found):
            if k + 1 < len(found):
                longer = found[k + 1][2]  # one position for each different pair of the next level
                counts = np.bincount(pair[longer], minlength=len(pairs))
            discount = _discounts(counts)[np.minimum(counts, 3)]
            of, size = pairs // vocabulary, len(contexts)
            left: Floats = np.bincount(of, discount, size).astype(np.float64)
            total: Floats = np.bincount(of, counts.astype(float), size).astype(np.float64)
            self.levels.append(_Level(contexts, pairs, counts - discount, total, left))

    def nats(self, tokens: Ints, neighbors: Ints) -> Floats:
        """The surprisal of each token given its neighbors, `-log p`."""
        context = np.zeros(len(tokens), np.int64)
        chance = np.full(len(tokens), 1 / self.vocabulary)
        for k, level in enumerate(self.levels):
            if k:
                context = np.where(
                    context < 0, -1, _place(level.contexts, self._extended(context, neighbors[:, k - 1]))
                )
            pair = _place(level.pairs, context * self.vocabulary + tokens)
            seen = np.where(pair < 0, 0, level.counts[pair])
            mixed = (seen + level.left[context] * chance) / level.total[context]
            chance = np.where(context < 0, chance, mixed)
        nats: Floats = -np.log(chance)
        return nats

    def _extended(self, context: Ints, neighbor: Ints) -> Ints:
        """A number for each pair of a context and one more neighbor."""
        return context * (self.vocabulary + 1) + np.where(neighbor == _BEYOND, self.vocabulary, neighbor)


def before(tokens: Ints, count: int) -> Ints:
    """The `count` tokens before each, the nearest first: `[N, count]`.

    Example:
        >>> before(np.array([5, 6, 7]), 2)
        array([[-1, -1],
               [ 5, -1],
               [ 6,  5]])
    """
    return np.stack([_shifted(tokens, -distance) for distance in range(1, count + 1)], axis=1)


def around(tokens: Ints, count: int, *, left_first: bool = True) -> Ints:
    """The `count` tokens on each side, the nearest first and by turns: `[N, 2 * count]`.

    Example:
        >>> around(np.array([5, 6, 7]), 1)
        array([[-1,  6],
               [ 5,  7],
               [ 6, -1]])
    """
    signs = (-1, 1) if left_first else (1, -1)
    return np.stack([_shifted(tokens, s * distance) for distance in range(1, count + 1) for s in signs], axis=1)


def nats_before(training: Ints, held_out: Ints, vocabulary: int, count: int) -> Floats:
    """The nats of each token of a text by the `count` tokens before it, learned from another text."""
    learned = (
        NeighborCounts(training, before(training, count), vocabulary) if count else _frequencies(training, vocabulary)
    )
    neighbors = before(held_out, count) if count else _none(held_out)
    return learned.nats(held_out, neighbors)


def nats_around(training: Ints, held_out: Ints, masked: Ints, vocabulary: int, count: int, mask: int) -> Floats:
    """The nats of each masked token of a text by the `count` tokens on each side, learned from another text.

    Args:
        training: what is learned from.
        held_out: the text.
        masked: the positions that are masked, also for each other.
        vocabulary: how many tokens there are.
        count: on each side; 0: the frequencies of the tokens alone.
        mask: the token that stands there.
    """
    truth = held_out[masked]
    if not count:
        return _frequencies(training, vocabulary).nats(truth, _none(truth))
    visible = held_out.copy()
    visible[masked] = mask
    nats: Floats = np.zeros(len(masked))
    from_right = around(visible, 1)[masked, 0] == mask  # whose left neighbor is masked begins on the right
    for left_first, chosen in ((True, ~from_right), (False, from_right)):
        learned = NeighborCounts(training, around(training, count, left_first=left_first), vocabulary)
        neighbors = around(visible, count, left_first=left_first)[masked[chosen]]
        nats[chosen] = learned.nats(truth[chosen], neighbors)
    return nats


def _frequencies(tokens: Ints, vocabulary: int) -> NeighborCounts:
    return NeighborCounts(tokens, _none(tokens), vocabulary)


def _none(tokens: Ints) -> Ints:
    return np.empty((len(tokens), 0), np.int64)


def _discounts(counts: Ints) -> Floats:
    """The discounts of counts of 0, 1, 2, and 3 or more."""
    n = np.bincount(np.minimum(counts, 4), minlength=5).astype(float)  # how many there are of each
    if not n[1:].all():
        return np.array([0.0, 0.5, 0.5, 0.5])  # too few counts to estimate them
    y = n[1] / (n[1] + 2 * n[2])
    wanted = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
    return np.array([0.0, *np.clip(wanted, 0.05, [0.95, 1.95, 2.95])])


def _shifted(tokens: Ints, by: int) -> Ints:
    """Of each position the token at this offset to the right, or to the left where negative."""
    out = np.full(len(tokens), _BEYOND, np.int64)
    if abs(by) < len(tokens):
        out[max(-by, 0) : len(tokens) - max(by, 0)] = tokens[max(by, 0) : len(tokens) + min(by, 0)]
    return out


def _place(known: Ints, wanted: Ints) -> Ints:
    """The index of each of the wanted numbers among sorted ones; -1: absent."""
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)
