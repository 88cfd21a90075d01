"""translate: quality on Multi30k and on dates, kinds of attention side by side, speed of training and of decoding beside Joey NMT.

    python -m benchmarks.translate multi30k FOLDER        # train, val and test_2016_flickr as .en.gz and .de.gz
    python -m benchmarks.translate scores FOLDER          # recurrent: additive, general, dot, no attention
    python -m benchmarks.translate dates
    python -m benchmarks.translate training FOLDER --joey PYTHON
    python -m benchmarks.translate decoding FOLDER --joey PYTHON

PYTHON is the interpreter of an environment with Joey NMT; benchmarks/translate_peer.py says how it is made. Runs stay in --out;
the same command goes on with them.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks._measure import keep
from benchmarks._runs import Settings, mean_and_std, measured, rates, trained
from heedful.data.text import read_pairs

COLUMNS = {"data.source": "en", "data.target": "de", "data.lowercase": True}
# At most 3 million parameters, for under two hours on two cores.
BEST = COLUMNS | {
    "data.vocabulary_size": 4000,
    "model": {"width": 128, "layers": 4, "ffn_width": 256, "dropout": 0.3},
    "training": {"epochs": 50, "learning_rate": 5e-3, "ema_decay": 0.998, "precision": "bf16-mixed"},
}
# One layer of the encoder, and one of the decoder above the one that attends.
RECURRENT = COLUMNS | {
    "data.vocabulary_size": 4000,
    "model": {"architecture": "recurrent", "width": 192, "layers": 1, "dropout": 0.2},
    "training": {
        "epochs": 16, "batch_size": 2048, "learning_rate": 5e-3, "ema_decay": 0.998, "precision": "bf16-mixed",
    },
}  # fmt: skip
SCORES: dict[str, Settings] = {
    "additive": {"model.score": "additive"},
    "general": {"model.score": "general"},
    "dot": {"model.score": "dot"},
    "none": {"model.score": "none"},
    "additive, less dropout and longer": {"model.score": "additive", "training.epochs": 20, "model.dropout": 0.1},
}
# Joey NMT's Transformer-Tiny for Multi30k.
SHAPE = COLUMNS | {
    "data.vocabulary_size": 8000,
    "model": {"width": 128, "layers": 4, "ffn_width": 256, "heads": 4, "dropout": 0.1, "positions": "sinusoidal"},
    "training.batch_size": 4096,
    "loss.label_smoothing": 0.1,
}


def run_of(name: str, options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """A training on Multi30k, measured on test 2016."""
    folder = options.folder
    model = trained("translate", folder / "train", options.out / name, settings, valid=folder / "val")
    row = measured(model, folder / "test_2016_flickr")
    print(
        f"{name}: BLEU {row['test']['bleu']:.2f}, chrF {row['test']['chrf']:.2f} on test 2016, {row['parameters']:,} parameters, "
        f"{row['seconds'] / 60:.1f} min",
        flush=True,
    )
    return row


def multi30k(options: argparse.Namespace) -> None:
    """The Transformer, one seed."""
    keep("multi30k", {"target": 38.0, "run": run_of("multi30k", options, BEST)})


def scores(options: argparse.Namespace) -> None:
    """Recurrent: with attention of several scores and without, as many epochs; then the additive one with less dropout, for longer."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SCORES}
    for seed in options.seeds:
        for name, own in SCORES.items():
            settings = {**RECURRENT, **own, "training.seed": seed}
            runs[name].append(
                run_of(f"recurrent-{name.replace(', ', '-').replace(' ', '-')}-{seed}", options, settings)
            )
    rows = {
        name: {"bleu": mean_and_std([run["test"]["bleu"] for run in row]), "runs": row} for name, row in runs.items()
    }
    for name, row in rows.items():
        print(f"{name}: BLEU {row['bleu']['mean']:.2f}, standard deviation {row['bleu']['std']:.2f}", flush=True)
    keep("multi30k-recurrent", rows)


def dates(options: argparse.Namespace) -> None:
    """The embedded data with their own settings: whole dates, of pairs of language and format that were not trained."""
    rows = [
        measured(trained("translate", "dates", options.out / f"dates-{seed}", {"training.seed": seed}), "dates")
        for seed in options.seeds
    ]
    exact_match = mean_and_std([row["test"]["exact_match"] for row in rows])
    print(
        f"dates: exact match {100 * exact_match['mean']:.2f} %, standard deviation {100 * exact_match['std']:.2f}, target 99; "
        f"{max(row['seconds'] for row in rows):.0f} s, target 120"
    )
    keep("dates", {"exact_match": exact_match, "runs": rows})


