"""Each bias against a loop, at any places, in any shape, with its derivatives."""

import math

import pytest
import torch
from torch.func import vmap

from heedful import ops
from heedful.ops.biases import alibi_slopes, as_bias, log_buckets

B, H, N, M = 2, 3, 15, 15
GRID = (3, 5)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def t5_bucket(distance, count, max_distance, bidirectional):
    """In whole numbers: e (max_distance / e)^(k / n) <= d decides, so that no rounding can."""
    base, side = 0, count
    if bidirectional:
        side = count // 2
        base = side if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    short = side // 2
    if distance < short:
        return base + distance
    n, k = side - short, 0
    while k < n - 1 and distance**n * short ** (k + 1) >= max_distance ** (k + 1) * short**n:
        k += 1
    return base + short + k


TENSOR, PER_KEY, PER_QUERY = numbers(B, H, N, M), numbers(B, 1, M), numbers(H, N)
U, V, SLOPES = numbers(H, N, 2), numbers(B, 1, M, 2, seed=1), numbers(H).abs()
TABLE, LOG_TABLE, BEHIND, TABLE_2D = numbers(H, 7), numbers(H, 8), numbers(H, 4), numbers(H, 5, 9)

# a bias, and what stands at [b][h][i][j]
CASES = {
    "tensor": (lambda: ops.TensorBias(TENSOR), lambda b, h, i, j: TENSOR[b, h, i, j]),
    "tensor, two axes": (lambda: ops.TensorBias(TENSOR[0, 0]), lambda b, h, i, j: TENSOR[0, 0, i, j]),
    "tensor, one row": (lambda: ops.TensorBias(TENSOR[:, :, :1]), lambda b, h, i, j: TENSOR[b, h, 0, j]),
    "tensor, one column": (lambda: ops.TensorBias(TENSOR[..., :1]), lambda b, h, i, j: TENSOR[b, h, i, 0]),
    "tensor, per head": (lambda: ops.TensorBias(TENSOR[:, :, :1, :1]), lambda b, h, i, j: TENSOR[b, h, 0, 0]),
    "tensor, one axis": (lambda: ops.TensorBias(TENSOR[0, 0, 0]), lambda b, h, i, j: TENSOR[0, 0, 0, j]),
    "per key": (lambda: ops.PerKey(PER_KEY), lambda b, h, i, j: PER_KEY[b, 0, j]),
    "per query": (lambda: ops.PerQuery(PER_QUERY), lambda b, h, i, j: PER_QUERY[h, i]),
    "low rank": (lambda: ops.LowRank(U, V), lambda b, h, i, j: sum(U[h, i, r] * V[b, 0, j, r] for r in range(2))),
    "alibi": (lambda: ops.ALiBi(SLOPES), lambda b, h, i, j: -SLOPES[h] * abs(i - j)),
    "alibi, the paper's": (lambda: ops.ALiBi(H), lambda b, h, i, j: -alibi_slopes(H)[h] * abs(i - j)),
    "alibi on a grid": (
        lambda: ops.ALiBi2d(SLOPES, GRID),
        lambda b, h, i, j: -SLOPES[h] * math.hypot(i // 5 - j // 5, i % 5 - j % 5),
    ),
    "relative": (lambda: ops.RelativeBias(TABLE), lambda b, h, i, j: TABLE[h, min(max(j - i, -3), 3) + 3]),
    "relative, behind": (
        lambda: ops.RelativeBias(BEHIND, bidirectional=False),
        lambda b, h, i, j: BEHIND[h, min(max(i - j, 0), 3)],
    ),
    "relative, log": (
        lambda: ops.RelativeBias(LOG_TABLE, "log", max_distance=9),
        lambda b, h, i, j: LOG_TABLE[h, t5_bucket(j - i, 8, 9, True)],
    ),
    "relative, log, behind": (
        lambda: ops.RelativeBias(LOG_TABLE, "log", max_distance=9, bidirectional=False),
        lambda b, h, i, j: LOG_TABLE[h, t5_bucket(j - i, 8, 9, False)],
    ),
    "relative on a grid": (
        lambda: ops.RelativeBias2d(TABLE_2D, GRID),
        lambda b, h, i, j: TABLE_2D[h, j // 5 - i // 5 + 2, j % 5 - i % 5 + 4],
    ),
    "sum": (
        lambda: ops.ALiBi(SLOPES) + ops.PerKey(PER_KEY) + TENSOR[0],
        lambda b, h, i, j: -SLOPES[h] * abs(i - j) + PER_KEY[b, 0, j] + TENSOR[0, h, i, j],
    ),
    "sum of low rank": (
        lambda: ops.LowRank(U, V) + ops.PerKey(PER_KEY) + ops.PerQuery(PER_QUERY),
        lambda b, h, i, j: U[h, i] @ V[b, 0, j] + PER_KEY[b, 0, j] + PER_QUERY[h, i],
    ),
}
cases = pytest.mark.parametrize("name", CASES)
SHAPE = (B, H, N, M)


def whole(name):
    entry = CASES[name][1]
    return torch.tensor(
        [[[[float(entry(b, h, i, j)) for j in range(M)] for i in range(N)] for h in range(H)] for b in range(B)],
        dtype=torch.float64,
    )


def everywhere(bias, shape=SHAPE):
    return bias.at(torch.arange(shape[-2])[:, None], torch.arange(shape[-1])[None], shape)


def assert_numbers(ours, theirs):
    tolerance = 1e-6 if ours.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours.double().expand(theirs.shape), theirs, rtol=tolerance, atol=tolerance)


def test_every_bias_has_a_case():
    exported = {getattr(ops, name) for name in ops.__all__}
    classes = {c for c in exported if isinstance(c, type) and issubclass(c, ops.Bias)} - {ops.Bias}
    assert {type(make()) for make, _ in CASES.values()} == classes
    assert len(classes) >= 9


@cases
@pytest.mark.parametrize("places", ["all", "a run", "scattered", "repeated"])
def test_against_a_loop(name, places):
    bias, expected = CASES[name][0](), whole(name)
    rows, columns = {
        "all": (torch.arange(N), torch.arange(M)),
        "a run": (torch.arange(4, 11), torch.arange(3, 5)),
        "scattered": (torch.tensor([13, 2, 7]), torch.tensor([0, 14, 5, 1, 9])),
        "repeated": (torch.tensor([4, 4]), torch.tensor([6, 2, 6])),
    }[places]
    bias.check(numbers(B, H, N, 4), SHAPE)
    assert_numbers(bias.at(rows[:, None], columns[None], SHAPE), expected[..., rows, :][..., columns])


@cases
@pytest.mark.parametrize("tiles", [(2,), (2, 3)])
def test_tiles(name, tiles):
    bias, expected = CASES[name][0](), whole(name)
    rows = torch.randint(N, (*tiles, 4, 1), generator=torch.Generator().manual_seed(0))
    columns = torch.randint(M, (*tiles, 1, 7), generator=torch.Generator().manual_seed(1))
    assert_numbers(bias.at(rows, columns, SHAPE), expected[..., rows, columns])


@cases
def test_depends(name):
    bias, expected = CASES[name][0](), whole(name)
    by_row, by_column = bias.depends(SHAPE)
    assert by_row == bool((expected != expected[..., :1, :]).any())
    assert by_column == bool((expected != expected[..., :1]).any())


@cases
def test_features_are_exact_where_there_are_any(name):
    pair = CASES[name][0]().features(SHAPE, torch.device("cpu"), torch.float64)
    few = ("per", "low", "sum of", "tensor, one", "tensor, per")
    assert (pair is not None) == name.startswith(few)
    if pair is not None:
        u, v = pair
        assert u.shape[-2:] == (N, u.shape[-1])
        assert v.shape[-2:] == (M, u.shape[-1])
        assert_numbers(u @ v.mT, whole(name))


def test_what_is_infinite_has_no_features():
    hidden = torch.tensor([0.0, -math.inf, 0.0])
    for bias in (ops.PerKey(hidden), ops.PerQuery(hidden), ops.TensorBias(hidden), ops.PerKey(hidden) + hidden):
        assert bias.features((1, 3, 3), torch.device("cpu"), torch.float32) is None
    assert everywhere(ops.PerKey(hidden), (1, 3, 3)).tolist() == [[0.0, -math.inf, 0.0]]


@cases
def test_places_may_be_batched(name):
    bias, rows = CASES[name][0](), torch.tensor([[[3], [4]], [[0], [9]]])
    columns = torch.arange(M)[None]
    got = vmap(lambda r: bias.at(r, columns, SHAPE).expand(B, H, 2, M))(rows)
    assert_numbers(got[1], whole(name)[..., [0, 9], :])


@cases
def test_a_value_is_a_tree(name):
    bias = CASES[name][0]()
    leaves, spec = torch.utils._pytree.tree_flatten(bias)
    again = torch.utils._pytree.tree_unflatten([2 * leaf for leaf in leaves], spec)
    if leaves and "low rank" not in name:
        torch.testing.assert_close(everywhere(again), 2 * everywhere(bias))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: ops.ALiBi(t[:, 0, 0]) + ops.ALiBi2d(3, GRID) + ops.PerKey(t[:, 0, :1]),
        lambda t: (
            ops.RelativeBias(t[:, 0])
            + ops.RelativeBias(t[:, 0, :8], "log", max_distance=9)
            + ops.RelativeBias2d(t, GRID)
        ),
        lambda t: (
            ops.LowRank(t.reshape(3, 15, 3), t.reshape(3, 15, 3))
            + ops.TensorBias(t.reshape(3, 15, 3)[..., :1])
            + ops.PerQuery(t.reshape(9, 15)[:3])
        ),
    ],
    ids=["slopes", "tables", "tensors"],
)
def test_biases_compile(make):
    index, shape, table = torch.arange(N), (B, H, N, M), numbers(3, 5, 9)

    def at(tensor):
        bias = make(tensor)
        bias.check(torch.empty(B, H, N, 4), shape)
        return bias.at(index[:, None], index[None], shape)

    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(at, backend="eager", fullgraph=True)(table), at(table))


