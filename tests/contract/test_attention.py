"""Every mechanism x every law x every engine that can compute it."""

import dataclasses
import functools
import itertools
import math

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops._cache import LRUCache
from heedful.ops._tree import flatten
from heedful.ops.biases import as_bias
from heedful.ops.engines import banded, bands, fused, reference, tiled, tiles
from heedful.ops.mechanism import Mechanism
from heedful.ops.patterns.orders import PatchOrder
from tests.contract.mechanisms import CASES, CELLS, ENGINES, B, D, E, H, M

NO_MECHANISMS = {
    "AttentionMatrix", "Cost", "Sample", "Plan", "attention", "attention_weights", "plan", "reweight",  # what is done with them
    "Bias", "Normalizer", "Pattern", "Score", "Selection",  # what they are
    "Statistic", "WeightTile",  # what is asked of a matrix
    "LinearScaling", "Llama3Scaling", "NTKScaling", "RotaryScaling", "YarnScaling", "rotary", "rotary2d",  # of operands
    "sample",  # `attention` with `Sampled`, tried below
}  # fmt: skip
NAMES = {id(case): name for name, case in CASES.items()}
PAIRS = [(case, engine) for case in CASES.values() for engine in case.engines]

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def engines_of(lawful, engines=frozenset(ENGINES)):
    """Each case that a law is about, with each engine."""
    chosen = [(case, engine) for case, engine in PAIRS if lawful(case) and engine in engines]
    return pytest.mark.parametrize(("case", "engine"), chosen, ids=[f"{NAMES[id(c)]}-{e}" for c, e in chosen])


def unless(law):
    return lambda case: law not in case.breaks


everywhere = engines_of(lambda case: True)
in_tiles = engines_of(lambda case: True, {"fused", "banded", "tiled"})
where_pairs_are_hidden = engines_of(lambda case: not case.seen.all())


def gradients(out, operands):
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, operands, weights, retain_graph=True, allow_unused=True, materialize_grads=True)


def with_gradients(case, engine, operands):
    """Query, key and value learn; the parameters where the engine can have that."""
    learns = case.engines[engine]
    return tuple(t.detach().clone().requires_grad_(learns or at < 3) for at, t in enumerate(operands))


def learning(operands):
    return [t for t in operands if t.requires_grad]


