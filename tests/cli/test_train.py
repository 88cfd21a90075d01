"""`heedful train`: what a run folder holds, and that an interrupted run comes out as one that was not."""

import hashlib
import json
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import torch
from safetensors.torch import load_file, save_file

import heedful as package
from heedful.cli import run
from heedful.data.text import ParallelTexts
from heedful.tasks.catalog import find
from heedful.training.fit import _Learner
from heedful.training.lock import locked
from heedful.training.run_folder import RunFolder
from tests import languages
from tests.texts import options
from tests.tiny import Killed, draw, full_disk, killing, outcome, words

# All that has a state or draws random numbers: moving average, early stopping, augmentation, dropout.
LIVELY = (
    "training.epochs=4", "training.ema_decay=0.9", "training.patience=3", "model.dropout=0.2", "model.drop_path=0.2",
    "augmentation.cutmix=0.5", "augmentation.erase=0.3", "augmentation.color=0.2", "augmentation.crop=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, shades):
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run(words(shades, folder, *LIVELY)) == 0
    return outcome(folder)


def test_the_run_folder_explains_itself(trained, shades):
    assert {file.name for file in trained.iterdir()} == {
        "config.toml", "vocabulary.json", "model.safetensors", "metrics.json", "log.csv", "run.json", "checkpoints",
    }  # fmt: skip
    assert {file.name for file in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    about = json.loads((trained / "run.json").read_text())
    assert about["task"] == "classify-image"
    assert about["heedful"] == package.__version__
    assert about["command"][:3] == ["heedful", "train", "classify-image"]
    assert about["seed"] == 1
    assert about["data"] == {"data": str(shades)}
    assert about["finished"] is True
    assert [len(sum_) for sum_ in about["data_checksums"].values()] == [64, 64]
    kept = ("config.toml", "vocabulary.json", "model.safetensors", "metrics.json", "log.csv")
    assert about["files"] == {name: hashlib.sha256((trained / name).read_bytes()).hexdigest() for name in kept}
    assert tomllib.loads((trained / "config.toml").read_text())["model"]["width"] == 12
    vocabulary = json.loads((trained / "vocabulary.json").read_text())
    assert [vocabulary[key] for key in ("classes", "size", "channels")] == [["dark", "light"], [8, 8], 1]
    assert len(vocabulary["mean"]) == len(vocabulary["std"]) == 1
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["examples"] == {"train": 36, "validation": 4}
    assert set(metrics["metrics"]) == {"accuracy", "macro_f1"}
    assert set(metrics["baselines"]) == {"majority", "nearest neighbors", "logistic regression"}
    assert metrics["baselines"]["majority"]["accuracy"] == 0.5
    weights = load_file(trained / "model.safetensors")
    assert metrics["parameters"] <= sum(weight.numel() for weight in weights.values())


def test_what_is_printed_without_a_terminal(heedful, shades, tmp_path):
    folder = (
        tmp_path
        / "a [b] :smile: folder with a name that does not fit into the eighty columns that are taken for granted"
    )
    status, out, err = heedful(*words(shades, folder))
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert (
        lines[0]
        == f"36 images to train on, 2 classes (dark, light); validation: every tenth image of each class of {shades}, 4 images"
    )
    assert lines[1].startswith("VisionTransformer, ")
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 1/2", "epoch 2/2"]
    for line in lines[2:4]:
        assert "images/s  remaining 0:0" in line
        for name in ("loss ", "valid loss ", "valid accuracy ", "valid macro f1 "):
            assert f"  {name}" in line
    assert [line.split("  ")[2].strip() for line in lines[6:11]] == [
        "accuracy", "macro f1", "baseline: majority", "baseline: nearest neighbors", "baseline: logistic regression",
    ]  # fmt: skip
    assert lines[4] == "evaluating on 4 images, and fitting the baselines"
    assert lines[11].startswith("    expected calibration error: ")
    assert lines[12:] == [f"run folder: {folder}"]
    assert "\x1b" not in out


def test_train_and_valid_are_read_separately(heedful, shades, tmp_path):
    other = draw(tmp_path / "other", count=3, size=16, seed=1)
    given = words("", tmp_path / "run")
    given[2:4] = ["--train", str(shades), "--valid", str(other)]
    status, out, err = heedful(*given)
    assert (status, err) == (0, "")
    assert f"40 images to train on, 2 classes (dark, light); validation: {other}, 6 images" in out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == {
        "train": str(shades),
        "valid": str(other),
    }


def test_bf16_mixed_precision_trains(heedful, shades, tmp_path):
    status, _, err = heedful(
        *words(shades, tmp_path / "run", "training.precision=bf16-mixed", "augmentation.cutmix=0.5")
    )
    assert (status, err) == (0, "")
    assert {weight.dtype for weight in RunFolder(tmp_path / "run").weights().values()} <= {torch.float32, torch.int64}


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_half_precision_without_a_gpu_is_refused_and_not_replaced(refused, shades, tmp_path):
    line = refused(*words(shades, tmp_path / "run", "training.precision=16-mixed"))
    assert line == "`training.precision`: 16-mixed needs a GPU, and there is none here; take bf16-mixed."
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("target", "at", "epochs"),
    [
        ("heedful.training.fit._Learner.training_step", 3, 0),  # in the first epoch: nothing is kept yet
        ("heedful.training.fit._Learner.training_step", 13, 2),  # amid the third epoch
        (
            "heedful.training.checkpoints.AtomicCheckpoints.save_checkpoint",
            2,
            0,
        ),  # between best.ckpt and the first last.ckpt
        ("heedful.training.checkpoints.AtomicCheckpoints.save_checkpoint", 4, 1),  # the same, an epoch later
        ("heedful.training.run_folder.RunFolder.finish", 1, 4),  # after the training, before anything of it is written
        ("heedful.training.run_folder.RunFolder._write_json", 3, 4),  # after vocabulary.json
    ],
)
def test_a_run_that_was_killed_comes_out_as_if_it_had_not_been(
    heedful, monkeypatch, shades, tmp_path, uninterrupted, target, at, epochs
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        killing(patch, target, at)
        with pytest.raises(Killed):
            heedful(*words(shades, folder, *LIVELY))
    last = folder / "checkpoints" / "last.ckpt"
    assert last.exists() == (epochs > 0)
    if epochs:
        assert torch.load(last, weights_only=True)["epoch"] == epochs - 1
    (folder / "log.csv").write_text("torn")
    status, out, err = heedful("train", "classify-image", "--out", folder, "--resume")
    assert (status, err) == (0, "")
    assert out.count("epoch ") == 4 - epochs
    assert outcome(folder) == uninterrupted


def test_a_run_that_was_killed_twice_and_moved(heedful, monkeypatch, shades, tmp_path, uninterrupted):
    folder, moved = tmp_path / "run", tmp_path / "elsewhere" / "run"
    for steps, given in (
        (8, words(shades, folder, *LIVELY)),
        (8, ["train", "classify-image", "--out", folder, "--resume"]),
    ):
        with monkeypatch.context() as patch:
            killing(patch, "heedful.training.fit._Learner.training_step", steps)
            with pytest.raises(Killed):
                heedful(*given)
    moved.parent.mkdir()
    shutil.move(folder, moved)
    assert heedful("train", "classify-image", "--out", moved, "--resume").status == 0
    assert outcome(moved) == uninterrupted


def test_a_real_kill(heedful, shades, tmp_path, uninterrupted):
    folder, log = tmp_path / "run", tmp_path / "run" / "log.csv"
    given = words(shades, folder, *LIVELY)
    slow = "import time, heedful.training.fit as f; step = f._Learner.training_step; "
    slow += "f._Learner.training_step = lambda *a: (time.sleep(0.1), step(*a))[1]; from heedful.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *given],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    try:
        until = time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") > 2) and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "metrics.json").exists()
    assert heedful("train", "classify-image", "--out", folder, "--resume").status == 0
    assert outcome(folder) == uninterrupted


def test_ctrl_c_says_how_to_go_on(heedful, monkeypatch, shades, tmp_path, uninterrupted):
    def interrupted(*_):
        raise KeyboardInterrupt

    folder, before = tmp_path / "run", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr("heedful.training.fit._Learner.on_validation_epoch_end", interrupted)
        status, _, err = heedful(*words(shades, folder, *LIVELY))
    assert (status, err) == (130, "heedful: interrupted; a training goes on with --resume.\n")
    assert signal.getsignal(signal.SIGINT) is before
    assert heedful(*words(shades, folder, *LIVELY), "--resume").status == 0
    assert outcome(folder) == uninterrupted


def test_a_run_that_was_stopped_early_and_killed_stays_stopped(heedful, monkeypatch, shades, tmp_path):
    # Without batch norm and with steps that change nothing, no epoch is better than the first.
    still = ("model.architecture=vit", "training.learning_rate=1e-30", "training.patience=2", "training.epochs=9")
    assert heedful(*words(shades, tmp_path / "whole", *still)).status == 0
    expected = outcome(tmp_path / "whole")
    assert expected["log"].count("\n") == 1 + 3
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.run_folder.RunFolder.finish", 1)
        with pytest.raises(Killed):
            heedful(*words(shades, tmp_path / "run", *still))
    status, out, _ = heedful("train", "classify-image", "--out", tmp_path / "run", "--resume")
    assert status == 0
    assert "epoch " not in out
    assert outcome(tmp_path / "run") == expected


def test_a_run_that_was_killed_while_it_was_begun(heedful, monkeypatch, shades, tmp_path, trained):
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.run_folder.RunFolder._write_json", 1)
        with pytest.raises(Killed):
            heedful(*words(shades, tmp_path / "run"))
    assert (tmp_path / "run" / "config.toml").exists()
    assert not (tmp_path / "run" / "run.json").exists()
    assert heedful(*words(shades, tmp_path / "run"), "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(trained)


def test_resume_where_nothing_was_begun_begins(heedful, shades, tmp_path, trained):
    assert heedful(*words(shades, tmp_path / "run"), "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(trained)


def test_resume_of_a_finished_run_prints_its_metrics(heedful, trained, shades):
    before = {file.name: file.stat().st_mtime_ns for file in trained.iterdir()}
    for given in (["train", "classify-image", "--out", trained], words(shades, trained)):
        status, out, err = heedful(*given, "--resume")
        assert (status, err) == (0, "")
        assert out.startswith(f"{trained}: this run has finished.\n")
        assert "baseline: majority              50.0 %" in out
    assert {file.name: file.stat().st_mtime_ns for file in trained.iterdir()} == before


@pytest.fixture
def begun(heedful, monkeypatch, tmp_path):
    """A run on its own data that was killed after its first epoch."""
    data = draw(tmp_path / "own", count=15)
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.fit._Learner.training_step", 6)
        with pytest.raises(Killed):
            heedful(*words(data, tmp_path / "run"))
    return tmp_path / "run"


def test_resume_with_other_data_or_settings_is_an_error(refused, begun, shades):
    own = begun.parent / "own"
    changed = f"{begun}: the data have changed since the run was begun: it cannot be resumed with them."
    for given in (["--data", shades], ["--train", own, "--valid", own]):
        assert refused("train", "classify-image", "--out", begun, *given, "--resume") == changed
    line = refused("train", "classify-image", "--out", begun, "--set", "training.epochs=3", "--resume")
    assert line.startswith(f"{begun}: was begun with other settings (config.toml): --resume takes them from there")
    (own / "dark" / "3.png").unlink()
    assert refused("train", "classify-image", "--out", begun, "--resume") == changed


def test_resume_with_settings_that_have_changed_is_an_error(refused, begun):
    config = begun / "config.toml"
    config.write_text(config.read_text().replace("width = 12", "width = 24"))
    line = refused("train", "classify-image", "--out", begun, "--resume")
    assert line == f"{config}: has changed: its checksum differs from the one in run.json."


def test_resume_as_another_task_is_an_error(refused, begun):
    about = json.loads((begun / "run.json").read_text())
    (begun / "run.json").write_text(json.dumps(about | {"task": "classify"}))
    line = refused("train", "classify-image", "--out", begun, "--resume")
    assert line == f"{begun}: is a run of classify: it cannot be resumed as classify-image."


def test_a_folder_that_holds_something_is_not_written_to(refused, shades, trained, tmp_path):
    line = refused(*words(shades, trained))
    assert line == f"{trained}: holds a run already; --resume goes on with it, another --out begins a new one."
    (tmp_path / "notes.txt").write_text("mine")
    line = refused(*words(shades, tmp_path))
    assert (
        line == f"{tmp_path}: a new run needs an empty folder: this one holds 'notes.txt'; --resume goes on with a run."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["torch", "pickle", "inside a state"])
def test_a_checkpoint_that_would_run_something_is_refused(refused, begun, tmp_path, form):
    last, marker = begun / "checkpoints" / "last.ckpt", tmp_path / "evil"
    if form == "pickle":
        last.write_bytes(pickle.dumps(Evil(marker)))
    else:
        checkpoint = torch.load(last, weights_only=True)
        torch.save(Evil(marker) if form == "torch" else checkpoint | {"loops": Evil(marker)}, last)
    line = refused("train", "classify-image", "--out", begun, "--resume")
    assert line.startswith(f"{last}: must be a checkpoint of this run: ")
    assert not marker.exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "tensor", "no states"])
def test_a_damaged_checkpoint_is_refused(refused, begun, damage):
    last = begun / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    if damage == "tensor":
        torch.save(torch.zeros(3), last)
    elif damage == "no states":
        torch.save({"state_dict": {}}, last)
    else:
        last.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"not a checkpoint"}[damage])
    line = refused("train", "classify-image", "--out", begun, "--resume")
    assert line.startswith(f"{last}: must be a checkpoint of this run: ")


