import json
import math

import pytest


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    import contextlib
    import io

    from heedful.cli import run

    folder, out = tmp_path_factory.mktemp("demo") / "new" / "demo", io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["demo", "--quick", "--out", str(folder), "--seed", "3"]) == 0
    return folder, out.getvalue()


def test_it_leaves_a_run_a_report_and_its_figures(shown):
    folder, _ = shown
    assert {file.name for file in folder.iterdir()} == {"run", "report.html", "metrics.json"}
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "heedful demo --seed 3" in page


def test_every_figure_is_in_metrics(shown):
    folder, out = shown
    metrics = json.loads((folder / "metrics.json").read_text())
    matrix, dates = metrics["matrix"], metrics["dates"]
    assert matrix["positions"] == 4096
    assert matrix["matrix_bytes"] == 4 * 4096**2
    assert 0 < matrix["mean_entropy_nat"] < math.log(4096)
    assert matrix["most_received"] > 1
    assert set(matrix["seconds"]) == {"entropy", "received mass", "pooled map"}
    assert max(matrix["largest_error_at_512"].values()) < 1e-4
    assert matrix["peak_memory_bytes"] > 1e7
    assert dates["pairs"] == 1000
    assert set(dates["measures"]) == {"bleu", "chrf", "right"}
    assert metrics["seconds"] > 0
    for figure in (
        f"{matrix['mean_entropy_nat']:.3f} nat",
        f"{100 * dates['measures']['right']:5.1f} %",
    ):
        assert figure in out


def test_its_run_is_a_run_like_any_other(shown, heedful):
    folder, _ = shown
    about = json.loads((folder / "run" / "run.json").read_text())
    assert about["seed"] == 3
    assert about["command"] == ["heedful", "demo", "--seed", "3"]
    assert heedful("predict", folder / "run", "5 mars 2020", "2020").out.count("\n") == 2


def test_a_folder_that_holds_something_is_refused(refused, shown, tmp_path):
    folder, _ = shown
    (tmp_path / "file").write_text("")
    before = (folder / "metrics.json").stat().st_mtime_ns
    for out in (folder, tmp_path, tmp_path / "file"):
        assert (
            refused("demo", "--quick", "--out", out) == f"{out}: the demo needs an empty folder: give another by --out."
        )
    assert (folder / "metrics.json").stat().st_mtime_ns == before


def test_a_place_where_no_folder_can_be_is_refused_at_once(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("heedful.cli.demo.first_act", None)
    (tmp_path / "file").write_text("")
    assert refused("demo", "--out", tmp_path / "file" / "demo").endswith("Not a directory.")
