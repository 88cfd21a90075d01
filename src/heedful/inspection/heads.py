"""What kind a head is: how much of its attention falls where the known kinds of heads look."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from heedful._types import Bool, Float, Int, Tensor
from heedful.ops import AttentionMatrix, Causal, Documents, Local, Pattern, Statistic, WeightTile, statistics

THRESHOLDS = {
    "previous": 0.5,
    "current": 0.5,
    "next": 0.5,
    "first": 0.5,
    "same": 0.5,
    "induction": 0.5,
    "separator": 0.5,
    "alignment": 0.5,
    "local": 0.5,
    "uniform": 0.95,
}
"""From which score on a head is of a kind: a share of 0.5 is more than all the rest together."""

_BROAD = ("local", "uniform")  # what the others are special cases of
_STILL = 1e-3  # a standard deviation below it, in keys, is rounding: the head looks at one place


class HeadKind(NamedTuple):
    """One head.

    Attributes:
        module: the name of its matrix.
        head: its number.
        kind: a key of `THRESHOLDS`, or "other".
        score: of that kind; None for "other".
        scores: of every kind; None where it is not defined.
    """

    module: str
    head: int
    kind: str
    score: float | None
    scores: dict[str, float | None]


class HeadKinds(Sequence[HeadKind]):
    """The heads of some matrices, in their order; `str` is a table."""

    def __init__(self, rows: Sequence[HeadKind]) -> None:
        self.rows = tuple(rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, kind: str) -> list[HeadKind]:
        """The heads of one kind, the highest score first.

        Raises:
            ValueError: there is no such kind.
        """
        _check_kinds([kind], (*THRESHOLDS, "other"))
        return sorted((row for row in self.rows if row.kind == kind), key=lambda row: -(row.score or 0.0))

    def __str__(self) -> str:
        """A row a head: its module, number and kind, and the score of every kind ("-": not defined)."""
        table = [("module", "head", "kind", *THRESHOLDS)]
        table += [(r.module, str(r.head), r.kind, *(_cell(r.scores[k]) for k in THRESHOLDS)) for r in self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(r, widths, strict=True)).rstrip() for r in table)


def head_kinds(
    matrices: Sequence[tuple[str, AttentionMatrix]],
    tokens: Int[Tensor, "*B N"] | None = None,
    separators: Sequence[int] | None = None,
    *,
    queries: Bool[Tensor, "*B N"] | None = None,
    near: int = 2,
    cross: Collection[str] = (),
    threshold: float | Mapping[str, float] | None = None,
) -> HeadKinds:
    """Scores each head for the known kinds, from exact weights that are never stored.

    The score of most kinds is the mass on some keys, as a mean over the batch and the queries that see such a key. In
    self-attention, query i gives it

    - previous, current, next: to the key at i - 1, i, i + 1;
    - first: to key 0 (an attention sink; Xiao et al. 2024);
    - same: to the other places of its own token ("duplicate token"; Wang et al. 2023);
    - induction: to keys j <= i that follow an occurrence of its token, `token_(j-1) = token_i` (Olsson et al. 2022);
    - separator: to separators (Clark et al. 2019, section 3.2);
    - local: to the keys from `i - near` to `i + near`, less the share that these are of the keys that it sees.

    "uniform" is the entropy over the logarithm of the number of visible keys. In cross-attention, "first" and "uniform"
    are as above, and

    - alignment: `max(r, 0) * mean_i max(1 - sd_i / sd'_i, 0)`, with r the correlation over the queries of i with the
      expected position of the key `sum_j p_ij j / sum_j p_ij`, sd_i the standard deviation of that position and sd'_i what
      it would be if all visible keys got the same. It is 1 for a head that walks along the keys, one at a time, evenly
      fast; a mean over the batch. (Ren et al. 2019 choose such heads by their largest weights, "focus rate"; spread does
      not depend on how many keys a query lasts.)

    Queries that see fewer than two keys count for nothing. A key is hidden by the pattern, or by a bias of at most half
    the lowest number of its dtype. The other kinds, kinds for which tokens are needed and not given, and those of which no query is
    defined, have the score None; "uniform" has it where weights do not add up to 1, all have it where weights may be negative.

    A head is of the kind with the highest score of those that reach their threshold; of "local" and "uniform" only if it
    is of no other; otherwise it is "other".

    Args:
        matrices: names and matrices `[..., H, N, M]`, or `[N, M]` for one head.
        tokens: of the keys of self-attention, `[M]` or `[B, M]`; a negative one is padding, which counts neither as a query
            nor as a repeated token. They are of the self-attention matrices with so many keys.
        separators: which tokens are separators.
        queries: which queries count, `[N]` or `[B, N]`, for the matrices with so many.
        near: what is local, in positions.
        cross: the names of cross-attention. So is whatever has N != M, but where the pattern is aligned at the end, as
            `Causal("end")` is: there the last query stands at the last key.
        threshold: one for all kinds, or for some by name; by default `THRESHOLDS`.

    Raises:
        ValueError: `tokens` or `queries` fit no matrix, separators are given without tokens, `near` is negative, or a kind is
            unknown.
        TypeError: tokens are not integers, or `queries` not booleans.

    Example:
        >>> x = 20 * torch.eye(6)  # each position has a key of its own, and asks for that of the position before
        >>> A = AttentionMatrix(x.roll(1, 0)[None, None], x[None, None], pattern=Causal())
        >>> [row] = head_kinds([("layer.0", A)], tokens=torch.tensor([5, 6, 7, 5, 6, 7]))
        >>> row.kind, round(row.score, 3), round(row.scores["uniform"], 3), row.scores["next"]
        ('previous', 1.0, 0.0, None)
        >>> print(head_kinds([("layer.0", A)]))
        module   head  kind      previous  current  next  first  same  induction  separator  alignment  local  uniform
        layer.0  0     previous  1.00      0.00     -     0.20   -     -          -          -          0.38   0.00
    """
    limits = _limits(threshold)
    _check(tokens, separators, queries, near)
    rows, fits = [], tokens is None
    for name, matrix in matrices:
        asked = questions(name, matrix, tokens, separators, queries, near=near, cross=cross, limits=limits)
        fits = fits or (tokens is not None and not asked.crosses and _fits(tokens, matrix.shape, matrix.shape[-1]))
        with torch.no_grad():
            rows += asked.rows(ask(matrix, asked.statistics), slice(None))
    shapes = dict.fromkeys(matrix.shape for _, matrix in matrices)
    if rows and not fits:
        _raise_sizes("`tokens` must be [M] or [B, M], one for each key of self-attention", tokens, shapes)
    if rows and queries is not None and not any(_fits(queries, shape, shape[-2]) for shape in shapes):
        _raise_sizes("`queries` must be [N] or [B, N], one for each query", queries, shapes)
    return HeadKinds(rows)


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked of a matrix to tell its kinds of heads: statistics, which may pass by together with others.

    Attributes:
        crosses: whether it is cross-attention.
        statistics: to be asked of the matrix, by name.
        rows: from what was found, its heads, as means over some of the batch.
    """

    crosses: bool
    statistics: Mapping[str, Statistic]
    rows: Callable[[Mapping[str, Tensor], slice], list[HeadKind]]


