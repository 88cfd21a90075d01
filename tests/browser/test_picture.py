import re

import numpy as np
import pytest

from heedful.inspection.report import LayerHeads, PictureSection

ROWS, COLUMNS, HEADS, WIDTH = 3, 5, 2, 7
STEPS = [("mean", None), ("head 0", 0), ("head 1", 1)]


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def attention_of(layer):
    return softmax(layer.scale * layer.query.astype(np.float64) @ layer.key.astype(np.float64).transpose(0, 2, 1))


def make_heads(name, *, tokens, queries=None, seed):
    random = np.random.default_rng(seed)
    query, key = (random.normal(size=(HEADS, count, WIDTH)).astype(np.float32) for count in (queries or tokens, tokens))
    layer = LayerHeads(name, query, key, 0.4)
    return LayerHeads(name, query, key, 0.4, attention_of(layer).sum(1).astype(np.float32))


def make_section(*, class_tokens=1, pooling=False, **changes):
    tokens = class_tokens + ROWS * COLUMNS
    random = np.random.default_rng(0)
    fields = {
        "title": "A picture",
        "picture": random.integers(0, 256, size=(6, 10, 3), dtype=np.uint8),
        "caption": "a.png",
        "grid": (ROWS, COLUMNS),
        "class_tokens": class_tokens,
        "layers": [make_heads(f"layer {number}", tokens=tokens, seed=number) for number in (1, 2, 3)],
        "pooling": make_heads("pooling", tokens=tokens, queries=1, seed=9) if pooling else None,
        "rollout": softmax(random.normal(size=tokens)).astype(np.float32),
        "predictions": [("cat", 0.75), ("dog", 0.25)],
        "truth": "dog",
    }
    return PictureSection(**{**fields, **changes})


def row_of(section, number, token, head):
    """Attention of a token over all tokens in a layer, for one head or as the mean of the heads."""
    weights = attention_of(section.layers[number])[:, token]
    return weights.mean(0) if head is None else weights[head]


def place(opened, row, column):
    box = opened.page.locator("canvas.large").bounding_box()
    return box["x"] + (column + 0.5) / COLUMNS * box["width"], box["y"] + (row + 0.5) / ROWS * box["height"]


def hover(opened, row, column):
    opened.page.mouse.move(*place(opened, row, column))


def click(opened, row, column):
    opened.page.mouse.click(*place(opened, row, column))


def readout(opened):
    return opened.words(".picture .readout")


def assert_readout(text, *, start, values, class_tokens):
    """The words begin with `start`, and their numbers are those of `values` over all tokens."""
    found = re.match(rf"{re.escape(start)}: max ([\d.]+) %.* at \((\d+), (\d+)\)", text)
    assert found, text
    patches = values[class_tokens:]
    best = int(patches.argmax())
    assert (int(found[2]), int(found[3])) == divmod(best, COLUMNS)
    assert float(found[1]) == pytest.approx(100 * patches[best], rel=6e-3)
    if class_tokens:
        own = re.search(r"class token ([\d.]+) %", text)
        assert float(own[1]) == pytest.approx(100 * values[0], rel=6e-3)


def test_the_decision_stands_first_and_a_patch_shows_its_own_row_in_every_layer_and_head(open_report):
    section = make_section()
    opened = open_report([section])
    opened.page.locator("canvas.large").scroll_into_view_if_needed()
    for number, layer in enumerate(section.layers):
        for position, (name, head) in enumerate(STEPS):
            opened.page.mouse.move(2, 2)
            opened.page.locator(".row").nth(number).locator("button").nth(position).click()
            values = row_of(section, number, 0, head)
            start = f"{layer.name}, {name}, attention of the class token"
            assert_readout(readout(opened), start=start, values=values, class_tokens=1)

            hover(opened, 2, 3)
            values = row_of(section, number, 1 + 2 * COLUMNS + 3, head)
            start = f"{layer.name}, {name}, attention of patch (2, 3)"
            assert_readout(readout(opened), start=start, values=values, class_tokens=1)
            for other in range(3):  # the numbers below the small pictures of all layers follow as well
                wanted = [100 * row_of(section, other, 1 + 2 * COLUMNS + 3, h)[1:].max() for _, h in STEPS]
                shown = opened.page.locator(".row").nth(other).locator(".most").all_inner_texts()
                assert [float(text.split()[0]) for text in shown] == pytest.approx(wanted, rel=6e-3)


