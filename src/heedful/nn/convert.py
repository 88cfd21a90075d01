"""A PyTorch model's attention layers compute by `heedful.attention`: its weights, signatures and layouts stay."""

import math
from copy import deepcopy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from heedful._types import Tensor
from heedful.ops import Causal, Global, Mask, Pattern, attention, attention_weights

_Model = TypeVar("_Model", bound=nn.Module)


def from_torch(module: _Model, *, copy: bool = False) -> _Model:
    """Every `torch.nn.MultiheadAttention` within a model goes through `heedful.attention` from now on.

    The model is changed in place and given back. Its parameters, the names in its `state_dict`, its hooks, signatures and
    results stay, but for one: a sample that is all padding gives what the output projection makes of 0, its offset, and
    never NaN. `heedful.inspection.watch` sees the attention of such a model.

    Args:
        module: a model that contains such layers, or such a layer itself. Subclasses of `torch.nn.MultiheadAttention` (also
            those that `torch.nn.utils.parametrize` makes) may compute something else and are left alone.
        copy: leave `module` as it is and change a deep copy.

    Raises:
        TypeError: `module` is no module.
        ValueError: there is no such layer in it.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(8, nhead=2, batch_first=True)
        >>> model = from_torch(torch.nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False))
        >>> with heedful.inspection.watch(model) as seen:
        ...     out = model(torch.randn(1, 5, 8))
        >>> [call.module for call in seen]
        ['layers.0.self_attn', 'layers.1.self_attn', 'layers.2.self_attn']

    Differs from the layers as they were: in training with dropout, the weights that `need_weights` asks for are those before
    dropout. PyTorch's fused inference path of a whole encoder layer, which would go around the attention, is not taken.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module: got {type(module).__name__}.")
    if copy:
        module = deepcopy(module)
    layers: list[Any] = [layer for layer in module.modules() if type(layer) in (nn.MultiheadAttention, FromTorch)]
    if not layers:
        raise ValueError(
            f"`module` must contain a torch.nn.MultiheadAttention (not a subclass of it): got {type(module).__name__} without one."
        )
    for layer in layers:
        layer.__class__ = FromTorch  # what else refers to the layer (optimizers, hooks, other modules) still does
        layer._qkv_same_embed_dim = False  # so that an encoder layer calls its attention
    for encoder in [m for m in module.modules() if type(m) is nn.TransformerEncoder]:
        if any(type(layer) is FromTorch for layer in encoder.modules()):
            encoder.__class__ = FromTorchEncoder
    return module


class FromTorchEncoder(nn.TransformerEncoder):
    """`torch.nn.TransformerEncoder` where samples may all be padding; made by `from_torch`, of an encoder that exists."""

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As `torch.nn.TransformerEncoder.forward`, whose evaluation leaves out padding and then gives 0 in its place."""
        if (
            mask is None
            and src_key_padding_mask is not None
            and self._skips_padding(src)
            and _masks_all(src_key_padding_mask)
        ):
            zeros = torch.zeros_like(src)  # PyTorch has no nested tensor without any position
            return zeros if self.norm is None else self.norm(zeros)
        return super().forward(src, mask, src_key_padding_mask, is_causal)

    def _skips_padding(self, src: Tensor) -> bool:
        """Whether padding is left out, if there is any: when nothing is trained."""
        requires_grad = torch.is_grad_enabled() and any(p.requires_grad for p in self.layers[0].parameters())
        return (
            self.use_nested_tensor
            and src.dim() == 3
            and not (self.training or requires_grad or torch.compiler.is_compiling())
        )


