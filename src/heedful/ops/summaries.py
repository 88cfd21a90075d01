"""Summaries of an attention matrix: each a number for a row, a column or a cell, exact, and never N x M of them.

These functions are methods of `AttentionMatrix`. Most come from the weights, a tile at a time (`statistics.py` says what a
tile adds), for any mechanism; some are products where that is faster.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from heedful._types import Float, Int, Tensor
from heedful.ops import statistics
from heedful.ops.engines.reference import at_least_float32
from heedful.ops.normalizers import Softmax, Softmax1
from heedful.ops.products import Matrix, Transposed, loses_precision, product
from heedful.ops.reduce import reduced_pair
from heedful.ops.statistics import Statistic

_EDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1 + 1e-6)  # a weight may be rounded to more than 1


class TopK(NamedTuple):
    """The largest weights of each row.

    Attributes:
        values: `[..., H, N, k]`, the largest first; 0 where a row sees fewer keys.
        indices: of which keys; -1 where a row sees fewer.
        mass: their sum `[..., H, N]`.
    """

    values: Float[Tensor, "... N k"]
    indices: Int[Tensor, "... N k"]
    mass: Float[Tensor, "... N"]


class Summary(NamedTuple):
    """What is worth knowing of a matrix, from one pass over it.

    Attributes:
        lse: the log-sum-exp of each row's scores `[..., H, N]`; None where the normalizer is not softmax.
        entropy: of each row, in nats; None where weights do not add up to 1.
        max: the largest weight of each row.
        effective_keys: among how many keys a row is spread; None where weights may be negative.
        distance: the mean distance of a row to what it attends to, in positions; None where there are more queries than
            keys or fewer, or weights may be negative.
        first: the weight of the first key in each row.
        received: what each key gets, summed over the rows `[..., H, M]`.
        map: the matrix on a coarse grid, as `AttentionMatrix.pool` gives it.
    """

    lse: Float[Tensor, "... N"] | None
    entropy: Float[Tensor, "... N"] | None
    max: Float[Tensor, "... N"]
    effective_keys: Float[Tensor, "... N"] | None
    distance: Float[Tensor, "... N"] | None
    first: Float[Tensor, "... N"]
    received: Float[Tensor, "... M"]
    map: Float[Tensor, "... r c"]


def lse(self: Matrix) -> Float[Tensor, "... N"]:
    """The logarithm of the sum of the exponentials of each row's scores `[..., H, N]`, in nats; with sinks, also of theirs.

    Raises:
        ValueError: the normalizer is not softmax.
    """
    if self._known_lse is not None and not self._differentiable():
        return self._known_lse
    if self._fused:
        row_lse = product(self, self.key.new_zeros(*self.key.shape[:-1], 1))[1]
        if not (self._differentiable() and loses_precision(row_lse)):
            return row_lse
    if not _has_lse(self):
        raise ValueError(f"`lse` is of softmax: got `normalize` {self.mechanism.normalize!r}.")
    return _visible_lse(self.reduce(statistics.lse(self.shape))[0])


def entropy(self: Matrix) -> Float[Tensor, "... N"]:
    """The entropy of each row `[..., H, N]`, in nats: `-sum_j p log p`; what a sink takes counts for nothing.

    Raises:
        ValueError: the weights do not add up to 1.
    """
    _check_normalized(self, "entropy")
    if self._fused and self.mechanism.bias is None:
        features, others, factor = self.inner_product()
        expected, lse = product(self, others)
        if not loses_precision(lse):
            expected = factor * (features * expected).sum(-1)
            return torch.where(lse == -math.inf, 0.0, lse.masked_fill(lse == -math.inf, 0) - expected)
    return self.reduce(statistics.entropy(self.shape))[0][..., 0]


def max_weight(self: Matrix) -> Float[Tensor, "... N"]:
    """The largest weight of each row `[..., H, N]`.

    Example:
        >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(4, 8), pattern=Causal("start")).max()
        tensor([1.0000, 0.5000])
    """
    return self.reduce(statistics.max(self.shape))[0][..., 0]


def argmax(self: Matrix) -> Int[Tensor, "... N"]:
    """The key of the largest weight of each row `[..., H, N]`; -1 for a row that sees nothing."""
    if not self.shape[-1]:
        return torch.full(self.shape[:-1], -1, device=self.query.device)
    return topk(self, 1).indices[..., 0]


def effective_keys(self: Matrix) -> Float[Tensor, "... N"]:
    """Among how many keys a row is spread, `(sum_j p)^2 / sum_j p^2`: from 1, all on one, to M, all alike; 0 if empty.

    It does not change when a row is multiplied by a number, so that what a sink takes plays no role.

    Raises:
        ValueError: the weights may be negative.
    """
    _check_not_negative(self, "effective_keys")
    return self.reduce(statistics.effective_keys(self.shape))[0][..., 0]


def received(self: Matrix) -> Float[Tensor, "... M"]:
    """How much attention each key gets, summed over the queries `[..., H, M]`: `A.T @ 1`."""
    known = self._known_lse is not None and not loses_precision(self._known_lse)
    if self._fused and (self._differentiable() or known):  # then a product is faster
        return (Transposed(self) @ self.query.new_ones(*self.query.shape[:-1], 1))[..., 0]
    return self.reduce(statistics.received(self.shape))[0][..., 0]


def group_mass(self: Matrix, groups: Any, count: int | None = None) -> Float[Tensor, "... N"]:
    """How much of its attention each query gives to groups of keys.

    Args:
        groups: the group of each key, 0, 1, 2, ..., or -1 for none; or True for the keys of one group. A tensor, an array
            or a list of `[M]`, or with more axes before it: with as many as the matrix has before N, `[..., H, M]`,
            they broadcast to those; with fewer, `[batch, M]`, to those before the heads, the same for all heads.
        count: how many groups there are; by default one more than the highest number.

    Returns:
        `[..., H, N]` for one group of booleans, `[..., H, N, count]` for numbered groups.

    Raises:
        ValueError: numbers or sizes do not fit.
        TypeError: groups are neither integers nor booleans.

    Example:
        >>> A = AttentionMatrix(torch.zeros(1, 8), torch.zeros(4, 8))
        >>> A.group_mass(torch.tensor([0, 1, 1, -1]))
        tensor([[0.2500, 0.5000]])
    """
    groups, leading = torch.as_tensor(groups, device=self.query.device), self.shape[:-2]
    matching_axes = (
        leading if groups.dim() > len(leading) else leading[:-1]
    )  # with an axis of heads, or the same for all of them
    sizes = tuple(reversed(groups.shape[:-1]))
    fits = len(sizes) <= len(matching_axes) and all(
        a in (1, b) for a, b in zip(sizes, reversed(matching_axes), strict=False)
    )
    if groups.shape[-1:] != self.shape[-1:] or not fits:
        raise ValueError(
            f"`groups` must be [M], [batch, M] or [batch, heads, M] of a matrix of shape {list(self.shape)}: got {list(groups.shape)}."
        )
    columns = _columns_of(groups, count).to(at_least_float32(self.query).dtype)
    if matching_axes is not leading and groups.dim() > 1:
        columns = columns.unsqueeze(-3)
    group_masses = self @ columns
    return group_masses[..., 0] if groups.dtype == torch.bool else group_masses


def distance(
    self: Matrix, queries: Float[Tensor, "N *d"] | None = None, keys: Float[Tensor, "M *e"] | None = None
) -> Float[Tensor, "... N"]:
    """The mean distance of each query to what it attends to `[..., H, N]`: `sum_j p |x_i - y_j| / sum_j p`.

    Args:
        queries: where the queries stand, `[N]` or, as on a grid, `[N, d]`; by default 0, 1, 2, ...
        keys: where the keys stand; by default where the queries do.

    Raises:
        ValueError: positions do not fit, or are missing where there are more queries than keys or fewer; the weights
            may be negative.

    Source: Dosovitskiy et al. 2021, figure 7.
    """
    _check_not_negative(self, "distance")
    if queries is None and keys is None and self.shape[-1] != self.shape[-2]:
        raise ValueError(
            f"`queries` and `keys` must say where they stand unless there are as many: got {self.shape[-2]} and {self.shape[-1]}."
        )
    x = _positions_of(self, "queries", queries if queries is not None else keys, self.shape[-2])
    y = _positions_of(self, "keys", keys if keys is not None else queries, self.shape[-1])
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"`queries` and `keys` must stand in one space: got {x.shape[-1]} and {y.shape[-1]} coordinates."
        )
    return self.reduce(statistics.distance(self.shape, x, y))[0][..., 0]


def position_std(self: Matrix, keys: Float[Tensor, "M *d"] | None = None) -> Float[Tensor, "... N"]:
    """The standard deviation of the positions that each row attends to `[..., H, N]`.

    Args:
        keys: where the keys stand, `[M]` or `[M, d]`; by default 0, 1, 2, ...

    Raises:
        ValueError: positions do not fit; the weights may be negative.
    """
    _check_not_negative(self, "position_std")
    return self.reduce(statistics.position_std(self.shape, _positions_of(self, "keys", keys, self.shape[-1])))[0][
        ..., 0
    ]


def gather(self: Matrix, targets: Any) -> Float[Tensor, "..."]:
    """The weights of chosen keys: `[..., H, N]` for one target a row, `[..., H, N, K]` for K of them.

    Args:
        targets: `[N]` or `[..., H, N]`, with one more axis for several; -1 is nobody and gives 0.

    Raises:
        ValueError: a target is no key, or their sizes do not fit.
        TypeError: targets are not integers.

    Example:
        >>> A = AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal())
        >>> A.gather(torch.tensor([-1, 0, 1]))  # the token before
        tensor([0.0000, 0.5000, 0.3333])
    """
    targets, rows, keys = torch.as_tensor(targets, device=self.query.device), self.shape[:-1], self.shape[-1]
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise TypeError(f"`targets` must be integers: got {targets.dtype}.")
    single = targets.dim() == 1 or (targets.shape[-1:] == rows[-1:] and targets.dim() == len(rows))
    chosen = targets[..., None] if single else targets
    try:
        chosen = chosen.expand(*rows, chosen.shape[-1])
    except RuntimeError:
        raise ValueError(
            f"`targets` must broadcast to {list(rows)}, or to that and one more axis: got {list(targets.shape)}."
        ) from None
    if chosen.numel() and not -1 <= int(chosen.min()) <= int(chosen.max()) < keys:
        raise ValueError(f"`targets` must be from -1 to {keys - 1}: got {int(chosen.min())} to {int(chosen.max())}.")
    weights = self.reduce(statistics.gather(self.shape, chosen))[0]
    return weights[..., 0] if single else weights


def diagonal(self: Matrix, offset: int = 0) -> Float[Tensor, "... L"]:
    """The weights of keys j = i + offset, as `torch.diagonal` gives them: `offset` -1 is the token before.

    Example:
        >>> AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal()).diagonal(-1)
        tensor([0.5000, 0.3333])
    """
    rows, columns = self.shape[-2:]
    start, stop = max(-offset, 0), min(rows, columns - offset)
    target = torch.arange(rows, device=self.query.device) + offset
    return gather(self, target.masked_fill((target < 0) | (target >= columns), -1))[..., start : max(start, stop)]


def topk(self: Matrix, k: int) -> TopK:
    """The k largest weights of each row, which keys they are of, and the mass that they cover.

    Raises:
        ValueError: k is not from 1 to M.

    Example:
        >>> A = AttentionMatrix(torch.ones(1, 1), torch.tensor([[0.0], [2.0], [1.0]]))
        >>> A.topk(2)
        TopK(values=tensor([[0.6652, 0.2447]]), indices=tensor([[1, 2]]), mass=tensor([0.9100]))
    """
    if not 1 <= k <= self.shape[-1]:
        raise ValueError(f"`k` must be from 1 to the {self.shape[-1]} keys: got {k}.")
    with torch.no_grad():
        top = top_of(self.reduce(statistics.topk(self.shape, k))[0])
    values = gather(self, top.indices) if self._differentiable() else top.values
    return TopK(values, top.indices, values.sum(-1))


def pool(self: Matrix, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
    """The matrix on a coarse grid `[..., H, rows, columns]`.

    A cell is the mass that its queries put on its keys, summed over the keys and averaged over the queries, so that a
    row of cells adds up to 1. Query i belongs to cell `i * rows // N`, key j to `j * columns // M`.
    """
    row_cell, column_cell = _cells(self, rows, columns)
    by_column = self @ _columns_of(column_cell, columns).to(at_least_float32(self.query).dtype)
    total = by_column.new_zeros(*self.shape[:-2], rows, columns).index_add(-2, row_cell, by_column)
    return total / _sizes(row_cell, rows)


def pool_max(self: Matrix, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
    """The largest weight of each cell of a coarse grid `[..., H, rows, columns]`, whose cells are those of `pool`.

    Raises:
        ValueError: there are more cells than positions.
    """
    row_cell, column_cell = _cells(self, rows, columns)
    by_row = self.reduce(statistics.max_of_cells(self.shape, column_cell, columns))[0]
    if not len(row_cell):
        return by_row.new_zeros(*self.shape[:-2], rows, columns)
    return torch.stack(
        [rows_of_cell.amax(-2) for rows_of_cell in by_row.split(torch.bincount(row_cell).tolist(), -2)], dim=-2
    )


def histogram(self: Matrix, edges: Sequence[float] | Float[Tensor, " E"] | None = None) -> Int[Tensor, "... bins"]:
    """How many of a head's N x M weights lie between two edges `[..., H, E - 1]`; the last edge counts, too.

    Args:
        edges: in rising order; by default 0, powers of ten from 1e-6 to 0.1, 0.5 and 1 (and what rounding adds to it).

    Example:
        >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(2, 8), pattern=Causal()).histogram([0.0, 0.4, 0.9, 1.0])
        tensor([1, 2, 1])
    """
    dtype = at_least_float32(self.query).dtype
    bounds = torch.as_tensor(_EDGES if edges is None else edges, device=self.query.device).to(dtype)
    if bounds.dim() != 1 or len(bounds) < 2 or bool((bounds.diff() <= 0).any()):
        raise ValueError(f"`edges` must be two or more numbers in rising order: got {bounds.tolist()}.")
    with torch.no_grad():
        counts = self.reduce(statistics.count_above(self.shape, bounds))[0].long().sum(-2)
    outside = math.prod(self.shape[-2:]) - counts[..., -1:]  # they are 0
    reached = counts[..., :-1] + outside * torch.cat([bounds[:-1] <= 0, bounds[-1:] < 0])
    return -reached.diff(dim=-1)


def kl(self: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The divergence of each row from that of another matrix, `sum_j p log(p / q)` in nats `[..., H, N]`.

    Infinite where the other one gives nothing to a key that this one attends to.

    Raises:
        ValueError: the shapes differ, or weights do not add up to 1.
    """
    for matrix in (self, other):
        if isinstance(matrix, type(self)):
            _check_normalized(matrix, "kl")
    return _between(self, other, statistics.kl(self.shape))


