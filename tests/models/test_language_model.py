import pytest
import torch

from heedful.inspection import watch
from heedful.models import language_model

VOCABULARY, CONTEXT = 23, 11
POSITIONS = ("rotary", "learned", "sinusoidal", "relative", "alibi", "learned-alibi", "none")


def small(**options):
    torch.manual_seed(0)
    sizes = {
        "vocabulary_size": VOCABULARY,
        "context_length": CONTEXT,
        "width": 12,
        "heads": 3,
        "layers": 2,
        "ffn_width": 20,
    }
    model = language_model(**sizes | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)  # far from uniform attention
    return model


def tokens(count=CONTEXT, batch=2, seed=0):
    return torch.randint(VOCABULARY, (batch, count), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("objective", ["causal", "masked"])
@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("positions", POSITIONS)
def test_who_changes_whom(objective, window, positions):
    model, text = small(objective=objective, window=window, positions=positions), tokens()
    place, reach = 4, 2 * window or CONTEXT  # two layers see twice as far
    other = text.clone()
    other[:, place] = (other[:, place] + 1) % VOCABULARY
    with torch.no_grad():
        changed = (model(text) - model(other)).abs().amax((0, 2)) > 1e-6
    least = place - reach if objective == "masked" else place
    assert changed.tolist() == [least <= i <= place + reach for i in range(CONTEXT)]


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("steps", [(1,) * CONTEXT, (5, 1, 1, 4), (1, 10)])
def test_steps_with_a_cache_are_the_whole(window, positions, steps):
    model, text = small(window=window, positions=positions), tokens()
    caches = model.encoder.caches()
    with torch.no_grad():
        parts = [model(part, caches=caches) for part in text.split(steps, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(text), rtol=1e-4, atol=1e-5)
    assert [cache.length for cache in caches] == [CONTEXT, CONTEXT]


def test_logits_are_inner_products_with_the_embedding():
    model, text = small(), tokens()
    assert sum(p.shape == (VOCABULARY, 12) for p in model.parameters()) == 1
    with torch.no_grad():
        torch.testing.assert_close(model(text), model.features(text) @ model.embedding.weight.T)


def test_the_logits_of_a_new_model_have_a_variance_of_1():
    torch.manual_seed(0)
    for width in (32, 64):
        model = language_model(
            vocabulary_size=500, context_length=CONTEXT, width=width, heads=4, layers=3, ffn_width=64
        ).eval()
        with torch.no_grad():
            assert model(tokens()).std().item() == pytest.approx(1, rel=0.25)


def test_dropout_is_for_training():
    model, text = small(dropout=0.5), tokens()
    assert torch.equal(model(text), model(text))
    model.train()
    assert not torch.equal(model(text), model(text))


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_it_can_be_looked_inside(objective):
    model = small(objective=objective)
    with watch(model) as seen:
        model(tokens(batch=1))
    assert [(call.module, call.causal, call.matrix.shape) for call in seen] == [
        (f"encoder.layers.{i}.attention", objective == "causal", (1, 3, CONTEXT, CONTEXT)) for i in (0, 1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary_size": 0}, "`vocabulary_size` must be positive: got 0"),
        ({"context_length": 0}, "`context_length` must be positive: got 0"),
        ({"width": 10}, "`heads` must be a positive divisor of `width`: got 3 and 10"),
        ({"window": -1}, "`window` must be at least 0: got -1"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and less than 1: got 1.0"),
        ({"width": 9, "positions": "rotary"}, "`width` must be a positive multiple of 2: got 3"),
    ],
)
def test_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_longer_than_the_context():
    model = small()
    with pytest.raises(ValueError, match="`tokens` must be at most 11, the model's context: got 12"):
        model(tokens(12))
    caches = model.encoder.caches()
    with torch.no_grad():
        model(tokens(10), caches=caches)
        with pytest.raises(ValueError, match="`tokens` must be at most 11, the model's context: got 12"):
            model(tokens(2), caches=caches)


def test_both_sides_and_a_cache_exclude_each_other():
    model = small(objective="masked")
    with pytest.raises(ValueError, match="`caches` must be None for a model that sees both sides: got some"):
        model(tokens(), caches=model.encoder.caches())
