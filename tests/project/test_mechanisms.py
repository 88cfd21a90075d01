"""`docs/mechanisms.md` names every mechanism that is exported, and the engine that the plan takes for it."""

import inspect
import re
from pathlib import Path

import pytest
import torch

import heedful
from heedful import nn, ops

PAGE = (Path(__file__).parents[2] / "docs" / "mechanisms.md").read_text()
NO_MECHANISM = {
    *(
        "AttentionMatrix",
        "Statistic",
        "WeightTile",
        "Cost",
        "Sample",
        "Plan",
        "attention",
        "attention_weights",
        "sample",
        "plan",
        "reweight",
    ),
    *("Bias", "Normalizer", "Pattern", "RotaryScaling", "Score", "Selection"),  # what they are kinds of
}
ARGUMENTS = {"scale", "softcap", "sinks", "dropout"}
POSITIONS = {name for name in nn.__all__ if name.endswith("Positions") or name.startswith("Learned")}
N, GRID, HEADS, WIDTH = 1024, (32, 32), 8, 8
PAIRS = {"all": lambda pairs, seen: pairs == N * N, "half": lambda pairs, seen: pairs == N * N // 2,
         "visible": lambda pairs, seen: seen <= pairs < 2 * seen + N * 64}  # fmt: skip


def rows():
    """The cells of each row of the page, by the names in the first."""
    found = {}
    for line in PAGE.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            for name in re.findall(r"`(?:nn\.)?(\w+)", cells[0].split(":")[0]):
                assert name not in found, name
                found[name] = cells
    return found


ROWS = rows()


def table(*shape, learns=False):
    return torch.zeros(*shape, requires_grad=learns)


# arguments of `heedful.plan`; biases by whether they learn
EXAMPLES = {
    "ScaledDot": {"score": ops.ScaledDot()},
    "Dot": {"score": ops.Dot()},
    "Bilinear": {"score": ops.Bilinear(torch.eye(WIDTH, requires_grad=True))},
    "Additive": {"score": ops.Additive(torch.ones(WIDTH))},
    "Cosine": {"score": ops.Cosine()},
    "Gaussian": {"score": ops.Gaussian(2.0)},
    **{name: {"normalize": getattr(ops, name)} for name in ("softmax", "softmax1", "relu", "proportional", "sigmoid")},
    **{name: {"normalize": getattr(ops, name)} for name in ("sparsemax", "entmax15", "linear")},
    "Sigmoid": {"normalize": ops.Sigmoid(-2.0)},
    "entmax": {"normalize": ops.entmax(1.3)},
    "Soft": {"select": ops.Soft()},
    "Hard": {"select": ops.Hard()},
    "Sampled": {"select": ops.Sampled()},
    "Global": {"pattern": ops.Global()},
    "Causal": {"pattern": ops.Causal()},
    "Local": {"pattern": ops.Local(32)},
    "Dilated": {"pattern": ops.Dilated(16, dilation=4)},
    "Prefix": {"pattern": ops.Prefix(100)},
    "Lengths": {"pattern": ops.Lengths(500)},
    "Documents": {"pattern": ops.Documents(torch.arange(N) // 100)},
    "GlobalTokens": {"pattern": ops.GlobalTokens([0, 7])},
    "Neighborhood2d": {"pattern": ops.Neighborhood2d(7, GRID)},
    "Axial": {"pattern": ops.Axial(GRID)},
    "Mask": {"pattern": ops.Mask(torch.ones(N, N, dtype=torch.bool).tril(5))},
    "And": {"pattern": ops.Causal() & ops.Local(32)},
    "Or": {"pattern": ops.Local(32) | ops.GlobalTokens([0, 7])},
    "Not": {"pattern": ~ops.Local(32)},
    "scale": {"scale": torch.ones(HEADS, 1, 1, requires_grad=True)},
    "softcap": {"softcap": 20.0},
    "sinks": {"sinks": torch.zeros(HEADS, requires_grad=True)},
    "dropout": {"dropout": 0.1},
    "LearnedRelativeBias": {"bias": nn.LearnedRelativeBias(HEADS, 8)()},
    "LearnedALiBi": {"bias": nn.LearnedALiBi(HEADS)()},
}
BIASES = {
    "TensorBias": lambda learns: ops.TensorBias(table(N, N, learns=learns)),
    "PerKey": lambda learns: ops.PerKey(table(N, learns=learns)),
    "PerQuery": lambda learns: ops.PerQuery(table(N, learns=learns)),
    "LowRank": lambda learns: ops.LowRank(table(N, 3, learns=learns), table(N, 3, learns=learns)),
    "ALiBi": lambda learns: ops.ALiBi(table(HEADS, learns=learns)),
    "ALiBi2d": lambda learns: ops.ALiBi2d(table(HEADS, learns=learns), GRID),
    "RelativeBias": lambda learns: ops.RelativeBias(table(HEADS, 9, learns=learns)),
    "RelativeBias2d": lambda learns: ops.RelativeBias2d(table(HEADS, 63, 63, learns=learns), GRID),
    "Sum": lambda learns: ops.ALiBi(table(HEADS, learns=learns)) + ops.PerKey(table(N)),
}


def planned(**options):
    x = torch.zeros(1, HEADS, N, WIDTH)
    return heedful.plan(x, x, x, **options)


def test_every_mechanism_has_a_row():
    assert set(ops.__all__) >= NO_MECHANISM
    assert set(inspect.signature(heedful.attention).parameters) >= ARGUMENTS
    assert len(POSITIONS) == 5
    assert set(ROWS) == set(ops.__all__) - NO_MECHANISM | ARGUMENTS | POSITIONS
    assert {name for name, cells in ROWS.items() if cells[3] != "any"} == set(EXAMPLES) | set(BIASES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_engine_and_the_pairs_of_a_row(name):
    plan = planned(**EXAMPLES[name])
    _, _, _, engine, cost = ROWS[name]
    assert engine.split()[0] == plan.engine
    assert plan.linear_memory
    index = torch.arange(N)
    pattern = EXAMPLES[name].get("pattern", ops.Global())
    seen = int(pattern.allowed(index[:, None], index[None], plan.shape).expand(plan.shape)[0, 0].sum())
    assert PAIRS[cost.split()[0]](plan.pairs // HEADS, seen)


@pytest.mark.parametrize("name", BIASES)
def test_the_engine_of_a_bias(name):
    _, _, _, engine, cost = ROWS[name]
    words = engine.split(", ")
    assert planned(bias=BIASES[name](False)).engine == words[0]
    assert planned(bias=BIASES[name](True)).engine == ("tiled" if words[1:] == ["tiled while it learns"] else words[0])
    assert cost.startswith("all pairs")
