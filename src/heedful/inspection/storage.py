"""A watch on the disk: a folder of queries, keys and mechanisms, from which every matrix is as it was.

watch.json                 the calls, each with its module, how it was computed, and its mechanism; what was not seen; and
                           for calls that share queries and keys, which part each has of them
tensors-00000.safetensors  the tensors of the first call, and so on; a tensor that occurs again is stored once

A mechanism is written by the names of its classes, which are those of `heedful.ops`, and is read by calling them. Nothing
is unpickled or evaluated.
"""

import dataclasses
import hashlib
import json
import os
import reprlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import heedful.ops as ops
from heedful._errors import HeedfulError
from heedful._files import UNFINISHED, open_regular, read_json, write_atomic
from heedful._types import Tensor
from heedful._version import __version__
from heedful.inspection.cached import CachedCall, CachedCalls, CallSpan
from heedful.inspection.calls import AttentionCall, Unseen
from heedful.inspection.windows import WindowBias
from heedful.ops import AttentionMatrix
from heedful.ops._tree import Value
from heedful.ops.normalizers.alpha import Entmax

FORMAT = 2  # 1: calls share nothing
_KIND = "heedful watch"
_MAX_BYTES = 2**27  # of watch.json
_MAX_DEPTH = 150  # of values in each other
_MECHANISM = ("score", "normalize", "pattern", "bias", "scale", "softcap", "sinks")


class WatchFolderError(HeedfulError):
    """A folder that should hold a watch is incomplete, damaged, foreign or of a newer version, or cannot be written."""


class SavedWatch(NamedTuple):
    """What a folder holds.

    Attributes:
        calls: in their order.
        unseen: what was expected and not seen.
    """

    calls: tuple[AttentionCall, ...]
    unseen: tuple[Unseen, ...]


