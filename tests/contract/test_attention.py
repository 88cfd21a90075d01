"""Every mechanism x every law."""

import itertools
import math

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops.engines import fused
from tests.contract.mechanisms import CASES, D, E, H, M

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
engines = pytest.mark.parametrize("engine", ["fused", "reference"])


def gradients(out, operands):
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, operands, weights)


def with_gradients(operands):
    return tuple(t.clone().requires_grad_() for t in operands)


def assert_equal(ours, theirs, tolerance=1e-12):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_the_table_is_complete():
    covered = {thing for case in CASES.values() for thing in case.covers}
    exported = {getattr(ops, name) for name in ops.__all__}
    not_mechanisms = {ops.AttentionMatrix, ops.attention, ops.attention_weights, ops.Score, ops.Pattern}
    assert exported - not_mechanisms == covered
    assert len(CASES) >= 20


@cases
@engines
def test_equals_the_naive_twin(case, engine):
    ours, theirs = with_gradients(case.operands()), with_gradients(case.operands())
    out, (expected, _) = case.attention(*ours, engine=engine), case.naive(*theirs)
    assert_equal(out, expected)
    if not expected.requires_grad:  # no row sees anything
        assert all(not g.any() for g in gradients(out, ours))
        return
    for mine, his in zip(gradients(out, ours), gradients(expected, theirs), strict=True):
        assert_equal(mine, his)


@cases
def test_weights_equal_the_naive_twin(case):
    query, key, value, *bias = case.operands()
    weights = heedful.attention_weights(query, key, bias=bias[0] if bias else None, **case.options)
    assert_equal(weights, case.naive(query, key, value, *bias)[1])


@cases
def test_one_row_alone_with_the_keys_that_it_sees(case):
    """A masked key is a removed key, and one row computed alone is that row of the whole."""
    query, key, value, *bias = case.operands()
    out, seen = case.attention(query, key, value, *bias), case.seen()
    key, value = case.grouped(key), case.grouped(value)
    whole = bias[0].expand(seen.shape) if bias else None
    for b, h, i in itertools.product(*map(range, seen.shape[:-1])):
        keep = seen[b, h, i]
        expected = heedful.attention(
            query[b, h, i : i + 1], key[b, h, keep], value[b, h, keep],
            score=case.options.get("score", ops.ScaledDot()), bias=None if whole is None else whole[b, h, i : i + 1, keep],
        )  # fmt: skip
        assert_equal(out[b, h, i], expected[0])


@cases
@engines
def test_what_is_hidden_changes_nothing(case, engine):
    query, key, value, *bias = case.operands()
    reached = case.seen().flatten(0, 2).any(0) if case.groups != H else case.seen().any(2)  # [M] or [B, H, M]
    hidden = ~reached if case.groups == H else (~reached).expand(*key.shape[:2], M)
    loud_key, loud_value = key.clone(), value.clone()
    loud_key[hidden] = 1e3
    loud_value[hidden] = -1e3
    out = case.attention(query, key, value, *bias, engine=engine)
    assert torch.equal(out, case.attention(query, loud_key, loud_value, *bias, engine=engine))


@cases
def test_order_of_the_keys_plays_no_role(case):
    query, key, value, *bias = case.operands()
    order = torch.randperm(M, generator=torch.Generator().manual_seed(1))
    out = heedful.attention(
        query, key[:, :, order], value[:, :, order], score=case.options.get("score", ops.ScaledDot()),
        pattern=ops.Mask(case.seen()[..., order]), bias=bias[0][..., order] if bias else None,
    )  # fmt: skip
    assert_equal(out, case.attention(query, key, value, *bias))


@cases
@engines
def test_empty_rows_are_zero_with_zero_gradients(case, engine):
    operands = with_gradients(case.operands())
    empty = ~case.seen().any(-1)
    out = case.attention(*operands, engine=engine)
    assert not out[empty].any()
    assert not torch.autograd.grad(out[empty].sum(), operands[0], retain_graph=True)[0].any()
    assert not gradients(out, operands[0])[0][empty].any()
    matrix = case.matrix(*case.operands())
    assert (matrix.lse()[empty] == -math.inf).all()
    assert matrix.lse()[~empty].isfinite().all()
    assert not matrix.entropy()[empty].any()


