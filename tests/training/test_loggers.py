"""Loggers get what log.csv has, and change nothing; those of services are tried where their packages are installed."""

import csv
import sys
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

import heedful as package
from heedful._errors import MissingPackageError, SettingsError
from heedful.training import loggers
from tests.tiny import outcome, words


def rows_of(folder):
    with open(folder / "log.csv") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def stopped_and_resumed(heedful, shades, folder, name):
    command = words(shades, folder, f"training.logger={name}")
    answer = heedful(*command, "--time-limit", "0.001s")
    assert answer.status == 0, answer.err
    answer = heedful("train", "classify-image", "--out", folder, "--resume")
    assert answer.status == 0, answer.err
    return rows_of(folder)


def test_tensorboard(heedful, shades, trained, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = stopped_and_resumed(heedful, shades, tmp_path / "run", "tensorboard")
    assert outcome(tmp_path / "run") == outcome(trained)
    written = EventAccumulator(str(tmp_path / "run" / "logs"))
    written.Reload()
    assert set(written.Tags()["scalars"]) == set(rows[0])
    assert len(rows) == 2
    for name in rows[0]:
        points = [(point.step, pytest.approx(point.value, abs=1e-6)) for point in written.Scalars(name)]
        assert points == [(row["step"], row[name]) for row in rows]
    assert "training.batch_size: 7" in (tmp_path / "run" / "logs" / "hparams.yaml").read_text()


def test_trackio(heedful, shades, trained, tmp_path, monkeypatch):
    """Without its package: the calls that its documentation names."""
    calls = []
    fake = {
        verb: lambda *args, verb=verb, **more: calls.append((verb, args, more)) for verb in ("init", "log", "finish")
    }
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(**fake))
    rows = stopped_and_resumed(heedful, shades, tmp_path / "run", "trackio")
    assert outcome(tmp_path / "run") == outcome(trained)
    assert [verb for verb, *_ in calls] == ["init", "log", "finish"] * 2
    (_, _, first), (_, _, again) = calls[0], calls[3]
    assert first == again
    assert first["name"].startswith("run-")
    assert (first["project"], first["resume"], first["config"]["training.epochs"]) == ("heedful", "allow", 2)
    for (_, (logged,), more), row in zip((calls[1], calls[4]), rows, strict=True):
        assert logged == pytest.approx(row, abs=1e-6)
        assert more == {"step": row["step"]}


def test_mlflow(heedful, shades, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = stopped_and_resumed(heedful, shades, tmp_path / "run", "mlflow")
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'logs' / 'mlflow.db'}")
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    points = client.get_metric_history(run.info.run_id, "valid_loss")
    assert [(point.step, pytest.approx(point.value, abs=1e-6)) for point in points] == [
        (row["step"], row["valid_loss"]) for row in rows
    ]


def test_wandb(heedful, shades, trained, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    stopped_and_resumed(heedful, shades, tmp_path / "run", "wandb")
    assert len(list((tmp_path / "run" / "logs" / "wandb").glob("offline-run-*/*.wandb"))) == 2
    own, other = (load_file(run / "model.safetensors") for run in (tmp_path / "run", trained))
    assert all((own[name] == other[name]).all() for name in own)


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb", "mlflow"])
def test_a_package_that_is_missing(name, shades, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    told = f"training.logger={name} needs `pip install 'heedful.{name}.'`: the package {name} is missing."
    with pytest.raises(MissingPackageError, match=told):
        package.train("classify-image", shades, out=tmp_path / "run", settings={"training.logger": name})
    assert not (tmp_path / "run").exists()


def test_a_service_that_cannot_begin(shades, tmp_path, monkeypatch):
    def no_key(logs, name):
        raise RuntimeError("api_key not configured.\nA second line")

    monkeypatch.setitem(loggers._MADE, "wandb", no_key)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    with pytest.raises(SettingsError, match="`training.logger`: wandb cannot begin: api_key not configured.$"):
        package.train("classify-image", shades, settings={"training.logger": "wandb"}, progress=False)
