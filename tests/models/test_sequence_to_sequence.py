import pytest
import torch

from heedful.data.batch_types import TokenBatch
from heedful.models import sequence_to_sequence

VOCABULARY, END = 9, 3
SOURCE = TokenBatch(torch.tensor([[5, 6, 7, 3, 0], [4, 5, 6, 8, 3], [4, 3, 0, 0, 0]]), torch.tensor([4, 5, 2]))
TARGET = TokenBatch(torch.tensor([[4, 6, 0], [5, 5, 8], [7, 0, 0]]), torch.tensor([2, 3, 1]))
PREFIX = torch.tensor([[3, 4, 6, 0], [3, 5, 5, 8], [3, 7, 0, 0]])
TARGETS = torch.tensor([[4, 6, 3, 0], [5, 5, 8, 3], [7, 3, 0, 0]])
REAL = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()

KINDS = {
    "rotary": {},
    "learned, additive": {"positions": "learned", "score": "additive"},
    "sinusoidal, entmax": {"positions": "sinusoidal", "normalize": "entmax15"},
    "relative, window": {"positions": "relative", "window": 2},
    "alibi, post-norm": {"positions": "alibi", "norm": "post"},
    "copying": {"pointer": True},
    "recurrent additive": {"architecture": "recurrent", "score": "additive"},
    "recurrent general": {"architecture": "recurrent", "score": "general", "layers": 2},
    "recurrent dot, copying": {"architecture": "recurrent", "score": "dot", "pointer": True},
    "recurrent sparsemax": {"architecture": "recurrent", "score": "additive", "normalize": "sparsemax"},
    "recurrent without attention": {"architecture": "recurrent", "score": "none"},
}
EVERY = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


def small(**options):
    torch.manual_seed(1)
    sizes = {"width": 16, "heads": 2, "layers": 1, "ffn_width": 24, "dropout": 0.0}
    return sequence_to_sequence(vocabulary_size=VOCABULARY, end=END, **{**sizes, **options}).double()


@EVERY
def test_probabilities_sum_to_one_and_do_not_see_what_comes_later(options):
    model = small(**options)
    found = model(SOURCE, PREFIX)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 4, dtype=found.dtype))
    other = PREFIX.clone()
    other[:, 2:] = 8
    torch.testing.assert_close(model(SOURCE, other)[:, :2], found[:, :2])


@EVERY
def test_padding_changes_nothing(options):
    model = small(**options)
    together = model(SOURCE, PREFIX)
    for row, length in enumerate(SOURCE.lengths.tolist()):
        alone = model(TokenBatch(SOURCE.tokens[row : row + 1, :length], torch.tensor([length])), PREFIX[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@EVERY
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_that_of_the_probabilities(options, smoothing):
    model = small(**options)
    found = model(SOURCE, PREFIX)
    right = -found.gather(-1, TARGETS[..., None])[..., 0]
    # The smoothed part is over what can be written.
    spread = right
    if smoothing:
        pointer, model.pointer = model.pointer, None
        spread = -model(SOURCE, PREFIX).mean(-1)
        model.pointer = pointer
    expected = ((1 - smoothing) * right + smoothing * spread)[REAL].mean()
    torch.testing.assert_close(model.loss(SOURCE, TARGET, smoothing), expected, atol=1e-7, rtol=1e-7)


@EVERY
def test_every_parameter_learns(options):
    model = small(**options)
    model.loss(SOURCE, TARGET, 0.1).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Keys' offsets move no weight of softmax; a table of positions has rows for longer texts.
    assert [name for name in still if "in_proj_bias" not in name] == []


@EVERY
def test_steps_give_what_all_positions_at_once_give_also_for_several_targets_of_a_source(options):
    model = small(**options)
    with torch.no_grad():
        expected = model(
            TokenBatch(SOURCE.tokens.repeat_interleave(2, 0), SOURCE.lengths.repeat_interleave(2)),
            PREFIX.repeat_interleave(2, 0),
        )
        state = model.begin(model.encode(SOURCE))
        state.reorder(torch.arange(3).repeat_interleave(2))
        rows = torch.arange(6)
        for position in range(4):
            if position == 2:  # the second source is done, and targets change places
                rows = torch.tensor([1, 0, 4, 4])
                state.select(rows, torch.tensor([0, 2]))
            found = model.step(PREFIX.repeat_interleave(2, 0)[rows, position], state)
            torch.testing.assert_close(found, expected[rows, position])


def test_bad_input():
    with pytest.raises(ValueError, match="`end` must be a token, 0 to 8: got 9."):
        sequence_to_sequence(vocabulary_size=9, end=9)
    with pytest.raises(
        ValueError, match="`score` must be a score, since a Transformer is made of attention: got 'none'."
    ):
        small(score="none")
    with pytest.raises(ValueError, match="heads"):
        small(heads=3)
    with pytest.raises(ValueError, match="positions"):
        small(positions="learned", max_positions=4)(SOURCE, PREFIX)
