"""Every question to the matrix that is never stored, on every mechanism, against the stored one in float64."""

import itertools
import math

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops import windows
from heedful.ops.engines import fused, kernel
from heedful.ops.normalizers import Softmax, Softmax1
from tests.contract.mechanisms import CASES

MATRIX = {
    name: case for name, case in CASES.items() if not {"select", "dropout"} & set(case.options(*case.operands()[3:]))
}
FUSED = ("softmax(scaled dot)", "grouped heads", "causal", "causal & lengths", "bias", "causal | lengths")

cases = pytest.mark.parametrize("case", MATRIX.values(), ids=MATRIX)
PLAIN = {*FUSED, *list(MATRIX)[::6]}  # without gradients nothing but what a question keeps is different
with_and_without_gradients = pytest.mark.parametrize(
    ("case", "gradient"),
    [pytest.param(case, True, id=f"{name}, gradients") for name, case in MATRIX.items()]
    + [pytest.param(MATRIX[name], False, id=name) for name in MATRIX if name in PLAIN],
)
PAIRS = [name for at, name in enumerate(MATRIX) if name in FUSED or at % 2]  # half of the table


def cells(positions, count):
    return torch.arange(positions) * count // positions


def blocks(positions, count):
    return torch.nn.functional.one_hot(cells(positions, count), count).double()


def entropy(stored):
    return -torch.where(stored > 0, stored * stored.clamp_min(1e-300).log(), 0).sum(-1)


def mass(stored):
    total = stored.sum(-1)
    return torch.where(total == 0, 1, total)


def effective(stored):
    squares = stored.square().sum(-1)
    return stored.sum(-1) ** 2 / torch.where(squares == 0, 1, squares)


def distance(stored, x, y):
    apart = torch.linalg.vector_norm(x[:, None] - y[None], dim=-1)
    return (stored * apart).sum(-1) / mass(stored)


def spread(stored, y):
    mean = (stored[..., None] * y).sum(-2) / mass(stored)[..., None]
    variance = (stored[..., None] * (y - mean[..., None, :]) ** 2).sum((-1, -2)) / mass(stored)
    return torch.where(variance > 1e-25, variance.clamp_min(1e-25).sqrt(), 0)


def largest_of_cells(stored, rows, columns):
    row, column = cells(stored.shape[-2], rows), cells(stored.shape[-1], columns)
    return torch.stack(
        [torch.stack([stored[..., row == r, :][..., column == c].amax((-2, -1)) for c in range(columns)], -1) for r in range(rows)],
        -2,
    )  # fmt: skip


def chosen(stored, targets):
    return torch.where(targets < 0, 0, stored.gather(-1, targets.clamp_min(0).expand(*stored.shape[:-1], -1)))


def targets(shape):
    return torch.randint(-1, shape[-1], (*shape[:-1], 3), generator=torch.Generator().manual_seed(8))


def places(count, seed):
    return torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def groups(count):
    return torch.arange(count) % 4 - 1


