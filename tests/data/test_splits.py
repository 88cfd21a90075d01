import pytest

from heedful._errors import DataError
from heedful.data.splits import EveryTenth, LastTenth, ordinal


class Rows(list):
    """Examples that are their own numbers, or labels."""

    def select(self, rows):
        return Rows(self[row] for row in rows)


def own(rows):
    return list(rows)


def test_every_tenth_is_held_out_and_both_parts_keep_the_order():
    split = EveryTenth()(Rows(range(35)), "pair")
    assert split.validation == [9, 19, 29]
    assert split.training == [row for row in range(35) if row not in (9, 19, 29)]
    assert (split.held_out, split.test) == ("every tenth pair", None)


@pytest.mark.parametrize(
    ("count", "at_most", "held_out", "words"),
    [
        (20_500, 1000, 976, "every 21st pair"),
        (10_000, 1000, 1000, "every tenth pair"),
        (10_001, 1000, 909, "every 11th pair"),
        (50, 1000, 5, "every tenth pair"),
        (1012, 45, 44, "every 23rd pair"),
        (36, 3, 3, "every 12th pair"),
    ],
)
def test_of_many_fewer_than_a_tenth_are_held_out(count, at_most, held_out, words):
    split = EveryTenth(at_most=at_most)(Rows(range(count)), "pair")
    assert (len(split.training), len(split.validation), split.held_out) == (count - held_out, held_out, words)
    assert sorted(split.training + split.validation) == list(range(count))


def test_a_tenth_of_each_class_in_whatever_order_they_stand():
    rows = Rows([("b", 0)] * 5 + [("a", row) for row in range(20)] + [("b", row) for row in range(1, 16)])
    split = EveryTenth(lambda rows: [label for label, _ in rows])(rows, "text")
    assert split.validation == [("a", 9), ("a", 19), ("b", 5), ("b", 15)]
    assert split.held_out == "every tenth text of each class"
    assert len(split.training) == 36


def test_a_label_that_occurs_once_stays_in_the_training():
    once = Rows("a" * 9 + "b" + "a" * 9 + "c" + "a" * 10)
    assert EveryTenth(own)(once, "text").validation == ["a", "a"]
    split = EveryTenth(own)(Rows("a" * 19 + "b"), "text")
    assert (split.validation, split.held_out) == (
        ["a"],
        "every tenth text of each class but 1 without others of theirs",
    )


def test_labels_of_which_each_occurs_once():
    with pytest.raises(
        DataError, match="^its labels must occur more often than once, to hold texts out: got new ones in each tenth$"
    ):
        EveryTenth(own)(Rows("abcdefghijklmno"), "text")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (EveryTenth(), r"^must hold at least 10 pairs, to hold one out \(or give --train and --valid\): got 9$"),
        (EveryTenth(own), "^must hold at least 10 pairs, .*: got 9$"),
        (LastTenth(), r"^must have at least 10 pairs, to hold a tenth out \(or give --train and --valid\): got 9$"),
    ],
)
def test_too_few(split, message):
    with pytest.raises(DataError, match=message):
        split(Rows("aaaaaaaaa"), "pair")
    assert len(split(Rows("aaaaaaaaaa"), "pair").validation) == 1


def test_the_last_tenth():
    split = LastTenth()(Rows(range(39)), "character")
    assert (split.training, split.validation) == (list(range(36)), [36, 37, 38])
    assert (split.held_out, split.test) == ("the last tenth", None)


def test_numbers_as_ordinals():
    expected = {1: "first", 9: "ninth", 10: "tenth", 11: "11th", 13: "13th", 21: "21st", 32: "32nd", 43: "43rd", 54: "54th",
                101: "101st", 111: "111th", 112: "112th", 1013: "1013th", 1021: "1021st"}  # fmt: skip
    assert {number: ordinal(number) for number in expected} == expected
