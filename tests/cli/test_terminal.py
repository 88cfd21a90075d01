"""Nothing that came from a file steers the terminal or adds lines to the output; libraries are silent."""

import json
import subprocess
import sys

import pytest

from heedful._terminal import _STEERS
from heedful.training.run_folder import RunFolder
from tests import texts
from tests.tiny import draw

HOSTILE = ("red\x1b[31m\x0blines", "\u202egnorts\x9b2J\u2028x")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A classifier whose labels, and the path of whose data, would steer a terminal."""
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("steer") / "a\x1b[2J\u202eb"
    folder.mkdir()
    rows = [{"text": f"word {row % 2} and {row}", "label": HOSTILE[row % 2]} for row in range(40)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = texts.options(texts.CLASSIFY, "training.epochs=1")
    assert (
        run(["train", "classify", "--data", str(folder / "data.jsonl"), "--out", str(folder / "run"), *settings]) == 0
    )
    return folder / "run"


def assert_steers_nothing(answer, lines):
    assert answer.status in (0, 2)
    shown = answer.out + answer.err
    assert not _STEERS.search(shown.replace("\n", "")), shown
    assert shown.count("\n") == lines, shown


def test_what_is_printed_of_labels_and_paths(heedful, run, tmp_path):
    data = run.parent / "data.jsonl"
    settings = texts.options(texts.CLASSIFY, "training.epochs=1")
    trained = heedful("train", "classify", "--data", data, "--out", run.parent / "other", *settings)
    assert_steers_nothing(trained, trained.out.count("\n"))
    assert r"red\x1b[31m\x0blines" in trained.out
    evaluated = heedful("evaluate", run, "--data", data)
    assert_steers_nothing(evaluated, evaluated.out.count("\n"))
    assert_steers_nothing(heedful("evaluate", run, "--data", data, "--json"), 1)
    assert_steers_nothing(heedful("predict", run, "word", "--format", "text"), 1)
    answer = heedful("predict", run, "word", "--format", "jsonl", "--top-k", "0")
    assert_steers_nothing(answer, 1)
    assert set(json.loads(answer.out)["candidates"]) == set(HOSTILE), "a reader gets them as they are"
    assert_steers_nothing(heedful("evaluate", run, "--data", run.parent / "none\x1b.jsonl"), 1)
    assert_steers_nothing(heedful("inspect", run, "word", "--out", run.parent / "report.html"), 1)


def test_an_image_whose_name_steers(heedful, trained, tmp_path):
    folder = draw(tmp_path / "images", count=1, classes=("a\x1b[31m\u202eb",))
    assert_steers_nothing(heedful("predict", trained, *folder.rglob("*.png")), 1)


def test_a_version_that_steers(heedful, run_copy):
    manifest = RunFolder(run_copy).manifest() | {"format": 99, "heedful": "9\x1b[31m\n9"}
    (run_copy / "run.json").write_text(json.dumps(manifest))
    assert_steers_nothing(heedful("predict", run_copy, "x.png"), 1)


@pytest.mark.parametrize("format", ["label", "data"])
def test_a_file_gets_labels_as_they_are_and_a_terminal_does_not(heedful, run, monkeypatch, format):
    out = heedful("predict", run, "word", "--format", format).out
    assert _STEERS.search(out.replace("\n", ""))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert not _STEERS.search(
        heedful("predict", run, "word", "--format", format).out.replace("\n", "").replace("\t", "")
    )


def test_libraries_add_no_lines():
    script = """
import logging, sys, warnings
from heedful import cli
def run(words):
    warnings.warn("deprecated")
    logging.getLogger("library").error("odd")
    print("mine", file=sys.stderr)
    return 3
cli.run = run
cli.main([])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "mine\n")
