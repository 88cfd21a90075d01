"""Samples of a stream without a header, as they arrive."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data.sounds import Resampler, finite

_AT_ONCE = 1 << 14  # bytes that are read together
_STREAM = "standard input"


def samples_of(stream: Any, encoding: Literal["s16", "f32"], change: Resampler) -> Iterator[NDArray[np.float32]]:
    """The samples of a binary stream, one channel, at another rate; a stream that has `read1` is not waited for longer than needed.

    Args:
        stream: of bytes.
        encoding: 16-bit whole numbers, or 32-bit floats; the lower byte first.
        change: to the other rate.

    Raises:
        DataError: it ends in the middle of a sample, or a float is no number; what came before has been given.
    """
    kind = np.dtype("<i2" if encoding == "s16" else "<f4")
    read = getattr(stream, "read1", stream.read)
    rest, count = b"", 0
    while data := read(_AT_ONCE):
        rest += data
        whole = len(rest) // kind.itemsize * kind.itemsize
        values = np.frombuffer(rest[:whole], kind).astype(np.float32)
        rest = rest[whole:]
        samples = values / np.float32(32768) if encoding == "s16" else finite(values, _STREAM, count)
        count += len(samples)
        if len(new := change(samples)):
            yield new
    if len(new := change.end()):
        yield new
    if rest:
        raise DataError(
            f"{_STREAM}: must be whole samples of {kind.itemsize} bytes ({encoding}): got {len(rest)} more behind {count:,} samples."
        )
