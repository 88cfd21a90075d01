"""`docs/add-a-mechanism.md` as it stands: its classes, added from outside, keep the laws of every mechanism."""

import contextlib
import doctest
import functools
import io
import math
from pathlib import Path

import pytest
import torch

import heedful
from heedful import ops
from tests.reference import naive

PAGE = Path(__file__).parents[2] / "docs" / "add-a-mechanism.md"
B, H, N, D, E = 2, 2, 7, 3, 5


TABLE = torch.linspace(-1, 1, 3 * H, dtype=torch.float64).view(H, 3)
ENGINES = {
    "score": {"fused", "tiled", "reference"},
    "normalizer": {"tiled", "reference"},
    "pattern": {"fused", "banded", "tiled", "reference"},
    "bias": {"fused", "tiled", "reference"},
    "all four": {"tiled", "reference"},
}
PLAIN = {"score": lambda q, k, h: naive.scaled_dot(q, k), "visible": lambda b, h, i, j: True}
cases = pytest.mark.parametrize("name", ENGINES)
runs = pytest.mark.parametrize(("name", "engine"), [(name, e) for name in ENGINES for e in sorted(ENGINES[name])])


@functools.cache
def page():
    """What the code blocks of the page define, after they printed what the page says."""
    test = doctest.DocTestParser().get_doctest(PAGE.read_text(), {"__name__": "page"}, PAGE.name, str(PAGE), 0)
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), io.StringIO()
    with contextlib.redirect_stdout(said):
        results = runner.run(test, clear_globs=False)
    assert results.failed == 0, said.getvalue()
    assert results.attempted >= 20
    return test.globs


@functools.cache
def table():
    """For each case the options of attention, and those of the naive twin."""
    here = page()
    ours = {
        "score": {"score": here["Quadratic"]()},
        "normalizer": {"normalize": here["SquaredRelu"]()},
        "pattern": {"pattern": here["Chunks"](3)},
        "bias": {"bias": here["Periodic"](TABLE)},
    }
    twins = {
        "score": {"score": here["quadratic"]},
        "normalizer": {"normalize": here["squared_relu"]},
        "pattern": {"visible": here["chunks"]},
        "bias": {"bias": here["periodic"](TABLE)},
    }
    for all_of in (ours, twins):
        all_of["all four"] = {option: value for part in all_of.values() for option, value in part.items()}
    return {name: (ours[name], twins[name]) for name in ENGINES}


def operands(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(B, heads, n, width, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads, width in ((H, D), (1, D), (1, E))
    ]


def with_lengths(options, lengths):
    """The pattern of a case, and of each sample the first few keys only."""
    return options | {"pattern": options.get("pattern", ops.Global()) & ops.Lengths(torch.tensor(lengths))}


def gradients(out, tensors):
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    return torch.autograd.grad(out, tensors, weights)


def assert_equal(ours, theirs, tolerance=1e-11):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@runs
def test_engines_take_it(name, engine):
    options, tensors = table()[name][0], [t.detach() for t in operands()]
    assert heedful.plan(*tensors, **options, engine=engine).engine == engine
    assert heedful.plan(*tensors, **options).engine in ENGINES[name]


@pytest.mark.parametrize("engine", ["fused", "banded", "flex"])
def test_engines_refuse_what_they_cannot_compute(engine):
    with pytest.raises(ValueError, match=f"`engine` '{engine}' cannot compute this: "):
        heedful.plan(*operands(), **table()["all four"][0], engine=engine)


@runs
def test_output_and_gradients_equal_the_naive_twin(name, engine):
    options, twin = table()[name]
    ours, theirs = operands(), operands()
    out = heedful.attention(*ours, **options, engine=engine)
    expected = naive.attention(*theirs, **(PLAIN | twin)).output
    assert_equal(out, expected)
    for mine, his in zip(gradients(out, ours), gradients(expected, theirs), strict=True):
        assert_equal(mine, his)


@runs
def test_an_empty_row_is_zero_and_what_is_hidden_changes_nothing(name, engine):
    options = with_lengths(table()[name][0], [0, 4])
    query, key, value = operands()
    out = heedful.attention(query, key, value, **options, engine=engine)
    assert not out[0].any()
    assert out[1].any()
    assert all(not g[0].any() for g in torch.autograd.grad(out.sum(), (query, key, value), retain_graph=True))
    with torch.no_grad():
        key[1, :, 4:], value[1, :, 4:] = 1e3, -1e3
    assert torch.equal(out, heedful.attention(query, key, value, **options, engine=engine))


@runs
def test_nan_reaches_only_the_rows_that_may_see_it(name, engine):
    options, bad = with_lengths(table()[name][0], [N, 4]), 5
    clean, (query, key, value) = heedful.attention(*operands(), **options, engine=engine), operands()
    with torch.no_grad():
        key[:, :, bad, 1] = math.nan
    out = heedful.attention(query, key, value, **options, engine=engine)
    index, pattern = torch.arange(N), options["pattern"]
    sees = pattern.allowed(index[:, None], index[None], (B, H, N, N))[..., bad].expand(B, H, N)
    assert sees.any()
    assert not sees.all()
    assert out[sees].isnan().all()
    assert_equal(out[~sees], clean[~sees])
    (gradient,) = torch.autograd.grad(out[~sees].sum(), query)
    assert gradient[~sees].isfinite().all()


@cases
def test_the_second_derivative_is_right(name):
    options = with_lengths(table()[name][0], [4, 2])
    tensors = [t.detach()[..., :4, :2].requires_grad_() for t in operands()]
    assert torch.autograd.gradgradcheck(lambda *x: heedful.attention(*x, **options), tensors, fast_mode=True)


def test_the_table_of_the_bias_learns():
    learns = TABLE.clone().requires_grad_()
    (expected,) = gradients(naive.attention(*operands(), **PLAIN, bias=page()["periodic"](learns)).output, [learns])
    for engine in (None, "tiled", "reference"):
        out = heedful.attention(*operands(), bias=page()["Periodic"](learns), engine=engine)
        assert_equal(gradients(out, [learns])[0], expected)


def test_a_pattern_from_outside_skips_what_it_says():
    query = torch.zeros(1, 1, 4096, 4)
    plan = heedful.plan(query, query, query, pattern=page()["Chunks"](64), engine="tiled")
    assert plan.pairs < 4096**2 / 8


def test_values_from_outside_are_seen_by_transforms():
    query, key, value = (t.detach() for t in operands())
    tables = torch.stack([TABLE, 2 * TABLE])
    bias = page()["Periodic"]
    out = torch.func.vmap(lambda t: heedful.attention(query, key, value, bias=bias(t)))(tables)
    for one, t in zip(out, tables, strict=True):
        assert_equal(one, heedful.attention(query, key, value, bias=bias(t)))
