"""Attention that is computed in blocks: its weights, put where they belong in one matrix of all tokens."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.inspection.capture.origins import NOWHERE, Node, Root, numbers_of, roots_of
from heedful.inspection.capture.recorder import Refused

LARGEST = 2**31  # bytes of a matrix that is kept
_BLOCKS = "computed by hand, in blocks:"
_FAR = 1e-3  # how far a row may add up to something else than 1


class _Tokens(NamedTuple):
    """Which token, of the tensor that a linear layer was given, and which of its features."""

    source: Root
    token: Int[Tensor, "n"]
    feature: Int[Tensor, "n"]


class _BlockPairs(NamedTuple):
    """Weights, each of a query and a key; `element` tells their scores apart."""

    element: Int[Tensor, "n"]
    weights: Float[Tensor, "n"]
    query: _Tokens
    key: _Tokens


def may_be_block(weights: Float[Tensor, "... N M"], node: Node | None) -> bool:
    """Whether a matrix has fewer rows than there are tokens that have queries."""
    if node is None or len(node.root.parents) != 2:
        return False
    query = node.root.parents[0].root
    return bool(query.features and query.parents) and weights.shape[-2] < torch.Size(query.shape[1:-1]).numel()


def assembled(blocks: Sequence[tuple[Tensor, Node]]) -> Float[Tensor, "B H N M"]:
    """The matrix of all tokens, of weights as they entered products, and where their scores come from.

    Raises:
        Refused: a weight belongs to no pair of tokens, or rows do not add up to 1.
    """
    known: dict[int, Tensor] = {}
    pairs = [pair for weights, node in blocks for pair in _pairs(weights, node, known)]
    if not pairs:
        raise Refused(f"{_BLOCKS} its scores are no products that can be followed")
    element, weights, query, feature = (
        torch.cat(one)
        for one in zip(*((p.element, p.weights, p.query.token, p.query.feature) for p in pairs), strict=True)
    )
    if len({pair.query.source.base for pair in pairs}) > 1:
        raise Refused(f"{_BLOCKS} queries come from several tensors")
    names, head = feature.unique(return_inverse=True)
    heads = len(names)
    for batch_first in (True, False):
        samples, rows, batch, n = _positions(query, pairs[0].query.source, batch_first)
        columns, other, m = _columns(pairs, batch_first)
        if bool((batch == other).all()):
            break
    else:
        raise Refused(f"{_BLOCKS} queries and keys are not of one sample")
    if samples * heads * rows * columns * 4 > LARGEST:
        raise Refused(f"{_BLOCKS} the matrix [{samples}, {heads}, {rows}, {columns}] is larger than {LARGEST:,} bytes")
    matrix = weights.new_zeros(samples, heads, rows, columns)
    cell = ((batch * heads + head) * rows + n) * columns + m
    _, once = torch.unique(element, return_inverse=True)  # a weight may enter several products
    first = torch.full((int(once.max()) + 1,), len(once)).scatter_reduce_(0, once, torch.arange(len(once)), "amin")
    matrix.view(-1).scatter_add_(0, cell[first], weights[first])
    total = matrix.sum(-1)
    if bool(((total - 1).abs() > _FAR)[total != 0].any()):
        raise Refused(f"{_BLOCKS} the rows that were put together do not add up to 1")
    return matrix


def _pairs(weights: Tensor, node: Node, known: dict[int, Tensor]) -> Iterator[_BlockPairs]:
    """The weights, with the tokens of their queries and keys, for each product of queries and keys."""
    numbers = numbers_of(node, known)
    weights = weights.cpu()
    weights = weights if weights.dtype == torch.float64 else weights.float()
    nowhere = (numbers == NOWHERE).any(-1, keepdim=True)  # as the uniform row of a query whose keys are all hidden
    hidden = nowhere & (weights.amax(-1, keepdim=True) - weights.amin(-1, keepdim=True) < 1e-6)
    weights, numbers = weights.masked_fill(hidden, 0.0).reshape(-1), numbers.reshape(-1)
    left = weights != 0
    for root in roots_of(node):
        here = left & (numbers >= root.base) & (numbers < root.base + torch.Size(root.shape).numel())
        factors = _factors(root, known) if len(root.parents) == 2 and bool(here.any()) else None
        if factors is None:
            continue
        index = numbers[here] - root.base
        query, key = (
            _tokens(factor.reshape(-1)[index], parent, known)
            for factor, parent in zip(factors, root.parents, strict=True)
        )
        if query is not None and key is not None:
            left = left & ~here
            yield _BlockPairs(numbers[here], weights[here], query, key)
    if bool(left.any()):
        raise Refused(f"{_BLOCKS} some weights belong to no pair of tokens")


def _factors(root: Root, known: dict[int, Tensor]) -> tuple[Tensor, Tensor] | None:
    """The numbers of the elements of queries and keys that each score is a product of, the first of each."""
    first, second = (numbers_of(one, known) for one in root.parents)
    shape = root.shape
    if not root.equation:
        return first[..., :1].expand(shape), second[..., :1, :].expand(shape)
    inputs, _, result = root.equation.replace(" ", "").partition("->")
    left, _, right = inputs.partition(",")
    if not result or not right or "," in right:
        return None
    numbers = _spread(first, left, right, result, shape), _spread(second, right, left, result, shape)
    return numbers if result[-1] in right else numbers[::-1]


def _spread(numbers: Tensor, own: str, other: str, result: str, shape: tuple[int, ...]) -> Tensor:
    """The numbers of one operand of einsum along its result, at the first of what it sums over."""
    axes, spread = own.replace("...", ""), result.replace("...", "")
    for axis in axes:
        if axis not in spread:
            numbers = numbers.select(numbers.dim() - len(axes) + axes.index(axis), 0)
            axes = axes.replace(axis, "")
    more = "".join(axis for axis in other.replace("...", "") if axis in spread)
    ones = torch.ones([shape[spread.index(axis) - len(spread)] for axis in more], dtype=torch.float64)
    dots = "..." if "..." in own else ""
    product: Tensor = torch.einsum(f"{dots}{axes},{more}->{result}", numbers.double(), ones)
    return product.long().expand(shape)


def _tokens(numbers: Int[Tensor, "n"], node: Node, known: dict[int, Tensor]) -> _Tokens | None:
    """The tokens and features of elements of the output of a linear layer."""
    roots = [root for root in roots_of(node) if len(root.parents) == 1]
    if len(roots) != 1 or bool((numbers == NOWHERE).any()):
        return None
    [root] = roots
    index, feature = (numbers - root.base) // root.shape[-1], (numbers - root.base) % root.shape[-1]
    parent = root.parents[0]
    while True:
        sources = roots_of(parent)
        if len(sources) != 1:
            return None
        [source] = sources
        element = numbers_of(parent, known)[..., 0].reshape(-1)[index]
        if bool((element == NOWHERE).any()):
            return None
        index = (element - source.base) // source.shape[-1]
        if len(source.parents) != 1:
            return _Tokens(source, index, feature)
        parent = source.parents[0]


def _columns(pairs: Sequence[_BlockPairs], batch_first: bool) -> tuple[int, Tensor, Tensor]:
    """How many keys there are, and the sample and column of each weight; those of several tensors stand side by side."""
    starts: dict[int, int] = {}
    columns = 0
    for source in sorted({pair.key.source for pair in pairs}, key=lambda root: root.base):
        starts[source.base] = columns
        columns += _positions(torch.tensor([0]), source, batch_first)[1]
    samples, places = [], []
    for pair in pairs:
        _, _, sample, place = _positions(pair.key.token, pair.key.source, batch_first)
        samples.append(sample)
        places.append(place + starts[pair.key.source.base])
    return columns, torch.cat(samples), torch.cat(places)


def _positions(index: Tensor, root: Root, batch_first: bool) -> tuple[int, int, Tensor, Tensor]:
    """How many samples and positions there are, and those of tokens."""
    *lead, _ = root.shape
    if len(lead) == 1:
        return 1, lead[0], torch.zeros_like(index), index
    if batch_first:
        length = torch.Size(lead[1:]).numel()
        return lead[0], length, index // length, index % length
    samples = torch.Size(lead[1:]).numel()
    return samples, lead[0], index % samples, index // samples
