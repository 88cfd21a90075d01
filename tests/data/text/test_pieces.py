"""Tokens of a pretrained model, and the words that they belong to."""

import pytest

from heedful._errors import DataError
from heedful.data.text.pieces import EncodedPieces, Pieces
from heedful.data.text.sentences import Sentence
from tests.inspection import folders

WORDS = ["the", "unseen", "dogs", "\u200b", "caf\u00e9"]


def saved(tokenizer):
    return tokenizer.backend_tokenizer.to_str()


@pytest.fixture(scope="module")
def bert():
    return Pieces(saved(folders.word_pieces()), 32)


@pytest.fixture(scope="module")
def gpt2():
    return Pieces(saved(folders.bytes_pairs()), 40)


def test_the_words_of_tokens_and_the_first_token_of_each_word(bert, gpt2):
    shown = bert.show(WORDS)
    assert shown.tokens == ["[CLS]", "the", "un", "##seen", "dog", "##s", "[UNK]", "[UNK]", "[SEP]"]
    assert shown.words == [-1, 0, 1, 1, 2, 2, 3, 4, -1]
    assert shown.special == [0, 8]
    assert bert.encode_words([WORDS])[0][1] == [1, 2, 4, 6, 7]
    shown, ((_, first),) = gpt2.show(WORDS), gpt2.encode_words([WORDS])
    assert [shown.tokens[token].strip("\u0120") for token in first[:3]] == ["the", "un", "dog"]
    assert [shown.words[token] for token in first] == [0, 1, 2, 3, 4]
    assert sorted(set(shown.words) - {-1}) == [0, 1, 2, 3, 4]


def test_words_of_which_a_tokenizer_leaves_nothing_stand_with_the_one_before():
    from tokenizers import normalizers

    tokenizer = folders.word_pieces()
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    pieces = Pieces(saved(tokenizer), 32)
    assert pieces.encode_words([["\u0000", "cat", "\u0001", "dog"]])[0][1] == [0, 1, 1, 2]


def test_tokens_as_the_library_cuts_the_text(bert):
    tokenizer = folders.word_pieces()
    texts = [folders.TEXT, folders.OTHER, "a"]
    assert [ids.tolist() for ids in bert.encode_batch(texts)] == tokenizer(texts)["input_ids"]
    assert len(bert.encode_batch(["the " * 90])[0]) == 32
    assert bert.encode_batch(["the " * 90])[0][-1] == tokenizer.sep_token_id, "the last special token stays"


def test_what_reads_as_a_special_token_is_text(bert):
    assert bert.show("[SEP] a").special == [0, len(bert.show("[SEP] a").tokens) - 1]


def test_batches_of_sentences(bert):
    sentences = [Sentence(("the", "unseen", "dogs")), Sentence(("a",))]
    encoded = EncodedPieces(bert, sentences)
    batch = encoded.batch([1, 0])
    assert encoded.lengths == [3, 1]
    assert batch.lengths.tolist() == [1, 3]
    assert batch.token_lengths.tolist() == [3, 7]
    assert batch.first.tolist() == [[1, 0, 0], [1, 2, 4]]
    assert batch.tokens.shape == (2, 7)


def test_a_sentence_that_is_too_long(bert):
    with pytest.raises(
        DataError, match=r"^f:3: a sentence must have at most 32 tokens of the pretrained model: got 42$"
    ):
        EncodedPieces(bert, [Sentence(("the",) * 40, location="f:3")])


def test_no_tokenizer():
    with pytest.raises(ValueError, match="`saved` must be a tokenizer.json: got the error "):
        Pieces("{}", 5)
