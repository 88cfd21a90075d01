"""What was measured of variants over seeds: tables, paired differences with their intervals, and a picture."""

import csv
import io
import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from heedful._errors import SettingsError, needing
from heedful._files import write_atomic
from heedful.tasks.contract import HIGHER_IS_BETTER


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
        best = max if self.results[0].units.get(self.metric) in HIGHER_IS_BETTER else min
        means = {name: measured(list(by_seed.values())) for name, by_seed in values.items()}
        name = best(means, key=lambda one: means[one].mean, default=None)
        return None if name is None else (name, means[name])


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
