"""translate: quality on Multi30k and on dates, kinds of attention side by side, speed of training and of decoding beside Joey NMT.

    python -m benchmarks.translate multi30k FOLDER        # train, val and test_2016_flickr as .en.gz and .de.gz
    python -m benchmarks.translate kinds FOLDER           # recurrent: additive, general, dot, no attention
    python -m benchmarks.translate dates
    python -m benchmarks.translate training FOLDER --joey PYTHON
    python -m benchmarks.translate decoding FOLDER --joey PYTHON

PYTHON is the interpreter of an environment with Joey NMT; benchmarks/translate_peer.py says how it is made. Runs stay in --out;
the same command goes on with them.
"""

import argparse
import io
import json
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._measure import keep
from benchmarks._runs import evaluated, spread, trained
from heedful.data.text import read_pairs
from heedful.tasks import translate as task
from heedful.training.run_folder import RunFolder
from heedful.training.settings import read_settings, write_settings

SIDES = ("data.source=en", "data.target=de", "data.lowercase=true")
# At most 3 million parameters, for under two hours on two cores.
BEST = (
    "data.vocabulary=4000", "model.width=128", "model.layers=4", "model.hidden=256", "model.dropout=0.3",
    "training.epochs=50", "training.learning_rate=5e-3", "training.average=0.998", "training.precision=bf16-mixed",
)  # fmt: skip
KINDS = {"additive": "additive", "general": "general", "dot": "dot", "no attention": "none"}
# One layer of the encoder, and one of the decoder above the one that asks.
RECURRENT = (
    "data.vocabulary=4000", "model.kind=recurrent", "model.width=192", "model.layers=1", "model.dropout=0.2", "training.epochs=16",
    "training.batch_size=2048", "training.learning_rate=5e-3", "training.average=0.998", "training.precision=bf16-mixed",
)  # fmt: skip
LONGER = ("training.epochs=20", "model.dropout=0.1")
# Joey NMT's Transformer-Tiny for Multi30k.
SHAPE = (
    "data.vocabulary=8000", "model.width=128", "model.layers=4", "model.hidden=256", "model.heads=4", "model.dropout=0.1",
    "model.positions=sinusoidal", "training.batch_size=4096", "loss.label_smoothing=0.1",
)  # fmt: skip


def words(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def run_of(name: str, folder: Path, out: Path, *settings: str) -> dict[str, Any]:
    """A training on Multi30k, measured on test 2016."""
    where = out / name
    files = ["--train", folder / "train", "--valid", folder / "val", *words(*SIDES, *settings)]
    metrics = trained("translate", where, *files)
    test = evaluated(where, folder / "test_2016_flickr")
    row = {"name": name, "seconds": metrics["seconds"], "parameters": metrics["parameters"], "test": test["measures"]}
    print(
        f"{name}: BLEU {row['test']['bleu']:.2f}, chrF {row['test']['chrf']:.2f} on test 2016, {row['parameters']:,} parameters, "
        f"{row['seconds'] / 60:.1f} min",
        flush=True,
    )
    return row | {
        "signatures": test["signatures"],
        "baselines": test["baselines"],
        "real_tokens": metrics["real_tokens"],
    }


def multi30k(options: argparse.Namespace) -> None:
    """The Transformer, one seed."""
    keep("multi30k", {"asked": 38.0, "run": run_of("multi30k", options.folder, options.out, *BEST)})


def kinds(options: argparse.Namespace) -> None:
    """Recurrent: with attention of several scores and without, as many passes each; then the additive one with less dropout, for longer."""
    each: dict[str, tuple[str, ...]]
    each = {name: (f"recurrent-{score}", f"model.score={score}") for name, score in KINDS.items()}
    each["additive, less dropout and longer"] = ("recurrent-long", "model.score=additive", *LONGER)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in each}
    for seed in options.seeds:
        for name, (place, *own) in each.items():
            settings = (*RECURRENT, *own, f"training.seed={seed}")
            runs[name].append(run_of(f"{place}-{seed}", options.folder, options.out, *settings))
    rows: dict[str, dict[str, Any]] = {
        name: {"bleu": spread([run["test"]["bleu"] for run in made]), "runs": made} for name, made in runs.items()
    }
    for name, row in rows.items():
        print(f"{name}: {row['bleu']['mean']:.2f}, spread {row['bleu']['spread']:.2f}", flush=True)
    keep("multi30k-recurrent", rows)


def dates(options: argparse.Namespace) -> None:
    """The embedded data with their own settings: whole dates right, of pairs of language and format that were not trained."""
    rows = []
    for seed in options.seeds:
        where = options.out / f"dates-{seed}"
        metrics = trained("translate", where, "--data", "dates", *words(f"training.seed={seed}"))
        test = evaluated(where, "dates")
        rows.append({"seed": seed, "seconds": metrics["seconds"], "right": test["measures"]["right"]})
    right = spread([row["right"] for row in rows])
    longest = max(row["seconds"] for row in rows)
    print(
        f"dates: {100 * right['mean']:.2f} % right, spread {100 * right['spread']:.2f}, asked 99; {longest:.0f} s, asked 120"
    )
    keep("dates", {"right": right, "runs": rows})


