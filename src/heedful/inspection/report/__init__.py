"""One HTML file to look at: every section of it can be read, pointed at and printed without a network.

A report is a list of sections. A kind of section is one class here (`picture.py`, `matrix.py`, `table.py`) and one
module of the page (`assets/picture.js`, ...); both stand in one table, `KINDS` in `assets/main.js`.
"""

from heedful.inspection.report.attention import AttentionSection, Cells, Layer, Links, Vectors
from heedful.inspection.report.matrix import MatrixSection
from heedful.inspection.report.page import render_report, write_report
from heedful.inspection.report.picture import LayerHeads, PictureSection
from heedful.inspection.report.portrait import attention_section
from heedful.inspection.report.sides import Picture, Positions, Series, Side, Sound, Text
from heedful.inspection.report.table import TableSection

__all__ = [
    "AttentionSection",
    "Cells",
    "Layer",
    "LayerHeads",
    "Links",
    "MatrixSection",
    "Picture",
    "PictureSection",
    "Positions",
    "Series",
    "Side",
    "Sound",
    "TableSection",
    "Text",
    "Vectors",
    "attention_section",
    "render_report",
    "write_report",
]