def assert_equal(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@functools.cache
def truth(case):
    """What the naive twin finds, and its gradients of query, key, value and parameters."""
    operands = with_gradients(case, "reference", case.operands())
    found = case.naive(*operands)
    some = found.output.requires_grad  # not where no row sees anything
    slopes = gradients(found.output, operands) if some else [torch.zeros_like(t) for t in operands]
    return found.output.detach(), found.weights.detach(), slopes


def of_head(score, h):
    """A score whose numbers are those of one head."""
    axes = {ops.Bilinear: 3, ops.Additive: 2, ops.Gaussian: 1}
    tensors, build = flatten(score)
    return build(iter([t[h] if t.dim() == axes[type(score)] else t for t in tensors]))


def explicit(case, parameters, rows=None, columns=None):
    """The options of a case with its pattern and its bias as tensors, of which some rows and columns are taken."""
    rows = torch.arange(case.queries) if rows is None else rows
    columns = torch.arange(case.keys) if columns is None else columns
    options = case.options(*parameters) | {"pattern": ops.Mask(case.seen[:, :, rows][..., columns])}
    if case.bias is not None:
        options["bias"] = case.bias[:, :, rows][..., columns]
    if torch.is_tensor(scale := options.get("scale")):
        options["scale"] = scale.expand(*case.shape[:3], 1)[:, :, rows]
    tensors, build = flatten(options.get("normalize", ops.softmax))
    options["normalize"] = build(iter([t.expand(*case.shape[:3], 1)[:, :, rows] for t in tensors]))
    return options


def test_the_table_is_complete():
    covered = {name for case in CASES.values() for name in case.covers}
    assert set(ops.__all__) - NO_MECHANISMS == covered
    assert set(ops.__all__) >= NO_MECHANISMS
    assert len(CASES) >= 100
    assert all(sum(engine == e for _, engine in PAIRS) >= 50 for e in ENGINES)
    assert all({"tiled", "reference"} <= set(case.engines) for case in CASES.values())


@cases
def test_an_engine_that_cannot_says_why(case):
    query, key, value, *parameters = case.operands()
    for engine in set(ENGINES) - set(case.engines):
        words = case.refusal(engine, query, key, value, *parameters)
        assert words.startswith(f"`engine` {engine!r} cannot compute this: ")
        with pytest.raises(ValueError, match="cannot compute this: .+\\."):
            case.attention(query, key, value, *parameters, engine=engine)


@everywhere
def test_equals_the_naive_twin(case, engine):
    operands = with_gradients(case, engine, case.operands())
    out = case.attention(*operands, engine=engine)
    expected, _, slopes = truth(case)
    assert_equal(out, expected)
    for mine, his in zip(gradients(out, learning(operands)), slopes, strict=False):
        assert_equal(mine, his, 1e-11)


@cases
def test_the_engine_that_is_chosen_gives_the_same(case):
    operands = with_gradients(case, "reference", case.operands())
    for allowed in (True, False):
        with torch.set_grad_enabled(allowed):
            out = case.attention(*operands)
        assert_equal(out, truth(case)[0])
        if allowed:
            for mine, his in zip(gradients(out, operands), truth(case)[2], strict=True):
                assert_equal(mine, his, 1e-11)


@cases
def test_weights_equal_the_naive_twin(case):
    assert_equal(case.weights(*case.operands()), truth(case)[1])


@functools.cache
def rows_alone(case):
    """Some rows, each by itself with the keys that it sees."""
    query, key, value, *parameters = case.operands()
    key, value, options, found = case.grouped(key), case.grouped(value), explicit(case, parameters), {}
    for b, h, i in itertools.product(range(B), range(case.heads), range(0, case.queries, 2)):
        keep, row = case.seen[b, h, i], slice(i, i + 1)
        mine = {k: v for k, v in options.items() if k not in ("pattern", "bias")}
        mine["score"] = of_head(options.get("score", ops.ScaledDot()), h)
        tensors, build = flatten(options["normalize"])
        mine["normalize"] = build(iter([t[b, h, row] for t in tensors]))
        if torch.is_tensor(options.get("scale")):
            mine["scale"] = options["scale"][b, h, row]
        if "sinks" in options:
            mine["sinks"] = options["sinks"].expand(case.shape[:2])[b, h]
        if case.bias is not None:
            mine["bias"] = case.bias[b, h, row, keep]
        found[b, h, i] = heedful.attention(query[b, h, row], key[b, h, keep], value[b, h, keep], **mine)[0]
    return found


@engines_of(unless("row alone"))
def test_one_row_alone_with_the_keys_that_it_sees(case, engine):
    """A masked key is a removed key, and one row computed alone is that row of the whole."""
    out = case.attention(*case.operands(), engine=engine)
    alone = rows_alone(case)
    assert_equal(torch.stack([out[place] for place in alone]), torch.stack(list(alone.values())))


@engines_of(unless("order of keys"))
def test_order_of_the_keys_plays_no_role(case, engine):
    query, key, value, *parameters = case.operands()
    order = torch.randperm(case.keys, generator=torch.Generator().manual_seed(1))
    options = explicit(case, parameters, columns=order)
    out = heedful.attention(query, key[:, :, order], value[:, :, order], **options)
    assert_equal(out, case.attention(query, key, value, *parameters, engine=engine))


def looks_at_itself(case):
    fits = case.queries == case.keys or not {"pattern", "bias"} & set(case.options(*case.operands()[3:]))
    return fits and case.heads == H and case.key_width == D and "order of inputs" not in case.breaks


@engines_of(looks_at_itself)
def test_permuting_the_inputs_permutes_the_outputs(case, engine):
    case = case if case.queries == case.keys else dataclasses.replace(case, queries=case.keys)
    _, x, _, *parameters = dataclasses.replace(case, groups=H).operands()
    order = torch.randperm(case.keys, generator=torch.Generator().manual_seed(1))

    def looking(x):
        return x, x.roll(1, -1), x  # keys that are not the queries: each vector is most similar to itself

    out, moved = case.attention(*looking(x), *parameters, engine=engine), looking(x[:, :, order])
    assert_equal(heedful.attention(*moved, **explicit(case, parameters, order, order)), out[:, :, order])
    if case.positional:  # with the places as they were, it is another function
        assert not torch.allclose(case.attention(*moved, *parameters, engine=engine), out[:, :, order])


@pytest.mark.parametrize("engine", ENGINES)
def test_adding_positions_breaks_that(engine):
    x = CASES["softmax(scaled dot)"].operands()[1]
    place = torch.arange(M)[:, None] / 10000 ** (torch.arange(D) / D)
    order = torch.tensor([1, 0, *range(2, M)])

    def attend(x):
        return heedful.attention(x, x, x, engine=engine)

    assert_equal(attend(x[:, :, order]), attend(x)[:, :, order])
    assert not torch.allclose(attend(x[:, :, order] + place.sin()), attend(x + place.sin())[:, :, order], atol=1e-3)


@engines_of(unless("batch"))
def test_a_batch_is_its_samples_one_by_one(case, engine):
    query, key, value, *parameters = case.operands()
    out, options = case.attention(query, key, value, *parameters, engine=engine), explicit(case, parameters)
    for b in range(B):
        one = slice(b, b + 1)
        mine = options | {"pattern": ops.Mask(case.seen[one])}
        if case.bias is not None:
            mine["bias"] = case.bias[one]
        if torch.is_tensor(options.get("scale")):
            mine["scale"] = options["scale"][one]
        tensors, build = flatten(options["normalize"])
        mine["normalize"] = build(iter([t[one] for t in tensors]))
        assert_equal(out[one], heedful.attention(query[one], key[one], value[one], **mine))


@where_pairs_are_hidden
def test_nothing_leaks_from_what_is_hidden(case, engine):
    """The future least of all."""
    query, key, value, *parameters = case.operands()
    out = case.attention(query, key, value, *parameters, engine=engine)
    for j in range(case.keys):
        other_key, other_value = key.clone(), value.clone()
        other_key[:, :, j] += 7
        other_value[:, :, j] = -1e3
        again = case.attention(query, other_key, other_value, *parameters, engine=engine)
        blind = ~case.seen[..., j]
        assert_equal(again[blind], out[blind])


@engines_of(lambda case: bool((~case.seen.any(-1)).any()))
def test_empty_rows_are_zero_with_zero_gradients(case, engine):
    operands = with_gradients(case, engine, case.operands())
    empty = ~case.seen.any(-1)
    out = case.attention(*operands, engine=engine)
    assert not out[empty].any()
    assert not case.weights(*operands)[empty].any()
    for gradient in gradients(out[empty], learning(operands)):
        assert not gradient.any()
    slopes = gradients(case.attention(*operands, engine=engine), learning(operands))
    assert not slopes[0][empty].any()
    assert all(slope.isfinite().all() for slope in slopes)


BAD = list(enumerate([(math.nan, "key"), (-math.inf, "value"), (math.inf, "key")]))


@where_pairs_are_hidden
def test_what_is_not_finite_reaches_only_the_rows_that_may_see_it(case, engine):
    clean_operands = with_gradients(case, engine, case.operands())
    clean = case.attention(*clean_operands, engine=engine)
    in_group = torch.arange(case.heads)[:, None] < case.heads // case.groups
    for at, (bad, where) in BAD:
        j = (3 * at + 1) % case.keys
        operands = with_gradients(case, engine, case.operands())
        with torch.no_grad():
            operands[1 if where == "key" else 2][:, 0, j, 1] = bad
        reached = case.seen[..., j] & in_group
        out = case.attention(*operands, engine=engine)
        assert_equal(out[~reached], clean[~reached])
        if clean[~reached].numel():
            found = gradients(out[~reached], learning(operands))
            expected = gradients(clean[~reached], learning(clean_operands))
            for mine, his in zip(found, expected, strict=True):
                assert_equal(mine, his)
        assert not out[..., 1][reached].isfinite().any()
        if where == "key":
            assert out[reached].isnan().all()
        else:
            others = torch.arange(E) != 1
            assert_equal(out[..., others], clean[..., others])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_value_where_keys_are_broadcast(engine):
    query, key, value = torch.randn(3, 2, 5, 7), torch.randn(1, 2, 5, 7), torch.randn(3, 2, 5, 11)
    value[1, 0, 4, 3] = math.nan
    out = heedful.attention(query, key, value, pattern=ops.Causal(), engine=engine)
    assert out.isnan().nonzero().tolist() == [[1, 0, 4, 3]]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_query_leaves_an_empty_row_empty(engine):
    case = CASES["lengths"]
    query, key, value = case.operands()
    query[:, :, 1] = math.nan
    out = case.attention(query, key, value, engine=engine)
    assert not out[1].any()  # sees nothing
    assert out[0, :, 1].isnan().all()
    assert out[0, :, [0, 2, 3, 4]].isfinite().all()


def plainly(case, query, key, value, *parameters):
    """As PyTorch's kernel does it, or where it cannot, the formula, each step in the dtype of the operands."""
    options = case.options(*parameters)
    bias = options.pop("bias", None)
    m, dtype = Mechanism(**options, bias=None if bias is None else as_bias(bias)), query.dtype
    key, value = case.grouped(key), case.grouped(value)
    rows, columns = (torch.arange(n) for n in case.shape[-2:])
    numbers = None if m.bias is None else m.bias.at(rows[:, None], columns[None], case.shape).to(dtype)
    if set(options) <= {"pattern", "score"} and isinstance(m.score, (ops.Dot, ops.ScaledDot)):
        mask = torch.zeros(case.shape, dtype=dtype).masked_fill(~case.seen, -math.inf) + (
            0 if numbers is None else numbers
        )
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=m.score.scale(D))
    s = m.score.pairs(query, key) * m.factor(D)
    if m.softcap is not None:
        s = m.softcap * (s / m.softcap).tanh()
    s, seen = s if numbers is None else s + numbers, case.seen
    if m.sinks is not None:
        s = torch.cat([s, m.sinks[..., None, None].expand(*s.shape[:-1], 1)], -1)
        seen = torch.cat([seen, seen.any(-1, keepdim=True)], -1)
    weights = m.normalize(s, seen)[..., : case.keys]
    uniform = ops._random.uniform(m.seed, case.shape[:2], rows)
    weights = m.select.apply(weights, uniform if m.select.stochastic else None)
    if m.dropout:
        weights = weights * ops._random.keep_mask(m.seed, case.shape[:2], rows, columns, m.dropout) / (1 - m.dropout)
    return weights @ value