def test_a_pinned_patch_stays_and_pointing_reads_its_numbers(open_report):
    section = make_section()
    opened = open_report([section])
    click(opened, 1, 4)
    values = row_of(section, 2, 1 + 1 * COLUMNS + 4, None)
    for row in range(ROWS):
        for column in range(COLUMNS):
            hover(opened, row, column)
            text = readout(opened)
            assert_readout(text, start="layer 3, mean, attention of patch (1, 4)", values=values, class_tokens=1)
            shown = re.search(rf"Pinned; on patch \({row}, {column}\): ([\d.]+) %", text)
            assert float(shown[1]) == pytest.approx(100 * values[1 + row * COLUMNS + column], rel=6e-3)
    opened.page.mouse.move(2, 2)
    assert "attention of patch (1, 4)" in readout(opened)
    assert "Pinned." in readout(opened)


@pytest.mark.parametrize("way", ["again", "Escape", "button"])
def test_a_pin_is_released_and_the_decision_comes_back(open_report, way):
    opened = open_report([make_section()])
    button = opened.page.get_by_role("button", name="Back to the decision")
    assert button.is_disabled()
    click(opened, 1, 4)
    assert "Pinned" in readout(opened)
    if way == "again":
        click(opened, 1, 4)
    elif way == "button":
        button.click()
    else:
        opened.page.keyboard.press("Escape")
    assert "layer 3, mean, attention of the class token" in readout(opened)
    assert "Pinned" not in readout(opened)


def test_keys_move_the_patch_the_layer_and_the_head(open_report):
    opened = open_report([make_section()])
    opened.page.locator("canvas.large").focus()
    keys = [
        ("ArrowDown", "layer 3, mean, attention of patch (1, 2)"),  # begins in the middle
        ("ArrowDown", "layer 3, mean, attention of patch (2, 2)"),
        ("ArrowDown", "layer 3, mean, attention of patch (2, 2)"),  # the last row
        ("ArrowLeft", "layer 3, mean, attention of patch (2, 1)"),
        ("ArrowRight", "layer 3, mean, attention of patch (2, 2)"),
        ("ArrowUp", "layer 3, mean, attention of patch (1, 2)"),
        ("[", "layer 2, mean, attention of patch (1, 2)"),
        (".", "layer 2, head 0, attention of patch (1, 2)"),
        ("1", "layer 2, head 1, attention of patch (1, 2)"),
        ("2", "layer 2, head 1, attention of patch (1, 2)"),  # there is no such head
        (",", "layer 2, head 0, attention of patch (1, 2)"),
        ("m", "layer 2, mean, attention of patch (1, 2)"),
        ("]", "layer 3, mean, attention of patch (1, 2)"),
        ("Enter", "layer 3, mean, attention of patch (1, 2)"),
        ("ArrowUp", "layer 3, mean, attention of patch (1, 2)"),  # pinned: arrows read numbers
        ("Escape", "layer 3, mean, attention of the class token"),
        ("]", "rollout, all heads, the decision followed through all layers"),
    ]
    for key, start in keys:
        opened.page.keyboard.press(key)
        assert readout(opened).startswith(start), key
    focused = opened.page.evaluate("() => document.activeElement.className")
    assert focused == "large"


def test_small_pictures_are_reached_with_tab_and_moved_through_with_arrows(open_report):
    opened = open_report([make_section()])
    opened.page.get_by_role("button", name="layer 3, mean").focus()
    for key, name in [
        ("ArrowRight", "layer 3, head 0"),
        ("ArrowUp", "layer 2, head 0"),
        ("ArrowLeft", "layer 2, mean"),
    ]:
        opened.page.keyboard.press(key)
        chosen = opened.page.locator('.overlay[aria-pressed="true"]')
        assert chosen.get_attribute("aria-label") == name
        assert chosen.evaluate("(button) => button === document.activeElement && button.tabIndex === 0")
        assert readout(opened).startswith(f"{name}, ")


