import re
from functools import cache

import numpy as np
import pytest

from heedful.report import (
    AttentionSection,
    Layer,
    Picture,
    Positions,
    QueryKey,
    Series,
    Sound,
    Text,
    TopWeights,
)
from heedful.report.cells import cell_starts
from heedful.report.pair_weights import WholeRows
from tests.report.layers import layer_of, softmax

VIEW = "#section-0&view=input"


def make_layer(weights, rows, columns, *, pairs="cells", received=True, **more):
    """A layer whose map has at most four cells along each axis."""
    curves = {"received": weights.sum(1)} if received else {}
    return layer_of(weights, pairs, rows=rows, columns=columns, most=4, curves=curves, **more)


def weights_of(heads, queries, keys, seed=0, sharp=1.5):
    return softmax(np.random.default_rng(seed).normal(size=(heads, queries, keys)) * sharp)


GRID, EXTRA = (3, 5), ("class token", "register 1")


def pixels(height=30, width=50):
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)


@cache
def picture_section(*, extra=EXTRA, layers=2, heads=3, **changes):
    tokens = len(extra) + GRID[0] * GRID[1]
    weights = [weights_of(heads, tokens, tokens, seed) for seed in range(layers)]
    made = [make_layer(w, 0, 0, label=f"layer {i}", **changes) for i, w in enumerate(weights)]
    return AttentionSection("A picture", "", made, [Picture(pixels(), GRID, extra)]), weights


@cache
def caption_section():
    words = ["a", "small", "</script><img onerror=alert(1)>", "\u05d7\u05ea\u05d5\u05dc", "", "x" * 10_000]
    weights = weights_of(2, len(words), 15)
    back = weights_of(2, 15, len(words), 3)
    layers = [
        make_layer(weights, 0, 1, label="decoder", kind="cross"),
        make_layer(back, 1, 0, label="back", kind="cross"),
    ]
    return (
        AttentionSection("A caption", "", layers, [Text(words, name="caption"), Picture(pixels(), GRID)]),
        weights,
        back,
    )


def sound(*, spectrogram=True):
    samples = np.sin(np.arange(4000) / 9) * np.hanning(4000)
    bands = np.random.default_rng(1).normal(size=(12, 40)) if spectrogram else None
    return Sound(samples, 2000.0, bands, seconds=4.0, name="recording")


@cache
def speech_section():
    own, cross = weights_of(2, 80, 80), weights_of(2, 3, 80, 5)
    layers = [make_layer(own, 1, 1, label="encoder"), make_layer(cross, 0, 1, label="decoder", kind="cross")]
    return AttentionSection("Speech", "", layers, [Text(["one", "two", "three"], name="words"), sound()]), own, cross


@cache
def series_section():
    steps = 60
    weights = weights_of(2, steps, steps)
    values = np.stack([np.sin(np.arange(steps) / 5), np.arange(steps) * 10.0], 1)
    order = np.argsort(-weights, -1)[..., :4]
    links = TopWeights(order, np.take_along_axis(weights, order, -1))
    layer = make_layer(weights, 0, 0, pairs=links)
    return AttentionSection("A series", "", [layer], [Series(values, ["heat", "load"])]), weights, order


@cache
def channel_section(count=12):
    weights = weights_of(2, count, count)
    names = [f"channel {chr(97 + i)}" for i in range(count)]
    layer = make_layer(weights, 0, 0, kind="channel")
    return AttentionSection("Channels", "", [layer], [Positions(count, names, "channels")]), weights, names


def readout(opened):
    return opened.quiet()


@cache
def large_picture_section():
    """Only the largest weight of each row fits, and the rows of the class token and of a register."""
    extra, grid = ("class token", "register 1"), (20, 31)
    n = 2 + 20 * 31
    weights = weights_of(2, n, n, sharp=1.0)
    top = weights.argmax(-1)[..., None]
    links = TopWeights(top, np.take_along_axis(weights, top, -1))
    starts = cell_starts(n, 64, [0, 1, 2]).numpy()
    sums = np.add.reduceat(np.add.reduceat(weights, starts[:-1], 2), starts[:-1], 1)
    layer = Layer(
        "l", "layer 0", "self", sums / np.diff(starts)[:, None], links, n, n, 0, 0, curves={"received": weights.sum(1)},
        whole_rows=WholeRows([0, 1], weights[:, :2]), row_starts=starts, column_starts=starts,
    )  # fmt: skip
    return AttentionSection("A large picture", "", [layer], [Picture(pixels(20, 31), grid, extra)]), weights, starts


