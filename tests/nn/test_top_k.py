"""The best of many items, by blocks: what torch.topk gives of the whole."""

import pytest
import torch

from heedful.nn import top_k
from heedful.nn.top_k import top_inner_products


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(top_k, "_BLOCK", 96)
    monkeypatch.setattr(top_k, "_QUERIES", 5)
    monkeypatch.setattr(top_k, "_GROUP", 8)


@pytest.mark.parametrize("items", [1, 7, 96, 97, 500])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_as_torch_gives_them(items, k):
    torch.manual_seed(items + k)
    queries, rows = torch.randn(13, 4, dtype=torch.float64), torch.randn(items, 4, dtype=torch.float64)
    found = top_inner_products(queries, rows, k)
    expected = (queries @ rows.T).topk(min(k, items))
    assert torch.equal(found.indices[:, :items], expected.indices)
    torch.testing.assert_close(found.values[:, :items], expected.values, rtol=0, atol=1e-14)
    assert (found.indices[:, items:] == -1).all()
    assert (found.values[:, items:] == -torch.inf).all()


def test_pairs_that_do_not_count_and_items_that_alone_do():
    torch.manual_seed(0)
    queries, rows = torch.randn(13, 4), torch.randn(300, 4)
    pairs = torch.randint(13, (900,)), torch.randint(300, (900,))
    scores = queries @ rows.T
    scores[pairs] = -torch.inf
    assert torch.equal(top_inner_products(queries, rows, 9, exclude=pairs).indices, scores.topk(9).indices)
    within = torch.randperm(300)[:120]
    outside = torch.ones(300, dtype=torch.bool)
    outside[within] = False
    scores[:, outside] = -torch.inf
    assert torch.equal(
        top_inner_products(queries, rows, 9, exclude=pairs, within=within).indices, scores.topk(9).indices
    )


def test_equal_scores_and_nothing_left():
    queries, rows = torch.ones(2, 1), torch.zeros(200, 1)
    found = top_inner_products(queries, rows, 4)
    assert found.values.tolist() == [[0.0] * 4] * 2
    assert all(len(set(row)) == 4 for row in found.indices.tolist())
    every = torch.zeros(200, dtype=torch.long), torch.arange(200)
    found = top_inner_products(queries, rows, 4, exclude=every)
    assert found.indices[0].tolist() == [-1] * 4
    assert (found.indices[1] >= 0).all()


def test_no_queries_and_shapes_that_do_not_fit():
    assert top_inner_products(torch.zeros(0, 3), torch.zeros(5, 3), 2).indices.shape == (0, 2)
    with pytest.raises(
        ValueError, match=r"^`queries` and `items` must be \[B, D\] and \[M, D\]: got \[2, 3\] and \[5, 4\]\.$"
    ):
        top_inner_products(torch.zeros(2, 3), torch.zeros(5, 4), 2)
    with pytest.raises(ValueError, match="`k` must be"):
        top_inner_products(torch.zeros(2, 3), torch.zeros(5, 3), 0)
