"""Every layer x every law."""

import copy

import pytest
import torch
from torch import nn as torch_nn

from heedful import nn, ops

B, N, WIDTH = 3, 5, 24


class OnItself(torch_nn.Module):
    """A layer of two sequences, given one of them twice."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, **call):
        return self.layer(x, x, **call)


EVERYTHING = ops.Global()


class WithSource(torch_nn.Module):
    """A decoder that sees all of what was written, beside a source."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.register_buffer("source", torch.randn(1, 5, 7))

    def forward(self, x, pattern=EVERYTHING, **call):
        return self.layer(x, self.source.expand(len(x), -1, -1), pattern=pattern, **call)


def learned(*sizes):
    return torch_nn.Parameter(torch.randn(*sizes))


LAYERS = {
    "SelfAttention": lambda: nn.SelfAttention(WIDTH, key_width=7, value_width=WIDTH),
    "SelfAttention, additive": lambda: nn.SelfAttention(WIDTH, key_width=7, score=ops.Additive(learned(7))),
    "CrossAttention": lambda: OnItself(nn.CrossAttention(WIDTH, key_width=7, dropout=0.2)),
    "ParameterFreeAttention": lambda: nn.ParameterFreeAttention(),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(WIDTH, 4, key_heads=2, dropout=0.2),
    "MultiHeadAttention, bilinear, entmax": lambda: nn.MultiHeadAttention(
        WIDTH, 4, score=ops.Bilinear(learned(4, 6, 6)), normalize=ops.entmax(torch_nn.Parameter(torch.tensor(1.3)))
    ),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(WIDTH, 3, dropout=0.2, drop_path=0.3, norm="post"),
    "TransformerDecoderLayer": lambda: WithSource(nn.TransformerDecoderLayer(WIDTH, 3, source_width=7, dropout=0.2)),
    "TransformerDecoder": lambda: WithSource(nn.TransformerDecoder(WIDTH, 3, 2, source_width=7, norm="post")),
    "TransformerEncoder": lambda: nn.TransformerEncoder(WIDTH, 3, 2, dropout=0.2, drop_path=0.3),
    "AttentionPooling": lambda: _moved(nn.AttentionPooling(WIDTH, 2)),
    "SinusoidalPositions": lambda: nn.SinusoidalPositions(WIDTH),
    "LearnedPositions": lambda: nn.LearnedPositions(11, WIDTH),
}
# not from one sequence to one result: tried in tests/nn; those of feature maps in test_image.py
OTHERS = {
    "AttentiveStatistics",
    "ChannelAttention",
    "ConvAttention2d",
    "HeadOffset",
    "DualAttention",
    "SelfAttention2d",
    "SpatialAttention",
    "DecoderCache",
    "StaticKeyValueCache",
    "KeyValueCache",
    "LearnedALiBi",
    "LearnedRelativeBias",
    "RotaryPositions",
}
ATTENDING = [name for name in LAYERS if "Positions" not in name]
layers = pytest.mark.parametrize("name", LAYERS)
attending = pytest.mark.parametrize("name", ATTENDING)


def _moved(layer):
    torch_nn.init.normal_(layer.query)
    return layer


def made(name, dtype=torch.float64):
    torch.manual_seed(0)
    return LAYERS[name]().to(dtype).eval()


def inputs(dtype=torch.float64):
    return torch.randn(B, N, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_the_table_is_complete():
    assert {name for name in nn.__all__ if isinstance(getattr(nn, name), type)} == {
        name.split(",")[0] for name in LAYERS
    } | OTHERS


@attending
def test_permuting_the_inputs_permutes_the_outputs(name):
    layer, x, order = made(name), inputs(), torch.randperm(N)
    expected = layer(x) if name == "AttentionPooling" else layer(x)[:, order]
    torch.testing.assert_close(layer(x[:, order]), expected)


@pytest.mark.parametrize("positions", ["SinusoidalPositions", "LearnedPositions"])
def test_positions_break_that(positions):
    place, layer, x = made(positions), made("TransformerEncoder"), inputs()
    order = torch.tensor([1, 0, *range(2, N)])
    assert not torch.allclose(layer(place(x[:, order])), layer(place(x))[:, order], atol=1e-3)


@layers
def test_a_batch_is_its_samples_one_by_one(name):
    layer, x = made(name), inputs()
    torch.testing.assert_close(layer(x), torch.cat([layer(sample[None]) for sample in x]))


@attending
def test_padding_is_as_if_it_were_not_there(name):
    layer, x = made(name), inputs()
    lengths = torch.tensor([N, 2, 3])
    out = layer(x, pattern=ops.Lengths(lengths))
    for sample, result, length in zip(x, out, lengths.tolist(), strict=True):
        alone = layer(sample[None, :length])[0]
        torch.testing.assert_close(result if name == "AttentionPooling" else result[:length], alone)


@attending
@pytest.mark.parametrize("training", [False, True])
def test_a_fully_padded_sample_is_finite_and_so_are_all_gradients(name, training):
    layer, x = made(name).train(training), inputs().requires_grad_()
    out = layer(x, pattern=ops.Lengths(torch.tensor([N, 0, 3])))
    assert out.isfinite().all()
    out[[0, 2]].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [x, *layer.parameters()])


@attending
def test_the_future_does_not_leak(name):
    if name == "AttentionPooling":
        pytest.skip("one query has no future")
    layer, x = made(name), inputs()
    changed = x.clone()
    changed[:, 3:] = x[:, 3:].flip(-1)
    before, after = layer(x, pattern=ops.Causal()), layer(changed, pattern=ops.Causal())
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=1e-13, atol=1e-13)
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@layers
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_dtype_is_kept(name, dtype):
    out = made(name, dtype)(inputs(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), made(name)(inputs()), rtol=0.05, atol=0.1)


@layers
def test_state_dict_round_trip(name):
    layer, x = made(name), inputs()
    torch.manual_seed(5)
    other = LAYERS[name]().double().eval()
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert torch.equal(other(x), layer(x))


@layers
def test_evaluation_is_deterministic_and_leaves_the_input_alone(name):
    layer, x = made(name), inputs()
    before = x.clone()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(x, before)


@layers
def test_gradcheck(name):
    layer, x = made(name), inputs()[:2, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,), atol=1e-5)


@layers
def test_what_does_not_fit(name):
    if name == "ParameterFreeAttention":
        pytest.skip("any width fits")
    with pytest.raises(ValueError, match=r"`(x|query)` must be .*width.* 24: got \[2, 5, 23\]"):
        made(name)(torch.randn(2, 5, 23, dtype=torch.float64))
