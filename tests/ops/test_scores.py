"""Each score against its loop over numbers, its features, its derivatives and its words."""

import math
import re

import pytest
import torch

import heedful
from tests.reference import naive

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's forward mode, once
B, H, G, N, M, D, K = 2, 6, 3, 5, 7, 4, 3


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + math.prod(shape)))


Q, KEY, NARROW = numbers(B, H, N, D), numbers(B, H, M, D), numbers(B, H, M, K)
W, WH = numbers(D, K), numbers(H, D, K)
V, VH = numbers(D), numbers(H, D)
WIDTHS = numbers(H).abs() + 0.5

# name: (score, key, naive twin of one pair in head h)
CASES = {
    "dot": (heedful.Dot(), KEY, lambda q, k, h: naive.dot(q, k)),
    "scaled dot": (heedful.ScaledDot(), KEY, lambda q, k, h: naive.scaled_dot(q, k)),
    "bilinear": (heedful.Bilinear(W), NARROW, lambda q, k, h: naive.bilinear(q, k, W)),
    "bilinear, heads": (heedful.Bilinear(WH), NARROW, lambda q, k, h: naive.bilinear(q, k, WH[h])),
    "additive": (heedful.Additive(V), KEY, lambda q, k, h: naive.additive(q, k, V)),
    "additive, heads": (heedful.Additive(VH), KEY, lambda q, k, h: naive.additive(q, k, VH[h])),
    "cosine": (heedful.Cosine(), KEY, lambda q, k, h: naive.cosine(q, k)),
    "gaussian": (heedful.Gaussian(0.7), KEY, lambda q, k, h: naive.gaussian(q, k, 0.7)),
    "gaussian, heads": (heedful.Gaussian(WIDTHS), KEY, lambda q, k, h: naive.gaussian(q, k, WIDTHS[h])),
}
each = pytest.mark.parametrize("name", CASES)


