import re
from functools import cache

import numpy as np
import pytest

from heedful.report import AttentionSection, Layer
from tests.browser.random_attention import cross_section, random_layer, random_section

WORDS = ["the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "warm"]
LAYERS = "#section-0&view=layers"
HOSTILE = ["</script><img src=x onerror=alert(1)>", "\u202eשלום", "\U0001f600\u200d", "x" * 10_000, "\u200b", "", "\n"]


@cache
def small_section():
    return random_section(layers=3, heads=4, tokens=WORDS, pairs="cells")


def with_rollout(section):
    grid = np.random.default_rng(2).random((1, len(WORDS), len(WORDS))).astype(np.float32)
    n = len(WORDS)
    followed = Layer("rollout", "rollout", "rollout", grid, None, n, n, 0, 0, curves={"received": grid.sum(1)})
    return AttentionSection(section.title, section.text, [*section.layers, followed], section.axes), grid[0]


def point_at_dot(opened, layer, head, layers=3, heads=4):
    """Moves the pointer along the column in which a dot stands until it is read; the margins are those of layers-dots.js."""
    canvas = opened.page.locator(".layers-dots")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    band = (box["width"] - 72) / layers
    x = box["x"] + 62 + (layer + 0.5 + 0.62 * ((head + 0.5) / heads - 0.5)) * band
    for y in np.arange(box["y"] + 2, box["y"] + box["height"] - 20, 8):
        opened.page.mouse.move(x, y)  # is told at once, not with the next frame
        words = opened.page.locator(".attend > .readout").inner_text().replace("\u00a0", " ")
        if words.startswith(f"layer {layer}, head {head}: "):
            return x, y, words
    raise AssertionError(f"no dot of layer {layer}, head {head}")


def test_a_dot_reads_its_number_and_a_click_chooses_its_head(open_report):
    section = small_section()
    opened = open_report([section], fragment=LAYERS)
    entropy = section.layers[1].numbers["entropy"]
    x, y, words = point_at_dot(opened, 1, 2)
    shown, mean = map(float, re.findall(r"([\d.]+)(?:;|$)", words))
    assert shown == pytest.approx(entropy[2], rel=6e-3)
    assert mean == pytest.approx(np.mean(entropy), rel=6e-3)
    opened.page.mouse.click(x, y)
    opened.settle()
    assert "layer=1" in opened.page.url
    assert "head=2" in opened.page.url
    assert opened.words(".layers h3 >> nth=1") == "Along the positions: layer 1, head 2"


def test_another_number_is_shown_and_stands_in_the_address(open_report):
    section = small_section()
    opened = open_report([section], fragment=f"{LAYERS}&layer=2&head=1")
    opened.page.get_by_label("Head statistic").select_option("previous")
    assert "by=previous" in opened.page.url
    opened.page.locator(".layers-dots").focus()
    opened.page.keyboard.press("ArrowLeft")
    words = opened.words(".attend > .readout")
    assert words.startswith("layer 1, head 1: mass on the previous key ")
    assert float(re.search(r"key ([\d.]+) %", words)[1]) / 100 == pytest.approx(
        section.layers[1].numbers["previous"][1], rel=6e-3
    )
    order = np.argsort(section.layers[1].numbers["previous"])
    above = order[min(3, list(order).index(1) + 1)]
    opened.page.keyboard.press("ArrowUp")
    assert opened.words(".attend > .readout").startswith(f"layer 1, head {above}: ")
    opened.page.keyboard.press("Enter")
    opened.settle()
    assert "layer=1" in opened.page.url
    assert f"head={above}" in opened.page.url
    offered = opened.page.get_by_label("Head statistic").locator("option").count()
    assert offered == len(section.layers[0].numbers)


@pytest.mark.parametrize("heads", ["2", "mean", "1,3"])
def test_curves_read_positions_with_their_tokens(open_report, heads):
    section = small_section()
    opened = open_report([section], fragment=f"{LAYERS}&layer=1&head={heads}")
    chosen = {"2": [2], "mean": [0, 1, 2, 3], "1,3": [1, 3]}[heads]
    opened.page.wait_for_selector(".layers-most li")
    for number, name, unit, verb in (
        (0, "received", 100 / 10, r"key 1 “cat” receives ([\d.]+) % of all mass"),
        (1, "entropy", 1, r"query 1 “cat” has an entropy of ([\d.]+) nat"),
    ):
        wanted = section.layers[1].curves[name][chosen].mean(0) * unit
        opened.page.locator(".layers-profiles .layers-curve").nth(number).focus()
        opened.page.keyboard.press("ArrowRight")
        opened.page.keyboard.press("ArrowRight")
        found = re.match(verb, opened.words(".attend > .readout"))
        assert found is not None
        assert float(found[1]) == pytest.approx(wanted[1], rel=6e-3)
        opened.page.keyboard.press("Escape")
        assert opened.words(".attend > .readout") == ""


def test_pointing_at_a_curve_reads_what_lies_under_the_pointer(open_report):
    opened = open_report([small_section()], fragment=LAYERS)
    opened.page.wait_for_selector(".layers-most li")
    canvas = opened.page.locator(".layers-profiles .layers-curve").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    opened.page.mouse.move(box["x"] + 70 + 5.5 / 10 * (box["width"] - 84), box["y"] + 60)
    assert opened.words(".attend > .readout").startswith("key 5 “mat” receives ")
    assert opened.words(".layers-caption .layers-reading >> nth=0").startswith("key 5 “mat” receives ")


def test_the_keys_that_receive_most_are_listed(open_report):
    section = small_section()
    opened = open_report([section], fragment=f"{LAYERS}&layer=2&head=0")
    received = section.layers[2].curves["received"][0]
    opened.page.wait_for_selector(".layers-profiles .layers-most li")
    rows = opened.page.locator(".layers-profiles .layers-most li").all_inner_texts()
    assert len(rows) == 8
    for row, key in zip(rows, np.argsort(-received), strict=False):
        name, number = row.split("\n")
        assert name == f"{key} “{WORDS[key]}”"
        assert float(number.split("\u00a0")[0]) == pytest.approx(100 * received[key] / 10, rel=6e-3)


def test_a_late_curve_does_not_replace_that_of_the_head_chosen_after(open_report):
    section = random_section(layers=4, heads=8, n=512, pairs=0)
    opened = open_report([section], fragment=f"{LAYERS}&head=0")
    opened.page.wait_for_selector(".layers-most li")
    opened.page.locator(".layers-dots").focus()
    for _ in range(3):
        opened.page.keyboard.press(".")
        opened.page.keyboard.press("]")
    opened.until("() => document.querySelectorAll('.layers h3')[1].textContent.endsWith('layer 3, head 3')")
    opened.quiet(".layers-profiles .layers-most", frames=12)  # for what may come late
    name = opened.page.locator(".layers-profiles .layers-most li").first.inner_text().split("\n")[0]
    best = section.layers[3].curves["received"].argmax(-1)
    assert name.split(" ")[0] == str(best[3])
    assert best[3] not in best[:3]


def test_long_inputs_read_stretches_and_a_map_alone_gives_what_keys_receive(open_report):
    random = np.random.default_rng(3)
    layer = random_layer(random, 0, heads=2, queries=90, keys=90, cells=30, pairs=0)
    layer = Layer(layer.name, layer.label, layer.kind, layer.map, None, 90, 90, 0, 0)  # neither numbers nor curves
    opened = open_report(
        [AttentionSection("Bare", "", [layer], random_section(n=90, layers=1).axes)], fragment=f"{LAYERS}&head=1"
    )
    opened.page.wait_for_selector(".layers-most li")
    assert opened.page.get_by_text("The file holds no statistics of heads.").is_visible()
    assert opened.page.get_by_text("The file holds no entropy of the rows of this layer.").is_visible()
    assert opened.page.get_by_text("The heads of this section were not classified.").is_visible()
    received = layer.map[1].sum(0)  # three queries a cell, three keys a cell
    row = opened.page.locator(".layers-most li").first.inner_text().split("\n")
    best = int(received.argmax())
    assert row[0] == f"{3 * best} to {3 * best + 2}"
    assert float(row[1].split("\u00a0")[0]) == pytest.approx(100 * received[best] / 90, rel=6e-3)


def test_the_rollout_is_read_and_opens_in_the_map(open_report):
    section, grid = with_rollout(small_section())
    opened = open_report([section], fragment=LAYERS)
    canvas = opened.page.locator(".layers-map")
    opened.until("() => document.querySelector('.layers-map').style.height !== ''")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    opened.page.mouse.move(
        box["x"] + 70 + 2.5 / 10 * (box["width"] - 84), box["y"] + 8 + 5.5 / 10 * (box["height"] - 50)
    )
    words = opened.words(".attend > .readout")
    assert words.startswith("rollout, query 5 “mat” to key 2 “sat”: ")
    assert float(words.split(": ")[1].split()[0]) == pytest.approx(100 * grid[5, 2], rel=6e-3)
    opened.page.locator(".layers").get_by_role("button", name="Open in the map").click()
    opened.settle()
    assert {"view=map", "layer=3", "head=0"} <= set(opened.page.url.split("&"))


def test_kinds_list_their_heads_the_best_first(open_report):
    section = small_section()
    opened = open_report([section], fragment=LAYERS)
    found = {}
    for row in opened.page.locator(".layers-kinds > div").all():
        found[row.locator("strong").inner_text()] = row.locator("dd")
    assert len(found) == 10
    previous = [(layer.numbers["previous"][1], i) for i, layer in enumerate(section.layers)]
    shown = [button.inner_text() for button in found["previous token"].locator("button").all()]
    for text, (score, layer) in zip(shown, sorted(previous, reverse=True), strict=True):
        name, number = text.rsplit(" ", 1)
        assert name.strip() == f"layer {layer}, head 1"
        assert float(number) == pytest.approx(score, rel=6e-3)
    assert found["separator"].inner_text().startswith("none found")
    assert opened.page.get_by_text("Other: 3 of 12 heads.").is_visible()
    found["first token"].locator("button").first.click()
    opened.settle()
    best = int(np.argmax([layer.numbers["first"][2] for layer in section.layers]))
    parts = opened.page.url.split("&")
    assert {"view=map", "head=2"} <= set(parts)
    assert [part for part in parts if part.startswith("layer=")] == [f"layer={best}"][: best > 0]  # 0 is not written


def test_many_heads_of_a_kind_are_shown_when_asked_for(open_report):
    opened = open_report([random_section(layers=6, heads=16, n=32, pairs=0)], fragment=LAYERS)
    row = opened.page.locator(".layers-kinds > div").first
    assert row.locator(".layers-head").count() == 12
    row.get_by_role("button", name="12 more").click()
    assert row.locator(".layers-head").count() == 24


def test_layers_of_several_kinds_have_lines_of_their_own(open_report):
    opened = open_report([cross_section(WORDS, WORDS[:4])], fragment=LAYERS)
    assert "cross attention, target to source: dashed" in opened.words(".layers > .layers-part >> nth=0")


@pytest.mark.parametrize("width", [400, 1280])
def test_odd_tokens_break_nothing(open_report, width):
    opened = open_report(
        [random_section(layers=2, heads=2, tokens=HOSTILE, pairs="cells")], width=width, fragment=LAYERS
    )
    opened.page.wait_for_selector(".layers-most li")
    opened.page.locator(".layers-profiles .layers-curve").first.focus()
    for _ in HOSTILE:
        opened.page.keyboard.press("ArrowRight")
        opened.settle()
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator(".failure").count() == 0


def test_everything_is_named_for_screen_readers(open_report):
    section, _ = with_rollout(small_section())
    opened = open_report([section], fragment=LAYERS)
    for canvas in opened.page.locator(".layers canvas").all():
        assert canvas.get_attribute("aria-label")
    for picker in opened.page.locator(".layers select").all():
        assert picker.get_attribute("aria-label")
