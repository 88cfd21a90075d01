import html
import re

import pytest
import torch

import heedful
from heedful.nn import TransformerEncoder


@pytest.fixture
def seen():
    torch.manual_seed(0)
    model = TransformerEncoder(width=10, heads=2, layers=3)
    with torch.no_grad(), heedful.watch(model) as seen:
        model(torch.randn(1, 5, 10))
    return seen


def test_one_file_with_every_layer(seen, tmp_path):
    seen.report(tmp_path / "report.html", title="A model", axes=[["a", "b", "c", "d", "e"]], about={"model": "small"})
    page = (tmp_path / "report.html").read_text()
    assert "<title>A model</title>" in page
    assert '["model","small"]' in page
    assert '"tokens":["a","b","c","d","e"]' in page
    assert [f'"label":"layer {i}"' in page for i in range(4)] == [True, True, True, False]
    assert '"label":"rollout"' in page


def test_the_budget_of_the_file_is_kept(tmp_path):
    torch.manual_seed(0)
    model = TransformerEncoder(width=12, heads=3, layers=2)
    with torch.no_grad(), heedful.watch(model) as seen:
        model(torch.randn(1, 211, 12))
    for budget, kind in ((10_000_000, '"kind":"vectors"'), (12_000, '"kind":"links"')):
        seen.report(tmp_path / "report.html", budget=budget)
        assert kind in (tmp_path / "report.html").read_text()
    small = (tmp_path / "report.html").stat().st_size
    seen.report(tmp_path / "report.html", budget=10_000_000)
    assert small < (tmp_path / "report.html").stat().st_size < small + 14_000_000


def test_what_was_not_seen_is_said(tmp_path, seen):
    seen.unseen.append(heedful.inspection.Unseen("mixer", "it is by hand"))
    seen.report(tmp_path / "report.html")
    assert "Not seen, though expected: mixer: it is by hand." in (tmp_path / "report.html").read_text()


def test_nothing_is_written_where_nothing_was_seen_or_no_folder_is(tmp_path, seen):
    with pytest.raises(ValueError, match="a report needs at least one call of attention: got none"):
        heedful.inspection.Recording().report(tmp_path / "report.html")
    with pytest.raises(ValueError, match=r"`sample` must be from 0 to 0, of the batch of 'layers.0.attention': got 1"):
        seen.report(tmp_path / "report.html", sample=1)
    with pytest.raises(FileNotFoundError, match="must lie in a folder that exists"):
        seen.report(tmp_path / "none" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(seen):
    frame = seen._repr_html_()
    attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', frame))
    assert attributes["sandbox"] == "allow-scripts allow-downloads"
    page = html.unescape(attributes["srcdoc"])
    assert page.startswith("<!doctype html>")
    assert '"label":"layer 2"' in page
    assert heedful.inspection.Recording()._repr_html_().startswith("<pre>module")
