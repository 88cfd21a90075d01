"""Products with the attention matrix that is never stored, and with its transpose: each is attention again."""

import functools
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._concrete import concrete, transformed
from heedful.ops.attention import attention
from heedful.ops.biases import Bias
from heedful.ops.engines import fused
from heedful.ops.engines.base import EngineName
from heedful.ops.engines.reference import all_heads, at_least_float32
from heedful.ops.mechanism import Mechanism, check
from heedful.ops.nonfinite import mask_nonfinite
from heedful.ops.reduce import WeightSource
from heedful.ops.scores import Dot
from heedful.ops.statistics import Statistic

_LARGE = 64  # from this size on, what rounds off a score in float32 shows in its weight (in float64 from 3e10 on)


@runtime_checkable
class Matrix(Protocol):
    """What the functions of this folder need of an `AttentionMatrix`, which is made of them."""

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M K"]
    mechanism: Mechanism
    shape: Shape
    _known_lse: Tensor | None

    @property
    def _fused(self) -> bool:
        """Whether PyTorch's fused kernel may answer."""

    def _differentiable(self) -> bool:
        """Whether a gradient may be asked for: then lse is not kept, since a graph serves once."""

    def __matmul__(self, other: Tensor) -> Tensor: ...

    def lse(self) -> Tensor:
        """The log-sum-exp of each row."""

    def inner_product(self) -> tuple[Tensor, Tensor, float]:
        """Features and a factor that the scores are inner products of."""

    def source(self) -> WeightSource:
        """What the weights are made of."""

    def reduce(self, *statistics: Statistic) -> tuple[Tensor, ...]:
        """Statistics of the weights."""


class Transposed:
    """`A.T` of an `AttentionMatrix`; only products are asked of it."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.shape = (*matrix.shape[:-2], matrix.shape[-1], matrix.shape[-2])

    def __matmul__(self, other: Float[Tensor, "... N E"]) -> Float[Tensor, "... M E"]:
        """`A.T @ X` with X `[..., N, E]`.

        Attention again, with the roles of query and key exchanged: `A_ij = exp(s_ij - lse_i)`, so -lse_i is one more feature
        of the new keys, and the sum of the exponentials is not divided away but multiplied back. Both axes are read
        backwards: a causal pattern is then causal again.
        """
        A = self.matrix
        if other.dim() < 2 or other.shape[-2] != A.shape[-2]:
            raise ValueError(
                f"`X` must be [..., {A.shape[-2]}, E] for the transpose of a matrix of shape {list(A.shape)}: got {list(other.shape)}."
            )
        lse = A.lse() if A._fused else None
        if lse is None or loses_precision(lse):
            return self._by_gradient(other)
        pattern, bias = A.mechanism.pattern, A.mechanism.bias
        query, key, factor = A.inner_product()
        lead, key = A.shape[:-2], all_heads(key, A.query)
        query, key = query.expand(*lead, *query.shape[-2:]), key.expand(*lead, *key.shape[-2:])
        other = at_least_float32(other).to(query.dtype).expand(*lead, *other.shape[-2:])
        empty = lse == -math.inf
        keys = torch.cat([query * factor, -lse.masked_fill(empty, 0)[..., None]], dim=-1)
        queries = torch.cat([key, key.new_ones(*key.shape[:-1], 1)], dim=-1)
        other = other.masked_fill(empty[..., None], 0)
        queries, keys, other = queries.flip(-2), keys.flip(-2), other.flip(-2)
        transposed = Mechanism(
            Dot(), pattern=pattern.transposed(), bias=None if bias is None else _TransposedBias(bias)
        )
        product, mass = product_and_lse(queries, keys, other, transposed)
        return (product * mass[..., None].exp()).flip(-2)

    def _by_gradient(self, other: Tensor) -> Tensor:
        """`A X` is linear in X: the gradient that it gives X is `A.T` times the gradient that it is given.

        Of large scores by the tiled engine, since a kernel, too, makes weights as `exp(score - lse)` for the gradient.
        """
        A, dtype = self.matrix, at_least_float32(self.matrix.query).dtype
        product_with = functools.partial(by_engine, A, engine="tiled" if A._fused else None)
        values = torch.zeros(*A.shape[:-2], A.shape[-1], other.shape[-1], dtype=dtype, device=other.device)
        if transformed():
            out, vjp_function, *_ = torch.func.vjp(product_with, values)
            return vjp_function(other.to(dtype).expand(out.shape))[0]  # type: ignore[no-any-return]
        with torch.enable_grad():
            out = product_with(values.requires_grad_())
        (product,) = torch.autograd.grad(
            out, values, other.to(dtype).expand(out.shape), create_graph=A._differentiable() or other.requires_grad
        )
        return product


@dataclass(frozen=True, eq=False)
class _TransposedBias(Bias):
    """The bias of the transposed matrix, read backwards on both axes."""

    inner: Bias

    def at(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Float[Tensor, "..."]:
        inner_shape = (*shape[:-2], shape[-1], shape[-2])
        return self.inner.at(inner_shape[-2] - 1 - columns.mT, inner_shape[-1] - 1 - rows.mT, inner_shape).mT

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = self.inner.depends((*shape[:-2], shape[-1], shape[-2]))
        return by_column, by_row

    def check(self, query: Tensor, shape: Shape) -> None:
        pass


def by_engine(
    A: Matrix, values: Float[Tensor, "... M E"], engine: EngineName | None = None
) -> Float[Tensor, "... N E"]:
    """`A @ values` by an engine of `attention`; None: the best one."""
    query, key, values = (at_least_float32(t) for t in (A.query, A.key, values))
    values, m = all_heads(values.to(query.dtype), query).expand(*A.shape[:-2], *values.shape[-2:]), A.mechanism
    return attention(
        query, all_heads(key, query), values, score=m.score, normalize=m.normalize, pattern=m.pattern, bias=m.bias,
        scale=m.scale, softcap=m.softcap, sinks=m.sinks, engine=engine,
    )  # fmt: skip


def product(A: Matrix, values: Float[Tensor, "... M E"]) -> tuple[Float[Tensor, "... N E"], Float[Tensor, "... N"]]:
    """`A @ values` and lse by PyTorch's fused kernel, in at least float32; lse is kept for later questions."""
    query, key, values = (at_least_float32(t) for t in (A.query, A.key, values))
    values = values.to(query.dtype)
    if values.dim() < 2 or values.shape[-2] != A.shape[-1]:
        raise ValueError(
            f"`X` must be [..., {A.shape[-1]}, E] for a matrix of shape {list(A.shape)}: got {list(values.shape)}."
        )
    if values.dim() > 2 and values.shape[-3] != key.shape[-3]:
        key = all_heads(key, A.query)
        values = values.expand(*A.shape[:-2], *values.shape[-2:])
    values = values.expand(*key.shape[: max(key.dim() - values.dim(), 0)], *values.shape)
    out, lse = product_and_lse(query, key, values, A.mechanism)
    if not A._differentiable():
        A._known_lse = lse
    elif loses_precision(lse):
        out = by_engine(A, values, "tiled")
    return out, lse


