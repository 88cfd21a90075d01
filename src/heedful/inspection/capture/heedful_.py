"""Calls of `heedful.attention`: its arguments are those of the matrix."""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from heedful._types import Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.patch import Patch, call_paused
from heedful.inspection.capture.recorder import autocasted
from heedful.ops.mechanism import Mechanism

ENGINE = "heedful.attention"
# what a matrix is asked for; selection and dropout act on what becomes of it
_OF_MATRIX = ("score", "normalize", "pattern", "bias", "scale", "softcap", "sinks")
_EAGERLY = "_eagerly"  # in `ops/attention.py`: what leaves the graph under `torch.compile`, where no mode is asked


def captured(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CapturedCall:
    """A call of `heedful.attention`."""
    query, key = autocasted(*args[:2])
    return CapturedCall(query, key, ENGINE, {name: value for name, value in kwargs.items() if name in _OF_MATRIX})


def _apply() -> Callable[[], None]:
    """What leaves a compiled graph is heard; PyTorch asks no mode about a call of ours inside of one."""
    module = sys.modules["heedful.ops.attention"]
    original = getattr(module, _EAGERLY)
    setattr(module, _EAGERLY, _wrapped(original))
    return functools.partial(setattr, module, _EAGERLY, original)


def _wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    @torch.compiler.disable
    @functools.wraps(original)
    def eagerly(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, *rest: Any) -> Any:
        recorders = PATCH.listening()
        output = call_paused(recorders, original, query, key, value, mechanism, *rest)
        options = {name: getattr(mechanism, name) for name in _OF_MATRIX}
        for recorder in recorders:
            recorder.take(lambda: captured((query, key), options))
        return output

    return eagerly  # type: ignore[no-any-return]


PATCH = Patch(_apply)
