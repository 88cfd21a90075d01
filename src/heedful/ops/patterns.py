"""Who may see whom. True = may attend, everywhere.

A pattern is a value; patterns combine by `&`, `|` and `~`. None of them holds N x M numbers (but `Mask`, which is given
them): each says what is visible at the places that it is asked about.
"""

import abc
from dataclasses import dataclass
from typing import Literal

import torch

from heedful._checks import Shape, check_broadcasts
from heedful._types import Bool, Int, Tensor


class Pattern(abc.ABC):
    """Which pairs (query i, key j) may attend, for a matrix of shape `(..., H, N, M)`."""

    @abc.abstractmethod
    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        """True where a row may see a column; broadcasts to `(..., H, n, m)`."""

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

    def parts(self) -> tuple["Pattern", ...]:
        """The patterns that all have to allow a pair."""
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


@dataclass(frozen=True)
class Global(Pattern):
    """Everything sees everything."""

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        return torch.ones(1, 1, dtype=torch.bool, device=rows.device)

    def check(self, shape: Shape) -> None:
        pass

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, False

    def hides(self, shape: Shape) -> bool:
        return False

    def empties(self, shape: Shape) -> bool:
        return shape[-1] == 0

    def parts(self) -> tuple[Pattern, ...]:
        return ()

    def transposed(self) -> Pattern:
        return self


@dataclass(frozen=True)
class Causal(Pattern):
    """Query i sees the keys up to its own position, `j <= i`.

    Args:
        align: what "its own position" means where there are not as many queries as keys. "start": query 0 stands at
            key 0; "end": the last query stands at the last key, as with a cache of earlier keys, `j <= i + M - N`.
            None: queries and keys must be equally many.

    Example:
        >>> index = torch.arange(3)
        >>> Causal().allowed(index[:, None], index[None], (3, 3)).int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """

    align: Literal["start", "end"] | None = None

    def __post_init__(self) -> None:
        if self.align not in (None, "start", "end"):
            raise ValueError(f"`align` must be None, 'start' or 'end': got {self.align!r}.")

    def offset(self, shape: Shape) -> int:
        """The position of query 0 among the keys."""
        return shape[-1] - shape[-2] if self.align == "end" else 0

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        return columns <= rows + self.offset(shape)

    def check(self, shape: Shape) -> None:
        if self.align is None and shape[-2] != shape[-1]:
            raise ValueError(
                f"`Causal()` needs as many queries as keys unless `align` is 'start' or 'end': got {shape[-2]} and {shape[-1]}."
            )

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def hides(self, shape: Shape) -> bool:
        return self.offset(shape) < shape[-1] - 1

    def empties(self, shape: Shape) -> bool:
        return self.offset(shape) < 0 or shape[-1] == 0

    def transposed(self) -> Pattern:
        return Causal({"start": "end", "end": "start"}.get(self.align or ""))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Lengths(Pattern):
    """The first n keys are visible, the rest is padding.

    Args:
        lengths: how many, one number or a tensor of integers `[B]` whose axes line up with the first axes of the matrix.

    Example:
        >>> index = torch.arange(4)[None]
        >>> Lengths(torch.tensor([4, 2])).allowed(index[:, :1], index, (2, 1, 4)).int()
        tensor([[[1, 1, 1, 1]],
        <BLANKLINE>
                [[1, 1, 0, 0]]], dtype=torch.int32)
    """

    lengths: Int[Tensor, "..."] | int

    def __post_init__(self) -> None:
        if torch.is_tensor(self.lengths) and (self.lengths.is_floating_point() or self.lengths.dtype == torch.bool):
            raise TypeError(f"`lengths` must be integers: got {self.lengths.dtype}.")

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        lengths = torch.as_tensor(self.lengths, device=columns.device)
        return columns < lengths.reshape(lengths.shape + (1,) * (len(shape) - lengths.dim()))

    def check(self, shape: Shape) -> None:
        lengths = torch.as_tensor(self.lengths)
        axes = max(len(shape) - 3, len(shape) == 3)
        if lengths.dim() > axes:
            raise ValueError(
                f"`lengths` must have at most {axes} axes for a matrix of shape {list(shape)}: got {list(lengths.shape)}."
            )
        padded = lengths.reshape(lengths.shape + (1,) * (len(shape) - lengths.dim()))
        check_broadcasts("`lengths`, one for each of the first axes,", padded, shape)
        if lengths.numel() and (lengths.min() < 0 or lengths.max() > shape[-1]):
            low, high = lengths.min().item(), lengths.max().item()
            raise ValueError(
                f"`lengths` must be from 0 to the number of keys, {shape[-1]}: got values from {low} to {high}."
            )

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, True


