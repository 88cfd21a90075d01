"""A change of a library that several watches share: made when the first begins, undone when the last has ended."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from heedful.inspection.capture.recorder import Recorder


class Listeners:
    """The recorders that listen to a library.

    Args:
        change: changes the library, and gives what undoes it; it may find nothing to change.
    """

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        self.change, self.recorders = change, list[Recorder]()
        self._undo: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    @contextmanager
    def joined(self, recorder: Recorder) -> Iterator[None]:
        """Within, a recorder listens."""
        with self._lock:
            if not self.recorders:
                self._undo = self.change()
            self.recorders.append(recorder)
        try:
            yield
        finally:
            with self._lock:
                self.recorders.remove(recorder)
                if not self.recorders:
                    self._undo()

    @torch.compiler.disable
    def here(self) -> list[Recorder]:
        """Those that want a call here and now."""
        return [recorder for recorder in self.recorders if recorder.listens()]


def quietly(recorders: list[Recorder], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function within which the recorders see nothing."""
    with ExitStack() as stack:
        for recorder in recorders:
            stack.enter_context(recorder.hushed())
        return function(*args, **kwargs)
