"""`heedful evaluate`: what is particular to it; what holds of every task is in tests/tasks/test_every_task.py."""

import json
import os
import re

import pytest

from heedful.data import read_images
from heedful.tasks.classify_image import ClassifyImage
from tests.tiny import draw, rewrite


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


def test_a_label_that_training_never_saw_counts_as_wrong(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=2, classes=("dark", "medium"))
    answer = json.loads(heedful("evaluate", trained, "--data", other, "--json").out)
    assert answer["metrics"]["accuracy"] <= 0.5
    assert "2 of 4 labels" in answer["note"]


def test_the_class_names_may_come_in_another_order_or_not_all(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=3, classes=("light",))
    assert json.loads(heedful("evaluate", trained, "--data", other, "--json").out)["examples"] == 3


@pytest.fixture
def another_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))


def test_a_run_from_elsewhere_is_evaluated_and_opens_nothing_else(
    heedful, refused, run_copy, shades, tmp_path, another_user, monkeypatch
):
    os.mkfifo(tmp_path / "pipe")
    about = json.loads((run_copy / "run.json").read_text())
    for source in (str(shades), "/etc/passwd", "hf:someone/data", "../data", str(tmp_path / "pipe")):
        (run_copy / "run.json").write_text(json.dumps(about | {"data": {"data": source}}))
        with monkeypatch.context() as patch:
            patch.setattr("heedful.tasks.evaluation.split_of", None)  # what reads them
            answer = heedful("evaluate", run_copy, "--data", shades)
        assert answer.status == 0, answer.err
        assert "baseline" not in answer.out.partition("note: ")[0]
        assert answer.out.endswith(
            "note: no baselines: they need the training data, which are not opened since the run is from elsewhere: "
            f"it names {source}, --train may name them.\n"
        )
    answer = heedful("evaluate", run_copy, "--data", shades, "--train", shades, "--json")
    assert json.loads(answer.out)["baselines"].keys() == {"majority", "nearest neighbors", "logistic regression"}
    other = draw(tmp_path / "other", seed=5)
    line = refused("evaluate", run_copy, "--data", shades, "--train", other)
    assert line == f"{other}: must be the data that the run was trained on: got others."
    assert "nowhere" in refused("evaluate", run_copy, "--data", shades, "--train", tmp_path / "nowhere")


def test_a_run_from_elsewhere_goes_on_with_data_that_are_named(refused, run_copy, another_user):
    (run_copy / "run.json").write_text(
        (run_copy / "run.json").read_text().replace('"finished": true', '"finished": false')
    )
    line = refused("train", "classify-image", "--out", run_copy, "--resume")
    source = json.loads((run_copy / "run.json").read_text())["data"]["data"]
    assert line == f"{run_copy}: was begun elsewhere: name its data again, --data {source}."


def test_embedded_data_are_anyones(heedful, run_copy, another_user):
    about = json.loads((run_copy / "run.json").read_text())
    (run_copy / "run.json").write_text(json.dumps(about | {"data": {"data": "digits"}}))
    assert "which have changed since: digits" in heedful("evaluate", run_copy, "--data", about["data"]["data"]).out


def test_weights_of_nan_are_refused_by_name(refused, run_copy, shades):
    import torch
    from safetensors.torch import load_file, save

    tensors = load_file(run_copy / "model.safetensors")
    name = "head.weight"
    tensors[name][1, 2] = torch.nan
    rewrite(run_copy, model=save(tensors))
    for verb in (
        ["evaluate", run_copy, "--data", shades],
        ["predict", run_copy, shades],
        ["inspect", run_copy, shades],
    ):
        assert refused(*verb) == f"{run_copy / 'model.safetensors'}: `{name}` must be finite: got nan at [1, 2]."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), "must hold `head.bias`: there is none"),
        (lambda t: t.update(extra=t["head.bias"].clone()), "must not hold `extra`: the model has none"),
        (
            lambda t: t.update({"head.bias": t["head.bias"].double()}),
            r"`head.bias` must be \[2\] of float32: got \[2\] of float64",
        ),
        (
            lambda t: t.update({"head.bias": t["head.bias"][:1].clone()}),
            r"`head.bias` must be \[2\] of float32: got \[1\] of float32",
        ),
    ],
    ids=["none", "too many", "dtype", "shape"],
)
def test_weights_fit_settings_and_vocabulary(refused, run_copy, shades, change, message):
    from safetensors.torch import load_file, save

    tensors = load_file(run_copy / "model.safetensors")
    change(tensors)
    rewrite(run_copy, model=save(tensors))
    line = refused("predict", run_copy, shades)
    assert re.fullmatch(f"{run_copy}/model.safetensors: {message}, by the settings and the vocabulary.", line), line
