"""What is chosen without the truth: the size of the noise, and the settings with the least expected error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from heedful._types import Bool, Float, Tensor
from heedful.smoothing.passes import Pass, SeriesBatch, run

__all__ = ["Candidate", "SmoothSettings", "candidates", "choose", "expected_errors", "noise_of"]

_MAD = 0.6744897501960817  # the median of |x| for a normal x
_STEP = 0.05  # of the probe, in units of the noise
_LARGE = 10_000  # values


@dataclass(frozen=True)
class SmoothSettings:
    """How a series is smoothed.

    Attributes:
        strength: the difference of two windows, per value and in units of the noise, at which a weight falls to exp(-1/2).
        length: of the windows of values that are compared.
        window: how many values before and after its own a row sees; None: all.
        decay: how many steps away a weight of the last stage falls to exp(-1/2); None: distance does not count.
        stages: 1, or 2: the first stage is a pilot, whose windows the second compares.
        last_length: of the windows that the second stage compares.
    """

    strength: float
    length: int
    window: int | None
    decay: float | None = None
    stages: int = 2
    last_length: int = 3

    def passes(self) -> list[Pass]:
        """The passes, in their order."""
        first = Pass(self.length, self.strength, self.window, None if self.stages == 2 else self.decay)
        last = Pass(self.last_length, self.strength, self.window, self.decay)
        return [first, last][: self.stages]


_CANDIDATES: tuple[tuple[float, int, int | None, float | None, int, int], ...] = (
    # strength, length, window, decay, stages, last length
    (3.0, 11, 63, 12.0, 2, 1),
    (3.0, 11, 127, 25.0, 2, 1),
    (3.0, 11, 255, 50.0, 2, 1),
    (1.4, 5, 31, 15.0, 2, 1),
    (0.7, 11, 31, None, 2, 11),
    (1.0, 11, 31, 8.0, 2, 11),
    (1.4, 11, 31, 8.0, 2, 11),
    (0.7, 25, 31, None, 2, 5),
    (1.0, 25, 31, 15.0, 2, 1),
    (1.0, 25, 31, 15.0, 2, 5),
    (0.7, 25, 31, 15.0, 2, 25),
    (1.0, 25, 31, 8.0, 2, 25),
    (0.7, 41, 63, 16.0, 2, 41),
    (1.0, 41, 63, 20.0, 2, 15),
    (1.0, 11, 127, None, 2, 1),
    (1.0, 11, 127, 32.0, 2, 1),
    (1.0, 25, 127, 32.0, 2, 1),
    (0.7, 61, 127, 40.0, 2, 61),
    (0.7, 121, 255, 80.0, 2, 121),
    (1.0, 61, 511, 60.0, 2, 1),
    (0.7, 61, None, None, 2, 61),
    (0.7, 181, None, None, 2, 181),
    (1.0, 181, None, None, 2, 181),
    (1.0, 181, None, 60.0, 2, 181),
)


class Candidate(NamedTuple):
    """Settings, and what their mean squared error is expected to be, in units of the noise.

    Attributes:
        settings: the settings.
        error: of a value, on average; without smoothing it is 1.
    """

    settings: SmoothSettings
    error: float


def candidates(count: int, history: int) -> list[SmoothSettings]:
    """The settings that are compared for a series of so many values, of which so many are known when they are chosen."""
    found = [SmoothSettings(*one) for one in _CANDIDATES]
    if count > _LARGE:  # where each value would see all, time would grow with the square of their number
        found = [one for one in found if one.window is not None and one.window <= 255]
    longest = max(history // 8, 1) * 2 - 1  # a quarter of what is known
    found = [replace(one, length=min(one.length, longest), last_length=min(one.last_length, longest)) for one in found]
    return list(dict.fromkeys(found))


def noise_of(values: Float[Tensor, "N C"], missing: Bool[Tensor, "N"]) -> Float[Tensor, "C"]:
    """The standard deviation of the noise of each channel, from the median size of its second differences.

    A trend and slow waves have small ones, and jumps are few: neither counts. The noise of one value must not depend on that of others.

    Source: Donoho and Johnstone 1994, section 3, with second differences in place of wavelets; Gasser et al. 1986.
    """
    if len(values) < 3:
        return values.new_zeros(values.shape[1])
    differences = (values[2:] - 2 * values[1:-1] + values[:-2]) / 6**0.5
    known = ~(missing[2:] | missing[1:-1] | missing[:-2])
    if not known.any():
        return values.new_zeros(values.shape[1])
    return differences[known].abs().median(0).values / _MAD


def expected_errors(
    samples: SeriesBatch, settings: Sequence[SmoothSettings], seed: int, probes: int = 1
) -> list[Candidate]:
    """The mean squared error that each setting is expected to have, without the truth: `|y - f(y)|^2 / n - 1 + 2 div f / n`.

    The divergence, how much each output depends on its own value, is measured along random directions, the same for all settings.

    Source: Stein 1981; Ramani et al. 2008, theorem 2 (Monte-Carlo SURE).
    """
    y = samples.values
    batch = len(y)
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randint(0, 2, (probes, *y.shape), generator=generator).to(y.dtype) * 2 - 1
    known = torch.ones(y.shape[:2], dtype=torch.bool) if samples.missing is None else ~samples.missing
    probe = probe * known[..., None]
    every = torch.cat([y, *(y + _STEP * direction for direction in probe)])
    missing, steps = (None if t is None else t.repeat(1 + probes, 1) for t in (samples.missing, samples.steps))
    count = known.sum() * y.shape[2]
    found = []
    for one in settings:
        smooth = run(SeriesBatch(every, missing, steps, samples.online), one.passes()).values
        moved = (smooth[batch:].unflatten(0, (probes, batch)) - smooth[:batch]) / _STEP
        divergence = (moved * probe).sum() / probes / count
        residual = ((y - smooth[:batch]).square() * known[..., None]).sum() / count
        found.append(Candidate(one, float(residual - 1 + 2 * divergence)))
    return found


def choose(found: Sequence[Candidate]) -> Candidate:
    """The settings with the least expected error."""
    return min(found, key=lambda one: one.error)
