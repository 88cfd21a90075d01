import itertools

import pytest
import torch
from torch import nn as torch_nn

from heedful import nn, ops


def pair(**options):
    torch.manual_seed(0)
    theirs = torch_nn.MultiheadAttention(12, 3, batch_first=True, **options).double().eval()
    ours = nn.MultiHeadAttention(
        12, 3, bias=options.get("bias", True), key_width=options.get("kdim"), value_width=options.get("vdim")
    ).double()
    for p in theirs.parameters():
        torch_nn.init.normal_(p, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"kdim": 5, "vdim": 7}, {"kdim": 5, "vdim": 7, "bias": False}], ids=str
)
@pytest.mark.parametrize("training", [False, True])
def test_pytorchs_weights_give_pytorchs_output_and_gradients(options, training):
    ours, theirs = (layer.train(training) for layer in pair(**options))
    query = torch.randn(2, 5, 12, dtype=torch.float64)
    key = torch.randn(2, 7, options.get("kdim", 12), dtype=torch.float64)
    value = torch.randn(2, 7, options.get("vdim", 12), dtype=torch.float64)
    allowed = torch.rand(5, 7) > 0.3
    allowed[:, 0] = True
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    expected, _ = theirs(query, key, value, attn_mask=~allowed, key_padding_mask=padding, need_weights=False)
    out = ours(query, key, value, pattern=ops.Mask(allowed) & ops.Lengths(torch.tensor([7, 4])))
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    grads = {name: p.grad for name, p in theirs.named_parameters()}
    assert len(grads) >= 2
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, grads[name])


def test_self_attention_equals_pytorchs():
    ours, theirs = pair()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])
    causal = torch_nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    torch.testing.assert_close(ours(x, pattern=ops.Causal()), theirs(x, x, x, attn_mask=causal)[0])


@pytest.mark.parametrize(("training", "gradient"), [*itertools.product([False, True], repeat=2)])
def test_a_fully_padded_sample_where_pytorchs_own_is_nan(training, gradient):
    ours, theirs = (layer.train(training) for layer in pair())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    padding = torch.tensor([[False] * 5, [True] * 5])
    with torch.set_grad_enabled(gradient):
        out = ours(x, pattern=ops.Lengths(torch.tensor([5, 0])))
        assert theirs(x, x, x, key_padding_mask=padding)[0].isnan().any()
    assert torch.equal(out[1], ours.out_proj.bias.expand(5, 12))
    if gradient:
        out.sum().backward()
        assert all(p.grad.isfinite().all() for p in ours.parameters())


def test_grouped_heads_share_keys():
    torch.manual_seed(0)
    grouped, full = nn.MultiHeadAttention(12, 6, key_heads=2), nn.MultiHeadAttention(12, 6)
    state = grouped.state_dict()
    q, k, v = state["in_proj_weight"].split([12, 4, 4])
    shared = [t.unflatten(0, (2, 2)).repeat_interleave(3, 0).flatten(0, 1) for t in (k, v)]
    state["in_proj_weight"] = torch.cat([q, *shared])
    state["in_proj_bias"] = torch.zeros(36)
    full.load_state_dict(state)
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(grouped(x), full(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 12, "heads": 5}, "`heads` must be a positive divisor of `width`: got 5 and 12"),
        ({"width": 12, "heads": 0}, "`heads` must be a positive divisor of `width`: got 0 and 12"),
        ({"width": 12, "heads": 4, "key_heads": 3}, "`key_heads` must be a positive divisor of `heads`: got 3 and 4"),
    ],
)
def test_sizes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.MultiHeadAttention(**arguments)


def test_inputs_that_do_not_fit():
    layer = nn.MultiHeadAttention(12, 3, key_width=5)
    with pytest.raises(ValueError, match=r"`key` must be \[batch, positions, width\] with width 5: got \[2, 7, 6\]"):
        layer(torch.randn(2, 5, 12), torch.randn(2, 7, 6), torch.randn(2, 7, 12))
    with pytest.raises(ValueError, match="`width` must be positive: got 0"):
        nn.SelfAttention(0)
