import re

import numpy as np
import pytest

from tests.browser.random_attention import cross_section, random_section

HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "x" * 10_000,
    "\u200b",
    "",
    "\n",
    "\x00",
]
WORDS = ["The", "cat", "sat", "on", "the", "mat", "and", "slept"]


@pytest.fixture(scope="module")
def short():
    return random_section(layers=2, heads=3, tokens=WORDS, pairs="cells")


@pytest.fixture(scope="module")
def linked():
    return random_section(layers=1, heads=2, n=2048, cells=64, pairs=8)


def open_map(open_report, section, more="", **options):
    opened = open_report([section], fragment=f"#section-0&view=map{more}", **options)
    opened.quiet(".map-note", frames=6)
    return opened


def readout(opened):
    return opened.words(".attend > .readout")


def rect(opened):
    """The part in view as the address has it, once it is written."""
    opened.page.wait_for_timeout(280)  # it is written 250 milliseconds after the last movement
    opened.settle()
    found = re.search(r"rect=([\d,%C]+)", opened.page.url)
    return None if found is None else tuple(int(number) for number in found[1].replace("%2C", ",").split(","))


def cover(opened):
    return opened.page.locator(".map-cover")


def press(opened, *keys):
    cover(opened).focus()
    for key in keys:
        opened.page.keyboard.press(key)
    opened.quiet()


def weight_in(words):
    return float(re.search(r"key \d+(?: “.*?”)?: ([\d.e-]+) %", words)[1]) / 100


def place_of(opened, i, j):
    """The middle of a cell of a short text on the page: the map's box begins at the right of the tick labels."""
    box = cover(opened).bounding_box()
    cell = 56
    left, top = 104, 92
    return box["x"] + left + (j + 0.5) * cell, box["y"] + top + (i + 0.5) * cell


def test_pointing_at_a_cell_reads_its_tokens_and_its_weight(open_report, short):
    opened = open_map(open_report, short, "&layer=1&head=2")
    opened.page.mouse.move(*place_of(opened, 4, 1))
    opened.settle()
    words = readout(opened)
    assert words.startswith("query 4 “the”, key 1 “cat”: ")
    assert weight_in(words) == pytest.approx(short.layers[1].pairs.weights[2, 4, 1], rel=2e-3)
    entropy = float(words.split("entropy of the row ")[1].split()[0])
    assert entropy == pytest.approx(short.layers[1].curves["entropy"][2, 4], rel=2e-3)


def test_the_mean_of_chosen_heads_is_shown(open_report, short):
    opened = open_map(open_report, short, "&layer=0&head=0,2&pair=3,5")
    expected = short.layers[0].pairs.weights[[0, 2], 3, 5].mean()
    assert weight_in(readout(opened)) == pytest.approx(expected, rel=2e-3)


def test_a_click_pins_a_pair_and_escape_releases_it(open_report, short):
    opened = open_map(open_report, short)
    opened.page.mouse.click(*place_of(opened, 2, 3))
    opened.settle()
    assert "pair=2%2C3" in opened.page.url
    opened.page.mouse.move(5, 5)
    assert readout(opened).startswith("query 2 “sat”, key 3 “on”: ")
    opened.page.keyboard.press("Escape")
    assert readout(opened) == "Point at the map to read its numbers."
    assert "pair=" not in opened.page.url


def test_arrow_keys_move_a_cursor_from_cell_to_cell(open_report, short):
    opened = open_map(open_report, short)
    press(opened, "ArrowUp")
    assert readout(opened).startswith("query 4 “the”, key 4 “the”: ")
    press(opened, "ArrowUp", "ArrowRight", "ArrowRight")
    assert readout(opened).startswith("query 3 “on”, key 6 “and”: ")
    press(opened, "Enter")
    assert "pair=3%2C6" in opened.page.url


def test_keys_enlarge_and_move_the_map_and_show_all_of_it(open_report, linked):
    opened = open_map(open_report, linked, "&head=0")
    press(opened, "+")
    assert rect(opened) == (512, 512, 1536, 1536)
    press(opened, "Shift+ArrowDown")
    top, left, bottom, right = rect(opened)
    assert (left, right) == (512, 1536)
    assert 512 < top < bottom < 2048
    assert opened.page.locator(".map-mini").is_visible()
    press(opened, "0")
    assert rect(opened) is None
    assert not opened.page.locator(".map-mini").is_visible()


def test_the_wheel_enlarges_at_the_pointer(open_report, linked):
    opened = open_map(open_report, linked, "&head=0")
    box = cover(opened).bounding_box()
    x, y = box["x"] + 72 + 60, box["y"] + 44 + 480  # a tenth to the right, four fifths down
    opened.page.mouse.move(x, y)
    opened.settle()
    pointed = readout(opened)
    for _ in range(3):
        opened.page.mouse.wheel(0, -200)
        opened.settle()
    top, left, bottom, right = rect(opened)
    assert bottom - top < 1200
    assert (2048 * 0.1 - left) / (right - left) == pytest.approx(0.1, abs=0.02)
    assert (2048 * 0.8 - top) / (bottom - top) == pytest.approx(0.8, abs=0.02)
    assert readout(opened) != pointed


