"""What stands along the axes of a matrix: text, a picture, a sound, a series, or bare positions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heedful.report.blocks import ArrayBlocks, Json, as_count, as_floats, as_text

_WAVE_POINTS = 2048  # of a waveform, each with its lowest and highest sample


@runtime_checkable
class Axis(Protocol):
    """What queries or keys stand for."""

    @property
    def name(self) -> str:
        """What the reader calls it, such as "source" or "recording"."""
        ...

    @property
    def count(self) -> int | None:
        """How many positions it has; None: as many as the matrix."""
        ...

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns what the page reads; `kind` names what it is."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture cut into patches in reading order, behind tokens that are no patches.

    Attributes:
        pixels: uint8, `[height, width]` or `[height, width, 3]`; a large one should be made smaller first.
        grid: rows and columns of patches.
        extra: the names of the tokens that stand before the patches, such as "class token" or "register 1".
        name: what the reader calls it.
    """

    pixels: NDArray[np.uint8]
    grid: tuple[int, int]
    extra: Sequence[str] = ()
    name: str = "picture"

    @property
    def count(self) -> int:
        """How many patches and other tokens there are."""
        return len(self.extra) + self.grid[0] * self.grid[1]

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of a picture.

        Raises:
            ValueError: its pixels or its grid do not fit.
        """
        rows, columns = (as_count("`grid` (rows, columns)", count) for count in self.grid)
        return {
            "kind": "picture",
            "name": as_text("`name`", self.name),
            "picture": blocks.add(as_pixels(self.pixels)),
            "grid": [rows, columns],
            "extra": [as_text("a name in `extra`", name) for name in self.extra],
        }


@dataclass(frozen=True, eq=False)
class Text:
    """A sequence of tokens.

    Attributes:
        tokens: as they are shown; any string is safe.
        words: to which word each token belongs, in rising order, -1 for none; None: each is a word of its own.
        special: the positions of tokens that are not of the text, such as `[CLS]` and padding.
        name: what the reader calls it.
        pictures: pictures among the tokens, as multimodal models have them: the position of the first patch, and the picture,
            whose patches stand there in reading order.

    Example:
        >>> Text(["[CLS]", "un", "##seen", "[SEP]"], words=[-1, 0, 0, -1], special=[0, 3]).count
        4
    """

    tokens: Sequence[str]
    words: Sequence[int] | None = None
    special: Sequence[int] = ()
    name: str = "text"
    pictures: Sequence[tuple[int, Picture]] = ()

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of a text.

        Raises:
            ValueError: words, special tokens or pictures do not fit the tokens.
        """
        if self.words is not None and len(self.words) != self.count:
            raise ValueError(f"`words` must name a word for each of the {self.count} tokens: got {len(self.words)}")
        for index in self.special:
            if not 0 <= index < self.count:
                raise ValueError(f"`special` must be positions from 0 to {self.count - 1}: got {index}")
        for start, picture in self.pictures:
            if not 0 <= start <= self.count - picture.count or picture.extra:
                raise ValueError(
                    f"`pictures` must lie within the {self.count} tokens, without `extra`: got {picture.count} from {start} on"
                )
        return {
            "kind": "text",
            "name": as_text("`name`", self.name),
            "tokens": [as_text("a token", token) for token in self.tokens],
            "words": None if self.words is None else [int(word) for word in self.words],
            "special": sorted({int(index) for index in self.special}),
            "pictures": [{**picture.encode(blocks), "start": int(start)} for start, picture in self.pictures],
        }


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording, over which positions stand evenly.

    Attributes:
        samples: of one channel, `[T]`, from -1 to 1.
        rate: samples a second.
        spectrogram: `[bands, frames]` of the samples, lowest band first, of any range; None: the waveform alone.
        seconds: what the positions cover, where that is more than the samples (padding); None: the samples.
        name: what the reader calls it.
        count: how many positions there are; None: as many as the matrix has.
        words: what was said, each word with the seconds at which it begins and ends.
    """

    samples: NDArray[np.floating]
    rate: float
    spectrogram: NDArray[np.floating] | None = None
    seconds: float | None = None
    name: str = "sound"
    count: int | None = None
    words: Sequence[tuple[str, float, float]] = ()

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of a sound: the lowest and the highest sample of each of at most 2,048 stretches.

        Raises:
            ValueError: its samples do not fit.
        """
        samples = as_floats("`samples`", self.samples, "samples")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"`rate` must be more than 0 samples a second: got {self.rate}")
        duration = len(samples) / self.rate
        seconds = duration if self.seconds is None else float(self.seconds)
        if not 0 < seconds < math.inf:
            raise ValueError(f"`seconds` must be more than 0: got {self.seconds}")
        for word, start, end in self.words:
            if not 0 <= start <= end <= seconds:
                raise ValueError(
                    f"`words` must begin and end from 0 to {seconds:g} s: got {word!r} from {start} to {end}"
                )
        points = min(_WAVE_POINTS, len(samples))
        starts = np.arange(points) * len(samples) // points
        envelope = np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])
        return {
            "kind": "sound",
            "name": as_text("`name`", self.name),
            "envelope": blocks.add(envelope),
            "duration": duration,
            "seconds": seconds,
            "spectrogram": None if self.spectrogram is None else blocks.add(_as_bytes(self.spectrogram)),
            "words": [[as_text("a word", word), float(start), float(end)] for word, start, end in self.words],
        }


