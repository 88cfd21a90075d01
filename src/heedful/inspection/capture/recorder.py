"""What every way of capturing calls hands them to."""

import functools
import math
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from heedful._checks import autocasts
from heedful._types import Tensor
from heedful.inspection.cached import Sequences
from heedful.inspection.calls import AttentionCall, Unseen
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.forms import Forms
from heedful.inspection.capture.windows import joined
from heedful.inspection.masks import RecognizedMask, compact, reach, read, without_last_keys
from heedful.inspection.recording import Recording
from heedful.ops import AttentionMatrix, ScaledDot, softmax
from heedful.ops._concrete import concrete
from heedful.ops._tree import flatten
from heedful.ops.engines import reference
from heedful.ops.engines.reference import all_heads, at_least_float32

_ROUNDING = 8  # how many units of rounding an output may be off, for each unit of its scores
_TF32 = 5e-4  # the rounding of accelerators in float32
_UNREADABLE = "its numbers cannot be read: tensors without data, or a transform of `torch.func` at work"
_CROSS = ("crossatt", "encdecatt", "encoderatt", "coatt", "pooling")  # in names of modules, without underscores
_CALL = torch.nn.Module._call_impl.__code__
_EMPTY_PLACES = "places of the cache that nothing was written to yet are left out"
_MASKS = 4  # read masks that are kept: the layers of a model share them


class Refused(Exception):
    """A call that cannot be told as a matrix, and why."""


