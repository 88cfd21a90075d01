"""Checkpoints of a training: written whole, checked when they are read, and the one before is kept."""

import io
import pickle  # nosec B403 # the name of its error; nothing but tensors is unpickled
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.console import Console

from heedful._errors import RunFolderError
from heedful._files import write_atomic
from heedful._terminal import visible
from heedful.training.run_folder import RunFolder


class KeepCheckpoints(Checkpoint):
    """After each epoch: the best, then the last, which also knows which was the best, for a resumed run.

    Args:
        folder: the run's.
        monitor: the metric that decides; more is better.
    """

    def __init__(self, folder: RunFolder, monitor: str) -> None:
        self.folder, self.monitor = folder, monitor
        self.best: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics[self.monitor].item()
        if not self.best or score > self.best["score"]:
            self.best = {"score": score, "epoch": trainer.current_epoch}
            trainer.save_checkpoint(self.folder.best_checkpoint)
        trainer.save_checkpoint(self.folder.last_checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return self.best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints are written to a temporary file and renamed: a kill or a full disk leaves the previous one.

    Only tensors and plain values are read back, whatever stands in the file.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        last = path == self.folder.last_checkpoint
        write_atomic(path, buffer.getvalue(), keep=self.folder.checkpoint_before if last else None)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def checkpoint_to_resume(folder: RunFolder, console: Console) -> Path | None:
    """The newest checkpoint that is whole, after the best one was checked, too; what is damaged is said.

    Returns:
        The file; None where no epoch was complete.

    Raises:
        RunFolderError: the training cannot go on from what is left.
    """
    files = [file for file in (folder.last_checkpoint, folder.checkpoint_before) if file.exists()]
    if not files:
        return None
    whole, damaged = {}, []
    for file in files:
        try:
            whole[file] = read_checkpoint(file)
        except RunFolderError as error:
            damaged.append(error)
    if not whole:
        raise RunFolderError(f"{damaged[0]} {_anew(folder)}")
    file = next(iter(whole))
    if file != files[0]:
        console.out(
            visible(f"note: {damaged[0]} The one before it, of epoch {_epoch(whole[file])}, is taken."), highlight=False
        )
    try:
        read_checkpoint(folder.best_checkpoint)
    except RunFolderError as error:
        same = [other for other, content in whole.items() if _best_epoch(content) == content["epoch"]]
        if not same:
            raise RunFolderError(f"{error} {_anew(folder)}") from None
        write_atomic(folder.best_checkpoint, same[0].read_bytes())
        console.out(visible(f"note: {error} {same[0].name} holds the same weights and is taken."), highlight=False)
    return file


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain values, whose checksums are right; nothing else is unpickled.

    Raises:
        RunFolderError: it cannot be read, is damaged, or holds something else.
    """
    try:
        with file.open("rb") as stream:
            with zipfile.ZipFile(stream) as archive:  # PyTorch writes the checksums, and does not check them
                if (member := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"the checksum of {member} is wrong")
            stream.seek(0)
            checkpoint = torch.load(stream, map_location="cpu", weights_only=True)
        missing = {"state_dict", "callbacks", "epoch"} - set(checkpoint)
        if missing:
            raise KeyError(f"no {min(missing)} in it")
        _best_epoch(checkpoint)
    except (
        OSError, pickle.UnpicklingError, EOFError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise RunFolderError(f"{file}: must be a checkpoint of this run: {reason}.") from None
    return checkpoint  # type: ignore[no-any-return]


def _best_epoch(checkpoint: dict[str, Any]) -> int:
    return checkpoint["callbacks"][KeepCheckpoints.__qualname__]["epoch"]  # type: ignore[no-any-return]


def _epoch(checkpoint: dict[str, Any]) -> int:
    return checkpoint["epoch"] + 1  # type: ignore[no-any-return]


def _anew(folder: RunFolder) -> str:
    return f"Without the folder {folder.checkpoints}, --resume begins again with the first epoch."
