"""One pass of smoothing: windows of values as queries and keys, the values themselves as values, one call of the operator.

Numbers are in units of the noise; positions are in steps from value to value.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from heedful._types import Bool, Float, Tensor
from heedful.ops import Causal, Gaussian, Global, Local, Pattern, attention

__all__ = ["Pass", "Run", "SeriesBatch", "pattern_of", "query_and_key", "run", "windows"]

_CHUNK = 2048  # values of a chunk, where a row sees those near it only: so few that float32 tells their positions apart
_TOGETHER = 8  # chunks of one call
_FAR = 1000.0  # of a missing value from all others, in bandwidths
_LARGEST = 2e4  # squared length of features whose products float32 rounds by less than 1e-3


@dataclass(frozen=True)
class Pass:
    """How one pass compares values.

    Attributes:
        length: of the windows that are compared, odd.
        bandwidth: the difference, per value of a window and in units of the noise, at which a weight falls to exp(-1/2).
        window: how many values before and after its own a row sees; None: all.
        decay: the distance in steps at which a weight falls to exp(-1/2); None: distance does not count.
    """

    length: int
    bandwidth: float
    window: int | None
    decay: float | None = None


@dataclass(frozen=True, eq=False)
class SeriesBatch:
    """Series of one length.

    Attributes:
        values: `[B, N, C]` in float64, in units of the noise; where one is missing, a guess.
        missing: `[B, N]`, the rows of which nothing was measured; None: there are none.
        steps: `[B, N]`, rising positions; None: they are 0, 1, 2.
        online: whether no row may see a later one.
    """

    values: Float[Tensor, "B N C"]
    missing: Bool[Tensor, "B N"] | None = None
    steps: Float[Tensor, "B N"] | None = None
    online: bool = False

    def rows(self, start: int, stop: int) -> "SeriesBatch":
        """Some of the rows."""
        missing, steps = (None if t is None else t[:, start:stop] for t in (self.missing, self.steps))
        return SeriesBatch(self.values[:, start:stop], missing, steps, self.online)

    @classmethod
    def joined(cls, pieces: Sequence["SeriesBatch"]) -> "SeriesBatch":
        """Several of one length as one batch."""

        def together(name: str) -> Any:
            tensors = [getattr(piece, name) for piece in pieces]
            return None if tensors[0] is None else torch.cat(tensors)

        return cls(together("values"), together("missing"), together("steps"), pieces[0].online)


class Run(NamedTuple):
    """What the passes give.

    Attributes:
        values: the smoothed values `[B, N, C]`.
        compared: whose windows the last pass compared `[B, N, C]`.
    """

    values: Float[Tensor, "B N C"]
    compared: Float[Tensor, "B N C"]


def run(samples: SeriesBatch, passes: Sequence[Pass]) -> Run:
    """All passes: each compares windows of what the one before it gave, and takes means of the values themselves.

    Where each pass sees near values only, they are cut into chunks that overlap by all that a row depends on.
    """
    count = samples.values.shape[1]
    halo = sum(math.inf if one.window is None else one.window + one.length for one in passes)
    size = max(_CHUNK, 4 * int(halo)) if halo < math.inf else count
    if size >= count:
        return _run(samples, passes)
    out = Run(torch.empty_like(samples.values), torch.empty_like(samples.values))
    for starts, before, stop in _chunks(count, size, int(halo)):
        chunks = SeriesBatch.joined([samples.rows(start - before, start + stop) for start in starts])
        for whole, pieces in zip(out, _run(chunks, passes), strict=True):
            for start, piece in zip(starts, pieces.split(len(samples.values)), strict=True):
                whole[:, start : start + size] = piece[:, before : before + size]
    return out


def _chunks(count: int, size: int, halo: int) -> Iterator[tuple[list[int], int, int]]:
    """Where chunks start that are as long, how many rows before a start they depend on, and to which row behind it."""
    inner = [start for start in range(0, count, size) if start >= halo and start + size + halo <= count]
    for start in range(0, count, size):
        if start not in (inner[:1] + inner[-1:]) and (not inner or not inner[0] < start < inner[-1]):
            yield [start], min(start, halo), min(size + halo, count - start)
    for first in range(0, len(inner), _TOGETHER):
        yield inner[first : first + _TOGETHER], halo, size + halo


def _run(samples: SeriesBatch, passes: Sequence[Pass]) -> Run:
    values = compared = samples.values
    for one in passes:
        compared = values
        query, key = query_and_key(compared, samples, one)
        pattern = pattern_of(one, samples.online, query.shape[1])
        value = samples.values.to(query.dtype)
        query, key, value = (t[:, None] for t in (query, key, value))
        values = attention(query, key, value, score=Gaussian(1.0), pattern=pattern)[:, 0].double()
    return Run(values, compared)


def pattern_of(one: Pass, online: bool, count: int) -> Pattern:
    """Which values a row sees."""
    if one.window is None or one.window >= count - 1:
        return Causal() if online else Global()
    return Local(one.window, 0 if online else None)


def query_and_key(
    compared: Float[Tensor, "B N C"], samples: SeriesBatch, one: Pass
) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
    """Features whose squared distance is twice the exponent: windows over their bandwidth, time over its decay.

    A key that is missing lies so far away that it has no weight.
    """
    features = windows(compared, one.length, samples.online, samples.steps)
    features = features / (one.bandwidth * math.sqrt(features.shape[-1]))
    if one.decay is not None:
        steps = samples.steps
        if steps is None:
            steps = torch.arange(compared.shape[1], dtype=features.dtype).expand(compared.shape[:2])
        features = torch.cat([features, steps[..., None] / one.decay], -1)
    features = features - (features[:, :1] if samples.online else features.mean(1, keepdim=True))
    if float(features.square().sum(-1).amax()) < _LARGEST:
        features = features.float()
    if samples.missing is None:
        return features, features
    far = samples.missing[..., None].to(features.dtype) * _FAR
    return torch.cat([features, torch.zeros_like(far)], -1), torch.cat([features, far], -1)


def windows(
    values: Float[Tensor, "B N C"], length: int, online: bool = False, steps: Float[Tensor, "B N"] | None = None
) -> Float[Tensor, "B N D"]:
    """The window around each value, or of the last values up to it, `[B, N, C * length]`; series are mirrored at their ends.

    With positions that are no whole steps, values between two are interpolated.

    Examples:
        >>> windows(torch.tensor([[[1.0], [2.0], [4.0]]]), 3)
        tensor([[[2., 1., 2.],
                 [1., 2., 4.],
                 [2., 4., 2.]]])
    """
    count = values.shape[1]
    offsets = torch.arange(length) - (length - 1 if online else length // 2)
    if length == 1:
        return values
    if steps is not None:
        return _interpolated(values, steps, offsets, online)
    index = _mirrored(torch.arange(count)[:, None] + offsets, count, online)
    return values[:, index.flatten()].reshape(len(values), count, -1)


def _mirrored(index: Tensor, count: int, online: bool) -> Tensor:
    """Positions beyond the ends as those within; of past windows the first value stands for what was before it."""
    if online or count == 1:
        return index.clamp(0, count - 1)
    index = index.remainder(2 * count - 2)
    return torch.minimum(index, 2 * count - 2 - index)


def _interpolated(values: Tensor, steps: Tensor, offsets: Tensor, online: bool) -> Tensor:
    wanted = steps[..., None] + offsets
    first, last = steps[:, :1, None], steps[:, -1:, None]
    if not online:
        wanted = first + (wanted - first).abs()
        wanted = last - (last - wanted).abs()
    wanted = wanted.clamp(first, last).flatten(1)
    after = torch.searchsorted(steps.contiguous(), wanted.contiguous()).clamp(1, max(values.shape[1] - 1, 1))
    if values.shape[1] == 1:
        return values.repeat(1, 1, len(offsets))
    left, right = steps.gather(1, after - 1), steps.gather(1, after)
    share = ((wanted - left) / (right - left))[..., None]
    each = [values.gather(1, index[..., None].expand(-1, -1, values.shape[2])) for index in (after - 1, after)]
    return (each[0] + share * (each[1] - each[0])).reshape(*values.shape[:2], -1)
