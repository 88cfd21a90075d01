"""Gradients of first and second order as products of matrices, against autograd through a stored matrix."""

import pytest
import torch

import heedful
from heedful.ops.engines import matmuls


def draw(*axes, dtype=torch.float64):
    return torch.randn(*axes, dtype=torch.float64).to(dtype).requires_grad_()


def stored(q, k, v, scale):
    if q.dim() > 3:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = scale * q @ k.mT
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


CASES = {
    "one head": ((19, 3), (23, 3), (23, 7)),
    "a batch": ((2, 19, 3), (2, 23, 3), (2, 23, 7)),
    "grouped heads": ((2, 6, 11, 3), (2, 3, 13, 3), (2, 3, 13, 2)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [4, 1000])
def test_both_orders(name, size, monkeypatch):
    for setting in ("ROWS", "COLUMNS", "_PAIRS", "_LEAST_ROWS"):
        monkeypatch.setattr(matmuls, setting, size)
    torch.manual_seed(0)
    q, k, v = (draw(*axes) for axes in CASES[name])
    out, lse = stored(q, k, v, -0.7)
    dout, directions = draw(*out.shape), [draw(*axes).detach() for axes in CASES[name]]
    expected = torch.autograd.grad(out, (q, k, v), dout, create_graph=True)
    with torch.no_grad():
        found = matmuls.first(dout, q, k, v, out, lse, -0.7)
        again = matmuls.second(dout, q, k, v, out, lse, -0.7, directions)
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted)
    for one, wanted in zip(again, torch.autograd.grad(expected, (q, k, v, dout), directions), strict=True):
        torch.testing.assert_close(one, wanted)


def test_they_are_taken(monkeypatch):
    """By `heedful.attention` where queries are narrow, and in any case for a penalty on a gradient; rounding is as of float32."""
    calls = []
    for name in ("first", "second"):
        function = getattr(matmuls, name)
        monkeypatch.setattr(matmuls, name, lambda *a, f=function, n=name: (calls.append(n), f(*a))[1])
    torch.manual_seed(0)
    operands = draw(1, 1, 1024, 8), draw(1, 1, 1024, 8), draw(1, 1, 1024, 32)
    with torch.no_grad():
        operands[0].mul_(3), operands[1].mul_(3)  # scores whose log-sum-exp is large

    def penalty(q, k, v, attend):
        loss = attend(q, k, v).square().sum()
        gradients = torch.autograd.grad(loss, (q, k), create_graph=True)
        return torch.autograd.grad(loss + sum(g.square().sum() for g in gradients), (q, k, v))

    expected = penalty(*operands, lambda q, k, v: stored(q, k, v, 8**-0.5)[0])
    single = [t.detach().float().requires_grad_() for t in operands]
    found = penalty(*single, heedful.attention)
    assert calls == ["first", "second", "first"]
    theirs = penalty(*single, lambda q, k, v: stored(q, k, v, 8**-0.5)[0])
    for one, other, wanted in zip(found, theirs, expected, strict=True):
        error, reference = ((t.double() - wanted).abs().amax() for t in (one, other))
        assert error <= 3 * reference


def test_a_nan_reaches_what_it_may():
    torch.manual_seed(0)
    q, k, v = (draw(1, 1, 800, w, dtype=torch.float32) for w in (4, 4, 8))
    dout = torch.randn(1, 1, 800, 8)
    with torch.no_grad():
        v[0, 0, 5, 3] = torch.nan
    ours = torch.autograd.grad(heedful.attention(q, k, v), (q, k, v), dout)
    stored_gradients = torch.autograd.grad(stored(q, k, v, 0.5)[0], (q, k, v), dout)
    for one, other in zip(ours, stored_gradients, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
