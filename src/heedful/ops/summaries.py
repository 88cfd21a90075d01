"""What people ask of an attention matrix: each a number for a row, a column or a cell, exact, and never N x M of them.

All of it comes from the weights, a tile at a time (`statistics.py` says what a tile adds), for any mechanism; several
questions are answered in one pass by `summary`.
"""

import abc
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops import statistics
from heedful.ops.engines.reduce import Source, Statistic, parts, reduced, reduced_pair
from heedful.ops.mechanism import Mechanism
from heedful.ops.normalizers import Softmax, Softmax1

_EDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1 + 1e-6)  # a weight may be rounded to more than 1


class TopK(NamedTuple):
    """The largest weights of each row.

    Attributes:
        values: `[..., H, N, k]`, the largest first; 0 where a row sees fewer keys.
        indices: of which keys; -1 where a row sees fewer.
        mass: their sum `[..., H, N]`.
    """

    values: Float[Tensor, "... N k"]
    indices: Int[Tensor, "... N k"]
    mass: Float[Tensor, "... N"]


class Summary(NamedTuple):
    """What is worth knowing of a matrix, from one pass over it.

    Attributes:
        lse: the log-sum-exp of each row's scores `[..., H, N]`; None where the normaliser is not softmax.
        entropy: of each row, in nats; None where weights do not add up to 1.
        largest: the largest weight of each row.
        effective_keys: among how many keys a row is spread.
        distance: the mean distance of a row to what it attends to, in positions; None where there are more queries than
            keys or fewer.
        first: the weight of the first key in each row.
        received: what each key gets, summed over the rows `[..., H, M]`.
        map: the matrix on a coarse grid, as `AttentionMatrix.pool` gives it.
    """

    lse: Float[Tensor, "... N"] | None
    entropy: Float[Tensor, "... N"] | None
    largest: Float[Tensor, "... N"]
    effective_keys: Float[Tensor, "... N"]
    distance: Float[Tensor, "... N"] | None
    first: Float[Tensor, "... N"]
    received: Float[Tensor, "... M"]
    map: Float[Tensor, "... r c"]


