"""Whether scores are between channels: each a sum over positions, where those of positions are sums over features."""

import torch

from heedful._types import Float, Tensor
from heedful.inspection.capture.origins import NOWHERE, Node, Root, numbers_of, roots_of


def is_of_channels(weights: Float[Tensor, "... N M"], node: Node | None) -> bool:
    """Whether a matrix is between the channels of one feature map, as those of XCiT and DaViT are.

    Args:
        weights: the matrix.
        node: what is known of it: its scores are a product of what a linear layer or a convolution gave.
    """
    if node is None or len(node.root.parents) != 2 or weights.shape[-1] != weights.shape[-2]:
        return False
    key = node.root.parents[1]
    sources = [root for root in roots_of(key) if root.features]
    axis = _summed(node.root.equation)
    if len(sources) != 1 or sources[0].features % weights.shape[-1] or axis is None:
        return False
    numbers = numbers_of(key, {}).movedim(axis, -1).flatten(0, -2)[0]
    if len(numbers) < 2 or bool((numbers[:2] == NOWHERE).any()):
        return False
    one, other = (_feature(sources[0], int(number)) for number in numbers[:2])
    return one == other


def _summed(equation: str) -> int | None:
    """The axis of the keys, counted from the last one, that a product sums over."""
    if not equation:
        return -2
    inputs, _, result = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    summed = [place for place, axis in enumerate(second) if axis in first and axis not in result and axis.isalpha()]
    return summed[0] - len(second) if len(summed) == 1 else None


def _feature(root: Root, number: int) -> int:
    """Which feature an element of the output of a linear layer, or of a convolution `[B, F, ...]`, is."""
    behind = 1 if root.parents else torch.Size(root.shape[2:]).numel()
    return (number - root.base) // behind % root.features
