"""Scores of a tile in buffers, and their gradients: inner products, and additive ones."""

from collections.abc import Iterator

import torch

from heedful._types import Tensor
from heedful.ops.engines.derivatives import Tile, put, take
from heedful.ops.mechanism import Mechanism
from heedful.ops.scores import Additive
from heedful.ops.selection import Soft

CACHED_TERMS = 2**19  # terms of additive scores, one for each pair and feature, that are held at a time
_GLANCE = 2**14  # additive scores whose sizes are looked at together: what is written is still at hand
_FAR = 20.0  # e^80 is a number in float32
_NEAR = 1 / 2  # sums of more keep enough of the digits of 1 - 2 r


def scores_of(mechanism: Mechanism, q: Tensor, k: Tensor) -> "InnerScores | AdditiveScores":
    """The scores of a mechanism that is known to the buffers."""
    factor = mechanism.factor(q.shape[-1])
    assert isinstance(factor, (int, float))
    if not isinstance(mechanism.score, Additive):
        return InnerScores(q, k, factor)
    exact = mechanism.normalize.exact_zeros or not isinstance(mechanism.select, Soft)  # equal scores are a tie
    return AdditiveScores(q, k, mechanism.score, factor, exact=exact)


class InnerScores:
    """Scores that are inner products, `factor * q_i . k_j`."""

    def __init__(self, q: Tensor, k: Tensor, factor: float) -> None:
        self.q, self.k, self.factor = q, k, factor

    def begin_gradient(self) -> None:
        self.dq, self.dk = torch.zeros_like(self.q), torch.zeros_like(self.k)

    def fill(self, out: Tensor, heads: slice, keys: slice, tile: Tile) -> None:
        product(out, take(self.q[heads], "row", tile), take(self.k[keys], "column", tile).mT, self.factor)

    def backward(self, ds: Tensor, heads: slice, keys: slice, tile: Tile) -> None:
        q, k = take(self.q[heads], "row", tile), take(self.k[keys], "column", tile)
        put(self.dq[heads], (ds @ k).mul_(self.factor), "row", tile)
        add_product(self.dk, keys, tile, ds.mT, q, self.factor)

    def gradients(self) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        return self.dq, self.dk, {}


