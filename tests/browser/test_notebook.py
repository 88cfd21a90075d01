"""The page in the frame of a notebook, which is sandboxed and has no address."""

import re

import pytest
import torch

import heedful
from heedful.nn import TransformerEncoder


def test_the_frame_draws_and_answers(browser, tmp_path):
    torch.manual_seed(0)
    model = TransformerEncoder(width=10, heads=2, layers=2)
    with torch.no_grad(), heedful.watch(model) as seen:
        model(torch.randn(1, 5, 10))
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>A notebook</title>{seen._repr_html_()}")
    page, complaints = browser.new_page(viewport={"width": 1000, "height": 1000}), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="layer 1, head 0").click()
    frame.get_by_text("5 × 5 pairs, one per cell.").wait_for()
    frame.locator("canvas[role=application]").hover(position={"x": 200, "y": 200})
    words = frame.locator(".attend > .readout").inner_text()
    query, key, weight = re.match(r"query (\d), key (\d): ([\d.]+)\s%;", words).groups()
    assert float(weight) / 100 == pytest.approx(float(seen[1].matrix[0, 0, int(query), int(key)]), rel=2e-3)
    frame.get_by_text("Input", exact=True).click()
    frame.locator("[role=listbox], [role=option]").first.wait_for()
    assert complaints == []
    page.close()
