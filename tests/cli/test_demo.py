import contextlib
import io
import json
import math
import shutil

import pytest


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a quick demo, and what it printed; not to be changed."""
    from heedful.cli import run

    folder, out = tmp_path_factory.mktemp("demo") / "new" / "demo", io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["demo", "--quick", "--out", str(folder), "--seed", "3"]) == 0
    return folder, out.getvalue()


@pytest.fixture
def without_work(monkeypatch):
    """The demo makes its folder, and then no more."""

    class Ready(BaseException):
        pass

    def stop(*_):
        raise Ready

    monkeypatch.setattr("heedful.cli.demo.first_act", stop)
    return Ready


def test_it_leaves_a_run_a_report_and_its_figures(demo):
    folder, out = demo
    assert {file.name for file in folder.iterdir()} == {".heedful-demo", "run", "report.html", "metrics.json"}
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "heedful demo --seed 3" in page
    assert str(folder / "report.html") in out.splitlines()[-1]


def test_every_figure_is_in_metrics(demo):
    folder, out = demo
    metrics = json.loads((folder / "metrics.json").read_text())
    matrix, dates = metrics["matrix"], metrics["dates"]
    assert matrix["positions"] == 4096
    assert matrix["matrix_bytes"] == 4 * 4096**2
    assert 0 < matrix["mean_entropy_nat"] < math.log(4096)
    assert matrix["most_received"] > 1
    assert set(matrix["seconds"]) == {"entropy", "received mass", "pooled map"}
    assert max(matrix["largest_error_at_512"].values()) < 1e-4
    assert matrix["peak_memory_bytes"] > 1e7
    assert dates["examples"] == 1000
    assert set(dates["metrics"]) == {"bleu", "chrf", "exact_match"}
    assert set(dates["baselines"]) == {"copy source", "nearest neighbor (TF-IDF)"}
    assert metrics["seconds"] > 0
    for figure in (f"{matrix['mean_entropy_nat']:.3f} nat", f"{100 * dates['metrics']['exact_match']:5.1f} %"):
        assert figure in out


def test_its_run_is_a_run_like_any_other(demo, heedful):
    folder, _ = demo
    manifest = json.loads((folder / "run" / "run.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["command"] == ["heedful", "demo", "--seed", "3"]
    assert heedful("predict", folder / "run", "5 mars 2020", "2020").out.count("\n") == 2


def test_a_second_one_replaces_what_the_first_one_made_and_nothing_else(demo, heedful, without_work, tmp_path):
    folder = shutil.copytree(demo[0], tmp_path / "demo")
    (folder / "notes.txt").write_text("mine")
    (folder / "run" / "checkpoints" / ".last.ckpt.x.unfinished").write_bytes(b"half")
    with pytest.raises(without_work):
        heedful("demo", "--quick", "--out", folder)
    assert {file.name for file in folder.iterdir()} == {".heedful-demo", "notes.txt"}
    with pytest.raises(without_work):  # a demo that was interrupted begins again
        heedful("demo", "--quick", "--out", folder)


@pytest.mark.parametrize(
    "what", ["a file in the run", "a checkpoint", "a run of another command", "files without a run"]
)
def test_what_a_stranger_put_into_its_folder_stays(demo, refused, without_work, tmp_path, what):
    folder = shutil.copytree(demo[0], tmp_path / "demo")
    run = folder / "run"
    if what == "a file in the run":
        (run / "notes.txt").write_text("mine")
        message = f"{run}: must hold a run and nothing else, to be removed: got 'notes.txt'."
    elif what == "a checkpoint":
        (run / "checkpoints" / "mine.ckpt").write_text("mine")
        message = f"{run}: must hold a run and nothing else, to be removed: got 'mine.ckpt'."
    elif what == "a run of another command":
        manifest = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(manifest | {"command": ["heedful", "train", "translate"]}))
        message = f"{run}: is a run of your own: give the demo another folder by --out."
    else:
        (run / "run.json").unlink()
        message = f"{run}: a new run needs an empty folder: this one holds 'best.ckpt'; --resume goes on with a run."
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert refused("demo", "--quick", "--out", folder) == message
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_folder_of_something_else_is_refused(refused, without_work, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path, tmp_path / "file"):
        line = refused("demo", "--quick", "--out", out)
        assert line == f"{out}: the demo needs an empty folder, or one of an earlier demo: give another by --out."
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert refused("demo", "--out", tmp_path / "file" / "demo").endswith("Not a directory.")
