"""The attention matrix that is never stored, as one value: windows of it, products with it, and all that is asked of it.

products.py     `A @ X`, `A.T @ X`
windows.py      `A[..., rows, columns]`
summaries.py    entropy, effective keys, the largest weights ...: functions of a matrix, which are its methods
statistics.py   what each tile of weights adds to them
"""

import math
from typing import Any, final

import torch

from heedful._types import Float, Keys, Queries, Tensor
from heedful.ops import summaries
from heedful.ops._concrete import transformed
from heedful.ops._tree import tensors
from heedful.ops.biases import Bias
from heedful.ops.engines.reference import at_least_float32
from heedful.ops.mechanism import GLOBAL, SCALED_DOT, check, mechanism_of
from heedful.ops.nonfinite import mask_nonfinite
from heedful.ops.normalizers import Normalizer, softmax
from heedful.ops.patterns import Pattern
from heedful.ops.plan import Plan, choose
from heedful.ops.products import Transposed, by_engine, product
from heedful.ops.reduce import WeightSource, reduced
from heedful.ops.scores import Score
from heedful.ops.selection import Soft
from heedful.ops.statistics import Statistic
from heedful.ops.windows import window


@final
class AttentionMatrix:
    """The matrix `A = softmax(score(Q, K) + bias)` of shape `[..., H, N, M]`; nothing is computed until it is asked for.

    Every summary is exact, takes memory linear in N and M, is computed in at least float32, and has a gradient (but those
    that count: `argmax`, `histogram`, the indices of `topk`). A row that may see nothing is 0, its entropy is 0 and its
    log-sum-exp -inf.

    Of softmax with sinks and of `softmax1`, what does not depend on how much a sink leaves to the keys (`effective_keys`,
    `distance`, `position_std`, `cosine`, `argmax`) is the same as without it, also where the weights left are 0 in their dtype.

    Args:
        query: `[..., H, N, D]`; the arguments are those of `heedful.attention`.
        key: `[..., G, M, D]`.
        score: how relevant a key is to a query.
        normalize: what makes weights of the scores. The softmax of inner products is summarized by PyTorch's fused kernel,
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
        query: Queries,
        key: Keys,
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
        return product(self, other)[0] if self._fused else by_engine(self, other)

    @property
    def T(self) -> Transposed:  # noqa: N802
        """The transposed matrix, `[..., H, M, N]`: `A.T @ X`."""
        return Transposed(self)

    # methods, each described where it is computed
    lse = summaries.lse
    entropy = summaries.entropy
    max = summaries.max_weight
    argmax = summaries.argmax
    effective_keys = summaries.effective_keys
    received = summaries.received
    group_mass = summaries.group_mass
    distance = summaries.distance
    position_std = summaries.position_std
    gather = summaries.gather
    diagonal = summaries.diagonal
    topk = summaries.topk
    pool = summaries.pool
    pool_max = summaries.pool_max
    histogram = summaries.histogram
    kl = summaries.kl
    overlap = summaries.overlap
    cosine = summaries.cosine
    summary = summaries.summary

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

    def __getitem__(self, index: Any) -> Tensor:
        """Any window of A, exactly: `A[..., rows, columns]`, indexed by integers, slices, lists and tensors as a tensor is.

        Rows and columns are chosen independently of each other (a window, not a list of pairs).
        """
        return window(self, index)

    def reduce(self, *statistics: Statistic) -> tuple[Tensor, ...]:
        """Statistics of the weights, all in one pass in which the matrix is never stored; each with its gradient.

        What is asked of a tile of weights is a function in `heedful.ops.statistics`, or one of your own: a `Statistic` of
        a function of a `WeightTile`, of PyTorch's operations and, so that there is a gradient, not in place.

        Args:
            statistics: made for `A.shape`.

        Returns:
            For each of them `[..., H, *sizes]`: of rows `[..., H, N, c]`, of columns `[..., H, M, c]`. A row that is in no
            tile sees nothing and has zeros.

        Raises:
            ValueError: a statistic is made for a matrix of another shape.

        Example:
            >>> from heedful.ops import statistics
            >>> A = AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal())
            >>> def odd(tile):
            ...     return tile.weights[..., tile.columns % 2 == 1].sum(-1, keepdim=True)
            >>> entropy, of_odd = A.reduce(statistics.entropy(A.shape), statistics.Statistic("row", (3, 1), odd))
            >>> entropy[:, 0], of_odd[:, 0]
            (tensor([0.0000, 0.6931, 1.0986]), tensor([0.0000, 0.5000, 0.3333]))
        """
        for statistic in statistics:
            expected = {"row": self.shape[-2], "column": self.shape[-1]}.get(statistic.kind, statistic.sizes[0])
            if statistic.sizes[0] != expected:
                raise ValueError(
                    f"a statistic of each {statistic.kind} of a matrix of shape {list(self.shape)} must have `sizes` "
                    f"({expected}, c): got {statistic.sizes}."
                )
        return reduced(self.source(), self.shape, statistics) if statistics else ()

    def plan(self, width: int = 1) -> Plan:
        """How `A @ X` is computed for X of so many columns, and its cost; `print` it for an account."""
        value = self.key.new_empty(*self.key.shape[:-1], width)
        return choose(self.query, self.key, value, self.mechanism, self.shape, None, False)

    def source(self) -> WeightSource:
        """What the weights are made of."""
        query, key, _, nonfinite = mask_nonfinite(
            self.query, self.key, self.key[..., :0], self.mechanism, self.shape, rows=True
        )
        return WeightSource(at_least_float32(query), at_least_float32(key), self.mechanism, nonfinite)

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

    def _differentiable(self) -> bool:
        """Whether a gradient may be asked for: then lse is not kept, since a graph serves once."""
        operands = (self.query, self.key, *tensors(self.mechanism))
        return torch.is_grad_enabled() and any(t.requires_grad for t in operands)
