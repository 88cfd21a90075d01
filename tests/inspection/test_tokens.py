"""Tokens as people give them: strings or ids, flat or of a batch; anything else is one error that says where."""

import numpy as np
import pytest
import torch

from heedful.inspection.tokens import separator_ids, token_ids, token_rows

WORDS = ["the", "sky", "the"]
IDS = [5, 7, 5]


@pytest.mark.parametrize(
    ("value", "rows", "batched"),
    [
        (WORDS, [WORDS], False),
        (tuple(WORDS), [WORDS], False),
        (np.array(WORDS), [WORDS], False),
        ([WORDS], [WORDS], True),
        ([WORDS, ["a", "b"]], [WORDS, ["a", "b"]], True),
        (IDS, [IDS], False),
        ([np.int64(5), 7, np.int32(5)], [IDS], False),
        ([torch.tensor(5), 7, torch.tensor(5)], [IDS], False),
        (torch.tensor(IDS), [IDS], False),
        (torch.tensor([IDS, IDS]), [IDS, IDS], True),
        (torch.tensor([[IDS, IDS]]), [IDS, IDS], True),
        (np.array([IDS], np.int32), [IDS], True),
        ([torch.tensor(IDS)], [IDS], True),
        ([IDS, torch.tensor([1])], [IDS, [1]], True),
        ([-1, 0], [[-1, 0]], False),
    ],
)
def test_strings_and_ids_flat_or_of_a_batch(value, rows, batched):
    read = token_rows("tokens", value)
    assert ([list(row) for row in read.rows], read.batched) == (rows, batched)
    assert {type(token) for row in read.rows for token in row} == {type(rows[0][0])}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("the sky", TypeError, "`axes.1.` must be strings or integer ids, .*: got a text, 'the sky'"),
        (b"the", TypeError, "`axes.1.` must be strings or integer ids, .*: got a text, b'the'"),
        (None, TypeError, "`axes.1.` must be strings or integer ids, .*: got None."),
        (7, TypeError, "`axes.1.` must be strings or integer ids, .*: got 7."),
        ({"the": 1}, TypeError, "`axes.1.` must be strings or integer ids, .*: got {'the': 1}."),
        (torch.tensor(7), TypeError, "`axes.1.` must be strings or integer ids"),
        ([], ValueError, "`axes.1.` must hold at least one token: got none."),
        ([[]], ValueError, "`axes.1..0.` must hold at least one token: got none."),
        ([["a"], []], ValueError, "`axes.1..1.` must hold at least one token: got none."),
        (torch.zeros(0, dtype=torch.long), ValueError, "`axes.1.` must hold at least one token: got shape .0.."),
        (torch.zeros(3), TypeError, "`axes.1.` must be strings or integer ids, .*: got torch.float32."),
        (torch.zeros(3) > 0, TypeError, "`axes.1.` must be .*: got torch.bool."),
        (np.zeros(3), TypeError, "`axes.1.` must be .*: got float64."),
        (["a", None], TypeError, "`axes.1..1.` must be a string or an integer id: got None."),
        ([None, "a"], TypeError, "`axes.1..0.` must be a string or an integer id: got None."),
        (["a", 1], TypeError, "`axes.1..1.` must be a string, as those before it: got 1."),
        ([1, "a"], TypeError, "`axes.1..1.` must be an integer id, as those before it: got 'a'."),
        ([1, True], TypeError, "`axes.1..1.` must be a string or an integer id: got True."),
        ([1, 1.0], TypeError, "`axes.1..1.` must be a string or an integer id: got 1.0."),
        ([1, torch.tensor(1.0)], TypeError, "`axes.1..1.` must be a string or an integer id: got tensor"),
        ([["a"], [1]], TypeError, "`axes.1..1.` must hold tokens of the type of those before it: got 1."),
        ([["a"], "b"], TypeError, "`axes.1..1.` must be a list, as the first one is: got 'b'."),
        (["a", ["b"]], ValueError, "`axes.1..1.` must be .*, lists may be nested once: got a list."),
        ([[["a"]]], ValueError, "`axes.1..0..0.` must be .*, lists may be nested once: got a list."),
        ([[1, [2]]], ValueError, "`axes.1..0..1.` must be .*, lists may be nested once: got a list."),
        ([torch.tensor([[1]])], ValueError, "`axes.1..0.` must be .*: got shape .1, 1.."),
        ([["a", None]], TypeError, "`axes.1..0..1.` must be a string or an integer id: got None."),
    ],
)
def test_anything_else_is_one_error_that_says_where(value, error, message):
    with pytest.raises(error, match=f"^{message}"):
        token_rows("axes[1]", value)


def test_equal_strings_get_equal_ids():
    ids, separators = token_ids(["a", "b", "a", "c"], ["c", "nowhere"])
    assert ids.tolist() == [0, 1, 0, 2]
    assert separators == [2]
    ids, separators = token_ids([["a", "b"], ["b", "a"]])
    assert ids.tolist() == [[0, 1], [1, 0]]
    assert separators is None


def test_ids_stay_as_they_are():
    tensor = torch.tensor([[7, -1]], dtype=torch.int32)
    assert token_ids(tensor)[0] is tensor
    assert token_ids([7, -1], [7])[0].tolist() == [7, -1]
    assert token_ids([7, -1], [7])[1] == [7]


def test_samples_of_a_tensor_are_equally_long():
    with pytest.raises(ValueError, match="`tokens` must be equally long for all samples: got 2, 1."):
        token_ids([["a", "b"], ["c"]])


@pytest.mark.parametrize(("separators", "vocabulary"), [([0], {"a": 0}), (["a"], None), ("a", None)])
def test_separators_are_of_the_type_of_the_tokens(separators, vocabulary):
    with pytest.raises(TypeError, match="`separators` must be of the type of `tokens`: got "):
        separator_ids(separators, vocabulary)
    assert separator_ids([], vocabulary) == []
