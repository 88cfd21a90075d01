import copy

import pytest
import torch
from torch import nn as torch_nn

import heedful
from heedful import nn, ops
from heedful.inspection import rollout, summarize, watch


def encoder():
    torch.manual_seed(0)
    return nn.TransformerEncoder(8, 2, 3).double()


def test_every_matrix_is_seen_and_equals_the_dense_one():
    model, x = encoder(), torch.randn(2, 5, 8, dtype=torch.float64)
    pattern, bias = ops.Causal(), torch.randn(5, 5, dtype=torch.float64)
    with watch(model) as seen:
        model(x, pattern=pattern, bias=bias)
    assert [call.module for call in seen] == [f"layers.{i}.attention" for i in range(3)]
    layer = model.layers[0].attention
    q, k, _ = layer._project(y := model.layers[0].attention_norm(x), y, None)
    expected = heedful.attention_weights(layer._split(q, 2), layer._split(k, 2), pattern=pattern, bias=bias)
    torch.testing.assert_close(seen[0].matrix[:], expected)
    torch.testing.assert_close(
        seen["layers.0.attention"].entropy(),
        heedful.AttentionMatrix(layer._split(q, 2), layer._split(k, 2), pattern=pattern, bias=bias).entropy(),
    )


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_do_not_change_by_a_bit(training):
    model, x = encoder().train(training), torch.randn(2, 5, 8, dtype=torch.float64)
    results = []
    for watching in (False, True):
        model.zero_grad()
        if watching:
            with watch(model):
                out = model(x, pattern=ops.Lengths(torch.tensor([5, 2])))
        else:
            out = model(x, pattern=ops.Lengths(torch.tensor([5, 2])))
        out.square().sum().backward()
        results.append([out, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_model_is_as_before_also_after_an_exception():
    model = encoder()
    before, hooks = (
        copy.deepcopy(model.state_dict()),
        [(m._forward_hooks.copy(), m._forward_pre_hooks.copy()) for m in model.modules()],
    )
    with pytest.raises(ValueError, match="must be"), watch(model) as seen:
        model(torch.randn(2, 5, 9, dtype=torch.float64))
    assert len(seen) == 0
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert hooks == [(m._forward_hooks, m._forward_pre_hooks) for m in model.modules()]
    assert torch.overrides._get_current_function_mode() is None
    with watch(model) as seen:
        model(torch.randn(2, 5, 8, dtype=torch.float64))
    assert len(seen) == 3


def test_only_queries_and_keys_are_kept():
    model, x = encoder(), torch.randn(1, 101, 8, dtype=torch.float64)
    with watch(model) as seen:
        model(x)
    for call in seen:
        kept = [t for t in vars(call.matrix).values() if isinstance(t, torch.Tensor)]
        assert len(kept) == 2
        assert all(t.numel() == 101 * 8 and not t.requires_grad for t in kept)


def test_the_table_names_what_was_seen():
    model = encoder()
    with watch(model) as seen:
        model(torch.randn(2, 5, 8, dtype=torch.float64))
    lines = str(seen).splitlines()
    assert len(lines) == 4
    assert "layers.1.attention" in lines[2]
    assert "2 x 2 x 5 x 5" in lines[2]
    with pytest.raises(
        KeyError, match="no attention was seen in 'layers.7'; seen: layers.0.attention, layers.1.attention"
    ):
        seen["layers.7"]


def test_a_call_outside_of_all_modules_has_no_name():
    x = torch.randn(5, 7)
    with watch(torch_nn.Identity()) as seen:
        heedful.attention(x, x, x)
    assert seen[0].module == ""


def test_rollout_equals_the_dense_product():
    model, x = encoder(), torch.randn(2, 5, 8, dtype=torch.float64)
    with watch(model) as seen:
        model(x)
    matrices = [call.matrix for call in seen]
    start = torch.rand(2, 5, dtype=torch.float64)
    start /= start.sum(-1, keepdim=True)
    for residual in (0.0, 0.3, 1.0):
        whole = torch.eye(5, dtype=torch.float64)
        for matrix in matrices:
            whole = (residual * torch.eye(5, dtype=torch.float64) + (1 - residual) * matrix[:].mean(1)) @ whole
        expected = (start[:, None] @ whole)[:, 0]
        mine = rollout(matrices, start, residual=residual)
        torch.testing.assert_close(mine, expected)
        torch.testing.assert_close(mine.sum(-1), torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="`residual` must be from 0 to 1: got 2.0"):
        rollout(matrices, start, residual=2.0)
    with pytest.raises(ValueError, match=r"`matrices` must be \[B, H, 4, 4\] each: got \[2, 2, 5, 5\]"):
        rollout(matrices, start[:, :4])


def test_summary_of_each_head():
    query, key = torch.randn(3, 2, 5, 7), torch.randn(3, 2, 11, 7)
    A = heedful.AttentionMatrix(query, key)
    dense = A[:]
    first, second = summarize(A)
    assert second.first == pytest.approx(dense[:, 1, :, 0].mean().item(), rel=1e-5)
    assert first.most_received == pytest.approx(dense[:, 0].mean((0, 1)).max().item(), rel=1e-5)
    assert first.entropy == pytest.approx(A.entropy()[:, 0].mean().item(), rel=1e-5)
