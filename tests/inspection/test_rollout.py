"""Rollout as rows, columns and products, against the product of the stored matrices in float64."""

import pytest
import torch

import heedful
from heedful import ops
from heedful.inspection import rollout

B, H, N, D, L = 2, 3, 7, 5, 3


def matrices(pattern=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, B, H, N, D, generator=generator, dtype=torch.float64) for _ in range(L)]
    return [heedful.AttentionMatrix(q, k, pattern=pattern or ops.Causal()) for q, k in made]


def stored(layers, residual, weights):
    total = torch.eye(N, dtype=torch.float64).expand(B, N, N)
    for layer, matrix in enumerate(layers):
        mean = sum(w * matrix[:, h] for h, w in enumerate(weights[layer]))
        total = (residual * torch.eye(N, dtype=torch.float64) + (1 - residual) * mean) @ total
    return total


UNEVEN = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.6, 0.4]], dtype=torch.float64)
HEADS = {
    "all": (None, torch.full((L, H), 1 / 3, dtype=torch.float64)),
    "two": ([0, -1], torch.tensor([[0.5, 0, 0.5]] * L, dtype=torch.float64)),
    "weighed": (UNEVEN[0], UNEVEN[:1].expand(L, H)),
    "weighed by layer": (UNEVEN, UNEVEN),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("residual", [0.0, 0.5, 0.9])
def test_rows_columns_and_products(name, residual):
    heads, weights = HEADS[name]
    layers = matrices(ops.Local(3) & ops.Lengths(torch.tensor([7, 5])))
    R, S = rollout(layers, residual=residual, heads=heads), stored(layers, residual, weights)
    x = torch.randn(B, N, 4, dtype=torch.float64)
    for mine, true in (
        (R @ x, S @ x),
        (R.T @ x, S.mT @ x),
        (R @ x[0], S @ x[0]),
        (R.rows([6, 0]), S[:, [6, 0]]),
        (R.columns(torch.tensor([2])), S[..., [2]]),
        (R.rows([-1]), S[:, [-1]]),
    ):
        torch.testing.assert_close(mine, true, rtol=1e-12, atol=1e-12)
    assert R.shape == R.T.shape == (B, N, N)


def test_one_head_without_a_batch_and_heads_without_a_batch():
    q = torch.randn(3, N, D, dtype=torch.float64)
    one = [heedful.AttentionMatrix(x, x) for x in q]
    total = torch.eye(N, dtype=torch.float64)
    for matrix in one:
        total = (0.5 * torch.eye(N, dtype=torch.float64) + 0.5 * matrix[:]) @ total
    torch.testing.assert_close(rollout(one).rows(range(N)), total)
    several = heedful.AttentionMatrix(q, q)
    mean = 0.5 * torch.eye(N, dtype=torch.float64) + 0.5 * several[:].mean(0)
    torch.testing.assert_close(rollout([several, several]).columns([1, 3]), (mean @ mean)[:, [1, 3]])


def test_it_has_a_gradient():
    layers = [heedful.AttentionMatrix(q := torch.randn(2, N, D, dtype=torch.float64).requires_grad_(), q) for _ in "ab"]
    rollout(layers).rows([N - 1])[..., 0].sum().backward()
    assert all(matrix.query.grad.abs().sum() > 0 for matrix in layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual": 1.5}, "`residual` must be from 0 to 1: got 1.5"),
        ({"matrices": []}, "`matrices` must hold one for each layer: got none"),
        ({"heads": [3]}, r"`heads` must be some of the 3 heads: got \[3\]"),
        ({"heads": []}, r"`heads` must be some of the 3 heads: got \[\]"),
        ({"heads": torch.ones(2, 5)}, r"`heads` must weigh \[3\] or \[3, 3\] heads: got \[2, 5\]"),
    ],
)
def test_bad_input(change, message):
    options = {"matrices": matrices(), **change}
    with pytest.raises(ValueError, match=message):
        rollout(options.pop("matrices"), **options)


def test_matrices_of_other_sizes_are_refused():
    other = heedful.AttentionMatrix(torch.randn(B, H, N, D), torch.randn(B, H, N + 1, D))
    with pytest.raises(ValueError, match=r"`matrices` must be \[..., H, 7, 7\] each: got \[2, 3, 7, 8\]"):
        rollout([*matrices(), other])
