"""One HTML file to look at: every section of it can be read, pointed at and printed without a network.

A report is a list of sections: a model's attention on one input (`attention.py`, made of recorded calls by `build.py`),
one large matrix (`matrix.py`), charts (`charts.py`), a table (`table.py`). Each is one class here and one module of the page
(`assets/attend.js`, `matrix.js`, `charts.js`, `table.js`); both stand in one table, `KINDS` in `assets/main.js`. The same
sections become figures for papers (`figure.py`), or a page whose windows are computed on demand (`live.py`).

chart_drawing.py charts as figures for papers
axes.py           what stands along the axes of a matrix
read_axes.py      axes and tokens as people give them
pair_weights.py   the weights of single pairs, as the file holds them
budget.py         which of them fit into a share of the file
figure_request.py what is drawn of a section; drawing.py draws it
weights.py        the weights that a section holds, as numbers; labels.py names as a figure shows them
windows.py        any window of a matrix, within a given amount of work
window_sums.py    the sums of a window, tile by tile
cells.py          where the cells of a map begin: special tokens share none with others
cell_grid.py      a map of cells, which is filled little by little
worker.py         the one thread that computes windows
server.py         the server that only this machine reaches
page.py           from sections to one HTML file; blocks.py and bundle.py are its arrays and its script
"""

from heedful.report.attention import AttentionSection, Layer
from heedful.report.axes import Axis, Picture, Positions, Series, Sound, Text
from heedful.report.build import attention_section
from heedful.report.chart_drawing import draw_chart
from heedful.report.charts import ChartLine, ChartsSection, HeatMap, LineChart
from heedful.report.figure import draw_figure
from heedful.report.live import LivePage
from heedful.report.matrix import MatrixSection
from heedful.report.page import Report, render_report, write_report
from heedful.report.pair_weights import Dense, QueryKey, TopWeights
from heedful.report.table import TableSection

__all__ = [
    "AttentionSection",
    "Axis",
    "ChartLine",
    "ChartsSection",
    "Dense",
    "HeatMap",
    "Layer",
    "LineChart",
    "LivePage",
    "MatrixSection",
    "Picture",
    "Positions",
    "QueryKey",
    "Report",
    "Series",
    "Sound",
    "TableSection",
    "Text",
    "TopWeights",
    "attention_section",
    "draw_chart",
    "draw_figure",
    "render_report",
    "write_report",
]
