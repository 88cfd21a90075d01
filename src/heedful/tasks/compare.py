"""Variants of a task's settings, trained with several seeds and measured in pairs.

Each run is an ordinary run folder. What was measured is written after each run, so that a comparison that was ended goes
on where it was: `results.json`, a table as `results.csv`, and a picture of it.
"""

import csv
import io
import json
import math
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import combinations, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from heedful._errors import HeedfulError, RunFolderError, SettingsError, needing
from heedful._files import read_json, user_path, write_atomic
from heedful.tasks.plans import ComparisonPlan, PlannedRun
from heedful.tasks.run import train
from heedful.training.lock import locked
from heedful.training.run_folder import RunFolder, config_matches

_LARGEST = 2**26  # bytes of results.json
_HIGHER = ("%", "of 100")  # units of metrics that are better where they are higher; the others are losses
_MODULES = ["heedful.tasks.run", "heedful.training.fit", "sklearn.linear_model"]  # which every process needs


class RunResult(NamedTuple):
    """What one training came to.

    Attributes:
        variant: its name.
        seed: from which its randomness followed.
        size: on how many examples it was trained.
        metrics: by name.
        units: of the metrics; "%" of shares.
        baselines: the metrics of simpler methods, fitted on the same examples.
        parameters: how many numbers were learned.
        seconds: of the training.
        megabytes: the most memory of its process; 0: it had none of its own.
    """

    variant: str
    seed: int
    size: int
    metrics: dict[str, float]
    units: dict[str, str]
    baselines: dict[str, dict[str, float]]
    parameters: int
    seconds: float
    megabytes: float


class Measured(NamedTuple):
    """A number over seeds, with its interval of 95 % by Student's t; of one seed it is infinitely wide.

    Attributes:
        mean: over the seeds.
        deviation: the standard deviation over the seeds.
        low: where the interval of the mean begins.
        high: where it ends.
        seeds: how many.
    """

    mean: float
    deviation: float
    low: float
    high: float
    seeds: int


class Difference(NamedTuple):
    """How much more one variant reaches than another, seed by seed.

    Attributes:
        first: the one.
        second: the other.
        size: on how many examples both were trained.
        value: the first minus the second.
    """

    first: str
    second: str
    size: int
    value: Measured