@functools.cache
def pytorch_and_truth(case, dtype):
    """The output and the gradients in a dtype, and in float64."""
    found = []
    for operands, attend in (
        (case.operands(dtype), functools.partial(plainly, case)),
        ([t.double() for t in case.operands(dtype)], functools.partial(case.attention, engine="reference")),
    ):
        operands = with_gradients(case, "reference", operands)
        out = attend(*operands)
        found.append([t.detach() for t in (out, *gradients(out, operands))] if out.requires_grad else [out])
    return list(zip(*found, strict=False))


@everywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_each_dtype_as_exactly_as_pytorch(case, engine, dtype):
    """Our error against float64 is at most twice that of PyTorch in this dtype, three times for gradients."""
    operands = with_gradients(case, engine, case.operands(dtype))
    out, eps = case.attention(*operands, engine=engine), torch.finfo(dtype).eps
    found = [out, *gradients(out, learning(operands))] if truth(case)[0].any() else [out]
    for at, (mine, (his, true)) in enumerate(zip(found, pytorch_and_truth(case, dtype), strict=False)):
        assert mine.dtype == dtype
        assert mine.device == operands[0].device
        factor, least = (3, 8) if at else (2, 4)  # a gradient is a difference: that of one visible key is 0
        room = factor * (his.double() - true).abs().max() + least * eps * true.abs().max().clamp_min(1)
        assert (mine.double() - true).abs().max() <= room


