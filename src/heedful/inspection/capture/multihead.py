"""Calls of `multi_head_attention_forward`: queries and keys are computed again from its arguments."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.recorder import Recorder
from heedful.ops import Causal, Global, Pattern

ENGINE = "multi_head_attention_forward"
FAST_PATH = "PyTorch's fast path was left to see this: the model's output is equal within rounding"
NESTED_PATH = (
    "PyTorch's fast path for padding was left to see this: equal within rounding, but padded positions, "
    "which that path sets to 0, hold numbers"
)
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def captured(recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CapturedCall:
    """A call of `multi_head_attention_forward`; its masks say True = hidden."""
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = bound.arguments
    query, key = _projected(arguments)
    heads = arguments["num_heads"]
    unbatched = arguments["query"].dim() == 2
    query, key = (t.unflatten(-1, (heads, -1)).movedim(0, -2) for t in (query, key))  # [B, H, N, D]
    if arguments["static_k"] is not None:
        key = arguments["static_k"].unflatten(0, (-1, heads))
        key = key[0] if unbatched else key
    if arguments["add_zero_attn"]:
        key = F.pad(key, (0, 0, 0, 1))
    pattern, bias = _masks(recorder, arguments, key.shape[-2], unbatched)
    kind = "self" if arguments["key"] is arguments["query"] else "cross"
    note = recorder.left.pop(recorder.module, None)
    return CapturedCall(
        query, key, ENGINE, {"pattern": pattern, "bias": bias}, kind=kind, notes=(note,) if note else ()
    )


def leaves_fast_path(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """The note for a module that would take PyTorch's fast path if nobody watched; None where it would not."""
    if not isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)):
        return None
    if module.training or not torch.backends.mha.get_fastpath_enabled() or torch.is_autocast_enabled():
        return None
    tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*tensors, *module.parameters())):
        return None
    if isinstance(module, nn.TransformerEncoder):
        padded = kwargs.get("src_key_padding_mask", args[2] if len(args) > 2 else None) is not None
        return NESTED_PATH if padded and getattr(module, "use_nested_tensor", False) else None
    attention = module if isinstance(module, nn.MultiheadAttention) else module.self_attn
    return FAST_PATH if _fast(attention, tensors, module) else None


def _fast(attention: nn.MultiheadAttention, tensors: list[Tensor], module: nn.Module) -> bool:
    """Whether the layer is made as the fast path needs it, and given one batched tensor."""
    own = type(attention) is nn.MultiheadAttention and attention._qkv_same_embed_dim and attention.batch_first
    plain = own and attention.in_proj_bias is not None and attention.bias_k is None and not attention.add_zero_attn
    if not plain or attention.num_heads % 2 or tensors[0].dim() != 3:
        return False
    if isinstance(module, nn.TransformerEncoderLayer):
        return bool(module.activation_relu_or_gelu) and module.norm1.eps == module.norm2.eps
    masks = tensors[3:]
    return tensors[0] is tensors[1] is tensors[2] and not any(t.is_floating_point() for t in masks)


def _projected(arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Queries `[N, B, width]` and keys `[M, B, width]`, with the learned last one."""
    query, key = arguments["query"], arguments["key"]
    if arguments["use_separate_proj_weight"]:
        weights = arguments["q_proj_weight"], arguments["k_proj_weight"]
    else:
        weights = arguments["in_proj_weight"].chunk(3)[:2]
    offsets = (None, None) if arguments["in_proj_bias"] is None else arguments["in_proj_bias"].chunk(3)[:2]
    query, key = (F.linear(x, w, b) for x, w, b in zip((query, key), weights, offsets, strict=True))
    if arguments["bias_k"] is not None:
        last = arguments["bias_k"].to(key.dtype)
        key = torch.cat([key, last[0] if key.dim() == 2 else last.expand(1, key.shape[1], -1)])
    return query, key


def _masks(
    recorder: Recorder, arguments: Mapping[str, Any], keys: int, unbatched: bool
) -> tuple[Pattern, Tensor | None]:
    """Both masks as a pattern and numbers to add; keys that were added behind are visible."""
    padding, mask = arguments["key_padding_mask"], arguments["attn_mask"]
    if arguments["is_causal"] and padding is None and not arguments["need_weights"]:
        return Causal("start"), None  # so it is computed, whatever the mask says
    heads = arguments["num_heads"]
    named = []
    if mask is not None:
        named.append(mask if mask.dim() == 2 else mask.unflatten(0, (-1, heads))[0 if unbatched else slice(None)])
    if padding is not None:
        named.append(padding[None] if unbatched else padding[:, None, None])
    pattern: Pattern = Global()
    bias: Tensor | None = None
    for one in named:
        visible = ~one if one.dtype == torch.bool else one
        reading = recorder.reading(_longer(visible, keys))
        pattern = reading.pattern if isinstance(pattern, Global) else pattern & reading.pattern
        if reading.bias is not None:
            bias = reading.bias if bias is None else bias + reading.bias
    return pattern, bias


def _longer(mask: Tensor, keys: int) -> Tensor:
    """A mask with columns for keys that were added behind, which all may see."""
    missing = keys - mask.shape[-1]
    if not missing:
        return mask
    return F.pad(mask, (0, missing), value=1.0 if mask.dtype == torch.bool else 0.0)
