"""The one thread that computes what a live page asks for."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import torch

from heedful.report.window_sums import Gone

_MOST_WAITING = 16  # requests at a time


class Worker:
    """The one thread that computes: requests first, and a little ahead while there are none.

    Args:
        step: does a little ahead; False where nothing is left.
    """

    def __init__(self, step: Callable[[], bool]) -> None:
        self._requests: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue(_MOST_WAITING)
        self._step: Callable[[], bool] | None = step
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heedful windows", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def ask(self, request: Callable[[], Any]) -> Any:
        """What a function returns in the thread that computes.

        Raises:
            queue.Full: others wait already.
            Gone: the thread has ended.
        """
        answer: Future[Any] = Future()
        self._requests.put_nowait((request, answer))
        while not self._stopped.is_set():
            if wait([answer], 0.5).done:
                return answer.result()
        raise Gone

    def stop(self) -> None:
        """Ends once the present answer is given; the others are not."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with torch.no_grad():
            while not self._stopped.is_set():
                try:
                    request, answer = self._requests.get(timeout=0.2 if self._step is None else 0.001)
                except queue.Empty:
                    self._look_ahead()
                    continue
                try:
                    answer.set_result(request())
                except Exception as error:  # it belongs to who asked
                    answer.set_exception(error)

    def _look_ahead(self) -> None:
        """Does what nobody has asked for yet; once there is nothing left, or it fails, never again."""
        try:
            has_more = self._step is not None and self._step()
        except Exception:  # whoever asks for the same is told
            has_more = False
        if not has_more:
            self._step = None