class FromTorch(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` by `heedful.attention`; made by `from_torch`, of a layer that exists."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends as `torch.nn.MultiheadAttention.forward` says: there, True in a mask means hidden.

        Args:
            query: `[N, B, width]`, with `batch_first` `[B, N, width]`, without a batch `[N, width]`; also a nested tensor.
            key: `[M, B, kdim]` or as above.
            value: `[M, B, vdim]` or as above.
            key_padding_mask: `[B, M]` or `[M]`; bool (True = hidden) or numbers that are added to the scores.
            need_weights: whether the weights are given too.
            attn_mask: `[N, M]` or `[B * H, N, M]`; bool (True = hidden) or numbers that are added to the scores.
            average_attn_weights: whether these are the mean over the heads, `[B, N, M]`, or `[B, H, N, M]`.
            is_causal: promises that `attn_mask` is the causal one; without padding and weights it is then not looked at.

        Returns:
            The output in the layout of `query`, and the weights or None.
        """
        if query.is_nested or key.is_nested or value.is_nested:
            if key_padding_mask is not None or attn_mask is not None or not self.batch_first:
                raise ValueError(
                    "a nested tensor must come without masks, to a layer with `batch_first=True`: got others."
                )
            return self._nested(query, key, value, need_weights, average_attn_weights)
        batched = query.dim() == 3
        self._check(query, key, value, batched)
        if is_causal and attn_mask is None:
            raise ValueError("`attn_mask` must be given where `is_causal` says that it is causal: got None.")
        dtype = query.dtype
        if not batched:
            query, key, value = _map_distinct(lambda x: x[None], query, key, value)
        elif not self.batch_first:
            query, key, value = _map_distinct(lambda x: x.transpose(0, 1), query, key, value)
        q, k, v = self._project(query, key, value)
        shape = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        pattern, bias = _masks(key_padding_mask, attn_mask, shape, batched, extra=k.shape[-2] - key.shape[1])
        if is_causal and key_padding_mask is None and not need_weights:
            pattern, bias = Causal("start"), None
        heads = attention(q, k, v, pattern=pattern, bias=bias, dropout=self.dropout if self.training else 0.0)
        out = F.linear(heads.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        weights = attention_weights(q, k, pattern=pattern, bias=bias).to(dtype) if need_weights else None
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else out.transpose(0, 1), weights

    def _nested(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool, average: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Each sample has its own length; encoders make such input of padding when they are evaluated."""
        lengths, key_lengths = ([sample.shape[0] for sample in x.unbind()] for x in (query, key))
        query, key, value = _map_distinct(_padded, query, key, value)
        padding, query_padding = (
            torch.arange(max(n), device=key.device) >= torch.tensor(n, device=key.device)[:, None]
            for n in (key_lengths, lengths)
        )
        out, weights = self.forward(query, key, value, padding, need_weights, average_attn_weights=average)
        if weights is not None:
            weights = weights.masked_fill(query_padding[:, :, None] if average else query_padding[:, None, :, None], 0)
        return torch.nested.as_nested_tensor([x[:n] for x, n in zip(out, lengths, strict=True)]), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries `[B, H, N, D]`, keys and values `[B, H, M, D]`, of which the last may be added ones."""
        if self.in_proj_weight is not None and query is key is value:
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            weights = separate if self.in_proj_weight is None else self.in_proj_weight.chunk(3)
            offsets = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
            q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, offsets, strict=True))
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                torch.cat([x, extra.to(x.dtype).expand(x.shape[0], 1, -1)], dim=1)
                for x, extra in ((k, self.bias_k), (v, self.bias_v))
            )
        if self.add_zero_attn:
            k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        return tuple(x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))

    def _check(self, query: Tensor, key: Tensor, value: Tensor, batched: bool) -> None:
        axes = "batch, positions, width" if self.batch_first else "positions, batch, width"
        expected = {"query": (query, self.embed_dim), "key": (key, self.kdim), "value": (value, self.vdim)}
        for name, (x, width) in expected.items():
            if x.dim() != (3 if batched else 2) or x.shape[-1] != width:
                raise ValueError(
                    f"`{name}` must be [{axes}], or all three [positions, width], with width {width}: got {list(x.shape)}."
                )


def _masks(
    padding: Tensor | None, mask: Tensor | None, shape: tuple[int, int, int, int], batched: bool, extra: int
) -> tuple[Pattern, Tensor | None]:
    """PyTorch's masks as a pattern and numbers to add; keys that were added behind are visible."""
    batch, heads, queries, keys = shape
    masks = []
    if padding is not None:
        _check_mask("key_padding_mask", padding, [[batch, keys] if batched else [keys]])
        masks.append(padding[:, None, None] if batched else padding)
    if mask is not None:
        _check_mask("attn_mask", mask, [[queries, keys], [batch * heads, queries, keys]])
        masks.append(mask if mask.dim() == 2 else mask.unflatten(0, (batch, heads)))
    pattern: Pattern = Global()
    bias = None
    for given_mask in masks:
        added = F.pad(given_mask, (0, extra)) if extra else given_mask
        visible = ~added if added.dtype == torch.bool else added != -math.inf
        pattern = Mask(visible) if isinstance(pattern, Global) else pattern & Mask(visible)
        if added.dtype != torch.bool:
            bias = added if bias is None else bias + added
    return pattern, bias


def _masks_all(padding: Tensor) -> bool:
    return bool((padding if padding.dtype == torch.bool else padding == -math.inf).all())


def _padded(nested: Tensor) -> Tensor:
    samples = nested.unbind()
    if any(sample.numel() for sample in samples):
        return nested.to_padded_tensor(0.0)
    return torch.stack(samples)  # which PyTorch does not pad


def _check_mask(name: str, mask: Tensor, shapes: list[list[int]]) -> None:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TypeError(f"`{name}` must be bool (True = hidden) or floating point (added): got {mask.dtype}.")
    if list(mask.shape) not in shapes:
        raise ValueError(f"`{name}` must be {' or '.join(map(str, shapes))}: got {list(mask.shape)}.")


def _map_distinct(change, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """Changes the three; what was one tensor stays one."""
    q = change(query)
    k = q if key is query else change(key)
    return q, k, q if value is query else k if value is key else change(value)
