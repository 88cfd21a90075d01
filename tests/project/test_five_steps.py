"""`docs/add-a-mechanism.md` as it stands: its classes, added from outside, keep the laws of every mechanism."""

import contextlib
import doctest
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


def read_page():
    """What the code blocks of the page define; they print what the page says."""
    test = doctest.DocTestParser().get_doctest(PAGE.read_text(), {"__name__": "page"}, PAGE.name, str(PAGE), 0)
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), io.StringIO()
    with contextlib.redirect_stdout(said):
        results = runner.run(test, clear_globs=False)
    assert results.failed == 0 and results.attempted >= 20, said.getvalue()
    return test.globs


PAGES = read_page()
TABLE = torch.linspace(-1, 1, 3 * H, dtype=torch.float64).view(H, 3)

# the options, those of the naive twin, and the engines that take it
CASES = {
    "score": ({"score": PAGES["Quadratic"]()}, {"score": PAGES["quadratic"]}, {"fused", "tiled", "reference"}),
    "normaliser": ({"normalize": PAGES["SquaredRelu"]()}, {"normalize": PAGES["squared_relu"]}, {"tiled", "reference"}),
    "pattern": (
        {"pattern": PAGES["Chunks"](3)}, {"visible": PAGES["chunks"]}, {"fused", "banded", "tiled", "reference"},
    ),
    "bias": ({"bias": PAGES["Periodic"](TABLE)}, {"bias": PAGES["periodic"](TABLE)}, {"fused", "tiled", "reference"}),
    "all four": (
        {
            "score": PAGES["Quadratic"](), "normalize": PAGES["SquaredRelu"](),
            "pattern": PAGES["Chunks"](3), "bias": PAGES["Periodic"](TABLE),
        },
        {
            "score": PAGES["quadratic"], "normalize": PAGES["squared_relu"],
            "visible": PAGES["chunks"], "bias": PAGES["periodic"](TABLE),
        },
        {"tiled", "reference"},
    ),
}  # fmt: skip
PLAIN = {"score": lambda q, k, h: naive.scaled_dot(q, k), "visible": lambda b, h, i, j: True}
RUNS = [(name, engine) for name, (_, _, engines) in CASES.items() for engine in sorted(engines)]
runs = pytest.mark.parametrize(("name", "engine"), RUNS)


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


@pytest.mark.parametrize("name", CASES)
def test_the_engines_that_take_it(name):
    options, _, expected = CASES[name]
    taken, tensors = set(), [t.detach() for t in operands()]
    for engine in ("reference", "fused", "banded", "tiled"):
        try:
            heedful.plan(*tensors, **options, engine=engine)
        except ValueError as error:
            assert "cannot compute this" in str(error)
        else:
            taken.add(engine)
    assert taken >= expected
    assert heedful.plan(*tensors, **options).engine in expected
    with pytest.raises(ValueError, match="`engine` 'flex' cannot compute this"):
        heedful.plan(*tensors, **CASES["all four"][0], engine="flex")


@runs
def test_output_and_gradients_equal_the_naive_twin(name, engine):
    options, twin, _ = CASES[name]
    ours, theirs = operands(), operands()
    out = heedful.attention(*ours, **options, engine=engine)
    expected = naive.attention(*theirs, **(PLAIN | twin)).output
    assert_equal(out, expected)
    for mine, his in zip(gradients(out, ours), gradients(expected, theirs), strict=True):
        assert_equal(mine, his)


@runs
def test_an_empty_row_is_zero_and_what_is_hidden_changes_nothing(name, engine):
    options = with_lengths(CASES[name][0], [0, 4])
    query, key, value = operands()
    out = heedful.attention(query, key, value, **options, engine=engine)
    assert not out[0].any() and out[1].any()
    assert all(not g[0].any() for g in torch.autograd.grad(out.sum(), (query, key, value), retain_graph=True))
    with torch.no_grad():
        key[1, :, 4:], value[1, :, 4:] = 1e3, -1e3
    assert torch.equal(out, heedful.attention(query, key, value, **options, engine=engine))


@runs
def test_nan_reaches_only_the_rows_that_may_see_it(name, engine):
    options, bad = with_lengths(CASES[name][0], [N, 4]), 5
    clean, (query, key, value) = heedful.attention(*operands(), **options, engine=engine), operands()
    with torch.no_grad():
        key[:, :, bad, 1] = math.nan
    out = heedful.attention(query, key, value, **options, engine=engine)
    index, pattern = torch.arange(N), options["pattern"]
    sees = pattern.allowed(index[:, None], index[None], (B, H, N, N))[..., bad].expand(B, H, N)
    assert sees.any() and not sees.all()
    assert out[sees].isnan().all()
    assert_equal(out[~sees], clean[~sees])
    (gradient,) = torch.autograd.grad(out[~sees].sum(), query)
    assert gradient[~sees].isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_the_second_derivative_is_right(name):
    options = with_lengths(CASES[name][0], [4, 2])
    tensors = [t.detach()[:, :, :4].requires_grad_() for t in operands()]
    assert torch.autograd.gradgradcheck(lambda *x: heedful.attention(*x, **options), tensors)


def test_the_table_of_the_bias_learns():
    tables = [TABLE.clone().requires_grad_() for _ in range(3)]
    found = []
    for table, engine in zip(tables, (None, "tiled", "reference"), strict=True):
        found.append(heedful.attention(*operands(), bias=PAGES["Periodic"](table), engine=engine))
    expected = TABLE.clone().requires_grad_()
    out = naive.attention(*operands(), **PLAIN, bias=PAGES["periodic"](expected)).output
    (his,) = gradients(out, [expected])
    for table, ours in zip(tables, found, strict=True):
        assert_equal(gradients(ours, [table])[0], his)


def test_a_pattern_from_outside_skips_what_it_says():
    query = torch.zeros(1, 1, 4096, 4)
    plan = heedful.plan(query, query, query, pattern=PAGES["Chunks"](64), engine="tiled")
    assert plan.pairs < 4096**2 / 8


def test_values_from_outside_are_seen_by_transforms():
    query, key, value = (t.detach() for t in operands())
    tables = torch.stack([TABLE, 2 * TABLE])
    bias = PAGES["Periodic"]
    out = torch.func.vmap(lambda table: heedful.attention(query, key, value, bias=bias(table)))(tables)
    for one, table in zip(out, tables, strict=True):
        assert_equal(one, heedful.attention(query, key, value, bias=bias(table)))
