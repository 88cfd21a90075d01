import gzip
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text import Sentence, read_conllu, read_tagged, write_conllu

# A multiword token, an empty node, a word with a blank in it, a comment, features.
SPANISH = """\
# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tMood=Imp|Number=Plur|Person=1\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc|Number=Plur\t1\tobj\t_\t_
2.1\tya\tya\tADV\t_\t_\t_\t_\t1:advmod\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\tDefinite=Def|Number=Sing\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\tGender=Masc|Number=Sing\t1\tobl\t_\t_

1\t20 000\t20000\tNUM\t_\tNumForm=Digit\t0\troot\t_\t_
"""


def row(identity="1", form="a", upos="X", feats="_"):
    return f"{identity}\t{form}\t_\t{upos}\t_\t{feats}\t0\troot\t_\t_"


@pytest.fixture
def spanish(write):
    return write(SPANISH + "\n", "es.conllu")


def test_words_are_the_rows_with_whole_ids(spanish):
    first, second = read_conllu(spanish, ["UPOS", "lemma", "FEATS.Number", "Case", "DEPREL", "FEATS"])
    assert first.words == ("Vamos", "nos", "a", "el", "mar")
    assert first.labels["UPOS"] == ("VERB", "PRON", "ADP", "DET", "NOUN")
    assert first.labels["LEMMA"] == ("ir", "nosotros", "a", "el", "mar")
    assert first.labels["Number"] == ("Plur", "Plur", "_", "Sing", "Sing")
    assert first.labels["Case"] == ("_", "Acc", "_", "_", "_")
    assert first.labels["DEPREL"][-1] == "obl"
    assert first.labels["FEATS"][1] == "Case=Acc|Number=Plur"
    assert first.location == f"{spanish}:3"
    assert first.raw_lines[:2] == ("# sent_id = 1", "# text = Vámonos al mar")
    assert (second.words, second.location) == (("20 000",), f"{spanish}:12")


@pytest.mark.parametrize(
    "content",
    [
        SPANISH,
        SPANISH.rstrip("\n"),
        "\ufeff" + SPANISH.replace("\n", "\r\n"),
        "\n\n" + SPANISH.replace("\n\n", "\n \n\n") + "\n\n",
        gzip.compress(SPANISH.encode(), mtime=0),
    ],
)
def test_what_may_vary(write, spanish, content):
    def found(path):
        return [(s.words, s.labels, s.raw_lines) for s in read_conllu(path, ["UPOS", "Number"])]

    assert found(write(content, "other.conllu")) == found(spanish)


def test_empty_nodes_are_counted_after_each_word(write):
    rows = [row(identity) for identity in ("0.1", "1", "1.1", "1.2", "2", "2.1")]
    assert [s.words for s in read_conllu(write("\n".join(rows), "a.conllu"))] == [("a", "a")]


def test_comments_by_themselves_belong_to_the_next_sentence_or_the_last(write):
    source = write("# one file\n\n# text = a\n" + row() + "\n\n# end\n")
    [sentence] = read_conllu(source)
    assert sentence.raw_lines == ("# one file", "", "# text = a", row(), "", "# end")
    assert write_conllu(sentence, {}) == "# one file\n\n# text = a\n" + row() + "\n\n# end\n\n"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("1\ta\tb\n", 1, "must have 10 columns, separated by tabs: got 3"),
        ("# x\n1 a _ NOUN _ _ 0 root _ _\n", 2, "must have 10 columns, separated by tabs: got no tab in '1 a _ NOUN"),
        (row() + "\t_\n", 1, "must have 10 columns, separated by tabs: got 11"),
        (row(form=""), 1, "must have a word in column 2: got an empty column"),
        (row("2"), 1, "id must be 1, a multiword token 1-n or the empty node 0.1: got '2'"),
        (row("0"), 1, "id must be 1, .*: got '0'"),
        (row() + "\n" + row(), 2, "id must be 2, a multiword token 2-n or the empty node 1.1: got '1'"),
        (row() + "\n" + row("3"), 2, "id must be 2, .*: got '3'"),
        (row() + "\n" + row("1.2"), 2, "id must be 2, .*: got '1.2'"),
        (row("0.1") + "\n" + row("0.1"), 2, "id must be 1, a multiword token 1-n or the empty node 0.2: got '0.1'"),
        (row("1.1"), 1, "id must be 1, .*: got '1.1'"),
        (row("2-3"), 1, "id must be 1, .*: got '2-3'"),
        (row() + "\n" + row("2-1"), 2, "id must be 2, .*: got '2-1'"),
        (row("1-2") + "\n" + row() + "\n" + row("2-3"), 3, "id must be 2, .*: got '2-3'"),
        (row("x"), 1, "id must be 1, .*: got 'x'"),
        (row(""), 1, "id must be 1, .*: got ''"),
        (row("9" * 5000), 1, "id must be 1, .*: got '999"),
        (row("²"), 1, "id must be 1, .*: got '²'"),
        ("\n# c\n" + row("1-3") + "\n" + row(), 3, "a multiword token must end within its sentence of 1 words: got 3"),
        (row("1-2") + "\n\n", 1, "a sentence must have at least one word: got multiword tokens and empty nodes alone"),
        (row() + "\n" + row("2", upos=""), 1, "every word must have a UPOS or '_': got an empty column at word 2"),
    ],
)
def test_a_broken_line_is_named(write, content, line, message):
    source = write(content, "bad.conllu")
    with pytest.raises(DataError, match=f"^{re.escape(source)}:{line}: {message}"):
        list(read_conllu(source, ["UPOS"]))


