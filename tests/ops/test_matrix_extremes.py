"""What is asked of a matrix where numbers are extreme: against the stored one in float64, values and gradients.

Queries and keys are multiples of 1/64 and factors powers of two, so that scores are the same numbers in both precisions.
"""

import math

import pytest
import torch
import torch.nn.functional as F

import heedful
from heedful import ops

B, H, N, M, D = 2, 3, 7, 7, 3
TARGETS = torch.tensor([0, 1, 1, 3, 0, 5, -1])
GROUPS = torch.tensor([0, 1, -1, 1, 0, 0, 1])
LENGTHS = torch.tensor([7, 0])  # of the second sample no query sees a key


def operands(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randint(-64, 65, (B, H, n, D), generator=generator) / 64 for n in (N, M)]
    return [t.to(dtype).requires_grad_() for t in made]


def far_rows(number):
    """A bias that is a number in the third row, and in the first half of the fifth."""
    bias = torch.zeros(N, M)
    bias[2], bias[4, :4] = number, number
    return bias


CASES = {
    "sinks of 200": {"sinks": 200.0},
    "sinks of -200": {"sinks": -200.0},
    "sinks of each head": {"sinks": [200.0, -200.0, 0.5]},
    "sinks, causal": {"sinks": [120.0, 90.0, 0.5], "pattern": ops.Causal()},
    "sinks, empty rows": {"sinks": [200.0, 1.0, -3.0], "pattern": ops.Causal() & ops.Lengths(LENGTHS)},
    "sinks, bias of -inf": {"sinks": 150.0, "bias": far_rows(-math.inf)},
    "softmax1 of -110": {"normalize": ops.softmax1, "bias": torch.tensor(-110.0)},
    "softmax1 of 110": {"normalize": ops.softmax1, "bias": torch.tensor(110.0)},
    "softmax1 and sinks": {"normalize": ops.softmax1, "sinks": 90.0, "pattern": ops.Causal()},
    "softmax1, empty rows": {
        "normalize": ops.softmax1, "bias": torch.tensor(-120.0), "pattern": ops.Lengths(LENGTHS)
    },
    "scores of 1e4": {"scale": 2.0**13},
    "scores of 1e4, causal": {"scale": 2.0**13, "pattern": ops.Causal()},
    "scores of 1e4, sinks": {"scale": 2.0**13, "sinks": [1e4, 0.0, -1e4]},
    "scores of 1e4, softmax1": {"scale": 2.0**13, "normalize": ops.softmax1},
    "scores of 1e4, softcap": {"scale": 2.0**13, "softcap": 4.0},
    "scores of 2,000, much alike": {"bias": torch.tensor(2048.0)},
    "bias of -1e30": {"bias": far_rows(-1e30)},
    "bias of -1e30, sinks": {"bias": far_rows(-1e30), "sinks": 2.0},
    "bias of -inf, causal": {"bias": far_rows(-math.inf), "pattern": ops.Causal()},
    "empty rows": {"pattern": ops.Lengths(LENGTHS)},
    "one key": {"pattern": ops.Local(0, 0)},
    "one key, sinks": {"pattern": ops.Local(0, 0), "sinks": 130.0},
    "negative scale, causal": {"scale": -0.5, "pattern": ops.Causal()},
    "scale of 0, causal": {"scale": 0.0, "pattern": ops.Causal()},
}  # fmt: skip
cases = pytest.mark.parametrize("name", CASES)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def options(name, dtype):
    made = dict(CASES[name])
    for key in ("sinks", "bias"):
        if key in made:
            made[key] = torch.as_tensor(made[key]).to(dtype)
    if "sinks" in made:
        made["sinks"].requires_grad_()
    return made


