import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from heedful.data.text.words import WordVocabulary
from heedful.models.encoders import build_encoder, visible
from heedful.models.text_classifier import Ensemble, PieceEncoder, Pieces, TextClassifier
from heedful.models.words import WordSum

TEXTS = [["La", "kato", "dormas", "."], ["la", "kato"], ["Hundo", "bojas", "al", "la", "kato", "nun", "."]]


def classifier(tokens, seed=0, **others):
    torch.manual_seed(seed)
    positions, encoder = build_encoder(width=12, heads=3, layers=1, hidden=11, positions="sinusoidal")
    model = TextClassifier(
        tokens=tokens, positions=positions, encoder=encoder, pattern=visible(2), pooling_heads=2, classes=3, **others
    )
    torch.nn.init.normal_(model.pooling.query)
    torch.nn.init.normal_(model.head.bias)
    return model.eval()


@pytest.fixture
def words():
    vocabulary = WordVocabulary.fit(TEXTS)
    encoder = WordSum(len(vocabulary.words), len(vocabulary.pieces), 12)
    return classifier(encoder), lambda texts: vocabulary.encode(texts)


@pytest.fixture
def pieces():
    def batch(texts):
        rows = [torch.tensor([len(word) for word in text]) for text in texts]
        return Pieces(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    return classifier(PieceEncoder(8, 12)), batch


@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_a_text_in_a_batch_is_that_text_alone(request, kind):
    model, batch = request.getfixturevalue(kind)
    with torch.no_grad():
        together = model(batch(TEXTS))
        for row, text in enumerate(TEXTS):
            torch.testing.assert_close(together[row], model(batch([text]))[0], atol=1e-5, rtol=1e-5)


def test_an_ensemble_is_the_mean_of_its_members():
    members = [classifier(PieceEncoder(8, 12), seed) for seed in (1, 2)]
    model, batch = Ensemble(members), Pieces(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    with torch.no_grad():
        expected = sum(member(batch).softmax(-1) for member in members) / 2
        torch.testing.assert_close(model.probabilities(batch), expected)
        assert model(batch).shape == (2, 1, 3)


def test_hidden_tokens_say_nothing():
    model = classifier(PieceEncoder(8, 12), token_dropout=0.999999).train()
    with torch.no_grad():
        torch.manual_seed(0)
        one, other = (model(Pieces(torch.tensor([tokens]), torch.tensor([3]))) for tokens in ([1, 2, 3], [4, 5, 6]))
    assert torch.equal(one, other)


def test_what_is_hidden_is_not_seen():
    model = classifier(PieceEncoder(8, 12))
    torch.nn.init.normal_(model.hidden)
    hidden = torch.tensor([[False, True, False]])
    with torch.no_grad():
        one, other = (model(Pieces(torch.tensor([[1, t, 3]]), torch.tensor([3])), hidden) for t in (2, 5))
        assert torch.equal(one, other)
        assert not torch.equal(one, model(Pieces(torch.tensor([[1, 2, 3]]), torch.tensor([3]))))
