"""Calls of PyTorch's kernel: every captured matrix against softmax by hand, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as imported_early

from heedful import ops
from heedful.inspection import watch

N, M, D, E, B, H = 7, 11, 5, 3, 2, 4


def by_hand(query, key, mask=None, is_causal=False, scale=None):
    """softmax(q k^T scale + mask), rows that see nothing 0."""
    if key.dim() > 3 and key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        i, j = torch.arange(query.shape[-2])[:, None], torch.arange(key.shape[-2])
        scores = scores.masked_fill(j > i, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).nan_to_num(0)


def draw(*lead, n=N, m=M, kv_heads=None):
    query = torch.randn(*lead, n, D, dtype=torch.float64)
    if kv_heads:
        lead = (*lead[:-1], kv_heads)
    return query, torch.randn(*lead, m, D, dtype=torch.float64), torch.randn(*lead, m, E, dtype=torch.float64)


hidden = torch.rand(B, 1, N, M, generator=torch.Generator().manual_seed(1)) > 0.4
hidden[0, 0, 2] = False  # a row of nothing
numbers = torch.randn(H, N, M, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
CASES = {
    "plain": ((B, H), {}),
    "bool mask": ((B, H), {"attn_mask": hidden}),
    "numbers": ((B, H), {"attn_mask": numbers}),
    "numbers that hide": ((B, H), {"attn_mask": numbers.masked_fill(~hidden, -torch.inf)}),
    "padding": ((B, H), {"attn_mask": (torch.arange(M) < torch.tensor([[11], [4]]))[:, None, None]}),
    "a mask of keys": ((B, H), {"attn_mask": torch.arange(M)[None] > 2}),
    "causal": ((B, H), {"is_causal": True}),
    "scale": ((B, H), {"scale": 0.3}),
    "three axes": ((B,), {"attn_mask": hidden[:, 0]}),
    "two axes": ((), {"is_causal": True}),
    "five axes": ((3, B, H), {"attn_mask": hidden}),
    "grouped heads": ((B, H), {"enable_gqa": True, "kv_heads": 2}),
    "one query": ((B, H), {"n": 1}),
    "one head for all": ((B, H), {"kv_heads": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_matrix_equals_softmax_by_hand(name):
    torch.manual_seed(0)
    lead, options = CASES[name]
    options = dict(options)
    query, key, value = draw(*lead, n=options.pop("n", N), kv_heads=options.pop("kv_heads", None))
    plain = F.scaled_dot_product_attention(query, key, value, **options)
    with watch(nn.Identity()) as seen:
        out = F.scaled_dot_product_attention(query, key, value, **options)
    assert torch.equal(out, plain)
    assert not seen.unseen
    [call] = seen
    expected = by_hand(query, key, options.get("attn_mask"), options.get("is_causal", False), options.get("scale"))
    torch.testing.assert_close(call.matrix.dense(), expected)
    assert call.engine == "scaled_dot_product_attention"
    assert call.module == ""
    if key.dim() < 4 or key.shape[-3] == query.shape[-3] or options.get("enable_gqa"):
        values = value.repeat_interleave(2, dim=-3) if options.get("enable_gqa") else value
        torch.testing.assert_close(expected @ values, out)


def test_grouped_heads_are_not_repeated_in_memory():
    query, key, value = draw(B, H, kv_heads=2)
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    assert seen[0].matrix.key.shape == (B, 2, M, D)


def test_arguments_by_position_and_a_name_imported_early():
    query, key, value = draw(B, H)
    with watch(nn.Identity()) as seen:
        imported_early(query, key, value, hidden, 0.0, False)
        imported_early(query, key, value, None, 0.0, True)
    assert len(seen) == 2
    torch.testing.assert_close(seen[0].matrix.dense(), by_hand(query, key, hidden))
    torch.testing.assert_close(seen[1].matrix.dense(), by_hand(query, key, is_causal=True))


def test_dropout_does_not_change_the_matrix_or_what_is_drawn():
    query, key, value = draw(B, H)
    torch.manual_seed(3)
    plain = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    torch.manual_seed(3)
    with watch(nn.Identity()) as seen:
        out = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    assert torch.equal(out, plain)
    torch.testing.assert_close(seen[0].matrix.dense(), by_hand(query, key))


def test_a_causal_mask_becomes_a_pattern_and_tells_the_kind():
    query, key, value = draw(B, H, m=N)
    i, j = torch.arange(N)[:, None], torch.arange(N)
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value, attn_mask=(j <= i) & (j > i - 3))
        F.scaled_dot_product_attention(query, key, value, is_causal=True)
        F.scaled_dot_product_attention(query, key, value)
        F.scaled_dot_product_attention(query, torch.cat([key, key], -2), torch.cat([value, value], -2))
    assert [(call.kind, call.causal, call.window) for call in seen] == [
        ("self", True, 3),
        ("self", True, None),
        ("self", False, None),
        ("cross", False, None),
    ]
    assert seen[0].matrix.pattern == ops.Causal() & ops.Local(2, 0)


class Decoder(nn.Module):
    """Two calls of equal sizes."""

    def __init__(self):
        super().__init__()
        self.self_attn, self.cross_attn = Call(), Call()

    def forward(self, *tensors):
        return self.self_attn(*tensors) + self.cross_attn(*tensors)


class Call(nn.Module):
    def forward(self, *tensors):
        return F.scaled_dot_product_attention(*tensors)


def test_where_sizes_do_not_tell_the_kind_names_do():
    model = nn.ModuleDict({"cross_encoder": Decoder()})
    with watch(model) as seen:
        model["cross_encoder"](*draw(B, H, m=N))
    assert [(call.module, call.kind) for call in seen] == [
        ("cross_encoder.self_attn", "self"),
        ("cross_encoder.cross_attn", "cross"),
    ]


def test_the_name_of_the_module_around_counts_too():
    model = nn.ModuleDict({"crossattention": nn.ModuleDict({"self": Call()})})
    with watch(model) as seen:
        model["crossattention"]["self"](*draw(B, H, m=N))
    assert [(call.module, call.kind) for call in seen] == [("crossattention.self", "cross")]


def test_keys_that_are_changed_afterwards_were_copied():
    query, key, value = draw(B, H)
    expected = by_hand(query, key)
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value)
        key.zero_()
        query.zero_()
    torch.testing.assert_close(seen[0].matrix.dense(), expected)


def test_a_mask_that_is_changed_in_place_is_read_again():
    query, key, value = draw(B, H)
    mask = hidden.clone()
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mask.logical_not_()
        F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert seen[0].matrix.pattern.mask is not mask
    for call, now in zip(seen, (hidden, hidden, ~hidden), strict=True):
        torch.testing.assert_close(call.matrix.dense(), by_hand(query, key, now))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    query, key, value = (t.to(dtype) for t in draw(B, H))
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value, attn_mask=hidden)
    assert not seen.unseen
    assert seen[0].matrix.query.dtype == dtype
    expected = by_hand(query.double(), key.double(), hidden)
    torch.testing.assert_close(seen[0].matrix.dense().double(), expected, atol=1e-5, rtol=1e-5)


def test_autocast_is_seen_as_it_was_computed():
    query, key, value = (t.float() for t in draw(B, H))
    with torch.autocast("cpu", torch.bfloat16), watch(nn.Identity()) as seen:
        out = F.scaled_dot_product_attention(query, key, value)
    assert out.dtype == torch.bfloat16
    assert seen[0].matrix.query.dtype == torch.bfloat16
    expected = by_hand(query.bfloat16().double(), key.bfloat16().double())
    torch.testing.assert_close(seen[0].matrix.dense().double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(mode):
    with mode(), watch(nn.Identity()) as seen:
        query, key, value = draw(B, H)
        F.scaled_dot_product_attention(query, key, value, attn_mask=hidden)
    assert not seen[0].matrix.query.is_inference()
    torch.testing.assert_close(seen[0].matrix.dense(), by_hand(query, key, hidden))


def test_what_cannot_be_read_is_missed_and_breaks_nothing():
    query, key, value = (t.float() for t in draw(B, H))
    with watch(nn.Identity()) as seen:
        out = torch.func.vmap(F.scaled_dot_product_attention)(query, key, value)
        F.scaled_dot_product_attention(*(t.to("meta") for t in (query, key, value)), attn_mask=hidden.to("meta"))
    torch.testing.assert_close(out, F.scaled_dot_product_attention(query, key, value))
    assert len(seen) == 0
    assert {m.why.split(":")[0] for m in seen.unseen} == {"its numbers cannot be read"}


def test_a_matrix_that_does_not_give_the_output_is_refused(monkeypatch):
    """What a call is read as is checked against what it computed."""
    import heedful.inspection.capture.sdpa as module

    query, key, value = (t.float() for t in draw(B, H))
    monkeypatch.setattr(module, "masks", lambda recorder, mask, axes: (ops.Global(), None))
    with watch(nn.Identity()) as seen:
        F.scaled_dot_product_attention(query, key, value)
        F.scaled_dot_product_attention(query, key, value, attn_mask=torch.arange(M)[None] != 4)
    assert len(seen) == 1
    [missed] = seen.unseen
    assert "does not give its output" in missed.why
