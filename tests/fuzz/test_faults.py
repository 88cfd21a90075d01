"""Faults that were found once, with the inputs that showed them and their relatives: none comes back."""

import itertools
import math

import numpy
import pytest
import torch

import heedful
from heedful import nn
from tests.fuzz.cases import Case, Numbers
from tests.fuzz.check import problems_of
from tests.reference import dense

GRIDS = ((14, 14), (15, 15), (20, 17), (24, 24), (28, 28), (30, 40), (7, 64), (16, 16), (32, 32))


def case(
    N,
    M=None,
    lead=(1,),
    heads=(2, 2),
    widths=(8, 8, 8),
    dtype="float64",
    layouts=("plain",) * 3,
    values="normal",
    **parts,
):
    """`heads` are those of the query and of the keys, `widths` those of query, key and value."""
    (H, G), (D, K, E), M = heads, widths, N if M is None else M
    operands = (Numbers((*lead, h, n, w), True, dtype=dtype) for h, n, w in ((H, N, D), (G, M, K), (G, M, E)))
    return Case(5, dtype, *operands, layouts=layouts, values=values, **parts)


def assert_fine(some):
    assert not problems_of(some), str(some)


def learned(*sizes, kind="normal", dtype="float64"):
    return Numbers(sizes, True, kind, dtype)


@pytest.mark.parametrize(
    "bias",
    [
        ("per key", learned(4, 5)),
        ("per key", learned(3, 4, 5)),
        ("tensor", learned(4, 1, 5)),
        ("low rank", learned(5, 2), learned(4, 5, 2)),
        ("low rank", learned(4, 5, 2), learned(3, 4, 5, 2)),
        ("low rank", learned(1, 2), learned(4, 1, 2)),
        ("sum", ("per key", learned(4, 5)), ("low rank", learned(5, 2), learned(5, 2))),
    ],
)
@pytest.mark.parametrize("lead", [(1,), (3,)])
@pytest.mark.parametrize("normalize", ["softmax", "softmax1", "sparsemax", "linear"])
def test_biases_that_learn_with_grouped_heads(bias, lead, normalize):
    """The key got the bias's heads and the value kept its own: memory was read out of bounds."""
    if lead == (1,) and any(n.sizes[0] == 3 for n in bias[1:] if isinstance(n, Numbers)):
        lead = (3,)
    assert_fine(case(5, lead=lead, heads=(4, 2), bias=bias, normalize=(normalize,)))


def test_a_layer_with_few_key_heads_and_a_bias_that_learns():
    torch.manual_seed(0)
    layer, x = nn.MultiHeadAttention(16, 4, key_heads=2), torch.randn(3, 5, 16)
    bias = torch.randn(4, 5, requires_grad=True)
    torch.testing.assert_close(layer(x, bias=heedful.PerKey(bias)), layer(x, bias=heedful.PerKey(bias.detach())))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", ["local", "causal", "tokens", "dilated"])
def test_a_grid_with_what_lies_in_a_row(grid, kind):
    """What is a shift on the grid is none in the row, and the other way round."""
    rows, columns = grid
    pattern = {
        "local": ("or", ("neighborhood", (3, 3), grid), ("local", columns, None, None)),
        "causal": ("or", ("neighborhood", (3, 3), grid), ("and", ("local", columns, None, None), ("causal", None))),
        "tokens": ("or", ("neighborhood", (3, 3), grid), ("tokens", [0, columns + 1], None)),
        "dilated": ("and", ("dilated", 20, None, 3, None), ("neighborhood", (9, 9), grid)),
    }[kind]
    assert_fine(case(rows * columns, heads=(1, 1), widths=(4, 4, 4), pattern=pattern))


