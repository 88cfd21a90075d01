"""PyTorch's FlexAttention, for the patterns and biases that it can express. Experimental: it has not been run on a GPU.

FlexAttention asks what is visible, and what is added, for one pair at a time; each pattern and bias says it here in those words.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch

from heedful._checks import Shape
from heedful._types import Tensor
from heedful.ops._tree import tensors
from heedful.ops.biases import ALiBi, Bias, PerKey, PerQuery, Sum, TensorBias, alibi_slopes
from heedful.ops.engines.base import Call, Engine, Result
from heedful.ops.engines.features import operands
from heedful.ops.engines.reference import all_heads
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax
from heedful.ops.patterns import (
    And,
    Axial,
    Causal,
    Dilated,
    Documents,
    Global,
    Lengths,
    Local,
    Mask,
    Neighborhood2d,
    Not,
    Or,
    Pattern,
    Prefix,
    Tokens,
)
from heedful.ops.selection import Soft


class Unsupported(Exception):
    """A pattern or a bias for which FlexAttention is given no words."""


PairFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of batch, head, query and key


class Flex(Engine):
    """PyTorch's FlexAttention, where it is asked for."""

    name = "flex"
    reason = "asked for"

    def obstacle(self, call: Call) -> str | None:
        mechanism, shape = call.mechanism, call.shape
        given = (call.query, call.key, call.value, *tensors(mechanism))
        if len(shape) != 4:
            return "it needs four axes"
        softmax = isinstance(mechanism.normalize, Softmax) and isinstance(mechanism.select, Soft)
        if not (mechanism.score.inner and softmax):
            return "it is softmax of inner products only"
        if mechanism.dropout:
            return "it has no dropout"
        if call.query.device.type == "cpu" and torch.is_grad_enabled() and any(t.requires_grad for t in given):
            return "on a CPU it has no gradient"
        try:
            visible(mechanism.pattern, shape)
            added(mechanism.bias, shape, call.query.device)
        except Unsupported as error:
            return str(error)
        return None

    def run(self, call: Call) -> Result:
        if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]):
            return call.value.new_zeros(*call.shape[:-1], call.value.shape[-1]), None
        q, k, v, mechanism = operands(call.query, call.key, call.value, call.mechanism, call.shape)
        if not torch.is_grad_enabled():  # on a CPU it refuses what could have a gradient
            q, k, v = q.detach(), k.detach(), v.detach()
        return attention(q, k, v, mechanism, float(mechanism.factor(0)), call.shape), None

    def pairs(self, call: Call) -> int:
        return math.prod(call.shape)

    def scratch(self, call: Call, passes: int) -> int:
        return 0

    def linear_memory(self, call: Call) -> bool:
        return call.query.device.type != "cpu"


