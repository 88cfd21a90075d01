"""Callbacks of a training: seeds by epoch, the log, printed progress."""

import csv
import io
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from heedful._errors import HeedfulError
from heedful._files import write_atomic
from heedful.training.objective import Objective

_TIMED, _STEPS = 0.3, 8  # seconds and steps that tell the speed


class TrainingError(HeedfulError):
    """The training cannot go on."""


class EpochSeed(Callback):
    """All randomness of an epoch follows from the seed and the epoch's number, so that a resumed run draws the same."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed_everything(self.seed, trainer.current_epoch)


def seed_everything(seed: int, epoch: int = -1) -> None:
    """Seeds Python, NumPy and PyTorch from a seed and an epoch; -1 is what comes before the first."""
    mixed = int(numpy.random.SeedSequence([seed, epoch + 1]).generate_state(1)[0])
    random.seed(mixed)
    numpy.random.seed(mixed)
    torch.manual_seed(mixed)


class CsvLog(Callback):
    """A row an epoch in log.csv and in a logger; the rows are part of the checkpoint: a resumed run has each epoch once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = logged(trainer)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(not_finite(name, value, trainer, self.file.parent))
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **metrics})
        self._write()
        for logger in trainer.loggers:
            logger.log_metrics(self.rows[-1], step=trainer.global_step)

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[-1]))
        writer.writeheader()
        writer.writerows({name: round(value, 6) for name, value in row.items()} for row in self.rows)
        write_atomic(self.file, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        self._write()  # a kill may have come between it and the checkpoint


def logged(trainer: Trainer) -> dict[str, float]:
    """The metrics of an epoch, by name."""
    return {name: value.item() for name, value in trainer.callback_metrics.items() if not name.startswith("_")}


def not_finite(name: str, value: float, trainer: Trainer, folder: Path) -> str:
    """What to say when a number of the training is NaN or infinite."""
    last = folder / "checkpoints" / "last.ckpt"
    kept = f"the last good checkpoint is {last}" if last.exists() else "no epoch was complete"
    return (
        f"the training stopped at step {trainer.global_step} (epoch {trainer.current_epoch + 1}): `{name}` must be finite: got {value}; "
        f"{kept}. A lower training.learning_rate or training.precision=32-true may help."
    )


class EpochReports(Callback):
    """After each epoch: its files, of the weights that are validated; and a warning where it goes wrong.

    Args:
        objective: makes them.
        csv_log: has the metrics.
        console: where the warning is shown.
    """

    def __init__(self, objective: Objective, csv_log: CsvLog, console: Console) -> None:
        self.objective, self.csv_log, self.console = objective, csv_log, console

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with torch.inference_mode():
            files = self.objective.epoch_files(pl_module.model, trainer.current_epoch + 1)
        for name, content in files.items():
            file = self.csv_log.file.parent / name
            file.parent.mkdir(exist_ok=True)
            write_atomic(file, content)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before, now = ([{}, *self.csv_log.rows])[-2:]
        if words := self.objective.warning(before, now):
            self.console.out(f"warning: epoch {trainer.current_epoch + 1}: {words}", highlight=False)


class CheckpointAverage(Callback):
    """The mean of the model's weights after each of the last epochs; what was summed is part of the checkpoint.

    Args:
        epochs: how many.

    Source: Vaswani et al. 2017, section 6.1.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.count = epochs, 0
        self.sums: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch < (trainer.max_epochs or 0) - self.epochs:
            return
        weights = {name: tensor.detach().cpu() for name, tensor in pl_module.model.state_dict().items()}  # type: ignore[union-attr]
        self.sums = {
            name: tensor.double() + self.sums[name] if self.sums else tensor.double()
            for name, tensor in weights.items()
        }
        self.count += 1

    def mean(self, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights, each of the dtype that it has in `like`."""
        return {name: (self.sums[name] / self.count).to(tensor.dtype) for name, tensor in like.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sums, self.count = state_dict["sums"], state_dict["count"]


class ResumeEarlyStopping(Callback):
    """A run that was stopped early and then killed stays stopped when it is resumed."""

    def __init__(self, stopping: EarlyStopping) -> None:
        self.stopping = stopping

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopping.wait_count >= self.stopping.patience:
            trainer.should_stop = True


class TimeLimit(Callback):
    """Ends a training after the epoch behind which, by the time of that epoch, no other one ends in time.

    Args:
        end: the moment, of `time.monotonic`.
    """

    def __init__(self, end: float) -> None:
        self.end, self.stopped_after = end, 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now, epochs = time.monotonic(), trainer.current_epoch + 1
        if epochs < (trainer.max_epochs or 0) and not trainer.should_stop and 2 * now - self.epoch_started > self.end:
            self.stopped_after, trainer.should_stop = epochs, True


class StepTimes(Callback):
    """Times a few steps behind the first one, and ends the training.

    Args:
        count: how many units a batch has.
    """

    def __init__(self, count: Callable[[Any], int]) -> None:
        self.count, self.units, self.seconds = count, 0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.started = _now()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx or trainer.num_training_batches == 1:  # the first step does more than the others
            self.units, self.seconds = self.units + self.count(batch), self.seconds + _now() - self.started
        trainer.should_stop = self.seconds > _TIMED or batch_idx >= _STEPS


def _now() -> float:
    """The time when all that was begun is computed."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


class ProgressLines(Callback):
    """Printed progress: a bar with rate and remaining time, and a line an epoch; without a terminal only the lines."""

    def __init__(self, console: Console, unit: str, count: Callable[[Any], int]) -> None:
        self.console, self.unit, self.count = console, unit, count
        self.bar: Progress | None = None
        self.epochs_done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch
        if self.console.is_terminal and trainer.max_epochs:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            batches = int(trainer.num_training_batches)
            total = batches * trainer.max_epochs
            self.row = self.bar.add_task("", total=total, completed=batches * trainer.current_epoch, rate="")
            self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_started, self.seen = time.monotonic(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += self.count(batch)
        if self.bar is not None:
            words = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.update(self.row, advance=1, description=words, rate=f"{self._rate():,.0f} {self.unit}/s")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = logged(trainer)
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        elapsed = time.monotonic() - self.started
        remaining = elapsed / (epoch - self.first_epoch) * (epochs - epoch)
        words = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in metrics.items())
        self.console.out(
            f"epoch {epoch:>{len(str(epochs))}}/{epochs}  {words}  {self._rate():,.0f} {self.unit}/s  "
            f"remaining {int(remaining) // 60}:{int(remaining) % 60:02d}",
            highlight=False,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _rate(self) -> float:
        return self.seen / max(time.monotonic() - self.epoch_started, 1e-9)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
