"""`heedful.smooth`: each value becomes a mean of the values whose surroundings are like its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from heedful._types import Float, Tensor
from heedful.ops import AttentionMatrix, Gaussian, attention_weights
from heedful.smoothing.choice import Candidate, SmoothSettings, candidates, choose, expected_errors, noise_of
from heedful.smoothing.passes import Run, SeriesBatch, pattern_of, query_and_key, run

__all__ = ["RowWeights", "Smoothed", "smooth"]

Auto = Literal["auto"]
_WHOLE = 4096  # values of a series on which settings are compared; of longer ones stretches
_STRETCHES, _STRETCH = 4, 2048
_HISTORY = 1000  # values from which an online smoother chooses


class RowWeights(NamedTuple):
    """What a smoothed value was made of.

    Attributes:
        rows: the rows that it could see.
        weights: of each; they add up to 1.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Smoothed:
    """A smoothed series, and how it was made.

    Attributes:
        values: `[N]` or `[N, C]`, as they were given; missing ones are filled. Online, what is missing at the very beginning stays NaN.
        noise: the standard deviation of the noise, of each channel.
        settings: those that were chosen or set.
        candidates: the settings that were compared, each with its expected mean squared error in units of the squared noise; empty
            where all was set.
        filled: how many rows were missing.
        samples: what the passes saw, in units of the noise.
        compared: whose windows the last stage compared.
    """

    values: NDArray[np.float64]
    noise: NDArray[np.float64]
    settings: SmoothSettings
    candidates: tuple[Candidate, ...]
    filled: int
    samples: SeriesBatch = field(repr=False)
    compared: Float[Tensor, "1 N C"] = field(repr=False)

    @property
    def expected_error(self) -> float | None:
        """The mean squared error that the chosen settings are expected to have, in units of the squared noise."""
        return next((one.error for one in self.candidates if one.settings == self.settings), None)

    @property
    def attention(self) -> AttentionMatrix:
        """The matrix of the last stage, `[N, N]`, never stored: `attention @ values` are the smoothed values."""
        last = self.settings.passes()[-1]
        query, key = query_and_key(self.compared, self.samples, last)
        pattern = pattern_of(last, self.samples.online, query.shape[1])
        return AttentionMatrix(query[0], key[0], score=Gaussian(1.0), pattern=pattern)

    def weights_of(self, row: int) -> RowWeights:
        """The values that a smoothed value was made of.

        Raises:
            IndexError: there is no such row.
        """
        count, last = len(self.values), self.settings.passes()[-1]
        if not -count <= row < count:
            raise IndexError(f"`row` must be from {-count} to {count - 1}: got {row}.")
        row %= count
        window = count if last.window is None else last.window
        first, stop = max(row - window, 0), row + 1 if self.samples.online else min(row + window + 1, count)
        begin, end = max(first - last.length, 0), min(stop + last.length, count)
        query, key = query_and_key(self.compared[:, begin:end], self.samples.rows(begin, end), last)
        seen = key[0, first - begin : stop - begin]
        weights = attention_weights(query[0, row - begin][None], seen, score=Gaussian(1.0))[0]
        return RowWeights(np.arange(first, stop), weights.double().numpy())


