"""The package x-transformers, which has many of the mechanisms as flags of one function."""

import warnings

import pytest
import torch

import heedful
from heedful import nn, ops

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of `torch.jit.script`
    from x_transformers.attend import Attend
    from x_transformers.x_transformers import (
        AlibiPositionalBias,
        Attention,
        RelativePositionBias,
        RotaryEmbedding,
        apply_rotary_pos_emb,
    )

# the same formula in the same dtype: rounding of sums of a few dozen numbers of size 1
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
# their softmax is float32 whatever is given, except for normalised queries and keys: 6e-8 a weight
FLOAT32 = {"rtol": 2e-6, "atol": 2e-6}
B, H, N, M, D, E = 2, 4, 7, 11, 6, 10


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def operands(queries=N, keys=M, groups=H, width=E):
    return [numbers(B, H, queries, D), numbers(B, groups, keys, D, seed=1), numbers(B, groups, keys, width, seed=2)]


def attend(*given, mask=None, attn_bias=None, **flags):
    # `qk_norm` here says only that softmax stays in the dtype that it is given
    return Attend(heads=H, qk_norm=True, **flags)(*given, mask=mask, attn_bias=attn_bias)[0]


def assert_equal(mine, theirs, given, tolerance=CLOSE):
    torch.testing.assert_close(mine, theirs, **tolerance)
    weights = torch.linspace(-3, 2, mine.numel(), dtype=mine.dtype).cos().view(mine.shape)
    found, expected = (torch.autograd.grad(out, given, weights) for out in (mine, theirs))
    for a, b in zip(found, expected, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, **tolerance)


