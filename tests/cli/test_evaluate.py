import json

import pytest

from tests.tiny import draw


def test_measures_beside_baselines(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=6, seed=3)
    status, out, err = heedful("evaluate", trained, "--data", other)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"on {other}, 12 pictures"
    names = [
        "accuracy",
        "macro f1",
        "baseline: majority",
        "baseline: nearest neighbours",
        "baseline: logistic regression",
    ]
    assert [line.split("  ")[2] for line in lines[1:]] == names
    assert lines[3].endswith(" 50.0 %")


def test_one_json_object_that_says_the_same(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=6, seed=3)
    out = heedful("evaluate", trained, "--data", other, "--json").out
    metrics = json.loads(out)
    assert out.count("\n") == 1
    assert set(metrics) == {"on", "pictures", "measures", "baselines"}
    printed = heedful("evaluate", trained, "--data", other).out
    assert f"accuracy                       {100 * metrics['measures']['accuracy']:5.1f} %" in printed


def test_on_the_held_out_pictures_it_is_what_the_training_said(heedful, trained, shades, tmp_path):
    from heedful.data import hold_out, read_pictures

    _, held_out = hold_out(read_pictures(str(shades)))
    for name in held_out.names:
        copy = tmp_path / "held" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((shades / name).read_bytes())
    metrics = json.loads(heedful("evaluate", trained, "--data", tmp_path / "held", "--json").out)
    kept = json.loads((trained / "metrics.json").read_text())
    assert metrics["measures"] == pytest.approx(kept["measures"])
    assert metrics["baselines"] == kept["baselines"]


def test_a_label_that_training_never_saw(refused, trained, tmp_path):
    other = draw(tmp_path / "other", count=2, classes=("dark", "medium"))
    line = refused("evaluate", trained, "--data", other)
    assert line == f"{other}/medium/0.png: label must be a known class, 'dark', 'light': got 'medium'"


def test_the_class_names_may_come_in_another_order_or_not_all(heedful, trained, tmp_path):
    other = draw(tmp_path / "other", count=3, classes=("light",))
    assert json.loads(heedful("evaluate", trained, "--data", other, "--json").out)["pictures"] == 3
