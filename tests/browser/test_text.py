import dataclasses
import re

import numpy as np
import pytest

from heedful.report.attention import AttentionSection, Layer, TopWeights
from heedful.report.axes import Picture, Text
from tests.report.layers import layer_of, softmax

TOKENS = ["[CLS]", "The", "fox", "un", "##seen", "##ly", "left", "the", "barn", "[SEP]"]
WORDS = [-1, 0, 1, 2, 2, 2, 3, 4, 5, -1]
SPECIAL = [0, 9]
HEADS = 3
HOSTILE = [
    "</script><img src=x onerror=alert(1)>", "\u05e9\u05dc\u05d5\u05dd", "\u200b", "\n", "", "   ", "x" * 10_000,
    "a\u202eb", "\u0301" * 50, "\x00", "\ud800", "end",
]  # fmt: skip


def weights_of(queries, keys, *, sink=3.0, heads=HEADS, seed=0):
    scores = np.random.default_rng(seed).normal(size=(heads, queries, keys))
    scores[..., 0] += sink
    return softmax(scores).astype(np.float32)


def token_layer(weights, *, links=None, **more):
    pairs = "cells"
    if links is not None:
        indices = np.argsort(-weights, -1)[..., :links]
        pairs = TopWeights(indices, np.take_along_axis(weights, indices, -1))
    return layer_of(weights, pairs, most=1, **more)


def section_of(*layers, axes=None):
    return AttentionSection("A text", "", layers, axes or [Text(TOKENS, WORDS, SPECIAL)])


WEIGHTS = weights_of(len(TOKENS), len(TOKENS))
MEAN = WEIGHTS.mean(0)
SECTION = section_of(token_layer(WEIGHTS))


@pytest.fixture
def open_text(open_report):
    def open_one(section=None, fragment="", **options):
        address = f"#section-0&view=input{fragment}"
        opened = open_report([section or SECTION], fragment=address, **options)
        opened.page.wait_for_selector(".text-token")
        wait_for(opened, lambda: "%" in readout(opened))
        return opened

    return open_one


def wait_for(opened, holds):
    for _ in range(100):
        if holds():
            return
    raise AssertionError("the page did not become what it should")


def token(opened, position, block=0):
    return opened.page.locator(".text-list").nth(block).locator(f'.text-token[aria-label^="{position}:"]')


def readout(opened):
    return opened.words(".attend > .readout")


def said(opened):
    """The keys and the percentages of the readout."""
    found = re.findall(r"\u2018([^\u2019]*)\u2019 \(([\d to]+)\) ([\d.]+) %", readout(opened))
    return [(int(position.split()[0]), float(value)) for _, position, value in found]


def five_largest(weights, starts=None):
    order = np.argsort(-weights, kind="stable")[:5]
    return [((starts or range(len(weights)))[i], 100 * weights[i]) for i in order if weights[i] > 0]


def assert_said(opened, weights, starts=None):
    wanted = five_largest(np.asarray(weights, np.float64), starts)
    wait_for(opened, lambda: [position for position, _ in said(opened)] == [position for position, _ in wanted])
    for (_, shown), (_, value) in zip(said(opened), wanted, strict=True):
        assert shown == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize("links", [None, 1])
def test_first_it_shows_what_each_token_receives(open_text, links):
    opened = open_text(section_of(token_layer(WEIGHTS, links=links, curves={"received": WEIGHTS.sum(1)})))
    assert readout(opened).startswith("Attention received by each token (mean of all queries)")
    assert_said(opened, MEAN.mean(0))
    shades = [token(opened, i).evaluate("node => getComputedStyle(node).backgroundColor") for i in (0, 1)]
    assert next(float(re.findall(r"[\d.]+", shade)[-1]) for shade in shades) > 0.5
    assert shades[0] != shades[1]


def test_pointing_at_a_token_shows_its_row(open_text):
    opened = open_text()
    token(opened, 2).hover()
    assert_said(opened, MEAN[2])
    assert readout(opened).startswith("\u2018fox\u2019 (2) attends to: ")
    values = opened.page.locator(".text-top .text-value").all_inner_texts()
    assert [float(v.split("\u00a0")[0]) for v in values] == pytest.approx(sorted(100 * MEAN[2], reverse=True), rel=6e-3)