@pytest.fixture(scope="module")
def three_epochs(shades, tmp_path_factory):
    """A run that was killed in its fourth epoch."""
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "killed"
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, "heedful.training.fit._Learner.training_step", 19)
        with pytest.raises(Killed):
            run(words(shades, folder, *LIVELY))
    return folder


def flip(file):
    """One bit of a weight's exponent, in the middle of the file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 64
    file.write_bytes(content)


@pytest.mark.parametrize("damage", ["last", "between", "best"])
def test_the_checkpoint_before_a_damaged_one_is_taken_to_the_same_numbers(
    heedful, three_epochs, tmp_path, uninterrupted, damage
):
    run = shutil.copytree(three_epochs, tmp_path / "run")
    best, last, before = (run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last", "before"))
    epochs = [torch.load(file, weights_only=True)["epoch"] for file in (best, last, before)]
    assert epochs[1:] == [2, 1]
    said = ""
    if damage == "last":
        flip(last)
        said = f"note: {last}: must be a checkpoint of this run: the checksum of "
    elif damage == "between":  # killed between the two names
        last.unlink()
    else:
        assert epochs[0] in epochs[1:], "or it could not be made good"
        flip(best)
        said = f"note: {best}: must be a checkpoint of this run: the checksum of "
    status, out, err = heedful("train", "classify-image", "--out", run, "--resume")
    assert (status, err) == (0, "")
    assert said in out
    assert ("note: " in out) == bool(said)
    assert ("The one before it, of epoch 2, is taken." in out) == (damage == "last")
    assert out.count("epoch 3/4") == (damage != "best")
    assert outcome(run) == uninterrupted
    assert {file.name for file in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_where_no_checkpoint_is_whole_the_training_can_begin_again(
    refused, heedful, three_epochs, tmp_path, uninterrupted
):
    run = shutil.copytree(three_epochs, tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"
    flip(last)
    (run / "checkpoints" / "before.ckpt").unlink()
    line = refused("train", "classify-image", "--out", run, "--resume")
    assert line.startswith(f"{last}: must be a checkpoint of this run: the checksum of ")
    assert line.endswith(f" Without the folder {run}/checkpoints, --resume begins again with the first epoch.")
    shutil.rmtree(run / "checkpoints")
    assert heedful("train", "classify-image", "--out", run, "--resume").status == 0
    assert outcome(run) == uninterrupted


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_a_signal_to_end_says_how_to_go_on_and_no_cluster_is_asked(
    heedful, monkeypatch, request, shades, tmp_path, uninterrupted, name
):
    number, step, steps = getattr(signal, name), _Learner.training_step, []
    ignored = signal.signal(number, signal.SIG_DFL)  # SIGHUP, where the tests run under nohup
    request.addfinalizer(lambda: signal.signal(number, ignored))

    def slow(*given):
        steps.append(1)
        if len(steps) == 9:
            os.kill(os.getpid(), number)
        return step(*given)

    folder, before = tmp_path / "run", signal.getsignal(number)
    cluster = {"JOB_ID": "5", "JOB_NAME": "x", "NTASKS": "4", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    with monkeypatch.context() as patch:
        patch.setattr(_Learner, "training_step", slow)
        patch.setattr(subprocess, "call", None)
        for key, value in cluster.items():
            patch.setenv(f"SLURM_{key}", value)
        status, _, err = heedful(*words(shades, folder, *LIVELY))
    says = f"heedful: ended by {name}; complete epochs are saved, and --resume goes on with them.\n"
    assert (status, err, len(steps)) == (128 + number, says, 9)
    assert signal.getsignal(number) is before
    assert {file.name for file in folder.iterdir()} == {"run.json", "config.toml", "log.csv", "checkpoints"}
    assert {file.name for file in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    status, out, _ = heedful("train", "classify-image", "--out", folder, "--resume")
    assert (status, out.count("epoch ")) == (0, 3)
    assert outcome(folder) == uninterrupted


def test_a_training_goes_on_when_nobody_reads_what_it_prints(heedful, monkeypatch, shades, tmp_path, trained):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        status = run(words(shades, tmp_path / "run"))
    assert status == 0
    assert outcome(tmp_path / "run") == outcome(trained)


def test_two_trainings_in_one_folder(refused, begun, shades, tmp_path):
    for folder, words_of_it in (
        (begun, ["train", "classify-image", "--out", begun, "--resume"]),
        (tmp_path / "new", words(shades, tmp_path / "new")),
    ):
        with locked(folder):
            line = refused(*words_of_it)
            me = f"process {os.getpid()} on {platform.node()}"
            assert line == f"{folder}: a training is running in it: {me}; end it first."
        assert not (folder / ".lock").exists()
    assert run(["train", "classify-image", "--out", str(begun), "--resume"]) == 0


def test_what_a_folder_may_be_called(heedful, refused, monkeypatch, shades, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, folder in (
        ("~/run", tmp_path / "home" / "run"),
        ("a::b", tmp_path / "a::b"),
        ("s3://x", tmp_path / "s3:" / "x"),
    ):
        given = words(shades, "", "training.epochs=1")
        given[4:6] = [f"--out={name}"]
        assert heedful(*given).status == 0
        assert json.loads((folder / "run.json").read_text())["finished"]
    assert "--out: a path must not be empty: got ''" in refused(*words(shades, ""))
    assert {file.name for file in tmp_path.iterdir()} == {"home", "a::b", "s3:"}


@pytest.mark.parametrize("weights", ["pickle", "another model"])
def test_weights_that_are_none_are_refused_and_nothing_is_run(refused, run_copy, tmp_path, weights):
    file = run_copy / "model.safetensors"
    if weights == "pickle":
        file.write_bytes(pickle.dumps(Evil(tmp_path / "evil")))
        message = f"{file}: must be readable safetensors: "
    else:
        save_file({"x": torch.zeros(3)}, file)
        message = f"{file}: must hold `mean`: there is none, by the settings and the vocabulary."
    about = json.loads((run_copy / "run.json").read_text())
    about["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (run_copy / "run.json").write_text(json.dumps(about))
    assert refused("predict", run_copy, "x.png").startswith(message)
    assert not (tmp_path / "evil").exists()


def test_a_learning_rate_that_ends_in_nan(refused, shades, tmp_path):
    line = refused(*words(shades, tmp_path / "run", "training.learning_rate=1e30"))
    assert line.startswith("the training stopped at step ")
    assert "(epoch 1): `" in line
    assert "` must be finite: got nan; no epoch was complete. A lower training.learning_rate" in line
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_nan_keeps_the_last_good_checkpoint(refused, heedful, monkeypatch, shades, tmp_path, trained):
    from heedful.tasks.classify_image import ClassifyImage

    true_loss, losses = ClassifyImage.loss, []

    def broken(*args):
        losses.append(true_loss(*args))
        return losses[-1] * (float("nan") if len(losses) == 8 else 1)

    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(ClassifyImage, "loss", broken)
        line = refused(*words(shades, tmp_path / "run"))
    assert line.startswith("the training stopped at step 7 (epoch 2): `loss` must be finite: got nan; ")
    assert f"the last good checkpoint is {last}." in line
    assert torch.load(last, weights_only=True)["epoch"] == 0
    assert heedful("train", "classify-image", "--out", tmp_path / "run", "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(trained)


def test_a_full_disk_keeps_the_last_good_checkpoint(refused, heedful, begun, shades, tmp_path):
    last = begun / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    with full_disk(len(before) // 2):
        line = refused("train", "classify-image", "--out", begun, "--resume")
    assert line.endswith(".ckpt: cannot be read or written: File too large.")
    assert line.startswith(str(begun))
    assert last.read_bytes() == before
    assert {file.name for file in last.parent.iterdir()} == {"last.ckpt", "best.ckpt"}
    assert heedful("train", "classify-image", "--out", begun, "--resume").status == 0
    assert heedful(*words(begun.parent / "own", tmp_path / "whole")).status == 0
    assert outcome(begun) == outcome(tmp_path / "whole")


def test_a_disk_that_is_full_from_the_start(refused, heedful, shades, tmp_path, trained):
    with full_disk(100):
        line = refused(*words(shades, tmp_path / "run"))
    assert line == f"{tmp_path / 'run'}: the run folder cannot be written: File too large."
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["checkpoints"]
    assert heedful(*words(shades, tmp_path / "run")).status == 0
    assert outcome(tmp_path / "run") == outcome(trained)


def test_what_a_kill_left_half_written_is_swept(heedful, begun):
    left = [begun / ".run.json.x.unfinished", begun / "checkpoints" / ".last.ckpt.x.unfinished"]
    for file in left:
        file.write_bytes(b"half")
    assert heedful("train", "classify-image", "--out", begun, "--resume").status == 0
    assert not any(file.exists() for file in left)


@pytest.fixture
def few_dates(monkeypatch):
    """Pairs of another kind in the place of 30,000 dates."""

    def dates(split):
        rows = languages.pairs(12, seed=len(split))
        return ParallelTexts(
            *(list(column) for column in zip(*rows, strict=True)), [f"dates:{split}[{i}]" for i in range(12)]
        )

    monkeypatch.setattr("heedful.tasks.translate.dates", dates)


def config(folder):
    return tomllib.loads((folder / "config.toml").read_text())


def test_data_that_need_no_file_have_settings_that_fit_them(heedful, few_dates, tmp_path):
    dates = ("train", "translate", "--data", "dates", "--out")
    assert heedful(*dates, tmp_path / "run").status == 0
    found = config(tmp_path / "run")
    presets = [word.split("=") for word in find("translate").embedded["dates"].settings]
    assert len(presets) > 3
    for name, value in presets:
        section, key = name.split(".")
        assert found[section][key] == (value if isinstance(found[section][key], str) else float(value))
    assert heedful(*dates, tmp_path / "set", *options(("model.width=16", "training.epochs=1"))).status == 0
    changed = config(tmp_path / "set")
    assert (changed["model"]["width"], changed["training"]["epochs"]) == (16, 1)
    assert changed["data"] == found["data"]
    assert changed["model"] == found["model"] | {"width": 16}
    (tmp_path / "mine.toml").write_text("[model]\nwidth = 8\n[training]\nepochs = 1\n")
    given = ("--config", tmp_path / "mine.toml", *options(("model.layers=1", "data.vocabulary_size=300")))
    assert heedful(*dates, tmp_path / "config", *given).status == 0
    own = config(tmp_path / "config")
    assert (own["model"]["width"], own["model"]["layers"], own["data"]["tokenizer"]) == (8, 1, "subwords")
    assert (own["loss"]["label_smoothing"], own["search"]["beams"]) == (0.1, 5), "as for any other data"


def test_such_a_run_is_resumed_with_its_own_words(heedful, refused, few_dates, monkeypatch, tmp_path):
    dates = ("train", "translate", "--data", "dates")
    own = options(("model.width=16", "training.epochs=2"))
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful(*dates, "--out", tmp_path / "run", *own)
    line = refused(*dates, "--out", tmp_path / "run", "--resume", *options(("model.width=8", "training.epochs=2")))
    assert "was begun with other settings" in line
    status, out, _ = heedful(*dates, "--out", tmp_path / "run", "--resume", *own)
    assert status == 0
    assert out.count("epoch ") == 1
    assert heedful(*dates, "--out", tmp_path / "whole", *own).status == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
