"""`torch.nn.MultiheadAttention` and what is made of it: against the weights that it gives, or those of softmax by hand."""

import copy
import itertools

import pytest
import torch
from torch import nn

from heedful.inspection import watch

B, N, M, WIDTH, H = 2, 5, 7, 12, 2


def layer(**options):
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, H, **options).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.7)
    return made


def weights_of(made, *args, **kwargs):
    """The layer's own weights, a head each."""
    with torch.no_grad():
        return copy.deepcopy(made)(*args, **kwargs, need_weights=True, average_attn_weights=False)[1]


def inputs(made, unbatched=False, same=False):
    width = (made.embed_dim, made.kdim, made.vdim)
    x = [torch.randn(B, n, w, dtype=torch.float64) for n, w in zip((N, M, M), width, strict=True)]
    x = [x[0]] * 3 if same else x
    if unbatched:
        return [x[0][0]] * 3 if same else [t[0] for t in x]
    if not made.batch_first:
        return [x[0].transpose(0, 1)] * 3 if same else [t.transpose(0, 1) for t in x]
    return x


KINDS = {
    "plain": {},
    "no bias": {"bias": False},
    "bias_kv": {"add_bias_kv": True},
    "zero_attn": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True},
    "other widths": {"kdim": 3, "vdim": 4},
}
hidden = torch.zeros(B, M, dtype=torch.bool)
hidden[1, 4:] = True
numbers = torch.randn(N, M, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
each = torch.rand(B * H, N, M, generator=torch.Generator().manual_seed(2)) > 0.6
MASKS = {
    "none": {},
    "padding": {"key_padding_mask": hidden},
    "mask": {"attn_mask": numbers > 0.8},
    "numbers": {"attn_mask": numbers},
    "a mask a head": {"attn_mask": each},
    "both": {"key_padding_mask": hidden, "attn_mask": numbers > 1},
    "both, numbers": {
        "key_padding_mask": torch.zeros(B, M, dtype=torch.float64).masked_fill(hidden, -torch.inf),
        "attn_mask": numbers,
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_every_kind_and_mask(kind, masks, need_weights):
    made = layer(**KINDS[kind], batch_first=True)
    x, options = inputs(made), MASKS[masks]
    out = made(*x, **options, need_weights=need_weights)[0]
    with watch(made) as seen:
        again = made(*x, **options, need_weights=need_weights)[0]
    assert torch.equal(out, again)
    assert not seen.unseen
    [call] = seen
    assert (call.module, call.kind, call.engine) == ("", "cross", "multi_head_attention_forward")
    torch.testing.assert_close(call.matrix.dense(), weights_of(made, *x, **options))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_layouts(batch_first, unbatched, same):
    made = layer(batch_first=batch_first)
    x = inputs(made, unbatched, same)
    with watch(made) as seen:
        made(*x)
    expected = weights_of(made, *x)
    torch.testing.assert_close(seen[0].matrix.dense(), expected)
    assert seen[0].kind == ("self" if same else "cross")
    assert seen[0].matrix.shape == ((H, N, x[1].shape[0]) if unbatched else (B, H, N, N if same else M))


def test_unbatched_with_masks_and_added_keys():
    made = layer(add_bias_kv=True, add_zero_attn=True)
    x = inputs(made, unbatched=True)
    options = {"key_padding_mask": hidden[1], "attn_mask": each[:H]}
    with watch(made) as seen:
        made(*x, **options)
    torch.testing.assert_close(seen[0].matrix.dense(), weights_of(made, *x, **options))


def test_static_keys():
    made = layer()
    query, key, value = inputs(made)
    static = torch.randn(B * H, M + 2, WIDTH // H, dtype=torch.float64)
    arguments = (
        query, key, value, WIDTH, H, made.in_proj_weight, made.in_proj_bias, None, None, False, 0.0,
        made.out_proj.weight, made.out_proj.bias,
    )  # fmt: skip
    options = {"static_k": static, "static_v": static, "average_attn_weights": False}
    with watch(made) as seen:
        _, expected = nn.functional.multi_head_attention_forward(*arguments, **options)
    torch.testing.assert_close(seen[0].matrix.dense(), expected)


def test_bool_masks_of_a_direct_call_say_what_is_hidden():
    made = layer()
    query, key, value = inputs(made)
    arguments = (
        query, key, value, WIDTH, H, made.in_proj_weight, made.in_proj_bias, None, None, True, 0.0,
        made.out_proj.weight, made.out_proj.bias,
    )  # fmt: skip
    for masks in ({"key_padding_mask": hidden}, {"attn_mask": each}, {"key_padding_mask": hidden, "attn_mask": each}):
        with watch(made) as seen:
            _, expected = nn.functional.multi_head_attention_forward(*arguments, **masks, average_attn_weights=False)
        torch.testing.assert_close(seen[0].matrix.dense(), expected)


def test_is_causal_is_computed_as_causal_whatever_the_mask_says():
    made = layer(batch_first=True)
    x = inputs(made, same=True)
    causal = nn.Transformer.generate_square_subsequent_mask(N, dtype=torch.float64)
    with watch(made) as seen:
        made(*x, attn_mask=causal, is_causal=True, need_weights=False)
        made(*x, attn_mask=causal, is_causal=True)
    for call in seen:
        torch.testing.assert_close(call.matrix.dense(), weights_of(made, *x, attn_mask=causal))
        assert call.causal


def self_weights(module, x, norm_first, **masks):
    """The weights of an encoder layer's attention, and the layer's output."""
    y = module.norm1(x) if norm_first else x
    return weights_of(module.self_attn, y, y, y, **masks)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("training", "padded", "batch_first", "norm_first"), list(itertools.product([False, True], repeat=4))
)
def test_encoder(training, padded, batch_first, norm_first):
    torch.manual_seed(0)
    one = nn.TransformerEncoderLayer(WIDTH, H, 16, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    model = nn.TransformerEncoder(one, 2, enable_nested_tensor=batch_first and not norm_first).double().train(training)
    x = torch.randn(B, N, WIDTH, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)
    lengths = torch.arange(N) >= torch.tensor([[N], [3]])
    options = {"src_key_padding_mask": lengths} if padded else {}
    with torch.set_grad_enabled(training):
        plain = model(x, **options)
        with watch(model) as seen:
            out = model(x, **options)
    fast = not training and batch_first
    positions = ~lengths if padded else torch.ones_like(lengths)
    ours, theirs = ((t if batch_first else t.transpose(0, 1))[positions] for t in (out, plain))
    assert torch.allclose(ours, theirs) if fast else torch.equal(ours, theirs)
    assert [call.module for call in seen] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert not seen.unseen
    masks = {"key_padding_mask": lengths} if padded else {}
    for module, call in zip(model.layers, seen, strict=True):
        torch.testing.assert_close(call.matrix.dense(), self_weights(module, x, norm_first, **masks))
        assert call.kind == "self"
        assert bool(call.notes) == fast
        with torch.no_grad():
            x = copy.deepcopy(module).train()(x, **{k.replace("key", "src_key"): v for k, v in masks.items()})
    if fast:
        nested = padded and not norm_first
        assert ("padded positions" in seen[0].notes[0]) == nested
        assert seen[0].notes[0] in str(seen)


def test_decoder():
    torch.manual_seed(0)
    one = nn.TransformerDecoderLayer(WIDTH, H, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerDecoder(one, 2).double().eval()
    x, memory = torch.randn(B, N, WIDTH, dtype=torch.float64), torch.randn(B, M, WIDTH, dtype=torch.float64)
    causal = nn.Transformer.generate_square_subsequent_mask(N, dtype=torch.float64)
    plain = model(x, memory, tgt_mask=causal, memory_key_padding_mask=hidden)
    with watch(model) as seen:
        out = model(x, memory, tgt_mask=causal, memory_key_padding_mask=hidden)
    assert torch.equal(out, plain)
    assert [(call.module, call.kind, call.causal) for call in seen] == [
        (f"layers.{i}.{name}", kind, causal)
        for i in range(2)
        for name, kind, causal in (("self_attn", "self", True), ("multihead_attn", "cross", False))
    ]
    first = model.layers[0]
    own = weights_of(first.self_attn, x, x, x, attn_mask=causal)
    torch.testing.assert_close(seen[0].matrix.dense(), own)
    x = first.norm1(x + first._sa_block(x, causal, None))
    cross = weights_of(first.multihead_attn, x, memory, memory, key_padding_mask=hidden)
    torch.testing.assert_close(seen[1].matrix.dense(), cross)


def test_the_whole_transformer_trains_as_before():
    torch.manual_seed(0)
    model = nn.Transformer(WIDTH, H, 1, 1, 16, dropout=0.1, batch_first=True).double()
    x, y = torch.randn(B, M, WIDTH, dtype=torch.float64), torch.randn(B, N, WIDTH, dtype=torch.float64)
    found = []
    for watching in (False, True):
        model.zero_grad()
        torch.manual_seed(5)
        if watching:
            with watch(model) as seen:
                out = model(x, y)
        else:
            out = model(x, y)
        out.square().sum().backward()
        found.append([out, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert [call.kind for call in seen] == ["self", "self", "cross"]


def test_a_layer_alone_leaves_its_fast_path_too():
    made = layer(batch_first=True).eval()
    x = inputs(made, same=True)
    with torch.no_grad(), watch(made) as seen:
        made(*x)
        made(x[0], x[0].clone(), x[0])
    assert [bool(call.notes) for call in seen] == [True, False]
    with watch(made) as seen:  # with gradients there is no fast path
        made(*x)
    assert not seen[0].notes
