import json
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch

from heedful.inspection.recording import AttentionCall, Recording
from heedful.ops import AttentionMatrix, Causal
from heedful.report import attention_section
from heedful.report.live import LivePage

N = 3000


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 2, N, 16).unbind()
    matrix = AttentionMatrix(2 * query, key, pattern=Causal())
    return Recording([AttentionCall("layer", "self", matrix, "eager", causal=True)])


@pytest.fixture
def opened(browser, seen):
    """A live page in a browser; afterwards it must have been quiet and have asked its own origin only."""
    complaints, requests = [], []
    section = attention_section(seen, title="A long text", budget=200_000)
    with LivePage(title="A live page", sections=[section], recordings=[seen], memory=2**22) as live:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.live = live
        page.requests = requests
        page.complaints = complaints
        yield page
        context.close()
        assert complaints == []
        assert all(request.startswith(live.address) for request in requests)


def test_a_window_of_one_pair_is_the_number_of_the_matrix(opened, seen):
    opened.goto(f"{opened.live.address}#section-0&view=map&head=1&layer=0")
    address = (
        "window?section=0&layer=0&heads=1&top=2000&bottom=2001&left=1500&right=1501&rows=1&columns=1&effort=0&pairs=0"
    )
    found = opened.evaluate(
        "async (address) => new Float32Array(await (await fetch(address)).arrayBuffer())[0]", address
    )
    assert found == pytest.approx(float(seen[0].matrix[0, 1, 2000, 1500]), rel=1e-5)


def test_zooming_the_map_ends_at_single_pairs_with_the_numbers_of_the_matrix(opened, seen):
    answers = []
    opened.on("response", lambda response: answers.append(response) if "/window?" in response.url else None)
    opened.goto(f"{opened.live.address}#section-0&view=map&head=1&layer=0")
    box = opened.locator(".map-base").bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6)
    for _ in range(40):
        opened.mouse.wheel(0, -400)
        opened.wait_for_timeout(100)
        asked = (
            {name: int(value[0]) for name, value in parse_qs(urlsplit(answers[-1].url).query).items()}
            if answers
            else {}
        )
        if asked and asked["bottom"] - asked["top"] < 60:
            break
    facts = json.loads(answers[-1].headers["heedful-window"])
    assert facts["rows"] == list(range(facts["rows"][0], facts["rows"][-1] + 1))
    assert facts["columns"] == list(range(facts["columns"][0], facts["columns"][-1] + 1))
    shown = (
        seen[0].matrix[0, 1, facts["rows"][0] : facts["rows"][-1], facts["columns"][0] : facts["columns"][-1]].numpy()
    )
    found = np.frombuffer(answers[-1].body(), "<f4").reshape(shown.shape)
    np.testing.assert_allclose(found, shown, atol=1e-6)
