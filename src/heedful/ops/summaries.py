"""Summaries of an attention matrix: each a number for a row, a column or a cell, exact, and never N x M of them.

Functions of a matrix, which `AttentionMatrix` has as methods (with what there is to say about them). Most come from the
weights, a tile at a time (`statistics.py` says what a tile adds), for any mechanism; some are products where that is faster.
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
        effective_keys: among how many keys a row is spread.
        distance: the mean distance of a row to what it attends to, in positions; None where there are more queries than
            keys or fewer.
        first: the weight of the first key in each row.
        received: what each key gets, summed over the rows `[..., H, M]`.
        map: the matrix on a coarse grid, as `AttentionMatrix.pool` gives it.
    """

    lse: Float[Tensor, "... N"] | None
    entropy: Float[Tensor, "... N"] | None
    max: Float[Tensor, "... N"]
    effective_keys: Float[Tensor, "... N"]
    distance: Float[Tensor, "... N"] | None
    first: Float[Tensor, "... N"]
    received: Float[Tensor, "... M"]
    map: Float[Tensor, "... r c"]


def lse(A: Matrix) -> Float[Tensor, "... N"]:
    """The log-sum-exp of each row."""
    if A._known_lse is not None and not A._differentiable():
        return A._known_lse
    if A._fused:
        row_lse = product(A, A.key.new_zeros(*A.key.shape[:-1], 1))[1]
        if not (A._differentiable() and loses_precision(row_lse)):
            return row_lse
    if not _has_lse(A):
        raise ValueError(f"`lse` is of softmax: got `normalize` {A.mechanism.normalize!r}.")
    return _visible_lse(A.reduce(statistics.lse(A.shape))[0])


def entropy(A: Matrix) -> Float[Tensor, "... N"]:
    """The entropy of each row: of softmax, `lse_i - sum_j p_ij s_ij`, and the sum is a product, too."""
    _check_normalized(A, "entropy")
    if A._fused and A.mechanism.bias is None:
        features, others, factor = A.inner_product()
        expected, lse = product(A, others)
        if not loses_precision(lse):
            expected = factor * (features * expected).sum(-1)
            return torch.where(lse == -math.inf, 0.0, lse.masked_fill(lse == -math.inf, 0) - expected)
    return A.reduce(statistics.entropy(A.shape))[0][..., 0]


def max_weight(A: Matrix) -> Float[Tensor, "... N"]:
    """The largest weight of each row."""
    return A.reduce(statistics.max(A.shape))[0][..., 0]


def argmax(A: Matrix) -> Int[Tensor, "... N"]:
    """The key of the largest weight of each row."""
    if not A.shape[-1]:
        return torch.full(A.shape[:-1], -1, device=A.query.device)
    return topk(A, 1).indices[..., 0]


def effective_keys(A: Matrix) -> Float[Tensor, "... N"]:
    """Among how many keys each row is spread."""
    _check_not_negative(A, "effective_keys")
    return A.reduce(statistics.effective_keys(A.shape))[0][..., 0]


def received(A: Matrix) -> Float[Tensor, "... M"]:
    """How much attention each key gets."""
    known = A._known_lse is not None and not loses_precision(A._known_lse)
    if A._fused and (A._differentiable() or known):  # then a product is faster
        return (Transposed(A) @ A.query.new_ones(*A.query.shape[:-1], 1))[..., 0]
    return A.reduce(statistics.received(A.shape))[0][..., 0]


def group_mass(A: Matrix, groups: Any, count: int | None) -> Float[Tensor, "..."]:
    """How much of its attention each query gives to groups of keys."""
    groups, leading = torch.as_tensor(groups, device=A.query.device), A.shape[:-2]
    matching_axes = (
        leading if groups.dim() > len(leading) else leading[:-1]
    )  # with an axis of heads, or the same for all of them
    sizes = tuple(reversed(groups.shape[:-1]))
    fits = len(sizes) <= len(matching_axes) and all(
        a in (1, b) for a, b in zip(sizes, reversed(matching_axes), strict=False)
    )
    if groups.shape[-1:] != A.shape[-1:] or not fits:
        raise ValueError(
            f"`groups` must be [M], [batch, M] or [batch, heads, M] of a matrix of shape {list(A.shape)}: got {list(groups.shape)}."
        )
    columns = _columns_of(groups, count).to(at_least_float32(A.query).dtype)
    if matching_axes is not leading and groups.dim() > 1:
        columns = columns.unsqueeze(-3)
    group_masses = A @ columns
    return group_masses[..., 0] if groups.dtype == torch.bool else group_masses


def distance(A: Matrix, queries: Any, keys: Any) -> Float[Tensor, "... N"]:
    """The mean distance of each query to what it attends to."""
    _check_not_negative(A, "distance")
    if queries is None and keys is None and A.shape[-1] != A.shape[-2]:
        raise ValueError(
            f"`queries` and `keys` must say where they stand unless there are as many: got {A.shape[-2]} and {A.shape[-1]}."
        )
    x = _positions_of(A, "queries", queries if queries is not None else keys, A.shape[-2])
    y = _positions_of(A, "keys", keys if keys is not None else queries, A.shape[-1])
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"`queries` and `keys` must stand in one space: got {x.shape[-1]} and {y.shape[-1]} coordinates."
        )
    return A.reduce(statistics.distance(A.shape, x, y))[0][..., 0]


