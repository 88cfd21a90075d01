import re
from functools import cache

import numpy as np
import pytest

from heedful.report import (
    AttentionSection,
    MatrixSection,
    Picture,
    TableSection,
    Text,
)
from tests.report.layers import layer_of

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left שלום مرحبا",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 <b>&amp;</b>",
    "x" * 10_000,
    "word " * 2_000,
]
N, M, R, C = 35, 55, 7, 11


def layer(text, rows):
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 6))
    curves = {"received": weights.sum(1), "entropy": -(weights * np.log(weights)).sum(-1)}
    numbers = {"entropy": [1.5, 1.25], "previous": [0.5, 0.25]}
    more = {"numbers": numbers, "kinds": ["previous", ""], "curves": curves}
    return layer_of(weights, name=text, label=text, rows=rows, columns=rows, **more)


def picture_section(title="A picture", text="a.png"):
    picture = np.random.default_rng(0).integers(0, 256, size=(6, 4), dtype=np.uint8)
    axes = [Picture(picture, (3, 2), name=text)]
    return AttentionSection(title, text, [layer(text, 0)], axes, [(text, 0.75), ("b", 0.25)], text)


def text_section(title="A text", text="word"):
    axes = [Text([text, "b", text, "##c", "[SEP]", "e"], [0, 1, 2, 2, -1, 3], [4], name=text)]
    return AttentionSection(title, text, [layer(text, 0), layer("second", 0)], axes, output=text)


def matrix_section(title="A matrix", text="Never stored.", curve="entropy (nat)"):
    pooled = np.random.default_rng(1).random((R, C)).astype(np.float32)
    rows, columns = {curve: np.arange(N, dtype=np.float32)}, {"received mass": np.arange(M, dtype=np.float32) / 10}
    return MatrixSection(title, text, (N, M), pooled, rows, columns, [("peak memory", "0.9 GB"), (text, text)])


def table_section(title="A table", text="Some words."):
    rows = [["heedful", "98.6 %", 104330, 0.25], ["other", "9.1 %", None, 12.5], [text, "1 %", 7, 3]]
    return TableSection(title, text, ["model", "accuracy", "parameters", text], rows, text)


@cache
def everything(title="A section", text="Some words."):
    return [
        picture_section(title, text),
        text_section(title, text),
        matrix_section(title, text, text),
        table_section(title, text),
    ]


def draw_all(opened):
    for section in opened.page.locator("section").all():
        section.scroll_into_view_if_needed()
        opened.settle()


def test_a_cell_of_the_map_reads_its_number_and_those_of_the_curves(open_report):
    section = matrix_section()
    opened = open_report([section])
    opened.page.locator("canvas.map").focus()
    opened.page.keyboard.press("ArrowRight")  # begins in the middle: row 3, column 5
    opened.page.keyboard.press("ArrowRight")
    lines = opened.words(".matrix .readout").split("\n")
    assert lines[0].startswith("queries 15 to 19, keys 30 to 34: ")
    assert float(lines[0].split(": ")[1]) == pytest.approx(section.pooled[3, 6], rel=1e-4)
    assert lines[1:] == ["entropy (nat): 17 on average", "received mass: 3.2 on average"]
    opened.page.keyboard.press("Escape")
    assert opened.words(".matrix .readout") == "Point at the map or at a curve to read its numbers."


@pytest.mark.parametrize("width", [1280, 400])
def test_pointing_at_a_map_and_at_curves_reads_the_position_under_the_pointer(open_report, width):
    """The margins of a plot are those of axes.js: 70 left (14 beside a map), 14 right, 8 above, 42 below."""
    section = matrix_section()
    opened = open_report([section], width=width)

    def point(selector, x, y, left=70):
        opened.page.locator(selector).scroll_into_view_if_needed()
        box = opened.page.locator(selector).bounding_box()
        opened.page.mouse.move(
            box["x"] + left + x * (box["width"] - left - 14), box["y"] + 8 + y * (box["height"] - 50)
        )
        return opened.words(".matrix .readout")

    assert point("canvas.map", 2.5 / C, 1.5 / R).startswith("queries 5 to 9, keys 10 to 14: ")
    shown = opened.words(".matrix .readout").split("\n")[0].split(": ")[1]
    assert float(shown) == pytest.approx(section.pooled[1, 2], rel=1e-4)
    assert point(".lane canvas", 20.5 / M, 0.5) == "keys 20\nreceived mass: 2"
    standing = {"x": 0.5, "y": 20.5 / N, "left": 14} if width == 1280 else {"x": 20.5 / N, "y": 0.5}
    assert point(".strip canvas", **standing) == "queries 20\nentropy (nat): 20"


def test_the_scale_of_the_map_has_numbers(open_report):
    section = matrix_section()
    opened = open_report([section])
    low, high = section.pooled.min(), section.pooled.max()
    for name, wanted in [
        ("linear", [0, high / 2, high]),
        ("square root", [0, high / 4, high]),
        ("logarithm", [low, np.sqrt(low * high), high]),
    ]:
        opened.page.locator(".matrix").get_by_text(name, exact=True).click()
        opened.settle()
        shown = opened.page.locator(".matrix .bar-numbers span").all_inner_texts()
        assert [float(text) for text in shown] == pytest.approx(wanted, rel=6e-3)


