"""Random numbers that depend on where they are used, (seed, batch and head, row, column), and on nothing else.

Each is a hash of its place, so a tile drawn alone is the tile of the whole, in any order and on any device.
"""

import math

import torch

from heedful._types import Bool, Float, Int, Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, odd, as a signed number
_MIX_1, _MIX_2 = -4658895280553007687, -7723592293110705685
_MIX_32 = -1640531535
_ROWS, _COLUMNS, _DRAWS = 1, 2, 3


def keep_mask(
    seed: int,
    lead: tuple[int, ...],
    rows: Int[Tensor, " n"],
    columns: Int[Tensor, " m"],
    p: float,
    *,
    heads: slice | None = None,
) -> Bool[Tensor, "... n m"]:
    """True with probability `1 - p`, for each of the pairs of `rows` and `columns`, `[*lead, n, m]`.

    Args:
        seed: any integer.
        lead: the sizes of batch and heads, `(..., H)`.
        rows: absolute row numbers.
        columns: absolute column numbers.
        p: the probability of False, at least 0 and at most 1.
        heads: some of the heads, with all of `lead` as one axis: gives `[heads, n, m]`. None: all.
    """
    row = _row_keys(seed, lead, rows, _ROWS, heads).int()[..., None] | 1
    column = _hash(columns.long() + _start(seed, _COLUMNS), _COLUMNS).int() | 1
    bits = row * column  # wraps
    bits.bitwise_xor_(bits >> 15).mul_(_MIX_32)
    return bits.bitwise_and_(2**31 - 1) > round(p * 2**31) - 1


def uniform(
    seed: int, lead: tuple[int, ...], rows: Int[Tensor, " n"], *, heads: slice | None = None
) -> Float[Tensor, "... n 1"]:
    """A float64 number in [0, 1) for each row, `[*lead, n, 1]`; `heads` as for `keep_mask`."""
    return (_row_keys(seed, lead, rows, _DRAWS, heads)[..., None] >> 11 & (1 << 53) - 1).double() * 2.0**-53


def _row_keys(seed: int, lead: tuple[int, ...], rows: Tensor, use: int, heads: slice | None) -> Tensor:
    """64 random bits for each head and row, `[*lead, n]`, or `[heads, n]`."""
    indices = torch.arange(math.prod(lead), device=rows.device)
    indices = indices.view(lead) if heads is None else indices[heads]
    indices = _hash(indices + _start(seed, use), use)
    return _hash(indices[..., None] + rows.long(), use)


def _start(seed: int, use: int) -> int:
    """The hash of a seed, by Python: where the numbers for this use begin."""
    x = (seed + use) * _GOLDEN % 2**64
    x = (x ^ x >> 30) * _MIX_1 % 2**64
    x = (x ^ x >> 27) * _MIX_2 % 2**64
    return (x ^ x >> 31) - 2**63


def _hash(numbers: Tensor, use: int) -> Tensor:
    """Steele et al. 2014, figure 15 (SplitMix64), on integers that wrap."""
    x = (numbers + use) * _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """To the right, filled with zeros."""
    return x >> by & (1 << 64 - by) - 1
