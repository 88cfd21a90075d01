"""What is asked of the weights of a matrix, a tile at a time: each statistic says what a tile adds to it.

Weights are what the matrix holds: a hidden pair is 0. `ops/engines/reduce.py` computes any number of them in one pass.
"""

import math

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops.engines.reduce import Part, Statistic

_STRETCH = 64  # weights of a row among which one maximum is found first


def lse(shape: Shape) -> Statistic:
    """The log-sum-exp of a row: its largest score less the logarithm of its largest weight; behind it a 1 if it sees a key."""

    def of(part: Part) -> Tensor:
        weight = part.top[..., 0]
        empty = weight == 0
        found = part.largest().masked_fill(empty, 0) - weight.masked_fill(empty, 1).log()
        return torch.stack([found.masked_fill(empty, 0), (~empty).to(found.dtype)], dim=-1)

    return Statistic("row", (shape[-2], 2), of, scores=True)


def entropy(shape: Shape) -> Statistic:
    """`-sum_j p log p`, in nats."""
    return Statistic("row", (shape[-2], 1), lambda part: dot(part.weights, _log(part.weights, part.scratch())).neg())


def largest(shape: Shape) -> Statistic:
    """The largest weight of a row."""
    return Statistic("row", (shape[-2], 1), lambda part: part.top)


def effective_keys(shape: Shape) -> Statistic:
    """`(sum_j p)^2 / sum_j p^2`."""

    def of(part: Part) -> Tensor:
        squares = dot(part.weights, part.weights)
        return part.mass.square() / squares.masked_fill(squares == 0, 1)

    return Statistic("row", (shape[-2], 1), of)


def at(shape: Shape, targets: Int[Tensor, "... N K"]) -> Statistic:
    """The weights of chosen columns of each row; 0 for a target of -1."""
    every = targets.expand(*shape[:-2], *targets.shape[-2:])
    flat = every.reshape(-1, *targets.shape[-2:])

    def of(part: Part) -> Tensor:
        chosen = (every if part.heads is None else flat[part.heads]).index_select(-2, part.rows)
        first, count = part.columns[0], len(part.columns)
        if bool(part.columns[-1] - first + 1 == count):
            place = chosen - first
        else:
            place = torch.searchsorted(part.columns, chosen.contiguous()).clamp(max=count - 1)
        there = (place >= 0) & (place < count)
        place = place.clamp(0, count - 1)
        there = there & (part.columns[place] == chosen)
        return part.weights.gather(-1, place).masked_fill(~there, 0)

    return Statistic("row", (shape[-2], targets.shape[-1]), of)


def received(shape: Shape, cells: Int[Tensor, " N"] | None = None) -> Statistic:
    """The weights that a column gets, summed over the rows; `cells` are those of `pooled`, whose sums then serve both."""

    def of(part: Part) -> Tensor:
        if cells is not None:
            return part.by_cells(cells)[1].sum(-2)[..., None]
        ones = part.weights.new_ones(1, len(part.rows))
        return (ones @ part.weights).mT

    return Statistic("column", (shape[-1], 1), of)


def distance(shape: Shape, queries: Float[Tensor, "N d"], keys: Float[Tensor, "M d"]) -> Statistic:
    """The mean distance of a row's position to those that it attends to: `sum_j p |x_i - y_j| / sum_j p`."""
    kept: list[Tensor] = []  # the same distances serve all heads of a tile

    def of(part: Part) -> Tensor:
        if not kept or kept[0] is not part.rows:
            x, y = queries[part.rows].to(part.weights.dtype), keys[part.columns].to(part.weights.dtype)
            flat = x.shape[-1] == 1
            kept[:] = (
                part.rows,
                (x - y.mT).abs_() if flat else torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"),
            )
        return dot(part.weights, kept[1].expand_as(part.weights)) / _positive(part.mass)

    return Statistic("row", (shape[-2], 1), of)


def spread(shape: Shape, keys: Float[Tensor, "M d"]) -> Statistic:
    """The standard deviation of the positions that a row attends to, of which the mean is subtracted first."""

    def of(part: Part) -> Tensor:
        p, mass = part.weights, _positive(part.mass)
        total = torch.zeros_like(mass)
        for position in keys[part.columns].to(part.weights.dtype).unbind(-1):
            mean = (p @ position[:, None]) / mass
            room = part.scratch()
            apart = (position - mean).square() if room is None else torch.sub(position, mean, out=room).square_()
            total = total + dot(p, apart) / mass
        exact = total == 0  # the root has no slope there
        return total.masked_fill(exact, 1).sqrt().masked_fill(exact, 0)

    return Statistic("row", (shape[-2], 1), of)


