"""A cache for what is derived from values without tensors, such as the tiles of a pattern."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class LRUCache(Generic[Entry]):
    """A least-recently-used cache that is bounded by bytes.

    Args:
        limit: the most bytes of all entries together; a larger entry is not stored.
        size: gives the bytes of an entry.
    """

    def __init__(self, limit: int, size: Callable[[Entry], int]) -> None:
        self.limit, self.size = limit, size
        self.hits = self.misses = self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Entry, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Entry]) -> Entry:
        """The entry of a key; `make` makes it where there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                self.hits += 1
                return entry[0]
            self.misses += 1
        made = make()
        size = self.size(made)
        with self._lock:
            if size <= self.limit and key not in self._entries:
                self._entries[key] = made, size
                self.bytes += size
                while self.bytes > self.limit:
                    self.bytes -= self._entries.popitem(last=False)[1][1]
        return made