@everywhere
def test_inputs_are_left_alone(case, engine):
    operands = with_gradients(case, engine, case.operands())
    before = [t.detach().clone() for t in operands]
    out = case.attention(*operands, engine=engine)
    kept = out.detach().clone()
    gradients(out, learning(operands))
    assert all(torch.equal(a, b) for a, b in zip([*operands, out], [*before, kept], strict=True))


SMOOTH = [case for case in CASES.values() if unless("finite differences")(case) and case.seen.any()]


@pytest.mark.parametrize(
    ("case", "engine"),
    [(c, e) for at, c in enumerate(SMOOTH) for e in c.engines if e == "reference" or at % 3 == 0],
    ids=lambda x: x if isinstance(x, str) else NAMES[id(x)],
)
def test_gradcheck(case, engine):
    """Of the other engines for every third case: all their gradients are those of the twin, and see test_derivatives.py."""
    operands = with_gradients(case, engine, case.operands())

    def attend(*operands):
        return case.attention(*operands, engine=engine)

    assert torch.autograd.gradcheck(attend, operands, fast_mode=True)
    if engine == "reference":
        assert torch.autograd.gradgradcheck(attend, operands, fast_mode=True)


@pytest.fixture
def forgotten(monkeypatch):
    """Bands and tiles are kept from call to call."""
    for module, name in ((bands, "_BANDS"), (tiles, "_TILES")):
        monkeypatch.setattr(module, name, LRUCache(0, lambda found: 1))


