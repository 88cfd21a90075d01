"""summarize on SciTLDR (abstracts alone): sentences that are chosen, and summaries that are written with and without copying.

    python -m benchmarks.summarize extractive FOLDER      # train.jsonl, dev.jsonl, test.jsonl
    python -m benchmarks.summarize copying FOLDER

Runs stay in --out; the same command goes on with them.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks._measure import keep
from benchmarks._runs import Settings, mean_and_std, measured, trained

METRICS = ("rouge_1", "rouge_2", "rouge_l")
# 1,992 documents are few to learn to write from: a small model, much dropout.
WRITING = {
    "data": {"lowercase": True, "vocabulary_size": 4000},
    "model": {"width": 128, "layers": 2, "ffn_width": 256, "dropout": 0.3},
    "training": {"epochs": 10, "batch_size": 2048, "learning_rate": 2e-3, "precision": "bf16-mixed"},
}


def runs_of(task: str, name: str, options: argparse.Namespace, settings: Settings) -> list[dict[str, Any]]:
    """A run a seed, measured on the test part."""
    folder, rows = options.folder, []
    for seed in options.seeds:
        model = trained(
            task, folder / "train.jsonl", options.out / f"{name}-{seed}", {**settings, "training.seed": seed},
            valid=folder / "dev.jsonl",
        )  # fmt: skip
        row = measured(model, folder / "test.jsonl")
        rows.append(row)
        print(f"{name}, seed {seed}: {percents(row['test'])}, {row['seconds'] / 60:.1f} min", flush=True)
    return rows


def percents(metrics: dict[str, float]) -> str:
    return " / ".join(f"{100 * metrics[name]:.2f}" for name in METRICS)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rouge": {name: mean_and_std([row["test"][name] for row in rows]) for name in METRICS}, "runs": rows}


def extractive(options: argparse.Namespace) -> None:
    """One sentence, learned from the summaries and from the labels."""
    result: dict[str, Any] = {}
    for name, settings in {"summaries": {}, "labels": {"data.labels": "source_labels"}}.items():
        found = summary(runs_of("summarize-extractive", f"scitldr-{name}", options, settings))
        rouge_1, lead = found["rouge"]["rouge_1"]["mean"], found["runs"][0]["baselines"]["lead-1"]["rouge_1"]
        ahead = 100 * (rouge_1 - lead)
        print(f"learned from {name}: ROUGE-1 {100 * rouge_1:.2f}, {ahead:+.2f} points compared with lead-1, target +5")
        result[name] = found | {"ahead_of_lead_1": ahead}
    keep("scitldr-extractive", result)


def copying(options: argparse.Namespace) -> None:
    """The same model with copying and without, the same seeds."""
    result: dict[str, Any] = {}
    for name, pointer in {"copying": True, "without": False}.items():
        found = summary(runs_of("summarize", f"scitldr-{name}", options, {**WRITING, "model.pointer": pointer}))
        print(f"{name}: {percents({metric: value['mean'] for metric, value in found['rouge'].items()})}", flush=True)
        result[name] = found
    pairs = list(zip(result["copying"]["runs"], result["without"]["runs"], strict=True))
    result["ahead"] = {m: [100 * (a["test"][m] - b["test"][m]) for a, b in pairs] for m in METRICS}
    print(f"copying ahead, seed by seed: {result['ahead']}; baselines {pairs[0][0]['baselines']}")
    keep("scitldr-copying", result)


PARTS = {"extractive": extractive, "copying": copying}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    PARTS[options.part](options)


if __name__ == "__main__":
    main()
