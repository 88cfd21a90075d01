"""Whatever stands in the address, in labels and in kinds, the page shows something and says no error."""

import numpy as np
import pytest

from heedful.report import AttentionSection, Text
from tests.report.layers import layer_of

WORDS = [
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "",
    "-1",
    "1e9",
    "NaN",
    "9" * 400,
    "%",
    "%00",
    "a:b:c",
    "<b>",
    "null",
    "0,0,0,0",
]
NAMES = [
    "view", "layer", "head", "scale", "sort", "order", "kind", "found", "by", "query", "cell", "spot", "with", "pins", "rect",
    "link", "opacity", "channel", "hide", "keys", "layout", "look", "merge", "multiples", "pair", "queries", "same",
    "constructor",
]  # fmt: skip


@pytest.fixture(scope="module")
def hostile():
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=(4, 6))
    layers = [
        layer_of(
            weights, name=name, label=name, kind=kind, numbers={"entropy": [1.0] * 4},
            kinds=["constructor", "__proto__", "previous", "toString"], curves={"received": weights.sum(1)},
        )
        for name, kind in (("constructor", "__proto__"), ("__proto__", "constructor"))
    ]  # fmt: skip
    return AttentionSection(
        "constructor", "__proto__", layers, [Text(["__proto__", "constructor", "a", "b", "c", "d"], name="__proto__")]
    )


@pytest.mark.parametrize("view", ["overview", "map", "input", "layers", "compare"])
def test_words_of_the_address(open_report, hostile, view):
    opened = open_report([hostile], fragment=f"#section-0&view={view}")
    opened.quiet("main", frames=2)
    for word in WORDS:
        for names in (NAMES, NAMES[1:]):  # all at once; and all but the view
            rest = "".join(f"&{name}={word}" for name in names)
            opened.page.evaluate("(hash) => { window.location.hash = hash }", f"section-0&view={view}{rest}")
            opened.settle()
            shown = opened.page.locator("main").inner_text()
            assert "cannot be shown" not in shown, word
            assert opened.complaints == [], word
    assert "entropy" in shown.lower() or view != "overview"
