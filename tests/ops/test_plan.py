"""A plan's account: which engine runs and why, and bytes that the process really takes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import heedful
from heedful import ops
from heedful.ops.engines import bands


def operands(n=64, heads=4, groups=4, width=16, value_width=16):
    shapes = ((1, heads, n, width), (1, groups, n, width), (1, groups, n, value_width))
    return [torch.zeros(shape) for shape in shapes]


IDS = torch.arange(64) // 4
CHOICES = {
    "plain": ({}, "fused", "softmax of inner products"),
    "causal": ({"pattern": ops.Causal()}, "fused", "softmax of inner products"),
    "cosine": ({"score": ops.Cosine(), "scale": 9.0}, "fused", "softmax of inner products"),
    "a window": ({"pattern": ops.Local(2)}, "banded", "the pattern shows each row a part of the keys"),
    "a window in the past": ({"pattern": ops.Local(2) & ops.Causal()}, "banded", "a part of the keys"),
    "global tokens": ({"pattern": ops.Local(2) | ops.GlobalTokens([0])}, "banded", "a part of the keys"),
    "documents": ({"pattern": ops.Documents(IDS) & ops.Causal()}, "banded", "a part of the keys"),
    "a grid": ({"pattern": ops.Neighborhood2d(3, (8, 8))}, "banded", "a part of the keys"),
    "a window as wide as all": ({"pattern": ops.Local(60)}, "fused", "softmax of inner products"),
    "additive": ({"score": ops.Additive(torch.ones(16))}, "tiled", "the score is no inner product"),
    "entmax": ({"normalize": ops.entmax15}, "tiled", "the normalizer is not softmax"),
    "hard": ({"select": ops.Hard()}, "tiled", "keys are selected"),
    "capped": ({"softcap": 2.0}, "tiled", "scores are capped"),
    "dropout": ({"dropout": 0.5}, "tiled", "weights are dropped"),
    "a bias that learns": ({"bias": torch.zeros(64, 64, requires_grad=True)}, "tiled", "the bias learns"),
    "a bias of low rank that learns": ({"bias": ops.PerKey(torch.zeros(64, requires_grad=True))}, "fused", "softmax"),
    "the definition": ({"engine": "reference"}, "reference", "asked for"),
}


@pytest.mark.parametrize(("options", "engine", "reason"), CHOICES.values(), ids=CHOICES)
def test_the_engine_and_why(options, engine, reason):
    plan = heedful.plan(*operands(), **options)
    assert plan.engine == engine
    assert reason in plan.reason
    assert plan.linear_memory == (engine != "reference")
    assert f"{engine}: {plan.reason}" in str(plan)


@dataclass(frozen=True)
class Chunks(ops.Pattern):
    """A pattern of a user: each position sees its own chunk and the one before."""

    size: int

    def allowed(self, rows, columns, shape):
        behind = rows // self.size - columns // self.size
        return (behind >= 0) & (behind <= 1)

    def check(self, shape):
        pass

    def depends(self, shape):
        return True, True

    def columns(self, start, stop, shape):
        first = ((start // self.size - 1) * self.size).clamp(0, shape[-1])
        return first, (((stop - 1) // self.size + 1) * self.size).clamp(0, shape[-1]).maximum(first)


def test_a_pattern_of_a_user_takes_bands_by_its_columns():
    query = torch.randn(1, 2, 1000, 8, dtype=torch.float64, requires_grad=True)
    plan = heedful.plan(query, query, query, pattern=Chunks(64))
    assert plan.engine == "banded"
    assert plan.pairs < 0.2 * 2 * 1000**2
    slopes = [
        torch.autograd.grad(
            heedful.attention(query, query, query, pattern=Chunks(64) & ops.Causal(), engine=engine).square().sum(),
            query,
        )
        for engine in (None, "reference")
    ]
    torch.testing.assert_close(*slopes)


def test_many_small_samples_that_differ_are_one_call():
    """Each would need bands of its own, and calls of its own."""
    query = torch.zeros(1024, 4, 64, 16)
    pattern = ops.Local(4) & ops.Lengths(torch.arange(1024) % 64 + 1)
    assert heedful.plan(query, query, query, pattern=pattern).engine == "fused"
    assert heedful.plan(query, query, query, pattern=ops.Local(4)).engine == "banded"


def test_a_transform_takes_tiles():
    engines = []

    def call(query, key, value):
        engines.append(heedful.plan(query, key, value).engine)
        return heedful.attention(query, key, value)

    torch.func.vmap(call)(*operands())
    assert engines == ["tiled"]


def test_strict_refuses_what_is_stored():
    with pytest.raises(ValueError, match="`strict` allows linear memory only: got engine 'reference'"):
        heedful.attention(*operands(), engine="reference", strict=True)
    heedful.attention(*operands(), normalize=ops.entmax15, strict=True)


def test_pairs_follow_the_pattern():
    n = 1024
    whole = 4 * n * n
    assert heedful.plan(*operands(n)).pairs == whole
    assert heedful.plan(*operands(n), pattern=ops.Causal()).pairs == whole // 2
    assert 4 * n * 9 <= heedful.plan(*operands(n), pattern=ops.Local(4)).pairs <= 4 * n * 48
    assert heedful.plan(*operands(n), pattern=ops.Documents(torch.arange(n) // 64)).pairs == 4 * n * 64
    tiled = heedful.plan(*operands(n), pattern=ops.Local(4), normalize=ops.sparsemax)
    assert tiled.pairs <= 4 * n * 64


def test_bands_of_many_samples_are_not_looked_for():
    """One pattern for each of 1,024 samples takes longer to find than the whole matrices to compute."""
    pattern = ops.Local(4) & ops.Lengths(torch.arange(1024) % 65)
    assert not bands.worth_searching(pattern, (1024, 1, 64, 64))
    query = torch.zeros(2, 1, 4096, 8)
    assert (
        heedful.plan(query, query, query, pattern=ops.Local(4) & ops.Lengths(torch.tensor([4096, 3]))).engine
        == "banded"
    )


def test_bands_of_many_samples_pay_for_their_calls():
    """As many calls as blocks, unless each is of many heads."""
    torch.manual_seed(0)
    ids = (torch.rand(64, 546) < 0.1).cumsum(-1)
    for heads, engine in ((1, "fused"), (8, "banded")):
        query = torch.zeros(64, heads, 546, 8)
        assert heedful.plan(query, query, query, pattern=ops.Documents(ids)).engine == engine


def test_the_account_in_words():
    query = torch.zeros(1, 8, 8192, 64)
    lines = str(heedful.plan(query, query, query, pattern=ops.Causal())).splitlines()
    assert lines[1] == "matrix     1 x 8 x 8,192 x 8,192, of which 50 % is computed"
    assert lines[2].startswith("forward    70 GFLOP, ")
    assert lines[-1] == "memory     linear in the number of positions"


LENGTH, HEADS = 2048, 16
MEASURED = {
    "plain": {},
    "causal": {"pattern": ops.Causal()},
    "another value width": {"value_width": 128},
    "grouped heads": {"groups": 8},
    "a window": {"pattern": ops.Local(128)},
    "documents": {"pattern": ops.Documents(torch.arange(LENGTH) // 128)},
    "entmax15": {"normalize": ops.entmax15, "pattern": ops.Local(256)},
    "additive": {"score": ops.Additive(torch.ones(64)), "pattern": ops.Local(4)},
}


def planned_and_taken(n, *, groups=HEADS, value_width=64, **options):
    """The bytes of a training step by its plan, and by how much the resident set grew."""
    widths = ((HEADS, 64), (groups, 64), (groups, value_width))
    q, k, v = (torch.randn(1, heads, n, width, requires_grad=True) for heads, width in widths)
    g = torch.ones(1, HEADS, n, value_width)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from now on, not that of the process that started this one
    before = resident_peak()
    plan = heedful.plan(q, k, v, **options)
    torch.autograd.grad(heedful.attention(q, k, v, **options), (q, k, v), g)
    return plan.training.bytes - g.numel() * 4, (resident_peak() - before) * 1024


def resident_peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def measure():
    """Prints what `planned_and_taken` gives for each, in a process of its own, forked from this one."""
    torch.set_num_threads(1)
    for name, options in MEASURED.items():
        if not (child := os.fork()):
            small = options | ({"pattern": ops.Documents(torch.arange(256) // 128)} if name == "documents" else {})
            planned_and_taken(256, **small)  # so that code that is loaded on first use is there
            print(json.dumps([name, *planned_and_taken(LENGTH, **options)]), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


@pytest.fixture(scope="module")
def measured():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    return {name: found for name, *found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the resident set is that of Linux")
@pytest.mark.parametrize("name", MEASURED)
def test_bytes_are_what_the_process_takes(measured, name):
    """The peak of the resident set under the default allocator, which gives back large blocks and keeps small ones."""
    planned, taken = measured[name]
    assert 0.7 * planned - 8e6 < taken < 1.3 * planned + 8e6, (planned / 1e6, taken / 1e6)


def test_bands_of_a_causal_pattern_that_is_too_large_for_a_mask():
    query = torch.randn(1, 1, 3000, 8)
    out = heedful.attention(query, query, query, pattern=ops.Causal(), engine="banded")
    torch.testing.assert_close(out, heedful.attention(query, query, query, pattern=ops.Causal()), rtol=1e-4, atol=1e-5)
    both = ops.Causal() & ops.Documents(torch.zeros(3000, dtype=torch.long))
    assert heedful.plan(query, query, query, pattern=both, engine="banded").pairs == 3000 * 3000 // 2


if __name__ == "__main__":
    measure()
