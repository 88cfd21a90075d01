"""The plain case in few lines of Python, of which each takes microseconds."""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from heedful._checks import autocasts
from heedful._types import Tensor
from heedful.ops._concrete import transformed
from heedful.ops.engines import assemble, fused, kernel, verify
from heedful.ops.engines.derivatives import TiledFunction
from heedful.ops.mechanism import SOFT, mechanism_of
from heedful.ops.nonfinite import total_of
from heedful.ops.normalizers import softmax
from heedful.ops.patterns import Causal, Global, Pattern
from heedful.ops.scores import Dot

PLAIN = (Global, Causal)


class FastPath(NamedTuple):
    """What the sizes of a plain call determine."""

    masks_any: bool
    unchecked: kernel.UncheckedKernel
    function: TiledFunction


def attend(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern) -> Tensor | None:
    """Scaled dot products, softmax, `Global()` or `Causal()` and nothing else; None where something is not plain."""
    if verify.on or torch.compiler.is_compiling() or transformed() or torch.autograd.forward_ad._current_level >= 0:
        return None
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return None
    dtype, device = query.dtype, query.device
    if not dtype.is_floating_point or not dtype == key.dtype == value.dtype:
        return None
    if not device == key.device == value.device:
        return None
    path = _fast_path(pattern, query.shape, key.shape, value.shape)
    if path is None or autocasts(query) or not kernel.is_available(query):
        return None
    if path.masks_any and not math.isfinite(total_of(key, value)):
        return None
    differentiable = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    if not differentiable and not path.unchecked.needs_mask:
        return F.scaled_dot_product_attention(query, key, value, is_causal=path.unchecked.causal)
    if not query.stride(-1) == key.stride(-1) == value.stride(-1) == 1:
        return None
    if differentiable:
        return fused.FastAttention.apply(path.function, path.unchecked, query, key, value)  # type: ignore[no-any-return]
    return path.unchecked.forward(query, key, value)[0]


@functools.lru_cache(maxsize=256)
def _fast_path(pattern: Pattern, query: torch.Size, key: torch.Size, value: torch.Size) -> FastPath | None:
    """None where the operands do not fit, for the errors to be found, and where PyTorch's kernel needs more than they are."""
    shape, width = (*query[:-1], *key[-2:-1]), query[-1] if query else 0
    if len(query) != 4 or 0 in (*shape, width) or not query[:2] == key[:2] == value[:2] or key != value:
        return None
    pattern.check(shape)
    if key[-1] != width or (isinstance(pattern, Causal) and not pattern.is_diagonal(shape)):
        return None
    scale, causal = width**-0.5, isinstance(pattern, Causal)
    mechanism = mechanism_of(Dot(), softmax, pattern, SOFT, None, scale, None, None, 0.0, None)
    function, _ = assemble.assembled(mechanism, shape, width, width, fused.FusedKernel(mechanism, shape))
    needs_mask = (min(shape[-2:]) if causal else shape[-1]) < kernel.NAN_SAFE_KEYS
    return FastPath(pattern.masks_any(shape), kernel.UncheckedKernel(causal, needs_mask, scale), function)
