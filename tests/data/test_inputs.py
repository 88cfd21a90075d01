import io
import os
import subprocess
import sys
import wave
from enum import StrEnum

import numpy as np
import pytest
from PIL import Image

from heedful._errors import DataError
from heedful.data import read_images
from heedful.data.inputs import InputKind, ModelInput, from_bytes, inputs_of, one_line, read_input, resampled, shortened

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def picture(format="PNG", pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def sound(values, width=2, rate=8000):
    numbers = np.round(np.asarray(values) * 2 ** (8 * width - 1)).astype(np.int64) + (128 if width == 1 else 0)
    raw = b"".join(int(n).to_bytes(width, "little", signed=width > 1) for n in numbers.reshape(-1))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((numbers.shape[1], width, rate, len(numbers), "NONE", ""))
        out.writeframes(raw)
    return file.getvalue()


def test_inputs_are_told_apart_by_what_they_hold(tmp_path):
    contents = {"image": picture(), "audio": sound([[0.5]]), "text": "\ufeffcaf\u00e9\n".encode()}
    for kind, content in contents.items():
        (tmp_path / kind).write_bytes(content)
        given = read_input(str(tmp_path / kind))
        assert isinstance(given, ModelInput)
        assert (given.kind, given.name) == (kind, str(tmp_path / kind))
    assert given.value == "caf\u00e9"
    for word in ("no file of this name", "x" * 5000):
        assert (read_input(word).kind, read_input(word).value) == ("text", word)
    for name in ("cat.png", "notes.txt", "folder/tone.WAV"):
        with pytest.raises(DataError, match=f"{name}: there is no such file."):
            read_input(name)
    with pytest.raises(DataError, match="must be a file of text, a picture or a sound: got a folder."):
        read_input(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x must not be empty"),
        (b" \n\t", "x must not be empty"),
        (b"caf\xe9", "x: must be text in UTF-8, a picture or a sound: got byte 0xe9 at 3"),
        (b"a\0b", "x: must be text in UTF-8, a picture or a sound: got a byte 0 at 1"),
        (b"a" * (2**24 + 1), "x: must be a text of at most 16,777,216 bytes: got 16,777,217"),
        (b"\x89PNG\r\n\x1a\nxxxx", "x: must be a picture "),
        (picture()[:-20], "x: must be a whole picture: got "),
        (b"RIFF\x04\0\0\0WAVE", "x: must be a whole sound: got "),
        (sound(np.zeros((0, 1))), "x: must hold at least one sample: got none"),
        (b"fLaC", "x: must be a whole sound|package soundfile"),
    ],
)
def test_bytes_that_are_nothing(data, message):
    with pytest.raises((DataError, ModuleNotFoundError), match="^" + message if "|" not in message else message):
        from_bytes(data, "x")


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "16 bits"])
def test_a_picture_is_what_the_reader_of_data_sets_makes_of_it(tmp_path, format, mode):
    if mode == "16 bits":
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 1000)
    else:
        image = Image.fromarray(np.concatenate([PIXELS, PIXELS[..., :1]], -1), "RGBA").convert(mode)
    file = tmp_path / "it"
    try:
        image.save(file, format)
    except (OSError, KeyError):
        pytest.skip("this format has no such mode")
    single = np.asarray(read_input(str(file)).value)
    (tmp_path / "cat").mkdir()
    file.rename(tmp_path / "cat" / "it")
    several = read_images(str(tmp_path), channels=3, classes=["cat"]).images[0]
    assert single.shape == (4, 5, 3)
    assert np.array_equal(single, several.permute(1, 2, 0).numpy())


