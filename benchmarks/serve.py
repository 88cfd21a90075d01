"""heedful serve: texts a second that many clients get over HTTP, beside `predict` in batches of 64.

    python -m benchmarks.serve FOLDER       # of SST-2: train.tsv, test.tsv

Each client keeps its connection and sends one text a request, the next one when it has its answer. The server is a process of its own;
the clients are one more. Both ways take turns on the same texts, and each answer is compared with what `predict` gave.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._measure import keep
from benchmarks._runs import trained

SETTINGS = {"training.epochs": 1, "training.max_examples": 3000}  # what is learned does not matter here
BATCH = 64
CLIENTS = 200


@contextmanager
def serving(run: Path) -> Iterator[int]:
    """A server in a process of its own; its port."""
    command = [sys.executable, "-m", "heedful", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline().split(" until ")[0].rpartition(":")[2])
        finally:
            server.terminate()


async def ask_all(port: int, texts: Sequence[str], clients: int) -> list[Any]:
    """The prediction for each text; the clients take the texts in turn."""
    answers: list[Any] = [None] * len(texts)
    rows = iter(range(len(texts)))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for row in rows:
            body = json.dumps({"inputs": [texts[row]]}).encode()
            head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
            assert lines[0].startswith("http/1.1 200"), lines[0]
            length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
            (answers[row],) = json.loads(await reader.readexactly(length))["predictions"]
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


def measure(model: Any, texts: Sequence[str], *, clients: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds in which both ways take turns; answers that are missing or others count as lost."""
    batched, served, lost = [], [], 0
    with serving(model.folder.path) as port:
        for _ in range(rounds):
            start = time.perf_counter()
            expected = [one for row in range(0, len(texts), BATCH) for one in model.predict(texts[row : row + BATCH])]
            middle = time.perf_counter()
            answers = asyncio.run(ask_all(port, texts, clients))
            end = time.perf_counter()
            batched.append(len(texts) / (middle - start))
            served.append(len(texts) / (end - middle))
            pairs = zip(answers, expected, strict=True)
            lost += sum(
                one is None or (one["input"], one["label"]) != (other.input, other.label) for one, other in pairs
            )
    ratio = median(ours / theirs for ours, theirs in zip(served, batched, strict=True))
    return {
        "clients": clients, "requests": len(texts) * rounds, "lost": lost, "requests_per_second": median(served),
        "predict_per_second": median(batched), "ratio": ratio,
    }  # fmt: skip


def main(folder: Path, out: Path = Path("runs/benchmarks"), *, clients: int = CLIENTS, rounds: int = 5) -> None:
    """Trains a classifier of texts by its defaults and measures it."""
    model = trained("classify", str(folder / "train.tsv"), out / "serve", SETTINGS)
    texts = [line.rpartition("\t")[0] for line in (folder / "test.tsv").read_text().splitlines()]
    row = measure(model, texts, clients=clients, rounds=rounds)
    print(
        f"serve, {clients} clients: {row['requests_per_second']:.0f} requests/s, {100 * row['ratio']:.0f} % of the "
        f"{row['predict_per_second']:.0f} texts/s of predict in batches of {BATCH}; {row['lost']} of {row['requests']:,} lost"
    )
    keep("serve", {"target": 0.6, "batch_size": BATCH, **row})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    chosen = parser.parse_args()
    main(chosen.folder, chosen.out)
