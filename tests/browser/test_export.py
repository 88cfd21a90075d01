import base64
import csv
import io
import re
import struct
import xml.etree.ElementTree as ElementTree
from functools import cache

import numpy as np
import pytest

from heedful.report import AttentionSection, Text
from tests.browser.random_attention import random_map, random_section
from tests.report.layers import layer_of

WORDS = [
    "=SUM(A1)",
    'cat, "sat"',
    "-5",
    "+x",
    "@me",
    "-",
    "two\nlines",
    "</title><script>alert(1)</script>",
    "שלום \U0001f600",
    "plain",
]
N = len(WORDS)


@cache
def small_section(title="Ünder a title: a/b"):
    random = np.random.default_rng(0)
    layers = []
    for index in range(2):
        grid = random_map(random, 2, N, N)
        numbers = {"entropy": random.random(2).tolist(), "previous": [0.25, float("nan")]}
        curves = {"received": grid.sum(1), "entropy": random.random((2, N)).astype(np.float32)}
        more = {"numbers": numbers, "kinds": ["previous", "other"], "curves": curves}
        layers.append(layer_of(grid, name=f"encoder.{index}", label=f"layer {index}", **more))
    return AttentionSection(title, "", layers, [Text(WORDS)])


def opened_at(open_report, view, *, section=None, more="", **options):
    opened = open_report([section or small_section()], fragment=f"#section-0&view={view}{more}", **options)
    ready = {
        "layers": ".layers-most li",
        "compare": ".compare-numbers dd",
        "map": ".map-note:not(:empty)",
        "input": ".text-token",
    }[view]
    opened.page.wait_for_selector(ready)
    opened.settle()
    return opened


def save(opened, words, tmp_path):
    """Saves by the menu and returns the file's name and bytes."""
    opened.page.get_by_role("button", name="Export").click()
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("button", name=words).click()
    path = tmp_path / "saved"
    waiting.value.save_as(path)
    return waiting.value.suggested_filename, path.read_bytes()


def test_numbers_as_csv_are_those_of_the_section(open_report, tmp_path):
    section = small_section()
    opened = opened_at(open_report, "layers", section=section)
    name, data = save(opened, "Data (CSV)", tmp_path)
    assert name == "ünder-a-title-a-b-heads-layer-0-mean-of-2-heads.csv"
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))
    assert [(row["layer"], row["head"], row["module"], row["kind"]) for row in rows] == [
        (str(layer), str(head), f"encoder.{layer}", ["previous", "other"][head])
        for layer in range(2)
        for head in range(2)
    ]
    assert [float(row["entropy"]) for row in rows] == [v for layer in section.layers for v in layer.numbers["entropy"]]
    assert [row["previous"] for row in rows] == ["0.25", "", "0.25", ""]
    assert opened.words(".attend > .readout") == f"Saved as {name}."


def test_no_token_becomes_a_formula_of_a_spreadsheet(open_report, tmp_path):
    section = small_section()
    _, data = save(opened_at(open_report, "compare", section=section, more="&head=0"), "Data (CSV)", tmp_path)
    rows = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    header, rows = rows[0], rows[1:]
    assert header[:6] == ["first query", "last query", "query", "first key", "last key", "key"]
    assert len(rows) == N * N
    guarded = ["'=SUM(A1)", 'cat, "sat"', "-5", "'+x", "'@me", "'-", "two\u21b5lines", *WORDS[7:]]
    assert [row[5] for row in rows[:N]] == guarded
    assert not any(re.match(r"[=+\-@\t\r](?!\d)", cell) for row in [header, *rows] for cell in row)
    left, right, difference = np.array([row[6:] for row in rows], float).T.reshape(3, N, N)
    assert left == pytest.approx(section.layers[0].map[0], rel=1e-3)
    assert right == pytest.approx(section.layers[0].map[1], rel=1e-3)
    assert difference == pytest.approx(right - left, abs=1e-7)


def test_numbers_for_numpy_are_read_by_numpy(open_report, tmp_path):
    section = small_section()
    name, data = save(opened_at(open_report, "compare", section=section, more="&head=0"), "Data (NumPy)", tmp_path)
    assert name.endswith(".npz")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["key"].dtype.kind == "U"
    assert arrays["key"][:N].tolist() == [word.replace("\n", "\u21b5") for word in WORDS]
    assert arrays["first query"].dtype == np.float64
    assert arrays["first query"].tolist() == np.repeat(np.arange(N), N).tolist()
    left = next(array for title, array in arrays.items() if title.startswith("left"))
    assert left.reshape(N, N) == pytest.approx(section.layers[0].map[0], rel=1e-3)


def test_numbers_that_are_not_defined_are_nan_and_columns_stand_by_name(open_report, tmp_path):
    section = small_section()
    _, data = save(opened_at(open_report, "layers", section=section), "Data (NumPy)", tmp_path)
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        assert file["previous"].tolist()[::2] == [0.25, 0.25]
        assert np.isnan(file["previous"][1::2]).all()
        assert file["entropy"].tolist() == [v for layer in section.layers for v in layer.numbers["entropy"]]
        assert file["kind"].tolist() == ["previous", "other"] * 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["layers", "compare"])