def ask(matrix: AttentionMatrix, statistics: Mapping[str, Statistic]) -> dict[str, Tensor]:
    """What statistics find, all in one pass."""
    return dict(zip(statistics, matrix.reduce(*statistics.values()), strict=True))


def questions(
    name: str,
    matrix: AttentionMatrix,
    tokens: Int[Tensor, "*B N"] | None = None,
    separators: Sequence[int] | None = None,
    queries: Bool[Tensor, "*B N"] | None = None,
    *,
    near: int = 2,
    cross: Collection[str] = (),
    limits: Mapping[str, float] = THRESHOLDS,
) -> Questions:
    """What `head_kinds`, whose arguments these are, asks of one matrix."""
    crosses = name in cross or not _aligned(matrix)
    own = None
    if tokens is not None and not crosses and _fits(tokens, matrix.shape, matrix.shape[-1]):
        own = tokens.to(matrix.query.device)
    asked, scores = _asked(matrix, crosses, own, separators, queries, near)

    def rows(found: Mapping[str, Tensor], samples: slice) -> list[HeadKind]:
        of_kinds = scores(found, samples)
        return [_row(name, head, {k: s[head] for k, s in of_kinds.items()}, limits) for head in range(_heads(matrix))]

    return Questions(crosses, asked, rows)