class Stored:
    """Logarithms of the weights, in float64."""

    def __init__(self, query, key, *, pattern=None, scale=1.0, softcap=None, bias=None, sinks=None, normalize=None):
        scores = query @ key.mT * scale
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        if bias is not None:
            scores = scores + bias
        if pattern is not None:
            allowed = pattern.allowed(torch.arange(N)[:, None], torch.arange(M)[None], scores.shape)
            scores = scores.masked_fill(~allowed, -math.inf)
        self.empty = (scores == -math.inf).all(-1)
        one_more = [] if sinks is None else [sinks]
        one_more += [torch.zeros((), dtype=torch.float64)] if normalize is ops.softmax1 else []
        columns = [sink[..., None, None].expand(*scores.shape[:-1], 1) for sink in one_more]
        every = torch.cat([scores.masked_fill(self.empty[..., None], 0), *columns], dim=-1)
        most = every.detach().amax(-1, keepdim=True)  # with `logsumexp`, slopes of scores of -1e30 do not add up to 1
        self.lse = (most + (every - most).exp().sum(-1, keepdim=True).log())[..., 0].masked_fill(self.empty, -math.inf)
        self.logarithms = every.log_softmax(-1)[..., :M].masked_fill(scores == -math.inf, -math.inf)
        self.p = self.logarithms.exp()
        self.shares = scores.masked_fill(self.empty[..., None], 0).softmax(-1).masked_fill(self.empty[..., None], 0)

    def blocks(self, count):
        return F.one_hot(torch.arange(N) * count // N, count).double()


def entropy(S):
    return -(S.p * S.logarithms.masked_fill(S.logarithms == -math.inf, 0)).sum(-1)


def effective(S):
    return S.shares.sum(-1) ** 2 / S.shares.square().sum(-1).masked_fill(S.empty, 1)


def distance(S):
    return (S.shares * (torch.arange(N)[:, None] - torch.arange(M)).abs()).sum(-1)


def spread(S):
    place = torch.arange(M).double()
    mean = (S.shares * place).sum(-1, keepdim=True)
    variance = (S.shares * (place - mean).square()).sum(-1)
    return torch.where(variance > 1e-25, variance.clamp_min(1e-25).sqrt(), 0)


def at(S, targets):
    return torch.where(targets < 0, 0, S.p.gather(-1, targets.clamp_min(0).expand(B, H, N)[..., None])[..., 0])


def kl(S, R):
    mine, theirs = (x.logarithms.masked_fill(x.logarithms == -math.inf, 0) for x in (S, R))
    missed = (S.logarithms > -math.inf) & (R.logarithms == -math.inf)
    return (S.p * (mine - theirs)).masked_fill(missed, math.inf).sum(-1)


def cosine(S, R):
    size = S.shares.square().sum(-1) * R.shares.square().sum(-1)
    return (S.shares * R.shares).sum(-1) / size.masked_fill(size == 0, 1).sqrt()


QUESTIONS = {
    "lse": (lambda A, B: A.lse(), lambda S, R: S.lse),
    "entropy": (lambda A, B: A.entropy(), lambda S, R: entropy(S)),
    "max": (lambda A, B: A.max(), lambda S, R: S.p.amax(-1)),
    "effective_keys": (lambda A, B: A.effective_keys(), lambda S, R: effective(S)),
    "distance": (lambda A, B: A.distance(), lambda S, R: distance(S)),
    "spread": (lambda A, B: A.position_std(), lambda S, R: spread(S)),
    "received": (lambda A, B: A.received(), lambda S, R: S.p.sum(-2)),
    "at": (lambda A, B: A.gather(TARGETS), lambda S, R: at(S, TARGETS)),
    "topk": (lambda A, B: A.topk(2).mass, lambda S, R: S.p.topk(2).values.sum(-1)),
    "mass": (lambda A, B: A.group_mass(GROUPS == 1), lambda S, R: S.p[..., GROUPS == 1].sum(-1)),
    "pool": (lambda A, B: A.pool(2, 3), lambda S, R: S.blocks(2).T @ S.p @ S.blocks(3) / S.blocks(2).sum(0)[:, None]),
    "pool_max": (
        lambda A, B: A.pool_max(1, 1)[..., 0, 0], lambda S, R: S.p.amax((-2, -1))
    ),
    "window": (lambda A, B: A[..., 1:6, :], lambda S, R: S.p[..., 1:6, :]),
    "A.T @ X": (lambda A, B: A.T @ A.query, lambda S, R: S.p.mT @ S.query),
    "A @ X": (lambda A, B: A @ A.key, lambda S, R: S.p @ S.key),
    "kl": (lambda A, B: A.kl(B), kl),
    "cosine": (lambda A, B: A.cosine(B), cosine),
    "overlap": (lambda A, B: A.overlap(B), lambda S, R: (S.p * R.p).sum(-1)),
    "lse of the summary": (lambda A, B: A.summary().lse, lambda S, R: S.lse),
    "entropy of the summary": (lambda A, B: A.summary().entropy, lambda S, R: entropy(S)),
    "effective keys of the summary": (lambda A, B: A.summary().effective_keys, lambda S, R: effective(S)),
    "distance of the summary": (lambda A, B: A.summary().distance, lambda S, R: distance(S)),
}  # fmt: skip


def assert_near(mine, true, tolerance, floor, what):
    """Relative to the largest number, but not less than to a floor."""
    assert mine.shape == true.shape, what
    assert torch.equal(mine.isfinite(), true.isfinite()), f"{what}: {mine} instead of {true}"
    assert torch.equal(mine.double()[~mine.isfinite()], true[~true.isfinite()]), what
    mine, true = (t[t.isfinite()].double() for t in (mine, true))
    error, size = (mine - true).abs(), true.abs().amax() if true.numel() else torch.tensor(0.0)
    assert not error.numel() or error.max() <= tolerance * max(float(size), floor), f"{what}: off by {error.max():.2g}"


def slopes(number, leaves):
    if not number.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(number, leaves, allow_unused=True, materialize_grads=True, retain_graph=True)


@cases
@dtypes
@pytest.mark.parametrize("gradient", [False, True])
def test_every_question_where_numbers_are_extreme(name, dtype, gradient):
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    steep = max(abs(CASES[name].get("scale", 1.0)), 1.0)
    for question, (ours, theirs) in QUESTIONS.items():
        leaves, exact = [], []
        found, stored = [], []
        for seed in (1, 2):
            query, key = operands(seed, dtype)
            more, twin = options(name, dtype), options(name, torch.float64)
            found.append(heedful.AttentionMatrix(query, key, score=ops.Dot(), **more))
            q, k = (t.detach().double().requires_grad_() for t in (query, key))
            stored.append(Stored(q, k, **twin))
            stored[-1].query, stored[-1].key = q, k
            leaves += [query, key, *([more["sinks"]] if "sinks" in more else [])]
            exact += [q, k, *([twin["sinks"]] if "sinks" in twin else [])]
        with torch.set_grad_enabled(gradient):
            mine = ours(*found)
        true = theirs(*stored)
        assert_near(mine.detach(), true.detach(), tolerance, 1.0, question)
        if not gradient:
            continue
        weights = torch.randn(true.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        here = true.isfinite()
        mine, true = (weights[here].to(mine.dtype) * mine[here]).sum(), (weights[here] * true[here]).sum()
        gradients = [slopes(mine, leaves), slopes(true, exact)]
        for a, b in zip(*gradients, strict=True):
            assert_near(a, b, tolerance, steep, f"gradient of {question}")


@cases
@dtypes
def test_the_largest_weights_are_named_also_where_they_underflow(name, dtype):
    query, key = operands(1, dtype)
    A = heedful.AttentionMatrix(query, key, score=ops.Dot(), **options(name, dtype))
    stored = Stored(query.detach().double(), key.detach().double(), **options(name, torch.float64))
    found = A.argmax()
    assert torch.equal(found == -1, stored.empty)
    chosen = stored.shares.gather(-1, found.clamp_min(0)[..., None])[..., 0]
    torch.testing.assert_close(chosen, stored.shares.amax(-1), atol=1e-6, rtol=1e-6)
    assert torch.equal(A.topk(1).indices[..., 0], found)


POINTWISE = {
    "relu, tiny": (ops.relu, 2.0**-90, 0.0),
    "relu, huge": (ops.relu, 2.0**90, 0.0),
    "sigmoid, tiny": (ops.sigmoid, 1.0, -80.0),
    "sigmoid, one": (ops.sigmoid, 1.0, 80.0),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_what_does_not_depend_on_a_factor_of_the_row(name):
    """Squares of weights of 1e-27 are 0 in float32, and those of 1e27 infinite."""
    normalize, scale, bias = POINTWISE[name]
    more = {"score": ops.Dot(), "normalize": normalize, "scale": scale, "bias": torch.tensor(bias)}
    (query, key), (other, others) = operands(1, torch.float32), operands(2, torch.float32)
    A, R = heedful.AttentionMatrix(query, key, **more), heedful.AttentionMatrix(other, others, **more)
    more["bias"] = more["bias"].double()
    exact = [t.detach().double().requires_grad_() for t in (query, key)]
    P = heedful.attention_weights(*exact, **more)
    Q = heedful.attention_weights(other.detach().double(), others.detach().double(), **more)
    total = P.sum(-1).masked_fill(P.sum(-1) == 0, 1)
    apart = (torch.arange(N)[:, None] - torch.arange(M)).abs()
    size = (P.square().sum(-1) * Q.square().sum(-1)).sqrt()
    for question, mine, true in (
        ("effective_keys", A.effective_keys(), P.sum(-1) ** 2 / P.square().sum(-1).masked_fill(P.sum(-1) == 0, 1)),
        ("distance", A.distance(), (P * apart).sum(-1) / total),
        ("cosine", A.cosine(R), (P * Q).sum(-1) / size.masked_fill(size == 0, 1)),
    ):
        assert_near(mine.detach(), true.detach(), 1e-5, 1.0, question)
        for a, b in zip(slopes(mine.sum(), (query, key)), slopes(true.sum(), exact), strict=True):
            assert_near(a, b, 1e-5, 1.0, f"gradient of {question}")


EMPTY = {
    "no sample": (0, 3, 5, 7),
    "no head": (2, 0, 5, 7),
    "no query": (2, 3, 0, 7),
    "no key": (2, 3, 5, 0),
    "nothing": (2, 3, 0, 0),
}
MECHANISMS = {
    "softmax": {},
    "causal": {"pattern": ops.Causal("end")},
    "lengths": {"pattern": ops.Lengths(0)},
    "bias": {"bias": torch.zeros(1, 1)},
    "sinks": {"sinks": torch.tensor(0.5)},
    "softmax1": {"normalize": ops.softmax1},
    "sparsemax": {"normalize": ops.sparsemax},
    "relu": {"normalize": ops.relu},
    "softcap": {"softcap": 3.0},
    "additive": {"score": ops.Additive(torch.ones(4))},
}


@pytest.mark.parametrize("sizes", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)
@pytest.mark.parametrize("gradient", [False, True])
def test_matrices_without_a_number(sizes, mechanism, gradient):
    b, h, n, m = sizes
    query, key = (torch.zeros(b, h, count, 4, requires_grad=gradient) for count in (n, m))
    A = heedful.AttentionMatrix(query, key, **mechanism)
    of_rows = [
        A.max(),
        A.effective_keys(),
        A.distance(torch.zeros(n), torch.zeros(m)),
        A.position_std(),
        A.group_mass(torch.ones(m) > 0),
    ]
    of_rows += [A.overlap(A), A.cosine(A), A.gather(torch.full((n,), -1))]
    grids = [(A.pool(min(n, 2), min(m, 2)), (b, h, min(n, 2), min(m, 2)))]
    grids += [(A.pool_max(min(n, 2), min(m, 2)), (b, h, min(n, 2), min(m, 2))), (A.summary().map, (b, h, n, m))]
    grids += [(A @ torch.ones(m, 2), (b, h, n, 2)), (A.T @ torch.ones(n, 2), (b, h, m, 2))]
    grids += [(A.received(), (b, h, m)), (A[..., :2, :1], (b, h, min(n, 2), min(m, 1))), (A.dense(), (b, h, n, m))]
    grids += [(A.diagonal(), (b, h, min(n, m))), (A.diagonal(-9), (b, h, 0))]
    if A.mechanism.normalize.normalized:
        of_rows += [A.entropy(), A.kl(A), A.summary().entropy]
    if mechanism.get("normalize") in (None, ops.softmax1):
        for lse in (A.lse(), A.summary().lse):
            assert lse.shape == (b, h, n)
            assert (lse == -math.inf).all() or m
    for found, shape in [*((t, (b, h, n)) for t in of_rows), *grids]:
        assert found.shape == shape
        assert not found.numel() or m == 0 or n == 0
        assert not found.any()
        if gradient and found.requires_grad:
            for slope in torch.autograd.grad(found.sum(), (query, key), allow_unused=True, retain_graph=True):
                assert slope is None or not slope.any()
    assert A.argmax().shape == (b, h, n)
    assert A.argmax().dtype == torch.long
    assert (A.argmax() == -1).all()
    if m:
        assert [t.shape for t in A.topk(min(m, 2))] == [(b, h, n, min(m, 2))] * 2 + [(b, h, n)]
    assert torch.equal(A.histogram([0.0, 1.0]), torch.zeros(b, h, 1, dtype=torch.long))
