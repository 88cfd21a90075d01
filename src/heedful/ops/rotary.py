"""Rotary positions: queries and keys are turned by angles that grow with their positions.

Then `q_i . k_j` feels the positions only through `i - j`, whatever the score is that is made of inner products.
"""

import abc
import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch

from heedful._checks import (
    as_grid,
    as_integer,
    as_number,
    check_broadcasts,
    check_floating,
    check_multiple,
    check_real,
)
from heedful._types import Float, Tensor

Pairing = Literal["halves", "interleaved"]


class RotaryScaling(abc.ABC):
    """How the frequencies are changed for sequences that are longer than those of training.

    Example:
        >>> frequency = rotary_frequencies(8, base=10_000.0)
        >>> LinearScaling(4.0).scaled(frequency, 10_000.0)
        tensor([0.2500, 0.0250, 0.0025, 0.0003], dtype=torch.float64)
    """

    @abc.abstractmethod
    def scaled(self, frequency: Float[Tensor, "pairs"], base: float) -> Float[Tensor, "pairs"]:
        """The new frequencies, in radians a position."""

    def temperature(self) -> float:
        """What the turned features are multiplied by; the scores by its square."""
        return 1.0


@dataclass(frozen=True)
class LinearScaling(RotaryScaling):
    """Position interpolation: all frequencies over `factor`, as if positions stood closer together.

    Example:
        >>> x = torch.randn(8, 4)
        >>> torch.equal(rotary(x, scaling=LinearScaling(2.0)), rotary(x, torch.arange(8) / 2))
        True

    Source: Chen et al. 2023, equation 4.
    """

    factor: float

    def __post_init__(self) -> None:
        _check_numbers(self)

    def scaled(self, frequency: Float[Tensor, "pairs"], base: float) -> Float[Tensor, "pairs"]:
        return frequency / self.factor


@dataclass(frozen=True)
class NTKScaling(RotaryScaling):
    """A larger base, `base * factor^(W / (W - 2))` for W turned features: the slowest pair slows by `factor`, the fastest keeps its pace.

    Example:
        >>> NTKScaling(16.0).scaled(rotary_frequencies(4, base=100.0), 100.0)
        tensor([1.0000, 0.0063], dtype=torch.float64)

    Source: Peng et al. 2023, definition 1.
    """

    factor: float

    def __post_init__(self) -> None:
        _check_numbers(self)

    def scaled(self, frequency: Float[Tensor, "pairs"], base: float) -> Float[Tensor, "pairs"]:
        index = torch.arange(len(frequency), dtype=frequency.dtype, device=frequency.device)
        return frequency * self.factor ** (-index / max(1, len(frequency) - 1))


@dataclass(frozen=True)
class YarnScaling(RotaryScaling):
    """YaRN: pairs that turn often within the trained length keep their frequency, those that hardly turn have it over `factor`.

    The pair that turns r times within `original` positions has the index `t(r) = W log(original / (2 pi r)) / (2 log base)` for
    W turned features; between `floor(t(fast))` and `ceil(t(slow))` there is a straight ramp. The features are multiplied by
    `0.1 log(factor) + 1`.

    Args:
        factor: how many times longer the sequences are.
        original: the length of training.
        fast: from so many turns on the frequency is kept.
        slow: up to so many turns it is divided.

    Raises:
        ValueError: `factor` is less than 1, or `fast`, `slow` or `original` are out of order.

    Example:
        >>> scaling = YarnScaling(4.0, original=64, fast=4.0, slow=1.0)
        >>> scaling.scaled(rotary_frequencies(6, base=100.0), 100.0)
        tensor([1.0000, 0.1347, 0.0116], dtype=torch.float64)
        >>> round(scaling.temperature(), 4)
        1.1386

    Differs from the paper's formula, whose ramp is straight in the number of turns; it is the authors' code, and what published
    weights were trained with.

    Source: Peng et al. 2023, definitions 2 and 3.
    """

    factor: float
    original: int
    fast: float = 32.0
    slow: float = 1.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_between("slow", self.slow, "fast", self.fast, self.original)

    def scaled(self, frequency: Float[Tensor, "pairs"], base: float) -> Float[Tensor, "pairs"]:
        width = 2 * len(frequency)
        first = max(math.floor(self._index(self.fast, width, base)), 0)
        last = min(math.ceil(self._index(self.slow, width, base)), width - 1)
        index = torch.arange(len(frequency), dtype=frequency.dtype, device=frequency.device)
        divided = ((index - first) / max(last - first, 0.001)).clamp(0, 1)  # a step where both ends meet
        return frequency * (1 - divided) + frequency / self.factor * divided

    def temperature(self) -> float:
        return 0.1 * math.log(self.factor) + 1

    def _index(self, turns: float, width: int, base: float) -> float:
        return width * math.log(self.original / (2 * math.pi * turns)) / (2 * math.log(base))


