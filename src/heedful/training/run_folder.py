"""A run folder: the command, the settings, the results and the weights of one training.

run.json             task, version, command, seed, data and their checksum, signed by the user; checksums of the final files;
                     the run that it goes on from
config.toml          every setting, with its meaning
vocabulary.json      names that the weights know by number, such as the classes
tokenizer.json       how texts become tokens, where they do
model.safetensors    the best weights
metrics.json         metrics and baselines
log.csv              a row an epoch
logs/                what a logger wrote (training.logger)
checkpoints/         last.ckpt to resume from, best.ckpt; while it is trained, before.ckpt, the one before the last
"""

import json
import platform
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from heedful._errors import RunFolderError
from heedful._files import UNFINISHED, checksum, read_json, read_limited, write_atomic
from heedful._safetensors import Shapes, not_finite, weight_shapes
from heedful._version import __version__
from heedful.training.lock import LOCK
from heedful.training.schema import Manifest, Metrics, Schema, checked, received, shown
from heedful.training.settings import flat
from heedful.training.signature import signature, signed_here

FORMAT = 2
MAX_BYTES = {"run.json": 2**20, "metrics.json": 2**26, "vocabulary.json": 2**27, "tokenizer.json": 2**27}
_TOKENIZER = "tokenizer.json"
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

    @property
    def checkpoint_before(self) -> Path:
        """The one before the last, while a training runs."""
        return self.checkpoints / "before.ckpt"

    def check_new(self) -> None:
        """Raises where no run can begin: the folder must be empty or not there. What a killed `begin` left does not count."""
        try:
            others = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunFolderError(f"{self.path}: the run folder cannot be written: {error.strerror}.") from None
        if others := others - {"config.toml", "checkpoints"} | {f.name for f in self.checkpoints.glob("*.ckpt")}:
            raise RunFolderError(
                f"{self.path}: a new run needs an empty folder: this one holds {min(others)!r}; --resume goes on with a run."
            )

    def begin(
        self,
        *,
        task: str,
        command: list[str],
        seed: int,
        data: dict[str, str],
        data_checksums: dict[str, str],
        config: str,
        base: dict[str, str] | None = None,
        automatic: Sequence[str] = (),
    ) -> None:
        """Makes the folder for a new run, which must be empty or not there; run.json, written last, says that it was begun.

        Its `automatic` settings are those whose value followed the data.
        """
        self.check_new()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            write_atomic(self.config(), config)
            manifest: dict[str, Any] = {"format": FORMAT, "heedful": __version__, "torch": torch.__version__}
            manifest |= {"task": task, "command": command, "seed": seed, "data": data, "data_checksums": data_checksums}
            manifest |= {} if base is None else {"base": base}
            manifest |= {"automatic": list(automatic)} if automatic else {}
            manifest["environment"] = _environment()
            manifest["signature"] = signature(_signed(manifest))
            self._write_json("run.json", manifest | {"finished": False, "files": self._checksums("config.toml")})
        except OSError as error:
            raise RunFolderError(f"{self.path}: the run folder cannot be written: {error.strerror}.") from None

    def move_sources(self, data: dict[str, str], base: dict[str, str] | None = None) -> None:
        """Notes where the data are now, and the run that it goes on from."""
        manifest = self.manifest()
        moved = manifest | {"data": data} | ({} if base is None else {"base": base})
        if moved != manifest:
            manifest = moved
            self._write_json("run.json", manifest | {"signature": signature(_signed(manifest))})

    def made_here(self) -> bool:
        """Whether this user began the run with the data that run.json names; of a stranger's folder they may be any files."""
        manifest = self.manifest()
        return signed_here(_signed(manifest), manifest.get("signature", ""))

    def exists(self) -> bool:
        """Whether a run was begun here, finished or not."""
        return (self.path / "run.json").is_file()

    def remove(self) -> None:
        """Removes a run and its folder; raises, and removes nothing, where the folder holds anything else."""
        made = {"run.json", *_KEPT, _TOKENIZER, self.checkpoints.name, LOCK, "logs"}
        own = {file.name for file in (self.last_checkpoint, self.best_checkpoint, self.checkpoint_before)}
        for entry in (*self.path.iterdir(), *self.checkpoints.glob("*")):
            if entry.name not in (own if entry.parent == self.checkpoints else made) and UNFINISHED not in entry.name:
                raise RunFolderError(
                    f"{self.path}: must hold a run and nothing else, to be removed: got {entry.name!r}."
                )
        shutil.rmtree(self.path)

    def finish(
        self,
        weights: dict[str, Tensor],
        vocabulary: dict[str, Any],
        metrics: dict[str, Any],
        stopped: dict[str, int] | None = None,
    ) -> None:
        """Writes what came of the run; the checksums in run.json, written last, close it, unless a time limit `stopped` it.

        The text of a tokenizer, `vocabulary["tokenizer"]`, becomes a file of its own.
        """
        manifest = self.manifest()
        for left in [*self.path.glob(f".*{UNFINISHED}"), *self.checkpoints.glob(f".*{UNFINISHED}")]:
            left.unlink()  # by a kill
        self.checkpoint_before.unlink(missing_ok=True)
        tensors = {name: tensor.contiguous().cpu() for name, tensor in weights.items()}
        # One piece of metadata: safetensors writes several in an order that changes from time to time.
        write_atomic(self.path / "model.safetensors", save_tensors(tensors, metadata={"format": "pt"}))
        names = {key: value for key, value in vocabulary.items() if key != "tokenizer"}
        self._write_json("vocabulary.json", names)
        self._write_json("metrics.json", metrics)
        kept: tuple[str, ...] = _KEPT
        if "tokenizer" in vocabulary:
            write_atomic(self.path / _TOKENIZER, vocabulary["tokenizer"])
            kept = (*_KEPT, _TOKENIZER)
        if not (self.path / "log.csv").exists():  # nothing was trained
            write_atomic(self.path / "log.csv", "")
        manifest |= {} if stopped is None else {"stopped": stopped}
        self._write_json("run.json", manifest | {"finished": True, "files": self._checksums(*kept)})

    def reopen(self) -> None:
        """Goes on with a run that was stopped: until it is finished again, it is none."""
        manifest = self.manifest()
        if manifest.pop("stopped", None) is not None:
            self._write_json("run.json", manifest | {"finished": False, "files": self._checksums("config.toml")})

    def manifest(self) -> dict[str, Any]:
        """What run.json says; it is checked."""
        if not self.path.is_dir():
            raise RunFolderError(
                f"{self.path}: must be a run folder, as `heedful train ... --out` makes it: there is no such folder."
            )
        manifest = self._read_json("run.json")
        if manifest.get("format") != FORMAT:
            raise RunFolderError(
                f"{self.path / 'run.json'}: the run folder's format must be {FORMAT}: got {received(manifest.get('format'))}, written "
                f"by heedful {shown(str(manifest.get('heedful', 'of an unknown version')))}; this is heedful {__version__}."
            )
        manifest = checked(Manifest, manifest, self.path / "run.json")
        return manifest

    def require_finished(self) -> dict[str, Any]:
        """What run.json says of a finished run whose files are all there and unchanged."""
        manifest = self.manifest()
        if not manifest.get("finished"):
            raise RunFolderError(
                f"{self.path}: the training has not finished; go on with `heedful train {manifest['task']} --out {self.path} --resume`."
            )
        self._check_files(manifest, _KEPT)
        self._check_files(manifest, [_TOKENIZER] if _TOKENIZER in manifest["files"] else [])
        return manifest

    def resumable(self, data_checksums: dict[str, str] | None = None) -> dict[str, Any]:
        """The manifest of a begun run, after checking that its settings, and its data where given, have not changed."""
        manifest = self.manifest()
        self._check_files(manifest, ["config.toml"])
        if data_checksums not in (None, manifest["data_checksums"]):
            raise RunFolderError(
                f"{self.path}: the data have changed since the run was begun: it cannot be resumed with them."
            )
        return manifest

    def config(self) -> Path:
        return self.path / "config.toml"

    def vocabulary(self, schema: type[Schema] | None = None) -> dict[str, Any]:
        """What the weights know by number, with the text of the tokenizer where there is one."""
        names, file = self._read_json("vocabulary.json"), self.path / _TOKENIZER
        try:
            if file.exists():
                names["tokenizer"] = read_limited(file, MAX_BYTES[_TOKENIZER]).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{file}: must be a readable text: {_reason(error)}.") from None
        return names if schema is None else checked(schema, names, self.path / "vocabulary.json")

    def metrics(self) -> dict[str, Any]:
        return checked(Metrics, self._read_json("metrics.json"), self.path / "metrics.json")

    def weight_shapes(self) -> Shapes:
        """The shape of each tensor, from the header alone."""
        file = self.path / "model.safetensors"
        try:
            return weight_shapes([file])
        except OSError as error:
            raise RunFolderError(f"{file}: must be readable safetensors: {_reason(error)}.") from None
        except ValueError as error:
            raise RunFolderError(str(error)) from None

    def weights(self) -> dict[str, Tensor]:
        """The tensors; all of them are finite."""
        file = self.path / "model.safetensors"
        self.weight_shapes()
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"{file}: must be readable safetensors: {_reason(error)}.") from None
        if reason := not_finite(tensors):
            raise RunFolderError(f"{file}: {reason}.")
        return tensors

    def _checksums(self, *names: str) -> dict[str, str]:
        return {name: checksum(self.path / name) for name in names}

    def _check_files(self, manifest: dict[str, Any], names: Sequence[str]) -> None:
        for name in names:
            file = self.path / name
            try:
                unchanged = checksum(file) == manifest["files"].get(name)
            except FileNotFoundError:
                raise RunFolderError(f"{file}: belongs to the run folder, but is missing.") from None
            except OSError as error:
                raise RunFolderError(f"{file}: cannot be read: {_reason(error)}.") from None
            if not unchanged:
                raise RunFolderError(f"{file}: has changed: its checksum differs from the one in run.json.")

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomic(self.path / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _read_json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        try:
            content = read_json(file, MAX_BYTES[name])
        except FileNotFoundError:
            raise RunFolderError(f"{file}: belongs to the run folder, but is missing.") from None
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{file}: must be readable JSON: {_reason(error)}.") from None
        if not isinstance(content, dict):
            raise RunFolderError(f"{file}: must hold a JSON object: got {type(content).__name__}.")
        return content


def config_matches(text: str, asked: str) -> bool:
    """Whether the settings of a run, as TOML, are those that are asked for, of which "auto" has become what was chosen."""
    found, wanted = (dict(flat(tomllib.loads(one))) for one in (text, asked))
    return found.keys() == wanted.keys() and all(wanted[key] in (value, "auto") for key, value in found.items())


def _environment() -> dict[str, str]:
    """The machine on which a training is begun."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device,
        "threads": str(torch.get_num_threads()),
    }


def _signed(manifest: dict[str, Any]) -> list[Any]:
    """What a signature vouches for: which data may be read again."""
    return [manifest[name] for name in ("task", "data", "data_checksums", "base") if name in manifest]


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without its name, in one line."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0].removesuffix(".")
