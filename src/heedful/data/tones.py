"""Strings of digits, spoken by synthetic voices: the embedded data `tones` of all tasks of sound.

A digit is a glide between two vowels, some behind a consonant of noise; no two digits have the same vowels. A voice has a pitch,
a length of its vocal tract (which moves all resonances), a tilt of its spectrum and a tempo. Pitch, tempo, loudness, pauses and
background noise differ from one recording to the next, so that neither pitch nor loudness alone tells a voice.

    pulses of the pitch, noise -> resonances of the vowels, frame by frame -> loudness, background noise

Source: Fant, "Acoustic Theory of Speech Production", 1960 (a source and a filter); the resonances are near those that Peterson and
Barney measured, "Control methods used in a study of the vowels", 1952.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "valid", "test"]
Array = NDArray[np.float64]

TONES = "tones"  # what a person types for them
RATE = 8000  # samples a second
PARTS: dict[Part, int] = {"train": 1000, "valid": 150, "test": 250}  # recordings of each
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_SOUNDS = ("sio", "ua", "teu", "foi", "foa", "ai", "sie", "sea", "ei", "ae")  # of the digits: a consonant, two vowels
_VOWELS = {
    "i": (290, 2250, 2950),
    "e": (470, 1950, 2600),
    "a": (730, 1250, 2500),
    "o": (480, 860, 2450),
    "u": (310, 760, 2300),
}
_WIDTHS = (70.0, 110.0, 160.0)  # of the resonances, Hz
_LOUD = (1.0, 0.6, 0.35)
_CONSONANTS = {
    "s": (3400.0, 700.0, 0.09),
    "f": (2000.0, 1600.0, 0.07),
    "t": (2700.0, 900.0, 0.03),
}  # center, width: Hz; s
_FRAME, _HOP = 256, 128


class Voice(NamedTuple):
    """Pitch in Hz, factor of all resonances, fall of the spectrum in dB an octave, factor of all times."""

    pitch: float
    tract: float
    tilt: float
    tempo: float


VOICES = {
    "ann": Voice(205, 1.14, 7, 0.95), "ben": Voice(112, 0.93, 9, 1.1), "cleo": Voice(182, 1.04, 12, 1.0),
    "dan": Voice(128, 1.01, 6, 0.85), "eve": Voice(226, 1.2, 10, 1.1), "finn": Voice(98, 0.87, 12, 1.05),
    "gus": Voice(140, 0.96, 13, 1.0), "hana": Voice(190, 1.09, 9, 0.85),
}  # fmt: skip
GUESTS = {"iris": Voice(168, 1.16, 12, 1.0), "jon": Voice(120, 0.9, 6, 0.95)}  # who are in no part: strangers


class Utterance(NamedTuple):
    """A spoken string of digits.

    Attributes:
        samples: float32 `[T]` from -1 to 1, `RATE` a second; multiples of 2**-15, so that a file of 16 bits holds them exactly.
        text: "three seven one".
        voice: who speaks, a name of `VOICES` or `GUESTS`.
        words: each word with the seconds at which it begins and ends.
    """

    samples: NDArray[np.float32]
    text: str
    voice: str
    words: tuple[tuple[str, float, float], ...]


def speak(row: int, *, part: Part = "train", voice: str | None = None) -> Utterance:
    """The recording of a row of a part: from 1 to 5 digits. It depends on the part, the row and the voice alone.

    There is no end of rows; `PARTS` says how many the tasks take.

    Args:
        row: a number from 0 on.
        part: no two parts have a recording in common.
        voice: who speaks; None: a voice of `VOICES`, in turn.

    Raises:
        ValueError: there is no such voice.

    Example:
        >>> said = speak(3)
        >>> said.text, said.voice, [f"{word} {start:.2f} {end:.2f}" for word, start, end in said.words]
        ('zero nine two nine', 'dan', ['zero 0.15 0.39', 'nine 0.44 0.61', 'two 0.88 1.06', 'nine 1.29 1.45'])
        >>> said.samples.dtype, len(said.samples) / RATE > said.words[-1][2]
        (dtype('float32'), True)
    """
    name = spoken_by(row) if voice is None else voice
    random, digits = _drawn(row, part, name)
    own = (VOICES | GUESTS)[name]
    own = own._replace(pitch=own.pitch * math.exp(random.normal(0, 0.06)), tempo=own.tempo * random.uniform(0.85, 1.15))
    times, words = random.uniform(0.1, 0.3), []
    for digit in digits:
        consonant = _CONSONANTS[_SOUNDS[digit][0]][2] if len(_SOUNDS[digit]) == 3 else 0.0
        length = own.tempo * (consonant + random.uniform(0.18, 0.28))
        words.append((DIGITS[digit], times, times + length))
        times += length + random.uniform(0.04, 0.3)
    clean = _spoken(digits, words, math.ceil(times * RATE), own, random)
    loudness = 10 ** (random.uniform(-28, -16) / 20) / max(float(np.sqrt(np.mean(clean**2))), 1e-9)
    noise = random.normal(0, 10 ** (-random.uniform(20, 35) / 20), len(clean)) * np.sqrt(np.mean(clean**2))
    samples = np.rint(np.clip((clean + noise) * loudness, -1, 32767 / 32768) * 32768) / 32768
    return Utterance(samples.astype(np.float32), _text(digits), name, tuple(words))


def said_in(row: int, *, part: Part = "train") -> str:
    """What is said in this row of a part, without any sound."""
    return _text(_drawn(row, part, spoken_by(row))[1])


def spoken_by(row: int) -> str:
    """Who speaks in this row of a part."""
    return list(VOICES)[row % len(VOICES)]


def first_of(part: Part) -> int:
    """The number of a part's first recording among those of all parts, which is in its name: `tones[1000]`."""
    parts = list(PARTS)
    return sum(PARTS[one] for one in parts[: parts.index(part)])


