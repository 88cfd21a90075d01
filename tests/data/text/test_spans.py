import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data.text import LabeledSpan, find_spans, is_bio, score_spans


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-a I-a O B-b", [(0, 2, "a"), (3, 4, "b")]),
        ("B-a B-a I-a", [(0, 1, "a"), (1, 3, "a")]),
        ("B-a I-b", [(0, 1, "a"), (1, 2, "b")]),  # wrong in IOB2: another kind begins another span
        ("O I-a I-a B-a O", [(1, 3, "a"), (3, 4, "a")]),  # IOB1
        ("I-a I-b I-b", [(0, 1, "a"), (1, 3, "b")]),
        ("S-a B-a I-a E-a S-b", [(0, 1, "a"), (1, 4, "a"), (4, 5, "b")]),  # IOBES
        ("B-a S-a I-b U-b", [(0, 1, "a"), (1, 2, "a"), (2, 3, "b"), (3, 4, "b")]),
        ("U-a B-a L-a U-a", [(0, 1, "a"), (1, 3, "a"), (3, 4, "a")]),  # BILOU
        ("S-a I-a", [(0, 1, "a"), (1, 2, "a")]),
        ("E-a E-a O E-a I-a", [(0, 1, "a"), (1, 2, "a"), (3, 4, "a"), (4, 5, "a")]),
        ("B-a-b I-a-b I-a", [(0, 2, "a-b"), (2, 3, "a")]),
    ],
)
def test_spans(labels, expected):
    assert find_spans(labels.split()) == [LabeledSpan(*span) for span in expected]


@pytest.mark.parametrize("label", ["NOUN", "b-x", "X-y", "B-", "B", "", "o"])
def test_what_is_no_label_of_spans(label):
    assert not is_bio({"O", "B-a", label})
    with pytest.raises(ValueError, match=f"`labels` must be O or begin with B-, I-, E- or S-: got '{label}' at 1"):
        find_spans(["O", label])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"O", "B-a", "I-a"}, True),
        ({"I-a"}, True),
        (["B-a", "I-b", "O", "E-a", "S-c"], True),
        ({"O"}, False),
        (set(), False),
    ],
)
def test_is_bio(labels, expected):
    assert is_bio(labels) is expected


def test_scores_are_those_of_all_sentences_together():
    true = [["B-a", "I-a", "O", "B-b"], ["B-b", "O"], ["O", "O", "B-b"]]
    predicted = [["B-a", "I-a", "O", "B-b"], ["I-b", "I-b"], ["O", "B-c", "O"]]
    scores = score_spans(true, predicted)
    # True: a, b, b, b. Predicted: a, b, b (too long), c. Right: a and the first b.
    assert scores.overall == (0.5, 0.5, 0.5, 4, 4, 2)
    assert list(scores.by_label) == ["a", "b", "c"]
    assert scores.by_label["a"] == (1.0, 1.0, 1.0, 1, 1, 1)
    assert scores.by_label["b"] == (0.5, 1 / 3, pytest.approx(0.4), 3, 2, 1)
    assert scores.by_label["c"] == (0.0, 0.0, 0.0, 0, 1, 0)


def test_the_same_words_with_another_kind_are_not_right():
    assert score_spans([["B-a"]], [["B-b"]]).overall.correct == 0


def test_nothing_to_find():
    assert score_spans([["O"]], [["O"]]) == ((0.0, 0.0, 0.0, 0, 0, 0), {})


def test_sentences_must_fit_each_other():
    with pytest.raises(ValueError, match="`predicted` must have as many labels as `true`: got 1 and 2"):
        score_spans([["O", "O"]], [["O"]])
    with pytest.raises(ValueError, match="shorter"):
        score_spans([["O"], ["O"]], [["O"]])


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", None])), max_size=8), st.booleans())
def test_what_spans_are_written_as_is_read_again(parts, ends):
    labels, expected = [], []
    for length, label in parts:
        if label is None:
            labels += ["O"] * length
            continue
        expected.append(LabeledSpan(len(labels), len(labels) + length, label))
        inside = ["S"] if length == 1 else ["B", *"I" * (length - 2), "E"]
        labels += [f"{letter}-{label}" for letter in (inside if ends else ["B", *"I" * (length - 1)])]
    assert find_spans(labels) == expected
