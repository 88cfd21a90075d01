import re

import pytest

from heedful._errors import DataError
from heedful.data._rows import check_some_known
from heedful.data.splits import EveryTenth
from heedful.data.text import LabeledTexts, read_texts


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
    assert read_texts(write("text,label\na,x\nb,z\n", "b.csv"), classes=["x", "y"]).labels == ["x", "z"]
    with pytest.raises(DataError, match="a.csv:2: label must be a known class, 'y', 'z': got 'x', and no other one is"):
        read_texts(source, classes=["y", "z"])


def test_bad_rows_are_skipped_up_to_a_share(write):
    source = write("text,label\na,x\n ,y\n" + "b,y\n" * 20, "a.csv")
    with pytest.raises(DataError, match="a.csv:3: must have a text"):
        read_texts(source)
    read = read_texts(source, skip=0.05)
    assert (len(read), read.select([0]).notes) == (21, read.notes)
    assert read.notes == (
        f"1 of 22 rows are bad and were skipped; the first: {source}:3: must have a text: got an empty one, with the label 'y'",
    )
    with pytest.raises(DataError, match="a.csv:3: .*; 1 of 22 rows are bad, and at most 4 % may be skipped"):
        read_texts(source, skip=0.04)


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
    assert len(EveryTenth(lambda texts: texts.labels)(texts, "text").training) > 50_000
    check_some_known(((label, "") for label in ["none"] * 10_000 + texts.labels), sorted(set(texts.labels)))