def _drawn(row: int, part: Part, voice: str) -> tuple[np.random.Generator, list[int]]:
    """The random numbers of a recording, and its digits."""
    known = [*VOICES, *GUESTS]
    if voice not in known:
        raise ValueError(f"`voice` must be one of {', '.join(known)}: got {voice!r}.")
    random = np.random.default_rng([list(PARTS).index(part), row, known.index(voice)])
    return random, random.integers(0, 10, random.integers(1, 6)).tolist()


def _text(digits: list[int]) -> str:
    return " ".join(DIGITS[digit] for digit in digits)


def _spoken(
    digits: list[int], words: list[tuple[str, float, float]], count: int, voice: Voice, random: np.random.Generator
) -> Array:
    """Samples `[count]` without background: pulses and noise, shaped by what the filter is at each frame."""
    frames = count // _HOP + 2
    middle = np.arange(frames) * _HOP / RATE  # seconds; frame k lies around sample k * hop
    frequency: Array = np.linspace(0.0, RATE / 2, _FRAME // 2 + 1)
    voiced, hissed = np.zeros((2, frames, len(frequency)))
    pitch = np.full(frames, voice.pitch)
    for digit, (_, start, end) in zip(digits, words, strict=True):
        sounds = _SOUNDS[digit]
        if len(sounds) == 3:
            center, width, seconds = _CONSONANTS[sounds[0]]
            shape = np.exp(-0.5 * ((frequency - center * voice.tract**0.5) / width) ** 2)
            middle_of_it, half = start + voice.tempo * seconds / 2, voice.tempo * seconds / 2
            hissed += np.clip(1.5 - np.abs(middle - middle_of_it) / half, 0, 1)[:, None] * shape
            start += voice.tempo * seconds
        along: Array = np.clip((middle - start) / (end - start), 0, 1)  # from the first vowel to the second
        loud: Array = np.clip(8 * np.minimum(middle - start, end - middle) / (end - start), 0, 1)
        glide = 1 / (1 + np.exp(-10 * (along - 0.5)))
        first, second = (np.array([voice.tract * center for center in _VOWELS[sound]]) for sound in sounds[-2:])
        centers: Array = np.outer(1 - glide, first) + np.outer(glide, second)  # [frames, 3]
        voiced += np.multiply(loud[:, None], _resonances(centers, frequency, voice.tilt))
        pitch = np.where(loud > 0, voice.pitch * (1.06 - 0.12 * along), pitch)
    pulses = _pulses(np.interp(np.arange(count) / _HOP, np.arange(frames), pitch))
    return _filtered(pulses, voiced) + _filtered(random.normal(0, 0.35, count), hissed)


def _resonances(centers: Array, frequency: Array, tilt: float) -> Array:
    """How loud each frequency is, `[frames, frequencies]`."""
    shape = sum(
        loud / (1 + ((frequency - centers[:, i, None]) / width) ** 2)
        for i, (loud, width) in enumerate(zip(_LOUD, _WIDTHS, strict=True))
    )
    falling: Array = shape * (np.maximum(frequency, 100) / 500) ** (-tilt / 20 / math.log10(2))
    return falling


def _pulses(pitch: Array) -> Array:
    """All harmonics of a pitch `[T]` below half the rate, in a closed form: sum_k cos(k p) = sin((K + 1/2) p) / (2 sin(p / 2)) - 1/2."""
    phase = np.cumsum(2 * np.pi * pitch / RATE)
    harmonics = int(RATE / 2 / pitch.max())
    below = np.sin(phase / 2)
    below = np.where(np.abs(below) < 1e-9, 1e-9, below)
    pulses: Array = (np.sin((harmonics + 0.5) * phase) / (2 * below) - 0.5) / math.sqrt(harmonics / 2)
    return pulses


def _filtered(samples: Array, filters: Array) -> Array:
    """Samples `[T]`, each frame of which passes its own filter `[frames, frequencies]`; windows overlap by half and add up to 1."""
    window = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME)
    padded = np.pad(samples, (_HOP, _HOP * (len(filters) + 1) - len(samples)))
    parts = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][: len(filters)] * window
    parts = np.fft.irfft(np.fft.rfft(parts) * filters, _FRAME) * window
    halves = parts.reshape(len(parts), 2, _HOP)
    joined = np.zeros((len(parts) + 1, _HOP))
    joined[:-1] += halves[:, 0]
    joined[1:] += halves[:, 1]
    return joined.reshape(-1)[_HOP : _HOP + len(samples)]
