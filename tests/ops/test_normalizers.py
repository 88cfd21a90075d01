"""Each normalizer against its loop over numbers, its twin in place, its derivatives and its words."""

import itertools
import math

import pytest
import torch

import heedful
from heedful.ops import Normalizer
from tests.reference import naive

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's forward mode, once
B, H, N, M = 2, 3, 5, 7


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2


SCORES, GRAD = numbers(B, H, N, M), numbers(B, H, N, M, seed=1)
ALLOWED = torch.rand(B, 1, N, M, generator=torch.Generator().manual_seed(2)) > 0.3
ALLOWED[0, 0, 1] = False
ALLOWED[1, 0, 3] = torch.arange(M) == 4
HIDDEN = SCORES.masked_fill(~ALLOWED, -math.inf)
ALPHAS = torch.tensor([1.0, 1.3, 1.9], dtype=torch.float64)[:, None, None]

CASES = {
    "softmax": (heedful.softmax, naive.softmax),
    "softmax1": (heedful.softmax1, naive.softmax1),
    "relu": (heedful.relu, naive.relu),
    "proportional": (heedful.proportional, naive.proportional),
    "sigmoid": (heedful.sigmoid, naive.sigmoid),
    "sigmoid, offset": (heedful.Sigmoid(0.3), lambda s: naive.sigmoid(s, 0.3)),
    "sparsemax": (heedful.sparsemax, lambda s: naive.entmax(s, 2)),
    "entmax15": (heedful.entmax15, lambda s: naive.entmax(s, 1.5)),
    "entmax 1.05": (heedful.entmax(1.05), lambda s: naive.entmax(s, 1.05)),
    "entmax 1.25": (heedful.entmax(1.25), lambda s: naive.entmax(s, 1.25)),
    "entmax 3": (heedful.entmax(3.0), lambda s: naive.entmax(s, 3)),
    "entmax, tensor 1": (heedful.entmax(torch.tensor(1.0)), naive.softmax),
    "entmax, tensor 1.5": (heedful.entmax(torch.tensor(1.5)), lambda s: naive.entmax(s, 1.5)),
    "linear": (heedful.linear, naive.linear),
}
each = pytest.mark.parametrize("name", CASES)


def naive_rows(scores, twin):
    """The twin, applied to the visible scores of each row."""
    out = torch.zeros_like(scores)
    for place in itertools.product(*(range(n) for n in scores.shape[:-1])):
        row = scores[place]
        seen = (row > -math.inf).nonzero()[:, 0]
        if len(seen):
            out[(*place, seen)] = torch.tensor(twin(row[seen].tolist()), dtype=scores.dtype)
    return out


@each
def test_a_normalizer_is_its_formula(name):
    normalize, twin = CASES[name]
    assert isinstance(normalize, Normalizer)
    want = naive_rows(HIDDEN, twin)
    for got in (normalize(SCORES, ALLOWED), normalize(HIDDEN), normalize.forward_(HIDDEN.clone())[0]):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
        assert (got.masked_select(~ALLOWED) == 0).all()
    if normalize.normalized:
        total = normalize(SCORES).sum(-1)
        assert (total <= 1 + 1e-12).all()


def test_a_third_derivative():
    scores = torch.tensor([1.0, 0.4, -0.3, -9.0], dtype=torch.float64, requires_grad=True)

    def second(scores):
        [first] = torch.autograd.grad(heedful.entmax15(scores[None])[0, 0], scores, create_graph=True)
        return torch.autograd.grad(first[1], scores, create_graph=True)[0]

    assert second(scores).abs().max() > 0.01
    assert torch.autograd.gradcheck(second, scores)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_place_and_its_gradient_are_those_of_the_definition(name, dtype):
    normalize, _ = CASES[name]
    scores = SCORES.to(dtype, copy=True).requires_grad_()
    want = normalize(scores, ALLOWED)
    [gradient] = torch.autograd.grad(want, scores, GRAD.to(dtype))
    weights, row = normalize.forward_(HIDDEN.to(dtype, copy=True))
    pulled = normalize.backward_(weights.clone(), GRAD.to(dtype, copy=True), row)
    loose = {torch.float32: 2e-5, torch.float64: 1e-11}[dtype]
    if name == "entmax 3":
        loose *= 100  # the slope of a small weight p is 1 / p
    torch.testing.assert_close(weights, want.detach(), rtol=loose, atol=loose)
    torch.testing.assert_close(pulled, gradient, rtol=loose, atol=loose)
    assert (pulled.masked_select(~ALLOWED) == 0).all()


