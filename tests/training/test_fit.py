"""One training: the mean of the last epochs' weights, several optimizers, and what needs none."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import heedful as package
from heedful._errors import RunFolderError, SettingsError
from heedful.tasks.run import load, train
from heedful.training.callbacks import CheckpointAverage, CsvLog, TimeLimit
from heedful.training.checkpoints import read_checkpoint
from heedful.training.fit import _value, check_training
from heedful.training.objective import Mean
from heedful.training.settings import TrainingSettings
from tests.tiny import Killed, killing, outcome, words
from tests.toys import Adversaries, Average

MEAN = ("training.epochs=4", "training.average_last_epochs=3", "model.dropout=0.2")
NUMBERS = [0.1 * row - 1 for row in range(36)]  # 24 to learn from, 6 to choose by, 6 to measure on


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, shades):
    """A run whose weights are a mean, and those after each of its epochs."""
    from heedful.cli import run

    folder, after, log = tmp_path_factory.mktemp("runs") / "mean", [], CsvLog.on_train_epoch_end

    def kept(self, trainer, module):
        after.append({name: tensor.clone() for name, tensor in module.model.state_dict().items()})
        log(self, trainer, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CsvLog, "on_train_epoch_end", kept)
        assert run(words(shades, folder, *MEAN)) == 0
    return folder, after


def test_the_weights_are_the_mean_over_the_last_epochs(averaged):
    folder, after = averaged
    assert len(after) == 4
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == after[0].keys()
    for name, tensor in weights.items():
        mean = sum(epoch[name].double() for epoch in after[1:]) / 3
        assert tensor.dtype == after[0][name].dtype
        assert torch.equal(tensor, mean.to(tensor.dtype)), name
    assert not torch.equal(weights["head.weight"], after[-1]["head.weight"])


def test_they_are_those_that_are_trained_and_not_their_moving_average(averaged, shades, tmp_path, heedful):
    assert heedful(*words(shades, tmp_path / "run", *MEAN, "training.ema_decay=0")).status == 0
    weights, without = load_file(averaged[0] / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(weights[name], without[name]) for name in weights)


@pytest.mark.parametrize(
    ("target", "at"),
    [
        ("heedful.training.fit._Learner.training_step", 13),  # the first of three epochs is summed
        ("heedful.training.checkpoints.AtomicCheckpoints.save_checkpoint", 6),  # the second is, but not in last.ckpt
        ("heedful.training.run_folder.RunFolder.finish", 1),  # all are
    ],
)
def test_a_run_that_is_resumed_in_between_has_the_same_mean(
    averaged, shades, tmp_path, heedful, monkeypatch, target, at
):
    with monkeypatch.context() as patch:
        killing(patch, target, at)
        with pytest.raises(Killed):
            heedful(*words(shades, tmp_path / "run", *MEAN))
    assert heedful("train", "classify-image", "--out", tmp_path / "run", "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(averaged[0])


def test_a_run_that_a_time_limit_stops_is_evaluated_and_goes_on(averaged, shades, tmp_path, heedful, monkeypatch):
    """One epoch at a time; a kill while it goes on leaves a run that has not finished."""
    folder = tmp_path / "run"
    first = heedful(*words(shades, folder, *MEAN), "--time-limit", "0.001s")
    assert first.status == 0, first.err
    note = "The time limit stopped the training after epoch 1 of 4; --resume goes on with it."
    assert f"note: {note}" in first.out
    assert load(folder).metrics["note"] == note
    best = read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]
    assert torch.equal(load_file(folder / "model.safetensors")["head.weight"], best["model.head.weight"])
    assert heedful("train", "classify-image", "--out", folder, "--resume", "--time-limit", "0.001s").status == 0
    assert json.loads((folder / "run.json").read_text())["stopped"] == {"epoch": 2, "epochs": 4}
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful("train", "classify-image", "--out", folder, "--resume")
    with pytest.raises(RunFolderError, match="the training has not finished; go on with"):
        load(folder)
    assert heedful("train", "classify-image", "--out", folder, "--resume", "--time-limit", "1h").status == 0
    assert outcome(folder) == outcome(averaged[0])
    assert "stopped" not in json.loads((folder / "run.json").read_text())
    assert "this run has finished." in heedful("train", "classify-image", "--out", folder, "--resume").out


def test_no_epoch_is_begun_that_would_end_too_late(monkeypatch):
    now = 0.0
    monkeypatch.setattr("heedful.training.callbacks.time.monotonic", lambda: now)
    limit, stopped = TimeLimit(10.0), []
    for epoch in range(5):
        trainer = SimpleNamespace(current_epoch=epoch, max_epochs=5, should_stop=False)
        limit.on_train_epoch_start(trainer, None)
        now += 4.0
        limit.on_train_epoch_end(trainer, None)
        stopped.append(trainer.should_stop)
    assert stopped == [False, True, True, True, False], "after the last epoch there is nothing to stop"
    trainer = SimpleNamespace(current_epoch=1, max_epochs=5, should_stop=True)
    other = TimeLimit(0.0)
    other.on_train_epoch_start(trainer, None)
    other.on_train_epoch_end(trainer, None)
    assert not other.stopped_after, "what stops early for another reason has finished"


def test_time_limits_that_are_none(shades, tmp_path, refused):
    told = "--time-limit must be a time such as 90s, 30m or 2h: got 'soon'."
    assert refused(*words(shades, tmp_path / "run"), "--time-limit", "soon") == told
    with pytest.raises(SettingsError, match="`time_limit` must be positive: got 0."):
        train("classify-image", shades, time_limit=0)


def test_a_mean_of_weights_keeps_their_dtypes():
    mean = CheckpointAverage(2)
    mean.load_state_dict(
        {"sums": {"a": torch.tensor([3.0], dtype=torch.float64), "n": torch.tensor([8.0])}, "count": 2}
    )
    weights = mean.mean({"a": torch.zeros(1), "n": torch.zeros(1, dtype=torch.int64)})
    assert (weights["a"].dtype, weights["a"].item()) == (torch.float32, 1.5)
    assert (weights["n"].dtype, weights["n"].item()) == (torch.int64, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average_last_epochs": 3, "patience": 2}, r"`training.average_last_epochs`: .*: got 3 with training.patience=2\.$"),
        ({"average_last_epochs": 6, "epochs": 5}, r"`training.average_last_epochs`: must be at most the 5 epochs: got 6\.$"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(SettingsError, match=message):
        check_training(TrainingSettings(**settings))
    check_training(TrainingSettings(average_last_epochs=5, epochs=5))


def test_a_mean_of_vectors_is_that_of_their_ratios_where_anything_was_counted():
    assert _value(Mean(torch.tensor(6.0).double(), torch.tensor(4))).item() == 1.5
    of_classes = Mean(torch.tensor([2.0, 0.0, 3.0]).double(), torch.tensor([4, 0, 3]))
    assert _value(of_classes).item() == 0.75
    assert _value(Mean(torch.tensor([1.0, 3.0]).double(), torch.tensor(4))).item() == 0.5
    assert _value(Mean(torch.zeros(3).double(), torch.zeros(3))).item() == 0


def by_hand(shares, clip):
    """One epoch of two optimizers in plain PyTorch."""
    torch.manual_seed(0)
    task = Adversaries(Adversaries.Settings(), {})
    model, values = task.build(), torch.tensor([value for row, value in enumerate(NUMBERS) if row % 3 != 2])[:, None]
    named, batches = list(model.named_parameters()), values.split(5)
    optimizers = {}
    for prefix, share in shares.items():
        own = [(name, p) for name, p in named if name.startswith(prefix)]
        decayed = [p for name, p in own if p.dim() > 1]
        others = [p for name, p in own if p.dim() == 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        optimizers[prefix] = torch.optim.AdamW(groups, lr=share * 0.05, betas=(0.9, 0.999))
    for step, batch in enumerate(batches):
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 1) / (len(batches) - 1)))
        for prefix, optimizer in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = shares[prefix] * 0.05 * (fall if step else 1)
            loss = task.loss(model, batch, prefix)
            own = [p for name, p in named if name.startswith(prefix)]
            for p, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                p.grad = gradient
            if clip:
                nn.utils.clip_grad_norm_(own, clip)
            optimizer.step()
    return dict(named)


@pytest.mark.parametrize("clip", [0.0, 0.01])
@pytest.mark.parametrize("shares", [(1.0, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_each_optimizer_changes_its_own_parameters_by_its_own_loss(monkeypatch, shares, clip):
    names = dict(zip(Adversaries.optimizers, shares, strict=True))
    monkeypatch.setattr(Adversaries, "optimizers", names)
    monkeypatch.setattr("heedful.training.fit.seed_everything", lambda *_: torch.manual_seed(0))
    settings = {"training.epochs": 1, "training.gradient_clip": clip}
    model = train(Adversaries, NUMBERS, settings=settings, progress=False).model
    expected = by_hand(names, clip)
    torch.manual_seed(0)
    before = Adversaries(Adversaries.Settings(), {}).build().state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name].detach(), rtol=1e-4, atol=1e-6)
        changes = bool(names[f"{name.split('.')[0]}."])
        assert torch.equal(tensor, before[name]) is not changes, name


def test_a_parameter_has_its_share_of_the_learning_rate_and_stays_where_that_is_0(monkeypatch):
    monkeypatch.setattr("heedful.training.fit.seed_everything", lambda *_: torch.manual_seed(0))
    settings = {"training.epochs": 1, "training.batch_size": 100, "training.weight_decay": 0}

    def moved(rates):
        monkeypatch.setattr(Adversaries, "rates", lambda self, model: rates)
        after = train(Adversaries, NUMBERS, settings=settings, progress=False).model.state_dict()
        torch.manual_seed(0)
        before = Adversaries(Adversaries.Settings(), {}).build().state_dict()
        return {name: after[name] - before[name] for name in after if name.startswith("critic")}

    rates = {"critic.0.weight": 0.25, "critic.0.bias": 0.25, "critic.2.weight": 0.0}
    whole, some = moved({}), moved(rates)
    for name, by in whole.items():
        assert by.abs().max() > 0
        torch.testing.assert_close(some[name], by * rates.get(name, 1.0))


def test_two_optimizers_resumed_are_two_that_were_not_interrupted(tmp_path, monkeypatch):
    whole = train(Adversaries, NUMBERS, out=tmp_path / "whole", progress=False)
    log = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,step,valid_loss,loss"
    assert len(log) == 4
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            train(Adversaries, NUMBERS, out=tmp_path / "run", progress=False)
    again = train(Adversaries, NUMBERS, out=tmp_path / "run", resume=True, progress=False)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert again.predict() == whole.predict()


@pytest.mark.parametrize(
    ("optimizers", "message"),
    [
        ({"generator.": 1.0}, r"one for each parameter: got \[\] for `critic.0.weight`"),
        ({"": 1.0, "critic.": 1.0}, r"one for each parameter: got \['', 'critic.'\] for `critic.0.weight`"),
        ({"": 1.0, "critics": 1.0}, r"must begin the names of parameters: got 'critics', which begins none"),
    ],
)
def test_parameters_of_no_optimizer_or_of_two(monkeypatch, optimizers, message):
    monkeypatch.setattr(Adversaries, "optimizers", optimizers)
    with pytest.raises(ValueError, match=message):
        train(Adversaries, NUMBERS, progress=False)


def test_a_model_without_parameters_is_measured_and_kept_all_the_same(tmp_path):
    model = train(Average, NUMBERS, out=tmp_path / "run", progress=False)
    training = [value for row, value in enumerate(NUMBERS) if row % 3 != 2]
    assert model.task.vocabulary == {"average": sum(training) / 24}
    assert (tmp_path / "run" / "log.csv").read_text() == ""
    assert model.metrics["parameters"] == 0
    loaded = package.load(tmp_path / "run", task=Average)
    assert loaded.predict(["x", "y"]) == model.predict(["x", "y"])
    assert loaded.predict("x")[0].value == pytest.approx(sum(training) / 24)


def test_metrics_are_of_the_test_part_where_there_is_one(tmp_path):
    model = train(Average, NUMBERS, out=tmp_path / "run", progress=False)
    average, test = model.predict("")[0].value, NUMBERS[5::6]
    metrics = model.metrics
    assert metrics["metrics"] == {"error": pytest.approx(sum(abs(average - value) for value in test) / 6)}
    assert metrics["baselines"] == {"zero": {"error": pytest.approx(sum(map(abs, test)) / 6)}}
    assert metrics["examples"] == {"train": 24, "validation": 6, "test": 6}
    assert metrics["validation"] == "every sixth number of the data, 6 numbers; test: 6 numbers"
    assert set(json.loads((tmp_path / "run" / "run.json").read_text())["data_checksums"]) == {"train", "valid", "test"}
    other = train(Average, NUMBERS, valid=[1.0, 2.0], progress=False).metrics
    assert other["metrics"]["error"] == pytest.approx(1.5 - sum(NUMBERS) / 36)
    assert other["examples"] == {"train": 36, "validation": 2}


def test_a_task_without_inputs_is_asked_how_many(tmp_path, heedful):
    model = train(Adversaries, NUMBERS, out=tmp_path / "run", progress=False)
    assert [len(model.predict()), len(model.predict(num_samples=5)), len(model.predict([], num_samples=3))] == [2, 5, 3]
    assert model.predict(seed=1) == model.predict() != model.predict(seed=2)
    with pytest.raises(package._errors.DataError, match="there must be no inputs, since this task takes none: got 2"):
        model.predict(["a", "b"])
    trust = ("--task", f"{__file__.replace('training/test_fit.py', 'toys.py')}:Adversaries")
    answer = heedful("predict", tmp_path / "run", "--num-samples", "3", *trust)
    assert answer == (0, "".join(f"{one}\n" for one in model.predict(num_samples=3)), "")
    answer = heedful("predict", tmp_path / "run", "a", *trust)
    assert (answer.status, answer.out) == (2, "")
    assert "there must be no inputs, since this task takes none: got 'a'" in answer.err