@pytest.mark.usefixtures("forgotten")
@in_tiles
def test_sizes_of_tiles_and_chunks_play_no_role(case, engine, monkeypatch):
    pairs = (1, 2 * M)[list(CASES.values()).index(case) % 2]
    operands = with_gradients(case, engine, case.operands())
    for module, name in (
        (banded, "CHUNK"), (tiled, "CACHED"), (fused, "TILE"), (bands, "_MASK"), (bands, "_LEAST"),
    ):  # fmt: skip
        assert isinstance(getattr(module, name), int)
        monkeypatch.setattr(module, name, pairs)
    for name, size in zip(("tall", "wide"), (1, 2) if pairs == 1 else (2, 3), strict=True):
        assert isinstance(getattr(PatchOrder, name), int)
        monkeypatch.setattr(PatchOrder, name, size)
    out = case.attention(*operands, engine=engine)
    expected, _, slopes = truth(case)
    assert_equal(out, expected)
    for mine, his in zip(gradients(out, learning(operands)), slopes, strict=False):
        assert_equal(mine, his, 1e-11)


def test_small_tiles_are_many(monkeypatch):
    """Or the test above would say nothing."""
    shape = (B, H, CELLS, CELLS)
    assert len(tiles.tiles(ops.Global(), shape, 2**18)) == 1
    assert len(tiles.tiles(ops.Global(), shape, 1)) == CELLS
    query = torch.zeros(*shape[:-1], D)
    few = len(list(fused._tiles(ops.Local(1), None, shape, query)))
    monkeypatch.setattr(fused, "TILE", 1)
    assert len(list(fused._tiles(ops.Local(1), None, shape, query))) > few


LARGE = {
    "plain": {},
    "causal": {"pattern": ops.Causal()},
    "longformer": {"pattern": ops.Local(20) | ops.GlobalTokens([3, 200])},
    "entmax15, documents": {"normalize": ops.entmax15, "pattern": ops.Documents(torch.arange(301) // 40)},
    "additive": {"score": ops.Additive(torch.ones(5, dtype=torch.float64)), "pattern": ops.Local(9)},
    "alibi, local": {"bias": ops.ALiBi(2), "pattern": ops.Local(9)},
    "neighborhood": {"pattern": ops.Neighborhood2d(5, (7, 43))},
    "axial": {"pattern": ops.Axial((7, 43)), "sinks": torch.ones(2, dtype=torch.float64)},
    "dilated": {"pattern": ops.Dilated(3, dilation=4) & ops.Causal(), "dropout": 0.5, "seed": 1},
}


@pytest.mark.parametrize("name", LARGE)
def test_threads_play_no_role_and_sizes_that_need_no_small_tiles(name):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, 2, 301, d, generator=generator, dtype=torch.float64) for d in (5, 5, 3)]
    threads, found = torch.get_num_threads(), []
    try:
        for count, engine in ((1, "reference"), (1, None), (2, None)):
            torch.set_num_threads(count)
            operands = [t.clone().requires_grad_() for t in made]
            out = heedful.attention(*operands, **LARGE[name], engine=engine)
            found.append([out, *gradients(out, operands)])
    finally:
        torch.set_num_threads(threads)
    for expected, *mine in zip(*found, strict=True):
        for one in mine:
            assert_equal(one, expected, 1e-11)


