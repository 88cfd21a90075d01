"""Trainings as a person runs them at the command line; each can be stopped, and goes on when it is asked for again."""

import contextlib
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heedful.cli import run


def ask(*words: object) -> str:
    """Runs a command and gives what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = run([str(word) for word in words])
    if status:
        raise SystemExit(status)
    return out.getvalue()


def trained(task: str, folder: Path, *words: object) -> dict[str, Any]:
    """The metrics of a run, which is made unless it is there."""
    if run(["train", task, "--out", str(folder), *map(str, words), "--resume"]):
        raise SystemExit(1)
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def evaluated(folder: Path, data: object) -> dict[str, Any]:
    """The measures of a run on other data."""
    return json.loads(ask("evaluate", folder, "--data", data, "--json"))  # type: ignore[no-any-return]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.mean(values), "spread": statistics.stdev(values) if len(values) > 1 else 0.0}
