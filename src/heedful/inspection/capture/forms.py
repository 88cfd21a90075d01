"""From which position of a model's input the rows of a tensor come.

Models cut a sequence or a picture into windows by changes of form: views, permutations, rolls and padding. Of these only what was
done is remembered, not the numbers. When it is asked for, the same changes are done to a tensor that numbers the elements
of the first tensor of the chain.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from heedful._types import Float, Int, Tensor

# Functions that give the same numbers in another form.
_REFORMED = frozenset(
    {"view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone"}
)
_MOVED = frozenset(
    "permute transpose swapaxes swapdims movedim moveaxis roll flip rot90 __getitem__ __get__ narrow select index_select "  # noqa: SIM905
    "repeat repeat_interleave tile expand expand_as".split()
)
_LOST = frozenset({"unfold", "as_strided"})  # numbers stand in several places
_FORMS = _REFORMED | _MOVED | _LOST | {"pad"}
_PARTS = frozenset({"chunk", "split", "unbind", "tensor_split"})
_ADDED = frozenset({"add", "__add__", "__radd__", "__iadd__", "add_"})


class _Step(NamedTuple):
    """A change, and that before it; the first one of a chain is a tensor of this shape."""

    before: "_Step | None"
    shape: torch.Size
    change: Callable[[Tensor], Tensor]
    length: int


class Forms:
    """The changes of form that led to each tensor."""

    def __init__(self) -> None:
        self._steps: Any = WeakTensorKeyDictionary()

    def see(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """A function of PyTorch has run."""
        source = next((one for one in args[:2] if isinstance(one, Tensor) and one.dim() > 2), None)
        if source is None:
            return
        before = self._steps.get(source)
        if before is None and source.shape[1] == 1:  # a step of a generation
            return
        name = getattr(func, "__name__", "")
        if name in _PARTS:
            for number, part in enumerate(output):
                self._add(before, source, part, partial(_part, func, args, kwargs, number))
        elif isinstance(output, Tensor) and (name in _FORMS or before is not None):
            if name in _ADDED:
                before = self._shorter(before, output, args[1:2])
            change = _change(func, name, source, args, kwargs, output) if before or name in _FORMS else None
            if change is _unchanged:
                self._steps[output] = before
            elif change is not None:
                self._add(before, source, output, change)
            elif output is source:
                self._steps.pop(source, None)

    def first_shape(self, tensor: Tensor) -> torch.Size | None:
        """The shape of the first tensor of its chain; None where nothing is known of it."""
        chain = self._chain(tensor)
        return chain[0].shape if chain else None

    def origins(self, tensor: Float[Tensor, "... N D"]) -> Int[Tensor, "... N"]:
        """With which element of the first tensor of its chain each row begins; -1: with padding."""
        first, *changes = self._chain(tensor)
        numbers = torch.arange(first.shape.numel(), dtype=torch.int32).reshape(first.shape)
        for step in changes:
            numbers = step.change(numbers)
        return numbers[..., 0].long()

    def _chain(self, tensor: Tensor) -> list[_Step]:
        chain, step = [], self._steps.get(tensor)
        while step is not None:
            chain.append(step)
            step = step.before
        return chain[::-1]

    def _shorter(self, before: _Step, output: Tensor, others: tuple[Any, ...]) -> _Step | None:
        """The chain of a sum: of two that go to the same positions, such as around a layer and through it, the shorter one."""
        if not others or not isinstance(others[0], Tensor) or others[0].shape != output.shape:
            return before
        other: _Step | None = self._steps.get(others[0])
        return other and min(before, other, key=lambda step: step.length)

    def _add(self, before: _Step | None, source: Tensor, output: Tensor, change: Callable[[Tensor], Tensor]) -> None:
        before = before or _Step(None, source.shape, _unchanged, 0)
        self._steps[output] = _Step(before, output.shape, change, before.length + 1)


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _part(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], number: int, tensor: Tensor) -> Tensor:
    part: Tensor = func(tensor, *args[1:], **kwargs)[number]
    return part


def _change(
    func: Any, name: str, source: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor
) -> Callable[[Tensor], Tensor] | None:
    """What a function does to the places of numbers; None where it is no such function."""
    shape = output.shape
    if name in _REFORMED and output.numel() == source.numel():
        return lambda t: t.reshape(shape)
    if name in _MOVED:
        return lambda t: func(t, *args[1:], **kwargs)
    if name == "pad":
        width = args[1] if len(args) > 1 else kwargs["pad"]
        is_constant = (args[2] if len(args) > 2 else kwargs.get("mode", "constant")) == "constant"
        return (lambda t: F.pad(t, width, value=-1)) if is_constant else None
    if name in _LOST:
        return lambda t: t.new_full(shape, -1)
    if func is F.conv2d and shape[:1] == source.shape[:1] and shape[2:] == source.shape[2:]:
        return lambda t: t[:, :1].expand(shape)
    if shape[:-1] != source.shape[:-1]:
        return None
    if shape != source.shape or func is F.linear:  # other features of the same positions
        return lambda t: t[..., :1].expand(shape)
    return _unchanged
