"""One training, by Lightning: AdamW with warm-up and cosine, the moving average of the weights, checkpoints, resuming."""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics import MeanMetric, MetricCollection

from heedful._errors import SettingsError
from heedful.training.callbacks import (
    EpochRandomness,
    Log,
    MeanOfLast,
    ResumedStop,
    Shown,
    TrainingError,
    WholeCheckpoints,
    not_finite,
    read_checkpoint,
    seed_everything,
)  # fmt: skip
from heedful.training.run_folder import RunFolder
from heedful.training.settings import TrainingSettings

Loss = Callable[[nn.Module, Any], Tensor]


class Judged(NamedTuple):
    """What came of a held-out batch.

    Attributes:
        loss: the mean over what was predicted.
        number: how many predictions that mean is over.
        predictions: what the metrics take, with the targets.
        targets: what was right.
    """

    loss: Tensor
    number: int
    predictions: Tensor
    targets: Tensor


Judge = Callable[[nn.Module, Any], Judged]


def fit(
    model: nn.Module,
    *,
    loss: Loss,
    judge: Judge,
    metrics: MetricCollection,
    monitor: str | None,
    training: DataLoader[Any],
    validation: DataLoader[Any],
    settings: TrainingSettings,
    folder: RunFolder,
    console: Console,
    unit: str = "examples",
    count: Callable[[Any], int] = lambda batch: len(batch[0]),
    resume: bool = False,
) -> dict[str, Tensor]:
    """Trains `model` and gives the weights of its best epoch, or the mean of its last ones.

    Args:
        model: is trained in place.
        loss: the training loss of a batch.
        judge: what the model makes of a held-out batch; `metrics` are of its predictions and targets.
        metrics: torchmetrics, by name.
        monitor: the name of the metric by which the best epoch is chosen (higher is better; the loss decides ties); None: the loss.
        training: batches, as `loader` makes them.
        validation: batches that are held out.
        settings: how.
        folder: a run folder that was begun; gets log.csv and the checkpoints.
        console: where the progress is shown.
        unit: what is counted to tell the speed.
        count: how many of these a batch holds.
        resume: go on from the last checkpoint, if there is one.

    Raises:
        TrainingError: a loss that is not finite.
        RunFolderError: a checkpoint that cannot be read.
    """
    learner = _Learner(model, loss, judge, metrics, monitor, settings, folder)
    callbacks: list[Callback] = [EpochRandomness(settings.seed)]
    if settings.average:
        callbacks.append(WeightAveraging(multi_avg_fn=_moving_average(settings.average)))
    if settings.patience:
        stopping = EarlyStopping("_selection", patience=settings.patience, mode="max", check_on_train_epoch_end=True)
        callbacks += [stopping, ResumedStop(stopping)]
    last_ones = MeanOfLast(settings.average_epochs) if settings.average_epochs else None
    if last_ones is not None:
        callbacks.append(last_ones)
    callbacks += [Log(folder.path / "log.csv"), Shown(console, unit, count), *_checkpoints(folder)]
    last = folder.last_checkpoint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and loggers
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = Trainer(
            max_epochs=settings.epochs,
            precision=settings.precision,
            gradient_clip_val=settings.clip or None,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder.path,
        )
        interrupt = signal.getsignal(signal.SIGINT)
        # A CPU computes many times slower with the tiny numbers that training leaves behind.
        torch.set_flush_denormal(True)
        try:
            checkpoint = last if resume and last.exists() else None
            trainer.fit(learner, training, validation, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as exit:
            if isinstance(exit.__context__, KeyboardInterrupt):
                # Lightning makes an exit of it, and has become deaf to a second one.
                signal.signal(signal.SIGINT, interrupt)
                raise exit.__context__ from None
            raise
        finally:
            torch.set_flush_denormal(False)
    best = read_checkpoint(folder.best_checkpoint)["state_dict"]
    weights = {name.removeprefix("model."): tensor for name, tensor in best.items() if name.startswith("model.")}
    return weights if last_ones is None else last_ones.mean(weights)


def check_training(settings: TrainingSettings) -> None:
    """Raises where this machine cannot train with the precision of the settings, or where they contradict each other."""
    if settings.average_epochs and settings.patience:
        raise SettingsError(
            "`training.average_epochs`: the last epochs are known only where none may be the last too soon: "
            f"got {settings.average_epochs} with training.patience={settings.patience}."
        )
    if settings.average_epochs > settings.epochs:
        raise SettingsError(
            f"`training.average_epochs`: must be at most the {settings.epochs} epochs: got {settings.average_epochs}."
        )
    if settings.precision == "16-mixed" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise SettingsError("`training.precision`: 16-mixed needs a GPU, and there is none here; take bf16-mixed.")


class _Learner(LightningModule):
    """What Lightning wants to know of a model."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        judge: Judge,
        metrics: MetricCollection,
        monitor: str | None,
        settings: TrainingSettings,
        folder: RunFolder,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.judge = model, loss, judge
        self.metrics, self.valid_loss = metrics, MeanMetric()
        self.sum, self.steps = 0.0, 0
        self.monitor, self.settings, self.folder = monitor, settings, folder

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.loss(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(not_finite("loss", value, self.trainer, self.folder.path))
        self.sum, self.steps = self.sum + value, self.steps + 1  # Lightning's own log costs a millisecond a step
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        judged = self.judge(self.model, batch)
        self.valid_loss.update(judged.loss, judged.number)
        self.metrics.update(judged.predictions, judged.targets)

    def on_validation_epoch_end(self) -> None:
        loss, measures = self.valid_loss.compute(), self.metrics.compute()
        self.log_dict({"valid_loss": loss} | {f"valid_{name}": value for name, value in measures.items()})
        self.log("loss", self.sum / max(self.steps, 1))
        # The loss decides between equal measures.
        self.log("_selection", -loss if self.monitor is None else measures[self.monitor] - 1e-3 * loss)
        self.valid_loss.reset()
        self.metrics.reset()
        self.sum, self.steps = 0.0, 0

    def configure_optimizers(self) -> Any:
        s = self.settings
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if p.dim() > 1 and name.endswith("weight")]
        others = [p for name, p in named if not (p.dim() > 1 and name.endswith("weight"))]
        groups = [{"params": matrices, "weight_decay": s.weight_decay}, {"params": others, "weight_decay": 0.0}]
        # Fused, it unscales gradients itself, so that in mixed precision nobody could clip them in between.
        optimizer = torch.optim.AdamW(groups, lr=s.learning_rate, betas=(0.9, s.beta2), fused=s.precision == "32-true")
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the highest: a linear rise, then a cosine down to a hundredth."""
        steps = int(self.trainer.estimated_stepping_batches)
        rise = max(round(self.settings.warmup * steps), 1)
        if step < rise:
            return (step + 1) / rise
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(steps - rise, 1), 1)))


