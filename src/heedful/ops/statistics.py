"""Statistics of the weights of a matrix, a tile at a time: each says what a tile adds to it.

Weights are what the matrix holds: a masked pair is 0. `AttentionMatrix.reduce` computes any number of them in one pass; a
function here makes one, and a new one is a `Statistic` of a function of a `WeightTile`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor

__all__ = [
    "Statistic",
    "WeightTile",
    "column_weight",
    "cosine",
    "count_above",
    "distance",
    "effective_keys",
    "entropy",
    "gather",
    "kl",
    "lse",
    "max",
    "max_of_cells",
    "overlap",
    "pool",
    "position_std",
    "received",
    "topk",
]

_CHUNK = 64  # weights of a row among which one maximum is found first


@dataclasses.dataclass(eq=False)
class WeightTile:
    """Some rows of the matrix, with columns among which are all that they may see.

    A sink may leave so little that the weights are 0 in their dtype: what does not depend on a factor of the row is
    therefore computed from `relative_weights`.

    Attributes:
        before_sink: the weights `[..., n, m]`, without what a sink of softmax takes; `weights` are with it.
        rows: the numbers of the rows.
        columns: those of the columns.
        heads: which heads, of all heads and batches as one axis; None: all, with axes of their own.
        normalized: whether a row of weights adds up to 1, or to less.
        scores: of softmax, where a gradient may be asked for: what is normalized, -inf where masked.
        max_score: of softmax, where no gradient is: the largest score of each row, if asked for.
        sinks: of softmax: the score of what takes a part of each row.
        other: the same tile of a second matrix.
        scratch: a buffer of at least as many numbers, where no gradient is: a new one each time would cost more than what
            is computed in it.

    Example:
        >>> tile = WeightTile(torch.tensor([[0.5, 0.25, 0.0]]), torch.tensor([0]), torch.arange(3), None, False)
        >>> tile.mass, tile.max, tile.relative_weights
        (tensor([[0.7500]]), tensor([[0.5000]]), tensor([[1.0000, 0.5000, 0.0000]]))
    """

    before_sink: Float[Tensor, "... n m"]
    rows: Int[Tensor, " n"]
    columns: Int[Tensor, " m"]
    heads: slice | None
    normalized: bool
    scores: Float[Tensor, "... n m"] | None = None
    max_score: Float[Tensor, "... n"] | None = None
    sinks: Float[Tensor, "... 1 1"] | None = None
    other: "WeightTile | None" = None
    scratch: Tensor | None = None

    def __post_init__(self) -> None:
        self._cells: dict[int, tuple[Tensor, Tensor]] = {}

    @functools.cached_property
    def weights(self) -> Float[Tensor, "... n m"]:
        """The weights of the rows and columns; 0 where masked."""
        return self.before_sink if self.sinks is None else self.before_sink * self.mass

    @functools.cached_property
    def relative_weights(self) -> Float[Tensor, "... n m"]:
        """The weights up to a positive factor of each row, which makes the largest of them neither tiny nor huge."""
        return self.before_sink if self.normalized else self.weights / _positive(self.weights.abs().amax(-1, True))

    @functools.cached_property
    def relative_sum(self) -> Float[Tensor, "... n 1"]:
        """The sum of each row's relative weights."""
        return self.relative_weights.sum(-1, keepdim=True)

    @functools.cached_property
    def mass(self) -> Float[Tensor, "... n 1"]:
        """The sum of each row's weights."""
        if self.log_mass is not None:
            return self.log_mass.exp()
        return self.relative_sum if self.normalized else self.weights.sum(-1, keepdim=True)

    @functools.cached_property
    def log_mass(self) -> Float[Tensor, "... n 1"] | None:
        """The logarithm of what a sink of softmax leaves to the keys, -inf for an empty row; None where there is no sink."""
        if self.sinks is None:
            return None
        empty = self._lse == -math.inf
        return F.logsigmoid(self._lse.masked_fill(empty, 0) - self.sinks).masked_fill(empty, -math.inf)

    @functools.cached_property
    def max(self) -> Float[Tensor, "... n 1"]:
        """The largest weight of each row."""
        top = self.before_sink.amax(-1, keepdim=True)
        return top if self.sinks is None else top * self.mass

    @property
    def lse(self) -> Float[Tensor, "... n 1"]:
        """Of softmax: the log-sum-exp of each row, with what its sink adds; -inf for an empty row."""
        if self.sinks is None:
            return self._lse
        return torch.where(self._lse == -math.inf, -math.inf, torch.logaddexp(self._lse, self.sinks))

    @functools.cached_property
    def _lse(self) -> Float[Tensor, "... n 1"]:
        """The log-sum-exp over the keys alone."""
        top = self.before_sink.amax(-1, keepdim=True)  # at least 1 / M, unless the row is empty
        if self.scores is not None:
            scores = self.scores.masked_fill(top == 0, 0)
            max_score = scores.detach().amax(
                -1, keepdim=True
            )  # with `logsumexp`, slopes of scores of -1e30 would not add up to 1
            return (max_score + (scores - max_score).exp().sum(-1, keepdim=True).log()).masked_fill(top == 0, -math.inf)
        if self.max_score is None:
            raise ValueError("`lse` must be asked for by `Statistic(..., lse=True)`, of a matrix of softmax.")
        return (self.max_score[..., None] - _positive(top).log()).masked_fill(top == 0, -math.inf)

    def log_weights(self) -> Float[Tensor, "... n m"]:
        """The logarithms of the weights, of softmax also of those that are 0 in their dtype; -inf where masked."""
        if self.scores is None:
            return _log(self.weights).masked_fill(self.weights == 0, -math.inf)
        masked = self.scores == -math.inf
        empty = masked.all(-1, keepdim=True)
        log_weights = self.scores.masked_fill(empty, 0).log_softmax(-1).masked_fill(masked, -math.inf)
        return log_weights if self.log_mass is None else log_weights + self.log_mass.masked_fill(empty, 0)

    def by_cells(self, cells: Int[Tensor, " N"]) -> tuple[Int[Tensor, " c"], Float[Tensor, "... c m"]]:
        """The cells to which rows belong, given in rising order for all rows of the matrix, and the sums over their rows."""
        if id(cells) not in self._cells:
            row = cells[self.rows]
            here = torch.arange(int(row[0]), int(row[-1]) + 1, device=row.device)
            sums = self.weights.new_zeros(*self.weights.shape[:-2], len(here), self.weights.shape[-1])
            self._cells[id(cells)] = here, sums.index_add(-2, row - row[0], self.weights)
        return self._cells[id(cells)]

    def buffer(self) -> Float[Tensor, "... n m"] | None:
        """The buffer, in the shape of the weights; None where a gradient may be asked for."""
        like = self.before_sink
        return None if self.scratch is None else self.scratch[: like.numel()].view(like.shape)


