"""How relevant is a key to a query: one number a pair.

A score is a value. Its call is the definition; `as_inner_product` is how an engine computes it without storing it.
"""

import abc
from dataclasses import dataclass

from heedful._types import Float, Tensor


class Score(abc.ABC):
    """A score: a value that turns queries and keys into numbers, `s_ij = score(q_i, k_j)`."""

    @abc.abstractmethod
    def __call__(self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]) -> Float[Tensor, "... N M"]:
        """All the scores, stored: the definition."""

    @abc.abstractmethod
    def as_inner_product(
        self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]
    ) -> tuple[Float[Tensor, "... N F"], Float[Tensor, "... M F"], float]:
        """Features f, g and a factor with `s_ij = factor * f_i . g_j`: what a fused kernel computes."""


@dataclass(frozen=True)
class Dot(Score):
    """The inner product, `s_ij = q_i . k_j`.

    Example:
        >>> Dot()(torch.ones(1, 4), torch.ones(2, 4))
        tensor([[4., 4.]])

    Source: Luong et al. 2015, equation 8 ("dot").
    """

    def __call__(self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]) -> Float[Tensor, "... N M"]:
        return query @ key.mT

    def as_inner_product(
        self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]
    ) -> tuple[Float[Tensor, "... N F"], Float[Tensor, "... M F"], float]:
        return query, key, 1.0


@dataclass(frozen=True)
class ScaledDot(Score):
    """The inner product over the square root of the width, `s_ij = q_i . k_j / sqrt(D)`.

    Example:
        >>> ScaledDot()(torch.ones(1, 4), torch.ones(2, 4))
        tensor([[2., 2.]])

    Source: Vaswani et al. 2017, equation 1.
    """

    def __call__(self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]) -> Float[Tensor, "... N M"]:
        return query @ key.mT * float(max(query.shape[-1], 1) ** -0.5)

    def as_inner_product(
        self, query: Float[Tensor, "... N D"], key: Float[Tensor, "... M D"]
    ) -> tuple[Float[Tensor, "... N F"], Float[Tensor, "... M F"], float]:
        return query, key, float(max(query.shape[-1], 1) ** -0.5)
