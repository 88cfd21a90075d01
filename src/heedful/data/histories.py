"""Histories: the items of each user in their order, and which of them are held out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._content import framed
from heedful.data.splits import Split, ordinal

__all__ = ["Histories", "HoldOut", "SplitName", "histories_of"]

SplitName = Literal["leave-one-out", "time", "users"]
_FEWEST = 10  # users of a validation part's data


@dataclass(frozen=True, eq=False)
class Histories:
    """The items of some users, one after the other.

    Of labeled data the last item of a user is what is to be predicted from those before it.

    Attributes:
        users: their names.
        items: the names of all items of the source, in the order in which they come up.
        events: the number of each item, `[events]`: those of the first user, then those of the next.
        offsets: where the items of each user begin, and the end, `[users + 1]`.
        times: seconds, `[events]`; or None.
        weights: of the events, `[events]`; or None.
        split: how examples are held out.
        labeled: whether the last item is what is to be predicted.
        whole: the same users with nothing held out; None where that is what these are.
        notes: what the reader said.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    events: NDArray[np.int64]
    offsets: NDArray[np.int64]
    times: NDArray[np.float64] | None = None
    weights: NDArray[np.float32] | None = None
    split: SplitName = "leave-one-out"
    labeled: bool = True
    whole: "Histories | None" = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many items each user has."""
        return np.diff(self.offsets)

    def of(self, row: int) -> NDArray[np.int64]:
        """The items of a user."""
        return self.events[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: Iterable[int]) -> Self:
        """Some of the users."""
        chosen = np.fromiter(rows, np.int64)
        return self.cut(chosen, self.lengths[chosen])

    def cut(self, rows: NDArray[np.int64], counts: NDArray[np.int64]) -> Self:
        """So many first items of these users."""
        offsets = np.concatenate([[0], np.cumsum(counts)])
        kept = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        return replace(
            self,
            users=tuple([self.users[row] for row in rows.tolist()]),
            events=self.events[kept],
            offsets=offsets,
            times=None if self.times is None else self.times[kept],
            weights=None if self.weights is None else self.weights[kept],
            whole=self.whole or self,
        )

    def content(self) -> Iterator[bytes]:
        """What a checksum is taken of."""
        yield framed(self.users, self.items, self.split, int(self.labeled))
        for array in (self.events, self.offsets, self.times, self.weights):
            yield b"-" if array is None else np.ascontiguousarray(array).tobytes()


def histories_of(
    users: Sequence[str],
    items: Sequence[str],
    times: Sequence[float] | None = None,
    weights: Sequence[float] | None = None,
    *,
    drop_duplicates: bool = True,
    split: SplitName = "leave-one-out",
    labeled: bool = True,
    location: str = "the data",
) -> Histories:
    """Histories of events in any order: users in the order in which they come up, their items by time.

    Without times, the order of the events counts. What is a duplicate: the same user, item and time; without times, the same
    item again right after itself. What was sorted or dropped stands in the notes.

    Args:
        users: of each event.
        items: likewise.
        times: likewise, in seconds.
        weights: likewise.
        drop_duplicates: whether of duplicates the first one alone is kept.
        split: how examples are held out later.
        labeled: whether the last item of a user is to be predicted.
        location: of the data, for notes.

    Example:
        >>> found = histories_of(["u", "v", "u"], ["a", "a", "b"], [2.0, 1.0, 1.0])
        >>> [found.items[number] for number in found.of(0)], found.notes
        (['b', 'a'], ('the data: 1 of 2 users had events that were not in the order of time: they are sorted',))
    """
    user_names, item_names = dict.fromkeys(users), dict.fromkeys(items)
    row_of = {name: row for row, name in enumerate(user_names)}
    number_of = {name: number for number, name in enumerate(item_names)}
    rows = np.array([row_of[name] for name in users], dtype=np.int64)
    events = np.array([number_of[name] for name in items], dtype=np.int64)
    at = None if times is None else np.asarray(times, dtype=np.float64)
    notes: list[str] = []
    order = np.argsort(rows, kind="stable") if at is None else np.lexsort([at, rows])
    if at is not None:
        plain = np.argsort(rows, kind="stable")
        late = (np.diff(at[plain]) < 0) & (np.diff(rows[plain]) == 0)
        if late.any():
            count = len(np.unique(rows[plain][1:][late]))
            notes.append(
                f"{location}: {count:,} of {len(user_names):,} users had events that were not in the order of time: they are sorted"
            )
    kept = np.ones(len(order), dtype=bool)
    if drop_duplicates and len(order):
        kept[order] = ~_repeats(rows[order], events[order], None if at is None else at[order])
        if dropped := int((~kept).sum()):
            what = "right after itself" if at is None else "at the same time"
            notes.append(
                f"{location}: {dropped:,} of {len(order):,} events are the same item of a user {what}: dropped"
            )
    order = order[kept[order]]
    counts = np.bincount(rows[order], minlength=len(user_names)) if len(order) else np.zeros(0, np.int64)
    return Histories(
        users=tuple(user_names),
        items=tuple(item_names),
        events=events[order],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        times=None if at is None else at[order],
        weights=None if weights is None else np.asarray(weights, dtype=np.float32)[order],
        split=split,
        labeled=labeled,
        notes=tuple(notes),
    )


def _repeats(rows: NDArray[np.int64], events: NDArray[np.int64], at: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Which events, in the order of users and times, are duplicates of one before them."""
    repeats = np.zeros(len(rows), dtype=bool)
    if at is None:
        repeats[1:] = (rows[1:] == rows[:-1]) & (events[1:] == events[:-1])
        return repeats
    order = np.lexsort([np.arange(len(rows)), events, at, rows])
    same = [array[order][1:] == array[order][:-1] for array in (rows, at, events)]
    repeats[order[1:]] = same[0] & same[1] & same[2]
    return repeats