def smooth(
    values: ArrayLike,
    times: ArrayLike | None = None,
    *,
    strength: float | Auto = "auto",
    length: int | Auto = "auto",
    window: int | Auto | None = "auto",
    decay: float | Auto | None = "auto",
    stages: Literal[1, 2] = 2,
    online: bool = False,
    noise: ArrayLike | None = None,
    settings: SmoothSettings | None = None,
    seed: int = 0,
) -> Smoothed:
    """Smooths a series by self-similarity: attention with nothing learned, of windows of values, over the values as they are.

    `y_i = sum_j a_ij x_j`, with `a_i = softmax(-|w_i - w_j|^2 / (2 b^2))`, w the window around a value. A second stage compares the windows
    of what the first one gave, which have little noise left, and takes means of the raw values again. What is `auto` is chosen by the
    mean squared error that Stein's estimate expects of each of about 20 settings, without the truth.

    The noise of one value must not depend on that of others. A channel in which more than half of the values lie on straight lines has
    noise 0, and stays as it is: a constant, or counts that are mostly 0; set `noise` for it.

    Args:
        values: `[N]`, or `[N, C]`: channels share one matrix. NaN is missing: no other value is made of it (nor of the rest of its row),
            and it is filled. A series of pandas may have times as its index.
        times: `[N]`, rising: dates or numbers. None: the values are equally far apart. Windows of irregular times are interpolated.
        strength: the difference of two windows, per value and in units of the noise, at which a weight falls to exp(-1/2).
        length: of the windows that are compared, an odd number of values.
        window: how many values before and after its own a row sees; None: all.
        decay: how many steps away a weight of the last stage falls to exp(-1/2); None: distance does not count.
        stages: 1 or 2.
        online: whether each value is made of itself and earlier ones only. What is `auto` is then chosen from the first 1,000 values.
        noise: its standard deviation, or one for each channel; None: estimated from the median size of second differences.
        settings: all of them, such as those that were chosen for another series.
        seed: of the random directions of Stein's estimate.

    Returns:
        The values, what was chosen, and the attention matrix.

    Raises:
        ValueError: sizes, times or settings do not fit, or there is nothing but missing values.

    Examples:
        >>> generator = np.random.default_rng(0)
        >>> steps = np.repeat([0.0, 5.0, 2.0, 5.0], 100)
        >>> found = smooth(steps + generator.standard_normal(400))
        >>> round(float(((found.values - steps) ** 2).mean()), 2), found.settings.stages
        (0.01, 2)
        >>> bool(abs(found.weights_of(150).weights.sum() - 1) < 1e-6)
        True

    Source: Buades, Coll and Morel 2005 (non-local means); the choice: Ramani et al. 2008, Van De Ville and Kocher 2009.
    """
    numbers, times = _as_numbers(values, times)
    count, single = len(numbers), np.ndim(numbers) == 1
    numbers = numbers[:, None] if single else numbers
    missing = np.isnan(numbers).any(1)
    if missing.all():
        raise ValueError(f"`values` must hold a number: got {count} missing ones.")
    steps = None if times is None else _as_steps(times, count)
    x = torch.from_numpy(_guessed(numbers, steps, online))
    lost = torch.from_numpy(missing)
    history = min(_HISTORY, count) if online else count
    scale = noise_of(x[:history], lost[:history]) if noise is None else _as_scale(noise, x.shape[1])
    center = x[0] if online else x[~lost].mean(0)
    noisy = scale > 0
    samples = SeriesBatch(
        ((x - center) / torch.where(noisy, scale, torch.inf))[None],
        lost[None] if bool(missing.any()) else None,
        None if steps is None else torch.from_numpy(steps)[None],
        online,
    )
    wanted = {"strength": strength, "length": length, "window": window, "decay": decay}
    compared = [] if settings is not None else _candidates(count, history, stages, wanted)
    if settings is None and (len(compared) == 1 or not noisy.any()):
        settings = compared[0]
    found: tuple[Candidate, ...] = ()
    if settings is None:
        found = tuple(expected_errors(_stretches(samples, history), compared, seed))
        settings = choose(found).settings
    smoothed = run(samples, settings.passes()) if noisy.any() else Run(samples.values, samples.values)
    out = torch.where(noisy, smoothed.values[0] * scale + center, x)
    if online:
        out[: int((~lost).int().argmax())] = torch.nan
    return Smoothed(
        _shaped(out, single), scale.numpy(), settings, found, int(missing.sum()), samples, smoothed.compared
    )


def _as_scale(noise: ArrayLike, channels: int) -> Tensor:
    try:
        found = np.broadcast_to(np.asarray(noise, float), (channels,)).copy()
    except (TypeError, ValueError):
        raise ValueError(f"`noise` must be a number, or one for each of {channels} channels: got {noise!r}.") from None
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError(f"`noise` must be 0 or more: got {noise!r}.")
    return torch.from_numpy(found)


def _shaped(values: Tensor, single: bool) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.numpy()
    return array[:, 0] if single else array


