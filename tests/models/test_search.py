import itertools

import pytest
import torch

from heedful.data.batch_types import TokenBatch
from heedful.models import beam_search, sample
from heedful.models.seq2seq_base import EncodedSource, SequenceToSequence
from heedful.models.seq2seq_recurrent import RecurrentState
from tests.models.test_sequence_to_sequence import END, KINDS, SOURCE, VOCABULARY, small

TOKENS = [token for token in range(VOCABULARY) if token not in (END, 0, 1)]
EVERY = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


def alone(row):
    return TokenBatch(SOURCE.tokens[row : row + 1, : SOURCE.lengths[row]], SOURCE.lengths[row : row + 1])


def every_target(model, row, max_length, penalty):
    """All targets of up to so many tokens with their scores, the best first."""
    found = []
    for length in range(max_length):
        targets = list(itertools.product(TOKENS, repeat=length))
        source = TokenBatch(*(part.repeat(len(targets), *[1] * (part.dim() - 1)) for part in alone(row)))
        with torch.no_grad():
            asked = torch.tensor([[*target, END] for target in targets])
            logs = model(source, torch.tensor([[END, *target] for target in targets]))
        totals = logs.gather(-1, asked[..., None])[..., 0].sum(1)
        found += [
            (total / ((6 + length) / 6) ** penalty, list(target))
            for total, target in zip(totals.tolist(), targets, strict=True)
        ]
    return sorted(found, key=lambda one: -one[0])


@EVERY
def test_a_wide_beam_finds_the_best_of_all_targets(options):
    model, penalty = small(**options), len(options) / 2  # 0 to 1.5
    found = beam_search(model, SOURCE, 3, beams=330, length_penalty=penalty, suppress=[0, 1])
    for row in range(3):
        best = every_target(model, row, 3, penalty)[:3]
        finished = [one for one in found[row] if len(one.tokens) < 3]
        assert [one.tokens for one in finished[:3]] == [tokens for _, tokens in best]
        torch.testing.assert_close(
            torch.tensor([one.score for one in finished[:3]]),
            torch.tensor([score for score, _ in best]),
            atol=1e-5,
            rtol=0,
        )


@EVERY
@pytest.mark.parametrize("beams", [1, 3])
def test_texts_together_are_written_as_alone(options, beams):
    model = small(**options)
    together = beam_search(model, SOURCE, [6, 4, 5], beams=beams)
    for row, max_length in enumerate([6, 4, 5]):
        (one,) = beam_search(model, alone(row), max_length, beams=beams)
        assert [h.tokens for h in one] == [h.tokens for h in together[row]]
        assert [h.finished for h in one] == [h.finished for h in together[row]]
        assert max(len(h.tokens) for h in one) <= max_length


def test_greedy_search_takes_the_most_probable_token_each_time():
    model = small(score="additive")
    for row in range(3):
        ((one,),) = beam_search(model, alone(row), 5, beams=1)
        tokens = []
        while True:
            with torch.no_grad():
                token = int(model(alone(row), torch.tensor([[END, *tokens]]))[0, -1].argmax())
            if token == END or len(tokens) == 5:
                break
            tokens.append(token)
        assert one.tokens == tokens
        assert one.finished == (token == END)


def test_a_text_that_the_limit_cuts_off_says_so():
    model = small()
    with torch.no_grad():  # the end becomes the least probable token
        model.embedding.weight[END] = 0
        model.decoder.norm.bias.add_(model.embedding.weight[5] * 50)
    ((best, *_), *_) = beam_search(model, SOURCE, 3, beams=2)
    assert not best.finished
    assert len(best.tokens) == 3
    ((drawn,), *_) = sample(model, SOURCE, 3)
    assert not drawn.finished


