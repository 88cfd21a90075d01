"""The largest inner products of many rows, exactly, without all of them at once."""

from typing import NamedTuple

import torch

from heedful._checks import check_positive
from heedful._types import Float, Int, Tensor

_BLOCK = 4096  # rows of `items` at once: their products with a few hundred queries stay near the processor
_QUERIES = 256  # at once
_GROUP = 128  # scores of which the largest alone is looked at first


class BestItems(NamedTuple):
    """The largest scores of each row.

    Attributes:
        values: `[B, k]`, the largest first; -inf where there are fewer than k.
        indices: `[B, k]`, where they stand; -1 where there are fewer than k.
    """

    values: Float[Tensor, "B k"]
    indices: Int[Tensor, "B k"]


def top_inner_products(
    queries: Float[Tensor, "B D"],
    items: Float[Tensor, "M D"],
    k: int,
    *,
    exclude: tuple[Int[Tensor, "P"], Int[Tensor, "P"]] | None = None,
    within: Int[Tensor, "W"] | None = None,
) -> BestItems:
    """The k largest of `queries @ items.T` in each row, as `torch.topk` gives them, without gradient.

    Blocks of products are made and forgotten: what is stored is a block, and k numbers a row. Of a block, the largest of each group of
    128 scores tells where the k largest can be, and a row is left out whose best ones are all larger already. Among equal scores, any
    may be given.

    Args:
        queries: a row each.
        items: a row for each item.
        k: how many.
        exclude: pairs that do not count: rows of `queries`, and items.
        within: the items that count; None: all.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> queries, items = torch.eye(2), torch.tensor([[1.0, 5.0], [3.0, 2.0], [2.0, 4.0]])
        >>> top_inner_products(queries, items, 2).indices.tolist()
        [[1, 2], [0, 2]]
        >>> top_inner_products(queries, items, 2, exclude=(torch.tensor([0]), torch.tensor([1]))).indices.tolist()
        [[2, 0], [0, 2]]
    """
    k = check_positive("k", k)
    if queries.dim() != 2 or items.dim() != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(
            f"`queries` and `items` must be [B, D] and [M, D]: got {list(queries.shape)} and {list(items.shape)}."
        )
    within = None if within is None else within.unique()  # sorted
    with torch.no_grad():
        parts = []
        for start in range(0, len(queries), _QUERIES):
            chunk = queries[start : start + _QUERIES]
            pairs = None
            if exclude is not None:
                here = (exclude[0] >= start) & (exclude[0] < start + len(chunk))
                pairs = exclude[0][here] - start, exclude[1][here]
            parts.append(_of_chunk(chunk, items, k, pairs, within))
    if not parts:
        return BestItems(queries.new_empty(0, k), torch.empty(0, k, dtype=torch.long, device=queries.device))
    return BestItems(*map(torch.cat, zip(*parts, strict=True)))


def _of_chunk(
    queries: Tensor, items: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None, within: Tensor | None
) -> BestItems:
    best = BestItems(
        queries.new_full((len(queries), k), -torch.inf),
        torch.full((len(queries), k), -1, dtype=torch.long, device=queries.device),
    )
    count = len(items) if within is None else len(within)
    for start in range(0, count, _BLOCK):
        numbers = None if within is None else within[start : start + _BLOCK]
        block = items[start : start + _BLOCK] if numbers is None else items[numbers]
        scores = queries @ block.T  # [B, block]
        if exclude is not None:
            _mask(scores, exclude, start, numbers)
        best = _merged(best, scores, k, start, numbers)
    return best


def _mask(scores: Tensor, exclude: tuple[Tensor, Tensor], start: int, numbers: Tensor | None) -> None:
    rows, columns = exclude
    places = columns - start if numbers is None else torch.searchsorted(numbers, columns)
    here = (places >= 0) & (places < scores.shape[1])
    if numbers is not None:
        here &= numbers[places.clamp_max(len(numbers) - 1)] == columns
    scores[rows[here], places[here]] = -torch.inf


def _merged(best: BestItems, scores: Tensor, k: int, start: int, numbers: Tensor | None) -> BestItems:
    """The best of those so far and of a block."""
    size = scores.shape[1]
    if padding := -size % _GROUP:
        scores = torch.nn.functional.pad(scores, (0, padding), value=-torch.inf)
    groups = scores.unflatten(1, (-1, _GROUP))  # [B, G, 128]
    highest = groups.amax(-1)
    rows = (highest.amax(1) > best.values[:, -1]).nonzero()[:, 0]
    if not len(rows):
        return best
    few = highest[rows].topk(min(k, highest.shape[1]), sorted=False).indices  # [R, g]: where the k largest can be
    candidates = groups[rows[:, None], few].flatten(1)  # [R, g * 128]
    places = (few[..., None] * _GROUP + torch.arange(_GROUP, device=scores.device)).flatten(1)
    found = candidates.topk(min(k, candidates.shape[1]))
    at = places.gather(1, found.indices)
    real = (at < size) & (found.values > -torch.inf)
    at = at + start if numbers is None else numbers[at.clamp_max(size - 1)]
    values = torch.cat([best.values[rows], found.values.masked_fill(~real, -torch.inf)], 1)
    indices = torch.cat([best.indices[rows], at.masked_fill(~real, -1)], 1)
    kept = values.topk(k)
    best.values[rows], best.indices[rows] = kept.values, indices.gather(1, kept.indices)
    return best
