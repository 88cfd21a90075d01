"""Calls of `heedful.attention`: its arguments are those of the matrix."""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from heedful._types import Tensor
from heedful.inspection.capture.listeners import Listeners, quietly
from heedful.inspection.capture.recorder import Found, autocasted
from heedful.ops.mechanism import Mechanism

ENGINE = "heedful.attention"
# what a matrix is asked for; selection and dropout act on what becomes of it
_OF_MATRIX = ("score", "normalize", "pattern", "bias", "scale", "softcap", "sinks")
_EAGERLY = "_eagerly"  # in `ops/attention.py`: what leaves the graph under `torch.compile`, where no mode is asked


def found(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Found:
    """A call of `heedful.attention`."""
    query, key = autocasted(*args[:2])
    return Found(query, key, ENGINE, {name: value for name, value in kwargs.items() if name in _OF_MATRIX})


def _change() -> Callable[[], None]:
    """What leaves a compiled graph is heard; PyTorch asks no mode about a call of ours inside of one."""
    module = sys.modules["heedful.ops.attention"]
    original = getattr(module, _EAGERLY)
    setattr(module, _EAGERLY, _heard(original))
    return functools.partial(setattr, module, _EAGERLY, original)


def _heard(original: Callable[..., Any]) -> Callable[..., Any]:
    @torch.compiler.disable
    @functools.wraps(original)
    def eagerly(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, *rest: Any) -> Any:
        recorders = LISTENERS.here()
        output = quietly(recorders, original, query, key, value, mechanism, *rest)
        options = {name: getattr(mechanism, name) for name in _OF_MATRIX}
        for recorder in recorders:
            recorder.take(lambda: found((query, key), options))
        return output

    return eagerly  # type: ignore[no-any-return]


LISTENERS = Listeners(_change)