class Constant(SequenceToSequence):
    """Tells the same of every next token; a stand-in for a model where only the search matters."""

    def __init__(self, probabilities, end):
        super().__init__(vocabulary_size=len(probabilities), width=1, end=end)
        self.logs = torch.tensor(probabilities).log()

    def _encode_texts(self, source):
        return EncodedSource(*source, torch.zeros(*source.tokens.shape, 1))

    def begin(self, source):
        return RecurrentState(source, source.features, [])

    def features(self, source, prefix, state=None):
        raise AssertionError

    def step(self, tokens, state):
        return self.logs.expand(len(tokens), -1)


def test_what_the_limit_cuts_off_is_ranked_with_what_has_ended():
    """A beginning that would go on is ahead of those that ended, however improbably."""
    source = TokenBatch(torch.tensor([[1]]), torch.tensor([1]))
    (found,) = beam_search(Constant([0.007, 0.99, 0.003], end=0), source, 4, beams=3)
    assert (found[0].tokens, found[0].finished) == ([1, 1, 1, 1], False)
    assert any(one.finished for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].log_probability == pytest.approx(4 * torch.tensor(0.99).log().item(), abs=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_text_as_long_as_the_limit_can_end(beams):
    model = small()
    ((best, *_),) = beam_search(model, alone(0), 30, beams=beams)
    if not best.finished:
        pytest.skip("this model does not end")
    ((again, *_),) = beam_search(model, alone(0), max(len(best.tokens), 1), beams=beams)
    assert (again.tokens, again.finished) == (best.tokens, True)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_sequence_stands_twice(n):
    model = small()
    found = beam_search(model, SOURCE, 12, beams=3, no_repeat_ngram=n) + sample(
        model, SOURCE, 12, num_samples=4, no_repeat_ngram=n
    )
    texts = [one.tokens for several in found for one in several]
    assert any(len(text) > n for text in texts)
    for text in texts:
        parts = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
        assert len(parts) == len(set(parts))


def test_what_is_forbidden_is_not_written():
    found = beam_search(small(), SOURCE, 8, beams=4, suppress=[0, 1, 5, 6, 7])
    assert {token for several in found for one in several for token in one.tokens} <= {2, 4, 8}


def test_what_is_drawn_depends_on_seed_and_number_alone():
    model = small(pointer=True)
    together = sample(model, SOURCE, 6, num_samples=2, seed=5)
    assert together != sample(model, SOURCE, 6, num_samples=2, seed=6)
    for row in range(3):
        assert [h.tokens for h in sample(model, alone(row), 6, num_samples=2, seed=5, numbers=[row])[0]] == [
            h.tokens for h in together[row]
        ]


def test_drawn_tokens_have_their_probabilities():
    model = small()
    source = alone(0)
    drawn = [h.tokens[0] if h.tokens else END for h in sample(model, source, 1, num_samples=4000)[0]]
    shares = torch.bincount(torch.tensor(drawn), minlength=VOCABULARY) / 4000
    with torch.no_grad():
        expected = model(source, torch.tensor([[END]]))[0, 0].exp()
    torch.testing.assert_close(shares.double(), expected, atol=0.03, rtol=0)
    bold = sample(model, source, 4, num_samples=2, temperature=0.0)[0]
    assert bold[0].tokens == beam_search(model, source, 4, beams=1)[0][0].tokens


def test_the_model_goes_on_training_afterwards():
    model = small().train()
    beam_search(model, SOURCE, 2)
    assert model.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 0}, "`beams` must be positive: got 0."),
        ({"length_penalty": -1.0}, "`length_penalty` must be a number from 0: got -1.0."),
        ({"no_repeat_ngram": -1}, "`no_repeat_ngram` must be at least 0: got -1."),
        ({"max_length": 0}, "`max_length` must be positive: got 0."),
        ({"max_length": [3, 3]}, "`max_length` must be a number, or one for each of 3 sources: got 2."),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        beam_search(small(), SOURCE, **{"max_length": 3, **options})
    if "no_repeat_ngram" not in options and "max_length" not in options:
        return
    with pytest.raises(ValueError, match="`num_samples` must be positive: got 0."):
        sample(small(), SOURCE, 3, num_samples=0)
