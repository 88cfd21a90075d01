import math

import pytest
import torch

from heedful.models import sequence_to_sequence
from heedful.models.sequence_to_sequence import BothWays, Recurrent
from heedful.models.text_classifier import Pieces

VOCABULARY, END = 9, 3
SOURCE = Pieces(torch.tensor([[5, 6, 7, 3, 0], [4, 5, 6, 8, 3], [4, 3, 0, 0, 0]]), torch.tensor([4, 5, 2]))
TARGET = Pieces(torch.tensor([[4, 6, 0], [5, 5, 8], [7, 0, 0]]), torch.tensor([2, 3, 1]))
GIVEN = torch.tensor([[3, 4, 6, 0], [3, 5, 5, 8], [3, 7, 0, 0]])
ASKED = torch.tensor([[4, 6, 3, 0], [5, 5, 8, 3], [7, 3, 0, 0]])
REAL = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()

KINDS = {
    "rotary": {},
    "learned, additive": {"positions": "learned", "score": "additive"},
    "sinusoidal, entmax": {"positions": "sinusoidal", "normalize": "entmax15"},
    "relative, window": {"positions": "relative", "window": 2},
    "alibi, post-norm": {"positions": "alibi", "norm": "post"},
    "copying": {"copy": True},
    "recurrent additive": {"kind": "recurrent", "score": "additive"},
    "recurrent general": {"kind": "recurrent", "score": "general", "layers": 2},
    "recurrent dot, copying": {"kind": "recurrent", "score": "dot", "copy": True},
    "recurrent sparsemax": {"kind": "recurrent", "score": "additive", "normalize": "sparsemax"},
    "recurrent without attention": {"kind": "recurrent", "score": "none"},
}
EVERY = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


def small(**options):
    torch.manual_seed(1)
    sizes = {"width": 16, "heads": 2, "layers": 1, "hidden": 24, "dropout": 0.0}
    return sequence_to_sequence(vocabulary=VOCABULARY, end=END, **{**sizes, **options}).double()


@EVERY
def test_probabilities_sum_to_one_and_do_not_see_what_comes_later(options):
    model = small(**options)
    found = model(SOURCE, GIVEN)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 4, dtype=found.dtype))
    other = GIVEN.clone()
    other[:, 2:] = 8
    torch.testing.assert_close(model(SOURCE, other)[:, :2], found[:, :2])


