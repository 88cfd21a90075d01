"""Sound files, decoded: WAV, FLAC, OGG, MP3 and what else libsndfile reads, of any rate, any number of channels, any length.

The header is not believed: what is read is counted, and compared with what it promised.
"""

import importlib
import io
import struct
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError, MissingPackageError, needing
from heedful._terminal import quiet_c
from heedful.data._entries import printable

__all__ = ["Resampler", "SoundReader", "decode_sound", "one_line", "open_sound", "resampled"]

Samples = NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")
LEAST_RATE, MOST_RATE = 1_000, 1_000_000  # samples a second
_MAX_SAMPLES = 1 << 26  # of a sound that is decoded at once: more than an hour at 16,000 a second
_BLOCK = 1 << 14  # samples that are decoded at once
_LARGEST = 2.0**32  # of a sample: some programs write whole numbers as floats
_UNKNOWN = (
    0x7FFFF000  # bytes of samples from which on a header does not know how many there are: it was written into a pipe
)
_GUESSED = ("MP3", "MPEG", "OGG")  # formats that only guess how long they are
_SLACK = 0.1  # seconds by which a segment may end behind its recording: labels are rounded


class SoundReader:
    """An open sound.

    Args:
        file: of soundfile.
        location: what an error begins with.

    Attributes:
        rate: samples a second.
        seconds: how long it is, by its header.
    """

    def __init__(self, file: Any, location: str) -> None:
        self._file, self._location = file, location
        self.rate, self.seconds = checked_rate(int(file.samplerate), location), file.frames / max(file.samplerate, 1)

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Samples]:
        """The mean of all channels, `[T]` each, of a segment in seconds, in pieces.

        Raises:
            DataError: the file ends before, or a sample is no finite number; there is no such segment.
        """
        file, location, rate = self._file, self._location, self.rate
        first = round(start * rate)
        last = None if end is None else round(end * rate)
        if last is not None and first >= last:
            raise DataError(f"{location}: a segment must end after it begins: got {start:g} s to {end:g} s")
        sure = 0 < file.frames < 1 << 62 and file.format not in _GUESSED
        if sure and (first >= file.frames or (last or 0) > file.frames + _SLACK * rate):
            raise DataError(
                f"{location}: a segment must lie within its recording of {file.frames / rate:g} s: "
                f"got {start:g} s to {'its end' if end is None else f'{end:g} s'}"
            )
        count = first
        if first:
            with _decoding(location):
                file.seek(first)
        while last is None or count < last:
            with _decoding(location):
                piece = file.read(_BLOCK if last is None else min(_BLOCK, last - count), "float32", always_2d=True)
            if not len(piece):
                break
            yield finite(piece.mean(1, dtype=np.float32), location, count)
            count += len(piece)
        there = file.frames if last is None else min(last, file.frames)
        if sure and count < there:
            raise DataError(
                f"{location}: must be a whole sound: got {count:,} samples of the {file.frames:,} that its header promises"
            )
        if count == first:
            raise DataError(f"{location}: must hold at least one sample: got none")


@contextmanager
def open_sound(source: "str | Path | bytes", location: str) -> Iterator[SoundReader]:
    """A sound file or its bytes, opened.

    Raises:
        DataError: it is none, or is damaged; the message begins with `location`.
        MissingPackageError: soundfile is not installed.
    """
    with needing("sound", f"{location}: sound"):
        soundfile: Any = importlib.import_module("soundfile")
    with _decoding(location):
        stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(source)
    with stream:
        _check_wav(stream, location)
        with _decoding(location):
            file = soundfile.SoundFile(stream)
        with file:
            yield SoundReader(file, location)


def decode_sound(data: bytes, location: str) -> tuple[Samples, int]:
    """Samples `[T]`, the mean of all channels, and their rate; WAV of whole numbers needs no other package.

    Raises:
        DataError: it is no sound, damaged, empty or longer than an hour.
    """
    pieces, count = list[Samples](), 0
    try:
        with open_sound(data, location) as sound:
            rate = sound.rate
            for piece in sound.blocks():
                pieces.append(piece)
                count += len(piece)
                if count > _MAX_SAMPLES:
                    raise DataError(f"{location}: must hold at most {_MAX_SAMPLES:,} samples: got more.")
    except MissingPackageError:
        if not data.startswith(b"RIFF"):
            raise
        with _decoding(location):
            samples, rate = _wav(data)
        pieces, rate = [finite(samples, location)], checked_rate(rate, location)
        if not len(samples):
            raise DataError(f"{location}: must hold at least one sample: got none") from None
    return np.concatenate(pieces), rate


