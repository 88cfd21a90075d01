"""Attention that a model computes by hand: a softmax over keys whose result is multiplied by values.

The model has stored its matrix, so that is what is kept: the weights as they enter the product, after all masks, dropout
and mixing of heads. A softmax is followed through the functions of `_SAME`. Where it goes another way, or enters products in
parts only, nothing is recorded, and `unseen.py` names it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from heedful._types import Float, Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.recorder import Recorder, Refused
from heedful.ops import linear, relu, softmax

ENGINE = "softmax by hand"
LARGEST = 2**31  # bytes of a matrix that is kept
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead")  # how modules call their number

SOFTMAX: frozenset[Any] = frozenset({torch.softmax, F.softmax, torch.Tensor.softmax, torch.special.softmax})
_LOG_SOFTMAX: frozenset[Any] = frozenset({torch.log_softmax, F.log_softmax, torch.Tensor.log_softmax})
_MATMUL: frozenset[Any] = frozenset(
    {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm, torch.mm, torch.Tensor.mm}
)
_LINEAR: Mapping[Any, int] = {F.linear: -1, F.conv1d: -2, F.conv2d: -3}  # and the axis of the features
# Functions that give the same weights in another form, or change them pair by pair.
_SAME = frozenset(
    "to type type_as float double half bfloat16 contiguous clone detach view view_as reshape reshape_as flatten unflatten "  # noqa: SIM905
    "transpose swapaxes swapdims permute movedim t squeeze unsqueeze expand expand_as __get__ __getitem__ "
    "dropout dropout_ feature_dropout alpha_dropout mul __mul__ __rmul__ __imul__ mul_ div __truediv__ div_ "
    "masked_fill masked_fill_ where nan_to_num exp".split()
)
_SPLITS = frozenset({"chunk", "split", "unbind", "tensor_split"})


class _Weights(NamedTuple):
    """What is known of a tensor that comes of a softmax.

    Attributes:
        number: which softmax of the watch.
        keys: how many it goes over.
        features: of the linear layer that gave its scores without any product; 0: they are no such features.
        is_log: whether it is the logarithm.
    """

    number: int
    keys: int
    features: int
    is_log: bool


class HandWritten:
    """Follows the weights of a model from softmax to product.

    Args:
        recorder: to which calls are handed.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.weights: Any = WeakTensorKeyDictionary()
        self.features: Any = WeakTensorKeyDictionary()  # of outputs of linear layers, how many

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """A function of PyTorch has run."""
        if func in SOFTMAX or func in _LOG_SOFTMAX:
            self._softmax(func, args, kwargs, output)
        elif func in _LINEAR:
            self._linear(func, args, output)
        elif self.weights and (func in _MATMUL or func is torch.einsum):
            self._product(func, args, output)
        elif self.weights or self.features:
            self._follow(getattr(func, "__name__", ""), args, output)

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
        scores = args[0] if args else kwargs.get("input")
        number = note_softmax(self.recorder, args, kwargs)
        if number is not None:
            features = self.features.get(scores, 0)
            self.weights[output] = _Weights(number, output.shape[-1], features, func in _LOG_SOFTMAX)

    def _linear(self, func: Any, args: tuple[Any, ...], output: Tensor) -> None:
        known = self.weights.get(args[0]) if args and self.weights else None
        if known is None:
            self.features[output] = output.shape[_LINEAR[func]]
        elif output.shape == args[0].shape:  # heads are mixed
            self.weights[output] = known

    def _follow(self, name: str, args: tuple[Any, ...], output: Any) -> None:
        if name in _SPLITS and args and self.features and isinstance(args[0], Tensor):
            features = self.features.get(args[0])
            for part in output if features else ():
                self.features[part] = features
        if name not in _SAME or not isinstance(output, Tensor):
            return
        for source in (one for one in args[:3] if isinstance(one, Tensor)):
            known = self.weights.get(source)
            if known is not None:
                kept = _kept(source, output, name)
                if kept is not None:
                    is_log = known.is_log and name != "exp"
                    self.weights[output] = known._replace(keys=known.keys - kept, is_log=is_log)
                return
            if source in self.features and output.numel() == source.numel():
                self.features[output] = self.features[source]
                return

    def _product(self, func: Any, args: tuple[Any, ...], output: Any) -> None:
        equation, operands = (args[0], args[1:]) if func is torch.einsum else ("", args)
        operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
        if len(operands) != 2 or not all(isinstance(one, Tensor) and one.dim() >= 2 for one in operands):
            return
        tracked = [place for place, one in enumerate(operands) if one in self.weights]
        if len(tracked) != 1:
            return
        [place] = tracked
        known = self.weights[operands[place]]
        matrix = _matrix(operands[place], place, equation)
        if matrix is None or matrix.shape[-1] != known.keys:
            if isinstance(output, Tensor) and output.shape == operands[place].shape:  # heads are mixed
                self.weights[output] = known
            return
        is_gate = known.features and known.features % known.keys == 0 and matrix.shape[-2] > 1
        if known.is_log or is_gate or known.number in self.recorder.used or not self.recorder.listens():
            return
        self.recorder.used.add(known.number)
        rows = operands[place] if operands[place].shape == matrix.shape else None
        self.recorder.take(lambda: _captured(self.recorder, matrix, rows))


