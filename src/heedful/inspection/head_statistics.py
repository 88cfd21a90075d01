"""The scores by which heads are told apart: how much of their attention falls on the keys that each kind attends to."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from heedful._types import Bool, Float, Int, Tensor
from heedful.inspection.calls import num_heads
from heedful.ops import AttentionMatrix, Causal, Documents, Local, Pattern, Statistic, WeightTile, statistics

KINDS = ("previous", "current", "next", "first", "same", "induction", "separator", "alignment", "local", "uniform")
_STILL = 1e-3  # a standard deviation below it, in keys, is rounding: the head looks at one place


Scores = dict[str, list[float | None]]


@dataclass(frozen=True, eq=False)
class HeadStatistics:
    """What is computed of a matrix to score its heads: statistics, which may be computed together with others.

    Attributes:
        statistics: of the matrix, by name.
        scores: from their values, and which samples of the batch count, the scores of each kind, one a head; None where
            a kind is not defined.
    """

    statistics: Mapping[str, Statistic]
    scores: Callable[[Mapping[str, Tensor], slice], Scores]


def compute(matrix: AttentionMatrix, statistics: Mapping[str, Statistic]) -> dict[str, Tensor]:
    """The values of statistics by name, all from one pass."""
    return dict(zip(statistics, matrix.reduce(*statistics.values()), strict=True))


def is_cross(name: str, matrix: AttentionMatrix, cross: Collection[str]) -> bool:
    """Whether a matrix is of cross-attention: by its name, or because its queries have no places among the keys."""
    return name in cross or not _aligned(matrix)


def head_statistics(
    matrix: AttentionMatrix,
    tokens: Int[Tensor, "*B N"] | None = None,
    separators: Sequence[int] | None = None,
    queries: Bool[Tensor, "*B N"] | None = None,
    *,
    near: int = 2,
    crosses: bool = False,
) -> HeadStatistics:
    """What scores the heads of one matrix; the arguments are those of `heedful.inspection.head_kinds`.

    Args:
        matrix: of `[..., H, N, M]`.
        tokens: of the keys; left aside where they do not fit, and in cross-attention.
        separators: which tokens are separators.
        queries: which queries count.
        near: what is local, in positions.
        crosses: whether it is cross-attention.
    """
    if tokens is not None and (crosses or not fits(tokens, matrix.shape, matrix.shape[-1])):
        tokens = None
    shape, normalize = matrix.shape, matrix.mechanism.normalize
    undefined: Scores = {kind: [None] * num_heads(matrix) for kind in KINDS}
    if normalize.signed or 0 in shape:
        return HeadStatistics({}, lambda values, samples: undefined)
    device = matrix.query.device
    tokens = None if tokens is None else tokens.to(device)
    offsets_of: dict[str, Sequence[int]] = (
        {} if crosses else {"previous": (-1,), "current": (0,), "next": (1,), "local": range(-near, near + 1)}
    )
    offsets = sorted({offset for several in offsets_of.values() for offset in several})
    columns = _columns(shape, offsets, device)
    targets = {} if crosses else _targets(tokens, separators, shape[-2])
    requested = {"near": statistics.gather(shape, columns), "inside": _inside(matrix, list(targets.values()))}
    if normalize.normalized:
        requested["entropy"] = statistics.entropy(shape)
    if crosses:
        keys = torch.arange(shape[-1], device=device, dtype=torch.float64)[:, None]
        requested |= {"positions": _key_positions(matrix), "spread": statistics.position_std(shape, keys)}

    def scores(values: Mapping[str, Tensor], samples: slice) -> Scores:
        ours = {name: _by_sample(matrix, values[name])[samples] for name in requested}
        near_mass, (visible, *masses) = ours["near"], ours["inside"].unbind(-1)
        there = _by_sample(matrix, _visible_at(matrix, columns).expand(*shape[:-1], columns.shape[-1]))[samples]
        scored, counts = dict(undefined), (visible >= 2) & _counted(matrix, tokens, queries)[samples]
        scored["first"] = _means(near_mass[..., 0], counts & there[..., 0])
        for kind, of_kind in offsets_of.items():
            at = [1 + offsets.index(offset) for offset in of_kind]
            mass, number = near_mass[..., at].sum(-1), there[..., at].sum(-1)
            defined = counts & (number > 0)
            if kind == "local":
                mass, defined = mass - number / visible.clamp(min=1), defined & (number < visible)
            scored[kind] = _means(mass, defined)
        for kind, mass, number in zip(targets, masses[::2], masses[1::2], strict=True):
            scored[kind] = _means(mass, counts & (number > 0))
        if normalize.normalized:
            scored["uniform"] = _means(ours["entropy"][..., 0] / visible.clamp(min=2).log(), counts)
        if crosses:
            expected, even = ours["positions"].unbind(-1)
            spread = ours["spread"][..., 0] / even.masked_fill(even == 0, 1)
            scored["alignment"] = _alignment(expected, spread, counts)
        return scored

    return HeadStatistics(requested, scores)


def _columns(shape: Sequence[int], offsets: Sequence[int], device: torch.device) -> Int[Tensor, "N K"]:
    """The first key, and those at some offsets from where each query stands, aligned at the end; -1 outside."""
    own = torch.arange(shape[-2], device=device)[:, None] + (shape[-1] - shape[-2])
    at = own + torch.tensor(offsets, dtype=torch.long, device=device)
    outside = (at < 0) | (at >= shape[-1])
    return torch.cat([torch.zeros_like(own), at.masked_fill(outside, -1)], dim=-1)


def _targets(tokens: Tensor | None, separators: Sequence[int] | None, queries: int) -> dict[str, Pattern]:
    """The keys to which each kind of head of self-attention attends that goes by tokens."""
    if tokens is None:
        return {}
    asking = tokens[..., tokens.shape[-1] - queries :]
    before = torch.cat([torch.full_like(tokens[..., :1], -1), tokens[..., :-1]], dim=-1)
    targets: dict[str, Pattern] = {
        "same": Documents(asking, tokens) & ~Local(0, 0, "end"),
        "induction": Documents(asking, before.masked_fill(tokens < 0, -1)) & Causal("end"),
    }
    if separators is not None:
        marked = torch.isin(tokens, torch.as_tensor(separators, dtype=tokens.dtype, device=tokens.device))
        targets["separator"] = Documents(torch.zeros_like(asking), marked.to(asking.dtype) - 1)
    return targets


def _inside(matrix: AttentionMatrix, patterns: Sequence[Pattern]) -> Statistic:
    """How many keys a row sees; for each pattern the mass in it, and how many visible keys are."""
    shape = matrix.shape
    cached: list[Any] = []  # masks that are the same for all heads serve all of a tile
    sees_all = matrix.bias is None and not matrix.pattern.masks_any(shape)

    def masks(tile: WeightTile) -> list[Any]:
        if cached and cached[0] is tile.rows:
            return cached
        if sees_all and not patterns:
            cached[:] = tile.rows, torch.full((len(tile.rows),), shape[-1], device=tile.rows.device)
            return cached
        visible = _visible(matrix, tile)
        masks_of_rows: list[Any] = [tile.rows, visible.sum(-1)]
        for pattern in patterns:
            inside = _of_heads(pattern.allowed(tile.rows[:, None], tile.columns[None], shape), tile, shape)
            here = _span(inside)
            inside = inside[..., here]
            masks_of_rows.append((here, inside.to(tile.weights.dtype), (visible[..., here] & inside).sum(-1)))
        if tile.heads is not None and all(
            number.dim() == 1 for number in (masks_of_rows[1], *(one[2] for one in masks_of_rows[2:]))
        ):
            cached[:] = masks_of_rows
        return masks_of_rows

    def of(tile: WeightTile) -> Tensor:
        _, visible, *of_patterns = masks(tile)
        columns = [visible]
        for here, inside, number in of_patterns:
            weights = tile.weights[..., here]
            columns += [statistics.dot(weights, inside.expand_as(weights))[..., 0], number]
        like = tile.weights[..., 0]
        return torch.stack([column.to(like.dtype).expand_as(like) for column in columns], dim=-1)

    return Statistic("row", (shape[-2], 1 + 2 * len(patterns)), of)


def _key_positions(matrix: AttentionMatrix) -> Statistic:
    """The expected position of the key, and the standard deviation of the positions of all keys that a row sees."""
    shape = matrix.shape

    def of(tile: WeightTile) -> Tensor:
        mass = tile.weights.sum(-1)
        position = tile.columns.to(tile.weights.dtype)
        expected = (tile.weights * position).sum(-1) / mass.masked_fill(mass == 0, 1)
        visible, position = _visible(matrix, tile).double(), tile.columns.double()
        count = visible.sum(-1, keepdim=True).clamp(min=1)
        away = position - (visible * position).sum(-1, keepdim=True) / count
        even = ((visible * away.square()).sum(-1) / count[..., 0]).sqrt()
        return torch.stack(torch.broadcast_tensors(expected, even.to(expected.dtype)), dim=-1)

    return Statistic("row", (shape[-2], 2), of)


def _visible(matrix: AttentionMatrix, tile: WeightTile) -> Bool[Tensor, "... n m"]:
    """Which keys the rows of a tile may see."""
    shape, rows, columns = matrix.shape, tile.rows[:, None], tile.columns[None]
    visible = _of_heads(matrix.pattern.allowed(rows, columns, shape), tile, shape)
    if matrix.bias is not None:
        bias = matrix.bias.at(rows, columns, shape)
        visible = visible & _of_heads(bias > torch.finfo(bias.dtype).min / 2, tile, shape)
    return visible.expand(*visible.shape[:-2], len(tile.rows), len(tile.columns))


def _visible_at(matrix: AttentionMatrix, columns: Int[Tensor, "N K"]) -> Bool[Tensor, "... N K"]:
    """Which of some keys of each row it may see; -1 is none."""
    rows, keys = torch.arange(len(columns), device=columns.device)[:, None, None], columns.clamp(min=0)[:, None]
    visible = matrix.pattern.allowed(rows, keys, matrix.shape)[..., 0, :] & (columns >= 0)
    if matrix.bias is not None:
        bias = matrix.bias.at(rows, keys, matrix.shape)[..., 0, :]
        visible = visible & (bias > torch.finfo(bias.dtype).min / 2)
    return visible


def _span(inside: Bool[Tensor, "... n m"]) -> slice:
    """The columns beyond which a mask is False."""
    columns = inside.flatten(0, -2).any(0).nonzero()
    return slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 0)


def _of_heads(mask: Bool[Tensor, "..."], tile: WeightTile, shape: Sequence[int]) -> Bool[Tensor, "... n m"]:
    """A mask with axes of its own for batch and heads, as it stands beside the weights of a tile."""
    mask = mask.reshape((1,) * (len(shape) - mask.dim()) + mask.shape)
    if tile.heads is None:
        return mask
    if all(size == 1 for size in mask.shape[:-2]):
        return mask.reshape(mask.shape[-2:])
    flat = torch.arange(math.prod(shape[:-2]), device=mask.device)[tile.heads]
    indices = torch.unravel_index(flat, tuple(shape[:-2]))
    return mask[tuple(index.clamp(max=size - 1) for index, size in zip(indices, mask.shape, strict=False))]


def _alignment(
    expected: Float[Tensor, "S H N"], spread: Float[Tensor, "S H N"], counts: Bool[Tensor, "S H N"]
) -> list[float | None]:
    """How far each head walks along the keys, one at a time."""
    number = counts.sum(-1)
    every = number.clamp(min=1)[..., None]

    def centered(x: Tensor) -> Tensor:
        return (x - (x * counts).sum(-1, keepdim=True) / every) * counts

    key = centered(expected.double())
    query = centered(torch.arange(expected.shape[-1], device=expected.device).double().expand_as(expected))
    key_variance, query_variance = (x.square().sum(-1) / every[..., 0] for x in (key, query))
    still = key_variance < _STILL**2
    product = (key * query).sum(-1) / every[..., 0]
    correlation = product / (key_variance * query_variance).masked_fill(still, math.inf).sqrt()
    sharpness = ((1 - spread).clamp(min=0) * counts).sum(-1) / every[..., 0]
    return _means((correlation.clamp(min=0) * sharpness)[..., None], (number >= 3)[..., None])


def _means(values: Float[Tensor, "S H N"], counts: Bool[Tensor, "S H N"]) -> list[float | None]:
    """The mean of each head over what counts; None where nothing does."""
    total, number = values.masked_fill(~counts, 0).double().sum((0, 2)), counts.sum((0, 2))
    return [t / n if n else None for t, n in zip(total.tolist(), number.tolist(), strict=True)]


def _counted(matrix: AttentionMatrix, tokens: Tensor | None, queries: Tensor | None) -> Bool[Tensor, "S 1 N"]:
    """Which queries count: those that are asked for and no padding."""
    shape, rows = matrix.shape, matrix.shape[-2]
    lead = shape[: _batch_axes(shape)]
    counted = torch.ones(math.prod(lead), 1, rows, dtype=torch.bool, device=matrix.query.device)
    if tokens is not None:
        counted = counted & (tokens[..., tokens.shape[-1] - rows :] >= 0).expand(*lead, rows).reshape(-1, 1, rows)
    if queries is not None and fits(queries, shape, rows):
        counted = counted & queries.to(counted.device).expand(*lead, rows).reshape(-1, 1, rows)
    return counted


def _by_sample(matrix: AttentionMatrix, values: Float[Tensor, "... c"]) -> Float[Tensor, "S H N c"]:
    return values.reshape(-1, num_heads(matrix), *values.shape[-2:])


def _batch_axes(shape: Sequence[int]) -> int:
    """How many axes stand before the heads."""
    return max(len(shape) - 3, 0)


def _aligned(matrix: AttentionMatrix) -> bool:
    """Whether each query has a position among the keys: as many of both, or the last query at the last key."""
    queries, keys = matrix.shape[-2:]
    at_end = any(getattr(part, "align", None) == "end" for part in matrix.pattern.conjuncts())
    return queries == keys or (queries < keys and at_end)


def fits(per_position: Tensor, shape: Sequence[int], positions: int) -> bool:
    """Whether a tensor `[*B, N]` lines up with a matrix of that shape and so many positions."""
    lead = per_position.shape[:-1]
    lines_up = len(lead) <= _batch_axes(shape) and all(a in (1, b) for a, b in zip(lead, shape, strict=False))
    return lines_up and per_position.shape[-1] == positions
