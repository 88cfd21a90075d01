"""Trainings in folders that stay; each can be stopped, and goes on when it is asked for again."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import heedful
from heedful.tasks.run import TrainedModel

Settings = Mapping[str, Any]


def trained(task: str, data: object, out: Path, settings: Settings, *, valid: object = None) -> TrainedModel:
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


def mean_and_std(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