def note_softmax(recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Remembers a softmax over the last axis of what may be a matrix of scores, and numbers it."""
    scores = args[0] if args else kwargs.get("input")
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(scores, Tensor) or scores.dim() < 2 or axis not in (-1, scores.dim() - 1):
        return None
    if not scores.shape[-1] or not recorder.listens():
        return None
    recorder.softmaxes.append((recorder.module, tuple(scores.shape)))
    return len(recorder.softmaxes) - 1


def _kept(source: Tensor, output: Tensor, name: str) -> int | None:
    """How many keys a function has cut off, at most one: a sink; None where it gives no such weights."""
    if name in ("expand", "expand_as") or output.numel() == source.numel():
        return 0
    return 1 if output.shape == (*source.shape[:-1], source.shape[-1] - 1) else None


def _matrix(weights: Tensor, place: int, equation: Any) -> Float[Tensor, "... N M"] | None:
    """The weights as a matrix that is multiplied by values, whose last axis the product sums over."""
    if not equation:
        return weights if place == 0 else weights.mT
    if not isinstance(equation, str):
        return None
    sides = equation.replace(" ", "").split("->")
    inputs = sides[0].split(",")
    if len(sides) != 2 or len(inputs) != 2:
        return None
    own, values = (one.replace("...", "") for one in (inputs[place], inputs[1 - place]))
    keys = [axis for axis in own if axis in values and axis not in sides[1]]
    queries = [axis for axis in own if axis not in values and axis in sides[1]]
    if len(keys) != 1 or any(axis not in sides[1] for axis in own if axis not in keys):
        return None
    last = queries[-1:]
    lead = "".join(axis for axis in own if axis not in (*keys, *last))
    dots = "..." if "..." in inputs[place] else ""
    matrix: Tensor = torch.einsum(f"{inputs[place]}->{dots}{lead}{''.join(last)}{keys[0]}", weights)
    return matrix if last else matrix.unsqueeze(-2)


def _captured(recorder: Recorder, weights: Float[Tensor, "... N M"], rows: Tensor | None) -> CapturedCall:
    """A matrix of stored weights: as the softmax of their logarithms where rows add up to 1, else as they are."""
    weights = _with_heads(recorder, weights.detach())
    queries, keys = weights.shape[-2:]
    if weights.numel() * 4 > LARGEST:
        raise Refused(
            f"computed by hand: the matrix {list(weights.shape)} that the model stores is larger than {LARGEST:,} bytes"
        )
    wide = weights if weights.dtype == torch.float64 else weights.float()
    total, negative = wide.sum(-1), bool((wide < 0).any())
    rounding = max(1e-4, min(16 * torch.finfo(weights.dtype).eps, 1e-2))
    if not negative and bool((((total - 1).abs() < rounding) | (total == 0)).all()):
        options = {"bias": wide.log(), "normalize": softmax}
    else:
        options = {"bias": wide * keys, "normalize": linear if negative else relu}
    lead = weights.shape[:-2]
    causal = 1 < queries <= keys and not bool(wide.triu(keys - queries + 1).any())
    note = f"stored {queries:,} x {keys:,} by the model"
    return CapturedCall(
        wide.new_zeros(*lead, queries, 1), wide.new_zeros(*lead, keys, 1), ENGINE, options | {"scale": 1.0},
        output=weights, value=torch.eye(keys, dtype=wide.dtype, device=wide.device).expand(*lead, keys, keys),
        causal=causal, notes=(note,), rows=rows,
    )  # fmt: skip


def _with_heads(recorder: Recorder, weights: Tensor) -> Tensor:
    """The weights as `[..., H, N, M]`: heads may stand in one axis with the batch, or in two axes."""
    if weights.dim() == 2:
        return weights[None]
    for heads in _heads_of(recorder):
        if weights.dim() == 3 and weights.shape[0] % heads == 0:
            return weights.reshape(-1, heads, *weights.shape[-2:])
        if weights.dim() > 4 and weights.shape[-3] < heads == weights.shape[-4] * weights.shape[-3]:
            return weights.flatten(-4, -3)
    return weights if weights.dim() > 3 else weights.unsqueeze(-3)


def _heads_of(recorder: Recorder) -> Iterator[int]:
    """The number of heads that the running module, or its configuration, says it has."""
    module = recorder.modules.get(recorder.module)
    for owner in (module, getattr(module, "config", None)):
        for name in _HEADS:
            heads = getattr(owner, name, None)
            if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0:
                yield heads
