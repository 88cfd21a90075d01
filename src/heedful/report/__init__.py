"""One HTML file to look at: every section of it can be read, pointed at and printed without a network.

A report is a list of sections: a model's attention on one input (`attention.py`, made of what was seen by `portrait.py`),
one large matrix (`matrix.py`), a table (`table.py`). Each is one class here and one module of the page (`assets/attend.js`,
`matrix.js`, `table.js`); both stand in one table, `KINDS` in `assets/main.js`. The same sections become figures for papers
(`figure.py`), or a page whose windows are computed on demand (`live.py`).
"""

from heedful.report.attention import AttentionSection, Cells, Layer, Links, Vectors
from heedful.report.figure import draw_figure
from heedful.report.live import LivePage
from heedful.report.matrix import MatrixSection
from heedful.report.page import render_report, write_report
from heedful.report.portrait import attention_section
from heedful.report.sides import Picture, Positions, Series, Side, Sound, Text
from heedful.report.table import TableSection

__all__ = [
    "AttentionSection",
    "Cells",
    "Layer",
    "Links",
    "LivePage",
    "MatrixSection",
    "Picture",
    "Positions",
    "Series",
    "Side",
    "Sound",
    "TableSection",
    "Text",
    "Vectors",
    "attention_section",
    "draw_figure",
    "render_report",
    "write_report",
]
