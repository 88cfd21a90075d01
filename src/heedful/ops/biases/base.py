"""Numbers to add to the scores: `s_ij + bias_ij`.

A bias is a value; biases are summed with `+`, and a tensor is one too. None of them stores N x M numbers (but `TensorBias`,
which is given them): each gives the numbers at any rows and columns.
"""

import abc
import functools
from dataclasses import dataclass
from typing import Union

import torch

from heedful._checks import Shape, check_bias, check_broadcasts
from heedful._types import ColumnIndex, Float, RowIndex, Tensor
from heedful.ops._concrete import concrete
from heedful.ops._pairs import PairRule, no_rule
from heedful.ops._tree import Value

Factors = tuple[Float[Tensor, "... N R"], Float[Tensor, "... M R"]]


class Bias(Value):
    """What is added to the score of each pair (query i, key j), for a matrix of shape `(..., H, N, M)`.

    Example:
        >>> ALiBi(8) + PerKey(torch.zeros(5)) + torch.ones(5, 5)
        Sum(terms=(ALiBi(slopes=8, align=None), PerKey(tensor=tensor([0., 0., 0., 0., 0.])), TensorBias(tensor=...)))
    """

    @abc.abstractmethod
    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        """The numbers where rows and columns meet, broadcastable to `(..., H, *tiles, n, m)`.

        Their dtype may be another than that of the scores. They may be a view of the bias itself, not to be written into.
        """

    @abc.abstractmethod
    def depends(self, shape: Shape) -> tuple[bool, bool]:
        """Whether the numbers depend on the row, and on the column."""

    @abc.abstractmethod
    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        """Raises ValueError or TypeError where the bias contradicts the query or the shape `(..., H, N, M)` of the matrix."""

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        """Features u, v with `bias_ij = u_i . v_j`, where there are few that say it exactly; otherwise None."""
        return None

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        """The numbers for one pair at a time, for a matrix of four axes; raises `Unsupported` where there is no such rule."""
        return no_rule(self)

    def __add__(self, other: Union["Bias", Tensor]) -> "Bias":
        """Both, added."""
        return (
            Sum((*terms_of(self), *terms_of(as_bias(other)))) if isinstance(other, (Bias, Tensor)) else NotImplemented
        )

    def __radd__(self, other: Tensor) -> "Bias":
        """A tensor in front."""
        return as_bias(other) + self if isinstance(other, Tensor) else NotImplemented


def as_bias(bias: Bias | Tensor) -> Bias:
    """A bias as it is; a tensor as a `TensorBias`.

    Raises:
        TypeError: `bias` is neither.
    """
    if isinstance(bias, Bias):
        return bias
    if not isinstance(bias, Tensor):
        raise TypeError(f"`bias` must be a tensor or a bias such as `ALiBi(8)`: got {type(bias).__name__}.")
    return TensorBias(bias)


@dataclass(frozen=True)
class Sum(Bias):
    """Several biases, added: `first + second`.

    Example:
        >>> index = torch.arange(3)
        >>> Sum((PerQuery(torch.tensor([10.0, 20.0, 30.0])), PerKey(index.float()))).at(index[:, None], index[None], (3, 3))
        tensor([[10., 11., 12.],
                [20., 21., 22.],
                [30., 31., 32.]])
    """

    terms: tuple[Bias, ...]

    def __post_init__(self) -> None:
        if not self.terms or not all(isinstance(term, Bias) for term in self.terms):
            raise TypeError(f"`terms` must be biases, at least one: got {self.terms!r}.")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        first, *others = (wide(term.at(rows, columns, shape)) for term in self.terms)
        for other in others:
            first = first + other
        return first

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        by_row, by_column = zip(*(term.depends(shape) for term in self.terms), strict=True)
        return any(by_row), any(by_column)

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        for term in self.terms:
            term.check(query, shape)

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        rules = [term.pair_rule(shape, device) for term in self.terms]
        return lambda b, h, i, j: functools.reduce(torch.add, (rule(b, h, i, j) for rule in rules))

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        us, vs = [], []
        for term in self.terms:
            pair = term.features(shape, device, dtype)
            if pair is None:
                return None
            us.append(pair[0])
            vs.append(pair[1])
        return append_columns(us), append_columns(vs)


