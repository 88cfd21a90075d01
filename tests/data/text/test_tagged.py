import gzip

import pytest

from heedful._errors import DataError
from heedful.data.text import read_tagged, write_tagged

ROWS = "# text = Run\n1\tRun\trun\tVERB\tVB\t_\t0\troot\t_\t_\n\n"
COLUMNS = "Ada NNP B-PER\nran VBD O\n\nRun VB O\n\n"


@pytest.mark.parametrize("name", ["a.conllu", "a.CoNLL-U", "a.txt", "a"])
@pytest.mark.parametrize("packed", [False, True])
def test_conllu_is_known_by_name_or_contents(write, name, packed):
    content = ("\n" + ROWS).encode()
    source = write(gzip.compress(content) if packed else content, name + packed * ".gz")
    tagged = read_tagged(source, auxiliary_columns=["XPOS"])
    assert (tagged.format, tagged.column) == ("conllu", "UPOS")
    [sentence] = tagged.sentences
    assert sentence.labels == {"UPOS": ("VERB",), "XPOS": ("VB",)}
    assert sentence.location == f"{source}:3"
    assert list(write_tagged(tagged, [["NOUN"]])) == [ROWS.replace("VERB", "NOUN")]


def test_the_name_wins_over_the_contents(write):
    with pytest.raises(DataError, match="a.conllu:1: must have 10 columns, separated by tabs: got no tab in 'Ada NNP"):
        read_tagged(write(COLUMNS, "a.conllu"))


@pytest.mark.parametrize("content", [COLUMNS, "# a word that is a sign\n" + ROWS.replace("1\tRun", "one\tRun")])
def test_all_else_is_columns(write, content):
    if content == COLUMNS:
        tagged = read_tagged(write(content), auxiliary_columns=["2", 2])
        assert (tagged.format, tagged.column) == ("columns", "3")
        assert tagged.sentences[0].labels == {"3": ("B-PER", "O"), "2": ("NNP", "VBD")}
    else:
        with pytest.raises(DataError, match="data.txt:2: must have as many columns as line 1"):
            read_tagged(write(content))


def test_what_is_written_can_be_read(write):
    tagged = read_tagged(write(COLUMNS), 2)
    text = "".join(write_tagged(tagged, [["A", "B"], ["C"]]))
    assert text == "Ada A B-PER\nran B O\n\nRun C O\n\n"


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        ("Ada\nran\n", None, "Ada\tA\nran\tB\n\n"),
        ("Ada\nran\n", 2, "Ada\tA\nran\tB\n\n"),
        ("Ada X\nran Y\n", None, "Ada X A\nran Y B\n\n"),
        ("Ada X\nran Y\n", "2", "Ada A\nran B\n\n"),
    ],
)
def test_words_alone(write, content, column, expected):
    tagged = read_tagged(write(content), column, labels=False)
    assert tagged.sentences[0].labels == {}
    assert "".join(write_tagged(tagged, [["A", "B"]])) == expected


def test_words_alone_of_conllu_need_no_labels(write):
    tagged = read_tagged(write(ROWS.replace("VERB", "_"), "a.conllu"), labels=False)
    assert tagged.sentences[0].labels == {}
    assert "".join(write_tagged(tagged, [["VERB"]])) == ROWS


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.txt", "a.txt: must hold at least one line: got an empty file"),
        ("\n \n", "a.txt", "a.txt: must hold at least one sentence: got none"),
        ("-DOCSTART- O\n", "a.txt", "a.txt: must hold at least one sentence: got none"),
        ("# text\n\n", "a.conllu", "a.conllu: must hold at least one sentence: got none"),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_no_sentence(write, content, name, message, labels):
    with pytest.raises(DataError, match=message):
        read_tagged(write(content, name), labels=labels)


def test_columns_have_no_names(write):
    message = "data.txt: the columns of this format have no names, so one must be a number: got 'UPOS'"
    with pytest.raises(DataError, match=message):
        read_tagged(write(COLUMNS), "UPOS")
    with pytest.raises(DataError, match=message):
        read_tagged(write(COLUMNS), auxiliary_columns=["UPOS"])


def test_predictions_must_be_as_many(write):
    tagged = read_tagged(write(COLUMNS))
    with pytest.raises(ValueError, match="shorter"):
        list(write_tagged(tagged, [["A", "B"]]))
