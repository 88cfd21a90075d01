import json
import re

import numpy as np
import pytest
from PIL import Image

from heedful.report import ChartLine, ChartsSection, HeatMap, LineChart, draw_chart, render_report

CURVES = LineChart("Loss", "epoch", "loss", [ChartLine("train", [1, 2, 3], [3.0, 2.0, 1.5], "marked"),
                                             ChartLine("equal", [0, 1], [0, 1], "dashed")])  # fmt: skip
COUNTS = HeatMap("Predicted", ["cat", "dog", "emu"], ["cat", "dog"], [[8, 2], [1, 3], [0, 0]], "class", "predicted as")


def test_what_the_page_is_given():
    page = render_report(title="Charts", sections=[ChartsSection("Curves", "Some words.", [CURVES, COUNTS])])
    payload = json.loads(re.search(r'id="payload"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    (section,) = payload["sections"]
    lines, heat = section["charts"]
    assert (section["kind"], lines["kind"], heat["kind"]) == ("charts", "lines", "heat")
    assert [line["name"] for line in lines["lines"]] == ["train", "equal"]
    assert heat["counts"]["shape"] == [3, 2]
    assert COUNTS.shares().tolist() == [[0.8, 0.2], [0.25, 0.75], [0, 0]]


@pytest.mark.parametrize(
    ("chart", "message"),
    [
        (LineChart("", "", "", []), "`lines` must hold at least one line: got none"),
        (LineChart("", "", "", [ChartLine("", [1, 2], [1])]), "`y` of a line must be as many as its `x`, 2: got 1"),
        (
            LineChart("", "", "", [ChartLine("", [1], [np.nan])]),
            "`y` of a line must be finite in float32: got 1 that are not",
        ),
        (HeatMap("", ["a"], ["b"], [[1, 2]], "", ""), r"a cell for each of 1 rows and 1 columns: got shape \(1, 2\)"),
    ],
)
def test_charts_that_do_not_fit(chart, message):
    with pytest.raises(ValueError, match=message):
        render_report(title="", sections=[ChartsSection("", "", [chart])])


def test_a_section_without_charts():
    with pytest.raises(ValueError, match="`charts` must hold at least one chart: got none"):
        render_report(title="", sections=[ChartsSection("", "")])


@pytest.mark.parametrize("chart", [CURVES, COUNTS])
def test_a_chart_as_a_drawing(chart, tmp_path):
    draw_chart(chart, tmp_path / "chart.png")
    pixels = np.asarray(Image.open(tmp_path / "chart.png").convert("L"))
    assert min(pixels.shape) > 300
    assert pixels.min() < 100 < pixels.max()
    with pytest.raises(ValueError, match="`path` must end in one of .png, .svg, .pdf: got '.*chart.gif'"):
        draw_chart(chart, tmp_path / "chart.gif")
