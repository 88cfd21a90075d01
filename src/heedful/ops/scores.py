"""How relevant is a key to a query: one number a pair.

A score is a value. Its call is the definition. `features` is how an engine computes it without storing it: most scores are
inner products of something, and inner products are what fused kernels compute.
"""

import abc
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from heedful._checks import as_number
from heedful._types import Float, Keys, Queries, Tensor
from heedful.ops._concrete import concrete, concrete_on_cpu
from heedful.ops._tree import Value


class Features(NamedTuple):
    """What stands for queries and keys in an inner product."""

    query: Tensor
    key: Tensor


class Score(Value):
    """A score: a value that turns queries and keys into numbers, `s_ij = scale * pairs(q_i, k_j)`."""

    inner: ClassVar[bool] = True  # whether it is an inner product of features

    def __call__(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        """All the scores, stored: the definition."""
        scores, scale = self.pairs(query, key), self.scale(query.shape[-1])
        return scores if scale == 1 else scores * scale

    @abc.abstractmethod
    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        """All the scores before they are scaled; `key` has as many heads as `query`, or one."""

    @abc.abstractmethod
    def scale(self, width: int) -> float:
        """The factor of the score's own, for queries that are `width` numbers wide."""

    @abc.abstractmethod
    def features(self, query: Queries, key: Keys) -> Features | None:
        """Features f, g with `pairs_ij = f_i . g_j`, each with the heads of what it was made of; None where there are none."""

    @abc.abstractmethod
    def check(self, query: Queries, key: Keys) -> None:
        """Raises ValueError where queries or keys are not what the score takes, TypeError where a dtype is not."""


@dataclass(frozen=True)
class Dot(Score):
    """The inner product, `s_ij = q_i . k_j`.

    Example:
        >>> Dot()(torch.ones(1, 4), torch.ones(2, 4))
        tensor([[4., 4.]])

    Source: Luong et al. 2015, equation 8 ("dot").
    """

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        return query @ key.mT

    def scale(self, width: int) -> float:
        return 1.0

    def features(self, query: Queries, key: Keys) -> Features:
        return Features(query, key)

    def check(self, query: Queries, key: Keys) -> None:
        _check_same_width(self, query, key)


@dataclass(frozen=True)
class ScaledDot(Score):
    """The inner product over the square root of the width, `s_ij = q_i . k_j / sqrt(D)`.

    Example:
        >>> ScaledDot()(torch.ones(1, 4), torch.ones(2, 4))
        tensor([[2., 2.]])

    Source: Vaswani et al. 2017, equation 1.
    """

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        return query @ key.mT

    def scale(self, width: int) -> float:
        return float(max(width, 1) ** -0.5)

    def features(self, query: Queries, key: Keys) -> Features:
        return Features(query, key)

    def check(self, query: Queries, key: Keys) -> None:
        _check_same_width(self, query, key)


@dataclass(frozen=True, eq=False)
class Bilinear(Score):
    """The inner product through a matrix, `s_ij = q_i^T W k_j`; queries and keys may differ in width.

    Args:
        weight: W, `[D, K]` for queries D wide and keys K wide, or `[H, D, K]`, one matrix a head of the query.

    Raises:
        ValueError: `weight` has not two or three axes.

    Example:
        >>> Bilinear(torch.tensor([[1.0, 0.0, 2.0]]))(torch.tensor([[3.0]]), torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))
        tensor([[9., 0.]])

    Source: Luong et al. 2015, equation 8 ("general").
    """

    weight: Float[Tensor, "..."]

    def __post_init__(self) -> None:
        _check_is_tensor("`weight` of Bilinear", self.weight)
        if self.weight.dim() not in (2, 3):
            raise ValueError(f"`weight` of Bilinear must be [D, K] or [H, D, K]: got {list(self.weight.shape)}.")

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        return query @ self.weight.to(query.dtype) @ key.mT

    def scale(self, width: int) -> float:
        return 1.0

    def features(self, query: Queries, key: Keys) -> Features:
        return Features(query @ self.weight.to(query.dtype), key)

    def check(self, query: Queries, key: Keys) -> None:
        D, K = self.weight.shape[-2:]
        if (query.shape[-1], key.shape[-1]) != (D, K):
            raise ValueError(
                f"`weight` of Bilinear must be [..., {query.shape[-1]}, {key.shape[-1]}], the widths of `query` and `key`: "
                f"got {list(self.weight.shape)}."
            )
        if self.weight.dim() == 3:
            _check_heads("`weight` of Bilinear", "[H, D, K]", self.weight, query)
        _check_tensor("`weight` of Bilinear", self.weight, query)


@dataclass(frozen=True, eq=False)
class Additive(Score):
    """A layer of hyperbolic tangents, `s_ij = sum_d w_d tanh(q_id + k_jd)`: the projections are the caller's.

    Args:
        weight: w, `[D]`, or `[H, D]`, one vector a head of the query.

    Raises:
        ValueError: `weight` has not one or two axes.

    Example:
        >>> Additive(torch.tensor([1.0, 2.0]))(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0], [0.0, 99.0]]))
        tensor([[0., 2.]])

    It is no inner product, so no fused kernel computes it.

    Source: Bahdanau et al. 2015, appendix A.1.2.
    """

    inner: ClassVar[bool] = False
    weight: Float[Tensor, "..."]

    def __post_init__(self) -> None:
        _check_is_tensor("`weight` of Additive", self.weight)
        if self.weight.dim() not in (1, 2):
            raise ValueError(f"`weight` of Additive must be [D] or [H, D]: got {list(self.weight.shape)}.")

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        tanh = (query.unsqueeze(-2) + key.unsqueeze(-3)).tanh()  # [..., H, N, M, D]
        weight = self.weight.to(query.dtype)
        if weight.dim() == 1:
            return tanh @ weight
        return (tanh @ weight[:, None, :, None]).squeeze(-1)

    def scale(self, width: int) -> float:
        return 1.0

    def features(self, query: Queries, key: Keys) -> None:
        return None

    def check(self, query: Queries, key: Keys) -> None:
        _check_same_width(self, query, key)
        if self.weight.shape[-1] != query.shape[-1]:
            raise ValueError(
                f"`weight` of Additive must be as wide as `query`: got {self.weight.shape[-1]} and {query.shape[-1]}."
            )
        if self.weight.dim() == 2:
            _check_heads("`weight` of Additive", "[H, D]", self.weight, query)
        _check_tensor("`weight` of Additive", self.weight, query)


@dataclass(frozen=True)
class Cosine(Score):
    """The cosine of the angle between query and key, `s_ij = q_i . k_j / (|q_i| |k_j|)`; a zero vector gives 0.

    Its range is [-1, 1], so it is usually given with a `scale` that sharpens it.

    Example:
        >>> Cosine()(torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
        tensor([[1.0000, 0.7071, 0.0000]])

    Differs from `torch.cosine_similarity` at zero vectors, whose gradient is 0 here.

    Source: Graves et al. 2014, equation 6.
    """

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        return _unit(query) @ _unit(key).mT

    def scale(self, width: int) -> float:
        return 1.0

    def features(self, query: Queries, key: Keys) -> Features:
        return Features(_unit(query), _unit(key))

    def check(self, query: Queries, key: Keys) -> None:
        _check_same_width(self, query, key)


@dataclass(frozen=True, eq=False)
class Gaussian(Score):
    """Minus the squared distance, `s_ij = -|q_i - k_j|^2 / (2 b^2)`: with softmax, Nadaraya-Watson regression.

    Args:
        bandwidth: b, a positive number, a tensor of no axes, or `[H]`, one number a head of the query. A tensor may learn.

    Raises:
        ValueError: `bandwidth` is not positive, or has more than one axis.

    Example:
        >>> Gaussian(bandwidth=2.0)(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 4.0]]))
        tensor([[ 0., -2.]])

    Distances are computed as inner products, relative to the first query: their rounding is that of the spread of the
    points, not that of their distance from 0. A bandwidth of less than 2e-10 of that spread (in float32; 1e-77 in float64)
    counts as that much: all weight is on the nearest key.

    Source: Nadaraya 1964; Watson 1964; Tsai et al. 2019, equation 3 (the RBF kernel).
    """

    bandwidth: float | Float[Tensor, "..."] = 1.0

    def __post_init__(self) -> None:
        bandwidth = self.bandwidth
        if not isinstance(bandwidth, Tensor):
            number = as_number("bandwidth", bandwidth, "a number or a tensor")
            if not (number > 0 and math.isfinite(number)):
                raise ValueError(f"`bandwidth` must be positive: got {number}.")
            object.__setattr__(self, "bandwidth", number)
            return
        if bandwidth.dim() > 1:
            raise ValueError(f"`bandwidth` must be a number or [H]: got {list(bandwidth.shape)}.")
        if concrete(bandwidth) and not (bandwidth > 0).all():
            raise ValueError(f"`bandwidth` must be positive: got {bandwidth.min().item():g}.")

    def pairs(self, query: Queries, key: Keys) -> Float[Tensor, "... N M"]:
        f, g = self.features(query, key)
        return (f @ g.mT).to(query.dtype)

    def scale(self, width: int) -> float:
        return 1.0

    def features(self, query: Queries, key: Keys) -> Features:
        wide = torch.promote_types(query.dtype, torch.float32)
        query, key = query.to(wide), key.to(wide)
        origin = query[..., :1, :].detach().sum(-2, keepdim=True).nan_to_num(0.0, 0.0, 0.0)  # a sum, as N may be 0
        if query.dim() > 3:
            origin = origin.mean(-3, keepdim=True)  # one for all heads: key heads are shared
        query, key = query - origin, key - origin
        unit = _power_of_two_scale(query, key)  # so that squares neither vanish nor overflow
        if not isinstance(unit, float) or unit != 1:
            query, key = query / unit, key / unit
        half_query, half_key = (-0.5 * x.square().sum(-1, keepdim=True) for x in (query, key))
        query = torch.cat((query, torch.ones_like(half_query), half_query), dim=-1)
        key = torch.cat((key, half_key, torch.ones_like(half_key)), dim=-1)
        return Features(query * self._precision(unit, query), key)

    def check(self, query: Queries, key: Keys) -> None:
        _check_same_width(self, query, key)
        if isinstance(self.bandwidth, Tensor):
            if self.bandwidth.dim() == 1:
                _check_heads("`bandwidth` of Gaussian", "[H]", self.bandwidth, query)
            _check_tensor("`bandwidth` of Gaussian", self.bandwidth, query)

    def _precision(self, unit: Tensor | float, query: Tensor) -> Tensor | float:
        """`(unit / b)^2`, broadcastable to `[..., H, N, D]`, at most so large that scores and their gradients are finite."""
        least, bandwidth = torch.finfo(query.dtype).max ** -0.25, self.bandwidth
        if not isinstance(bandwidth, Tensor):
            if not isinstance(unit, Tensor):
                return float(max(bandwidth / unit, least) ** -2)
            return (bandwidth / unit.double()).clamp(min=least).pow(-2).to(query.dtype)
        precision = (bandwidth.to(query.dtype) / unit).clamp(min=least).reciprocal().square()
        return precision[:, None, None] if precision.dim() else precision


def _unit(vectors: Tensor) -> Tensor:
    """Vectors over their lengths; a zero vector stays, and its gradient is 0."""
    if vectors.shape[-1] == 0:
        return vectors
    largest = vectors.detach().abs().amax(-1, keepdim=True)  # so that squares neither vanish nor overflow
    zero = largest == 0
    vectors = (vectors / largest.masked_fill(zero, 1)).masked_fill(zero, 0)
    return vectors / vectors.square().sum(-1, keepdim=True).masked_fill(zero, 1).sqrt()


def _power_of_two_scale(query: Tensor, key: Tensor) -> Tensor | float:
    """About the largest coordinate, a power of 2, so that a division by it changes no digit; 1 if it is neither large nor small."""
    points = [p.detach() for p in (query, key) if p.numel()]
    if concrete_on_cpu(query, key):
        largest = max([float(p.abs().amax()) for p in points], default=1.0)
        if not 0 < largest < math.inf or 1e-4 < largest < 1e4:
            return 1.0
        return math.ldexp(1.0, math.frexp(largest)[1] - 1)
    sizes = torch.stack([p.abs().amax() for p in points] or [query.new_ones(())]).amax()
    limits = torch.finfo(query.dtype)
    exponent = torch.where(sizes.isfinite() & (sizes > 0), sizes, 1).log2().floor()
    unit: Tensor = torch.exp2(exponent.clamp(math.log2(limits.tiny), math.floor(math.log2(limits.max)) - 1))
    return unit


def _check_same_width(score: Score, query: Tensor, key: Tensor) -> None:
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"`query` and `key` must be equally wide for {type(score).__name__}: got {query.shape[-1]} and {key.shape[-1]}."
        )


def _check_heads(name: str, axes: str, tensor: Tensor, query: Tensor) -> None:
    """A parameter with a head axis needs queries that have one, of the same size."""
    if query.dim() < 4:
        raise ValueError(f"{name} must have no head axis where `query` has none: got {axes} = {list(tensor.shape)}.")
    if tensor.shape[0] != query.shape[-3]:
        raise ValueError(
            f"{name} must have as many heads as `query`, in {axes}: got {tensor.shape[0]} and {query.shape[-3]}."
        )


def _check_is_tensor(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor: got {type(tensor).__name__}.")


def _check_tensor(name: str, tensor: Tensor, query: Tensor) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point: got {tensor.dtype}.")
    if tensor.device != query.device:
        raise ValueError(f"{name} must be on the device of `query`, {query.device}: got {tensor.device}.")