def save(calls: Iterable[AttentionCall], folder: str | os.PathLike[str], unseen: Iterable[Unseen] = ()) -> None:
    """Saves calls in a new folder, which is there when it is whole; one call at a time is in memory.

    Args:
        calls: what was seen, such as a `Recording`.
        folder: new, or empty.
        unseen: what was not seen.

    Raises:
        WatchFolderError: the folder is in use or cannot be written, or a mechanism has parts that are not of `heedful.ops`.

    Example:
        >>> A = AttentionMatrix(torch.zeros(4, 8), torch.zeros(4, 8), pattern=ops.Causal())
        >>> folder = Path(tempfile.mkdtemp()) / "watch"
        >>> save([AttentionCall("layer.0", "self", A, "heedful.attention", causal=True)], folder)
        >>> [call] = load(folder).calls
        >>> call.module, call.matrix.pattern, call.matrix.received()
        ('layer.0', Causal(align=None), tensor([2.0833, 1.0833, 0.5833, 0.2500]))
    """
    folder = Path(folder)
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise WatchFolderError(f"{folder}: a watch needs a new or an empty folder: this one is in use.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=UNFINISHED))
        try:
            _write(calls, unseen, unfinished)
            unfinished.chmod(0o755)
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except (OSError, SafetensorError) as error:
        raise WatchFolderError(f"{folder}: cannot be written: {getattr(error, 'strerror', None) or error}.") from None


def load(folder: str | os.PathLike[str]) -> SavedWatch:
    """Reads what `save` wrote: every matrix is made of the same numbers, to the last bit.

    Queries and keys stay in their files until they are asked for: the folder must not change meanwhile.

    Raises:
        WatchFolderError: it is no such folder, of a newer version, incomplete or damaged; the message begins with the file.
    """
    file = Path(folder) / "watch.json"
    about = _read(file)
    reader = _WatchReader(file, _field(file, about, "tensors", dict))
    for number, shared in enumerate(_field(file, about, "shared", list) if about["format"] > 1 else ()):
        reader.location = f"shared {number}"
        reader.shared.append(reader.sequence(shared))
    calls = []
    for number, call in enumerate(_field(file, about, "calls", list)):
        reader.location = f"call {number}"
        calls.append(reader.call(call))
    reader.location = "unseen"
    unseen = [Unseen(*reader.words(pair, 2)) for pair in _field(file, about, "unseen", list)]
    return SavedWatch(tuple(calls), tuple(unseen))


def _write(calls: Iterable[AttentionCall], unseen: Iterable[Unseen], folder: Path) -> None:
    writer, described, shared = _WatchWriter(folder), [], _Shared()
    for call in calls:
        matrix = call.matrix
        try:
            parts = {n: writer.described(getattr(matrix.mechanism, n)) for n in _MECHANISM}
            if call.cached is not None and len(call.cached.calls.spans) > 1:
                parts |= {"shared": shared.number(call.cached.calls), "number": call.cached.number}
            else:
                parts |= {"query": writer.described(matrix.query), "key": writer.described(matrix.key)}
        except TypeError as error:
            raise WatchFolderError(f"{call.module!r} cannot be saved: {error}") from None
        facts = {"module": call.module, "kind": call.kind, "engine": call.engine, "notes": list(call.notes)}
        described.append(
            facts | {"causal": bool(call.causal), "window": call.window, "step": call.step, "grid": call.grid} | parts
        )
        writer.flush()
    sequences = []
    for sequence in shared.sequences:
        spans = [
            [
                span.samples,
                *span.queries,
                *span.keys,
                span.added,
                None if span.parents is None else span.parents.tolist(),
            ]
            for span in sequence.spans
        ]
        parts = {"query": writer.described(sequence.query), "key": writer.described(sequence.key)}
        sequences.append({**parts, "spans": spans})
        writer.flush()
    about = {"kind": _KIND, "format": FORMAT, "heedful": __version__, "calls": described, "shared": sequences}
    about |= {"unseen": [[one.module, one.why] for one in unseen], "tensors": writer.known}
    write_atomic(folder / "watch.json", json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class _Shared:
    """The sequences of calls that share queries and keys, numbered as they are met."""

    def __init__(self) -> None:
        self.sequences: list[CachedCalls] = []

    def number(self, calls: CachedCalls) -> int:
        """Of a sequence."""
        found = [number for number, one in enumerate(self.sequences) if one is calls]
        if not found:
            self.sequences.append(calls)
        return found[0] if found else len(self.sequences) - 1


class _WatchWriter:
    """Values as JSON, and their tensors as files beside it; a tensor is known by its content.

    Attributes:
        known: in which file each tensor is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, int] = {}
        self.waiting: dict[str, Tensor] = {}
        self.files = 0

    def described(self, value: Any) -> Any:
        """A value of a mechanism as JSON.

        Raises:
            TypeError: it cannot be described.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, Tensor):
            return self._tensor(value.detach())
        if isinstance(value, (tuple, list)):
            return {"tuple": [self.described(item) for item in value]}
        name = type(value).__name__
        if _classes().get(name) is not type(value):
            raise TypeError(f"the parts of a mechanism must be of heedful.ops: got {type(value).__qualname__}.")
        fields = {f.name: self.described(getattr(value, f.name)) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {"class": name, "fields": fields}

    def flush(self) -> None:
        """Writes the tensors that were met since the last time."""
        if not self.waiting:
            return
        file = self.folder / _name(self.files)
        save_file(self.waiting, file, metadata={"format": "pt"})
        _sync(file)
        self.files, self.waiting = self.files + 1, {}

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        shape = list(tensor.shape)
        repeated = [
            i for i, (size, step) in enumerate(zip(shape, tensor.stride(), strict=True)) if size > 1 and step == 0
        ]
        for axis in repeated:  # what is expanded takes no memory, and shall take none on the disk
            tensor = tensor.narrow(axis, 0, 1)
        tensor = tensor.cpu().contiguous()
        digest = _digest(tensor)
        if digest not in self.known:
            self.known[digest] = self.files
            self.waiting[digest] = tensor.clone()  # what shares memory with another cannot be written
        return {"tensor": digest, "expanded": shape} if repeated else {"tensor": digest}


class _WatchReader:
    """JSON as values.

    Attributes:
        location: what is read, for messages.
    """

    def __init__(self, file: Path, where: Mapping[str, Any]) -> None:
        self.file, self.where, self.location = file, where, ""
        self.read: dict[str, Tensor] = {}
        self.shared: list[CachedCalls] = []
        self.depth = 0

    def call(self, call: Any) -> AttentionCall:
        """A call, with its matrix."""
        module, kind, engine = self.words([self.item(call, name) for name in ("module", "kind", "engine")], 3)
        notes, causal, window, step = (self.item(call, name) for name in ("notes", "causal", "window", "step"))
        if not isinstance(causal, bool) or not (window is None or _is_integer(window)) or not _is_integer(step):
            self.fail(
                "`causal` must be a truth value, `window` a whole number or none, `step` a whole number: "
                f"got {reprlib.repr(causal)}, {reprlib.repr(window)} and {reprlib.repr(step)}"
            )
        grid = call.get("grid")  # older watches have none
        if grid is not None and not (isinstance(grid, list) and len(grid) == 2 and all(map(_is_integer, grid))):
            self.fail(f"`grid` must be two whole numbers or none: got {reprlib.repr(grid)}")
        options = {name: self.value(self.item(call, name)) for name in _MECHANISM}
        made: AttentionMatrix | CachedCall
        try:
            if "shared" in call:
                made = self.cached(call, options)
                made.matrix()
            else:
                query, key = (self.value(self.item(call, name)) for name in ("query", "key"))
                made = AttentionMatrix(query, key, **options)
        except WatchFolderError:
            raise
        except Exception as error:  # whatever a wrong value makes of itself
            self.fail(f"its parts do not go together: {error}")
        words, places = self.words(notes, None), None if grid is None else (grid[0], grid[1])
        return AttentionCall(module, kind, made, engine, words, causal, window, step, places)  # type: ignore[arg-type]

    def cached(self, call: Any, options: Mapping[str, Any]) -> CachedCall:
        """Where a call has its queries and keys among those that several share."""
        shared, number = self.item(call, "shared"), self.item(call, "number")
        if not _is_integer(shared) or not 0 <= shared < len(self.shared):
            self.fail(f"`shared` must be from 0 to less than {len(self.shared)}: got {reprlib.repr(shared)}")
        if not _is_integer(number) or not 0 <= number < len(self.shared[shared].spans):
            self.fail(
                f"`number` must be from 0 to less than {len(self.shared[shared].spans)}: got {reprlib.repr(number)}"
            )
        return CachedCall(self.shared[shared], number, options)

    def sequence(self, described: Any) -> CachedCalls:
        """Queries and keys that several calls share."""
        query, key = (self.value(self.item(described, name)) for name in ("query", "key"))
        if not all(isinstance(t, Tensor) and t.dim() > 1 for t in (query, key)) or query.dim() != key.dim():
            self.fail("`query` and `key` must be tensors of as many axes, at least two: got others")
        spans, samples = self.item(described, "spans"), query.shape[0] if query.dim() > 3 else 1
        if not isinstance(spans, list) or (key.dim() > 3 and key.shape[0] != samples):
            self.fail(f"`spans` must be a list, and `query` and `key` of as many samples: got {reprlib.repr(spans)}")
        found: list[CallSpan] = []
        for numbers in spans:
            found.append(self.span(numbers, found[-1] if found else CallSpan(samples, (0, 0), (0, 0), 0), samples))
        if not found or (found[-1].queries[1], found[-1].keys[1]) != (query.shape[-2], key.shape[-2]):
            self.fail(f"`spans` must end with the queries and the keys: got {reprlib.repr(spans)}")
        return CachedCalls.of(query, key, found)

    def span(self, numbers: Any, before: CallSpan, most: int) -> CallSpan:
        """What one call has of them."""
        whole = isinstance(numbers, list) and len(numbers) == 7 and all(map(_is_integer, numbers[:6]))
        if whole:
            samples, start, stop, first, last, added, parents = numbers
            whole = 0 < samples <= most and start == before.queries[1] < stop
            whole = whole and last == before.keys[1] + added and 0 <= first < last and 0 <= added <= last - first
            if parents is not None:
                whole = whole and isinstance(parents, list) and len(parents) == samples
                whole = whole and all(_is_integer(one) and 0 <= one < before.samples for one in parents)
            else:
                whole = whole and (samples == before.samples or start == 0)
        if not whole:
            self.fail(f"each of `spans` must go on with the one before it: got {reprlib.repr(numbers)}")
        moved = None if parents is None else torch.tensor(parents)
        return CallSpan(samples, (start, stop), (first, last), added, moved)

    def value(self, json_value: Any) -> Any:
        """A value of a mechanism."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"a mechanism must have at most {_MAX_DEPTH} values in each other: got more")
        try:
            return self._value(json_value)
        finally:
            self.depth -= 1

    def _value(self, json_value: Any) -> Any:
        if isinstance(json_value, int) and abs(json_value) > 2**53:
            self.fail("a number must be from -2**53 to 2**53: got another")
        if json_value is None or isinstance(json_value, (bool, int, float, str)):
            return json_value
        if isinstance(json_value, dict) and set(json_value) == {"tuple"} and isinstance(json_value["tuple"], list):
            return tuple(self.value(item) for item in json_value["tuple"])
        if isinstance(json_value, dict) and "tensor" in json_value:
            return self.tensor(json_value["tensor"], json_value.get("expanded"))
        if (
            isinstance(json_value, dict)
            and set(json_value) == {"class", "fields"}
            and isinstance(json_value["fields"], dict)
        ):
            return self.built(json_value["class"], json_value["fields"])
        self.fail(f"must be a number, a word, a tensor or a class of heedful.ops: got {reprlib.repr(json_value)}")

    def built(self, name: Any, fields: Mapping[str, Any]) -> Value:
        """What a class makes of its fields."""
        known = _classes()
        if not isinstance(name, str) or name not in known:
            self.fail(f"a class must be one of heedful.ops: got {reprlib.repr(name)}")
        expected = {field.name for field in dataclasses.fields(known[name])}  # type: ignore[arg-type]
        if set(fields) != expected:
            self.fail(f"{name} must have the fields {_listed(expected)}: got {_listed(list(fields)[:10])}")
        values = {field: self.value(value) for field, value in fields.items()}
        try:
            return known[name](**values)
        except Exception as error:  # whatever a wrong value makes of itself
            self.fail(f"{name} cannot be made: {error}")

    def tensor(self, name: Any, expanded: Any) -> Tensor:
        """A tensor; one that occurs twice is one."""
        if not isinstance(name, str) or not _is_integer(self.where.get(name)) or not 0 <= self.where[name] < 10**9:
            self.fail(f"a tensor must be one of those listed in `tensors`: got {reprlib.repr(name)}")
        if name not in self.read:
            self.read[name] = self._stored(name, self.file.with_name(_name(self.where[name])))
        tensor = self.read[name]
        if expanded is None:
            return tensor
        try:
            return tensor.expand(expanded)
        except (OverflowError, RuntimeError, TypeError):
            self.fail(f"a tensor {list(tensor.shape)} cannot be expanded to {reprlib.repr(expanded)}")

    def _stored(self, name: str, file: Path) -> Tensor:
        try:
            open_regular(file).close()
            with safe_open(file, framework="pt") as tensors:
                tensor: Tensor = tensors.get_tensor(name)
        except FileNotFoundError:
            raise WatchFolderError(f"{file}: belongs to the watch, but is missing.") from None
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise WatchFolderError(f"{file}: must be readable safetensors: {reason}.") from None
        if _digest(tensor) != name:
            raise WatchFolderError(f"{file}: has changed: the checksum of tensor {name[:12]} differs from its name.")
        return tensor

    def item(self, of: Any, name: str) -> Any:
        """An item of a JSON object."""
        if not isinstance(of, dict) or name not in of:
            self.fail(f"must be an object that holds `{name}`: got {reprlib.repr(of)}")
        return of[name]

    def words(self, json_value: Any, count: int | None) -> tuple[str, ...]:
        """A list of so many words."""
        if (
            not isinstance(json_value, list)
            or not all(isinstance(w, str) for w in json_value)
            or count not in (None, len(json_value))
        ):
            self.fail(f"must hold {'words' if count is None else f'{count} words'}: got {reprlib.repr(json_value)}")
        return tuple(json_value)

    def fail(self, what: str) -> NoReturn:
        """Raises, and says where, in one line."""
        raise WatchFolderError(f"{self.file}: {self.location}: {what.splitlines()[0].removesuffix('.')}.")


def _classes() -> dict[str, type[Value]]:
    """What a mechanism may be made of, by name: the classes of `heedful.ops`, and those of its ready-made normalizers."""
    exported = [getattr(ops, name) for name in ops.__all__]
    classes = [Entmax, WindowBias, *(one if isinstance(one, type) else type(one) for one in exported)]
    return {c.__name__: c for c in classes if issubclass(c, Value) and dataclasses.is_dataclass(c)}


def _read(file: Path) -> dict[str, Any]:
    """What watch.json says; its kind and format are checked."""
    if not file.is_file():
        raise WatchFolderError(f"{file.parent}: must be a folder in which a watch was saved: it holds no watch.json.")
    try:
        about = read_json(file, _MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WatchFolderError(f"{file}: must be readable JSON: {reason}.") from None
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise WatchFolderError(f"{file}: must be of the kind {_KIND!r}: it is something else.")
    version = about.get("format")
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise WatchFolderError(
            f"{file}: the format must be from 1 to {FORMAT}: got {reprlib.repr(version)}, written by heedful "
            f"{str(about.get('heedful', 'of an unknown version'))[:40]}; this is heedful {__version__}."
        )
    return about


def _field(file: Path, about: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(about.get(name), kind):
        got = type(about[name]).__name__ if name in about else "none"
        raise WatchFolderError(f"{file}: must hold `{name}`, a {kind.__name__}: got {got}.")
    return about[name]


def _digest(tensor: Tensor) -> str:
    """The name of a contiguous tensor: equal for equal type, shape and bits."""
    about = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
    about.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return about.hexdigest()


def _name(number: int) -> str:
    return f"tensors-{number:05d}.safetensors"


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
