"""Every task by every law: what holds of one task at the command line and from Python holds of all."""

import base64
import dataclasses
import json
import math
import pickle
import re
import shutil
import threading
import tomllib
import urllib.request
from pathlib import Path

import pytest
import torch

import heedful as package
from heedful._errors import DataError, HeedfulError, SettingsError
from heedful._terminal import visible
from heedful.cli._formats import as_label
from heedful.data.inputs import InputKind
from heedful.tasks.catalog import TASKS, find
from heedful.tasks.contract import Task
from heedful.tasks.forward_pass import real_positions
from heedful.tasks.predictions import as_json
from heedful.tasks.run import load
from heedful.tasks.serve import ModelServer
from heedful.tasks.serve_schema import openapi
from tests.tasks.cases import CASES
from tests.tiny import Killed, killing, little_memory, outcome, rewrite

EVALUATED = {"data", "examples", "metrics", "units", "baselines", "details", "note"}


@pytest.fixture(scope="session", params=CASES)
def case(request):
    return CASES[request.param]


# Laws of what a task and the driver do alike for each of its models: one case of each task is enough.
each_task = pytest.mark.parametrize(
    "case", {case.task: name for name, case in reversed(CASES.items())}.values(), indirect=True, scope="session"
)


@pytest.fixture(scope="session")
def data(case, tmp_path_factory):
    """Data to train on; not to be changed."""
    return case.write(tmp_path_factory.mktemp("data"), 40, 0)


@pytest.fixture(scope="session")
def test_data(case, tmp_path_factory):
    return case.write(tmp_path_factory.mktemp("test"), 20, 1)


@pytest.fixture(scope="session")
def trust(case):
    """What the command line needs to know of a task that is a class in a file."""
    return ["--task", case.task] if ".py:" in case.task else []


@pytest.fixture(scope="session")
def run(case, data, tmp_path_factory):
    """A finished run; not to be changed."""
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(["train", case.task, "--data", str(data), "--out", str(folder), *case.words]) == 0
    return folder


@pytest.fixture
def model(case, run):
    return load(run, task=case.task)


def test_every_task_is_a_case():
    assert {case.task for case in CASES.values()} >= set(TASKS)


def test_it_is_a_final_class_of_the_contract(case):
    kind = find(case.task)
    assert kind.__mro__[1] is Task
    assert not kind.__abstractmethods__
    assert kind.name
    assert kind.example
    assert kind.unit


def test_what_a_run_folder_holds(case, run, data):
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["finished"] is True
    assert manifest["data"] == {"data": str(data)}
    assert set(manifest["data_checksums"]) - {"test"} == {"train", "valid"}
    metrics = json.loads((run / "metrics.json").read_text())
    fixed = {
        "task",
        "validation",
        "examples",
        "parameters",
        "metrics",
        "units",
        "baselines",
        "details",
        "note",
        "seconds",
    }
    assert fixed <= set(metrics) <= fixed | {"non_padding_fraction"}
    assert set(metrics["examples"]) - {"test"} == {"train", "validation"}
    assert metrics["metrics"].keys() == metrics["units"].keys()
    for values in (metrics["metrics"], *metrics["baselines"].values()):
        assert all(math.isfinite(value) for value in values.values())
    first = next(iter(metrics["metrics"]))
    assert metrics["baselines"]
    assert all(first in values for values in metrics["baselines"].values())
    log = (run / "log.csv").read_text().splitlines()
    assert log[0].startswith("epoch,step,")
    assert {"loss", "valid_loss"} <= set(log[0].split(","))
    assert len(log) == 4
    tomllib.loads((run / "config.toml").read_text())


def test_an_interrupted_run_comes_out_as_one_that_was_not(case, run, data, monkeypatch, tmp_path, heedful):
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful("train", case.task, "--data", data, "--out", tmp_path / "run", *case.words)
    answer = heedful("train", case.task, "--out", tmp_path / "run", "--resume")
    assert answer.status == 0, answer.err
    assert outcome(tmp_path / "run") == outcome(run)