class Statistic(NamedTuple):
    """Numbers that are reduced from the weights, tile by tile.

    Attributes:
        kind: "row": numbers for each row, "column": for each column; these, and "whole", are summed over the tiles.
        sizes: the last two axes of the whole result: (N, c), (M, c), or any.
        function: what a tile adds to it, `[..., n, c]`, `[..., m, c]` or the whole.
        lse: whether it reads `tile.lse`.

    Example:
        >>> A = AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal())
        >>> A.reduce(Statistic("row", (3, 1), lambda tile: tile.weights.square().sum(-1, keepdim=True)))[0][:, 0]
        tensor([1.0000, 0.5000, 0.3333])
    """

    kind: Literal["row", "column", "whole"]
    sizes: tuple[int, int]
    function: Callable[[WeightTile], Tensor]
    lse: bool = False


def lse(shape: Shape) -> Statistic:
    """The log-sum-exp of a row of softmax, with its sink's, 0 if it sees no key; behind it a 1 if it sees one."""

    def compute(tile: WeightTile) -> Tensor:
        visible = tile.lse > -math.inf
        visible = visible | tile.lse.isnan()
        return torch.cat([tile.lse.masked_fill(~visible, 0), visible.to(tile.lse.dtype)], dim=-1)

    return Statistic("row", (shape[-2], 2), compute, lse=True)


def entropy(shape: Shape) -> Statistic:
    """`-sum_j p log p`, in nats, of weights that add up to 1 or less."""

    def compute(tile: WeightTile) -> Tensor:
        row_entropy = dot(tile.relative_weights, _log(tile.relative_weights, tile.buffer())).neg()
        if tile.log_mass is None:
            return row_entropy
        return tile.mass * (row_entropy - tile.log_mass.masked_fill(tile.mass == 0, 0))

    return Statistic("row", (shape[-2], 1), compute)


def max(shape: Shape) -> Statistic:
    """The largest weight of a row."""
    return Statistic("row", (shape[-2], 1), lambda tile: tile.max)


def effective_keys(shape: Shape) -> Statistic:
    """`(sum_j p)^2 / sum_j p^2`."""
    return Statistic(
        "row",
        (shape[-2], 1),
        lambda tile: tile.relative_sum.square() / _positive(dot(tile.relative_weights, tile.relative_weights)),
    )