def _asked(
    matrix: AttentionMatrix,
    crosses: bool,
    tokens: Tensor | None,
    separators: Sequence[int] | None,
    queries: Tensor | None,
    near: int,
) -> tuple[Mapping[str, Statistic], Callable[[Mapping[str, Tensor], slice], dict[str, list[float | None]]]]:
    """What is asked of one matrix, and what makes of it the scores of each kind, one a head."""
    shape, normalize = matrix.shape, matrix.mechanism.normalize
    none: dict[str, list[float | None]] = {kind: [None] * _heads(matrix) for kind in THRESHOLDS}
    if normalize.signed or 0 in shape:
        return {}, lambda found, samples: none
    device = matrix.query.device
    places: dict[str, Sequence[int]] = (
        {} if crosses else {"previous": (-1,), "current": (0,), "next": (1,), "local": range(-near, near + 1)}
    )
    offsets = sorted({offset for every in places.values() for offset in every})
    columns = _columns(shape, offsets, device)
    targets = {} if crosses else _targets(tokens, separators, shape[-2])
    asked = {"near": statistics.at(shape, columns), "inside": _inside(matrix, list(targets.values()))}
    if normalize.adds_up:
        asked["entropy"] = statistics.entropy(shape)
    if crosses:
        keys = torch.arange(shape[-1], device=device, dtype=torch.float64)[:, None]
        asked |= {"places": _places(matrix), "spread": statistics.spread(shape, keys)}

    def scores(every: Mapping[str, Tensor], samples: slice) -> dict[str, list[float | None]]:
        found = {name: _by_sample(matrix, every[name])[samples] for name in asked}
        near_by, (seen, *masses) = found["near"], found["inside"].unbind(-1)
        there = _by_sample(matrix, _visible_at(matrix, columns).expand(*shape[:-1], columns.shape[-1]))[samples]
        scored, counts = dict(none), (seen >= 2) & _counted(matrix, tokens, queries)[samples]
        scored["first"] = _means(near_by[..., 0], counts & there[..., 0])
        for kind, of_kind in places.items():
            at = [1 + offsets.index(offset) for offset in of_kind]
            mass, number = near_by[..., at].sum(-1), there[..., at].sum(-1)
            defined = counts & (number > 0)
            if kind == "local":
                mass, defined = mass - number / seen.clamp(min=1), defined & (number < seen)
            scored[kind] = _means(mass, defined)
        for kind, mass, number in zip(targets, masses[::2], masses[1::2], strict=True):
            scored[kind] = _means(mass, counts & (number > 0))
        if normalize.adds_up:
            scored["uniform"] = _means(found["entropy"][..., 0] / seen.clamp(min=2).log(), counts)
        if crosses:
            expected, even = found["places"].unbind(-1)
            spread = found["spread"][..., 0] / even.masked_fill(even == 0, 1)
            scored["alignment"] = _alignment(expected, spread, counts)
        return scored

    return asked, scores


def _columns(shape: Sequence[int], offsets: Sequence[int], device: torch.device) -> Int[Tensor, "N K"]:
    """The first key, and those at some offsets from where each query stands, aligned at the end; -1 outside."""
    own = torch.arange(shape[-2], device=device)[:, None] + (shape[-1] - shape[-2])
    at = own + torch.tensor(offsets, dtype=torch.long, device=device)
    outside = (at < 0) | (at >= shape[-1])
    return torch.cat([torch.zeros_like(own), at.masked_fill(outside, -1)], dim=-1)


def _targets(tokens: Tensor | None, separators: Sequence[int] | None, queries: int) -> dict[str, Pattern]:
    """Where each kind of head of self-attention looks that goes by tokens."""
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
    kept: list[Any] = []  # masks that are the same for all heads serve all of a tile

    sees_all = matrix.bias is None and not matrix.pattern.masks_any(shape)

    def masks(tile: WeightTile) -> list[Any]:
        if kept and kept[0] is tile.rows:
            return kept
        if sees_all and not patterns:
            kept[:] = tile.rows, torch.full((len(tile.rows),), shape[-1], device=tile.rows.device)
            return kept
        visible = _visible(matrix, tile)
        found: list[Any] = [tile.rows, visible.sum(-1)]
        for pattern in patterns:
            inside = _of_heads(pattern.allowed(tile.rows[:, None], tile.columns[None], shape), tile, shape)
            here = _span(inside)
            inside = inside[..., here]
            found.append((here, inside.to(tile.weights.dtype), (visible[..., here] & inside).sum(-1)))
        if tile.heads is not None and all(number.dim() == 1 for number in (found[1], *(one[2] for one in found[2:]))):
            kept[:] = found
        return found

    def of(tile: WeightTile) -> Tensor:
        _, seen, *ours = masks(tile)
        found = [seen]
        for here, inside, number in ours:
            weights = tile.weights[..., here]
            found += [statistics.dot(weights, inside.expand_as(weights))[..., 0], number]
        like = tile.weights[..., 0]
        return torch.stack([f.to(like.dtype).expand_as(like) for f in found], dim=-1)

    return Statistic("row", (shape[-2], 1 + 2 * len(patterns)), of)


