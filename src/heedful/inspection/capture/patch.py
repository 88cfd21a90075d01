"""A patch of a library that several watches share: applied when the first begins, undone when the last has ended."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from heedful.inspection.capture.recorder import Recorder


class Patch:
    """A patch of a library, and the recorders that get its calls.

    Args:
        apply: patches the library, and returns what undoes it; it may find nothing to patch.
    """

    def __init__(self, apply: Callable[[], Callable[[], None]]) -> None:
        self.apply, self.recorders = apply, list[Recorder]()
        self._undo: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    @contextmanager
    def active(self, recorder: Recorder) -> Iterator[None]:
        """Within, a recorder gets the calls."""
        with self._lock:
            if not self.recorders:
                self._undo = self.apply()
            self.recorders.append(recorder)
        try:
            yield
        finally:
            with self._lock:
                self.recorders.remove(recorder)
                if not self.recorders:
                    self._undo()

    @torch.compiler.disable
    def listening(self) -> list[Recorder]:
        """The recorders that want a call here and now."""
        return [recorder for recorder in self.recorders if recorder.listens()]


def call_paused(recorders: list[Recorder], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function within which the recorders record nothing."""
    with ExitStack() as stack:
        for recorder in recorders:
            stack.enter_context(recorder.paused())
        return function(*args, **kwargs)