def test_the_toggle_shows_who_looks_at_a_token(open_text):
    opened = open_text(fragment="&look=in&head=1")
    token(opened, 2).hover()
    assert_said(opened, WEIGHTS[1][:, 2])
    assert "(2) is attended by: " in readout(opened)


def test_of_links_it_says_how_much_is_shown(open_text):
    opened = open_text(section_of(token_layer(WEIGHTS, links=3)), "&head=0")
    token(opened, 4).hover()
    wait_for(opened, lambda: "Mass shown" in readout(opened))
    mass = np.sort(WEIGHTS[0, 4])[-3:].sum()
    assert float(re.search(r"Mass shown: ([\d.]+) %", readout(opened))[1]) == pytest.approx(100 * mass, rel=6e-3)


def cross_section():
    weights = weights_of(4, 6, sink=0)
    axes = [Text(list("abcdef"), name="source"), Text(list("wxyz"), name="target")]
    return weights, section_of(token_layer(weights, kind="cross", rows=1), axes=axes)


@pytest.mark.parametrize(("layout", "keys", "queries"), [("flow", 0, 1), ("columns", 1, 0)])
def test_cross_attention_has_two_lists_that_look_at_each_other(open_text, layout, keys, queries):
    weights, section = cross_section()
    opened = open_text(section, f"&layout={layout}")
    token(opened, 2, queries).hover()
    assert_said(opened, weights.mean(0)[2])
    token(opened, 5, keys).hover()
    wait_for(opened, lambda: "is attended by" in readout(opened))
    assert_said(opened, weights.mean(0)[:, 5])


GROUPS = [[0], [1], [2], [3, 4, 5], [6], [7], [8], [9]]


def merged(rows):
    """Sums over the keys of a word, means over its queries."""
    keys = np.stack([rows[:, group].sum(1) for group in GROUPS], 1)
    return np.stack([keys[group].mean(0) for group in GROUPS])


def test_words_are_sums_of_keys_and_means_of_queries(open_text):
    opened = open_text(fragment="&merge=1")
    assert token(opened, 3).inner_text() == "unseenly"
    starts = [group[0] for group in GROUPS]
    token(opened, 3).hover()
    assert_said(opened, merged(MEAN)[3], starts)


def renormalized(rows, hidden):
    kept = rows.astype(np.float64).copy()
    kept[:, hidden] = 0
    return kept / kept.sum(1, keepdims=True)


@pytest.mark.parametrize("layout", ["flow", "columns"])
def test_hidden_tokens_leave_rows_that_sum_to_one(open_text, layout):
    opened = open_text(fragment=f"&hide=1&layout={layout}")
    assert token(opened, 0).count() == 0
    assert token(opened, 9).count() == 0
    token(opened, 6).hover()
    assert_said(opened, renormalized(MEAN, SPECIAL)[6])
    assert "Renormalized to 1" in readout(opened)
    note = opened.words(".text-hidden")
    assert "\u2018[CLS]\u2019 (0)" in note
    assert "\u2018[SEP]\u2019 (9)" in note


def test_hidden_tokens_leave_columns_of_the_same_numbers(open_text):
    opened = open_text(fragment="&hide=1&look=in")
    token(opened, 6).hover()
    wait_for(opened, lambda: "is attended by" in readout(opened))
    column = renormalized(MEAN, SPECIAL)[:, 6]
    column[SPECIAL] = 0  # these queries are not shown
    assert_said(opened, column)


def test_a_sink_stays_readable_but_takes_no_mass(open_text):
    weights = weights_of(6, 6, sink=0)
    weights[..., 3] += 2
    weights /= weights.sum(-1, keepdims=True)
    opened = open_text(section_of(token_layer(weights), axes=[Text(list("abcdef"))]), "&hide=1")
    assert "text-left-out" in token(opened, 3).get_attribute("class")
    assert "of all mass" in opened.words(".text-hidden")
    assert "the first" in opened.words(".text-hidden")
    token(opened, 2).hover()
    assert_said(opened, renormalized(weights.mean(0), [0, 3])[2])


def test_pins_stand_in_the_address_and_come_back_from_it(open_text):
    opened = open_text()
    token(opened, 2).click()
    token(opened, 6).click()
    opened.settle()
    assert "pins=2%2C6" in opened.page.url
    fragment = opened.page.url.split("#")[1].removeprefix("section-0&view=input")
    again = open_text(fragment=fragment)
    assert [chip.split("\n")[0] for chip in again.page.locator(".text-chip").all_inner_texts()] == ["A", "B"]
    assert token(again, 2).get_attribute("aria-selected") == "true"
    assert_said(again, MEAN[6])
    again.page.locator(".text-release").nth(1).click()
    again.settle()
    assert_said(again, MEAN[2])
    again.page.locator(".text-list").focus()
    again.page.keyboard.press("Escape")
    again.settle()
    assert again.page.locator(".text-chip").count() == 0
    assert "pins=" not in again.page.url


