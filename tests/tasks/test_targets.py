"""One label, several labels, a number: each loss and metric beside a reference, and all of them from data to predictions."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn import metrics as reference

import heedful as package
from heedful._errors import DataError, SettingsError
from heedful.data.targets import ONE_LABEL, TargetFormat
from heedful.tasks.calibration import calibration_error, fit_temperature, fit_thresholds
from heedful.tasks.classification import OneLabel
from heedful.tasks.classify import Classify
from heedful.tasks.multilabel import LabelSet, SeveralLabels
from heedful.tasks.regression import Estimate, OneNumber
from heedful.tasks.run import load
from heedful.tasks.target_kinds import learn_target
from heedful.training.settings import settings_of
from tests import texts
from tests.tiny import TINY

COLORS = ["blue", "green", "red"]
SEVERAL = TargetFormat("labels")
FAST = dict(word.split("=", 1) for word in texts.CLASSIFY)


def things(count=60, seed=0):
    """Texts, the colors in each, and how many there are."""
    random = np.random.default_rng(seed)
    chosen = [[color for color in COLORS if random.random() < 0.5] for _ in range(count)]
    written = [" ".join(random.permutation([*colors, *random.choice(["box", "cat", "old"], 2)])) for colors in chosen]
    return written, chosen, [10.0 + 3 * len(colors) for colors in chosen]


def fast(**settings):
    return {name: json.loads(value) for name, value in FAST.items()} | {"model.ensemble_size": 1} | settings


def settings(*words):
    return settings_of(Classify.Settings, words)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a, b,a", ["a", "b"]),
        ("", []),
        (" , ", []),
        ('["a, b", 3]', ["a, b", "3"]),
        ("[a", ["[a"]),
        ('[{"a": 1}]', ['[{"a": 1}]']),
    ],
)
def test_cells_of_several_labels(cell, labels):
    assert SEVERAL.labels(cell) == labels
    assert SEVERAL.labels(SEVERAL.cell(labels)) == labels


@pytest.mark.parametrize("cell", ["abc", "nan", "inf", "1e999", "1_000", "1,5", "", "٣"])
def test_cells_that_are_no_numbers(cell):
    with pytest.raises(DataError, match=rf"^here: must have a number, as in -1.5 or 2e3: got '{cell}'$"):
        TargetFormat("number").check(cell, "here")


def test_numbers_are_read_as_python_reads_them():
    for cell in ("1", "-2.5", "+.5", "3.", "2E-3", " 7 "):
        TargetFormat("number").check(cell, "here")


def test_the_weights_of_classes_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    cells = ["a"] * 7 + ["b"] * 2 + ["c"]
    learned = learn_target(cells, settings("loss.class_weights=balanced"))
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=cells)
    assert learned["class_weights"][0] == pytest.approx(expected.tolist(), rel=1e-12)
    target, logits = OneLabel(ONE_LABEL, learned), torch.randn(10, 3)
    losses = target.loss(logits, target.encode(cells))
    plain = F.cross_entropy(logits, target.encode(cells), reduction="none")
    torch.testing.assert_close(losses, plain * torch.tensor(expected, dtype=torch.float32)[target.encode(cells)])
    mean = target.means(logits, target.encode(cells))["loss"]
    torch.testing.assert_close(
        mean.total / mean.count, F.cross_entropy(logits, target.encode(cells), weight=target._weight)
    )


def test_a_class_with_no_example_cannot_be_balanced():
    with pytest.raises(
        DataError, match="loss.class_weights=balanced needs an example of each label to train on: got none of 'b'"
    ):
        learn_target(["a", "c"], settings("loss.class_weights=balanced"), ["a", "b", "c"])
    with pytest.raises(SettingsError, match="numbers have no classes: must be none with data.target=number"):
        learn_target(["1", "2"], settings("loss.class_weights=balanced", "data.target=number"))


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("labels", ["a", "a", ""], "must hold at least two labels: got 'a' alone"),
        ("labels", ["", ""], "must hold labels: got none"),
        ("number", ["3", "3.0"], "must hold at least two different numbers: got 3 alone"),
    ],
)
def test_what_cannot_be_learned(kind, cells, message):
    with pytest.raises(DataError, match=message):
        learn_target(cells, settings(f"data.target={kind}"))


def test_losses_and_divergences_are_those_of_their_formulas():
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 5, 3).double().unbind()
    cells = ["blue", "red,green", "", "red", "blue,red"]
    several = SeveralLabels(SEVERAL, {"classes": COLORS})
    targets = several.encode(cells).double()
    p, q = first.sigmoid(), second.sigmoid()
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean(-1)
    torch.testing.assert_close(several.loss(first, targets), expected)
    coins = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()) + (
        q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    )
    torch.testing.assert_close(several.divergence(first, second), coins.mean(-1))
    torch.testing.assert_close(
        several.merge(first, torch.full((len(first), 1, 1), 1 / len(first))).double().sigmoid(),
        p.mean(0),
        rtol=1e-6,
        atol=1e-7,
    )
    number = OneNumber(TargetFormat("number"), {"target_mean": 4.0, "target_std": 2.0})
    torch.testing.assert_close(number.encode(["8", "3"]), torch.tensor([2.0, -0.5]))
    torch.testing.assert_close(number.loss(first[..., :1], targets[:, 0]), (first[..., 0] - targets[:, 0]) ** 2)
    torch.testing.assert_close(number.values(torch.tensor([[1.5]])), torch.tensor([[7.0]]).double())


def test_balanced_labels_weigh_as_much_there_as_not():
    cells = ["blue", "blue", "blue,red", ""]
    learned = learn_target(cells, settings("loss.class_weights=balanced", "data.target=labels"))
    assert learned == {"classes": ["blue", "red"], "class_weights": [[4 / 6, 2.0], [2.0, 4 / 6]]}
    target = SeveralLabels(SEVERAL, learned)
    halves = target.loss(torch.zeros(4, 2), target.encode(cells))
    assert float(halves.sum()) == pytest.approx(4 * np.log(2))


def test_scores_of_several_labels_are_scikit_learns():
    random = np.random.default_rng(0)
    truth, probabilities = random.random((50, 3)) < 0.4, random.random((50, 3))
    cells = [",".join(np.array(COLORS)[row]) for row in truth]
    target = SeveralLabels(SEVERAL, {"classes": COLORS})
    guesses = probabilities >= 0.5
    predictions = [
        LabelSet("", [COLORS[i] for i in guess.nonzero()[0]], all_probabilities=row.tolist())
        for guess, row in zip(guesses, probabilities, strict=True)
    ]
    found = {name: metric.value for name, metric in target.score(predictions, cells).metrics.items()}
    assert found == pytest.approx(
        {
            "micro_f1": reference.f1_score(truth, guesses, average="micro"),
            "macro_f1": reference.f1_score(truth, guesses, average="macro"),
            "mean_average_precision": reference.average_precision_score(truth, probabilities, average="macro"),
            "exact_match": reference.accuracy_score(truth, guesses),
        },
        rel=1e-12,
    )
    unseen = target.score(predictions, ["pink", *cells[1:]])
    assert "1 of" in unseen.note
    assert unseen.metrics["micro_f1"].value < 1


def test_scores_of_numbers_are_those_of_scikit_learn_and_scipy():
    from scipy.stats import spearmanr

    random = np.random.default_rng(0)
    truth, found = random.normal(size=40), random.normal(size=40)
    target = OneNumber(TargetFormat("number"), {"target_mean": 0.0, "target_std": 1.0})
    scores = target.score([Estimate("", number) for number in found], [repr(float(number)) for number in truth])
    assert {name: metric.value for name, metric in scores.metrics.items()} == pytest.approx(
        {
            "r2": reference.r2_score(truth, found),
            "spearman": spearmanr(truth, found).statistic,
            "mae": reference.mean_absolute_error(truth, found),
            "mse": reference.mean_squared_error(truth, found),
        },
        rel=1e-12,
    )
    alike = target.score([Estimate("", 1.0)] * 2, ["1", "1"])
    assert [metric.value for metric in alike.metrics.values()] == [0, 0, 0, 0]


def test_a_temperature_makes_up_for_logits_that_are_too_large():
    torch.manual_seed(0)
    logits = torch.randn(4000, 5).double()
    labels = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    target = OneLabel(ONE_LABEL, {"classes": list("abcde")})
    cells = ["abcde"[i] for i in labels.tolist()]
    temperature = target.calibrate(3 * logits, cells)["temperature"]
    assert temperature == pytest.approx(3, rel=0.05)
    calibrated = OneLabel(ONE_LABEL, {"classes": list("abcde"), "calibration": {"temperature": temperature}})
    predictions = calibrated.predictions([""] * len(cells), 3 * logits, None)
    details = calibrated.score(predictions, cells).details["calibration"]
    assert details["error"] < 0.03 < 0.15 < details["error_before"]
    assert [prediction.label for prediction in predictions] == ["abcde"[i] for i in logits.argmax(-1).tolist()]
    assert sum(count for *_, count in details["bins"]) == 4000
    assert fit_temperature(lambda T: 0.0) == pytest.approx(1, abs=1e-3), "without examples nothing is changed"


def test_the_calibration_error_is_that_of_its_definition():
    random = np.random.default_rng(0)
    p, right = random.random(500), random.random(500) < 0.5
    cells = np.minimum((p * 15).astype(int), 14)
    expected = sum(
        (cells == c).mean() * abs(p[cells == c].mean() - right[cells == c].mean())
        for c in range(15)
        if (cells == c).any()
    )
    assert calibration_error(p.tolist(), right.tolist()) == pytest.approx(expected, rel=1e-9)


def test_thresholds_are_those_of_the_best_f1():
    random = np.random.default_rng(0)
    truth = random.random((300, 2)) < [0.3, 0.02]
    p = np.clip(0.3 * truth + random.random((300, 2)) * 0.6, 0, 1).round(2)
    first, rare = fit_thresholds(torch.tensor(p), torch.tensor(truth).float())
    best = max(reference.f1_score(truth[:, 0], p[:, 0] >= t) for t in np.unique(p))
    assert reference.f1_score(truth[:, 0], p[:, 0] >= first) == pytest.approx(best)
    both = max(reference.f1_score(truth.ravel(), p.ravel() >= t) for t in np.unique(p))
    assert reference.f1_score(truth.ravel(), p.ravel() >= rare) == pytest.approx(both), "too rare for one of its own"
    assert fit_thresholds(torch.tensor([[0.1], [0.9]]), torch.tensor([[0.0], [1.0]])) == [0.5]


def test_several_labels_are_read_of_tables_json_and_python(tmp_path):
    written, chosen, _ = things(5)
    pairs = list(zip(written, chosen, strict=True))
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f'{t},"{"; ".join(c)}"\n' for t, c in pairs))
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in pairs))
    chosen_settings = settings("data.target=labels", "data.separator=;")
    for source in (tmp_path / "data.csv", tmp_path / "data.jsonl", (written, chosen)):
        read = Classify.read(source, chosen_settings)
        assert (read.texts, [read.format.labels(cell) for cell in read.labels]) == (written, chosen)


def test_several_labels_of_a_text(tmp_path, heedful):
    written, chosen, _ = things()
    own = fast(
        **{"data.target": "labels", "loss.class_weights": "balanced", "data.separator": ";", "training.epochs": 16}
    )
    model = package.train("classify", (written, chosen), settings=own, out=tmp_path / "run", progress=False)
    metrics = model.metrics
    assert metrics["metrics"]["micro_f1"] > 0.75 > metrics["baselines"]["most frequent labels"]["micro_f1"]
    assert metrics["metrics"]["mean_average_precision"] > 0.9
    assert set(metrics["details"]) == {"by_class", "calibration"}
    again = load(tmp_path / "run")
    assert again.predict(written) == model.predict(written)
    answer = heedful("predict", tmp_path / "run", written[0], "--format", "label")
    assert answer.out == ";".join(model.predict(written[0])[0].labels) + "\n"
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps({"text": t, "label": c}) + "\n" for t, c in zip(written, chosen, strict=True)))
    answer = heedful("evaluate", tmp_path / "run", "--data", file)
    assert "    mean average precision" in answer.out
    assert "    expected calibration error: " in answer.out
    assert model.inspect(written[:1])[0].predictions


def test_numbers_of_texts(tmp_path, heedful):
    written, _, numbers = things()
    file = tmp_path / "data.tsv"
    file.write_text("".join(f"{t}\t{n}\n" for t, n in zip(written, numbers, strict=True)))
    own = fast(**{"data.target": "number", "training.epochs": 12, "loss.consistency": 0.0})
    model = package.train("classify", str(file), settings=own, out=tmp_path / "run", progress=False)
    assert set(model.metrics["baselines"]) == {"mean", "TF-IDF + ridge regression"}
    assert model.metrics["metrics"]["r2"] > 0.5
    assert load(tmp_path / "run").predict(written) == model.predict(written)
    answer = heedful("predict", tmp_path / "run", written[0], "--format", "jsonl")
    assert json.loads(answer.out) == {"input": written[0], "number": model.predict(written[0])[0].number}
    assert model.predict(" ")[0].number == model.task.vocabulary["target_mean"]
    assert model.inspect(written[:1])[0].output == str(model.predict(written[0])[0])
    answer = heedful("predict", tmp_path / "run", "a", "--top-k", "3")
    assert "numbers are predicted, and no labels of which some are the most probable" in answer.err


@pytest.mark.parametrize(("target", "metric"), [("labels", "micro_f1"), ("number", "r2")])
def test_several_labels_and_numbers_of_images(target, metric, tmp_path):
    random, rows = np.random.default_rng(0), []
    for number in range(40):
        bright, striped = random.random() < 0.5, random.random() < 0.5
        pixels = (150 * bright + random.integers(0, 60, (8, 8))).astype(np.uint8)
        pixels[::2] += 40 * np.uint8(striped)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        labels = ["bright"] * bright + ["striped"] * striped
        rows.append(
            f'{number}.png,"{", ".join(labels)}"' if target == "labels" else f"{number}.png,{pixels.mean():.2f}"
        )
    (tmp_path / "data.csv").write_text("path,label\n" + "".join(row + "\n" for row in rows))
    words = [*TINY, f"data.target={target}", "training.epochs=8", "training.learning_rate=0.01"]
    model = package.train("classify-image", str(tmp_path / "data.csv"), settings=words, progress=False)
    assert model.metrics["metrics"][metric] > 0.5
    assert len(model.metrics["baselines"]) in (2, 3)
    (one,) = model.predict(tmp_path / "0.png")
    assert str(one).startswith(str(tmp_path / "0.png"))
    assert model.inspect(tmp_path / "0.png")[0].layers


@pytest.mark.parametrize(
    ("target", "name", "content", "message"),
    [
        ("number", "data.csv", "text,label\na,1\nb,many\n", ":3: must have a number, as in -1.5 or 2e3: got 'many'"),
        (
            "number",
            "data.jsonl",
            '{"text": "a", "label": null}\n',
            ":1: 'label' must be a text, a number, .*: got null",
        ),
        ("labels", "data.jsonl", '{"text": "a", "label": [[]]}\n', ":1: 'label' must be a text, .*: got a list"),
        (
            "label",
            "data.jsonl",
            '{"text": "a", "label": ["b"]}\n',
            ": got a list; data.target=labels reads several labels",
        ),
        ("label", "data.jsonl", '{"text": "a", "label": {}}\n', ":1: 'label' must be a text, .*: got an object"),
    ],
)
def test_labels_that_are_neither_names_nor_numbers(target, name, content, message, tmp_path, refused):
    (tmp_path / name).write_text(content)
    words = (
        "train",
        "classify",
        "--data",
        tmp_path / name,
        "--out",
        tmp_path / "run",
        "--set",
        f"data.target={target}",
    )
    line = refused(*words)
    assert line.startswith(f"{tmp_path / name}")
    assert re.search(message, line)


def test_an_image_with_no_number_is_named(tmp_path, refused):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    table = tmp_path / "data.csv"
    table.write_text("path,label\na.png,3\na.png,x\n")
    words = ("train", "classify-image", "--data", table, "--out", tmp_path / "run", "--set", "data.target=number")
    assert refused(*words) == f"{table}:3: a.png: must have a number, as in -1.5 or 2e3: got 'x'"
