import math

import pytest
import torch

from heedful.models import fill_masks, generate
from heedful.models.sampling import FastDecoding, context_start, probabilities, sample_token
from tests.models.test_language_model import CONTEXT, POSITIONS, VOCABULARY, small

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7, 9]]  # the last is longer than the context of `tiny`
WINDOWS = pytest.mark.parametrize(
    ("positions", "window"), [*((name, 0) for name in POSITIONS), ("rotary", 2), ("relative", 2)]
)


def tiny(**options):
    return small(**{"layers": 1, "context_length": 6} | options)


def naive_generate(model, prompt, tokens, **options):
    """One token after the other, everything computed anew."""
    text = list(prompt)
    for _ in range(tokens):
        seen = text[context_start(len(text), model.context_length) :]
        with torch.no_grad():
            logits = model(torch.tensor([seen]))[0, -1]
        text.append(int(logits.argmax()))
    return text[len(prompt) :]


def naive_probabilities(logits, temperature, top_k, top_p):
    weights = [math.exp(x / temperature) for x in logits]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    kept = order[: top_k or None]
    total = sum(weights[i] for i in kept)
    chosen, mass = [], 0.0
    for i in kept:
        if mass >= top_p:
            break
        chosen.append(i)
        mass += weights[i] / total
    total = sum(weights[i] for i in chosen)
    return [weights[i] / total if i in chosen else 0.0 for i in range(len(weights))]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 1, 5, 100])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.4, 1e-6])
def test_what_is_drawn_from_is_its_definition(temperature, top_k, top_p):
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1)).double()
    found = probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    expected = [naive_probabilities(row, temperature, top_k, top_p) for row in logits.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_draws_have_these_probabilities():
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0, -math.inf, 1.0]])
    even = (torch.arange(20_000) + 0.5) / 20_000
    drawn = sample_token(logits.expand(20_000, -1), even.double(), temperature=0.7, top_k=4)
    shares = drawn.bincount(minlength=6) / 20_000
    expected = probabilities(logits, temperature=0.7, top_k=4)[0].float()
    torch.testing.assert_close(shares, expected, atol=1e-4, rtol=0)
    assert (expected > 0).sum() == 4


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_draw_are_tokens_that_may_be(number):
    logits = torch.tensor([[-math.inf, 0.3, -math.inf, 0.2, -math.inf]])
    assert sample_token(logits, torch.tensor([number], dtype=torch.float64)).item() == (1 if number == 0 else 3)


def test_a_low_temperature_is_the_most_probable():
    logits = torch.randn(50, VOCABULARY)
    half = torch.full((50,), 0.5)
    for temperature in (0.0, 1e-300, 1e-4):
        assert torch.equal(sample_token(logits, half, temperature=temperature), logits.argmax(-1))


@WINDOWS
def test_the_most_probable_continuation_is_that_of_the_definition(positions, window):
    model = tiny(window=window, positions=positions)
    expected = [naive_generate(model, prompt, 7) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 7, temperature=0.0) == expected
    assert len({tuple(row) for row in expected}) > 1


@WINDOWS
def test_with_and_without_a_cache_the_same_is_written(positions, window):
    model = tiny(window=window, positions=positions)
    assert generate(model, PROMPTS, 7, seed=3) == generate(model, PROMPTS, 7, seed=3, use_cache=False)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal", "none"])
def test_plain_steps_are_what_the_model_computes(positions, window, norm):
    model, text = small(positions=positions, window=window, norm=norm), torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    assert FastDecoding.fits(model)
    with torch.no_grad():
        caches, steps, expected = model.encoder.caches(), FastDecoding(model), model.features(text)
        torch.testing.assert_close(model.features(text[:, :2], caches=caches), expected[:, :2])
        for place in (2, 3, 4):
            torch.testing.assert_close(steps(text[:, place], caches), expected[:, place])


@pytest.mark.parametrize(
    "parts", [{"positions": "alibi"}, {"positions": "relative"}, {"score": "cosine"}, {"normalize": "entmax15"}]
)
def test_what_is_not_plain_is_written_too(parts):
    model = tiny(**parts)
    assert not FastDecoding.fits(model)
    assert generate(model, PROMPTS[:1], 4) == generate(model, PROMPTS[:1], 4, use_cache=False)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "top_k": 7, "top_p": 0.8}])
def test_a_batch_writes_what_its_prompts_alone_would(options):
    model = tiny(layers=2)
    together = generate(model, PROMPTS, 9, seed=3, **options)
    alone = [generate(model, [prompt], 9, seed=3, numbers=[i], **options)[0] for i, prompt in enumerate(PROMPTS)]
    assert together == alone
    assert together != generate(model, PROMPTS, 9, seed=4, **options)


def test_fewer_tokens_are_the_beginning_of_more():
    model = tiny()
    assert [row[:5] for row in generate(model, PROMPTS, 9)] == generate(model, PROMPTS, 5)


def test_samples_of_one_prompt_differ_and_have_the_probabilities_of_the_model():
    model, count = small(), 4000
    first = [row[0] for row in generate(model, [PROMPTS[0]] * count, 1, seed=1)]
    with torch.no_grad():
        expected = model(torch.tensor(PROMPTS[:1]))[0, -1].softmax(-1)
    shares = torch.tensor(first).bincount(minlength=VOCABULARY) / count
    assert (shares - expected).abs().max() < 4 * (0.25 / count) ** 0.5
    assert len(set(first)) > 3