@dataclass(frozen=True, eq=False)
class TensorBias(Bias):
    """Any numbers, as a tensor; what a plain tensor given as `bias` becomes.

    Args:
        tensor: floating point, broadcastable to the matrix, `[..., H, N, M]`; it is never expanded. -inf masks a pair.

    Example:
        >>> index = torch.arange(2)
        >>> TensorBias(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).at(index[1:, None], index[None], (2, 2))
        tensor([[3., 4.]])
    """

    tensor: Float[Tensor, "..."]

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        return _entries_at(self.tensor, rows, columns)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        rows, columns = (1, 1, *self.tensor.shape)[-2:]
        return rows != 1, columns != 1

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        check_bias(self.tensor, query, shape)

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        numbers = self.tensor.expand(shape)
        return lambda b, h, i, j: numbers[b, h, i, j]

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        by_row, by_column = self.depends(shape)
        if by_row and by_column:
            return None
        tensor = _matrix(self.tensor)
        if by_row:
            return PerQuery(tensor[..., 0]).features(shape, device, dtype)
        return PerKey(tensor[..., 0, :]).features(shape, device, dtype)


@dataclass(frozen=True, eq=False)
class PerKey(Bias):
    """One number a key, the same for every query: `bias_ij = t_j`. Under softmax the weight of key j is multiplied by `exp(t_j)`.

    Args:
        tensor: `[..., M]`, broadcastable to `[..., H, M]`.

    Raises:
        TypeError: `tensor` is not floating point.
        ValueError: `tensor` has no axis.

    Example:
        >>> index = torch.arange(3)
        >>> PerKey(torch.tensor([0.0, 0.5, 1.0])).at(index[:, None], index[None, 1:], (3, 3))
        tensor([[0.5000, 1.0000]])
    """

    tensor: Float[Tensor, "... M"]

    def __post_init__(self) -> None:
        check_numbers("tensor", self.tensor, "[..., M]")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        return _entries_at(self.tensor[..., None, :], rows, columns)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return False, self.tensor.shape[-1] != 1

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        check_device("the bias per key", self.tensor, query)
        check_broadcasts("the bias per key", self.tensor, (*shape[:-2], shape[-1]), "[..., H, M]")

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        numbers = self.tensor.expand(*shape[:-2], shape[-1])
        return lambda b, h, i, j: numbers[b, h, j]

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        return _one_column(self.tensor, shape[-1], shape[-2], device, dtype)


@dataclass(frozen=True, eq=False)
class PerQuery(Bias):
    """One number a query, the same for every key: `bias_ij = t_i`.

    It changes nothing under softmax, whose rows do not feel a shift, and does under `relu`, `sigmoid` or `linear`.

    Args:
        tensor: `[..., N]`, broadcastable to `[..., H, N]`.

    Raises:
        TypeError: `tensor` is not floating point.
        ValueError: `tensor` has no axis.

    Example:
        >>> index = torch.arange(2)
        >>> PerQuery(torch.tensor([1.0, 2.0])).at(index[:, None], index[None], (2, 2))
        tensor([[1.],
                [2.]])
    """

    tensor: Float[Tensor, "... N"]

    def __post_init__(self) -> None:
        check_numbers("tensor", self.tensor, "[..., N]")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        return _entries_at(self.tensor[..., None], rows, columns)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.tensor.shape[-1] != 1, False

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        check_device("the bias per query", self.tensor, query)
        check_broadcasts("the bias per query", self.tensor, shape[:-1], "[..., H, N]")

    def pair_rule(self, shape: Shape, device: torch.device) -> PairRule:
        numbers = self.tensor.expand(shape[:-1])
        return lambda b, h, i, j: numbers[b, h, i]

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        pair = _one_column(self.tensor, shape[-2], shape[-1], device, dtype)
        return None if pair is None else (pair[1], pair[0])


