import pytest
import torch

from heedful._errors import HeedfulError
from heedful.tasks.writer_of_texts import Manner, Written, shortened, words_of
from tests.tasks.test_text_to_text import parts

TEXTS = ("the cat sat on a hat", "la kato sidis")


@pytest.fixture
def writer():
    torch.manual_seed(0)
    return parts("model.copy_source=true", texts=TEXTS).writer(longest=5)


def test_a_line_of_what_was_written():
    one = Written("x", " two\twords\n", 0, -1.23456, True)
    assert (str(one), one.as_data()) == ("two words", "two words")
    assert Written("x", "1\u00a0000 \u3000 a\u2028b ", 0, 0.0, True).as_data() == "1\u00a0000 \u3000 a b"
    shown = Written("x", "two", 0, -1.23456, False, alignment=[(0, 0), (3, 1)], scored=True)
    assert str(shown) == "two [cut off]\t-1.2346\t0-0 3-1"
    assert shown.as_data() == "two"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["a", "b", " ", "c"], [0, 0, -1, 1]),
        (["the", " cat", "s", " sat"], [0, 1, 1, 2]),
        ([" ", "a", " ", " ", "b "], [-1, 0, -1, -1, 1]),
        (["a ", "b"], [0, 1]),
        ([], []),
    ],
)
def test_words_stand_between_blanks(pieces, words):
    assert words_of(pieces) == words


def test_a_source_is_read_as_words_between_single_blanks(writer):
    assert writer.encode("the\u2009\n  cat ") == writer.encode("the cat")


def test_a_long_text_is_named_by_its_beginning():
    assert shortened("a\n b") == "a b"
    assert shortened("x" * 50) == "x" * 39 + "…"


def test_a_blank_that_the_model_does_not_know_parts_words_too(writer):
    tokens = writer.encode("la kato")[:-1]
    places = {i for text in ("the cat", "the\tcat") for i, _ in writer.alignment(text, tokens)}
    assert places <= {0, 1}
    assert words_of(writer.read("the\tcat")[:-1]) == [0, 0, 0, -1, 1, 1, 1]


def test_alignment_is_where_most_was_looked_at(writer, monkeypatch):
    weights = torch.zeros(5, 8)
    weights[0, 5], weights[1, 1], weights[1, 5] = 1.0, 0.9, 0.3  # "la": 1.3 to the second word, 0.9 to the first
    weights[3, 0], weights[4, 7] = 1.0, 1.0
    monkeypatch.setattr(writer, "looked_at", lambda source, target: weights)
    assert writer.alignment("the cat", writer.encode("la k")[:-1]) == [(1, 0), (0, 1)]


def test_each_text_has_as_many_lines_as_were_asked_for(writer):
    found = writer.predict(["cat", "", "hat"], n_best=4, tokens=3)
    assert [(one.text, one.rank) for one in found] == [(text, rank) for text in ("cat", "", "hat") for rank in range(4)]
    assert [one.output for one in found[4:8]] == [""] * 4
    assert writer.predict([]) == []


def test_without_words_the_run_says_how(writer):
    writer.manner = Manner(beams=2, no_repeat=3)
    assert writer.changed({}) == Manner(beams=2, no_repeat=3)
    assert writer.changed({"n_best": 4}).beams == 4, "a search must keep what it is to give"
    assert writer.changed({"beams": 7, "n_best": 4}).beams == 7


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ({"beams": 0}, r"^`beams` must be positive: got 0\.$"),
        (
            {"samples": 2, "length_penalty": 1.0},
            r"^`length_penalty` must be left out where texts are drawn: got 1.0\.$",
        ),
        ({"top_k": 2}, r"^`top_k` must be left out where no texts are drawn \(`samples`\): got 2\.$"),
        ({"length_penalty": float("inf")}, r"^`length_penalty` must be a number from 0: got inf\.$"),
    ],
)
def test_impossible_manners(writer, manner, message):
    with pytest.raises(HeedfulError, match=message):
        writer.predict([], **manner)
