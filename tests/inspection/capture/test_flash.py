"""`flash_attn`, by a stand-in of its module: the same classes, signatures and meaning, computed by hand."""

import math
import sys
import types

import pytest
import torch
from torch import nn

from heedful.inspection import watch

B, N, M, H, D = 2, 5, 7, 4, 3


def weights(q, k, scale, causal, window, softcap, slopes):
    """`q [B, N, H, D]`, `k [B, M, G, D]`; causality and windows count from the last key."""
    q, k = q.transpose(1, 2), k.transpose(1, 2)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if softcap:
        scores = softcap * (scores / softcap).tanh()
    place = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
    away = torch.arange(k.shape[2]) - place
    if slopes is not None:
        scores = scores - slopes[:, None, None] * away.abs()
    left, right = window
    right = 0 if causal else right
    hidden = (away > right if right >= 0 else away > k.shape[2]) | ((away < -left) if left >= 0 else away < -99)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num(0)


class FlashAttnFunc(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic):
        A = weights(q, k, softmax_scale, causal, window_size, softcap, alibi_slopes)
        v = v.transpose(1, 2).repeat_interleave(q.shape[2] // k.shape[2], dim=1)
        return (A @ v).transpose(1, 2)


class FlashAttnVarlenFunc(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, q, k, v, cu_seqlens_q, cu_seqlens_k, dropout_p, softmax_scale, causal, window_size, block_table=None
    ):
        out = torch.zeros_like(q)
        for i in range(len(cu_seqlens_q) - 1):
            own, theirs = slice(*cu_seqlens_q[i : i + 2]), slice(*cu_seqlens_k[i : i + 2])
            A = weights(q[None, own], k[None, theirs], softmax_scale, causal, window_size, None, None)
            out[own] = (A @ v[None, theirs].transpose(1, 2)).transpose(1, 2)[0]
        return out


class FlashAttnQKVPackedFunc(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv, dropout_p, softmax_scale, causal, window_size):
        q, k, v = qkv.unbind(2)
        return (weights(q, k, softmax_scale, causal, window_size, None, None) @ v.transpose(1, 2)).transpose(1, 2)


@pytest.fixture(autouse=True)
def flash(monkeypatch):
    module = types.ModuleType("flash_attn.flash_attn_interface")
    for one in (FlashAttnFunc, FlashAttnVarlenFunc, FlashAttnQKVPackedFunc):
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def draw(n=N, m=M, kv_heads=H):
    torch.manual_seed(0)
    shapes = ((B, n, H, D), (B, m, kv_heads, D), (B, m, kv_heads, D))
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


slopes = torch.tensor([0.5, 0.1, 0.3, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [(-1, -1), (2, 1), (2, -1), (-1, 1)])
@pytest.mark.parametrize(("scale", "softcap", "alibi"), [(None, 0.0, None), (0.3, 0.5, None), (None, 0.0, slopes)])
@pytest.mark.parametrize(("n", "kv_heads"), [(N, H), (M, 2)])
def test_every_argument(causal, window, scale, softcap, alibi, n, kv_heads):
    q, k, v = draw(n, M, kv_heads)
    arguments = (q, k, v, 0.0, scale, causal, window, softcap, alibi, False)
    plain = FlashAttnFunc.apply(*arguments)
    with watch(nn.Identity()) as seen:
        out = FlashAttnFunc.apply(*arguments)
    assert torch.equal(plain, out)
    assert not seen.unseen
    assert seen[0].engine == "flash_attn"
    torch.testing.assert_close(seen[0].matrix.dense(), weights(q, k, scale, causal, window, softcap, alibi))


@pytest.mark.parametrize("causal", [False, True])
def test_packed_documents(causal):
    q, k, v = (torch.randn(9, H, D, dtype=torch.float64) for _ in range(3))
    cuts = torch.tensor([0, 2, 9])
    with watch(nn.Identity()) as seen:
        FlashAttnVarlenFunc.apply(q, k, v, cuts, cuts, 0.0, None, causal, (-1, -1))
    dense = torch.zeros(1, H, 9, 9, dtype=torch.float64)
    for part in (slice(0, 2), slice(2, 9)):
        dense[..., part, part] = weights(q[None, part], k[None, part], None, causal, (-1, -1), None, None)
    torch.testing.assert_close(seen[0].matrix.dense(), dense)


def test_one_tensor_of_all():
    qkv = torch.randn(B, N, 3, H, D, dtype=torch.float64)
    with watch(nn.Identity()) as seen:
        FlashAttnQKVPackedFunc.apply(qkv, 0.0, 0.4, True, (-1, -1))
    expected = weights(qkv[:, :, 0], qkv[:, :, 1], 0.4, True, (-1, -1), None, None)
    torch.testing.assert_close(seen[0].matrix.dense(), expected)


def test_what_is_not_honoured_is_named():
    q, k, v = (torch.randn(9, H, D) for _ in range(3))
    cuts, others = torch.tensor([0, 2, 9]), torch.tensor([0, 3, 9])
    with watch(nn.Identity()) as seen:
        FlashAttnVarlenFunc.apply(q, k, v, cuts, others, 0.0, None, True, (-1, -1))
        FlashAttnVarlenFunc.apply(q, k, v, cuts, cuts, 0.0, None, False, (-1, -1), torch.zeros(1))
    assert [
        "`cu_seqlens_q` and `cu_seqlens_k` differ" in seen.unseen[0].why,
        "`block_table`" in seen.unseen[1].why,
    ] == [
        True,
        True,
    ]


def test_the_module_is_as_before():
    with watch(nn.Identity()), watch(nn.Identity()):
        assert "apply" in vars(FlashAttnFunc)
    assert "apply" not in vars(FlashAttnFunc)
