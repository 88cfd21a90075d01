"""Attention that a model computes by hand: a softmax over keys whose result is multiplied by values.

The model has stored its matrix, so that is what is kept: the weights as they enter the product, after all masks, dropout
and mixing of heads. A softmax is followed through the functions of `_SAME`. Weights that enter products in parts, or as
blocks of a larger matrix, are put together by `blocks.py`. Where a softmax goes another way, nothing is recorded, and
`unseen.py` names it.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from heedful._types import Float, Tensor
from heedful.inspection.capture.blocks import LARGEST, assembled, may_be_block
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.channels import is_of_channels
from heedful.inspection.capture.origins import Node, Origins
from heedful.inspection.capture.recorder import Recorder, Refused
from heedful.inspection.capture.windows import has_windows
from heedful.ops import linear, relu, softmax

ENGINE = "softmax by hand"
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
    "add __add__ __iadd__ add_ sub __sub__ masked_fill masked_fill_ where nan_to_num exp".split()
)
# Functions that give parts of the weights.
_PARTS = frozenset("narrow pad chunk split unbind as_strided".split())  # noqa: SIM905
_LOGSUMEXP: frozenset[Any] = frozenset({torch.logsumexp, torch.Tensor.logsumexp, torch.special.logsumexp})
_TIMES = frozenset({"mul", "__mul__", "__rmul__", "multiply"})
_MINUS = frozenset({"sub", "__sub__", "sub_", "__isub__", "subtract"})


class _Weights(NamedTuple):
    """What is known of a tensor that comes of a softmax.

    Attributes:
        number: which softmax of the watch.
        keys: how many it goes over.
        features: of the linear layer that gave its scores without any product; 0: they are no such features.
        is_log: whether it is the logarithm.
        in_parts: whether it may have some of the weights only, or numbers that are none.
    """

    number: int
    keys: int
    features: int
    is_log: bool
    in_parts: bool = False


class HandWritten:
    """Follows the weights of a model from softmax to product.

    Args:
        recorder: to which calls are handed.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.origins = recorder, Origins()
        self.weights: Any = WeakTensorKeyDictionary()
        self.sums: Any = WeakTensorKeyDictionary()  # logarithms of sums, and whether they are over the last axis
        self.blocks: dict[str, list[_Block]] = {}  # of modules that run
        recorder.before_leave = self.finish

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """A function of PyTorch has run."""
        name = getattr(func, "__name__", "")
        if func in SOFTMAX or func in _LOG_SOFTMAX:
            self._softmax(func in _LOG_SOFTMAX, args, kwargs, output)
        elif func in _LINEAR:
            self._linear(func, args, output)
        elif func in _MATMUL or func is torch.einsum:
            self._product(func, args, output)
            return
        elif func in _LOGSUMEXP:
            self.sums[output] = (args, dict(kwargs))
        elif self.sums and name in _MINUS and len(args) > 1 and isinstance(args[1], Tensor) and args[1] in self.sums:
            self._softmax(True, (args[0], *self.sums[args[1]][0][1:]), self.sums[args[1]][1], output)
        elif func is F.grid_sample:
            self.origins.sample(output)
        elif self.weights and not (name in _TIMES and self._sampled(args)):
            self._follow(name, args, output)
        self.origins.follow(name, func, args, kwargs, output)

    def _softmax(self, is_log: bool, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
        node = self.origins.of(args[0] if args else kwargs.get("input"))
        features = node.root.features if node else 0
        number = note_softmax(self.recorder, args, kwargs, of_products=node is not None and len(node.root.parents) == 2)
        if number is not None:
            self.weights[output] = _Weights(number, output.shape[-1], features, is_log)
            if features:
                self.recorder.gates.add(number)

    def _linear(self, func: Any, args: tuple[Any, ...], output: Tensor) -> None:
        known = self.weights.get(args[0]) if args and self.weights else None
        if known is None:
            self.origins.linear(args[0], output, _LINEAR[func])
        elif output.shape == args[0].shape:  # heads are mixed
            self.weights[output] = known

    def _follow(self, name: str, args: tuple[Any, ...], output: Any) -> None:
        for source in (one for one in args[:3] if isinstance(one, Tensor)):
            known = self.weights.get(source)
            if known is None:
                continue
            if name in _PARTS or name in _SAME:
                for part in output if isinstance(output, (list, tuple)) else (output,):
                    if isinstance(part, Tensor):
                        self.weights[part] = self._of_part(known, name, source, part)
            return

    def _sampled(self, args: tuple[Any, ...]) -> bool:
        """Whether weights were multiplied by values that were sampled between the positions, as deformable attention does."""
        for weights, values in (args[:2], args[1::-1]):
            known = self.weights.get(weights) if isinstance(weights, Tensor) else None
            node = self.origins.of(values)
            if known is None or node is None or not node.root.sampled or weights.shape[-1] != known.keys:
                continue
            if known.number not in self.recorder.used and self.recorder.listens():
                self.recorder.used.add(known.number)
                self.recorder.take(partial(_of_samples, self.recorder, weights))
            return True
        return False

    def _of_part(self, known: "_Weights", name: str, source: Tensor, part: Tensor) -> "_Weights":
        """What is known of weights in another form."""
        kept = _kept(source, part, name) if name in _SAME else None
        if kept is None:
            return known._replace(in_parts=True)
        return known._replace(keys=known.keys - kept, is_log=known.is_log and name != "exp")

    def _product(self, func: Any, args: tuple[Any, ...], output: Any) -> None:
        equation, operands = (args[0], args[1:]) if func is torch.einsum else ("", args)
        operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
        if len(operands) != 2 or not all(isinstance(one, Tensor) and one.dim() >= 2 for one in operands):
            return
        tracked = [place for place, one in enumerate(operands) if one in self.weights]
        if not tracked and isinstance(equation, str):
            self.origins.product(equation, operands, output)
        if len(tracked) != 1:
            return
        [place] = tracked
        known = self.weights[operands[place]]
        matrix, node = _matrix(operands[place], place, equation), self.origins.of(operands[place])
        if known.is_log or not self.recorder.listens():
            return
        if known.in_parts:
            if node is not None and matrix is not None:
                self._keep(known, operands[place], node, None)
            return
        if matrix is None or matrix.shape[-1] != known.keys:
            if isinstance(output, Tensor) and output.shape == operands[place].shape:  # heads are mixed
                self.weights[output] = known
            return
        is_gate = known.features and known.features % known.keys == 0 and matrix.shape[-2] > 1
        if is_gate or known.number in self.recorder.used:
            return
        if is_of_channels(matrix, node):
            self.recorder.used.add(known.number)
            self.recorder.take(lambda: dataclasses.replace(stored(self.recorder, matrix), kind="channel"))
            return
        rows = operands[place] if operands[place].shape == matrix.shape else None
        in_order = matrix.shape[-1] == matrix.shape[-2] and node is not None and not node.gathered
        if (
            node is not None
            and may_be_block(matrix, node)
            and not (in_order and has_windows(self.recorder.forms, rows))
        ):
            self._keep(known, operands[place], node, matrix)
            return
        self.recorder.used.add(known.number)
        self.recorder.take(lambda: stored(self.recorder, matrix, rows))

    def _keep(self, known: "_Weights", weights: Tensor, node: Node, matrix: Tensor | None) -> None:
        """Keeps weights until their module has run, and it is known whether there are more."""
        kept = self.blocks.setdefault(self.recorder.module, [])
        if matrix is None or all(one.number != known.number for one in kept):
            kept.append(_Block(known.number, weights.detach(), node, None if matrix is None else matrix.detach()))

    def finish(self, module: str) -> None:
        """A module has run: what it computed in blocks is one call."""
        kept = self.blocks.pop(module, None)
        if kept:
            self.recorder.used.update(one.number for one in kept)
            whole = [one.matrix for one in kept if one.matrix is not None]
            in_parts = len(whole) < len(kept)
            if in_parts and self._has_others(module, {one.number for one in kept}):
                self.recorder.add_unseen(module, "computed by hand, in blocks: another softmax gives some of its rows")
                return
            self.recorder.take_all(lambda: _together(self.recorder, kept, [] if in_parts else whole))

    def _has_others(self, module: str, numbers: set[int]) -> bool:
        """Whether a softmax of the same run of the module gave another call."""
        later = range(min(numbers), len(self.recorder.softmaxes))
        others = [n for n in later if n not in numbers and n in self.recorder.used]
        return any(self.recorder.softmaxes[n][0] == module for n in others)


class _Block(NamedTuple):
    """Weights as they entered a product, and the softmax that they are of; the matrix, if they may be a whole one."""

    number: int
    weights: Tensor
    node: Node
    matrix: Tensor | None


def _together(recorder: Recorder, kept: list[_Block], whole: list[Tensor]) -> list[CapturedCall]:
    """One matrix of all tokens; where there is none, the whole matrices that the model stores."""
    try:
        matrix, refused = assembled([(one.weights, one.node) for one in kept]), None
    except Refused as reason:
        matrix, refused = None, reason
    if matrix is not None and (not whole or _is_of_all(matrix)):
        call = stored(recorder, matrix)
        note = f"{call.notes[0]} in blocks, put together here"
        return [dataclasses.replace(call, notes=(note,))]
    if refused is not None and not whole:
        raise refused
    return [stored(recorder, one) for one in whole]


def _is_of_all(matrix: Float[Tensor, "B H N M"]) -> bool:
    """Whether all heads have the same queries, and no position is without one, as where some were selected."""
    has = matrix.sum(-1) != 0
    return bool((has.all(1) == has.any(1)).all() and has.any(1).any(0).all())


def _of_samples(recorder: Recorder, weights: Float[Tensor, "... N M"]) -> CapturedCall:
    call = stored(recorder, weights.squeeze(1) if weights.dim() == 4 and weights.shape[1] == 1 else weights)
    note = f"{call.notes[0]}: the {weights.shape[-1]} points that each query samples"
    return dataclasses.replace(call, kind="cross", notes=(note,))


def note_softmax(
    recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, of_products: bool = False
) -> int | None:
    """Remembers a softmax over keys, or over the queries of scores that are products, and numbers it."""
    scores = args[0] if args else kwargs.get("input")
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(scores, Tensor) or scores.dim() < 2 or not isinstance(axis, int):
        return None
    if axis % scores.dim() not in ((scores.dim() - 1, scores.dim() - 2) if of_products else (scores.dim() - 1,)):
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


def stored(recorder: Recorder, weights: Float[Tensor, "... N M"], rows: Tensor | None = None) -> CapturedCall:
    """A matrix of stored weights: as the softmax of their logarithms where rows add up to 1, else as they are."""
    joined = has_windows(recorder.forms, rows)
    weights = weights.detach() if joined and weights.dim() > 3 else _with_heads(recorder, weights.detach())
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
        if (
            weights.dim() > 4 and heads in weights.shape[1:-3] and weights.shape[-3] != heads
        ):  # windows stand behind them
            return weights.movedim(weights.shape.index(heads, 1), -3)
    return weights if weights.dim() > 3 else weights.unsqueeze(-3)


def _heads_of(recorder: Recorder) -> Iterator[int]:
    """The number of heads that the running module, or its configuration, says it has."""
    module = recorder.modules.get(recorder.module)
    for owner in (module, getattr(module, "config", None)):
        for name in _HEADS:
            heads = getattr(owner, name, None)
            if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0:
                yield heads