MASK = torch.rand(B, 1, N, M, generator=torch.Generator().manual_seed(3)) > 0.5
MASK[:, :, 2] = False  # a row that sees nothing is 0 there too
KEYS = torch.arange(M) < torch.tensor([[M], [4]])
ALIBI = AlibiPositionalBias(heads=H)
FLAGS = {
    "plain": ({}, {}),
    "causal, as many": ({"causal": True}, {"pattern": ops.Causal()}),
    "causal, end": ({"causal": True}, {"pattern": ops.Causal("end")}),
    "key mask": ({"mask": KEYS}, {"pattern": ops.Lengths(torch.tensor([M, 4]))}),
    "mask": ({"mask": MASK}, {"pattern": ops.Mask(MASK)}),
    "causal, key mask": (
        {"causal": True, "mask": KEYS},
        {"pattern": ops.Causal("end") & ops.Lengths(torch.tensor([M, 4]))},
    ),
    "scale": ({"scale": 0.3}, {"scale": 0.3}),
    "ALiBi": ({"attn_bias": ALIBI(N, M)}, {"bias": ops.ALiBi(H, "end")}),
    "ALiBi, causal": (
        {"attn_bias": ALIBI(N, M), "causal": True},
        {"bias": ops.ALiBi(H, "end"), "pattern": ops.Causal("end")},
    ),
    "softclamp": ({"softclamp_logits": True, "logit_softclamp_value": 0.7}, {"softcap": 0.7}),
    "softclamp, causal": (
        {"softclamp_logits": True, "logit_softclamp_value": 2.0, "causal": True},
        {"softcap": 2.0, "pattern": ops.Causal("end")},
    ),
    "sigmoid": ({"sigmoid": True}, {"normalize": ops.Sigmoid(offset=0.0)}),
    "sigmoid, mask": ({"sigmoid": True, "mask": MASK}, {"normalize": ops.Sigmoid(offset=0.0), "pattern": ops.Mask(MASK)}),
    "l2 distance": ({"l2_distance": True, "scale": 0.3}, {"score": ops.Gaussian((2 * 0.3) ** -0.5)}),
    "l2 distance, causal": (
        {"l2_distance": True, "scale": 1.7, "causal": True},
        {"score": ops.Gaussian(), "scale": 2 * 1.7, "pattern": ops.Causal("end")},
    ),
    "zero key": ({"add_zero_kv": True}, {"normalize": ops.softmax1}),
    "zero key, mask": ({"add_zero_kv": True, "mask": KEYS}, {"normalize": ops.softmax1, "pattern": ops.Mask(KEYS[:, None, None])}),
    "hard": ({"hard": True}, {"select": ops.Hard()}),
    "hard, causal": ({"hard": True, "causal": True}, {"select": ops.Hard(), "pattern": ops.Causal("end")}),
    "another function": (
        {"custom_attn_fn": lambda s: ops.entmax15(s)},
        {"normalize": ops.entmax15},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_flags(name, engine):
    flags, options = FLAGS[name]
    given = operands(queries=M if name.endswith("as many") else N)
    # their distances are squares of roots of squared differences, ours are expanded: both lose some digits of 16
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if "l2" in name else CLOSE
    assert_equal(heedful.attention(*given, **options, engine=engine), attend(*given, **flags), given, tolerance)


@pytest.mark.parametrize("name", ["plain", "causal, end", "mask", "ALiBi", "key mask"])
def test_their_call_of_pytorch(name):
    """`flash=True` goes through `scaled_dot_product_attention`; a row that sees nothing is set to 0 there."""
    flags, options = FLAGS[name]
    given = operands()
    assert_equal(heedful.attention(*given, **options), attend(*given, **flags, flash=True), given)


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("masked", [False, True])
def test_sinks(engine, masked):
    given, sinks = operands(), numbers(H, seed=5)
    module = Attend(heads=H, qk_norm=True, head_learned_sink=True, causal=masked)
    module.head_attn_sink = torch.nn.Parameter(sinks.detach().clone())
    theirs = module(*given)[0]
    mine = heedful.attention(*given, sinks=sinks, pattern=ops.Causal("end") if masked else ops.Global(), engine=engine)
    weights = torch.linspace(-3, 2, mine.numel(), dtype=mine.dtype).cos().view(mine.shape)
    torch.testing.assert_close(mine, theirs, **CLOSE)
    found = torch.autograd.grad(mine, [*given, sinks], weights)
    expected = torch.autograd.grad(theirs, [*given, module.head_attn_sink], weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_heads(groups, engine):
    """There query head h reads key head h % G, here h // (H / G): the heads stand in another order."""
    query, key, value = given = operands(groups=groups)
    order = torch.arange(H).view(-1, groups).T.flatten()
    mine = heedful.attention(query[:, order], key, value, engine=engine)[:, order.argsort()]
    assert_equal(mine, attend(*given), given)


@pytest.mark.parametrize("causal", [False, True])
def test_relative_buckets(causal):
    """The buckets of T5, up to their last one."""
    n = 200
    theirs = RelativePositionBias(scale=1.0, causal=causal, num_buckets=32, max_distance=128, heads=H)
    table = theirs.relative_attention_bias.weight.detach().T
    bias = ops.RelativeBias(table, "log", max_distance=128, bidirectional=not causal, align="end")
    index = torch.arange(n)
    mine = bias.at(index[:, None], index[None], (H, n, n))
    assert torch.equal(mine, theirs(n, n))
    assert torch.equal(bias.at(index[:50, None], index[None], (H, 50, n)), theirs(50, n))


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12])
def test_alibi_slopes(heads):
    index = torch.arange(9)
    mine = ops.ALiBi(heads).at(index[:, None], index[None], (heads, 9, 9))
    torch.testing.assert_close(mine, AlibiPositionalBias(heads=heads)(9, 9), rtol=2e-7, atol=0)  # float32, one rounding


def test_rotary_positions():
    x = numbers(B, H, N, D)
    angles, _ = RotaryEmbedding(D)(torch.arange(N))
    # frequencies there are float32: half of 1e-7 of an angle of at most 7
    torch.testing.assert_close(
        ops.rotary(x, pairing="interleaved"), apply_rotary_pos_emb(x, angles), rtol=1e-6, atol=1e-6
    )


LAYERS = {
    "plain": ({}, {}, {}),
    "causal": ({"causal": True}, {}, {"pattern": ops.Causal()}),
    "cosine": ({"qk_norm": True, "qk_norm_scale": 7}, {"score": ops.Cosine()}, {"scale": 7.0}),
    "cosine, softclamp": (
        {"qk_norm": True, "softclamp_logits": True, "logit_softclamp_value": 3.0, "causal": True},
        {"score": ops.Cosine()},
        {"scale": 10.0, "softcap": 3.0, "pattern": ops.Causal()},
    ),
    "sigmoid": ({"sigmoid": True}, {"normalize": ops.Sigmoid(offset=0.0)}, {}),
    "l2 distance": ({"l2_distance": True}, {"score": ops.Gaussian()}, {"scale": 2 * D**-0.5}),
    "zero key": ({"add_zero_kv": True}, {"normalize": ops.softmax1}, {}),
    "one key head": ({"one_kv_head": True}, {"key_heads": 1}, {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_their_weights(name):
    flags, options, call = LAYERS[name]
    theirs = Attention(H * D, heads=H, dim_head=D, **flags).double()
    mine = nn.MultiHeadAttention(H * D, H, bias=False, **options).double()
    with torch.no_grad():
        mine.in_proj_weight.copy_(torch.cat([theirs.to_q.weight, theirs.to_k.weight, theirs.to_v.weight]))
        mine.out_proj.weight.copy_(theirs.to_out.weight)
    x = numbers(B, N, H * D)
    assert_equal(mine(x, **call), theirs(x), [x], CLOSE if "qk_norm" in flags or "sigmoid" in flags else FLOAT32)