class AdditiveScores:
    """Additive scores without a transcendental function a pair: `tanh(q + k) = 1 - 2 r` with `r = 1 / (1 + e^2q e^2k)`.

    The exponentials are made once for each query and each key. Where they could overflow, r is a sigmoid of the sum. If scores
    have to be `exact`, those that are no larger than the rounding are computed by their definition, so that 0 is 0; and where all
    sums are small, so that 1 - 2 r keeps few of their digits, `tanh = u / (u + 2)` with `u = e^2q e^2k - 1`.
    """

    def __init__(self, q: Tensor, k: Tensor, score: Additive, factor: float, *, exact: bool) -> None:
        self.q, self.k, self.factor, self.score, self.exact = q, k, factor, score, exact
        weight = score.weight.detach().to(q.dtype)
        self.weight = weight.expand(len(q), -1) if weight.dim() == 1 else weight.repeat(len(q) // len(weight), 1)
        self.r, self.one, self.keeps_terms = q.new_empty(0), q.new_ones(()), False
        self.a, self.b, self.safe, self.small, reach = q, k, False, False, _FAR
        if q.numel() and k.numel() and not q.is_meta:
            center = (k.amax((0, 1)) + k.amin((0, 1))) / 2
            a, b = q + center, k - center
            largest = float(a.abs().amax()), float(b.abs().amax())
            self.safe = max(largest) < _FAR
            if self.safe:
                reach = largest[0] + largest[1]
                self.small = exact and reach < _NEAR
                a, b = a.mul_(2), b.mul_(2)
                if self.small:
                    self.a1, self.b1 = a.expm1(), b.expm1()
                self.a, self.b = a.exp_(), b.exp_()
        rounding = (reach + 4 * min(reach, 1)) * torch.finfo(q.dtype).eps
        self.least = self.weight.abs().sum(-1, keepdim=True) * (rounding * abs(factor))

    def begin_gradient(self) -> None:
        self.dq, self.dk = torch.zeros_like(self.q), torch.zeros_like(self.k)
        self.dw = torch.zeros_like(self.weight, memory_format=torch.contiguous_format)
        self.keeps_terms = True  # the terms of a tile serve its gradient too

    def fill(self, out: Tensor, heads: slice, keys: slice, tile: Tile) -> None:
        n, m, width = *out.shape[1:], self.q.shape[-1]
        step = n if self.keeps_terms else max(CACHED_TERMS // max(m * width, 1), 1)
        size = (len(out) if self.keeps_terms else 1) * min(step, n) * m * width
        if self.r.numel() < size:
            self.r = self.q.new_empty(size)
        for head, (x, y) in enumerate(_pairs(heads, keys)):
            rows, columns = take(self.a[x], "row", tile), take(self.b[y], "column", tile)
            if self.small:
                rows1, columns1 = take(self.a1[x], "row", tile), take(self.b1[y], "column", tile)
            weight, scores = self.weight[x], out[head]
            for start in range(0, n, step):
                row_chunk = rows[start : start + step]
                r = self._of(head if self.keeps_terms else 0, len(row_chunk), m)
                if self.small:
                    torch.addcmul(columns1, rows1[start : start + step, None], columns, out=r)
                    r.div_(r + 2)
                elif self.safe:
                    torch.addcmul(self.one, row_chunk[:, None], columns, out=r).reciprocal_()
                else:
                    torch.add(row_chunk[:, None], columns, out=r).mul_(-2).sigmoid_()
                scores[start : start + step] = (r.view(r.shape[0] * m, width) @ weight).view(-1, m)
        if not self.small:
            out.mul_(-2).add_(self.weight[heads].sum(-1)[:, None, None])
        out.mul_(self.factor)
        if self.exact and out.numel() and not out.is_meta:
            self._define_small(out, heads, keys, tile)

    def _define_small(self, out: Tensor, heads: slice, keys: slice, tile: Tile) -> None:
        """Scores that rounding may have made are written again, as their definition gives them."""
        step = max(_GLANCE // out.shape[-1], 1)
        least = torch.cat([row_chunk.abs().amin(-1) for row_chunk in out.flatten(0, 1).split(step)]).view(
            out.shape[:-1]
        )
        for head, row in (least < self.least[heads]).nonzero().tolist():
            x = heads.start + head
            y = keys.start + (head if keys.stop - keys.start > 1 else 0)
            columns = (out[head, row].abs() < self.least[x]).nonzero()[:, 0]
            sums = take(self.q[x], "row", tile)[row] + take(self.k[y], "column", tile)[columns]
            out[head, row, columns] = sums.tanh_() @ (self.weight[x] * self.factor)

    def backward(self, ds: Tensor, heads: slice, keys: slice, tile: Tile) -> None:
        n, m = ds.shape[1:]
        for head, (x, y) in enumerate(_pairs(heads, keys)):
            r, d = self._of(head, n, m), ds[head]
            weighted = torch.bmm(d[:, None], r).sum((0, 1))
            self.dw[x] += (weighted if self.small else d.sum() - 2 * weighted) * self.factor
            if self.small:
                r.mul_(r).neg_().add_(1)
            else:
                r.addcmul_(r, r, value=-1)
            r.mul_(d[..., None])
            slope = self.weight[x] * (self.factor if self.small else 4 * self.factor)
            put(self.dq[x], r.sum(1) * slope, "row", tile)
            put(self.dk[y], r.sum(0) * slope, "column", tile)

    def gradients(self) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        weight = self.score.weight
        dw = self.dw.sum(0) if weight.dim() == 1 else self.dw.view(len(self.dw) // len(weight), *weight.shape).sum(0)
        return self.dq, self.dk, {id(weight): dw.to(weight.dtype)}

    def _of(self, head: int, n: int, m: int) -> Tensor:
        size = n * m * self.q.shape[-1]
        return self.r[head * size : (head + 1) * size].view(n, m, -1)


def product(out: Tensor, a: Tensor, b: Tensor, factor: float = 1.0) -> None:
    """`out = factor * a @ b`, in place; one product by itself is faster than a batch of one."""
    alpha = factor or 1.0  # times 0, a product is not even computed, and its NaN is lost
    if len(out) == 1:
        out[0].addmm_(a[0], b[0], beta=0, alpha=alpha)
    else:
        out.baddbmm_(a, b.expand(len(out), -1, -1), beta=0, alpha=alpha)
    if not factor:
        out.mul_(factor)


def add_product(total: Tensor, keys: slice, tile: Tile, a: Tensor, b: Tensor, factor: float = 1.0) -> None:
    """Adds `factor * a @ b` to what the keys of a tile have."""
    if len(a) == 1 and isinstance(tile.columns, slice):
        total[keys.start, tile.columns].addmm_(a[0], b[0], alpha=factor)
    else:
        put(total[keys], _of_keys(a @ b, keys).mul_(factor), "column", tile)


def _of_keys(gradient: Tensor, keys: slice) -> Tensor:
    """What each of some heads gives to the keys: summed where they have them in common."""
    return gradient if keys.stop - keys.start == len(gradient) else gradient.sum(0, keepdim=True)


def _pairs(heads: slice, keys: slice) -> Iterator[tuple[int, int]]:
    shared = keys.stop - keys.start == 1
    return ((x, keys.start if shared else keys.start + x - heads.start) for x in range(heads.start, heads.stop))
