"""Arrays on their way into the page: checked, counted, and written as base64."""

import base64
import math
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Reference = dict[str, Any]
Json = dict[str, Any]

LARGEST_HALF = 65504.0
_LEVEL = 4  # of compression: what higher ones save is not worth their time


class ReportSection(Protocol):
    """What a report is made of: a value that can put itself into JSON, its arrays into blocks."""

    def encode(self, blocks: "ArrayBlocks") -> Json:
        """Returns what the page's module for this kind of section reads; `kind` names that module."""
        ...


class ArrayBlocks:
    """The arrays of one report. JSON holds a reference to each; the numbers follow it, one text block an array."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[Any]] = []
        self._references: list[Reference] = []
        self._packed: set[int] = set()

    def add(self, array: NDArray[Any]) -> Reference:
        """Takes in an array of float32, uint8, uint16 or uint32 as it is."""
        reference = {"block": len(self._arrays), "dtype": str(array.dtype), "shape": list(array.shape)}
        self._arrays.append(array)
        self._references.append(reference)
        return reference

    def add_weights(self, array: NDArray[np.floating]) -> Reference:
        """Takes in numbers of which three digits count: in half precision, times a power of two that makes the most of it.

        What is not finite becomes NaN.
        """
        array = np.where(np.isfinite(array), array, np.nan)
        largest = float(np.nan_to_num(np.abs(array)).max(initial=0.0))
        factor = 2.0 ** math.floor(math.log2(LARGEST_HALF / largest)) if largest > 0 else 1.0
        return self.add_packed((array * factor).astype(np.float16)) | {"factor": factor}

    def add_packed(self, array: NDArray[Any]) -> Reference:
        """Takes in an array of any type of the page, to be compressed."""
        self._packed.add(len(self._arrays))
        return self.add(array) | {"coding": "deflate"}

    @property
    def precision(self) -> str:
        """The lowest precision in which numbers are stored, "float16" or "float32"."""
        return "float16" if any(reference["dtype"] == "float16" for reference in self._references) else "float32"

    def texts(self) -> Iterator[str]:
        """Yields the base64 text of each block in order (little-endian, row-major, some compressed)."""
        for index, (array, reference) in enumerate(zip(self._arrays, self._references, strict=True)):
            stored = np.ascontiguousarray(array, dtype=np.dtype(reference["dtype"]).newbyteorder("<")).tobytes()
            if index in self._packed:
                deflate = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
                stored = deflate.compress(stored) + deflate.flush()
            yield base64.b64encode(stored).decode("ascii")


def as_floats(
    name: str, values: ArrayLike, axes: str, *, lowest: float | None = None, nan: bool = False
) -> NDArray[np.float32]:
    """Returns `values` as float32 once they have the axes named in `axes` ("heads, queries, width") and are finite.

    With `nan` they need not be finite: what is not becomes NaN, which the page shows in a color of its own.

    Raises:
        ValueError: a shape, type or number does not fit.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be real numbers: got {array.dtype}")
    if array.ndim != axes.count(",") + 1 or 0 in array.shape:
        raise ValueError(f"{name} must be [{axes}], none of them empty: got shape {array.shape}")
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32, copy=False)
    if nan:
        return floats if np.isfinite(floats).all() else np.where(np.isfinite(floats), floats, np.float32(np.nan))
    if not np.isfinite(floats).all():
        raise ValueError(f"{name} must be finite in float32: got {np.count_nonzero(~np.isfinite(floats))} that are not")
    if lowest is not None and floats.min() < lowest:
        raise ValueError(f"{name} must be at least {lowest:g}: got {floats.min():g}")
    return floats


def as_text(name: str, value: object) -> str:
    """Returns `value` if it is a string.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string: got {value!r}")
    return value


def as_cell(name: str, value: object) -> str | int | float | bool | None:
    """Returns a string, number, truth value or None as JSON can hold it (numpy's scalars become Python's).

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{name} must be a string, a number or None: got {value!r}")


def as_count(name: str, value: object, *, least: int = 1) -> int:
    """Returns a whole number of at least `least`.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, np.integer):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}: got {value!r}")
    return value
