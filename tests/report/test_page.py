import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from heedful.report import (
    AttentionSection,
    Dense,
    Layer,
    MatrixSection,
    Picture,
    QueryKey,
    TableSection,
    Text,
    TopWeights,
    render_report,
    write_report,
)

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;<!-- \u2028\u2029 \u202eabc \U0001f600 \udc80\0"


def layer(*, tokens=13, heads=2, width=5, **changes):
    random = np.random.default_rng(0)
    query, key = (random.normal(size=(heads, tokens, width)).astype(np.float32) for _ in range(2))
    weights = np.exp(query @ key.mT)
    weights /= weights.sum(-1, keepdims=True)
    found = Layer(
        name="encoder.0",
        label="layer 0",
        kind="self",
        map=weights[:, :4, :3],
        pairs=QueryKey(query, key, 1.0),
        queries=tokens,
        keys=tokens,
        rows=0,
        columns=0,
        numbers={"entropy": [0.5, float("nan")], "first": [0.25, 0.125]},
        kinds=["first", "other"],
        curves={"received": weights.sum(1)},
        facts=[("computed by", "hand")],
    )
    return replace(found, **changes)


def picture(**changes):
    pixels = np.arange(7 * 11, dtype=np.uint8).reshape(7, 11)
    return replace(Picture(pixels, (3, 4), extra=["class token"], name="a.png"), **changes)


def attention_section(**changes):
    section = AttentionSection(
        title="A picture",
        text="",
        layers=[layer()],
        axes=[picture()],
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
    stored = base64.b64decode(text)
    if reference.get("coding") == "deflate":
        stored = zlib.decompress(stored, -15)
    array = np.frombuffer(stored, dtype).reshape(reference["shape"])
    return array.astype(np.float64) / reference["factor"] if "factor" in reference else array


def render(*sections, title="A report", about=None):
    return render_report(title=title, sections=list(sections), about=about)


def test_every_array_of_a_model_comes_back_as_it_was():
    section = attention_section()
    page = render(section)
    stored, given = payload_of(page)["sections"][0], section.layers[0]
    [first] = stored["layers"]
    np.testing.assert_array_equal(array_of(page, stored["axes"][0]["picture"]), section.axes[0].pixels)
    np.testing.assert_array_equal(array_of(page, first["pairs"]["query"]), given.pairs.query)
    np.testing.assert_array_equal(array_of(page, first["pairs"]["key"]), given.pairs.key)
    np.testing.assert_allclose(array_of(page, first["map"]), given.map, rtol=5e-4)
    np.testing.assert_array_equal(array_of(page, first["curves"]["received"]), given.curves["received"])
    assert first["numbers"] == {"entropy": [0.5, None], "first": [0.25, 0.125]}
    assert [stored["axes"][0]["grid"], stored["axes"][0]["extra"]] == [[3, 4], ["class token"]]
    assert stored["predictions"] == [{"label": "cat", "probability": 0.75}, {"label": "dog", "probability": 0.25}]


def test_every_array_of_a_matrix_comes_back_as_it_was():
    section = matrix_section()
    page = render(section)
    stored = payload_of(page)["sections"][0]
    np.testing.assert_array_equal(array_of(page, stored["pooled"]), section.pooled)
    np.testing.assert_array_equal(array_of(page, stored["rows"][0]["values"]), section.rows["entropy (nat)"])
    np.testing.assert_array_equal(array_of(page, stored["columns"][0]["values"]), section.columns["received mass"])
    assert stored["facts"] == [["the matrix would take", "17.2 GB"], ["largest weight", 0.25]]


def test_the_lowest_precision_is_said():
    assert payload_of(render(table_section()))["precision"] == "float32"
    assert payload_of(render(attention_section()))["precision"] == "float16"


def test_size_is_linear_in_the_number_of_tokens():
    def size(side):
        one = layer(tokens=side * side, heads=2, width=7, curves={})
        if side == 1:
            one = replace(one, map=one.map[:, :1, :1])
        section = attention_section(layers=[one], axes=[picture(grid=(side, side), extra=())])
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
        attention_section(
            title=HOSTILE,
            text=HOSTILE,
            layers=[layer(name=HOSTILE, label=HOSTILE, facts=[(HOSTILE, HOSTILE)])],
            axes=[Text([HOSTILE] * 13, name=HOSTILE), picture(name=HOSTILE, extra=[HOSTILE])],
            predictions=[(HOSTILE, 1.0)],
            truth=HOSTILE,
            output=HOSTILE,
        ),
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
    assert stored["sections"][0]["axes"][0]["tokens"] == [HOSTILE] * 13
    assert stored["sections"][1]["rows"][0]["name"] == HOSTILE
    harmless = render(attention_section(), matrix_section(), table_section(), title="x")
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
    page = render(attention_section(), matrix_section(), table_section())
    names = [line for line in page.splitlines() if re.search(r"https?:|//\w+\.\w", line)]
    assert {re.sub(r".*= ", "", line) for line in names} == {'"http://www.w3.org/2000/svg";'}  # what SVG is called
    assert re.findall(r"\b(?:XMLHttpRequest|WebSocket|EventSource|sendBeacon|innerHTML|eval)\b", page) == []
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
    monkeypatch.setattr(f"heedful._files.os.{failing}", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, title="A report", sections=[table_section()])
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_section_that_does_not_fit_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"`layers` must have at least one layer: got none"):
        write_report(path, title="A report", sections=[attention_section(layers=[])])
    assert path.read_text() == "old"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must lie in a folder that exists: '.*missing.*'"):
        write_report(tmp_path / "missing" / "report.html", title="A report", sections=[])


