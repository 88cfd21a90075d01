"""Patterns combine as sets do, on every path, and what they say of themselves is so."""

import functools
import itertools
import random

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops._concrete import concrete
from heedful.ops.patterns import marks
from heedful.ops.patterns.orders import indices_of
from tests.fuzz import cases as fuzz
from tests.fuzz.check import built
from tests.reference import dense, naive

B, H = 2, 3
SIZES = [(5, 7), (6, 6), (7, 5)]  # (6, 6) is also a grid of 2 x 3


def places(shape):
    return torch.arange(shape[-2])[:, None], torch.arange(shape[-1])[None]


def visible(pattern, shape):
    return pattern.allowed(*places(shape), shape).expand(shape)


def seen(rule, shape):
    """A naive twin at every pair."""
    places = itertools.product(*map(range, shape))
    return torch.tensor([rule(*place) for place in places]).reshape(shape)


@functools.cache
def case_of(seed):
    """A random pattern, who may see whom by the formulas, and the shape of the matrix."""
    maker = fuzz._Maker(random.Random(seed), seed, 7)
    maker.N, maker.M = maker.r.choice(SIZES)
    maker.grid, maker.lead, maker.wide, maker.H = (2, 3) if maker.N == maker.M else None, (B,), True, H
    maker.shape = shape = (B, H, maker.N, maker.M)
    words = fuzz.Leaves([]).fill(maker.pattern(maker.r.choice((0, 1, 1, 2, 3))))
    return built(words), dense.visible(words, shape).expand(shape), shape


each_case = pytest.mark.parametrize("seed", range(150))


@each_case
def test_any_combination_is_what_it_says(seed):
    pattern, mask, shape = case_of(seed)
    N, M = shape[-2:]
    pattern.check(shape)
    assert torch.equal(visible(pattern, shape), mask)
    assert pattern.masks_any(shape) or mask.all()
    assert pattern.may_be_empty(shape) or mask.any(-1).all()
    by_row, by_column = pattern.depends(shape)
    assert by_row or torch.equal(mask, mask[..., :1, :].expand(shape))
    assert by_column or torch.equal(mask, mask[..., :1].expand(shape))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(N, (2, 4, 3, 1), generator=generator)
    columns = torch.randint(M, (2, 4, 1, 5), generator=generator)
    tiles = pattern.allowed(rows, columns, shape).expand(B, H, 2, 4, 3, 5)
    assert torch.equal(tiles, mask[..., rows, columns])
    for part in pattern.conjuncts():
        assert not (mask & ~visible(part, shape)).any()


GRIDS = [(2, 3), (3, 2), (6, 1), (1, 6)]


@each_case
def test_what_a_pattern_claims_for_engines_is_so(seed):
    """Each claim against what is visible: an engine asks for it, and does not look again."""
    pattern, mask, shape = case_of(seed)
    N, M = shape[-2:]
    index = torch.arange(N)
    if pattern.translation_invariant():
        assert torch.equal(mask[..., 1:, 1:], mask[..., :-1, :-1])
    if pattern.is_diagonal(shape):
        assert torch.equal(mask, (torch.arange(M) <= index[:, None]).expand(shape))
    for height, width in GRIDS:
        if N == M == 6 and pattern.translation_invariant((height, width)):
            cells = mask.view(B, H, height, width, height, width)
            assert torch.equal(cells[:, :, 1:, :, 1:], cells[:, :, :-1, :, :-1])
            assert torch.equal(cells[..., 1:, :, 1:], cells[..., :-1, :, :-1])
    for rows in (index[:1], index[1:4], index[::2], index):
        columns = indices_of(pattern.visible_columns(rows, shape))
        beyond = torch.ones(M, dtype=torch.bool)
        beyond[columns] = False
        assert not mask[:, :, rows][..., beyond].any()


