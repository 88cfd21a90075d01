import pytest
import torch

import heedful
from heedful import ops


def test_equals_pytorch_on_plain_inputs():
    query, key, value = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    assert torch.equal(heedful.attention(query, key, value), sdpa(query, key, value))
    assert torch.equal(
        heedful.attention(query, key, value, pattern=ops.Causal()), sdpa(query, key, value, is_causal=True)
    )


@pytest.mark.parametrize("axes", [(), (2,), (2, 3)], ids=len)
@pytest.mark.parametrize("value_width", [7, 13])
def test_no_matrix_is_saved_for_the_backward_pass(axes, value_width):
    """PyTorch's own call stores N x M for three axes and for another value width; ours does not."""
    n = 509
    query, key = (torch.randn(*axes, n, 7, requires_grad=True) for _ in range(2))
    value = torch.randn(*axes, n, value_width, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        heedful.attention(query, key, value)
    assert max(saved) < n * n


def test_parameters_and_subclasses_are_tensors_too():
    class Mine(torch.Tensor):
        pass

    query = torch.nn.Parameter(torch.randn(5, 7))
    assert torch.equal(heedful.attention(query, query, query), heedful.attention(*[query.detach()] * 3))
    mine = torch.randn(5, 7).as_subclass(Mine)
    assert isinstance(heedful.attention(mine, mine, mine), Mine)


def test_patterns_say_what_they_are():
    pattern = ops.Causal() & ops.Global() | ~ops.Lengths(3)
    assert (
        repr(pattern)
        == "Or(first=And(first=Causal(align=None), second=Global()), second=Not(inner=Lengths(lengths=3)))"
    )


def test_nan_is_found_in_every_tile(monkeypatch):
    from heedful.ops.engines import fused

    monkeypatch.setattr(fused, "TILE", 11)
    query, key = torch.randn(1, 1, 11, 7), torch.randn(1, 1, 11, 7)
    value = key.clone()
    value[..., 6, :] = torch.nan
    mask = torch.ones(11, 11).tril().bool()
    out = heedful.attention(query, key, value, pattern=ops.Mask(mask))
    assert out[..., :6, :].isfinite().all()
    assert out[..., 6:, :].isnan().all()


def test_stored_weights_are_nan_only_where_a_bad_key_is_seen():
    query, key = torch.randn(1, 2, 5, 7, requires_grad=True), torch.randn(1, 2, 5, 7)
    key[0, 1, 3] = torch.nan
    weights = heedful.attention_weights(query, key, pattern=ops.Causal())
    visible = torch.ones(5, 5).tril().bool()
    assert weights[0, 0].isfinite().all()
    assert weights[0, 1, :3].isfinite().all()
    assert weights[0, 1, 3:][visible[3:]].isnan().all()
    assert not weights[0, 1][~visible].any()
    (gradient,) = torch.autograd.grad(weights[0, 1, :3].square().sum(), query)
    assert gradient.isfinite().all()


TENSORS = {
    "bias": ((3, 3), lambda t: {"bias": t}),
    "slopes": ((4,), lambda t: {"bias": ops.ALiBi(t)}),
    "sinks": ((4,), lambda t: {"sinks": t}),
    "weight": ((8,), lambda t: {"score": ops.Additive(t)}),
    "offset": ((4, 1, 1), lambda t: {"normalize": ops.Sigmoid(t)}),
    "alpha": ((4, 3, 1), lambda t: {"normalize": ops.entmax(1.2 + t.sigmoid())}),
    "slopes, hard": ((4,), lambda t: {"bias": ops.ALiBi(t), "select": ops.Hard()}),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's forward mode, once
@pytest.mark.parametrize("name", TENSORS)
def test_transforms_reach_the_tensors_of_a_mechanism(name):
    """A fast version is given tensors without the wrappers of a transform, and must not read those that have them."""
    shape, options = TENSORS[name]
    generator = torch.Generator().manual_seed(0)
    given, directions = (
        tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in (*[(1, 4, 3, 8)] * 3, shape))
        for _ in range(2)
    )
    every = (0, 1, 2, 3)

    def results(engine):
        def loss(query, key, value, t):
            return heedful.attention(query, key, value, **options(t), engine=engine).sin().sum()

        def along(*x):
            return torch.func.jvp(loss, x, directions)[1]

        first = torch.func.grad(loss, argnums=every)
        two = tuple(torch.stack([x, x + 1]) for x in given)
        return (
            first(*given),
            torch.func.jvp(first, given, directions)[1],
            torch.func.grad(along, argnums=every)(*given),
            torch.func.vmap(first)(*two),
        )

    for mine, expected in zip(results(None), results("reference"), strict=True):
        for a, b in zip(mine, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("axes", [(), (8, 1, 1), (300, 1), (8, 300, 1)])
@pytest.mark.parametrize("name", ["alpha", "offset", "scale"])
def test_a_number_for_each_row_over_several_tiles(name, axes):
    make = {
        "alpha": lambda t: {"normalize": ops.entmax(1.1 + t)},
        "offset": lambda t: {"normalize": ops.Sigmoid(t)},
        "scale": lambda t: {"scale": t, "normalize": ops.relu},
    }[name]
    query, key, value = (torch.randn(1, 8, 300, 4, dtype=torch.float64) for _ in range(3))
    numbers = torch.rand(axes, dtype=torch.float64).requires_grad_()
    mine, expected = (heedful.attention(query, key, value, **make(numbers), engine=e) for e in (None, "reference"))
    torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)
    found, true = (torch.autograd.grad(out.square().sum(), numbers)[0] for out in (mine, expected))
    torch.testing.assert_close(found, true, rtol=1e-10, atol=1e-10)
