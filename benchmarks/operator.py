"""The operator beside its peers: windows, neighborhoods, documents, sparse normalizers, additive scores, memory."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

import heedful
from benchmarks import _measure
from benchmarks._measure import keep, kept, paired, size
from heedful.ops import Additive, Documents, Local, Neighborhood2d, Pattern

HEADS, WIDTH = 8, 64
SDPA = F.scaled_dot_product_attention


def operands(n: int, gradient: bool, heads: int = HEADS, width: int = WIDTH) -> list[torch.Tensor]:
    return [torch.randn(1, heads, n, width, requires_grad=gradient) for _ in range(3)]


def step(call: Callable, tensors: list[torch.Tensor]) -> Callable:
    """A forward pass, and a backward pass where a gradient is wanted."""
    if not tensors[0].requires_grad:
        return lambda: call(*tensors)
    weights = torch.randn_like(call(*tensors))
    return lambda: torch.autograd.grad(call(*tensors), tensors, weights)


class Table:
    """Rows of one run, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(self, work: str, compared_with: str, target: float, result: float, **more: object) -> None:
        """Keeps a row and prints it."""
        self.rows.append({"work": work, "compared_with": compared_with, "target": target, "result": result, **more})
        print(f"  {work:<58} {compared_with:<28} target {target:5.2f}  result {result:6.2f}", flush=True)

    def compare(
        self, work: str, compared_with: str, target: float, ours: Callable, theirs: Callable, **more: object
    ) -> None:
        """How many times faster than the peer."""
        pair = paired(ours, theirs, seconds=6)
        self.add(work, compared_with, target, 1 / pair.ratio, ours=pair.ours, theirs=pair.theirs, **more)


PASSES = ((False, "forward"), (True, "forward + backward"))


def windows(table: Table) -> None:
    n, w, pattern = size(8192), 128, Local(128)
    index = torch.arange(n)
    mask = (index[:, None] - index).abs() <= w
    from local_attention import LocalAttention

    peer = LocalAttention(
        window_size=w, look_backward=1, look_forward=1, causal=False, exact_windowsize=True, use_rotary_pos_emb=False,
        autopad=True, dim=WIDTH,
    )  # fmt: skip
    for (gradient, name), fast, faster in zip(PASSES, (22, 16), (4, 2.5), strict=True):
        tensors = operands(n, gradient)
        ours = step(lambda q, k, v: heedful.attention(q, k, v, pattern=pattern), tensors)
        table.compare(f"window of {w}, N = {n:,}, {name}", "SDPA with the mask", fast, ours,
                      step(lambda q, k, v: SDPA(q, k, v, attn_mask=mask), tensors))  # fmt: skip
        table.compare(f"window of {w}, N = {n:,}, {name}", "local-attention", faster, ours, step(peer, tensors))
        dense = operands(size(2048), gradient)
        pair = paired(ours, step(SDPA, dense), seconds=6)
        visible = int((torch.minimum(index + w, torch.tensor(n - 1)) - (index - w).clamp(min=0) + 1).sum())
        table.add(f"window of {w}, N = {n:,}, {name}", "floor: SDPA's dense rate", (0.6, 0.4)[gradient],
                  visible / size(2048) ** 2 / pair.ratio, ours=pair.ours)  # fmt: skip
    for gradient, name in PASSES:
        small, large = (operands(m, gradient) for m in (n, 16 * n))
        run = lambda q, k, v: heedful.attention(q, k, v, pattern=pattern)  # noqa: E731
        pair = paired(step(run, large), step(run, small), seconds=20 if gradient else 8)
        table.add(f"window of {w}, N = {n:,} to {16 * n:,}, {name}", "itself: time a position", 1.1, pair.ratio / 16)


@dataclass(frozen=True)
class OwnWindow(Pattern):
    """A window as a user would write it, by the five steps of `docs/add-a-mechanism.md`."""

    reach: int

    def allowed(self, rows, columns, shape):
        return (columns - rows).abs() <= self.reach

    def check(self, shape):
        pass

    def depends(self, shape):
        return True, True

    def columns(self, start, stop, shape):
        first = (start - self.reach).clamp(0, shape[-1])
        return first, (stop + self.reach).clamp(0, shape[-1]).maximum(first)


