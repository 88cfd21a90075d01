"""The mean of the weights of the last epochs."""

import pytest
import torch
from safetensors.torch import load_file

from heedful._errors import SettingsError
from heedful.training.callbacks import Log, MeanOfLast
from heedful.training.fit import check_training
from heedful.training.settings import TrainingSettings
from tests.cli.test_train import Killed, killing
from tests.tiny import outcome, words

MEAN = ("training.epochs=4", "training.average_epochs=3", "model.dropout=0.2")


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, shades):
    """A run whose weights are a mean, and those after each of its epochs."""
    from heedful.cli import run

    folder, seen, log = tmp_path_factory.mktemp("runs") / "mean", [], Log.on_train_epoch_end

    def kept(self, trainer, module):
        seen.append({name: tensor.clone() for name, tensor in module.model.state_dict().items()})
        log(self, trainer, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "on_train_epoch_end", kept)
        assert run(words(shades, folder, *MEAN)) == 0
    return folder, seen


def test_the_weights_are_the_mean_over_the_last_epochs(averaged):
    folder, seen = averaged
    assert len(seen) == 4
    found = load_file(folder / "model.safetensors")
    assert found.keys() == seen[0].keys()
    for name, tensor in found.items():
        mean = sum(weights[name].double() for weights in seen[1:]) / 3
        assert tensor.dtype == seen[0][name].dtype
        assert torch.equal(tensor, mean.to(tensor.dtype)), name
    assert not torch.equal(found["head.weight"], seen[-1]["head.weight"])


def test_they_are_those_that_are_trained_and_not_their_moving_average(averaged, shades, tmp_path, heedful):
    assert heedful(*words(shades, tmp_path / "run", *MEAN, "training.average=0")).status == 0
    found, without = load_file(averaged[0] / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(found[name], without[name]) for name in found)


@pytest.mark.parametrize(
    ("target", "at"),
    [
        ("heedful.training.fit._Learner.training_step", 13),  # the first of three epochs is summed
        ("heedful.training.callbacks.WholeCheckpoints.save_checkpoint", 6),  # the second is, but not in last.ckpt
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


def test_a_mean_of_weights_keeps_their_kinds():
    mean = MeanOfLast(2)
    mean.load_state_dict(
        {"sums": {"a": torch.tensor([3.0], dtype=torch.float64), "n": torch.tensor([8.0])}, "count": 2}
    )
    found = mean.mean({"a": torch.zeros(1), "n": torch.zeros(1, dtype=torch.int64)})
    assert (found["a"].dtype, found["a"].item()) == (torch.float32, 1.5)
    assert (found["n"].dtype, found["n"].item()) == (torch.int64, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average_epochs": 3, "patience": 2}, r"`training.average_epochs`: .*: got 3 with training.patience=2\.$"),
        ({"average_epochs": 6, "epochs": 5}, r"`training.average_epochs`: must be at most the 5 epochs: got 6\.$"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(SettingsError, match=message):
        check_training(TrainingSettings(**settings))
    check_training(TrainingSettings(average_epochs=5, epochs=5))