class HoldOut:
    """Holds out the next item of users, as the histories say: for validation and for a test.

    - leave-one-out: of each user with at least three items the last one is for the test, the one before it for validation.
    - time: what happened before a first moment is trained on. Between it and a second one, the first item of each user is for
      validation; after that, for the test. The moments are those before which 80 % and 90 % of the events are.
    - users: of every tenth user the last item is for validation, of every other tenth for the test.
    """

    def __call__(self, examples: Histories, noun: str) -> Split:
        """Parts the histories; raises DataError where there are too few."""
        assert examples.split in get_args(SplitName)
        if examples.split == "time":
            return _by_time(examples)
        return _last_items(examples) if examples.split == "leave-one-out" else _apart(examples)


def _last_items(examples: Histories) -> Split:
    lengths, rows = examples.lengths, np.arange(len(examples))
    long = rows[lengths >= 3]
    _check_enough(len(long), "with at least 3 items", len(examples))
    training = examples.cut(rows, np.where(lengths >= 3, lengths - 2, lengths))
    if short := len(rows) - len(long):
        word = f"{short:,} of {len(rows):,} users have fewer than 3 items: all of them are trained on"
        training = replace(training, notes=(*training.notes, word))
    words = "the last item but one of each user, by which the best epoch is chosen,"
    return Split(training, examples.cut(long, lengths[long] - 1), words, examples.cut(long, lengths[long]))


def _apart(examples: Histories) -> Split:
    rows = np.arange(len(examples))
    long = examples.lengths >= 2
    _check_enough(int(long.sum()), "with at least 2 items", len(examples))
    numbers = np.cumsum(long) - 1  # among those that can be held out
    valid, test = (rows[long & (numbers % 10 == place)] for place in (9, 4))
    training = examples.select(np.setdiff1d(rows, np.concatenate([valid, test])))
    return Split(training, examples.select(valid), f"every {ordinal(10)} user", examples.select(test))


def _by_time(examples: Histories) -> Split:
    times = examples.times
    if times is None:
        raise DataError("must have a column of times, to be parted by time (data.split): got none")
    users = np.repeat(np.arange(len(examples)), examples.lengths)
    _check_enough(int((examples.lengths >= 2).sum()), "with at least 2 items", len(examples))
    ordered = np.sort(times)
    first, second = ordered[int(0.8 * len(ordered))], ordered[int(0.9 * len(ordered))]
    before = [np.bincount(users[times < moment], minlength=len(examples)) for moment in (first, second)]
    begun = np.flatnonzero(before[0] > 0)
    valid = np.flatnonzero((before[0] > 0) & (before[1] > before[0]))
    test = np.flatnonzero((before[1] > 0) & (examples.lengths > before[1]))
    if not len(valid) or not len(test):
        raise DataError(
            "must have users with events before and after the moments before which 80 % and 90 % of the events are: got none"
        )
    training = examples.cut(begun, before[0][begun])
    parts = examples.cut(valid, before[0][valid] + 1), examples.cut(test, before[1][test] + 1)
    words = "of each user the first item after 80 % of the events, by time,"
    return Split(training, parts[0], words, parts[1])


def _check_enough(count: int, which: str, users: int) -> None:
    if count < _FEWEST:
        raise DataError(
            f"must hold at least {_FEWEST} users {which}, to hold some out (or give --train and --valid): got {count} of {users:,}"
        )
