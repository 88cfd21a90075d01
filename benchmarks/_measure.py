"""How things are timed: in turn with their peer, many times, and the median of the ratios counts."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

RESULTS = Path(__file__).parent / "results"
MOST: int | None = None  # no length is larger: for the tests


def size(length: int) -> int:
    """A length, or the largest that is allowed."""
    return length if MOST is None else min(length, MOST)


def sizes(*lengths: int) -> list[int]:
    """Lengths, each once."""
    return list(dict.fromkeys(map(size, lengths)))


def kept(name: str) -> dict[str, Any]:
    """What results/NAME.json says; nothing if it is not there."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}  # type: ignore[no-any-return]


class Pair(NamedTuple):
    """Median seconds of ours and theirs, and the median of the ratios ours / theirs."""

    ours: float
    theirs: float
    ratio: float


def paired(ours: Callable[[], Any], theirs: Callable[[], Any], *, seconds: float = 4.0, repeat: int = 1) -> Pair:
    """Times two calls in turn, for about so many seconds, at least 7 times each; `repeat` calls count as one."""
    for call in (ours, theirs, ours, theirs):
        call()
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < 7 or time.perf_counter() < end:
        order = (ours, theirs) if len(pairs) % 2 == 0 else (theirs, ours)
        times = {}
        for call in order:
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            times[call] = (time.perf_counter() - start) / repeat
        pairs.append((times[ours], times[theirs]))
    median = statistics.median
    return Pair(median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs))


def keep(name: str, content: dict[str, Any]) -> None:
    """Writes results/NAME.json, with what it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps({"measured_on": machine, **content}, indent=2) + "\n")
