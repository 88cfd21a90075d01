"""A run folder explains itself: what was asked, with which settings, what came of it, and the weights.

run.json             task, version, command, seed, data and their checksum; the checksum of each file below, once it is final
config.toml          every setting, with its meaning
vocabulary.json      names that the weights know by number, such as the classes
tokenizer.json       how texts become tokens, where they do
model.safetensors    the best weights
metrics.json         measures and baselines
log.csv              a row an epoch
checkpoints/         last.ckpt to resume from, best.ckpt
"""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from heedful._errors import RunFolderError
from heedful._version import __version__
from heedful.training.files import UNFINISHED, write_whole

FORMAT = 1
_TOKENIZER = "tokenizer.json"
_JSON = {str: "string", int: "number", dict: "object", list: "array"}
_KEPT = ("config.toml", "vocabulary.json", "model.safetensors", "metrics.json", "log.csv")


@dataclass(frozen=True)
class RunFolder:
    """One training run on the disk."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.checkpoints / "best.ckpt"

    def check_new(self) -> None:
        """Raises where no run can begin: the folder must be empty or not there. What a killed `begin` left does not count."""
        try:
            others = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunFolderError(f"{self.path}: the run folder cannot be written: {error.strerror}.") from None
        if others - {"config.toml", "checkpoints"}:
            raise RunFolderError(
                f"{self.path}: a new run needs an empty folder: this one holds {sorted(others)[0]!r}; --resume goes on with a run."
            )

    def begin(
        self, *, task: str, command: list[str], seed: int, data: dict[str, Any], data_checksum: str, config: str
    ) -> None:
        """Makes the folder for a new run, which must be empty or not there; run.json, written last, says that it was begun."""
        self.check_new()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_whole(self.config(), config)
            about = {"format": FORMAT, "heedful": __version__, "torch": torch.__version__, "task": task}
            about |= {"command": command, "seed": seed, "data": data, "data_checksum": data_checksum, "finished": False}
            self._write_json("run.json", about | {"files": self._checksums("config.toml")})
        except OSError as error:
            raise RunFolderError(f"{self.path}: the run folder cannot be written: {error.strerror}.") from None

    def begun(self) -> bool:
        """Whether a run was begun here, finished or not."""
        return (self.path / "run.json").is_file()

    def finish(
        self,
        weights: dict[str, Tensor],
        vocabulary: dict[str, Any],
        metrics: dict[str, Any],
        tokenizer: str | None = None,
    ) -> None:
        """Writes what came of the run; the checksums in run.json, written last, close it."""
        about = self.about()
        for left in [*self.path.glob(f".*{UNFINISHED}"), *self.checkpoints.glob(f".*{UNFINISHED}")]:
            left.unlink()  # by a kill
        tensors = {name: tensor.contiguous().cpu() for name, tensor in weights.items()}
        # One piece of metadata: safetensors writes several in an order that changes from time to time.
        write_whole(self.path / "model.safetensors", save_tensors(tensors, metadata={"format": "pt"}))
        self._write_json("vocabulary.json", vocabulary)
        self._write_json("metrics.json", metrics)
        if tokenizer is not None:
            write_whole(self.path / _TOKENIZER, tokenizer)
        kept = _KEPT if tokenizer is None else (*_KEPT, _TOKENIZER)
        self._write_json("run.json", about | {"finished": True, "files": self._checksums(*kept)})

    def about(self) -> dict[str, Any]:
        """What run.json says; its format is checked."""
        if not self.path.is_dir():
            raise RunFolderError(
                f"{self.path}: must be a run folder, as `heedful train ... --out` makes it: there is no such folder."
            )
        about = self._read_json("run.json")
        made_by = about.get("heedful", "an unknown version")
        if not isinstance(about.get("format"), int) or about["format"] > FORMAT:
            raise RunFolderError(
                f"{self.path / 'run.json'}: the run folder's format must be {FORMAT} or older: got {about.get('format')!r}, written by "
                f"heedful {made_by}; this is heedful {__version__}."
            )
        for key, kind in (("task", str), ("seed", int), ("data", dict), ("command", list), ("files", dict)):
            if not isinstance(about.get(key), kind):
                got = repr(about[key]) if key in about else "none"
                raise RunFolderError(f"{self.path / 'run.json'}: must hold `{key}`, a JSON {_JSON[kind]}: got {got}.")
        return about

    def verified(self) -> dict[str, Any]:
        """What run.json says of a finished run whose files are all there and unchanged."""
        about = self.about()
        if not about.get("finished"):
            raise RunFolderError(
                f"{self.path}: the training has not finished; go on with `heedful train {about['task']} --out {self.path} --resume`."
            )
        self._check_files(about, _KEPT)
        self._check_files(about, [_TOKENIZER] if _TOKENIZER in about["files"] else [])
        return about

    def resumable(self, data_checksum: str | None = None) -> dict[str, Any]:
        """What run.json says of a run that was begun and whose settings, and data where given, are as they were then."""
        about = self.about()
        self._check_files(about, ["config.toml"])
        if data_checksum not in (None, about.get("data_checksum")):
            raise RunFolderError(
                f"{self.path}: the data have changed since the run was begun: it cannot be resumed with them."
            )
        return about

    def config(self) -> Path:
        return self.path / "config.toml"

    def vocabulary(self) -> dict[str, Any]:
        return self._read_json("vocabulary.json")

    def metrics(self) -> dict[str, Any]:
        return self._read_json("metrics.json")

    def tokenizer(self) -> str:
        """The text of tokenizer.json."""
        file = self.path / _TOKENIZER
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{file}: must be a readable text: {error}.") from None

    def weights(self) -> dict[str, Tensor]:
        file = self.path / "model.safetensors"
        try:
            return load_tensors(file.read_bytes())
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"{file}: must be readable safetensors: {error}.") from None

    def _checksums(self, *names: str) -> dict[str, str]:
        return {name: _checksum(self.path / name) for name in names}

    def _check_files(self, about: dict[str, Any], names: Sequence[str]) -> None:
        for name in names:
            file = self.path / name
            if not file.is_file():
                raise RunFolderError(f"{file}: belongs to the run folder, but is missing.")
            if _checksum(file) != about["files"].get(name):
                raise RunFolderError(f"{file}: has changed: its checksum differs from the one in run.json.")

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_whole(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _read_json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunFolderError(f"{file}: belongs to the run folder, but is missing.") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunFolderError(f"{file}: must be readable JSON: {error}.") from None
        if not isinstance(content, dict):
            raise RunFolderError(f"{file}: must hold a JSON object: got {type(content).__name__}.")
        return content


def config_matches(text: str, other: str) -> bool:
    """Whether two TOML texts hold the same settings."""
    return tomllib.loads(text) == tomllib.loads(other)


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