SIGNED = ("linear",)  # weights may be negative
ANY = {
    "A @ X": (lambda A, x, y: A @ x, lambda S, x, y: S @ x),
    "A.T @ X": (lambda A, x, y: A.T @ y, lambda S, x, y: S.mT @ y),
    "received": (lambda A, x, y: A.received(), lambda S, x, y: S.sum(-2)),
    "pool": (
        lambda A, x, y: A.pool(3, 5),
        lambda S, x, y: blocks(S.shape[-2], 3).T @ S @ blocks(S.shape[-1], 5) / blocks(S.shape[-2], 3).sum(0)[:, None],
    ),
    "pool_max": (lambda A, x, y: A.pool_max(3, 4), lambda S, x, y: largest_of_cells(S, 3, 4)),
    "window": (lambda A, x, y: A[..., 1:4, [5, 0]], lambda S, x, y: S[..., 1:4, :][..., [5, 0]]),
    "row": (lambda A, x, y: A[1, 2, -2], lambda S, x, y: S[1, 2, -2]),
    "column": (lambda A, x, y: A[..., 3], lambda S, x, y: S[..., 3]),
    "one number": (lambda A, x, y: A[0, 1, 2, 3], lambda S, x, y: S[0, 1, 2, 3]),
    "dense": (lambda A, x, y: A.dense(), lambda S, x, y: S),
    "rows by a mask": (lambda A, x, y: A[..., torch.arange(A.shape[-2]) > 2, :], lambda S, x, y: S[..., 3:, :]),
    "max": (lambda A, x, y: A.max(), lambda S, x, y: S.amax(-1)),
    "at": (lambda A, x, y: A.gather(targets(A.shape)), lambda S, x, y: chosen(S, targets(S.shape))),
    "at, one": (
        lambda A, x, y: A.gather(targets(A.shape)[0, 0, :, 0]),
        lambda S, x, y: chosen(S, targets(S.shape)[0, 0, :, :1])[..., 0],
    ),
    "diagonal": (lambda A, x, y: A.diagonal(), lambda S, x, y: S.diagonal(0, -2, -1)),
    "diagonal, before": (lambda A, x, y: A.diagonal(-2), lambda S, x, y: S.diagonal(-2, -2, -1)),
    "diagonal, after": (lambda A, x, y: A.diagonal(3), lambda S, x, y: S.diagonal(3, -2, -1)),
    "mass": (
        lambda A, x, y: A.group_mass(groups(A.shape[-1])),
        lambda S, x, y: torch.stack([S[..., groups(S.shape[-1]) == g].sum(-1) for g in range(3)], -1),
    ),
    "mass of a set": (
        lambda A, x, y: A.group_mass(groups(A.shape[-1]) == 1),
        lambda S, x, y: S[..., groups(S.shape[-1]) == 1].sum(-1),
    ),
    "overlap": (lambda A, x, y: A.overlap(A), lambda S, x, y: S.square().sum(-1)),
}
NOT_NEGATIVE = {
    "topk": (lambda A, x, y: A.topk(3).values, lambda S, x, y: S.topk(3).values),
    "topk, mass": (lambda A, x, y: A.topk(2).mass, lambda S, x, y: S.topk(2).values.sum(-1)),
    "effective_keys": (lambda A, x, y: A.effective_keys(), lambda S, x, y: effective(S)),
    "distance": (
        lambda A, x, y: A.distance(places(A.shape[-2], 1), places(A.shape[-1], 2)),
        lambda S, x, y: distance(S, places(S.shape[-2], 1), places(S.shape[-1], 2)),
    ),
    "spread": (
        lambda A, x, y: A.position_std(),
        lambda S, x, y: spread(S, torch.arange(S.shape[-1]).double()[:, None]),
    ),
    "spread on a plane": (
        lambda A, x, y: A.position_std(places(A.shape[-1], 2)),
        lambda S, x, y: spread(S, places(S.shape[-1], 2)),
    ),
    "summary": (
        lambda A, x, y: torch.cat([t.flatten() for t in (A.summary(2, 3)[2:4] + A.summary(2, 3)[5:8])]),
        lambda S, x, y: torch.cat(
            [
                t.flatten()
                for t in (
                    S.amax(-1),
                    effective(S),
                    S[..., 0],
                    S.sum(-2),
                    blocks(S.shape[-2], 2).T @ S @ blocks(S.shape[-1], 3) / blocks(S.shape[-2], 2).sum(0)[:, None],
                )
            ]
        ),
    ),
}
ADDS_UP = {
    "entropy": (lambda A, x, y: A.entropy(), lambda S, x, y: entropy(S)),
    "entropy of the summary": (lambda A, x, y: A.summary().entropy, lambda S, x, y: entropy(S)),
}


def asked(A):
    normalize = A.mechanism.normalize
    more = {} if normalize.signed else NOT_NEGATIVE
    return ANY | more | (ADDS_UP if normalize.normalized else {})


def operands(case, gradient):
    made = [t.requires_grad_(gradient) for t in case.operands()]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(*case.shape[:2], case.keys, 3, dtype=torch.float64, generator=generator).requires_grad_(gradient)
    y = torch.randn(*case.shape[:3], 3, dtype=torch.float64, generator=generator).requires_grad_(gradient)
    return made, x, y