def test_a_drag_moves_the_map_and_pins_nothing(open_report, linked):
    opened = open_map(open_report, linked, "&head=0&rect=1000,1000,1100,1100")
    box = cover(opened).bounding_box()
    opened.page.mouse.move(box["x"] + 300, box["y"] + 300)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 420, box["y"] + 240, steps=4)
    opened.page.mouse.up()
    assert rect(opened) == (1010, 980, 1110, 1080)
    assert "pair=" not in opened.page.url


def test_a_box_drawn_with_shift_is_enlarged(open_report, linked):
    opened = open_map(open_report, linked, "&head=0")
    box = cover(opened).bounding_box()
    opened.page.keyboard.down("Shift")
    opened.page.mouse.move(box["x"] + 72 + 150, box["y"] + 44 + 300)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 72 + 300, box["y"] + 44 + 450, steps=3)
    opened.page.mouse.up()
    opened.page.keyboard.up("Shift")
    assert rect(opened) == pytest.approx((1024, 512, 1536, 1024), abs=8)


def test_a_double_click_enlarges_and_leaves_no_pin(open_report, linked):
    opened = open_map(open_report, linked, "&head=0")
    box = cover(opened).bounding_box()
    opened.page.mouse.dblclick(box["x"] + 372, box["y"] + 344)
    top, _, bottom, _ = rect(opened)
    assert bottom - top == pytest.approx(1024, abs=2)
    assert "pair=" not in opened.page.url


def test_the_address_reproduces_a_view(open_report, linked):
    opened = open_map(open_report, linked, "&head=1&rect=100,300,120,330&pair=110,310")
    assert rect(opened) == (100, 300, 120, 330)
    assert opened.words(".map-note").startswith("Largest weights shown: 90.0 % of the mass of these rows.")


@pytest.mark.parametrize("words", ["1,2,3", "5,5,5,9", "0,0,9999,9999", "a,b,c,d", "-1,0,5,5", "1e3,0,5,5"])
def test_an_address_that_fits_nothing_shows_the_whole_map(open_report, short, words):
    opened = open_map(open_report, short, f"&rect={words}&pair=99,99")
    assert not opened.page.locator(".map-mini").is_visible()
    assert readout(opened) == "Point at the map to read its numbers."


def test_links_are_drawn_where_they_are(open_report, linked):
    links = linked.layers[0].pairs
    i = 1200
    j = int(links.indices[1, i, 0])
    assert j == 0
    opened = open_map(open_report, linked, f"&head=1&rect={i - 3},0,{i + 4},7&pair={i},0")
    assert weight_in(readout(opened)) == pytest.approx(links.weights[1, i, links.indices[1, i] == 0].sum(), rel=2e-3)
    missing = next(j for j in range(1, 7) if j not in links.indices[1, i])
    opened = open_map(open_report, linked, f"&head=1&rect={i - 3},0,{i + 4},7&pair={i},{missing}")
    assert "not among the stored largest weights of its row" in readout(opened)


def test_a_large_map_is_read_in_cells(open_report, linked):
    opened = open_map(open_report, linked, "&head=0&pair=40,70")
    words = readout(opened)
    assert words.startswith("query 32 to 63, key 64 to 95: ")
    shown = float(re.search(r": ([\d.e-]+) % to these keys", words)[1]) / 100
    assert shown == pytest.approx(linked.layers[0].map[0, 1, 2], rel=2e-3)


def test_crossed_texts_have_their_own_names_and_a_legible_shape(open_report):
    section = cross_section([f"k{i}" for i in range(30)], ["a", "b", "c"])
    opened = open_map(open_report, section, "&layer=1&head=0&pair=2,29")
    assert readout(opened).startswith("query 2 “c”, key 29 “k29”: ")
    box = cover(opened).bounding_box()
    assert box["height"] > 180


def test_hostile_tokens_show_as_text(open_report):
    section = random_section(layers=1, heads=2, tokens=HOSTILE, pairs="cells")
    opened = open_map(open_report, section, "&head=0&pair=0,3", width=400)
    words = readout(opened)
    assert HOSTILE[0] in words
    assert len(words) < 300
    assert opened.page.locator("img").count() == 0
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_map_fits_a_small_screen(open_report, short):
    opened = open_map(open_report, short, width=400)
    box = cover(opened).bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400


def test_the_colors_follow_the_scale(open_report, short):
    script = """() => [...document.querySelector('.map-base').getContext('2d').getImageData(300, 300, 1, 1).data]"""
    seen = set()
    for kind in ("linear", "sqrt", "log"):
        opened = open_map(open_report, short, f"&head=1&scale={kind}")
        seen.add(tuple(opened.page.evaluate(script)))
    assert len(seen) == 3


def test_what_is_drawn_is_the_weight_on_its_scale(open_report, short):
    opened = open_map(open_report, short, "&head=1&scale=linear")
    weights = short.layers[0].pairs.weights[1]
    i, j = np.unravel_index(weights.argmax(), weights.shape)
    script = "([x, y]) => [...document.querySelector('.map-base').getContext('2d').getImageData(x, y, 1, 1).data]"
    assert opened.page.evaluate(script, [104 + int(j) * 56 + 28, 92 + int(i) * 56 + 28])[:3] == [0xFD, 0xE7, 0x25]