@each
def test_in_place_means_in_place(name):
    normalize, _ = CASES[name]
    scores, grad = HIDDEN.clone(), GRAD.clone()
    weights, row = normalize.forward_(scores)
    assert weights.data_ptr() == scores.data_ptr()
    assert normalize.backward_(weights, grad, row).data_ptr() == grad.data_ptr()


@each
def test_part_of_a_larger_buffer(name):
    normalize, _ = CASES[name]
    scores, grad = (torch.cat([t, t], dim=-1)[..., :M] for t in (HIDDEN, GRAD))
    want, row = normalize.forward_(HIDDEN.clone())
    weights, same = normalize.forward_(scores)
    torch.testing.assert_close(weights, want)
    torch.testing.assert_close(normalize.backward_(weights, grad, same), normalize.backward_(want, GRAD.clone(), row))


@pytest.mark.parametrize(
    "name", ["softmax", "softmax1", "relu", "proportional", "sigmoid", "sparsemax", "entmax15", "entmax 1.25"]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler
def test_compiled(name):
    normalize, _ = CASES[name]
    torch.compiler.reset()

    def loss(scores):
        return (normalize(scores, ALLOWED) * GRAD).sum()

    scores = SCORES.clone().requires_grad_()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    got, want = (torch.autograd.grad(f(scores), scores)[0] for f in (compiled, loss))
    torch.testing.assert_close(got, want)


@each
def test_a_batch_is_one_by_one(name):
    normalize, _ = CASES[name]
    torch.testing.assert_close(torch.vmap(normalize)(SCORES, ALLOWED.expand_as(SCORES)), normalize(SCORES, ALLOWED))

    def there_and_back(scores, grad):
        weights, row = normalize.forward_(scores.clone())
        return normalize.backward_(weights, grad.clone(), row)

    torch.testing.assert_close(torch.vmap(there_and_back)(HIDDEN, GRAD), there_and_back(HIDDEN, GRAD))


@each
def test_nothing_to_see(name):
    normalize, _ = CASES[name]
    scores = SCORES.clone().requires_grad_()
    weights = normalize(scores, torch.tensor(False))
    [first] = torch.autograd.grad(weights.sum(), scores, create_graph=True)
    assert torch.equal(weights, torch.zeros_like(SCORES))
    assert torch.equal(first, torch.zeros_like(SCORES))
    for shape in ((2, 0), (0, 3)):
        none = torch.zeros(shape)
        assert normalize(none).shape == shape
        weights, row = normalize.forward_(none.clone())
        assert normalize.backward_(weights, none.clone(), row).shape == shape


@each
def test_large_scores(name):
    normalize, twin = CASES[name]
    scores = torch.tensor([[300.0, 299.5, -300.0], [-300.0, -300.5, -600.0]], dtype=torch.float64)
    want = naive_rows(scores, twin)
    for dtype, loose in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        for got in (normalize(scores.to(dtype)), normalize.forward_(scores.to(dtype, copy=True))[0]):
            torch.testing.assert_close(got.double(), want, rtol=loose, atol=1e-38)


@each
def test_a_nan_stays_in_its_row(name):
    normalize, _ = CASES[name]
    bad = SCORES.clone()
    bad[0, 0, 2, 3] = math.nan
    others = torch.ones(B, H, N, dtype=torch.bool)
    others[0, 0, 2] = False
    for got in (normalize(bad), normalize.forward_(bad.clone())[0]):
        assert got[0, 0, 2, 3].isnan()
        torch.testing.assert_close(got[others], normalize(SCORES)[others])


def test_equal_scores_have_equal_weights():
    scores = torch.zeros(1, 4)
    for normalize in (heedful.softmax, heedful.sparsemax, heedful.entmax15, heedful.entmax(1.7)):
        torch.testing.assert_close(normalize(scores), torch.full((1, 4), 0.25))


@pytest.mark.parametrize("alpha", [1.0, 1.001, 1.5, 2.0, 2.5, 4.0, 10.0])
def test_every_alpha_adds_up(alpha):
    scores = numbers(40, 64, seed=3)
    for size in (0.1, 1, 30):
        # the root of y^(1 / 9) cannot be known better than y
        loose = 1e-12 if alpha < 3 else 1e-2 if alpha > 5 else 1e-6
        normalize = heedful.entmax(torch.tensor(alpha, dtype=torch.float64))
        weights = normalize(scores * size)
        torch.testing.assert_close(weights.sum(-1), torch.ones(40, dtype=torch.float64), rtol=loose, atol=loose)
        if alpha < 5:
            torch.testing.assert_close(weights, heedful.entmax(alpha)(scores * size), rtol=1e-8, atol=1e-8)


def test_an_alpha_for_each_head():
    want = torch.cat(
        [heedful.entmax(a)(SCORES[:, h : h + 1], ALLOWED) for h, a in enumerate(ALPHAS.flatten().tolist())], 1
    )
    torch.testing.assert_close(heedful.entmax(ALPHAS)(SCORES, ALLOWED), want)
    torch.testing.assert_close(heedful.entmax(ALPHAS).forward_(HIDDEN.clone())[0], want)


def test_derivatives_of_alpha():
    alpha = torch.tensor([1.02, 1.5, 2.4], dtype=torch.float64)[:, None, None].requires_grad_()
    scores = SCORES[0, :, :1].clone().requires_grad_()

    def call(scores, alpha):
        return heedful.entmax(alpha)(scores, ALLOWED[0, :, :1])

    assert torch.autograd.gradcheck(call, (scores, alpha), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(call, (scores, alpha))
    assert heedful.entmax(alpha).requires_grad
    assert heedful.entmax(alpha).per_row
    assert not heedful.entmax(alpha[0]).per_row
    assert not heedful.entmax(alpha.detach()).requires_grad


def test_the_derivative_of_alpha_where_entmax_is_softmax():
    def call(alpha):
        return heedful.entmax(alpha)(SCORES, ALLOWED)

    one, step = torch.tensor(1.0, dtype=torch.float64), 1e-5
    got = torch.func.jacfwd(call)(one)
    sides = [call(one + k * step) for k in range(3)]
    torch.testing.assert_close(got, (4 * sides[1] - 3 * sides[0] - sides[2]) / (2 * step), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(torch.func.jacrev(call)(one), got)


def test_derivatives_of_an_offset():
    offset = numbers(H, 1, 1).requires_grad_()
    assert heedful.Sigmoid(offset).requires_grad
    assert not heedful.sigmoid.requires_grad
    call = lambda scores, offset: heedful.Sigmoid(offset)(scores, ALLOWED)  # noqa: E731
    assert torch.autograd.gradcheck(call, (SCORES.clone().requires_grad_(), offset))


def test_named_alphas_are_the_named_normalizers():
    assert heedful.entmax(1.0) is heedful.softmax
    assert heedful.entmax(1.5) is heedful.entmax15
    assert heedful.entmax(2.0) is heedful.sparsemax


def test_a_score_of_0_has_a_gradient_in_linear():
    weights, row = heedful.linear.forward_(torch.tensor([[0.0, -0.0, 2.0, -math.inf]]))
    pulled = heedful.linear.backward_(weights, torch.ones(1, 4), row)
    torch.testing.assert_close(pulled, torch.tensor([[1.0, 1.0, 1.0, 0.0]]) / 3)


def test_float32_rows_are_as_exact_as_they_can_be():
    scores = torch.randn(64, 1000, generator=torch.Generator().manual_seed(5))
    for normalize in (heedful.sparsemax, heedful.entmax15, heedful.entmax(1.25)):
        want = normalize(scores.double())
        for got in (normalize(scores), normalize.forward_(scores.clone())[0]):
            assert (got - want).abs().max() < 1e-6
            assert (got.sum(-1) - 1).abs().max() < 2e-6


def results(query, key, value, normalize, engine):
    out = heedful.attention(query, key, value, normalize=normalize, engine=engine)
    (grad,) = torch.autograd.grad(out.sum(), normalize.alpha)
    return out, grad, heedful.attention_weights(query, key, normalize=normalize)


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_a_learned_alpha_below_1_counts_as_1_and_comes_back(engine):
    torch.manual_seed(0)
    alpha = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    normalize = heedful.entmax(alpha)
    query, key, value = (torch.randn(1, 1, 7, 4, dtype=torch.float64) for _ in range(3))
    want = heedful.attention(query, key, value)
    (slope,) = torch.autograd.grad(heedful.attention(query, key, value, normalize=normalize).sum(), alpha)
    with torch.no_grad():
        alpha.sub_(0.4)  # as a step of an optimizer
    with pytest.warns(UserWarning, match="`alpha` of entmax must be at least 1: got less"):
        got, grad, weights = results(query, key, value, normalize, engine)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    torch.testing.assert_close(grad, slope)
    assert grad != 0


def test_an_alpha_of_each_head_is_held_for_itself():
    alpha = torch.tensor([1.0, 1.3, 1.9], dtype=torch.float64)[:, None, None].requires_grad_()
    normalize = heedful.entmax(alpha)
    want = normalize(SCORES)
    with torch.no_grad():
        alpha[0] = 0.2
    with pytest.warns(UserWarning, match="it counts as 1"):
        torch.testing.assert_close(normalize(SCORES), want)
