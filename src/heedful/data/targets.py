"""What the column of labels holds: one label, several, or a number."""

import json
import math
import re
from dataclasses import dataclass
from typing import Literal

from heedful._errors import DataError
from heedful.data._entries import printable
from heedful.data._rows import check_label

__all__ = ["ONE_LABEL", "TargetFormat", "TargetKind"]

TargetKind = Literal["label", "labels", "number"]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class TargetFormat:
    """How a cell of the column of labels is read.

    Attributes:
        kind: "label": a cell is a label; "labels": any number of them; "number": a number with a decimal point.
        separator: stands between several labels, unless the cell is a list in JSON.

    Example:
        >>> TargetFormat("labels", ";").labels("calm; warm"), TargetFormat("labels").labels('["a, b", 3]')
        (['calm', 'warm'], ['a, b', '3'])
    """

    kind: TargetKind = "label"
    separator: str = ","

    def check(self, cell: str, location: str) -> None:
        """Raises DataError for a cell that is not what it should be."""
        if self.kind == "label":
            check_label(cell, location)
        elif self.kind == "labels":
            for label in self.labels(cell):
                check_label(label, location)
        elif not _NUMBER.fullmatch(cell.strip()) or not math.isfinite(float(cell)):
            raise DataError(f"{location}: must have a number, as in -1.5 or 2e3: got '{printable(cell[:80])}'")

    def labels(self, cell: str) -> list[str]:
        """The labels of a cell, each once, in their order; of a blank cell none."""
        text = cell.strip()
        if text.startswith("["):
            try:
                items = json.loads(text, parse_int=str, parse_float=str)
            except (ValueError, RecursionError):
                items = None
            if isinstance(items, list) and all(isinstance(item, str) for item in items):
                return list(dict.fromkeys(filter(None, map(str.strip, items))))
        return list(dict.fromkeys(filter(None, map(str.strip, text.split(self.separator)))))

    def cell(self, labels: list[str]) -> str:
        """Several labels as a cell: a list in JSON where the separator alone would not tell them."""
        cell = self.separator.join(labels)
        return cell if self.labels(cell) == labels else json.dumps(labels, ensure_ascii=False)


ONE_LABEL = TargetFormat()
