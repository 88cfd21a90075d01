"""Memory that is linear in N and M, measured: the peak of the resident set of a process, as the kernel counts it.

This file is also that process: it loads what is needed once, and each measurement is a fork of it, whose peak starts from
what it takes when it is born.
"""

import json
import os
import resource
import subprocess
import sys

import pytest

HEADS, WIDTH = 4, 8


def _operands(n, width=WIDTH, lead=(1, HEADS)):
    import torch

    return [torch.randn(*lead, n, w, requires_grad=True) for w in (WIDTH, WIDTH, width)]


def _learned(*shape):
    import torch

    return torch.randn(shape).mul_(0.1).requires_grad_()


def _call(name, n):
    """The operands of a mechanism, and its attention as a function of nothing."""
    import torch

    import heedful
    from heedful import ops

    lead = (HEADS,) if name == "three axes" else (1, HEADS)
    operands = _operands(n, 24 if name == "another value width" else WIDTH, lead)
    if name == "grouped heads":
        operands[1:] = [t.detach()[:, :2].clone().requires_grad_() for t in operands[1:]]
    options = {
        "a bias of low rank that learns": lambda: {"bias": ops.LowRank(_learned(n, 4), _learned(HEADS, n, 4))},
        "ALiBi that learns": lambda: {"bias": ops.ALiBi(torch.rand(HEADS, requires_grad=True))},
        "a tensor that learns": lambda: {"bias": _learned(n, n)},
        "a tensor that learns, causal": lambda: {"bias": _learned(n, n), "pattern": ops.Causal()},
        "dropout": lambda: {"dropout": 0.1, "seed": 1},
        "entmax15": lambda: {"normalize": ops.entmax15},
        "entmax, an alpha that learns": lambda: {
            "normalize": ops.entmax(torch.full((HEADS, 1, 1), 1.4, requires_grad=True))
        },
        "additive": lambda: {"score": ops.Additive(_learned(WIDTH))},
        "local": lambda: {"pattern": ops.Local(100)},
        "causal & lengths": lambda: {"pattern": ops.Causal() & ops.Lengths(n - 7)},
        "documents": lambda: {"pattern": ops.Documents(torch.arange(n) // 100)},
        "hard": lambda: {"select": ops.Hard()},
        "sampled": lambda: {"select": ops.Sampled(), "seed": 1},
        "softcap": lambda: {"softcap": 3.0},
        "sinks": lambda: {"sinks": _learned(HEADS)},
        "all at once": lambda: {
            "normalize": ops.entmax15,
            "bias": ops.ALiBi(torch.rand(HEADS, requires_grad=True)) + ops.PerKey(_learned(n)),
            "pattern": ops.Causal() & ops.Lengths(n - 7),
            "softcap": 5.0,
            "sinks": _learned(HEADS),
            "dropout": 0.2,
            "seed": 3,
        },
    }.get(name, dict)()
    values = [v for v in options.values() if not isinstance(v, (float, int))]
    learned = [t for value in values for t in torch.utils._pytree.tree_leaves(value) if torch.is_tensor(t)]
    learned = operands + [t for t in learned if t.requires_grad]
    return learned, lambda: heedful.attention(*operands, **options)


def _question(name, n):
    """The operands of a matrix, and what is asked of it as a function of nothing."""
    import torch

    import heedful
    from heedful import ops

    what, _, which = name.removeprefix("matrix: ").partition(", ")
    options = {
        "": {},
        "causal entmax15": {"normalize": ops.entmax15, "pattern": ops.Causal()},
        "causal & lengths": {"pattern": ops.Causal() & ops.Lengths(n - 7)},
    }[which]
    query, key, _ = _operands(n)
    A = heedful.AttentionMatrix(query, key, **options)
    asked = {
        "summary": lambda: torch.cat([t.flatten() for t in A.summary() if t is not None]),
        "pool_max": lambda: A.pool_max(8, 8),
        "topk": lambda: A.topk(4).values,
        "kl": lambda: A.kl(heedful.AttentionMatrix(key, query, **options)).clamp(max=10),
        "spread": A.position_std,
        "received": A.received,
    }[what]
    return [query, key], asked


def _run(name, n, order):
    import torch

    learned, call = (_question if name.startswith("matrix") else _call)(name, n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = call()
    found = torch.autograd.grad(out, learned, torch.ones_like(out), create_graph=order > 1)
    if order > 1:
        found = torch.autograd.grad(sum(g.sin().sum() for g in found), learned)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert all(bool(g.isfinite().all()) for g in found)
    return 1024 * peak  # bytes


def _serve():
    import torch

    torch.set_num_threads(1)
    _run("softmax", 16, 2)  # loads what all need
    for line in sys.stdin:
        name, n, order = json.loads(line)
        reading, writing = os.pipe()
        if not (child := os.fork()):
            try:
                _run(name, 16, order)  # so that code that is loaded on first use is there
                os.write(writing, json.dumps(_run(name, n, order)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading) as answer:
            print(answer.read() or "null", flush=True)


@pytest.fixture(scope="module")
def peak():
    """Measures a mechanism at a length, up to the derivative of an order: bytes beside the operands."""
    if sys.platform != "linux":
        pytest.skip("what a fork's peak starts from, and its unit, are those of Linux")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def measure(name, n, order=1):
            process.stdin.write(json.dumps([name, n, order]) + "\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            assert found is not None, "the measurement failed"
            return found

        yield measure
        process.stdin.close()


NAMES = [
    "softmax", "a bias of low rank that learns", "ALiBi that learns", "dropout", "another value width", "three axes",
    "grouped heads", "entmax15", "additive", "local", "causal & lengths", "documents", "hard", "softcap", "sinks", "all at once",
]  # fmt: skip
SMALL = 4 << 20  # what a measurement is unsure of


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward(peak, name):
    """A matrix would be four times as much at twice the length."""
    n = 4096
    half, whole = peak(name, n // 2), peak(name, n)
    # what a bias does to all heads is held for a tile of all of them
    assert whole < HEADS * n * n * 4 / (10 if "ALiBi" not in name and name != "all at once" else 4)
    assert whole < 2.3 * max(half, SMALL)


@pytest.mark.parametrize("name", ["a tensor that learns", "a tensor that learns, causal"])
def test_a_tensor_as_bias(peak, name):
    """It is itself N x M, one for all heads, and so is its gradient; nothing else is."""
    n = 4096
    found = peak(name, n)
    assert found > n * n * 4  # so the measurement sees a matrix
    assert found - n * n * 4 < HEADS * n * n * 4 / 10


@pytest.mark.parametrize(
    ("name", "n", "order"),
    [("softmax", 2048, 2), ("entmax15", 2048, 2), ("entmax, an alpha that learns", 1024, 1), ("sampled", 1024, 1)],
)
def test_by_the_definition(peak, name, n, order):
    """What has no fast version holds up to a hundred numbers for each pair of a tile, however many tiles there are.

    A matrix would be four times as much at twice the length.
    """
    half, whole = peak(name, n // 2, order), peak(name, n, order)
    assert whole < 1.6 * half


@pytest.mark.parametrize(
    "what", ["summary", "summary, causal & lengths", "pool_max", "topk", "kl", "spread, causal entmax15", "received"]
)
def test_questions_to_the_matrix_and_their_gradients(peak, what):
    n = 2048
    half, whole = peak(f"matrix: {what}", n // 2), peak(f"matrix: {what}", n)
    assert whole < 2.2 * max(half, SMALL)


if __name__ == "__main__":
    _serve()