class Summaries(abc.ABC):
    """The questions that need nothing but the weights as they pass by."""

    shape: Shape
    query: Tensor
    mechanism: Mechanism

    @abc.abstractmethod
    def source(self) -> Source:
        """What the weights are made of."""

    @abc.abstractmethod
    def _differentiable(self) -> bool: ...

    def max(self) -> Float[Tensor, "... N"]:
        """The largest weight of each row `[..., H, N]`.

        Example:
            >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(4, 8), pattern=Causal("start")).max()
            tensor([1.0000, 0.5000])
        """
        return self._reduce(statistics.largest(self.shape))[0][..., 0]

    def argmax(self) -> Int[Tensor, "... N"]:
        """The key of the largest weight of each row `[..., H, N]`; -1 for a row of nothing but 0."""
        return self.topk(1).indices[..., 0] if self.shape[-1] else self._numbers(-1)

    def effective_keys(self) -> Float[Tensor, "... N"]:
        """Among how many keys a row is spread, `(sum_j p)^2 / sum_j p^2`: from 1, all on one, to M, all alike; 0 if empty.

        Raises:
            ValueError: the weights may be negative.
        """
        self._check_not_signed("effective_keys")
        return self._reduce(statistics.effective_keys(self.shape))[0][..., 0]

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
        self._check_not_signed("distance")
        if queries is None and keys is None and self.shape[-1] != self.shape[-2]:
            raise ValueError(
                f"`queries` and `keys` must say where they stand unless there are as many: got {self.shape[-2]} and {self.shape[-1]}."
            )
        x = self._positions_of("queries", queries if queries is not None else keys, self.shape[-2])
        y = self._positions_of("keys", keys if keys is not None else queries, self.shape[-1])
        if x.shape[-1] != y.shape[-1]:
            raise ValueError(
                f"`queries` and `keys` must stand in one space: got {x.shape[-1]} and {y.shape[-1]} coordinates."
            )
        return self._reduce(statistics.distance(self.shape, x, y))[0][..., 0]

    def spread(self, keys: Float[Tensor, "M *d"] | None = None) -> Float[Tensor, "... N"]:
        """The standard deviation of the positions that each row attends to `[..., H, N]`.

        Args:
            keys: where the keys stand, `[M]` or `[M, d]`; by default 0, 1, 2, ...

        Raises:
            ValueError: positions do not fit; the weights may be negative.
        """
        self._check_not_signed("spread")
        return self._reduce(statistics.spread(self.shape, self._positions_of("keys", keys, self.shape[-1])))[0][..., 0]

    def at(self, targets: Tensor) -> Float[Tensor, "..."]:
        """The weights of chosen keys: `[..., H, N]` for one target a row, `[..., H, N, K]` for K of them.

        Args:
            targets: `[N]` or `[..., H, N]`, with one more axis for several; -1 is nobody and gives 0.

        Raises:
            ValueError: a target is no key, or their sizes do not fit.
            TypeError: targets are not integers.

        Example:
            >>> A = AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal())
            >>> A.at(torch.tensor([-1, 0, 1]))  # the token before
            tensor([0.0000, 0.5000, 0.3333])
        """
        targets = torch.as_tensor(targets, device=self.query.device)
        if targets.is_floating_point() or targets.dtype == torch.bool:
            raise TypeError(f"`targets` must be integers: got {targets.dtype}.")
        rows = self.shape[:-1]
        single = targets.dim() == 1 or (targets.shape[-1:] == rows[-1:] and targets.dim() == len(rows))
        chosen = targets[..., None] if single else targets
        try:
            chosen = chosen.expand(*rows, chosen.shape[-1])
        except RuntimeError:
            raise ValueError(
                f"`targets` must broadcast to {list(rows)}, or to that and one more axis: got {list(targets.shape)}."
            ) from None
        if chosen.numel() and not -1 <= int(chosen.min()) <= int(chosen.max()) < self.shape[-1]:
            raise ValueError(
                f"`targets` must be from -1 to {self.shape[-1] - 1}: got {int(chosen.min())} to {int(chosen.max())}."
            )
        found = self._reduce(statistics.at(self.shape, chosen))[0]
        return found[..., 0] if single else found

    def diagonal(self, offset: int = 0) -> Float[Tensor, "... L"]:
        """The weights of keys j = i + offset, as `torch.diagonal` gives them: `offset` -1 is the token before.

        Example:
            >>> AttentionMatrix(torch.zeros(3, 8), torch.zeros(3, 8), pattern=Causal()).diagonal(-1)
            tensor([0.5000, 0.3333])
        """
        rows, columns = self.shape[-2:]
        start, stop = max(-offset, 0), min(rows, columns - offset)
        if start >= max(stop, start):
            return self._numbers(0.0)[..., :0]
        target = torch.arange(rows, device=self.query.device) + offset
        return self.at(target.masked_fill((target < 0) | (target >= columns), -1))[..., start:stop]

    def topk(self, k: int) -> TopK:
        """The k largest weights of each row, which keys they are of, and the mass that they cover.

        Raises:
            ValueError: k is not from 1 to M.

        Example:
            >>> A = AttentionMatrix(torch.ones(1, 1), torch.tensor([[0.0], [2.0], [1.0]]))
            >>> A.topk(2)
            TopK(values=tensor([[0.6652, 0.2447]]), indices=tensor([[1, 2]]), mass=tensor([0.9100]))
        """
        if not 1 <= k <= self.shape[-1]:
            raise ValueError(f"`k` must be from 1 to the {self.shape[-1]} keys: got {k}.")
        with torch.no_grad():
            found = top_of(self._reduce(statistics.top(self.shape, k))[0])
        values = self.at(found.indices) if self._differentiable() else found.values
        return TopK(values, found.indices, values.sum(-1))

    def pool_max(self, rows: int, columns: int) -> Float[Tensor, "... rows columns"]:
        """The largest weight of each cell of a coarse grid `[..., H, rows, columns]`, whose cells are those of `pool`.

        Raises:
            ValueError: there are more cells than positions.
        """
        row_cell, column_cell = self._cells(rows, columns)
        by_row = self._reduce(statistics.largest_of_cells(self.shape, column_cell, columns))[0]
        return torch.stack([piece.amax(-2) for piece in by_row.split(torch.bincount(row_cell).tolist(), -2)], dim=-2)

    def histogram(self, edges: Sequence[float] | Float[Tensor, " E"] | None = None) -> Int[Tensor, "... bins"]:
        """How many of a head's N x M weights lie between two edges `[..., H, E - 1]`; the last edge counts, too.

        Args:
            edges: in rising order; by default 0, powers of ten from 1e-6 to 0.1, 0.5 and 1 (and what rounding adds to it).

        Example:
            >>> AttentionMatrix(torch.zeros(2, 8), torch.zeros(2, 8), pattern=Causal()).histogram([0.0, 0.4, 0.9, 1.0])
            tensor([1, 2, 1])
        """
        source = self.source()
        dtype, heads = source.query.dtype, math.prod(self.shape[:-2])
        given = torch.as_tensor(_EDGES if edges is None else edges, device=self.query.device).to(dtype)
        if given.dim() != 1 or len(given) < 2 or bool((given.diff() <= 0).any()):
            raise ValueError(f"`edges` must be two or more numbers in rising order: got {given.tolist()}.")
        above = torch.zeros(heads, len(given), dtype=torch.long, device=self.query.device)
        seen = torch.zeros(heads, dtype=torch.long, device=self.query.device)
        with torch.no_grad():
            for part in parts(source, self.shape):
                for i, edge in enumerate(given):
                    beyond = part.weights > edge if i == len(given) - 1 else part.weights >= edge
                    above[part.heads, i] += beyond.sum((-2, -1))
                seen[part.heads] += math.prod(part.weights.shape[-2:])
        unseen = math.prod(self.shape[-2:]) - seen  # they are 0
        above += unseen[:, None] * torch.cat([given[:-1] <= 0, given[-1:] < 0])
        return -above.diff(dim=-1).view(*self.shape[:-2], len(given) - 1)

    def kl(self, other: "Summaries") -> Float[Tensor, "... N"]:
        """The divergence of each row from that of another matrix, `sum_j p log(p / q)` in nats `[..., H, N]`.

        Infinite where the other one gives nothing to a key that this one attends to.

        Raises:
            ValueError: the shapes differ, or weights do not add up to 1.
        """
        for matrix in (self, other):
            if isinstance(matrix, Summaries):
                matrix._check_adds_up("kl")
        return self._between(other, statistics.divergence(self.shape))[0][..., 0]

    def overlap(self, other: "Summaries") -> Float[Tensor, "... N"]:
        """The inner product of each row with that of another matrix, `sum_j p q` `[..., H, N]`.

        Raises:
            ValueError: the shapes differ.
        """
        return self._between(other, statistics.overlap(self.shape))[0][..., 0]

    def cosine(self, other: "Summaries") -> Float[Tensor, "... N"]:
        """The cosine between each row and that of another matrix `[..., H, N]`; 0 where one of them is empty.

        Raises:
            ValueError: the shapes differ.
        """
        both, mine, theirs = self._between(
            other,
            statistics.overlap(self.shape),
            statistics.squares(self.shape),
            statistics.squares(self.shape, other=True),
        )
        product = (mine * theirs)[..., 0]
        empty = product == 0
        return both[..., 0] / product.masked_fill(empty, 1).sqrt()

    def summary(self, rows: int = 64, columns: int = 64) -> Summary:
        """All that is worth knowing, from one pass; the map has at most so many cells.

        Raises:
            ValueError: the weights may be negative.
        """
        self._check_not_signed("summary")
        shape = self.shape
        rows, columns = min(rows, shape[-2]), min(columns, shape[-1])
        row_cell, column_cell = self._cells(rows, columns)
        asked = {
            "largest": statistics.largest(shape),
            "effective_keys": statistics.effective_keys(shape),
            "first": statistics.share(shape, 0),
            "received": statistics.received(shape, row_cell),
            "map": statistics.pooled(shape, row_cell, column_cell, (rows, columns)),
        }
        if self._has_lse():
            asked["lse"] = statistics.lse(shape)
        if self.mechanism.normalize.adds_up:
            asked["entropy"] = statistics.entropy(shape)
        if shape[-1] == shape[-2]:
            positions = self._positions_of("keys", None, shape[-1])
            asked["distance"] = statistics.distance(shape, positions, positions)
        found = dict(zip(asked, self._reduce(*asked.values()), strict=True))
        of_rows = {name: t[..., 0] for name, t in found.items() if name not in ("lse", "map")}
        return Summary(
            lse=seen_lse(found["lse"]) if "lse" in found else None,
            entropy=of_rows.get("entropy"),
            largest=of_rows["largest"],
            effective_keys=of_rows["effective_keys"],
            distance=of_rows.get("distance"),
            first=of_rows["first"],
            received=of_rows["received"],
            map=found["map"] / torch.bincount(row_cell, minlength=rows)[:, None],
        )

    def _reduce(self, *asked: Statistic) -> tuple[Tensor, ...]:
        return reduced(self.source(), self.shape, asked)

    def _between(self, other: "Summaries", *asked: Statistic) -> tuple[Tensor, ...]:
        if not isinstance(other, Summaries):
            raise TypeError(f"`other` must be an AttentionMatrix: got {type(other).__name__}.")
        if other.shape != self.shape:
            raise ValueError(f"both matrices must have one shape: got {list(self.shape)} and {list(other.shape)}.")
        return reduced_pair(self.source(), other.source(), self.shape, asked)

    def _numbers(self, value: float) -> Tensor:
        """One number for each row."""
        return torch.full(self.shape[:-1], value, device=self.query.device)

    def _cells(self, rows: int, columns: int) -> tuple[Int[Tensor, " N"], Int[Tensor, " M"]]:
        """The cell of each row and of each column."""
        for name, cells, positions in (("rows", rows, self.shape[-2]), ("columns", columns, self.shape[-1])):
            if not 1 <= cells <= positions:
                raise ValueError(f"`{name}` must be between 1 and the {positions} positions: got {cells}.")
        row, column = (torch.arange(n, device=self.query.device) for n in self.shape[-2:])
        return row * rows // self.shape[-2], column * columns // self.shape[-1]

    def _positions_of(self, name: str, given: Tensor | None, count: int) -> Float[Tensor, "n d"]:
        if given is None:
            return torch.arange(count, device=self.query.device, dtype=torch.float64)[:, None]
        given = torch.as_tensor(given, device=self.query.device)
        if given.dim() not in (1, 2) or len(given) != count:
            raise ValueError(f"`{name}` must be [{count}] or [{count}, d] numbers: got {list(given.shape)}.")
        return (given if given.dim() == 2 else given[:, None]).double()

    def _has_lse(self) -> bool:
        return isinstance(self.mechanism.normalize, (Softmax, Softmax1))

    def _check_adds_up(self, name: str) -> None:
        if not self.mechanism.normalize.adds_up:
            raise ValueError(f"`{name}` is of weights that add up to 1: got `normalize` {self.mechanism.normalize!r}.")

    def _check_not_signed(self, name: str) -> None:
        if self.mechanism.normalize.signed:
            raise ValueError(
                f"`{name}` is of weights that are not negative: got `normalize` {self.mechanism.normalize!r}."
            )