class Comparison:
    """What was measured so far; `print` it for the tables.

    Args:
        metric: what is compared; None: the first metric of the runs.
        results: of the runs, in the order of the plan.
        missing: how many runs are not done.
    """

    def __init__(self, metric: str | None, results: Sequence[RunResult], missing: int) -> None:
        self.results, self.missing = list(results), missing
        if results and metric is not None and metric not in results[0].metrics:
            raise SettingsError(f"`metric` must be one of {', '.join(results[0].metrics)}: got {metric!r}.")
        self.metric = metric or (next(iter(results[0].metrics)) if results else "")

    def of(self, variant: str, size: int) -> Measured:
        """The metric of a variant over its seeds."""
        return measured([r.metrics[self.metric] for r in self.results if (r.variant, r.size) == (variant, size)])

    def differences(self) -> Iterator[Difference]:
        """Each pair of variants, over the seeds that both have."""
        for size, variants in self._groups():
            for first, second in combinations(variants, 2):
                one, other = (
                    {r.seed: r.metrics[self.metric] for r in self.results if (r.variant, r.size) == (name, size)}
                    for name in (first, second)
                )
                pairs = [one[seed] - other[seed] for seed in one if seed in other]
                if pairs:
                    yield Difference(first, second, size, measured(pairs))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each variant and size, and for the best baseline of each size."""
        rows = []
        for size, variants in self._groups():
            for variant in variants:
                runs = [r for r in self.results if (r.variant, r.size) == (variant, size)]
                rows.append(
                    {"variant": variant, "examples": size, **self.of(variant, size)._asdict()}
                    | {"parameters": runs[0].parameters}
                    | {name: statistics.mean(getattr(r, name) for r in runs) for name in ("seconds", "megabytes")}
                )
            if (best := self._best_baseline(size)) is not None:
                rows.append({"variant": f"baseline: {best[0]}", "examples": size, **best[1]._asdict()})
        return rows

    def __str__(self) -> str:
        """A table of the variants, and one of their differences."""
        if not self.results:
            return f"no run is done; {self.missing} are missing"
        unit = self.results[0].units.get(self.metric, "")
        share = unit == "%"
        shown = [
            (
                row["variant"], f"{row['examples']:,}", _number(row["mean"], share), _number(row["deviation"], share),
                str(row["seeds"]), *(f"{row[name]:,.0f}" if row.get(name) else "" for name in ("parameters", "seconds", "megabytes")),
            )
            for row in self.rows()
        ]  # fmt: skip
        head = (
            "variant",
            "examples",
            f"{self.metric}{f', {unit}' if unit else ''}",
            "std",
            "seeds",
            "parameters",
            "s",
            "MB",
        )
        lines = _aligned([head, *shown])
        pairs = [
            (
                f"{d.first} - {d.second}",
                f"{d.size:,}",
                _number(d.value.mean, share, "+"),
                _interval(d.value, share),
                str(d.value.seeds),
            )
            for d in self.differences()
        ]
        if pairs:
            lines += ["", *_aligned([("paired difference", "examples", self.metric, "95 % interval", "seeds"), *pairs])]
        if self.missing:
            lines += ["", f"{self.missing} of {self.missing + len(self.results)} runs are missing"]
        return "\n".join(lines)

    def write_csv(self, path: Path) -> None:
        """Writes `rows()`."""
        text = io.StringIO()
        names = ["variant", "examples", *Measured._fields, "parameters", "seconds", "megabytes"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_atomic(path, text.getvalue())

    def draw(self, path: Path) -> None:
        """Draws each variant with every run and the interval of its mean; over sizes as curves.

        Raises:
            MissingPackageError: matplotlib is not installed.
        """
        with needing("figures", "the picture of a comparison"):
            from matplotlib.figure import Figure

        share = self.results[0].units.get(self.metric) == "%"
        factor, sizes = 100 if share else 1, [size for size, _ in self._groups()]
        names = list(dict.fromkeys(result.variant for result in self.results))
        figure = Figure(figsize=(1.6 + 1.1 * max(len(names), 4), 4), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(names):
            runs = [r for r in self.results if r.variant == name]
            own = [size for size in sizes if any(r.size == size for r in runs)]
            at = own if len(sizes) > 1 else [place]
            means = [self.of(name, size) for size in own]
            color = f"C{place}"
            half = [factor * (m.high - m.mean) if math.isfinite(m.high) else 0 for m in means]
            style = "o-" if len(sizes) > 1 else "o"
            axes.errorbar(at, [factor * m.mean for m in means], half, fmt=style, color=color, capsize=4, label=name)
            single = [r.size if len(sizes) > 1 else place for r in runs]
            axes.plot(single, [factor * r.metrics[self.metric] for r in runs], ".", color=color, alpha=0.4)
        baselines = [(size, best) for size in sizes if (best := self._best_baseline(size)) is not None]
        if baselines and len(sizes) > 1:
            axes.plot(
                [s for s, _ in baselines], [factor * b[1].mean for _, b in baselines], "k--", label="best baseline"
            )
        elif baselines:
            axes.axhline(factor * baselines[0][1][1].mean, color="k", linestyle="--", label=baselines[0][1][0])
        if len(sizes) > 1:
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.set_xlabel("training examples")
        else:
            axes.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
        axes.set_ylabel(f"{self.metric}, %" if share else self.metric)
        axes.legend(fontsize="small")
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:])
        write_atomic(path, content.getvalue())

    def _groups(self) -> list[tuple[int, list[str]]]:
        """The variants of each size."""
        sizes = dict.fromkeys(result.size for result in self.results)
        return [(size, list(dict.fromkeys(r.variant for r in self.results if r.size == size))) for size in sizes]

    def _best_baseline(self, size: int) -> tuple[str, Measured] | None:
        """The baseline that does best, over the runs of a size."""
        values: dict[str, dict[int, float]] = {}
        for run in (r for r in self.results if r.size == size):
            for baseline, metrics in run.baselines.items():
                if self.metric in metrics:
                    values.setdefault(baseline, {})[run.seed] = metrics[self.metric]
        best = max if self.results[0].units.get(self.metric) in _HIGHER else min
        means = {name: measured(list(by_seed.values())) for name, by_seed in values.items()}
        name = best(means, key=lambda one: means[one].mean, default=None)
        return None if name is None else (name, means[name])


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


def measured(values: Sequence[float]) -> Measured:
    """The mean of some numbers, one a seed, and its interval.

    Example:
        >>> measured([1.0, 2.0, 3.0])
        Measured(mean=2.0, deviation=1.0, low=-0.484..., high=4.484..., seeds=3)
    """
    from scipy.stats import t

    mean, count = statistics.mean(values), len(values)
    if count < 2:
        return Measured(mean, 0.0, -math.inf, math.inf, count)
    deviation = statistics.stdev(values)
    half = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Measured(mean, deviation, mean - half, mean + half, count)


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
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
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


def _number(value: float, share: bool, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}" if share else f"{value:{sign}.4g}"


def _interval(value: Measured, share: bool) -> str:
    if value.seeds < 2:
        return "one seed"
    return f"{_number(value.low, share, '+')} .. {_number(value.high, share, '+')}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
