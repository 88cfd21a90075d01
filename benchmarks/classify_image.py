"""classify-image at the command line: seeds of the embedded digits, MNIST, CIFAR-10.

    python -m benchmarks.classify_image digits
    python -m benchmarks.classify_image mnist FOLDER/t10k-images-idx3-ubyte.gz
    python -m benchmarks.classify_image cifar10 FOLDER/cifar10.zip

MNIST's file of 10,000 pictures is cut into the first 8,000 to train on and the last 2,000 to test. CIFAR-10 is an archive
(or a folder) with train/CLASS/... and test/CLASS/... The run folder stays in --out; the same command goes on with it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._measure import keep
from benchmarks._runs import ask
from heedful.cli import run

CONFIGS = Path(__file__).parents[1] / "examples" / "classify-image"


def digits(out: Path) -> None:
    """The demo, with seeds 1 to 3, each as a person runs it."""
    rows, program = [], [sys.executable, "-c", "from heedful.cli import main; main()", "demo"]
    for seed in (1, 2, 3):
        folder = out / f"demo-{seed}"
        start = time.monotonic()
        if not (folder / "metrics.json").exists():
            subprocess.run([*program, "--out", str(folder), "--seed", str(seed)], check=True)
        metrics = json.loads((folder / "metrics.json").read_text())
        rows.append({"seed": seed, "wall_seconds": time.monotonic() - start, **metrics})
    right = [row["digits"]["measures"]["accuracy"] for row in rows]
    spread = statistics.stdev(right)
    print(
        f"digits, other writers: {100 * statistics.mean(right):.2f} % right, spread {100 * spread:.2f}; {rows[0]['digits']['baselines']}"
    )
    keep("digits", {"mean_accuracy": statistics.mean(right), "spread": spread, "runs": rows})


def train_and_test(name: str, training: str, test: str, out: Path) -> None:
    """One training by the settings in examples/, measured on the test pictures."""
    folder = out / name
    words = [
        "train",
        "classify-image",
        "--data",
        training,
        "--out",
        str(folder),
        "--config",
        str(CONFIGS / f"{name}.toml"),
    ]
    assert run([*words, "--resume"]) == 0
    result = json.loads(ask("evaluate", str(folder), "--data", test, "--json"))
    trained = json.loads((folder / "metrics.json").read_text())
    result |= {
        "parameters": trained["parameters"],
        "training_seconds": trained["seconds"],
        "held_out": trained["measures"],
    }
    right, minutes = 100 * result["measures"]["accuracy"], trained["seconds"] / 60
    print(
        f"{name}: {right:.2f} % right of {result['pictures']}, {minutes:.1f} min, {trained['parameters']:,} parameters"
    )
    print(f"    baselines: {result['baselines']}")
    keep(name, result)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "mnist", "cifar10"])
    parser.add_argument("path", nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    if options.data == "digits":
        digits(options.out)
    elif options.path is None:
        parser.error(f"{options.data} needs the path of the data")
    elif options.data == "mnist":
        train_and_test("mnist", options.path + "[:8000]", options.path + "[8000:]", options.out)
    else:
        train_and_test("cifar10", options.path + "/train", options.path + "/test", options.out)


if __name__ == "__main__":
    main()
