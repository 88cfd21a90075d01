"""Where the right item stands: ranks among all items and among drawn ones, and the metrics of them.

An item that has the same score as the right one counts as if it stood before it, so that a method that tells nothing apart
finds nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.tasks.contract import Metric

CUTOFFS = (10, 5, 20)
DRAWN = 100  # items that the right one is compared with in the measure with drawn ones
_MOST_SCORES = 1 << 24  # of some users and all items
MISSED = 1 << 60  # the rank of an item that cannot be found


class Targets(NamedTuple):
    """What is to be found for some users.

    Attributes:
        seen: of each user the numbers of the known items of the history, in their order.
        items: `[users]`, the number of the right item; -1 where it is not known.
        drawn: `[users, 100]`, items to compare with, none of them in the history or the right one where others are there.
    """

    seen: Sequence[NDArray[np.int64]]
    items: NDArray[np.int64]
    drawn: NDArray[np.int64]


class Ranks(NamedTuple):
    """What was found for each user.

    Attributes:
        ranks: `[users]`, from 1.
        sampled: `[users]`, among the right item and the drawn ones.
        best: `[users, 20]`, the items of the largest scores; -1 where there are none.
        scores: `[users, 20]`, of these.
    """

    ranks: NDArray[np.int64]
    sampled: NDArray[np.int64]
    best: NDArray[np.int64]
    scores: NDArray[np.float32]


def targets_of(seen: Sequence[NDArray[np.int64]], items: NDArray[np.int64], count: int) -> Targets:
    """Targets with items to compare with, the same ones each time: drawn alike, with replacement, of what a user has not seen."""
    random, users = np.random.default_rng(0), len(items)
    rows = np.repeat(np.arange(users), [len(one) for one in seen])
    taken = np.concatenate(
        [rows * count + np.concatenate([*seen, []]).astype(np.int64), np.arange(users) * count + items]
    )
    drawn = random.integers(count, size=(users, DRAWN))
    for _ in range(20):  # few are drawn again, but where nearly all items are seen
        wrong = np.isin(np.arange(users)[:, None] * count + drawn, taken)
        if not wrong.any():
            break
        drawn[wrong] = random.integers(count, size=int(wrong.sum()))
    return Targets(seen, items, drawn)


def rank(score: Callable[[range], Tensor], targets: Targets, count: int, *, remove_seen: bool) -> Ranks:
    """Where the right items stand.

    Args:
        score: gives the scores `[users, count]` of some of the users; they may be changed.
        targets: what is to be found.
        count: how many items there are.
        remove_seen: whether items of the history cannot be found.
    """
    parts = [_of(score(rows), rows, targets, remove_seen) for rows in _chunks(len(targets.items), count)]
    empty = Ranks(
        *(np.zeros(0, np.int64),) * 2, np.zeros((0, max(CUTOFFS)), np.int64), np.zeros((0, max(CUTOFFS)), np.float32)
    )
    return Ranks(*map(np.concatenate, zip(*parts, strict=True))) if parts else empty


def _chunks(users: int, items: int) -> Iterator[range]:
    size = max(min(_MOST_SCORES // items, 512), 1)
    for start in range(0, users, size):
        yield range(start, min(start + size, users))


def _of(scores: Tensor, rows: range, targets: Targets, remove_seen: bool) -> Ranks:
    wanted = torch.from_numpy(targets.items[rows.start : rows.stop])
    if remove_seen:
        scores[seen_pairs([targets.seen[row] for row in rows])] = -torch.inf
    ranks, value = ranks_of(scores, wanted)
    drawn = scores.gather(1, torch.from_numpy(targets.drawn[rows.start : rows.stop]))
    sampled = 1 + (drawn >= value[:, None]).sum(1)
    sampled[ranks == MISSED] = MISSED
    most = max(CUTOFFS)
    found = scores.topk(min(most, scores.shape[1]))
    hidden = found.values == -torch.inf
    pad = (0, most - found.values.shape[1])
    best = torch.nn.functional.pad(found.indices.masked_fill(hidden, -1), pad, value=-1)
    values = torch.nn.functional.pad(found.values, pad, value=-torch.inf)
    return Ranks(ranks.numpy(), sampled.numpy(), best.numpy(), values.float().numpy())


def ranks_of(scores: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The rank of the right item in each row of scores, and its score; one that is not known, or cannot be found, is last."""
    value = scores.gather(1, wanted.clamp_min(0)[:, None])[:, 0]
    ranks = torch.from_numpy(
        np.count_nonzero((scores >= value[:, None]).cpu().numpy(), axis=1)
    )  # many times as fast as a sum
    return ranks.masked_fill((wanted < 0) | (value == -torch.inf), MISSED), value


def seen_pairs(seen: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """The histories of some users as pairs: rows, items."""
    rows = np.repeat(np.arange(len(seen)), [len(one) for one in seen])
    return torch.from_numpy(rows), torch.from_numpy(np.concatenate([*seen, []]).astype(np.int64))


def ranking_metrics(
    ranks: Sequence[int], sampled: Sequence[int], best: Sequence[Sequence[object]], items: int
) -> dict[str, Metric]:
    """NDCG, hit rate, mean reciprocal rank and coverage at 10, 5 and 20; NDCG and hit rate at 10 among 100 drawn items.

    With one right item of rank r, NDCG at k is `1 / log2(1 + r)` and the reciprocal rank `1 / r` where r is at most k, else 0.

    Args:
        ranks: of each user.
        sampled: likewise, among drawn items.
        best: of each user the best items.
        items: how many there are: coverage is the share of them that is among the best of anyone.

    Example:
        >>> found = ranking_metrics([1, 3, 30], [1, 1, 12], [["a", "b"], ["b"], ["b"]], items=4)
        >>> found["ndcg_at_10"].value, found["coverage_at_5"].value
        (0.5, 0.5)

    Source: NDCG: Järvelin and Kekäläinen 2002; with drawn items: Krichene and Rendle 2020, who show that it misleads.
    """
    values: dict[str, Metric] = {}
    r = np.asarray(ranks, dtype=np.float64)
    for k in CUTOFFS:
        hit = r <= k
        covered = {item for one in best for item in one[:k]}
        values[f"ndcg_at_{k}"] = Metric(float(np.mean(hit / np.log2(1 + r))), "of 1")
        values[f"hit_rate_at_{k}"] = Metric(float(np.mean(hit)))
        values[f"mrr_at_{k}"] = Metric(float(np.mean(hit / r)), "of 1")
        values[f"coverage_at_{k}"] = Metric(len(covered) / items)
    s = np.asarray(sampled, dtype=np.float64)
    values["sampled_ndcg_at_10"] = Metric(float(np.mean((s <= 10) / np.log2(1 + s))), "of 1")
    values["sampled_hit_rate_at_10"] = Metric(float(np.mean(s <= 10)))
    return values
