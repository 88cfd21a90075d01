import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text import Sentence, read_columns, read_tagged, write_columns

NEWS = """\
-DOCSTART- -X- -X- O

Ada NNP I-NP B-PER
Lovelace NNP I-NP I-PER
wrote VBD I-VP O

-DOCSTART- -X-

London NNP I-NP B-LOC
"""


def test_the_last_column_is_the_label(write):
    source = write(NEWS)
    first, second = read_columns(source)
    assert first.words == ("Ada", "Lovelace", "wrote")
    assert first.labels == {"4": ("B-PER", "I-PER", "O")}
    assert (first.location, second.location) == (f"{source}:3", f"{source}:9")
    assert second.words == ("London",)


def test_other_columns_by_their_number(write):
    first, _ = read_columns(write(NEWS), [2, None])
    assert first.labels == {"2": ("NNP", "NNP", "VBD"), "4": ("B-PER", "I-PER", "O")}


@pytest.mark.parametrize(
    "content",
    [
        "New York\tLOC\nis\tO\n\nx\tO\n",
        "\ufeffNew York\tLOC\r\nis\tO\r\n\r\n \r\nx\tO",
        "\n\nNew York \tLOC\nis\tO\n\t\n\nx\tO\n\n",
    ],
)
def test_where_there_is_a_tab_blanks_do_not_separate(write, content):
    found = list(read_columns(write(content)))
    assert [(s.words, s.labels["2"]) for s in found] == [(("New York", "is"), ("LOC", "O")), (("x",), ("O",))]


def test_a_no_break_space_is_a_word(write):
    [sentence] = read_columns(write("\u00a0 O\na\u00a0b   O\n"))
    assert sentence.words == ("\u00a0", "a\u00a0b")


@pytest.mark.parametrize(
    ("content", "column", "line", "message"),
    [
        ("a O\nb X O\n", None, 2, "must have as many columns as line 1, 2: got 3 in 'b X O'"),
        ("\na O\n\nb\n", None, 4, "must have as many columns as line 2, 2: got 1 in 'b'"),
        ("a\nb\n", None, 1, "must have a label beside each word, separated by a tab or blanks: got 1 column"),
        ("a O\n", 3, 1, "the column of labels must be from 2 to 2, those of the file: got 3"),
        ("a O\n", 1, 1, "the column of labels must be from 2 to 2, those of the file: got 1"),
        ("a\tO\nb\t\n", None, 2, r"must have something in every column: got 'b\\t'"),
        ("a\tO\n\tO\n", None, 2, r"must have something in every column: got '\\tO'"),
    ],
)
def test_a_broken_line_is_named(write, content, column, line, message):
    source = write(content)
    with pytest.raises(DataError, match=f"^{re.escape(source)}:{line}: {message}"):
        list(read_columns(source, [column]))


def test_words_alone(write):
    [sentence] = read_columns(write("Ada\nwrote\n"), ())
    assert (sentence.words, sentence.labels) == (("Ada", "wrote"), {})
    assert write_columns(sentence, ["N", "V"]) == "Ada\tN\nwrote\tV\n\n"
    assert write_columns(sentence, ["N", "V"], 2) == "Ada\tN\nwrote\tV\n\n"


def test_writing_changes_one_column_only(write):
    found = list(read_columns(write(NEWS)))
    same = "".join(write_columns(s, s.labels["4"], 4) for s in found)
    assert same == NEWS + "\n"
    assert write_columns(found[0], ["A", "B", "C"], 2).splitlines()[2:5] == [
        "Ada A I-NP B-PER",
        "Lovelace B I-NP I-PER",
        "wrote C I-VP O",
    ]
    assert write_columns(found[0], ["A", "B", "C"]).splitlines()[2] == "Ada NNP I-NP B-PER A"
    assert write_columns(Sentence(("a b",), raw_lines=("a b\tX\tY",)), ["Z Z"], 2) == "a b\tZ Z\tY\n\n"


def test_labels_with_blanks_need_tabs():
    sentence = Sentence(("a", "b"), raw_lines=("a  X Y", "b X Y"))
    assert write_columns(sentence, ["P Q", "R"], 2) == "a\tP Q\tY\nb\tR\tY\n\n"


@pytest.mark.parametrize(
    ("labels", "column", "message"),
    [
        (["A"], 2, "must have one label for each of 2 words: got 1"),
        (["A", "a\tb"], 2, r"must be words that the format can hold: got 'a\\tb'"),
        (["A", ""], 2, "must be words that the format can hold: got ''"),
        (["A", "B"], 4, "`column` must be a column of labels, 2 to 3: got 4"),
        (["A", "B"], 1, "`column` must be a column of labels, 2 to 3: got 1"),
    ],
)
def test_labels_that_cannot_be_written(labels, column, message):
    with pytest.raises(ValueError, match=message):
        write_columns(Sentence(("a", "b"), raw_lines=("a O", "b O")), labels, column)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\t\r\n "), min_size=1, max_size=5).filter(
    lambda cell: cell != "-DOCSTART-"
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["\t", " ", "   "]),
)
def test_every_label_that_is_written_is_read_again(write, content, separator):
    sentences = [
        Sentence(tuple(word for word, _, _ in rows), raw_lines=tuple(separator.join(row[:2]) for row in rows))
        for rows in content
    ]
    text = "".join(write_columns(s, [new for _, _, new in rows], 3) for s, rows in zip(sentences, content, strict=True))
    source = write("id O O\n\n" + text)
    again = list(read_columns(source, [2, 3]))[1:]
    assert [s.words for s in again] == [s.words for s in sentences]
    assert [list(zip(s.labels["2"], s.labels["3"], strict=True)) for s in again] == [
        [(old, new) for _, old, new in rows] for rows in content
    ]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([*"\t\n ab", "a O\n", "\n\n"])).map(lambda x: "".join(x).encode())
)
def test_nothing_but_data_errors(write, assert_read_or_refused, content):
    source = write(content)
    assert_read_or_refused(lambda: read_tagged(source), source)
