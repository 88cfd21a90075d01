import importlib.metadata
import os
import subprocess
import sys

import pytest

import heedful as package

VERBS = ("demo", "tasks", "show", "train", "evaluate", "predict", "inspect")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_names_every_verb(heedful, words):
    status, out, err = heedful(*words)
    assert (status, err) == (0, "")
    assert out.strip().startswith("Usage: heedful COMMAND")
    for verb in VERBS:
        assert f" {verb} " in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_explains_each_parameter(heedful, verb):
    status, out, err = heedful(verb, "--help")
    assert (status, err) == (0, "")
    assert f"Usage: heedful {verb}" in out
    assert "quick" not in out


def test_help_of_a_task_shows_its_own_flags(heedful):
    assert "--masked  a language model that fills gaps" in heedful("train", "language-model", "--help").out
    assert "--masked" not in heedful("train", "translate", "--help").out


def test_version(heedful):
    assert heedful("--version") == (0, f"{package.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian", 'Unknown command "trian". Did you mean "train"?'),
        ("train", "TASK_NAME requires an argument"),
        ("train classify-image --data x", "--out requires an argument"),
        ("train classify-image --data x --out y --rsume", "Unknown option: --rsume. Did you mean --resume?"),
        ("train classify-imag --data x --out y", "unknown task `classify-imag`, did you mean `classify-image`?"),
        ("train poetry --data x --out y", "unknown task `poetry`; known: tag, classify, language-model, translate, summarize,"),
        ("show classify-imag", "unknown task `classify-imag`, did you mean `classify-image`?"),
        ("show", "TASK_NAME requires an argument"),
        ("tasks more", "Unused Tokens: ['more']"),
        ("evaluate run", "--data requires an argument"),
        ("predict", "RUN_FOLDER requires an argument"),
        ("predict run x.png", "run: must be a run folder, as `heedful train ... --out` makes it: there is no such folder."),
        ("train language-model --data x --out y --masked=maybe", 'Invalid value for --masked: unable to convert "maybe" into bool'),
        ("train translate --data x --out y --masked", "Unknown option: --masked"),
        ("train x.py:Mine --data x --out y", "x.py: must be a Python file with a task: there is no such file."),
        ("train tag --data x --out y --lr 0.1", "unknown option --lr: settings are changed by --set, as in --set training.learning_rate="),
        ("train tag --data x --out y --epochs=3", "unknown option --epochs: settings are changed by --set, as in --set training.epochs="),
        ("demo --seed x", 'Invalid value for --seed: unable to convert "x" into int'),
        ("train classify-image --train x --out y", "give either --data, or --train and --valid: got --train."),
        ("train classify-image --data x --valid y --out z", "give either --data, or --train and --valid: got --data and --valid."),
        ("train classify-image --out y", "give --data, or --train and --valid: got neither."),
        ("train classify-image --out y --resume", "give --data, or --train and --valid: got neither."),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_one_line(refused, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*words.split())
    assert list(tmp_path.iterdir()) == []


def test_main_exits_with_the_status(monkeypatch, capsys):
    from heedful.cli import main

    monkeypatch.setattr(sys, "argv", ["heedful", "trian"])
    with pytest.raises(SystemExit, match="^2$"):
        main()
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])


def test_the_installed_script_is_main():
    points = {point.name: point.value for point in importlib.metadata.entry_points(group="console_scripts")}
    assert points.get("heedful", "heedful.cli:main") == "heedful.cli:main"


def test_nothing_heavy_is_imported_before_it_is_needed():
    """By `import heedful`, by help, by the table of tasks; in a process of its own, for this one has imported everything."""
    script = """
import sys
import heedful
heavy = {"torch", "numpy", "lightning", "sklearn", "PIL", "kornia", "cyclopts", "pydantic", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from heedful.cli import run
for words in (["--help"], ["--version"], ["train", "--help"], ["predict", "--help"], ["tasks"], ["trian"]):
    run(words)
heavy -= {"cyclopts", "pydantic", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_named_with_what_to_install(refused, monkeypatch, trained):
    monkeypatch.delitem(sys.modules, "PIL", raising=False)
    error = ModuleNotFoundError("No module named 'PIL'", name="PIL")

    def without(*_):
        raise error

    monkeypatch.setattr("heedful.tasks.loading.find", without)
    line = refused("predict", trained, "x.png")
    assert line == "this needs `pip install 'heedful[all]'`: the package PIL is missing."


def test_a_reader_that_has_gone_is_no_error(trained, shades, heedful, monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("heedful.tasks.classify_image.ClassifyImage.predict", gone)
    assert heedful("predict", trained, "x.png") == (0, "", "")


@pytest.mark.parametrize(("device", "status"), [("pipe", 0), ("/dev/full", 2)])
def test_what_is_printed_cannot_be_written(device, status):
    """In a process of its own, where standard output is written once more at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer if device == "pipe" else device, "wb") as out:
        script = "import sys; from heedful.cli import main; main(['tasks'])"
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    said = "" if device == "pipe" else "heedful: a file: cannot be read or written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (status, said)


def test_ctrl_c_while_packages_are_imported_is_one_line(heedful, monkeypatch):
    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "heedful.cli.app", Interrupted())
    assert heedful("tasks") == (130, "", "heedful: interrupted; a training goes on with --resume.\n")


def test_too_little_memory_is_one_line(refused, trained, monkeypatch):
    def too_much(*_, **__):
        raise MemoryError

    monkeypatch.setattr("heedful.tasks.classify_image.ClassifyImage.predict", too_much)
    assert refused("predict", trained, "x.png") == "there is not enough memory: fewer or smaller inputs may do."
