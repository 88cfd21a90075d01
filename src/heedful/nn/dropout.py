"""Dropout whose random numbers cost little on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Float, Tensor
from heedful.ops._readable import at_hand, transformed

_STEPS = 2**16  # a number is kept or not by 16 random bits


def dropout(x: Float[Tensor, "..."], share: float) -> Float[Tensor, "..."]:
    """Sets each number to 0 with probability `share`, and divides the others by the probability that they are kept.

    PyTorch draws a float for each number, which takes as long as a layer norm and more; here one draw of PyTorch's generator serves
    four numbers. `share` is rounded to a multiple of 2^-16. On other devices and under transforms it is PyTorch's own.

    Args:
        x: any numbers.
        share: from 0, and less than 1.

    Example:
        >>> dropout(torch.ones(10_000), 0.25).unique()
        tensor([0.0000, 1.3333])

    Source: Srivastava et al. 2014.
    """
    share = check_fraction("share", share)
    dropped = min(round(share * _STEPS), _STEPS - 1)
    if not dropped:
        return x
    if not at_hand(x) or transformed():
        return F.dropout(x, share)
    count = x.numel()
    draws = torch.empty(math.ceil(count / 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[:count].view(x.shape) >= dropped - _STEPS // 2
    # x * kept * factor in one pass, with derivatives of any order
    return torch.ops.aten.native_dropout_backward(x, kept, _STEPS / (_STEPS - dropped))  # type: ignore[no-any-return]


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation.

    Args:
        share: of the numbers that are set to 0; from 0, and less than 1.

    Raises:
        ValueError: `share` is no fraction.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = check_fraction("share", share)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The same shape."""
        return dropout(x, self.share) if self.training else x

    def extra_repr(self) -> str:
        """The share."""
        return str(self.share)
