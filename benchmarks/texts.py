"""tag and classify at the command line: quality, what attention brings, and what batches by length save.

    python -m benchmarks.texts tag FOLDER           # of Universal Dependencies' English Web Treebank
    python -m benchmarks.texts mixing FOLDER        # the same: no mixing, a window of neighbours, attention
    python -m benchmarks.texts batches FOLDER       # the same: words a second, beside shuffled padded batches
    python -m benchmarks.texts classify FOLDER      # of SST-2: train.tsv, dev.tsv, test.tsv
    python -m benchmarks.texts predict FOLDER       # of Universal Dependencies: from command to answer

Runs stay in --out; the same command goes on with them.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._measure import keep
from benchmarks._runs import evaluated, spread, trained

SEEDS = (1, 2, 3)


def _treebank(folder: Path) -> tuple[Path, Path, Path]:
    found = [next(folder.glob(f"*-{part}.conllu*"), None) for part in ("train", "dev", "test")]
    if None in found:
        raise SystemExit(f"{folder}: must hold *-train.conllu, *-dev.conllu and *-test.conllu")
    return tuple(found)  # type: ignore[return-value]


def _seeds(task: str, name: str, parts: tuple[Path, Path, Path], out: Path, *settings: str) -> list[dict[str, Any]]:
    """A run a seed, measured on the test part."""
    rows = []
    for seed in SEEDS:
        words = [word for setting in (f"training.seed={seed}", *settings) for word in ("--set", setting)]
        folder = out / f"{name}-{seed}"
        metrics = trained(task, folder, "--train", parts[0], "--valid", parts[1], *words)
        test = evaluated(folder, parts[2])
        rows.append({
            "seed": seed, "seconds": metrics["seconds"], "parameters": metrics["parameters"],
            "real_tokens": metrics["real_tokens"], "valid": metrics["measures"], "test": test["measures"],
            "baselines": test["baselines"],
        })  # fmt: skip
    return rows


def tag(folder: Path, out: Path) -> None:
    """UPOS on the test part, gold tokens, nothing pretrained."""
    rows = _seeds("tag", "tag", _treebank(folder), out)
    _report("tag", rows, target=0.95)


def classify(folder: Path, out: Path) -> None:
    """Sentences of SST-2."""
    parts = (folder / "train.tsv", folder / "dev.tsv", folder / "test.tsv")
    _report("classify", _seeds("classify", "classify", parts, out), target=0.83)


def _report(name: str, rows: list[dict[str, Any]], target: float) -> None:
    accuracy = spread([row["test"]["accuracy"] for row in rows])
    minutes = max(row["seconds"] for row in rows) / 60
    print(f"{name}: {100 * accuracy['mean']:.2f} % of the test part, spread {100 * accuracy['spread']:.2f}", end="; ")
    print(f"asked {100 * target:.1f}; at most {minutes:.1f} min; {rows[0]['parameters']:,} parameters")
    print(f"    baselines: {rows[0]['baselines']}")
    keep(name, {"asked": target, "accuracy": accuracy, "minutes": minutes, "runs": rows})


def mixing(folder: Path, out: Path) -> None:
    """The same tagger with other ways for words to see each other: as many parameters, the same epochs and seeds."""
    parts, kinds = _treebank(folder), ("none", "window", "attention")
    rows = {kind: _seeds("tag", f"mixing-{kind}", parts, out, f"model.mixing={kind}", *SHORT) for kind in kinds}
    result: dict[str, Any] = {"epochs": SHORT[0]}
    for kind in kinds:
        accuracies = [row["test"]["accuracy"] for row in rows[kind]]
        ahead = [a - b["test"]["accuracy"] for a, b in zip(accuracies, rows["none"], strict=True)]
        result[kind] = {"accuracy": spread(accuracies), "ahead_of_none": spread(ahead), "runs": rows[kind]}
        print(
            f"{kind:<10} {100 * statistics.mean(accuracies):.2f} %, ahead of none by {100 * statistics.mean(ahead):+.2f} points, "
            f"{rows[kind][0]['parameters']:,} parameters, {statistics.mean(r['seconds'] for r in rows[kind]):.0f} s"
        )
    keep("tag-mixing", result)


SHORT = ("training.epochs=4",)


def batches(folder: Path, _: Path) -> None:
    """Words a second in training: sentences of one length together, beside shuffled ones, padded to their own longest."""
    from rich.console import Console

    from heedful.data.batches import ByLength, Shuffled
    from heedful.tasks import tag as task

    train, valid, _test = _treebank(folder)
    settings = task.Settings()
    prepared = task.prepare(settings, {"train": str(train), "valid": str(valid)}, Console(quiet=True))
    data = task._Batches(prepared.training, prepared.vocabulary, prepared.labels)
    lengths, room = data.corpus.lengths, settings.training.batch_size
    by_length = ByLength(lengths, room, 1)
    shuffled = Shuffled(len(lengths), max(round(room * len(lengths) / sum(lengths)), 1), 1)  # as many words a step
    model = prepared.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def words_a_second(order: Any, epoch: int, steps: int = 24) -> float:
        order.set_epoch(epoch)
        words, start = 0, time.perf_counter()
        for _, indices in zip(range(steps), order, strict=False):
            batch = data[indices]
            task._loss(model, batch, settings.loss).backward()
            optimizer.step()
            optimizer.zero_grad()
            words += int(batch[0].lengths.sum())
        return words / (time.perf_counter() - start)

    words_a_second(by_length, 0), words_a_second(shuffled, 0)
    ours, theirs = zip(*((words_a_second(by_length, e), words_a_second(shuffled, e)) for e in range(1, 8)), strict=True)
    computed = sum(len(batch) * max(lengths[i] for i in batch) for batch in shuffled)
    padded = sum(lengths[i] for batch in shuffled for i in batch) / computed
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"real tokens: {100 * by_length.real():.1f} % (shuffled {100 * padded:.1f} %), asked 90 %")
    print(
        f"words a second: {statistics.median(ours):,.0f} beside {statistics.median(theirs):,.0f}: {ratio:.2f}x, asked 1.3x"
    )
    result = {"real_tokens": by_length.real(), "real_tokens_shuffled": padded, "ratio": ratio}
    keep("tag-batches", {**result, "words_a_second": statistics.median(ours), "shuffled": statistics.median(theirs)})


def predict(folder: Path, out: Path) -> None:
    """From command to answer: one sentence, a process of its own each time."""
    run = out / "tag-1"
    if not (run / "metrics.json").exists():
        train, valid, _ = _treebank(folder)
        trained("tag", run, "--train", train, "--valid", valid)
    words = [sys.executable, "-c", "from heedful.cli import main; main()", "predict", str(run), "Sky is clear today"]
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    print(f"predict: {median:.2f} s from command to answer, asked 2.5")
    keep("tag-predict", {"seconds": median, "asked": 2.5})


PARTS = {"tag": tag, "mixing": mixing, "batches": batches, "classify": classify, "predict": predict}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    PARTS[options.part](options.folder, options.out)


if __name__ == "__main__":
    main()
