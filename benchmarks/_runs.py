"""Trainings in folders that stay; each can be stopped, and goes on when it is asked for again."""

import contextlib
import io
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import heedful
from heedful.tasks.run import TrainedModel

Settings = Mapping[str, Any]


def trained(task: str, data: Any, out: Path, settings: Settings, *, valid: Any = None) -> TrainedModel:
    """The model of a run folder, which is made, or finished, unless it is there."""
    return heedful.train(task, data, valid=valid, settings=settings, out=out, resume=True)


def measured(model: TrainedModel, data: object) -> dict[str, Any]:
    """A row of results: what the training says of itself, and the metrics on other data, beside those of baselines."""
    training, test = model.metrics, model.evaluate(str(data))
    kept = ("seconds", "parameters", "non_padding_fraction")
    row = {"seed": model.folder.manifest()["seed"], **{name: training[name] for name in kept if name in training}}
    return row | {
        "validation": training["metrics"], "test": test.metrics, "baselines": test.baselines, "details": test.details,
    }  # fmt: skip


def rates(
    task: str, data: Any, settings: Settings, *, valid: Any, between: Callable[[], Any] = lambda: None
) -> list[float]:
    """How many of the task's unit a second a training says of each epoch; between the epochs, others may have a turn."""

    class Screen(io.StringIO):
        def write(self, text: str) -> int:
            for rate in re.findall(r"([\d,]+) [a-z ]+/s", text):
                found.append(float(rate.replace(",", "")))
                between()
            return len(text)

    found: list[float] = []
    with contextlib.redirect_stdout(Screen()):
        heedful.train(task, data, valid=valid, settings=settings)
    return found


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
