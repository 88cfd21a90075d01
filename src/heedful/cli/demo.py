"""`heedful demo`: an exact look into a matrix that could never be stored, then train, measure, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from heedful.ops import AttentionMatrix
    from heedful.report import AttentionSection, MatrixSection, TableSection

_SHORT = ("training.epochs=2",)
_QUICK = ("training.epochs=1", "training.batch_size=16384", "model.width=16", "model.heads=2", "model.layers=1")
_SHOWN = ("fr", "ru", "ja", "es", "he")
POSITIONS, CHECKED, CELLS, WIDTH = 65_536, 512, 64, 32


def demo(
    *,
    out: Path = Path("heedful-demo"),
    seed: int = 1,
    quick: Annotated[bool, Parameter(negative="", show=False)] = False,
) -> None:
    """Show what heedful does, in about a minute and a half: no file, no network, no accelerator is needed.

    First one attention head over 65,536 positions is looked into, exactly, though its matrix could not be stored. Then a
    Transformer learns to read dates in 25 languages, is measured on formats that it never saw, and shows where it looks.

    Parameters
    ----------
    out
        A folder for the run, the report and metrics.json; it must be empty or not there.
    seed
        Of the training.
    """
    import json
    import time

    import heedful
    from heedful._errors import RunFolderError
    from heedful.report import write_report
    from heedful.training.files import write_whole

    started = time.monotonic()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out}: the demo needs an empty folder: give another by --out.")
    out.mkdir(parents=True, exist_ok=True)
    matrix_metrics, matrix_section = first_act(4096 if quick else POSITIONS)
    dates_metrics, table, alignments = second_act(out / "run", seed, quick)
    metrics = {"matrix": matrix_metrics, "dates": dates_metrics, "seconds": round(time.monotonic() - started, 1)}
    write_whole(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    report = out / "report.html"
    about = {"heedful": heedful.__version__, "command": f"heedful demo --seed {seed}"}
    write_report(report, title="heedful demo", sections=[matrix_section, table, *alignments], about=about)
    print(f"\nreport: {report}   figures: {out / 'metrics.json'}   ({metrics['seconds']:.0f} s)")


def first_act(positions: int) -> "tuple[dict[str, Any], MatrixSection]":
    """One head over many positions: entropy, received mass and a pooled map, exactly, and checked where they can be."""
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
        text="Positions stand for the notes of a melody in which three themes come back; each attends to what resembles it, and a "
        "little to what is near. Every number is exact. The matrix was never stored.",
        shape=(positions, positions),
        pooled=pooled[0, 0].numpy(),
        rows={"entropy (nat)": block_means(entropy)},
        columns={"received mass": block_means(received)},
        facts=facts,
    )
    return metrics, section


def second_act(folder: Path, seed: int, quick: bool) -> "tuple[dict[str, Any], TableSection, list[AttentionSection]]":
    """Trains on dates, measures on pairs of language and format that the training never saw, and looks inside."""
    from rich.console import Console

    from heedful.data.text.dates import written_dates
    from heedful.report import TableSection
    from heedful.tasks import translate
    from heedful.tasks.catalog import TASKS
    from heedful.training.run_folder import RunFolder
    from heedful.training.settings import read_settings, write_settings

    print(
        "\n2. A Transformer learns to read dates as people write them in 25 languages; it is measured on pairs of language and\n"
        "   format that it never saw."
    )
    words = [*TASKS["translate"].presets["dates"], *(_QUICK if quick else _SHORT), f"training.seed={seed}"]
    settings, run = read_settings(translate.Settings, None, words), RunFolder(folder)
    settings_text = write_settings(settings, "heedful demo: every setting of this run")
    console, data = Console(), {"data": "dates"}
    prepared = translate.prepare(settings, data, console)
    run.begin(
        task="translate",
        command=["heedful", "demo", "--seed", str(seed)],
        seed=seed,
        data=data,
        data_checksum=prepared.checksum(),
        config=settings_text,
    )
    translate.train(run, prepared, console)
    metrics = translate.evaluate(run, "dates")
    rows = [("heedful, Transformer", metrics["measures"]["right"])]
    print(f"\n   whole dates right, of {metrics['pairs']:,} in formats that are new for their language:")
    for name, value in rows:
        print(f"     {name:<28}{100 * value:5.1f} %")
    writer = translate.load(run)
    dates = written_dates("test", 100)
    shown = [next(one for one in dates if one.locale == locale) for locale in _SHOWN]
    outputs = writer.predict([one.text for one in shown])
    for one, found in zip(shown, outputs, strict=True):
        print(f"     {one.text:<28}{found.output}{'' if found.output == one.iso else f'   (not {one.iso})'}")
    table = TableSection(
        title="Dates in 25 languages",
        text=f"{metrics['pairs']:,} dates as people write them, each in a format that the training never had for its language: "
        f"{100 * metrics['measures']['right']:.1f} % of them were read without a mistake. BLEU of the nearest training date: "
        f"{metrics['baselines']['target of the nearest training source']:.1f} of 100; of the model: {metrics['measures']['bleu']:.1f}.",
        header=["written", "language", "format", "read"],
        rows=[[one.text, one.locale, one.format, found.output] for one, found in zip(shown, outputs, strict=True)],
        caption="languages and formats of Unicode's CLDR, through Babel",
    )
    return metrics, table, translate.inspect(run, [one.text for one in shown])


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
    """The largest differences between summaries of a matrix and the same from the stored one, in float64."""
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
    """A curve of at most so many points, each the mean of a block."""
    values = curve.flatten()
    return values.unflatten(0, (min(points, len(values)), -1)).mean(1).numpy()


def peak_memory() -> int:
    """The largest resident set of this process until now, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