@pytest.mark.parametrize(
    "case", ["classify-image", "generate-images", "segment", "detect", "caption"], indirect=True, scope="session"
)
def test_images_that_are_decoded_again_give_the_same_run(case, run, data, monkeypatch, tmp_path, heedful):
    kept = property(lambda data: {"cache": 1, "workers": 2})
    monkeypatch.setattr("heedful.tasks.image_settings.KeptImages.kept", kept)
    answer = heedful("train", case.task, "--data", data, "--out", tmp_path / "run", *case.words)
    assert answer.status == 0, answer.err
    assert "images are kept decoded (data.cache_mb)" in answer.out + answer.err
    assert outcome(tmp_path / "run") == outcome(run)


def test_a_run_that_goes_on_from_another_takes_what_both_know(case, run, model, monkeypatch, tmp_path, heedful):
    """And comes out as one that was not interrupted; so low a rate leaves the weights nearly where they were."""
    (tmp_path / "data").mkdir()
    words = ("train", case.task, "--data", case.write(tmp_path / "data", 30, 5), "--from", run)
    words += ("--set", "training.learning_rate=1e-5", "--set", "training.epochs=2")
    answer = heedful(*words, "--out", tmp_path / "whole")
    assert answer.status == 0, answer.err
    assert f"from {run}: " in answer.out
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful(*words, "--out", tmp_path / "run")
    answer = heedful("train", case.task, "--out", tmp_path / "run", "--resume")
    assert answer.status == 0, answer.err
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    further = load(tmp_path / "whole", task=case.task)
    before, compared = dict(model.model.named_parameters()), 0
    for name, after in further.model.named_parameters():
        rows = {
            one: _numbered(one.task.rows(), name, tensor) for one, tensor in ((model, before[name]), (further, after))
        }
        both = rows[model].keys() & rows[further].keys()
        assert both
        mine, theirs = ([rows[one][row] for row in both] for one in (further, model))
        assert torch.allclose(after[mine], before[name][theirs], atol=2e-3), name
        compared += len(both)
    transferred = further.metrics["transfer"]
    assert transferred["from"] == str(run)
    assert transferred["tensors"]["new"] == []
    assert transferred["taken"] == pytest.approx(transferred["numbers"], rel=0.5)
    assert compared > len(before)


def _numbered(named, name, tensor):
    """The number of each row of a tensor by its name; of rows without one by itself."""
    names = next((list(rows.names) for end, rows in (named or {}).items() if name.endswith(end)), [])
    unnamed = len(tensor) - len(names)
    return {row if row < unnamed else names[row - unnamed]: row for row in range(len(tensor))}


def test_one_by_one_as_in_a_batch_and_as_the_command_line_says(case, run, data, model, heedful, trust):
    inputs = case.inputs(data)
    together = model.predict(inputs)
    alone = [prediction for chunk in (model.stream([[one] for one in inputs]),) for prediction in chunk]
    _assert_close(together, alone)
    assert [prediction.input for prediction in together] == inputs or (together and not inputs)
    answer = heedful("predict", run, *inputs, "--format", "jsonl", *trust)
    assert answer.status == 0, answer.err
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert lines == [json.loads(as_json(prediction)) for prediction in together]
    for line in lines:
        assert next(iter(line)) == "input"
    for format, written in {"text": shown, "data": lambda one: one.to_format(), "label": as_label}.items():
        answer = heedful("predict", run, *inputs, "--format", format, *trust)
        if format == "data" and hasattr(together[0], "document"):
            begin, _, end = together[0].document
            assert (answer.status, answer.out[0], answer.out[-2]) == (0, begin, end)
            assert all(one.to_format() in answer.out for one in together)
        else:
            assert answer == (0, "".join(f"{written(one)}\n" for one in together), "")
    assert answer.out.count("\n") == len(together), "one line each"


def shown(prediction):
    """A prediction as a terminal shows it."""
    return visible(prediction, keep="\n\t")


