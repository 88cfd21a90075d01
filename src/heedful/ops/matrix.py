"""The attention matrix that is never stored: windows of it, and products with it and with its transpose.

What else people ask of it, number by number, is in `summaries.py`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops import statistics
from heedful.ops._readable import transformed
from heedful.ops._tree import tensors
from heedful.ops.attention import attend
from heedful.ops.biases import Bias
from heedful.ops.engines import fused, reference
from heedful.ops.engines.reduce import Source, weights_of
from heedful.ops.engines.reference import all_heads, at_least_float32
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, Mechanism, check, mechanism_of
from heedful.ops.nonfinite import mask_nonfinite
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Pattern
from heedful.ops.plan import Plan, choose
from heedful.ops.scores import Dot, Score
from heedful.ops.selection import Soft
from heedful.ops.summaries import Summaries, groups_of, seen_lse

_STREAMED = 2**22  # scores that are held at a time where a summary is streamed


class AttentionMatrix(Summaries):
    """The matrix `A = softmax(score(Q, K) + bias)` of shape `[..., H, N, M]`; nothing is computed until it is asked for.

    Every summary is exact, takes memory linear in N and M, is computed in at least float32, and has a gradient (but those
    that count: `argmax`, `histogram`, the indices of `topk`). A row that may see nothing is 0, its entropy is 0 and its
    log-sum-exp -inf.

    Args:
        query: `[..., H, N, D]`; the arguments are those of `heedful.attention`.
        key: `[..., G, M, D]`.
        score: how relevant a key is to a query.
        normalize: what makes weights of the scores. The softmax of inner products is summarised by PyTorch's fused kernel,
            the others a few rows at a time.
        pattern: who may see whom.
        bias: added to the scores.
        scale: what a score is multiplied by.
        softcap: a cap on the scores.
        sinks: one more score a row, of which the weight goes to nothing.

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
        key: Float[Tensor, "... M K"],
        *,
        score: Score = SCALED_DOT,
        normalize: Normalizer = softmax,
        pattern: Pattern = GLOBAL,
        bias: Float[Tensor, "..."] | Bias | None = None,
        scale: Float[Tensor, "..."] | float | None = None,
        softcap: float | None = None,
        sinks: Float[Tensor, "..."] | None = None,
    ) -> None:
        self.mechanism = mechanism_of(score, normalize, pattern, Soft(), bias, scale, softcap, sinks, 0.0, None)
        self.shape = check(query, key, None, self.mechanism)
        self.query, self.key, self.score, self.pattern = query, key, score, pattern
        self.bias = self.mechanism.bias
        self._plain = (
            normalize is softmax and score.inner and softcap is None and sinks is None and not torch.is_tensor(scale)
        )
        self._known_lse: Tensor | None = None

    @property
    def _fused(self) -> bool:
        """Whether PyTorch's fused kernel may answer."""
        return self._plain and not transformed()

    def __repr__(self) -> str:
        return (
            f"AttentionMatrix(shape={self.shape}, score={self.score}, pattern={self.pattern}, dtype={self.query.dtype})"
        )

    def __matmul__(self, other: Float[Tensor, "... M E"]) -> Float[Tensor, "... N E"]:
        """`A @ X`: attention with X `[..., M, E]` as values; its leading axes broadcast to those of A."""
        if self._fused:
            return self._product(other)[0]
        query, key, other = (at_least_float32(t) for t in (self.query, self.key, other))
        other = other.to(query.dtype).expand(*self.shape[:-2], *other.shape[-2:])
        return attend(query, all_heads(key, query), other, self.mechanism)[0]

    @property
    def T(self) -> "Transposed":  # noqa: N802
        """The transposed matrix, `[..., H, M, N]`: `A.T @ X`."""
        return Transposed(self)

    def lse(self) -> Float[Tensor, "... N"]:
        """The logarithm of the sum of the exponentials of each row's scores `[..., H, N]`, in nats; with sinks, also of theirs.

        Raises:
            ValueError: the normaliser is not softmax.
        """
        if self._known_lse is not None and not self._differentiable():
            return self._known_lse
        if self._fused:
            return self._product(torch.zeros_like(self.key[..., :1]))[1]
        if not self._has_lse():
            raise ValueError(f"`lse` is of softmax: got `normalize` {self.mechanism.normalize!r}.")
        return seen_lse(self._reduce(statistics.lse(self.shape))[0])

    def entropy(self) -> Float[Tensor, "... N"]:
        """The entropy of each row `[..., H, N]`, in nats: `-sum_j p log p`; what a sink takes counts for nothing.

        Raises:
            ValueError: the weights do not add up to 1.
        """
        self._check_adds_up("entropy")
        if not self._fused or self.bias is not None:
            return self._reduce(statistics.entropy(self.shape))[0][..., 0]
        features, others, factor = self.inner_product()  # lse_i - sum_j p_ij s_ij, and the sum is a product, too
        product, lse = self._product(others)
        expected = factor * (features * product).sum(-1)
        return torch.where(lse == -math.inf, 0.0, lse.masked_fill(lse == -math.inf, 0) - expected)

    def received(self) -> Float[Tensor, "... M"]:
        """How much attention each key gets, summed over the queries `[..., H, M]`: `A.T @ 1`."""
        if self._fused and (self._differentiable() or self._known_lse is not None):  # then a product is faster
            return (self.T @ torch.ones_like(self.query[..., :1]))[..., 0]
        return self._reduce(statistics.received(self.shape))[0][..., 0]

    def mass(self, groups: Tensor, count: int | None = None) -> Float[Tensor, "... N"]:
        """How much of its attention each query gives to groups of keys.

        Args:
            groups: the group of each key, 0, 1, 2, ..., or -1 for none, `[M]` or `[batch, M]`; or True for the keys of one
                group.
            count: how many groups there are; by default one more than the highest number.

        Returns:
            `[..., H, N]` for one group of booleans, `[..., H, N, count]` for numbered groups.

        Raises:
            ValueError: numbers or sizes do not fit.
            TypeError: groups are neither integers nor booleans.

        Example:
            >>> A = AttentionMatrix(torch.zeros(1, 8), torch.zeros(4, 8))
            >>> A.mass(torch.tensor([0, 1, 1, -1]))
            tensor([[0.2500, 0.5000]])
        """
        groups = torch.as_tensor(groups, device=self.query.device)
        if groups.shape[-1:] != self.shape[-1:] or groups.dim() > max(len(self.shape) - 2, 1):
            raise ValueError(f"`groups` must be [..., {self.shape[-1]}], one for each key: got {list(groups.shape)}.")
        columns = groups_of(groups, count).to(at_least_float32(self.query).dtype)
        if groups.dim() > 1 and len(self.shape) > 3:
            columns = columns.unsqueeze(-3)  # the same for all heads
        mass = self @ columns
        return mass[..., 0] if groups.dtype == torch.bool else mass

    def dense(self, limit: int | None = 2**26) -> Float[Tensor, "... N M"]:
        """The matrix as a tensor `[..., H, N, M]`.

        Args:
            limit: the most numbers that it may have; None: any.

        Raises:
            ValueError: there are more.
        """
        if limit is not None and math.prod(self.shape) > limit:
            raise ValueError(
                f"the matrix of shape {list(self.shape)} has {math.prod(self.shape):,} numbers, more than `limit`: {limit:,}. "
                "Ask for a window `A[..., rows, columns]` or a coarse grid `A.pool(64, 64)`, or give `limit=None`."
            )
        return self[:]

    def plan(self, width: int = 1) -> Plan:
        """How `A @ X` is computed for X of so many columns, and its cost; `print` it for an account."""
        value = self.key.new_empty(*self.key.shape[:-1], width)
        return choose(self.query, self.key, value, self.mechanism, self.shape, None, False)

    def pool(self, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
        """The matrix on a coarse grid `[..., H, rows, columns]`.

        A cell is the mass that its queries put on its keys, summed over the keys and averaged over the queries, so that a
        row of cells adds up to 1. Query i belongs to cell `i * rows // N`, key j to `j * columns // M`.
        """
        row_cell, column_cell = self._cells(rows, columns)
        device, dtype = self.query.device, at_least_float32(self.query).dtype
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
        if self._fused:
            lse = self._lse_of(rows)
            scores = self._scores(rows, columns)
            weights = (scores - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
        else:
            source, step = self.source(), self._tile_height()
            parts = [weights_of(source, self.shape, some).index_select(-1, columns) for some in rows.split(step)]
            weights = torch.cat(parts, dim=-2) if parts else self.query.new_zeros(*self.shape[:-2], 0, len(columns))
        weights = weights[(*lead_index, slice(None), slice(None))]
        weights = weights[..., 0] if drop_column else weights
        return weights.select(-1 if drop_column else -2, 0) if drop_row else weights

    def source(self) -> Source:
        """What the weights are made of."""
        query, key, _, poison = mask_nonfinite(
            self.query, self.key, self.key[..., :0], self.mechanism, self.shape, rows=True
        )
        return Source(at_least_float32(query), at_least_float32(key), self.mechanism, poison)

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
        product, lse = _product_and_lse(query, key, values, self.mechanism)
        if not self._differentiable():
            self._known_lse = lse
        return product, lse

    def inner_product(self) -> tuple[Float[Tensor, "... N F"], Float[Tensor, "... M F"], float]:
        """Features f, g and a factor with `s_ij = factor * f_i . g_j`, in at least float32.

        Raises:
            ValueError: the score is no inner product, or its scale a tensor.
        """
        query, key = at_least_float32(self.query), at_least_float32(self.key)
        factor = self.mechanism.factor(query.shape[-1])
        features = self.score.features(query, key)
        if features is None or torch.is_tensor(factor):
            raise ValueError(f"the scores must be inner products with a number as `scale`: got {self.score!r}.")
        return *features, float(factor)

    def _scores(self, rows: Int[Tensor, "n"], columns: Int[Tensor, "m"]) -> Float[Tensor, "... n m"]:
        """The scores of a window, -inf where hidden."""
        key = all_heads(at_least_float32(self.key), self.query)
        query = at_least_float32(self.query).index_select(-2, rows)
        scores = reference.scores(query, key.index_select(-2, columns), self.mechanism, self.shape, rows, columns)
        if self.pattern.masks_any(self.shape):
            scores = scores.masked_fill(~self.pattern.allowed(rows[:, None], columns[None], self.shape), -math.inf)
        return scores

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
        operands = (self.query, self.key, *tensors(self.mechanism))
        return torch.is_grad_enabled() and any(t.requires_grad for t in operands)

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
        if not A._fused:
            return self._by_gradient(other)
        lse = A.lse()
        query, key, factor = A.inner_product()
        lead, key = A.shape[:-2], all_heads(key, A.query)
        query, key = query.expand(*lead, *query.shape[-2:]), key.expand(*lead, *key.shape[-2:])
        other = at_least_float32(other).to(query.dtype).expand(*lead, *other.shape[-2:])
        empty = lse == -math.inf
        keys = torch.cat([query * factor, -lse.masked_fill(empty, 0)[..., None]], dim=-1)
        queries = torch.cat([key, torch.ones_like(key[..., :1])], dim=-1)
        other = other.masked_fill(empty[..., None], 0)
        bias = None if A.bias is None else _Backwards(A.bias)
        queries, keys, other = queries.flip(-2), keys.flip(-2), other.flip(-2)
        turned = Mechanism(Dot(), pattern=A.pattern.transposed(), bias=bias)
        product, mass = _product_and_lse(queries, keys, other, turned)
        return (product * mass[..., None].exp()).flip(-2)

    def _by_gradient(self, other: Tensor) -> Tensor:
        """`A X` is linear in X: the gradient that it gives X is `A.T` times the gradient that it is given."""
        A = self.matrix
        dtype = at_least_float32(A.query).dtype
        values = torch.zeros(*A.shape[:-2], A.shape[-1], other.shape[-1], dtype=dtype, device=other.device)
        if transformed():
            out, pull, *_ = torch.func.vjp(lambda x: A @ x, values)
            return pull(other.to(dtype).expand(out.shape))[0]  # type: ignore[no-any-return]
        with torch.enable_grad():
            out = A @ values.requires_grad_()
        (product,) = torch.autograd.grad(
            out, values, other.to(dtype).expand(out.shape), create_graph=A._differentiable() or other.requires_grad
        )
        return product


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


def _product_and_lse(query: Tensor, key: Tensor, value: Tensor, mechanism: Mechanism) -> tuple[Tensor, Tensor]:
    """The fused product; NaN and infinities reach only the rows that may see them."""
    shape, pattern = check(query, key, value, mechanism), mechanism.pattern
    given = query, key
    query, key, value, poison = mask_nonfinite(query, key, value, mechanism, shape)
    factor, pair = mechanism.factor(query.shape[-1]), mechanism.score.features(query, key)
    assert pair is not None
    assert not torch.is_tensor(factor)
    product, lse = fused.product_and_lse(*pair, value, factor, pattern, mechanism.bias, shape)
    if poison is None:
        return product, lse
    of_rows = mask_nonfinite(*given, given[1][..., :0], mechanism, shape, rows=True)[3]  # a bad value is none of lse's
    lse = lse if of_rows is None else lse + of_rows[..., 0].to(lse.dtype)
    return product + poison.to(product.dtype), lse


def _logsumexp(scores: Tensor) -> Tensor:
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0).logsumexp(-1).masked_fill(empty[..., 0], -math.inf)
