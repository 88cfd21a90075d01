"""Mechanisms put together at random: every engine gives what the definition gives, and the definition what loops give."""

import math
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings

import heedful
from heedful import ops
from heedful.ops import _random
from heedful.ops._tree import tensors
from heedful.ops.biases import as_bias
from tests.reference import naive

B, D, E = 2, 3, 5
GRID = (2, 3)
CELLS = 6  # as many queries as keys, so that every pattern fits


class Part(NamedTuple):
    """One choice on one axis: ours, and the naive twin."""

    ours: Any
    twin: Any


def numbers(*sizes: int) -> torch.Tensor:
    """Drawn from PyTorch's generator, which each example sets."""
    return torch.randn(sizes, dtype=torch.float64).requires_grad_()


def positive(*sizes: int) -> torch.Tensor:
    return (0.5 + torch.rand(sizes, dtype=torch.float64)).requires_grad_()


def same(score, *parameters):
    return lambda q, k, h: score(q, k, *parameters)


def each_row(rule, *parameters):
    return lambda s, h, i: rule(s, *parameters)


def of_pairs(tensor, heads):
    return lambda b, h, i, j: tensor.expand(B, heads, CELLS, CELLS)[b, h, i, j]


SCORES = {
    "scaled dot": lambda H: Part(ops.ScaledDot(), same(naive.scaled_dot)),
    "dot": lambda H: Part(ops.Dot(), same(naive.dot)),
    "bilinear": lambda H: Part(ops.Bilinear(w := numbers(H, D, D)), lambda q, k, h: naive.bilinear(q, k, w[h])),
    "additive": lambda H: Part(ops.Additive(w := numbers(D)), same(naive.additive, w)),
    "additive, heads": lambda H: Part(ops.Additive(w := numbers(H, D)), lambda q, k, h: naive.additive(q, k, w[h])),
    "cosine": lambda H: Part(ops.Cosine(), same(naive.cosine)),
    "gaussian": lambda H: Part(ops.Gaussian(b := positive(H)), lambda q, k, h: naive.gaussian(q, k, b[h])),
}
NORMALIZERS = {
    "softmax": lambda H: Part(ops.softmax, each_row(naive.softmax)),
    "softmax1": lambda H: Part(ops.softmax1, each_row(naive.softmax1)),
    "relu": lambda H: Part(ops.relu, each_row(naive.relu)),
    "proportional": lambda H: Part(ops.proportional, each_row(naive.proportional)),
    "sigmoid": lambda H: Part(ops.sigmoid, each_row(naive.sigmoid)),
    "sigmoid, learned": lambda H: Part(
        ops.Sigmoid(b := numbers(H, 1, 1)), lambda s, h, i: naive.sigmoid(s, b[h, 0, 0])
    ),
    "linear": lambda H: Part(ops.linear, each_row(naive.linear)),
    "sparsemax": lambda H: Part(ops.sparsemax, each_row(naive.sparsemax)),
    "entmax15": lambda H: Part(ops.entmax15, each_row(naive.entmax15)),
    "entmax": lambda H: Part(ops.entmax(1.25), each_row(naive.entmax, 1.25)),
    "entmax, learned": lambda H: Part(
        ops.entmax(a := (1 + positive(H, 1, 1).detach()).requires_grad_()), lambda s, h, i: naive.entmax(s, a[h, 0, 0])
    ),
}
BIASES = {
    "none": lambda H: Part(None, None),
    "tensor": lambda H: Part(t := numbers(B, H, CELLS, CELLS), of_pairs(t, H)),
    "tensor of keys": lambda H: Part(t := numbers(CELLS), of_pairs(t, H)),
    "hiding": lambda H: Part(t := numbers(H, 1, CELLS).detach().masked_fill(torch.rand(CELLS) < 0.3, -math.inf),
                             of_pairs(t, H)),
    "per key": lambda H: Part(ops.PerKey(t := numbers(H, CELLS)), lambda b, h, i, j: t[h, j]),
    "per query": lambda H: Part(ops.PerQuery(t := numbers(CELLS)), lambda b, h, i, j: t[i]),
    "low rank": lambda H: Part(
        ops.LowRank(u := numbers(H, CELLS, 2), v := numbers(CELLS, 2)), lambda b, h, i, j: naive.dot(u[h, i], v[j])
    ),
    "alibi": lambda H: Part(ops.ALiBi(s := positive(H)), naive.alibi(s)),
    "alibi on a grid": lambda H: Part(ops.ALiBi2d(s := positive(H), GRID), naive.alibi2d(s, GRID[1])),
    "relative": lambda H: Part(ops.RelativeBias(t := numbers(H, 5)), naive.clipped(t)),
    "relative on a grid": lambda H: Part(ops.RelativeBias2d(t := numbers(H, 3, 5), GRID), naive.relative2d(t, GRID)),
    "sum": lambda H: Part(
        ops.ALiBi(s := positive(H)) + (t := numbers(CELLS, 1)), lambda b, h, i, j: naive.alibi(s)(b, h, i, j) + t[i, 0]
    ),
}  # fmt: skip
SCALES = {
    "none": lambda H: Part(None, None),
    "number": lambda H: Part(0.7, lambda h, i: 0.7),
    "heads": lambda H: Part(t := positive(H, 1, 1), lambda h, i: t[h, 0, 0]),
    "rows": lambda H: Part(t := positive(CELLS, 1), lambda h, i: t[i, 0]),
}
SINKS = {
    "none": lambda H: Part(None, None),
    "heads": lambda H: Part(t := numbers(H), lambda h: t[h]),
    "one": lambda H: Part(t := numbers(), lambda h: t),
}
SELECTIONS = {
    "soft": Part(ops.Soft(), naive.soft),
    "hard": Part(ops.Hard(), naive.hard),
    "sampled": Part(ops.Sampled(), naive.straight_through),
    "score function": Part(ops.Sampled("score-function"), naive.score_function),
}


