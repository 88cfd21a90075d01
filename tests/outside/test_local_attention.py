"""The package local-attention, whose windows are exact when asked for: blocks of keys, cut out and masked."""

import pytest
import torch

import heedful
from heedful import ops

local_attention = pytest.importorskip("local_attention", reason="local-attention is not installed")

# the same sums in another order, of a few dozen numbers of size 1
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
B, H, D, E = 2, 3, 6, 10
SHAPES = pytest.mark.parametrize(("window", "windows"), [(1, 5), (4, 3), (5, 7), (16, 1)])


def operands(n, width=E):
    generator = torch.Generator().manual_seed(n)
    sizes = (D, D, width)
    return [torch.randn(B, H, n, size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes]


def theirs(window, **options):
    return local_attention.LocalAttention(window, exact_windowsize=True, use_rotary_pos_emb="dim" in options, **options)


def assert_equal(mine, expected, given, tolerance=CLOSE):
    torch.testing.assert_close(mine, expected, **tolerance)
    weights = torch.linspace(-3, 2, mine.numel(), dtype=mine.dtype).cos().view(mine.shape)
    found, wanted = (torch.autograd.grad(out, given, weights) for out in (mine, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@SHAPES
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("engine", [None, "banded", "tiled", "reference"])
def test_causal(window, windows, blocks, engine):
    given = operands(window * windows)
    pattern = ops.Local(window * blocks) & ops.Causal()
    mine = heedful.attention(*given, pattern=pattern, engine=engine)
    assert_equal(mine, theirs(window, causal=True, look_backward=blocks)(*given), given)


@SHAPES
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (0, 1), (2, 0)])
@pytest.mark.parametrize("engine", [None, "banded", "tiled", "reference"])
def test_both_sides(window, windows, before, after, engine):
    given = operands(window * windows)
    mine = heedful.attention(*given, pattern=ops.Local(window * before, window * after), engine=engine)
    assert_equal(mine, theirs(window, look_backward=before, look_forward=after)(*given), given)


def test_another_scale_and_a_length_that_no_window_divides():
    given = operands(37)
    mine = heedful.attention(*given, pattern=ops.Local(5, 0), scale=0.9)
    assert_equal(mine, theirs(5, causal=True, autopad=True, scale=0.9)(*given), given)


def test_with_padding():
    """Each row still sees its own key or one before: where a row sees nothing, there it is the mean of all, here 0."""
    given = operands(20)
    keys = torch.ones(B, 20, dtype=torch.bool)
    keys[1, 17:] = False
    mine = heedful.attention(*given, pattern=ops.Local(5) & ops.Lengths(torch.tensor([20, 17])))
    assert_equal(mine, theirs(5)(*given, mask=keys), given)


def test_with_a_bias_by_distance():
    """There a table over one window of queries and the keys around it, the same for every window."""
    window, windows = 4, 5
    given = operands(window * windows)
    reach = 2 * window
    table = torch.randn(H, 2 * reach + 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    table.requires_grad_()
    steps = torch.arange(3 * window)[None] - window - torch.arange(window)[:, None]
    mine = heedful.attention(*given, pattern=ops.Local(window), bias=ops.RelativeBias(table))
    assert_equal(mine, theirs(window)(*given, attn_bias=table[:, steps + reach]), [*given, table])


def test_with_rotary_positions():
    """There positions count from the start of the keys of each window: only differences matter."""
    given = operands(24, width=D)
    query, key, value = given
    mine = heedful.attention(ops.rotary(query), ops.rotary(key), value, pattern=ops.Local(4, 0))
    # frequencies there are float32: half of 1e-7 of an angle of at most 8
    assert_equal(mine, theirs(4, causal=True, dim=D)(*given), given, {"rtol": 2e-6, "atol": 2e-6})


def test_windows_that_are_not_exact_are_a_mask():
    """By default a query sees all of its own block and of its neighbours."""
    given = operands(20)
    block = torch.arange(20) // 5
    mask = (block[:, None] - block[None]).abs() <= 1
    mine = heedful.attention(*given, pattern=ops.Mask(mask))
    assert_equal(mine, local_attention.LocalAttention(5, use_rotary_pos_emb=False)(*given), given)
