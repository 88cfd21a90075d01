import zlib

import pytest
import torch

from heedful.data.text.words import Corpus, WordVocabulary

SENTENCES = [["La", "kato", "dormas"], ["la", "kato"], ["Hundo", "bojas", "al", "la", "kato"]]


@pytest.fixture
def vocabulary():
    return WordVocabulary.fit(SENTENCES, buckets=10_007)


def test_words_are_counted_without_regard_to_case(vocabulary):
    assert dict(zip(vocabulary.words, vocabulary.counts, strict=True)) == {
        "kato": 3, "la": 3, "al": 1, "bojas": 1, "dormas": 1, "hundo": 1
    }  # fmt: skip
    assert "KATO" in vocabulary
    assert "katido" not in vocabulary
    assert (vocabulary.number("LA"), vocabulary.number("katido")) == (3, 1)
    assert len(vocabulary) == 8
    assert WordVocabulary.fit(SENTENCES, buckets=7, at_least=2).words == ("kato", "la")


@pytest.mark.parametrize("word", ["a", "no", "Ŝaŭmo", "x" * 45, "\ud800"])
def test_a_word_is_spelt_with_all_its_pieces(vocabulary, word):
    shown = word if len(word) <= 30 else word[:15] + word[-15:]
    ended = "\x02" + shown + "\x03"
    pieces = {
        ended[i:j] for i in range(len(ended)) for j in range(i + 1, len(ended) + 1) if j - i <= 5
    } - {"\x02", "\x03"}  # fmt: skip
    numbers = {zlib.crc32(piece.encode("utf-8", "surrogatepass")) % 10_007 for piece in pieces}
    assert set(vocabulary.spell(word)) == numbers
    assert vocabulary.spell("Kato") != vocabulary.spell("kato")


def test_each_distinct_word_of_a_batch_is_spelt_once(vocabulary):
    corpus = Corpus(vocabulary, SENTENCES)
    batch = corpus.batch([1, 2])
    assert batch.lengths.tolist() == [2, 5]
    assert batch.words.tolist() == [[3, 2, 0, 0, 0], [7, 5, 4, 3, 2]]
    assert len(batch.starts) == 5, "la and kato stand in both"
    ends = [*batch.starts.tolist()[1:], len(batch.pieces)]
    for row, sentence in enumerate([SENTENCES[1], SENTENCES[2]]):
        for column, word in enumerate(sentence):
            distinct = batch.spelling[row, column]
            assert batch.pieces[batch.starts[distinct] : ends[distinct]].tolist() == vocabulary.spell(word)


def test_a_sentence_in_a_batch_is_that_sentence_alone(vocabulary):
    alone, batch = vocabulary.encode(SENTENCES[:1]), Corpus(vocabulary, SENTENCES).batch([0])
    assert all(torch.equal(a, b) for a, b in zip(alone, batch, strict=True))


def test_numbers_of_words_are_padded_as_the_words(vocabulary):
    corpus = Corpus(vocabulary, SENTENCES)
    assert corpus.padded(torch.arange(10), [2, 1], -100).tolist() == [[5, 6, 7, 8, 9], [3, 4, -100, -100, -100]]
