"""What kind a head is, by how much of its attention falls on the keys to which the known kinds of heads attend."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from heedful._types import Bool, Tensor
from heedful.inspection.calls import num_heads
from heedful.inspection.head_statistics import KINDS, Scores, compute, fits, head_statistics, is_cross
from heedful.inspection.tokens import Token, TokenInput, token_ids
from heedful.ops import AttentionMatrix

THRESHOLDS = dict.fromkeys(KINDS, 0.5) | {"uniform": 0.95}
"""From which score on a head is of a kind: a share of 0.5 is more than all the rest together."""

_BROAD = ("local", "uniform")  # what the others are special cases of


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
    tokens: TokenInput | None = None,
    separators: Sequence[Token] | None = None,
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
        tokens: of the keys of self-attention, strings or ids, `[M]` or `[B, M]`; a negative one is padding, which counts
            neither as a query nor as a repeated token. They are of the self-attention matrices with so many keys.
        separators: which tokens are separators, strings or ids as they are.
        queries: which queries count, `[N]` or `[B, N]`, for the matrices with so many.
        near: what is local, in positions.
        cross: the names of cross-attention. So is whatever has N != M, but where the pattern is aligned at the end, as
            `Causal("end")` is: there the last query stands at the last key.
        threshold: one for all kinds, or for some by name; by default `THRESHOLDS`.

    Raises:
        ValueError: `tokens` or `queries` fit no matrix, separators are given without tokens, `near` is negative, or a kind is
            unknown.
        TypeError: tokens are neither strings nor integers, or `queries` not booleans.

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
    ids, marks = (None, None) if tokens is None else token_ids(tokens, separators)
    rows, tokens_fit = [], tokens is None
    for name, matrix in matrices:
        crosses = is_cross(name, matrix, cross)
        tokens_fit = tokens_fit or (ids is not None and not crosses and fits(ids, matrix.shape, matrix.shape[-1]))
        of_heads = head_statistics(matrix, ids, marks, queries, near=near, crosses=crosses)
        with torch.no_grad():
            scores = of_heads.scores(compute(matrix, of_heads.statistics), slice(None))
        rows += classified(name, num_heads(matrix), scores, limits)
    shapes = dict.fromkeys(matrix.shape for _, matrix in matrices)
    if rows and ids is not None and not tokens_fit:
        _raise_sizes("`tokens` must be [M] or [B, M], one for each key of self-attention", ids, shapes)
    if rows and queries is not None and not any(fits(queries, shape, shape[-2]) for shape in shapes):
        _raise_sizes("`queries` must be [N] or [B, N], one for each query", queries, shapes)
    return HeadKinds(rows)


def classified(module: str, heads: int, scores: Scores, limits: Mapping[str, float] = THRESHOLDS) -> list[HeadKind]:
    """The heads of a matrix, each of the kind that its scores say.

    Args:
        module: the name of the matrix.
        heads: how many there are.
        scores: of each kind, one a head.
        limits: from which score on a head is of a kind.
    """
    return [_classified(module, head, {kind: s[head] for kind, s in scores.items()}, limits) for head in range(heads)]


def _classified(module: str, head: int, scores: dict[str, float | None], limits: Mapping[str, float]) -> HeadKind:
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


def _check(tokens: TokenInput | None, separators: Sequence[Token] | None, queries: Tensor | None, near: int) -> None:
    if separators is not None and tokens is None:
        raise ValueError("`separators` need `tokens`: got none.")
    if queries is not None and queries.dtype != torch.bool:
        raise TypeError(f"`queries` must be booleans: got {queries.dtype}.")
    if near < 0:
        raise ValueError(f"`near` must be 0 or more: got {near}.")


def _raise_sizes(rule: str, tensor: Tensor, shapes: Iterable[Sequence[int]]) -> None:
    sizes = ", ".join(str(list(shape)) for shape in shapes)
    raise ValueError(f"{rule}: got {list(tensor.shape)} for matrices of shape {sizes}.")


def _cell(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
