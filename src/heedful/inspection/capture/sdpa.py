"""Calls of `torch.nn.functional.scaled_dot_product_attention`."""

from collections.abc import Mapping
from typing import Any

import torch

from heedful._types import Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.recorder import Recorder, autocasted
from heedful.ops import Causal, Global, Pattern

ENGINE = "scaled_dot_product_attention"
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def captured(recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> CapturedCall:
    """A call of SDPA; its masks say True = may attend, its causality counts from the first key."""
    arguments = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    query, key, value = autocasted(arguments["query"], arguments["key"], arguments["value"])
    if not arguments.get("enable_gqa"):
        query, key, value = _equal_axes(query, key, value)
    pattern, bias = masks(recorder, arguments.get("attn_mask"), query.dim())
    if arguments.get("is_causal"):
        pattern = Causal() if query.shape[-2] == key.shape[-2] else Causal("start")
    options = {"pattern": pattern, "bias": bias, "scale": arguments.get("scale")}
    checked = None if arguments.get("dropout_p") else output
    return CapturedCall(query, key, ENGINE, options, checked, value, rows=arguments["query"])


def masks(recorder: Recorder, mask: Tensor | None, axes: int) -> tuple[Pattern, Tensor | None]:
    """A mask of PyTorch's as a pattern and numbers to add."""
    if mask is None:
        return Global(), None
    if 2 < mask.dim() < axes:  # what has a batch has to have all axes
        mask = mask.reshape((1,) * (axes - mask.dim()) + mask.shape)
    reading = recorder.reading(mask)
    return reading.pattern, reading.bias


def _equal_axes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The leading axes of query, key and value broadcast against each other; heads that are shared stay as they are."""
    lead = [t.shape[:-2] for t in tensors]
    if lead[0] == lead[1] == lead[2]:
        return tensors
    shape = torch.broadcast_shapes(*lead)
    return tuple(t.expand(*shape, *t.shape[-2:]) for t in tensors)
