"""`torch.export`: the plain kernel as PyTorch's own operator, all else as the definition."""

import math

import pytest
import torch

import heedful

PLAIN = {
    "plain": {},
    "causal": {"pattern": heedful.Causal()},
    "lengths": {"pattern": heedful.Lengths(torch.tensor([5, 3]))},
    "cosine": {"score": heedful.Cosine(), "scale": 3.0},
}
DEFINED = {
    "a window": {"pattern": heedful.Local(2)},
    "a window or tokens": {"pattern": heedful.Local(1) & heedful.Causal() | heedful.GlobalTokens([0])},
    "a grid": {"pattern": heedful.Neighborhood2d(3, (2, 4))},
    "entmax15": {"normalize": heedful.entmax15},
    "sparsemax": {"normalize": heedful.sparsemax},
    "softmax1": {"normalize": heedful.softmax1},
    "relu": {"normalize": heedful.relu},
    "additive": {"score": heedful.Additive(torch.ones(4))},
    "softcap": {"softcap": 3.0},
    "alibi": {"pattern": heedful.Local(3), "bias": heedful.ALiBi(2)},
    "hard": {"select": heedful.Hard()},
}


class Layer(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value):
        return heedful.attention(query, key, value, **self.options)


@pytest.mark.parametrize("name", PLAIN | DEFINED)
def test_what_is_exported_computes_the_same(name):
    operands = tuple(torch.randn(2, 2, 8, 4) for _ in range(3))
    layer = Layer((PLAIN | DEFINED)[name])
    exported = torch.export.export(layer, operands, strict=False)
    others = tuple(torch.randn(2, 2, 8, 4) for _ in range(3))
    torch.testing.assert_close(exported.module()(*others), layer(*others), rtol=1e-5, atol=1e-5)
    names = {str(node.target) for node in exported.graph.nodes}
    assert name in DEFINED or "aten.scaled_dot_product_attention.default" in names


@pytest.mark.parametrize("name", ["lengths", "a window", "sparsemax", "alibi"])
def test_what_is_exported_finds_nan_where_it_may_be_seen(name):
    query, key, value = (torch.randn(2, 2, 8, 4) for _ in range(3))
    layer = Layer((PLAIN | DEFINED)[name])
    exported = torch.export.export(layer, (query, key, value), strict=False)
    key[:, :, 6] = math.nan
    torch.testing.assert_close(exported.module()(query, key, value), layer(query, key, value), equal_nan=True)


@pytest.mark.parametrize("engine", ["banded", "tiled", "flex"])
def test_an_engine_that_looks_at_numbers_cannot_be_exported(engine):
    operands = tuple(torch.randn(2, 2, 8, 4) for _ in range(3))
    with pytest.raises(ValueError, match=f"`engine` must be None, 'fused' or 'reference' .* got '{engine}'"):
        torch.export.export(Layer({"engine": engine}), operands, strict=False)
