"""Small data: what the defaults reach, beside the best baseline of the same run.

    python -m benchmarks.small_data SST2_FOLDER EWT_FOLDER MNIST_FOLDER [--out runs/small-data]

`classify` on the first 200, 800 and 3,000 sentences of SST-2, also without its linear model; `tag` on the first 100 and 500 sentences of
EWT; `classify-image` on the first 200 and 1,000 of MNIST's 10,000 test pictures, measured on the last 5,000. No setting is changed. Each is
a comparison in a folder of --out: what is done stays, and the same command goes on.
"""

import argparse
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import heedful
from benchmarks._measure import keep
from heedful.data.images import read_images

SEEDS = (1, 2, 3)
TESTED = 5000  # pictures


class Small(NamedTuple):
    """Data of one size, the data that are measured on, and the variants of the settings."""

    task: str
    size: int
    data: Any
    test: Any
    settings: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]


def sentences(file: Path, count: int) -> str:
    """The first sentences of a CoNLL-U file."""
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    return "\n\n".join(blocks[:count]) + "\n\n"


def parts(sst2: Path, ewt: Path, mnist: Path, out: Path) -> Iterator[Small]:
    """What is measured; the data of each size are written beside the runs."""
    out.mkdir(parents=True, exist_ok=True)
    defaults: Mapping[str, Any] = {"defaults": {}}
    for size in (200, 800, 3000):
        file = out / f"sst2-{size}.tsv"
        with (sst2 / "train.tsv").open(encoding="utf-8") as lines:
            file.write_text("".join(itertools.islice(lines, size)), encoding="utf-8")
        columns = {"data.text": 1, "data.label": 2}
        yield Small(
            "classify", size, file, sst2 / "test.tsv", columns, defaults | {"attention alone": {"model.linear": False}}
        )
    for size in (100, 500):
        file = out / f"ewt-{size}.conllu"
        file.write_text(sentences(ewt / "en_ewt-ud-train.conllu", size), encoding="utf-8")
        yield Small("tag", size, file, ewt / "en_ewt-ud-test.conllu", {}, defaults)
    pictures = read_images(mnist / "t10k-images-idx3-ubyte.gz")
    for size in (200, 1000):
        some = (pictures.select(range(size)), pictures.select(range(len(pictures) - TESTED, len(pictures))))
        yield Small("classify-image", size, *some, {}, defaults)


def main() -> None:
    """Trains what is not there yet, and prints a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sst2", "ewt", "mnist"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/small-data"))
    parser.add_argument("--tasks", nargs="+", default=["classify", "tag", "classify-image"])
    given = parser.parse_args()
    rows = []
    for small in parts(given.sst2, given.ewt, given.mnist, given.out):
        if small.task not in given.tasks:
            continue
        out = given.out / f"{small.task}-{small.size}"
        found = heedful.compare(
            small.task, small.data, small.variants, out=out, test=small.test, seeds=SEEDS, settings=small.settings
        )
        print(f"{small.task}, {small.size:,} examples\n{found}", flush=True)
        rows.append(
            {
                "task": small.task, "examples": small.size, "metric": found.metric, "rows": found.rows(),
                "differences": [difference._asdict() for difference in found.differences()],
            }
        )  # fmt: skip
    keep("small-data", {"seeds": SEEDS, "sizes": rows})


if __name__ == "__main__":
    main()
