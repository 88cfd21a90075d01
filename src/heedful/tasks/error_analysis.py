"""What a trained model gets wrong: a report of its learning, its confusions, its calibration and its worst examples."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from heedful._errors import HeedfulError
from heedful.report import ChartLine, ChartsSection, HeatMap, LineChart, TableSection
from heedful.tasks.contract import HIGHER_IS_BETTER, Metric, Task
from heedful.tasks.evaluation import Evaluation
from heedful.training.run_folder import RunFolder
from heedful.training.settings import describe_settings

_MOST_DOTS = 50  # of a learning curve; more would hide it
_MOST_EXAMPLES = 1000  # that are looked at one by one
_MOST_CLASSES = 25  # of a map of confusions
_MOST_ROWS = 50  # of a table
_HEADERS = {"f1": "F1", "ap50": "AP at .5", "ap": "AP at .5 to .95", "iou": "IoU"}  # of metrics of a class
_LENGTHS = 5  # groups of examples by their length
_FEWEST = 10  # examples of such a group
_MOST_LETTERS = 200  # of a text in a table


class _Judged(NamedTuple):
    """An example that was looked at alone."""

    example: Any
    input: Any
    prediction: Any
    metrics: Mapping[str, Metric]


def error_sections(
    task: Task[Any], model: Any, run: RunFolder, evaluation: Evaluation, examples: Any, worst: int
) -> list[Any]:
    """The sections of the report.

    Args:
        task: of the run.
        model: of the run.
        run: its folder.
        evaluation: what was measured on the examples.
        examples: labeled; None where they are not there, so that none is shown.
        worst: of how many of the worst examples the attention is shown.
    """
    judged = [] if examples is None else _judged(task, model, examples)
    return [
        _metrics(evaluation),
        *_learning(run),
        *_confusions(evaluation.details),
        *_classes(evaluation.details),
        *_calibration(evaluation.details),
        *_numbers(judged),
        *_by_length(task, judged, examples),
        *_worst(task, model, judged, worst),
        _settings(task),
        _environment(run),
    ]


def _metrics(evaluation: Evaluation) -> TableSection:
    names = list(evaluation.baselines)
    rows = [
        [name.replace("_", " "), *(
            None if value is None else _shown(value, evaluation.units[name])
            for value in (evaluation.metrics[name], *(evaluation.baselines[other].get(name) for other in names))
        )]
        for name in evaluation.metrics
    ]  # fmt: skip
    text = f"Measured on {evaluation.data}. {evaluation.note}"
    return TableSection("Metrics", text.strip(), ["metric", "model", *names], rows)


def _shown(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.4g}"


def _learning(run: RunFolder) -> Iterator[ChartsSection]:
    """The losses in one chart, and each other metric of the validation in one of its own."""
    rows = list(csv.DictReader(io.StringIO((run.path / "log.csv").read_text())))
    if not rows:
        return
    columns = {name: [float(row[name]) for row in rows] for name in rows[0]}
    epochs = columns["epoch"]
    named = {"loss": "training", "valid_loss": "validation"}
    style: Literal["marked", "line"] = "marked" if len(rows) <= _MOST_DOTS else "line"
    lines = [ChartLine(words, epochs, columns[name], style) for name, words in named.items() if name in columns]
    charts = [LineChart("Loss", "epoch", "loss", lines)] if lines else []
    others = [name for name in columns if name.startswith("valid_") and name not in named]
    for name in others:
        words = name.removeprefix("valid_").replace("_", " ")
        charts.append(
            LineChart(f"Validation: {words}", "epoch", words, [ChartLine(words, epochs, columns[name], style)])
        )
    text = (
        "The training loss has what training adds: dropout, smoothing, masks; it may lie above that of the validation."
    )
    yield ChartsSection("Learning curves", text, charts)


def _confusions(details: Mapping[str, Any]) -> Iterator[ChartsSection]:
    """The most frequent classes among each other, with "others" where there are more."""
    if "confusions" not in details or "by_class" not in details:
        return
    wrong = details["confusions"]
    there = {name: next(iter(one.values())) for name, one in details["by_class"].items()}  # examples, or pixels
    guessed = [guess for _, guess, _ in wrong if guess not in there]
    names = [*there, *dict.fromkeys(guessed)]
    kept = sorted(names[:_MOST_CLASSES]) if len(names) > _MOST_CLASSES else sorted(names)
    shown = [*kept, "others"] if len(names) > len(kept) else kept
    number = {name: i for i, name in enumerate(kept)}
    counts = np.zeros((len(shown), len(shown)))
    for name, one in details["by_class"].items():
        at = number.get(name, len(kept))
        counts[at, at] += round(one["recall"] * there[name])
    for label, guess, count in wrong:
        counts[number.get(label, len(kept)), number.get(guess, len(kept))] += count
    text = "Rows are classes of the data, columns what these were predicted as; right ones are on the diagonal. Colors are shares of rows."
    labels = [name or "(none)" for name in shown]
    yield ChartsSection("Confusions", text, [HeatMap("Predicted", labels, labels, counts, "class", "predicted as")])


def _classes(details: Mapping[str, Any]) -> Iterator[TableSection]:
    """The metrics of each class, the most frequent first; of each size of a box; of each kind of span."""
    if by_class := details.get("by_class"):
        keys = list(next(iter(by_class.values())))
        count, measured = keys[0], keys[1:]  # examples, boxes or pixels; shares
        rows: list[list[Any]] = [
            [name, one[count], *(_shown(one[key], "%") for key in measured)]
            for name, one in list(by_class.items())[:_MOST_ROWS]
        ]
        more = len(by_class) - len(rows)
        caption = f"{more:,} less frequent ones are in metrics.json." if more > 0 else ""
        yield TableSection(
            "Metrics by class", "", ["class", count, *(_HEADERS.get(key, key) for key in measured)], rows, caption
        )
    if by_size := details.get("by_size"):
        rows = [[name, *(_shown(value, "%") for value in one.values())] for name, one in by_size.items()]
        header = ["size", *(_HEADERS.get(key, key) for key in next(iter(by_size.values())))]
        yield TableSection("Metrics by size", "", header, rows)
    if spans := details.get("spans"):
        names = list(next(iter(spans.values()), {}))
        rows = [[kind, *(one[name] for name in names)] for kind, one in list(spans.items())[:_MOST_ROWS]]
        yield TableSection("Metrics by kind of span", "", ["kind", *(name.replace("_", " ") for name in names)], rows)


def _calibration(details: Mapping[str, Any]) -> Iterator[ChartsSection]:
    """How often the model is right where it is so sure."""
    if "calibration" not in details:
        return
    found = details["calibration"]
    confidence, accuracy, count = (list(column) for column in zip(*found["bins"], strict=True))
    text = (
        f"Expected calibration error: {100 * found['error']:.1f} %; without the temperature of {found['temperature']:.2f}, "
        f"{100 * found['error_before']:.1f} %. Where a point lies below the diagonal, the model is too sure."
    )
    diagram = LineChart(
        "Reliability", "confidence", "share that is right",
        [ChartLine("calibrated", [0, 1], [0, 1], "dashed"), ChartLine("model", confidence, accuracy, "marked")],
    )  # fmt: skip
    counts = LineChart("Predictions", "confidence", "how many", [ChartLine("predictions", confidence, count, "marked")])
    yield ChartsSection("Calibration", text, [diagram, counts])


def _judged(task: Task[Any], model: Any, examples: Any) -> list[_Judged]:
    """Each example with its prediction and its own metrics."""
    alone, options = task.alone(examples, _MOST_EXAMPLES), task.Options(**task.scored_with)
    ones = [one for one, _ in alone]
    inputs = [list(task.inputs(one)) for one in ones]
    if any(one is given[0] for one, given in zip(ones, inputs, strict=True)):  # images, or pieces of a text
        predictions = [task.predict(model, given, options)[0] for given in inputs]
    else:
        predictions = task.predict(model, [given[0] for given in inputs], options)
    return [
        _Judged(one, given, prediction, task.score([prediction], one).metrics)
        for (one, given), prediction in zip(alone, predictions, strict=True)
    ]


def _is_right(judged: _Judged) -> bool:
    """Whether nothing is wrong about a prediction, as far as shares tell."""
    shares = [metric.value for metric in judged.metrics.values() if metric.unit == "%"]
    return bool(shares) and min(shares) == 1


def _wrongness(judged: _Judged) -> tuple[float, ...]:
    """The largest is the worst: by the metrics in their order; of equal ones, that of which the model was the surest, if it is wrong."""
    signs = [-1 if metric.unit in HIGHER_IS_BETTER else 1 for metric in judged.metrics.values()]
    values = [sign * metric.value for sign, metric in zip(signs, judged.metrics.values(), strict=True)]
    probability = getattr(judged.prediction, "probability", 0.0)
    return (*values, -probability if _is_right(judged) else probability)


def _numbers(judged: Sequence[_Judged]) -> Iterator[ChartsSection]:
    """Estimates beside the numbers of the data."""
    if not judged or not isinstance(getattr(judged[0].prediction, "number", None), float):
        return
    truth = [
        float((one.example.labels if isinstance(one.example.labels, list) else one.example.cells)[0]) for one in judged
    ]
    found = [one.prediction.number for one in judged]
    ends = [min(truth), max(truth)]
    lines = [ChartLine("equal", ends, ends, "dashed"), ChartLine("examples", truth, found, "points")]
    yield ChartsSection("Estimates", "", [LineChart("Estimate by number", "number of the data", "estimate", lines)])


def _by_length(task: Task[Any], judged: Sequence[_Judged], examples: Any) -> Iterator[Any]:
    """The metrics of short and of long examples, in groups of as many."""
    lengths = [length for one in judged if (length := _length(one.input)) is not None]
    if (
        not judged
        or len(lengths) < len(judged)
        or len(task.inputs(examples)) != len(examples)
        or len(judged) < 2 * _FEWEST
    ):
        return
    order = np.argsort(lengths, kind="stable")
    groups = [group for group in np.array_split(order, min(_LENGTHS, len(judged) // _FEWEST)) if len(group)]
    step = -(-len(examples) // _MOST_EXAMPLES)
    rows: list[list[Any]] = []
    middles, values = [], []
    for group in groups:
        scores = task.score([judged[i].prediction for i in group], examples.select([int(i) * step for i in group]))
        sizes = [lengths[i] for i in group]
        first = next(iter(scores.metrics.values()))
        rows.append(
            [f"{min(sizes)} to {max(sizes)}", len(group), *(_shown(*metric) for metric in scores.metrics.values())]
        )
        middles.append(float(np.median(sizes)))
        values.append(first.value)
    header = ["words", "examples", *(name.replace("_", " ") for name in scores.metrics)]
    rows = [row for row in rows if len(row) == len(header)]  # some metrics are of some examples alone
    first_name = next(iter(scores.metrics)).replace("_", " ")
    line = ChartLine(first_name, middles, [100 * value for value in values] if first.unit == "%" else values, "marked")
    label = f"{first_name}, %" if first.unit == "%" else first_name
    yield ChartsSection(
        "Metrics by length", "Examples in groups of as many, by the number of their words.",
        [LineChart("By length", "words (median of the group)", label, [line])],
    )  # fmt: skip
    yield TableSection("By length, in numbers", "", header, rows)


def _length(given: Any) -> int | None:
    """The words of an input; None of an image."""
    if isinstance(given, str):
        return len(given.split())
    words = getattr(given, "words", given)
    if isinstance(words, list | tuple):
        return sum(len(one.split()) if isinstance(one, str) else 1 for one in words)
    return None


def _worst(task: Task[Any], model: Any, judged: Sequence[_Judged], most: int) -> Iterator[Any]:
    """A table of the examples that went most wrong, and the attention of the first ones."""
    if not judged:
        return
    varied = [name for name, metric in judged[0].metrics.items() if len({_value(one, name) for one in judged}) > 1]
    shown = varied[:1] or list(judged[0].metrics)[:1]
    order = sorted(judged, key=_wrongness, reverse=True)
    order = [one for one in order if not _is_right(one)] or order
    rows: list[list[Any]] = []
    for one in order[: _MOST_ROWS // 2]:
        locations = getattr(one.example, "locations", None) or [""]
        prediction = replace(one.prediction, named=False) if hasattr(one.prediction, "named") else one.prediction
        values = [_shown(*one.metrics[name]) if name in one.metrics else None for name in shown]
        rows.append(
            [
                os.path.basename(str(locations[0])),
                *map(_short, (prediction.input, task.expected(one.example), str(prediction))),
                *values,
            ]
        )
    header = ["where", "input", "expected", "predicted", *(name.replace("_", " ") for name in shown)]
    keep = [
        i for i in range(len(header)) if any(row[i] not in ("", None, *([row[0]] if i == 1 else [])) for row in rows)
    ]
    looked = f"The worst first, of {len(judged):,} examples that were looked at one by one. Below, the attention of the first ones."
    yield TableSection(
        "What went most wrong", looked, [header[i] for i in keep], [[row[i] for i in keep] for row in rows]
    )
    for number, one in enumerate(order[:most], start=1):
        try:
            section = task.inspect(model, [one.input])[0]
        except HeedfulError:  # what cannot be inspected, such as a text of nothing that the model knows
            continue
        expected = task.expected(one.example)
        truth = section.truth if section.truth is not None or not section.predictions else expected or None
        words = f"Expected: {_short(expected)}. " if expected and truth is None else ""
        yield replace(section, title=f"{number}. {section.title}", text=words + section.text, truth=truth)


def _value(judged: _Judged, name: str) -> float | None:
    return judged.metrics[name].value if name in judged.metrics else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_LETTERS else line[: _MOST_LETTERS - 1] + "…"


def _settings(task: Task[Any]) -> TableSection:
    """Every setting, and the default where it is another one."""
    rows = []
    architecture = getattr(getattr(task.settings, "model", None), "architecture", None)
    for name, default, _, meaning in describe_settings(type(task.settings), architecture):
        section, _, key = name.partition(".")
        value = getattr(getattr(task.settings, section), key)
        rows.append([name, str(value), "" if value == default else str(default), meaning])
    return TableSection("Settings", "", ["setting", "value", "default, where it is another", "meaning"], rows)


def _environment(run: RunFolder) -> TableSection:
    manifest, metrics = run.manifest(), run.metrics()
    facts = {
        "task": manifest["task"],
        "heedful": manifest["heedful"],
        "torch": manifest["torch"],
        **manifest.get("environment", {}),
        "command": " ".join(manifest["command"]),
        "seed": str(manifest["seed"]),
        **{f"data: {name}": source for name, source in manifest["data"].items()},
        **{f"checksum of {name}": f"{value[:16]}…" for name, value in manifest["data_checksums"].items()},
        "examples": ", ".join(f"{name}: {count:,}" for name, count in metrics["examples"].items()),
        "parameters": f"{metrics['parameters']:,}",
        "seconds of training": f"{metrics['seconds']:,.0f}",
    }
    return TableSection("Environment", "", ["what", "value"], [[name, value] for name, value in facts.items()])
