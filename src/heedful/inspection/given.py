"""What a person gives a model to look at: a text, a picture or a sound, told apart by what a file holds."""

import importlib
import io
import os
import warnings
import wave
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heedful._errors import DataError

Kind = Literal["text", "image", "audio"]
WORDS: dict[str, str] = {"text": "text", "image": "a picture", "audio": "a sound"}
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")
SUFFIXES = (
    ".txt", ".md", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".wav", ".flac", ".ogg", ".mp3",
)  # fmt: skip
_MOST_BYTES = 2**24  # of a text: beyond what any model reads


@dataclass(frozen=True, eq=False)
class Given:
    """One input.

    Attributes:
        kind: text, image or audio.
        name: what the reader calls it: its file, or the text itself.
        value: a string; a picture of Pillow in red, green and blue; or samples of one channel from -1 to 1.
        rate: of a sound, samples a second.
    """

    kind: Kind
    name: str
    value: Any
    rate: int = 0


def read_given(word: str) -> Given:
    """A file's text, picture or sound where there is such a file; otherwise the word itself, as text.

    Raises:
        DataError: it is empty, or a file that cannot be read as any of them.
    """
    if os.path.isdir(word):
        raise DataError(f"{word}: must be a file of text, a picture or a sound: got a folder.")
    if os.path.exists(word):
        try:
            with open(word, "rb") as file:
                return from_bytes(file.read(), word)
        except OSError as error:
            raise DataError(f"{word}: cannot be read: {error.strerror or error}.") from None
    if word.lower().endswith(SUFFIXES) and not any(sign.isspace() for sign in word):
        raise DataError(f"{word}: there is no such file.")
    return _text(word, "the text")


def from_bytes(data: bytes, name: str) -> Given:
    """What the bytes of a file are.

    Raises:
        DataError: they are not text, a picture or a sound, or damaged.
    """
    riff = data[8:12] if data.startswith(b"RIFF") else b""
    if data.startswith(_SOUNDS) or riff == b"WAVE":
        samples, rate = _sound(data, name)
        return Given("audio", name, samples, rate)
    if data.startswith(_PICTURES) or riff == b"WEBP":
        return Given("image", name, _picture(data, name))
    if len(data) > _MOST_BYTES:
        raise DataError(f"{name}: must be a text of at most {_MOST_BYTES:,} bytes: got {len(data):,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: must be text in UTF-8, a picture or a sound: got byte {data[error.start]:#04x} at {error.start:,}."
        ) from None
    if "\0" in text:
        raise DataError(f"{name}: must be text in UTF-8, a picture or a sound: got a byte 0 at {data.index(0):,}.")
    return _text(text, name, name)


def _text(text: str, where: str, name: str | None = None) -> Given:
    text = text.encode("utf-8", "replace").decode("utf-8").strip()  # an argument may hold bytes that are no text
    if not text:
        raise DataError(f"{where} must not be empty: got no character but spaces.")
    return Given("text", name or text, text)


def _picture(data: bytes, name: str) -> Any:
    """Red, green and blue; transparency over white, the way up that a camera noted, of an animation the first frame."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture: Any = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                above = picture.convert("RGBA")
                picture = Image.new("RGBA", above.size, "white")
                picture.alpha_composite(above)
            return picture.convert("RGB")
    except Exception as error:  # whatever a damaged file makes of Pillow
        raise DataError(f"{name}: must be a whole picture: got {one_line(error)}.") from None


def _sound(data: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """Samples, the mean of all channels, and their rate; WAV of whole numbers needs no other package."""
    soundfile: Any = None
    with suppress(ModuleNotFoundError):
        soundfile = importlib.import_module("soundfile")
    try:
        if soundfile is not None:
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        elif data.startswith(b"RIFF"):
            samples, rate = _wav(data)
        else:
            raise ModuleNotFoundError("this format needs the package soundfile", name="soundfile")
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        raise DataError(f"{name}: must be a whole sound: got {one_line(error)}.") from None
    if not len(samples):
        raise DataError(f"{name}: must hold at least one sample: got none.")
    return samples.mean(1).astype(np.float32), int(rate)


def _wav(data: bytes) -> tuple[NDArray[np.float32], int]:
    with wave.open(io.BytesIO(data)) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8).reshape(-1, width)
    if width == 1:
        values = raw[:, 0].astype(np.int32) - 128
    else:
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 4 - width :] = raw
        values = wide.view("<i4")[:, 0] >> (32 - 8 * width)
    return (values / 2.0 ** (8 * width - 1)).astype(np.float32).reshape(-1, channels), rate


def resampled(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The samples at another rate, by their frequencies; what the new rate cannot hold is cut off."""
    if rate == wanted:
        return samples
    count = max(round(len(samples) * wanted / rate), 1)
    padded = np.concatenate([samples, samples[::-1]])  # the transform is of a circle: so its ends meet
    spectrum = np.fft.rfft(padded)
    kept = np.zeros(count + 1, spectrum.dtype)
    kept[: len(spectrum)] = spectrum[: count + 1]
    return (np.fft.irfft(kept, 2 * count)[:count] * (count / len(samples))).astype(np.float32)


def one_line(error: BaseException, most: int = 300) -> str:
    """What an error says, on one line and without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join(" ".join(lines).split()) or type(error).__name__
    return (words if len(words) <= most else words[:most].rstrip() + " ...").rstrip(".")


def shortened(words: Sequence[str], most: int = 80) -> str:
    """Names of inputs as a heading."""
    whole = " / ".join(" ".join(word.split()) for word in words)
    return whole if len(whole) <= most else whole[: most - 1].rstrip() + "\u2026"
