import json
import os
import time

import pytest
import torch

from heedful._errors import RunFolderError, SettingsError
from heedful.training import run_folder, signature
from heedful.training.run_folder import RunFolder, config_matches
from heedful.training.schema import Classes, Counts, Schema
from heedful.training.settings import TaskSettings, settings_of
from tests.tiny import little_memory, rewrite

ABOUT = {
    "task": "t",
    "command": ["heedful"],
    "seed": 3,
    "data": {"data": "x"},
    "data_checksums": {"train": "5"},
    "config": "a = 1\n",
}
METRICS = {
    "task": "t", "validation": "v", "examples": {"train": 5}, "parameters": 6, "metrics": {"accuracy": 0.5}, "units": {"accuracy": "%"},
    "baselines": {"majority": {"accuracy": 0.25}}, "details": {}, "note": "", "seconds": 1.5,
}  # fmt: skip


def finished(folder):
    run = RunFolder(folder)
    run.begin(**ABOUT)
    (folder / "log.csv").write_text("epoch\n1\n")
    run.finish({"w": torch.arange(3.0).expand(2, 3)}, {"classes": ["ä"]}, METRICS)
    return run


def test_a_run_from_its_beginning_to_its_end(tmp_path):
    run = RunFolder(tmp_path / "a" / "run")
    assert not run.exists()
    run.begin(**ABOUT)
    assert run.exists()
    assert run.resumable()["data"] == {"data": "x"}
    with pytest.raises(RunFolderError, match="the training has not finished"):
        run.require_finished()
    run = finished(tmp_path / "b")
    assert run.require_finished()["seed"] == 3
    assert run.vocabulary() == {"classes": ["ä"]}
    assert run.metrics() == METRICS
    assert torch.equal(run.weights()["w"], torch.tensor([[0.0, 1, 2], [0, 1, 2]]))
    assert run.config().read_text() == "a = 1\n"


def test_the_same_run_has_the_same_bytes(tmp_path):
    """Also where a file format could order something as it likes."""
    contents = []
    for number in range(5):
        run = finished(tmp_path / str(number))
        contents.append({file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()})
    assert all(content == contents[0] for content in contents)


def test_resumed_with_what_has_changed(tmp_path):
    run = RunFolder(tmp_path)
    run.begin(**ABOUT)
    run.resumable({"train": "5"})
    with pytest.raises(RunFolderError, match="the data have changed since the run was begun"):
        run.resumable({"train": "7"})
    run.config().write_text("a = 2\n")
    with pytest.raises(RunFolderError, match=r"config.toml: has changed: its checksum differs"):
        run.resumable({"train": "5"})


def test_a_new_run_needs_an_empty_folder(tmp_path):
    run = RunFolder(tmp_path)
    run.check_new()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "config.toml").write_text("")
    run.check_new()
    (tmp_path / "b").write_text("")
    with pytest.raises(RunFolderError, match=r"needs an empty folder: this one holds 'b'"):
        run.check_new()


@pytest.mark.parametrize("key", ["task", "seed", "data", "command", "files"])
def test_each_key_of_run_json_is_needed(tmp_path, key):
    run = finished(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    del about[key]
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunFolderError, match=rf"run.json: `{key}`: field required: got none\.$"):
        run.require_finished()


def test_settings_are_compared_by_what_they_say():
    assert config_matches("# one\na = 1\n[b]\nc = 2", "a = 1 # two\n[b]\nc = 2\n")
    assert not config_matches("a = 1", "a = 2")


class Vocabulary(Schema):
    classes: Classes
    words: Counts | None = None


