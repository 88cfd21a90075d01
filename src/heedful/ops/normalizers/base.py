"""What every normalizer is: a definition, and the same in place."""

import abc
import dataclasses
import math
from typing import ClassVar

import torch

from heedful._checks import Shape, check_per_row
from heedful._types import Bool, Float, Tensor
from heedful.ops._concrete import concrete_on_cpu
from heedful.ops._tree import Value, tensors


class Normalizer(Value):
    """A normalizer: a value that turns the scores of a row into weights over its visible keys; an empty row is 0.

    Its call is the definition. `forward_` and `backward_` are the same and its gradient in place, for engines.

    Example:
        >>> scores = torch.tensor([[1.0, 1.0, -torch.inf]])
        >>> weights, row = softmax.forward_(scores)
        >>> weights, softmax.backward_(weights, torch.tensor([[1.0, 0.0, 0.0]]), row)
        (tensor([[0.5000, 0.5000, 0.0000]]), tensor([[ 0.2500, -0.2500, -0.0000]]))
    """

    normalized: ClassVar[bool]
    """Whether a row adds up to 1, or to less."""
    signed: ClassVar[bool] = False
    """Whether a weight may be negative."""
    exact_zeros: ClassVar[bool] = True
    """Whether scores near 0 are weights themselves, or make them jump: then a score that is 0 must be exactly that."""
    has_threshold: ClassVar[bool] = False
    """Whether each row has a threshold that is searched for: `forward_` gives it, and with it `recompute_` saves the search."""

    def __call__(
        self, scores: Float[Tensor, "... N M"], allowed: Bool[Tensor, "..."] | None = None
    ) -> Float[Tensor, "... N M"]:
        """The definition, differentiable to any order.

        Args:
            scores: one number a pair; -inf masks a pair as `allowed` does.
            allowed: True where query i may see key j; broadcasts to `scores`. None: everything is visible.
        """
        if scores.shape[-1] == 0:
            return scores
        masked = scores == -math.inf
        if allowed is not None:
            masked = masked | ~allowed
        return self._weights(scores.masked_fill(masked, 0), masked)

    def forward_(
        self, scores: Float[Tensor, "... N M"]
    ) -> tuple[Float[Tensor, "... N M"], Float[Tensor, "... N 1"] | None]:
        """Scores (masked: -inf) become weights in place, without autograd; also what `backward_` needs to know of the rows."""
        return self._forward(scores) if scores.numel() else (scores, None)

    def recompute_(
        self, scores: Float[Tensor, "... N M"], row: Float[Tensor, "... N 1"] | None
    ) -> Float[Tensor, "... N M"]:
        """The same scores become the same weights, given what `forward_` said of the rows."""
        return self._recompute(scores, row) if scores.numel() and row is not None else self.forward_(scores)[0]

    def backward_(
        self, weights: Float[Tensor, "... N M"], grad: Float[Tensor, "... N M"], row: Float[Tensor, "... N 1"] | None
    ) -> Float[Tensor, "... N M"]:
        """The gradient of the scores given that of the weights, in place of `grad`; `weights` may be overwritten.

        Args:
            weights: what `forward_` gave.
            grad: the gradient of the weights, finite.
            row: what else `forward_` gave.
        """
        return self._backward(weights, grad, row) if grad.numel() else grad

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        """Raises ValueError or TypeError where a tensor of the normalizer is no number for each row of the matrix."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                check_per_row(field.name, value, query, shape)

    @property
    def requires_grad(self) -> bool:
        """Whether the normalizer has a number that learns: its gradient comes from the definition only."""
        return any(tensor.requires_grad for tensor in tensors(self))

    @property
    def per_row(self) -> bool:
        """Whether its numbers differ from head to head or row to row: then only scores with all their axes fit them."""
        return any(tensor.numel() != 1 for tensor in tensors(self))

    @abc.abstractmethod
    def _weights(self, scores: Tensor, masked: Tensor) -> Tensor:
        """The definition; masked scores are finite."""

    @abc.abstractmethod
    def _forward(self, scores: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def _recompute(self, scores: Tensor, row: Tensor) -> Tensor:
        return self._forward(scores)[0]

    @abc.abstractmethod
    def _backward(self, weights: Tensor, grad: Tensor, row: Tensor | None) -> Tensor: ...


def number(value: float | Tensor, like: Tensor) -> Tensor:
    """A number or a tensor of numbers in the dtype of `like`; one number without axes, so that it fits anything."""
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=like.dtype, device=like.device)
    return (value.reshape(()) if value.numel() == 1 else value).to(like.dtype)


def visible_keys(masked: Tensor) -> Tensor:
    """How many keys each row may see, at least 1, `[..., N, 1]`."""
    return (~masked).sum(-1, keepdim=True).clamp(min=1)


def visible_keys_of(scores: Tensor) -> Tensor:
    """The same of scores whose masked pairs are -inf, in their dtype."""
    if concrete_on_cpu(scores) and bool((scores.amin(-1) > -math.inf).all()):
        return scores.new_full((*scores.shape[:-1], 1), scores.shape[-1])
    return visible_keys(scores == -math.inf).to(scores.dtype)


def empty_rows(scores: Tensor) -> Tensor | None:
    """Which rows are all -inf, `[..., N, 1]`; None where it is known that there are none."""
    may_read = concrete_on_cpu(scores)
    if may_read and not bool((scores[..., 0] == -math.inf).any()):
        return None
    empty = scores.amax(-1, keepdim=True) == -math.inf
    return None if may_read and not bool(empty.any()) else empty
