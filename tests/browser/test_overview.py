import numpy as np
import pytest

from tests.browser.random_attention import cross_section, random_section

HOSTILE = "</script><img src=x onerror=alert(1)>"
DRAWN = """() => {
    const all = [...document.querySelectorAll(".overview-canvas")];
    return all.length > 0 && all.every((one) => one.width !== 300);
}"""


@pytest.fixture(scope="module")
def section():
    return random_section(layers=3, heads=4, n=64, cells=32)


def open_overview(open_report, sections, fragment="#section-0", **options):
    opened = open_report(sections, fragment=fragment, **options)
    opened.until(DRAWN)
    return opened


def names(opened):
    return opened.page.locator(".overview-tile").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )


def focused(opened):
    return opened.page.evaluate("document.activeElement.getAttribute('aria-label')")


def pixels(opened, index):
    """The colors of one small map, as [height, width, 3]."""
    script = """(canvas) => {
        const { width, height } = canvas;
        return [width, height, [...canvas.getContext("2d").getImageData(0, 0, width, height).data]];
    }"""
    width, height, data = opened.page.locator(".overview-canvas").nth(index).evaluate(script)
    return np.array(data).reshape(height, width, 4)[..., :3]


def test_every_head_of_every_layer_is_drawn_and_has_a_name(open_report, section):
    opened = open_overview(open_report, [section])
    assert names(opened)[:5] == [
        "layer 0, head 0",
        "layer 0, head 1, previous",
        "layer 0, head 2, first",
        "layer 0, head 3, induction",
        "layer 1, head 0",
    ]
    assert opened.page.locator(".overview-tile").count() == 12
    assert opened.page.get_by_role("group", name="layer 2").locator("button").count() == 4
    assert opened.words(".overview-count").startswith("12 heads.")
    assert len(np.unique(pixels(opened, 11).reshape(-1, 3), axis=0)) > 20


def test_a_small_map_has_its_own_colors_up_to_its_largest_cell(open_report, section):
    opened = open_overview(open_report, [section], "#section-0&scale=linear")
    largest = np.unravel_index(section.layers[1].map[2].argmax(), section.layers[1].map[2].shape)
    drawn = pixels(opened, 6)
    row, column = ((2 * at + 1) * size // 64 for at, size in zip(largest, drawn.shape[:2], strict=True))
    np.testing.assert_array_equal(drawn[row, column], [0xFD, 0xE7, 0x25])


def test_sorting_is_by_the_number_that_stands_below(open_report, section):
    opened = open_overview(open_report, [section])
    opened.page.get_by_label("Sort by").select_option("induction")
    opened.settle()
    values = np.concatenate([layer.numbers["induction"] for layer in section.layers])
    shown = opened.page.locator(".overview-value").all_inner_texts()
    known = np.sort(values[np.isfinite(values)])[::-1]
    assert 0 < len(known) < 12
    np.testing.assert_allclose(
        [float(value.split("\u00a0")[0]) / 100 for value in shown[: len(known)]], known, rtol=6e-3
    )
    assert set(shown[len(known) :]) == {"\u2013"}
    opened.page.get_by_role("button", name="highest first").click()
    opened.settle()
    rising = opened.page.locator(".overview-value").all_inner_texts()
    assert rising == shown[: len(known)][::-1] + shown[len(known) :]
    assert "sort=induction" in opened.page.url
    assert "order=rising" in opened.page.url


def test_heads_are_filtered_by_the_kind_of_their_layer_and_by_their_own(open_report):
    opened = open_overview(open_report, [cross_section(["a", "b", "c"], ["d", "e"])])
    opened.page.get_by_label("Layer kind").select_option("cross")
    opened.settle()
    assert {name.split(",")[0] for name in names(opened)} == {"layer 1"}
    opened.page.get_by_label("Head kind").select_option("first")
    opened.settle()
    assert names(opened) == ["layer 1, head 2, first"]
    assert opened.words(".overview-count").startswith("1 of 8 heads.")


def test_a_click_opens_the_head_on_the_map(open_report, section):
    opened = open_overview(open_report, [section])
    opened.page.get_by_role("button", name="layer 2, head 1, previous").click()
    opened.page.wait_for_selector(".map-view")
    assert all(part in opened.page.url for part in ("view=map", "layer=2", "head=1"))


def test_arrow_keys_move_between_heads_and_enter_opens_one(open_report, section):
    opened = open_overview(open_report, [section])
    opened.page.get_by_role("button", name="layer 0, head 0").focus()
    assert opened.page.locator(".overview-tile[tabindex='0']").count() == 1
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft"):
        opened.page.keyboard.press(key)
    assert focused(opened) == "layer 1, head 0"
    opened.page.keyboard.press("End")
    assert focused(opened) == "layer 2, head 3, induction"
    assert opened.page.locator(".overview-tile[tabindex='0']").count() == 1
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".map-view")
    assert "head=3" in opened.page.url


def test_what_is_pointed_at_is_shown_larger_without_moving_anything(open_report, section):
    opened = open_overview(open_report, [section])
    before = opened.page.locator(".overview-scroll").bounding_box()
    height = opened.page.locator(".overview-preview").bounding_box()["height"]
    opened.page.get_by_role("button", name="layer 1, head 3").hover()
    opened.settle()
    assert opened.words(".overview-title") == "layer 1, head 3"
    assert opened.words(".overview-kinds") == "self · induction"
    numbers = {
        row.locator("dt").inner_text(): row.locator("dd").inner_text()
        for row in opened.page.locator(".overview-numbers div").all()
    }
    assert float(numbers["entropy"]) == pytest.approx(section.layers[1].numbers["entropy"][3], rel=6e-3)
    assert opened.page.locator(".overview-scroll").bounding_box() == before
    assert opened.page.locator(".overview-preview").bounding_box()["height"] == height


def test_the_page_does_not_scroll_sideways_on_a_small_screen(open_report):
    opened = open_overview(open_report, [random_section(layers=2, heads=16, n=32, cells=32)], width=400)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
    tile = opened.page.locator(".overview-tile").first.bounding_box()
    assert tile["width"] >= 40


def test_names_of_layers_are_text(open_report):
    section = random_section(layers=1, heads=2, n=8, cells=8)
    object.__setattr__(section.layers[0], "label", HOSTILE)
    opened = open_overview(open_report, [section], "#section-0&sort=entropy")
    assert opened.page.locator("img").count() == 0
    assert HOSTILE in opened.words(".overview-title")


def test_words_of_the_address_that_mean_nothing_are_passed_over(open_report, section):
    opened = open_overview(open_report, [section], "#section-0&sort=nothing&kind=none&order=7")
    assert opened.page.locator(".overview-tile").count() == 12
