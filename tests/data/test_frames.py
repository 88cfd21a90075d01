import numpy as np
import polars
import pytest
import torch

from heedful._errors import DataError
from heedful.data import from_frame

TEXTS, LABELS = ["fine", "awful", "so so"], ["good", "bad", "bad"]
ROWS = [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))]


def pandas_frame():
    """A frame whose index says another order than that of its rows."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"text": TEXTS, "id": [0, 1, 2], "label": LABELS}, index=[7, 0, 3])


def polars_frame():
    return polars.DataFrame({"text": TEXTS, "id": [0, 1, 2], "label": LABELS})


def data_set():
    return pytest.importorskip("datasets").Dataset.from_list(ROWS)


def iterable_data_set():
    return data_set().to_iterable_dataset()


class Column:
    """A column of a library that nobody has heard of."""

    def __iter__(self):
        return iter(TEXTS)


@pytest.mark.parametrize(
    "make",
    [
        pandas_frame,
        polars_frame,
        data_set,
        iterable_data_set,
        lambda: {"text": TEXTS, "label": LABELS, "other": [None]},
        lambda: {"text": Column(), "label": np.array(LABELS)},
        lambda: (TEXTS, LABELS),
        lambda: [np.array(TEXTS), tuple(LABELS)],
        lambda: (pandas_frame()["text"], pandas_frame()["label"].sort_index().loc[[7, 0, 3]]),
        lambda: ROWS,
        lambda: iter(ROWS),
    ],
    ids=[
        "pandas",
        "polars",
        "data set",
        "iterable",
        "dict",
        "mixed dict",
        "tuple",
        "list",
        "series",
        "rows",
        "iterator",
    ],
)
def test_every_kind_of_table_gives_its_columns_by_position(make):
    frame = from_frame(make(), ["text", "label"])
    assert frame.values == (TEXTS, LABELS)
    assert frame.locations == ["row 0", "row 1", "row 2"]
    assert all(type(value) is str for column in frame.values for value in column)


def test_rows_of_a_sorted_frame_are_taken_as_they_stand():
    shuffled = pandas_frame().sort_values("label")
    assert from_frame(shuffled, ["label"]).values == (["bad", "bad", "good"],)


def test_numbers_and_truth_values_become_text_as_readers_write_them():
    column = [1, 2.5, True, np.int64(3), np.bool_(False), np.float32(0.5), np.str_("x")]
    assert from_frame({"a": column}, ["a"]).values == (["1", "2.5", "true", "3", "false", "0.5", "x"],)


def test_labels_that_have_names_become_them():
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features({
        "text": datasets.Value("string"), "label": names, "tags": datasets.Sequence(names),
    })  # fmt: skip
    data = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 0], "tags": [[1], [0, 1], []]}, features=features)
    frame = from_frame(data, {"label": "text", "tags": "texts"})
    assert frame.values == (LABELS, [["good"], ["bad", "good"], []])


def test_lists_and_anything():
    images = torch.zeros(2, 1, 3, 5)
    frame = from_frame({"words": [["a", "b"], np.array(["c"])], "image": images}, {"words": "texts", "image": "any"})
    assert frame.values[0] == [["a", "b"], ["c"]]
    assert [image.shape for image in frame.values[1]] == [(1, 3, 5)] * 2


class Missing:
    """As pandas says that there is no value; it cannot be asked whether it equals anything."""

    def __ne__(self, other):
        raise TypeError


Missing.__name__ = "NAType"


@pytest.mark.parametrize(
    ("data", "columns", "message"),
    [
        ({"text": ["a", None]}, ["text"], "row 1: 'text' must have a value: got nothing"),
        ({"text": ["a", float("nan")]}, ["text"], "row 1: 'text' must have a value: got NaN"),
        ({"text": ["a", Missing()]}, ["text"], "row 1: 'text' must have a value: got nothing"),
        (
            {"text": [b"a"]},
            ["text"],
            "row 0: 'text' must be a text, a number, true or false: got a value of type bytes",
        ),
        ({"text": ["\ud800"]}, ["text"], r"row 0: 'text' must be text: got half a character, '\\ud800'"),
        ({"words": ["a b"]}, {"words": "texts"}, "row 0: 'words' must be a list of texts: got a value of type str"),
        (
            {"words": [["a", None]]},
            {"words": "texts"},
            "row 0: 'words' must be a text, a number, true or false: got nothing",
        ),
        ({"texts": ["a"]}, ["text"], "data must have a column 'text': got 'texts'; did you mean 'texts'\\?"),
        ({}, ["text"], "data must have a column 'text': got none"),
        ({"a": ["x"], "b": ["y", "z"]}, ["a", "b"], "column 'b' must have as many rows as 'a', 1: got 2"),
        ({"a": "xyz"}, ["a"], "column 'a' must be a list: got a value of type str"),
        ([{"a": "x"}, {"b": "y"}], ["a"], "row 1: must have 'a': got 'b'"),
        (
            [["x"]],
            ["a", "b"],
            "data must be 2 columns, 'a', 'b', or rows that are mappings: got 1 items, the first of ",
        ),
        ("text", ["a"], "data must be a data frame, a mapping of columns, .*: got a value of type str"),
        (5, ["a"], "data must be a data frame, a mapping of columns, .*: got a value of type int"),
    ],
)
def test_what_is_refused(data, columns, message):
    with pytest.raises(DataError, match="^" + message):
        from_frame(data, columns)


def test_columns_of_one_name_and_splits_are_refused():
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    twice = pandas.DataFrame([["a", "b"]], columns=["text", "text"])
    with pytest.raises(DataError, match="^data must have one column 'text': got 2$"):
        from_frame(twice, ["text"])
    splits = datasets.DatasetDict({"train": data_set(), "test": data_set()})
    with pytest.raises(
        DataError, match="^data must have a column 'text': got 'train', 'test'; these are splits: give one"
    ):
        from_frame(splits, ["text"])
    with pytest.raises(DataError, match="^row 1: 'text' must have a value: got "):
        from_frame(pandas.DataFrame({"text": pandas.array(["a", None], dtype="string")}), ["text"])


def test_no_rows_are_no_error():
    assert from_frame({"text": []}, ["text"]) == (([],), [])
