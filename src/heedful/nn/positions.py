"""Positions: attention by itself does not know the order of what it sees."""

from typing import Literal

import torch
from torch import nn

from heedful._checks import (
    as_grid,
    as_integer,
    as_number,
    as_sizes,
    check_floating,
    check_multiple,
    check_positive,
    check_positive_finite,
    check_real,
)
from heedful._types import Float, Int, Tensor
from heedful.ops.biases import ALiBi, ALiBi2d, RelativeBias, RelativeBias2d, alibi_slopes
from heedful.ops.rotary import RotaryScaling, rotary, rotary2d


def sinusoidal(
    positions: Float[Tensor, "*axes"] | Int[Tensor, "*axes"], width: int, *, max_wavelength: float = 10_000.0
) -> Float[Tensor, "*axes width"]:
    """Sines and cosines of each position at `width / 2` wavelengths from 2 pi to `max_wavelength` x 2 pi.

    `p[2 i] = sin(position / max_wavelength^(2 i / width))` and `p[2 i + 1]` its cosine.

    Args:
        positions: any real numbers, of any shape. The angles are computed in float64, so that far positions keep their precision.
        width: even.
        max_wavelength: the longest wavelength over 2 pi.

    Returns:
        In the dtype of the positions; of integers, in PyTorch's default dtype.

    Raises:
        TypeError: `positions` are not real numbers.
        ValueError: `width` is odd, or `max_wavelength` is not positive.

    Example:
        >>> sinusoidal(torch.arange(2.0), 4)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])

    Source: Vaswani et al. 2017, section 3.5.
    """
    check_real("positions", positions)
    width = check_multiple("width", width, of=2)
    max_wavelength = check_positive_finite("max_wavelength", max_wavelength)
    frequency = max_wavelength ** (-torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
    angle = positions.double()[..., None] * frequency
    dtype = positions.dtype if positions.is_floating_point() else torch.get_default_dtype()
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(dtype)


class SinusoidalPositions(nn.Module):
    """Adds fixed sines and cosines of the position; nothing is learned, and any length or grid works.

    On a grid, the first half of the width tells the row and the second half the column.

    Args:
        width: the features of the input; divisible by 2 for sequences, by 4 for grids.
        max_wavelength: the longest wavelength over 2 pi, in positions.

    Example:
        >>> layer = SinusoidalPositions(width=8)
        >>> layer(torch.zeros(1, 5, 8)).shape, layer(torch.zeros(1, 5, 7, 8)).shape
        (torch.Size([1, 5, 8]), torch.Size([1, 5, 7, 8]))

    Source: Vaswani et al. 2017, section 3.5; on a grid: Parmar et al. 2018.
    """

    def __init__(self, width: int, *, max_wavelength: float = 10_000.0) -> None:
        super().__init__()
        self.width = check_multiple("width", width, of=2)
        self.max_wavelength = check_positive_finite("max_wavelength", max_wavelength)

    def forward(self, x: Float[Tensor, "B *axes D"], *, start: int = 0) -> Float[Tensor, "B *axes D"]:
        """Adds the positions to a sequence `[batch, positions, width]` from `start` on, or a grid `[batch, rows, columns, width]`."""
        start = _start(x, self.width, start)
        axes = x.shape[1:-1]
        if len(axes) == 1:
            index = torch.arange(start, start + axes[0], dtype=torch.float64, device=x.device)
            table = sinusoidal(index, self.width, max_wavelength=self.max_wavelength)
        else:
            check_multiple("width", self.width, of=4)
            row, column = (
                sinusoidal(
                    torch.arange(n, dtype=torch.float64, device=x.device),
                    self.width // 2,
                    max_wavelength=self.max_wavelength,
                )
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
        axes, width = as_sizes("size", size), check_positive("width", width)
        self.width = width
        self.table = nn.Parameter(torch.empty(*axes, width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Float[Tensor, "B *axes D"], *, start: int = 0) -> Float[Tensor, "B *axes D"]:
        """Adds the positions to a sequence `[batch, positions, width]` from `start` on, or a grid `[batch, rows, columns, width]`."""
        start = _start(x, self.width, start)
        axes, table_sizes = [n + start for n in x.shape[1:-1]], self.table.shape[:-1]
        if len(axes) != len(table_sizes) or any(n > limit for n, limit in zip(axes, table_sizes, strict=True)):
            raise ValueError(
                f"`x` must have at most {list(table_sizes)} positions, as the table of learned positions has: got {axes}."
            )
        return x + self.table[tuple(slice(start, n) for n in axes)].to(x.dtype)


class RotaryPositions(nn.Module):
    """Turns queries and keys by their positions, `heedful.ops.rotary`, so that attention feels how far they are apart. Nothing is learned.

    Args:
        width: the features of a head; divisible by 2, on a grid by 4.
        grid: the (rows, columns) of a grid, as in `heedful.ops.rotary2d`; by default a sequence.
        base: as in `rotary`; by default 10,000, on a grid 100.
        scaling: as in `rotary`; for sequences only.
        rotary_width: how many of the first features are turned; by default all. For sequences only.
        pairing: as in `rotary`.

    Raises:
        ValueError: `width` or `rotary_width` does not divide as it should, or an option is for sequences only.

    Example:
        >>> layer = RotaryPositions(width=8)
        >>> query, key = layer(torch.randn(2, 4, 5, 8), torch.randn(2, 1, 5, 8))
        >>> query.shape, key.shape
        (torch.Size([2, 4, 5, 8]), torch.Size([2, 1, 5, 8]))

    Source: Su et al. 2021; on a grid: Heo et al. 2024.
    """

    def __init__(
        self,
        width: int,
        *,
        grid: tuple[int, int] | None = None,
        base: float | None = None,
        scaling: RotaryScaling | None = None,
        rotary_width: int | None = None,
        pairing: Literal["halves", "interleaved"] = "halves",
    ) -> None:
        super().__init__()
        width = check_multiple("width", width, of=2 if grid is None else 4)
        if rotary_width is not None:
            rotary_width = check_multiple("rotary_width", rotary_width, of=2)
        if rotary_width is not None and rotary_width > width:
            raise ValueError(f"`rotary_width` must be at most `width`, {width}: got {rotary_width}.")
        if grid is not None and (scaling is not None or rotary_width is not None):
            raise ValueError(
                f"`scaling` and `rotary_width` must be None on a grid: got {scaling!r} and {rotary_width}."
            )
        self.width, self.scaling, self.rotary_width, self.pairing = width, scaling, rotary_width, pairing
        self.grid = None if grid is None else as_grid("grid", grid)
        self.base = (10_000.0 if grid is None else 100.0) if base is None else as_number("base", base)

    def forward(
        self,
        query: Float[Tensor, "*lead N D"],
        key: Float[Tensor, "*others M D"],
        positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> tuple[Float[Tensor, "*lead N D"], Float[Tensor, "*others M D"]]:
        """Turns both.

        Args:
            query: `[..., N, width]`.
            key: `[..., M, width]`.
            positions: of the queries, broadcastable to `[..., N]`; by default 0, 1, 2 ...
            key_positions: of the keys; by default those of the queries.
        """
        for name, x in (("query", query), ("key", key)):
            check_floating(name, x)
            if x.dim() < 2 or x.shape[-1] != self.width:
                raise ValueError(
                    f"`{name}` must be [..., positions, width] with width {self.width}: got {list(x.shape)}."
                )
        turned = self._rotate(query, positions)
        if key is query and key_positions is None:
            return turned, turned
        return turned, self._rotate(key, positions if key_positions is None else key_positions)

    def _rotate(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if self.grid is None:
            return rotary(
                x, positions, base=self.base, scaling=self.scaling, width=self.rotary_width, pairing=self.pairing
            )  # fmt: skip
        if positions is not None:
            raise ValueError("`positions` must be None on a grid, whose cells stand row by row: got a tensor.")
        return rotary2d(x, self.grid, base=self.base, pairing=self.pairing)


class LearnedRelativeBias(nn.Module):
    """A learned number for each head and distance; calling the layer gives the value for `heedful.attention(bias=...)`.

    Args:
        heads: the number of heads, H.
        size: the reach, in positions; the number of buckets if `buckets` is "log"; or the (rows, columns) of a grid.
        buckets: "clip" or "log", as in `RelativeBias`; so are the others. They are for sequences.
        max_distance: where "log" begins to use its last bucket.
        bidirectional: whether later keys have buckets of their own.
        align: where the queries stand if they are not as many as the keys.

    Raises:
        ValueError: a size is not positive, or the buckets do not fit.

    Example:
        >>> LearnedRelativeBias(heads=4, size=16)().table.shape
        torch.Size([4, 33])
        >>> LearnedRelativeBias(heads=4, size=(7, 7))().table.shape
        torch.Size([4, 13, 13])

    Source: Shaw et al. 2018; Raffel et al. 2020; on a grid: Liu et al. 2021.
    """

    def __init__(
        self,
        heads: int,
        size: int | tuple[int, int],
        *,
        buckets: Literal["clip", "log"] = "clip",
        max_distance: int = 128,
        bidirectional: bool = True,
        align: Literal["start", "end"] | None = None,
    ) -> None:
        super().__init__()
        axes, heads = as_sizes("size", size), check_positive("heads", heads)
        self.size = (axes[0], axes[1]) if len(axes) == 2 else axes[0]
        self.buckets, self.max_distance, self.bidirectional, self.align = buckets, max_distance, bidirectional, align
        if len(axes) == 2:
            entries = tuple(2 * n - 1 for n in axes)
        elif buckets == "log":
            entries = axes
        else:
            entries = (2 * axes[0] + 1,) if bidirectional else (axes[0] + 1,)
        self.table = nn.Parameter(torch.empty(heads, *entries))
        nn.init.trunc_normal_(self.table, std=0.02)
        self()  # what does not fit is said now

    def forward(self) -> RelativeBias | RelativeBias2d:
        """The bias, whose table is the layer's parameter."""
        if not isinstance(self.size, int):
            return RelativeBias2d(self.table, self.size)
        return RelativeBias(self.table, self.buckets, self.max_distance, self.bidirectional, self.align)


class LearnedALiBi(nn.Module):
    """ALiBi with slopes that learn, from those of the paper on; calling the layer gives the value for `heedful.attention(bias=...)`.

    Args:
        heads: the number of heads, H.
        grid: the (rows, columns) of a grid, as in `ALiBi2d`; by default a sequence.
        align: as in `ALiBi`; for sequences.

    Raises:
        ValueError: `heads` is not positive, or `grid` or `align` is not one of those.

    Example:
        >>> LearnedALiBi(heads=2)().slopes
        Parameter containing:
        tensor([0.0625, 0.0039], requires_grad=True)

    Source: Press et al. 2022, section 3.
    """

    def __init__(
        self, heads: int, *, grid: tuple[int, int] | None = None, align: Literal["start", "end"] | None = None
    ) -> None:
        super().__init__()
        self.grid, self.align = None if grid is None else as_grid("grid", grid), align
        self.slopes = nn.Parameter(torch.tensor(alibi_slopes(heads)))
        self()  # what does not fit is said now

    def forward(self) -> ALiBi | ALiBi2d:
        """The bias, whose slopes are the layer's parameter."""
        return ALiBi(self.slopes, self.align) if self.grid is None else ALiBi2d(self.slopes, self.grid)


def _start(x: Tensor, width: int, start: int) -> int:
    """Where a sequence begins; raises where the input of a layer does not fit."""
    if x.dim() not in (3, 4) or x.shape[-1] != width:
        raise ValueError(
            f"`x` must be [batch, positions, width] or [batch, rows, columns, width] with width {width}: got {list(x.shape)}."
        )
    check_floating("x", x)
    start = as_integer("start", start)
    if start < 0 or (start and x.dim() == 4):
        raise ValueError(f"`start` must be 0 on a grid, and at least 0 in a sequence: got {start}.")
    return start