def test_a_large_picture_has_the_whole_row_of_its_class_token_and_means_for_patches(open_report):
    section, weights, starts = large_picture_section()
    opened = open_report([section], fragment=VIEW + "&head=0")
    name = lambda i: f"patch ({(i - 2) // 31}, {(i - 2) % 31})"  # noqa: E731
    assert_largest(readout(opened), weights[0, 0], name, start=2)
    [cell] = [c for c in range(len(starts) - 1) if starts[c] <= 400 < starts[c + 1]]
    mean = weights[0, starts[cell] : starts[cell + 1]].mean(0)
    opened = open_report([section], fragment=VIEW + "&head=0&query=400")
    text = readout(opened)
    assert f"known only as means of queries {starts[cell]} to {starts[cell + 1] - 1} and of keys together" in text
    assert float(re.search(r"class token ([\d.]+) %", text)[1]) == pytest.approx(100 * mean[0], rel=6e-3)
    cells = np.add.reduceat(mean, starts[:-1]) / np.diff(starts)
    best = 2 + int(cells[2:].argmax())
    first, last = (f"patch ({(i - 2) // 31}, {(i - 2) % 31})" for i in (starts[best], starts[best + 1] - 1))
    assert f": {100 * cells[best]:.3g} % on each of {first} to {last}, " in text
    opened = open_report([section], fragment="#section-0&view=map&head=0")
    over(opened, ".map-cover", lambda box: {"x": box["width"] / 2, "y": 93})
    assert "query 1 register 1, key" in readout(opened)


def assert_largest(text, weights, place, most=3, start=0):
    """The words name the largest weights, the largest first."""
    order = start + np.argsort(-weights[start:], kind="stable")[:most]
    found = re.findall(r"([\d.]+) % on ((?:patch )?\([^)]*\)|step [\d]+|[\d.]+ s|\u201c.*?\u201d|channel \w+)", text)
    assert [name for _, name in found[:most]] == [place(i) for i in order], text
    shown = [float(share) for share, _ in found[:most]]
    assert shown == pytest.approx(100 * weights[order], rel=6e-3)


def patch_name(extra=2):
    return lambda i: f"patch ({(i - extra) // GRID[1]}, {(i - extra) % GRID[1]})"


def at_patch(row, column):
    def place(box):
        return {"x": (column + 0.5) / GRID[1] * box["width"], "y": (row + 0.5) / GRID[0] * box["height"]}

    return place


def over(opened, selector, place, act="hover"):
    part = opened.page.locator(selector)
    part.scroll_into_view_if_needed()
    getattr(part, act)(position=place(part.bounding_box()))


def address(opened):
    return opened.page.evaluate("location.hash")


