"""Tiny data, tiny settings, and what a run must come out as: shared by the tests of training, tasks and command line."""

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

TINY = (
    "model.stages=[8, 8]", "model.width=12", "model.heads=3", "model.ffn_width=20", "model.layers=2",
    "training.batch_size=7", "training.epochs=2",
)  # fmt: skip


class Answer(NamedTuple):
    status: int
    out: str
    err: str


def words(data: object, out: object, *settings: str, task: str = "classify-image") -> list[str]:
    """`heedful train` with the tiny settings, and others after them."""
    patches = "model.architecture=vit" in settings  # which has no stages
    tiny = [setting for setting in TINY if not (patches and setting.startswith("model.stages"))]
    assigned = [word for setting in (*tiny, *settings) for word in ("--set", setting)]
    return ["train", task, "--data", str(data), "--out", str(out), *assigned]


def draw(
    folder: Path, count: int = 20, size: int = 8, seed: int = 0, classes: tuple[str, ...] = ("dark", "light")
) -> Path:
    """Folders of noisy gray pictures; each class is brighter than the one before."""
    random = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for row in range(count):
            pixels = 60 + 130 * number // max(len(classes) - 1, 1) + random.integers(-55, 56, (size, size))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{row}.png")
    return folder


def outcome(run: Path) -> dict[str, object]:
    """What must be the same after a resumed and after an uninterrupted run."""
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["seconds"]
    files = json.loads((run / "run.json").read_text())["files"]
    return {"metrics": metrics, "log": (run / "log.csv").read_text(), "weights": files["model.safetensors"]}


def rewrite(run: Path, **contents: object) -> None:
    """Changes files of a run folder as one would who makes a folder to be loaded: run.json has their checksums.

    Args:
        run: the folder.
        **contents: of files, by their names without their ends; of JSON files what they shall hold.
    """
    manifest = json.loads((run / "run.json").read_text())
    for stem, content in contents.items():
        (file,) = run.glob(f"{stem}.*")
        raw = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
        file.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        manifest["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (run / "run.json").write_text(json.dumps(manifest))


@contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    """Memory beyond what is taken already is so much."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Writing beyond `limit` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Killed(BaseException):
    """Nothing in the program catches this, as nothing catches a kill."""


def killing(monkeypatch: pytest.MonkeyPatch, target: str, at: int) -> None:
    """Ends the program as soon as `target` is called for the time `at` (from 1), before it does anything."""
    owner, _, name = target.rpartition(".")
    module, _, kind = owner.rpartition(".")
    holder = getattr(__import__(module, fromlist=[kind]), kind)
    original, calls = getattr(holder, name), []

    def counted(*args: object, **kwargs: object) -> object:
        calls.append(name)
        if len(calls) == at:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(holder, name, counted)