class Recorder:
    """Which module is running, and what was captured in it.

    Args:
        recording: to which calls are added.
        keep: whether the calls of a module are wanted.
        budget: bytes of queries and keys that are held in memory.
    """

    def __init__(self, recording: Recording, keep: Callable[[str], bool], budget: int) -> None:
        self.recording, self.keep = recording, keep
        self.store, self.forms = Store(recording, budget), Forms()
        self.sequences = Sequences(self.store.allocate)
        self.thread = threading.get_ident()
        self.ran: set[str] = set()
        self.elsewhere: set[str] = set()
        self.modules: Mapping[str, torch.nn.Module] = {}
        self.softmaxes: list[tuple[str, tuple[int, ...]]] = []  # in which module, and the shape of the scores
        self.used: set[int] = set()  # which of them are the weights of a call
        self.gates: set[int] = set()  # which are of features of a linear layer
        self.left: dict[str, str] = {}
        self.steps = 0  # forward passes that began
        self.before_leave: Callable[[str], None] = lambda name: None  # of a module that ran in this thread
        self._running = _RunningModules()
        self._masks: list[tuple[Tensor, int, RecognizedMask]] = []

    def enter(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        """A module begins to run."""
        self.steps += not self._running.names
        self._running.arguments[name] = arguments
        self._running.names.append(name)
        (self.ran if threading.get_ident() == self.thread else self.elsewhere).add(name)

    def leave(self, name: str) -> None:
        """A module has run, or was left by an exception; then those inside it were, too."""
        names = self._running.names
        if name in names:
            if names[-1] == name and threading.get_ident() == self.thread:
                self.before_leave(name)
            place = len(names) - 1 - names[::-1].index(name)
            for left in names[place:]:
                self._running.arguments.pop(left, None)
            del names[place:]

    @property
    def module(self) -> str:
        """The innermost module that is running in this thread, "" outside of all."""
        return self._running.names[-1] if self._running.names else ""

    def runs(self) -> bool:
        """Whether a module that is watched is running in this thread."""
        return bool(self._running.names)

    def listens(self) -> bool:
        """Whether a call here and now is one to be seen: in this model, and not inside another that is seen itself."""
        running = self._running
        here = bool(running.names) or (threading.get_ident() == self.thread and not _in_a_module())
        return here and (running.paused_at is None or len(running.names) < running.paused_at) and self.keep(self.module)

    @torch.compiler.disable
    def pause(self) -> None:
        """What is called from here on belongs to a call that is captured itself; until `resume`, or until its module is left."""
        self._running.paused_at = len(self._running.names)

    @torch.compiler.disable
    def resume(self) -> None:
        """The call has ended."""
        self._running.paused_at = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """As `pause` and `resume`."""
        before, self._running.paused_at = self._running.paused_at, len(self._running.names)
        try:
            yield
        finally:
            self._running.paused_at = before

    def take(
        self, capture: Callable[[], CapturedCall], otherwise: Callable[[], CapturedCall | None] | None = None
    ) -> None:
        """Adds a captured call; one that cannot be told as a matrix becomes an unseen one, and nothing breaks the model.

        Args:
            capture: what gives the call.
            otherwise: what gives another form of it, if that one cannot be told; None: there is none.
        """
        self.take_all(lambda: [capture()], otherwise)

    def take_all(
        self, capture: Callable[[], list[CapturedCall]], otherwise: Callable[[], CapturedCall | None] | None = None
    ) -> None:
        """Adds captured calls, as `take`."""
        if not self.listens() or torch._C._current_graph_task_id() != -1:  # computed again, for a gradient
            return
        # leaving inference mode turns gradients on, so it comes first
        with self.paused(), torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunction():
            try:
                for captured in capture():
                    self._add(captured)
            except Exception as error:  # a watcher must not change what the model does
                if otherwise is None or not self._added(otherwise):
                    self.add_unseen(self.module, str(error) or type(error).__name__)

    def _added(self, capture: Callable[[], CapturedCall | None]) -> bool:
        try:
            captured = capture()
            if captured is not None:
                self._add(captured)
        except Exception:
            return False
        return captured is not None

    def add_unseen(self, module: str, why: str) -> None:
        """Adds what was expected but not seen, once."""
        if Unseen(module, why) not in self.recording.unseen:
            self.recording.unseen.append(Unseen(module, why))

    def reading(self, mask: Tensor) -> RecognizedMask:
        """What a mask says; one that layers share is read once."""
        if not concrete(mask):
            raise Refused(_UNREADABLE)
        version = -1 if mask.is_inference() else mask._version
        for other, then, reading in self._masks:
            if other is mask and then == version != -1:
                return reading
        reading = read(mask)
        reading = reading._replace(pattern=self._copied(reading.pattern), bias=self._copied(reading.bias))
        self._masks = [*self._masks[-_MASKS + 1 :], (mask, version, reading)]
        return reading

    def close(self) -> None:
        """Forgets what it holds of the model."""
        self._masks.clear()
        self.sequences.recent.clear()

    def _add(self, captured: CapturedCall) -> None:
        if not concrete(captured.query, captured.key):
            raise Refused(_UNREADABLE)
        captured = joined(captured, self.forms)
        options = {name: self._copied(value) for name, value in captured.options.items()}
        query, key = (t.detach().cpu() for t in (captured.query, captured.key))
        matrix = AttentionMatrix(query, key, **options)
        causal, window = reach(matrix.pattern, matrix.shape)
        causal = causal if captured.causal is None else captured.causal
        arguments = self._running.arguments.get(self.module, ())
        attends_to = getattr(self.modules.get(self.module), "attends_to", "positions")
        kind = captured.kind or _kind(self.module, matrix.shape, causal, arguments)
        kind = "channel" if attends_to == "channels" else kind
        grid = None if kind == "channel" else _grid(arguments, matrix.shape[-2])
        notes = list(captured.notes)
        if kind == "self" and query.shape[-2] < key.shape[-2] and self._is_read(captured.options.get("pattern")):
            left = without_last_keys(matrix.pattern, options.get("bias"), matrix.shape)
            if left is not None:
                notes.append(_EMPTY_PLACES)
                key, options = key[..., : left[0], :], options | {"pattern": left[1], "bias": left[2]}
                matrix = AttentionMatrix(query, key, **options)
        made = self.sequences.keep(
            (self.module, kind), self.step, query, key, options, check=lambda: self._check(matrix, captured)
        )
        notes = list(dict.fromkeys(notes))
        self.recording.append(
            AttentionCall(self.module, kind, made, captured.engine, tuple(notes), causal, window, self.step, grid)  # type: ignore[arg-type]
        )

    @property
    def step(self) -> int:
        """Which forward pass it is, from 0."""
        return max(self.steps - 1, 0)

    def _copied(self, value: Any) -> Any:
        """The same value, its tensors copied to the CPU; what was read of a mask is such a copy."""
        if self._is_read(value):
            return value
        tensors, build = flatten(value)
        return build(self.store.put(compact(tensor.detach())) for tensor in tensors) if tensors else value

    def _is_read(self, value: Any) -> bool:
        """Whether it is what was read of a mask."""
        return any(value is one for _, _, reading in self._masks for one in (reading.pattern, reading.bias))

    def _check(self, matrix: AttentionMatrix, captured: CapturedCall) -> None:
        """Refuses a matrix that does not give the output of the call."""
        if captured.output is None or captured.value is None or 0 in (*matrix.shape, *captured.output.shape):
            return
        nearest = _ROUNDING * _rounding(
            captured.output
        )  # most are nearer than the bound, which reads all keys and values
        if matrix.shape[-2] == 1 and self.step > 0:
            found = _error_of_head(matrix, captured.value, captured.output, self.step)
            if found is not None and found <= nearest:
                return
        error, size = _error(matrix, captured.value, captured.output)
        if error <= nearest * size:
            return
        largest = float(captured.value.detach()[..., : matrix.shape[-1], :].abs().amax()) or 1.0
        if error > _allowed_error(matrix, captured.output) * largest:
            named = f"; arguments that may be why: {', '.join(captured.suspects)}" if captured.suspects else ""
            raise Refused(
                f"{captured.engine}: what was read of its query, key and mask does not give its output "
                f"(off by {error / largest:.2g}){named}"
            )


class _RunningModules(threading.local):
    """The modules that are running in a thread, and from which depth on calls belong to one that is seen itself."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.arguments: dict[str, tuple[Any, ...]] = {}
        self.paused_at: int | None = None


class Store:
    """Copies of queries and keys, in memory as long as a budget lasts, then in files.

    Args:
        owner: with which the files are deleted.
        budget: bytes in memory.
    """

    def __init__(self, owner: object, budget: int) -> None:
        self.owner, self.left, self.folder, self.count = weakref.ref(owner), budget, None, 0

    folder: Path | None

    def put(self, tensor: Tensor) -> Tensor:
        """A contiguous copy on the CPU."""
        return self.allocate(tuple(tensor.shape), tensor.dtype)[0].copy_(tensor)

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Callable[[], None]]:
        """A tensor on the CPU with any numbers, and what gives its memory or its file back."""
        size = math.prod(shape) * dtype.itemsize
        if size <= self.left or size == 0:
            self.left -= size
            return torch.empty(shape, dtype=dtype), functools.partial(self._give_back, size)
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="heedful-watch-"))
            weakref.finalize(self.owner(), shutil.rmtree, self.folder, ignore_errors=True)
        path = self.folder / f"{self.count}.bin"
        self.count += 1
        mapped = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype)
        return mapped.view(shape), functools.partial(path.unlink, missing_ok=True)

    def _give_back(self, size: int) -> None:
        self.left += size


def _in_a_module() -> bool:
    """Whether any module is running in this thread; where none of the watched ones is, it is another model's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _CALL:
            return True
        frame = frame.f_back
    return False


def autocasted(*tensors: Tensor) -> tuple[Tensor, ...]:
    """What PyTorch's attention is given under autocast."""
    if not autocasts(tensors[0]):
        return tensors
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    return tuple(t if t.dtype == torch.float64 else t.to(dtype) for t in tensors)


def _error(matrix: AttentionMatrix, value: Tensor, output: Tensor) -> tuple[float, float]:
    """How far three rows of the output are from the matrix times the values, and the largest number in those rows."""
    last = matrix.shape[-2] - 1
    rows, columns = torch.tensor(sorted({0, last // 2, last})), torch.arange(matrix.shape[-1])
    with torch.autocast("cpu", enabled=False):
        query, key = at_least_float32(matrix.query[..., rows, :]), at_least_float32(matrix.key)
        weights = reference.weights(query, all_heads(key, query), matrix.mechanism, matrix.shape, rows, columns)
        values = value.detach()[..., : matrix.shape[-1], :].cpu().to(weights.dtype)
        expected = weights @ all_heads(values, query)
        actual = output.detach()[..., rows, :].cpu().to(weights.dtype)
        nonempty = weights.sum(-1, keepdim=True) > 0  # what a model gives for a row without keys is its own affair
        error = (expected - actual).masked_fill(~nonempty, 0).abs().amax()
        return float(error), float(expected.abs().amax())


def _error_of_head(matrix: AttentionMatrix, value: Tensor, output: Tensor, number: int) -> float | None:
    """As `_error` of one query, over the largest value, for one of its heads: of a long text it reads the keys of one head."""
    mechanism, heads = matrix.mechanism, matrix.shape[-3] if len(matrix.shape) == 4 else 0
    factor = mechanism.factor(matrix.query.shape[-1])
    plain = isinstance(mechanism.score, ScaledDot) and mechanism.normalize is softmax and mechanism.sinks is None
    if not heads or not plain or isinstance(factor, Tensor) or value.shape[0] != matrix.shape[0]:
        return None
    head, columns = number % heads, torch.arange(matrix.shape[-1])
    row = torch.zeros(1, 1, dtype=torch.long)
    key, value = (t[:, head * t.shape[1] // heads].detach().cpu() for t in (matrix.key, value))
    query = at_least_float32(matrix.query[:, head])  # [B, 1, D]
    with torch.autocast("cpu", enabled=False):
        scores = query @ at_least_float32(key).mT * factor
        if mechanism.softcap is not None:
            scores = mechanism.softcap * (scores / mechanism.softcap).tanh()
        if mechanism.bias is not None:
            scores = scores + _of_head(mechanism.bias.at(row, columns[None], matrix.shape), head)
        if mechanism.pattern.masks_any(matrix.shape):
            visible = _of_head(mechanism.pattern.allowed(row, columns[None], matrix.shape), head)
            scores = scores.masked_fill(~visible, -torch.inf)
        weights = scores.softmax(-1)
        value = value[:, : matrix.shape[-1]].to(weights.dtype)
        error = float((weights @ value - output[:, head].detach().cpu()).abs().amax() / value.abs().amax())
    return error if math.isfinite(error) else None


def _of_head(tensor: Tensor, head: int) -> Tensor:
    """What is of one head in a tensor that broadcasts to `[B, H, N, M]`."""
    return tensor[..., head % tensor.shape[-3], :, :] if tensor.dim() > 2 else tensor


def _rounding(output: Tensor) -> float:
    rounding = float(max(torch.finfo(output.dtype).eps, torch.finfo(torch.float32).eps))  # in which softmax often runs
    return max(rounding, _TF32) if output.device.type != "cpu" and output.dtype == torch.float32 else rounding


def _allowed_error(matrix: AttentionMatrix, output: Tensor) -> float:
    """How far rounding may carry an output: its scores are rounded as the model computes them, and weights follow."""
    query, key = (t.float().norm(dim=-1).amax() for t in (matrix.query, matrix.key))
    factor = torch.as_tensor(matrix.mechanism.factor(matrix.query.shape[-1])).abs().amax()
    return min(_ROUNDING * _rounding(output) * (1 + float(query * key * factor)), 0.5)


def _kind(module: str, shape: tuple[int, ...], causal: bool, arguments: tuple[Any, ...]) -> str:
    """The kind, "self" or "cross": by the name of the module, the sizes (one query may be a step with a cache), and what it is given."""
    *_, parent, name = ["", *module.lower().replace("_", "").split(".")]
    if name.startswith("cross") or any(word in name or word in parent for word in _CROSS):
        return "cross"
    queries, keys = shape[-2:]
    return "self" if queries == keys or causal or queries == 1 or _is_one_sequence(arguments) else "cross"


def _grid(arguments: tuple[Any, ...], queries: int) -> tuple[int, int] | None:
    """Rows and columns of the feature map `[B, C, H, W]` that a module is given, if the queries are its places."""
    first = next((one for one in arguments if isinstance(one, Tensor)), None)
    if first is None or first.dim() != 4 or math.prod(first.shape[2:]) != queries:
        return None
    return first.shape[2], first.shape[3]


def _is_one_sequence(arguments: tuple[Any, ...]) -> bool:
    """Whether a module is given one sequence or picture only, of which keys may have been pooled."""
    tensors = [one for one in arguments if isinstance(one, Tensor) and one.is_floating_point() and one.dim() > 2]
    return bool(tensors) and all(one.dim() != tensors[0].dim() or one is tensors[0] for one in tensors[1:])
