"""Every summary of the matrix that is never stored, on every mechanism, against the stored one in float64."""

import math

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops.engines import fused
from tests.contract.mechanisms import MATRIX as CASES
from tests.contract.mechanisms import H, M

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def blocks(positions, cells):
    return torch.nn.functional.one_hot(torch.arange(positions) * cells // positions, cells).double()


def entropy(stored):
    return -torch.where(stored > 0, stored * stored.clamp_min(1e-300).log(), 0).sum(-1)


SUMMARIES = {
    "A @ X": (lambda A, x, y: A @ x, lambda S, x, y: S @ x),
    "A.T @ X": (lambda A, x, y: A.T @ y, lambda S, x, y: S.mT @ y),
    "entropy": (lambda A, x, y: A.entropy(), lambda S, x, y: entropy(S)),
    "received": (lambda A, x, y: A.received(), lambda S, x, y: S.sum(-2)),
    "pool": (
        lambda A, x, y: A.pool(3, 5),
        lambda S, x, y: blocks(S.shape[-2], 3).T @ S @ blocks(M, 5) / blocks(S.shape[-2], 3).sum(0)[:, None],
    ),
    "window": (lambda A, x, y: A[..., 1:4, [5, 0]], lambda S, x, y: S[..., 1:4, :][..., [5, 0]]),
    "row": (lambda A, x, y: A[1, 2, -2], lambda S, x, y: S[1, 2, -2]),
    "column": (lambda A, x, y: A[..., 3], lambda S, x, y: S[..., 3]),
    "one number": (lambda A, x, y: A[0, 1, 2, 3], lambda S, x, y: S[0, 1, 2, 3]),
    "all": (lambda A, x, y: A[:], lambda S, x, y: S),
    "rows by a mask": (lambda A, x, y: A[..., torch.arange(A.shape[-2]) > 2, :], lambda S, x, y: S[..., 3:, :]),
}


@cases
@pytest.mark.parametrize("name", SUMMARIES)
@pytest.mark.parametrize("gradient", [False, True])
def test_equals_the_stored_matrix(case, name, gradient):
    ours, theirs = SUMMARIES[name]
    query, key, value, *bias = (t.requires_grad_(gradient) for t in case.operands())
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, H, M, 3, dtype=torch.float64, generator=generator).requires_grad_(gradient)
    y = torch.randn(2, H, case.queries, 3, dtype=torch.float64, generator=generator).requires_grad_(gradient)
    stored = case.naive(query, key, value, *bias)[1]
    mine, true = ours(case.matrix(query, key, value, *bias), x, y), theirs(stored, x, y)
    torch.testing.assert_close(mine, true, rtol=1e-10, atol=1e-10)
    if gradient and true.requires_grad:
        weights = torch.randn(true.shape, dtype=torch.float64, generator=generator)
        operands = [query, key, *bias, x, y]
        found = torch.autograd.grad(mine, operands, weights, allow_unused=True, materialize_grads=True)
        expected = torch.autograd.grad(true, operands, weights, allow_unused=True, materialize_grads=True)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@cases
def test_the_plain_way_gives_the_same(case, monkeypatch):
    """Where PyTorch's private operator is missing, and on other devices, rows are streamed."""
    query, key, _, *bias = case.operands()
    A = case.matrix(query, key, None, *bias)
    expected = A.entropy(), A.lse(), A.received(), A.pool(2, 3)
    monkeypatch.setattr(fused, "has_kernel", lambda query: False)
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
    weights = torch.randn(2, H, M, dtype=torch.float64)
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


def test_memory_is_linear():
    """The largest tensor that is made while a summary is computed grows with N, not with its square."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for t in out if isinstance(out, tuple | list) else [out]:
                if isinstance(t, torch.Tensor):
                    self.largest = max(self.largest, t.untyped_storage().nbytes())
            return out

    for pattern in (ops.Global(), ops.Causal(), ops.Lengths(700), ops.Causal() & ops.Lengths(900)):
        sizes = []
        for n in (1024, 4096):
            q = torch.randn(1, 2, n, 16)
            with Largest() as mode:
                A = heedful.AttentionMatrix(q, q, pattern=pattern)
                A.entropy(), A.received(), A.pool(8, 8), A[..., -1, :]
                heedful.attention(q, q, q, pattern=pattern)
            sizes.append(mode.largest)
        assert sizes[1] <= 4.1 * sizes[0], pattern


def test_a_bad_key_poisons_only_the_rows_that_see_it():
    query, key = torch.randn(1, 1, 7, 5), torch.randn(1, 1, 7, 5)
    key[0, 0, 4] = math.nan
    A = heedful.AttentionMatrix(query, key, pattern=ops.Causal())
    out = A @ torch.randn(7, 3)
    assert out[0, 0, :4].isfinite().all()
    assert out[0, 0, 4:].isnan().all()


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
        (lambda A: A[0, 0, 0, 0], "must have at most 3 items and one `...`: got"),
        (lambda A: A[None], "must have at most 3 items and one `...`: got"),
        (lambda A: A[..., torch.zeros(2, 2, dtype=torch.long), :], "an integer, a slice or one list"),
        (lambda A: A[..., 5, :], "index 5 is out of bounds"),
    ],
)
def test_what_cannot_be_asked(ask, message):
    with pytest.raises((ValueError, IndexError), match=message):
        ask(heedful.AttentionMatrix(torch.randn(2, 5, 7), torch.randn(2, 11, 7)))
