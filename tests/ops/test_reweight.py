"""Attention with nothing learned."""

import pytest
import torch

import heedful
from heedful import ops


def naive(x, z):
    """The share of each positive dot product, as loops."""
    rows = []
    for a in x:
        scores = [max(float(a @ b), 0.0) for b in z]
        total = sum(scores)
        rows.append(
            sum((s / total * b for s, b in zip(scores, z, strict=True)), torch.zeros_like(a)) if total else 0 * a
        )
    return torch.stack(rows)


def vectors(*sizes, seed=0):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_loops_over_numbers():
    x, z = vectors(2, 5, 3), vectors(2, 7, 3, seed=1)
    torch.testing.assert_close(heedful.reweight(x), torch.stack([naive(a, a) for a in x]), rtol=1e-12, atol=1e-12)
    expected = torch.stack([naive(a, b) for a, b in zip(x, z, strict=True)])
    torch.testing.assert_close(heedful.reweight(x, z), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalize", [ops.proportional, ops.softmax, ops.sparsemax, ops.relu])
def test_is_the_weights_times_the_vectors(normalize):
    x, z = vectors(5, 3), vectors(7, 3, seed=1)
    weights = heedful.attention_weights(x, z, score=ops.Dot(), normalize=normalize)
    torch.testing.assert_close(heedful.reweight(x, z, normalize=normalize), weights @ z, rtol=1e-12, atol=1e-12)


def test_weights_add_up_to_1_and_no_scale_is_taken():
    x = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(heedful.reweight(x), x)
    torch.testing.assert_close(heedful.reweight(5 * x), 5 * x)
    soft = heedful.reweight(x, normalize=ops.softmax)
    torch.testing.assert_close(soft.sum(-1), torch.ones(3, dtype=torch.float64))
    assert soft[0, 0].item() == pytest.approx(torch.tensor(1.0).exp().item() / (torch.tensor(1.0).exp().item() + 2))


def test_a_vector_that_is_similar_to_none_becomes_0():
    out = heedful.reweight(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 2.0], [0.0, 3.0]]))
    assert out.tolist() == [[0.0, 0.0]]


def test_has_a_gradient():
    x, z = vectors(3, 4).requires_grad_(), vectors(5, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(heedful.reweight, (x, z))


@pytest.mark.parametrize(
    ("x", "other", "error", "message"),
    [
        ([[1.0]], None, TypeError, "`x` must be a tensor: got list."),
        (torch.ones(3), None, ValueError, r"`x` must be \[..., vectors, width\]: got \[3\]."),
        (torch.ones(2, 3).int(), None, TypeError, "`x` must be floating point: got torch.int32."),
        (torch.ones(2, 3), torch.ones(3), ValueError, r"`other` must be \[..., vectors, width\]: got \[3\]."),
        (torch.ones(2, 3), torch.ones(2, 5), ValueError, "`x` and `other` must have the same width: got 3 and 5."),
        (
            torch.ones(2, 5, 3),
            torch.ones(7, 5, 3),
            ValueError,
            r"`x` and `other` must have the same leading sizes: got \[2\] and \[7\].",
        ),
        (torch.ones(2, 3), torch.ones(2, 3).double(), TypeError, "`x` and `other` must have the same dtype: got"),
    ],
)
def test_what_does_not_fit_is_said(x, other, error, message):
    with pytest.raises(error, match=message):
        heedful.reweight(x, other)


def test_a_function_is_not_a_normalizer():
    with pytest.raises(TypeError, match="`normalize` must be a normalizer such as `heedful.softmax`: got"):
        heedful.reweight(torch.ones(2, 3), normalize=torch.softmax)
