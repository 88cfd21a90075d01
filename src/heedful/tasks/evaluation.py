"""How good a trained model is, beside simpler methods that are fitted on its training data."""

import dataclasses
from typing import TYPE_CHECKING, Any

from heedful._errors import DataError
from heedful._terminal import working
from heedful.tasks.contract import Scores, Task
from heedful.tasks.sources import IN_MEMORY, checksum, split_of

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good a model is on labeled data, and how good simpler methods are.

    Attributes:
        data: which data, in words.
        examples: how many.
        metrics: values by name; shares are numbers from 0 to 1.
        units: of the metrics; "%" of shares.
        baselines: the same metrics of each simpler method, fitted on the training data.
        details: further results, such as confusions.
        note: what a reader should know, such as why there are no baselines.
    """

    data: str
    examples: int
    metrics: dict[str, float]
    units: dict[str, str]
    baselines: dict[str, dict[str, float]]
    details: dict[str, Any]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def training_of(task: Task[Any], manifest: dict[str, Any]) -> tuple[Any, str]:
    """The examples that a run was trained on; None, and why, where they are not there or have changed."""
    sources = manifest["data"]
    if IN_MEMORY in sources.values():
        return None, "no baselines: they need the training data, which were in memory."
    try:
        training = split_of(type(task), task.settings, sources)[0].training
    except (DataError, OSError) as error:
        return None, f"no baselines: they need the training data, which cannot be read: {str(error).rstrip('.')}."
    if checksum(training) != manifest["data_checksums"]["train"]:
        source = next(iter(sources.values()))
        return None, f"no baselines: they need the training data, which have changed since: {source}."
    return training, ""


def evaluated(
    task: Task[Any],
    model: Any,
    training: Any,
    examples: Any,
    data: str,
    note: str = "",
    console: "Console | None" = None,
) -> Evaluation:
    """The metrics of the model and of the baselines, by the same function; on a terminal what takes so long is shown."""
    with working(console, f"evaluating on {len(examples):,} {task.example}s"):
        ours = task.score(task.predict(model, list(task.inputs(examples)), task.Options()), examples)
    scores = {}
    if training is not None:
        with working(console, f"fitting the baselines on {len(training):,} {task.example}s"):
            others = task.baselines(training, examples)
            scores = {name: task.score(predictions, examples) for name, predictions in others.items()}
    return Evaluation(
        data, len(examples), _values(ours), {name: metric.unit for name, metric in ours.metrics.items()},
        {name: _values(score) for name, score in scores.items()}, dict(ours.details), " ".join(filter(None, [ours.note, note])),
    )  # fmt: skip


def _values(scores: Scores) -> dict[str, float]:
    return {name: float(metric.value) for name, metric in scores.metrics.items()}
