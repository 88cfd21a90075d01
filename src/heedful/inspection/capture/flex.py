"""Calls of PyTorch's `flex_attention` by a model itself: its scores and its mask are asked for as they are."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from heedful._types import Float, Tensor
from heedful.inspection.capture.blocks import LARGEST
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.patch import Patch, call_paused
from heedful.inspection.capture.recorder import Refused
from heedful.inspection.capture.transformers_ import rows_of
from heedful.inspection.masks import read_function
from heedful.ops._concrete import concrete
from heedful.ops.engines.reference import all_heads

ENGINE = "flex_attention"


def _apply() -> Callable[[], None]:
    """The operator is an object whose class is called, also by what PyTorch has compiled of it."""
    from torch._higher_order_ops.flex_attention import FlexAttentionHOP

    original = FlexAttentionHOP.__call__
    FlexAttentionHOP.__call__ = _wrapped(original)  # type: ignore[method-assign]
    return functools.partial(setattr, FlexAttentionHOP, "__call__", original)


PATCH = Patch(_apply)


def _wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if torch.compiler.is_compiling() or not concrete(*args[:2]):  # it is traced
            return original(self, *args, **kwargs)
        recorders = PATCH.listening()
        output = call_paused(recorders, original, self, *args, **kwargs)
        for recorder in recorders:
            recorder.take(functools.partial(_captured, *args, output=output))
        return output

    return __call__


def _captured(
    query: Float[Tensor, "B H N D"],
    key: Float[Tensor, "B G M D"],
    value: Float[Tensor, "B G M E"],
    score_mod: Callable[..., Tensor],
    block_mask: tuple[Any, ...],
    scale: float,
    kernel_options: Any,
    score_buffers: tuple[Any, ...] = (),
    mask_buffers: tuple[Any, ...] = (),
    *,
    output: Any,
) -> CapturedCall:
    """A call of the operator; what it makes of scores is added to them as a bias."""
    (batch, heads, queries, _), keys = query.shape, key.shape[-2]
    mask = lambda b, h, i, j: block_mask[-1](b, h, i, j, *mask_buffers)  # noqa: E731
    pattern, _ = read_function(
        rows_of(mask, batch, heads, keys, query.device), (batch, heads, queries, keys), query.device
    )
    if batch * heads * queries * keys * 4 > LARGEST:
        raise Refused(f"{ENGINE}: what its `score_mod` gives for [{batch}, {heads}, {queries}, {keys}] is too large")
    scores = query @ all_heads(key, query).mT * scale
    index = torch.meshgrid(*(torch.arange(size, device=query.device) for size in scores.shape), indexing="ij")
    bias = score_mod(scores, *index, *score_buffers) - scores
    options = {"pattern": pattern, "bias": bias if bool(bias.any()) else None, "scale": float(scale)}
    return CapturedCall(query, key, ENGINE, options, output[0], value)