@with_and_without_gradients
def test_equals_the_stored_matrix(case, gradient):
    (query, key, value, *parameters), x, y = operands(case, gradient)
    stored = case.naive(query, key, value, *parameters)[1]
    leaves = [query, key, *parameters, x, y]
    mine_of_all, true_of_all = 0, 0
    for at, (name, (ours, theirs)) in enumerate(asked(case.matrix(query, key, value, *parameters)).items()):
        mine, true = ours(case.matrix(query, key, value, *parameters), x, y), theirs(stored, x, y)
        torch.testing.assert_close(mine, true, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        weights = torch.randn(true.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(at))
        mine_of_all, true_of_all = mine_of_all + (weights * mine).sum(), true_of_all + (weights * true).sum()
    if gradient:
        same_gradients(mine_of_all, true_of_all, leaves)


def same_gradients(mine, true, leaves):
    options = {"allow_unused": True, "materialize_grads": True}
    found, expected = torch.autograd.grad(mine, leaves, **options), torch.autograd.grad(true, leaves, **options)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@cases
def test_what_is_counted(case):
    (query, key, value, *parameters), _, _ = operands(case, False)
    stored, A = case.naive(query, key, value, *parameters)[1], case.matrix(query, key, value, *parameters)
    edges = torch.tensor([-0.2, 0.0, 0.05, 0.2, 0.6, 1.01], dtype=torch.float64)
    bins = [(stored >= a) & (stored < b) for a, b in itertools.pairwise(edges[:-1])]
    bins.append((stored >= edges[-2]) & (stored <= edges[-1]))
    assert torch.equal(A.histogram(edges), torch.stack([b.sum((-2, -1)) for b in bins], -1))
    if A.mechanism.normalize.signed:
        return
    top = A.argmax()
    assert torch.equal(top == -1, stored.amax(-1) == 0)
    torch.testing.assert_close(chosen(stored, top[..., None])[..., 0], stored.amax(-1))
    found = A.topk(A.shape[-1])
    torch.testing.assert_close(chosen(stored, found.indices), found.values)
    assert torch.equal(found.indices == -1, found.values == 0)


@pytest.mark.parametrize("name", PAIRS)
def test_two_matrices(name):
    case = MATRIX[name]
    (query, key, value, *parameters), _, _ = operands(case, True)
    if not case.matrix(query, key, value, *parameters).mechanism.normalize.normalized:
        pytest.skip("its weights do not add up to 1")
    other, others, *_ = case.operands(seed=9)
    A, B = case.matrix(query, key, value, *parameters), case.matrix(other, others, value, *parameters)
    S, R = case.naive(query, key, value, *parameters)[1], case.naive(other, others, value, *parameters)[1]
    ratio = (S.clamp_min(1e-300) / R.clamp_min(1e-300)).log()
    kl = torch.where((S > 0) & (R == 0), math.inf, torch.where(S > 0, S * ratio, 0)).sum(-1)
    product = (S * R).sum(-1)
    size = (S.square().sum(-1) * R.square().sum(-1)).clamp_min(1e-300).sqrt()
    mine_of_all, true_of_all = 0, 0
    for name, mine, true in (
        ("kl", A.kl(B), kl),
        ("overlap", A.overlap(B), product),
        ("cosine", A.cosine(B), product / size),
        ("kl of itself", A.kl(A), 0 * product),
    ):
        torch.testing.assert_close(mine, true, rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        if name != "kl of itself" and bool(true.isfinite().all()):
            mine_of_all, true_of_all = mine_of_all + mine.sum(), true_of_all + true.sum()
    if torch.is_tensor(true_of_all) and true_of_all.requires_grad:
        same_gradients(mine_of_all, true_of_all, [query, key, *parameters])


@cases
def test_the_log_sum_exp(case):
    (query, key, value, *parameters), _, _ = operands(case, False)
    A = case.matrix(query, key, value, *parameters)
    if not isinstance(A.mechanism.normalize, (Softmax, Softmax1)):
        with pytest.raises(ValueError, match="`lse` is of softmax: got `normalize`"):
            A.lse()
        assert A.mechanism.normalize.signed or A.summary().lse is None
        return
    scores, every = windows._scores(A, torch.arange(A.shape[-2]), torch.arange(A.shape[-1])), None
    every = scores.exp().sum(-1)
    if A.mechanism.sinks is not None:
        every = every + torch.where(every > 0, A.mechanism.sinks[..., None].exp(), 0)
    if isinstance(A.mechanism.normalize, Softmax1):
        every = every + (every > 0)
    torch.testing.assert_close(A.lse(), every.log(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(A.summary().lse, every.log(), rtol=1e-10, atol=1e-10)
    if A.shape[-1] == A.shape[-2]:
        torch.testing.assert_close(A.summary().distance, A.distance())


@pytest.mark.parametrize("name", FUSED)
def test_the_plain_way_gives_the_same(name, monkeypatch):
    """Where PyTorch's private operator is missing, and on other devices, rows are streamed."""
    case = MATRIX[name]
    query, key, _, *bias = case.operands()
    A = case.matrix(query, key, None, *bias)
    expected = A.entropy(), A.lse(), A.received(), A.pool(2, 3)
    monkeypatch.setattr(kernel, "is_available", lambda query: False)
    A = case.matrix(query, key, None, *bias)
    for mine, his in zip((A.entropy(), A.lse(), A.received(), A.pool(2, 3)), expected, strict=True):
        torch.testing.assert_close(mine, his, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_raised_first(dtype):
    query, key = (torch.randn(2, 3, 101, 16, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(2))
    A, exact = heedful.AttentionMatrix(query, key), heedful.AttentionMatrix(query.double(), key.double())
    assert A.entropy().dtype == torch.float32
    assert (A.entropy() - exact.entropy()).abs().max() < 1e-5
    assert (A.received() - exact.received()).abs().max() < 1e-5


def test_what_was_asked_without_a_gradient_does_not_cut_one_off_later():
    case = CASES["causal"]
    query, key, _ = (t.requires_grad_() for t in case.operands())
    A = case.matrix(query, key)
    with torch.no_grad():
        A.entropy()
    weights = torch.randn(2, 3, 7, dtype=torch.float64)
    found = torch.autograd.grad((A.received() * weights).sum(), (query, key))
    expected = torch.autograd.grad((case.matrix(query, key).received() * weights).sum(), (query, key))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert A[..., :1, :].requires_grad


def test_nothing_is_computed_until_asked(monkeypatch):
    def fail(*_):
        raise AssertionError("computed")

    monkeypatch.setattr(fused, "product_and_lse", fail)
    A = heedful.AttentionMatrix(torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7))
    assert A.shape == (2, 3, 5, 11)
    assert A.T.shape == (2, 3, 11, 5)
    assert "5, 11" in repr(A)
    with pytest.raises(AssertionError, match="computed"):
        A.lse()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda A: A.pool(0, 3), "`rows` must be between 1 and the 5 positions: got 0"),
        (lambda A: A.pool(5, 12), "`columns` must be between 1 and the 11 positions: got 12"),
        (
            lambda A: A @ torch.randn(5, 3),
            r"`X` must be \[..., 11, E\] for a matrix of shape \[2, 5, 11\]: got \[5, 3\]",
        ),
        (
            lambda A: A.T @ torch.randn(11, 3),
            r"`X` must be \[..., 5, E\] for the transpose of a matrix .*: got \[11, 3\]",
        ),
        (lambda A: A.pool_max(2, 12), "`columns` must be between 1 and the 11 positions: got 12"),
        (lambda A: A.gather(torch.zeros(5)), "`targets` must be integers: got torch.float32"),
        (lambda A: A.gather(torch.tensor([0, 1, 2, 3, 11])), "`targets` must be from -1 to 10: got 0 to 11"),
        (
            lambda A: A.gather(torch.zeros(3, 5, dtype=torch.long)),
            r"`targets` must broadcast to \[2, 5\], or .*: got \[3, 5\]",
        ),
        (lambda A: A.topk(12), "`k` must be from 1 to the 11 keys: got 12"),
        (
            lambda A: A.distance(),
            "`queries` and `keys` must say where they stand unless there are as many: got 5 and 11",
        ),
        (lambda A: A.distance(torch.zeros(5), torch.zeros(11, 2)), "one space: got 1 and 2 coordinates"),
        (lambda A: A.position_std(torch.zeros(5)), r"`keys` must be \[11\] or \[11, d\] numbers: got \[5\]"),
        (
            lambda A: A.group_mass(torch.zeros(5, dtype=torch.long)),
            r"`groups` must be \[M\], \[batch, M\] or \[batch, heads, M\] of a matrix of shape \[2, 5, 11\]: got \[5\]",
        ),
        (lambda A: A.group_mass(torch.zeros(11)), "`groups` must be integers or booleans: got torch.float32"),
        (lambda A: A.group_mass(torch.arange(11), 4), "`groups` must be less than `count`, 4: got 10"),
        (lambda A: A.group_mass(torch.arange(11) - 2), "`groups` must be -1 or more: got -2"),
        (lambda A: A.dense(limit=100), "has 110 numbers, more than `limit`: 100"),
        (lambda A: A.histogram([0.0, 1.0, 0.5]), "`edges` must be two or more numbers in rising order: got"),
        (lambda A: A.kl(heedful.AttentionMatrix(A.key, A.query)), r"one shape: got \[2, 5, 11\] and \[2, 11, 5\]"),
        (lambda A: A.kl(3), "`other` must be an AttentionMatrix: got int"),
        (lambda A: A[0, 0, 0, 0], "must have at most 3 items and one `...`: got"),
        (lambda A: A[None], "must have at most 3 items and one `...`: got"),
        (lambda A: A[..., torch.zeros(2, 2, dtype=torch.long), :], "an integer, a slice or one list"),
        (lambda A: A[..., 5, :], "index 5 is out of bounds"),
    ],
)
def test_what_cannot_be_asked(ask, message):
    with pytest.raises((ValueError, IndexError, TypeError), match=message):
        ask(heedful.AttentionMatrix(torch.randn(2, 5, 7), torch.randn(2, 11, 7)))


@pytest.mark.parametrize(
    ("name", "ask", "message"),
    [
        ("linear", lambda A: A.distance(), "`distance` is of weights that are not negative: got `normalize` Linear"),
        ("linear", lambda A: A.entropy(), "`entropy` is of weights that add up to 1: got `normalize` Linear"),
        ("relu", lambda A: A.entropy(), "`entropy` is of weights that add up to 1: got `normalize` Relu"),
        ("relu", lambda A: A.kl(A), "`kl` is of weights that add up to 1"),
        ("sigmoid", lambda A: A.lse(), "`lse` is of softmax: got `normalize` Sigmoid"),
    ],
)
def test_what_is_not_defined_is_refused(name, ask, message):
    q = torch.randn(3, 4)
    with pytest.raises(ValueError, match=message):
        ask(heedful.AttentionMatrix(q, q, normalize=getattr(ops, name)))


def test_a_summary_of_signed_weights_has_what_is_defined():
    A = heedful.AttentionMatrix(torch.randn(2, 5, 4), torch.randn(2, 5, 4), normalize=ops.linear)
    summary = A.summary()
    torch.testing.assert_close(summary.max, A.max())
    torch.testing.assert_close(summary.received, A.received())
    assert (summary.lse, summary.entropy, summary.effective_keys, summary.distance) == (None,) * 4


@pytest.mark.parametrize("normalize", [ops.softmax, ops.sparsemax])
def test_a_bad_key_reaches_only_what_sees_it_in_every_answer(normalize):
    query, key = torch.randn(1, 1, 7, 5), torch.randn(1, 1, 7, 5)
    key[0, 0, 4] = math.nan
    A = heedful.AttentionMatrix(query, key, pattern=ops.Causal(), normalize=normalize)
    x = torch.randn(7, 3)
    for found in (
        A @ x,
        A.max(),
        A.entropy(),
        A.effective_keys(),
        A.distance(),
        A.position_std(),
        A.gather(torch.arange(7)),
    ):
        assert found[0, 0, :4].isfinite().all()
        assert found[0, 0, 4:].isnan().all()
    assert A.received()[0, 0, :5].isnan().all()  # by the rows that see it
    assert A.pool(7, 7)[0, 0, :4].isfinite().all()


def test_groups_of_each_sample_and_the_same_for_all_heads():
    A = CASES["causal & lengths"]
    A = A.matrix(*A.operands())
    ids = torch.randint(-1, 3, (2, 7), generator=torch.Generator().manual_seed(1))
    stored = A.dense()
    expected = torch.stack([(stored * (ids == g)[:, None, None]).sum(-1) for g in range(4)], -1)
    torch.testing.assert_close(A.group_mass(ids, 4), expected)
    torch.testing.assert_close(A.group_mass(ids == 2), expected[..., 2])


GROUPS = {
    "[M]": ((2, 3, 5, 7), (7,)),
    "[B, M]": ((2, 3, 5, 7), (2, 7)),
    "[1, M]": ((2, 3, 5, 7), (1, 7)),
    "[B, H, M]": ((2, 3, 5, 7), (2, 3, 7)),
    "[B, 1, M]": ((2, 3, 5, 7), (2, 1, 7)),
    "[1, H, M]": ((2, 3, 5, 7), (1, 3, 7)),
    "three axes, [B, M]": ((2, 5, 7), (2, 7)),
    "two axes, [M]": ((5, 7), (7,)),
    "five axes, [A, B, M]": ((2, 4, 3, 5, 7), (2, 4, 7)),
    "five axes, [B, M]": ((2, 4, 3, 5, 7), (4, 7)),
    "five axes, [A, 1, 1, M]": ((2, 4, 3, 5, 7), (2, 1, 1, 7)),
}


@pytest.mark.parametrize("normalize", [ops.softmax, ops.softmax1, ops.sparsemax], ids=str)
@pytest.mark.parametrize(("shape", "given"), GROUPS.values(), ids=GROUPS)
def test_groups_line_up_with_the_axes_before_the_keys(shape, given, normalize):
    generator = torch.Generator().manual_seed(5)
    query, key = (torch.randn(*shape[:-2], n, 6, dtype=torch.float64, generator=generator) for n in shape[-2:])
    ids = torch.randint(-1, 3, given, generator=generator)
    A = heedful.AttentionMatrix(query, key, normalize=normalize)
    of_heads = ids if len(given) == len(shape) - 1 or len(given) == 1 else ids[..., None, :]
    stored = A.dense()
    expected = torch.stack([(stored * (of_heads == g)[..., None, :]).sum(-1) for g in range(3)], -1)
    for same in (ids, ids.tolist(), ids.numpy(), ids.numpy().astype("uint8") if ids.min() >= 0 else ids.int()):
        torch.testing.assert_close(A.group_mass(same, 3), expected)
    torch.testing.assert_close(A.group_mass((ids == 1).tolist()), expected[..., 1])


@pytest.mark.parametrize("given", [(3, 7), (2, 2, 7), (1, 2, 3, 7), (2, 5)])
def test_groups_that_do_not_line_up_are_refused(given):
    A = heedful.AttentionMatrix(torch.randn(2, 3, 5, 6), torch.randn(2, 3, 7, 6))
    with pytest.raises(
        ValueError, match=r"`groups` must be \[M\], \[batch, M\] or \[batch, heads, M\] of a matrix of shape"
    ):
        A.group_mass(torch.zeros(given, dtype=torch.long))


FIVE = {
    "lengths": lambda a, b: ops.Lengths(torch.tensor([[3, 7, 0, 5], [6, 1, 7, 2]])),
    "lengths of the first axis": lambda a, b: ops.Lengths(torch.tensor([[3], [6]])),
    "local & lengths of the first axis": lambda a, b: ops.Local(1) & ops.Lengths(torch.tensor([5, 2])),
    "documents": lambda a, b: ops.Documents(torch.arange(a * b * 7).view(a, b, 7) // 3),
    "prefix of the first axis": lambda a, b: ops.Prefix(torch.tensor([1, 3])),
    "mask": lambda a, b: ops.Mask(torch.rand(a, b, 1, 7, 7, generator=torch.Generator().manual_seed(1)) > 0.5),
}


@pytest.mark.parametrize("options", [{}, {"normalize": ops.softmax1}, {"normalize": ops.entmax15}, {"softcap": 2.0}])
@pytest.mark.parametrize("pattern", FIVE.values(), ids=FIVE)
def test_five_axes_with_a_pattern_of_each_sample(pattern, options):
    """Each entry is what the matrix of that entry alone gives."""
    generator = torch.Generator().manual_seed(2)
    a, b = 2, 4
    query, key = (torch.randn(a, b, 3, 7, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    x = torch.randn(a, b, 1, 7, 2, dtype=torch.float64, generator=generator)
    A = heedful.AttentionMatrix(query, key, pattern=pattern(a, b), **options)
    shape = (a, b, 3, 7, 7)
    seen = pattern(a, b).allowed(torch.arange(7)[:, None], torch.arange(7)[None], shape).expand(shape)
    asked = {
        "A @ X": (lambda A, x: A @ x),
        "A.T @ X": (lambda A, x: A.T @ x),
        "window": (lambda A, x: A[..., 2:5, 1:]),
        "dense": (lambda A, x: A.dense()),
        "entropy": (lambda A, x: A.entropy()),
        "effective keys": (lambda A, x: A.effective_keys()),
        "received": (lambda A, x: A.received()),
        "topk": (lambda A, x: A.topk(2).values),
        "spread": (lambda A, x: A.position_std()),
        "pool": (lambda A, x: A.pool(2, 3)),
        "map": (lambda A, x: A.summary(2, 3).map),
    }
    for name, ask in asked.items():
        found = ask(A, x)
        for i, j in itertools.product(range(a), range(b)):
            alone = heedful.AttentionMatrix(query[i, j], key[i, j], pattern=ops.Mask(seen[i, j]), **options)
            torch.testing.assert_close(found[i, j], ask(alone, x[i, j]), msg=lambda m, n=(name, i, j): f"{n}: {m}")


def test_the_plan_of_a_product():
    A = heedful.AttentionMatrix(torch.zeros(1, 2, 4096, 16), torch.zeros(1, 2, 4096, 16), pattern=ops.Local(64))
    assert A.plan().engine == "banded"
    assert A.plan(32).forward.flops > A.plan().forward.flops


def test_transforms():
    """Each answer is a function of query and key that `torch.func` can look into."""
    query, key = torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.randn(3, 2, 4, 5, dtype=torch.float64)
    asked = [lambda A: A.max(), lambda A: A.effective_keys(), lambda A: A.received(), lambda A: A.entropy()]
    asked += [lambda A: A.position_std(), lambda A: A.distance(), lambda A: A.diagonal(-1), lambda A: A.pool(2, 2)]
    asked += [lambda A: A.lse(), lambda A: A.cosine(A), lambda A: A.summary(2, 2).map, lambda A: A.pool_max(2, 2)]
    for ask, options in itertools.product(asked, ({}, {"normalize": ops.softmax1})):

        def one(q, k, ask=ask, options=options):
            return ask(heedful.AttentionMatrix(q, k, pattern=ops.Causal(), **options)).square().sum()

        together = torch.func.vmap(torch.func.grad(one))(query, key)
        alone = torch.stack([torch.func.grad(one)(q, k) for q, k in zip(query, key, strict=True)])
        torch.testing.assert_close(together, alone)
        leaf = query[0].clone().requires_grad_()
        torch.testing.assert_close(alone[0], torch.autograd.grad(one(leaf, key[0]), leaf)[0])
        assert torch.autograd.gradcheck(lambda q, one=one: one(q, key[0]), (leaf,))
