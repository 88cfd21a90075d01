"""`training.batch_size=auto`: the batch size that is fastest on this machine, found by a few steps with each of several."""

import gc
import math
from pathlib import Path
from typing import Any

import torch

from heedful._errors import is_out_of_memory
from heedful.tasks.contract import Task
from heedful.tasks.loading import built
from heedful.tasks.memory import peak_memory
from heedful.tasks.transfer import Base, rates_of, transfer
from heedful.training.run_folder import RunFolder

_FEWEST = 10  # steps that an epoch must have
_LEVEL = 0.95  # of the highest speed counts as high
_SLOWER = 0.8  # of the highest speed: larger ones are not tried


def with_batch_size(task: Task[Any], examples: Any, folder: RunFolder, base: Base | None) -> tuple[Any, str]:
    """The settings of a task with the largest batch size among those that are fastest, and what was tried, in words.

    Sizes are doubled from a quarter of the default, until memory is not enough, an epoch would have fewer than ten
    steps, or it gets slower. Where so many make fewer than ten steps already, they are halved until they do not.
    """
    field = type(task.settings.training).model_fields["batch_size"]
    size = max(int(64 if field.default == "auto" else field.default) // 4, 1)
    while size > 1 and _steps(task, size, examples) < _FEWEST:
        size //= 2
    speeds: dict[int, float] = {}
    end, before = "it got slower", peak_memory()
    while not speeds or speeds[size // 2] >= _SLOWER * max(speeds.values()):
        if speeds and _steps(task, size, examples) < _FEWEST:
            end = f"with more, an epoch would have fewer than {_FEWEST} steps"
            break
        try:
            speeds[size] = _speed(task, size, examples, folder, base)
        except (MemoryError, RuntimeError) as error:
            if not speeds or not is_out_of_memory(error):
                raise
            end = "there was not enough memory for more"
            break
        if peak_memory() - before > _available() / 2:
            end = "more would need too much memory"
            break
        size *= 2
    best = fastest(speeds)
    told = ", ".join(f"{tried:,} ({speed:,.0f})" for tried, speed in speeds.items())
    return _with(task.settings, best), f"training.batch_size = {best}: of those tried ({task.unit}/s) {told}; {end}"


def fastest(speeds: dict[int, float]) -> int:
    """The largest size whose speed is nearly the highest one.

    Example:
        >>> fastest({16: 100.0, 32: 198.0, 64: 200.0, 128: 196.0, 256: 150.0})
        128
    """
    return max(size for size, speed in speeds.items() if speed >= _LEVEL * max(speeds.values()))


def _available() -> float:
    """The bytes that are left, where this is known; a system may end a process instead of telling it that there are none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), math.inf)


def _with(settings: Any, size: int) -> Any:
    return settings.model_copy(update={"training": settings.training.model_copy(update={"batch_size": size})})


def _steps(task: Task[Any], size: int, examples: Any) -> int:
    """How many an epoch has."""
    return len(type(task)(_with(task.settings, size), task.vocabulary).batches(examples, training=True).order)  # type: ignore[arg-type]


def _speed(task: Task[Any], size: int, examples: Any, folder: RunFolder, base: Base | None) -> float:
    """Units a second."""
    from heedful.training.fit import seed_everything, speed

    settings = _with(task.settings, size)
    seed_everything(settings.training.seed)
    own = type(task)(settings, task.vocabulary)
    try:
        model = built(own)
        rates = rates_of(own, model, None if base is None else transfer(base, own, model))
        return speed(own, model, own.batches(examples, training=True), settings.training, folder, rates)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
