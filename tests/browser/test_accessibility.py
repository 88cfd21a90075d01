"""What axe-core finds on every view, in both color schemes, wide and narrow."""

from functools import cache

import numpy as np
import pytest

from heedful.report import (
    AttentionSection,
    MatrixSection,
    Picture,
    Positions,
    Series,
    Sound,
    TableSection,
    Text,
)
from tests.report.layers import layer_of

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
RANDOM = np.random.default_rng(0)


def layer(label, kind, rows, columns, axes, heads=3):
    queries, keys = axes[rows].count, axes[columns].count
    weights = RANDOM.dirichlet(np.ones(keys), size=(heads, queries))
    more = {
        "numbers": {"entropy": [1.0, 2.0, 3.0][:heads], "previous": [0.1, 0.6, 0.3][:heads]},
        "kinds": ["", "previous", "other"][:heads],
        "curves": {"received": weights.sum(1), "entropy": -(weights * np.log(weights)).sum(-1)},
    }
    return layer_of(weights, label=label, kind=kind, rows=rows, columns=columns, **more)


@cache
def section(name):
    axes = {
        "text": [Text(["[CLS]", "un", "##seen", "sky", "."], [-1, 0, 0, 1, 2], [0])],
        "translation": [
            Text(["der", "Himmel"], name="source"),
            Text(["<s>", "the", "sky"], special=[0], name="target"),
        ],
        "picture": [Picture(RANDOM.integers(0, 255, (20, 30, 3)).astype(np.uint8), (2, 3), extra=["class token"])],
        "sound": [
            Sound(np.sin(np.arange(400) / 9), 100, RANDOM.random((7, 20)), count=8),
            Text(["one", "two"], name="words"),
        ],
        "series": [Series(RANDOM.random((40, 2)), ["load", "price"], count=10)],
        "channels": [Positions(4, ["red", "green", "blue", "depth"])],
    }[name]
    layers = [layer("layer 0", "channel" if name == "channels" else "self", 0, 0, axes)]
    layers.append(layer("layer 1", "self", 0, 0, axes))
    if len(axes) > 1:
        layers.append(layer("decoder 0", "cross", 1, 0, axes))
    else:
        layers.append(layer("rollout", "rollout", 0, 0, axes, heads=1))
    return AttentionSection(name, "Some words.", layers, axes, [("cat", 0.75)], "cat", "what it wrote")


def assert_accessible(opened, *rules):
    """No rule of axe is broken; all of them are tried where none are named."""
    opened.settle()
    if opened.page.locator(".attend").count() > 0:
        opened.quiet("main", frames=6)
    # the page may not be told to run foreign scripts, so the checker runs beside it
    found = axe.Axe().run(opened.page, options={"runOnly": list(rules)} if rules else {})
    broken = [
        (violation["id"], violation["help"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in found.response["violations"]
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("view", "width"),
    [
        ("overview", 400),
        ("map", 1280),
        ("map", 400),
        ("input", 1280),
        ("input", 400),
        ("layers", 1280),
        ("compare", 400),
    ],
)
def test_every_view_of_a_text(open_report, view, width):
    options = {"width": width, "fragment": f"#section-0&view={view}", "bypass_csp": True, "reduced_motion": "reduce"}
    opened = open_report([section("text"), section("translation")], **options)
    assert_accessible(opened)
    opened.page.emulate_media(color_scheme="dark")
    opened.until("() => document.documentElement.dataset.theme === 'dark'")
    assert_accessible(opened, "color-contrast")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("translation", 0),
        ("translation", 2),
        ("picture", 2),
        ("sound", 0),
        ("sound", 2),
        ("series", 0),
        ("channels", 0),
    ],
)
def test_every_kind_of_input(open_report, name, layer):
    options = {"scheme": "dark", "fragment": f"#section-0&view=input&layer={layer}", "bypass_csp": True}
    assert_accessible(open_report([section(name)], **options))


def test_the_other_sections_and_the_help(open_report):
    matrix = MatrixSection(
        "A matrix", "", (30, 40), RANDOM.random((5, 7)), {"entropy (nat)": np.ones(30)}, {}, [("a", 1)]
    )
    opened = open_report([matrix, TableSection("A table", "", ["a", "b"], [["c", 1]])], bypass_csp=True)
    assert_accessible(opened)
    opened.page.keyboard.press("?")
    assert_accessible(opened)


TALL = '@font-face { font-family: tall; src: local("DejaVu Sans"); ascent-override: 200%; descent-override: 90%; } '


@pytest.mark.parametrize("view", ["overview", "map", "input", "layers", "compare"])
def test_fonts_that_are_taller_and_wider(open_report, view):
    sections = [section("text"), section("translation"), TableSection("A table", "", ["a", "b"], [["c", 1]])]
    opened = open_report(sections, fragment=f"#section-0&view={view}", bypass_csp=True)
    opened.page.add_style_tag(content=TALL + "* { font-family: tall !important; letter-spacing: 0.1em; }")
    assert_accessible(opened, "scrollable-region-focusable", "aria-hidden-focus")


def test_a_text_that_fills_its_place_scrolls_and_can_be_reached(open_report):
    table = TableSection("long " * 400, "short", ["a", "b"], [["c " * 2000, 1]])
    opened = open_report([table], bypass_csp=True)
    assert_accessible(opened, "scrollable-region-focusable")
    assert opened.page.locator("h2.scrolls, .cell.scrolls").evaluate_all(
        "(found) => found.map((one) => one.tabIndex)"
    ) == [0, 0]
    assert opened.page.locator(".lead.scrolls").count() == 0