def _moving_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """An exponential moving average whose decay rises from 0.1, so that the first steps do not linger."""

    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
        steps = float(count)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        if averages[0].is_floating_point():  # all of a call are of one dtype
            torch._foreach_lerp_(averages, currents, weight)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)

    return update


def _checkpoints(folder: RunFolder) -> list[Callback]:
    """The best epoch, then the last: whoever resumes from that finds in it which was the best."""
    keep = partial(
        ModelCheckpoint, dirpath=folder.checkpoints, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [
        keep(filename=folder.best_checkpoint.stem, monitor="_selection", mode="max"),
        keep(filename=folder.last_checkpoint.stem),
    ]


def loader(data: Dataset[Any], order: Sampler[list[int]] | Sequence[list[int]]) -> DataLoader[Any]:
    """Batches of `data`, which gives a whole one for a list of indices, in the order of the sampler.

    Args:
        data: `data[indices]` is a batch.
        order: such as `Shuffled` or `ByLength`, or lists of indices as they are.
    """
    return DataLoader(data, batch_size=None, sampler=order, collate_fn=_as_it_is, generator=torch.Generator())


def _as_it_is(batch: Any) -> Any:
    return batch


__all__ = ["Judged", "TrainingError", "check_training", "fit", "loader", "seed_everything"]