def overlap(self: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The inner product of each row with that of another matrix, `sum_j p q` `[..., H, N]`.

    Raises:
        ValueError: the shapes differ.
    """
    return _between(self, other, statistics.overlap(self.shape))


def cosine(self: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The cosine between each row and that of another matrix `[..., H, N]`; 0 where one of them is empty.

    Raises:
        ValueError: the shapes differ.
    """
    return _between(self, other, statistics.cosine(self.shape))


def summary(self: Matrix, rows: int = 64, columns: int = 64) -> Summary:
    """All that is worth knowing, from one pass; the map has at most so many cells."""
    shape, signed = self.shape, self.mechanism.normalize.signed
    rows, columns = min(rows, shape[-2]), min(columns, shape[-1])
    row_cell, column_cell = _cells(self, rows, columns)
    requested = {
        "max": statistics.max(shape),
        "first": statistics.column_weight(shape, 0),
        "received": statistics.received(shape, row_cell),
        "map": statistics.pool(shape, row_cell, column_cell, (rows, columns)),
    }
    if _has_lse(self):
        requested["lse"] = statistics.lse(shape)
    if self.mechanism.normalize.normalized:
        requested["entropy"] = statistics.entropy(shape)
    if not signed:
        requested["effective_keys"] = statistics.effective_keys(shape)
    if shape[-1] == shape[-2] and not signed:
        positions = _positions_of(self, "keys", None, shape[-1])
        requested["distance"] = statistics.distance(shape, positions, positions)
    results = dict(zip(requested, self.reduce(*requested.values()), strict=True))
    of_rows = {name: t[..., 0] for name, t in results.items() if name not in ("lse", "map")}
    return Summary(
        lse=_visible_lse(results["lse"]) if "lse" in results else None,
        entropy=of_rows.get("entropy"),
        max=of_rows["max"],
        effective_keys=of_rows.get("effective_keys"),
        distance=of_rows.get("distance"),
        first=of_rows["first"],
        received=of_rows["received"],
        map=results["map"] / _sizes(row_cell, rows),
    )


def top_of(top: Float[Tensor, "... N kk"]) -> TopK:
    """What `statistics.topk` found."""
    values, indices = top.detach().chunk(2, -1)
    return TopK(values, indices.long() - 1, values.sum(-1))


def _visible_lse(lse_and_visible: Float[Tensor, "... N 2"]) -> Float[Tensor, "... N"]:
    """What `statistics.lse` found, -inf for a row that sees nothing."""
    value, visible = lse_and_visible.unbind(-1)
    return value.masked_fill(visible == 0, -math.inf)


def _between(A: Matrix, other: Any, statistic: Statistic) -> Float[Tensor, "... N"]:
    if not isinstance(other, type(A)):
        raise TypeError(f"`other` must be an AttentionMatrix: got {type(other).__name__}.")
    if other.shape != A.shape:
        raise ValueError(f"both matrices must have one shape: got {list(A.shape)} and {list(other.shape)}.")
    return reduced_pair(A.source(), other.source(), A.shape, [statistic])[0][..., 0]


def _columns_of(groups: Tensor, count: int | None) -> Float[Tensor, "... M g"]:
    """Columns of 0 and 1 that say which key belongs to which group; -1 to none."""
    if groups.dtype == torch.bool:
        return groups[..., None].float()
    if groups.is_floating_point() and groups.numel():  # an empty list has the dtype of numbers
        raise TypeError(f"`groups` must be integers or booleans: got {groups.dtype}.")
    low, highest = (int(groups.min()), int(groups.max()) + 1) if groups.numel() else (0, 0)
    if low < -1:
        raise ValueError(f"`groups` must be -1 or more: got {low}.")
    count = highest if count is None else count
    if highest > count:
        raise ValueError(f"`groups` must be less than `count`, {count}: got {highest - 1}.")
    return (groups[..., None] == torch.arange(count, device=groups.device)).float()


def _cells(A: Matrix, rows: int, columns: int) -> tuple[Int[Tensor, " N"], Int[Tensor, " M"]]:
    """The cell of each row and of each column; where there are no positions, any number of cells has none."""
    for name, cells, positions in (("rows", rows, A.shape[-2]), ("columns", columns, A.shape[-1])):
        if not 1 <= cells <= positions and (positions or cells < 0):
            raise ValueError(f"`{name}` must be between 1 and the {positions} positions: got {cells}.")
    row, column = (torch.arange(n, device=A.query.device) for n in A.shape[-2:])
    return row * rows // max(A.shape[-2], 1), column * columns // max(A.shape[-1], 1)


def _sizes(cell: Int[Tensor, " N"], count: int) -> Int[Tensor, "count 1"]:
    """How many rows each cell has, at least 1."""
    return torch.bincount(cell, minlength=count).clamp(min=1)[:, None]


def _positions_of(A: Matrix, name: str, values: Any, count: int) -> Float[Tensor, "n d"]:
    if values is None:
        return torch.arange(count, device=A.query.device, dtype=torch.float64)[:, None]
    positions: Tensor = torch.as_tensor(values, device=A.query.device)
    if positions.dim() not in (1, 2) or len(positions) != count:
        raise ValueError(f"`{name}` must be [{count}] or [{count}, d] numbers: got {list(positions.shape)}.")
    return (positions if positions.dim() == 2 else positions[:, None]).double()


def _has_lse(A: Matrix) -> bool:
    return isinstance(A.mechanism.normalize, (Softmax, Softmax1))


def _check_normalized(A: Matrix, name: str) -> None:
    if not A.mechanism.normalize.normalized:
        raise ValueError(f"`{name}` is of weights that add up to 1: got `normalize` {A.mechanism.normalize!r}.")


def _check_not_negative(A: Matrix, name: str) -> None:
    if A.mechanism.normalize.signed:
        raise ValueError(f"`{name}` is of weights that are not negative: got `normalize` {A.mechanism.normalize!r}.")
