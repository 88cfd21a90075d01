"""A plain table: names to the left, numbers to the right."""

from collections.abc import Sequence
from dataclasses import dataclass

from heedful.report.blocks import ArrayBlocks, Json, as_cell, as_text


@dataclass(frozen=True, eq=False)
class TableSection:
    """A table with a heading. A column of numbers, or of strings such as "97.3 %", is set to the right.

    Attributes:
        title: the heading.
        text: one or two sentences below it.
        header: the names of the columns.
        rows: strings, numbers or None, as many in each row as there are columns.
        caption: a line below the table.
    """

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    caption: str = ""

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON that `table.js` reads."""
        if not self.header:
            raise ValueError("`header` must name at least one column: got none")
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(f"row {number} of `rows` must have {len(self.header)} cells: got {len(row)}")
        return {
            "kind": "table",
            "title": as_text("`title`", self.title),
            "text": as_text("`text`", self.text),
            "header": [as_text("a name in `header`", name) for name in self.header],
            "rows": [[as_cell("a cell of `rows`", cell) for cell in row] for row in self.rows],
            "caption": as_text("`caption`", self.caption),
        }
