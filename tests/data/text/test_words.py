import pytest
import torch

from heedful.data.text.words import Corpus, WordVocabulary

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
    frequent = WordVocabulary.fit(SENTENCES, at_least=3, forms_at_least=2)
    assert (list(frequent.words), list(frequent.forms)) == (["kato", "la"], ["kato", "la"])


@pytest.mark.parametrize(
    ("word", "shape"),
    [("a", "x"), ("No", "Xx"), ("iPhone-12", "xXx.0"), ("Ŝaŭmo", "Xx"), ("x" * 45, "x"), ("7%", "0.")],
)
def test_a_word_is_spelt_with_all_its_pieces(word, shape):
    vocabulary = WordVocabulary.fit([[word, word + "z", "z" + word]])
    shown = word.lower() if len(word) <= 30 else word[:15] + word[-15:]
    ended = "\x02" + shown + "\x03"
    pieces = {
        ended[i:j] for i in range(len(ended)) for j in range(i + 1, len(ended) + 1) if j - i <= 5
    } - {"\x02", "\x03"}  # fmt: skip
    spelt = {vocabulary.pieces[number - 1] for number in vocabulary.spell(word)}
    assert spelt >= {piece for piece in pieces if not piece.startswith("\x02") and not piece.endswith("\x03")}
    assert {piece for piece in spelt if piece[0] != "\x04"} <= pieces
    assert "\x04" + shape in spelt or shape != "x"


def test_pieces_of_one_word_alone_are_not_known(vocabulary):
    known = {piece for piece in vocabulary.pieces if piece[0] != "\x04"}
    assert {"a", "o", "as\x03", "\x02k"} & known == {"a", "o", "as\x03"}
    assert vocabulary.spell("ŭŭ") == [vocabulary.pieces.index("\x04x") + 1]
    assert vocabulary.spell("ŬŬ!") == [0]
    assert vocabulary.spell("Kato") != vocabulary.spell("kato"), "their shapes"


def test_each_distinct_word_of_a_batch_is_spelt_once(vocabulary):
    corpus = Corpus(vocabulary, SENTENCES)
    batch = corpus.batch([1, 2])
    assert batch.lengths.tolist() == [2, 5]
    assert batch.words.tolist() == [[3, 2, 0, 0, 0], [7, 5, 4, 3, 2]]
    assert batch.forms.tolist() == [[3, 2, 0, 0, 0], [4, 7, 6, 3, 2]]
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