def own_patterns(table: Table) -> None:
    n, w = size(8192), 128
    for gradient, name in PASSES:
        tensors = operands(n, gradient)
        own, built_in = (
            step(lambda q, k, v, p=p: heedful.attention(q, k, v, pattern=p), tensors) for p in (OwnWindow(w), Local(w))
        )
        table.compare(f"window of {w} as a pattern of a user, {name}", "Local", 0.91, own, built_in)


def neighborhoods(table: Table) -> None:
    side, grid = 7, math.isqrt(size(96 * 96))
    n, pattern = grid * grid, Neighborhood2d(side, (grid, grid))
    y, x = (t.flatten() for t in torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij"))
    mask = ((y[:, None] - y).abs() <= side // 2) & ((x[:, None] - x).abs() <= side // 2)
    for (gradient, name), target in zip(PASSES, (20, 18), strict=True):
        tensors = operands(n, gradient)
        table.compare(f"7 x 7 neighborhood, {grid} x {grid} grid, {name}", "SDPA with the mask", target,
                      step(lambda q, k, v: heedful.attention(q, k, v, pattern=pattern), tensors),
                      step(lambda q, k, v: SDPA(q, k, v, attn_mask=mask), tensors))  # fmt: skip


def documents(table: Table) -> None:
    total, count = size(16384), 64
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(count, generator=generator) + 0.15
    lengths = (share / share.sum() * (total - count)).long() + 1
    lengths[-1] += total - lengths.sum()
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    pattern, longest = Documents.from_offsets(offsets), int(lengths.max())
    packed = operands(total, True)
    padded = [torch.randn(count, HEADS, longest, WIDTH, requires_grad=True) for _ in range(3)]
    mask = (torch.arange(longest) < lengths[:, None])[:, None, None]
    table.compare(f"{count} packed documents, {total:,} tokens, forward + backward", "padded batch through SDPA", 2,
                  step(lambda q, k, v: heedful.attention(q, k, v, pattern=pattern), packed),
                  step(lambda q, k, v: SDPA(q, k, v, attn_mask=mask), padded),
                  longest=longest, shortest=int(lengths.min()))  # fmt: skip


def normalizers(table: Table) -> None:
    import entmax

    for ours, theirs, name in (
        (heedful.entmax15, entmax.entmax15, "entmax15"),
        (heedful.sparsemax, entmax.sparsemax, "sparsemax"),
    ):
        n = size(2048)
        tensors = operands(n, True)

        def stored(q, k, v, theirs=theirs):
            return theirs(q @ k.mT * WIDTH**-0.5, dim=-1) @ v

        table.compare(f"{name}, N = {n:,}, forward + backward", "entmax on stored scores", 5,
                      step(lambda q, k, v, ours=ours: heedful.attention(q, k, v, normalize=ours), tensors),
                      step(stored, tensors))  # fmt: skip


def additive(table: Table) -> None:
    weight = torch.randn(WIDTH, requires_grad=True)

    def ours(q, k, v):
        return heedful.attention(q, k, v, score=Additive(weight))

    def theirs(q, k, v):
        return (torch.tanh(q[..., :, None, :] + k[..., None, :, :]) @ weight).softmax(-1) @ v

    for (gradient, name), target in zip(PASSES, (10, 6), strict=True):
        n = size(1024)
        tensors = operands(n, gradient)
        weight.requires_grad_(gradient)
        table.compare(f"additive scores, N = {n:,}, {name}", "broadcast tanh", target,
                      step(ours, tensors), step(theirs, tensors))  # fmt: skip


def peak(who: str, what: str, n: int, heads: int = HEADS) -> float:
    """MB by which the peak of the resident set of a process of its own rises in a training step."""
    program = f"from benchmarks.operator import measured; measured({who!r}, {what!r}, {n}, {heads})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return max(float(done.stdout), 1e-3)  # the system counts in KB


LONG = (
    ("entmax15", 32768, 1),
    ("sparsemax", 32768, 1),
    ("additive", 16384, 1),
    ("entmax15", 32768, 8),
    ("sparsemax", 32768, 8),
)
MEMORY = ("bias with a gradient", "dropout", "E != D", "3-D input")


def memory(table: Table) -> None:
    n = size(8192)
    for what in MEMORY:
        ours, theirs = peak("heedful", what, n), peak("sdpa", what, n)
        table.add(
            f"{what}, N = {n:,}, peak memory of a training step", "SDPA", 0.1, ours / theirs, ours=ours, theirs=theirs
        )
    few, many = (peak("heedful", "window", length) / length for length in (n, 16 * n))
    table.add(
        f"window of 128, N = {n:,} to {16 * n:,}, peak memory",
        "itself: memory a position",
        1.1,
        many / few,
        kilobytes=1000 * many,
    )


def long_memory(table: Table) -> None:
    for what, length, heads in LONG:
        memory_mb = peak("heedful", what, size(length), heads)
        words = "1 head" if heads == 1 else f"{heads} heads"
        table.add(f"{what}, N = {size(length):,}, {words}, peak memory in GB", "2 GB", 2, memory_mb / 1000)


def measured(who: str, what: str, n: int, heads: int) -> None:
    """Prints the MB that one training step takes at its peak."""
    value = 2 * WIDTH if what == "E != D" else WIDTH
    lead = (heads,) if what == "3-D input" else (1, heads)
    q, k, v = (torch.randn(*lead, n, w, requires_grad=True) for w in (WIDTH, WIDTH, value))
    more, given = {}, [q, k, v]
    if what == "bias with a gradient":
        slopes = torch.rand(heads, requires_grad=True)
        given.append(slopes)
    if what == "dropout":
        more = {"dropout": 0.1} if who == "heedful" else {"dropout_p": 0.1}
    weights = torch.randn(*lead, n, value)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of from now on
    before = peak_of_this_process()
    if who == "sdpa":
        if what == "bias with a gradient":
            distance = (torch.arange(n)[:, None] - torch.arange(n)).abs().float()
            more = {"attn_mask": (-slopes[:, None, None] * distance)[None]}
        out = SDPA(q, k, v, **more)
    else:
        more |= {
            "bias with a gradient": lambda: {"bias": heedful.ALiBi(slopes)}, "entmax15": lambda: {"normalize": heedful.entmax15},
            "sparsemax": lambda: {"normalize": heedful.sparsemax}, "additive": lambda: {"score": Additive(torch.randn(WIDTH))},
            "window": lambda: {"pattern": Local(128)},
        }.get(what, dict)()  # fmt: skip
        out = heedful.attention(q, k, v, **more)
    torch.autograd.grad(out, given, weights)
    print((peak_of_this_process() - before) / 1024)


def peak_of_this_process() -> int:
    """The largest resident set so far, in KB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def plot(rows: list[dict[str, object]]) -> None:
    """Results over targets, as results/operator.png; what has to be small is turned over."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    small = ["memory" in row["work"] or row["compared_with"].startswith("itself") for row in rows]  # type: ignore[attr-defined,operator]
    shares = [
        row["target"] / row["result"] if less else row["result"] / row["target"]  # type: ignore[operator]
        for row, less in zip(rows, small, strict=True)
    ]
    names = [f"{row['work']}\ncompared with {row['compared_with']}" for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1), layout="constrained")
    bars = axes.barh(
        names,
        [share - 1 for share in shares],
        left=1,
        color=["#0072b2" if share >= 1 else "#d55e00" for share in shares],
    )
    axes.bar_label(bars, labels=[f"{row['result']:.3g}" for row in rows], padding=3, fontsize=7)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=6)
    axes.set(xscale="log", xlabel="result over target", title="the operator beside its peers")
    axes.set_xlim(min(shares) / 1.6, 1.6 * max(shares))  # room for the numbers
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.savefig(_measure.RESULTS / "operator.png", dpi=150)


PARTS = (windows, own_patterns, neighborhoods, documents, normalizers, additive, memory, long_memory)


def main(parts: Sequence[Callable] = PARTS) -> None:
    """Prints the table, keeps results/operator.json and a plot; of other parts than these, what was measured before."""
    torch.manual_seed(0)
    table = Table()
    before = kept("operator")["rows"] if tuple(parts) != PARTS else []
    print("the operator beside its peers, H = 8, D = 64, float32")
    for part in parts:
        part(table)
        new = {(row["work"], row["compared_with"]): row for row in table.rows}
        rows = [new.pop((row["work"], row["compared_with"]), row) for row in before] + list(new.values())
        keep("operator", {"rows": rows})
    plot(rows)


if __name__ == "__main__":
    main()