@each
def test_a_score_is_its_formula(name):
    score, key, twin = CASES[name]
    score.check(Q, key)
    got = score(Q, key)
    assert got.shape == (B, H, N, M)
    for b in range(B):
        for h in range(H):
            want = [[twin(Q[b, h, i], key[b, h, j], h).item() for j in range(M)] for i in range(N)]
            torch.testing.assert_close(got[b, h], torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@each
def test_features_are_an_inner_product(name):
    score, key, _ = CASES[name]
    features = score.features(Q, key)
    if "additive" in name:
        assert features is None
        assert not score.inner
        return
    assert score.inner
    torch.testing.assert_close(features.query @ features.key.mT, score.pairs(Q, key), rtol=1e-12, atol=1e-12)


@each
def test_features_serve_grouped_heads(name):
    score, key, _ = CASES[name]
    shared = key[:, :G]
    features = score.features(Q, shared)
    if features is None:
        return
    each_head = features.key.repeat_interleave(H // G, 1)
    want = score.pairs(Q, shared.repeat_interleave(H // G, 1))
    assert features.key.shape[1] == G
    torch.testing.assert_close(features.query @ each_head.mT, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", [heedful.Dot(), heedful.ScaledDot(), heedful.Cosine(), heedful.Gaussian()])
def test_a_width_of_none(score):
    assert torch.equal(score(Q[..., :0], KEY[..., :0]), torch.zeros(B, H, N, M, dtype=torch.float64))


def test_a_zero_vector_has_cosine_0_and_no_gradient():
    query = Q[0, 0].clone()
    query[1] = 0
    query.requires_grad_()
    scores = heedful.Cosine()(query, KEY[0, 0])
    [first] = torch.autograd.grad(scores.square().sum() + scores.sum(), query, create_graph=True)
    [second] = torch.autograd.grad(first.square().sum(), query)
    assert torch.equal(scores[1], torch.zeros(M, dtype=torch.float64))
    assert torch.equal(first[1], torch.zeros(D, dtype=torch.float64))
    assert second.isfinite().all()
    assert torch.equal(second[1], torch.zeros(D, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_cosine_does_not_know_lengths(size):
    query = Q.float()
    torch.testing.assert_close(heedful.Cosine()(query * size, KEY.float()), heedful.Cosine()(query, KEY.float()))


def test_distances_far_from_0_are_as_exact_as_near_it():
    query, key = Q.float() + 1000, KEY.float() + 1000
    want = heedful.Gaussian()(query.double(), key.double())
    error = (heedful.Gaussian()(query, key) - want).abs().max()
    assert error < 2e-5  # by the plain expansion |q|^2 - 2 q.k + |k|^2 it is 0.5


def test_a_bad_first_query_stays_in_its_row():
    query = Q.clone()
    query[:, :, 0, 1] = math.nan
    got, want = heedful.Gaussian()(query, KEY), heedful.Gaussian()(Q, KEY)
    assert got[:, :, 0].isnan().all()
    torch.testing.assert_close(got[:, :, 1:], want[:, :, 1:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("score", "query", "key", "message"),
    [
        (heedful.Dot(), Q, NARROW, "`query` and `key` must be equally wide for Dot: got 4 and 3."),
        (heedful.Cosine(), Q, NARROW, "`query` and `key` must be equally wide for Cosine: got 4 and 3."),
        (
            heedful.Bilinear(WH), Q[0], NARROW[0],
            "`weight` of Bilinear must have no head axis where `query` has none: got [H, D, K] = [6, 4, 3].",
        ),
        (heedful.Additive(V.to("meta")), Q, KEY, "`weight` of Additive must be on the device of `query`, cpu: got meta."),
    ],
)  # fmt: skip
def test_words_of_what_does_not_fit(score, query, key, message):
    """More of them are in test_bad_input.py."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        score.check(query, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0, 9.0, 40.0])
def test_additive_scores_that_are_zero_are_exactly_zero(size, dtype):
    torch.manual_seed(0)
    query, other, weight = (
        size * torch.randn(1, 3, 37, 16, dtype=dtype),
        torch.randn(1, 3, 37, 16, dtype=dtype),
        torch.randn(16, dtype=dtype),
    )
    key = torch.cat([-query, size * other], dim=-2)
    value = torch.eye(74, dtype=dtype).expand(1, 3, -1, -1)
    for normalize in (heedful.relu, heedful.linear):
        got = heedful.attention(query, key, value, score=heedful.Additive(weight), normalize=normalize, engine="tiled")
        assert torch.equal(got[..., :37].diagonal(dim1=-2, dim2=-1), torch.zeros(1, 3, 37, dtype=dtype))
        assert (got != 0).sum() > 37 * 37
    no_weight = torch.zeros(16, dtype=dtype)
    got = heedful.attention(
        query, key, value, score=heedful.Additive(no_weight), normalize=heedful.linear, engine="tiled"
    )
    assert torch.equal(got, torch.zeros_like(got))


def test_rows_of_additive_zeros_are_empty():
    torch.manual_seed(0)
    query = torch.randn(1, 1, 1, 16).expand(1, 1, 5, 16)
    score = heedful.Additive(torch.randn(16))
    got = heedful.attention(
        query, -query, torch.randn(1, 1, 5, 3), score=score, normalize=heedful.proportional, engine="tiled"
    )
    assert torch.equal(got, torch.zeros(1, 1, 5, 3))


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.05, 0.3, 1.0, 15.0])
@pytest.mark.parametrize("normalize", [heedful.relu, heedful.proportional])
def test_small_additive_scores_keep_their_digits(size, normalize):
    torch.manual_seed(0)
    given = [
        size * torch.randn(2, 1, 11, 16),
        size * torch.randn(2, 1, 13, 16),
        torch.randn(2, 1, 13, 4),
        torch.randn(16),
    ]
    given = [t.requires_grad_() for t in given]
    exact = [t.detach().double().requires_grad_() for t in given]
    ours = heedful.attention(*given[:3], score=heedful.Additive(given[3]), normalize=normalize, engine="tiled")
    want = normalize((exact[0].unsqueeze(-2) + exact[1].unsqueeze(-3)).tanh() @ exact[3]) @ exact[2]
    grad = torch.randn_like(want)
    found = torch.autograd.grad(ours, given, grad.float())
    expected = torch.autograd.grad(want, exact, grad)
    for got, right in zip((ours, *found), (want, *expected), strict=True):
        assert (got - right).abs().max() <= 1e-5 * right.abs().max()


def regression(query, key, value, bandwidth):
    """The definition in float64; where the nearest key is all, its value."""
    distance = (query.double().unsqueeze(-2) - key.double().unsqueeze(-3)).square().sum(-1)
    nearest = distance - distance.amin(-1, keepdim=True)
    return (-nearest / 2 / bandwidth / bandwidth).softmax(-1) @ value.double()


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("bandwidth", [1e-38, 1e-20, 1e-7, 1.3, 1e10, 1e30])
@pytest.mark.parametrize("size", [1e-15, 1.0, 1e18])
def test_any_bandwidth_gives_finite_rows_and_gradients(bandwidth, learns, size, engine):
    torch.manual_seed(0)
    given = [size * torch.randn(2, 3, 5, 4), size * torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)]
    given = [t.requires_grad_() for t in given]
    width = torch.tensor(bandwidth, requires_grad=True) if learns else bandwidth
    got = heedful.attention(*given, score=heedful.Gaussian(width), engine=engine)
    want = regression(*given, bandwidth)
    assert (got - want).abs().max() < 2e-5
    for grad in torch.autograd.grad(got.square().sum(), [*given, width] if learns else given):
        assert grad.isfinite().all()


def test_gradients_of_a_gaussian_whatever_the_unit():
    torch.manual_seed(0)
    points = [numbers(1, 1, 5, 4), numbers(1, 1, 7, 4)]
    value = numbers(1, 1, 7, 3)
    plain = None
    for unit in (1.0, 2.0**-60, 2.0**60):
        given = [(unit * p).requires_grad_() for p in points] + [
            torch.tensor(0.7 * unit, dtype=torch.float64, requires_grad=True)
        ]
        out = heedful.attention(given[0], given[1], value, score=heedful.Gaussian(given[2]))
        grads = [g * unit for g in torch.autograd.grad(out.square().sum(), given)]
        plain = grads if plain is None else plain
        for got, right in zip(grads, plain, strict=True):
            torch.testing.assert_close(got, right)


def test_half_precision_points_are_compared_in_float32():
    query, key = (torch.randn(5, 4, dtype=torch.float16) for _ in range(2))
    got = heedful.Gaussian(0.1)(query, key)
    want = heedful.Gaussian(0.1)(query.double(), key.double())
    assert got.dtype == torch.float16
    assert ((got - want) / want).abs().max() < 1e-3
