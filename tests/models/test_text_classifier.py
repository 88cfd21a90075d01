import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from heedful.data.batch_types import TokenBatch
from heedful.data.text.words import WordVocabulary
from heedful.models.encoders import attention_pattern, build_encoder
from heedful.models.ensemble import Ensemble
from heedful.models.text_classifier import TextClassificationModel, TokenEmbedding
from heedful.models.words import FastTextEmbedding

TEXTS = [["La", "kato", "dormas", "."], ["la", "kato"], ["Hundo", "bojas", "al", "la", "kato", "nun", "."]]


def classifier(tokens, seed=0, **others):
    torch.manual_seed(seed)
    positions, encoder = build_encoder(width=12, heads=3, layers=1, ffn_width=11, positions="sinusoidal")
    model = TextClassificationModel(
        tokens=tokens,
        positions=positions,
        encoder=encoder,
        pattern=attention_pattern(2),
        pooling_heads=2,
        classes=3,
        **others,
    )
    torch.nn.init.normal_(model.pooling.query)
    torch.nn.init.normal_(model.head.bias)
    return model.eval()


@pytest.fixture
def words():
    vocabulary = WordVocabulary.fit(TEXTS)
    encoder = FastTextEmbedding(len(vocabulary.words), len(vocabulary.char_ngrams), 12)
    return classifier(encoder), lambda texts: vocabulary.encode(texts)


@pytest.fixture
def pieces():
    def batch(texts):
        rows = [torch.tensor([len(word) for word in text]) for text in texts]
        return TokenBatch(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    return classifier(TokenEmbedding(8, 12)), batch


@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_a_text_in_a_batch_is_that_text_alone(request, kind):
    model, batch = request.getfixturevalue(kind)
    with torch.no_grad():
        together = model(batch(TEXTS))
        for row, text in enumerate(TEXTS):
            torch.testing.assert_close(together[row], model(batch([text]))[0], atol=1e-5, rtol=1e-5)


def test_an_ensemble_is_the_mean_of_its_members():
    members = [classifier(TokenEmbedding(8, 12), seed) for seed in (1, 2)]
    model, batch = Ensemble(members), TokenBatch(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    with torch.no_grad():
        expected = sum(member(batch).softmax(-1) for member in members) / 2
        torch.testing.assert_close(model.probabilities(batch), expected)
        assert model(batch).shape == (2, 1, 3)


def test_what_is_hidden_is_not_seen():
    model = classifier(TokenEmbedding(8, 12))
    torch.nn.init.normal_(model.mask_vector)
    masked = torch.tensor([[False, True, False]])
    with torch.no_grad():
        one, other = (model(TokenBatch(torch.tensor([[1, t, 3]]), torch.tensor([3])), masked) for t in (2, 5))
        assert torch.equal(one, other)
        assert not torch.equal(one, model(TokenBatch(torch.tensor([[1, 2, 3]]), torch.tensor([3]))))
        training = classifier(TokenEmbedding(8, 12), token_dropout=0.999999).train()
        batches = [TokenBatch(torch.tensor([tokens]), torch.tensor([3])) for tokens in ([1, 2, 3], [4, 5, 6])]
        torch.testing.assert_close(*map(training, batches), rtol=0, atol=0)