@dataclass(frozen=True)
class Llama3Scaling(RotaryScaling):
    """Llama 3.1: pairs that turn often within the trained length keep their frequency, others have it over `factor`.

    Between `low` and `high` turns a pair that turns r times has `((1 - g) / factor + g) f`, with `g = (r - low) / (high - low)`.

    Args:
        factor: how many times longer the sequences are.
        low: up to so many turns the frequency is divided.
        high: from so many turns on it is kept.
        original: the length of training.

    Raises:
        ValueError: `factor` is less than 1, or `low`, `high` or `original` are out of order.

    Example:
        >>> Llama3Scaling(8.0, original=64).scaled(rotary_frequencies(6, base=100.0), 100.0)
        tensor([1.0000, 0.1020, 0.0058], dtype=torch.float64)

    Source: Grattafiori et al. 2024; the formula: the authors' code.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_between("low", self.low, "high", self.high, self.original)

    def scaled(self, frequency: Float[Tensor, "pairs"], base: float) -> Float[Tensor, "pairs"]:
        turns = self.original * frequency / (2 * math.pi)
        kept_fraction = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * kept_fraction + frequency / self.factor * (1 - kept_fraction)


def rotary(
    x: Float[Tensor, "... N D"],
    positions: Tensor | None = None,
    *,
    base: float = 10_000.0,
    scaling: RotaryScaling | None = None,
    width: int | None = None,
    pairing: Pairing = "halves",
) -> Float[Tensor, "... N D"]:
    """Turns each pair of features by an angle: `(a, b) -> (a cos - b sin, b cos + a sin)`, for pair t by `position * base^(-2 t / width)`.

    Args:
        x: queries or keys, `[..., N, D]`.
        positions: real numbers, broadcastable to `[..., N]`; by default 0, 1, 2 ... The angles are computed in float64, so that
            far positions keep their precision.
        base: 2 pi times this is nearly the longest wavelength, in positions.
        scaling: for sequences longer than those of training: `LinearScaling`, `NTKScaling`, `YarnScaling`, `Llama3Scaling`.
        width: only the first `width` features are turned; even. By default all.
        pairing: "halves": feature t goes with feature `t + width / 2` (Llama, GPT-NeoX); "interleaved": `2 t` with `2 t + 1` (the
            paper, GPT-J). The two are the same up to the order of features, so weights have to be used as they were trained.

    Returns:
        `[..., N, D]`, in the dtype of `x`.

    Raises:
        TypeError: `x` is not floating point, or `positions` are not real numbers.
        ValueError: `width` is odd or more than D; `positions` do not fit; `base` or `pairing` is not one of those.

    Example:
        >>> query, key = torch.randn(2, 1, 6, dtype=torch.float64)
        >>> near = rotary(query, torch.tensor([7])) @ rotary(key, torch.tensor([4])).T
        >>> far = rotary(query, torch.tensor([1007])) @ rotary(key, torch.tensor([1004])).T
        >>> torch.allclose(near, far)
        True

    Source: Su et al. 2021, equation 34.
    """
    check_floating("x", x)
    width = check_multiple("width", x.shape[-1] if width is None else width, of=2)
    base = as_number("base", base)
    if width > x.shape[-1]:
        raise ValueError(f"`width` must be at most the number of features of `x`, {x.shape[-1]}: got {width}.")
    if pairing not in ("halves", "interleaved"):
        raise ValueError(f"`pairing` must be 'halves' or 'interleaved': got {pairing!r}.")
    wide = torch.promote_types(x.dtype, torch.float32)
    if positions is None and not torch.compiler.is_compiling():
        cos, sin = _cos_sin_from_0(x.shape[-2], width, base, scaling, pairing, wide, x.device)
    else:
        cos, sin = _cos_sin(_positions(positions, x), width, base, scaling, pairing, wide)
    rotated, rest = x[..., :width], x[..., width:]
    if pairing == "halves":
        out = torch.addcmul(rotated * cos, rotated.roll(width // 2, -1), sin)
    else:
        a, b = rotated[..., 0::2], rotated[..., 1::2]
        out = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    return torch.cat([out.to(x.dtype), rest], dim=-1) if rest.shape[-1] else out.to(x.dtype)


def _cos_sin(
    positions: Tensor, width: int, base: float, scaling: RotaryScaling | None, pairing: Pairing, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The cosines and sines of each position and pair; for halves `(cos, cos)` and `(-sin, sin)`, those of each feature."""
    frequency, temperature = rotary_frequencies(width, base=base, device=positions.device), 1.0
    if scaling is not None:
        frequency, temperature = scaling.scaled(frequency, base), scaling.temperature()
    angle = positions.to(torch.float64)[..., None] * frequency
    cos, sin = (angle.cos() * temperature).to(dtype), (angle.sin() * temperature).to(dtype)
    return (torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)) if pairing == "halves" else (cos, sin)


