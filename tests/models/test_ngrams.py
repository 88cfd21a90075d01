"""The linear model of n-grams against scikit-learn's TF-IDF."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from heedful.data.text.words import WordVocabulary
from heedful.models.ngrams import NgramClassificationModel

TEXTS = ["a fine fine film", "a dull film indeed", "fine", "dull dull dull film", "a film"]
WORDS = [text.split() for text in TEXTS]


def model_of(texts, min_count=1, **options):
    vocabulary = WordVocabulary.fit(texts, min_count=min_count)
    counts = vocabulary.pairs(texts, min_count)
    pairs = sorted(counts, key=vocabulary.pair)
    numbers = list(map(vocabulary.pair, pairs))
    model = NgramClassificationModel(
        list(vocabulary.words.values()),
        numbers,
        [counts[pair] for pair in pairs],
        texts=len(texts),
        classes=2,
        **options,
    )
    torch.nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(0))
    return vocabulary, ["", "?", *vocabulary.words, *pairs], model.eval()


@pytest.mark.parametrize("min_count", [1, 2])
def test_it_is_a_linear_model_of_tf_idf(min_count):
    """With counts in place of the number of texts that have an n-gram, which each text here has once."""
    vocabulary, names, model = model_of(WORDS, min_count)
    weights = dict(zip(names, model.weight.view(-1, 2).detach().double().numpy(), strict=True))
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, tokenizer=str.split, token_pattern=None, vocabulary=names[2:]
    )
    vectorizer.fit(TEXTS)
    counts = {**vocabulary.words, **vocabulary.pairs(WORDS, min_count)}
    vectorizer.idf_ = np.array([max(1 + np.log((1 + len(TEXTS)) / (1 + counts[name])), 0) for name in names[2:]])
    x = vectorizer.transform([*TEXTS, "an unknown film", "fine fine"]).toarray()
    expected = 10 * x @ np.stack([weights[name] for name in names[2:]])
    found = model(vocabulary.encode([*WORDS, ["an", "unknown", "film"], ["fine", "fine"]]))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-5)


def test_masked_words_and_their_pairs_do_not_count():
    vocabulary, _, model = model_of(WORDS)
    batch = vocabulary.encode([["a", "fine", "film"], ["a", "unheard", "film"]])
    found = model(batch, torch.tensor([[False, True, False], [False] * 3]))
    torch.testing.assert_close(found[0], found[1])


def test_of_unknown_words_it_knows_the_bias_alone():
    vocabulary, _, model = model_of(WORDS)
    model.bias.data = torch.tensor([1.0, 2.0])
    assert model(vocabulary.encode([["unheard"], ["unheard", "of"]])).tolist() == [[1, 2], [1, 2]]


def test_words_are_masked_in_training():
    vocabulary, _, model = model_of(WORDS, token_dropout=0.5)
    batch, drawn = vocabulary.encode(WORDS), set()
    model.train()
    for seed in range(5):
        torch.manual_seed(seed)
        drawn.add(tuple(model(batch).flatten().tolist()))
    assert len(drawn) > 1