def _places(matrix: AttentionMatrix) -> Statistic:
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
    rows, places = torch.arange(len(columns), device=columns.device)[:, None, None], columns.clamp(min=0)[:, None]
    visible = matrix.pattern.allowed(rows, places, matrix.shape)[..., 0, :] & (columns >= 0)
    if matrix.bias is not None:
        bias = matrix.bias.at(rows, places, matrix.shape)[..., 0, :]
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
    places = torch.unravel_index(flat, tuple(shape[:-2]))
    return mask[tuple(place.clamp(max=size - 1) for place, size in zip(places, mask.shape, strict=False))]


def _alignment(
    expected: Float[Tensor, "S H N"], spread: Float[Tensor, "S H N"], counts: Bool[Tensor, "S H N"]
) -> list[float | None]:
    """How far each head walks along the keys, one at a time."""
    number = counts.sum(-1)
    every = number.clamp(min=1)[..., None]

    def centred(x: Tensor) -> Tensor:
        return (x - (x * counts).sum(-1, keepdim=True) / every) * counts

    key = centred(expected.double())
    query = centred(torch.arange(expected.shape[-1], device=expected.device).double().expand_as(expected))
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
    if queries is not None and _fits(queries, shape, rows):
        counted = counted & queries.to(counted.device).expand(*lead, rows).reshape(-1, 1, rows)
    return counted


def _by_sample(matrix: AttentionMatrix, found: Float[Tensor, "... c"]) -> Float[Tensor, "S H N c"]:
    return found.reshape(-1, _heads(matrix), *found.shape[-2:])


def _heads(matrix: AttentionMatrix) -> int:
    return matrix.shape[-3] if len(matrix.shape) > 2 else 1


def _batch_axes(shape: Sequence[int]) -> int:
    """How many axes stand before the heads."""
    return max(len(shape) - 3, 0)


def _aligned(matrix: AttentionMatrix) -> bool:
    """Whether each query has a place among the keys: as many of both, or the last query at the last key."""
    queries, keys = matrix.shape[-2:]
    at_end = any(getattr(part, "align", None) == "end" for part in matrix.pattern.conjuncts())
    return queries == keys or (queries < keys and at_end)


def _fits(given: Tensor, shape: Sequence[int], positions: int) -> bool:
    """Whether what is given for each position lines up with a matrix."""
    lead = given.shape[:-1]
    lines_up = len(lead) <= _batch_axes(shape) and all(a in (1, b) for a, b in zip(lead, shape, strict=False))
    return lines_up and given.shape[-1] == positions


def _row(module: str, head: int, scores: dict[str, float | None], limits: Mapping[str, float]) -> HeadKind:
    reached = {k: s for k, s in scores.items() if s is not None and s >= limits[k]}
    narrow = {k: s for k, s in reached.items() if k not in _BROAD}
    kind = max(narrow or reached, key=lambda k: reached[k], default="other")
    return HeadKind(module, head, kind, reached.get(kind), scores)


def _limits(threshold: float | Mapping[str, float] | None) -> dict[str, float]:
    if threshold is None:
        return THRESHOLDS
    if isinstance(threshold, Mapping):
        _check_kinds(threshold, THRESHOLDS)
        return {**THRESHOLDS, **threshold}
    return dict.fromkeys(THRESHOLDS, threshold)


def _check_kinds(kinds: Iterable[str], known: Iterable[str]) -> None:
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"a kind of head must be one of {', '.join(known)}: got {kind!r}.")


def _check(tokens: Tensor | None, separators: Sequence[int] | None, queries: Tensor | None, near: int) -> None:
    if separators is not None and tokens is None:
        raise ValueError("`separators` need `tokens`: got none.")
    if tokens is not None and (tokens.is_floating_point() or tokens.dtype == torch.bool):
        raise TypeError(f"`tokens` must be integers: got {tokens.dtype}.")
    if queries is not None and queries.dtype != torch.bool:
        raise TypeError(f"`queries` must be booleans: got {queries.dtype}.")
    if near < 0:
        raise ValueError(f"`near` must be 0 or more: got {near}.")


def _raise_sizes(rule: str, given: Tensor | None, shapes: Iterable[Sequence[int]]) -> None:
    assert given is not None
    sizes = ", ".join(str(list(shape)) for shape in shapes)
    raise ValueError(f"{rule}: got {list(given.shape)} for matrices of shape {sizes}.")


def _cell(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