def _mask(bits):
    tensor = torch.tensor(bits).view(CELLS, CELLS)
    return Part(ops.Mask(tensor), lambda b, h, i, j: bool(tensor[i, j]))


LEAVES = {
    "global": lambda: Part(ops.Global(), lambda b, h, i, j: True),
    "causal": lambda: Part(ops.Causal(), naive.causal()),
    "local": lambda *w: Part(ops.Local(*w), naive.local(*w)),
    "dilated": lambda *w: Part(ops.Dilated(*w), naive.dilated(*w)),
    "prefix": lambda n: Part(ops.Prefix(n), naive.prefix([n] * B)),
    "lengths": lambda *n: Part(ops.Lengths(torch.tensor(n)), naive.lengths(n)),
    "documents": lambda x: Part(ops.Documents(torch.tensor(x)), naive.documents([x] * B, [x] * B)),
    "documents of samples": lambda *x: Part(ops.Documents(torch.tensor(x)), naive.documents(x, x)),
    "tokens": lambda x: Part(ops.GlobalTokens(x), naive.tokens(x)),
    "neighborhood": lambda: Part(ops.Neighborhood2d((1, 3), GRID), naive.neighborhood2d(1, 3, GRID[1])),
    "axial": lambda: Part(ops.Axial(GRID), naive.axial(GRID[1])),
    "mask": _mask,
}


def _both(a, b):
    return Part(a.ours & b.ours, lambda *place: a.twin(*place) and b.twin(*place))


def _either(a, b):
    return Part(a.ours | b.ours, lambda *place: a.twin(*place) or b.twin(*place))


def _not(a):
    return Part(~a.ours, lambda *place: not a.twin(*place))


TREES = {"and": _both, "or": _either, "not": _not}


def planted(tree) -> Part:
    """The pattern of a tree of words, for a matrix of 6 x 6."""
    word, *inner = tree
    return LEAVES[word](*inner) if word in LEAVES else TREES[word](*map(planted, inner))


def _leaf(word, *inner):
    return st.tuples(st.just(word), *inner)


