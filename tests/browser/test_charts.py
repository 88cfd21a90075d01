"""Charts in a browser: lines are drawn, and cells of a map are read by pointer and by keys."""

import pytest

from heedful.report import ChartLine, ChartsSection, HeatMap, LineChart
from tests.browser.test_accessibility import assert_accessible

INK = """(canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    .filter((value, index) => index % 4 == 3 && value > 0).length"""


def section():
    lines = [
        ChartLine("training", [1, 2, 3], [3.0, 2.0, 1.5]),
        ChartLine("validation", [1, 2, 3], [3.0, 2.5, 2.4], "marked"),
    ]
    points = [ChartLine("equal", [0, 1], [0, 1], "dashed"), ChartLine("examples", [0.5, 0.75], [0.25, 1], "points")]
    counts = HeatMap("Predicted", ["cat", "dog"], ["cat", "dog"], [[8, 2], [1, 3]], "class", "predicted as")
    charts = [LineChart("Loss", "epoch", "loss", lines), LineChart("Estimates", "number", "estimate", points), counts]
    return ChartsSection("Charts", "Some words.", charts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_and_accessible(open_report, scheme):
    opened = open_report([section()], scheme=scheme, bypass_csp=True)
    for canvas in opened.page.locator("canvas.chart").all():
        assert canvas.evaluate(INK) > 1000
    assert opened.words(".legend >> nth=0").split("\n") == ["training", "validation"]
    assert_accessible(opened)


def test_a_cell_is_read(open_report):
    opened = open_report([section()])
    opened.page.locator("canvas.heat").focus()
    opened.page.keyboard.press("ArrowDown")  # begins in the middle: the last cell
    opened.page.keyboard.press("ArrowLeft")
    assert opened.words(".charts .readout") == "class dog, predicted as cat: 1 of 4, 25.0 %"
    opened.page.keyboard.press("Escape")
    assert opened.words(".charts .readout") == "Point at a cell to read it."
