"""Scores as inner products: what a score, a scale that is a tensor and a bias of low rank become as features.

Most scores are inner products of something, and inner products are what kernels compute.
"""

import dataclasses
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Float, Tensor
from heedful.ops._cache import LRUCache
from heedful.ops._tree import key_of, tensors
from heedful.ops.biases import Bias, Sum, TensorBias
from heedful.ops.engines.reference import all_heads
from heedful.ops.mechanism import Mechanism
from heedful.ops.scores import Dot


class Operands(NamedTuple):
    """What an engine computes with: scores are `scale * query . key` (or additive), features made where needed."""

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M D"]
    value: Float[Tensor, "... M E"]
    mechanism: Mechanism


def operands(
    query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism, shape: Shape, *, no_bias: bool = False
) -> Operands:
    """The operands of a kernel, all with the leading axes of the matrix and equally many heads of keys and values.

    With `no_bias`, for an engine that adds none, also a bias that does not learn becomes columns.
    """
    if query.shape[:-3] != shape[:-3] or key.shape[:-3] != shape[:-3] or value.shape[:-3] != shape[:-3]:
        query, key, value = (t.expand(*shape[:-3], *t.shape[-3:]) for t in (query, key, value))
    score, scale, bias = mechanism.score, mechanism.factor(query.shape[-1]), mechanism.bias
    extra = (
        None if mechanism.softcap is not None else _columns(bias, shape, query, no_bias)
    )  # the cap is not on the bias
    pair = score.features(query, key)
    if pair is None:
        return Operands(query, key, value, mechanism)
    q, k = pair
    if torch.is_tensor(scale) or (extra is not None and scale != 1.0):
        q, scale = q * (scale.to(q.dtype) if torch.is_tensor(scale) else scale), 1.0
    if extra is not None:
        q, k, bias = *_append(q, k, extra, shape), None
    if k.dim() > 3 and k.shape[-3] != value.shape[-3]:
        k, value = all_heads(k, query), all_heads(value, query)
    return Operands(q, k, value, _as_dot(mechanism, float(scale), bias))


def as_columns(bias: Bias | None, shape: Shape, query: Tensor, *, no_bias: bool = False) -> bool:
    """Whether a bias that learns (with `no_bias`, any) can be more columns of queries and keys."""
    return _columns(bias, shape, query, no_bias) is not None


def requires_grad(bias: Bias | None) -> bool:
    """Whether a gradient of the bias may be asked for."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors(bias))


def _as_dot(mechanism: Mechanism, scale: float, bias: Bias | None) -> Mechanism:
    def make() -> Mechanism:
        return dataclasses.replace(mechanism, score=Dot(), scale=scale, bias=bias)

    return make() if key_of(mechanism) is None else _DOTS.get((mechanism, scale, bias is None), make)


_DOTS: LRUCache[Mechanism] = LRUCache(2**20, lambda _: 1024)


def _columns(bias: Bias | None, shape: Shape, query: Tensor, no_bias: bool) -> tuple[Tensor, Tensor] | None:
    """A bias of low rank whose tensors learn, as columns; None where there is none, and where it can stay a mask."""
    if bias is None or not (no_bias or requires_grad(bias)):
        return None
    if any(isinstance(term, TensorBias) for term in (bias.terms if isinstance(bias, Sum) else (bias,))):
        return None  # a tensor may hold -inf
    pair = bias.features(shape, query.device, query.dtype)
    return None if pair is None or pair[0].shape[-1] > max(query.shape[-1], 16) else pair


def _append(q: Tensor, k: Tensor, extra: tuple[Tensor, Tensor], shape: Shape) -> tuple[Tensor, Tensor]:
    """More columns, which may be given for all batches, or for the heads of the queries."""
    u, v = extra
    lead = len(shape) - 2
    u, v = (t.reshape((1,) * (lead + 2 - t.dim()) + t.shape) for t in (u, v))
    if lead > 1 and v.shape[-3] not in (1, k.shape[-3]):
        k = all_heads(k, q)
    u, v = u.expand(*q.shape[:-1], u.shape[-1]), v.expand(*k.shape[:-1], v.shape[-1])
    return torch.cat([q, u], dim=-1), torch.cat([k, v], dim=-1)
