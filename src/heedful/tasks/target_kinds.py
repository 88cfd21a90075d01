"""The three kinds of targets, by the name that the setting `data.target` gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from heedful.data.targets import TargetKind
from heedful.tasks.classification import OneLabel
from heedful.tasks.multilabel import SeveralLabels
from heedful.tasks.regression import OneNumber
from heedful.tasks.targets import Target

_KINDS: Mapping[TargetKind, Any] = {"label": OneLabel, "labels": SeveralLabels, "number": OneNumber}


def target_of(settings: Any, vocabulary: Mapping[str, Any]) -> Target:
    """The target of a task with these settings."""
    target: Target = _KINDS[settings.data.target](settings.data.format, vocabulary)
    return target


def learn_target(cells: Sequence[str], settings: Any, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What the outputs mean, learned of the training examples.

    Args:
        cells: of the training examples.
        settings: of the task.
        classes: the labels in an order of their own.

    Raises:
        DataError: there are too few labels, or one has no example where all are to weigh the same.
    """
    learned: dict[str, Any] = _KINDS[settings.data.target].learn(cells, settings, classes)
    return learned
