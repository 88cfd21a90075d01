"""The package of the authors of entmax, where both are defined: rows that see something, first derivatives."""

import entmax as authors
import pytest
import torch

import heedful
from heedful import ops

# Sorting there, Newton's method here: both are exact but for the rounding of sums of some 50 numbers. Bisection there halves an
# interval of at most 1 fifty times, so its threshold is right to 1e-15, as float64 is.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
N, M = 7, 53

PAIRS = {
    "sparsemax": (ops.sparsemax, authors.sparsemax),
    "entmax15": (ops.entmax15, authors.entmax15),
    "alpha 1.05": (ops.entmax(1.05), lambda s: authors.entmax_bisect(s, alpha=1.05, n_iter=60)),
    "alpha 1.3": (ops.entmax(1.3), lambda s: authors.entmax_bisect(s, alpha=1.3, n_iter=60)),
    "alpha 1.5, by bisection": (ops.entmax(1.5), lambda s: authors.entmax_bisect(s, alpha=1.5, n_iter=60)),
    "alpha 1.9": (ops.entmax(1.9), lambda s: authors.entmax_bisect(s, alpha=1.9, n_iter=60)),
    "alpha 2, by bisection": (ops.entmax(2.0), lambda s: authors.sparsemax_bisect(s, n_iter=60)),
}
pairs = pytest.mark.parametrize("name", PAIRS)


def numbers(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def hidden(*shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(3)) > 0.4
    mask[..., 5] = False
    return mask


def assert_equal(mine, theirs, given, tolerance=CLOSE):
    torch.testing.assert_close(mine, theirs, **tolerance)
    weights = torch.linspace(-3, 2, mine.numel(), dtype=mine.dtype).cos().view(mine.shape)
    found, expected = (torch.autograd.grad(out, given, weights) for out in (mine, theirs))
    for a, b in zip(found, expected, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, **tolerance)


@pairs
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])  # from rows of no zeros to rows of almost only zeros
def test_weights(name, scale):
    ours, theirs = PAIRS[name]
    scores = numbers(3, N, M, scale=scale)
    assert_equal(ours(scores), theirs(scores), [scores])


@pairs
def test_weights_with_hidden_keys(name):
    ours, theirs = PAIRS[name]
    scores, away = numbers(3, N, M), hidden(3, N, M)
    # the derivative there multiplies what is hidden, -inf, by 0: it is given a number so low that its weight is 0
    assert_equal(ours(scores, ~away), theirs(scores.masked_fill(away, -1e3)), [scores])


@pairs
@pytest.mark.parametrize("engine", [None, "reference"])
def test_attention(name, engine):
    ours, theirs = PAIRS[name]
    query, key, value = numbers(2, 3, N, 5, seed=1), numbers(2, 3, M, 5, seed=2), numbers(2, 3, M, 11, seed=3)
    away = hidden(2, 1, N, M)
    mine = heedful.attention(query, key, value, normalize=ours, pattern=ops.Mask(~away), scale=2.0, engine=engine)
    weights = theirs((query @ key.mT * 2.0).masked_fill(away, -1e3))
    assert_equal(mine, weights @ value, [query, key, value])


@pytest.mark.parametrize("engine", [None, "reference"])
def test_an_alpha_for_each_head_that_learns(engine):
    query, key, value = numbers(2, 3, N, 5, seed=1), numbers(2, 3, M, 5, seed=2), numbers(2, 3, M, 11, seed=3)
    alpha = torch.tensor([1.2, 1.5, 1.8], dtype=torch.float64)[:, None, None].requires_grad_()
    mine = heedful.attention(query, key, value, normalize=ops.entmax(alpha), engine=engine)
    scores = query @ key.mT * 5**-0.5
    weights = authors.entmax_bisect(scores, alpha=alpha.expand(2, 3, N, 1), n_iter=60)
    # alpha's derivative there is a difference over (alpha - 1)^2: at 1.2 that is 25 times the rounding of its parts
    assert_equal(mine, weights @ value, [query, key, value, alpha], {"rtol": 1e-11, "atol": 1e-11})


def test_float32():
    """Both as near to float64: ours at most twice as far from it as theirs."""
    scores = numbers(64, 501, scale=3.0).detach()
    for ours, theirs in (PAIRS["sparsemax"], PAIRS["entmax15"], PAIRS["alpha 1.3"]):
        exact = theirs(scores)
        mine, other = ((f(scores.float()).double() - exact).abs().max() for f in (ours, theirs))
        assert 0 < mine <= 2 * other
