"""Standard input, as it arrives."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

_AT_ONCE = 64  # inputs that are predicted together, where so many are waiting
_READ = 1 << 16  # bytes


def standard_input() -> Any:
    """Standard input as bytes; None where it is closed."""
    return None if sys.stdin is None else ArrivingLines(sys.stdin.buffer)


class ArrivingLines:
    """Bytes, of which is known whether a whole line is here already; what is read is what is there, without waiting for more.

    Args:
        stream: standard input.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._here = stream, b""
        self.isatty = stream.isatty

    @property
    def waiting(self) -> bool:
        """Whether a line can be read without waiting."""
        return b"\n" in self._here

    def readline(self, limit: int = sys.maxsize) -> bytes:
        """A line, with its end; not more than `limit` bytes of it."""
        parts: list[bytes] = [self._here]
        while b"\n" not in parts[-1] and sum(map(len, parts)) < limit:
            parts.append(self._stream.read1(_READ))
            if not parts[-1]:
                break
        here = b"".join(parts)
        end = min(here.find(b"\n") + 1 or len(here), limit)
        self._here = here[end:]
        return here[:end]

    def read(self, size: int = -1) -> bytes:
        """All that is left; or what is here of it, and at least something, but at most `size` bytes."""
        if size < 0:
            here, self._here = self._here, b""
            return b"".join([here, self._stream.read()])
        here = self._here or self._stream.read1(size)
        self._here = here[size:]
        return here[:size]


def chunks(items: Iterable[Any], stream: ArrivingLines | None, most: int = _AT_ONCE) -> Iterator[list[Any]]:
    """The items in chunks of at most `most`, and of those that have arrived: a single line gets its answer at once.

    Args:
        items: inputs.
        stream: where they come from; None: all are there.
        most: how many are predicted together.
    """
    chunk: list[Any] = []
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == most or (stream is not None and not stream.waiting):
                yield chunk
                chunk = []
    except Exception:
        if chunk:
            yield chunk  # those before what cannot be read
        raise
    if chunk:
        yield chunk