def test_without_a_class_token_the_pooling_decides_and_layers_show_what_is_received(open_report):
    section = make_section(class_tokens=0, pooling=True)
    opened = open_report([section])
    values = attention_of(section.pooling)[:, 0].mean(0)
    assert_readout(readout(opened), start="pooling, mean, attention of the decision", values=values, class_tokens=0)

    opened.page.get_by_role("button", name="layer 2, head 1").click()
    opened.page.mouse.move(2, 2)
    received = attention_of(section.layers[1]).sum(1)[1]
    found = re.match(
        r"layer 2, head 1, attention received from all patches: max ([\d.]+) \(1 would be even\) at \((\d), (\d)\)$",
        readout(opened),
    )
    assert float(found[1]) == pytest.approx(received.max(), rel=6e-3)
    assert (int(found[2]), int(found[3])) == divmod(int(received.argmax()), COLUMNS)

    before = opened.page.locator(".row").nth(3).locator(".most").all_inner_texts()
    hover(opened, 0, 0)
    start = "layer 2, head 1, attention of patch (0, 0)"
    assert_readout(readout(opened), start=start, values=row_of(section, 1, 0, 1), class_tokens=0)
    assert opened.page.locator(".row").nth(3).locator(".most").all_inner_texts() == before


def test_half_precision_shows_the_same_numbers_to_two_digits(open_report, monkeypatch):
    section = make_section()
    monkeypatch.setattr("heedful.inspection.report.blocks.Blocks.settle_precision.__defaults__", (0,))
    opened = open_report([section])
    assert '"dtype":"float16"' in opened.page.locator("#payload").inner_html()
    hover(opened, 0, 4)
    found = re.search(r"max ([\d.]+) %", readout(opened))
    assert float(found[1]) == pytest.approx(100 * row_of(section, 2, 5, None)[1:].max(), rel=1e-2)
    assert "half precision" in opened.words("footer")


def test_the_picture_is_drawn_with_the_colours_of_its_numbers(open_report):
    """At full opacity the largest patch is the last colour of the scale and smaller ones are darker."""
    section = make_section()
    opened = open_report([section])
    opened.page.get_by_label("Opacity").fill("1")
    opened.page.get_by_text("square root", exact=True).click()
    opened.settle()
    colours = opened.page.evaluate(
        """([rows, columns]) => {
          const canvas = document.querySelectorAll(".row")[2].querySelector("canvas");
          const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return Array.from({ length: rows * columns }, (_, i) => {
            const y = Math.floor((Math.floor(i / columns) + 0.5) / rows * canvas.height);
            const x = Math.floor(((i % columns) + 0.5) / columns * canvas.width);
            return Array.from(pixels.slice((y * canvas.width + x) * 4, (y * canvas.width + x) * 4 + 4));
          });
        }""",
        [ROWS, COLUMNS],
    )
    values = row_of(section, 2, 0, None)[1:]
    lightness = np.array(colours)[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert colours[int(values.argmax())] == [253, 231, 37, 255]
    assert np.diff(lightness[np.argsort(values)]).min() >= -1  # equal colours may differ by the rounding of one byte
    assert np.unique(lightness.round()).size > 10


def test_predictions_say_what_is_right(open_report):
    opened = open_report([make_section(), make_section(truth="cat")])
    verdicts = opened.page.locator(".verdict").all_inner_texts()
    assert verdicts == ["Predicted cat; the truth is dog", "Predicted cat, which is right"]
    assert opened.page.locator("nav .sign").all_inner_texts() == ["wrong", "right"]
    first = opened.page.locator(".bars").first.locator("li").all_inner_texts()
    assert [re.sub(r"\s+", " ", line) for line in first] == ["cat 75.0 %", "dog truth 25.0 %"]


def test_a_tap_pins_and_a_second_tap_releases(open_report):
    opened = open_report([make_section()], width=400, has_touch=True)
    opened.page.locator("canvas.large").scroll_into_view_if_needed()
    opened.page.touchscreen.tap(*place(opened, 2, 0))
    assert "attention of patch (2, 0)" in readout(opened)
    opened.page.touchscreen.tap(*place(opened, 2, 0))
    assert "attention of the class token" in readout(opened)
