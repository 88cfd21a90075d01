import unicodedata

import pytest
import torch

from heedful.data.text.words import EncodedWords, WordVocabulary, folded_words, split_words

SENTENCES = [["La", "kato", "dormas"], ["la", "kato"], ["Hundo", "bojas", "al", "la", "kato"]]


@pytest.fixture
def vocabulary():
    return WordVocabulary.fit(SENTENCES)


def test_words_are_counted_without_regard_to_case(vocabulary):
    assert vocabulary.words == {"kato": 3, "la": 3, "al": 1, "bojas": 1, "dormas": 1, "hundo": 1}
    assert vocabulary.forms == {"kato": 3, "la": 2, "Hundo": 1, "La": 1, "al": 1, "bojas": 1, "dormas": 1}
    assert "KATO" in vocabulary
    assert "katido" not in vocabulary
    assert [vocabulary.numbers(word) for word in ("La", "LA", "katido")] == [(3, 5), (3, 1), (1, 1)]
    frequent = WordVocabulary.fit(SENTENCES, min_count=3, min_form_count=2)
    assert (list(frequent.words), list(frequent.forms)) == (["kato", "la"], ["kato", "la"])


@pytest.mark.parametrize(
    ("word", "shape"),
    [("a", "x"), ("No", "Xx"), ("iPhone-12", "xXx.0"), ("Ŝaŭmo", "Xx"), ("x" * 45, "x"), ("7%", "0."), ("हिन्दी", "x")],
)
def test_a_word_has_all_its_ngrams(word, shape):
    vocabulary = WordVocabulary.fit([[word, word + "z", "z" + word]])
    shown = word.lower() if len(word) <= 30 else word[:15] + word[-15:]
    ended = "\x02" + shown + "\x03"
    ngrams = {
        ended[i:j] for i in range(len(ended)) for j in range(i + 1, len(ended) + 1) if j - i <= 5
    } - {"\x02", "\x03"}  # fmt: skip
    found = {vocabulary.char_ngrams[number - 1] for number in vocabulary.ngrams_of(word)}
    assert found >= {ngram for ngram in ngrams if not ngram.startswith("\x02") and not ngram.endswith("\x03")}
    assert {ngram for ngram in found if ngram[0] != "\x04"} <= ngrams
    assert "\x04" + shape in found or shape != "x"


def test_ngrams_of_one_word_alone_are_not_known(vocabulary):
    known = {ngram for ngram in vocabulary.char_ngrams if ngram[0] != "\x04"}
    assert {"a", "o", "as\x03", "\x02k"} & known == {"a", "o", "as\x03"}
    assert vocabulary.ngrams_of("ŭŭ") == [vocabulary.char_ngrams.index("\x04x") + 1]
    assert vocabulary.ngrams_of("ŬŬ!") == [0]
    assert vocabulary.ngrams_of("Kato") != vocabulary.ngrams_of("kato"), "their shapes"


def test_each_distinct_word_of_a_batch_has_its_ngrams_once(vocabulary):
    corpus = EncodedWords(vocabulary, SENTENCES)
    batch = corpus.batch([1, 2])
    assert batch.lengths.tolist() == [2, 5]
    assert batch.words.tolist() == [[3, 2, 0, 0, 0], [7, 5, 4, 3, 2]]
    assert batch.forms.tolist() == [[3, 2, 0, 0, 0], [4, 7, 6, 3, 2]]
    assert len(batch.offsets) == 5, "la and kato stand in both"
    ends = [*batch.offsets.tolist()[1:], len(batch.char_ngrams)]
    for row, sentence in enumerate([SENTENCES[1], SENTENCES[2]]):
        for column, word in enumerate(sentence):
            distinct = batch.inverse[row, column]
            assert batch.char_ngrams[batch.offsets[distinct] : ends[distinct]].tolist() == vocabulary.ngrams_of(word)


def test_a_sentence_in_a_batch_is_that_sentence_alone(vocabulary):
    alone, batch = vocabulary.encode(SENTENCES[:1]), EncodedWords(vocabulary, SENTENCES).batch([0])
    assert all(torch.equal(a, b) for a, b in zip(alone, batch, strict=True))


def test_numbers_of_words_are_padded_as_the_words(vocabulary):
    corpus = EncodedWords(vocabulary, SENTENCES)
    assert corpus.padded(torch.arange(10), [2, 1], -100).tolist() == [[5, 6, 7, 8, 9], [3, 4, -100, -100, -100]]


SPACED = (
    "हिन्दी में नमस्ते",
    "বাংলা ভাষা শিখি",
    "தமிழ் மொழி",
    "שָׁלוֹם עֲלֵיכֶם",
    "مُحَمَّدٌ رَسُول",
    "می‌خواهم بروم",
    "cafe\u0301 nai\u0308ve",
    "x² ½",
)


@pytest.mark.parametrize("text", SPACED)
def test_marks_and_joiners_belong_to_their_word(text):
    assert split_words(text) == tuple(text.split())
    assert folded_words(text) == [unicodedata.normalize("NFC", word) for word in text.split()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气，很好2.5", "今 天 天 气 ， 很 好 2.5"),
        ("私はラーメンが", "私 は ラーメン が"),
        ("ผมชื่อ Bo", "ผ ม ชื่ อ Bo"),
        ("👩‍👩‍👧!❤️", "👩‍👩‍👧 ! ❤️"),
    ],
)
def test_scripts_without_blanks_are_cut_into_characters(text, words):
    assert split_words(text) == tuple(words.split())


def test_a_composed_and_a_decomposed_word_are_one():
    composed, decomposed = (unicodedata.normalize(form, "Crème brûlée") for form in ("NFC", "NFD"))
    vocabulary = WordVocabulary.fit([split_words(decomposed), split_words(composed)])
    assert vocabulary == WordVocabulary.fit([split_words(composed)] * 2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(vocabulary.encode([split_words(text)]) for text in (composed, decomposed)), strict=True)
    )
