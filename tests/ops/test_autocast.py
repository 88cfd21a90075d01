"""Under autocast: the dtype of PyTorch's own attention, on every engine."""

import pytest
import torch
import torch.nn.functional as F

import heedful
from heedful import ops

ENGINES = [None, "fused", "banded", "tiled", "reference"]
engines = pytest.mark.parametrize("engine", ENGINES)
dtypes = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def operands(*types, n=11):
    types = types or (torch.float32,) * 3
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, n, 7, generator=generator, dtype=torch.float64).to(t).requires_grad_() for t in types]


@engines
@dtypes
def test_dtype_and_numbers_of_pytorch(engine, dtype):
    """Operands are cast first; so are those of PyTorch, and the exact result of the cast ones is the truth for both."""
    given = operands()
    with torch.autocast("cpu", dtype):
        out = heedful.attention(*given, pattern=ops.Causal(), engine=engine)
        theirs = F.scaled_dot_product_attention(*given, is_causal=True)
    assert out.dtype == theirs.dtype == dtype
    exact = F.scaled_dot_product_attention(*(t.to(dtype).double() for t in given), is_causal=True)
    ours, other = ((t.double() - exact).abs().max() for t in (out, theirs))
    assert ours <= 2 * other
    found = torch.autograd.grad(out.float().square().sum(), given)
    assert [g.dtype for g in found] == [torch.float32] * 3
    expected = torch.autograd.grad(exact.square().sum(), given)
    for a, b in zip(found, expected, strict=True):
        # 2^-8 (2^-11) a rounding, of weights, of the output and of its gradient
        torch.testing.assert_close(a, b.float(), rtol=0.1, atol=0.06 if dtype == torch.bfloat16 else 0.01)


SHORT = {
    "all": (ops.Global(), None),
    "causal": (ops.Causal(), torch.ones(11, 11).tril().bool()),
    "lengths": (ops.Lengths(torch.tensor([11, 6])), (torch.arange(11) < torch.tensor([[11], [6]]))[:, None, None]),
}


@dtypes
@pytest.mark.parametrize("name", SHORT)
def test_gradients_of_short_sequences_are_as_good_as_pytorchs(dtype, name):
    """The kernel's own in half precision takes many times as long where there are few keys, so they are raised first."""
    pattern, mask = SHORT[name]
    given = operands(dtype, dtype, dtype)
    exact = [t.detach().double().requires_grad_() for t in given]
    truth = torch.autograd.grad(F.scaled_dot_product_attention(*exact, attn_mask=mask).square().sum(), exact)
    ours = torch.autograd.grad(heedful.attention(*given, pattern=pattern).float().square().sum(), given)
    theirs = torch.autograd.grad(F.scaled_dot_product_attention(*given, attn_mask=mask).float().square().sum(), given)
    for found, other, right in zip(ours, theirs, truth, strict=True):
        assert found.dtype == dtype
        assert (found.double() - right).norm() <= 1.5 * (other.double() - right).norm()


@engines
def test_operands_of_several_dtypes(engine):
    given = operands(torch.float32, torch.bfloat16, torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        out = heedful.attention(*given, pattern=ops.Local(3), engine=engine)
        assert out.dtype == torch.bfloat16
    found = torch.autograd.grad(out.float().sum(), given)
    assert [g.dtype for g in found] == [t.dtype for t in given]
    with pytest.raises(
        TypeError, match="`query` and `key` must have the same dtype: got torch.float32 and torch.bfloat16."
    ):
        heedful.attention(*given, engine=engine)


@engines
def test_float64_stays(engine):
    given = operands(*[torch.float64] * 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = heedful.attention(*given, pattern=ops.Causal(), engine=engine)
        assert F.scaled_dot_product_attention(*given, is_causal=True).dtype == torch.float64
    assert out.dtype == torch.float64
    torch.testing.assert_close(out, F.scaled_dot_product_attention(*given, is_causal=True), rtol=1e-12, atol=1e-12)


MECHANISMS = {
    "entmax15": {"normalize": ops.entmax15},
    "entmax": {"normalize": ops.entmax(torch.tensor(1.3))},
    "additive": {"score": ops.Additive(torch.ones(7))},
    "bilinear": {"score": ops.Bilinear(torch.eye(7))},
    "gaussian": {"score": ops.Gaussian(torch.tensor(2.0))},
    "cosine, scale": {"score": ops.Cosine(), "scale": torch.tensor(3.0)},
    "bias": {"bias": torch.ones(11, 11)},
    "ALiBi": {"bias": ops.ALiBi(torch.tensor([0.5, 0.25, 0.1]))},
    "sinks, softcap": {"sinks": torch.zeros(3), "softcap": 2.0},
    "dropout": {"dropout": 0.3, "seed": 1},
    "hard": {"select": ops.Hard()},
    "sampled": {"select": ops.Sampled(), "seed": 1},
}


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_every_mechanism_is_that_of_cast_operands(name, engine):
    given, half = operands(), [t.detach().bfloat16() for t in operands()]
    with torch.autocast("cpu", torch.bfloat16):
        out = heedful.attention(*given, **MECHANISMS[name], engine=engine)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, heedful.attention(*half, **MECHANISMS[name], engine=engine), rtol=0, atol=0)
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.float().sum(), given))


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_backward_pass_inside_autocast_is_the_same(name):
    """What is recomputed for it is what it was: the same numbers, and the same draws."""
    given = operands()
    with torch.autocast("cpu", torch.bfloat16):
        out = heedful.attention(*given, **MECHANISMS[name])
        inside = torch.autograd.grad(out.float().square().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(g.sin().sum() for g in inside), given, retain_graph=True)
    outside = torch.autograd.grad(out.float().square().sum(), given, create_graph=True)
    found = torch.autograd.grad(sum(g.sin().sum() for g in outside), given)
    for a, b in zip((*inside, *second), (*outside, *found), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_what_else_attends():
    given = operands()
    with torch.autocast("cpu", torch.bfloat16):
        drawn = ops.sample(*given, seed=1)
        weights = heedful.attention_weights(*given[:2])
        layer = heedful.nn.MultiHeadAttention(6, 3)(torch.randn(2, 5, 6))
    assert drawn.output.dtype == torch.bfloat16
    assert weights.dtype == torch.float32
    assert layer.dtype == torch.bfloat16


def test_autocast_is_left_on():
    given = operands()
    with torch.autocast("cpu", torch.bfloat16):
        heedful.attention(*given)
        assert torch.is_autocast_enabled("cpu")
        assert (given[0] @ given[1].mT).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert heedful.attention(*given).dtype == torch.float32
