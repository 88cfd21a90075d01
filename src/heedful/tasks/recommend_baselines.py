"""What comes next, without a network: popularity, what followed the last items, what occurs near them, EASE.

What stands further apart counts less, and so do older items of a history. Each gives a function from histories to scores of
all items. Equal scores are told apart by popularity.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful._errors import needing

Score = Callable[[Sequence[NDArray[np.int64]]], Tensor]  # from histories, as numbers of items, to [users, items]

MOST_ITEMS_OF_EASE = 3000  # whose matrix of all pairs is inverted
_DECAY = 0.8  # for each position
_REACH = 10  # positions between two items that are counted
_RIDGE = 100.0  # of EASE
_TIE = 1e-6


def baseline_scores(histories: Sequence[NDArray[np.int64]], count: int) -> dict[str, Score]:
    """The scores of simple methods, fitted on the histories of the training.

    Args:
        histories: numbers of items, in their order.
        count: how many items there are.
    """
    with needing("tasks", "the baselines"):
        from scipy import sparse

    whole = np.concatenate([*histories, []]).astype(np.int64)  # one user after the other
    users = np.repeat(np.arange(len(histories)), [len(one) for one in histories])
    popularity = np.bincount(whole, minlength=count).astype(np.float32)
    popularity_share = torch.from_numpy(popularity / max(float(popularity.max(initial=0)), 1.0))

    def follows(step: int) -> Any:
        """How often each item stands so many positions behind each other one."""
        same = users[step:] == users[:-step]
        before, after = whole[:-step][same], whole[step:][same]
        return sparse.csr_matrix((np.ones(len(before), np.float32), (before, after)), shape=(count, count))

    near = follows(1)
    for step in range(2, _REACH + 1):
        near = near + _DECAY ** (step - 1) * follows(step)

    def product(weights: Any, decay: float, tie: float) -> Score:
        return lambda seen: _product(seen, weights, decay).add_(popularity_share, alpha=tie)

    found: dict[str, Score] = {
        "popularity": lambda seen: torch.from_numpy(popularity).repeat(len(seen), 1),
        "Markov of the last item": product(follows(1), 0.0, 0.5),
        "Markov of recent items": product(near, _DECAY, _TIE),
        "item-item co-occurrence": product((near + near.T).tocsr(), _DECAY, _TIE),
    }
    if count <= MOST_ITEMS_OF_EASE:
        weights = _ease(
            sparse.csr_matrix((np.ones(len(whole), np.float32), (users, whole)), shape=(len(histories), count))
        )
        found["EASE"] = product(weights, 1.0, _TIE)
    return found


def _product(seen: Sequence[NDArray[np.int64]], weights: Any, decay: float) -> Tensor:
    """The sum of the rows of the items of each history, of which earlier ones count less."""
    from scipy import sparse

    lengths = np.array([len(one) for one in seen])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ages = np.repeat(offsets[1:], lengths) - 1 - np.arange(offsets[-1])
    data = np.power(np.float32(decay), ages.astype(np.float32))
    items = np.concatenate([*seen, []]).astype(np.int64)
    rows = sparse.csr_matrix((data, items, offsets), shape=(len(seen), weights.shape[0]))
    product = rows @ weights
    dense = product.toarray() if sparse.issparse(product) else np.asarray(product)
    return torch.from_numpy(dense.astype(np.float32, copy=False))


def _ease(seen: Any) -> NDArray[np.float32]:
    """Weights between items by which a row is best made of itself, none of them on the diagonal.

    Source: Steck 2019, equation 8.
    """
    seen.data[:] = 1
    gram = (seen.T @ seen).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += _RIDGE
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    found: NDArray[np.float32] = weights.astype(np.float32)
    return found
