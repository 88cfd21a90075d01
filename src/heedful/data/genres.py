"""Histories of made-up users, embedded: who follows two genres at once, and goes on with each where it was left.

A hidden Markov chain tells of which of a user's two genres the next item is; now and then one of them is exchanged for another.
Within a genre the items stand in a circle, in which each user goes on by steps of one length: 1, 2 or 3. The next item mostly
lies such a step behind the one that the user had last of this genre, which may lie several items back; else it is drawn by
popularity. So popularity and what followed earlier items each tell a part; who compares items of a genre also knows the step.
"""

from functools import lru_cache
from typing import Literal

import numpy as np

from heedful.data.histories import Histories, histories_of

__all__ = ["GENRES", "genre_histories"]

GENRES = "genres"  # what a person types for them
NAMES = ("blues", "dub", "folk", "jazz", "opera", "punk", "salsa", "tango")
PER_GENRE = 25
USERS = {"train": 1600, "test": 400}

_SHORTEST, _LONGEST = 8, 40  # items of a user
_STAYS, _GOES_ON, _EXCHANGES = 0.6, 0.8, 0.06  # probabilities
_STEPS = (1, 2, 3)
_DAY = 86_400.0


@lru_cache(maxsize=2)
def genre_histories(part: Literal["train", "test"] = "train") -> Histories:
    """The histories of a part, the same each time, with times.

    Example:
        >>> found = genre_histories()
        >>> len(found), len(found.items)
        (1600, 200)
    """
    random = np.random.default_rng([7, part == "test"])
    popularity = 1 / np.arange(1, PER_GENRE + 1)
    popularity /= popularity.sum()
    ranks = np.stack([np.random.default_rng([8, genre]).permutation(PER_GENRE) for genre in range(len(NAMES))])
    users, items, times = list[str](), list[str](), list[float]()
    for user in range(USERS[part]):
        genres = random.choice(len(NAMES), 2, replace=False)
        last, which, step = [-1, -1], 0, int(random.choice(_STEPS))
        moment = float(random.uniform(0, 300 * _DAY))
        for _ in range(int(random.integers(_SHORTEST, _LONGEST + 1))):
            if random.random() > _STAYS:
                which = 1 - which
            if random.random() < _EXCHANGES:
                others = np.setdiff1d(np.arange(len(NAMES)), genres)
                genres[which], last[which] = random.choice(others), -1
            if last[which] >= 0 and random.random() < _GOES_ON:
                item = (last[which] + step) % PER_GENRE
            else:
                item = int(ranks[genres[which]][random.choice(PER_GENRE, p=popularity)])
            last[which] = item
            moment += float(random.exponential(_DAY))
            users.append(f"{part}-{user + 1}")
            items.append(f"{NAMES[genres[which]]}-{item + 1:02d}")
            times.append(round(moment))
    return histories_of(users, items, times, location=GENRES)