_few, _count = st.integers(0, 3), st.integers(0, CELLS)
_ids = st.lists(st.integers(-1, 2), min_size=CELLS, max_size=CELLS)
PATTERNS = st.recursive(
    st.one_of(
        *(_leaf(word) for word in ("global", "causal", "neighborhood", "axial")),
        _leaf("local", _few, _few), _leaf("dilated", _few, _few, st.integers(1, 3)), _leaf("prefix", _count),
        _leaf("lengths", _count, _count), _leaf("documents", _ids), _leaf("documents of samples", _ids, _ids),
        _leaf("tokens", st.lists(st.integers(0, CELLS - 1), max_size=2)),
        _leaf("mask", st.lists(st.booleans(), min_size=CELLS**2, max_size=CELLS**2)),
    ),
    lambda inner: st.one_of(_leaf("and", inner, inner), _leaf("or", inner, inner), _leaf("not", inner)),
    max_leaves=4,
)  # fmt: skip
COMBINATIONS = st.fixed_dictionaries(
    {
        "score": st.sampled_from(sorted(SCORES)),
        "normalize": st.just("softmax") | st.sampled_from(sorted(NORMALIZERS)),  # the engines differ most there
        "pattern": PATTERNS,
        "bias": st.just("none") | st.sampled_from(sorted(BIASES)),
        "scale": st.sampled_from(sorted(SCALES)),
        "softcap": st.sampled_from([None, None, 1.5]),
        "sinks": st.sampled_from(sorted(SINKS)),
        "select": st.just("soft") | st.sampled_from(sorted(SELECTIONS)),
        "dropout": st.sampled_from([0.0, 0.0, 0.4]),
        "heads": st.sampled_from([(1, 1), (2, 2), (2, 1), (4, 2)]),
        "seed": st.integers(0, 2**16),
    }
)


class Combination(NamedTuple):
    """Operands, the options of `heedful.attention` and those of `naive.attention`."""

    operands: tuple[torch.Tensor, ...]
    options: dict[str, Any]
    twin: dict[str, Any]

    def learning(self):
        """All that has a gradient."""
        return [*self.operands, *(t for v in self.options.values() for t in tensors(v) if t.requires_grad)]


def build(chosen) -> Combination:
    heads, groups = chosen["heads"]
    torch.manual_seed(chosen["seed"])
    operands = numbers(B, heads, CELLS, D), numbers(B, groups, CELLS, D), numbers(B, groups, CELLS, E)
    parts = {
        "score": SCORES[chosen["score"]](heads),
        "normalize": NORMALIZERS[chosen["normalize"]](heads),
        "bias": BIASES[chosen["bias"]](heads),
        "scale": SCALES[chosen["scale"]](heads),
        "sinks": SINKS[chosen["sinks"]](heads),
        "select": SELECTIONS[chosen["select"]],
    }
    options = {name: part.ours for name, part in parts.items()}
    pattern = planted(chosen["pattern"])
    options |= {"pattern": pattern.ours, "softcap": chosen["softcap"], "dropout": chosen["dropout"]}
    options["seed"] = seed = chosen["seed"]
    twin = {name: part.twin for name, part in parts.items()}
    twin |= {"visible": pattern.twin, "softcap": chosen["softcap"], "dropout": chosen["dropout"]}
    if options["scale"] is not None and chosen["score"] == "scaled dot":
        twin["score"] = same(naive.dot)
    rows = torch.arange(CELLS)
    twin["uniform"] = _random.uniform(seed, (B, heads), rows)[..., 0] if options["select"].stochastic else None
    twin["keep"] = _random.keep_mask(seed, (B, heads), rows, rows, chosen["dropout"])
    return Combination(operands, options, twin)


def refusal(chosen) -> str | None:
    """What a combination that is none is told."""
    if chosen["select"] in ("sampled", "score function") and chosen["normalize"] == "linear":
        return "`Sampled` needs weights that are not negative: got `normalize` Linear()."
    if chosen["sinks"] != "none" and not NORMALIZERS[chosen["normalize"]](1).ours.normalized:
        return "`sinks` need a normalizer whose rows add up to 1: got "
    return None


