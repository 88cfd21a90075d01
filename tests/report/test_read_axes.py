"""Plain tokens are enough: strings or ids become axes wherever they have the length of one."""

import json
import re

import numpy as np
import pytest
import torch

import heedful
from heedful.inspection import AttentionCall, Recording
from heedful.nn import TransformerEncoder
from heedful.ops import AttentionMatrix
from heedful.report import Picture, Positions, Text, attention_section

WORDS = ["the", "sky", "the"]
OTHER = ["a", "red", "sky"]


def recording(batch=1, queries=3, keys=3, kind="self"):
    torch.manual_seed(0)
    query, key = (torch.randn(batch, 2, n, 5) for n in (queries, keys))
    return Recording([AttentionCall("layers.0", kind, AttentionMatrix(query, key), "eager")])


def shown(section, layer=0):
    """The tokens along the queries and along the keys."""
    rows, columns = (section.axes[i] for i in (section.layers[layer].rows, section.layers[layer].columns))
    return [list(axis.tokens) if isinstance(axis, Text) else axis for axis in (rows, columns)]


@pytest.mark.parametrize(
    "tokens",
    [WORDS, tuple(WORDS), [WORDS], np.array(WORDS), Text(WORDS), Text(np.array(WORDS)), [Text(WORDS)]],
    ids=["list", "tuple", "batch of 1", "array", "axis", "axis of an array", "list of an axis"],
)
@pytest.mark.parametrize("name", ["tokens", "axes"])
def test_strings_stand_along_both_axes(name, tokens):
    section = recording().section(**{name: tokens})
    assert shown(section) == [WORDS, WORDS]
    assert len(section.axes) == 1


@pytest.mark.parametrize(
    "tokens",
    [[7, 8, 7], [[7, 8, 7]], torch.tensor([7, 8, 7]), torch.tensor([[7, 8, 7]]), np.array([7, 8, 7], np.uint16)],
)
@pytest.mark.parametrize("name", ["tokens", "axes"])
def test_ids_stand_along_both_axes_as_numbers(name, tokens):
    assert shown(recording().section(**{name: tokens})) == [["7", "8", "7"]] * 2


@pytest.mark.parametrize("name", ["tokens", "axes"])
@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        ([WORDS, OTHER], [WORDS, OTHER]),
        (torch.tensor([[1, 2, 3], [4, 5, 6]]), [["1", "2", "3"], ["4", "5", "6"]]),
        ([[1, 2, 3], [4, 5, 6]], [["1", "2", "3"], ["4", "5", "6"]]),
    ],
)
def test_of_a_batch_the_tokens_of_the_sample_are_taken(name, batch, rows):
    for sample, row in enumerate(rows):
        given = batch if name == "tokens" else [batch]
        assert shown(recording(batch=2).section(**{name: given}, sample=sample)) == [row, row]


def test_texts_of_a_batch_may_be_of_several_lengths():
    assert shown(recording(batch=2).section(tokens=[WORDS, ["a"]], sample=0)) == [WORDS, WORDS]


def test_two_axes_and_two_texts():
    section = recording(queries=2, keys=3, kind="cross").section(axes=[WORDS, ["un", "deux"]])
    assert shown(section) == [["un", "deux"], WORDS]
    section = recording(queries=2, keys=3, kind="cross").section(tokens=WORDS)
    assert shown(section)[1] == WORDS
    assert isinstance(shown(section)[0], Positions)


def test_axes_are_shown_before_tokens():
    picture = Picture(np.zeros((3, 3), np.uint8), (1, 3))
    section = recording().section(axes=picture, tokens=[7, 8, 7])
    assert section.axes == [picture]


def test_padding_is_none_of_the_text():
    [axis] = recording().section(tokens=[7, 8, -1]).axes
    assert list(axis.special) == [2]


