import re

import pytest

from heedful._errors import DataError
from heedful.data.splits import EveryTenth
from heedful.data.text import LabeledTexts, read_texts
from heedful.data.text.labeled import check_labels


def test_texts(write):
    source = write("text,label\na, x \n b ,y\n", "a.csv")
    assert read_texts(source) == LabeledTexts(["a", " b "], ["x", "y"], [f"{source}:2", f"{source}:3"])
    assert read_texts(source, "label", 1).labels == ["a", "b"]
    assert len(read_texts(source)) == 2


@pytest.mark.parametrize("name", ["a.txt", "a", "a.log"])
def test_a_text_a_line(write, name):
    source = write("a,b\n\n  \nc\n", name)
    assert read_texts(source, label=None) == LabeledTexts(
        ["a,b", "", "  ", "c"], None, [f"{source}:{n}" for n in (1, 2, 3, 4)]
    )
    with pytest.raises(
        DataError, match=f"{name}: texts with labels must be a .csv, .tsv or .jsonl, .*: got another name"
    ):
        read_texts(source)


def test_without_labels_an_empty_text_keeps_its_place(write):
    source = write('{"text": "a"}\n{"text": ""}\n{"text": "b"}\n', "a.jsonl")
    assert read_texts(source, label=None) == LabeledTexts(["a", "", "b"], None, [f"{source}:{n}" for n in (1, 2, 3)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,x\n  ,y\n", ":3: must have a text: got an empty one, with the label 'y'"),
        ("text,label\na,x\nb, \n", ":3: must have a label: got an empty one, for the text 'b'"),
        ("text,label\na,x\nb,x\n", ": must hold at least two classes: got 1, 'x'"),
        ("text,label\n", ": must hold at least one text: got none"),
    ],
)
def test_what_cannot_be_learned(write, content, message):
    source = write(content, "a.csv")
    with pytest.raises(DataError, match="^" + re.escape(source + message)):
        read_texts(source)


def test_known_classes(write):
    source = write("text,label\na,x\nb,x\n", "a.csv")
    assert read_texts(source, classes=["x", "y"]).labels == ["x", "x"]
    with pytest.raises(DataError, match="a.csv:2: label must be a known class, 'y', 'z': got 'x'"):
        read_texts(source, classes=["y", "z"])


def test_no_rows_to_predict(write):
    with pytest.raises(DataError, match="a.csv: must hold at least one text: got none"):
        read_texts(write("text\n", "a.csv"), label=None)


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match=f"^{tmp_path}: must be a table"):
        read_texts(tmp_path)


@pytest.mark.timeout(60)
def test_many_labels_take_no_longer_than_few(write):
    rows = [f"text {row}\tlabel {row % 50_000}\n" for row in range(100_000)]
    texts = read_texts(write("".join(rows), "many.tsv"), classes=[f"label {row}" for row in range(50_000)])
    assert len(EveryTenth(lambda texts: texts.labels, stratify=True)(texts, "text").training) > 50_000
    check_labels(texts, sorted(set(texts.labels)))
