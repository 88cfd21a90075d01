"""What is made of values that hold no tensor is made once: kept under their key, up to so many bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Cache(Generic[Kept]):
    """Keeps what was used last.

    Args:
        limit: bytes that all that is kept may take; what alone takes more is not kept.
        size: the bytes of one.
    """

    def __init__(self, limit: int, size: Callable[[Kept], int]) -> None:
        self.limit, self.size = limit, size
        self.hits = self.misses = self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Kept, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is kept under the key, or else what `make` gives."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                self.hits += 1
                return found[0]
            self.misses += 1
        made = make()
        size = self.size(made)
        with self._lock:
            if size <= self.limit and key not in self._kept:
                self._kept[key] = made, size
                self.bytes += size
                while self.bytes > self.limit:
                    self.bytes -= self._kept.popitem(last=False)[1][1]
        return made
