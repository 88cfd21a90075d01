"""How good a trained model is, beside simpler methods that are fitted on its training data."""

import dataclasses
from typing import TYPE_CHECKING, Any

from heedful._errors import DataError, HeedfulError
from heedful._terminal import working
from heedful.tasks.contract import Scores, Task
from heedful.tasks.sources import IN_MEMORY, checksum, is_embedded, shown, split_of
from heedful.training.run_folder import RunFolder

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


def may_read(kind: type[Task[Any]], run: RunFolder) -> bool:
    """Whether the data that a run folder names may be opened: this user trained it, or they are embedded."""
    return run.made_here() or all(is_embedded(kind, source) for source in run.manifest()["data"].values())


def named(sources: dict[str, str]) -> str:
    """The options that name data."""
    return " ".join(f"--{name} {source}" for name, source in sources.items())


def training_of(task: Task[Any], run: RunFolder, train: Any = None) -> tuple[Any, str]:
    """The examples that a run was trained on; None, and why, where they may not be read, are not there or have changed.

    Args:
        task: of the run.
        run: its folder.
        train: its training data; None: those that the folder names.

    Raises:
        DataError: `train` cannot be read, or is other data.
    """
    manifest = run.manifest()
    sources, need = manifest["data"], "no baselines: they need the training data, which"
    first, source = next(iter(sources.items()))
    if train is not None:
        sources = sources | {first: train}
    elif IN_MEMORY in sources.values():
        return None, f"{need} were in memory."
    elif not may_read(type(task), run):
        return None, f"{need} are not opened since the run is from elsewhere: it names {source}, --train may name them."
    try:
        training = split_of(type(task), task.settings, sources)[0].training
    except (HeedfulError, OSError) as error:
        if train is not None:
            raise
        return None, f"{need} cannot be read: {str(error).rstrip('.')}."
    if checksum(training) == manifest["data_checksums"].get("train"):
        return training, ""
    if train is not None:
        raise DataError(f"{shown(train)}: must be the data that the run was trained on: got others.")
    return None, f"{need} have changed since: {source}."


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
