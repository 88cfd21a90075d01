"""The attention matrix that is never stored: what people ask of it is a product with it or with its transpose."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops._tree import tensors
from heedful.ops.attention import _GLOBAL, _SCALED_DOT, check, isolate
from heedful.ops.biases import Bias, as_bias
from heedful.ops.engines import fused
from heedful.ops.engines.reference import all_heads, at_least_float32
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Pattern
from heedful.ops.scores import Dot, Score

_STREAMED = 2**22  # scores that are held at a time where a summary is streamed


class AttentionMatrix:
    """The matrix `A = softmax(score(Q, K) + bias)` of shape `[..., H, N, M]`; nothing is computed until it is asked for.

    Every summary is exact, takes memory linear in N and M, is computed in at least float32, and has a gradient. A row
    that may see nothing is 0, its entropy is 0 and its log-sum-exp -inf.

    Args:
        query: `[..., H, N, D]`; the arguments are those of `heedful.attention`.
        key: `[..., G, M, D]`.
        score: how relevant a key is to a query: an inner product, as all but `Additive` are.
        normalize: `heedful.softmax`.
        pattern: who may see whom.
        bias: added to the scores.

    Example:
        >>> A = AttentionMatrix(torch.zeros(4, 8), torch.zeros(4, 8), pattern=Causal())
        >>> A.shape
        (4, 4)
        >>> A.received()
        tensor([2.0833, 1.0833, 0.5833, 0.2500])
        >>> A[2:, :]
        tensor([[0.3333, 0.3333, 0.3333, 0.0000],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def __init__(
        self,
        query: Float[Tensor, "... N D"],
        key: Float[Tensor, "... M D"],
        *,
        score: Score = _SCALED_DOT,
        normalize: Normalizer = softmax,
        pattern: Pattern = _GLOBAL,
        bias: Float[Tensor, "..."] | Bias | None = None,
    ) -> None:
        if normalize is not softmax:
            raise ValueError(f"`normalize` must be `heedful.softmax`: got {normalize!r}.")
        if not score.inner:
            raise ValueError(f"`score` must be an inner product, such as `ScaledDot()`: got {score!r}.")
        self.bias = None if bias is None else as_bias(bias)
        self.shape = check(query, key, None, Mechanism(score, pattern=pattern, bias=self.bias))
        self.query, self.key, self.score, self.pattern = query, key, score, pattern
        self._known_lse: Tensor | None = None

    def __repr__(self) -> str:
        return (
            f"AttentionMatrix(shape={self.shape}, score={self.score}, pattern={self.pattern}, dtype={self.query.dtype})"
        )

    def __matmul__(self, other: Float[Tensor, "... M E"]) -> Float[Tensor, "... N E"]:
        """`A @ X`: attention with X `[..., M, E]` as values; its leading axes broadcast to those of A."""
        return self._product(other)[0]

    @property
    def T(self) -> "Transposed":  # noqa: N802
        """The transposed matrix, `[..., H, M, N]`: `A.T @ X`."""
        return Transposed(self)

    def lse(self) -> Float[Tensor, "... N"]:
        """The logarithm of the sum of the exponentials of each row's scores `[..., H, N]`, in nats."""
        if self._known_lse is not None and not self._differentiable():
            return self._known_lse
        return self._product(torch.zeros_like(self.key[..., :1]))[1]

    def entropy(self) -> Float[Tensor, "... N"]:
        """The entropy of each row `[..., H, N]`, in nats: `lse_i - sum_j A_ij s_ij`."""
        if self.bias is not None:
            spread = [self._expected_score(rows) for rows in self._row_tiles()]
            expected = torch.cat(spread, dim=-1)
            lse = self.lse()
        else:
            features, others, factor = self.score.as_inner_product(
                at_least_float32(self.query), at_least_float32(self.key)
            )
            product, lse = self._product(others)
            expected = factor * (features * product).sum(-1)
        return torch.where(lse == -math.inf, 0.0, lse.masked_fill(lse == -math.inf, 0) - expected)

    def received(self) -> Float[Tensor, "... M"]:
        """How much attention each key gets, summed over the queries `[..., H, M]`: `A.T @ 1`."""
        return (self.T @ torch.ones_like(self.query[..., :1]))[..., 0]

    def pool(self, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
        """The matrix on a coarse grid `[..., H, rows, columns]`.

        A cell is the mass that its queries put on its keys, summed over the keys and averaged over the queries, so that a
        row of cells adds up to 1. Query i belongs to cell `i * rows // N`, key j to `j * columns // M`.
        """
        for name, cells, positions in (("rows", rows, self.shape[-2]), ("columns", columns, self.shape[-1])):
            if not 1 <= cells <= positions:
                raise ValueError(f"`{name}` must be between 1 and the {positions} positions: got {cells}.")
        device, dtype = self.query.device, at_least_float32(self.query).dtype
        column_cell = torch.arange(self.shape[-1], device=device) * columns // self.shape[-1]
        row_cell = torch.arange(self.shape[-2], device=device) * rows // self.shape[-2]
        mass = self @ torch.nn.functional.one_hot(column_cell, columns).to(dtype)
        total = torch.zeros(*self.shape[:-2], rows, columns, dtype=dtype, device=device).index_add(-2, row_cell, mass)
        return total / torch.bincount(row_cell, minlength=rows)[:, None]

    def __getitem__(self, index: Any) -> Tensor:
        """Any window of A, exactly: `A[..., rows, columns]`, indexed by integers, slices, lists and tensors as a tensor is.

        Rows and columns are chosen independently of each other (a window, not a list of pairs).
        """
        lead_index, row_index, column_index = self._split_index(index)
        rows, drop_row = self._positions(row_index, -2)
        columns, drop_column = self._positions(column_index, -1)
        lse = self._lse_of(rows)
        scores = self._scores(rows, columns)
        weights = (scores - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
        weights = weights[(*lead_index, slice(None), slice(None))]
        weights = weights[..., 0] if drop_column else weights
        return weights.select(-1 if drop_column else -2, 0) if drop_row else weights

    def _product(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`A @ values` and lse, in at least float32."""
        query, key, values = (at_least_float32(t) for t in (self.query, self.key, values))
        values = values.to(query.dtype)
        if values.dim() < 2 or values.shape[-2] != self.shape[-1]:
            raise ValueError(
                f"`X` must be [..., {self.shape[-1]}, E] for a matrix of shape {list(self.shape)}: got {list(values.shape)}."
            )
        if values.dim() > 2 and values.shape[-3] != key.shape[-3]:
            key = all_heads(key, self.query)
            values = values.expand(*self.shape[:-2], *values.shape[-2:])
        values = values.expand(*key.shape[: max(key.dim() - values.dim(), 0)], *values.shape)
        product, lse = _product_and_lse(query, key, values, self.score, self.pattern, self.bias)
        if not self._differentiable():
            self._known_lse = lse
        return product, lse

    def _scores(self, rows: Int[Tensor, "n"], columns: Int[Tensor, "m"]) -> Float[Tensor, "... n m"]:
        """The scores of a window, -inf where hidden."""
        key = all_heads(at_least_float32(self.key), self.query)
        scores = self.score(at_least_float32(self.query).index_select(-2, rows), key.index_select(-2, columns))
        if self.bias is not None:
            scores = scores + self.bias.at(rows[:, None], columns[None], self.shape)
        if self.pattern.hides(self.shape):
            scores = scores.masked_fill(~self.pattern.allowed(rows[:, None], columns[None], self.shape), -math.inf)
        return scores

    def _expected_score(self, rows: Int[Tensor, "n"]) -> Float[Tensor, "... n"]:
        """`sum_j A_ij s_ij` of some rows, streamed."""
        scores = self._scores(rows, torch.arange(self.shape[-1], device=rows.device))
        hidden = scores == -math.inf
        return (softmax(scores) * scores.masked_fill(hidden, 0)).sum(-1)

    def _lse_of(self, rows: Int[Tensor, "n"]) -> Float[Tensor, "... n"]:
        """Lse of some rows: a few are computed by themselves, many with all the others in one fused pass."""
        if (self._known_lse is not None and not self._differentiable()) or 4 * len(rows) > self.shape[-2]:
            return self.lse().index_select(-1, rows)
        columns = torch.arange(self.shape[-1], device=rows.device)
        step = self._tile_height()
        parts = [self._scores(part, columns) for part in rows.split(step)]
        return torch.cat([_logsumexp(part) for part in parts], dim=-1)

    def _differentiable(self) -> bool:
        """Whether a gradient may be asked for: then lse is not kept, since a graph serves once."""
        operands = (self.query, self.key, *tensors(self.bias), *tensors(self.score))
        return torch.is_grad_enabled() and any(t.requires_grad for t in operands)

    def _row_tiles(self) -> tuple[Tensor, ...]:
        rows = torch.arange(self.shape[-2], device=self.query.device)
        return tuple(rows.split(self._tile_height()))

    def _tile_height(self) -> int:
        return max(_STREAMED // max(math.prod(self.shape[:-2]) * self.shape[-1], 1), 1)

    def _split_index(self, index: Any) -> tuple[tuple[Any, ...], Any, Any]:
        """An index as (leading axes, rows, columns)."""
        items = index if isinstance(index, tuple) else (index,)
        axes, dots = len(self.shape), sum(item is Ellipsis for item in items)
        if any(item is None for item in items) or dots > 1 or len(items) - dots > axes:
            raise IndexError(
                f"an index of a matrix of shape {list(self.shape)} must have at most {axes} items and one `...`: got {index!r}."
            )
        at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
        items = (*items[:at], *[slice(None)] * (axes - len(items) + dots), *items[at + dots :])
        return items[:-2], items[-2], items[-1]

    def _positions(self, index: Any, axis: int) -> tuple[Int[Tensor, "n"], bool]:
        """The positions that an index of one axis chooses, and whether the axis is dropped."""
        positions = torch.arange(self.shape[axis], device=self.query.device)
        chosen = positions[index]
        if chosen.dim() > 1:
            raise IndexError(
                f"rows and columns must be chosen by an integer, a slice or one list: got {list(chosen.shape)} indices."
            )
        return chosen.reshape(-1), chosen.dim() == 0


class Transposed:
    """`A.T` of an `AttentionMatrix`; only products are asked of it."""

    def __init__(self, matrix: AttentionMatrix) -> None:
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
        lse = A.lse()
        query, key, factor = A.score.as_inner_product(at_least_float32(A.query), at_least_float32(A.key))
        lead, key = A.shape[:-2], all_heads(key, A.query)
        query, key = query.expand(*lead, *query.shape[-2:]), key.expand(*lead, *key.shape[-2:])
        other = at_least_float32(other).to(query.dtype).expand(*lead, *other.shape[-2:])
        empty = lse == -math.inf
        keys = torch.cat([query * factor, -lse.masked_fill(empty, 0)[..., None]], dim=-1)
        queries = torch.cat([key, torch.ones_like(key[..., :1])], dim=-1)
        other = other.masked_fill(empty[..., None], 0)
        bias = None if A.bias is None else _Backwards(A.bias)
        queries, keys, other = queries.flip(-2), keys.flip(-2), other.flip(-2)
        product, mass = _product_and_lse(queries, keys, other, Dot(), A.pattern.transposed(), bias)
        return (product * mass[..., None].exp()).flip(-2)


@dataclass(frozen=True, eq=False)
class _Backwards(Bias):
    """The bias of the transposed matrix, read backwards on both axes."""

    inner: Bias

    def at(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Float[Tensor, "..."]:
        inside = (*shape[:-2], shape[-1], shape[-2])
        return self.inner.at(inside[-2] - 1 - columns.mT, inside[-1] - 1 - rows.mT, inside).mT

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = self.inner.depends((*shape[:-2], shape[-1], shape[-2]))
        return by_column, by_row

    def check(self, query: Tensor, shape: Shape) -> None:
        pass


def _product_and_lse(
    query: Tensor, key: Tensor, value: Tensor, score: Score, pattern: Pattern, bias: Bias | None
) -> tuple[Tensor, Tensor]:
    """The fused product; NaN and infinities reach only the rows that may see them."""
    shape = check(query, key, value, Mechanism(score, pattern=pattern, bias=bias))
    query, key, value, poison = isolate(query, key, value, pattern, shape)
    query, key, scale = score.as_inner_product(query, key)
    product, lse = fused.product_and_lse(query, key, value, scale, pattern, bias, shape)
    return (product, lse) if poison is None else (product + poison.to(product.dtype), lse)


def _logsumexp(scores: Tensor) -> Tensor:
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).logsumexp(-1).masked_fill(empty[..., 0], -math.inf)