def test_a_change_of_direction_turns_the_pins(open_text):
    opened = open_text(fragment="&pins=2&head=1")
    opened.page.get_by_text("attended by", exact=True).first.click()
    wait_for(opened, lambda: "is attended by" in readout(opened))
    assert_said(opened, WEIGHTS[1][:, 2])
    assert "pins=k2" in opened.page.url
    opened.page.get_by_role("button", name="Show as map").click()
    wait_for(opened, lambda: readout(opened) == "Point at the map to read its numbers.")


@pytest.mark.parametrize("pins", ["99", "k99", "-1", "x", "1,1,,,,,,,,7", "%00"])
def test_pins_that_are_none_are_passed_over(open_text, pins):
    opened = open_text(fragment=f"&pins={pins}")
    assert opened.page.locator(".text-chip").count() == (1 if pins.startswith("1,") else 0)


def test_the_keyboard_reaches_every_token(open_text):
    opened = open_text()
    opened.page.locator(".text-search input").focus()
    for _ in range(9):
        opened.page.keyboard.press("Tab")
        if opened.page.evaluate("document.activeElement.classList.contains('text-list')"):
            break
    assert_said(opened, MEAN[0])
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowRight")
    assert_said(opened, MEAN[2])
    active = opened.page.locator(".text-list").get_attribute("aria-activedescendant")
    assert opened.page.locator(f"#{active}").get_attribute("aria-label") == "2: fox"
    opened.page.keyboard.press("Enter")
    opened.settle()
    assert "pins=2" in opened.page.url
    opened.page.keyboard.press("End")
    assert_said(opened, MEAN[9])
    opened.page.keyboard.press("Escape")
    opened.settle()
    assert "pins=" not in opened.page.url
    assert readout(opened).startswith("Attention received by each token")


def test_the_search_goes_from_match_to_match(open_text):
    opened = open_text()
    opened.page.locator(".text-list").focus()
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("the")
    assert opened.words(".text-count") == "1 of 2"
    assert opened.page.locator(".text-found").count() == 2
    assert_said(opened, MEAN[1])
    opened.page.keyboard.press("Enter")
    assert opened.words(".text-count") == "2 of 2"
    assert_said(opened, MEAN[7])
    opened.page.keyboard.press("Shift+Enter")
    assert opened.words(".text-count") == "1 of 2"
    opened.page.keyboard.press("Escape")
    assert opened.page.evaluate("document.activeElement.classList.contains('text-list')")


@pytest.mark.parametrize("layout", ["flow", "columns"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_hostile_tokens_are_text(open_text, layout, width, scheme):
    n = len(HOSTILE)
    section = section_of(token_layer(weights_of(n, n)), axes=[Text(HOSTILE, name="<i>x</i>")])
    opened = open_text(section, f"&layout={layout}", width=width, scheme=scheme)
    texts = opened.page.locator(".text-list").first.locator(".text-word").all_inner_texts()
    assert texts[0] == HOSTILE[0]
    assert texts[1] == HOSTILE[1]
    assert texts[2:6] == ["ZWSP", "\u21b5", "empty", "space \u00d73"]
    assert len(texts[6]) < 60
    assert "\u2026" in texts[6]
    assert texts[7] == "aRLOb"
    assert texts[9] == "NUL"
    assert texts[10] == "U+D800"
    assert "10000 letters" in token(opened, 6).first.get_attribute("title")
    assert "U+200B zero width space" in token(opened, 2).first.get_attribute("title")
    assert opened.page.locator("section img").count() == 0
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.page.evaluate(overflow) == 0


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["\u0120the", "\u0120caf\u00c3\u00a9", "s", "\u010a"], ["the", "caf\u00e9", "s", "\u21b5"]),
        (["\u2581the", "\u2581cat", "s", "<0x0A>"], ["the", "cat", "s", "\u21b5"]),
        (["the", "cat", "##s", "##"], ["the", "cat", "s", "##"]),
        (["the", " cat", "s", "  "], ["the", "cat", "s", "space \u00d72"]),
    ],
)
def test_marks_of_tokenizers_become_spaces(open_text, tokens, shown):
    opened = open_text(section_of(token_layer(weights_of(4, 4)), axes=[Text(tokens)]))
    assert opened.page.locator(".text-word").all_inner_texts() == shown
    spaced = ["text-spaced" in token(opened, i).get_attribute("class") for i in range(3)]
    assert spaced[1:] == [True, False]


