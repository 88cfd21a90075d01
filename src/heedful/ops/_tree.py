"""Values that hold tensors: a score, a pattern, a bias taken apart into its tensors, and put together again.

PyTorch's transforms (`torch.func.vmap` and others) only see the tensors that they are shown. Each value is registered as
what PyTorch calls a pytree, so that it can be an argument of a transformed function.
"""

import abc
import copy
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import torch
from torch.utils import _pytree

from heedful._types import Tensor


class Value(abc.ABC):  # noqa: B024
    """A score, a normalizer, a pattern, a selection or a bias: a frozen dataclass, of which the fields that hold tensors are found."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _pytree.register_pytree_node(cls, _flatten, _unflatten)


def flatten(value: Any) -> tuple[list[Tensor], Callable[[Iterator[Tensor]], Any]]:
    """The tensors of a value (also of a tuple of values), and what builds the same value from others of them."""
    return _flatten(value)


def key_of(value: Any) -> Hashable | None:
    """What tells a value from others of another class or with other numbers; None where it holds a tensor.

    Equal keys stand for equal values, so that what is made of a value can be kept under its key.
    """
    if value is None or type(value) in _SCALARS:
        return type(value), value  # 1, 1.0 and True are equal, and None stands for "no key"
    if isinstance(value, Value):
        if torch.compiler.is_compiling():  # a graph can neither keep nor find anything
            return None
        known: Hashable | None = vars(value).get("_key", value)
        if known is value:
            children = tuple(key_of(child) for name, child in vars(value).items() if name != "_leaves")
            known = None if None in children else (type(value), *children)
            object.__setattr__(value, "_key", known)
        return known
    if isinstance(value, tuple):
        children = tuple(map(key_of, value))
        return None if None in children else children
    return None


_SCALARS = (int, float, bool, str)


def tensors(value: Any) -> list[Tensor]:
    """The tensors that a value holds."""
    return flatten(value)[0]


def _flatten(value: Any) -> tuple[list[Any], Callable[[Iterator[Any]], Any]]:
    if torch.is_tensor(value):
        return [value], next
    if isinstance(value, tuple):
        children = [_flatten(item) for item in value]
        return [t for leaves, _ in children for t in leaves], lambda new: tuple(build(new) for _, build in children)
    if not isinstance(value, Value) or not dataclasses.is_dataclass(value):
        return [], lambda new: value
    known = vars(value).get("_leaves", frozenset())
    values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    fields = {name: ([item], next) if name in known else _flatten(item) for name, item in values.items()}
    fields = {name: child for name, child in fields.items() if child[0]}
    if not fields:
        return [], lambda new: value

    def build(new: Iterator[Any]) -> Any:
        other = copy.copy(value)  # what the constructor checks was checked
        for name, (_, child) in fields.items():
            object.__setattr__(other, name, child(new))
        # PyTorch puts numbers where tensors were, and expects to find them there
        object.__setattr__(other, "_leaves", known | {name for name in fields if torch.is_tensor(values[name])})
        return other

    return [t for leaves, _ in fields.values() for t in leaves], build


def _unflatten(children: Iterable[Any], build: Any) -> Any:
    return build(iter(children))
