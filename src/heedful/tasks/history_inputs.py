"""Histories as a person types them: items on one line, or the name of a known user."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data.frames import as_text, described

_USER = "user:"  # before the name of a user


class KnownItems(Protocol):
    """What a task knows: the numbers of items, and users of whom it has the histories."""

    numbers: dict[str, int]
    vocabulary: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class GivenHistory:
    """One history.

    Attributes:
        name: as it was given.
        items: numbers of the known items, in their order.
        times: of them, in the unit of the model.
        unknown: names of the items that are not known.
    """

    name: str
    items: NDArray[np.int64]
    times: NDArray[np.float64]
    unknown: list[str]


def parse_history(given: Any, known: KnownItems) -> GivenHistory:
    """The history that a line, a list of items, or `user:NAME` means; its items are taken to be a unit of time apart.

    Raises:
        DataError: there is no such user, or it is no history.
    """
    if isinstance(given, GivenHistory):
        return given
    if isinstance(given, str):
        name, user = given, given.strip().removeprefix(_USER)
        if given.strip().startswith(_USER) and given.strip() not in known.numbers:
            return _of_user(given, user, known.vocabulary)
        items = parse_items(given, known.numbers)
    elif isinstance(given, list | tuple | np.ndarray):
        items = [as_text(one, "item", "a history") for one in given]
        name = "\t".join(items)
    else:
        raise DataError(f"a history must be a text or a list of items: got {described(given)}")
    numbers = np.array([known.numbers[item] for item in items if item in known.numbers], dtype=np.int64)
    unknown = [item for item in items if item not in known.numbers]
    return GivenHistory(name, numbers, np.arange(len(numbers), dtype=np.float64), unknown)


def parse_items(text: str, known: Collection[str]) -> list[str]:
    """The items of a line: one that is known as it stands, a list of JSON, or what tabs, or else commas, or else blanks separate.

    Example:
        >>> parse_items("Toy Story, Alien", ["Toy Story"]), parse_items("12 15", []), parse_items("Toy Story", ["Toy Story"])
        (['Toy Story', 'Alien'], ['12', '15'], ['Toy Story'])
    """
    line = text.strip()
    if line in known:
        return [line]
    if line.startswith("["):
        try:
            items = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            items = None
        if isinstance(items, list) and all(isinstance(one, str) for one in items):
            return items
    delimiter = next((sign for sign in "\t," if sign in line), None)
    return [one.strip() for one in line.split(delimiter) if one.strip()]


def _of_user(given: str, user: str, vocabulary: Mapping[str, Any]) -> GivenHistory:
    users = vocabulary["users"]
    if user not in users:
        known = f"one of the {len(users):,} that it keeps" if users else "kept in its folder (data.keep_users)"
        raise DataError(f"{given.strip()}: the user must be {known}: got another one")
    items = np.array(users[user], dtype=np.int64)
    times = vocabulary["user_times"].get(user)
    return GivenHistory(given, items, np.arange(len(items), dtype=np.float64) if times is None else np.array(times), [])