def test_columns_of_numbers_stand_to_the_right(open_report):
    opened = open_report([table_section()])
    cells = opened.page.locator("tbody tr").first.locator("th, td")
    assert cells.all_inner_texts() == ["heedful", "98.6 %", "104,330", "0.25"]
    aligned = [cell.evaluate("(cell) => getComputedStyle(cell).textAlign") for cell in cells.all()]
    assert aligned == ["left", "right", "right", "right"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_and_the_address_overrides_it(open_report, scheme):
    other = {"light": "dark", "dark": "light"}[scheme]
    opened = open_report(everything(), scheme=scheme)

    def is_dark():
        rgb = opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", rgb)[:3])) < 3 * 128

    assert is_dark() == (scheme == "dark")
    opened.page.get_by_role("button", name=f"{other.capitalize()} theme").click()
    assert is_dark() == (other == "dark")
    assert opened.page.url.endswith(f"#theme={other}")
    opened.page.locator("nav a").nth(1).click()
    assert opened.page.url.endswith(f"#section-1&theme={other}")
    opened.page.reload()
    opened.settle()
    assert is_dark() == (other == "dark")
    assert opened.page.evaluate("() => document.activeElement.id") == "section-1-title"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(open_report, scheme):
    """The contrast of every color that text has is at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    opened = open_report(everything(), scheme=scheme)
    draw_all(opened)
    pairs = opened.page.evaluate(
        """() => [...document.querySelectorAll("body *:not(script):not(:disabled)")]
          .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
          .map((e) => {
            let behind = e;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor];
          })"""
    )
    assert len(pairs) > 50

    def luminance(color):
        rgb = np.array([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for front, back in sorted({tuple(pair) for pair in pairs}):
        low, high = sorted((luminance(front), luminance(back)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "right-to-left", "emoji", "long-word", "long-text"])
def test_any_text_is_shown_as_text_and_breaks_no_layout(open_report, width, text):
    opened = open_report(everything(text, text), width=width, title=text, about={text: text, "b": "c"})
    draw_all(opened)
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("() => document.title.trim()") == text.strip()
    assert opened.page.locator("h1").evaluate("(title) => title.textContent") == text
    assert opened.page.locator("img, b, section section").count() == 0
    assert opened.page.locator(".failure").count() == 0
    heights = [section.bounding_box()["height"] for section in opened.page.locator("section").all()]
    assert max(heights) < (2600 if width == 400 else 1600)


def test_a_damaged_array_is_said_in_its_section_and_the_others_stand(open_report, monkeypatch):
    monkeypatch.setattr("heedful.report.blocks.ArrayBlocks.texts", lambda blocks: ["####"] * 9)
    opened = open_report([picture_section(), table_section()])
    assert opened.words(".failure").startswith("This section cannot be shown: ")
    assert opened.page.locator("tbody tr").count() == 3
    assert len(opened.complaints) == 1  # the error stands in the console, once
    opened.complaints.clear()


def test_help_opens_by_key_and_by_button_and_closes(open_report):
    opened = open_report([table_section()])
    dialog = opened.page.locator("dialog")
    opened.page.keyboard.press("?")
    assert dialog.is_visible()
    opened.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    opened.page.get_by_role("button", name="Help").click()
    assert dialog.is_visible()
    opened.page.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_sections_are_drawn_when_they_come_near_and_all_of_them_for_printing(open_report):
    opened = open_report([picture_section(f"Picture {number}") for number in range(9)])

    def count_drawn():
        for _ in range(4):
            opened.settle()
        return sum(
            count > 0
            for count in opened.page.locator(".attend-stage").evaluate_all("(a) => a.map((e) => e.childElementCount)")
        )

    assert 0 < count_drawn() < 9
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.until("() => document.documentElement.classList.contains('printing')")
    assert count_drawn() == 9
    assert opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.page.locator("nav").is_visible()


def test_readouts_are_announced_and_canvases_are_named(open_report):
    opened = open_report(everything())
    draw_all(opened)
    for readout in opened.page.locator(".readout").all():
        assert readout.get_attribute("aria-live") == "polite"
    named = opened.page.locator("canvas:not([aria-hidden])")
    assert named.count() >= 4
    for canvas in named.all():
        assert canvas.get_attribute("aria-label")


def test_keys_are_for_the_section_in_view_where_nothing_has_the_focus(open_report):
    opened = open_report([text_section("First"), text_section("Second")])
    first, second = opened.page.locator("section").all()
    opened.page.keyboard.press("]")
    opened.page.keyboard.press("1")
    opened.settle()
    chosen = [section.get_by_label("Head", exact=True).input_value() for section in (first, second)]
    assert chosen == ["1", "mean"]
    assert first.get_by_label("Layer", exact=True).input_value() == "1"
    assert "layer=1&head=1" in opened.page.evaluate("() => location.hash")
    opened.page.keyboard.press("t")
    first.locator("[role=listbox]").first.wait_for()
    assert second.locator("[role=listbox]").count() == 0