@functools.lru_cache(maxsize=32)
def _cos_sin_from_0(
    count: int,
    width: int,
    base: float,
    scaling: RotaryScaling | None,
    pairing: Pairing,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Those of 0, 1, 2 ..., which every layer asks for, and every step again."""
    with torch.inference_mode(False), torch.no_grad():
        return _cos_sin(torch.arange(count, device=device), width, base, scaling, pairing, dtype)


def rotary2d(
    x: Float[Tensor, "... N D"], grid: tuple[int, int], *, base: float = 100.0, pairing: Pairing = "halves"
) -> Float[Tensor, "... N D"]:
    """Turns the first half of the features by the row on a grid, the second half by the column: `q_i . k_j` feels the step only.

    Args:
        x: queries or keys, `[..., N, D]`, the cells of the grid row by row; D is divisible by 4.
        grid: the (rows, columns) of the grid.
        base: as in `rotary`, for each half; smaller, since grids are shorter than texts.
        pairing: as in `rotary`, within each half.

    Returns:
        `[..., N, D]`, in the dtype of `x`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: D is not divisible by 4, or the grid has not N cells.

    Example:
        >>> rotary2d(torch.randn(2, 3, 20, 8), grid=(4, 5)).shape
        torch.Size([2, 3, 20, 8])

    Source: Heo et al. 2024, section 3.2 (axial frequencies).
    """
    check_floating("x", x)
    check_multiple("width` of `x", x.shape[-1], of=4)
    grid = as_grid("grid", grid)
    if grid[0] * grid[1] != x.shape[-2]:
        raise ValueError(
            f"`grid` must be (rows, columns) with as many cells as `x` has positions, {x.shape[-2]}: got {grid}."
        )
    cell = torch.arange(x.shape[-2], device=x.device)
    by_row, by_column = x.chunk(2, dim=-1)
    return torch.cat(
        [
            rotary(by_row, cell // grid[1], base=base, pairing=pairing),
            rotary(by_column, cell % grid[1], base=base, pairing=pairing),
        ],
        dim=-1,
    )


def rotary_frequencies(
    width: int, *, base: float = 10_000.0, device: torch.device | None = None
) -> Float[Tensor, "pairs"]:
    """The frequencies of `rotary`, in radians a position: `base^(-2 t / width)` for each pair t, in float64.

    Raises:
        ValueError: `base` is not more than 1.

    Example:
        >>> rotary_frequencies(4)
        tensor([1.0000, 0.0100], dtype=torch.float64)
    """
    width, base = as_integer("width", width), as_number("base", base)
    if not base > 1:
        raise ValueError(f"`base` must be more than 1: got {base}.")
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)


def _positions(positions: Tensor | None, x: Tensor) -> Tensor:
    if positions is None:
        return torch.arange(x.shape[-2], device=x.device)
    check_real("positions", positions)
    if positions.device != x.device:
        raise ValueError(f"`positions` must be on the device of `x`, {x.device}: got {positions.device}.")
    check_broadcasts("`positions`", positions, tuple(x.shape[:-1]), "[..., N]")
    return positions


def _check_numbers(scaling: RotaryScaling) -> None:
    """Makes plain numbers of the fields of a scaling, of which `factor` is at least 1."""
    for name, value in vars(scaling).items():
        number = as_integer(name, value) if name == "original" else as_number(name, value)
        if name == "factor" and not number >= 1:
            raise ValueError(f"`factor` must be at least 1: got {number}.")
        object.__setattr__(scaling, name, number)


def _check_between(low_name: str, low: float, high_name: str, high: float, original: int) -> None:
    if not 0 < low < high:
        raise ValueError(f"`{low_name}` must be positive and less than `{high_name}`: got {low} and {high}.")
    if original < 1:
        raise ValueError(f"`original` must be positive: got {original}.")
