import copy
import itertools
import pickle

import pytest
import torch
from torch import nn as torch_nn

import heedful
from heedful import nn
from heedful.nn import convert
from heedful.nn.convert import FromTorch

B, N, M, WIDTH, HEADS = 2, 5, 7, 12, 4
CLOSE = {"rtol": 1e-12, "atol": 1e-12}

OPTIONS = {
    "plain": {},
    "no offsets": {"bias": False},
    "other widths": {"kdim": 11, "vdim": 13},
    "other widths, no offsets": {"kdim": 11, "vdim": 13, "bias": False},
    "one more key": {"add_bias_kv": True},
    "a key of zeros": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True, "kdim": 11, "vdim": 13},
}


def hidden(*shape):
    """True = hidden, as PyTorch has it; every row sees its first key."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(3)) > 0.6
    mask[..., 0] = False
    return mask


def numbers(*shape):
    added = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return added.masked_fill(hidden(*shape), -torch.inf)


PADDING = torch.arange(M) >= torch.tensor([[M], [4]])
MASKS = {
    "none": {},
    "padding": {"key_padding_mask": PADDING},
    "numbers for keys": {"key_padding_mask": numbers(B, M)},
    "mask": {"attn_mask": hidden(N, M)},
    "mask of each head": {"attn_mask": hidden(B * HEADS, N, M)},
    "numbers": {"attn_mask": numbers(N, M)},
    "numbers of each head and for keys": {"attn_mask": numbers(B * HEADS, N, M), "key_padding_mask": numbers(B, M)},
    "mask, padding": {"attn_mask": hidden(N, M), "key_padding_mask": PADDING},
    "causal": {"attn_mask": ~torch.ones(N, M).tril().bool(), "is_causal": True},
    "causal, padding": {"attn_mask": ~torch.ones(N, M).tril().bool(), "is_causal": True, "key_padding_mask": PADDING},
}


def layer(batch_first=True, **options):
    torch.manual_seed(0)
    made = torch_nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first, dtype=torch.float64, **options)
    for p in made.parameters():
        torch_nn.init.normal_(p, std=0.4)
    return made


def operands(options, batch_first=True):
    generator = torch.Generator().manual_seed(1)
    shapes = [(B, N, WIDTH), (B, M, options.get("kdim", WIDTH)), (B, M, options.get("vdim", WIDTH))]
    made = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    return [x if batch_first else x.transpose(0, 1).contiguous() for x in made]


def of_one_sample(masks):
    """The masks of an input without a batch."""
    masks = dict(masks)
    if "key_padding_mask" in masks:
        masks["key_padding_mask"] = masks["key_padding_mask"][1]
    if masks.get("attn_mask", torch.empty(0)).dim() == 3:
        masks["attn_mask"] = masks["attn_mask"][:HEADS]
    return masks


def assert_same(ours, theirs, inputs, **call):
    """Outputs, weights and the gradients of inputs, parameters and masks of numbers."""
    results = []
    for module in (ours, theirs):
        module.zero_grad()
        mine = [x.clone().requires_grad_() for x in inputs]
        masks = {name: m.clone() if torch.is_tensor(m) else m for name, m in call.items()}
        learned = [m.requires_grad_() for m in masks.values() if torch.is_tensor(m) and m.is_floating_point()]
        out, weights = module(*mine, **masks)
        loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
        if weights is not None:
            loss = loss + (weights.square() * torch.arange(weights.shape[-1])).sum()
        loss.backward()
        grads = [x.grad for x in [*mine, *learned]] + [p.grad for _, p in sorted(module.named_parameters())]
        results.append((out, weights, grads))
    (out, weights, grads), (his_out, his_weights, his_grads) = results
    torch.testing.assert_close(out, his_out, **CLOSE)
    assert (weights is None) == (his_weights is None)
    if weights is not None:
        torch.testing.assert_close(weights, his_weights, **CLOSE)
    assert len(grads) >= 5
    for a, b in zip(grads, his_grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("weights", ["none", "mean", "each head"])
def test_what_pytorchs_layer_gives(options, masks, weights):
    theirs = layer(**options)
    ours = nn.from_torch(theirs, copy=True)
    asked = {"need_weights": weights != "none", "average_attn_weights": weights == "mean"}
    assert_same(ours, theirs, operands(options), **masks, **asked)


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize(("batch_first", "batched"), [(False, True), (False, False), (True, False)])
@pytest.mark.parametrize("weights", [False, True])
def test_other_layouts(masks, batch_first, batched, weights):
    options = {"add_bias_kv": True, "add_zero_attn": True}
    theirs = layer(batch_first, **options)
    ours = nn.from_torch(theirs, copy=True)
    inputs = operands(options, batch_first)
    if not batched:
        inputs, masks = [x[0] if batch_first else x[:, 0] for x in inputs], of_one_sample(masks)
    assert_same(ours, theirs, inputs, **masks, need_weights=weights)


@pytest.mark.parametrize("shared", ["self-attention", "key is value"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_shared_inputs(shared, batch_first):
    theirs = layer(batch_first)
    ours = nn.from_torch(theirs, copy=True)
    query, key, _ = operands({}, batch_first)
    inputs = (query, query, query) if shared == "self-attention" else (query, key, key)
    for a, b in zip(ours(*inputs), theirs(*inputs), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_cases_of_pytorchs_own_tests(batch_first):
    """Three heads of one feature, no batch, the last key hidden once, twice or not."""
    last, flags, cases = torch.tensor([False, False, True]), (False, True), 0
    x = [torch.randn(3, 3, dtype=torch.float64) for _ in range(3)]
    for bias, key, zeros, padded, masked in itertools.product(flags, repeat=5):
        options = {"bias": bias, "add_bias_kv": key, "add_zero_attn": zeros, "batch_first": batch_first}
        theirs = torch_nn.MultiheadAttention(3, 3, **options, dtype=torch.float64)
        call = {"key_padding_mask": last if padded else None, "attn_mask": last.expand(3, 3, 3) if masked else None}
        for a, b in zip(nn.from_torch(theirs, copy=True)(*x, **call), theirs(*x, **call), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
            cases += 1
    assert cases == 64


def test_in_place_with_the_same_parameters_names_and_hooks():
    model = torch_nn.Sequential(torch_nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True), torch_nn.ReLU())
    before, names, attention = dict(model.named_parameters()), list(model.state_dict()), model[0].self_attn
    calls = []
    handle = attention.register_forward_hook(lambda *_: calls.append(1))
    assert nn.from_torch(model) is model
    assert model[0].self_attn is attention
    assert type(attention) is FromTorch
    assert list(model.state_dict()) == names
    assert all(p is before[name] for name, p in model.named_parameters())
    model(torch.randn(B, N, WIDTH))
    handle.remove()
    model(torch.randn(B, N, WIDTH))
    assert calls == [1]
    assert nn.from_torch(model) is model


def test_a_copy_leaves_the_model_as_it_was():
    theirs = layer()
    ours = nn.from_torch(theirs, copy=True)
    assert type(theirs) is torch_nn.MultiheadAttention
    assert theirs._qkv_same_embed_dim
    assert ours.in_proj_weight is not theirs.in_proj_weight
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(other) is FromTorch
        x, _, _ = operands({})
        assert torch.equal(other(x, x, x)[0], ours(x, x, x)[0])


def test_what_is_no_such_layer():
    class Own(torch_nn.MultiheadAttention):
        pass

    model = torch_nn.ModuleList([Own(WIDTH, HEADS), layer()])
    nn.from_torch(model)
    assert [type(m) for m in model] == [Own, FromTorch]
    with pytest.raises(
        ValueError, match=r"must contain a torch.nn.MultiheadAttention \(not a subclass of it\): got Own"
    ):
        nn.from_torch(Own(WIDTH, HEADS))


def test_what_is_no_module():
    with pytest.raises(TypeError, match="`module` must be a torch.nn.Module: got int."):
        nn.from_torch(3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_sample_that_is_all_padding_is_never_nan(training, weights, gradient):
    ours = nn.from_torch(layer()).train(training)
    x = torch.randn(B, N, WIDTH, dtype=torch.float64, requires_grad=gradient)
    with torch.set_grad_enabled(gradient):
        padding = torch.tensor([[False] * N, [True] * N])
        out, given = ours(x, x, x, key_padding_mask=padding, need_weights=weights)
    torch.testing.assert_close(out[1], ours.out_proj.bias.expand(N, WIDTH))
    assert not weights or not given[1].any()
    if gradient:
        out.sum().backward()
        assert all(p.grad.isfinite().all() for p in [x, *ours.parameters()])


def test_nan_in_padding_stays_there():
    ours = nn.from_torch(layer())
    x = torch.randn(B, N, WIDTH, dtype=torch.float64)
    padding = torch.arange(N) >= torch.tensor([[N], [3]])
    for mask in (padding, torch.zeros(B, N, dtype=torch.float64).masked_fill(padding, -torch.inf)):
        clean = ours(x[:, :3], x, x, key_padding_mask=mask)[0]
        dirty = x.masked_fill(padding[..., None], torch.nan)
        assert torch.equal(ours(x[:, :3], dirty, dirty, key_padding_mask=mask)[0], clean)


def causal_mask(n):
    return torch_nn.Transformer.generate_square_subsequent_mask(n, dtype=torch.float64)


MODES = [
    pytest.param(*mode, id=f"{'train' if mode[0] else 'eval'}{', gradient' if mode[1] else ''}")
    for mode in itertools.product([False, True], repeat=2)
]


@pytest.mark.parametrize(("training", "gradient"), MODES)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", ["none", "padding", "causal", "causal, padding", "causal hint"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors")
def test_in_an_encoder(training, gradient, norm_first, batch_first, masks):
    torch.manual_seed(0)
    block = torch_nn.TransformerEncoderLayer(
        WIDTH, HEADS, 20, dropout=0.0, batch_first=batch_first, norm_first=norm_first, dtype=torch.float64
    )
    theirs = torch_nn.TransformerEncoder(block, 2).train(training)
    ours = nn.from_torch(theirs, copy=True)
    x = torch.randn(B, N, WIDTH, dtype=torch.float64)
    padding = torch.arange(N) >= torch.tensor([[N], [3]])
    call = {}
    if "padding" in masks:
        call["src_key_padding_mask"] = padding
    if "causal" in masks:
        call["mask"] = causal_mask(N) if masks != "causal, padding" else causal_mask(N) != 0
    if "hint" in masks:
        call["is_causal"] = True
    x = x if batch_first else x.transpose(0, 1)
    with torch.set_grad_enabled(gradient), heedful.inspection.watch(ours) as seen:
        watched = ours(x, **call)
    assert [call.module for call in seen] == ["layers.0.self_attn", "layers.1.self_attn"]
    with torch.set_grad_enabled(gradient):
        out, expected = ours(x, **call), theirs(x, **call)
    torch.testing.assert_close(out, expected, **CLOSE)
    if batch_first and "padding" in masks:  # PyTorch's own two paths differ behind the end of a sample
        watched, expected = watched[1, :3], expected[1, :3]
    torch.testing.assert_close(watched, expected, **CLOSE)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_fast_paths_do_not_go_around_it(monkeypatch):
    block = torch_nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True, dtype=torch.float64)
    ours = nn.from_torch(torch_nn.TransformerEncoder(block, 2)).eval()
    calls = []
    monkeypatch.setattr(convert, "attention", lambda *args, **more: calls.append(1) or heedful.attention(*args, **more))
    x, padding = torch.randn(B, N, WIDTH, dtype=torch.float64), torch.tensor([[False] * N, [True] * N])
    with torch.no_grad():
        ours(x), ours(x, src_key_padding_mask=padding), ours(x, mask=causal_mask(N)), ours.layers[0](x)
    assert len(calls) == 7  # in each of the two layers three times, and once more


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("average", [False, True])
def test_nested_tensors(average):
    theirs = layer().eval()
    ours = nn.from_torch(theirs, copy=True)
    x = torch.nested.nested_tensor([torch.randn(n, WIDTH, dtype=torch.float64) for n in (5, 3)])
    with torch.no_grad():
        (out, weights), (his_out, his_weights) = (m(x, x, x, average_attn_weights=average) for m in (ours, theirs))
    torch.testing.assert_close(weights, his_weights, **CLOSE)
    for a, b in zip(out.unbind(), his_out.unbind(), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    with pytest.raises(ValueError, match="a nested tensor must come without masks"):
        ours(x, x, x, key_padding_mask=torch.zeros(2, 5).bool())


@pytest.mark.parametrize(("training", "gradient"), MODES)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors")
def test_in_a_whole_transformer(training, gradient):
    torch.manual_seed(0)
    theirs = torch_nn.Transformer(
        WIDTH, HEADS, 2, 2, 20, dropout=0.0, batch_first=True, dtype=torch.float64
    ).train(training)  # fmt: skip
    ours = nn.from_torch(theirs, copy=True)
    source, target = torch.randn(B, M, WIDTH, dtype=torch.float64), torch.randn(B, N, WIDTH, dtype=torch.float64)
    padding, target_padding = PADDING, torch.arange(N) >= torch.tensor([[N], [3]])
    for call in (
        {},
        {"tgt_mask": causal_mask(N), "tgt_is_causal": True},
        {"tgt_mask": causal_mask(N) != 0, "src_key_padding_mask": padding, "memory_key_padding_mask": padding},
        {"tgt_mask": causal_mask(N) != 0, "tgt_key_padding_mask": target_padding},
    ):
        with torch.set_grad_enabled(gradient):
            torch.testing.assert_close(ours(source, target, **call), theirs(source, target, **call), **CLOSE)
    if gradient:
        grads = [torch.autograd.grad(m(source, target).square().sum(), list(m.parameters())) for m in (ours, theirs)]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_half_precision():
    theirs = layer().to(torch.bfloat16)
    ours = nn.from_torch(theirs, copy=True)
    x = torch.randn(B, N, WIDTH).bfloat16()
    for a, b in zip(ours(x, x, x), theirs(x, x, x), strict=True):
        assert a.dtype == b.dtype == torch.bfloat16
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"key": torch.randn(B, M, 3)}, ValueError, r"`key` must be \[batch, positions, width\], or all .* width 12: got \[2, 7, 3\]"),
        ({"value": torch.randn(M, WIDTH)}, ValueError, r"`value` must be \[batch, positions, width\], .*: got \[7, 12\]"),
        ({"is_causal": True}, ValueError, "`attn_mask` must be given where `is_causal` says that it is causal: got None"),
        ({"attn_mask": torch.zeros(N, M).long()}, TypeError, r"`attn_mask` must be bool \(True = hidden\) or .*: got torch.int64"),
        ({"attn_mask": torch.zeros(M, N)}, ValueError, r"`attn_mask` must be \[5, 7\] or \[8, 5, 7\]: got \[7, 5\]"),
        ({"key_padding_mask": torch.zeros(M)}, ValueError, r"`key_padding_mask` must be \[2, 7\]: got \[7\]"),
    ],
)  # fmt: skip
def test_calls_that_do_not_fit(call, error, message):
    query, key, value = (x.float() for x in operands({}))
    with pytest.raises(error, match=message):
        nn.from_torch(layer().float())(**{"query": query, "key": key, "value": value} | call)


@pytest.mark.parametrize(("training", "gradient"), MODES)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors")
def test_an_encoder_whose_samples_are_all_padding(training, gradient, norm_first, closed):
    torch.manual_seed(0)
    block = torch_nn.TransformerEncoderLayer(WIDTH, HEADS, 20, dropout=0.0, batch_first=True, norm_first=norm_first)
    norm = torch_nn.LayerNorm(WIDTH) if closed else None
    ours = nn.from_torch(torch_nn.TransformerEncoder(block, 2, norm).train(training))
    assert isinstance(ours, torch_nn.TransformerEncoder)
    x, padding = torch.randn(B, N, WIDTH), torch.ones(B, N).bool()
    for hidden_ in (padding, torch.zeros(B, N).masked_fill(padding, -torch.inf)):
        with torch.set_grad_enabled(gradient):
            out = ours(x, src_key_padding_mask=hidden_)
        assert out.shape == x.shape
        assert out.isfinite().all()
        if not (training or gradient or norm_first):
            assert torch.equal(out, torch.zeros_like(x) if norm is None else norm(torch.zeros_like(x)))
    some = padding.clone()
    some[0, :3] = False
    with torch.set_grad_enabled(gradient):
        out = ours(x, src_key_padding_mask=some)
        torch.testing.assert_close(out[0, :3], ours(x[:1, :3])[0])
    assert out.isfinite().all()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_without_positions():
    ours = nn.from_torch(torch_nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)).eval()
    empty = torch.nested.as_nested_tensor([torch.zeros(0, WIDTH)] * 3)
    with torch.no_grad():
        out, weights = ours(empty, empty, empty)
    assert [part.shape for part in out.unbind()] == [(0, WIDTH)] * 3
    assert weights.shape == (3, 0, 0)


def test_an_encoder_of_other_layers_is_left_alone():
    class Own(torch_nn.MultiheadAttention):
        pass

    block = torch_nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True)
    block.self_attn.__class__ = Own
    encoder = torch_nn.TransformerEncoder(block, 1, enable_nested_tensor=False)
    both = nn.from_torch(torch_nn.ModuleList([encoder, torch_nn.MultiheadAttention(WIDTH, HEADS)]))
    assert type(both[0]) is torch_nn.TransformerEncoder
    assert type(both[1]) is FromTorch