def test_what_is_never_written():
    model = tiny()
    suppressed = [token for token in range(VOCABULARY) if token not in (4, 6)]
    assert {token for row in generate(model, PROMPTS, 9, temperature=9.0, suppress=suppressed) for token in row} == {
        4,
        6,
    }


@pytest.mark.parametrize("context", [1, 2, 5, 8])
def test_what_is_seen_is_half_a_context_or_more(context):
    begins = [context_start(position, context) for position in range(1, 40)]
    seen = [position - begin for position, begin in enumerate(begins, 1)]
    assert seen[:context] == list(range(1, context + 1))
    assert begins == sorted(begins)
    assert all(context // 2 < count <= context for count in seen[context:])
    model = tiny(context_length=context)
    assert generate(model, PROMPTS[:2], 9) == generate(model, PROMPTS[:2], 9, use_cache=False)


def test_no_prompt_gives_nothing_and_the_mode_stays():
    model = tiny(dropout=0.5).train()
    assert generate(model, [], 5) == []
    assert generate(model, PROMPTS, 5) == generate(model, PROMPTS, 5)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "`max_new_tokens` must be positive: got 0"),
        ({"temperature": -0.1}, "`temperature` must be at least 0 and finite: got -0.1"),
        ({"temperature": math.nan}, "`temperature` must be at least 0 and finite: got nan"),
        ({"top_k": -1}, "`top_k` must be at least 0: got -1"),
        ({"top_p": 0.0}, "`top_p` must be more than 0 and at most 1: got 0.0"),
        ({"top_p": 1.1}, "`top_p` must be more than 0 and at most 1: got 1.1"),
        ({"numbers": [1]}, "`numbers` must be one for each of 3 prompts: got 1"),
        ({"prompts": [[1], []]}, "`prompts` must have at least one token each: got an empty one"),
        ({"prompts": [[1, 23]]}, "`prompts` must be tokens, 0 to 22: got 1 to 23"),
        ({"model": small(objective="masked")}, "`model` must be causal, to continue a text: got a masked one"),
    ],
)
def test_what_cannot_be_written(options, message):
    given = {"model": small(), "prompts": PROMPTS, "max_new_tokens": 5} | options
    with pytest.raises(ValueError, match=message):
        generate(**given)


def test_gaps_get_the_most_probable_tokens():
    model, text = small(objective="masked"), [3, 0, 4, 0, 5, 9]
    filled = fill_masks(model, text, mask=0, suppress=[1, 2])
    with torch.no_grad():
        logits = model(torch.tensor([text]))[0]
    logits[:, :3] = -math.inf
    best = logits.softmax(-1).max(-1)
    assert filled.positions == [1, 3]
    assert filled.ids == [3, best.indices[1].item(), 4, best.indices[3].item(), 5, 9]
    assert filled.probabilities == pytest.approx([best.values[1].item(), best.values[3].item()])


def test_round_after_round_the_surest_gap_is_filled_first():
    model, text = small(objective="masked"), [3, 0, 4, 0, 5, 0, 9, 0]
    expected, chances = list(text), {}
    while 0 in expected:
        with torch.no_grad():
            logits = model(torch.tensor([expected]))[0]
        logits[:, 0] = -math.inf
        best = logits.softmax(-1).max(-1)
        surest = max((i for i, token in enumerate(expected) if token == 0), key=lambda i: best.values[i].item())
        expected[surest], chances[surest] = best.indices[surest].item(), best.values[surest].item()
    filled = fill_masks(model, text, mask=0, rounds=4)
    assert filled == fill_masks(model, text, mask=0, rounds=99)
    assert filled.ids == expected
    assert filled.probabilities == pytest.approx([chances[place] for place in (1, 3, 5, 7)])
    assert 0 not in fill_masks(model, text, mask=0, rounds=3).ids


def test_a_gap_in_a_long_text_is_seen_with_what_stands_around_it():
    model = small(objective="masked")
    text = torch.randint(1, VOCABULARY, (5 * CONTEXT,), generator=torch.Generator().manual_seed(2)).tolist()
    for place in range(0, len(text), 3):
        gap = [*text[:place], 0, *text[place + 1 :]]
        filled = fill_masks(model, gap, mask=0)
        assert filled.positions == [place]
        for side in (place - 2, place + 2):  # a quarter of the context is in sight on both sides
            if 0 <= side < len(text):
                other = list(gap)
                other[side] = other[side] % (VOCABULARY - 1) + 1
                assert fill_masks(model, other, mask=0).probabilities != filled.probabilities


def test_a_text_without_gaps_stays():
    assert fill_masks(small(objective="masked"), [3, 1, 4], mask=0) == ([3, 1, 4], [], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": small()}, "`model` must be masked, to fill masked tokens: got a causal one"),
        ({"rounds": 0}, "`rounds` must be positive: got 0"),
        ({"ids": [0, 23]}, "`prompts` must be tokens, 0 to 22: got 0 to 23"),
    ],
)
def test_what_cannot_be_filled(options, message):
    given = {"model": small(objective="masked"), "ids": [1, 0], "mask": 0} | options
    with pytest.raises(ValueError, match=message):
        fill_masks(**given)
