"""PyTorch's FlexAttention."""

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops.mechanism import Mechanism


def check(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape) -> None:
    raise ValueError("`engine` 'flex' cannot compute this.")


def attention(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape) -> Tensor:
    raise NotImplementedError
