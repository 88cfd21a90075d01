"""Scores and normalizers with tensors, within layers."""

import copy

import pytest
import torch
from torch import nn as torch_nn

from heedful import attention, nn, ops

WIDTH, INNER = 12, 7


def parameter(*sizes):
    return torch_nn.Parameter(torch.randn(*sizes))


LAYERS = {
    "SelfAttention": lambda **o: nn.SelfAttention(WIDTH, key_width=INNER, **o),
    "CrossAttention": lambda **o: nn.CrossAttention(WIDTH, key_width=INNER, **o),
    "MultiHeadAttention": lambda **o: nn.MultiHeadAttention(WIDTH * INNER, WIDTH, **o),
    "ParameterFreeAttention": lambda **o: nn.ParameterFreeAttention(**o),
}
layers = pytest.mark.parametrize("name", LAYERS)


def made(name, seed=0):
    torch.manual_seed(seed)
    alpha = torch_nn.Parameter(torch.rand(()) + 1.2)
    return LAYERS[name](score=ops.Additive(parameter(INNER)), normalize=ops.entmax(alpha))


def call(name, layer):
    width = {"MultiHeadAttention": WIDTH * INNER, "ParameterFreeAttention": INNER}.get(name, WIDTH)
    x = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(1)).to(next(layer.parameters()).dtype)
    return layer(x, x) if name in ("CrossAttention", "MultiHeadAttention") else layer(x)


@layers
def test_their_parameters_are_the_layers(name):
    layer = made(name)
    names = dict(layer.named_parameters())
    assert {"score_weight", "normalize_alpha"} <= set(names)
    call(name, layer).square().sum().backward()
    for own in ("score_weight", "normalize_alpha"):
        assert names[own].grad.abs().sum() > 0


@layers
def test_a_state_dict_brings_them_back(name):
    layer, other = made(name), made(name, seed=5)
    assert not torch.allclose(call(name, layer), call(name, other))
    other.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert torch.equal(call(name, layer), call(name, other))
    other.load_state_dict(made(name, seed=6).state_dict(), assign=True)
    assert torch.equal(call(name, made(name, seed=6)), call(name, other))


@layers
def test_they_are_moved_and_copied_with_the_layer(name):
    layer = made(name)
    expected = call(name, layer)
    twin = copy.deepcopy(layer).double()
    out = call(name, twin)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out, expected.double(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        twin.score_weight.mul_(-1)
    assert not torch.allclose(call(name, twin), out)
    assert torch.equal(call(name, layer), expected)


@layers
def test_functional_calls_reach_them(name):
    layer, other = made(name), made(name, seed=5)
    swapped = dict(other.named_parameters())

    class Model(torch_nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self):
            return call(name, self.layer)

    out = torch.func.functional_call(Model(), {f"layer.{n}": p for n, p in swapped.items()}, ())
    assert torch.equal(out, call(name, other))


def test_plain_tensors_are_buffers():
    layer = nn.SelfAttention(WIDTH, key_width=INNER, score=ops.Additive(torch.randn(INNER)))
    assert "score_weight" in dict(layer.named_buffers())
    assert "score_weight" not in dict(layer.named_parameters())
    layer = layer.double()
    assert layer(torch.randn(2, 5, WIDTH, dtype=torch.float64)).dtype == torch.float64


def test_an_optimizer_trains_them():
    layer = made("SelfAttention")
    before, optimizer = layer.score_weight.detach().clone(), torch.optim.SGD(layer.parameters(), lr=0.1)
    call("SelfAttention", layer).square().sum().backward()
    optimizer.step()
    assert not torch.equal(layer.score_weight, before)


@pytest.mark.parametrize("select", [ops.Soft(), ops.Hard(), ops.Sampled()], ids=str)
@pytest.mark.parametrize("normalize", [ops.relu, ops.entmax15], ids=str)
def test_every_argument_arrives(select, normalize):
    """Each layer is one call of the operator."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH)
    values = {"score": ops.Cosine(), "normalize": normalize, "select": select}
    own = {"pattern": ops.Causal("start"), "scale": 3.0, "softcap": 2.0, "seed": 7}
    drop = {"dropout": 0.3}

    layer = nn.CrossAttention(WIDTH, **values, **drop).train()
    q, k, v = layer.query_projection(x), layer.key_projection(y), layer.value_projection(y)
    bias = torch.randn(5, 7)
    torch.testing.assert_close(layer(x, y, bias=bias, **own), attention(q, k, v, bias=bias, **own, **values, **drop))
    torch.testing.assert_close(layer.eval()(x, y, **own), attention(q, k, v, **own, **values))

    layer = nn.SelfAttention(WIDTH, **values, **drop).train()
    q, k, v = layer.query_projection(x), layer.key_projection(x), layer.value_projection(x)
    torch.testing.assert_close(layer(x, **own), attention(q, k, v, **own, **values, **drop))

    layer = nn.ParameterFreeAttention(**values, **drop).train()
    torch.testing.assert_close(layer(x, **own), attention(x, x, x, **own, **values, **drop))

    layer = nn.MultiHeadAttention(WIDTH, 3, **values, **drop).train()
    q, k, v = (t.unflatten(-1, (3, -1)).transpose(1, 2) for t in (layer.in_proj_weight @ x.mT).mT.chunk(3, -1))
    expected = layer.out_proj(attention(q, k, v, **own, **values, **drop).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, **own), expected)


def test_sinks_arrive():
    torch.manual_seed(0)
    x, sinks = torch.randn(2, 5, WIDTH), torch.randn(3)
    layer = nn.MultiHeadAttention(WIDTH, 3)
    q, k, v = (t.unflatten(-1, (3, -1)).transpose(1, 2) for t in (layer.in_proj_weight @ x.mT).mT.chunk(3, -1))
    expected = layer.out_proj(attention(q, k, v, sinks=sinks).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, sinks=sinks), expected)


@layers
def test_dropout_acts_in_training_alone(name):
    torch.manual_seed(0)
    layer = LAYERS[name](dropout=0.5, score=ops.Additive(parameter(INNER)))
    assert not torch.equal(call(name, layer.train()), call(name, layer))
    assert torch.equal(call(name, layer.eval()), call(name, layer))
    with pytest.raises(ValueError, match="`dropout` must be at least 0 and less than 1: got 1.5"):
        LAYERS[name](dropout=1.5)


def test_parameter_free_attention_has_no_parameters():
    assert not list(nn.ParameterFreeAttention().parameters())


def test_a_source_of_another_width():
    with pytest.raises(ValueError, match=r"`source` must be \[batch, positions, width\] with width 5: got \[2, 7, 6\]"):
        nn.CrossAttention(6, 5)(torch.randn(2, 5, 6), torch.randn(2, 7, 6))