@each_case
def test_the_lanes_of_each_order_hold_all_that_is_visible(seed):
    pattern, _, shape = case_of(seed)
    for one in pattern.disjuncts():
        mask = visible(one, shape)
        for order in one.orders(shape):
            held, rows_of_lanes = torch.zeros(shape[-2:], dtype=torch.bool), []
            for lane in order.lanes(functools.partial(one.columns, shape=shape), shape):
                rows, columns = lane.rows.positions(), lane.columns.positions()
                rows_of_lanes += rows.tolist()
                start = torch.arange(lane.rows.length // lane.height)
                first, last = lane.runs(start, start + 1)
                for cell, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
                    assert 0 <= a <= b <= lane.columns.length // lane.width
                    some = rows[cell * lane.height : (cell + 1) * lane.height]
                    held[some[:, None], columns[a * lane.width : b * lane.width]] = True
            assert len(set(rows_of_lanes)) == len(rows_of_lanes)
            assert not (mask & ~held).any(), (one, order)
            tiles = torch.cat([indices_of(rows) for rows in order.chunks(shape, 2)])
            assert tiles.sort().values.tolist() == list(range(shape[-2]))


@each_case
def test_columns_hold_all_that_is_visible(seed):
    pattern, mask, shape = case_of(seed)
    first, last, hull = hulls(pattern, mask)
    assert ((first >= 0) & (first <= last) & (last <= shape[-1])).all()
    assert ((hull[0] >= first) & (hull[1] <= last) | (hull[0] >= hull[1])).all()


@each_case
def test_disjuncts_unite_to_the_pattern(seed):
    pattern, seen, _ = case_of(seed)
    for whole, mask in ((pattern, seen), (pattern.transposed(), seen.mT.flip(-1, -2))):
        union = torch.zeros(mask.shape, dtype=torch.bool)
        for one in whole.disjuncts():
            assert not isinstance(one, ops.Or)
            union |= visible(one, tuple(mask.shape))
        assert torch.equal(union, mask)


@each_case
def test_one_sample_and_the_transposed(seed):
    pattern, mask, shape = case_of(seed)
    for b in range(B):
        one = pattern.batch_entry(b, shape)
        one.check(shape[1:])
        assert torch.equal(visible(one, shape[1:]), mask[b])
    assert pattern.batched(shape) or torch.equal(mask[0], mask[1])
    back = pattern.transposed()
    turned = (*shape[:2], shape[3], shape[2])
    back.check(turned)
    assert torch.equal(visible(back, turned), mask.mT.flip(-1, -2))
    assert torch.equal(visible(back.transposed(), shape), mask)
    for b in range(B):
        assert torch.equal(visible(back.batch_entry(b, turned), turned[1:]), mask[b].mT.flip(-1, -2))
    first, last, hull = hulls(back, mask.mT.flip(-1, -2))
    assert ((hull[0] >= first) & (hull[1] <= last) | (hull[0] >= hull[1])).all()


SMALL = (0, 1, 2, 6)
ALIGNED = [
    *(ops.Causal(align) for align in ("start", "end")),
    *(ops.Local(a, b, align) for a in SMALL for b in SMALL for align in ("start", "end")),
    *(ops.Dilated(a, b, step, align) for a in SMALL for b in SMALL for step in (1, 2) for align in ("start", "end")),
    *(ops.Prefix(n, align) for n in (0, 1, 4, 5) for align in ("start", "end")),
]


@pytest.mark.parametrize("size", [(5, 7), (6, 6), (7, 5), (8, 5), (1, 5), (2, 5), (5, 1)])
def test_whether_anything_is_hidden_and_a_row_is_empty(size):
    for pattern in ALIGNED:
        if isinstance(pattern, ops.Prefix) and pattern.n > size[1]:
            continue
        mask = visible(pattern, size)
        hidden, empty = not mask.all(), not mask.any(-1).all()
        assert pattern.masks_any(size) >= hidden, pattern
        assert pattern.may_be_empty(size) >= empty, pattern
        if not isinstance(pattern, ops.Dilated):
            assert pattern.masks_any(size) == hidden, pattern
            assert pattern.may_be_empty(size) == empty, pattern
        start, stop = torch.arange(size[0]), torch.arange(size[0]) + 1
        first, last = pattern.columns(start, stop, size)
        inside = (torch.arange(size[1]) >= first[:, None]) & (torch.arange(size[1]) < last[:, None])
        assert not (mask & ~inside).any(), pattern


@pytest.mark.parametrize("grid", [(1, 6), (6, 1), (2, 3), (4, 5)])
@pytest.mark.parametrize("size", [1, 3, (1, 3), (5, 1), (9, 9)])
def test_patterns_on_grids(grid, size):
    n = grid[0] * grid[1]
    shape = (n, n)
    height, width = size if isinstance(size, tuple) else (size, size)
    near, axial = ops.Neighborhood2d(size, grid), ops.Axial(grid)
    for pattern, rule in ((near, naive.neighborhood2d(height, width, grid[1])), (axial, naive.axial(grid[1]))):
        mask = seen(rule, (1, 1, n, n))[0, 0]
        assert torch.equal(visible(pattern, shape), mask)
        assert pattern.masks_any(shape) != mask.all()
        assert not pattern.may_be_empty(shape)
        for one in (pattern, *pattern.disjuncts()):
            inner = visible(one, shape)
            assert one.masks_any(shape) != inner.all()
            first, last, hull = hulls(one, inner[None, None])
            assert ((hull[0] >= first) & (hull[1] <= last)).all()


def intervals(N):
    pairs = [(a, b) for a in range(N) for b in range(a + 1, N + 1)]
    return torch.tensor(pairs).T


def hulls(pattern, mask):
    """What the pattern says of each interval of rows, and what is so: (first, last, (first, last))."""
    start, stop = intervals(mask.shape[-2])
    first, last = pattern.columns(start, stop, tuple(mask.shape))
    assert first.shape == last.shape == start.shape
    by_row = mask.any(0).any(0)
    true = [by_row[a:b].any(0).nonzero().flatten() for a, b in zip(start, stop, strict=True)]
    return (
        first,
        last,
        (
            torch.tensor([int(t[0]) if len(t) else 0 for t in true]),
            torch.tensor([int(t[-1]) + 1 if len(t) else 0 for t in true]),
        ),
    )


IDS = torch.tensor([[0, 0, 3, 3, -1, 5, 5], [0, 1, 1, 1, 2, -1, -1]])
NARROW = [
    *(ops.Causal(align) for align in ("start", "end")),
    *(ops.Local(a, b, align) for a, b in ((0, 0), (1, 2), (2, None), (9, 0)) for align in ("start", "end")),
    ops.Prefix(torch.tensor([3, 2]), "end"),
    ops.Lengths(torch.tensor([4, 2])),
    ops.Lengths(0),
    ops.GlobalTokens([3, 1], align="keys"),
    ops.GlobalTokens([], align="keys"),
    ops.Causal("end") & ops.Local(2, 9, "end"),
    ops.Causal("start") | ops.Lengths(3),
]
NARROW_SQUARE = [
    ops.Documents(IDS),
    ops.Documents(IDS[:1]),
    ops.Documents(IDS[0]),
    ops.Documents(IDS, IDS.flip(-1)),
    ops.Documents(IDS[0], IDS),
    ops.Documents(IDS.flip(0) * 2**60, IDS * 2**60),
    ops.Documents(torch.tensor([[4, 0, 4, 1, 0, 1, 9]])),
    ops.Documents(torch.full((7,), -1)),
    ops.Documents.from_offsets(torch.tensor([0, 3, 3, 7])),
    ops.GlobalTokens([4, 2]),
]


@pytest.mark.parametrize(
    ("pattern", "size"),
    [*itertools.product(NARROW, [(5, 7), (7, 7), (7, 5)]), *((pattern, (7, 7)) for pattern in NARROW_SQUARE)],
)
def test_hulls_are_no_wider_than_they_must_be(pattern, size):
    shape = (B, H, *size)
    first, last, hull = hulls(pattern, visible(pattern, shape))
    some = hull[1] > 0
    assert torch.equal(first[some], hull[0][some])
    assert torch.equal(last[some], hull[1][some])
    assert torch.equal(first[~some], last[~some])


def test_hulls_of_many_documents_take_linear_memory():
    ids = torch.arange(200_000) // 7
    start = torch.arange(0, 200_000, 64)
    stop = (start + 64).clamp(max=200_000)
    first, last = ops.Documents(ids).columns(start, stop, (1, 1, 200_000, 200_000))
    assert torch.equal(first, start // 7 * 7)
    assert torch.equal(last, (((stop - 1) // 7 + 1) * 7).clamp(max=200_000))


def test_disjuncts_are_a_normal_form():
    a, b, c = ops.Causal(), ops.Local(1), ops.Axial((2, 3))
    row, column = c.disjuncts()
    assert ((a | b) & c).disjuncts() == (a & row, a & column, b & row, b & column)
    assert (a & ops.Global()).disjuncts() == (a,)
    assert (ops.Global() & a).disjuncts() == (a,)
    assert (a | ops.Global()).disjuncts() == (ops.Global(),)
    assert (b & (a | ops.Global())).disjuncts() == (b,)
    keys, queries = ops.GlobalTokens([1, 0]).disjuncts()
    assert keys.index.tolist() == queries.index.tolist() == [1, 0]
    assert isinstance(keys, marks._GlobalKeys)
    assert isinstance(queries, marks._GlobalQueries)


def test_what_is_invariant_and_what_differs_by_sample():
    lengths = ops.Lengths(torch.tensor([1, 2]))
    assert (ops.Causal() & ~ops.Local(2) | ops.Dilated(1)).translation_invariant()
    assert not (ops.Causal() & lengths).translation_invariant()
    near = ops.Neighborhood2d(3, (2, 3))
    assert (near & ops.Causal() | ops.Axial((2, 3))).translation_invariant((2, 3))
    assert not near.translation_invariant((3, 2))
    assert not near.translation_invariant()
    assert (ops.Causal() & ~lengths).batched((2, 3, 5, 5))
    assert not ops.Lengths(torch.tensor([1])).batched((2, 3, 5, 5))
    assert not ops.Mask(torch.ones(3, 5, 5).bool()).batched((2, 3, 5, 5))
    assert ops.Mask(torch.ones(2, 5, 5).bool()).batched((2, 5, 5))
    assert ops.Documents(IDS).batched((2, 3, 7, 7))
    assert not ops.Prefix(3).batched((2, 3, 7, 7))


def test_offsets_are_ids():
    ids = ops.Documents.from_offsets(torch.tensor([0, 2, 2, 5], dtype=torch.int32)).ids
    assert ids.tolist() == [0, 0, 2, 2, 2]
    assert ops.Documents.from_offsets(torch.tensor([0])).ids.shape == (0,)


TENSORS = {
    "lengths": (ops.Lengths, torch.tensor([[4, 0], [2, 7]]), (2, 3, 7, 7)),
    "prefix": (ops.Prefix, torch.tensor([[4, 0], [2, 7]]), (2, 3, 7, 7)),
    "documents": (ops.Documents, torch.stack([IDS, IDS.flip(0, 1)]), (2, 3, 7, 7)),
    "mask": (ops.Mask, torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(1)) > 0.5, (2, 3, 7, 7)),
    "tokens": (ops.GlobalTokens, torch.tensor([[1, 4], [6, 6]]), (2, 3, 7, 7)),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("tiled", [False, True])
def test_tensors_of_patterns_may_be_batched_by_vmap(name, tiled):
    make, numbers, shape = TENSORS[name]
    rows, columns = places(shape)
    if tiled:
        rows, columns = rows.reshape(7, 1, 1), columns.expand(7, 1, 7)

    def allowed(tensor):
        pattern = make(tensor)
        pattern.check(shape)
        first, last = pattern.columns(*intervals(7), shape)
        assert not concrete(tensor)
        assert (first == 0).all()
        assert (last == 7).all()
        return pattern.allowed(rows, columns, shape)

    together = torch.func.vmap(allowed)(numbers)
    assert torch.equal(together, torch.stack([make(one).allowed(rows, columns, shape) for one in numbers]))


IDS = torch.tensor([[0, 0, 3, 3, -1, 5, 5], [0, 1, 1, 1, 2, -1, -1]])


@pytest.mark.parametrize(
    ("make", "tensor"),
    [
        (ops.Lengths, torch.tensor([4, 0])),
        (ops.Prefix, torch.tensor([4, 0])),
        (ops.Documents, IDS),
        (ops.Mask, IDS[:, None, :, None] > IDS[:, None, None]),
        (ops.GlobalTokens, torch.tensor([1, 4])),
        (ops.Prefix, 3),
    ],
    ids=["lengths", "prefixes", "documents", "mask", "tokens", "prefix"],
)
def test_patterns_compile(make, tensor):
    rows, columns, shape = torch.arange(7)[:, None], torch.arange(7)[None], (2, 3, 7, 7)

    def allowed(tensor):
        pattern = make(tensor) & ops.Local(3) | ops.Dilated(1) & ops.Neighborhood2d(3, (1, 7)) | ops.Axial((7, 1))
        pattern.check(shape)
        return pattern.transposed().allowed(rows, columns, shape)

    torch.compiler.reset()
    assert torch.equal(torch.compile(allowed, backend="eager", fullgraph=True)(tensor), allowed(tensor))


def test_what_can_be_read():
    from torch._subclasses import FakeTensorMode

    assert concrete(torch.ones(2))
    assert not concrete(torch.ones(2, device="meta"))
    with FakeTensorMode():
        assert not concrete(torch.ones(2))


@pytest.mark.parametrize("engine", ["fused", "reference"])
@pytest.mark.parametrize(("width", "value_width"), [(1, 1), (1, 65), (65, 1), (3, 2), (130, 129)])
def test_any_width(width, value_width, engine):
    query, key = (torch.randn(2, 3, n, width, dtype=torch.float64) for n in (5, 7))
    value = torch.randn(2, 3, 7, value_width, dtype=torch.float64)
    expected = (query @ key.mT / width**0.5).softmax(-1) @ value
    torch.testing.assert_close(heedful.attention(query, key, value, engine=engine), expected)
    torch.testing.assert_close(heedful.AttentionMatrix(query, key) @ value, expected)