@pytest.mark.parametrize("scale", [-0.5, 0.0, -1.0, learned(2, 1, 1), learned(2, 1, 1, kind="zero")])
@pytest.mark.parametrize("score", ["scaled dot", "dot", "cosine", "gaussian"])
@pytest.mark.parametrize("align", [None, "start", "end"])
def test_scales_that_are_not_positive(scale, score, align):
    """-inf times a negative scale is inf, and times 0 it is NaN."""
    score = (score, 1.0) if score == "gaussian" else (score,)
    M = 9 if align is None else 6
    assert_fine(case(9, M, pattern=("causal", align), scale=scale, score=score, matrix=True))
    assert_fine(case(40, pattern=("and", ("causal", None), ("local", 2, None, None)), scale=scale, score=score))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("scale", [-0.5, 0.0])
def test_scales_that_are_not_positive_in_other_dtypes(dtype, scale):
    assert_fine(case(9, pattern=("causal", None), scale=scale, dtype=dtype))


@pytest.mark.parametrize("scale", [-0.5, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("N", [9, 63, 64, 70])
def test_scales_that_are_not_positive_without_a_gradient(scale, dtype, N):
    """Then PyTorch's public kernel serves, where there are not few positions."""
    torch.manual_seed(0)
    operands = [torch.randn(1, 2, N, 8, dtype=dtype) for _ in range(3)]
    ours = heedful.attention(*operands, pattern=heedful.Causal(), scale=scale)
    right = dense.attention(*(t.double() for t in operands), pattern=("causal", None), scale=scale).output
    torch.testing.assert_close(ours, right.to(dtype))


@pytest.mark.parametrize("heads", [(1, 1), (4, 2)])
@pytest.mark.parametrize("N", [10, 20, 40])
@pytest.mark.parametrize(
    "pattern",
    [
        ("or", ("and", ("causal", None), ("not", ("local", 2, None, None))), ("tokens", [5], None)),
        ("and", ("or", ("causal", None), ("tokens", [7], None)), ("not", ("local", 9, None, None))),
        ("or", ("and", ("causal", None), ("not", ("causal", None))), ("tokens", [9], None)),
    ],
)
def test_a_row_that_sees_nothing_in_one_alternative(pattern, N, heads):
    """It entered the merge of the alternatives with a weight of 1."""
    assert_fine(case(N, heads=heads, pattern=pattern))
    assert_fine(case(N, heads=heads, pattern=pattern, engines=("banded",)))


@pytest.mark.parametrize("engine", [None, "banded"])
@pytest.mark.parametrize("by", ["row", "column", "pair"])
def test_a_row_that_a_mask_empties_in_one_alternative(by, engine):
    torch.manual_seed(0)
    N, token = 105, 43
    operands = [torch.randn(1, 4, N, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    i = torch.arange(N)
    mask = {"row": i[:, None] >= 10, "column": i[None] >= 67, "pair": torch.rand(N, N) < 0.1}[by]
    pattern = (heedful.Causal() | heedful.GlobalTokens([token])) & heedful.Mask(mask)
    words = ("and", ("or", ("causal", None), ("tokens", [token], None)), ("mask", mask))
    ours = heedful.attention(*operands, pattern=pattern, engine=engine)
    right = dense.attention(*operands, pattern=words).output
    torch.testing.assert_close(ours, right)
    pull = torch.randn_like(right)
    for a, b in zip(*(torch.autograd.grad(out, operands, pull) for out in (ours, right)), strict=True):
        torch.testing.assert_close(a, b)


def _by_first_axis(N):
    ids = [[i // 9 for i in range(N)], [i // 23 for i in range(N)]]
    return {
        "lengths": ("lengths", [40, 64]),
        "lengths by both": ("lengths", [[40, 64, 3], [5, 0, 64]]),
        "prefix": ("prefix", [5, 40], None),
        "documents": ("documents", ids, None),
        "documents of one axis and of two": (
            "documents",
            ids,
            [[i, j, i] for i, j in itertools.pairwise([*ids, ids[0]])],
        ),
    }


@pytest.mark.parametrize("kind", list(_by_first_axis(64)))
@pytest.mark.parametrize("other", [None, ("local", 3, None, None), ("causal", None)])
def test_patterns_by_the_first_of_five_axes(kind, other):
    """Only the entry [0, 0] was right."""
    pattern = _by_first_axis(64)[kind]
    pattern = pattern if other is None else ("and", other, pattern)
    some = case(64, lead=(2, 3), heads=(4, 2), widths=(4, 4, 4), pattern=pattern, engines=(None, "banded"))
    assert_fine(some)


@pytest.mark.parametrize("scale", [None, 0.7, torch.tensor(0.7, dtype=torch.float64)])
@pytest.mark.parametrize("kind", ["lengths", "prefix", "mask"])
def test_a_product_with_a_matrix_of_five_axes(kind, scale):
    torch.manual_seed(0)
    q, k = (torch.randn(2, 3, 4, 64, 8, dtype=torch.float64) for _ in range(2))
    x, mask = torch.randn(2, 3, 4, 64, 2, dtype=torch.float64), torch.rand(2, 1, 1, 64, 64) < 0.5
    ours, words = {
        "lengths": (heedful.Lengths(torch.tensor([40, 64])), ("lengths", [40, 64])),
        "prefix": (heedful.Prefix(torch.tensor([5, 40])), ("prefix", [5, 40], None)),
        "mask": (heedful.Mask(mask), ("mask", mask)),
    }[kind]
    A = heedful.AttentionMatrix(q, k, pattern=heedful.Local(3) & ours, scale=scale)
    W = dense.attention(q, k, x, pattern=("and", ("local", 3, None, None), words), scale=scale).weights
    torch.testing.assert_close(A @ x, W @ x)
    torch.testing.assert_close(A.T @ x, W.mT @ x)


@pytest.mark.parametrize("sizes", [(55, 41), (67, 58), (30, 50), (41, 55), (89, 72)])
@pytest.mark.parametrize("engine", [None, "banded"])
def test_documents_that_are_causal_twice(sizes, engine):
    """The kernel's flag stood for both alignments."""
    N, M = sizes
    several = ("documents", [i * 4 // N for i in range(N)], [j * 3 // M for j in range(M)])
    padded = ("documents", [-1] * 22 + [0] * (N - 22), [-1] * 22 + [0] * (M - 22))
    for documents, (a, b) in itertools.product((several, padded), (("start", "end"), ("end", "start"))):
        pattern = ("and", documents, ("and", ("causal", a), ("causal", b)))
        assert_fine(case(N, M, pattern=pattern, engines=(engine,)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "parts",
    [
        {"bias": ("tensor", learned(64, 64, kind="large", dtype="float32"))},
        {"bias": ("tensor", learned(2, 64, 64, dtype="float32"))},
        {"bias": ("per key", learned(64, kind="large", dtype="float32"))},
        {"bias": ("tensor", Numbers((64, 64), False, "huge", "float32"))},
        {"bias": ("low rank", learned(64, 2, dtype="float32"), learned(64, 2, dtype="float32"))},
        {"scale": learned(2, 1, 1, dtype="float32")},
        {"scale": learned(dtype="float32")},
        {
            "scale": learned(64, 1, dtype="float32"),
            "bias": ("alibi", learned(2, kind="positive", dtype="float32"), None),
        },
    ],
)
def test_half_precision_with_biases_and_scales_in_float32(parts, dtype):
    """They were rounded to the dtype of the query."""
    for pattern in (("global",), ("causal", None), ("local", 5, None, None)):
        assert_fine(case(64, dtype=dtype, pattern=pattern, **parts))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("M", [1, 2, 3, 7, 15, 16, 17, 40])
@pytest.mark.parametrize("pattern", [("global",), ("causal", "end"), ("local", 50, None, "start")])
def test_a_query_that_is_nan(M, dtype, pattern):
    """With few keys the kernel gave 0."""
    assert_fine(case(3, M, pattern=pattern, dtype=dtype, bad=(("query", 11, "nan"),)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("M", [1, 3, 15, 16, 40])
@pytest.mark.parametrize("options", [{}, {"scale": 0.7}, {"pattern": heedful.Causal("end")}], ids=str)
def test_a_query_that_is_nan_without_a_gradient(M, dtype, options):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8, dtype=dtype) for n in (3, M, M))
    q[:, 0, 2] = math.nan
    out = heedful.attention(q, k, v, **options)
    assert out[:, 0, 2].isnan().all()
    assert out[:, 0, :2].isfinite().all()
    assert out[:, 1].isfinite().all()


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("normalize", ["softmax", "softmax1", "sparsemax", "entmax15"])
@pytest.mark.parametrize("where", ["query", "key"])
def test_nan_beside_sinks(normalize, engine, where):
    """A score that is NaN is not more than -inf, and so it counted as hidden."""
    some = case(5, 20, normalize=(normalize,), sinks=learned(2), bad=((where, 11, "nan"),), engines=(engine,))
    assert_fine(some)


@pytest.mark.parametrize("engine", [None, "tiled", "banded", "fused", "reference"])
@pytest.mark.parametrize("normalize", ["softmax", "sparsemax", "relu", "linear"])
@pytest.mark.parametrize("pattern", [("global",), ("causal", "end"), ("local", 2, 0, "start")])
def test_a_query_that_is_nan_times_a_scale_of_zero(pattern, normalize, engine):
    """A product that is to be multiplied by 0 is not computed, and 0 x NaN is NaN."""
    for dtype in ("float32", "float64"):
        bad = (("query", 11, "nan"),)
        some = case(5, 20, pattern=pattern, normalize=(normalize,), scale=0.0, bad=bad, engines=(engine,), dtype=dtype)
        assert_fine(some)


@pytest.mark.parametrize("kind", ["tensor", "matrix", "per key", "low rank"])
@pytest.mark.parametrize("engine", [None, "reference", "tiled"])
@pytest.mark.parametrize("where", ["key", "value"])
def test_a_bias_that_hides_what_is_nan(kind, engine, where):
    """-inf in a bias hides as a pattern does."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 6, 4, dtype=torch.float64) for _ in range(3))
    numbers = torch.randn(6, dtype=torch.float64).index_fill(0, torch.tensor([2]), -math.inf)
    bias = {
        "tensor": numbers,
        "matrix": numbers.expand(6, 6).clone().index_fill(0, torch.tensor([5]), 0.5),  # of which the last row sees all
        "per key": heedful.PerKey(numbers),
        "low rank": heedful.LowRank(torch.ones(6, 1).double(), numbers[:, None]),
    }[kind]
    added = bias if torch.is_tensor(bias) else numbers
    right = dense.attention(q, k, v, bias=("tensor", added)).output
    (k if where == "key" else v)[:, :, 2] = math.nan
    out = heedful.attention(q, k, v, bias=bias, engine=engine)
    rows = 5 if kind == "matrix" else 6
    torch.testing.assert_close(out[..., :rows, :], right[..., :rows, :])
    assert out[..., rows:, :].isnan().all()


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_additive_scores_that_are_exactly_zero(engine, dtype):
    """A row without a positive score is empty, and 1e-8 is positive."""
    score = ("additive", learned(8, dtype=dtype))
    some = case(7, 20, score=score, normalize=("proportional",), dtype=dtype, values="opposite", engines=(engine,))
    assert_fine(some)


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_rows_whose_only_additive_score_is_exactly_zero(size, dtype, engine):
    torch.manual_seed(0)
    query, value, weight = (torch.randn(sizes, dtype=dtype) for sizes in ((50, 37), (50, 3), (37,)))
    query *= size
    options = {"score": heedful.Additive(weight), "normalize": heedful.proportional, "engine": engine}
    out = heedful.attention(query, -query, value, pattern=heedful.Local(0), **options)
    assert not out.any()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("engine", [None, "reference"])
def test_an_alpha_that_is_pushed_below_one(engine, learns):
    """It counts as 1, where entmax is softmax."""
    torch.manual_seed(0)
    alpha = torch.tensor(1.02, dtype=torch.float64, requires_grad=learns)
    normalize = heedful.entmax(alpha)
    q, k, v = (torch.randn(3, 40, 4, dtype=torch.float64) for _ in range(3))
    with torch.no_grad():
        alpha.sub_(0.3)
    out = heedful.attention(q, k, v, normalize=normalize, engine=engine)
    torch.testing.assert_close(out, heedful.attention(q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bandwidth_that_is_tiny(dtype):
    q, k, v = (torch.randn(3, 5, 4, dtype=dtype, requires_grad=True) for _ in range(3))
    for bandwidth in (1e-20, torch.tensor(1e-20, dtype=dtype, requires_grad=True)):
        out = heedful.attention(q, k, v, score=heedful.Gaussian(bandwidth))
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), [q, k, v]))


@pytest.mark.parametrize("grid", [(5, 5), (9, 4), (13, 3), (1, 5), (1, 30), (30, 1), (1, 1), (5, 40), (17, 20)])
@pytest.mark.parametrize("engine", [None, "banded"])
def test_one_head_on_a_grid(grid, engine):
    """Strides of nothing: "refer to a single memory location"."""
    pattern = ("neighborhood", (3, 3), grid)
    for both in (pattern, ("and", pattern, ("causal", None)), ("or", pattern, ("local", 1, None, None))):
        assert_fine(case(math.prod(grid), heads=(1, 1), pattern=both, engines=(engine,)))


@pytest.mark.parametrize("M", [1, 2, 9, 40])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_one_query_with_a_dilated_window_of_a_cache(M, dilation):
    window = ("dilated", 4, 0, dilation, "end")
    for pattern in (window, ("and", ("causal", "end"), window), ("or", window, ("tokens", [0], "keys"))):
        assert_fine(case(1, M, pattern=pattern))
        assert_fine(case(1, M, pattern=pattern, heads=(1, 1), engines=(None, "banded")))


@pytest.mark.parametrize(
    "parts",
    [
        {"bias": ("tensor", learned(9, 9))},
        {"bias": ("per key", learned(9))},
        {"bias": ("alibi", 2, None)},
        {"bias": ("low rank", learned(9, 2), learned(9, 2))},
        {"score": ("additive", learned(8))},
        {"score": ("additive", learned(8)), "normalize": ("sparsemax",), "dropout": 0.5},
        {"score": ("gaussian", 1.0), "normalize": ("relu",)},
        {},
    ],
)
@pytest.mark.parametrize("align", [None, "keys"])
def test_no_tokens(parts, align):
    nobody = ("tokens", [], align)
    for pattern in (
        nobody,
        ("or", nobody, ("local", 1, None, None)),
        ("and", nobody, ("causal", None)),
        ("not", nobody),
    ):
        assert_fine(case(9, pattern=pattern, **parts))


_BIASES = {
    "none": lambda B, N, M: None,
    "tensor": lambda B, N, M: ("tensor", learned(B, 4, N, M)),
    "per key": lambda B, N, M: ("per key", learned(4, M)),
    "per query": lambda B, N, M: ("per query", learned(N)),
    "low rank": lambda B, N, M: ("low rank", learned(4, N, 2), learned(M, 2)),
    "alibi": lambda B, N, M: ("alibi", learned(4, kind="positive"), "end"),
    "relative": lambda B, N, M: ("relative", learned(4, 5), "clip", 128, True, "end"),
}


@pytest.mark.parametrize("sizes", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (0, 0, 0), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("bias", list(_BIASES))
def test_sizes_of_nothing(sizes, bias):
    B, N, M = sizes
    for pattern in (("global",), ("causal", "end"), ("local", 2, None, "start"), ("dilated", 1, None, 2, "end")):
        for heads in ((4, 4), (4, 2)):
            assert_fine(case(N, M, lead=(B,), heads=heads, pattern=pattern, bias=_BIASES[bias](B, N, M)))
    assert_fine(
        case(
            N, M, lead=(B,), heads=(4, 2), bias=_BIASES[bias](B, N, M), normalize=("entmax15",), scale=learned(4, 1, 1)
        )
    )
    alpha = learned(kind="alpha")  # which only the definition knows
    assert_fine(case(N, M, lead=(B,), heads=(4, 2), bias=_BIASES[bias](B, N, M), normalize=("entmax", alpha)))


@pytest.mark.parametrize("widths", [(0, 0, 3), (3, 3, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("engine", [None, "banded", "tiled"])
def test_widths_of_nothing(widths, engine):
    for pattern in (("global",), ("causal", None), ("tokens", [3, 5], None), ("local", 1, None, None)):
        for normalize in ("softmax", "sparsemax"):
            some = case(9, heads=(4, 2), widths=widths, pattern=pattern, normalize=(normalize,), engines=(engine,))
            assert_fine(some)


@pytest.mark.parametrize("engine", [None, "tiled"])
def test_documents_of_no_samples(engine):
    query = torch.randn(0, 2, 5, 4, requires_grad=True)
    ids = torch.zeros(0, 5, dtype=torch.long)
    for pattern in (heedful.Documents(ids), heedful.Documents(ids, ids) & heedful.Causal(), heedful.Lengths(ids[:, 0])):
        out = heedful.attention(query, query, query, pattern=pattern, engine=engine)
        assert out.shape == (0, 2, 5, 4)
        out.sum().backward()


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("K", [3, 8, 11])
def test_bilinear_scores_of_another_width_with_features_that_learn(K, heads):
    for bias in (
        ("low rank", learned(9, 2), learned(9, 2)),
        ("low rank", learned(4, 9, 2), learned(9, 2)),
        ("per key", learned(4, 9)),
    ):
        for W in (learned(8, K), learned(4, 8, K)):
            assert_fine(case(9, heads=heads, widths=(8, K, 5), score=("bilinear", W), bias=bias))


@pytest.mark.parametrize("rank", [2, 17, 20])
@pytest.mark.parametrize(("D", "K"), [(20, 3), (3, 20)])
def test_bilinear_scores_of_another_width_with_many_features(D, K, rank):
    """The engine was chosen by the width of the query, and columns were made by that of its features."""
    bias = ("low rank", learned(9, rank), learned(9, rank))
    assert_fine(case(9, widths=(D, K, 5), score=("bilinear", learned(D, K)), bias=bias))


@pytest.mark.parametrize("engine", [None, "tiled", "banded", "reference"])
def test_documents_of_unlike_axes(engine):
    """Ids of one leading axis with key ids of two: each lines up with the first axes by itself."""
    ids, key_ids = [[0, 0, 1, 1], [2, 2, 2, 0]], [[[0, 1, 1, 2, 2]] * 3] * 2
    assert_fine(case(4, 5, lead=(2, 3), pattern=("documents", ids, key_ids), engines=(engine,)))
    assert_fine(case(4, 5, lead=(3, 2), pattern=("documents", [0, 1, 1, 2], [[0, 1, 1, 2, 2]] * 3), engines=(engine,)))


@pytest.mark.parametrize("engine", [None, "tiled", "reference"])
def test_sinks_where_only_the_value_has_a_batch(engine):
    some = case(9, 4, heads=(3, 3), sinks=learned(2, 3), engines=(engine,))
    value = some.value._replace(sizes=(2, *some.value.sizes[1:]))
    assert_fine(Case(**vars(some) | {"value": value}))


def test_the_gradient_of_lse_where_weights_are_alike():
    """Scores that differ by less than a weight can show: the largest score and the largest weight were two keys'."""
    query = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    key = torch.tensor([[1e-17], [-1e-17], [-1.0]], dtype=torch.float64)
    for options in ({}, {"softcap": 5.0}, {"scale": torch.ones(1, dtype=torch.float64)}):
        A = heedful.AttentionMatrix(query, key, score=heedful.Dot(), **options)
        (ours,) = torch.autograd.grad(A.lse().sum(), query)
        scores, cap = query @ key.mT, options.get("softcap")
        scores = scores if cap is None else cap * (scores / cap).tanh()
        (right,) = torch.autograd.grad(scores.logsumexp(-1).sum(), query)
        torch.testing.assert_close(ours, right, rtol=1e-6, atol=1e-12)


def test_numbers_of_numpy():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 6, 4) for _ in range(3))
    three, half = numpy.int64(3), numpy.float32(0.5)
    for given, plain in (
        ({"pattern": heedful.Local(three, three)}, {"pattern": heedful.Local(3, 3)}),
        ({"pattern": heedful.Dilated(three, dilation=numpy.int64(2))}, {"pattern": heedful.Dilated(3, dilation=2)}),
        ({"pattern": heedful.Lengths(three)}, {"pattern": heedful.Lengths(3)}),
        ({"pattern": heedful.Prefix(three)}, {"pattern": heedful.Prefix(3)}),
        ({"pattern": heedful.GlobalTokens(numpy.array([0, 2]))}, {"pattern": heedful.GlobalTokens([0, 2])}),
        ({"scale": half}, {"scale": 0.5}),
        ({"dropout": half, "seed": three}, {"dropout": 0.5, "seed": 3}),
    ):
        assert torch.equal(heedful.attention(q, k, v, **given), heedful.attention(q, k, v, **plain))


def test_flex_takes_ids_of_all_samples_and_sizes_of_nothing():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 12, 4) for _ in range(3))
    ids = torch.arange(12)[None] // 5
    out = heedful.attention(q, k, v, pattern=heedful.Documents(ids), engine="flex")
    torch.testing.assert_close(out, heedful.attention(q, k, v, pattern=heedful.Documents(ids), engine="reference"))
    for t in (q[:0], q[..., :0, :]):
        assert heedful.attention(t, t, t, engine="flex").shape == t.shape


@pytest.mark.parametrize("low", [-1e4, -1e30, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_gradients_of_rows_whose_bias_is_low_throughout(low, heads):
    """As of padding that is masked by a large number: its log-sum-exp takes no other in, and weights made of it add up to M."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, h, 9, 4, requires_grad=True) for h in (heads[0], heads[1], heads[1]))
    bias = torch.zeros(2, 1, 9, 9).index_fill(-2, torch.tensor([1, 5]), low)
    slopes = [
        torch.autograd.grad(heedful.attention(q, k, v, bias=bias, engine=engine).square().sum(), (q, k, v))
        for engine in (None, "reference")
    ]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)


def test_a_sum_of_biases_in_half_precision_is_added_in_float32():
    """A large number of each query takes the digits of the others in float16."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 4).half() for _ in range(3))
    first, second = torch.randn(2, 9, 9).half(), heedful.PerQuery(torch.full((2, 9), 3000.0).half())
    out = heedful.attention(q, k, v, bias=second + first)
    right = heedful.attention(
        q.double(), k.double(), v.double(), bias=first.double()
    )  # a row does not feel its own number
    torch.testing.assert_close(out.double(), right, rtol=5e-3, atol=5e-3)


def test_nan_among_keys_of_another_width_than_queries_of_none():
    q, k, v = torch.zeros(1, 2, 5, 0), torch.full((1, 2, 7, 3), math.nan), torch.randn(1, 2, 7, 3)
    out = heedful.attention(q, k, v, score=heedful.Bilinear(torch.zeros(0, 3)), pattern=heedful.Lengths(6))
    assert out.isnan().all()
