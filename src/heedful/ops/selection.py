"""What a query takes of its weights: all keys by their weight, the best one, or one that is drawn."""

import abc
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from heedful._types import Float, Tensor
from heedful.ops._tree import Value


class Selection(Value):
    """How weights become what values are multiplied with.

    Example:
        >>> Hard().stochastic, Sampled().stochastic
        (False, True)
    """

    stochastic: ClassVar[bool]  # whether it needs uniform numbers

    @abc.abstractmethod
    def apply(
        self, weights: Float[Tensor, "... N M"], uniform: Float[Tensor, "... N 1"] | None = None
    ) -> Float[Tensor, "... N M"]:
        """What values are multiplied with. `uniform`: for what draws, a number in [0, 1) a row."""


@dataclass(frozen=True)
class Soft(Selection):
    """All keys, each by its weight.

    Example:
        >>> Soft().apply(torch.tensor([[0.25, 0.75]]))
        tensor([[0.2500, 0.7500]])

    Source: Xu et al. 2015, section 4.2.
    """

    stochastic: ClassVar[bool] = False

    def apply(
        self, weights: Float[Tensor, "... N M"], uniform: Float[Tensor, "... N 1"] | None = None
    ) -> Float[Tensor, "... N M"]:
        """The weights themselves."""
        return weights


@dataclass(frozen=True)
class Hard(Selection):
    """The key of the largest weight, the first of equal ones; a row without a positive weight takes nothing.

    The gradient is that of the weights ("straight-through").

    Example:
        >>> Hard().apply(torch.tensor([[0.2, 0.4, 0.4], [0.0, 0.0, 0.0]]))
        tensor([[0., 1., 0.],
                [0., 0., 0.]])

    Source: Bengio et al. 2013, section 4 (straight-through).
    """

    stochastic: ClassVar[bool] = False

    def apply(
        self, weights: Float[Tensor, "... N M"], uniform: Float[Tensor, "... N 1"] | None = None
    ) -> Float[Tensor, "... N M"]:
        """One 1 in each row that has a positive weight."""
        if weights.shape[-1] == 0:
            return weights
        largest, index = weights.detach().max(-1, keepdim=True)
        # max promises no order among equal ones
        positions = torch.arange(weights.shape[-1], device=weights.device)
        index = positions.masked_fill(weights.detach() != largest, weights.shape[-1]).amin(-1, keepdim=True)
        return _straight_through((positions == index) & (largest > 0), weights)


@dataclass(frozen=True)
class Sampled(Selection):
    """One key a row, drawn with the row's weights as probabilities; what they lack to 1 is the chance to draw nothing.

    Weights that add up to more than 1 are divided by their sum.

    Args:
        gradient: "straight-through": the gradient of the weights. "score-function": none through the choice; the caller adds
            `log_probability` times the reward.

    Raises:
        ValueError: `gradient` is not one of the two.

    Example:
        >>> weights = torch.tensor([[0.2, 0.8], [0.2, 0.8], [0.2, 0.1]])
        >>> sampled = Sampled().apply(weights, torch.tensor([[0.1], [0.5], [0.9]]))
        >>> sampled
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])
        >>> Sampled().log_probability(weights, sampled).exp()
        tensor([0.2000, 0.8000, 0.7000])

    Source: Xu et al. 2015, section 4.1; Williams 1992 (score function).
    """

    gradient: Literal["straight-through", "score-function"] = "straight-through"
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.gradient not in ("straight-through", "score-function"):
            raise ValueError(f"`gradient` must be 'straight-through' or 'score-function': got {self.gradient!r}.")

    def apply(
        self, weights: Float[Tensor, "... N M"], uniform: Float[Tensor, "... N 1"] | None = None
    ) -> Float[Tensor, "... N M"]:
        """One 1 in each row that draws a key. `uniform`: a number in [0, 1) a row."""
        if uniform is None:
            raise ValueError("`uniform` must be a number in [0, 1) for each row: got None.")
        if weights.shape[-1] == 0:
            return weights
        probabilities = weights.detach().double()
        cumulative = probabilities.cumsum(-1)
        total = cumulative[..., -1:]
        # a row that adds up to 1 but for rounding always draws a key
        full = total > 1 - 64 * torch.finfo(weights.dtype).eps
        threshold = uniform.double() * torch.where(full, total, torch.ones_like(total))
        index = (cumulative <= threshold).sum(-1, keepdim=True)
        positions = torch.arange(weights.shape[-1], device=weights.device)
        last = torch.where(probabilities > 0, positions, -1).amax(-1, keepdim=True)
        sampled = torch.where(full, torch.minimum(index, last), index)  # past the last place: nothing
        one_hot = (positions == sampled) & (probabilities > 0)
        if self.gradient == "score-function":
            return one_hot.to(weights.dtype).masked_fill(weights.detach().isnan(), torch.nan)
        return _straight_through(one_hot, weights)

    def log_probability(
        self, weights: Float[Tensor, "... N M"], sampled: Float[Tensor, "... N M"]
    ) -> Float[Tensor, "... N"]:
        """The logarithm of the probability of what was drawn, differentiable in the weights; 0 for an empty row.

        Args:
            weights: what `apply` was given.
            sampled: what it gave.
        """
        total = weights.sum(-1)
        has_key = sampled.detach().sum(-1) > 0
        probability = torch.where(has_key, (weights * sampled.detach()).sum(-1), 1 - total)
        tiny = torch.finfo(weights.dtype).tiny
        # the two ways of writing 1 keep the gradient of what is not chosen at 0
        log_chosen = probability.clamp(min=tiny).log()
        return log_chosen - torch.where(has_key & (total > 1), total, torch.ones_like(total)).log()


def _straight_through(one_hot: Tensor, weights: Tensor) -> Tensor:
    return one_hot.to(weights.dtype) + (weights - weights.detach())