def training(options: argparse.Namespace, rounds: int = 3, pairs: int = 14_500) -> None:
    """Target tokens a second of `heedful train` and of Joey NMT's own loop, by turns; ends count, padding does not."""
    folder, joey, rows = options.folder, options.joey, []
    for _ in range(rounds):
        mine = ours(folder, pairs)
        theirs = peer(joey, "train", "speed", folder / "train.en.gz", folder / "train.de.gz", "--updates", 25)
        rows.append({"ours": mine, "joey": theirs["tokens_per_second"], "joey_run": theirs})
        print(f"    {mine:,.0f} target tokens/s beside {rows[-1]['joey']:,.0f}", flush=True)
    ratio = statistics.median(row["ours"] / row["joey"] for row in rows)
    print(
        f"training: {statistics.median(row['ours'] for row in rows):,.0f} target tokens/s, {ratio:.2f}x Joey NMT, asked 4x"
    )
    keep("translate-training", {"ratio": ratio, "rows": rows})


def ours(folder: Path, pairs: int) -> float:
    """Target tokens a second that `heedful train` says of the second of two epochs over the first pairs."""
    from rich.console import Console

    whole = read_pairs(folder / "train", ("en", "de"))
    said = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory() as place:
        sources = {}
        for name, rows in {"train": range(pairs), "valid": range(pairs, pairs + 100)}.items():
            some, beginning = whole.select(rows), Path(place) / name
            Path(f"{beginning}.en").write_text("\n".join(some.sources) + "\n")
            Path(f"{beginning}.de").write_text("\n".join(some.targets) + "\n")
            sources[name] = str(beginning)
        settings = read_settings(
            task.Settings, None, [*SIDES, *SHAPE, "training.epochs=2", "training.average=0", "search.beams=1"]
        )
        prepared, run = task.prepare(settings, sources, said), RunFolder(Path(place) / "run")
        run.begin(
            task="translate", command=[], seed=1, data=sources, data_checksum="", config=write_settings(settings, "")
        )
        task.train(run, prepared, said)
    rates = re.findall(r"([\d,]+) target tokens/s", said.file.getvalue())  # type: ignore[attr-defined]
    return float(rates[-1].replace(",", ""))


def decoding(options: argparse.Namespace, sentences: int = 200, rounds: int = 3) -> None:
    """Sentences a second, greedy and by a beam of 5, of two models of one shape that each learned when to end."""
    folder, joey, where = options.folder, options.joey, options.out / "decoding"
    trained(
        "translate",
        where,
        "--train",
        folder / "train",
        "--valid",
        folder / "val",
        *words(*SIDES, *SHAPE, "training.epochs=3", "training.batch_size=1536", "training.precision=bf16-mixed"),
    )
    writer = task.load(RunFolder(where))
    texts = read_pairs(folder / "test_2016_flickr", ("en", "de")).sources[:sentences]
    rows: dict[str, Any] = {}
    if not (PEER / "decoding").exists():  # so many updates until it ends where a sentence ends
        peer(joey, "train", "decoding", folder / "train.en.gz", folder / "train.de.gz", "--updates", 195)
    theirs = [
        peer(
            joey,
            "decode",
            "decoding",
            folder / "test_2016_flickr.en.gz",
            "--sentences",
            str(sentences),
            "--order",
            order,
        )
        for order in ("file", "length")
    ]
    for beams in (1, 5):
        writer.predict(texts[:32], beams=beams)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            found = writer.predict(texts, beams=beams)
            seconds.append(time.perf_counter() - start)
        rate = len(texts) / statistics.median(seconds)
        length = statistics.mean(len(writer.tokenizer.encode(one.output)) for one in found)
        peers = {run["order"]: run[f"beam_{beams}"] for run in theirs}
        ratios = {order: rate / run["sentences_per_second"] for order, run in peers.items()}
        rows[f"beam_{beams}"] = {
            "sentences_per_second": rate,
            "mean_output_length": length,
            "joey": peers,
            "ratios": ratios,
        }
        print(
            f"beam {beams}: {rate:.1f} sentences/s of {length:.1f} tokens; Joey NMT "
            + ", ".join(
                f"{run['sentences_per_second']:.1f} in the order of {order}: {ratios[order]:.2f}x"
                for order, run in peers.items()
            )
            + ", asked 3x",
            flush=True,
        )
    keep("translate-decoding", rows)


def peer(joey: str, verb: str, place: str, *options: object) -> dict[str, Any]:
    """What Joey NMT says of itself."""
    script = Path(__file__).parent / "translate_peer.py"
    command = [joey, str(script), verb, str(PEER / place), *map(str, options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


PEER = Path("runs/joey")
PARTS = {"multi30k": multi30k, "kinds": kinds, "dates": dates, "training": training, "decoding": decoding}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--joey", default="python", help="an interpreter that has Joey NMT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of kinds and dates")
    options = parser.parse_args()
    PARTS[options.part](options)


if __name__ == "__main__":
    main()
