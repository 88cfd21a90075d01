"""What every pattern can say about itself, and how patterns combine."""

import abc
from dataclasses import dataclass

import torch

from heedful._checks import Shape, check_broadcasts
from heedful._types import Bool, Int, Tensor
from heedful.ops._tree import Value

Hull = tuple[Tensor, Tensor]


class Pattern(Value):
    """Which pairs (query i, key j) may attend, for a matrix of shape `(..., H, N, M)`."""

    @abc.abstractmethod
    def allowed(
        self, rows: Int[Tensor, "*#tiles n 1"], columns: Int[Tensor, "*#tiles 1 m"], shape: Shape
    ) -> Bool[Tensor, "..."]:
        """True where a row may see a column; broadcasts to `(..., H, *tiles, n, m)`.

        Rows and columns are any places inside the matrix, in any order.
        """

    @abc.abstractmethod
    def check(self, shape: Shape) -> None:
        """Raises ValueError where the pattern contradicts the shape `(..., H, N, M)` of the matrix."""

    @abc.abstractmethod
    def depends(self, shape: Shape) -> tuple[bool, bool]:
        """Whether what is visible depends on the row, and on the column."""

    def hides(self, shape: Shape) -> bool:
        """Whether a pair may be hidden."""
        return True

    def empties(self, shape: Shape) -> bool:
        """Whether a row may see nothing at all."""
        return True

    def shifts(self) -> bool:
        """Whether what is visible depends on `j - i` only."""
        return False

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> Hull:
        """For each interval of rows, `start <= i < stop`, the columns `first <= j < last` beyond which none of them sees.

        Args:
            start: the first row of each interval, on the CPU.
            stop: one more than its last row.
            shape: of the matrix.

        Returns:
            `first` and `last`, from 0 to M, `first <= last`, over all batches and heads.
        """
        return torch.zeros_like(start), torch.full_like(start, shape[-1])

    def batched(self, shape: Shape) -> bool:
        """Whether the pattern differs along the axes before the heads; along the first axis if there are three."""
        return False

    def sample(self, index: int, shape: Shape) -> "Pattern":
        """The pattern of one entry of the first axis of `shape`, for a matrix of shape `shape[1:]`."""
        return self

    def parts(self) -> tuple["Pattern", ...]:
        """The patterns that all have to allow a pair."""
        return (self,)

    def alternatives(self) -> tuple["Pattern", ...]:
        """The patterns of which at least one has to allow a pair; none of them is an `Or`."""
        return (self,)

    def transposed(self) -> "Pattern":
        """The pattern of the transposed matrix, read backwards on both axes (so that a causal one is causal again)."""
        return _Transposed(self)

    def __and__(self, other: "Pattern") -> "Pattern":
        """Pairs that both allow."""
        return And(self, other) if isinstance(other, Pattern) else NotImplemented

    def __or__(self, other: "Pattern") -> "Pattern":
        """Pairs that at least one allows."""
        return Or(self, other) if isinstance(other, Pattern) else NotImplemented

    def __invert__(self) -> "Pattern":
        """Pairs that this one hides."""
        return Not(self)


class _Pair(Pattern):
    """Two patterns of which each has its say."""

    first: Pattern
    second: Pattern

    def check(self, shape: Shape) -> None:
        self.first.check(shape)
        self.second.check(shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        a, b = self.first.depends(shape), self.second.depends(shape)
        return a[0] or b[0], a[1] or b[1]

    def shifts(self) -> bool:
        return self.first.shifts() and self.second.shifts()

    def batched(self, shape: Shape) -> bool:
        return self.first.batched(shape) or self.second.batched(shape)


@dataclass(frozen=True)
class And(_Pair):
    """Pairs that both patterns allow: `first & second`."""

    first: Pattern
    second: Pattern

    def allowed(
        self, rows: Int[Tensor, "*#tiles n 1"], columns: Int[Tensor, "*#tiles 1 m"], shape: Shape
    ) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) & self.second.allowed(rows, columns, shape)

    def hides(self, shape: Shape) -> bool:
        return self.first.hides(shape) or self.second.hides(shape)

    def empties(self, shape: Shape) -> bool:
        if not self.first.hides(shape):
            return self.second.empties(shape)
        return self.second.hides(shape) or self.first.empties(shape)

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> Hull:
        (a, b), (c, d) = self.first.columns(start, stop, shape), self.second.columns(start, stop, shape)
        first = torch.maximum(a, c)
        return first, torch.minimum(b, d).maximum(first)

    def sample(self, index: int, shape: Shape) -> Pattern:
        return And(self.first.sample(index, shape), self.second.sample(index, shape))

    def parts(self) -> tuple[Pattern, ...]:
        return self.first.parts() + self.second.parts()

    def alternatives(self) -> tuple[Pattern, ...]:
        seconds = self.second.alternatives()
        return tuple(_both(a, b) for a in self.first.alternatives() for b in seconds)

    def transposed(self) -> Pattern:
        return And(self.first.transposed(), self.second.transposed())


