"""Gradients of softmax attention in which every query sees every key, first and second, as products of matrices tile by tile.

The weights are one product and one exponential, `A = exp([s q, -lse] [k, 1]^T)`, and so is what softmax makes of their gradient
but for a factor, `dA - delta = [dout, -delta] [v, 1]^T`: nothing is summed over a row. Sums over a tile are kept with features as
rows, since a product with few columns is slow. Queries and values may differ in width, which PyTorch's kernel does not allow.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from heedful._types import Float, Tensor

ROWS, COLUMNS = 512, 512  # of a tile of the first gradient: its weights stay in the cache
_PAIRS = 2**18  # of a tile of the second one, which has all columns of its rows
_LEAST_ROWS = 32


class FirstGradients(NamedTuple):
    """Of queries, keys and values."""

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M D"]
    value: Float[Tensor, "... M E"]


class SecondGradients(NamedTuple):
    """Of queries, keys, values, and of the gradient of the output."""

    query: Float[Tensor, "... N D"]
    key: Float[Tensor, "... M D"]
    value: Float[Tensor, "... M E"]
    dout: Float[Tensor, "... N E"]


def faster(query: Tensor, value: Tensor) -> bool:
    """Whether the first gradient is faster than by the kernel, which makes queries as wide as values."""
    pairs = query.shape[-2] * value.shape[-2]
    return query.dtype.itemsize >= 4 and 2 * query.shape[-1] <= value.shape[-1] and pairs >= 2 * ROWS * COLUMNS


def first(
    dout: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, scale: float
) -> FirstGradients:
    """The gradients of query, key and value of `out = softmax(scale q k^T) v`, whose log-sum-exp is `lse`."""
    q, k, v, g = (_three_axes(t) for t in (query, key, value, dout))
    q1, k1, g1, v1 = _with_columns(q, k, v, g, _three_axes(out), lse, scale)
    dq, dk, dv = (_transposed_zeros(t) for t in (q, k, v))
    weights, slopes = (q.new_empty(ROWS * COLUMNS) for _ in range(2))
    for x, y in _heads(q, k):
        for columns in _parts(k.shape[1], COLUMNS):
            for rows in _parts(q.shape[1], ROWS):
                shape = rows.stop - rows.start, columns.stop - columns.start
                a, ds = (buffer[: math.prod(shape)].view(shape) for buffer in (weights, slopes))
                torch.mm(q1[x, rows], k1[y, columns].mT, out=a).exp_()
                dv[y, :, columns].addmm_(g[x, rows].mT, a)
                torch.mm(g1[x, rows], v1[y, columns].mT, out=ds).mul_(a)
                dq[x, :, rows].addmm_(k[y, columns].mT, ds.mT)
                dk[y, :, columns].addmm_(q[x, rows].mT, ds)
    pairs = (dq.mul_(scale), query), (dk.mul_(scale), key), (dv, value)
    return FirstGradients(*(d.mT.reshape(t.shape) for d, t in pairs))


def second(
    dout: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    scale: float,
    directions: Sequence[Tensor],
) -> SecondGradients:
    """The gradients of the inner product of the first gradients with `directions`, of query, key and value.

    With `dS = A (dA - delta)`, that product is `sum(dS W) + sum(A Z)`, where `W = s (u k^T + q w^T)` and `Z = dout z^T`. What W
    adds to a row as a whole changes nothing, so its mean under A is taken from it: `R = A (W - mean)` is the gradient of dA, and
    `A (G - mean G)` with `G = (dA - delta) (W - mean) + Z` that of the scores.
    """
    q, k, v, g = (_three_axes(t) for t in (query, key, value, dout))
    u, w, z = (_three_axes(t) for t in directions)
    q1, k1, g1, v1 = _with_columns(q, k, v, g, _three_axes(out), lse, scale)
    sides, bases = scale * torch.cat([u, q], dim=-1), torch.cat([k, w], dim=-1)  # W is their product
    bases1 = torch.cat([bases, torch.ones_like(bases[..., :1])], dim=-1)
    dq, dk, dv, dg = (_transposed_zeros(t) for t in (q, k, v, g))
    step = max(_PAIRS // k.shape[1], _LEAST_ROWS)
    buffers = q.new_empty(4, min(step, q.shape[1]) * k.shape[1])
    for x, y in _heads(q, k):
        for rows in _parts(q.shape[1], step):
            shape = rows.stop - rows.start, k.shape[1]
            a, ds, c, r = (buffer[: math.prod(shape)].view(shape) for buffer in buffers)
            gradient, side = g[x, rows], sides[x, rows]
            torch.mm(q1[x, rows], k1[y].mT, out=a).exp_()
            a.div_(a.sum(-1, keepdim=True))  # lse is rounded, and rows have to add up to 1
            mean = (side * (bases[y].mT @ a.mT).mT).sum(-1, keepdim=True)
            torch.mm(g1[x, rows], v1[y].mT, out=ds)  # dA - delta
            torch.mm(torch.cat([side, -mean], dim=-1), bases1[y].mT, out=c)  # W - mean
            torch.mul(a, c, out=r)
            dg[x, :, rows] = (v[y].mT @ r.mT).addmm_(z[y].mT, a.mT)
            dv[y].addmm_(gradient.mT, r)
            r.mul_(ds).addcmul_(a, torch.mm(gradient, z[y].mT, out=c))  # A G
            r.addcmul_(a, r.sum(-1, keepdim=True), value=-1)
            ds.mul_(a)
            dq[x, :, rows] = (k[y].mT @ r.mT).addmm_(w[y].mT, ds.mT)
            dk[y].addmm_(q[x, rows].mT, r).addmm_(u[x, rows].mT, ds)
    pairs = (dq.mul_(scale), query), (dk.mul_(scale), key), (dv, value), (dg, dout)
    return SecondGradients(*(d.mT.reshape(t.shape) for d, t in pairs))


def _with_columns(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries and keys whose products are `score - lse`, and gradients and values whose products are `dA - delta`."""
    delta = (dout * out).sum(-1, keepdim=True)
    q1 = torch.cat([scale * q, -lse.reshape(*q.shape[:2], 1).to(q.dtype)], dim=-1)
    return q1, _with_ones(k), torch.cat([dout, -delta], dim=-1), _with_ones(v)


def _with_ones(t: Tensor) -> Tensor:
    return torch.cat([t, torch.ones_like(t[..., :1])], dim=-1)


def _heads(q: Tensor, k: Tensor) -> Iterator[tuple[int, int]]:
    """Each head of the queries, and that of the keys which serves it."""
    group = len(q) // max(len(k), 1)
    return ((x, x // group) for x in range(len(q)))


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _transposed_zeros(t: Tensor) -> Tensor:
    return t.new_zeros(t.shape[0], t.shape[2], t.shape[1])


def _three_axes(t: Tensor) -> Tensor:
    return t.reshape(math.prod(t.shape[:-2]), *t.shape[-2:])
