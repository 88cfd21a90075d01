"""How soon the command line answers, and what importing the library costs beside PyTorch."""

import statistics
import subprocess
import sys
import time

from benchmarks._measure import keep

RUNS = 9


def seconds(*command: str) -> float:
    """The median wall time of a whole process."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Prints the figures and keeps results/startup.json."""
    python = sys.executable
    torch = seconds(python, "-c", "import torch")
    figures = {
        "heedful --help": seconds(python, "-c", "from heedful.cli import main; main(['--help'])"),
        "import heedful": seconds(python, "-c", "import heedful"),
        "import torch": torch,
        "import heedful.ops, beside torch": seconds(python, "-c", "import heedful; heedful.attention") - torch,
    }
    for name, value in figures.items():
        print(f"  {name:<34} {value:.3f} s")
    keep("startup", {"seconds": figures})


if __name__ == "__main__":
    main()
