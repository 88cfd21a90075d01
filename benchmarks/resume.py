"""A training is killed at random moments and resumed; it must come out exactly as one that was never interrupted.

    python -m benchmarks.resume [--kills 10] [--out FOLDER] [--seed 1]

Each training is a process of its own, killed by SIGKILL somewhere between its start and its last file, every third one
twice. Compared are the metrics, the log and the weights. The exit status is 1 if any differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._measure import keep
from heedful.training.run_folder import RunFolder

SETTINGS = (
    "model.stages=[16, 32]", "model.width=32", "model.ffn_width=64", "model.dropout=0.2", "augmentation.cutmix=0.3",
    "augmentation.erase=0.2", "training.epochs=8", "training.patience=6",
)  # fmt: skip


def command(folder: Path) -> list[str]:
    """A training of about a quarter of a minute, with everything on that has a state or draws random numbers."""
    assigned = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ["train", "classify-image", "--data", "digits", "--out", str(folder), *assigned, "--resume"]
    return [sys.executable, "-c", "from heedful.cli import main; main()", *words]


def finished(folder: Path) -> float:
    """Runs, or goes on, to the end; gives the seconds."""
    start = time.monotonic()
    subprocess.run(command(folder), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def killed(folder: Path, after: float) -> bool:
    """Runs and kills; False where the training was done before."""
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def epochs_kept(folder: Path) -> int:
    """How many epochs the last checkpoint holds; it must be whole at any moment."""
    last = RunFolder(folder).last_checkpoint
    return torch.load(last, weights_only=True)["epoch"] + 1 if last.exists() else 0


def outcome(folder: Path) -> dict[str, Any]:
    """What must not differ."""
    run = RunFolder(folder)
    files = run.require_finished()["files"]
    metrics = {name: value for name, value in run.metrics().items() if name != "seconds"}
    return {"metrics": metrics, "log": files["log.csv"], "weights": files["model.safetensors"]}


def measure(kills: int, out: Path, seed: int) -> bool:
    """Prints a line a kill; gives whether all came out the same."""
    draw = random.Random(seed)
    seconds = finished(out / "whole")
    expected = outcome(out / "whole")
    print(f"never interrupted: {seconds:.1f} s, accuracy {100 * expected['metrics']['metrics']['accuracy']:.1f} %\n")
    print(f"{'killed after':>14}  {'epochs kept':>11}  {'equal':>5}")
    rows = []
    for number in range(kills):
        folder = out / f"killed-{number + 1}"
        moments, kept = [], []
        while len(moments) < 1 + (number % 3 == 2):
            moment = draw.uniform(0, seconds)
            if killed(folder, moment):
                moments.append(round(moment, 2))
                kept.append(epochs_kept(folder))
            else:
                shutil.rmtree(folder)  # it was done before: once more
                moments, kept = [], []
        finished(folder)
        differing = [name for name, value in outcome(folder).items() if value != expected[name]]
        rows.append({"killed_after_seconds": moments, "epochs_kept": kept, "differs": differing})
        said = "yes" if not differing else f"no: {', '.join(differing)}"
        times = " + ".join(f"{moment:.1f}" for moment in moments)
        print(f"{times:>12} s  {' + '.join(map(str, kept)):>11}  {said:>5}", flush=True)
    equal = not any(row["differs"] for row in rows)
    keep("resume", {"seconds": round(seconds, 1), "settings": SETTINGS, "equal": equal, "kills": rows})
    return equal


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path, help="where the runs stay; without it they are removed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise SystemExit(f"{out}: must be empty.")
    try:
        equal = measure(options.kills, out, options.seed)
    finally:
        if options.out is None:
            shutil.rmtree(out)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