@pytest.mark.parametrize(
    "name",
    [
        "softmax(scaled dot)",
        "causal & lengths",
        "mask",
        "longformer",
        "bias, causal",
        "sinks, causal & lengths",
        "softcap",
    ],
)
def test_tiles_play_no_role_for_the_matrix(name, monkeypatch):
    case = CASES[name]
    operands = case.operands()

    def summaries():
        matrix = case.matrix(*operands)
        return matrix.entropy(), matrix.lse(), matrix.T @ operands[0]

    expected = summaries()
    empty = ~case.seen.any(-1)
    assert (expected[1][empty] == -math.inf).all()
    assert not expected[0][empty].any()
    for tile in (1, 2 * M):
        monkeypatch.setattr(fused, "TILE", tile)
        monkeypatch.setattr(ops.windows, "_STREAMED", tile)
        for mine, his in zip(summaries(), expected, strict=True):
            assert_equal(mine, his)


ANYWHERE = {
    "global": {},
    "causal": {"pattern": ops.Causal("end")},
    "lengths": {"pattern": ops.Lengths(3)},
    "local, softmax1": {"pattern": ops.Local(2, align="end"), "normalize": ops.softmax1},
    "entmax15": {"pattern": ops.Causal("end"), "normalize": ops.entmax15},
    "additive, sinks": {
        "score": ops.Additive(torch.ones(13, dtype=torch.float64)), "sinks": torch.tensor(0.3, dtype=torch.float64)
    },
    "cosine, bias": {"score": ops.Cosine(), "bias": torch.linspace(0, 1, 17, dtype=torch.float64), "scale": 3.0},
    "entmax learned": {"normalize": ops.entmax(torch.tensor(1.4, dtype=torch.float64))},
}  # fmt: skip


def can(engine, *operands, **options):
    """Whether the engine can compute it; what it says if not is what it always says."""
    words = None
    try:
        heedful.plan(*operands, **options, engine=engine)
    except ValueError as error:
        words = str(error)
    assert words is None or words.startswith(f"`engine` {engine!r} cannot compute this: ")
    return words is None


@pytest.mark.parametrize("axes", [(), (2,), (2, 3, 5), (2, 3, 1, 5)], ids=len)
@pytest.mark.parametrize("name", ANYWHERE)
def test_any_number_of_leading_axes(axes, name):
    generator, options = torch.Generator().manual_seed(0), ANYWHERE[name]
    operands = [
        torch.randn(*axes, n, d, generator=generator, dtype=torch.float64).requires_grad_()
        for n, d in ((11, 13), (17, 13), (17, 19))
    ]
    flat = [t.reshape(-1, 1, *t.shape[-2:]) for t in operands]
    expected = heedful.attention(*flat, **options, engine="reference")
    slopes = gradients(expected.reshape(*axes, 11, 19), operands)
    tried = [engine for engine in ENGINES if can(engine, *operands, **options)]
    assert len(tried) >= 2
    for engine in tried:
        out = heedful.attention(*operands, **options, engine=engine)
        assert out.shape == (*axes, 11, 19)
        assert_equal(out.reshape(-1, 1, 11, 19), expected)
        for mine, his in zip(gradients(out, operands), slopes, strict=True):
            assert_equal(mine, his, 1e-11)


def test_one_vector_against_a_hundred_keys():
    out = heedful.attention(torch.randn(1, 128), torch.randn(100, 128), torch.randn(100, 128))
    assert out.shape == (1, 128)


