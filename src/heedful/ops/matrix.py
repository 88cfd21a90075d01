"""The attention matrix that is never stored, as one value: windows of it, products with it, and all that is asked of it.

products.py     `A @ X`, `A.T @ X`
windows.py      `A[..., rows, columns]`
summaries.py    entropy, effective keys, the largest weights ...: functions of a matrix, which are its methods
statistics.py   what each tile of weights adds to them
"""

import math
from collections.abc import Sequence
from typing import Any, final

import torch

from heedful._types import Float, Int, Tensor
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
from heedful.ops.summaries import Summary, TopK
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
        return product(self, other)[0] if self._fused else by_engine(self, other)

    @property
    def T(self) -> Transposed:  # noqa: N802
        """The transposed matrix, `[..., H, M, N]`: `A.T @ X`."""
        return Transposed(self)

    def lse(self) -> Float[Tensor, "... N"]:
        """The logarithm of the sum of the exponentials of each row's scores `[..., H, N]`, in nats; with sinks, also of theirs.

        Raises:
            ValueError: the normalizer is not softmax.
        """
        return summaries.lse(self)

    def entropy(self) -> Float[Tensor, "... N"]:
        """The entropy of each row `[..., H, N]`, in nats: `-sum_j p log p`; what a sink takes counts for nothing.

        Raises:
            ValueError: the weights do not add up to 1.
        """
        return summaries.entropy(self)

    def max(self) -> Float[Tensor, "... N"]:
        """The largest weight of each row `[..., H, N]`.

        Example:
            >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(4, 8), pattern=Causal("start")).max()
            tensor([1.0000, 0.5000])
        """
        return summaries.max_weight(self)

    def argmax(self) -> Int[Tensor, "... N"]:
        """The key of the largest weight of each row `[..., H, N]`; -1 for a row that sees nothing."""
        return summaries.argmax(self)

    def effective_keys(self) -> Float[Tensor, "... N"]:
        """Among how many keys a row is spread, `(sum_j p)^2 / sum_j p^2`: from 1, all on one, to M, all alike; 0 if empty.

        It does not change when a row is multiplied by a number, so that what a sink takes plays no role.

        Raises:
            ValueError: the weights may be negative.
        """
        return summaries.effective_keys(self)

    def received(self) -> Float[Tensor, "... M"]:
        """How much attention each key gets, summed over the queries `[..., H, M]`: `A.T @ 1`."""
        return summaries.received(self)

    def group_mass(self, groups: Any, count: int | None = None) -> Float[Tensor, "... N"]:
        """How much of its attention each query gives to groups of keys.

        Args:
            groups: the group of each key, 0, 1, 2, ..., or -1 for none; or True for the keys of one group. A tensor, an array
                or a list of `[M]`, or with more axes before it: with as many as the matrix has before N, `[..., H, M]`,
                they broadcast to those; with fewer, `[batch, M]`, to those before the heads, the same for all heads.
            count: how many groups there are; by default one more than the highest number.

        Returns:
            `[..., H, N]` for one group of booleans, `[..., H, N, count]` for numbered groups.

        Raises:
            ValueError: numbers or sizes do not fit.
            TypeError: groups are neither integers nor booleans.

        Example:
            >>> A = AttentionMatrix(torch.zeros(1, 8), torch.zeros(4, 8))
            >>> A.group_mass(torch.tensor([0, 1, 1, -1]))
            tensor([[0.2500, 0.5000]])
        """
        return summaries.group_mass(self, groups, count)

    def distance(
        self, queries: Float[Tensor, "N *d"] | None = None, keys: Float[Tensor, "M *e"] | None = None
    ) -> Float[Tensor, "... N"]:
        """The mean distance of each query to what it attends to `[..., H, N]`: `sum_j p |x_i - y_j| / sum_j p`.

        Args:
            queries: where the queries stand, `[N]` or, as on a grid, `[N, d]`; by default 0, 1, 2, ...
            keys: where the keys stand; by default where the queries do.

        Raises:
            ValueError: positions do not fit, or are missing where there are more queries than keys or fewer; the weights
                may be negative.

        Source: Dosovitskiy et al. 2021, figure 7.
        """
        return summaries.distance(self, queries, keys)

    def position_std(self, keys: Float[Tensor, "M *d"] | None = None) -> Float[Tensor, "... N"]:
        """The standard deviation of the positions that each row attends to `[..., H, N]`.

        Args:
            keys: where the keys stand, `[M]` or `[M, d]`; by default 0, 1, 2, ...

        Raises:
            ValueError: positions do not fit; the weights may be negative.
        """
        return summaries.position_std(self, keys)

    def gather(self, targets: Any) -> Float[Tensor, "..."]:
        """The weights of chosen keys: `[..., H, N]` for one target a row, `[..., H, N, K]` for K of them.

        Args:
            targets: `[N]` or `[..., H, N]`, with one more axis for several; -1 is nobody and gives 0.

        Raises:
            ValueError: a target is no key, or their sizes do not fit.
            TypeError: targets are not integers.

        Example:
            >>> A = AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal())
            >>> A.gather(torch.tensor([-1, 0, 1]))  # the token before
            tensor([0.0000, 0.5000, 0.3333])
        """
        return summaries.gather(self, targets)

    def diagonal(self, offset: int = 0) -> Float[Tensor, "... L"]:
        """The weights of keys j = i + offset, as `torch.diagonal` gives them: `offset` -1 is the token before.

        Example:
            >>> AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal()).diagonal(-1)
            tensor([0.5000, 0.3333])
        """
        return summaries.diagonal(self, offset)

    def topk(self, k: int) -> TopK:
        """The k largest weights of each row, which keys they are of, and the mass that they cover.

        Raises:
            ValueError: k is not from 1 to M.

        Example:
            >>> A = AttentionMatrix(torch.ones(1, 1), torch.tensor([[0.0], [2.0], [1.0]]))
            >>> A.topk(2)
            TopK(values=tensor([[0.6652, 0.2447]]), indices=tensor([[1, 2]]), mass=tensor([0.9100]))
        """
        return summaries.topk(self, k)

    def pool(self, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
        """The matrix on a coarse grid `[..., H, rows, columns]`.

        A cell is the mass that its queries put on its keys, summed over the keys and averaged over the queries, so that a
        row of cells adds up to 1. Query i belongs to cell `i * rows // N`, key j to `j * columns // M`.
        """
        return summaries.pool(self, rows, columns)

    def pool_max(self, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
        """The largest weight of each cell of a coarse grid `[..., H, rows, columns]`, whose cells are those of `pool`.

        Raises:
            ValueError: there are more cells than positions.
        """
        return summaries.pool_max(self, rows, columns)

    def histogram(self, edges: Sequence[float] | Float[Tensor, " E"] | None = None) -> Int[Tensor, "... bins"]:
        """How many of a head's N x M weights lie between two edges `[..., H, E - 1]`; the last edge counts, too.

        Args:
            edges: in rising order; by default 0, powers of ten from 1e-6 to 0.1, 0.5 and 1 (and what rounding adds to it).

        Example:
            >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(2, 8), pattern=Causal()).histogram([0.0, 0.4, 0.9, 1.0])
            tensor([1, 2, 1])
        """
        return summaries.histogram(self, edges)

    def kl(self, other: "AttentionMatrix") -> Float[Tensor, "... N"]:
        """The divergence of each row from that of another matrix, `sum_j p log(p / q)` in nats `[..., H, N]`.

        Infinite where the other one gives nothing to a key that this one attends to.

        Raises:
            ValueError: the shapes differ, or weights do not add up to 1.
        """
        return summaries.kl(self, other)

    def overlap(self, other: "AttentionMatrix") -> Float[Tensor, "... N"]:
        """The inner product of each row with that of another matrix, `sum_j p q` `[..., H, N]`.

        Raises:
            ValueError: the shapes differ.
        """
        return summaries.overlap(self, other)

    def cosine(self, other: "AttentionMatrix") -> Float[Tensor, "... N"]:
        """The cosine between each row and that of another matrix `[..., H, N]`; 0 where one of them is empty.

        Raises:
            ValueError: the shapes differ.
        """
        return summaries.cosine(self, other)

    def summary(self, rows: int = 64, columns: int = 64) -> Summary:
        """All that is worth knowing, from one pass; the map has at most so many cells.

        Raises:
            ValueError: the weights may be negative.
        """
        return summaries.summary(self, rows, columns)

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