def top(shape: Shape, k: int) -> Statistic:
    """The k largest weights of a row, then of which columns they are; a weight of 0 is of none."""

    def of(part: Part) -> Tensor:
        values, place = _largest(part.weights, min(k, part.weights.shape[-1]))
        column = part.columns[place].to(values.dtype)  # whole numbers below 2^24 are exact
        room = (0, k - values.shape[-1])
        return torch.cat([torch.nn.functional.pad(t, room) for t in (values, column)], dim=-1)

    return Statistic("row", (shape[-2], 2 * k), of)


def share(shape: Shape, column: int) -> Statistic:
    """The weight of one column."""
    return at(shape, torch.full((shape[-2], 1), column))


def pooled(shape: Shape, rows: Int[Tensor, " N"], columns: Int[Tensor, " M"], cells: tuple[int, int]) -> Statistic:
    """The sum of the weights of each cell; `rows` and `columns` say to which cells they belong, in rising order."""

    def of(part: Part) -> Tensor:
        (here, mass), column = part.by_cells(rows), columns[part.columns]
        by_column = mass.new_zeros(*mass.shape[:-1], cells[1]).index_add(-1, column, mass)
        return mass.new_zeros(*mass.shape[:-2], *cells).index_add(-2, here, by_column)

    return Statistic("whole", cells, of)


def largest_of_cells(shape: Shape, columns: Int[Tensor, " M"], cells: int) -> Statistic:
    """The largest weight of a row in each cell of columns, which stand in rising order."""

    def of(part: Part) -> Tensor:
        column, p = columns[part.columns], part.weights
        cell, counts = column.unique_consecutive(return_counts=True)
        found = torch.stack([piece.amax(-1) for piece in p.split(counts.tolist(), -1)], dim=-1)
        return p.new_zeros(*p.shape[:-1], cells).index_copy(-1, cell, found)

    return Statistic("row", (shape[-2], cells), of)


def divergence(shape: Shape) -> Statistic:
    """`sum_j p log(p / q)`, in nats, of two matrices; infinite where only q is 0."""

    def of(part: Part) -> Tensor:
        p, q = part.weights, part.other
        assert q is not None
        terms = p * (_log(p) - _log(q))
        return terms.masked_fill((p > 0) & (q == 0), math.inf).sum(-1, keepdim=True)

    return Statistic("row", (shape[-2], 1), of)


def overlap(shape: Shape) -> Statistic:
    """`sum_j p q` of two matrices."""

    def of(part: Part) -> Tensor:
        assert part.other is not None
        return dot(part.weights, part.other)

    return Statistic("row", (shape[-2], 1), of)


def squares(shape: Shape, *, other: bool = False) -> Statistic:
    """`sum_j p^2`, of the first matrix or of the other."""

    def of(part: Part) -> Tensor:
        p = part.other if other else part.weights
        assert p is not None
        return dot(p, p)

    return Statistic("row", (shape[-2], 1), of)


def _largest(weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their places.

    In long rows they lie in the k stretches with the largest maxima, so that only those are sorted.
    """
    count = weights.shape[-1] // _STRETCH
    if count <= 2 * k:
        return weights.topk(k, -1)
    whole = weights[..., : count * _STRETCH].unflatten(-1, (count, _STRETCH))
    stretch = whole.amax(-1).topk(k, -1).indices
    some = whole.gather(-2, stretch[..., None].expand(*stretch.shape, _STRETCH)).flatten(-2)
    place = (stretch[..., None] * _STRETCH + torch.arange(_STRETCH, device=weights.device)).flatten(-2)
    if weights.shape[-1] > count * _STRETCH:
        rest = torch.arange(count * _STRETCH, weights.shape[-1], device=weights.device)
        some = torch.cat([some, weights[..., count * _STRETCH :]], dim=-1)
        place = torch.cat([place, rest.expand(*place.shape[:-1], -1)], dim=-1)
    values, at = some.topk(k, -1)
    return values, place.gather(-1, at)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each row, `[..., n, 1]`."""
    if a.dim() != 3:
        return (a * b).sum(-1, keepdim=True)
    # one head at a time takes no temporary, and ten times less than all in one product
    each = [torch.einsum("xnm,xnm->xn", x[None], y[None]) for x, y in zip(a, b, strict=True)]
    return torch.cat(each)[..., None]


def _log(weights: Tensor, room: Tensor | None = None) -> Tensor:
    """The logarithm, of a 0 a number that 0 times it is 0; in `room`, if there is some."""
    least = torch.finfo(weights.dtype).tiny
    if room is None:
        return weights.clamp_min(least).log()
    return torch.log(torch.clamp(weights, min=least, out=room), out=room)


def _positive(mass: Tensor) -> Tensor:
    """The same, 1 where it is 0."""
    return mass.masked_fill(mass == 0, 1)
