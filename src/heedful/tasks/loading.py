"""From a run folder, perhaps of a stranger, to a task and its model: checked before anything is built."""

from typing import Any

import torch

from heedful._errors import HeedfulError, RunFolderError, SettingsError
from heedful._safetensors import BoundedBuild, mismatch
from heedful.tasks.catalog import find, reference
from heedful.tasks.contract import Task
from heedful.training.run_folder import RunFolder
from heedful.training.settings import settings_of


def task_and_model(run: RunFolder, task: str | type[Task[Any]] | None = None) -> tuple[Task[Any], torch.nn.Module]:
    """The task of a finished run with its settings and its vocabulary, and the model with its weights.

    Raises:
        RunFolderError: a file is missing, changed, of another version, or does not fit the others.
    """
    kind = task_of(run, task)
    run.require_finished()
    settings, vocabulary = settings_of(kind.Settings, config=run.config()), run.vocabulary(kind.Vocabulary)
    try:
        with BoundedBuild(run.weight_shapes()):
            ours = kind(settings, vocabulary)
            model = built(ours)
    except RunFolderError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the vocabulary must fit each other: {reason}"
        ) from None
    weights = run.weights()
    if reason := mismatch(model.state_dict(), weights):
        raise RunFolderError(f"{run.path / 'model.safetensors'}: {reason}, by the settings and the vocabulary.")
    model.load_state_dict(weights)
    return ours, model


def task_of(run: RunFolder, task: str | type[Task[Any]] | None = None) -> type[Task[Any]]:
    """The task of a run folder."""
    name = run.manifest()["task"]
    if task is None:
        if ".py:" in name:
            raise RunFolderError(f"{run.path}: its task is a class in a file; if you trust it, name it: --task {name}")
        try:
            return find(name)
        except HeedfulError as error:
            raise RunFolderError(f"{run.path / 'run.json'}: {error}") from None
    kind = find(task)
    if not is_of(kind, name):
        raise RunFolderError(f"{run.path}: is a run of {name}: got {reference(kind)}.")
    return kind


def is_of(kind: type[Task[Any]], name: str) -> bool:
    """Whether a task is the one that a run folder names; a file may have moved."""
    return reference(kind) == name or kind.__name__ == name.rpartition(":")[2]


def built(task: Task[Any]) -> torch.nn.Module:
    """A new model. Raises SettingsError where the settings do not fit each other."""
    try:
        return task.build()
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"[model]: {error}") from None
