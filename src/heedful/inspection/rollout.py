"""Attention rollout: what the output saw of the input, through all layers, without any N x N product."""

from collections.abc import Sequence

import torch

from heedful._checks import Shape
from heedful._types import Float, Int, Tensor
from heedful.ops import AttentionMatrix


class Rollout:
    """The product of all layers, `R_L ... R_1` with `R = residual I + (1 - residual) mean over heads of A`, never stored.

    `R @ X` and `R.T @ X` are one product with the matrix of each layer; rows and columns are products, too.

    Attributes:
        shape: `(..., N, N)`, the axes of the layers' matrices without that of the heads.
    """

    def __init__(self, matrices: Sequence[AttentionMatrix], residual: float, weights: Sequence[Tensor]) -> None:
        self.matrices, self.residual, self.weights = tuple(matrices), residual, tuple(weights)
        lead = matrices[0].shape[:-2]
        self.shape: Shape = (*(lead[:-1] if lead else ()), *matrices[0].shape[-2:])

    def __repr__(self) -> str:
        return f"Rollout(layers={len(self.matrices)}, shape={self.shape}, residual={self.residual})"

    def __matmul__(self, other: Float[Tensor, "... N E"]) -> Float[Tensor, "... N E"]:
        """`R @ X`: from the input to the output."""
        for matrix, weights in zip(self.matrices, self.weights, strict=True):
            other = self._step(matrix @ _for_heads(matrix, other), other, weights)
        return other

    @property
    def T(self) -> "TransposedRollout":  # noqa: N802
        """The transposed product: `R.T @ X` follows mass on the output back to the input."""
        return TransposedRollout(self)

    def rows(self, index: Int[Tensor, " k"] | Sequence[int]) -> Float[Tensor, "... k N"]:
        """What chosen positions of the output saw of each position of the input; a row adds up to 1 if all rows of A do."""
        return (self.T @ self._ones(index)).mT

    def columns(self, index: Int[Tensor, " k"] | Sequence[int]) -> Float[Tensor, "... N k"]:
        """How much of chosen positions of the input each position of the output saw."""
        return self @ self._ones(index)

    def _ones(self, index: Int[Tensor, " k"] | Sequence[int]) -> Float[Tensor, "N k"]:
        positions = torch.arange(self.shape[-1])[torch.as_tensor(index).reshape(-1)]
        query = self.matrices[0].query
        ones = torch.nn.functional.one_hot(positions, self.shape[-1]).T
        return ones.to(query.device, torch.float64 if query.dtype == torch.float64 else torch.float32)

    def _step(self, attended: Tensor, before: Tensor, weights: Tensor) -> Tensor:
        if attended.dim() > 2:
            attended = torch.einsum("...hne,h->...ne", attended, weights.to(attended))
        return self.residual * before + (1 - self.residual) * attended


class TransposedRollout:
    """`R.T` of a `Rollout`; only products are asked of it."""

    def __init__(self, rollout: Rollout) -> None:
        self.rollout, self.shape = rollout, rollout.shape

    def __matmul__(self, other: Float[Tensor, "... N E"]) -> Float[Tensor, "... N E"]:
        """`R.T @ X`: from the output to the input."""
        R = self.rollout
        for matrix, weights in zip(reversed(R.matrices), reversed(R.weights), strict=True):
            other = R._step(matrix.T @ _for_heads(matrix, other), other, weights)
        return other


def rollout(
    matrices: Sequence[AttentionMatrix],
    *,
    residual: float = 0.5,
    heads: Sequence[int] | Float[Tensor, "H"] | Float[Tensor, "L H"] | None = None,
) -> Rollout:
    """Attention followed through all layers, as a matrix of which rows, columns and products are asked.

    Args:
        matrices: one a layer, first layer first, each `[..., H, N, N]`.
        residual: the share that goes around the attention.
        heads: the mean of which heads; or numbers by which heads are weighed, as floats `[H]` or, for each layer, `[L, H]`,
            which should add up to 1. None: the mean of all.

    Raises:
        ValueError: there is no matrix, or shapes, heads or the share do not fit.

    Example:
        >>> A = AttentionMatrix(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
        >>> rollout([A, A]).rows([0])
        tensor([[[0.5000, 0.2500, 0.2500]]])

    Source: Abnar and Zuidema 2020, section 3.
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"`residual` must be from 0 to 1: got {residual}.")
    if not matrices:
        raise ValueError("`matrices` must hold one for each layer: got none.")
    size = matrices[0].shape[-1]
    for matrix in matrices:
        if matrix.shape[-2:] != (size, size):
            raise ValueError(f"`matrices` must be [..., H, {size}, {size}] each: got {list(matrix.shape)}.")
    weights = [_weights(matrix, heads, layer, len(matrices)) for layer, matrix in enumerate(matrices)]
    return Rollout(matrices, residual, weights)


def _weights(
    matrix: AttentionMatrix, heads: Sequence[int] | Tensor | None, layer: int, layers: int
) -> Float[Tensor, " H"]:
    """How much each head of a layer counts."""
    count = matrix.shape[-3] if len(matrix.shape) > 2 else 1
    if heads is None:
        return torch.full((count,), 1 / count, dtype=torch.float64)
    if isinstance(heads, Tensor) and heads.is_floating_point():
        if heads.shape not in ((count,), (layers, count)):
            raise ValueError(f"`heads` must weigh [{count}] or [{layers}, {count}] heads: got {list(heads.shape)}.")
        return heads if heads.dim() == 1 else heads[layer]
    index = torch.as_tensor(heads).reshape(-1)
    if not len(index) or not -count <= int(index.min()) <= int(index.max()) < count:
        raise ValueError(f"`heads` must be some of the {count} heads: got {index.tolist()}.")
    return torch.bincount(index % count, minlength=count).double() / len(index)


def _for_heads(matrix: AttentionMatrix, other: Tensor) -> Tensor:
    """The same for all heads."""
    return other.unsqueeze(-3) if len(matrix.shape) > 2 and other.dim() > 2 else other