def _as_numbers(values: Any, times: Any) -> tuple[NDArray[np.float64], Any]:
    """Values and times as arrays."""
    index: Any = getattr(values, "index", None)
    if times is None and getattr(getattr(index, "dtype", None), "kind", "") == "M":
        times = index.tz_convert(None) if index.tz is not None else index
    try:
        numbers = np.array(values, float)
    except (TypeError, ValueError):
        raise ValueError("`values` must be numbers: got something else; `heedful smooth` reads tables.") from None
    if numbers.ndim not in (1, 2) or 0 in numbers.shape:
        raise ValueError(f"`values` must be [N] or [N, C], one at least: got shape {list(numbers.shape)}.")
    if np.isinf(numbers).any():
        raise ValueError(
            f"`values` must be finite or NaN: got infinity in row {int(np.isinf(numbers).nonzero()[0][0])}."
        )
    return numbers, times


def _as_steps(times: Any, count: int) -> NDArray[np.float64] | None:
    """Times in units of the median step; None where all steps are the same."""
    array = np.asarray(times)
    if array.dtype.kind == "O" or array.dtype.kind == "U":
        array = array.astype("datetime64[us]")
    if array.dtype.kind == "M":
        array = (array - array[:1]).astype("timedelta64[us]").astype(np.int64)
    if array.shape != (count,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(
            f"`times` must be {count} dates or numbers, one for each value: got shape {list(array.shape)}."
        )
    array = array.astype(float)
    steps = np.diff(array)
    if (steps <= 0).any():
        row = int((steps <= 0).argmax()) + 1
        raise ValueError(
            f"`times` must rise: got {np.asarray(times)[row]} in row {row}, after {np.asarray(times)[row - 1]}."
        )
    if count < 3 or np.ptp(steps) <= 1e-6 * steps.max():
        return None
    found: NDArray[np.float64] = (array - array[0]) / np.median(steps)
    return found


def _guessed(numbers: NDArray[np.float64], steps: NDArray[np.float64] | None, online: bool) -> NDArray[np.float64]:
    """Missing values on the line between their neighbors; online the last one before them."""
    at = np.arange(len(numbers), dtype=float) if steps is None else steps
    for channel in numbers.T:
        known = ~np.isnan(channel)
        if not known.any():
            raise ValueError("`values` must hold a number in each channel: got one of missing values only.")
        if online:
            latest = np.maximum.accumulate(np.where(known, np.arange(len(channel)), known.argmax()))
            channel[:] = channel[latest]
        elif not known.all():
            channel[~known] = np.interp(at[~known], at[known], channel[known])
    return numbers


def _candidates(count: int, history: int, stages: int, wanted: Mapping[str, Any]) -> list[SmoothSettings]:
    """The settings that are compared, with what was set."""
    _check(stages, **wanted)
    chosen = {name: value for name, value in wanted.items() if value != "auto"}
    found = []
    for one in candidates(count, history):
        fields = {"stages": stages, **chosen}
        if stages == 1 or "length" in chosen:
            fields["last_length"] = 1 if stages == 1 else min(one.last_length, chosen["length"])
        found.append(SmoothSettings(**{**vars(one), **fields}))
    return list(dict.fromkeys(found))


def _check(stages: Any, strength: Any, length: Any, window: Any, decay: Any) -> None:
    if stages not in (1, 2):
        raise ValueError(f"`stages` must be 1 or 2: got {stages!r}.")
    for name, value in (("strength", strength), ("decay", decay)):
        if value not in ("auto", None) and not value > 0:
            raise ValueError(f"`{name}` must be positive: got {value!r}.")
    if length != "auto" and not (isinstance(length, int) and length > 0 and length % 2):
        raise ValueError(f"`length` must be an odd number of values: got {length!r}.")
    if window not in ("auto", None) and not (isinstance(window, int) and window > 0):
        raise ValueError(f"`window` must be a number of values from 1, or None: got {window!r}.")


def _stretches(samples: SeriesBatch, history: int) -> SeriesBatch:
    """The rows on which settings are compared: all of a short series, some stretches of a long one."""
    if history <= _WHOLE:
        return samples.rows(0, history)
    starts = np.linspace(0, history - _STRETCH, _STRETCHES).astype(int).tolist()
    return SeriesBatch.joined([samples.rows(start, start + _STRETCH) for start in starts])