@EVERY
def test_padding_changes_nothing(options):
    model = small(**options)
    together = model(SOURCE, GIVEN)
    for row, length in enumerate(SOURCE.lengths.tolist()):
        alone = model(Pieces(SOURCE.tokens[row : row + 1, :length], torch.tensor([length])), GIVEN[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


@EVERY
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_that_of_the_probabilities(options, smoothing):
    model = small(**options)
    found = model(SOURCE, GIVEN)
    right = -found.gather(-1, ASKED[..., None])[..., 0]
    # The smoothed part is over what can be written.
    spread = right
    if smoothing:
        copy, model.copy = model.copy, None
        spread = -model(SOURCE, GIVEN).mean(-1)
        model.copy = copy
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
            Pieces(SOURCE.tokens.repeat_interleave(2, 0), SOURCE.lengths.repeat_interleave(2)),
            GIVEN.repeat_interleave(2, 0),
        )
        state = model.begin(model.encode(SOURCE))
        state.reorder(torch.arange(3).repeat_interleave(2))
        rows = torch.arange(6)
        for position in range(4):
            if position == 2:  # the second source is done, and targets change places
                rows = torch.tensor([1, 0, 4, 4])
                state.select(rows, torch.tensor([0, 2]))
            found = model.step(GIVEN.repeat_interleave(2, 0)[rows, position], state)
            torch.testing.assert_close(found, expected[rows, position])


def test_copying_follows_its_definition():
    model = small(copy=True)
    with torch.no_grad():
        read = model.encode(SOURCE)
        features = model.features(read, GIVEN)
        found = model.log_probabilities(features, read).exp()
        for b in range(3):
            for n in range(4):
                h, keys = features[b, n], read.features[b, : SOURCE.lengths[b]]
                scores = (model.copy.key(keys) @ model.copy.query(h)) / math.sqrt(16)
                weights, gate = scores.softmax(0), model.copy.gate(h).sigmoid()
                expected = gate * (model.embedding.weight @ h).softmax(0)
                for weight, token in zip(weights, SOURCE.tokens[b], strict=False):
                    expected[token] += ((1 - gate) * weight)[0]
                torch.testing.assert_close(found[b, n], expected)
        model.copy.gate.bias.fill_(-9.0)  # now nothing is written
        assert model.copied(features, read, SOURCE.tokens[:, :1].expand(-1, 4)).all()
        assert not model.copied(features, read, torch.full((3, 4), 1)).any()


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_the_recurrent_state_asks_the_source(score):
    model = small(kind="recurrent", score=score)
    with torch.no_grad():
        read = model.encode(SOURCE)
        state, h = torch.randn(16, dtype=torch.float64), read.features[1]
        found = model.attention(state.expand(3, 1, 16), model.attention.key(read.features), read)[1, 0]
        match score:
            case "additive":
                scores = (model.attention.query(state) + model.attention.key(h)).tanh() @ model.attention.score_weight[
                    0
                ]
            case "dot":
                scores = h @ state
            case "general":
                scores = h @ (model.attention.score_weight[0].T @ state)
        torch.testing.assert_close(found, scores.softmax(0) @ h)


def gru_step(network, x, h):
    """Cho et al. 2014, with the reset gate where cuDNN has it."""
    given = x @ network.weight_ih_l0.T + network.bias_ih_l0
    kept = h @ network.weight_hh_l0.T + network.bias_hh_l0
    (r, z, n), (r_h, z_h, n_h) = given.chunk(3), kept.chunk(3)
    z = (z + z_h).sigmoid()
    return (1 - z) * (n + (r + r_h).sigmoid() * n_h).tanh() + z * h


@pytest.mark.parametrize("score", ["dot", "none"])
def test_the_recurrent_decoder_follows_its_definition(score):
    model = small(kind="recurrent", score=score, layers=2)
    with torch.no_grad():
        read = model.encode(SOURCE)
        found = model.features(read, GIVEN)
        for b, length in enumerate(SOURCE.lengths.tolist()):
            source = read.features[b, :length]
            states = [*model.first(source.mean(0)).tanh().chunk(3)]
            for n, token in enumerate(GIVEN[b]):
                x = model.embedding.weight[token] * 4  # the root of the width
                states[0] = gru_step(model.decoder[0], x, states[0])
                x = model.norms[0](x + states[0])
                weights = (source @ x).softmax(0) if score == "dot" else source.new_full((length,), 1 / length)
                context = weights @ source
                for layer in (1, 2):
                    states[layer] = gru_step(model.decoder[layer], torch.cat([x, context]), states[layer])
                    x = model.norms[layer](x + states[layer])
                torch.testing.assert_close(model.out_norm(model.out(torch.cat([x, context]))), found[b, n])


def test_without_attention_every_token_counts_alike():
    model = small(kind="recurrent", score="none")
    read = model.encode(SOURCE)
    torch.testing.assert_close(Recurrent._mean(read)[2], read.features[2, :2].mean(0))


def test_bad_input(unchecked):
    with pytest.raises(ValueError, match="`end` must be a token, 0 to 8: got 9."):
        sequence_to_sequence(vocabulary=9, end=9)
    with pytest.raises(
        ValueError, match="`score` must be a score, since a Transformer is made of attention: got 'none'."
    ):
        small(score="none")
    with pytest.raises(ValueError, match="heads"):
        small(heads=3)
    with pytest.raises(ValueError, match="positions"):
        small(positions="learned", longest=4)(SOURCE, GIVEN)


def test_texts_are_read_from_both_ends_as_packed_ones_are():
    torch.manual_seed(0)
    ours, theirs = BothWays(4, 2, 0.0), torch.nn.GRU(4, 4, 2, batch_first=True, bidirectional=True)
    for layer, (ahead, back) in enumerate(zip(ours.ahead, ours.back, strict=True)):
        for name, parameter in ahead.named_parameters():
            theirs.get_parameter(f"{name[:-1]}{layer}").data.copy_(parameter)
        for name, parameter in back.named_parameters():
            theirs.get_parameter(f"{name[:-1]}{layer}_reverse").data.copy_(parameter)
    x, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = ours(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length])
