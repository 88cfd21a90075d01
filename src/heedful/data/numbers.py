"""Cells of a table as numbers: missing ones, thousands separators, decimal commas."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError
from heedful.data._entries import printable

__all__ = ["MISSING", "Decimal", "is_missing", "looks_numeric", "to_numbers"]

Decimal = Literal["auto", ".", ","]
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "nat", "null", "none", "-", "--", "?"})  # whatever their case

_SPACES = re.compile(r"[\s'\u2019]+(?=\d)")  # between groups of digits; \s holds the narrow and the fixed ones
_NUMBERS = {
    ".": re.compile(r"[+-]?(\d{1,3}(,\d{3})+(\.\d*)?|\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE),
    ",": re.compile(r"[+-]?(\d{1,3}(\.\d{3})+(,\d*)?|\d+,?\d*|,\d+)(e[+-]?\d+)?", re.IGNORECASE),
}


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: empty, NaN, null, or one of the words for it.

    Examples:
        >>> is_missing("N/A"), is_missing(float("nan")), is_missing("0")
        (True, True, False)
    """
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING
    return bool(cell != cell)  # NaN and NaT are not what they are


def looks_numeric(cells: Sequence[Any]) -> bool:
    """Whether the first cell that is not missing is a number; where all are missing, it might be one."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        return cells.dtype.kind != "b"
    first = next((cell for cell in cells if not is_missing(cell)), "0")
    if isinstance(first, str):
        text = _compact(first)
        return any(number.fullmatch(text) for number in _NUMBERS.values())
    return isinstance(first, int | float | np.number) and not isinstance(first, bool)


def to_numbers(
    columns: Mapping[str, Sequence[Any]], location: Callable[[int], str], decimal: Decimal = "auto"
) -> NDArray[np.float64]:
    """Columns of cells as numbers, `[rows, columns]`, NaN where a cell holds nothing.

    A number may have groups of thousands, and a comma for its decimal sign. Which sign is which is told by all cells together:
    `1.234,5` and `0,5` have a decimal comma, `1,234.5` and `1,234,567` have groups. Where nothing tells it, it is an error.

    Args:
        columns: of the same length, by their names.
        location: where a row stands, for errors.
        decimal: the decimal sign; "auto": as the cells tell.

    Raises:
        DataError: a cell is no number, or infinite, or the decimal sign is not clear.

    Examples:
        >>> to_numbers({"close": ["1.234,50", "", "7,5"]}, "row {}".format)[:, 0].tolist()
        [1234.5, nan, 7.5]
    """
    arrays = {name: _plain(cells) for name, cells in columns.items()}
    if decimal == "," or any(values is None for values in arrays.values()):
        texts = {
            name: [*map(_text, cells)]
            for name, cells in columns.items()
            if arrays[name] is None or any(isinstance(cell, str) for cell in cells)
        }
        sign = decimal if decimal != "auto" else _sign(texts, location)
        for name, cells in texts.items():
            arrays[name] = np.array([_number(text, sign, name, location, row) for row, text in enumerate(cells)], float)
    for name, values in arrays.items():
        if np.isinf(values).any():  # type: ignore[arg-type]
            row = int(np.isinf(values).argmax())  # type: ignore[arg-type]
            raise DataError(f"{location(row)}: '{printable(name)}' must be finite: got an infinite number")
    return np.stack([values for values in arrays.values() if values is not None], 1)


def _plain(cells: Sequence[Any]) -> NDArray[np.float64] | None:
    """Numbers as Python and computers write them; None where some cell is something else."""
    try:
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf":
            return cells.astype(float)
        if any(isinstance(cell, bool | np.bool_) for cell in cells):
            return None
        return np.array([np.nan if cell is None or cell == "" else cell for cell in cells], float)
    except (TypeError, ValueError):
        return None


def _text(cell: Any) -> str:
    return "" if is_missing(cell) else _compact(str(cell))


def _compact(text: str) -> str:
    return _SPACES.sub("", text.strip()).replace("\u2212", "-")


def _sign(texts: Mapping[str, list[str]], location: Callable[[int], str]) -> Literal[".", ","]:
    """The decimal sign that the cells tell."""
    first: tuple[str, str, int] | None = None
    unclear: tuple[str, str, int] | None = None
    for name, cells in texts.items():
        for row, text in enumerate(cells):
            if "," not in text and "." not in text:
                continue
            sign = _sign_of(text)
            if sign is None:
                unclear = unclear or ((name, text, row) if "," in text else None)
            elif first is None:
                first = sign, text, row
            elif sign != first[0]:
                raise DataError(
                    f"{location(row)}: '{printable(name)}' must have the decimal sign of '{printable(first[1])}' in "
                    f"{location(first[2])}: got '{printable(text)}'"
                )
    if first is None and unclear is not None:
        name, text, row = unclear
        raise DataError(
            f"{location(row)}: '{printable(name)}' must tell the decimal sign: got '{printable(text)}', which may be "
            f"{text.replace(',', '')} or {text.replace(',', '.')}; set decimal to . or ,"
        )
    return "," if first is not None and first[0] == "," else "."


def _sign_of(text: str) -> Literal[".", ","] | None:
    """The decimal sign that one cell tells."""
    dots, commas = text.count("."), text.count(",")
    if dots and commas:
        return "." if text.rfind(".") > text.rfind(",") else ","
    if dots > 1 or commas > 1:
        return "," if dots > 1 else "."
    whole, _, part = text.lstrip("+-").partition("," if commas else ".")
    if len(part) == 3 and part.isdecimal() and whole not in ("", "0") and len(whole) <= 3:
        return None  # may be a group
    return "," if commas else "."


def _number(text: str, sign: str, name: str, location: Callable[[int], str], row: int) -> float:
    if not text:
        return np.nan
    if _NUMBERS[sign].fullmatch(text) is None:
        raise DataError(f"{location(row)}: '{printable(name)}' must be a number: got '{printable(text[:60])}'")
    group = "," if sign == "." else "."
    return float(text.replace(group, "").replace(sign, "."))
