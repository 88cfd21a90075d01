"""How good a trained model is, beside simpler methods that are fitted on its training data."""

import dataclasses
from typing import TYPE_CHECKING, Any

from heedful._errors import DataError, HeedfulError
from heedful._terminal import working
from heedful.tasks.contract import Reading, Scores, Task
from heedful.tasks.sources import IN_MEMORY, checksum, is_embedded, read, shown, split_of
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
    need = "no baselines: they need the training data, which"
    if train is None:
        return _recorded(task, run, "train", need, ", --train may name them")
    manifest = run.manifest()
    training = split_of(type(task), task.settings, manifest["data"] | {next(iter(manifest["data"])): train})[0].training
    if checksum(training) != manifest["data_checksums"].get("train"):
        raise DataError(f"{shown(train)}: must be the data that the run was trained on: got others.")
    return training, ""


def measured_of(task: Task[Any], run: RunFolder) -> tuple[Any, str]:
    """The examples on which metrics.json was measured, as `training_of` gives those of the training."""
    part = "test" if "test" in run.manifest()["data_checksums"] else "valid"
    return _recorded(
        task, run, part, "no single examples: they need the validation data, which", ", --data may name them"
    )


def _recorded(task: Task[Any], run: RunFolder, part: str, need: str, hint: str) -> tuple[Any, str]:
    """A part of the data that run.json names; None, and why, where it may not be read, is not there or has changed."""
    manifest, kind = run.manifest(), type(task)
    sources = manifest["data"]
    source = sources["valid"] if part != "train" and "valid" in sources else next(iter(sources.values()))
    if IN_MEMORY in sources.values():
        return None, f"{need} were in memory."
    if not may_read(kind, run):
        return None, f"{need} are not opened since the run is from elsewhere: it names {source}{hint}."
    try:
        parts, valid = split_of(kind, task.settings, sources)
        examples = {"train": parts.training, "valid": parts.validation, "test": parts.test}[part]
        if part == "valid" and valid is not None:
            examples = read(kind, valid, task.settings, Reading("valid", vocabulary=task.vocabulary))
    except (HeedfulError, OSError) as error:
        return None, f"{need} cannot be read: {str(error).rstrip('.')}."
    if checksum(examples) != manifest["data_checksums"].get(part):
        return None, f"{need} have changed since: {source}."
    return examples, ""


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
        predictions = task.predict(model, list(task.inputs(examples)), task.Options(**task.scored_with))
        ours = task.score(predictions, examples)
    scores, details = {}, dict(ours.details)
    if training is not None:
        details |= task.beside_training(predictions, examples, training)
        with working(console, f"fitting the baselines on {len(training):,} {task.example}s"):
            others = task.baselines(training, examples)
            scores = {name: task.score(found, examples) for name, found in others.items()}
    return Evaluation(
        data, len(examples), _values(ours), {name: metric.unit for name, metric in ours.metrics.items()},
        {name: _values(score) for name, score in scores.items()}, details, " ".join(filter(None, [ours.note, note])),
    )  # fmt: skip


def _values(scores: Scores) -> dict[str, float]:
    return {name: float(metric.value) for name, metric in scores.metrics.items()}
