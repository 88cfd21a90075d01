"""An entry is a picture that has been found and not yet read: every source lists them, one function decodes them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Raster = NDArray[np.uint8]  # [height, width] or [height, width, 3]


@dataclass(frozen=True)
class ImageFile:
    """One picture that has been found and not yet read."""

    name: str  # as it stands in `LabeledImages.names`
    location: str  # what an error about it begins with
    label: str | None
    load: "Callable[[], bytes | Raster | Image.Image]"
    position: int = 0  # where it lies in its archive: read in this order, a compressed archive is unpacked only once
    again: bool = True  # whether it can be read at any time, by several processes


@contextmanager
def reading(location: str, expected: str) -> Iterator[None]:
    """Turns whatever the reading of foreign bytes raises into a `DataError` that begins with `location`.

    Only calls into decoders belong inside: damaged files make them raise nearly every exception there is.
    """
    try:
        yield
    except (DataError, MemoryError):  # too little memory is no fault of the file
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{location}: cannot be read: {error.strerror}") from error
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        raise DataError(f"{location}: must be {expected}: got the error '{reason}'") from error


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts numbers inside names by their value.

    Examples:
        >>> sorted(["10", "2", "b10", "b9"], key=natural_key)
        ['2', '10', 'b9', 'b10']
    """
    # At most 18 digits: `int` refuses thousands of them.
    parts = re.split(r"(\d{1,18})", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def printable(name: str) -> str:
    r"""The name with everything escaped that would break a line, steer a terminal, or not encode.

    Examples:
        >>> print(printable("two\nlines, \udcff"))
        two\nlines, \udcff
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Names for an error: quoted, ten at most.

    Examples:
        >>> listed(["cat", "dog"])
        "'cat', 'dog'"
        >>> listed([str(number) for number in range(12)])
        "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9' and 2 more"
    """
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:10]) + more


def separated(cells: list[str]) -> str:
    """A hint where the only column of a row seems to be several, separated by something else; otherwise nothing.

    Examples:
        >>> separated(["text;label"])
        '; its columns seem to be separated by semicolons: save it with commas (.csv) or tabs (.tsv)'
    """
    signs = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
    found = next((name for sign, name in signs.items() if len(cells) == 1 and sign in cells[0]), None)
    return f"; its columns seem to be separated by {found}: save it with commas (.csv) or tabs (.tsv)" if found else ""
