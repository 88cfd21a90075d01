"""`heedful demo`: exact statistics of a matrix too large to store; then train, evaluate and inspect a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from heedful._errors import RunFolderError
from heedful._files import write_atomic
from heedful._terminal import visible
from heedful._version import __version__
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.ops import AttentionMatrix
    from heedful.report import AttentionSection, MatrixSection, TableSection

_SHORT = ("training.epochs=2",)
_QUICK = ("training.epochs=1", "training.batch_size=16384", "model.width=16", "model.heads=2", "model.layers=1")
_MARKER, _COMMAND = ".heedful-demo", ["heedful", "demo"]
_SHOWN = ("fr", "ru", "ja", "es", "he")
POSITIONS, CHECKED, CELLS, WIDTH = 65_536, 512, 64, 32


def demo(
    *,
    out: UserPath = Path("heedful-demo"),
    seed: int = 1,
    quick: Annotated[bool, Parameter(negative="", show=False)] = False,
) -> None:
    """Show what heedful does, in about a minute and a half: no file, no network, no accelerator is needed.

    First, exact statistics of one attention head over 65,536 positions, whose matrix is never stored. Then a Transformer
    learns to read dates in 25 languages, is evaluated on formats that it never saw, and shows what it attends to.

    Parameters
    ----------
    out
        A folder for the run, the report and metrics.json; what an earlier demo made in it is replaced.
    seed
        The random seed of the training.
    """
    import json
    import time

    from heedful.report import write_report

    started = time.monotonic()
    prepare_folder(out)
    matrix_metrics, matrix_section = first_act(4096 if quick else POSITIONS)
    dates_metrics, table, alignments = second_act(out / "run", seed, quick)
    metrics = {"matrix": matrix_metrics, "dates": dates_metrics, "seconds": round(time.monotonic() - started, 1)}
    write_atomic(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    report = out / "report.html"
    about = {"heedful": __version__, "command": f"heedful demo --seed {seed}"}
    write_report(report, title="heedful demo", sections=[matrix_section, table, *alignments], about=about)
    print(visible(f"\nreport: {report}   figures: {out / 'metrics.json'}   ({metrics['seconds']:.0f} s)", keep="\n"))


def prepare_folder(out: Path) -> None:
    """Makes an empty folder; in the folder of an earlier demo, removes what that demo wrote and nothing else."""
    from heedful.training.lock import locked
    from heedful.training.run_folder import RunFolder

    marker, run = out / _MARKER, RunFolder(out / "run")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not marker.is_file())):
        raise RunFolderError(
            f"{out}: the demo needs an empty folder, or one of an earlier demo: give another by --out."
        )
    try:
        if run.exists():
            if run.manifest()["command"][:2] != _COMMAND:
                raise RunFolderError(f"{run.path}: is a run of your own: give the demo another folder by --out.")
            with locked(run.path):
                run.remove()
        run.check_new()
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(marker, "heedful demo made this folder, and replaces what it made.\n")
        for name in ("report.html", "metrics.json"):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"{out}: the folder cannot be written: {error.strerror}.") from None


def first_act(positions: int) -> "tuple[dict[str, Any], MatrixSection]":
    """Entropy, received mass and a pooled map of one head over many positions, and their errors where a dense matrix fits."""
    import time

    from heedful.report import MatrixSection

    stored = 4 * positions**2
    print(
        f"1. One attention head over {positions:,} positions. Its matrix would take {stored / 1e9:.1f} GB; it is never stored."
    )
    A = melody(positions)
    clock, seconds = time.monotonic(), {}
    entropy = A.entropy()
    seconds["entropy"] = time.monotonic() - clock
    received = A.received()
    seconds["received mass"] = time.monotonic() - clock - sum(seconds.values())
    pooled = A.pool(CELLS, CELLS)
    seconds["pooled map"] = time.monotonic() - clock - sum(seconds.values())
    peak = peak_memory()
    errors = largest_errors(melody(CHECKED))
    metrics: dict[str, Any] = {
        "positions": positions,
        "mean_entropy_nat": entropy.mean().item(),
        "most_received": received.max().item(),
        "most_received_position": received.argmax().item(),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "peak_memory_bytes": peak,
        "matrix_bytes": stored,
        f"largest_error_at_{CHECKED}": errors,
    }
    facts = [
        (
            "mean entropy of a row",
            f"{metrics['mean_entropy_nat']:.3f} nat, as if over {entropy.exp().mean().item():,.0f} of {positions:,} keys",
        ),
        ("most received mass", f"{metrics['most_received']:.2f}, by position {metrics['most_received_position']:,}"),
        ("entropy of every row", f"{seconds['entropy']:.1f} s"),
        ("received mass of every key", f"{seconds['received mass']:.1f} s"),
        (f"map pooled to {CELLS} x {CELLS}", f"{seconds['pooled map']:.1f} s"),
        ("peak memory of the whole program", f"{peak / 1e9:.2f} GB"),
        ("memory that the matrix would take", f"{stored / 1e9:.1f} GB"),
        (f"largest difference from the stored matrix at {CHECKED}", f"{max(errors.values()):.0e}"),
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"     {name:<{width}}  {value}")
    section = MatrixSection(
        title=f"One head over {positions:,} positions",
        text="Positions are the notes of a melody in which three themes return. Each position attends to similar ones, and a little "
        "to near ones. Every number is exact; the matrix was never stored.",
        shape=(positions, positions),
        pooled=pooled[0, 0].numpy(),
        rows={"entropy (nat)": block_means(entropy)},
        columns={"received mass": block_means(received)},
        facts=facts,
    )
    return metrics, section


def second_act(folder: Path, seed: int, quick: bool) -> "tuple[dict[str, Any], TableSection, list[AttentionSection]]":
    """Trains on dates, evaluates on pairs of language and format that the training never saw, and inspects the model."""
    from heedful.data.text.dates import date_examples
    from heedful.report import TableSection
    from heedful.tasks.run import train

    print(
        "\n2. A Transformer learns to read dates as people write them in 25 languages; it is evaluated on pairs of language and\n"
        "   format that it never saw."
    )
    words, command = [*(_QUICK if quick else _SHORT), f"training.seed={seed}"], [*_COMMAND, "--seed", str(seed)]
    model = train("translate", "dates", settings=words, out=folder, command=command)
    found = model.evaluate("dates")
    exact = found.metrics["exact_match"]
    print(f"\n   exact match on {found.examples:,} dates in formats that are new for their language:")
    print(f"     {'heedful, Transformer':<28}{100 * exact:5.1f} %")
    examples = date_examples("test", 100)
    chosen = [next(one for one in examples if one.locale == locale) for locale in _SHOWN]
    outputs = [prediction.output for prediction in model.predict([one.text for one in chosen])]
    for one, output in zip(chosen, outputs, strict=True):
        print(f"     {one.text:<28}{output}{'' if output == one.iso else f'   (not {one.iso})'}")
    nearest = found.baselines["nearest neighbor (TF-IDF)"]["bleu"]
    table = TableSection(
        title="Dates in 25 languages",
        text=f"{found.examples:,} dates as people write them, each in a format that the training never had for its language: "
        f"exact match {100 * exact:.1f} %. BLEU of the nearest training date: {nearest:.1f} of 100; of "
        f"the model: {found.metrics['bleu']:.1f}.",
        header=["written", "language", "format", "read"],
        rows=[[one.text, one.locale, one.format, output] for one, output in zip(chosen, outputs, strict=True)],
        caption="languages and formats of Unicode's CLDR, through Babel",
    )
    return found.to_dict(), table, list(model.inspect([one.text for one in chosen]))


def melody(positions: int) -> "AttentionMatrix":
    """A head whose queries and keys are positions of a melody: three themes that return (A B A C A B C A), varied."""
    import torch

    from heedful.nn import sinusoidal
    from heedful.ops import AttentionMatrix

    generator = torch.Generator().manual_seed(0)
    place = torch.arange(positions, dtype=torch.float32) / positions
    theme = torch.tensor([0, 1, 0, 2, 0, 1, 2, 0])[(place * 8).long()]
    themes = torch.randn(3, WIDTH, generator=generator)
    near = sinusoidal(place * 200, WIDTH)
    noise = torch.randn(positions, WIDTH, generator=generator)
    features = 1.2 * themes[theme] + 0.9 * near + 0.5 * noise
    return AttentionMatrix(features[None, None], features[None, None])


def largest_errors(A: "AttentionMatrix") -> dict[str, float]:
    """The largest differences between statistics of a matrix and those of the dense matrix in float64."""
    import torch

    from heedful.ops import attention_weights

    stored = attention_weights(A.query.double(), A.key.double())
    n = stored.shape[-1]
    block = torch.nn.functional.one_hot(torch.arange(n) * CELLS // n, CELLS).double()
    return {
        "entropy": (A.entropy() + (stored * stored.log()).sum(-1)).abs().max().item(),
        "received mass": (A.received() - stored.sum(-2)).abs().max().item(),
        "pooled map": (A.pool(CELLS, CELLS) - block.T @ stored @ block / block.sum(0)[:, None]).abs().max().item(),
    }


def block_means(curve: Any, points: int = 512) -> Any:
    """A curve reduced to at most `points` points, each the mean of a block."""
    values = curve.flatten()
    return values.unflatten(0, (min(points, len(values)), -1)).mean(1).numpy()


def peak_memory() -> int:
    """The peak resident set size of this process, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
