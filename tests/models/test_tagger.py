import pytest
import torch

from heedful.data.text.words import WordVocabulary
from heedful.models.encoders import attention_pattern, build_encoder
from heedful.models.tagger import NeighborEncoder, Tagger
from heedful.models.words import WordEmbedding

SENTENCES = [["La", "kato", "dormas", "."], ["la", "kato"], ["Hundo", "bojas", "al", "la", "kato", "nun", "."]]


@pytest.fixture
def vocabulary():
    return WordVocabulary.fit(SENTENCES)


def counts(vocabulary):
    return list(vocabulary.words.values()), list(vocabulary.forms.values()), len(vocabulary.char_ngrams)


def tagger(vocabulary, encoder=None, window=0):
    torch.manual_seed(0)
    words = WordEmbedding(*counts(vocabulary), word_width=5, form_width=3, ngram_width=7, width=12)
    positions, layers = build_encoder(width=12, heads=3, layers=2, ffn_width=11, positions="relative")
    return Tagger(
        words=words, positions=positions, encoder=encoder or layers, pattern=attention_pattern(window), labels=[3, 5]
    ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", ["attention", "window", "neighbors", "alone"])
def test_a_sentence_in_a_batch_is_that_sentence_alone(vocabulary, kind):
    neighbors = {"neighbors": 2, "alone": 0}
    encoder = NeighborEncoder(12, 2, ffn_width=11, reach=neighbors[kind]) if kind in neighbors else None
    model = tagger(vocabulary, encoder, window=2 if kind == "window" else 0)
    with torch.no_grad():
        batch = model.logits(model(vocabulary.encode(SENTENCES)))
        for row, sentence in enumerate(SENTENCES):
            alone = model.logits(model(vocabulary.encode([sentence])))
            torch.testing.assert_close(batch[row, : len(sentence)], alone[0], atol=1e-5, rtol=1e-5)


def test_how_far_a_word_is_seen(vocabulary):
    changed = [["x", *SENTENCES[2][1:]]]
    reaches = {}
    for name, model in {
        "attention": tagger(vocabulary),
        "window": tagger(vocabulary, window=1),
        "neighbors": tagger(vocabulary, NeighborEncoder(12, 2, ffn_width=11, reach=1)),
        "alone": tagger(vocabulary, NeighborEncoder(12, 2, ffn_width=11, reach=0)),
    }.items():
        with torch.no_grad():
            before, after = (model(vocabulary.encode(given)) for given in (SENTENCES[2:], changed))
        reaches[name] = int((before != after).any(-1).sum())
    assert reaches == {"attention": 7, "window": 3, "neighbors": 3, "alone": 1}


def test_each_column_of_labels_has_its_own_logits(vocabulary):
    model = tagger(vocabulary)
    encoded = model(vocabulary.encode(SENTENCES))
    assert model.logits(encoded).shape == (3, 7, 3)
    assert model.logits(encoded[0, 0], 1).shape == (5,)


def test_rare_words_are_forgotten_in_training_and_pieces_are_not_all_read(vocabulary):
    torch.manual_seed(0)
    encoder = WordEmbedding(
        *counts(vocabulary), word_width=5, form_width=3, ngram_width=7, width=12, rare_word_dropout=0.5
    )
    chances = encoder.word.unknown_probability[[vocabulary.numbers(word)[0] for word in ("kato", "hundo", "xyz")]]
    torch.testing.assert_close(chances, torch.tensor([0.5 / 3.5, 0.5 / 1.5, 0.0]))
    also = WordEmbedding(
        *counts(vocabulary), word_width=5, ngram_width=7, width=12, word_dropout=0.2, rare_word_dropout=0.5
    ).word.unknown_probability
    torch.testing.assert_close(1 - also[2:], 0.8 * (1 - encoder.word.unknown_probability[2:]))
    batch = vocabulary.encode([["bojas"] * 3000])
    forgotten = (encoder.train()(batch) != encoder.eval()(batch)).any(-1).float().mean()
    assert forgotten == pytest.approx(1 - (2 / 3) ** 2, abs=0.05), "each of the two tables forgets"
    varied = WordEmbedding(
        *counts(vocabulary), word_width=5, form_width=3, ngram_width=7, width=12, ngram_dropout=0.3
    ).train()
    assert not torch.equal(varied(batch), varied(batch))
    assert torch.equal(varied.eval()(batch), varied(batch))


def test_an_unknown_word_is_told_by_its_pieces(vocabulary):
    model = tagger(vocabulary)
    with torch.no_grad():
        known, one, other = (model.words(vocabulary.encode([[word]])) for word in ("bojas", "xyzas", "qwert"))
    assert not torch.equal(one, other)
    assert not torch.equal(known, one)