def of_layer(**changes):
    return {"layers": [layer(**changes)]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 3}, r"`title` must be a string: got 3"),
        ({"layers": []}, r"`layers` must have at least one layer: got none"),
        ({"axes": []}, r"`rows` of 'encoder.0' must be one of 0 axes: got 0"),
        ({"axes": [Text(["a"] * 12)]}, r"`rows` of 'encoder.0' must stand for 13 positions: got an axis of 12"),
        ({"axes": [picture(pixels=np.zeros((7, 11)))]}, r"`picture` must be uint8 .*: got float64 of shape \(7, 11\)"),
        (
            {"axes": [picture(pixels=np.zeros((7, 11, 4), np.uint8))]},
            r"must be uint8 .*got uint8 of shape \(7, 11, 4\)",
        ),
        (
            of_layer(map=np.ones((2, 14, 3))),
            r"`map` of 'encoder.0' must have at most 13 rows and 13 columns: got shape",
        ),
        (
            of_layer(numbers={"entropy": [1.0]}),
            r"`numbers\['entropy'\]` of 'encoder.0' must be one of entropy, .*2 num",
        ),
        (of_layer(numbers={"size": [1.0, 2.0]}), r"`numbers\['size'\]` of 'encoder.0' must be one of entropy, largest"),
        (of_layer(kinds=["first"]), r"`kinds` of 'encoder.0' must have 2 words: got 1"),
        (of_layer(pairs=Dense(np.ones((2, 13, 12)))), r"`weights` of 'encoder.0' .* = \(2, 13, 13\): got shape"),
        (
            of_layer(pairs=QueryKey(np.ones((2, 13, 5)), np.ones((2, 12, 5)), 1.0)),
            r"`key` of .* = \(2, 13, 5\): got shape",
        ),
        (of_layer(pairs=QueryKey(np.ones((2, 13, 5)), np.ones((2, 13, 5)), np.inf)), r"`scale` of .* finite: got inf"),
        (
            of_layer(pairs=TopWeights(np.ones((2, 12, 3), int), np.ones((2, 13, 3)))),
            r"`indices` of .*\(2, 13, 3\): got shape",
        ),
        (
            of_layer(pairs=TopWeights(np.full((2, 13, 3), 13), np.ones((2, 13, 3)))),
            r"`indices` of .* less than 13: got 13",
        ),
        ({"predictions": [("cat", 1.5)]}, r"a probability in `predictions` must lie in 0 to 1: got 1.5"),
        ({"predictions": [(None, 0.5)]}, r"a label in `predictions` must be a string: got None"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        render(attention_section(**changes))


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
