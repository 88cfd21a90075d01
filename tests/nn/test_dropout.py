import math

import pytest
import torch

from heedful.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 2**-16, 1 - 2**-16, 1 - 2**-20])
def test_as_many_are_dropped_as_asked(p):
    torch.manual_seed(0)
    count = 2_000_001  # no multiple of what one draw serves
    dropped = (dropout(torch.ones(count), p) == 0).sum().item()
    assert abs(dropped - p * count) < 5 * math.sqrt(p * (1 - p) * count) + 2**-16 * count


def test_each_place_of_a_draw_is_dropped_as_often_and_for_itself():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.3) > 0).view(-1, 4).double()
    assert (kept.mean(0) - 0.7).abs().max() < 0.005
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_is_kept_is_divided_and_its_gradient_too(dtype):
    torch.manual_seed(0)
    x = torch.randn(7, 11, dtype=dtype, requires_grad=True)
    out = dropout(x, 0.25)
    assert out.dtype == dtype
    kept = out != 0
    assert 0 < kept.sum() < x.numel()
    torch.testing.assert_close(out, torch.where(kept, x / 0.75, 0))
    torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], torch.where(kept, 1 / 0.75, 0).to(dtype))


def test_derivatives_of_second_order():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def drawn(x):
        torch.manual_seed(1)
        return dropout(x, 0.5).square()

    assert torch.autograd.gradcheck(drawn, (x,))
    assert torch.autograd.gradgradcheck(drawn, (x,))


def test_a_seed_draws_the_same_whatever_the_layout():
    x = torch.randn(6, 8)
    torch.manual_seed(3)
    first = dropout(x, 0.5)
    torch.manual_seed(3)
    torch.testing.assert_close(dropout(x.T.contiguous().T, 0.5), first)


def test_under_transforms_it_is_pytorchs():
    x = torch.randn(4, 1000)
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda row: dropout(row, 0.5))(x)
    rows = torch.func.vmap(lambda row: dropout(row, 0.5), randomness="different")(x) == 0
    assert not torch.equal(rows[0], rows[1])
    whole = torch.compile(lambda x: dropout(x, 0.5), backend="aot_eager", fullgraph=True)(x)
    assert 0.4 < (whole == 0).double().mean() < 0.6


def test_the_layer_drops_in_training_alone():
    x, layer = torch.ones(3, 100), Dropout(0.5)
    assert (layer(x) == 0).any()
    assert layer.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert str(layer) == "Dropout(0.5)"


def test_bad_input():
    with pytest.raises(ValueError, match="`p` must be at least 0 and less than 1: got 1"):
        Dropout(1)
    with pytest.raises(ValueError, match="`p` must be at least 0 and less than 1: got -0.1"):
        dropout(torch.ones(1), -0.1)
