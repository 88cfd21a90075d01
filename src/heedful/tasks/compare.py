"""Variants of a task's settings, trained with several seeds and measured in pairs.

Each run is an ordinary run folder. What was measured is written after each run, so that a comparison that was ended goes
on where it was: `results.json`, a table as `results.csv`, and a picture of it.
"""

import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from heedful._errors import HeedfulError, RunFolderError, SettingsError
from heedful._files import read_json, user_path, write_atomic
from heedful.tasks.comparison import Comparison, RunResult
from heedful.tasks.memory import peak_memory
from heedful.tasks.plans import ComparisonPlan, PlannedRun
from heedful.tasks.run import train
from heedful.training.lock import locked
from heedful.training.run_folder import RunFolder, config_matches

_LARGEST = 2**26  # bytes of results.json
_MODULES = ["heedful.tasks.run", "heedful.training.fit", "sklearn.linear_model"]  # which every process needs


def compare(
    task: Any,
    data: Any,
    variants: Mapping[str, Mapping[str, Any]],
    *,
    out: str | Path,
    valid: Any = None,
    test: Any = None,
    metric: str | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    sizes: Sequence[int] = (),
    settings: Mapping[str, Any] | None = None,
    jobs: int = 1,
    time_limit: float | None = None,
) -> Comparison:
    """Trains every variant with every seed, and compares them in pairs.

    Args:
        task: a name that `heedful tasks` lists, `path/to/task.py:MyTask`, or a class.
        data: to train on, as `heedful.train` takes it.
        variants: the settings by which each variant differs: `{"small": {"model.layers": 1}}`.
        out: the folder of the comparison; runs that are done there are not trained again, and those that were begun go on.
        valid: to choose the best epoch by; None: a part of the data is held out.
        test: labeled data on which each trained model is measured; None: its validation part.
        metric: what is compared; None: the first one of the task.
        seeds: each variant is trained with each of them.
        sizes: numbers of training examples, each of them the first ones of the data; empty: all.
        settings: of all variants.
        jobs: how many runs are trained at a time. More than one have processes of their own, so that a program that calls
            this needs `if __name__ == "__main__"`.
        time_limit: no run is begun after so many seconds; None: all are.

    Raises:
        SettingsError: a setting is unknown or impossible, two variants are the same, or a number is out of range.
        RunFolderError: `out` holds something else, or runs of other settings.

    Example:
        >>> import tempfile
        >>> texts = ["a fine film", "a dull film"] * 20
        >>> small = {"training.epochs": 1, "model.width": 8, "model.heads": 1, "model.pooling_heads": 1}
        >>> found = compare(
        ...     "classify", (texts, ["good", "bad"] * 20), {"one": {"model.layers": 1}, "two": {"model.layers": 2}},
        ...     out=tempfile.mkdtemp(), seeds=[1, 2], settings=small,
        ... )
        >>> [(d.first, d.second, d.value.seeds) for d in found.differences()]
        [('one', 'two', 2)]
    """
    plan = ComparisonPlan(
        task, data, variants, valid=valid, test=test, metric=metric, seeds=seeds, sizes=sizes, settings=settings or {}
    )
    return carried_out(plan, out, jobs=jobs, time_limit=time_limit)


def carried_out(
    plan: ComparisonPlan,
    out: str | Path,
    *,
    jobs: int = 1,
    time_limit: float | None = None,
    own_processes: bool = False,
    done: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """What a plan comes to.

    Args:
        plan: what is compared.
        out: the folder, as in `compare`.
        jobs: as there.
        time_limit: as there.
        own_processes: whether each run has a process of its own also where they are trained one by one: then its memory is measured.
        done: is called after each run, with what is known by then.
    """
    if jobs < 1:
        raise SettingsError(f"`jobs` must be at least 1: got {jobs}.")
    folder = user_path(out).absolute()
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder}: a comparison needs a folder: this is a file.")
    folder.mkdir(parents=True, exist_ok=True)
    end = math.inf if time_limit is None else time.monotonic() + time_limit
    with locked(folder):
        runs, results = list(plan.runs()), _known(plan, folder)
        waiting = [run for run in runs if run.name not in results]

        def found() -> Comparison:
            known = [results[run.name] for run in runs if run.name in results]
            return Comparison(plan.metric, known, len(runs) - len(known))

        for name, result in _trained(plan, folder, waiting, jobs, end, own_processes or jobs > 1):
            results[name] = result
            comparison = found()
            _write(comparison, results, folder)
            if done is not None:
                done(comparison)
        return found()