def gather(shape: Shape, targets: Int[Tensor, "... N K"]) -> Statistic:
    """The weights of chosen columns of each row; 0 for a target of -1."""
    by_head = _unwrapped(targets.expand(*shape[:-2], *targets.shape[-2:]))
    by_flat_head = _unwrapped(by_head.reshape(math.prod(shape[:-2]), *targets.shape[-2:]))

    def compute(tile: WeightTile) -> Tensor:
        chosen = (
            (by_head if tile.heads is None else by_flat_head[tile.heads])
            .to(tile.rows.device)
            .index_select(-2, tile.rows)
        )
        first, count = tile.columns[0], len(tile.columns)
        if bool(tile.columns[-1] - first + 1 == count):
            position = chosen - first
        else:
            position = torch.searchsorted(tile.columns, chosen.contiguous()).clamp(max=count - 1)
        present = (position >= 0) & (position < count)
        position = position.clamp(0, count - 1)
        present = present & (tile.columns[position] == chosen)
        return tile.weights.gather(-1, position).masked_fill(~present, 0)

    return Statistic("row", (shape[-2], targets.shape[-1]), compute)


def received(shape: Shape, cells: Int[Tensor, " N"] | None = None) -> Statistic:
    """The weights that a column gets, summed over the rows; `cells` are those of `pool`, whose sums then serve both."""
    cells = None if cells is None else _unwrapped(cells)

    def compute(tile: WeightTile) -> Tensor:
        if cells is not None:
            return tile.by_cells(cells)[1].sum(-2)[..., None]
        ones = tile.weights.new_ones(1, len(tile.rows))
        return (ones @ tile.weights).mT

    return Statistic("column", (shape[-1], 1), compute)


def distance(shape: Shape, queries: Float[Tensor, "N d"], keys: Float[Tensor, "M d"]) -> Statistic:
    """The mean distance of a row's position to those that it attends to: `sum_j p |x_i - y_j| / sum_j p`."""
    queries, keys = _unwrapped(queries), _unwrapped(keys)
    cached: list[Tensor] = []  # the same distances serve all heads of a tile

    def compute(tile: WeightTile) -> Tensor:
        if not cached or cached[0] is not tile.rows:
            dtype = tile.relative_weights.dtype
            x, y = queries[tile.rows].to(dtype), keys[tile.columns].to(dtype)
            one_axis = x.shape[-1] == 1
            apart = (x - y.mT).abs_() if one_axis else torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
            cached[:] = tile.rows, apart
        return dot(tile.relative_weights, cached[1].expand_as(tile.relative_weights)) / _positive(tile.relative_sum)

    return Statistic("row", (shape[-2], 1), compute)


def position_std(shape: Shape, keys: Float[Tensor, "M d"]) -> Statistic:
    """The standard deviation of the positions that a row attends to, of which the mean is subtracted first."""
    keys = _unwrapped(keys)

    def compute(tile: WeightTile) -> Tensor:
        p, mass = tile.relative_weights, _positive(tile.relative_sum)
        total = torch.zeros_like(mass)
        for position in keys[tile.columns].to(tile.relative_weights.dtype).unbind(-1):
            mean = (p @ position[:, None]) / mass
            buffer = tile.buffer()
            squared_difference = (
                (position - mean).square() if buffer is None else torch.sub(position, mean, out=buffer).square_()
            )
            total = total + dot(p, squared_difference) / mass
        exact = total == 0  # the root has no slope there
        return total.masked_fill(exact, 1).sqrt().masked_fill(exact, 0)

    return Statistic("row", (shape[-2], 1), compute)


def topk(shape: Shape, k: int) -> Statistic:
    """The k largest weights of a row, then of which columns they are, counted from 1; what the row does not see is of 0."""

    def compute(tile: WeightTile) -> Tensor:
        values, position = _largest(tile.before_sink, min(k, tile.before_sink.shape[-1]))
        column = (tile.columns[position] + 1).masked_fill(values == 0, 0).to(values.dtype)  # exact below 2^24
        values = values if tile.sinks is None else values * tile.mass
        padding = (0, k - values.shape[-1])
        return torch.cat([F.pad(t, padding) for t in (values, column)], dim=-1)

    return Statistic("row", (shape[-2], 2 * k), compute)


def column_weight(shape: Shape, column: int) -> Statistic:
    """The weight of one column."""
    return gather(shape, torch.full((shape[-2], 1), column))


def pool(shape: Shape, rows: Int[Tensor, " N"], columns: Int[Tensor, " M"], cells: tuple[int, int]) -> Statistic:
    """The sum of the weights of each cell; `rows` and `columns` say to which cells they belong, in rising order."""
    rows, columns = _unwrapped(rows), _unwrapped(columns)

    def compute(tile: WeightTile) -> Tensor:
        (here, mass), column = tile.by_cells(rows), columns[tile.columns]
        by_column = mass.new_zeros(*mass.shape[:-1], cells[1]).index_add(-1, column, mass)
        return mass.new_zeros(*mass.shape[:-2], *cells).index_add(-2, here, by_column)

    return Statistic("whole", cells, compute)


