"""Numbers that models add to the scores within windows, as a bias of the matrix over all positions."""

from dataclasses import dataclass

import torch

from heedful._checks import Shape
from heedful._types import ColumnIndex, Float, Int, RowIndex, Tensor
from heedful.ops.biases import Bias


@dataclass(frozen=True, eq=False)
class WindowBias(Bias):
    """Numbers for the pairs of each window, `bias_ij = t[w_i, p_i, p_j]` where `w_i = w_j`; no other pair is seen.

    Args:
        tensor: `[..., W, n, n]`, broadcastable to `[..., H, W, n, n]`; the axis of the windows is 1 where they are alike.
        windows: the window of each position, `[N]`.
        places: where in its window each position stands, `[N]`.

    Example:
        >>> bias = WindowBias(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).expand(2, 2, 2), *torch.tensor([[0, 1, 0, 1], [0, 0, 1, 1]]))
        >>> index = torch.arange(4)
        >>> bias.at(index[:, None], index[None], (4, 4))
        tensor([[1., -inf, 2., -inf],
                [-inf, 1., -inf, 2.],
                [3., -inf, 4., -inf],
                [-inf, 3., -inf, 4.]])
    """

    tensor: Float[Tensor, "... W n n"]
    windows: Int[Tensor, " N"]
    places: Int[Tensor, " N"]

    def at(self, rows: RowIndex, columns: ColumnIndex, shape: Shape) -> Float[Tensor, "..."]:
        window = self.windows[rows]
        table = window if self.tensor.shape[-3] > 1 else torch.zeros_like(window)
        numbers = self.tensor[..., table, self.places[rows], self.places[columns]]
        return numbers.masked_fill(window != self.windows[columns], -torch.inf)

    def depends(self, shape: Shape) -> tuple[bool, bool]:
        return True, True

    def check(self, query: Float[Tensor, "..."], shape: Shape) -> None:
        count = len(self.windows)
        if shape[-2:] != (count, count) or self.places.shape != self.windows.shape:
            raise ValueError(
                f"`windows` and `places` must have a number for each of {list(shape[-2:])} positions: "
                f"got {list(self.windows.shape)} and {list(self.places.shape)}."
            )
