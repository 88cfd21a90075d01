"""`heedful evaluate`: what is particular to it; what holds of every task is in tests/tasks/test_every_task.py."""

import json

import pytest

from heedful.data import read_images
from heedful.tasks.classify_image import ClassifyImage
from tests.tiny import draw


def test_metrics_beside_baselines(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=6, seed=3)
    status, out, err = heedful("evaluate", trained, "--data", other)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"on {other}, 12 images"
    assert [line.split("  ")[2] for line in lines[1:6]] == [
        "accuracy", "macro f1", "baseline: majority", "baseline: nearest neighbors", "baseline: logistic regression"
    ]  # fmt: skip
    assert lines[3].endswith(" 50.0 %")
    found = json.loads(heedful("evaluate", trained, "--data", other, "--json").out)
    assert f"accuracy                       {100 * found['metrics']['accuracy']:5.1f} %" in out
    assert sum(line.count(" predicted as ") for line in lines) == min(len(found["details"]["confusions"]), 5)


def test_on_the_validation_images_it_is_what_the_training_said(heedful, trained, shades, tmp_path):
    split = ClassifyImage.split(read_images(str(shades)), "image")
    for name in split.validation.names:
        copy = tmp_path / "held" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((shades / name).read_bytes())
    found = json.loads(heedful("evaluate", trained, "--data", tmp_path / "held", "--json").out)
    kept = json.loads((trained / "metrics.json").read_text())
    assert found["metrics"] == pytest.approx(kept["metrics"])
    assert found["baselines"] == kept["baselines"]


def test_a_label_that_training_never_saw(refused, trained, tmp_path):
    other = draw(tmp_path / "other", count=2, classes=("dark", "medium"))
    line = refused("evaluate", trained, "--data", other)
    assert line == f"{other}/medium/0.png: label must be a known class, 'dark', 'light': got 'medium'"


def test_the_class_names_may_come_in_another_order_or_not_all(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=3, classes=("light",))
    assert json.loads(heedful("evaluate", trained, "--data", other, "--json").out)["examples"] == 3
