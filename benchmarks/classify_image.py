"""classify-image: the embedded digits, MNIST, CIFAR-10.

    python -m benchmarks.classify_image digits
    python -m benchmarks.classify_image mnist FOLDER/t10k-images-idx3-ubyte.gz
    python -m benchmarks.classify_image cifar10 FOLDER/cifar10.zip

MNIST's file of 10,000 images is cut into the first 8,000 to train on and the last 2,000 to test. CIFAR-10 is an archive
(or a folder) with train/CLASS/... and test/CLASS/... The run folder stays in --out; the same command goes on with it.
"""

import argparse
import tomllib
from pathlib import Path

from benchmarks._measure import keep
from benchmarks._runs import mean_and_std, measured, trained

CONFIGS = Path(__file__).parents[1] / "examples" / "classify-image"


def digits(out: Path) -> None:
    """The default settings, with seeds 1 to 3, measured on the last fifth."""
    rows = []
    for seed in (1, 2, 3):
        rows.append(
            measured(trained("classify-image", "digits", out / f"digits-{seed}", {"training.seed": seed}), "digits")
        )
    accuracy = mean_and_std([row["test"]["accuracy"] for row in rows])
    seconds = max(row["seconds"] for row in rows)
    print(
        f"digits, other writers: accuracy {100 * accuracy['mean']:.2f} %, standard deviation {100 * accuracy['std']:.2f}; "
        f"at most {seconds:.0f} s\n    baselines: {rows[0]['baselines']}"
    )
    keep("digits", {"accuracy": accuracy, "runs": rows})


def train_and_test(name: str, training: str, test: str, out: Path) -> None:
    """One training by the settings in examples/, measured on the test images."""
    settings = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    row = measured(trained("classify-image", training, out / name, settings), test)
    accuracy, minutes = 100 * row["test"]["accuracy"], row["seconds"] / 60
    print(f"{name}: accuracy {accuracy:.2f} %, {minutes:.1f} min, {row['parameters']:,} parameters")
    print(f"    baselines: {row['baselines']}")
    keep(name, row)


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
