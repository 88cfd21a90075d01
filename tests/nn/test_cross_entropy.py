import pytest
import torch
import torch.nn.functional as F

from heedful.nn import cross_entropy
from heedful.nn.cross_entropy import linear_cross_entropy


def drawn(dtype=torch.float64, rows=11, width=5, classes=7):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=random).to(dtype).requires_grad_()
    weight = torch.randn(classes, width, generator=random).to(dtype).requires_grad_()
    return x, weight, torch.randint(classes, (rows,), generator=random)


@pytest.mark.parametrize("room", [1, 21, 10**6], ids=["a row at a time", "three rows at a time", "all at once"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_stored_logits(monkeypatch, room, smoothing):
    monkeypatch.setattr(cross_entropy, "_CHUNK_LOGITS", room)
    x, weight, targets = drawn()
    expected = F.cross_entropy(x @ weight.T, targets, reduction="sum", label_smoothing=smoothing)
    found = linear_cross_entropy(x, weight, targets, smoothing)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(3 * found, (x, weight)), torch.autograd.grad(3 * expected, (x, weight)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows_that_count_more_than_others(monkeypatch, smoothing):
    monkeypatch.setattr(cross_entropy, "_CHUNK_LOGITS", 21)
    x, weight, targets = drawn()
    row_weights = torch.arange(11.0) / 5
    each = F.cross_entropy(x @ weight.T, targets, reduction="none", label_smoothing=smoothing)
    expected, found = (each * row_weights).sum(), linear_cross_entropy(x, weight, targets, smoothing, row_weights)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, (x, weight)), torch.autograd.grad(expected, (x, weight)), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"^`row_weights` must be \[11\], as `targets` are: got \[3\]\.$"):
        linear_cross_entropy(x, weight, targets, smoothing, row_weights[:3])


def test_gradients_of_one_side_alone():
    x, weight, targets = drawn()
    expected = torch.autograd.grad(linear_cross_entropy(x, weight, targets), (x, weight))
    for index, (features, matrix) in enumerate([(x, weight.detach()), (x.detach(), weight)]):
        (found,) = torch.autograd.grad(linear_cross_entropy(features, matrix, targets), (x, weight)[index])
        torch.testing.assert_close(found, expected[index])


def test_large_logits_overflow_nowhere():
    x, weight, targets = drawn(torch.float32)
    found = linear_cross_entropy(300 * x, 300 * weight, targets)
    torch.testing.assert_close(found, F.cross_entropy(300 * x @ (300 * weight).T, targets, reduction="sum"))


def test_in_mixed_precision_probabilities_are_whole():
    x, weight, targets = drawn(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(x, weight, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.cross_entropy(x.float() @ weight.float().T, targets, reduction="sum"))
    found.backward()
    assert x.grad.dtype == torch.bfloat16


def test_gradients_in_mixed_precision_are_those_of_float32():
    x, weight, targets = drawn(torch.float32, rows=200, width=64, classes=300)
    expected = torch.autograd.grad(linear_cross_entropy(x, weight, targets, 0.1), (x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(linear_cross_entropy(x, weight, targets, 0.1), (x, weight))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 2**-7 * b.norm()  # numbers of 8 bits


def test_bad_input():
    x, weight, targets = drawn()
    with pytest.raises(ValueError, match=r"`x` must be \[11, 5\] to fit `targets` and `weight`: got \[10, 5\]."):
        linear_cross_entropy(x[:10], weight, targets)
    with pytest.raises(ValueError, match="`label_smoothing` must be at least 0 and less than 1: got 1"):
        linear_cross_entropy(x, weight, targets, 1.0)