def training(options: argparse.Namespace, rounds: int = 3, pairs: int = 14_500) -> None:
    """Target tokens a second of `heedful train` and of Joey NMT's own loop, by turns; ends count, padding does not."""
    folder, rows = options.folder, []
    for _ in range(rounds):
        ours = tokens_a_second(folder, pairs)
        theirs = peer(options.joey, "train", "speed", folder / "train.en.gz", folder / "train.de.gz", "--updates", 25)
        rows.append({"ours": ours, "joey": theirs["tokens_per_second"], "joey_run": theirs})
        print(f"    {ours:,.0f} target tokens/s compared with {rows[-1]['joey']:,.0f}", flush=True)
    ratio, median = (
        statistics.median(row["ours"] / row["joey"] for row in rows),
        statistics.median(row["ours"] for row in rows),
    )
    print(f"training: {median:,.0f} target tokens/s, {ratio:.2f}x Joey NMT, target 4x")
    keep("translate-training", {"ratio": ratio, "rows": rows})


def tokens_a_second(folder: Path, pairs: int) -> float:
    """Target tokens a second that a training says of the second of two epochs over the first pairs."""
    whole = read_pairs(folder / "train", ("en", "de"))
    rows = range(len(whole))
    train, valid = whole.select(rows[:pairs]), whole.select(rows[pairs : pairs + 100])
    quick = {"training.epochs": 2, "training.ema_decay": 0.0, "search.beams": 1}
    return rates("translate", train, {**SHAPE, **quick}, valid=valid)[-1]


def decoding(options: argparse.Namespace, sentences: int = 200, rounds: int = 3) -> None:
    """Sentences a second, greedy and by a beam of 5, of two models of one shape that each learned when to end."""
    folder, joey = options.folder, options.joey
    own = {"training.epochs": 3, "training.batch_size": 1536, "training.precision": "bf16-mixed"}
    model = trained("translate", folder / "train", options.out / "decoding", {**SHAPE, **own}, valid=folder / "val")
    texts = read_pairs(folder / "test_2016_flickr", ("en", "de")).sources[:sentences]
    if not (PEER / "decoding").exists():  # so many updates until it ends where a sentence ends
        peer(joey, "train", "decoding", folder / "train.en.gz", folder / "train.de.gz", "--updates", 195)
    test, count = folder / "test_2016_flickr.en.gz", ("--sentences", sentences)
    theirs = [peer(joey, "decode", "decoding", test, *count, "--order", order) for order in ("file", "length")]
    rows: dict[str, Any] = {}
    for beams in (1, 5):
        model.predict(texts[:32], beams=beams)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            outputs = model.predict(texts, beams=beams)
            seconds.append(time.perf_counter() - start)
        rate = len(texts) / statistics.median(seconds)
        length = statistics.mean(len(model.task.generator.tokenizer.encode(one.output)) for one in outputs)
        peers = {run["order"]: run[f"beam_{beams}"] for run in theirs}
        ratios = {order: rate / run["sentences_per_second"] for order, run in peers.items()}
        row = {"sentences_per_second": rate, "mean_output_length": length, "joey": peers, "ratios": ratios}
        rows[f"beam_{beams}"] = row
        words = ", ".join(
            f"{run['sentences_per_second']:.1f} in the order of {order}: {ratios[order]:.2f}x"
            for order, run in peers.items()
        )
        print(f"beam {beams}: {rate:.1f} sentences/s of {length:.1f} tokens; Joey NMT {words}, target 3x", flush=True)
    keep("translate-decoding", rows)


def peer(joey: str, verb: str, place: str, *options: object) -> dict[str, Any]:
    """What Joey NMT says of itself."""
    script = Path(__file__).parent / "translate_peer.py"
    command = [joey, "-P", str(script), verb, str(PEER / place), *map(str, options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


PEER = Path("runs/joey")
PARTS = {"multi30k": multi30k, "scores": scores, "dates": dates, "training": training, "decoding": decoding}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--joey", default="python", help="an interpreter that has Joey NMT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of scores and dates")
    options = parser.parse_args()
    PARTS[options.part](options)


if __name__ == "__main__":
    main()
