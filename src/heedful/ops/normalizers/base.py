"""What every normaliser is: a definition, and the same in place."""

import abc
import dataclasses
import math
from typing import ClassVar

import torch

from heedful._checks import Shape, check_of_rows
from heedful._types import Bool, Float, Tensor
from heedful.ops._readable import at_hand
from heedful.ops._tree import Value, tensors


class Normalizer(Value):
    """A normaliser: a value that turns the scores of a row into weights over its visible keys; an empty row is 0.

    Its call is the definition. `fill_` and `pull_` are the same and its gradient in place, for engines.

    Example:
        >>> scores = torch.tensor([[1.0, 1.0, -torch.inf]])
        >>> weights, row = softmax.fill_(scores)
        >>> weights, softmax.pull_(weights, torch.tensor([[1.0, 0.0, 0.0]]), row)
        (tensor([[0.5000, 0.5000, 0.0000]]), tensor([[ 0.2500, -0.2500, -0.0000]]))
    """

    adds_up: ClassVar[bool]
    """Whether a row adds up to 1, or to less."""
    signed: ClassVar[bool] = False
    """Whether a weight may be negative."""
    exact_zeros: ClassVar[bool] = True
    """Whether scores near 0 are weights themselves, or make them jump: then a score that is 0 must be exactly that."""
    searches: ClassVar[bool] = False
    """Whether each row has a threshold that is searched for: `fill_` gives it, and with it `again_` saves the search."""

    def __call__(
        self, scores: Float[Tensor, "... N M"], allowed: Bool[Tensor, "..."] | None = None
    ) -> Float[Tensor, "... N M"]:
        """The definition, differentiable to any order.

        Args:
            scores: one number a pair; -inf hides a pair as `allowed` does.
            allowed: True where query i may see key j; broadcasts to `scores`. None: everything is visible.
        """
        if scores.shape[-1] == 0:
            return scores
        hidden = scores == -math.inf
        if allowed is not None:
            hidden = hidden | ~allowed
        return self._weights(scores.masked_fill(hidden, 0), hidden)

    def fill_(
        self, scores: Float[Tensor, "... N M"]
    ) -> tuple[Float[Tensor, "... N M"], Float[Tensor, "... N 1"] | None]:
        """Scores (hidden: -inf) become weights in place, without autograd; also what `pull_` needs to know of the rows."""
        return self._fill(scores) if scores.numel() else (scores, None)

    def again_(
        self, scores: Float[Tensor, "... N M"], row: Float[Tensor, "... N 1"] | None
    ) -> Float[Tensor, "... N M"]:
        """The same scores become the same weights, given what `fill_` said of the rows."""
        return self._again(scores, row) if scores.numel() and row is not None else self.fill_(scores)[0]

    def pull_(
        self, weights: Float[Tensor, "... N M"], grad: Float[Tensor, "... N M"], row: Float[Tensor, "... N 1"] | None
    ) -> Float[Tensor, "... N M"]:
        """The gradient of the scores given that of the weights, in place of `grad`; `weights` may be overwritten.

        Args:
            weights: what `fill_` gave.
            grad: the gradient of the weights, finite.
            row: what else `fill_` gave.
        """
        return self._pull(weights, grad, row) if grad.numel() else grad

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        """Raises ValueError or TypeError where a tensor of the normaliser is no number for each row of the matrix."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                check_of_rows(field.name, value, query, shape)

    @property
    def learns(self) -> bool:
        """Whether the normaliser has a number that learns: its gradient comes from the definition only."""
        return any(tensor.requires_grad for tensor in tensors(self))

    @property
    def varies(self) -> bool:
        """Whether its numbers differ from head to head or row to row: then only scores with all their axes fit them."""
        return any(tensor.numel() != 1 for tensor in tensors(self))

    @abc.abstractmethod
    def _weights(self, scores: Tensor, hidden: Tensor) -> Tensor:
        """The definition; hidden scores are finite."""

    @abc.abstractmethod
    def _fill(self, scores: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def _again(self, scores: Tensor, row: Tensor) -> Tensor:
        return self._fill(scores)[0]

    @abc.abstractmethod
    def _pull(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor: ...


def number(value: float | Tensor, like: Tensor) -> Tensor:
    """A number or a tensor of numbers in the dtype of `like`; one number without axes, so that it fits anything."""
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=like.dtype, device=like.device)
    return (value.reshape(()) if value.numel() == 1 else value).to(like.dtype)


def visible_keys(hidden: Tensor) -> Tensor:
    """How many keys each row may see, at least 1, `[..., N, 1]`."""
    return (~hidden).sum(-1, keepdim=True).clamp(min=1)


def visible_keys_of(scores: Tensor) -> Tensor:
    """The same of scores whose hidden pairs are -inf, in their dtype."""
    if at_hand(scores) and bool((scores.amin(-1) > -math.inf).all()):
        return scores.new_full((*scores.shape[:-1], 1), scores.shape[-1])
    return visible_keys(scores == -math.inf).to(scores.dtype)


def empty_rows(scores: Tensor) -> Tensor | None:
    """Which rows are all -inf, `[..., N, 1]`; None where it is known that there are none."""
    looks = at_hand(scores)
    if looks and not bool((scores[..., 0] == -math.inf).any()):
        return None
    empty = scores.amax(-1, keepdim=True) == -math.inf
    return None if looks and not bool(empty.any()) else empty