def position_std(A: Matrix, keys: Any) -> Float[Tensor, "... N"]:
    """The standard deviation of the positions that each row attends to."""
    _check_not_negative(A, "position_std")
    return A.reduce(statistics.position_std(A.shape, _positions_of(A, "keys", keys, A.shape[-1])))[0][..., 0]


def gather(A: Matrix, targets: Any) -> Float[Tensor, "..."]:
    """The weights of chosen keys."""
    targets, rows, keys = torch.as_tensor(targets, device=A.query.device), A.shape[:-1], A.shape[-1]
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
    weights = A.reduce(statistics.gather(A.shape, chosen))[0]
    return weights[..., 0] if single else weights


def diagonal(A: Matrix, offset: int) -> Float[Tensor, "... L"]:
    """The weights of keys j = i + offset."""
    rows, columns = A.shape[-2:]
    start, stop = max(-offset, 0), min(rows, columns - offset)
    target = torch.arange(rows, device=A.query.device) + offset
    return gather(A, target.masked_fill((target < 0) | (target >= columns), -1))[..., start : max(start, stop)]


def topk(A: Matrix, k: int) -> TopK:
    """The k largest weights of each row."""
    if not 1 <= k <= A.shape[-1]:
        raise ValueError(f"`k` must be from 1 to the {A.shape[-1]} keys: got {k}.")
    with torch.no_grad():
        top = top_of(A.reduce(statistics.topk(A.shape, k))[0])
    values = gather(A, top.indices) if A._differentiable() else top.values
    return TopK(values, top.indices, values.sum(-1))


def pool(A: Matrix, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
    """The matrix on a coarse grid."""
    row_cell, column_cell = _cells(A, rows, columns)
    by_column = A @ _columns_of(column_cell, columns).to(at_least_float32(A.query).dtype)
    total = by_column.new_zeros(*A.shape[:-2], rows, columns).index_add(-2, row_cell, by_column)
    return total / _sizes(row_cell, rows)


def pool_max(A: Matrix, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
    """The largest weight of each cell of a coarse grid."""
    row_cell, column_cell = _cells(A, rows, columns)
    by_row = A.reduce(statistics.max_of_cells(A.shape, column_cell, columns))[0]
    if not len(row_cell):
        return by_row.new_zeros(*A.shape[:-2], rows, columns)
    return torch.stack(
        [rows_of_cell.amax(-2) for rows_of_cell in by_row.split(torch.bincount(row_cell).tolist(), -2)], dim=-2
    )


def histogram(A: Matrix, edges: Sequence[float] | Tensor | None) -> Int[Tensor, "... bins"]:
    """How many weights lie between two edges."""
    dtype = at_least_float32(A.query).dtype
    bounds = torch.as_tensor(_EDGES if edges is None else edges, device=A.query.device).to(dtype)
    if bounds.dim() != 1 or len(bounds) < 2 or bool((bounds.diff() <= 0).any()):
        raise ValueError(f"`edges` must be two or more numbers in rising order: got {bounds.tolist()}.")
    with torch.no_grad():
        counts = A.reduce(statistics.count_above(A.shape, bounds))[0].long().sum(-2)
    outside = math.prod(A.shape[-2:]) - counts[..., -1:]  # they are 0
    reached = counts[..., :-1] + outside * torch.cat([bounds[:-1] <= 0, bounds[-1:] < 0])
    return -reached.diff(dim=-1)


def kl(A: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The divergence of each row from that of another matrix."""
    for matrix in (A, other):
        if isinstance(matrix, type(A)):
            _check_normalized(matrix, "kl")
    return _between(A, other, statistics.kl(A.shape))


def overlap(A: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The inner product of each row with that of another matrix."""
    return _between(A, other, statistics.overlap(A.shape))


def cosine(A: Matrix, other: Any) -> Float[Tensor, "... N"]:
    """The cosine between each row and that of another matrix."""
    return _between(A, other, statistics.cosine(A.shape))


def summary(A: Matrix, rows: int, columns: int) -> Summary:
    """All that is worth knowing, from one pass."""
    _check_not_negative(A, "summary")
    shape = A.shape
    rows, columns = min(rows, shape[-2]), min(columns, shape[-1])
    row_cell, column_cell = _cells(A, rows, columns)
    requested = {
        "max": statistics.max(shape),
        "effective_keys": statistics.effective_keys(shape),
        "first": statistics.column_weight(shape, 0),
        "received": statistics.received(shape, row_cell),
        "map": statistics.pool(shape, row_cell, column_cell, (rows, columns)),
    }
    if _has_lse(A):
        requested["lse"] = statistics.lse(shape)
    if A.mechanism.normalize.normalized:
        requested["entropy"] = statistics.entropy(shape)
    if shape[-1] == shape[-2]:
        positions = _positions_of(A, "keys", None, shape[-1])
        requested["distance"] = statistics.distance(shape, positions, positions)
    results = dict(zip(requested, A.reduce(*requested.values()), strict=True))
    of_rows = {name: t[..., 0] for name, t in results.items() if name not in ("lse", "map")}
    return Summary(
        lse=_visible_lse(results["lse"]) if "lse" in results else None,
        entropy=of_rows.get("entropy"),
        max=of_rows["max"],
        effective_keys=of_rows["effective_keys"],
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