class Resampler:
    """Samples at another rate, in pieces: what is given so far, and the rest at the end.

    Args:
        rate: of the samples that are given.
        new_rate: of those that come back.

    Example:
        >>> change = Resampler(16000, 8000)
        >>> pieces = [change(np.zeros(1000, np.float32)) for _ in range(10)] + [change.end()]
        >>> sum(map(len, pieces))
        5000
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        self._stream: Any = None
        if rate != new_rate:
            with needing("sound", "sound at another rate"):
                soxr: Any = importlib.import_module("soxr")
            self._stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32")

    def __call__(self, samples: Samples) -> Samples:
        """The next samples `[T]`; behind those that were given by a few."""
        if self._stream is None:
            return samples
        changed: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32))
        return changed

    def end(self) -> Samples:
        """The last samples."""
        none = np.zeros(0, np.float32)
        return none if self._stream is None else self._stream.resample_chunk(none, last=True)


def checked_rate(rate: int, location: str) -> int:
    """A rate that sound can have. Raises DataError."""
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise DataError(
            f"{location}: must have a rate of {LEAST_RATE:,} to {MOST_RATE:,} samples a second: got {rate:,}"
        )
    return rate


def finite(samples: Samples, location: str, first: int = 0) -> Samples:
    """Samples that are numbers, of which `first` stand before. Raises DataError."""
    if len(samples) and not np.abs(samples).max() <= _LARGEST:
        wrong = int(np.flatnonzero(~(np.abs(samples) <= _LARGEST))[0])
        raise DataError(f"{location}: a sample must be a number up to 2**32: got {samples[wrong]} at {first + wrong:,}")
    return samples


def _check_wav(stream: BinaryIO, location: str) -> None:
    """Raises where a WAV file has a rate of 0, or ends before what its header promises: libsndfile would hide the latter."""
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        while len(head := stream.read(8)) == 8:
            name, promised, here = head[:4], struct.unpack("<I", head[4:])[0], stream.tell()
            if name == b"fmt " and promised >= 16:
                (rate,) = struct.unpack("<I", stream.read(8).ljust(8, b"\0")[4:])
                checked_rate(rate, location)
            if name == b"data":
                if size - here < promised < _UNKNOWN:
                    raise DataError(
                        f"{location}: must be a whole sound: got {size - here:,} bytes of samples, "
                        f"where its header promises {promised:,}"
                    )
                break
            stream.seek(here + promised + promised % 2)
    stream.seek(0)


@contextmanager
def _decoding(location: str) -> Iterator[None]:
    """Whatever a damaged file makes of the decoder becomes a DataError; libraries in C do not print within it."""
    try:
        with quiet_c():
            yield
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise DataError(f"{location}: cannot be read: {error.strerror or one_line(error)}") from None
    except Exception as error:
        reason = one_line(error).removeprefix("Error opening ")
        raise DataError(f"{location}: must be a whole sound: got {reason}") from None


def _wav(data: bytes) -> tuple[Samples, int]:
    """WAV of whole numbers, the mean of all channels."""
    with wave.open(io.BytesIO(data)) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8).reshape(-1, width)
    if width == 1:
        values = raw[:, 0].astype(np.int32) - 128
    else:
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 4 - width :] = raw
        values = wide.view("<i4")[:, 0] >> (32 - 8 * width)
    return (values / 2.0 ** (8 * width - 1)).astype(np.float32).reshape(-1, channels).mean(1), rate


def resampled(samples: Samples, rate: int, new_rate: int, name: str = "the sound") -> Samples:
    """The samples at another rate, by their frequencies; what the new rate cannot hold is cut off. It needs no other package.

    Raises:
        DataError: there are too many of them at that rate.
    """
    if rate == new_rate:
        return samples
    count = max(round(len(samples) * new_rate / max(rate, 1)), 1)
    if count > _MAX_SAMPLES:
        raise DataError(
            f"{name}: must have at most {_MAX_SAMPLES:,} samples: got {count:,}, at {new_rate:,} a second instead of {rate:,}."
        )
    padded = np.concatenate([samples, samples[::-1]])  # the transform is of a circle: so its ends meet
    spectrum = np.fft.rfft(padded)
    resized = np.zeros(count + 1, spectrum.dtype)
    resized[: len(spectrum)] = spectrum[: count + 1]
    return (np.fft.irfft(resized, 2 * count)[:count] * (count / len(samples))).astype(np.float32)


def one_line(error: BaseException, max_length: int = 300) -> str:
    """What an error says, on one line and without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = (printable(" ".join(" ".join(lines).split())) or type(error).__name__).rstrip(".")
    return words if len(words) <= max_length else words[:max_length].rstrip() + " ..."
