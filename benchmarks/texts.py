"""tag and classify: quality, what attention brings, and what batches by length save.

    python -m benchmarks.texts tag FOLDER           # of Universal Dependencies' English Web Treebank
    python -m benchmarks.texts mixing FOLDER        # the same: each word alone, a window of neighbors, attention
    python -m benchmarks.texts batches FOLDER       # the same: words a second, beside shuffled padded batches
    python -m benchmarks.texts segment FOLDER       # the same: raw texts cut into words, as the tagger cuts them
    python -m benchmarks.texts classify FOLDER      # of SST-2: train.tsv, dev.tsv, test.tsv
    python -m benchmarks.texts predict FOLDER       # of Universal Dependencies: from command to answer

Runs stay in --out; the same command goes on with them.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks._measure import keep
from benchmarks._runs import Settings, mean_and_std, measured, trained

RUNS = 7  # of a command, beside one to warm up
WINDOW = {"model.architecture": "window", "training.epochs": 4}
MIXING: dict[str, Settings] = {
    "alone": {**WINDOW, "model.reach": 0}, "window": WINDOW, "attention": {"training.epochs": 4},
}  # fmt: skip


def treebank(folder: Path) -> list[Path]:
    """Its three parts."""
    files = [next(folder.glob(f"*-{part}.conllu*"), None) for part in ("train", "dev", "test")]
    parts = [file for file in files if file is not None]
    if len(parts) < 3:
        raise SystemExit(f"{folder}: must hold *-train.conllu, *-dev.conllu and *-test.conllu")
    return parts


def runs_of(
    task: str, name: str, parts: list[Path], options: argparse.Namespace, settings: Settings = MappingProxyType({})
) -> list[dict[str, Any]]:
    """A run a seed, measured on the test part."""
    train, valid, test = parts
    return [
        measured(
            trained(task, train, options.out / f"{name}-{seed}", {"training.seed": seed, **settings}, valid=valid), test
        )
        for seed in options.seeds
    ]


def report(name: str, rows: list[dict[str, Any]], target: float) -> None:
    """A line, and results/NAME.json."""
    accuracy, minutes = (
        mean_and_std([row["test"]["accuracy"] for row in rows]),
        max(row["seconds"] for row in rows) / 60,
    )
    print(
        f"{name}: test accuracy {100 * accuracy['mean']:.2f} %, standard deviation {100 * accuracy['std']:.2f}; "
        f"target {100 * target:.1f}; at most {minutes:.1f} min; {rows[0]['parameters']:,} parameters"
    )
    print(f"    baselines: {rows[0]['baselines']}")
    keep(name, {"target": target, "accuracy": accuracy, "minutes": minutes, "runs": rows})


def tag(options: argparse.Namespace) -> None:
    """UPOS on the test part, gold tokens, nothing pretrained."""
    report("tag", runs_of("tag", "tag", treebank(options.folder), options), target=0.95)


def classify(options: argparse.Namespace) -> None:
    """Sentences of SST-2."""
    parts = [options.folder / f"{part}.tsv" for part in ("train", "dev", "test")]
    report("classify", runs_of("classify", "classify", parts, options), target=0.83)


def mixing(options: argparse.Namespace) -> None:
    """The same tagger with other ways for words to see each other: as many parameters, the same epochs and seeds."""
    parts = treebank(options.folder)
    rows = {name: runs_of("tag", f"mixing-{name}", parts, options, settings) for name, settings in MIXING.items()}
    alone, result = [row["test"]["accuracy"] for row in rows["alone"]], {}
    for name, runs in rows.items():
        accuracies = [row["test"]["accuracy"] for row in runs]
        ahead = [a - b for a, b in zip(accuracies, alone, strict=True)]
        result[name] = {"accuracy": mean_and_std(accuracies), "ahead_of_alone": mean_and_std(ahead), "runs": runs}
        print(
            f"{name:<10} {100 * statistics.mean(accuracies):.2f} %, {100 * statistics.mean(ahead):+.2f} points compared with each "
            f"word alone, {runs[0]['parameters']:,} parameters, {statistics.mean(row['seconds'] for row in runs):.0f} s"
        )
    keep("tag-mixing", {"epochs": 4, **result})


def batches(options: argparse.Namespace) -> None:
    """Words a second in training: sentences of one length together, beside shuffled ones, padded to their own longest."""
    from heedful.data.batches import ShuffledBatches
    from heedful.tasks.sources import prepare
    from heedful.tasks.tag import Tag, TagSettings

    train, valid, _ = treebank(options.folder)
    settings = TagSettings()
    parts, task = prepare(Tag, settings, {"train": str(train), "valid": str(valid)})
    batches, model = task.batches(parts.training, training=True), task.build().train()
    lengths, by_length = [len(sentence.words) for sentence in parts.training.sentences], batches.order
    words_a_step = settings.training.batch_size
    shuffled = ShuffledBatches(len(lengths), max(round(words_a_step * len(lengths) / sum(lengths)), 1), 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def words_a_second(order: Any, epoch: int, steps: int = 24) -> float:
        order.set_epoch(epoch)
        words, start = 0, time.perf_counter()
        for _, indices in zip(range(steps), order, strict=False):
            batch = batches.make(indices)
            task.loss(model, batch, "").backward()
            optimizer.step()
            optimizer.zero_grad()
            words += batches.size(batch)
        return words / (time.perf_counter() - start)

    rates = [(words_a_second(by_length, epoch), words_a_second(shuffled, epoch)) for epoch in range(8)][1:]
    computed = sum(len(rows) * max(lengths[i] for i in rows) for rows in shuffled)
    share = sum(lengths[i] for rows in shuffled for i in rows) / computed
    ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio, fraction = statistics.median(a / b for a, b in rates), by_length.non_padding_fraction()
    print(f"words a second: {ours:,.0f} compared with {theirs:,.0f} shuffled: {ratio:.2f}x, target 1.3x")
    print(f"of the tokens {100 * fraction:.1f} % are no padding (shuffled {100 * share:.1f} %), target 90 %")
    fractions = {"non_padding_fraction": fraction, "non_padding_fraction_shuffled": share}
    keep("tag-batches", {**fractions, "ratio": ratio, "words_a_second": ours, "shuffled": theirs})


def predict(options: argparse.Namespace) -> None:
    """From command to answer: one sentence, a process of its own each time."""
    train, valid, _ = treebank(options.folder)
    run = trained("tag", train, options.out / "tag-1", {"training.seed": 1}, valid=valid).folder.path
    words = [sys.executable, "-c", "from heedful.cli import main; main()", "predict", str(run), "Sky is clear today"]
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    print(f"predict: {median:.2f} s from command to answer, target 2.5")
    keep("tag-predict", {"seconds": median, "target": 2.5})


def segment(options: argparse.Namespace) -> None:
    """Raw texts of the test part cut into words; learned from the training part."""
    from heedful.data.text import read_conllu
    from heedful.data.text.segmentation import Segmenter, raw_texts
    from heedful.data.text.words import split_words

    train, _, test = treebank(options.folder)
    sentences = [(one, text) for one in read_conllu(test) for text in raw_texts([one])]
    truth, texts = [one.words for one, _ in sentences], [text.text for _, text in sentences]
    training = list(read_conllu(train))
    start = time.process_time()
    segmenter = Segmenter.fit(training)
    seconds = time.process_time() - start
    if segmenter is None:
        raise SystemExit(f"{train}: must hold raw texts")
    results = {"segmenter": cut_well(segmenter.split(texts), truth), "rules": cut_well(map(split_words, texts), truth)}
    for name, scores in results.items():
        print(f"{name}: token F1 {100 * scores['f1']:.2f} %, {100 * scores['exact']:.1f} % of the sentences are exact")
    print(f"target 98; learned in {seconds:.0f} s of one thread; {len(texts):,} sentences")
    keep("tag-segment", {"target": 0.98, **results, "sentences": len(texts), "seconds": seconds})


def cut_well(found: Iterable[Sequence[str]], truth: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of words, by where they begin and end in the text without its blanks; the share of sentences without a fault."""

    def spans(words: Sequence[str]) -> set[tuple[int, int]]:
        ends = list(accumulate(len(word.replace(" ", "")) for word in words))
        return set(pairwise([0, *ends]))

    pairs = [(spans(words), spans(own)) for words, own in zip(found, truth, strict=True)]
    total = sum(len(words) + len(own) for words, own in pairs)
    exact = sum(words == own for words, own in pairs) / len(pairs)
    return {"f1": 2 * sum(len(words & own) for words, own in pairs) / total, "exact": exact}


PARTS: Mapping[str, Any] = {
    "tag": tag, "mixing": mixing, "batches": batches, "segment": segment, "classify": classify, "predict": predict,
}  # fmt: skip


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of tag, mixing and classify")
    options = parser.parse_args()
    PARTS[options.part](options)


if __name__ == "__main__":
    main()
