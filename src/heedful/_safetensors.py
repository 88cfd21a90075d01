"""Weights from a stranger: their header is read first, and bounds what a model may ask for while it is built."""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from heedful._files import open_regular

Shapes = dict[str, tuple[int, ...]]


class TooLargeError(RuntimeError):
    """A model asks for more than its weights could fill."""


def weight_shapes(files: Iterable[Path]) -> Shapes:
    """The shape of each tensor, from the headers alone.

    Raises:
        OSError: a file cannot be read, or is no regular file.
        ValueError: a file is no safetensors; the message begins with the file.
    """
    shapes: Shapes = {}
    for file in files:
        open_regular(file).close()
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{file}: must be readable safetensors: {str(error).splitlines()[0]}.") from None
    return shapes


class BoundedBuild(TorchDispatchMode):
    """While it is entered, models cannot be built that are far larger than weights of these shapes.

    Counted are tensors that are made from nothing, and their elements, before any memory is taken.

    Example:
        >>> with BoundedBuild({"weight": (3, 5)}):
        ...     torch.nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
        ...
        heedful._safetensors.TooLargeError: the model must be of the size of its weights, 15 numbers in 1 tensors: it asks for more
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        numbers = sum(map(math.prod, shapes.values()))
        self.elements, self.calls = 4 * numbers + 2**24, 64 * len(shapes) + 4096
        self.words = f"{numbers:,} numbers in {len(shapes):,} tensors"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _makes_tensors(func):
            self.calls -= 1
            if kwargs.get("device") != torch.device("meta"):
                self.elements -= _elements(func, args, kwargs)
            if self.calls < 0 or self.elements < 0:
                raise TooLargeError(f"the model must be of the size of its weights, {self.words}: it asks for more")
        return func(*args, **kwargs)


@lru_cache
def _makes_tensors(func: Any) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def _elements(func: Any, args: Any, kwargs: Any) -> int:
    """How many elements the result will have; nothing is computed."""
    try:
        others = {name: None if name in ("pin_memory", "generator") else value for name, value in kwargs.items()}
        result = func(*args, **{**others, "device": torch.device("meta")})
    except (RuntimeError, NotImplementedError, TypeError):
        return 0  # then the call itself fails, or makes no tensor of a size that is asked for
    return result.numel() if isinstance(result, Tensor) else 0


def mismatch(model: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The first of a model's tensors that weights lack, or have in another shape or dtype; or one that is too many. "" if none."""
    for name, tensor in model.items():
        if name not in weights:
            return f"must hold `{name}`: there is none"
        wanted, got = ((list(one.shape), str(one.dtype).removeprefix("torch.")) for one in (tensor, weights[name]))
        if wanted != got:
            return f"`{name}` must be {wanted[0]} of {wanted[1]}: got {got[0]} of {got[1]}"
    return next((f"must not hold `{name}`: the model has none" for name in weights if name not in model), "")


def not_finite(weights: Mapping[str, Tensor]) -> str:
    """The first tensor that holds NaN or infinity, with where it does; "" if none."""
    for name, tensor in weights.items():
        finite = tensor.isfinite()
        if not finite.all():
            index = (~finite).nonzero()[0].tolist()
            return f"`{name}` must be finite: got {tensor[tuple(index)].item()} at {index}"
    return ""