def _trained(
    plan: ComparisonPlan, folder: Path, runs: Sequence[PlannedRun], jobs: int, end: float, apart: bool
) -> Iterator[tuple[str, RunResult]]:
    """Trains runs until a moment, and gives each as it is done."""
    if not apart:
        for run in runs:
            if time.monotonic() >= end:
                return
            yield run.name, _train(plan, folder, run)
        return
    context = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(_MODULES)
    left, working = iter(runs), dict[Future[RunResult], str]()
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        try:
            while True:
                for run in islice(left, jobs - len(working) if time.monotonic() < end else 0):
                    working[pool.submit(_train, plan, folder, run, jobs)] = run.name
                if not working:
                    return
                for future in wait(working, return_when=FIRST_COMPLETED).done:
                    yield working.pop(future), future.result()
        except BaseException:
            for process in multiprocessing.active_children():  # each saves its last epoch and ends
                process.terminate()
            raise


def _train(plan: ComparisonPlan, folder: Path, run: PlannedRun, beside: int = 0) -> RunResult:
    """One training, and what it comes to; in a process of its own it shares the cores with those beside it."""
    if beside:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        torch.set_num_threads(max(torch.get_num_threads() // beside, 1))
    try:
        model = train(
            plan.task, plan.data, valid=plan.valid, settings=dict(run.settings), out=folder / run.name, resume=True,
            progress=False,
        )  # fmt: skip
        about = model.metrics
        found = about if plan.test is None else model.evaluate(plan.test).to_dict()
    except HeedfulError as error:
        raise type(error)(f"{run.name}: {error}") from None
    memory = peak_memory() / 2**20
    return RunResult(
        run.variant, run.seed, run.size or about["examples"]["train"], found["metrics"], found["units"], found["baselines"],
        about["parameters"], about["seconds"], memory if beside else 0.0,
    )  # fmt: skip


def _end_with(parent: int) -> None:
    """Ends this process when the one that began it is gone, so that no run goes on that nobody waits for."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _known(plan: ComparisonPlan, folder: Path) -> dict[str, RunResult]:
    """The results of runs that are done, in their folders of the same settings."""
    file = folder / "results.json"
    if not file.exists():
        if others := [one.name for one in folder.iterdir() if one.name not in plan.variants and one.name[0] != "."]:
            raise RunFolderError(f"{folder}: a comparison needs an empty folder: this one holds {min(others)!r}.")
        return {}
    try:
        stored = {name: RunResult(**values) for name, values in read_json(file, _LARGEST).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{file}: must hold the results of a comparison: {error}.") from None
    known = {}
    for run in plan.runs():
        place = RunFolder(folder / run.name)
        if run.name in stored and place.exists():
            written = (place.path / "config.toml").read_text()
            if not config_matches(written, plan.written(run)):
                raise RunFolderError(f"{place.path}: was trained with other settings; another --out begins anew.")
            known[run.name] = stored[run.name]
    return known


def _write(comparison: Comparison, results: dict[str, RunResult], folder: Path) -> None:
    text = json.dumps({name: result._asdict() for name, result in results.items()}, indent=1, ensure_ascii=False)
    write_atomic(folder / "results.json", text + "\n")
    comparison.write_csv(folder / "results.csv")
    for kind in ("svg", "png"):
        try:
            comparison.draw(folder / f"results.{kind}")
        except ModuleNotFoundError:
            return
