"""Requests that wait for one model: what waits is predicted together, and there is an end to how much may wait."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from heedful._errors import HeedfulError

Predict = Callable[[Sequence[Any], Any, Sequence[int]], list[Any]]
_LONGEST_WAIT = 60  # seconds that a client is told to wait at most
_RECENT = 0.2  # weight of the last batch in the time that one input takes


class QueueFull(HeedfulError):
    """More would wait than may.

    Attributes:
        seconds: after which it is worth another try.
    """

    def __init__(self, waiting: int, seconds: int) -> None:
        super().__init__(f"{waiting:,} inputs wait already: ask again in {seconds} s.")
        self.seconds = seconds


class QueueClosed(HeedfulError):
    """Nothing new is taken any more."""

    def __init__(self) -> None:
        super().__init__("the server shuts down.")


class _Request(NamedTuple):
    inputs: Sequence[Any]
    options: Any
    answer: "Future[list[Any]]"

    @property
    def size(self) -> int:
        return max(len(self.inputs), 1)


class RequestQueue:
    """One thread predicts; each time it is free, it takes the first request and all that wait with the same options.

    An answer does not depend on what was predicted with it: inputs are numbered within their request, and a batch that cannot be
    predicted is predicted request by request.

    Args:
        predict: predictions for inputs by options, as many for each input; the numbers are those of the inputs.
        batch_size: inputs that are predicted together, where so many wait; a request is not cut.
        most: inputs that may wait.

    Example:
        >>> queue = RequestQueue(lambda inputs, options, numbers: [len(text) for text in inputs], batch_size=2, most=10)
        >>> queue.add(["a", "bcd"], None).result(), queue.add(["ef"], None).result()
        ([1, 3], [2])
        >>> queue.close()
    """

    def __init__(self, predict: Predict, *, batch_size: int, most: int) -> None:
        self._predict, self._batch_size, self.most = predict, batch_size, most
        self._requests: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._seconds = 0.0  # that one input takes
        self.waiting = self.running = self.answered = 0
        self.closed = False
        self._thread = threading.Thread(target=self._work, name="heedful-predict", daemon=True)
        self._thread.start()

    def add(self, inputs: Sequence[Any], options: Any) -> "Future[list[Any]]":
        """The predictions, when they are there.

        Raises:
            QueueClosed: nothing new is taken.
            QueueFull: too many wait.
        """
        request = _Request(inputs, options, Future())
        with self._changed:
            if self.closed:
                raise QueueClosed
            if self.waiting + request.size > self.most:
                seconds = math.ceil(self._seconds * (self.waiting + self.running))
                raise QueueFull(self.waiting, min(max(seconds, 1), _LONGEST_WAIT))
            self._requests.append(request)
            self.waiting += request.size
            self._changed.notify()
        return request.answer

    def close(self) -> None:
        """Takes nothing new; what was taken is answered. It may be called from a handler of signals."""
        self.closed = True

    @property
    def idle(self) -> bool:
        """Whether all that was taken is answered."""
        return not self.waiting and not self.running

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._requests:
                    if self.closed:
                        return
                    self._changed.wait(0.1)  # a handler of signals cannot notify
                batch = self._next_batch()
            started = time.monotonic()
            self._answer([request for request in batch if request.answer.set_running_or_notify_cancel()])
            took = (time.monotonic() - started) / self.running
            self._seconds = took if not self._seconds else (1 - _RECENT) * self._seconds + _RECENT * took
            self.answered += self.running
            self.running = 0

    def _next_batch(self) -> list[_Request]:
        """The first request, and those with the same options that fit beside it; the others keep their order."""
        first = self._requests[0]
        batch: list[_Request] = []
        others: deque[_Request] = deque()
        size = 0
        for request in self._requests:
            if not batch or (
                size + request.size <= self._batch_size
                and request.inputs
                and first.inputs
                and request.options == first.options
            ):
                batch.append(request)
                size += request.size
            else:
                others.append(request)
        self._requests = others
        self.running, self.waiting = size, self.waiting - size
        return batch

    def _answer(self, batch: Sequence[_Request]) -> None:
        if len(batch) > 1:
            inputs = [one for request in batch for one in request.inputs]
            numbers = [number for request in batch for number in range(len(request.inputs))]
            try:
                predictions = self._predict(inputs, batch[0].options, numbers)
                each, rest = divmod(len(predictions), len(inputs))
            except BaseException:  # of one of them: each is told of its own; a panic of Rust code is no Exception
                rest = 1
            if not rest:
                start = 0
                for request in batch:
                    end = start + each * len(request.inputs)
                    request.answer.set_result(predictions[start:end])
                    start = end
                return
        for request in batch:
            try:
                found = self._predict(request.inputs, request.options, range(len(request.inputs)))
            except BaseException as error:  # the thread lives on
                request.answer.set_exception(error)
            else:
                request.answer.set_result(found)
