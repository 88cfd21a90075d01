"""Whether two recordings are of one speaker: a score, a threshold, and how often that is wrong."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST = 2000  # examples of which all pairs are compared


class EqualError(NamedTuple):
    """Where as many pairs of one speaker are taken for two as pairs of two for one.

    Attributes:
        rate: the share of either.
        threshold: the score from which on two recordings are taken for one speaker's.
    """

    rate: float
    threshold: float


def equal_error(same: ArrayLike, different: ArrayLike) -> EqualError:
    """The equal error rate of scores: of pairs of one speaker, and of pairs of two.

    `misses(t)` is the share of `same` below t, `false alarms(t)` that of `different` from t on. The first rises with t, the second
    falls; the threshold stands where they are nearest to each other, halfway between two scores, and the rate is their mean there.

    Args:
        same: scores, at least one.
        different: likewise.

    Example:
        >>> equal_error([0.9, 0.8, 0.3], [0.5, 0.1, 0.0])
        EqualError(rate=0.3333333333333333, threshold=0.4)
        >>> equal_error([0.9, 0.8], [0.5, 0.1])
        EqualError(rate=0.0, threshold=0.65)
    """
    ours, theirs = (np.sort(np.asarray(scores, np.float64)) for scores in (same, different))
    levels = np.unique(np.concatenate([ours, theirs]))
    thresholds = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2, levels[-1:] + 1e-6])
    misses = np.searchsorted(ours, thresholds, "left") / len(ours)
    alarms = (len(theirs) - np.searchsorted(theirs, thresholds, "left")) / len(theirs)
    best = int(np.abs(misses - alarms).argmin())
    return EqualError(float((misses[best] + alarms[best]) / 2), float(thresholds[best]))


def pair_scores(
    embeddings: NDArray[np.floating], labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of all pairs of embeddings `[n, E]` of length 1: those of one label, and those of two.

    Of more than 2,000 examples, that many at equal distances are compared.
    """
    step = -(-len(labels) // _MOST)
    chosen, names = np.asarray(embeddings, np.float64)[::step], np.asarray(labels)[::step]
    first, second = np.triu_indices(len(names), 1)
    scores, alike = (chosen @ chosen.T)[first, second], names[first] == names[second]
    return scores[alike], scores[~alike]
