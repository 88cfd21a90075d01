"""A batch of 0 samples, and samples of 0 positions: empty results, and gradients of 0."""

import pytest
import torch

import heedful
from heedful import nn, ops

SIZES = [(0, 5, 7), (2, 0, 7), (2, 5, 0), (0, 0, 0), (2, 0, 0)]
sizes = pytest.mark.parametrize(("batch", "positions", "keys"), SIZES)


def draw(*axes):
    return torch.randn(*axes, requires_grad=True)


def assert_nothing(out, axes, learned):
    """The output has these axes; what learns gets no gradient, or one of finite numbers, 0 where nothing came out."""
    assert out.shape == axes
    assert out.isfinite().all()
    if not out.requires_grad:
        return
    for grad in torch.autograd.grad(out.sum(), list(learned), allow_unused=True):
        assert grad is None or grad.isfinite().all()
        assert grad is None or out.numel() or not grad.any()


@sizes
@pytest.mark.parametrize("normalize", [ops.softmax, ops.sparsemax, ops.softmax1, ops.relu])
def test_attention_layers(batch, positions, keys, normalize):
    x, source = draw(batch, positions, 8), draw(batch, keys, 8)
    for layer in (
        nn.MultiHeadAttention(8, 2, normalize=normalize),
        nn.MultiHeadAttention(8, 4, key_heads=2, normalize=normalize),
        nn.MultiHeadAttention(8, 2, score=ops.Additive(torch.nn.Parameter(torch.randn(4))), normalize=normalize),
        nn.CrossAttention(8, normalize=normalize),
    ):
        assert_nothing(layer(x, source), x.shape, [x, source, *layer.parameters()])
    for layer in (
        nn.SelfAttention(8, normalize=normalize),
        nn.MultiHeadAttention(8, 2, rotary=nn.RotaryPositions(4), normalize=normalize),
        nn.ParameterFreeAttention(normalize=normalize),
    ):
        assert_nothing(layer(x), x.shape, [x, *layer.parameters()])


@sizes
@pytest.mark.parametrize("positioned", [None, nn.RotaryPositions(4), ops.ALiBi(2)])
def test_encoder_and_decoder(batch, positions, keys, positioned):
    x, source = draw(batch, positions, 8), draw(batch, keys, 8)
    encoder = nn.TransformerEncoder(8, 2, 2, dropout=0.1, drop_path=0.1, positions=positioned)
    assert_nothing(encoder(x, pattern=ops.Causal()), x.shape, [x, *encoder.parameters()])
    decoder = nn.TransformerDecoder(8, 2, 2, dropout=0.1, positions=positioned)
    assert_nothing(decoder(x, source), x.shape, [x, source, *decoder.parameters()])
    pool = nn.AttentionPooling(8, 2)
    assert_nothing(pool(x), (batch, 8), [x, *pool.parameters()])
    assert_nothing(heedful.reweight(x, source), x.shape, [x, source])


@sizes
@pytest.mark.parametrize("gradient", [False, True])
def test_caches(batch, positions, keys, gradient):
    layer, cache = nn.MultiHeadAttention(8, 2, rotary=nn.RotaryPositions(4)), nn.KeyValueCache()
    decoder = nn.TransformerDecoder(8, 2, 2)
    caches = decoder.caches()
    with torch.set_grad_enabled(gradient):
        for n in (positions, 0, 1):
            assert layer(draw(batch, n, 8), pattern=ops.Causal("end"), cache=cache).shape == (batch, n, 8)
            assert decoder(draw(batch, n, 8), draw(batch, keys, 8), caches=caches).shape == (batch, n, 8)
            cache.reorder(torch.arange(batch))
        assert cache.length == positions + 1
        cache.crop(0)
        assert layer(draw(batch, 1, 8), pattern=ops.Causal("end"), cache=cache).shape == (batch, 1, 8)
    fixed = nn.StaticKeyValueCache(batch, 2, 9, 4)
    assert (
        fixed.append(torch.zeros(batch, 2, positions, 4), torch.zeros(batch, 2, positions, 4))[0].shape[2] == positions
    )


def test_beams_of_no_source_or_no_sample():
    layer = nn.TransformerDecoderLayer(8, 2)
    assert layer(torch.zeros(0, 3, 8), torch.zeros(2, 5, 8)).shape == (0, 3, 8)
    with pytest.raises(ValueError, match="`sources` must be a positive divisor of `samples`: got 0 and 2"):
        layer(torch.zeros(2, 3, 8), torch.zeros(0, 5, 8))


@sizes
def test_positions(batch, positions, keys):
    x = draw(batch, positions, 8)
    for layer in (nn.SinusoidalPositions(8), nn.LearnedPositions(9, 8)):
        assert_nothing(layer(x), x.shape, [x, *layer.parameters()])
    for pairing in ("halves", "interleaved"):
        assert_nothing(ops.rotary(x, pairing=pairing), x.shape, [x])
    grid = draw(batch, positions, keys, 8)
    for layer in (nn.SinusoidalPositions(8), nn.LearnedPositions((9, 9), 8)):
        assert_nothing(layer(grid), grid.shape, [grid, *layer.parameters()])