def gradients(out, of):
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    if not out.requires_grad:
        return [torch.zeros_like(t) for t in of]
    return torch.autograd.grad(out, of, weights, allow_unused=True, materialize_grads=True)


def assert_alike(ours, theirs, learning):
    """With room for a row whose positive scores add up to little, and a root that is nearly 0."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    for mine, his in zip(gradients(ours, learning), gradients(theirs, learning), strict=True):
        room = 1e-8 * max(his.abs().max().item() if his.numel() else 0.0, 1.0)
        torch.testing.assert_close(mine, his, rtol=1e-7, atol=room)


LONGFORMER = {
    "score": "scaled dot", "normalize": "softmax", "bias": "alibi", "scale": "none", "softcap": None, "sinks": "none",
    "select": "soft", "dropout": 0.0, "heads": (4, 2), "seed": 0,
    "pattern": ("or", ("local", 1, 1), ("tokens", [0])),
}  # fmt: skip
few = settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=250)


@many
@given(COMBINATIONS)
@example(LONGFORMER)
@example(LONGFORMER | {"sinks": "heads", "bias": "low rank"})
@example(LONGFORMER | {"normalize": "entmax, learned", "score": "additive", "softcap": 1.5, "dropout": 0.4})
def test_every_engine_gives_what_the_definition_gives(chosen):
    combination = build(chosen)
    if words := refusal(chosen):
        for engine in (None, "reference"):
            with pytest.raises(ValueError, match="needs? .*: got") as caught:
                heedful.attention(*combination.operands, **combination.options, engine=engine)
            assert str(caught.value).startswith(words)
        return
    learning = combination.learning()
    expected = heedful.attention(*combination.operands, **combination.options, engine="reference")
    for engine in ("fused", "banded", "tiled", None):
        words = None
        try:
            out = heedful.attention(*combination.operands, **combination.options, engine=engine)
        except ValueError as error:
            words = str(error)
        if words is not None:
            assert engine in ("fused", "banded")
            assert words.startswith(f"`engine` {engine!r} cannot compute this: ")
            continue
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-10)
        assert_alike(out, heedful.attention(*combination.operands, **combination.options, engine="reference"), learning)
    with torch.no_grad():
        out = heedful.attention(*combination.operands, **combination.options)
    torch.testing.assert_close(out, expected.detach(), rtol=1e-9, atol=1e-10)


@few
@given(COMBINATIONS)
@example(LONGFORMER)
def test_the_definition_gives_what_loops_give(chosen):
    if refusal(chosen):
        return
    combination = build(chosen)
    out = heedful.attention(*combination.operands, **combination.options, engine="reference")
    found = naive.attention(*combination.operands, **combination.twin)
    assert_alike(out, found.output, combination.learning())


@few
@given(PATTERNS, st.integers(0, 2**16), st.sampled_from(sorted(BIASES)))
def test_parts_of_a_combination_equal_their_twins(tree, seed, bias):
    """Patterns and biases as they are asked by engines: some places, in any order."""
    torch.manual_seed(seed)
    shape, pattern, chosen = (B, 2, CELLS, CELLS), planted(tree), BIASES[bias](2)
    rows, columns = torch.randperm(CELLS)[:4], torch.randperm(CELLS)[:5]
    places = [(b, h, i, j) for b in range(B) for h in range(2) for i in rows.tolist() for j in columns.tolist()]
    allowed = pattern.ours.allowed(rows[:, None], columns[None], shape).expand(B, 2, 4, 5)
    assert allowed.flatten().tolist() == [bool(pattern.twin(*place)) for place in places]
    if chosen.ours is not None:
        added = as_bias(chosen.ours).at(rows[:, None], columns[None], shape).expand(B, 2, 4, 5)
        torch.testing.assert_close(added.flatten(), torch.stack([chosen.twin(*place) for place in places]))
