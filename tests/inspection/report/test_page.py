import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from heedful.inspection.report import (
    LayerHeads,
    MatrixSection,
    PictureSection,
    TableSection,
    render_report,
    write_report,
)

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;<!-- \u2028\u2029 \u202eabc \U0001f600 \udc80\0"


def heads(*, tokens=13, name="layer 1", count=2, width=5, seed=0, queries=None):
    random = np.random.default_rng(seed)
    query = random.normal(size=(count, queries or tokens, width)).astype(np.float32)
    key = random.normal(size=(count, tokens, width)).astype(np.float32)
    return LayerHeads(name, query, key, width**-0.5, np.ones((count, tokens), np.float32))


def picture_section(**changes):
    section = PictureSection(
        title="A picture",
        picture=np.arange(7 * 11, dtype=np.uint8).reshape(7, 11),
        caption="a.png",
        grid=(3, 4),
        class_tokens=1,
        layers=[heads()],
        pooling=heads(name="pooling", queries=1),
        rollout=np.full(13, 1 / 13, np.float32),
        predictions=[("cat", 0.75), ("dog", 0.25)],
        truth="cat",
    )
    return replace(section, **changes)


def matrix_section(**changes):
    section = MatrixSection(
        title="A matrix",
        text="Never stored.",
        shape=(70, 110),
        pooled=np.full((7, 11), 1 / 11, np.float32),
        rows={"entropy (nat)": np.linspace(0, 3, 70, dtype=np.float32)},
        columns={"received mass": np.ones(110, np.float32)},
        facts=[("the matrix would take", "17.2 GB"), ("largest weight", 0.25)],
    )
    return replace(section, **changes)


def table_section(**changes):
    section = TableSection("Accuracy", "", ["model", "accuracy"], [["heedful", 0.98], ["other", None]])
    return replace(section, **changes)