def product_and_lse(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> tuple[Tensor, Tensor]:
    """The fused product; NaN and infinities reach only the rows that may see them."""
    shape, pattern = check(query, key, value, mechanism), mechanism.pattern
    original = query, key
    query, key, value, nonfinite = mask_nonfinite(query, key, value, mechanism, shape)
    factor, pair = mechanism.factor(query.shape[-1]), mechanism.score.features(query, key)
    assert pair is not None
    assert not torch.is_tensor(factor)
    out, lse = fused.product_and_lse(*pair, value, factor, pattern, mechanism.bias, shape)
    if nonfinite is None:
        return out, lse
    row_nonfinite = mask_nonfinite(*original, original[1][..., :0], mechanism, shape, rows=True)[
        3
    ]  # a bad value is none of lse's
    lse = lse if row_nonfinite is None else lse + row_nonfinite[..., 0].to(lse.dtype)
    return out + nonfinite.to(out.dtype), lse


def loses_precision(lse: Float[Tensor, "... N"]) -> bool:
    """Whether scores are so large that weights must not be made as `exp(score - lse)`, nor an entropy of the difference.

    Two ways to sum up a score then differ by more than what a weight is known to, and of scores of -1e30 lse does not even
    tell how many there are: a row's own largest score has to be subtracted from scores that were computed with it. PyTorch's
    kernel does so, but not for the gradient.
    """
    if not lse.numel() or not concrete(lse):
        return False
    low, high = (t.item() for t in lse.detach().aminmax())
    if low == -math.inf:
        low = lse.detach().masked_fill(lse == -math.inf, 0).amin().item()
    return max(high, -low) * torch.finfo(lse.dtype).eps > _LARGE * torch.finfo(torch.float32).eps
