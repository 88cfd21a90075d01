import math

import numpy as np
import pytest
import torch

from heedful.ops import ALiBi, AttentionMatrix, Causal, Documents, Local, sparsemax
from heedful.report.cell_grid import Box
from heedful.report.window_sums import Gone
from heedful.report.windows import MatrixWindows

H, N, M, D = 4, 300, 420, 8
EVERYTHING = 2**30
KINDS = {
    "global": ({}, N, M, H),
    "causal": ({"pattern": Causal()}, N, N, H),
    "causal at the end": ({"pattern": Causal("end")}, N, M, H),
    "causal at the start, rows without a key": ({"pattern": Causal("end")}, M, N, H),
    "local": ({"pattern": Local(7)}, N, N, H),
    "documents": ({"pattern": Documents(torch.arange(2 * N).view(2, N) // 77)}, N, N, H),
    "grouped heads": ({"pattern": Causal()}, N, N, 2),
    "biased": ({"bias": ALiBi(H), "pattern": Causal()}, N, N, H),
    "capped": ({"softcap": 3.0}, N, M, H),
    "sinks": ({"sinks": torch.linspace(-1, 1, H)}, N, M, H),
    "sparse": ({"normalize": sparsemax}, N, M, H),
}
BOXES = [
    (Box(0, 300, 0, 300), 300, 300),
    (Box(0, 300, 0, 300), 17, 23),
    (Box(211, 212, 0, 300), 1, 300),
    (Box(0, 300, 120, 121), 300, 1),
    (Box(150, 299, 3, 298), 7, 200),
    (Box(150, 299, 3, 298), 140, 11),
    (Box(250, 251, 200, 201), 600, 600),
]


def matrix_of(kind, dtype=torch.float32):
    options, queries, keys, groups = KINDS[kind]
    torch.manual_seed(0)
    query, key = (torch.randn(2, h, n, D).to(dtype) for h, n in ((H, queries), (groups, keys)))
    return AttentionMatrix(2 * query, key, **options)


def windows_of(A, sample=1, memory=0, cells=16):
    return MatrixWindows(A, sample, A.pool(cells, cells)[sample].numpy(), memory)


def pooled(dense, box, rows, columns):
    """By the definition: cells as `AttentionMatrix.pool` has them, of the mean of the heads."""
    part = dense.double().mean(0)[box.top : box.bottom, box.left : box.right]
    rows, columns = min(rows, box.height), min(columns, box.width)
    row, column = torch.arange(box.height) * rows // box.height, torch.arange(box.width) * columns // box.width
    sums = torch.zeros(rows, box.width, dtype=torch.double).index_add(0, row, part)
    sums = torch.zeros(rows, columns, dtype=torch.double).index_add(1, column, sums)
    return (sums / torch.bincount(row)[:, None]).numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [[2], [0, 1, 2, 3]])
def test_every_window_is_that_of_the_dense_matrix(kind, heads):
    dense = matrix_of(kind, torch.float64).dense()[1, heads]
    windows = windows_of(matrix_of(kind))
    for box, rows, columns in BOXES:
        found = windows.window(heads, box, rows, columns, limit=EVERYTHING)
        assert (found.edges.box, found.finer) == (box, "")
        np.testing.assert_allclose(found.values, pooled(dense, box, rows, columns), atol=2e-6)


@pytest.mark.parametrize("memory", [0, 4 * H * 50 * 50, 4 * H * N * M])
def test_special_tokens_stay_apart_in_every_window(memory):
    A = matrix_of("global")
    dense = matrix_of("global", torch.float64).dense()[1]
    cuts = [0, 1, 2, 30, 31]
    windows = MatrixWindows(A, 1, A.pool(16, 16)[1].numpy(), memory, (cuts, cuts))
    while memory and windows.step():
        pass
    for box, rows, columns in BOXES:
        found = windows.window([0, 2], box, rows, columns, limit=0 if memory else EVERYTHING)
        starts = [edges.tolist() for edges in found.edges]
        for edges, (start, stop) in zip(starts, (box[:2], box[2:]), strict=True):
            assert {cut for cut in cuts if start < cut < stop} <= set(edges)
        sums = np.add.reduceat(dense[[0, 2]].mean(0).numpy()[: starts[0][-1], : starts[1][-1]], starts[1][:-1], 1)
        means = np.add.reduceat(sums, starts[0][:-1], 0) / np.diff(starts[0])[:, None]
        np.testing.assert_allclose(found.values, means, atol=3e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_fine_map_answers_with_the_same_numbers_and_no_work(kind):
    A = matrix_of(kind)
    windows = windows_of(A, memory=4 * H * N * M)
    assert windows.window([1], *BOXES[2], limit=0, only_pairs=True) is None
    while windows.step():
        pass
    dense = matrix_of(kind, torch.float64).dense()[1, [1, 3]]
    if math.prod(A.shape[-2:]) <= N * M:
        for box, rows, columns in BOXES:
            found = windows.window([1, 3], box, rows, columns, limit=0, only_pairs=True)
            assert (found.edges.box, found.finer) == (box, "")
            np.testing.assert_allclose(found.values, pooled(dense, box, rows, columns), atol=2e-6)


@pytest.mark.parametrize("kind", ["causal", "global", "biased"])
def test_a_coarser_answer_covers_what_was_asked_and_says_that_there_is_more(kind):
    A = matrix_of(kind)
    windows = windows_of(A, memory=4 * H * 256 * 256)
    dense, box = matrix_of(kind, torch.float64).dense()[1, [2]], Box(40, 90, 10, 222)
    first = windows.window([2], box, 40, 40, limit=0, most=EVERYTHING)
    assert first.finer == "now"
    assert windows.window([2], box, 40, 40, limit=0, most=0).finer == "later"
    assert first.edges.box.top <= 40 < 90 <= first.edges.box.bottom
    assert first.edges.box.height < 50 + 2 * 19
    while windows.step():
        pass
    second = windows.window([2], box, 50, 200, limit=0, most=EVERYTHING)
    assert second.values.shape > first.values.shape
    assert second.finer == "now"
    assert windows.window([2], box, 20, 20, limit=0, most=EVERYTHING).finer == ""
    for found in (first, second):
        mass = dense[
            0, found.edges.box.top : found.edges.box.bottom, found.edges.box.left : found.edges.box.right
        ].sum()
        assert found.values.sum(1).mean() == pytest.approx(float(mass) / found.edges.box.height, rel=0.02)


def test_cells_of_a_map_are_sums_over_whole_cells_of_it():
    A = matrix_of("global")
    windows = windows_of(A, memory=4 * H * 256 * 256)
    while windows.step():
        pass
    whole = windows.window([0], Box(0, N, 0, M), 64, 32, limit=0)
    np.testing.assert_allclose(whole.values, A.pool(64, 32)[1, 0].numpy(), atol=2e-6)
    part = windows.window([0], Box(5, 100, 33, 300), 32, 32, limit=0)
    cells = [math.ceil(cell * n / 256) for cell, n in ((4, N), (88, N), (16, M), (184, M))]  # of groups of 4 and of 8
    assert part.edges.box == Box(*cells)
    assert part.values.shape == (21, 21)
    dense = A.dense()[1, 0]
    first = dense[cells[0] : math.ceil(8 * N / 256), cells[2] : math.ceil(24 * M / 256)]
    assert part.values[0, 0] == pytest.approx(float(first.sum(-1).mean()), rel=1e-5)


def test_what_was_asked_for_is_filled_first():
    windows = windows_of(matrix_of("causal"), memory=4 * H * 256 * 256)
    assert windows.window([3], Box(280, 300, 0, 300), 20, 300, limit=0, most=0).finer == "later"
    windows.step()
    assert windows.window([3], Box(280, 300, 0, 300), 8, 8, limit=0).finer == ""
    assert windows.window([0], Box(280, 300, 0, 300), 8, 8, limit=0).finer == "later"


def test_an_answer_that_nobody_waits_for_is_given_up():
    for kind in ("causal", "biased"):
        with pytest.raises(Gone):
            windows_of(matrix_of(kind)).window([0], Box(0, 9, 0, 9), 9, 9, limit=EVERYTHING, alive=lambda: False)


def test_a_known_log_sum_exp_is_used():
    A = matrix_of("global")
    A.lse()
    assert windows_of(A)._sums.known.all()


def test_what_is_not_finite_reaches_the_rows_that_see_it_only():
    A = matrix_of("causal")
    A.key[1, :, 200] = math.nan
    found = MatrixWindows(A, 1, np.zeros((H, 4, 4)), 0).window([0], Box(190, 210, 0, 300), 20, 300, limit=EVERYTHING)
    assert np.isfinite(found.values[:10]).all()
    assert np.isnan(found.values[10:]).any(1).all()