def test_it_is_served_as_it_predicts(case, data, model):
    inputs = case.inputs(data)
    images = model.task.input in (InputKind.IMAGE, InputKind.AUDIO, InputKind.SERIES)
    sent = [base64.b64encode(Path(one).read_bytes()).decode() for one in inputs] if images else inputs
    server = ModelServer(model, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        for words in [(), *case.options]:
            option = {words[0][2:].replace("-", "_"): words[1] if len(words) > 1 else True} if words else {}
            chosen = type(model.task).Options(**option).model_dump(exclude_unset=True)
            body = json.dumps({"inputs": sent, "options": option}).encode()
            request = urllib.request.Request(
                f"{server.address}/predict", body, {"Content-Type": "application/json"}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                predictions = json.load(answer)["predictions"]
            expected = [json.loads(as_json(one)) for one in model.predict(inputs, **chosen)]
            if images:
                expected = [
                    one | {"input": f"inputs[{row * len(sent) // len(expected)}]"} for row, one in enumerate(expected)
                ]
            assert predictions == expected
    finally:
        server.stop()
        thread.join(60)
    schema = openapi(model.task)["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert set(predictions[0]) >= set(schema["schema"]["properties"]["predictions"]["items"]["required"])
    assert "$ref" not in json.dumps(schema)


def test_its_forward_pass_or_that_it_has_none(case, data, model):
    """What `heedful export` writes computes what the model computes; tests/tasks/test_export.py writes it."""
    task = model.task
    if task.name in ("translate", "summarize", "transcribe", "caption", "most-vowel"):
        says = f"{task.name} cannot be exported: its prediction is more than one forward pass of its model."
        with pytest.raises(HeedfulError, match=says):
            task.forward_pass()
        return
    forward = task.forward_pass()
    batches = task.batches(task.read(str(data), task.settings), training=False)
    batch = batches.make(next(iter(batches.order)))[0]
    tensors = forward.layout.pack(batch)
    assert len(tensors) == len(forward.layout.operands)
    for tensor, operand in zip(tensors, forward.layout.operands.values(), strict=True):
        sizes = [size if isinstance(size, int) else n for size, n in zip(operand.axes, tensor.shape, strict=True)]
        assert list(tensor.shape) == sizes
    with torch.inference_mode():
        expected = forward.compute(model.model, batch)
        output = forward.module(model.model)(*tensors)
    real = real_positions(forward.layout.operands, tensors, output)
    torch.testing.assert_close(output[real], expected[real])
    assert len(forward.output.axes) == output.dim()


def test_predictions_are_files_where_the_task_says_so(case, run, data, model, heedful, trust, tmp_path):
    answer = heedful("predict", run, *case.inputs(data), "--out", tmp_path / "out", *trust)
    if case.task not in ("segment", "detect", "generate-images", "transcribe", "forecast"):
        assert (answer.status, answer.out, list((tmp_path / "out").iterdir())) == (2, "", [])
        assert answer.err.endswith("predicts nothing that would be a file of its own: leave out --out.\n")
        return
    assert answer.status == 0, answer.err
    predictions = model.predict(case.inputs(data))
    suffix, content = model.task.file(predictions[0], model.options({}))
    first = tmp_path / "out" / (Path(predictions[0].input).stem + suffix)
    assert first.read_bytes() == content
    assert len(list(first.parent.iterdir())) == len(predictions)


@each_task
def test_the_options_of_the_task(case, run, data, model, heedful, trust):
    help = heedful("predict", run, "--help", *trust)
    assert help.status == 0
    for name in type(model.task).Options.model_fields:
        assert f"--{name.rstrip('_').replace('_', '-')}" in help.out
    inputs = case.inputs(data)
    plain = heedful("predict", run, *inputs, *trust).out
    for words in case.options:
        answer = heedful("predict", run, *inputs, *words, *trust)
        assert answer.status == 0, answer.err
        assert answer.out != plain, words
        option = {words[0][2:].replace("-", "_"): words[1] if len(words) > 1 else True}
        same = model.predict(inputs, **type(model.task).Options.model_validate(option).model_dump(exclude_unset=True))
        assert answer.out == "".join(f"{shown(one)}\n" for one in same)
    answer = heedful("predict", run, *inputs, "--no-such-option", "3", *trust)
    assert answer.status == 2
    assert "--no-such-option" in answer.err
    with pytest.raises(SettingsError, match="unknown setting `no_such_option`"):
        model.predict(inputs, no_such_option=3)


def test_the_most_probable_labels(case, run, data, model, heedful):
    if "candidates" not in {field.name for field in dataclasses.fields(model.predict(case.inputs(data))[0])}:
        return
    inputs = case.inputs(data)
    answer = heedful("predict", run, *inputs, "--format", "jsonl", "--top-k", "0")
    for line, one in zip(map(json.loads, answer.out.splitlines()), model.predict(inputs, top_k=1), strict=True):
        labels, told, best = line.get("labels", [line.get("label")]), line["candidates"], one.candidates
        told, best = (found if isinstance(found, list) else [found] for found in (told, best))
        for label, found, first in zip(labels, told, best, strict=True):
            assert sum(found.values()) == pytest.approx(1, abs=1e-4)
            assert list(found.values()) == sorted(found.values(), reverse=True)
            assert [label] == list(first) == list(found)[:1]
    assert "candidates" not in heedful("predict", run, *inputs, "--format", "jsonl").out


def test_evaluating_is_scoring_what_is_predicted(case, run, test_data, model, heedful, trust):
    found = model.evaluate(str(test_data))
    examples = model.task.read(
        str(test_data), model.task.settings, package.tasks.contract.Reading("test", vocabulary=model.task.vocabulary)
    )
    scores = model.task.score(model.predict(list(model.task.inputs(examples))), examples)
    assert found.metrics == {name: float(metric.value) for name, metric in scores.metrics.items()}
    assert found.baselines
    assert found.note == " ".join(filter(None, [scores.note, *(f"{note}." for note in getattr(examples, "notes", ()))]))
    answer = heedful("evaluate", run, "--data", test_data, "--json", *trust)
    assert answer.status == 0, answer.err
    assert set(json.loads(answer.out)) == EVALUATED
    assert json.loads(answer.out)["metrics"] == pytest.approx(found.metrics)
    printed = heedful("evaluate", run, "--data", test_data, *trust).out
    assert printed.splitlines()[0] == f"on {found.data}"
    assert all(f"baseline: {name}" in printed for name in found.baselines)


@each_task
def test_bad_rows_are_named_and_nothing_is_written(case, refused, tmp_path):
    for number, (content, says) in enumerate(case.bad):
        file = tmp_path / f"bad{number}" / case.write(tmp_path, 3, 0).name
        file.parent.mkdir()
        if case.inside:
            case.write(file.parent, 40, 0)
            bad = file / case.inside
            bad.write_text(content)
        else:
            bad = file
            file.write_text(content)
        line = refused("train", case.task, "--data", file, "--out", tmp_path / "run", *case.words)
        assert line.startswith(f"{bad}{says}"), line
        assert not (tmp_path / "run").exists()
    missing = tmp_path / "there" / "is" / "none"
    assert str(missing) in refused("train", case.task, "--data", missing, "--out", tmp_path / "run", *case.words)


@each_task
def test_an_empty_text_such_as_a_variable_that_was_not_set_is_no_data(case, run, data, refused, trust, tmp_path):
    words = ("train", case.task, *case.words, "--out", tmp_path / "run")
    told = "the data must be a path or the name of embedded data: got ''."
    for given in (("--data", ""), ("--train", "", "--valid", data), ("--train", data, "--valid", "")):
        assert refused(*words, *given) == told
    assert not (tmp_path / "run").exists()
    for verb in ("evaluate", "predict"):
        assert refused(verb, run, "--data", "", *trust) == told


@each_task
def test_too_few_to_hold_one_out(case, refused, tmp_path):
    if case.task == "language-model":
        file = tmp_path / "data.txt"
        file.write_text("abc")
    else:
        file = case.write(tmp_path, 6, 0)
        if case.task not in TASKS:  # so few rows do not show whether there is a header
            file.write_text(f"text\tlabel\n{file.read_text()}")
    line = refused("train", case.task, "--data", file, "--out", tmp_path / "run", *case.words)
    assert line.startswith(f"{file}: must ")
    assert "at least 10 " in line


def test_settings_that_are_unknown_or_out_of_range(case, refused, data, tmp_path):
    unknown, meant = case.unknown
    words = ("train", case.task, "--data", data, "--out", tmp_path / "run")
    line = refused(*words, "--set", f"{unknown}=3", "--set", "training.epochs=0")
    assert f"unknown setting `{unknown}`, did you mean `{meant}`?" in line
    assert "`training.epochs`: " in line
    assert not (tmp_path / "run").exists()


@each_task
def test_show_prints_a_file_for_config(case, heedful, data, tmp_path):
    answer = heedful("show", case.task)
    assert answer.status == 0
    config = tmp_path / "config.toml"
    config.write_text(answer.out)
    kind = find(case.task)
    assert package.training.settings.settings_of(kind.Settings, config=config) == kind.Settings()
    for name, section in kind.Settings():
        for key, setting in type(section).model_fields.items():
            assert setting.description, f"{name}.{key} needs a description"


@each_task
def test_hostile_strings(case, model):
    for text in case.hostile:
        (first, *_) = model.predict([text])
        assert first.input == text or case.task == "tag"
        json.loads(as_json(first))
        assert isinstance(str(first) + first.to_format(), str)


@each_task
def test_python_is_the_command_line(case, run, data, tmp_path):
    settings = [word for word in case.words if word not in ("--set", "--masked")]
    settings += [shortcut.setting for flag, shortcut in find(case.task).shortcuts.items() if f"--{flag}" in case.words]
    model = package.train(case.task, str(data), settings=settings, out=tmp_path / "run", progress=False)
    assert outcome(tmp_path / "run") == outcome(run)
    in_memory = package.train(case.task, case.python(data), settings=settings, progress=False)
    weights, other = model.model.state_dict(), in_memory.model.state_dict()
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert in_memory.metrics["metrics"] == model.metrics["metrics"]
    assert in_memory.evaluate(case.python(data)).baselines
    mapping = dict(word.split("=", 1) for word in settings)
    assert package.training.settings.settings_of(
        type(model.task.settings), settings
    ) == package.training.settings.settings_of(
        type(model.task.settings), {key: package.training.settings._value(value) for key, value in mapping.items()}
    )


@each_task
def test_a_run_folder_that_was_moved(case, run, data, test_data, model, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    again = load(moved, task=case.task)
    _assert_close(again.predict(case.inputs(data)), model.predict(case.inputs(data)))
    assert again.evaluate(str(test_data)) == model.evaluate(str(test_data))


@each_task
def test_training_data_that_were_moved_changed_or_are_gone(case, test_data, tmp_path, monkeypatch, heedful, trust):
    folder = tmp_path / "own"
    folder.mkdir()
    own = case.write(folder, 40, 0)
    words = ("--data", own.relative_to(tmp_path), "--out", "run", *case.words)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful("train", case.task, *words)
    moved = own.rename(own.with_name(f"moved-{own.name}"))
    assert heedful("train", case.task, "--out", tmp_path / "run", "--data", moved, "--resume").status == 0
    whole = load(tmp_path / "run", task=case.task).evaluate(str(test_data))
    assert whole.baselines
    away = moved.rename(tmp_path / "away")
    gone = load(tmp_path / "run", task=case.task).evaluate(str(test_data))
    assert gone.metrics == whole.metrics
    assert gone.baselines == {}
    assert "no baselines: they need the training data, which cannot be read: " in gone.note
    case.write(folder, 40, 2).rename(moved)
    assert away.exists()
    answer = heedful("evaluate", tmp_path / "run", "--data", test_data, *trust)
    assert answer.status == 0
    assert f"no baselines: they need the training data, which have changed since: {moved}." in answer.out


def test_it_is_pickled_and_saved(case, data, model, tmp_path):
    again = pickle.loads(pickle.dumps(model))
    _assert_close(again.predict(case.inputs(data)), model.predict(case.inputs(data)))
    model.save(tmp_path / "copy")
    assert load(tmp_path / "copy", task=case.task).metrics == model.metrics


def test_it_is_inspected(case, run, data, model, heedful, trust, tmp_path):
    inputs = case.inputs(data)
    sections = model.inspect(inputs)
    assert len(sections) == len(inputs) or (sections and not inputs)
    assert all(section.layers for section in sections)
    answer = heedful("inspect", run, *inputs, "--out", tmp_path / "report.html", *trust)
    assert answer.status == 0, answer.err
    assert (tmp_path / "report.html").stat().st_size > 10_000
    if case.hostile:
        with pytest.raises(DataError, match="must hold at least one character that is no blank"):
            model.inspect(["  "])


def test_errors_are_analyzed(case, run, model, test_data, heedful, trust, tmp_path):
    page = model.report(worst=1)
    titles = [section.title for section in page]
    assert titles[:2] == ["Metrics", "Learning curves"]
    assert titles[-2:] == ["Settings", "Environment"]
    assert "What went most wrong" in titles
    assert any(section.title.startswith("1. ") and section.layers for section in page)
    answer = heedful("report", run, "--data", test_data, "--worst", 0, "--out", tmp_path / "report.html", *trust)
    assert answer == (0, f"report: {tmp_path / 'report.html'}\n", "")
    assert str(test_data) in (tmp_path / "report.html").read_text()


def test_sizes_of_a_folder_that_were_blown_up(case, run, data, tmp_path):
    """Each number of the settings and the vocabulary: it is refused in one line, or changes no more than what is predicted."""
    copy = shutil.copytree(run, tmp_path / "run")
    config, vocabulary = ((copy / name).read_text() for name in ("config.toml", "vocabulary.json"))
    before, refused = load(copy, task=case.task).predict(case.inputs(data)[:1]), []
    lines, names = config.partition("[training]")[0].splitlines(), json.loads(vocabulary)
    changes = [
        {"config": config.replace(line, re.sub(r"\b\d+\b(?!\.)", str(10**9), line, count=1))}
        for line in lines
        if re.match(r"\w+ = \[?\d+(?!\.)\b", line)
    ]
    changes += [{"vocabulary": changed} for changed in blown_up(names, ("pretrained", "config"))]
    for change in changes:
        rewrite(copy, **({"config": config, "vocabulary": vocabulary} | change))
        with little_memory(2000):
            try:
                after = load(copy, task=case.task).predict(case.inputs(data)[:1])
            except HeedfulError as error:
                refused.append(str(error))
                continue
        assert len(after) == len(before)
    assert all("\n" not in line for line in refused)
    assert len(refused) >= 4 or case.task.endswith(":MostVowel")


def blown_up(values, inside):
    """Copies of a mapping in which one number is huge, or the first entry of one list; also of the mappings named `inside` it."""
    for key, value in values.items():
        if key in inside and isinstance(value, dict):
            yield from (values | {key: changed} for changed in blown_up(value, inside))
        elif isinstance(value, int | list) and not isinstance(value, bool):
            yield values | {key: 10**9 if isinstance(value, int) else [10**9, *value[1:]]}


def test_a_class_in_a_file_is_run_only_if_it_is_named(case, run, refused):
    if ".py:" in case.task:
        line = refused("predict", run, "banana")
        assert line == f"{run}: its task is a class in a file; if you trust it, name it: --task {case.task}"
        with pytest.raises(HeedfulError, match="its task is a class in a file"):
            package.load(run)


def _assert_close(predictions, others):
    """Equal but for rounding."""
    assert len(predictions) == len(others)
    for one, other in zip(predictions, others, strict=True):
        for field in dataclasses.fields(one):
            if field.compare:
                assert _rounded(getattr(one, field.name)) == _rounded(getattr(other, field.name)), field.name


def _rounded(value):
    """Numbers in lists of any depth, so that those that are nearly equal are."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value