@dataclass(frozen=True, eq=False)
class Mask(Pattern):
    """Any pattern, as a tensor: True = may attend.

    Args:
        mask: bool, broadcastable to the matrix, `[..., H, N, M]`.

    Differs from `torch.nn.MultiheadAttention`, where True = hidden.
    """

    mask: Bool[Tensor, "..."]

    def __post_init__(self) -> None:
        if not torch.is_tensor(self.mask) or self.mask.dtype != torch.bool:
            kind = self.mask.dtype if torch.is_tensor(self.mask) else type(self.mask).__name__
            raise TypeError(
                f"`mask` must be a bool tensor (True = may attend; numbers to add are a `bias`): got {kind}."
            )

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        mask = self.mask.to(rows.device)
        mask = mask.reshape((1,) * (2 - mask.dim()) + mask.shape)
        by_row, by_column = self.depends(shape)
        if by_row:
            mask = mask.index_select(-2, rows.flatten())
        return mask.index_select(-1, columns.flatten()) if by_column else mask

    def check(self, shape: Shape) -> None:
        check_broadcasts("`mask`", self.mask, shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        rows, columns = (1, 1, *self.mask.shape)[-2:]
        return rows != 1, columns != 1


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


@dataclass(frozen=True)
class And(_Pair):
    """Pairs that both patterns allow: `first & second`."""

    first: Pattern
    second: Pattern

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) & self.second.allowed(rows, columns, shape)

    def hides(self, shape: Shape) -> bool:
        return self.first.hides(shape) or self.second.hides(shape)

    def empties(self, shape: Shape) -> bool:
        if not self.first.hides(shape):
            return self.second.empties(shape)
        return self.second.hides(shape) or self.first.empties(shape)

    def parts(self) -> tuple[Pattern, ...]:
        return self.first.parts() + self.second.parts()

    def transposed(self) -> Pattern:
        return And(self.first.transposed(), self.second.transposed())


@dataclass(frozen=True)
class Or(_Pair):
    """Pairs that at least one of two patterns allows: `first | second`."""

    first: Pattern
    second: Pattern

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        return self.first.allowed(rows, columns, shape) | self.second.allowed(rows, columns, shape)

    def hides(self, shape: Shape) -> bool:
        return self.first.hides(shape) and self.second.hides(shape)

    def empties(self, shape: Shape) -> bool:
        return self.first.empties(shape) and self.second.empties(shape)


@dataclass(frozen=True)
class Not(Pattern):
    """Pairs that a pattern hides: `~pattern`."""

    inner: Pattern

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        return ~self.inner.allowed(rows, columns, shape)

    def check(self, shape: Shape) -> None:
        self.inner.check(shape)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.inner.depends(shape)


@dataclass(frozen=True)
class _Transposed(Pattern):
    """Rows and columns exchanged, both read backwards."""

    inner: Pattern

    def allowed(self, rows: Int[Tensor, "n 1"], columns: Int[Tensor, "1 m"], shape: Shape) -> Bool[Tensor, "..."]:
        inside = _exchanged(shape)
        return self.inner.allowed(inside[-2] - 1 - columns.mT, inside[-1] - 1 - rows.mT, inside).mT

    def check(self, shape: Shape) -> None:
        self.inner.check(_exchanged(shape))

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = self.inner.depends(_exchanged(shape))
        return by_column, by_row


def _exchanged(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])