def test_nothing_of_n_x_m_is_made():
    wide = 100_000
    shape = (1, H, wide, wide)
    rows, columns = torch.tensor([[7], [wide - 1]]), torch.tensor([[3, wide - 1]])
    for bias in (
        ops.ALiBi(SLOPES), ops.RelativeBias(TABLE), ops.PerKey(numbers(wide)), ops.LowRank(numbers(wide, 2), numbers(wide, 2)),
        ops.TensorBias(numbers(H, 1, 1).expand(H, wide, wide)),
    ):  # fmt: skip
        bias.check(numbers(1, H, 1, 4).expand(1, H, wide, 4), shape)
        assert bias.at(rows, columns, shape).numel() <= H * 4


@pytest.mark.parametrize(("count", "max_distance"), [(32, 128), (8, 20), (64, 256), (6, 5)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_buckets_of_t5(count, max_distance, bidirectional):
    distance = torch.arange(-3 * max_distance, 3 * max_distance)
    expected = [t5_bucket(d, count, max_distance, bidirectional) for d in distance.tolist()]
    got = log_buckets(distance, count, max_distance=max_distance, bidirectional=bidirectional)
    assert got.tolist() == expected
    assert got.dtype == distance.dtype
    assert set(expected) >= {0, count - 1}


def test_the_slopes_of_the_paper():
    assert alibi_slopes(8) == [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(16) == [2 ** (-h / 2) for h in range(1, 17)]
    assert alibi_slopes(1) == [2.0**-8]
    twelve = alibi_slopes(12)
    assert twelve[:8] == alibi_slopes(8)
    assert twelve[8:] == alibi_slopes(16)[0::2][:4]
    assert len(set(twelve)) == 12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_far_positions_are_exact_in_few_bits(dtype):
    bias = ops.ALiBi(torch.tensor([0.5], dtype=dtype))
    got = bias.at(torch.tensor([[0]]), torch.tensor([[100_001]]), (1, 200_000, 200_000))
    assert got.item() == -50_000.5
    assert got.dtype == torch.promote_types(dtype, torch.float32)
    assert (
        ops.TensorBias(numbers(3, 3).to(dtype))
        .at(*[torch.arange(3).reshape(s) for s in ((3, 1), (1, 3))], (3, 3))
        .dtype
        == dtype
    )


def test_tensors_on_either_side_of_a_sum():
    alibi, tensor = ops.ALiBi(SLOPES), TENSOR[0, 0]
    for total in (alibi + tensor, tensor + alibi, torch.nn.Parameter(tensor) + alibi):
        assert isinstance(total, ops.Sum)
        assert {type(part) for part in total.terms} == {ops.ALiBi, ops.TensorBias}
        torch.testing.assert_close(everywhere(total), everywhere(alibi) + tensor)
    nested = (alibi + tensor) + (tensor + alibi)
    assert [type(part).__name__ for part in nested.terms] == ["ALiBi", "TensorBias", "TensorBias", "ALiBi"]
    assert as_bias(alibi) is alibi
    assert as_bias(tensor).tensor is tensor


@pytest.mark.parametrize("other", [1.0, "causal", None])
def test_only_tensors_and_biases_are_summed(other):
    with pytest.raises(TypeError, match="ALiBi"):
        ops.ALiBi(3) + other
    with pytest.raises(TypeError, match="ALiBi"):
        other + ops.ALiBi(3)


def test_a_view_is_given_where_rows_follow_each_other():
    bias = ops.TensorBias(TENSOR)
    got = bias.at(torch.arange(2, 6)[:, None], torch.arange(M)[None], SHAPE)
    assert got.data_ptr() == TENSOR[..., 2:, :].data_ptr()


SQUARE = (2, 3, 15, 15)
WRONG = [
    (lambda: ops.TensorBias(numbers(5, 15)), SQUARE, ValueError, r"`bias` must broadcast to .* = \[2, 3, 15, 15\]: got \[5, 15\]."),
    (lambda: ops.TensorBias(torch.ones(15, 15).bool()), SQUARE, TypeError, r"`bias` must be floating point: got torch.bool; a pattern"),
    (lambda: ops.TensorBias(numbers(15).to("meta")), SQUARE, ValueError, "`bias` must be on the device of `query`, cpu: got meta."),
    (lambda: ops.PerKey(numbers(14)), SQUARE, ValueError, r"the bias per key must broadcast to \[..., H, M\] = \[2, 3, 15\]: got \[14\]."),
    (lambda: ops.PerKey(numbers(15).to("meta")), SQUARE, ValueError, "the bias per key must be on the device of `query`, cpu: got meta."),
    (lambda: ops.PerQuery(numbers(4, 15)), SQUARE, ValueError, r"the bias per query must broadcast to \[..., H, N\] = .*: got \[4, 15\]."),
    (lambda: ops.LowRank(numbers(14, 2), numbers(15, 2)), SQUARE, ValueError, r"`u` must broadcast to \[..., H, N, R\] = \[2, 3, 15, 2\]: got \[14, 2\]."),
    (lambda: ops.LowRank(numbers(15, 2), numbers(16, 2)), SQUARE, ValueError, r"`v` must broadcast to \[..., H, M, R\] = .*: got \[16, 2\]."),
    (lambda: ops.ALiBi(8), SQUARE, ValueError, r"`slopes` must broadcast to \[..., H\] = \[2, 3\]: got \[8\]."),
    (lambda: ops.ALiBi(SLOPES.to("meta")), SQUARE, ValueError, "`slopes` must be on the device of `query`, cpu: got meta."),
    (lambda: ops.ALiBi(3), (2, 3, 5, 11), ValueError, "`ALiBi` needs as many queries as keys unless `align` is .*: got 5 and 11."),
    (lambda: ops.ALiBi2d(3, (3, 4)), SQUARE, ValueError, r"`grid` must have as many cells as there are queries and keys, 15 and 15: got \(3, 4\)."),
    (lambda: ops.ALiBi2d(4, GRID), SQUARE, ValueError, r"`slopes` must broadcast to .*: got \[4\]."),
    (lambda: ops.RelativeBias(numbers(4, 7)), SQUARE, ValueError, r"`table` must broadcast to \[..., H\] .* = \[2, 3\]: got \[4\]."),
    (lambda: ops.RelativeBias(TABLE), (2, 3, 5, 11), ValueError, "`RelativeBias` needs as many queries as keys .*: got 5 and 11."),
    (lambda: ops.RelativeBias2d(TABLE_2D, GRID), (2, 3, 15, 30), ValueError, r"as many cells .*, 15 and 30: got \(3, 5\)."),
    (lambda: ops.ALiBi(3) + numbers(5, 15), SQUARE, ValueError, r"`bias` must broadcast to .*: got \[5, 15\]."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "error", "message"), WRONG)
def test_what_does_not_fit_the_matrix(make, shape, error, message):
    with pytest.raises(error, match=message):
        make().check(numbers(*shape[:-1], 4), shape)


def test_an_empty_matrix():
    for bias in (ops.ALiBi(SLOPES, "end"), ops.RelativeBias(TABLE, align="end"), ops.TensorBias(numbers(H, 0, 5))):
        assert everywhere(bias, (1, H, 0, 5)).shape == (H, 0, 5)
