"""Loggers of other programs, which show trainings while they go on: the training library's own, and one for trackio.

A logger gets the settings, and a row an epoch, as log.csv does. What it writes on this machine is in the folder `logs` of the run.
"""

import hashlib
import importlib
import os
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from heedful._errors import HeedfulError, SettingsError, needing
from heedful.training.run_folder import RunFolder

_PROJECT = "heedful"


def check_logger(name: str) -> None:
    """Raises MissingPackageError where the package of a logger is not installed."""
    if name != "none":
        with needing(name, f"training.logger={name}"):
            importlib.import_module(name)


def logger_of(name: str, folder: RunFolder, settings: Mapping[str, Any]) -> Logger | None:
    """The logger with this name; one of a run that is resumed goes on with what it has.

    Args:
        name: as `training.logger` has it.
        folder: of the run.
        settings: what the logger shows of the run.

    Raises:
        SettingsError: it cannot begin, such as without a key of its service.
    """
    if name == "none":
        return None
    logs = folder.path / "logs"
    logs.mkdir(exist_ok=True)
    try:
        logger = _MADE[name](logs, folder.path.name)
        logger.log_hyperparams(dict(settings))
    except HeedfulError:
        raise
    except Exception as error:  # of a service, of the network, of its own settings
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SettingsError(f"`training.logger`: {name} cannot begin: {reason}.") from None
    return logger


def finish(logger: Logger | None) -> None:
    """Ends a run of a service that has one, so that the next training in this process begins another."""
    if isinstance(logger, WandbLogger):
        with suppress(Exception):
            logger.experiment.finish()


class TrackioLogger(Logger):
    """A run of trackio, whose package has the same verbs as that of Weights & Biases.

    Args:
        name: of the run.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._trackio = name, importlib.import_module("trackio")

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._name

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        config = dict(params) if isinstance(params, Mapping) else vars(params)
        self._trackio.init(project=_PROJECT, name=self._name, config=config, resume="allow", embed=False)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._trackio.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        self._trackio.finish()


def _tensorboard(logs: Path, name: str) -> Logger:
    return TensorBoardLogger(logs.parent, name="", version=logs.name, default_hp_metric=False)


def _wandb(logs: Path, name: str) -> Logger:
    logger = WandbLogger(project=_PROJECT, name=name, id=_number(logs), save_dir=logs, log_model=False)
    logger.experiment  # noqa: B018 # begins the run
    return logger


def _trackio(logs: Path, name: str) -> Logger:
    return TrackioLogger(f"{name}-{_number(logs)}")  # runs of one name are one


def _mlflow(logs: Path, name: str) -> Logger:
    uri, kept = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{logs / 'mlflow.db'}"), logs / "mlflow-run"
    known = kept.read_text() if kept.exists() else None
    logger = MLFlowLogger(_PROJECT, run_name=name, tracking_uri=uri, run_id=known, log_model=False)
    kept.write_text(str(logger.run_id))
    return logger


def _number(logs: Path) -> str:
    """Of the run, the same again where it is resumed."""
    return hashlib.sha256(os.fsencode(logs)).hexdigest()[:12]


_MADE = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