def test_a_picture_has_two_pixels_a_point_the_page_behind_it_and_a_caption(open_report, tmp_path, view, scheme):
    opened = opened_at(open_report, view, scheme=scheme)
    name, data = save(opened, "Image (PNG)", tmp_path)
    assert name.startswith("ünder-a-title-a-b-")
    assert name.endswith(f"{view}-layer-0-mean-of-2-heads.png")
    [width] = struct.unpack(">I", data[16:20])
    drawn = {"layers": 860, "compare": 3 * 400 + 2 * 24}[view]
    assert width == 2 * (drawn + 32)
    pixels = opened.page.evaluate(
        """async (data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
          const context = canvas.getContext("2d", { willReadFrequently: true });
          context.drawImage(bitmap, 0, 0);
          const colors = (y, h) => new Set(new Uint32Array(context.getImageData(0, y, bitmap.width, h).data.buffer)).size;
          const corner = [...context.getImageData(2, 2, 1, 1).data];
          return { corner, caption: colors(bitmap.height - 100, 100), drawing: colors(0, bitmap.height - 140) };
        }""",
        base64.b64encode(data).decode(),
    )
    behind = opened.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert pixels["corner"] == [*map(int, re.findall(r"\d+", behind)), 255]
    assert pixels["caption"] > 5
    assert pixels["drawing"] > 20


@pytest.mark.parametrize("view", ["layers", "compare"])
def test_a_drawing_is_sound_xml_with_a_title_and_its_words_as_text(open_report, tmp_path, view):
    odd = small_section(title="A \u0001 title & more")
    _, data = save(opened_at(open_report, view, section=odd), "Image (SVG)", tmp_path)
    tree = ElementTree.fromstring(data)
    space = "{http://www.w3.org/2000/svg}"
    assert tree.tag == f"{space}svg"
    assert tree[0].tag == f"{space}title"
    assert tree[0].text == "A \ufffd title & more. layer 0, mean of 2 heads; square root color scale"
    texts = [text.text for text in tree.iter(f"{space}text")]
    assert "A \ufffd title & more" in texts
    assert "layer 0, mean of 2 heads; square root color scale" in texts
    assert tree.findall(f".//{space}script") == []
    if view == "layers":
        assert len(tree.findall(f".//{space}path")) > 8
    else:
        images = tree.findall(f".//{space}image")
        assert len(images) == 6
        assert all(image.get("href").startswith("data:image/png;base64,") for image in images)
        assert any("plain" in (text or "") for text in texts)


def test_the_drawing_of_a_map_has_each_cell_in_its_own_color(open_report, tmp_path):
    section = small_section()
    opened = opened_at(open_report, "map", section=section, more="&layer=1&head=1&scale=linear")
    opened.quiet(".map-note", frames=6)
    _, data = save(opened, "Image (SVG)", tmp_path)
    space = "{http://www.w3.org/2000/svg}"
    group = ElementTree.fromstring(data).find(f".//{space}g[@clip-path]")
    assert group.get("opacity") is None
    cells = group.findall(f"{space}rect")
    assert [cell.get("opacity") for cell in cells] == [None] * (N * N)
    assert cells[int(section.layers[1].map[1].argmax())].get("fill") == "rgb(253,231,37)"


def test_a_text_is_drawn_with_its_shades_and_the_lines_between_tokens(open_report):
    section = small_section()
    opened = opened_at(open_report, "input", more="&pins=5&head=0&scale=linear")
    space = "{http://www.w3.org/2000/svg}"
    for layout in ("running text", "two columns"):
        opened.page.get_by_text(layout).click()
        opened.quiet()
        with opened.page.expect_download() as waiting:  # without the pointer, which would lie on a token
            opened.page.locator("[data-kind=svg]").evaluate("button => button.click()")
        tree = ElementTree.parse(waiting.value.path())
        texts = [text.text for text in tree.iter(f"{space}text")]
        assert any("attends to" in text for text in texts)
        assert sum("two\u21b5lines" in text for text in texts) == (1 if layout == "running text" else 2)
        tokens = [r for r in tree.iter(f"{space}rect") if r.get("height") == "22" and r.get("fill") != "none"]
        shades = [float(rect.get("opacity") or 1) for rect in tokens]
        expected = section.layers[0].pairs.weights[0, 5]
        shown = [weight for weight in expected if round(64 * weight / expected.max()) > 0]
        np.testing.assert_allclose(np.array(shades) / max(shades), np.array(shown) / max(shown), atol=0.03)
    assert len([path for path in tree.iter(f"{space}path") if "C" in path.get("d")]) >= len(shown) - 1


def test_the_menu_is_reached_by_keys(open_report):
    opened = opened_at(open_report, "layers")
    button = opened.page.get_by_role("button", name="Export")
    button.focus()
    assert button.get_attribute("aria-expanded") == "false"
    opened.page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    opened.page.keyboard.press("ArrowDown")
    assert opened.page.evaluate("() => document.activeElement.textContent") == "Image (PNG)"
    opened.page.keyboard.press("ArrowUp")
    assert opened.page.evaluate("() => document.activeElement.textContent") == "Data (NumPy)"
    opened.page.keyboard.press("Escape")
    assert button.get_attribute("aria-expanded") == "false"
    assert opened.page.evaluate("() => document.activeElement.textContent") == "Export"
    opened.page.keyboard.press("Enter")
    opened.page.mouse.click(5, 5)
    assert button.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("width", [400, 1280])
def test_the_open_menu_stays_on_the_page(open_report, width):
    opened = opened_at(open_report, "layers", width=width)
    opened.page.get_by_role("button", name="Export").click()
    box = opened.page.locator(".export-list").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert opened.page.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", ["Image (PNG)", "Data (NumPy)"])
def test_long_inputs_are_saved_too(open_report, tmp_path, kind):
    section = random_section(layers=2, heads=2, n=1024, cells=256, pairs=0)
    _, data = save(opened_at(open_report, "compare", section=section, more="&head=0"), kind, tmp_path)
    assert len(data) > 10_000
    if kind == "Data (NumPy)":
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            assert file["last key"][:2].tolist() == [3, 7]
            assert file["right minus left"].shape == (256 * 256,)
