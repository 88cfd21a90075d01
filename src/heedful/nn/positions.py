"""Positions: attention by itself does not know the order of what it sees."""

import torch
from torch import nn

from heedful._checks import check_multiple, check_positive
from heedful._types import Float, Tensor


def sinusoidal(
    positions: Float[Tensor, "*axes"], width: int, *, longest: float = 10_000.0
) -> Float[Tensor, "*axes width"]:
    """Sines and cosines of each position at `width / 2` wavelengths from 2 pi to `longest` x 2 pi.

    `p[2 i] = sin(position / longest^(2 i / width))` and `p[2 i + 1]` its cosine.

    Args:
        positions: any real numbers, of any shape.
        width: even.
        longest: the longest wavelength over 2 pi.

    Example:
        >>> sinusoidal(torch.arange(2.0), 4)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])

    Source: Vaswani et al. 2017, section 3.5.
    """
    check_multiple("width", width, of=2)
    frequency = longest ** (-torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
    angle = positions.double()[..., None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(positions.dtype)


class SinusoidalPositions(nn.Module):
    """Adds fixed sines and cosines of the position; nothing is learned, and any length or grid works.

    On a grid, the first half of the width tells the row and the second half the column.

    Args:
        width: the features of the input; divisible by 2 for sequences, by 4 for grids.
        longest: the longest wavelength over 2 pi, in positions.

    Example:
        >>> layer = SinusoidalPositions(width=8)
        >>> layer(torch.zeros(1, 5, 8)).shape, layer(torch.zeros(1, 5, 7, 8)).shape
        (torch.Size([1, 5, 8]), torch.Size([1, 5, 7, 8]))

    Source: Vaswani et al. 2017, section 3.5; on a grid: Parmar et al. 2018.
    """

    def __init__(self, width: int, *, longest: float = 10_000.0) -> None:
        super().__init__()
        check_multiple("width", width, of=2)
        self.width, self.longest = width, longest

    def forward(self, x: Float[Tensor, "B *axes D"]) -> Float[Tensor, "B *axes D"]:
        """Adds the positions to a sequence `[batch, positions, width]` or a grid `[batch, rows, columns, width]`."""
        _check_grid(x, self.width)
        axes = x.shape[1:-1]
        if len(axes) == 1:
            table = sinusoidal(
                torch.arange(axes[0], dtype=torch.float32, device=x.device), self.width, longest=self.longest
            )
        else:
            check_multiple("width", self.width, of=4)
            row, column = (
                sinusoidal(torch.arange(n, dtype=torch.float32, device=x.device), self.width // 2, longest=self.longest)
                for n in axes
            )
            table = torch.cat([row[:, None].expand(*axes, -1), column.expand(*axes, -1)], dim=-1)
        return x + table.to(x.dtype)


class LearnedPositions(nn.Module):
    """Adds a learned vector to each position of a sequence or of a grid.

    Args:
        size: the largest number of positions, or the (rows, columns) of the largest grid. Smaller inputs take the first ones.
        width: the features of the input.

    Example:
        >>> LearnedPositions((4, 6), width=8)(torch.zeros(2, 4, 6, 8)).shape
        torch.Size([2, 4, 6, 8])

    Source: Gehring et al. 2017; on a grid: Dosovitskiy et al. 2021, section 3.1.
    """

    def __init__(self, size: int | tuple[int, int], width: int) -> None:
        super().__init__()
        axes = (size,) if isinstance(size, int) else tuple(size)
        for n in (*axes, width):
            check_positive("size` and `width", n)
        self.width = width
        self.table = nn.Parameter(torch.empty(*axes, width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Float[Tensor, "B *axes D"]) -> Float[Tensor, "B *axes D"]:
        """Adds the positions to a sequence `[batch, positions, width]` or a grid `[batch, rows, columns, width]`."""
        _check_grid(x, self.width)
        axes, known = x.shape[1:-1], self.table.shape[:-1]
        if len(axes) != len(known) or any(n > most for n, most in zip(axes, known, strict=True)):
            raise ValueError(
                f"`x` must have at most {list(known)} positions, as the table of learned positions has: got {list(axes)}."
            )
        return x + self.table[tuple(slice(n) for n in axes)].to(x.dtype)


def _check_grid(x: Tensor, width: int) -> None:
    if x.dim() not in (3, 4) or x.shape[-1] != width:
        raise ValueError(
            f"`x` must be [batch, positions, width] or [batch, rows, columns, width] with width {width}: got {list(x.shape)}."
        )
