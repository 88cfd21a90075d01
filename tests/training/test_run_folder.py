import json

import pytest
import torch

from heedful._errors import RunFolderError
from heedful.training.run_folder import RunFolder, config_matches

ABOUT = {
    "task": "t",
    "command": ["heedful"],
    "seed": 3,
    "data": {"data": "x"},
    "data_checksums": {"train": "5"},
    "config": "a = 1\n",
}


def finished(folder):
    run = RunFolder(folder)
    run.begin(**ABOUT)
    (folder / "log.csv").write_text("epoch\n1\n")
    run.finish({"w": torch.arange(3.0).expand(2, 3)}, {"classes": ["ä"]}, {"metrics": {}})
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
    assert run.metrics() == {"metrics": {}}
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
    with pytest.raises(RunFolderError, match=rf"run.json: must hold `{key}`, a JSON \w+: got none\.$"):
        run.require_finished()


def test_settings_are_compared_by_what_they_say():
    assert config_matches("# one\na = 1\n[b]\nc = 2", "a = 1 # two\n[b]\nc = 2\n")
    assert not config_matches("a = 1", "a = 2")