@cases
@engines
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["key", "value"])
def test_what_is_not_finite_reaches_only_the_rows_that_may_see_it(case, engine, bad, where):
    if not case.options.get("pattern", ops.Global()).hides((2, H, case.queries, M)):
        pytest.skip("nothing is hidden")
    for j in range(M):
        query, key, value, *bias = with_gradients(case.operands())
        broken = {"key": key, "value": value}
        with torch.no_grad():
            broken[where][:, 0, j, 2] = bad
        out = case.attention(query, key, value, *bias, engine=engine)
        reached = case.seen()[..., j].clone()
        if case.groups == H:
            reached[:, 1:] = False
        clean = case.attention(*case.operands(), engine=engine)
        assert_equal(out[~reached], clean[~reached])
        (gradient,) = torch.autograd.grad(out[~reached].sum(), query)
        (expected,) = torch.autograd.grad(
            case.attention(q := case.operands()[0].requires_grad_(), *case.operands()[1:], engine=engine)[
                ~reached
            ].sum(),
            q,
        )
        assert_equal(gradient, expected)
        assert not out[..., 2][reached].isfinite().any()
        if where == "value":
            others = torch.arange(E) != 2
            assert_equal(out[..., others], clean[..., others])


def test_a_bad_value_where_keys_are_broadcast():
    query, key, value = torch.randn(3, 2, 5, 7), torch.randn(1, 2, 5, 7), torch.randn(3, 2, 5, 11)
    value[1, 0, 4, 3] = math.nan
    out = heedful.attention(query, key, value, pattern=ops.Causal())
    assert out.isnan().nonzero().tolist() == [[1, 0, 4, 3]]


def test_a_bad_query_leaves_an_empty_row_empty():
    case = CASES["lengths"]
    query, key, value = case.operands()
    query[:, :, 1] = math.nan
    out = case.attention(query, key, value)
    assert not out[1].any()  # sees nothing
    assert out[0, :, 1].isnan().all()
    assert out[0, :, [0, 2, 3, 4]].isfinite().all()


@cases
@engines
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_each_dtype_as_exactly_as_pytorch(case, engine, dtype):
    """Our error against float64 is at most twice that of PyTorch's own kernel, three times for gradients."""
    ours, pytorchs = with_gradients(case.operands(dtype)), with_gradients(case.operands(dtype))
    exact = with_gradients(t.double() for t in case.operands(dtype))
    out = case.attention(*ours, engine=engine)
    assert out.dtype == dtype
    query, key, value, *bias = pytorchs
    mask = torch.zeros(case.seen().shape, dtype=dtype).masked_fill(~case.seen(), -math.inf) + (bias[0] if bias else 0)
    scale = 1.0 if case.options.get("score") == ops.Dot() else None
    theirs = torch.nn.functional.scaled_dot_product_attention(
        query, case.grouped(key), case.grouped(value), attn_mask=mask, scale=scale
    )
    truth = case.attention(*exact, engine="reference")
    quantum = torch.finfo(dtype).eps
    pairs = [(out, theirs, truth, 2.0)]
    if truth.any():
        g = [gradients(x, t) for x, t in ((out, ours), (theirs, pytorchs), (truth, exact))]
        pairs += [(a, b, c, 3.0) for a, b, c in zip(*g, strict=True)]
    for mine, his, true, factor in pairs:
        room = factor * (his.double() - true).abs().max() + 4 * quantum * true.abs().max().clamp_min(1)
        assert (mine.double() - true).abs().max() <= room


@cases
def test_inputs_are_left_alone(case):
    operands = case.operands()
    before = [t.clone() for t in operands]
    case.attention(*operands)
    assert all(torch.equal(a, b) for a, b in zip(operands, before, strict=True))


@pytest.mark.parametrize(
    "name", ["softmax(scaled dot)", "causal", "causal & lengths", "mask", "bias, causal", "bias of keys"]
)
@engines
def test_gradcheck(name, engine):
    case = CASES[name]
    operands = tuple(t[:1, ..., :2] if t.dim() == 4 and t.shape[-1] in (D, E) else t for t in case.operands())
    if name in ("mask", "causal & lengths"):
        operands = tuple(t[..., :2] if t.shape[-1] in (D, E) else t for t in case.operands())
    operands = with_gradients(operands)
    assert torch.autograd.gradcheck(lambda *x: case.attention(*x, engine=engine), operands)
    if engine == "reference":
        assert torch.autograd.gradgradcheck(lambda *x: case.attention(*x, engine=engine), operands)