def groups_of(groups: Tensor, count: int | None = None) -> Float[Tensor, "... M g"]:
    """Columns of 0 and 1 that say which key belongs to which group; -1 to none."""
    if groups.dtype == torch.bool:
        return groups[..., None].float()
    if groups.is_floating_point():
        raise TypeError(f"`groups` must be integers or booleans: got {groups.dtype}.")
    if groups.numel() and int(groups.min()) < -1:
        raise ValueError(f"`groups` must be -1 or more: got {int(groups.min())}.")
    highest = int(groups.max()) + 1 if groups.numel() else 0
    count = highest if count is None else count
    if highest > count:
        raise ValueError(f"`groups` must be less than `count`, {count}: got {highest - 1}.")
    return (groups[..., None] == torch.arange(count, device=groups.device)).float()


def top_of(found: Float[Tensor, "... N kk"]) -> TopK:
    """What `statistics.top` found."""
    values, indices = found.detach().chunk(2, -1)
    return TopK(values, indices.long().masked_fill(values == 0, -1), values.sum(-1))


def seen_lse(found: Float[Tensor, "... N 2"]) -> Float[Tensor, "... N"]:
    """What `statistics.lse` found, -inf for a row that sees nothing."""
    value, seen = found.unbind(-1)
    return value.masked_fill(seen == 0, -math.inf)