DEEP, DIGITS = "[" * 100_000, "1" * 5000
READS = {
    "run": lambda run: run.manifest(),
    "vocabulary": lambda run: run.vocabulary(Vocabulary),
    "metrics": lambda run: run.metrics(),
    "config": lambda run: settings_of(TaskSettings, config=run.config()),
}
STRANGE = [
    *((stem, text, f"must be readable JSON: {why}") for stem in ("run", "vocabulary", "metrics") for text, why in (
        (DEEP, "it is nested too deeply"), (f'{{"a": {DIGITS}}}', "Exceeds the limit"), (b"\xff", "'utf-8' codec"), ("{", "Expecting"),
    )),
    *((stem, json.dumps(dict.fromkeys(map(str, range(50_000)), 0)), why) for stem, why in (
        ("run", "the run folder's format must be 2: got None"), ("vocabulary", "must hold classes, words: got `0`"),
        ("metrics", "must hold task, .*: got `0`"), ("config", "must be a TOML file"),
    )),
    ("run", {"task": 3}, "`task`: input should be a valid string: got 3"),
    ("run", {"data": {}}, "`data`: dictionary should have at least 1 item"),
    ("run", {"data": {"data": 3}}, "`data.data`: input should be a valid string: got 3"),
    ("run", {"seed": True}, "`seed`: input should be a valid integer: got True"),
    ("run", {"seed": -1}, "`seed`: input should be greater than or equal to 0"),
    ("run", {"command": "x"}, "`command`: input should be a valid list: got 'x'"),
    ("run", {"files": {"config.toml": None}}, "`files.config.toml`: input should be a valid string: got None"),
    ("run", {"format": "2" * 1000}, "the run folder's format must be 2: got '22"),
    ("run", {"x" * 1000: 1}, "must hold format, .*: got `xxx"),
    ("vocabulary", {"classes": "ab"}, "`classes`: input should be a valid list: got 'ab'"),
    ("vocabulary", {"classes": ["a"]}, "`classes`: must hold at least two texts: got 1"),
    ("vocabulary", {"classes": ["a", "a"]}, "`classes`: must hold each text once"),
    ("vocabulary", {"classes": ["a", 3]}, "`classes`: must hold texts: got 3"),
    ("vocabulary", {"classes": ["a"] + [[0]] * 9999}, r"`classes`: must hold texts: got \[0\]"),
    ("vocabulary", {"classes": ["a", "b"], "words": {"x": 1.5}}, "`words`: must hold positive numbers: got 1.5 for 'x'"),
    ("vocabulary", {"classes": ["a", "b"], "words": {"x": 0}}, "`words`: must hold positive numbers: got 0 for 'x'"),
    ("vocabulary", [], "must hold a JSON object: got list"),
    ("metrics", {"metrics": {"accuracy": "high"}}, "`metrics.accuracy`: input should be a valid number: got 'high'"),
    ("metrics", {"details": []}, "`details`: input should be a valid dictionary: got "),
    ("config", f"a = {DEEP}", "must be a TOML file"),
    ("config", f"a = {DIGITS}", "must be a TOML file: Exceeds the limit"),
    ("config", "".join(f"a{i} = 1\n" for i in range(5000)), "unknown setting `a0`.*; and 4,990 more"),
    ("config", "[training]\nseed = 0x" + "f" * 5000, "`training.seed`: must have numbers from -2..53 to 2..53"),
    ("config", "[training]\nepochs = '" + "f" * 5000 + "'", "`training.epochs`: input should be a valid integer.*: got 'f+…"),
    ("config", "a." * 3000 + "b = 1", "unknown setting `a`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "content", "message"), STRANGE, ids=[f"{i}-{one[0]}" for i, one in enumerate(STRANGE)]
)
def test_what_a_stranger_may_write_is_one_line(tmp_path, stem, content, message):
    run = finished(tmp_path)
    file = tmp_path / ("config.toml" if stem == "config" else f"{stem}.json")
    if isinstance(content, dict) and stem != "vocabulary":
        content = json.loads(file.read_text()) | content
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = time.process_time()
    with little_memory(400), pytest.raises((RunFolderError, SettingsError), match=message) as raised:
        READS[stem](run)
    assert time.process_time() - before < 5
    line = str(raised.value)
    assert line.startswith(f"{file}:")
    assert "\n" not in line
    assert len(line) < len(str(file)) + 1200


def _error_of(read):
    try:
        return read() and None
    except RunFolderError as error:
        return error


@pytest.mark.parametrize("name", ["run.json", "vocabulary.json", "metrics.json", "tokenizer.json"])
def test_a_text_has_a_limit(tmp_path, monkeypatch, name):
    run = finished(tmp_path)
    monkeypatch.setitem(run_folder.MAX_BYTES, name, 50)
    (tmp_path / name).write_text('{"a": "' + "x" * 100 + '"}')
    read = {"run.json": run.manifest, "metrics.json": run.metrics}.get(name, run.vocabulary)
    with pytest.raises(RunFolderError, match=f"{name}: must be .*: must have at most 50 bytes"):
        read()


@pytest.mark.parametrize(
    "name", ["run.json", "config.toml", "vocabulary.json", "tokenizer.json", "model.safetensors", "metrics.json"]
)
def test_pipes_devices_and_folders_are_no_files_of_a_run(tmp_path, name):
    run = finished(tmp_path)
    reads = [run.manifest, run.vocabulary, run.metrics, run.weights, run.weight_shapes, run.require_finished]
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir):
        (tmp_path / name).unlink(missing_ok=True)
        make(tmp_path / name)
        lines = [str(error) for error in map(_error_of, reads)]
        assert all("\n" not in line for line in lines)
        assert any("must be a regular file" in line for line in lines)
        (tmp_path / name).rmdir() if make is os.mkdir else (tmp_path / name).unlink()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    run = RunFolder(tmp_path)
    run.begin(**ABOUT)
    run.finish({"a": torch.zeros(2), "layer.w": torch.tensor([[0, 1, value]])}, {}, METRICS)
    with pytest.raises(
        RunFolderError, match=rf"model.safetensors: `layer.w` must be finite: got {value} at \[0, 2\]\.$"
    ):
        run.weights()


def test_weights_that_are_none(tmp_path):
    run = finished(tmp_path)
    for content in (b"", b"x" * 100, (2**60).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}x"):
        rewrite(tmp_path, model=content)
        for read in (run.weights, run.weight_shapes):
            with pytest.raises(RunFolderError, match=r"model.safetensors: must be readable safetensors: [^\n]+\.$"):
                read()


def test_a_run_that_this_user_made(tmp_path, monkeypatch):
    run = finished(tmp_path)
    assert run.made_here()
    assert oct(signature.key_file().stat().st_mode)[-3:] == "600"
    run.move_sources({"data": "elsewhere"})
    assert run.made_here()
    about = json.loads((tmp_path / "run.json").read_text())
    for change in ({"data": {"data": "/etc/passwd"}}, {"task": "other"}, {"signature": "ü"}, {"signature": ""}):
        (tmp_path / "run.json").write_text(json.dumps(about | change))
        assert not run.made_here()
    del about["signature"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert not run.made_here()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))  # where no key can be kept
    assert signature.signature(1) == ""
    assert not signature.signed_here(1, "")
