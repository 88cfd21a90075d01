"""A rule for one pair at a time: the form in which FlexAttention takes patterns and biases."""

from collections.abc import Callable
from typing import Any

from heedful._checks import Shape
from heedful._types import Tensor

PairRule = Callable[
    [Tensor, Tensor, Tensor, Tensor], Tensor
]  # of batch, head, query and key; lambdas, which it can compile


class Unsupported(Exception):
    """There is no rule for one pair at a time."""


def no_rule(value: object) -> PairRule:
    """Raises `Unsupported` for a value without such a rule."""
    raise Unsupported(f"it cannot express {type(value).__name__}")


def per_batch(number: Tensor | int, shape: Shape) -> Callable[[Tensor], Any]:
    """A number for each entry of the first axis, or one for all."""
    if not isinstance(number, Tensor):
        return lambda b: number
    numbers = number.expand(shape[0])
    return lambda b: numbers[b]