def max_of_cells(shape: Shape, columns: Int[Tensor, " M"], cells: int) -> Statistic:
    """The largest weight of a row in each cell of columns, which stand in rising order."""
    columns = _unwrapped(columns)

    def compute(tile: WeightTile) -> Tensor:
        column, p = columns[tile.columns], tile.weights
        cell, counts = column.unique_consecutive(return_counts=True)
        cell_max = torch.stack([piece.amax(-1) for piece in p.split(counts.tolist(), -1)], dim=-1)
        return p.new_zeros(*p.shape[:-1], cells).index_copy(-1, cell, cell_max)

    return Statistic("row", (shape[-2], cells), compute)


def count_above(shape: Shape, edges: Float[Tensor, " e"]) -> Statistic:
    """How many weights of a row reach each edge (exceed the last one), then how many were looked at: the others are 0."""

    def compute(tile: WeightTile) -> Tensor:
        p = tile.weights
        counts = [(p > edge if i == len(edges) - 1 else p >= edge).sum(-1) for i, edge in enumerate(edges)]
        return torch.stack([*counts, torch.full_like(counts[0], p.shape[-1])], dim=-1).to(p.dtype)

    return Statistic("row", (shape[-2], len(edges) + 1), compute)


def kl(shape: Shape) -> Statistic:
    """`sum_j p log(p / q)`, in nats, of two matrices; infinite where only q is 0."""

    def compute(tile: WeightTile) -> Tensor:
        p, q = tile.log_weights(), _other(tile).log_weights()
        log_ratio = p.masked_fill(p == -math.inf, 0) - q.masked_fill(q == -math.inf, 0)
        infinite = (p > -math.inf) & (q == -math.inf)
        return (tile.weights * log_ratio).masked_fill(infinite, math.inf).sum(-1, keepdim=True)

    return Statistic("row", (shape[-2], 1), compute)


def overlap(shape: Shape) -> Statistic:
    """`sum_j p q` of two matrices."""
    return Statistic("row", (shape[-2], 1), lambda tile: dot(tile.weights, _other(tile).weights))


def cosine(shape: Shape) -> Statistic:
    """`sum_j p q / sqrt(sum_j p^2 sum_j q^2)` of two matrices; 0 where one of them is empty."""

    def compute(tile: WeightTile) -> Tensor:
        p, q = tile.relative_weights, _other(tile).relative_weights
        return dot(p, q) / _positive(dot(p, p) * dot(q, q)).sqrt()

    return Statistic("row", (shape[-2], 1), compute)


def _other(tile: WeightTile) -> WeightTile:
    assert tile.other is not None
    return tile.other


def _largest(weights: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their places.

    In long rows they lie in the k stretches with the largest maxima, so that only those are sorted.
    """
    count = weights.shape[-1] // _CHUNK
    if count <= 2 * k:
        return weights.topk(k, -1)
    chunks = weights[..., : count * _CHUNK].unflatten(-1, (count, _CHUNK))
    chunk = chunks.amax(-1).topk(k, -1).indices
    candidates = chunks.gather(-2, chunk[..., None].expand(*chunk.shape, _CHUNK)).flatten(-2)
    index = (chunk[..., None] * _CHUNK + torch.arange(_CHUNK, device=weights.device)).flatten(-2)
    if weights.shape[-1] > count * _CHUNK:
        rest = torch.arange(count * _CHUNK, weights.shape[-1], device=weights.device)
        candidates = torch.cat([candidates, weights[..., count * _CHUNK :]], dim=-1)
        index = torch.cat([index, rest.expand(*index.shape[:-1], -1)], dim=-1)
    values, at = candidates.topk(k, -1)
    return values, index.gather(-1, at)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each row, `[..., n, 1]`."""
    if a.dim() != 3:
        return (a * b).sum(-1, keepdim=True)
    # one head at a time takes no temporary, and ten times less than all in one product
    each = [torch.einsum("xnm,xnm->xn", x[None], y[None]) for x, y in zip(a, b, strict=True)]
    return torch.cat(each)[..., None]


def _log(weights: Tensor, buffer: Tensor | None = None) -> Tensor:
    """The logarithm, of a 0 a number that 0 times it is 0; in a buffer, if there is one."""
    least = torch.finfo(weights.dtype).tiny
    if buffer is None:
        return weights.clamp_min(least).log()
    return torch.log(torch.clamp(weights, min=least, out=buffer), out=buffer)


def _unwrapped(constant: Tensor) -> Tensor:
    """Without the wrapper of `torch.func.grad`, which does not live as long as the gradient that is computed with it."""
    while torch._C._functorch.is_gradtrackingtensor(constant):
        constant = torch._C._functorch.get_unwrapped(constant)
    return constant


def _positive(numbers: Tensor) -> Tensor:
    """The same, 1 where they are 0."""
    return numbers.masked_fill(numbers == 0, 1)
