"""`heedful report`: what each section says, by hand, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

import heedful as package
from heedful.data.text import LabeledTexts
from heedful.report import ChartsSection, TableSection
from heedful.tasks.run import load
from tests import texts
from tests.tiny import rewrite


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts.reviews(tmp_path_factory.mktemp("data") / "data.tsv", 200)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = [*texts.CLASSIFY, "model.ensemble_size=1", "training.epochs=2"]
    package.train("classify", str(data), settings=settings, out=folder, progress=False)
    return folder


def section(page, title):
    return next(one for one in page if one.title == title)


def test_what_each_section_says(run, data):
    model = load(run)
    test = LabeledTexts.of(["bona", "bela boro", "malbona", "mallumo la"] * 10, ["good", "bad", "bad", "good"] * 10)
    page, found = model.report(test, worst=2), model.evaluate(test)
    predictions = [one.label for one in model.predict(test.texts)]
    assert section(page, "Metrics").rows[0][:2] == ["accuracy", f"{100 * found.metrics['accuracy']:.1f} %"]
    (heat,) = section(page, "Confusions").charts
    names = ["bad", "good"]
    expected = [
        [sum(pair == (a, b) for pair in zip(test.labels, predictions, strict=True)) for b in names] for a in names
    ]
    assert (heat.rows, np.asarray(heat.counts).tolist()) == (names, expected)
    by_class = {row[0]: row for row in section(page, "Metrics by class").rows}
    right = expected[0][0]
    assert by_class["bad"][:2] == ["bad", 20]
    assert by_class["bad"][3] == f"{100 * right / 20:.1f} %"
    worst = section(page, "What went most wrong")
    wrong = sum(a != b for a, b in zip(test.labels, predictions, strict=True))
    assert [row[-1] for row in worst.rows] == ["0.0 %"] * min(wrong, 25)
    sure = max(
        one.probability for one, label in zip(model.predict(test.texts), test.labels, strict=True) if one.label != label
    )
    assert f"{100 * sure:.1f} %" in worst.rows[0][worst.header.index("predicted")]
    assert sum(one.title.startswith(("1. ", "2. ")) for one in page) == 2
    lengths = section(page, "By length, in numbers")
    assert sum(row[1] for row in lengths.rows) == 40
    reliability = section(page, "Calibration").charts[0].lines[1]
    assert all(0 <= value <= 1 for value in (*reliability.x, *reliability.y))
    settings = {row[0]: row[1:3] for row in section(page, "Settings").rows}
    assert settings["training.epochs"] == ["2", "auto"]
    assert {row[0]: row[1] for row in section(page, "Environment").rows}["torch"] == torch.__version__


def test_learning_curves_are_those_of_the_log(run):
    loss = section(load(run).report(worst=0), "Learning curves").charts[0]
    rows = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    column = rows[0].index("valid_loss")
    assert loss.lines[1].y == [float(row[column]) for row in rows[1:]]


def test_numbers_are_drawn_beside_estimates(tmp_path):
    written = [f"{word} film" for word in ("one", "two", "three", "four")] * 10
    settings = [*texts.CLASSIFY, "model.ensemble_size=1", "training.epochs=2", "data.target=number"]
    model = package.train("classify", (written, [1.0, 2.0, 3.0, 4.0] * 10), settings=settings, progress=False)
    page = model.report((written, [1.0, 2.0, 3.0, 4.0] * 10), worst=1)
    examples = section(page, "Estimates").charts[0].lines[1]
    assert examples.x == [1.0, 2.0, 3.0, 4.0] * 10
    worst = section(page, "What went most wrong")
    errors = [
        abs(float(row[worst.header.index("expected")]) - float(row[worst.header.index("predicted")]))
        for row in worst.rows
    ]
    assert errors == sorted(errors, reverse=True)
    assert (
        "no single examples: they need the validation data, which were in memory."
        in section(model.report(), "Metrics").text
    )


def test_a_run_from_elsewhere_names_data_that_are_not_opened(run, tmp_path, heedful):
    copy = shutil.copytree(run, tmp_path / "copy")
    manifest = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(manifest | {"signature": "0" * len(manifest["signature"])}))
    page = load(copy).report()
    assert "are not opened since the run is from elsewhere" in section(page, "Metrics").text
    assert "What went most wrong" not in [one.title for one in page]
    assert {type(one) for one in page} == {TableSection, ChartsSection}
    vocabulary = json.loads((copy / "vocabulary.json").read_text())
    rewrite(copy, vocabulary=vocabulary | {"calibration": {"temperature": 0.0}})
    answer = heedful("report", copy, "--out", tmp_path / "a.html")
    assert answer.err.startswith(
        f"heedful: {copy / 'vocabulary.json'}: `calibration.temperature`: input should be greater than 0"
    )


def test_drawings_and_what_is_refused(run, tmp_path, heedful, refused):
    answer = heedful("report", run, "--out", tmp_path / "a.html", "--png", tmp_path / "drawn", "--worst", 1)
    assert answer.status == 0, answer.err
    names = sorted(file.name for file in (tmp_path / "drawn").iterdir())
    assert answer.out == f"drawings: {len(names)} files in {tmp_path / 'drawn'}\nreport: {tmp_path / 'a.html'}\n"
    assert {"01-loss.png", "04-reliability.png"} < set(names)
    assert names[-1].endswith("-attention.png")
    assert refused("report", run, "--worst", -1) == "--worst must be at least 0 examples: got -1."
    assert (
        refused("report", run, "--out", tmp_path) == f"{tmp_path}: the report must be a file in a folder that exists."
    )
    file = tmp_path / "a.html"
    assert refused("report", run, "--png", file) == f"{file}: the drawings need a folder: this is a file."
    assert not (tmp_path / "report.html").exists()
