"""Attention rollout: what the output saw of the input, through all layers, without any N x N product."""

from collections.abc import Sequence

from heedful._types import Float, Tensor
from heedful.ops import AttentionMatrix


def rollout(
    matrices: Sequence[AttentionMatrix], start: Float[Tensor, "B N"], *, residual: float = 0.5
) -> Float[Tensor, "B N"]:
    """Follows attention from positions of the last layer back to the input.

    `start @ R_L ... R_1` with `R = residual I + (1 - residual) mean over heads of A`: one product with a transposed matrix
    a layer.

    Args:
        matrices: one a layer, first layer first, each `[B, H, N, N]`.
        start: mass on the positions of the last layer's output `[B, N]`, such as 1 on the class token.
        residual: the share that goes around the attention.

    Returns:
        Mass on the positions of the input `[B, N]`; it adds up to what `start` adds up to.

    Example:
        >>> A = AttentionMatrix(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
        >>> rollout([A], torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([[0.6667, 0.1667, 0.1667]])

    Source: Abnar and Zuidema 2020, section 3.
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"`residual` must be from 0 to 1: got {residual}.")
    mass = start
    for matrix in reversed(matrices):
        if len(matrix.shape) != 4 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] != mass.shape[-1]:
            raise ValueError(
                f"`matrices` must be [B, H, {mass.shape[-1]}, {mass.shape[-1]}] each: got {list(matrix.shape)}."
            )
        attended = (matrix.T @ mass[:, None, :, None]).mean(1)[..., 0]
        mass = residual * mass + (1 - residual) * attended
    return mass
