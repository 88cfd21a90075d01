import itertools

import pytest
import torch

from heedful.data.batch_types import TokenBatch
from heedful.models.captioner import captioner
from heedful.models.seq2seq_hard import HardRecurrent

TARGET = torch.tensor([[5, 7]])
COPIES = 1500


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = captioner(
        vocabulary_size=9, end=3, architecture="hard", stages=[2], width=4, draws=8, soft_share=0.0, entropy=0.0
    )
    with torch.no_grad():
        model.attention.score_weight.mul_(6)  # some places are much more probable than others
    return model.double()


def test_draws_have_the_gradient_of_what_they_expect(model):
    """Over all ways of looking at two places for three tokens, each with its probability; the draws are 12,000."""
    torch.manual_seed(1)
    picture = torch.rand(1, 3, 2, 4, dtype=torch.float64)
    prefix, targets = torch.tensor([[3, 5, 7]]), torch.tensor([5, 7, 3])
    parameters = [*model.attention.parameters(), model.out.weight]
    model.train()
    model.reader.eval()  # one picture has no statistics
    encoded, expected = model.encode(picture), 0.0
    for places in itertools.product(range(2), repeat=3):
        probability, steps = torch.ones((), dtype=torch.float64), iter(places)

        def look(states, state, steps=steps):
            nonlocal probability
            place = next(steps)
            probability = probability * model.attention.weights(states, state.memory, state.source)[0, 0, place]
            return state.source.features[:, place, None]

        logits = model._logits(model._read(model._embed(prefix), model.begin(encoded), look))
        expected = expected - probability * logits[0].log_softmax(-1)[range(3), targets].mean()
    wanted = torch.autograd.grad(expected, parameters)
    target = TokenBatch(TARGET.expand(COPIES, -1), torch.full((COPIES,), 2))
    drawn = model.loss(picture, target)
    for found, exact in zip(torch.autograd.grad(drawn, parameters), wanted, strict=True):
        torch.testing.assert_close(found, exact, rtol=0, atol=0.15 * exact.abs().max().item())


def test_outside_of_training_the_likeliest_place_is_taken(model):
    model.eval()
    with torch.no_grad():
        encoded = model.encode(torch.rand(2, 3, 2, 4))
        states = torch.randn(2, 1, 4, dtype=torch.float64)
        memory = model.attention.key(encoded.features)
        best = model.attention.weights(states, memory, encoded)[:, 0].argmax(-1)
        torch.testing.assert_close(model.attention(states, memory, encoded)[:, 0], encoded.features[range(2), best])


def test_one_draw_has_no_other():
    with pytest.raises(ValueError, match=r"`draws` must be at least 2: got 1\."):
        HardRecurrent(vocabulary_size=9, end=3, width=4, draws=1)
