"""What a reader says besides its examples: what it took for what, and the bad rows that it skipped."""

from collections.abc import Collection, Iterable

from heedful._errors import DataError
from heedful.data._entries import listed, printable

__all__ = ["RowLog", "check_label", "check_some_known"]

_FEW = 20  # of so few rows at least one may be skipped


class RowLog:
    """Collects notes and, where that is allowed, errors of single rows.

    Args:
        skip: the largest share of bad rows that may be skipped; None: the first one is an error.

    Attributes:
        notes: sentences for whoever reads the data.
    """

    def __init__(self, skip: float | None = None) -> None:
        self.skip = skip
        self.notes: list[str] = []
        self._errors: list[DataError] = []

    def bad(self, error: DataError) -> None:
        """Takes the error of a row that is to be skipped, or raises it."""
        if self.skip is None:
            raise error
        self._errors.append(error)

    def finish(self, good: int) -> tuple[str, ...]:
        """The notes, once `good` rows were read.

        Raises:
            DataError: more rows were bad than may be skipped.
        """
        bad, count = len(self._errors), good + len(self._errors)
        if bad:
            assert self.skip is not None
            if bad > max(self.skip * count, count <= _FEW and self.skip > 0):
                raise DataError(
                    f"{self._errors[0]}; {bad:,} of {count:,} rows are bad, "
                    f"and at most {100 * self.skip:g} % may be skipped (data.max_bad_rows)"
                )
            self.notes.append(f"{bad:,} of {count:,} rows are bad and were skipped; the first: {self._errors[0]}")
        return tuple(self.notes)


def check_label(label: str, location: str) -> None:
    """Raises for a label that would not stay in its column when it is written."""
    if any(sign in label for sign in "\t\r\n"):
        raise DataError(f"{location}: a label must be one line without tabs: got '{printable(label)}'")


def check_some_known(labels: Iterable[tuple[str, str]], known: Collection[str]) -> None:
    """Raises where not one of the labels, each with its location, is known; single ones that are not count as wrong."""
    first, known = None, dict.fromkeys(known)
    for label, location in labels:
        if label in known:
            return
        first = first or (label, location)
    if first is not None:
        raise DataError(
            f"{first[1]}: label must be a known class, {listed([*known])}: got '{printable(first[0])}', and no other one is known"
        )
