"""How near generated pictures come to real ones, by the features of a classifier: never FID, whose features are another network's."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from heedful.data.stored_images import Images

Features = NDArray[np.float64]
_BLOCK = 512  # pictures that are compared together
COLLAPSED = 0.3  # of the diversity of the pictures


def feature_distance(real: Features, fake: Features) -> float:
    """The Frechet distance of two Gaussians with the means and covariances of features `[n, F]` and `[m, F]`.

        |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

    It depends on the number of pictures, so that only numbers of equally many can be compared.

    Source: Heusel et al. 2017, equation 6; Chong & Forsyth 2020, on the numbers.

    Example:
        >>> round(feature_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 6)
        9.0
    """
    first, second = _covariance(real), _covariance(fake)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    apart = np.square(real.mean(0) - fake.mean(0)).sum()
    return max(float(apart + np.trace(first) + np.trace(second) - 2 * shared), 0.0)


def kernel_distance(real: Features, fake: Features) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel `(x y / F + 1)^3`: KID on these features.

    Its expectation does not depend on the number of pictures, and it may be negative.

    Source: Binkowski et al. 2018, section 3.
    """

    def kernel(one: Features, other: Features) -> Features:
        cubed: Features = (one @ other.T / one.shape[1] + 1) ** 3
        return cubed

    def within(one: Features) -> float:
        count, values = len(one), kernel(one, one)
        return float((values.sum() - np.trace(values)) / max(count * (count - 1), 1))

    return within(real) + within(fake) - 2 * float(kernel(real, fake).mean())


def diversity(real: Features, fake: Features, classes: NDArray[np.int64]) -> float:
    """How much generated pictures differ from others of their class: their spread over that of real ones, 1 for as much."""
    spreads = [0.0, 0.0]
    for number in np.unique(classes):
        for place, one in enumerate((real[classes == number], fake[classes == number])):
            spreads[place] += float(np.square(one - one.mean(0)).sum())
    return float(np.sqrt(spreads[1] / spreads[0])) if spreads[0] else 1.0


def nearest_distances(pictures: Images, others: Images) -> NDArray[np.float64]:
    """Of each picture the root mean squared difference of pixels, from 0 to 1, to the nearest of others."""
    nearest = np.full(len(pictures), np.inf)
    for known in map(_flat, others.split(_BLOCK)):
        start = 0
        for some in map(_flat, pictures.split(_BLOCK)):
            squares = np.square(known).sum(1) - 2 * some @ known.T + np.square(some).sum(1)[:, None]
            rows = slice(start, start + len(some))
            nearest[rows] = np.minimum(nearest[rows], squares.min(1).clip(0) / some.shape[1])
            start += len(some)
    distances: NDArray[np.float64] = np.sqrt(nearest)
    return distances


def copying(fake: Images, held_out: Images, training: Images) -> Mapping[str, float]:
    """How near samples come to training pictures, beside how near pictures come that were held out.

    A sample counts as a copy if it is nearer to a training picture than 95 % of the held-out pictures are: of as good samples
    that do not copy, 5 % do.
    """
    near, usual = nearest_distances(fake, training), nearest_distances(held_out, training)
    return {
        "samples": round(float(near.mean()), 6),
        "held-out pictures": round(float(usual.mean()), 6),
        "share of copies": float((near < np.quantile(usual, 0.05)).mean()),
    }


def _flat(pictures: Tensor) -> NDArray[np.float64]:
    return pictures.flatten(1).double().div(255).numpy()


def _covariance(features: Features) -> Features:
    centered = features - features.mean(0)
    product: Features = centered.T @ centered / max(len(features) - 1, 1)
    return product
