"""Times of tokens, on a model whose alignment is planted, and on paths that are found by trying all."""

import itertools

import pytest
import torch

import heedful
from heedful.inspection.token_times import aligned

KEYS, STARTS = 40, torch.tensor([0, 7, 9, 20, 33])


def planted(starts=STARTS, keys=KEYS, noise=0.0, stepwise=False):
    """A decoder layer with four heads: two follow the sound, one looks at the first key, one at nothing."""
    torch.manual_seed(0)
    n = len(starts)
    of_key = (torch.arange(keys)[:, None] >= starts).sum(-1) - 1
    query = torch.zeros(1, 4, n, n + 1)
    key = torch.zeros(1, 4, keys, n + 1)
    for head in (1, 2):
        query[0, head, :, :n] = 6 * torch.eye(n)
        key[0, head, :, :n] = torch.eye(n)[of_key] + noise * torch.randn(keys, n)
    query[0, 0, :, n], key[0, 0, 0, n] = 9, 1

    class Layer(torch.nn.Module):
        def forward(self, rows):
            return torch.nn.functional.scaled_dot_product_attention(query[:, :, rows], key, key, scale=1.0)

    decoder = torch.nn.Module()
    decoder.layers = torch.nn.ModuleList([torch.nn.Module()])
    decoder.layers[0].cross_attention = Layer()
    with heedful.watch(decoder) as recording:
        for rows in [slice(i, i + 1) for i in range(n)] if stepwise else [slice(None)]:
            decoder.layers[0].cross_attention(rows)
    return recording


@pytest.mark.parametrize(("noise", "stepwise"), [(0.0, False), (0.3, False), (0.0, True)])
def test_planted_times_are_found(noise, stepwise):
    times = planted(noise=noise, stepwise=stepwise).token_times(
        seconds=0.8, heads=[(0, 1), ("layers.0.cross_attention", 2)], median=3
    )
    frame = 0.02
    within = 1.01 * frame if noise else 1e-6
    torch.testing.assert_close(times.start, STARTS * frame, rtol=0, atol=within)
    torch.testing.assert_close(times.end, torch.tensor([7, 9, 20, 33, 40]) * frame, rtol=0, atol=within)
    assert times.heads == (("layers.0.cross_attention", 1), ("layers.0.cross_attention", 2))


def test_heads_are_found_and_queries_chosen():
    evenly = torch.arange(0, KEYS, 4)
    times = planted(evenly).token_times(median=1)
    assert times.heads == (("layers.0.cross_attention", 1), ("layers.0.cross_attention", 2))
    assert times.start.tolist() == evenly.tolist()
    behind = planted(evenly).token_times(queries=slice(4, None), median=1)
    assert behind.start[1:].tolist() == evenly[5:].tolist()
    before = planted(evenly).token_times(queries=slice(0, 5), keys=slice(0, 20), median=1, seconds=4.0)
    torch.testing.assert_close(before.end, torch.tensor([0.4, 0.8, 1.2, 1.6, 2.0]))


def test_the_path_is_the_best_of_all():
    torch.manual_seed(0)
    for _ in range(20):
        weights = torch.rand(1, 4, 6, dtype=torch.float64)
        standard = ((weights - weights.mean(1, keepdim=True)) / weights.std(1, correction=0, keepdim=True))[0]
        best = max(_paths(4, 6), key=lambda path: sum(float(standard[cell]) for cell in path))
        assert aligned(weights, median=1).tolist() == [min(j for i, j in best if i == row) for row in range(4)]


def _paths(rows, columns):
    """All paths from the first cell to the last."""
    for length in range(max(rows, columns), rows + columns):
        for steps in itertools.product(((0, 1), (1, 0), (1, 1)), repeat=length - 1):
            cells = [(0, 0)]
            for down, right in steps:
                cells.append((cells[-1][0] + down, cells[-1][1] + right))
            if cells[-1] == (rows - 1, columns - 1):
                yield cells


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": [(0, 4)]}, r"^`heads` must be from 0 to 3 in 'layers.0.cross_attention': got 4\.$"),
        ({"heads": [(1, 0)]}, r"^`heads` must be in layers.0.cross_attention, or from 0 to 0: got 1\.$"),
        ({"heads": [(0, 1)], "median": 4}, r"^`median` must be an odd number from 1: got 4\.$"),
        ({"heads": [(0, 1)], "sample": 1}, r"^`sample` must be from 0 to 0: got 1\.$"),
        (
            {"heads": [(0, 1)], "queries": slice(9, None)},
            r"^`weights` must hold heads, queries and keys: got \[1, 0, 40\]\.$",
        ),
    ],
)
def test_what_has_no_times(options, message):
    with pytest.raises(ValueError, match=message):
        planted().token_times(**options)


def test_no_head_follows():
    with heedful.watch(torch.nn.Identity()) as recording:
        heedful.attention(*torch.zeros(3, 1, 2, 5, 4))
    with pytest.raises(ValueError, match=r"^`token_times` needs cross-attention: got none\.$"):
        recording.token_times()
    with heedful.watch(torch.nn.Identity()) as recording:
        heedful.attention(torch.zeros(1, 2, 5, 4), *torch.zeros(2, 1, 2, 9, 4))
    with pytest.raises(
        ValueError, match=r"^no head of cross-attention follows its keys; .* head 0 of '', with a score of 0.00\.$"
    ):
        recording.token_times()
