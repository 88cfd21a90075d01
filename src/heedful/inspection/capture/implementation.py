"""heedful as an attention implementation of Hugging Face's models."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from heedful._types import Float, Tensor
from heedful.inspection.capture.transformers_ import rows_of
from heedful.inspection.masks import read, read_function
from heedful.ops import Causal, Global, Pattern, attention

# arguments that change the meaning and are honored nowhere else: packed documents and windows are in the mask
_REFUSED = ("cache", "block_table", "sinks", "indices", "block_indices")


def register(name: str = "heedful") -> None:
    """Makes heedful an attention implementation of Hugging Face's models: `model.set_attn_implementation("heedful")`.

    `heedful.attention` then computes what the model's own attention does, with causality, padding and sliding windows as
    patterns, soft cap, sinks and position biases.

    Args:
        name: under which it is registered.

    Raises:
        ImportError: `transformers` is not installed.

    Differs from a model's eager attention in rows that may see nothing, such as those of padding on the left: 0 here.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, mask)


def forward(
    module: nn.Module,
    query: Float[Tensor, "B H N D"],
    key: Float[Tensor, "B G M D"],
    value: Float[Tensor, "B G M E"],
    attention_mask: Pattern | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " H"] | None = None,
    position_bias: Float[Tensor, "..."] | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "B N H E"], None]:
    """Attention as the interface of `transformers` calls it.

    Args:
        module: the layer, asked for `is_causal` where there is no mask and the argument does not say.
        query: `[B, H, N, D]`.
        key: `[B, G, M, D]`.
        value: `[B, G, M, E]`.
        attention_mask: a pattern that `mask` made, or a mask of the user's, `[B, 1, N, M]`.
        dropout: the probability with which a weight is set to 0.
        scaling: what scores are multiplied by.
        is_causal: whether a layer without a mask is causal.
        softcap: a cap on the scores.
        s_aux: sinks, one a head.
        position_bias: numbers to add.
        kwargs: what else a model passes on; what would change the meaning is refused.

    Raises:
        ValueError: an argument is not honored.
    """
    for name in _REFUSED:
        if kwargs.get(name) is not None:
            raise ValueError(f"`{name}` must be None for the attention implementation of heedful: got a value.")
    pattern, bias = _pattern(module, query, key, attention_mask, is_causal)
    if position_bias is not None:
        position_bias = position_bias[..., : key.shape[-2]]
        bias = position_bias if bias is None else bias + position_bias
    sinks = None if s_aux is None else s_aux.to(query.dtype)
    out = attention(
        query,
        key,
        value,
        pattern=pattern,
        bias=bias,
        scale=scaling,
        softcap=softcap or None,
        sinks=sinks,
        dropout=dropout,
    )
    return out.transpose(1, 2).contiguous(), None


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Tensor | int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor] | None = None,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **kwargs: Any,
) -> Pattern:
    """The pattern of a mask function, as the mask interface of `transformers` calls it; nothing N x N is stored.

    The function is asked for some rows at a time: causality, windows and documents become patterns, anything else stays a
    function. Padding is a pattern of its own.

    Args:
        batch_size: how many samples.
        q_length: how many queries.
        kv_length: how many keys.
        q_offset: the place of the first query.
        kv_offset: the place of the first key.
        mask_function: of the indices of batch, head, query and key; None: causal.
        attention_mask: `[B, M]`, padding.
        device: where the model runs.
        kwargs: what is of no matter to a pattern.
    """
    function = mask_function or (lambda sample, head, query, key: key <= query)
    device = torch.device(device)
    rows = rows_of(function, batch_size, 1, kv_length, device, (q_offset, kv_offset))
    pattern, _ = read_function(rows, (batch_size, 1, q_length, kv_length), device)
    padding = _padding(attention_mask, kv_length, kv_offset)
    if padding is None:
        return pattern
    return padding if isinstance(pattern, Global) else pattern & padding


def _padding(attention_mask: Tensor | None, keys: int, offset: int) -> Pattern | None:
    """Padding `[B, M]` as a pattern."""
    if attention_mask is None:
        return None
    visible = attention_mask.bool()
    if (missing := keys + offset - visible.shape[-1]) > 0:
        visible = torch.nn.functional.pad(visible, (0, missing))
    pattern = read(visible[:, None, None, offset : offset + keys]).pattern
    return None if isinstance(pattern, Global) else pattern


def _pattern(
    module: nn.Module, query: Tensor, key: Tensor, mask: Pattern | Tensor | None, is_causal: bool | None
) -> tuple[Pattern, Tensor | None]:
    if isinstance(mask, Pattern):
        return mask, None
    if mask is not None:
        reading = read(mask)
        return reading.pattern, reading.bias
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if not causal or query.shape[-2] == 1:
        return Global(), None
    return Causal("start") if query.shape[-2] != key.shape[-2] else Causal(), None
