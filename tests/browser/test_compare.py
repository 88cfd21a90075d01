import re

import numpy as np
import pytest

from heedful.report import AttentionSection, Dense, Layer, Positions, Text
from tests.browser.random_attention import random_map, random_section
from tests.report.layers import layer_of

WORDS = ["the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "warm"]
OTHERS = ["a", "dog", "lay", "by", "a", "door", "as", "he", "felt", "cold"]
COMPARE = "#section-0&view=compare"


def section_of(words, seed, *, layers=2, heads=3, title="A section", tokens=True):
    random = np.random.default_rng(seed)
    parts = []
    for index in range(layers):
        grid = random_map(random, heads, len(words), len(words))
        parts.append(layer_of(grid, label=f"layer {index}"))
    return AttentionSection(title, "", parts, [Text(words) if tokens else Positions(len(words))])


def weights(section, layer, head):
    return section.layers[layer].map[head]


def drawn(opened):
    opened.until("() => document.querySelector('.compare-left canvas').style.height !== ''")
    opened.settle()
    return opened


def move_to(opened, name, row, column, rows, columns, *, named=True):
    """Points at a cell of one of the maps; the margins are those of compare-figure.js."""
    canvas = opened.page.locator(f".compare-{name} .compare-map")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, bottom = (78, 78) if named else (46, 24)
    x = box["x"] + left + (column + 0.5) / columns * (box["width"] - left - 8)
    opened.page.mouse.move(x, box["y"] + 4 + (row + 0.5) / rows * (box["height"] - bottom - 4))
    return opened.words("#section-0 .attend > .readout")


def numbers_in(words):
    found = re.search(r"left ([-+.e\d]+) %, right ([-+.e\d]+) %, right minus left ([−+.e\d-]+)(?: %|$)", words)
    assert found is not None, words
    return [shown(part) for part in found.groups()]


def shown(percentage):
    """A share as the page writes it."""
    return float(percentage.split("\u00a0")[0].replace("−", "-")) / 100


@pytest.mark.parametrize("name", ["left", "right", "difference"])
def test_pointing_reads_both_weights_and_their_difference(open_report, name):
    section = section_of(WORDS, 0)
    opened = drawn(open_report([section], fragment=f"{COMPARE}&head=1"))
    words = move_to(opened, name, 3, 5, 10, 10)
    left, right = weights(section, 0, 1)[3, 5], weights(section, 0, 2)[3, 5]  # usual: the next head
    assert words.startswith("query 3 “on” to key 5 “mat”: ")
    assert numbers_in(words) == pytest.approx([left, right, right - left], rel=8e-3, abs=1e-4)


def test_arrows_move_on_all_maps_and_a_cell_is_kept(open_report):
    section = section_of(WORDS, 0)
    opened = drawn(open_report([section], fragment=f"{COMPARE}&head=0"))
    opened.page.locator(".compare-right .compare-map").focus()
    opened.page.keyboard.press("ArrowLeft")  # begins in the middle: row 5, column 5
    opened.page.keyboard.press("ArrowLeft")
    opened.page.keyboard.press("ArrowDown")
    words = opened.words("#section-0 .attend > .readout")
    assert words.startswith("query 6 “because” to key 4 “the”: ")
    left, right = weights(section, 0, 0)[6, 4], weights(section, 0, 1)[6, 4]
    assert numbers_in(words) == pytest.approx([left, right, right - left], rel=8e-3, abs=1e-4)
    opened.page.keyboard.press("Enter")
    opened.settle()
    assert "spot=6%2C4" in opened.page.url
    assert opened.words(".compare-difference .compare-reading") != ""
    opened.page.keyboard.press("Escape")
    opened.settle()
    assert "spot" not in opened.page.url
    assert opened.words(".compare-difference .compare-reading") == ""


@pytest.mark.parametrize(("left", "right"), [((0, "0"), (1, "2")), ((1, "mean"), (0, "mean")), ((0, "0,2"), (0, "1"))])
def test_distances_are_those_of_the_weights(open_report, left, right):
    section = section_of(WORDS, 1)
    opened = drawn(
        open_report([section], fragment=f"{COMPARE}&layer={left[0]}&head={left[1]}&with=0:{right[0]}:{right[1]}")
    )

    def mean(layer, words):
        chosen = [0, 1, 2] if words == "mean" else [int(word) for word in words.split(",")]
        return section.layers[layer].map[chosen].astype(np.float64).mean(0)

    a, b = mean(*left), mean(*right)
    opened.page.wait_for_selector(".compare-numbers dd")
    absolute, found, variation = opened.page.locator(".compare-numbers dd").all_inner_texts()
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    numbers = [shown(absolute), float(found), shown(variation)]
    assert numbers == pytest.approx([np.abs(a - b).mean(), cosine, np.abs(a - b).sum(-1).mean() / 2], rel=2e-3)
    assert opened.words(".compare-numbers .note") == "From all 10 × 10 weights."


def test_a_section_with_the_same_layers_stands_on_the_right_at_first(open_report):
    one, two = section_of(WORDS, 0, title="First"), section_of(OTHERS, 1, title="Second")
    opened = drawn(open_report([one, two], fragment=f"{COMPARE}&layer=1&head=2"))
    words = move_to(opened, "left", 1, 2, 10, 10)
    assert words.startswith("query 1 “cat” to key 2 “sat”: left ")
    assert "right query 1 “dog” to key 2 “lay”: " in words
    left, right = weights(one, 1, 2)[1, 2], weights(two, 1, 2)[1, 2]
    found = [shown(text) for text in re.findall(r"(?:left|”:) ([−+]?\d[\d.e-]*)", words)]
    assert found == pytest.approx([left, right, right - left], rel=8e-3, abs=1e-4)
    opened.page.get_by_label("Section on the right").first.select_option(label="this section")
    opened.page.get_by_label("Head on the right").first.select_option("0")
    opened.settle()
    assert "with=0%3A1%3A0" in opened.page.url
    assert opened.words(".compare-right .compare-title >> nth=0") == "Right: layer 1, head 0"


def test_the_sides_are_exchanged(open_report):
    opened = drawn(open_report([section_of(WORDS, 0)], fragment=f"{COMPARE}&head=0&with=0:1:2"))
    opened.page.get_by_role("button", name="Swap").click()
    opened.settle()
    assert opened.words(".compare-left .compare-title") == "Left: layer 1, head 2"
    assert opened.words(".compare-right .compare-title") == "Right: layer 0, head 0"


def test_the_scales_are_one_or_two(open_report):
    section = section_of(WORDS, 0)
    opened = drawn(open_report([section], fragment=f"{COMPARE}&head=0&scale=linear"))
    left, right = weights(section, 0, 0).max(), weights(section, 0, 1).max()

    def high(name):
        return opened.page.locator(f".compare-{name} .bar-numbers span").last.inner_text()

    assert [shown(high(name)) for name in ("left", "right")] == pytest.approx([max(left, right)] * 2, rel=6e-3)
    most = np.abs(weights(section, 0, 1) - weights(section, 0, 0)).max()
    assert shown(high("difference")) == pytest.approx(most, rel=8e-3)
    opened.page.get_by_label("same scale left and right").uncheck()
    opened.settle()
    assert [shown(high(name)) for name in ("left", "right")] == pytest.approx([left, right], rel=6e-3)


def test_two_shapes_have_no_difference_and_linked_cursors(open_report):
    one, two = section_of(WORDS, 0), section_of(WORDS[:5], 1, title="Short")
    opened = drawn(open_report([one, two], fragment=COMPARE))
    assert not opened.page.locator(".compare-difference").first.is_visible()
    assert (
        opened.words(".compare > .note >> nth=0") == "A difference needs equal shapes: left is 10 × 10, right is 5 × 5."
    )
    words = move_to(opened, "left", 9, 2, 10, 10)
    assert "query 9 “warm” to key 2 “sat”" in words
    assert "right query 4 “the” to key 1 “cat”" in words
    opened.page.get_by_label("same relative position").uncheck()
    words = move_to(opened, "left", 3, 2, 10, 10)
    assert "right query 3 “on” to key 2 “sat”" in words


def test_maps_alone_are_compared_in_their_cells(open_report):
    section = random_section(layers=1, heads=2, n=600, cells=60, pairs=0)
    opened = drawn(open_report([section], fragment=f"{COMPARE}&head=0"))
    a, b = section.layers[0].map.astype(np.float64)
    opened.page.wait_for_selector(".compare-numbers dd")
    absolute, _, variation = opened.page.locator(".compare-numbers dd").all_inner_texts()
    assert shown(absolute) == pytest.approx(np.abs(a - b).mean(), rel=2e-3)
    assert shown(variation) == pytest.approx(np.abs(a - b).sum(-1).mean() / 2, rel=2e-3)
    assert opened.words(".compare-numbers .note").startswith("From maps of 60 × 60 cells")
    words = move_to(opened, "difference", 10, 20, 60, 60, named=False)
    assert words.startswith("queries 100 to 109 to keys 200 to 209: ")
    assert numbers_in(words) == pytest.approx([a[10, 20], b[10, 20], b[10, 20] - a[10, 20]], rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_differences_are_blue_below_and_orange_above(open_report, scheme):
    """The color of a cell tells its sign without red and green: blue has more blue than red, orange more red than blue."""
    grid = np.full((2, 2, 2), 0.5, np.float32)
    grid[0, 0], grid[1, 0] = [0.9, 0.1], [0.1, 0.9]
    layer = Layer("a", "a", "self", grid, Dense(grid), 2, 2, 0, 0)
    section = AttentionSection("Two", "", [layer], [Positions(2)])
    opened = drawn(open_report([section], fragment=f"{COMPARE}&head=0&scale=linear", scheme=scheme))
    pixels = opened.page.evaluate(
        """() => {
          const canvas = document.querySelector(".compare-difference .compare-map");
          const [w, h] = [canvas.width - 54, canvas.height - 28];
          const copy = new OffscreenCanvas(canvas.width, canvas.height);
          const pen = copy.getContext("2d", { willReadFrequently: true });
          pen.drawImage(canvas, 0, 0);
          const middle = (row, column) => [46 + (w * (column + 0.5)) / 2, 4 + (h * (row + 0.5)) / 2];
          const at = (row, column) => [...pen.getImageData(...middle(row, column), 1, 1).data];
          return [at(0, 0), at(0, 1), at(1, 0)];
        }"""
    )
    below, above, zero = np.array(pixels, int)
    assert below[2] > below[0] + 50
    assert above[0] > above[2] + 50
    assert np.ptp(zero[:3]) < 20
    assert (zero[:3].mean() > 200) == (scheme == "light")


@pytest.mark.parametrize("wrong", ["9:0:0", "0:7:0", "0:0:99", "x", "0:0", "::", "0:length:1"])
def test_an_address_that_names_nothing_falls_back(open_report, wrong):
    opened = drawn(open_report([section_of(WORDS, 0)], fragment=f"{COMPARE}&with={wrong}&spot=99,-1"))
    assert opened.words(".compare-right .compare-title").startswith("Right: layer 0, ")
    assert opened.words(".compare-left .compare-reading") == ""


@pytest.mark.parametrize("width", [400, 1280])
def test_odd_tokens_break_nothing(open_report, width):
    odd = ["</script><img src=x onerror=alert(1)>", "\u202eשלום", "\U0001f600\u200d", "x" * 10_000, "\u200b", "", "\n"]
    opened = open_report(
        [section_of(odd, 0), section_of(odd, 1, title=odd[0])], width=width, fragment=f"{COMPARE}&spot=3,3"
    )
    drawn(opened)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator(".compare-left").first.bounding_box()["height"] < 700
