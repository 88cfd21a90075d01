"""When the tokens of a decoder were said: a path through the heads of cross-attention that follow the sound.

The heads are made comparable, smoothed along the sound, and averaged. Dynamic time warping then finds the path from the
first token and the first key to the last ones on which the tokens get the most, each token after the one before.
Source: the word timestamps of Whisper (Radford et al. 2023; `whisper/timing.py` of its repository).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from heedful._types import Float, Tensor


class TokenTimes(NamedTuple):
    """When each query attended to the sound.

    Attributes:
        start: of each query `[N]`, in seconds, or in keys where it is not known how long a key lasts.
        end: where the next one begins; of the last one, where its last key ends.
        heads: the heads that were followed, each a module and a number.
    """

    start: Float[Tensor, " N"]
    end: Float[Tensor, " N"]
    heads: tuple[tuple[str, int], ...]


def aligned(weights: Float[Tensor, "H N M"], median: int = 7) -> Float[Tensor, " N"]:
    """The key at which each query begins, on the best path through the mean of some heads.

    Args:
        weights: of the heads that follow the keys.
        median: over how many keys each weight is smoothed by their median, an odd number; 1: over none.

    Raises:
        ValueError: there is no weight, or `median` is even or less than 1.

    Example:
        >>> aligned(torch.eye(3).repeat_interleave(2, dim=1)[None], median=1)
        tensor([0., 2., 4.])
    """
    if 0 in weights.shape:
        raise ValueError(f"`weights` must hold heads, queries and keys: got {list(weights.shape)}.")
    if median < 1 or median % 2 == 0:
        raise ValueError(f"`median` must be an odd number from 1: got {median}.")
    deviation, mean = torch.std_mean(weights.double(), dim=-2, keepdim=True, correction=0)
    alike = deviation < 1e-12  # keys that all queries give the same say nothing
    scores = ((weights - mean) / deviation.masked_fill(alike, 1)).masked_fill(alike, 0)
    side = min(median // 2, scores.shape[-1] - 1)
    scores = F.pad(scores, (side, side), mode="reflect").unfold(-1, 2 * side + 1, 1).median(-1).values
    return torch.from_numpy(_starts(-scores.mean(0).numpy())).to(weights.dtype)


def _starts(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dynamic time warping: the first column of each row on the cheapest path, which moves right, down, or both by one.

    Within a row `D_j = C_j + min_{k <= j} (before_k - C_{k-1})`, with C the sums of its costs and `before` the better of
    the two cells above, so that a row is one running minimum.
    """
    rows, columns = costs.shape
    total = np.empty_like(costs)
    total[0] = np.cumsum(costs[0])
    for i in range(1, rows):
        sums = np.cumsum(costs[i])
        above = np.minimum(total[i - 1], np.concatenate([[np.inf], total[i - 1, :-1]]))
        total[i] = sums + np.minimum.accumulate(above - (sums - costs[i]))
    starts = np.zeros(rows)
    i, j = rows - 1, columns - 1
    while i > 0:
        diagonal = total[i - 1, j - 1] if j else np.inf
        left = total[i, j - 1] if j else np.inf
        if left < min(diagonal, total[i - 1, j]):
            j -= 1
            continue
        starts[i] = j
        j -= diagonal <= total[i - 1, j]
        i -= 1
    return starts


def token_times(
    weights: Float[Tensor, "H N M"], heads: Sequence[tuple[str, int]], unit: float, median: int
) -> TokenTimes:
    """The times of the queries of some heads, where each key lasts so long."""
    starts = aligned(weights, median)
    last = starts.new_tensor([weights.shape[-1]])
    return TokenTimes(starts * unit, torch.cat([starts[1:], last]) * unit, tuple(heads))