def test_equal_strings_tell_the_kinds_of_heads_as_equal_ids_do():
    by_words, by_ids = (recording().section(tokens=tokens).layers[0] for tokens in (WORDS, [7, 8, 7]))
    assert by_words.numbers == by_ids.numbers
    assert not np.isnan(by_words.numbers["same"]).any()
    marked = recording().section(tokens=WORDS, separators=["sky"]).layers[0].numbers["separator"]
    assert marked == recording().section(tokens=[7, 8, 7], separators=[8]).layers[0].numbers["separator"]
    assert not np.isnan(marked).any()
    by_words, by_ids = (recording().heads(tokens) for tokens in (WORDS, torch.tensor([7, 8, 7])))
    assert [head.scores for head in by_words] == [head.scores for head in by_ids]


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        (
            {"tokens": WORDS[:2]},
            ValueError,
            "`tokens` must have as many positions as the queries or keys of a call, 3: got 2.",
        ),
        ({"tokens": Text(["a"])}, ValueError, "`tokens` must have as many positions as .*, 3: got 1."),
        ({"axes": [WORDS, ["a"]]}, ValueError, r"`axes\[1\]` must have as many positions as .*, 3: got 1."),
        ({"axes": [Positions(4)]}, ValueError, r"`axes\[0\]` must have as many positions as .*, 3: got 4."),
        ({"axes": WORDS[:2]}, ValueError, "`axes` must have as many positions as .*, 3: got 2."),
        ({"tokens": ["a", None, "b"]}, TypeError, r"`tokens\[1\]` must be a string or an integer id: got None."),
        ({"tokens": ["a", 1, "b"]}, TypeError, r"`tokens\[1\]` must be a string, as those before it: got 1."),
        (
            {"tokens": [[["a", "b", "c"]]]},
            ValueError,
            r"`tokens\[0\]\[0\]` must be .*, lists may be nested once: got a list.",
        ),
        ({"axes": [[[["a"]]]]}, ValueError, r"`axes\[0\]\[0\]\[0\]` must be .*, lists may be nested once: got a list."),
        ({"axes": [Text(WORDS), None]}, TypeError, r"`axes\[1\]` must be strings or integer ids, .*: got None."),
        (
            {"axes": "the sky"},
            TypeError,
            "`axes` must be strings .*: got a text, 'the sky', which a tokenizer splits into tokens.",
        ),
        (
            {"axes": b"sky"},
            TypeError,
            "`axes` must be strings .*: got a text, b'sky', which a tokenizer splits into tokens.",
        ),
        ({"axes": [Positions(names=["a"])]}, ValueError, r"`axes\[0\]` must have as many positions as .*, 3: got 1."),
        ({"axes": None}, TypeError, "`axes` must be a list of axes or of tokens: got None."),
        (
            {"tokens": "sky"},
            TypeError,
            "`tokens` must be strings .*: got a text, 'sky', which a tokenizer splits into tokens.",
        ),
        (
            {"tokens": [WORDS, WORDS]},
            ValueError,
            "`tokens` must be one list of tokens, or one for each of a batch of 1: got 2.",
        ),
        ({"axes": [[WORDS, WORDS]]}, ValueError, r"`axes\[0\]` must be one list of tokens, or one for .* 1: got 2."),
        ({"tokens": torch.zeros(3)}, TypeError, "`tokens` must be strings or integer ids, .*: got torch.float32."),
        ({"tokens": WORDS, "separators": [1]}, TypeError, "`separators` must be of the type of `tokens`: got 1."),
    ],
)
def test_anything_else_is_one_error_that_says_where(argument, error, message, tmp_path):
    for refused in (
        lambda: recording().report(tmp_path / "report.html", **argument),
        lambda: recording().section(**argument),
        lambda: attention_section(recording(), title="A model", **argument),
    ):
        with pytest.raises(error, match=f"^{message}$"):
            refused()
    assert list(tmp_path.iterdir()) == []


def test_the_documented_call(tmp_path):
    model = TransformerEncoder(width=8, heads=2, layers=3)
    with torch.no_grad(), heedful.watch(model) as seen:
        model(torch.zeros(1, 3, 8))
    seen.report(tmp_path / "report.html", tokens=["the", "sky", "</script>"])
    page = (tmp_path / "report.html").read_text()
    payload = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    [section] = payload["sections"]
    assert section["axes"] == [
        {
            "kind": "text",
            "name": "text",
            "tokens": ["the", "sky", "</script>"],
            "words": None,
            "special": [],
            "pictures": [],
            "cuts": [],
        }
    ]
    assert {(layer["rows"], layer["columns"]) for layer in section["layers"]} == {(0, 0)}
