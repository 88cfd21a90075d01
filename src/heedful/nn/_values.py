"""Values with tensors, such as `Additive(weight)`, within a layer: their tensors are the layer's own, under a name."""

import copy
import dataclasses
from typing import Any

from torch import nn

from heedful._types import Tensor


def register_values(layer: nn.Module, **values: Any) -> None:
    """Registers each tensor of the values: a parameter as a parameter, another as a buffer, named such as `score_weight`."""
    layer._values_by_name = values  # type: ignore[assignment]
    for name, value in values.items():
        for path, tensor in _tensors(name, value).items():
            if isinstance(tensor, nn.Parameter):
                layer.register_parameter(path, tensor)
            else:
                layer.register_buffer(path, tensor)


def values_of(layer: nn.Module) -> dict[str, Any]:
    """The values with the tensors that the layer has now, wherever it was moved and whatever was loaded."""
    values: Any = layer._values_by_name
    return {name: _with_tensors_of(name, value, layer) for name, value in values.items()}


def _tensors(path: str, value: Any) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {path: value}
    return {name: t for child_path, child in _children(path, value) for name, t in _tensors(child_path, child).items()}


def _with_tensors_of(path: str, value: Any, layer: nn.Module) -> Any:
    if isinstance(value, Tensor):
        return getattr(layer, path)
    if not _tensors(path, value):
        return value
    if isinstance(value, tuple):
        return tuple(_with_tensors_of(child_path, child, layer) for child_path, child in _children(path, value))
    other = copy.copy(value)  # what the constructor checks was checked
    for field, (child_path, child) in zip(dataclasses.fields(value), _children(path, value), strict=True):
        object.__setattr__(other, field.name, _with_tensors_of(child_path, child, layer))
    return other


def _children(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, tuple):
        return [(f"{path}_{i}", child) for i, child in enumerate(value)]
    if not dataclasses.is_dataclass(value):
        return []
    return [(f"{path}_{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