def payload_of(page):
    found = re.findall(r'<script type="application/json" id="payload">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return json.loads(found[0])


def array_of(page, reference):
    [text] = re.findall(rf'<script type="text/plain" id="block-{reference["block"]}">([^<]*)</script>', page)
    dtype = np.dtype(reference["dtype"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(text), dtype).reshape(reference["shape"])


def render(*sections, title="A report", about=None):
    return render_report(title=title, sections=list(sections), about=about)


def test_every_array_of_a_picture_comes_back_as_it_was():
    section = picture_section()
    page = render(section)
    stored = payload_of(page)["sections"][0]
    np.testing.assert_array_equal(array_of(page, stored["picture"]), section.picture)
    np.testing.assert_array_equal(array_of(page, stored["rollout"]), section.rollout)
    for layer, given in ((stored["layers"][0], section.layers[0]), (stored["pooling"], section.pooling)):
        for name in ("query", "key", "received"):
            np.testing.assert_array_equal(array_of(page, layer[name]), getattr(given, name))
        assert layer["scale"] == pytest.approx(given.scale)
    assert stored["grid"] == [3, 4]
    assert stored["classTokens"] == 1
    assert stored["predictions"] == [{"label": "cat", "probability": 0.75}, {"label": "dog", "probability": 0.25}]


def test_every_array_of_a_matrix_comes_back_as_it_was():
    section = matrix_section()
    page = render(section)
    stored = payload_of(page)["sections"][0]
    np.testing.assert_array_equal(array_of(page, stored["pooled"]), section.pooled)
    np.testing.assert_array_equal(array_of(page, stored["rows"][0]["values"]), section.rows["entropy (nat)"])
    np.testing.assert_array_equal(array_of(page, stored["columns"][0]["values"]), section.columns["received mass"])
    assert stored["facts"] == [["the matrix would take", "17.2 GB"], ["largest weight", 0.25]]


def test_many_queries_and_keys_are_stored_in_half_precision_and_what_does_not_fit_in_half_is_not():
    layer = heads(tokens=1025, count=4, width=256)  # 4 x 1025 x 256 x 4 bytes, twice: 8.4 MB
    layer.key[0, 0, 0] = 70_000
    page = render(picture_section(grid=(32, 32), layers=[layer], pooling=None, rollout=None))
    payload = payload_of(page)
    stored = payload["sections"][0]["layers"][0]
    assert payload["precision"] == "float16"
    assert [stored["query"]["dtype"], stored["key"]["dtype"], stored["received"]["dtype"]] == [
        "float16",
        "float32",
        "float32",
    ]
    np.testing.assert_array_equal(array_of(page, stored["query"]), layer.query.astype(np.float16))
    np.testing.assert_array_equal(array_of(page, stored["key"]), layer.key)


def test_a_small_report_keeps_full_precision():
    assert payload_of(render(picture_section()))["precision"] == "float32"


def test_size_is_linear_in_the_number_of_tokens():
    def size(side):
        layer = heads(tokens=side * side, count=3, width=7)
        section = picture_section(grid=(side, side), class_tokens=0, layers=[layer], pooling=None, rollout=None)
        return len(render(section))

    fixed, small, large = size(1), size(16), size(32)  # 1, 256 and 1,024 tokens
    assert (large - fixed) / (small - fixed) == pytest.approx(4, rel=0.03)


def test_numpy_numbers_and_unusual_cells_become_plain_json():
    rows = [[np.float32(0.5), np.int64(7)], [float("nan"), True]]
    stored = payload_of(render(table_section(rows=rows)))["sections"][0]
    assert stored["rows"] == [[0.5, 7], ["nan", True]]


@pytest.fixture(scope="module")
def hostile_page():
    return render(
        picture_section(title=HOSTILE, caption=HOSTILE, predictions=[(HOSTILE, 1.0)], truth=HOSTILE),
        matrix_section(title=HOSTILE, text=HOSTILE, facts=[(HOSTILE, HOSTILE)], rows={HOSTILE: np.ones(3)}),
        table_section(title=HOSTILE, header=[HOSTILE, HOSTILE], rows=[[HOSTILE, HOSTILE]], caption=HOSTILE),
        title=HOSTILE,
        about={HOSTILE: HOSTILE},
    )


def test_hostile_text_comes_back_as_it_was_and_adds_no_markup(hostile_page):
    stored = payload_of(hostile_page)
    assert stored["title"] == HOSTILE
    assert stored["about"] == [[HOSTILE, HOSTILE]]
    assert stored["sections"][0]["predictions"][0]["label"] == HOSTILE
    assert stored["sections"][1]["rows"][0]["name"] == HOSTILE
    harmless = render(picture_section(), matrix_section(), table_section(), title="x")
    for tag in ("<script", "</script", "<img", "<!--", "<title", "</title"):
        assert hostile_page.count(tag) == harmless.count(tag), tag


def test_json_holds_no_character_that_markup_or_old_scripts_read(hostile_page):
    [text] = re.findall(r'id="payload">(.*?)</script>', hostile_page, re.DOTALL)
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()


def test_the_policy_allows_the_inline_style_and_script_by_hash_and_nothing_else():
    page = render(table_section())
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    [code] = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)

    def hash_of(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hash_of(style),
        "script-src": hash_of(code),
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_nothing_in_the_file_names_a_place_in_a_network():
    page = render(picture_section(), matrix_section(), table_section())
    assert [line for line in page.splitlines() if re.search(r"https?:|//\w+\.\w", line)] == []
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|innerHTML|eval)\b", page) == []
    assert re.findall(r'\b(?:src|href)="(?!data:,")[^"]*"', page) == []


def test_the_file_is_what_was_rendered_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, title="A report", sections=[table_section()])
    assert path.read_bytes() == render(table_section()).encode()
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, failing):
    def fail(*_):
        raise OSError("disk full")

    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(f"heedful.inspection.report.page.os.{failing}", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, title="A report", sections=[table_section()])
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_section_that_does_not_fit_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="`class_tokens` must be 0 or 1: got 2"):
        write_report(path, title="A report", sections=[picture_section(class_tokens=2)])
    assert path.read_text() == "old"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` must lie in a folder that exists: got '.*missing.*'"):
        write_report(tmp_path / "missing" / "report.html", title="A report", sections=[])


def nan_query():
    layer = heads()
    layer.query[0, 3, 1] = np.nan
    return layer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 3}, r"`title` must be a string: got 3"),
        ({"picture": np.zeros((7, 11))}, r"`picture` must be uint8 of shape .*: got float64 of shape \(7, 11\)"),
        ({"picture": np.zeros((7, 11, 4), np.uint8)}, r"`picture` must be uint8 .*got uint8 of shape \(7, 11, 4\)"),
        ({"grid": (0, 4)}, r"`grid` \(rows, columns\) must be a whole number of at least 1: got 0"),
        (
            {"grid": (5, 4), "rollout": None},
            r"`query` of layer 'layer 1' must be .* = \(2, 21, 5\): got shape \(2, 13, 5\)",
        ),
        ({"layers": [], "pooling": None}, r"`layers` must have at least one layer where there is no `pooling`"),
        ({"layers": [nan_query()]}, r"`query` of layer 'layer 1' must be finite in float32: got 1 that are not"),
        ({"layers": [replace(heads(), scale=np.inf)]}, r"`scale` of layer 'layer 1' must be finite: got inf"),
        ({"layers": [replace(heads(), key=heads(width=3).key)]}, r"must be \[heads, .*\(2, 13, 3\): got shape"),
        ({"layers": [replace(heads(), query=np.ones(3))]}, r"must be \[heads, queries, width\].*got shape \(3,\)"),
        ({"layers": [replace(heads(), received=np.ones((2, 4)))]}, r"`received` of layer .* = \(2, 13\): got shape"),
        (
            {"class_tokens": 0, "layers": [replace(heads(tokens=12), received=None)]},
            r"`received` of layer 'layer 1' must be given where `class_tokens` is 0: got None",
        ),
        ({"pooling": heads(name="pool")}, r"`query` of layer 'pool' must be .*\(2, 1, 5\): got shape \(2, 13, 5\)"),
        ({"rollout": np.ones(12)}, r"`rollout` must be \[tokens\] = \(13,\): got shape \(12,\)"),
        ({"rollout": -np.ones(13)}, r"`rollout` must be at least 0: got -1"),
        ({"predictions": [("cat", 1.5)]}, r"a probability in `predictions` must lie in 0 to 1: got 1.5"),
        ({"predictions": [(None, 0.5)]}, r"a label in `predictions` must be a string: got None"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        render(picture_section(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (0, 110)}, r"`shape` \(queries, keys\) must be a whole number of at least 1: got 0"),
        ({"pooled": np.ones((71, 11))}, r"`pooled` must have at most .* \(70, 110\): got shape \(71, 11\)"),
        ({"pooled": -np.ones((7, 11))}, r"`pooled` must be at least 0: got -1"),
        ({"pooled": np.full((7, 11), "a")}, r"`pooled` must be real numbers: got <U1"),
        ({"rows": {"entropy": np.ones(71)}}, r"`rows\['entropy'\]` must have at most 70 positions: got 71"),
        ({"columns": {"mass": np.ones((2, 2))}}, r"`columns\['mass'\]` must be \[positions\].*got shape \(2, 2\)"),
        ({"facts": [("size", object)]}, r"a value in `facts` must be a string, a number or None: got <class 'object'>"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        render(matrix_section(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": []}, r"`header` must name at least one column: got none"),
        ({"rows": [["a", 1, 2]]}, r"row 0 of `rows` must have 2 cells: got 3"),
        ({"rows": [["a", [1]]]}, r"a cell of `rows` must be a string, a number or None: got \[1\]"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        render(table_section(**changes))
