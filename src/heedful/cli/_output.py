"""Standard output whose reader may go."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class LastingOutput:
    """Standard output for long work: where it can be written no more, that is said once, and the work goes on.

    Args:
        stream: standard output.
        work: what goes on: "the training".
    """

    def __init__(self, stream: Any, work: str) -> None:
        self._stream, self._work = stream, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError as error:
            discard(self._stream)
            try:
                words = f"heedful: standard output: {error.strerror or error}; {self._work} goes on without it."
                print(words, file=sys.stderr, flush=True)
            except OSError:
                discard(sys.stderr)


def discard(stream: Any) -> None:
    """Lets whatever is, or will be, written to a stream go nowhere: nothing more can fail there, not even at the end."""
    with suppress(OSError, ValueError, AttributeError):  # a stream of no file, or none
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
