"""What a training takes from the run that it goes on from: weights where they fit, rows where their names are the same.

A tensor is taken as it is where the model has one of its name and shape. Of a tensor whose rows are named (`Task.rows`),
such as the embeddings of words or the layer that gives the logits of labels, the rows are taken whose names both know.
All else is new.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from heedful._errors import RunFolderError, SettingsError
from heedful.data._entries import listed
from heedful.tasks.catalog import reference
from heedful.tasks.contract import Rows, Task
from heedful.tasks.loading import is_of, task_and_model
from heedful.training.run_folder import RunFolder
from heedful.training.settings import AUTO, TransferSettings

_POSITIONS = "positions.table"  # the end of the names of tensors that have a row for each position of a sequence
_SHOWN = 3  # names of tensors


class Base(NamedTuple):
    """A finished run that a training goes on from.

    Attributes:
        run: its folder.
        task: with its settings and its vocabulary.
        weights: of its model.
    """

    run: RunFolder
    task: Task[Any]
    weights: Mapping[str, Tensor]

    def settings(self) -> Any:
        """Its settings, without what was said of its own beginning and of how many of its data were taken.

        How long is trained follows the data again where it did so.
        """
        names, training = self.run.manifest().get("automatic", ()), self.task.settings.training
        again = {key: AUTO for key in type(training).model_fields if f"training.{key}" in names}
        training = training.model_copy(update={"max_examples": 0, **again})
        return self.task.settings.model_copy(update={"transfer": TransferSettings(), "training": training})

    def named(self) -> dict[str, str]:
        """How run.json names it."""
        return {"run": str(self.run.path), "weights": self.run.manifest()["files"]["model.safetensors"]}


def base_of(run: RunFolder, kind: type[Task[Any]]) -> Base:
    """The run in a folder, whose files are checked.

    Raises:
        RunFolderError: it is of another task, or has not finished.
    """
    name = run.manifest()["task"]
    if not is_of(kind, name):
        raise RunFolderError(f"{run.path}: is a run of {name}: a training of {reference(kind)} cannot go on from it.")
    task, model = task_and_model(run, kind)
    return Base(run, task, model.state_dict())


class Names(NamedTuple):
    """Names of rows of one kind: those that both know, those that are new, and those that are left behind."""

    known: list[str]
    new: list[str]
    left: list[str]


@dataclass
class Transfer:
    """What was taken from a run, by the names of tensors and of their rows.

    Attributes:
        path: of the run.
        names: of each kind of row.
        whole: tensors that are as they were.
        partial: tensors of which some rows are: how many, and of how many.
        new: tensors that are as a new model has them.
        left: tensors of the run that were not taken.
        labels: tensors whose rows are labels.
        taken: how many numbers were taken.
        count: how many the model has.
    """

    path: str
    names: dict[str, Names]
    whole: list[str] = field(default_factory=list)
    partial: dict[str, tuple[int, int]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    taken: int = 0
    count: int = 0

    def rate(self, parameter: str, settings: Any) -> float:
        """The share of the learning rate that a parameter has; 0: it stays as it is."""
        if parameter in self.labels or parameter in self.new:
            return 1.0
        if settings.transfer.frozen and parameter in self.whole:
            return 0.0
        return settings.transfer.learning_rate / settings.training.learning_rate or 1.0

    def lines(self) -> list[str]:
        """What a reader should know."""
        lines = [
            f"from {self.path}: {100 * self.taken / self.count:.1f} % of {self.count:,} numbers are taken: "
            f"{len(self.whole):,} tensors whole, {len(self.partial):,} in part; {len(self.new):,} are new"
        ]
        for kind, (known, new, left) in self.names.items():
            words = [f"  {kind}: {len(known):,} of {len(known) + len(new):,} are known"]
            if kind == "labels":
                words += [f"{word}: {listed(names)}" for word, names in (("new", new), ("left behind", left)) if names]
            elif left:
                words.append(f"{len(left):,} are left behind")
            lines.append("; ".join(words))
        for word, names in (("new", self.new), ("left behind", self.left)):
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            lines += [f"  {word}: {', '.join(names[:_SHOWN])}{more}"] if names else []
        return lines

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        rows = {kind: {key: len(names) for key, names in of._asdict().items()} for kind, of in self.names.items()}
        tensors = {"whole": self.whole, "partial": self.partial, "new": self.new, "left": self.left}
        return {"from": self.path, "taken": self.taken, "numbers": self.count, "rows": rows, "tensors": tensors}


def transfer(base: Base, task: Task[Any], model: nn.Module) -> Transfer:
    """Puts the weights of a run into a new model, where they fit.

    Raises:
        RunFolderError: none of them does, or not one label is the same.
        SettingsError: nothing is left to be trained.
    """
    mine, theirs = task.rows(), base.task.rows()
    if (mine is None or theirs is None) and task.vocabulary != base.task.vocabulary:
        raise RunFolderError(
            f"{base.run.path}: has another vocabulary, and {task.name} does not say which weights belong to which of its names (`rows`)."
        )
    mine, theirs = mine or {}, theirs or {}
    begin_labels = task.settings.transfer.labels == "new"
    result = Transfer(str(base.run.path), _compared(mine, theirs, base, begin_labels))
    for name, tensor in model.state_dict().items():  # these tensors are the model's own
        rows, old = _rows_of(name, tensor, mine), base.weights.get(name)
        before = None if old is None else _rows_of(name, old, theirs)
        labels = rows is not None and _is_of_labels(rows.kind)
        result.count += tensor.numel()
        result.labels |= {name} if labels else set()
        count = 0 if old is None or (labels and begin_labels) else _copy(tensor, rows, old, before)
        result.taken += count
        if not count and tensor.numel():
            result.new.append(name)
        elif count == tensor.numel():
            result.whole.append(name)
        else:
            result.partial[name] = count * len(tensor) // tensor.numel(), len(tensor)
    result.left = [name for name in base.weights if name not in result.whole and name not in result.partial]
    if not result.taken:
        raise RunFolderError(f"{base.run.path}: none of its weights fits the model of these settings.")
    if not any(p.requires_grad and result.rate(name, task.settings) for name, p in model.named_parameters()):
        raise SettingsError(
            "`transfer.frozen`: something must be left to be trained: all of the model is taken as it is."
        )
    return result


def rates_of(task: Task[Any], model: nn.Module, taken: Transfer | None) -> dict[str, float]:
    """The share of the learning rate that each parameter has, by the task and by what was taken."""
    rates = dict(task.rates(model))
    if taken is None:
        return rates
    names = [name for name, _ in model.named_parameters()]
    return {name: rates.get(name, 1.0) * taken.rate(name, task.settings) for name in names}


def _compared(mine: Mapping[str, Rows], theirs: Mapping[str, Rows], base: Base, begin_labels: bool) -> dict[str, Names]:
    """The names of each kind. Raises where no label is known that should be."""
    kinds = {rows.kind: rows.names for rows in theirs.values()}
    names = {}
    for kind, own in {rows.kind: rows.names for rows in mine.values() if rows.kind in kinds}.items():
        taken = set() if _is_of_labels(kind) and begin_labels else {*own} & {*kinds[kind]}
        known, new = ([name for name in own if (name in taken) == both] for both in (True, False))
        names[kind] = Names(known, new, [name for name in kinds[kind] if name not in taken])
        if kind == "labels" and not known and not begin_labels:
            raise RunFolderError(
                f"{base.run.path}: none of its labels, {listed([*kinds[kind]])}, is one of the data's, {listed([*own])}: "
                "name them alike, or begin them anew with transfer.labels=new."
            )
    return {kind: of for kind, of in names.items() if of.known or of.new or of.left}


def _is_of_labels(kind: str) -> bool:
    """Whether rows belong to labels: "labels", "labels of lemma"."""
    return kind.split()[0] == "labels"


def _rows_of(name: str, tensor: Tensor, rows: Mapping[str, Rows]) -> Rows | None:
    """The names of a tensor's rows, where they have any."""
    if name.endswith(_POSITIONS) and tensor.ndim == 2:
        return Rows("positions", list(map(str, range(len(tensor)))))
    return next((of for end, of in rows.items() if f".{name}".endswith(f".{end}")), None)


def _copy(tensor: Tensor, rows: Rows | None, old: Tensor, before: Rows | None) -> int:
    """Copies what fits of a tensor into another one, and gives how many numbers that is."""
    if rows is None or before is None:
        if (rows, tensor.shape, tensor.dtype) != (before, old.shape, old.dtype):
            return 0
        tensor.copy_(old)
        return tensor.numel()
    unnamed = len(tensor) - len(rows.names)
    same = (rows.kind, tensor.shape[1:], tensor.dtype, unnamed) == (
        before.kind, old.shape[1:], old.dtype, len(old) - len(before.names),
    )  # fmt: skip
    if not same:
        return 0
    numbers = {name: number for number, name in enumerate(before.names, start=unnamed)}
    pairs = [(here, numbers[name]) for here, name in enumerate(rows.names, start=unnamed) if name in numbers]
    here, there = torch.tensor([*((row, row) for row in range(unnamed)), *pairs], dtype=torch.long).reshape(-1, 2).T
    tensor[here] = old[there]
    return len(here) * tensor[:1].numel()