@dataclass(frozen=True, eq=False)
class LowRank(Bias):
    """An inner product of features that are not the query's and the key's: `bias_ij = u_i . v_j`.

    Args:
        u: `[..., N, R]`, broadcastable to `[..., H, N, R]`.
        v: `[..., M, R]`, broadcastable to `[..., H, M, R]`.

    Raises:
        TypeError: they are not floating point, or of two dtypes.
        ValueError: they have fewer than two axes, or not the same R.

    Example:
        >>> index = torch.arange(2)
        >>> LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])).at(index[:, None], index[None], (2, 2))
        tensor([[ 3.,  5.],
                [ 6., 10.]])
    """

    u: Float[Tensor, "... N R"]
    v: Float[Tensor, "... M R"]

    def __post_init__(self) -> None:
        check_numbers("u", self.u, "[..., N, R]")
        check_numbers("v", self.v, "[..., M, R]")
        if self.u.shape[-1] != self.v.shape[-1]:
            raise ValueError(
                f"`u` and `v` must have equally many features: got {self.u.shape[-1]} and {self.v.shape[-1]}."
            )
        if self.u.dtype != self.v.dtype:
            raise TypeError(f"`u` and `v` must have the same dtype: got {self.u.dtype} and {self.v.dtype}.")

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        return _vectors(wide(self.u), rows[..., 0]) @ _vectors(wide(self.v), columns[..., 0, :]).mT

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return self.u.shape[-2] != 1, self.v.shape[-2] != 1

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        for name, tensor, n in (("u", self.u, shape[-2]), ("v", self.v, shape[-1])):
            check_device(f"`{name}`", tensor, query)
            axes = "[..., H, N, R]" if name == "u" else "[..., H, M, R]"
            check_broadcasts(f"`{name}`", tensor, (*shape[:-2], n, tensor.shape[-1]), axes)

    def features(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> Factors | None:
        u, v = self.u.to(device, dtype), self.v.to(device, dtype)
        return (
            u.expand(*u.shape[:-2], shape[-2], u.shape[-1]),
            v.expand(*v.shape[:-2], shape[-1], v.shape[-1]),
        )


def terms_of(bias: Bias) -> tuple[Bias, ...]:
    """The terms of a sum; a bias by itself is its only term."""
    return bias.terms if isinstance(bias, Sum) else (bias,)


def wide(tensor: Tensor) -> Tensor:
    """In at least float32: distances and products are not exact in fewer bits."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _matrix(tensor: Tensor) -> Tensor:
    return tensor.reshape((1,) * (2 - tensor.dim()) + tensor.shape)


def _entries_at(tensor: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """What stands at the places; an axis of size 1 stays one, and the axes of tiles come in front of the last two."""
    tensor = _matrix(tensor)
    by_row, by_column = tensor.shape[-2] != 1, tensor.shape[-1] != 1
    if by_row and (span := _as_slice(rows)):
        tensor, by_row = tensor[..., span, :], False
    if by_column and (span := _as_slice(columns)):
        tensor, by_column = tensor[..., span], False
    if by_row and by_column:
        return tensor[..., rows, columns]  # not `index_select`, which first copies a tensor that was expanded
    if rows.dim() == 2:
        tensor = tensor[..., rows.flatten(), :] if by_row else tensor
        return tensor[..., columns.flatten()] if by_column else tensor
    if by_row:
        return tensor[..., 0][..., rows]
    if by_column:
        return tensor[..., 0, :][..., columns]
    return tensor.reshape(*tensor.shape[:-2], *(1,) * rows.dim())


def _as_slice(index: Tensor) -> slice | None:
    """The positions as a slice, of which a view can be given: where they follow each other, as they mostly do, and can be read."""
    if index.dim() != 2 or not index.numel() or index.device.type != "cpu" or not concrete(index):
        return None
    first, index = int(index.flatten()[0]), index.flatten()
    last = first + index.numel()
    return slice(first, last) if torch.equal(index, torch.arange(first, last, dtype=index.dtype)) else None


def _vectors(tensor: Tensor, index: Tensor) -> Tensor:
    """The rows `[..., *tiles, n, R]` at `index [*tiles, n]`."""
    if tensor.shape[-2] == 1:
        return tensor.reshape(*tensor.shape[:-2], *(1,) * index.dim(), tensor.shape[-1])
    return tensor[..., index, :]


def _one_column(
    tensor: Tensor, along: int, across: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor] | None:
    """A column of ones and the numbers as a column; None if one is infinite (0 x inf would be NaN) or cannot be read."""
    if not concrete(tensor) or not bool(tensor.isfinite().all()):
        return None
    column = tensor.to(device, dtype)[..., None]
    return torch.ones(across, 1, device=device, dtype=dtype), column.expand(*column.shape[:-2], along, 1)


def append_columns(features: list[Tensor]) -> Tensor:
    """Features side by side."""
    lead = torch.broadcast_shapes(*(f.shape[:-1] for f in features))
    return torch.cat([f.expand(*lead, f.shape[-1]) for f in features], dim=-1)


def check_numbers(name: str, tensor: Tensor, axes: str) -> None:
    """Checks that it is a floating point tensor that has at least the last axes of `axes`, such as "[..., N, R]"."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"`{name}` must be a floating point tensor: got {kind}.")
    least = axes.count(",")
    if tensor.dim() < least:
        raise ValueError(f"`{name}` must be {axes}, with at least {least} axes: got {list(tensor.shape)}.")


def check_device(name: str, tensor: Tensor, query: Tensor) -> None:
    """Checks that it is where the query is."""
    if tensor.device != query.device:
        raise ValueError(f"{name} must be on the device of `query`, {query.device}: got {tensor.device}.")
