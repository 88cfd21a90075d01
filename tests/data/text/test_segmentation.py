import copy
import json
import random
from itertools import permutations

import pytest

from heedful.data.text.segmentation import Segmenter, is_tokenized, raw_texts, sentences_of
from heedful.data.text.sentences import Sentence

SHOWN = ["Well, I don't.", "(the cats) aren't here...", "See http://a.org/b, Bo!"]
WORDS = ["Well , I do n't .", "( the cats ) are n't here ...", "See http://a.org/b , Bo !"]


def sentence(text, tokens, *, comment=True):
    """Of CoNLL-U: tokens are words, or (form, words) of a contraction."""
    lines, words, at = [f"# text = {text}"] if comment else [], [], 0
    for token in tokens:
        form, inner = (token, [token]) if isinstance(token, str) else token
        at = text.index(form, at) + len(form)
        misc = "_" if text[at : at + 1] in ("", " ") or comment else "SpaceAfter=No"
        if len(inner) > 1:
            lines.append(f"{len(words) + 1}-{len(words) + len(inner)}\t{form}" + "\t_" * 7 + f"\t{misc}")
        for word in inner:
            words.append(word)
            lines.append(f"{len(words)}\t{word}" + "\t_" * 7 + f"\t{misc if len(inner) == 1 else '_'}")
    return Sentence(tuple(words), raw_lines=tuple(lines), format="conllu")


def treebank(count, seed):
    """Sentences of words that end in nothing, in signs, or in n't; some are addresses."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        tokens, text = [], ""
        for _ in range(draw.randrange(2, 7)):
            stem = "".join(draw.choices("abdegiklmnorstu", k=draw.randrange(2, 7)))
            kind = draw.randrange(6)
            parts = {0: [stem, "n't"], 1: [stem, ","], 2: [f"http://{stem}.org/{stem}"], 3: ["(", stem, ")"]}.get(
                kind, [stem]
            )
            tokens += parts
            text += " " + "".join(parts)
        end = draw.choice([".", "...", "!"])
        found.append(sentence((text + end).strip(), [*tokens, end]))
    return found


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.fit(treebank(400, seed=1))


def test_raw_texts_are_cut_as_the_treebank_was(segmenter):
    assert segmenter.split(SHOWN) == [tuple(text.split()) for text in WORDS]
    others = treebank(100, seed=2)
    found = segmenter.split([text.text for text in raw_texts(others)])
    assert sum(words == one.words for words, one in zip(found, others, strict=True)) >= 97
    assert segmenter.split(["I don’t हिन्दी नमस्ते"]) == [("I", "do", "n’t", "हिन्दी", "नमस्ते")]
    assert segmenter.split(["", "  ", "a"]) == [(), (), ("a",)]


def test_a_text_is_cut_the_same_in_any_company_and_learning_repeats_itself(segmenter):
    assert segmenter.split(SHOWN * 2) == [segmenter.split([text])[0] for text in SHOWN * 2]
    assert segmenter == Segmenter.fit(treebank(400, seed=1)) == Segmenter.load(json.loads(json.dumps(segmenter.save())))


def test_the_text_stands_in_a_comment_or_in_what_has_no_space_after_it():
    tokens = ["(", "Bo", ")", ("don't", ["do", "n't"]), ("du", ["de", "le"]), "."]
    with_comment, without = (sentence("(Bo) don't du.", tokens, comment=comment) for comment in (True, False))
    (one,), (other,) = raw_texts([with_comment]), raw_texts([without])
    assert one == other
    assert one.text == "(Bo) don't du."
    assert [one.text[a:b].strip() for a, b in zip([0, *one.ends], one.ends, strict=False)] == [
        "(",
        "Bo",
        ")",
        "do",
        "n't",
        "du",
        ".",
    ]
    assert one.words[-2:] == [("de", "le"), (".",)]
    wrong = Sentence(without.words, raw_lines=("# text = something else", *without.raw_lines), format="conllu")
    bare = Sentence(("a", "b"), raw_lines=("a\tX", "b\tY"), format="columns")
    assert list(raw_texts([wrong, bare])) == []


def test_a_contraction_becomes_its_words():
    text = "Le chat du roi, du soir."
    tokens = ["Le", "chat", ("du", ["de", "le"]), "roi", ",", ("du", ["de", "le"]), "soir", "."]
    segmenter = Segmenter.fit([sentence(text, tokens)] * 20)
    assert segmenter.split(["Du roi, le chat."]) == [("De", "le", "roi", ",", "le", "chat", ".")]


def test_words_may_have_blanks_in_them_or_none_between_them():
    vietnamese = Segmenter.fit([sentence("Việt Nam là nhà.", ["Việt Nam", "là", "nhà", "."])] * 20)
    assert vietnamese.split(["là Việt Nam."]) == [("là", "Việt Nam", ".")]
    orders = list(permutations(["我", "喜欢", "北京", "大学"]))[:-1]
    chinese = Segmenter.fit([sentence("".join(words) + "。", [*words, "。"]) for words in orders])
    assert chinese.split(["大学北京喜欢我。"]) == [("大学", "北京", "喜欢", "我", "。")]


def test_where_blanks_alone_separate_words_nothing_is_learned():
    assert Segmenter.fit([]) is None
    assert Segmenter.fit([sentence("a bc .", ["a", "bc", "."])] * 9) is None


def test_what_is_tokenized_is_not_cut_again(segmenter):
    given = ["I don't, Bo.", "Well , I do n't , Bo .", ["don't", "."], Sentence(("a.",)), ""]
    assert [one.words for one in sentences_of(given, segmenter)] == [
        ("I", "do", "n't", ",", "Bo", "."), ("Well", ",", "I", "do", "n't", ",", "Bo", "."), ("don't", "."), ("a.",), (),
    ]  # fmt: skip
    (one,) = sentences_of(given[:1], segmenter, words=True)
    assert (one.words, one.text) == (("I", "don't,", "Bo."), given[0])
    assert [one.words for one in sentences_of(["It's so...", "It's so ... ."], None)] == [
        ("It's", "so", ".", ".", "."), ("It's", "so", "...", "."),
    ]  # fmt: skip
    assert not any(map(is_tokenized, [*SHOWN, "", "Oui ! Non.", "He said , hello.", "No"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("features", [2**18]), ("features", [-1]), ("features", [True]), ("features", ["1"]), ("features", {}), ("features", [3, 3]),
     ("weights", [1]),
     ("weights", [10**9]), ("weights", [0.5]), ("joins", 1), ("contractions", []), ("contractions", {"a": "b"}),
     ("contractions", {"a": []}), ("contractions", {"a": [""]}), ("contractions", {"a": [1]}), ("contractions", {"a": ["b\tc"]}),
     ("contractions", {"a": ["\ud800"]}), ("more", 1)],
)  # fmt: skip
def test_a_saved_segmenter_is_checked(segmenter, key, value):
    saved = copy.deepcopy(segmenter.save())
    if key == "features" and isinstance(value, list):
        saved["weights"] = [1] * len(value)
    saved[key] = value
    with pytest.raises(ValueError, match="`segmenter"):
        Segmenter.load(saved)
    with pytest.raises(ValueError, match="`segmenter` must hold features, weights, joins, contractions: got"):
        Segmenter.load([])