@cases
def test_a_batch_is_its_samples_one_by_one(case):
    query, key, value, *bias = case.operands()
    out = case.attention(query, key, value, *bias)
    seen = case.seen()
    for b in range(len(query)):
        extra = bias[0].expand(seen.shape)[b : b + 1] if bias else None
        alone = heedful.attention(
            query[b : b + 1], key[b : b + 1], value[b : b + 1], bias=extra,
            score=case.options.get("score", ops.ScaledDot()), pattern=ops.Mask(seen[b : b + 1]),
        )  # fmt: skip
        assert_equal(out[b], alone[0])


@cases
def test_tiles_and_threads_play_no_role(case, monkeypatch):
    operands = case.operands()
    out, matrix = case.attention(*operands), case.matrix(*operands)
    entropy, transposed = matrix.entropy(), matrix.T @ operands[0]
    threads = torch.get_num_threads()
    try:
        for tile, count in ((1, 1), (2 * M, 2)):
            monkeypatch.setattr(fused, "_TILE", tile)
            torch.set_num_threads(count)
            again = case.matrix(*operands)
            assert_equal(case.attention(*operands), out)
            assert_equal(again.entropy(), entropy)
            assert_equal(again.T @ operands[0], transposed)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("engine", ["fused", "reference"])
@pytest.mark.parametrize("axes", [(), (2,), (2, 3, 5), (2, 3, 5, 7)], ids=len)
@pytest.mark.parametrize(
    "pattern", [ops.Global(), ops.Causal("end"), ops.Lengths(3)], ids=["global", "causal", "lengths"]
)
def test_any_number_of_leading_axes(axes, engine, pattern):
    query, key, value = (torch.randn(*axes, n, d, dtype=torch.float64) for n, d in ((11, 13), (17, 13), (17, 19)))
    out = heedful.attention(query, key, value, pattern=pattern, engine=engine)
    assert out.shape == (*axes, 11, 19)
    flat = [t.reshape(-1, 1, *t.shape[-2:]) for t in (query, key, value)]
    assert_equal(out.reshape(-1, 1, 11, 19), heedful.attention(*flat, pattern=pattern))


def test_one_vector_against_a_hundred_keys():
    out = heedful.attention(torch.randn(1, 128), torch.randn(100, 128), torch.randn(100, 128))
    assert out.shape == (1, 128)


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_leading_axes_broadcast(engine):
    query, key = torch.randn(2, 3, 6, 5, 7, dtype=torch.float64), torch.randn(3, 2, 11, 7, dtype=torch.float64)
    key = key[None]
    lengths = torch.tensor([[3, 0, 11], [7, 5, 2]])
    out = heedful.attention(query, key, key, pattern=ops.Lengths(lengths), engine=engine)
    for a, b in itertools.product(range(2), range(3)):
        expected = heedful.attention(
            query[a, b][None], key[0, b][None], key[0, b][None], pattern=ops.Lengths(lengths[a, b])
        )
        assert_equal(out[a, b], expected[0])


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_no_keys_and_no_queries(engine):
    nothing = torch.randn(2, 3, 0, 5)
    some = torch.randn(2, 3, 7, 5)
    assert not heedful.attention(some, nothing, nothing, engine=engine).any()
    assert heedful.attention(nothing, some, some, engine=engine).shape == (2, 3, 0, 5)
    assert (heedful.AttentionMatrix(some, nothing).lse() == -math.inf).all()


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_a_bias_of_minus_infinity_hides(engine):
    query, key, value = torch.randn(3, 2, 5, 7), torch.randn(3, 2, 11, 7), torch.randn(3, 2, 11, 13)
    bias = torch.zeros(5, 11)
    bias[2] = -math.inf
    bias[:, 4] = -math.inf
    pattern = ops.Mask(bias == 0)
    out = heedful.attention(query, key, value, bias=bias, engine=engine)
    assert_equal(out, heedful.attention(query, key, value, pattern=pattern, engine=engine), 1e-6)
    assert not out[:, :, 2].any()
    assert (heedful.AttentionMatrix(query, key, bias=bias).entropy()[..., 2] == 0).all()