def test_a_picture_lies_as_the_camera_held_it_and_bombs_are_refused(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert from_bytes(picture("JPEG", exif=exif), "x").value.size == (4, 5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(
        DataError, match=r"^x: must be a whole picture: got the error 'Image size \(20 pixels\) exceeds limit"
    ):
        from_bytes(picture(), "x")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds_of_every_width_and_two_channels(width):
    values = np.array([[0.5, -0.5], [0.25, 0.75], [-1, 0]])
    found = from_bytes(sound(values, width), "x")
    assert (found.kind, found.rate, found.value.dtype) == ("audio", 8000, np.float32)
    np.testing.assert_allclose(found.value, values.mean(1), atol=0.01)


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 16000), (44100, 16000), (16000, 16000)])
def test_a_tone_stays_a_tone_at_another_rate(rate, new_rate):
    def tone(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)

    found = resampled(tone(rate), rate, new_rate)
    assert len(found) == new_rate
    np.testing.assert_allclose(found[100:-100], tone(new_rate)[100:-100], atol=0.02)


def taken(kind, content, words=()):
    stream = io.BytesIO(content)
    return [one if isinstance(one, str) else one.read() for one in inputs_of(kind, words, stream)]


def test_kinds_are_their_names():
    assert issubclass(InputKind, StrEnum)
    assert [*InputKind] == ["text", "image", "audio", "history", "series", "none"]


@pytest.mark.parametrize("kind", [InputKind.TEXT, InputKind.HISTORY])
def test_texts_of_words_and_lines(kind):
    assert taken(kind, b"", ("a b", "")) == ["a b", ""]
    assert taken(kind, b"\xef\xbb\xbfa b\r\n\n \xc3\xa9\nlast") == ["a b", "", " é", "last"]
    with pytest.raises(
        DataError, match=r"^standard input:2: must be UTF-8: got byte 0xe9 at column 2; convert it, e.g. "
    ):
        taken(kind, b"fine\nb\xe9\n")
    with pytest.raises(DataError, match=r"^standard input:1: a line must have at most 1,000,000 bytes: got more\.$"):
        taken(kind, b"a" * 1_000_001)
    assert len(taken(kind, b"a" * 1_000_000 + b"\r\nb")) == 2
    with pytest.raises(DataError, match=r"^an input must be UTF-8: got byte 0xe9 at character 2\.$"):
        taken(kind, b"", (os.fsdecode(b"b\xe9"),))


@pytest.mark.parametrize("kind", [InputKind.IMAGE, InputKind.AUDIO])
def test_paths_or_one_file(kind):
    assert taken(kind, b"", ("a.png", os.fsdecode(b"b\xe9"))) == ["a.png", os.fsdecode(b"b\xe9")]
    assert taken(kind, b"a.png\n\n b.png \n") == ["a.png", "b.png"]
    for content in (picture(), picture("JPEG"), sound([[0.5]]), b"P5 2 2 255\n\0\0\0\0", b"\0\n\0"):
        if content.startswith(b"P5"):
            continue  # its first line is text: it must be given as a file
        assert taken(kind, content) == [content]
    assert taken(kind, b"") == []


def test_a_table_and_nothing():
    assert taken(InputKind.SERIES, b"1,2\n3,4\n") == [b"1,2\n3,4\n"]
    assert taken(InputKind.SERIES, b"", ("a.csv",)) == ["a.csv"]
    assert taken(InputKind.NONE, b"anything") == []
    with pytest.raises(DataError, match=r"^there must be no inputs, since this task takes none: got 'x'\.$"):
        taken(InputKind.NONE, b"", ("x",))


class Terminal(io.BytesIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [None, Terminal()])
def test_nobody_is_waited_for(stream):
    for kind in (InputKind.TEXT, InputKind.IMAGE, InputKind.SERIES):
        with pytest.raises(DataError, match=r"^give inputs by position, or on standard input: got neither\.$"):
            next(inputs_of(kind, (), stream))


def test_lines_come_one_by_one():
    code = (
        "import sys; from heedful.data.inputs import InputKind, inputs_of\n"
        "for text in inputs_of(InputKind.TEXT, (), sys.stdin.buffer): print(text.upper(), flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line.upper()
        process.stdin.close()
    assert process.returncode == 0


def test_words_for_messages():
    assert one_line(ValueError("two\n  lines. ")) == "two lines"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(ValueError("x" * 400)) == "x" * 300 + " ..."
    assert shortened(["a  b", "c"]) == "a b / c"
    assert shortened(["x" * 100]) == "x" * 79 + "\u2026"