@dataclass(frozen=True)
class Or(_Pair):
    """Pairs that at least one of two patterns allows: `first | second`."""

    first: Pattern
    second: Pattern

    def allowed(
        self, rows: Int[Tensor, "*#tiles n 1"], columns: Int[Tensor, "*#tiles 1 m"], shape: Shape
    ) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) | self.second.allowed(rows, columns, shape)

    def hides(self, shape: Shape) -> bool:
        return self.first.hides(shape) and self.second.hides(shape)

    def empties(self, shape: Shape) -> bool:
        return self.first.empties(shape) and self.second.empties(shape)

    def columns(self, start: Int[Tensor, " T"], stop: Int[Tensor, " T"], shape: Shape) -> Hull:
        (a, b), (c, d) = self.first.columns(start, stop, shape), self.second.columns(start, stop, shape)
        hull = torch.minimum(a, c), torch.maximum(b, d)
        none, no_other = a == b, c == d  # what sees nothing does not widen the hull
        first, last = (
            torch.where(none, theirs, torch.where(no_other, ours, both))
            for ours, theirs, both in zip((a, b), (c, d), hull, strict=True)
        )
        return first, last

    def sample(self, index: int, shape: Shape) -> Pattern:
        return Or(self.first.sample(index, shape), self.second.sample(index, shape))

    def parts(self) -> tuple[Pattern, ...]:
        return (self,) if self.first.parts() and self.second.parts() else ()

    def alternatives(self) -> tuple[Pattern, ...]:
        found = self.first.alternatives() + self.second.alternatives()
        return next(((one,) for one in found if _is_everything(one)), found)

    def transposed(self) -> Pattern:
        return Or(self.first.transposed(), self.second.transposed())


@dataclass(frozen=True)
class Not(Pattern):
    """Pairs that a pattern hides: `~pattern`."""

    inner: Pattern

    def allowed(
        self, rows: Int[Tensor, "*#tiles n 1"], columns: Int[Tensor, "*#tiles 1 m"], shape: Shape
    ) -> Bool[Tensor, "..."]:
        return ~self.inner.allowed(rows, columns, shape)

    def check(self, shape: Shape) -> None:
        self.inner.check(shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.inner.depends(shape)

    def shifts(self) -> bool:
        return self.inner.shifts()

    def batched(self, shape: Shape) -> bool:
        return self.inner.batched(shape)

    def sample(self, index: int, shape: Shape) -> Pattern:
        return Not(self.inner.sample(index, shape))

    def transposed(self) -> Pattern:
        return Not(self.inner.transposed())


@dataclass(frozen=True)
class _Transposed(Pattern):
    """Rows and columns exchanged, both read backwards."""

    inner: Pattern

    def allowed(
        self, rows: Int[Tensor, "*#tiles n 1"], columns: Int[Tensor, "*#tiles 1 m"], shape: Shape
    ) -> Bool[Tensor, "..."]:
        inside = _exchanged(shape)
        return self.inner.allowed(inside[-2] - 1 - columns.mT, inside[-1] - 1 - rows.mT, inside).mT

    def check(self, shape: Shape) -> None:
        self.inner.check(_exchanged(shape))

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = self.inner.depends(_exchanged(shape))
        return by_column, by_row

    def hides(self, shape: Shape) -> bool:
        return self.inner.hides(_exchanged(shape))

    def shifts(self) -> bool:
        return self.inner.shifts()

    def batched(self, shape: Shape) -> bool:
        return self.inner.batched(_exchanged(shape))

    def sample(self, index: int, shape: Shape) -> Pattern:
        return _Transposed(self.inner.sample(index, _exchanged(shape)))

    def alternatives(self) -> tuple[Pattern, ...]:
        inner = self.inner.alternatives()
        return (self,) if len(inner) == 1 else tuple(one.transposed() for one in inner)

    def transposed(self) -> Pattern:
        return self.inner


def lined_up(tensor: Tensor, own: int, shape: Shape) -> Tensor:
    """A tensor whose axes but its last `own` are the first of the matrix, with axes of size 1 for the matrix's others."""
    lead = tensor.dim() - own
    return tensor.reshape(tensor.shape[:lead] + (1,) * (len(shape) - 2 - lead) + tensor.shape[lead:])


def check_lines_up(name: str, tensor: Tensor, own: int, shape: Shape) -> None:
    """Checks that the axes of `tensor` but its last `own` are the first axes of the matrix, or of size 1."""
    axes = max(len(shape) - 3, len(shape) == 3) + own
    if tensor.dim() > axes or tensor.dim() < own:
        words = f"at most {axes}" if tensor.dim() > axes else f"at least {own}"
        raise ValueError(
            f"`{name}` must have {words} axes for a matrix of shape {list(shape)}: got {list(tensor.shape)}."
        )
    lead = tensor.shape[: tensor.dim() - own]
    padded = torch.empty(lead + (1,) * (len(shape) - len(lead)), device="meta")
    check_broadcasts(f"`{name}`, one for each of the first axes,", padded, shape)


def of_sample(tensor: Tensor, index: int) -> Tensor:
    """One entry of the first axis, which may be of size 1 and stand for all."""
    return tensor[index if tensor.shape[0] > 1 else 0]


def _both(a: Pattern, b: Pattern) -> Pattern:
    if _is_everything(a):
        return b
    return a if _is_everything(b) else And(a, b)


def _is_everything(pattern: Pattern) -> bool:
    return not pattern.parts()


def _exchanged(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])
