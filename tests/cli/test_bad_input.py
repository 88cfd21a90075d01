"""What a person gives that is wrong: one line that names the file and the row, exit status 2, and nothing half-written."""

import json
import shutil

import pytest

from heedful.training.run_folder import FORMAT, RunFolder
from tests.tiny import draw, words


def truncated(place):
    picture = draw(place) / "light" / "3.png"
    picture.write_bytes(picture.read_bytes()[:60])
    return place, f"{picture}: must be a whole picture: got "


def one_class(place):
    return draw(place, classes=("dark",)), f"{place}: must hold at least two classes: got 1, 'dark'"


def nowhere(place):
    return place, f"{place}: must be a folder with one folder a class, "


def another_size(place):
    draw(place)
    shutil.copy(draw(place.parent / "large", size=9) / "dark" / "0.png", place / "light" / "4.png")
    return place, f"{place}/light/4.png: all pictures must have one size, height x width: got 9 x 9 here and 8 x 8 in "


def a_class_that_is_all_held_out(place):
    draw(place, count=9)
    for row in range(1, 9):
        (place / "light" / f"{row}.png").unlink()
    return place, f"{place}: its labels must occur more often than once, to hold images out: got new ones in each tenth"


BAD = [truncated, one_class, nowhere, another_size, a_class_that_is_all_held_out]


@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["train", "resume"])
@pytest.mark.parametrize("bad", BAD)
def test_bad_data_begin_no_run(refused, tmp_path, bad, resume):
    data, message = bad(tmp_path / "data")
    line = refused(*words(data, tmp_path / "new" / "run"), *resume)
    assert line.startswith(message), line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("bad", [truncated, nowhere, one_class])
def test_bad_held_out_data_begin_no_run(refused, shades, tmp_path, bad):
    data, message = bad(tmp_path / "data")
    if bad is one_class:
        (data / "dark").rename(data / "medium")
        message = f"{data}/medium/0.png: label must be a known class, 'dark', 'light': got 'medium'"
    given = words("", tmp_path / "run")
    given[2:4] = ["--train", str(shades), "--valid", str(data)]
    assert refused(*given).startswith(message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.heads=5", "[model] does not fit images of 8 x 8 pixels: `heads` must be "),
        ("model.stages=[2, 2, 2]", "[model] does not fit images of 8 x 8 pixels: `stages` and `convolutions` must have one number"),
        ("model.stages=[-2, 2]", "`model.stages.0`: input should be greater than 0: got -2."),
        ("model.convolutions=[0, 1]", "`model.convolutions.0`: input should be greater than 0: got 0."),
        ("data.size=2", "[model] does not fit images of 2 x 2 pixels: a picture must have at least 4 x 4 pixels"),
        ("data.size=-2", "`data.size`: input should be greater than or equal to 0: got -2; "),
        ("model.positions=sinusoidal model.width=6", "[model] does not fit images of 8 x 8 pixels: "),
        ("model.architecture=vit model.patch_size=3", "[model] does not fit images of 8 x 8 pixels: `patch_size` must be "),
        ("model.layer=3", "unknown setting `model.layer`, did you mean `model.layers`?"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_begin_no_run(refused, shades, tmp_path, setting, message):
    settings = setting.split(" model.")
    settings[1:] = ["model." + rest for rest in settings[1:]]
    line = refused(*words(shades, tmp_path / "run", *settings))
    assert line.startswith(message), line
    assert not (tmp_path / "run").exists()


def test_a_file_of_settings_that_is_not_there_begins_no_run(refused, shades, tmp_path):
    line = refused(*words(shades, tmp_path / "run"), "--config", tmp_path / "no.toml")
    assert line == f"{tmp_path / 'no.toml'}: the settings cannot be read: No such file or directory."
    assert not (tmp_path / "run").exists()


def test_where_no_run_folder_can_be(refused, shades, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run", "/proc/no/run"):
        assert refused(*words(shades, out)).startswith(f"{out}: the run folder cannot be written: ")
    assert (tmp_path / "file").read_text() == "mine"


def no_folder(run):
    shutil.rmtree(run)
    return f"{run}: must be a run folder, as `heedful train ... --out` makes it: there is no such folder."


def foreign_folder(run):
    shutil.rmtree(run)
    draw(run)
    return f"{run / 'run.json'}: belongs to the run folder, but is missing."


def newer(run):
    change(run, format=FORMAT + 1, heedful="9.9.9")
    return f"{run / 'run.json'}: the run folder's format must be {FORMAT}: got {FORMAT + 1}, written by heedful 9.9.9; this is "


def without_format(run):
    change(run, format="one")
    return f"{run / 'run.json'}: the run folder's format must be {FORMAT}: got 'one', "


def unfinished(run):
    change(run, finished=False)
    return f"{run}: the training has not finished; go on with `heedful train classify-image --out {run} --resume`."


def unknown_task(run):
    change(run, task="classify-sound")
    return f"{run / 'run.json'}: unknown task `classify-sound`"


def task_of_a_wrong_kind(run):
    change(run, task=["classify-image"])
    return f"{run / 'run.json'}: `task`: input should be a valid string: got ['classify-image']."


def files_of_a_wrong_kind(run):
    change(run, files=None)
    return f"{run / 'run.json'}: `files`: input should be a valid dictionary: got None."


def broken_json(run):
    (run / "run.json").write_text('{"format": 1,')
    return f"{run / 'run.json'}: must be readable JSON: "


def a_list_for_an_object(run):
    (run / "run.json").write_text("[]")
    return f"{run / 'run.json'}: must hold a JSON object: got list."


def change(run, **changes):
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def verbs(run, shades, out):
    picture = shades / "dark" / "0.png"
    return [["predict", run, picture], ["evaluate", run, "--data", shades], ["inspect", run, picture, "--out", out]]


DAMAGED = [
    no_folder, foreign_folder, newer, without_format, unfinished, unknown_task, task_of_a_wrong_kind,
    files_of_a_wrong_kind, broken_json, a_list_for_an_object,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_folder_that_is_no_finished_run(refused, run_copy, shades, tmp_path, damage):
    message = damage(run_copy)
    for given in verbs(run_copy, shades, tmp_path / "report.html"):
        line = refused(*given)
        assert line.startswith(message), line
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["config.toml", "vocabulary.json", "model.safetensors", "metrics.json", "log.csv"])
def test_a_file_of_a_run_that_has_changed_or_is_missing(refused, run_copy, shades, tmp_path, name):
    file = run_copy / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    given = verbs(run_copy, shades, tmp_path / "report.html")
    for command in given:
        assert refused(*command) == f"{file}: has changed: its checksum differs from the one in run.json."
    file.unlink()
    for command in [*given, ["train", "classify-image", "--out", run_copy, "--resume"]]:
        assert refused(*command) == f"{file}: belongs to the run folder, but is missing."
    assert not (tmp_path / "report.html").exists()


def test_a_run_folder_may_be_read_only_once_it_is_finished(run_copy):
    before = {file: file.stat().st_mtime_ns for file in run_copy.rglob("*")}
    RunFolder(run_copy).require_finished()
    assert {file: file.stat().st_mtime_ns for file in run_copy.rglob("*")} == before
