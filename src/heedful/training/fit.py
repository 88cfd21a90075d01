"""One training, by Lightning: AdamW with warm-up and cosine, the moving average of the weights, checkpoints, resuming."""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, WeightAveraging
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from heedful._errors import SettingsError, Terminated
from heedful.training.callbacks import (
    CheckpointAverage,
    CsvLog,
    EpochReports,
    EpochSeed,
    ProgressLines,
    ResumeEarlyStopping,
    StepTimes,
    TimeLimit,
    TrainingError,
    not_finite,
    seed_everything,
)  # fmt: skip
from heedful.training.checkpoints import AtomicCheckpoints, KeepCheckpoints, checkpoint_to_resume, read_checkpoint
from heedful.training.loggers import check_logger, finish, logger_of
from heedful.training.objective import Batches, Mean, Objective, Pooled
from heedful.training.run_folder import RunFolder
from heedful.training.settings import TrainingSettings


class Fitted(NamedTuple):
    """What came of a training.

    Attributes:
        weights: by their names.
        stopped_after: the epoch after which the time was over; 0 where it was not.
    """

    weights: dict[str, Tensor]
    stopped_after: int


def fit(
    objective: Objective,
    model: nn.Module,
    *,
    training: Batches,
    validation: Batches,
    settings: TrainingSettings,
    folder: RunFolder,
    console: Console,
    unit: str = "examples",
    rates: Mapping[str, float] = MappingProxyType({}),
    end: float = math.inf,
    hyperparameters: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
) -> Fitted:
    """Trains `model` and gives the weights of its best epoch, or the mean of its last ones.

    Args:
        objective: the losses, the metrics of an epoch, and which of them decides; a task is one.
        model: is trained in place.
        training: batches to learn from.
        validation: batches that choose the best epoch.
        settings: how.
        folder: a run folder that was begun; gets log.csv and the checkpoints.
        console: where the progress is shown.
        unit: what is counted to tell the speed.
        rates: the share of the learning rate that a parameter has, by its name; 0: it stays as it is; of others 1.
        end: the moment, of `time.monotonic`, at which the training shall end; one epoch is always trained.
        hyperparameters: what a logger shows of the run.
        resume: go on from the last checkpoint, if there is one.

    Raises:
        TrainingError: a loss that is not finite.
        RunFolderError: a checkpoint that cannot be read.
        ValueError: a parameter that is to be trained by no optimizer, or by several.
    """
    _freeze(model, rates)
    _check_optimizers(objective, model)
    learner = _Learner(objective, model, settings, folder, rates)
    log = CsvLog(folder.path / "log.csv")
    reports = EpochReports(objective, log, console)
    callbacks: list[Callback] = [
        EpochSeed(settings.seed),
        log,
        reports,
    ]  # ahead of the averages, which end a validation
    if settings.ema_decay:
        callbacks.append(WeightAveraging(multi_avg_fn=_moving_average(settings.ema_decay)))
    if settings.patience:
        stopping = EarlyStopping("_selection", patience=settings.patience, mode="max", check_on_train_epoch_end=True)
        callbacks += [stopping, ResumeEarlyStopping(stopping)]
    average = CheckpointAverage(settings.average_last_epochs) if settings.average_last_epochs else None
    if average is not None:
        callbacks.append(average)
    limit = TimeLimit(end)
    progress = ProgressLines(console, unit, training.size)
    callbacks += [limit, progress, KeepCheckpoints(folder, "_selection")]
    checkpoint = checkpoint_to_resume(folder, console) if resume else None
    folder.checkpoints.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and loggers
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        logger = logger_of(settings.logger, folder, hyperparameters)
        checkpoints = AtomicCheckpoints(folder)
        trainer = _trainer(learner, callbacks, checkpoints, max_epochs=settings.epochs, logger=logger or False)
        interrupt = signal.getsignal(signal.SIGINT)
        # A CPU computes many times slower with the tiny numbers that training leaves behind.
        torch.set_flush_denormal(True)
        try:
            loaders = training.loader(), validation.loader()
            trainer.fit(learner, *loaders, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException:  # where the signal's handler is not ours
            raise Terminated(signal.SIGTERM) from None
        except SystemExit as exit:
            if isinstance(exit.__context__, KeyboardInterrupt):
                # Lightning makes an exit of it, and has become deaf to a second one.
                signal.signal(signal.SIGINT, interrupt)
                raise exit.__context__ from None
            raise
        finally:
            torch.set_flush_denormal(False)
            finish(logger)
    best = read_checkpoint(folder.best_checkpoint)["state_dict"]
    weights = {name.removeprefix("model."): tensor for name, tensor in best.items() if name.startswith("model.")}
    if average is not None and average.count:  # which it has not where the time was over before
        weights = average.mean(weights)
    return Fitted(weights, limit.stopped_after)


def speed(
    objective: Objective,
    model: nn.Module,
    batches: Batches,
    settings: TrainingSettings,
    folder: RunFolder,
    rates: Mapping[str, float],
) -> float:
    """How many of its units a second a training takes, as a few steps of a model tell that is not used any further."""
    _freeze(model, rates)
    learner, clock = _Learner(objective, model, settings, folder, rates), StepTimes(batches.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = _trainer(
            learner, [clock], max_epochs=1, limit_val_batches=0, logger=False, enable_checkpointing=False
        )
        trainer.fit(learner, batches.loader())
    return clock.units / max(clock.seconds, 1e-9)


def _freeze(model: nn.Module, rates: Mapping[str, float]) -> None:
    """Parameters without a rate stay as they are; norms that do also keep their statistics."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and rates.get(name, 1.0) > 0)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def _trainer(learner: "_Learner", callbacks: list[Callback], *plugins: Any, **more: Any) -> Trainer:
    """The training library's trainer, on the device that it finds."""
    s = learner.settings
    return Trainer(
        precision=s.precision,
        gradient_clip_val=s.gradient_clip or None if learner.automatic_optimization else None,
        callbacks=callbacks,
        plugins=[*plugins, LightningEnvironment()],  # no cluster is asked, and none is told
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=learner.folder.path,
        **more,
    )


def check_training(settings: TrainingSettings) -> None:
    """Raises where this machine cannot train with the precision of the settings, or where they contradict each other."""
    check_logger(settings.logger)
    if settings.average_last_epochs and settings.patience:
        raise SettingsError(
            "`training.average_last_epochs`: the last epochs are known only where none may be the last too soon: "
            f"got {settings.average_last_epochs} with training.patience={settings.patience}."
        )
    if isinstance(settings.epochs, int) and settings.average_last_epochs > settings.epochs:  # or "auto" so far
        raise SettingsError(
            f"`training.average_last_epochs`: must be at most the {settings.epochs} epochs: got {settings.average_last_epochs}."
        )
    if settings.precision == "16-mixed" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise SettingsError("`training.precision`: 16-mixed needs a GPU, and there is none here; take bf16-mixed.")


def _check_optimizers(objective: Objective, model: nn.Module) -> None:
    names, prefixes = [name for name, p in model.named_parameters() if p.requires_grad], list(objective.optimizers)
    for name in names:
        owners = [prefix for prefix in prefixes if name.startswith(prefix)]
        if len(owners) != 1:
            raise ValueError(f"`optimizers` must have one for each parameter: got {owners} for `{name}`.")
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f"`optimizers` must begin the names of parameters: got {prefix!r}, which begins none.")


class _Learner(LightningModule):
    """A task and its model as a LightningModule."""

    def __init__(
        self,
        objective: Objective,
        model: nn.Module,
        settings: TrainingSettings,
        folder: RunFolder,
        rates: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.objective, self.model, self.settings, self.folder = objective, model, settings, folder
        self.rates = rates
        self.automatic_optimization = len(objective.optimizers) == 1
        self.totals: dict[str, Mean | Pooled] = {}
        self.sum, self.steps = 0.0, 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        if self.automatic_optimization:
            (name,) = self.objective.optimizers
            return self._loss(batch, name)
        schedules = self.lr_schedulers()
        for name, optimizer, schedule in zip(self.objective.optimizers, self.optimizers(), schedules, strict=True):  # type: ignore[arg-type]
            self.toggle_optimizer(optimizer)
            loss = self._loss(batch, name)
            self.manual_backward(loss)
            if self.settings.gradient_clip:
                self.clip_gradients(optimizer, self.settings.gradient_clip, "norm")
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            self.untoggle_optimizer(optimizer)
        return None

    def _loss(self, batch: Any, optimizer: str) -> Tensor:
        loss = self.objective.loss(self.model, batch, optimizer)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(not_finite("loss", value, self.trainer, self.folder.path))
        self.sum, self.steps = self.sum + value, self.steps + 1  # Lightning's own log costs a millisecond a step
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name, metric in self.objective.validate(self.model, batch).items():
            self.totals[name] = _joined(self.totals.get(name), metric)

    def on_validation_epoch_end(self) -> None:
        metrics = {name: _value(mean) for name, mean in self.totals.items()}
        loss, monitored = metrics["loss"], self.objective.monitor
        sign = -1 if monitored.startswith("-") else 1
        self.log_dict({f"valid_{name}": value.float() for name, value in metrics.items()}, logger=False)
        self.log("loss", self.sum / max(self.steps, 1), logger=False)
        # The loss decides between equal metrics.
        selection = -loss if monitored == "loss" else sign * metrics[monitored.removeprefix("-")] - 1e-3 * loss
        self.log("_selection", selection.float(), logger=False)
        self.totals, self.sum, self.steps = {}, 0.0, 0

    def configure_optimizers(self) -> Any:
        pairs = [self._optimizer(prefix, factor) for prefix, factor in self.objective.optimizers.items()]
        if not self.automatic_optimization:
            return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]
        ((optimizer, schedule),) = pairs
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self, prefix: str, factor: float) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer of the parameters whose names begin so, and its schedule."""
        s = self.settings
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad and name.startswith(prefix)]
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for name, p in sorted(named, key=lambda pair: not _is_matrix(*pair)):
            matrix, share = _is_matrix(name, p), factor * self.rates.get(name, 1.0)
            new = {"params": [], "lr": share * s.learning_rate, "weight_decay": s.weight_decay if matrix else 0.0}
            groups.setdefault((matrix, share), new)["params"].append(p)
        # Fused, it unscales gradients itself, so that in mixed precision they could not be clipped in between.
        fused = s.precision == "32-true"
        optimizer = torch.optim.AdamW(list(groups.values()), betas=(s.beta1, s.beta2), fused=fused)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step))

    def _rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the highest: a linear rise, then a cosine down to a hundredth."""
        steps = int(self.trainer.estimated_stepping_batches)
        rise = max(round(self.settings.warmup_ratio * steps), 1)
        if step < rise:
            return (step + 1) / rise
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(steps - rise, 1), 1)))


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter decays: biases, norms and positions do not."""
    return parameter.dim() > 1 and name.endswith("weight")


def _joined(before: Mean | Pooled | None, metric: Mean | Pooled) -> Mean | Pooled:
    """A metric of the batches so far, and of one more."""
    if isinstance(metric, Pooled):
        return metric if before is None else Pooled([*before.parts, *metric.parts], metric.measure)  # type: ignore[union-attr]
    total, count = metric.total.double(), torch.as_tensor(metric.count).double()
    return Mean(total, count) if before is None else Mean(before.total + total, before.count + count)  # type: ignore[union-attr]


def _value(mean: Mean | Pooled) -> Tensor:
    if isinstance(mean, Pooled):
        return torch.tensor(mean.measure(mean.parts), dtype=torch.float64)
    total, count = torch.broadcast_tensors(mean.total, torch.as_tensor(mean.count, dtype=torch.float64))
    counted = count > 0
    return (total[counted] / count[counted]).mean() if counted.any() else torch.zeros((), dtype=torch.float64)


def _moving_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor | int], None]:
    """An exponential moving average whose decay rises from 0.1, so that the first steps are forgotten soon."""

    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
        steps = float(count)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        if averages[0].is_floating_point():  # all of a call are of one dtype
            torch._foreach_lerp_(averages, currents, weight)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)

    return update


__all__ = ["TrainingError", "check_training", "fit", "seed_everything", "speed"]
