"""What is compared: variants of a task's settings, each trained with several seeds, on data of several sizes."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from heedful._errors import RunFolderError, SettingsError
from heedful._files import read_limited
from heedful.tasks.catalog import find
from heedful.training.schema import Schema, checked
from heedful.training.settings import flat, settings_of, write_settings

_LARGEST = 1 << 20  # bytes of a plan


class _PlanFile(Schema):
    """PLAN.toml."""

    model_config = ConfigDict(strict=True, extra="forbid")

    task: str
    data: str | None = None
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    metric: str | None = None
    seeds: list[int] = Field([1, 2, 3], min_length=1)
    sizes: list[int] = []
    settings: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = Field(min_length=1)


@dataclass(frozen=True)
class PlannedRun:
    """One training of a comparison.

    Attributes:
        variant: its name.
        seed: from which its randomness follows.
        size: how many examples it is trained on; 0: all.
        settings: those that differ from the defaults.
    """

    variant: str
    seed: int
    size: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its folder within that of the comparison."""
        return "/".join([self.variant, *([f"{self.size}-examples"] if self.size else []), f"seed-{self.seed}"])


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared.

    Attributes:
        task: a name that `heedful tasks` lists, `path/to/task.py:MyTask`, or a class.
        data: to train on, as `heedful.train` takes it.
        variants: the settings by which each variant differs: `{"small": {"model.layers": 1}}`.
        valid: to choose the best epoch by; None: a part of the data is held out.
        test: labeled data on which each trained model is measured; None: its validation part.
        metric: what is compared; None: the first of the task.
        seeds: each variant is trained with each of them.
        sizes: numbers of training examples, each of them the first ones of the data; empty: all.
        settings: of all variants.

    Raises:
        SettingsError: a setting is unknown or impossible, two variants are the same, or a name is no folder's.
    """

    task: Any
    data: Any
    variants: Mapping[str, Mapping[str, Any]]
    valid: Any = None
    test: Any = None
    metric: str | None = None
    seeds: Sequence[int] = (1, 2, 3)
    sizes: Sequence[int] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in (("seeds", self.seeds), ("sizes", self.sizes)):
            if len(set(values)) < len(values):
                raise SettingsError(f"`{name}` must be different from each other: got {list(values)}.")
        if not self.seeds or not self.variants:
            raise SettingsError("a comparison needs at least one seed and one variant: got none.")
        if wrong := [size for size in self.sizes if size < 1]:
            raise SettingsError(f"`sizes` must be numbers of examples from 1: got {wrong[0]}.")
        written = {}
        for name in self.variants:
            if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
                raise SettingsError(f"the name of a variant must be letters, digits, hyphens and dots: got {name!r}.")
            try:
                written[name] = self.written(next(run for run in self.runs() if run.variant == name))
            except SettingsError as error:
                raise SettingsError(f"variant {name}: {error}") from None
        for one, other in combinations(written, 2):
            if written[one] == written[other]:
                raise SettingsError(f"the variants {one} and {other} have the same settings.")

    def runs(self) -> Iterator[PlannedRun]:
        """All trainings: of each size and seed one of each variant after the other, so that pairs are soon complete."""
        for size in self.sizes or (0,):
            for seed in self.seeds:
                for name, own in self.variants.items():
                    settings = {**dict(flat(self.settings)), **dict(flat(own)), "training.seed": seed}
                    yield PlannedRun(name, seed, size, settings | ({"training.max_examples": size} if size else {}))

    def written(self, run: PlannedRun) -> str:
        """Every setting of a run, as config.toml has it."""
        return write_settings(settings_of(find(self.task).Settings, run.settings), "")


def read_plan(path: Path) -> ComparisonPlan:
    """The plan of a TOML file.

    Raises:
        SettingsError: it is no such file; the message begins with the path.
    """
    try:
        content = tomllib.loads(read_limited(path, _LARGEST).decode("utf-8-sig"))
        values = _PlanFile(**checked(_PlanFile, content, path))
    except OSError as error:
        raise SettingsError(f"{path}: the plan cannot be read: {error.strerror or error}.") from None
    except (RunFolderError, RecursionError) as error:
        raise SettingsError(str(error)) from None
    except ValueError as error:
        raise SettingsError(f"{path}: must be a TOML file in UTF-8: {str(error).splitlines()[0]}.") from None
    data = {name: source for name in ("data", "train", "valid") if (source := getattr(values, name)) is not None}
    if set(data) not in ({"data"}, {"train", "valid"}):
        got = " and ".join(f"`{name}`" for name in data) or "neither"
        raise SettingsError(f"{path}: must name `data`, or `train` and `valid`: got {got}.")
    source = data.get("data", data.get("train"))
    try:
        return ComparisonPlan(
            values.task, source, values.variants, valid=values.valid, test=values.test, metric=values.metric,
            seeds=values.seeds, sizes=values.sizes, settings=values.settings,
        )  # fmt: skip
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
