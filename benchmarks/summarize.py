"""summarize on SciTLDR (abstracts alone): sentences that are chosen, and summaries that are written with and without copying.

    python -m benchmarks.summarize extractive FOLDER      # train.jsonl, dev.jsonl, test.jsonl
    python -m benchmarks.summarize copying FOLDER

Runs stay in --out; the same command goes on with them.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks._measure import keep
from benchmarks._runs import evaluated, spread, trained

MEASURES = ("rouge_1", "rouge_2", "rouge_l")
# 1,992 documents are few to learn to write from: a small model, much dropout.
WRITING = (
    "data.lowercase=true", "data.vocabulary=4000", "model.width=128", "model.layers=2", "model.hidden=256",
    "model.dropout=0.3", "training.epochs=10", "training.batch_size=2048", "training.learning_rate=2e-3",
    "training.precision=bf16-mixed",
)  # fmt: skip


def runs_of(name: str, folder: Path, out: Path, *settings: str) -> list[dict[str, Any]]:
    """A run a seed, measured on the test part."""
    rows = []
    for seed in (1, 2, 3):
        where = out / f"{name}-{seed}"
        words = [part for setting in (*settings, f"training.seed={seed}") for part in ("--set", setting)]
        files = ["--train", folder / "train.jsonl", "--valid", folder / "dev.jsonl"]
        metrics = trained("summarize", where, *files, *words)
        test = evaluated(where, folder / "test.jsonl")
        row = {"seed": seed, "seconds": metrics["seconds"], "parameters": metrics["parameters"], "words": test["words"]}
        rows.append(row | {"test": test["measures"], "baselines": test["baselines"], "signatures": test["signatures"]})
        print(f"{name}, seed {seed}: {shown(test['measures'])}, {metrics['seconds'] / 60:.1f} min", flush=True)
    return rows


def shown(measures: dict[str, float]) -> str:
    return " / ".join(f"{100 * measures[name]:.2f}" for name in MEASURES)


def means(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {name: spread([row["test"][name] for row in rows]) for name in MEASURES}


def extractive(folder: Path, out: Path) -> None:
    """One sentence, learned from the summaries and from the labels."""
    result: dict[str, Any] = {}
    for name, settings in {"summaries": (), "labels": ("data.labels=source_labels",)}.items():
        rows = runs_of(f"scitldr-{name}", folder, out, "model.kind=extractive", *settings)
        first, found = rows[0]["baselines"]["the first sentence, ROUGE-1"], means(rows)
        ahead = 100 * (found["rouge_1"]["mean"] - first)
        print(
            f"learned from {name}: ROUGE-1 {100 * found['rouge_1']['mean']:.2f}, {ahead:+.2f} points beside lead-1, asked +5"
        )
        result[name] = {"rouge": found, "ahead_of_lead_1": ahead, "runs": rows}
    keep("scitldr-extractive", result)


def copying(folder: Path, out: Path) -> None:
    """The same model with copying and without, the same seeds."""
    result: dict[str, Any] = {}
    for name, copies in {"copying": "true", "without": "false"}.items():
        rows = runs_of(f"scitldr-{name}", folder, out, *WRITING, f"model.copy_source={copies}")
        found = means(rows)
        print(f"{name}: " + " / ".join(f"{100 * found[m]['mean']:.2f}" for m in MEASURES), flush=True)
        result[name] = {"rouge": found, "runs": rows}
    result["ahead"] = {
        m: [
            100 * (a["test"][m] - b["test"][m])
            for a, b in zip(result["copying"]["runs"], result["without"]["runs"], strict=True)
        ]
        for m in MEASURES
    }
    print(f"copying ahead, seed by seed: {result['ahead']}; baselines {result['copying']['runs'][0]['baselines']}")
    keep("scitldr-copying", result)


PARTS = {"extractive": extractive, "copying": copying}


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