def test_of_thousands_of_tokens_only_those_in_view_exist(open_text):
    n, links = 5000, 4
    random = np.random.default_rng(0)
    indices = random.integers(0, n, size=(1, n, links))
    weights = np.tile(np.array([0.4, 0.3, 0.1, 0.05], np.float32), (1, n, 1))
    layer = Layer("l", "l", "self", np.ones((1, 1, 1), np.float32), TopWeights(indices, weights), n, n, 0, 0)
    tokens = [f"t{i}" for i in range(n)]
    for layout in ("flow", "columns"):
        opened = open_text(section_of(layer, axes=[Text(tokens)]), f"&layout={layout}")
        assert opened.page.locator(".text-token").count() < 600
        opened.page.locator(".text-search input").fill("#4321")
        wait_for(opened, lambda page=opened: readout(page).startswith("\u2018t4321\u2019 (4321) attends to"))
        assert token(opened, 4321).first.is_visible()
        assert {position for position, _ in said(opened)} == set(indices[0, 4321].tolist())


def test_the_matrix_is_one_button_away(open_text):
    opened = open_text()
    opened.page.get_by_role("button", name="Show as map").click()
    opened.settle()
    assert "view=map" in opened.page.url


def test_a_tap_shows_and_a_second_tap_pins(open_text):
    opened = open_text(has_touch=True)
    token(opened, 2).tap()
    assert_said(opened, MEAN[2])
    assert "pins=" not in opened.page.url
    token(opened, 2).tap()
    opened.settle()
    assert "pins=2" in opened.page.url


def test_text_points_into_a_picture_that_stands_among_its_tokens(open_text):
    weights = weights_of(10, 10, heads=1)
    picture = Picture(np.zeros((4, 6, 3), np.uint8), (2, 3), name="photo")
    axis = Text(["<s>", "see", *["<image>"] * 6, "a", "bird"], pictures=[(2, picture)])
    opened = open_text(section_of(token_layer(weights), axes=[axis]))
    assert opened.page.locator(".text-word").all_inner_texts() == ["<s>", "see", "photo", "a", "bird"]
    token(opened, 9).hover()
    share = weights[0, 9, 2:8].sum()
    wait_for(opened, lambda: f"\u2018photo\u2019 (2 to 7) {100 * share:.1f} %" in readout(opened))
    assert opened.words(".text-pictures figcaption") == f"photo {100 * share:.1f} % in all"
    labels = opened.page.locator(".text-pictures .bar-numbers span").all_inner_texts()
    assert float(labels[2].split("\u00a0")[0]) == pytest.approx(100 * weights[0, 9, 2:8].max(), rel=6e-3)


def test_another_sample_is_chosen_on_the_page(open_text):
    other = weights_of(4, 4)
    words = ["no", "rain", "to", "day"]
    second = AttentionSection("A text", "Sample 1.", [token_layer(other)], [Text(words)])
    opened = open_text(dataclasses.replace(SECTION, text="Sample 0.", samples=[second]))
    opened.page.get_by_label("Sample", exact=True).last.select_option("1")
    wait_for(opened, lambda: "rain" in readout(opened))
    assert_said(opened, other.mean((0, 1)))
    assert opened.page.locator(".text-word").all_inner_texts() == words
    assert opened.words(".attend .lead") == "Sample 1."
    assert "sample=1" in opened.page.url


def test_rows_of_nan_have_a_color_of_their_own_and_the_others_their_numbers(open_text):
    weights = WEIGHTS.copy()
    weights[:, 4] = np.nan
    layer = token_layer(weights, links=3, nan="heads 0 to 2, queries 4")
    opened = open_text(section_of(layer), "&pins=6")
    assert opened.words(".attend-nan").strip() == "NaN in layer 0: heads 0 to 2, queries 4."
    token(opened, 4).hover()
    wait_for(opened, lambda: "attends to: NaN" in readout(opened))
    assert token(opened, 2).evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(240, 40, 140)"
