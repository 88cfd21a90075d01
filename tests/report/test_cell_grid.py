import numpy as np
import pytest
import torch

from heedful.report import Picture, Text
from heedful.report.cell_grid import Box, CellAxis, CellGrid, cell_means, sum_columns
from heedful.report.cells import cell_starts, cells_of, cuts_of, starts_between


@pytest.mark.parametrize(("cells", "count"), [(1, 7), (3, 7), (7, 7), (5, 23)])
def test_cells_are_as_even_as_they_can_be_and_cover_each_position_once(cells, count):
    axis = CellAxis(cell_starts(count, cells))
    of = axis.of(0, count).tolist()
    assert of == [i * cells // count for i in range(count)]
    assert [axis.start(cell) for cell in range(cells)] == [of.index(cell) for cell in range(cells)]
    assert axis.counts().tolist() == [of.count(cell) for cell in range(cells)]
    for start in range(count):
        for stop in range(start + 1, count + 1):
            assert axis.around(start, stop) == (of[start], of[stop - 1] + 1)


def test_cells_are_taken_together_alike():
    axis = CellAxis(cell_starts(100, 12))
    groups, starts = axis.grouped(30, 80, 3)  # cells 3 to 9, in groups of 3
    assert (groups.tolist(), starts.tolist()) == ([3, 6, 9, 12], [25, 50, 75, 100])
    assert axis.grouped(30, 80, 7)[0].tolist() == list(range(3, 11))


@pytest.mark.parametrize("count", [30, 100, 1374])
@pytest.mark.parametrize("most", [12, 64])
def test_special_tokens_share_no_cell_with_others(count, most):
    axis = Text(["t"] * count, special=[0, 1, count // 2, *range(count - 12, count)])
    cuts = cuts_of(axis)
    assert cuts == [0, 1, 2, count // 2, count // 2 + 1, count - 12, count]
    special = torch.isin(torch.arange(count), torch.tensor(axis.special))
    grid = CellAxis(cell_starts(count, most, cuts), cuts)
    windows = [grid.starts, grid.grouped(0, count, 5)[1], starts_between(0, count, 5, cuts)]
    assert len(grid.starts) <= most + 1
    for starts in windows:
        cells = cells_of(starts)
        assert (int(cells[0]), int(starts[-1])) == (0, count)
        mixed = [set(special[cells == cell].tolist()) for cell in range(len(starts) - 1)]
        assert all(len(kinds) == 1 for kinds in mixed)
        assert cells[[0, 1]].tolist() == [0, 1]
    pixels = np.zeros((4, 4), np.uint8)
    assert cuts_of(Text(["t"] * 9, pictures=[(3, Picture(pixels, (2, 2)))])) == [3, 7]
    assert cuts_of(Picture(pixels, (2, 2), ["class token", "register 1"])) == [0, 1, 2]


def test_columns_are_summed_by_their_cells():
    rows, cells = torch.arange(12.0).view(2, 6), torch.tensor([0, 0, 1, 2, 2, 2])
    expected = torch.stack([rows[:, cells == cell].sum(1) for cell in range(3)], 1)
    assert torch.equal(sum_columns(rows, cells), expected)
    assert sum_columns(rows, torch.arange(6)) is rows
    np.testing.assert_allclose(cell_means(expected, torch.tensor([2, 4]), 3)[0], expected[0].numpy() / 6)


def test_a_grid_that_is_full_shows_windows_of_whole_cells():
    torch.manual_seed(0)
    weights = torch.rand(2, 8, 12)
    grid = CellGrid(2, CellAxis(cell_starts(8, 4)), CellAxis(cell_starts(12, 6)))
    assert (grid.is_whole, grid.next_unknown(1, 0, 4)) == (False, 0)
    grid.sums.copy_(weights.view(2, 4, 2, 6, 2).sum((2, 4)))
    grid.known[:] = True
    assert grid.next_unknown(1, 0, 4) is None
    assert grid.suffices(Box(0, 8, 0, 12), 4, 6)
    assert not grid.suffices(Box(0, 8, 0, 12), 8, 6)
    values, edges = grid.window([0, 1], Box(3, 5, 0, 7), 9, 9)
    assert edges.box == Box(2, 6, 0, 8)
    expected = weights[:, 2:6, :8].view(2, 2, 2, 4, 2).sum(-1).mean((0, 2))
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-6)