@dataclass(frozen=True, eq=False)
class Series:
    """Measurements over time, over which positions stand evenly.

    Attributes:
        values: `[T]` or `[T, channels]`.
        channels: their names; None: numbers.
        name: what the reader calls it.
    """

    values: NDArray[np.floating]
    channels: Sequence[str] | None = None
    name: str = "series"
    count: int | None = None

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of a series.

        Raises:
            ValueError: its values or names do not fit.
        """
        values = np.asarray(self.values)
        values = as_floats("`values`", values[:, None] if values.ndim == 1 else values, "steps, channels")
        names = [str(i) for i in range(values.shape[1])] if self.channels is None else list(self.channels)
        if len(names) != values.shape[1]:
            raise ValueError(f"`channels` must name {values.shape[1]} channels: got {len(names)}")
        return {
            "kind": "series",
            "name": as_text("`name`", self.name),
            "values": blocks.add(np.ascontiguousarray(values.T)),
            "channels": [as_text("a name in `channels`", name) for name in names],
        }


@dataclass(frozen=True, eq=False)
class Positions:
    """Bare positions, or things with names that are no text, such as the channels of an image.

    Attributes:
        count: how many; None: as many as the matrix.
        names: of them; None: their numbers.
        name: what the reader calls them.
    """

    count: int | None = None
    names: Sequence[str] | None = None
    name: str = "positions"

    def __post_init__(self) -> None:
        if self.count is None and self.names is not None:
            object.__setattr__(self, "count", len(self.names))

    def encode(self, blocks: ArrayBlocks) -> Json:
        """Returns the JSON of bare positions.

        Raises:
            ValueError: there are more or fewer names than positions.
        """
        if self.names is not None and self.count not in (None, len(self.names)):
            raise ValueError(f"`names` must name {self.count} positions: got {len(self.names)}")
        names = None if self.names is None else [as_text("a name in `names`", name) for name in self.names]
        return {"kind": "positions", "name": as_text("`name`", self.name), "names": names}


def as_pixels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a picture of gray or of red, green and blue.

    Raises:
        ValueError: it is something else.
    """
    picture = np.asarray(picture)
    shape = picture.shape
    if picture.dtype != np.uint8 or len(shape) not in (2, 3) or 0 in shape or shape[2:] not in ((), (3,)):
        raise ValueError(
            "`picture` must be uint8 of shape [height, width] or [height, width, 3]: "
            f"got {picture.dtype} of shape {shape}"
        )
    return picture


def _as_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Returns numbers as shades from 0, the lowest, to 255, the highest."""
    floats = as_floats("`spectrogram`", values, "bands, frames")
    low, high = floats.min(), floats.max()
    shades: NDArray[np.uint8] = np.round((floats - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return shades