def color_at(opened, selector, x, y):
    """Red, green and blue of a canvas at a place in CSS pixels."""
    return opened.page.evaluate(
        """([selector, x, y]) => {
          const canvas = document.querySelector(selector);
          const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, -Math.round(x * devicePixelRatio), -Math.round(y * devicePixelRatio));
          return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [selector, x, y],
    )


def test_a_picture_begins_with_the_class_token_and_a_patch_shows_its_row(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW)
    text = readout(opened)
    assert text.startswith("layer 0, mean of 3 heads, attention of class token: ")
    mean = weights[0].mean(0)
    assert_largest(text, mean[0], patch_name(), start=2)
    own = re.search(r"class token ([\d.]+) %; register 1 ([\d.]+) %", text)
    assert [float(own[1]), float(own[2])] == pytest.approx(100 * mean[0, :2], rel=6e-3)
    chips = opened.page.locator(".input-patches .input-chip .input-number").all_inner_texts()
    assert [float(chip.split("\u00a0")[0]) for chip in chips] == pytest.approx(100 * mean[0, :2], rel=6e-3)

    over(opened, ".input-picture", at_patch(2, 3))
    text = readout(opened)
    assert text.startswith("layer 0, mean of 3 heads, attention of patch (2, 3): ")
    assert_largest(text, mean[2 + 13], patch_name(), start=2)
    opened.page.mouse.move(2, 2)
    assert "attention of class token" in readout(opened)


def test_a_pinned_patch_stands_in_the_address_and_pointing_reads_single_weights(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW + "&head=1&layer=1")
    over(opened, ".input-picture", at_patch(1, 4), "click")
    assert "query=11" in address(opened)
    row = weights[1][1, 11]
    for r, c in ((0, 0), (2, 2)):
        over(opened, ".input-picture", at_patch(r, c))
        text = readout(opened)
        assert text.startswith("layer 1, head 1, attention of patch (1, 4): ")
        found = re.search(rf"Pinned; on patch \({r}, {c}\): ([\d.]+) %", text)
        assert float(found[1]) == pytest.approx(100 * row[2 + r * 5 + c], rel=6e-3)
    again = open_report([section], fragment=address(opened))
    assert "attention of patch (1, 4)" in readout(again)
    again.page.locator(".input-picture").focus()
    again.page.keyboard.press("Escape")
    assert "query" not in address(again)
    assert "attention of class token" in readout(again)


def test_keys_move_from_patch_to_patch_pin_and_release(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW)
    opened.page.locator(".input-picture").focus()
    for key, patch in (("ArrowDown", (1, 2)), ("ArrowLeft", (1, 1)), ("ArrowUp", (0, 1)), ("ArrowUp", (0, 1))):
        opened.page.keyboard.press(key)
        assert f"attention of patch {patch}" in readout(opened)
    opened.page.keyboard.press("Enter")
    assert "Pinned" in readout(opened)
    opened.page.keyboard.press("2")
    assert_largest(readout(opened), weights[0][2, 2 + 1], patch_name(), start=2)
    opened.page.keyboard.press("Escape")
    assert "Pinned" not in readout(opened)


def test_a_register_can_be_asked_and_a_picture_without_class_token_shows_what_is_received(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW)
    opened.page.locator(".input-patches .input-chip").nth(1).click()
    text = readout(opened)
    assert "attention of register 1: " in text
    assert_largest(text, weights[0].mean(0)[1], patch_name(), start=2)

    section, weights = picture_section(extra=())
    text = readout(open_report([section], fragment=VIEW))
    assert "attention received (mean of all queries): " in text
    assert_largest(text, weights[0].mean((0, 1)), patch_name(0))


@pytest.mark.parametrize("received", [True, False])
def test_rows_from_queries_and_keys_and_their_sums_are_those_of_the_matrix(open_report, received):
    random = np.random.default_rng(4)
    query, key = (random.normal(size=(2, 15, 6)).astype(np.float32) for _ in range(2))
    weights = softmax(0.7 * query.astype(float) @ key.astype(float).transpose(0, 2, 1))
    layer = make_layer(weights, 0, 0, pairs=QueryKey(query, key, 0.7), received=received)
    opened = open_report([AttentionSection("x", "", [layer], [Picture(pixels(), GRID)])], fragment=VIEW)
    assert_largest(readout(opened), weights.mean((0, 1)), patch_name(0))
    over(opened, ".input-picture", at_patch(0, 2))
    assert_largest(readout(opened), weights.mean(0)[2], patch_name(0))


def test_where_only_a_map_is_known_the_readout_says_of_which_queries_a_row_is_the_mean(open_report):
    section, weights = picture_section(extra=(), pairs=None, received=False)
    opened = open_report([section], fragment=VIEW + "&query=5")
    text = readout(opened)
    assert "known only as means of queries 4 to 7 and of keys together" in text
    block = weights[0].mean(0)[4:8, 0:4].sum() / 4
    found = re.search(r"([\d.]+) % on patch \(0, 0\)", text)
    cells = [weights[0].mean(0)[4:8, s:e].sum() / 4 / (e - s) for s, e in ((0, 4), (4, 8), (8, 12), (12, 15))]
    if found:
        assert float(found[1]) == pytest.approx(100 * block / 4, rel=6e-3)
    assert float(re.search(r": ([\d.]+) %", text)[1]) == pytest.approx(100 * max(cells), rel=6e-3)


def test_small_pictures_of_all_heads_choose_layer_and_head(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW + "&query=4")
    opened.page.locator(".input-multiples").get_by_text("all layers").click()
    assert "multiples=all" in address(opened)
    heads = opened.page.locator(".input-head")
    heads.last.scroll_into_view_if_needed()
    opened.until("[...document.querySelectorAll('.input-head .input-number')].every((e) => e.textContent)")
    shown = [
        float(text.split("\u00a0")[0]) for text in opened.page.locator(".input-head .input-number").all_inner_texts()
    ]
    wanted = [row[2:].max() for w in weights for row in (w.mean(0)[4], w[0, 4], w[1, 4], w[2, 4])]
    assert shown == pytest.approx(100 * np.array(wanted), rel=6e-3)
    heads.nth(6).click()
    assert readout(opened).startswith("layer 1, head 1, attention of patch (0, 2)")
    assert heads.nth(6).get_attribute("aria-pressed") == "true"
    heads.nth(6).press("ArrowUp")
    assert readout(opened).startswith("layer 0, head 1")
    opened.page.keyboard.press("ArrowLeft")
    assert readout(opened).startswith("layer 0, head 0")


def test_opacity_shows_the_colors_or_the_picture_itself(open_report):
    section, _ = picture_section()
    opened = open_report([section], fragment=VIEW + "&opacity=0")
    readout(opened)
    assert color_at(opened, ".input-picture", 2, 2) == pytest.approx(pixels()[0, 0].tolist(), abs=2)
    opened.page.locator(".input-patches input[type=range]").fill("1")
    opened.settle()
    assert "opacity=1" in address(opened)
    assert color_at(opened, ".input-picture", 2, 2) != pytest.approx(pixels()[0, 0].tolist(), abs=2)


def test_words_ask_a_picture(open_report):
    section, weights, _ = caption_section()
    opened = open_report([section], fragment=VIEW)
    assert_largest(readout(opened), weights.mean((0, 1)), patch_name(0))
    chips = opened.page.locator(".input-view > .input-chips .input-chip")
    for i in range(6):
        chips.nth(i).hover()
        assert_largest(readout(opened), weights.mean(0)[i], patch_name(0))
    chips.nth(2).click()
    opened.page.mouse.move(2, 2)
    assert "attention of \u201c</script><img onerror=alert(1)>\u201d" in readout(opened)
    over(opened, ".input-picture", at_patch(2, 1))
    found = re.search(r"Pinned; on patch \(2, 1\): ([\d.]+) %", readout(opened))
    assert float(found[1]) == pytest.approx(100 * weights.mean(0)[2, 11], rel=6e-3)
    chips.nth(2).press("ArrowRight")
    opened.page.keyboard.press("Enter")
    assert "query=3" in address(opened)
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_picture_asks_words(open_report):
    section, _, back = caption_section()
    opened = open_report([section], fragment=VIEW + "&layer=1")
    over(opened, ".input-picture", at_patch(1, 1))
    text = readout(opened)
    assert text.startswith("back, mean of 2 heads, attention of patch (1, 1): ")
    row = back.mean(0)[6]
    bars = opened.page.locator(".input-chip .input-fill").evaluate_all(
        "(all) => all.map((e) => e.getBoundingClientRect().width / e.parentElement.clientWidth)"
    )
    assert bars == pytest.approx((row / row.max()).tolist(), abs=0.03)


def along(share):
    """A place on the axis, whose plot leaves 64 pixels free on both sides."""
    return lambda box: {"x": 64 + share * (box["width"] - 128), "y": 60}


def test_a_sound_asks_itself_by_time(open_report):
    section, own, _ = speech_section()
    opened = open_report([section], fragment=VIEW)
    seconds = lambda i: f"{(i + 0.5) / 80 * 4:.2f} s"  # noqa: E731
    assert_largest(readout(opened), own.mean((0, 1)), seconds)
    over(opened, ".input-track", along(20.5 / 80))
    text = readout(opened)
    assert "attention of 1.02 s: " in text or "attention of 1.03 s: " in text
    row = own.mean(0)[20]
    order = np.argsort(-row)[:3]
    found = re.findall(r"([\d.]+) % on ([\d.]+) s", text)
    assert [float(s) for _, s in found] == pytest.approx((order + 0.5) / 20, abs=0.006)
    assert [float(s) for s, _ in found] == pytest.approx(100 * row[order], rel=6e-3)
    center = float(re.search(r"mean position ([\d.]+) s", text)[1])
    assert center == pytest.approx(((row * np.arange(80)).sum() + 0.5) / 20, abs=0.011)

    opened.page.locator(".input-track").focus()
    opened.page.mouse.move(2, 2)
    readout(opened)
    opened.page.keyboard.press("End")
    assert "attention of 3.98 s" in readout(opened) or "attention of 3.97 s" in readout(opened)
    opened.page.keyboard.press("PageUp")
    opened.page.keyboard.press("ArrowLeft")
    opened.page.keyboard.press("Enter")
    assert "query=68" in address(opened)


def test_words_ask_a_sound_with_an_alignment_of_all(open_report):
    section, _, cross = speech_section()
    opened = open_report([section], fragment=VIEW + "&layer=1&head=1")
    opened.page.locator(".input-chip").nth(2).click()
    opened.page.mouse.move(2, 2)
    text = readout(opened)
    assert "attention of \u201cthree\u201d: " in text
    row = cross[1, 2]
    assert float(re.search(r": ([\d.]+) %", text)[1]) == pytest.approx(100 * row.max(), rel=6e-3)
    over(opened, ".input-alignment", lambda box: {"x": box["width"] / 2, "y": 8 + 30}, "click")
    assert "query=1" in address(opened)
    assert opened.page.locator(".input-chip").nth(1).get_attribute("aria-pressed") == "true"


def test_the_dots_of_an_alignment_stand_at_the_centers_of_the_rows(open_report):
    section, _, cross = speech_section()
    opened = open_report([section], fragment=VIEW + "&layer=1")
    readout(opened)
    for row in range(3):
        center = ((cross.mean(0)[row] * np.arange(80)).sum() + 0.5) / 80
        width = opened.page.locator(".input-alignment").bounding_box()["width"]
        assert color_at(opened, ".input-alignment", 64 + center * (width - 128), 8 + 20 * (row + 0.5)) == [
            255,
            255,
            255,
        ]


def test_a_series_shows_links_and_says_how_much_of_the_row_they_are(open_report):
    section, weights, order = series_section()
    opened = open_report([section], fragment=VIEW + "&head=0")
    over(opened, ".input-track", along(33.5 / 60), "click")
    opened.page.mouse.move(2, 2)
    text = readout(opened)
    assert "attention of step 33: " in text
    row = weights[0, 33]
    assert_largest(text, row, lambda i: f"step {i}")
    mass = float(re.search(r"mass shown: ([\d.]+) %", text)[1])
    assert mass == pytest.approx(100 * row[order[0, 33]].sum(), rel=6e-3)
    missing = int(np.setdiff1d(np.arange(60), order[0, 33])[0])
    over(opened, ".input-track", along((missing + 0.5) / 60))
    assert f"Pinned; on step {missing}: not among the stored largest" in readout(opened)
    tall = opened.page.locator(".input-track").bounding_box()["height"]
    opened.page.get_by_label("Channel").select_option("1")
    opened.settle()
    assert "channel=1" in address(opened)
    assert opened.page.locator(".input-track").bounding_box()["height"] != tall


def test_channels_stand_as_bars_in_order_or_the_largest_first(open_report):
    section, weights, names = channel_section()
    opened = open_report([section], fragment=VIEW)
    received = weights.mean((0, 1))
    assert_largest(readout(opened), received, names.__getitem__)
    listed = opened.page.locator(".input-top li").all_inner_texts()
    order = np.argsort(-received)[:10]
    assert [line.split("\n")[0] for line in listed] == [names[i] for i in order]
    assert [float(re.search(r"([\d.]+)\s%", line)[1]) for line in listed] == pytest.approx(
        100 * received[order], rel=6e-3
    )
    opened.page.locator(".input-bars").focus()
    for _ in range(4):
        opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("Enter")
    assert f"attention of {names[3]}: " in readout(opened)
    assert_largest(readout(opened), weights.mean(0)[3], names.__getitem__)
    opened.page.get_by_text("largest first").click()
    best = int(weights.mean(0)[3].argmax())
    over(opened, ".input-bars", lambda box: {"x": 64 + 4, "y": 100})
    found = re.search(r"Pinned; on (channel \w+): ([\d.]+) %", readout(opened))
    assert found[1] == names[best]
    assert float(found[2]) == pytest.approx(100 * weights.mean(0)[3].max(), rel=6e-3)


def test_a_long_text_that_asks_a_picture_is_a_list_of_which_little_exists(open_report):
    count = 5000
    weights = weights_of(1, count, 15)
    layer = make_layer(weights, 0, 1, kind="cross", label="long")
    axes = [Text([f"t{i}" for i in range(count)], name="story"), Picture(pixels(), GRID)]
    opened = open_report([AttentionSection("Long", "", [layer], axes)], fragment=VIEW)
    readout(opened)
    assert opened.page.locator(".input-line").count() < 60
    opened.page.locator(".input-list").focus()
    opened.page.keyboard.press("End")
    text = readout(opened)
    assert "attention of \u201ct4999\u201d: " in text
    assert_largest(text, weights[0, 4999], patch_name(0))
    assert opened.page.locator(".input-line.is-shown").is_visible()
    opened.page.keyboard.press("PageUp")
    opened.page.keyboard.press("Enter")
    assert "query=4989" in address(opened)


def test_words_on_both_sides_are_shown_by_the_view_of_text(open_report):
    layer = make_layer(weights_of(1, 4, 4), 0, 0)
    opened = open_report([AttentionSection("Text", "", [layer], [Text(["a", "b", "c", "d"])])], fragment=VIEW)
    readout(opened)
    assert opened.page.locator(".input .text-main").count() == 1


SECTIONS = {
    "picture": lambda: picture_section()[0],
    "caption": lambda: caption_section()[0],
    "speech": lambda: speech_section()[0],
    "series": lambda: series_section()[0],
    "channels": lambda: channel_section()[0],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", SECTIONS)
def test_nothing_is_wider_than_a_telephone(open_report, kind, scheme):
    section = SECTIONS[kind]()
    opened = open_report([section], fragment=VIEW + "&query=1", width=400, scheme=scheme)
    for layer in range(len(section.layers)):
        opened.page.get_by_label("Layer", exact=True).select_option(str(layer))
        assert readout(opened)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
        parts = "[...document.querySelectorAll('.input *')]"
        assert (
            opened.page.evaluate(f"{parts}.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length") == 0
        )


def test_a_tap_chooses_a_patch(open_report):
    section, weights = picture_section()
    opened = open_report([section], fragment=VIEW, width=400, has_touch=True)
    over(opened, ".input-picture", at_patch(2, 0), "tap")
    text = readout(opened)
    assert "attention of patch (2, 0)" in text
    assert_largest(text, weights[0].mean(0)[2 + 10], patch_name(), start=2)


def test_controls_have_names(open_report):
    for make in SECTIONS.values():
        opened = open_report([make()], fragment=VIEW)
        readout(opened)
        bare = """() => [...document.querySelectorAll('.input button, .input canvas[tabindex], .input select, .input input')]
          .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML)"""
        assert opened.page.evaluate(bare) == []
