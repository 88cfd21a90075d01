"""Signals that ask a process to end, as an exception: files are left whole, and the exit status says why."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from heedful._errors import Terminated

TO_END = ("SIGTERM", "SIGHUP")
TO_END_SOON = ("SIGUSR1", "SIGUSR2")  # a cluster's warnings, before it kills a job


@contextmanager
def ending_on(*names: str) -> Iterator[None]:
    """Within it, each of these signals raises `Terminated`, unless another handler is there; a second one ends at once.

    In other threads than the main one nothing changes: Python delivers no signals there.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []

    def end(number: int, frame: FrameType | None) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)
        raise Terminated(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