def attention(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, scale: float, shape: Shape) -> Tensor:
    """`A V`; queries and keys are features, of which the scores are inner products."""
    from torch.nn.attention.flex_attention import AuxRequest, create_block_mask

    pattern, cap = visible(mechanism.pattern, shape), mechanism.softcap
    bias = added(mechanism.bias, shape, query.device)
    capped = (lambda s: s) if cap is None else (lambda s: cap * torch.tanh(s / cap))
    more = (lambda b, h, i, j: 0.0) if bias is None else bias
    # a lambda: FlexAttention compiles it, and cannot where the types of a function are checked
    scores = lambda s, b, h, i, j: capped(s) + more(b, h, i, j)  # noqa: E731

    mask = None
    if mechanism.pattern.masks_any(shape):
        batch, heads, queries, keys = shape
        mask = create_block_mask(pattern, batch, heads, queries, keys, device=str(query.device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        out, aux = _flex(query.device.type)(
            query, all_heads(key, query), all_heads(value, query), scale=scale, block_mask=mask, return_aux=AuxRequest(lse=True),
            score_mod=None if cap is None and bias is None else scores,
        )  # fmt: skip
    if mechanism.sinks is not None:
        lse: Tensor = aux.lse
        sinks = mechanism.sinks.expand(shape[:-2])[..., None].to(lse.dtype)
        out = out * (lse - torch.logaddexp(lse, sinks)).exp()[..., None].to(out.dtype)
    return out  # type: ignore[no-any-return]


def visible(pattern: Pattern, shape: Shape) -> PairFunction:
    """A pattern, for one pair at a time.

    Raises:
        Unsupported: this pattern is not said here.
    """
    if isinstance(pattern, (And, Or)):
        first, second = visible(pattern.first, shape), visible(pattern.second, shape)
        if isinstance(pattern, And):
            return lambda b, h, i, j: first(b, h, i, j) & second(b, h, i, j)
        return lambda b, h, i, j: first(b, h, i, j) | second(b, h, i, j)
    if isinstance(pattern, Not):
        inner = visible(pattern.inner, shape)
        return lambda b, h, i, j: ~inner(b, h, i, j)
    if isinstance(pattern, Global):
        return lambda b, h, i, j: j >= 0
    if isinstance(pattern, (Causal, Local, Dilated, Prefix)):
        return _aligned(pattern, pattern.offset(shape), shape)
    if isinstance(pattern, Lengths):
        lengths = _of_batch(pattern.lengths, shape)
        return lambda b, h, i, j: j < lengths(b)
    if isinstance(pattern, Documents):
        given = pattern.ids, pattern.ids if pattern.key_ids is None else pattern.key_ids
        ids, keys = (t.expand(shape[0], t.shape[-1]) for t in given)
        return lambda b, h, i, j: (ids[b, i] == keys[b, j]) & (ids[b, i] >= 0)
    if isinstance(pattern, Tokens):
        chosen = torch.zeros(shape[-1], dtype=torch.bool, device=pattern.index.device)  # type: ignore[union-attr]
        chosen[pattern.index] = True
        return (lambda b, h, i, j: chosen[j]) if pattern.align == "keys" else (lambda b, h, i, j: chosen[j] | chosen[i])
    if isinstance(pattern, Mask):
        mask = pattern.mask.expand(shape)
        return lambda b, h, i, j: mask[b, h, i, j]
    if isinstance(pattern, (Neighborhood2d, Axial)):
        width = pattern.grid[1]
        if isinstance(pattern, Axial):
            return lambda b, h, i, j: (i // width == j // width) | (i % width == j % width)
        up, side = pattern.reach()
        return lambda b, h, i, j: ((i // width - j // width).abs() <= up) & ((i % width - j % width).abs() <= side)
    raise Unsupported(f"it has no words for {type(pattern).__name__}")


def added(bias: Bias | None, shape: Shape, device: torch.device) -> PairFunction | None:
    """A bias, for one pair at a time.

    Raises:
        Unsupported: this bias is not said here.
    """
    if bias is None:
        return None
    if isinstance(bias, Sum):
        parts = [p for p in (added(part, shape, device) for part in bias.parts) if p is not None]
        return lambda b, h, i, j: functools.reduce(torch.add, (part(b, h, i, j) for part in parts))
    if isinstance(bias, TensorBias):
        numbers = bias.tensor.expand(shape)
        return lambda b, h, i, j: numbers[b, h, i, j]
    if isinstance(bias, PerKey):
        of_keys = bias.tensor.expand(*shape[:-2], shape[-1])
        return lambda b, h, i, j: of_keys[b, h, j]
    if isinstance(bias, PerQuery):
        of_queries = bias.tensor.expand(shape[:-1])
        return lambda b, h, i, j: of_queries[b, h, i]
    if isinstance(bias, ALiBi):
        offset, slopes = bias.offset(shape), bias.slopes
        slopes = torch.tensor(alibi_slopes(slopes)) if isinstance(slopes, int) else slopes
        each = slopes.to(device).expand(shape[:-2])
        return lambda b, h, i, j: -each[b, h] * (i + offset - j).abs()
    raise Unsupported(f"it has no words for {type(bias).__name__}")


def _aligned(pattern: Causal | Local | Dilated | Prefix, offset: int, shape: Shape) -> PairFunction:
    if isinstance(pattern, Causal):
        return lambda b, h, i, j: j <= i + offset
    if isinstance(pattern, Prefix):
        first = _of_batch(pattern.n, shape)
        return lambda b, h, i, j: (j < first(b)) | (j <= i + offset)
    before, after = pattern.reach()
    if isinstance(pattern, Local):
        return lambda b, h, i, j: (j >= i + offset - before) & (j <= i + offset + after)
    k = pattern.dilation
    return lambda b, h, i, j: (
        (j >= i + offset - before * k) & (j <= i + offset + after * k) & ((j - i - offset) % k == 0)
    )


def _of_batch(number: Tensor | int, shape: Shape) -> Callable[[Tensor], Any]:
    if not torch.is_tensor(number):
        return lambda b: number
    numbers = number.expand(shape[0])
    return lambda b: numbers[b]


@functools.cache
def _flex(device: str) -> Any:
    """FlexAttention: compiled where there is a compiler for it, plain on a CPU (in N x M memory there)."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention if device == "cpu" else torch.compile(flex_attention)
