import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.data.text import Characters, Subwords, load_tokenizer

TEXTS = ["the cat sat on the mat", "the rat ate the cat's oat", "naïve café, 東京"] * 5


@pytest.fixture(scope="module")
def subwords():
    return Subwords.fit(TEXTS, 280)


def test_characters_are_in_the_order_of_code_points():
    characters = Characters.fit("🙂ba\na")
    assert characters.alphabet == "\nab🙂"
    assert characters.size == 8
    assert characters.encode("🙂ab\n").tolist() == [7, 5, 6, 4]
    assert characters.encode("").tolist() == []
    assert characters.encode("ab").dtype == np.int64
    assert Characters.fit(["ba", "\n🙂", "a"]).alphabet == characters.alphabet


@pytest.mark.parametrize("stranger", ["c", "\0", "\U0010ffff", "é", "\ud800"])
def test_unknown_characters(stranger):
    characters = Characters.fit("ab🙂")
    assert characters.encode(f"a{stranger}b").tolist() == [4, characters.unknown, 5]
    assert characters.decode(characters.encode(f"a{stranger}b")) == "a\ufffdb"
    assert characters.tokenize(f"a{stranger}") == ["a", stranger]


def test_an_empty_alphabet():
    assert Characters("").encode("a").tolist() == [1]


@pytest.mark.parametrize("kind", ["characters", "subwords"])
def test_special_tokens_come_first_and_show_nothing(kind, subwords):
    tokenizer = subwords if kind == "subwords" else Characters.fit(TEXTS)
    assert (tokenizer.pad, tokenizer.unknown, tokenizer.mask, tokenizer.end) == (0, 1, 2, 3)
    ids = tokenizer.encode("the cat").tolist()
    assert min(ids) >= 4
    assert tokenizer.decode([0, *ids[:2], 2, *ids[2:], 3]) == "the cat"
    assert [batch.tolist() for batch in tokenizer.encode_batch(["the cat", ""])] == [ids, []]


@pytest.mark.parametrize("kind", ["characters", "subwords"])
@pytest.mark.parametrize("wrong", [-1, 10_000])
def test_there_is_no_such_token(kind, wrong, subwords):
    tokenizer = subwords if kind == "subwords" else Characters.fit(TEXTS)
    with pytest.raises(ValueError, match=f"`ids` must be tokens, 0 to {tokenizer.size - 1}: got .*{wrong}"):
        tokenizer.decode([5, wrong])


@given(st.text())
def test_characters_come_back(text):
    characters = load_tokenizer(Characters.fit(text).save())
    assert characters.decode(characters.encode(text)) == text
    assert "".join(characters.tokenize(text)) == text
    assert characters.size == 4 + len(set(text))


@settings(deadline=None)
@given(
    text=st.text() | st.lists(st.sampled_from(["[MASK]", "[END]", " ", "the", "é", "\n\n", "🙂", "\0"])).map("".join)
)
def test_subwords_come_back(subwords, text):
    ids = subwords.encode(text)
    assert subwords.decode(ids) == text
    assert len(subwords.tokenize(text)) == len(ids)
    assert (ids >= 4).all()


def test_subwords_are_learned(subwords):
    assert subwords.size == 280
    assert subwords.tokenize("the cat") == ["the", " cat"]
    assert subwords.tokenize("é") in (["é"], [r"\xc3", r"\xa9"])
    assert subwords.tokenize("ᚠ") == [r"\xe1", r"\x9a", r"\xa0"]
    assert Subwords.fit(["ab"], 300).size == 260  # nothing occurs twice


def test_subwords_are_the_same_each_time(subwords):
    assert Subwords.fit(iter(TEXTS), 280).save() == subwords.save()


def test_subwords_are_saved_as_the_library_saves_them(subwords):
    saved = subwords.save()
    assert saved == subwords.to_json()
    again = load_tokenizer(saved)
    assert isinstance(again, Subwords)
    assert again.encode("the [MASK] cat").tolist() == subwords.encode("the [MASK] cat").tolist()
    assert again.size == 280


def test_no_room_or_no_texts():
    with pytest.raises(ValueError, match="`size` must be at least 260: got 259"):
        Subwords.fit(TEXTS, 259)
    with pytest.raises(ValueError, match="`texts` must be several texts: got one"):
        Subwords.fit("the cat", 280)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`text` must be a saved tokenizer: got no JSON"),
        ("[" * 200_000, "`text` must be a saved tokenizer: got no JSON"),
        ("[1]", r"must be a saved tokenizer, a tokenizer.json or a 'heedful characters 1': got \[1\]"),
        ("{}", "got an object with nothing"),
        ('{"format": "heedful characters 2", "alphabet": "a"}', "got an object with 'format', 'alphabet'"),
        (
            '{"format": "heedful characters 1", "alphabet": [1]}',
            r"`alphabet` must be characters in their order: got '\[1\]'",
        ),
        (
            '{"format": "heedful characters 1", "alphabet": "ba"}',
            "`alphabet` must be characters in their order: got 'ba'",
        ),
        (
            '{"format": "heedful characters 1", "alphabet": "ab", "x": 1}',
            "got an object with 'format', 'alphabet', 'x'",
        ),
        ('{"model": 1}', "`version` of a tokenizer.json must be as training makes it, 1.0: got None"),
    ],
)
def test_what_cannot_be_loaded(text, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(text)


OTHERS = {
    "pre_tokenizer": {"type": "Whitespace"},
    "normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
    "post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
    "padding": {
        "strategy": {"Fixed": 10**12},
        "direction": "Right",
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    },
    "truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 5, "direction": "Right"},
    "added_tokens": [],
    "decoder": None,
    "something": 1,
    "model.dropout": 0.5,
    "model.unk_token": "[MASK]",
    "model.something": 1,
    "model.type": "WordLevel",
    "model.merges": [["t", "x"]],
    "model.merges, a word": ["t"],
    "model.merges, not a list": {"t": "h"},
    "model.vocab": {"[PAD]": 0},
    "model.vocab, not an object": [1],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_tokenizer_is_as_training_makes_it(subwords, name):
    saved = json.loads(subwords.save())
    *path, last = name.partition(",")[0].split(".")
    (saved[path[0]] if path else saved)[last] = OTHERS[name]
    with pytest.raises(ValueError, match=rf"^`{'.'.join([*path, last])}` of a tokenizer.json must .*[^\n]$"):
        load_tokenizer(json.dumps(saved))


@pytest.mark.parametrize("number", [-1, 280, 2**40, 1.0, "7", None, 5])
def test_tokens_are_numbered_from_0(subwords, number):
    saved = json.loads(subwords.save())
    saved["model"]["vocab"]["the"] = number
    with pytest.raises(ValueError, match="must number its tokens from 0, each once"):
        load_tokenizer(json.dumps(saved))


def test_a_setting_of_another_version_may_be_off(subwords):
    saved = json.loads(subwords.save())
    saved["model"]["new"], saved["model"]["dropout"] = False, None
    del saved["model"]["ignore_merges"]
    assert load_tokenizer(json.dumps(saved)).size == 280
