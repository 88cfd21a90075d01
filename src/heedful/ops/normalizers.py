"""What makes weights of scores: each row becomes weights over the keys that it may see."""

import math

from heedful._types import Bool, Float, Tensor


def softmax(scores: Float[Tensor, "... N M"], allowed: Bool[Tensor, "..."] | None = None) -> Float[Tensor, "... N M"]:
    """The softmax of each row over its visible keys, `p_ij = exp(s_ij) / sum_l exp(s_il)`; an empty row is 0.

    Args:
        scores: one number a pair; -inf hides a pair as `allowed` does.
        allowed: True where query i may see key j; broadcasts to `scores`. None: everything is visible.

    Example:
        >>> softmax(torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]]), torch.tensor([[True, True, False], [False, False, False]]))
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 0.0000]])

    Differs from `torch.softmax` on rows without a visible key, which are NaN there.
    """
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0)