@pytest.mark.parametrize("column", ["", "two words", "A=B", "a\tb", "FEATS."])
def test_what_cannot_be_a_column(spanish, column):
    with pytest.raises(DataError, match="the column must be LEMMA, UPOS, XPOS, FEATS, DEPREL or the name of a feature"):
        list(read_conllu(spanish, [column]))


def test_a_column_without_labels_names_those_with(spanish):
    message = (
        "es.conllu: column XPOS must hold labels: got '_' for all 6 words; labels stand in LEMMA, UPOS, FEATS, DEPREL "
        "and the features Case, Definite, Gender, Mood, Number, NumForm, Person$"
    )
    with pytest.raises(DataError, match=message):
        read_tagged(spanish, "XPOS")
    with pytest.raises(DataError, match="column XPOS must hold labels"):
        read_tagged(spanish, "UPOS", auxiliary_columns=["xpos"])


@pytest.mark.parametrize(("column", "near"), [("Numbr", "Number"), ("number", "Number"), ("UPOS2", "UPOS")])
def test_an_unknown_column_is_told_its_neighbor(spanish, column, near):
    with pytest.raises(
        DataError, match=f"must be one that holds labels, LEMMA, .*: got '{column}'; did you mean {near}"
    ):
        read_tagged(spanish, column)


def test_an_unknown_column_far_from_all(write):
    with pytest.raises(DataError, match="must be one that holds labels, UPOS, DEPREL: got 'Zzzz'$"):
        read_tagged(write(row(), "a.conllu"), "Zzzz")


def test_writing_gives_the_file_back(spanish):
    read = list(read_conllu(spanish, ["UPOS", "Number", "FEATS"]))
    assert "".join(write_conllu(sentence, {}) for sentence in read) == SPANISH + "\n"
    assert "".join(write_conllu(sentence, sentence.labels) for sentence in read) == SPANISH + "\n"


def test_writing_changes_one_column_only(spanish):
    first = next(read_conllu(spanish))
    expected = SPANISH[: SPANISH.index("\n\n") + 2]
    for old, new in [("VERB", "A"), ("PRON", "B"), ("ADP", "C"), ("DET", "D"), ("NOUN", "E")]:
        expected = expected.replace(f"\t{old}\t", f"\t{new}\t")
    assert write_conllu(first, {"upos": ["A", "B", "C", "D", "E"]}) == expected


@pytest.mark.parametrize(
    ("feats", "name", "value", "expected"),
    [
        ("_", "Number", "Sing", "Number=Sing"),
        ("Case=Nom", "Number", "Sing", "Case=Nom|Number=Sing"),
        ("Case=Nom|Person=1", "Number", "Sing", "Case=Nom|Number=Sing|Person=1"),
        ("NumType=Card", "Number", "Sing", "Number=Sing|NumType=Card"),  # case does not count: b comes before t
        ("Zz=1", "Number", "Sing", "Number=Sing|Zz=1"),
        ("Case=Nom|Number=Plur|Person=1", "Number", "Sing", "Case=Nom|Number=Sing|Person=1"),
        ("Case=Nom|Number=Plur", "Number", "_", "Case=Nom"),
        ("Number=Plur", "feats.Number", "_", "_"),
        ("Case=Nom", "Number", "_", "Case=Nom"),
        ("Number=Plur|Number[psor]=Sing", "Number[psor]", "Plur", "Number=Plur|Number[psor]=Plur"),
        ("Person=1|Case=Nom", "Case", "Nom", "Person=1|Case=Nom"),  # what was wrong before stays
    ],
)
def test_a_feature_gets_its_place(feats, name, value, expected):
    written = write_conllu(Sentence(("a",), raw_lines=(row(feats=feats),)), {name: [value]})
    assert written == row(feats=expected) + "\n\n"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["A"], "must have one label for each of 5 words: got 1 for 'UPOS'"),
        (["A", "B", "C", "D", ""], "must be words that the format can hold: got '' for 'UPOS'"),
        (["A", "B", "C", "D", "a\tb"], r"must be words that the format can hold: got 'a\\tb'"),
        (["A", "B", "C", "D", "a\nb"], r"must be words that the format can hold: got 'a\\nb'"),
    ],
)
def test_labels_that_cannot_be_written(spanish, labels, message):
    with pytest.raises(ValueError, match=message):
        write_conllu(next(read_conllu(spanish)), {"UPOS": labels})


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\t\r\n"), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_label_that_is_written_is_read_again(write, content):
    sentences = [
        Sentence(
            tuple(form for form, _, _ in rows),
            raw_lines=("# a", *(row(str(number), form, upos) for number, (form, upos, _) in enumerate(rows, 1))),
        )
        for rows in content
    ]
    new = [[label for _, _, label in rows] for rows in content]
    text = "".join(write_conllu(s, {"XPOS": labels}) for s, labels in zip(sentences, new, strict=True))
    again = list(read_conllu(write(text, "again.conllu"), ["UPOS", "XPOS"]))
    assert [s.words for s in again] == [s.words for s in sentences]
    assert [list(s.labels["XPOS"]) for s in again] == new
    assert [list(s.labels["UPOS"]) for s in again] == [[upos for _, upos, _ in rows] for rows in content]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*"\t\n\r#-.=|_ 123aé", "\n\n", "1\t", "2-3\t", "\xff", row(), row("1-1")])),
    st.binary(max_size=3),
)
def test_nothing_but_data_errors(write, assert_read_or_refused, pieces, tail):
    source = write("".join(pieces).encode() + tail, "noise.conllu")
    assert_read_or_refused(lambda: read_tagged(source, "Number", auxiliary_columns=["UPOS", "FEATS"]), source)
