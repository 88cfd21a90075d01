import io
import json
import lzma
import re

import pytest

from heedful._errors import DataError
from heedful.data.text import read_texts
from heedful.data.text.json_rows import json_rows


@pytest.mark.parametrize(
    "content", ["[]", "[ ]\n", "\n", '[{"a": 1}, {"b": [1, {}]}]', '[\n{\n"a": "],"\n},\n\n{"b": 2}\n]\n\n']
)
def test_an_array_is_read_as_json_reads_it(write, content):
    rows = list(json_rows(write(content, "rows.json")))
    assert [json.loads(text) for _, text in rows] == json.loads(content if content.strip() else "[]")
    for number, text in rows:
        assert text in content.split("\n", number - 1)[-1]


def test_lines_in_a_json_file_are_read_as_lines(write):
    assert list(json_rows(write('{"a": 1}\n\n{"b": 2}\n', "rows.json"))) == [(1, '{"a": 1}'), (3, '{"b": 2}')]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1}\n{"b": 2}]', ":2: must be an array of JSON, [{...}, {...}]: got '{\"b\": 2}]'"),
        ('[{"a": 1},\n', ":2: must be an array of JSON: got the error 'Expecting value'"),
        ('[{"a": 1}\n', ":2: must be an array of JSON, [{...}, {...}]: got the end of the file"),
        ('[{"a": 1}]\nmore', ":2: must be an array of JSON, [{...}, {...}]: got 'more'"),
        ("[" * 100_000, ":1: must be an array of JSON: got the error 'too many brackets in each other'"),
    ],
)
def test_what_is_no_array(write, content, message):
    source = write(content, "rows.json")
    with pytest.raises(DataError, match="^" + re.escape(source + message)):
        list(json_rows(source))


def test_texts_of_any_kind_of_file(write, monkeypatch):
    texts, labels = ["a b", "c"], ["x", "y"]
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    tabs = "text\tlabel\na b\tx\nc\ty\n"
    array, objects = json.dumps(rows, indent=1), "".join(json.dumps(row) + "\n" for row in rows)
    for source in (write(array, "a.json"), write(lzma.compress(tabs.encode()), "b.tsv.xz"), write(objects, "c.json")):
        assert (read_texts(source).texts, read_texts(source).labels) == (texts, labels)
    for content in (array, objects, tabs, tabs.replace("\t", ",")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert (read_texts("-").texts, read_texts("-").labels) == (texts, labels)
    for name, content in (("a.xlsx", b"PK\x03\x04"), ("a.parquet", b"PAR1\x15")):
        with pytest.raises(DataError, match=f"{name}: must be a text file: got a "):
            read_texts(write(content, name))


@pytest.mark.parametrize("columns", [("text", "label"), (1, 2)])
def test_other_separators_are_named(write, columns):
    for name, content, sign in (
        ("a.csv", "text;label\nfine;x\n", "semicolons"),
        ("b.csv", "text\tlabel\nfine\tx\n", "tabs"),
    ):
        with pytest.raises(
            DataError, match=f":1: must have a column .*; its columns seem to be separated by {sign}: save it"
        ):
            read_texts(write(content, name), *columns)


def test_semicolons_on_standard_input_are_named(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"text;label\nfine;x\n")))
    with pytest.raises(DataError, match="standard input:1: must have a column .*semicolons"):
        read_texts("-", "text", "label")
