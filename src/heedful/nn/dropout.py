"""Dropout whose random numbers cost little on a CPU."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from heedful._checks import check_fraction
from heedful._types import Float, Tensor
from heedful.ops._concrete import concrete_on_cpu, transformed

_STEPS = 2**16  # a number is kept or not by 16 random bits


def dropout(x: Float[Tensor, "..."], p: float) -> Float[Tensor, "..."]:
    """Sets each number to 0 with probability `p`, and divides the others by the probability that they are kept.

    PyTorch draws a float for each number, which takes as long as a layer norm and more; here one draw of PyTorch's generator serves
    four numbers. `p` is rounded to a multiple of 2^-16. On other devices and under transforms it is PyTorch's own.

    Args:
        x: any numbers.
        p: from 0, and less than 1.

    Example:
        >>> dropout(torch.ones(10_000), 0.25).unique()
        tensor([0.0000, 1.3333])

    Source: Srivastava et al. 2014.
    """
    p = check_fraction("p", p)
    threshold = min(round(p * _STEPS), _STEPS - 1)
    if not threshold:
        return x
    if not concrete_on_cpu(x) or transformed():
        return F.dropout(x, p)
    count = x.numel()
    random_bits = torch.empty(math.ceil(count / 4), dtype=torch.int64).random_(-(2**63), None)
    keep_mask = random_bits.view(torch.int16)[:count].view(x.shape) >= threshold - _STEPS // 2
    # x * kept * factor in one pass, with derivatives of any order
    return torch.ops.aten.native_dropout_backward(x, keep_mask, _STEPS / (_STEPS - threshold))  # type: ignore[no-any-return]


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation.

    Args:
        p: the probability that a number is set to 0; from 0, and less than 1.

    Raises:
        ValueError: `p` is no fraction.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = check_fraction("p", p)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The same shape."""
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """The probability."""
        return str(self.p)