@pytest.mark.parametrize("engine", ENGINES)
def test_leading_axes_broadcast(engine):
    query = torch.randn(2, 3, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    key = torch.randn(1, 3, 2, 11, 7, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([[3, 0, 11], [7, 5, 2]])
    out = heedful.attention(query, key, key, pattern=ops.Lengths(lengths), engine=engine)
    alone = [
        [heedful.attention(query[a, b][None], key[0, b][None], key[0, b][None], pattern=ops.Lengths(lengths[a, b]))[0]
         for b in range(3)] for a in range(2)
    ]  # fmt: skip
    expected = torch.stack([torch.stack(row) for row in alone])
    assert_equal(out, expected)
    for mine, his in zip(gradients(out, [query, key]), gradients(expected, [query, key]), strict=True):
        assert_equal(mine, his, 1e-11)


@pytest.mark.parametrize("name", ANYWHERE)
def test_no_keys_and_no_queries(name):
    options = {k: v for k, v in ANYWHERE[name].items() if k not in ("pattern", "bias")}
    nothing, some = (torch.randn(2, 3, n, 13, dtype=torch.float64, requires_grad=True) for n in (0, 7))
    for engine in ENGINES:
        if not can(engine, some, nothing, nothing, **options):
            continue
        out = heedful.attention(some, nothing, nothing, **options, engine=engine)
        assert out.shape == some.shape
        assert not out.any()
        assert not any(g.any() for g in gradients(out, [some]))
        out = heedful.attention(nothing, some, some, **options, engine=engine)
        assert out.shape == nothing.shape
        assert not any(g.any() for g in gradients(out, [some]))
    assert not heedful.attention(some, nothing, nothing, **options).any()


def test_no_keys_have_no_lse():
    nothing, some = torch.randn(2, 3, 0, 5), torch.randn(2, 3, 7, 5)
    assert (heedful.AttentionMatrix(some, nothing).lse() == -math.inf).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("normalize", [ops.softmax, ops.softmax1, ops.entmax15, ops.relu, ops.sigmoid, ops.linear])
def test_a_bias_of_minus_infinity_hides(engine, normalize):
    query, key, value = (torch.randn(3, 2, n, d, requires_grad=True) for n, d in ((5, 7), (11, 7), (11, 13)))
    bias = torch.zeros(5, 11)
    bias[2] = -math.inf
    bias[:, 4] = -math.inf
    if not can(engine, query, key, value, bias=bias, normalize=normalize):
        return
    pattern = ops.Mask(bias == 0)
    out = heedful.attention(query, key, value, bias=bias, normalize=normalize, engine=engine)
    expected = heedful.attention(query, key, value, pattern=pattern, normalize=normalize, engine=engine)
    assert_equal(out, expected, 1e-6)
    assert not out[:, :, 2].any()
    for mine, his in zip(gradients(out, [query, key, value]), gradients(expected, [query, key, value]), strict=True):
        assert_equal(mine, his, 1e-5)
    if normalize is ops.softmax:
        assert (heedful.AttentionMatrix(query, key, bias=bias).entropy()[..., 2] == 0).all()


DRAWN = ["sampled", "sampled, softmax1, causal", "sampled, sigmoid, score function"]


@pytest.mark.parametrize("name", DRAWN)
def test_draw_equals_the_naive_twin(name):
    case = CASES[name]
    operands = with_gradients(case, "reference", case.operands())
    options = {k: v for k, v in case.options().items() if k != "select"}
    drawn, found = heedful.sample(*operands, **options), case.naive(*operands)
    assert_equal(drawn.output, found.output)
    assert_equal(drawn.log_probability, found.log_probability)
    mine, his = (gradients(x.log_probability, operands[:2]) for x in (drawn, found))
    for a, b in zip(mine, his, strict=True):
        assert_equal(a, b, 1e-11)
    only_value = gradients(drawn.output, operands)
    assert not only_value[0].any()
    assert not only_value[1].any()
    assert only_value[2].any()


def test_what_is_drawn_depends_on_where_and_on_the_seed():
    case = CASES["dropout"]
    operands = case.operands()
    weights = case.attention(*operands)
    assert torch.equal(weights, case.attention(*operands))
    query, key, value = operands
    assert not torch.allclose(weights, heedful.attention(query, key, value, dropout=0.3, seed=4))
    out = heedful.attention(query, key, value, dropout=0.3, seed=3)
    assert torch.equal(out, weights)
    torch.manual_seed(5)
    first = heedful.attention(query, key, value, dropout=0.3)
    second = heedful.attention(query, key, value, dropout=0.3)
    torch.manual_seed(5)
    assert torch.equal(first, heedful.attention(query, key, value, dropout=0.3))
    assert not torch.equal(first, second)


def test_reference_keeps_at_least_float32():
    assert reference.at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
