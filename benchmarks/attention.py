"""Dense and causal attention against PyTorch's own call; summaries of the matrix against one forward pass."""

import torch
import torch.nn.functional as F

import heedful
from benchmarks import _measure
from benchmarks._measure import Pair, keep, paired, size, sizes
from heedful.ops import Causal, Lengths

LENGTHS = (512, 1024, 2048, 4096, 8192)


def operands(n: int, gradient: bool) -> list[torch.Tensor]:
    """H = 8 heads, D = 64, float32."""
    return [torch.randn(1, 8, n, 64, requires_grad=gradient) for _ in range(3)]


def step(call, tensors, gradient):
    """A forward pass, and a backward pass where a gradient is wanted."""
    if not gradient:
        return lambda: call(*tensors)
    weights = torch.randn(1, 8, tensors[0].shape[-2], 64)
    return lambda: torch.autograd.grad(call(*tensors), tensors, weights)


def main() -> None:
    """Prints the tables, keeps results/attention.json and a plot."""
    torch.manual_seed(0)
    causal, rows = Causal(), []
    calls = {
        "dense": (heedful.attention, F.scaled_dot_product_attention),
        "causal": (
            lambda q, k, v: heedful.attention(q, k, v, pattern=causal),
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        ),
    }
    print("dense and causal attention, H = 8, D = 64, float32: time over PyTorch's own call")
    for name, (ours, theirs) in calls.items():
        for gradient in (False, True):
            for n in sizes(*LENGTHS):
                tensors = operands(n, gradient)
                pair = paired(step(ours, tensors, gradient), step(theirs, tensors, gradient), seconds=6)
                what = "forward + backward" if gradient else "forward"
                rows.append({"what": name, "pass": what, "n": n, **pair._asdict()})
                print(
                    f"  {name:<7} {what:<19} N = {n:<5} {1e3 * pair.ours:9.2f} ms {1e3 * pair.theirs:9.2f} ms  {pair.ratio:.3f}x",
                    flush=True,
                )
    print("at N = 16: microseconds more than PyTorch's own call, forward")
    small = []
    for name, (ours, theirs) in calls.items():
        for gradient in (False, True):
            tensors = operands(16, gradient)
            pair = paired(lambda: ours(*tensors), lambda: theirs(*tensors), seconds=6, repeat=200)  # noqa: B023
            extra = 1e6 * (pair.ours - pair.theirs)
            small.append({"what": name, "gradient": gradient, "extra_microseconds": extra, **pair._asdict()})
            print(f"  {name:<7} {'with gradient' if gradient else 'no gradient':<14} {extra:6.1f}", flush=True)
    matrix = summaries()
    keep("attention", {"pytorch": rows, "at_16": small, "matrix": matrix})
    plot(rows)


def summaries() -> list[dict[str, object]]:
    """Each summary of the matrix that is never stored, in forward passes of PyTorch's attention."""
    n, rows = size(4096), []
    print(f"summaries of the matrix that is never stored, N = {n:,}: in forward passes of PyTorch's own call")
    q, k, v = operands(n, False)
    questions = {
        "A @ X": lambda A: A @ v,
        "A.T @ X, lse known": lambda A: A.T @ v,
        "entropy": lambda A: A.entropy(),
        "received": lambda A: A.received(),
        "pool(64, 64)": lambda A: A.pool(64, 64),
    }
    for pattern, causal in ((heedful.Global(), False), (Causal(), True), (Lengths(n - n // 40), False)):
        theirs = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # noqa: B023, E731
        known = heedful.AttentionMatrix(q, k, pattern=pattern)
        known.lse()
        for name, ask in questions.items():

            def ours(name=name, ask=ask, pattern=pattern, known=known):
                return ask(known if "known" in name else heedful.AttentionMatrix(q, k, pattern=pattern))

            pair: Pair = paired(ours, theirs, seconds=3)
            rows.append({"what": name, "pattern": type(pattern).__name__, "n": n, **pair._asdict()})
            print(f"  {type(pattern).__name__:<8} {name:<20} {pair.ratio:.2f}", flush=True)
    return rows


def plot(rows: list[dict[str, object]]) -> None:
    """The ratios as results/attention.png."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for what in ("dense", "causal"):
        for part, style in (("forward", "o-"), ("forward + backward", "s--")):
            line = [(r["n"], r["ratio"]) for r in rows if r["what"] == what and r["pass"] == part]
            axes.plot(*zip(*line, strict=True), style, label=f"{what}, {part}")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.axhline(1.03, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log",
        xlabel="N",
        ylabel="time / PyTorch's own call",
        ylim=(0.9, 1.1),
        title="heedful.attention, H = 8, D = 64, float32",
    )
    lengths = sizes(*LENGTHS)
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(_measure.RESULTS / "attention.png", dpi=150)


if __name__ == "__main__":
    main()
