import itertools

import numpy as np
import pytest

from heedful.report import Picture, Positions, Series, Sound, Text
from heedful.report.blocks import ArrayBlocks

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202eabc \U0001f600 \udc80\0"


def encoded(side):
    """The JSON of a side and its arrays, as they were taken in."""
    blocks = ArrayBlocks()
    return side.encode(blocks), blocks._arrays


# Text.


def test_a_text_comes_back():
    side = Text(["[CLS]", "un", HOSTILE, ""], words=[-1, 0, 0, 1], special=[3, 0, 3], name=HOSTILE)
    payload, arrays = encoded(side)
    assert payload == {
        "kind": "text",
        "name": HOSTILE,
        "tokens": ["[CLS]", "un", HOSTILE, ""],
        "words": [-1, 0, 0, 1],
        "special": [0, 3],
        "pictures": [],
    }
    assert side.count == 4
    assert arrays == []
    assert encoded(Text(["a"]))[0]["words"] is None


def test_numbers_of_numpy_become_numbers_of_json():
    payload, _ = encoded(Text(["a", "b"], words=list(np.array([0, 1])), special=list(np.array([1]))))
    assert [type(value) for value in (*payload["words"], *payload["special"])] == [int] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": [0]}, "`words` must name a word for each of the 2 tokens: got 1"),
        ({"words": [0, 1, 2]}, "`words` must name a word for each of the 2 tokens: got 3"),
        ({"special": [2]}, "`special` must be positions from 0 to 1: got 2"),
        ({"special": [-1]}, "`special` must be positions from 0 to 1: got -1"),
        (
            {"pictures": [(1, Picture(np.zeros((2, 2), np.uint8), (1, 2)))]},
            "`pictures` must lie within the 2 tokens, without `extra`: got 2 from 1 on",
        ),
    ],
)
def test_words_and_special_tokens_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        encoded(Text(["a", "b"], **options))


# Pictures.


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3)])
def test_a_picture_comes_back(shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    side = Picture(pixels, (3, 4), ["class token", HOSTILE], name="cat")
    payload, arrays = encoded(side)
    assert payload == {
        "kind": "picture",
        "name": "cat",
        "picture": {"block": 0, "dtype": "uint8", "shape": list(shape)},
        "grid": [3, 4],
        "extra": ["class token", HOSTILE],
    }
    np.testing.assert_array_equal(arrays[0], pixels)
    assert side.count == 14


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (np.zeros((4, 4, 4), np.uint8), "uint8 of shape (4, 4, 4)"),
        (np.zeros((4,), np.uint8), "uint8 of shape (4,)"),
        (np.zeros((0, 4), np.uint8), "uint8 of shape (0, 4)"),
    ],
)
def test_pixels_that_are_none(pixels, got):
    with pytest.raises(
        ValueError, match="`picture` must be uint8 of shape .*: got " + got.replace("(", r"\(").replace(")", r"\)")
    ):
        encoded(Picture(pixels, (1, 1)))


def test_a_grid_of_nothing():
    with pytest.raises(ValueError, match="must be a whole number of at least 1: got 0"):
        encoded(Picture(np.zeros((4, 4), np.uint8), (2, 0)))


# Sounds.


@pytest.mark.parametrize("count", [1, 2048, 2049, 10_000])
def test_a_sound_keeps_the_lowest_and_highest_sample_of_each_stretch(count):
    samples = np.random.default_rng(0).normal(size=count).astype(np.float32)
    payload, arrays = encoded(Sound(samples, 1000.0))
    points = min(count, 2048)
    edges = [i * count // points for i in range(points)] + [count]
    low = [samples[a:b].min() for a, b in itertools.pairwise(edges)]
    high = [samples[a:b].max() for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(arrays[0], [low, high])
    assert payload["envelope"] == {"block": 0, "dtype": "float32", "shape": [2, points]}
    assert payload["duration"] == payload["seconds"] == count / 1000
    assert payload["spectrogram"] is None


def test_a_padded_sound_says_what_its_positions_cover():
    payload, _ = encoded(Sound(np.zeros(16_000, np.float32), 16_000, seconds=30, name="speech", count=1500))
    assert (payload["duration"], payload["seconds"], payload["name"]) == (1.0, 30.0, "speech")
    payload, _ = encoded(Sound(np.zeros(16_000, np.float32), 16_000, words=[("so", 0, 0.5), ("it", 0.5, 1)]))
    assert payload["words"] == [["so", 0.0, 0.5], ["it", 0.5, 1.0]]


def test_a_spectrogram_becomes_shades_from_its_lowest_to_its_highest():
    bands = np.array([[-4.0, -2.0, 0.0], [-1.0, -3.0, -4.0]])
    payload, arrays = encoded(Sound(np.zeros(5, np.float32), 10, bands))
    np.testing.assert_array_equal(arrays[1], [[0, 128, 255], [191, 64, 0]])
    assert payload["spectrogram"] == {"block": 1, "dtype": "uint8", "shape": [2, 3]}
    np.testing.assert_array_equal(encoded(Sound(np.zeros(5, np.float32), 10, np.full((2, 3), 7.0)))[1][1], 0)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (Sound(np.zeros((2, 5), np.float32), 10), "`samples` must be .samples., none of them empty: got shape"),
        (Sound(np.zeros(0, np.float32), 10), "`samples` must be .samples., none of them empty: got shape"),
        (Sound(np.array([0, np.nan], np.float32), 10), "`samples` must be finite in float32: got 1 that are not"),
        (Sound(np.zeros(5, np.float32), 0.0), "`rate` must be more than 0 samples a second: got 0"),
        (Sound(np.zeros(5, np.float32), float("nan")), "`rate` must be more than 0 samples a second: got nan"),
        (Sound(np.zeros(5, np.float32), 10, np.zeros(5)), "`spectrogram` must be .bands, frames., none of them empty"),
        (
            Sound(np.zeros(5, np.float32), 10, words=[("a", 0, 0.2), ("b", 0.2, 0.6)]),
            "`words` must begin and end from 0 to 0.5 s: got 'b' from 0.2 to 0.6",
        ),
    ],
)
def test_sounds_that_do_not_fit(sound, message):
    with pytest.raises(ValueError, match=message):
        encoded(sound)


# Series and positions.


def test_a_series_is_stored_channel_by_channel():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    payload, arrays = encoded(Series(values, ["heat", HOSTILE], name="sensors"))
    assert payload == {
        "kind": "series",
        "name": "sensors",
        "values": {"block": 0, "dtype": "float32", "shape": [2, 3]},
        "channels": ["heat", HOSTILE],
    }
    np.testing.assert_array_equal(arrays[0], values.T)
    assert arrays[0].flags["C_CONTIGUOUS"]


def test_a_series_of_one_channel_and_unnamed_channels():
    payload, arrays = encoded(Series(np.array([1.0, 2.0])))
    assert payload["channels"] == ["0"]
    np.testing.assert_array_equal(arrays[0], [[1, 2]])
    assert encoded(Series(np.zeros((4, 3))))[0]["channels"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (Series(np.zeros((4, 3)), ["a"]), "`channels` must name 3 channels: got 1"),
        (Series(np.zeros((4, 0))), "`values` must be .steps, channels., none of them empty"),
        (Series(np.array([np.inf])), "`values` must be finite in float32: got 1 that are not"),
    ],
)
def test_series_that_do_not_fit(series, message):
    with pytest.raises(ValueError, match=message):
        encoded(series)


def test_positions_have_names_or_numbers():
    assert encoded(Positions())[0] == {"kind": "positions", "name": "positions", "names": None}
    payload, _ = encoded(Positions(2, ["red", HOSTILE], name="channels"))
    assert payload == {"kind": "positions", "name": "channels", "names": ["red", HOSTILE]}
    assert (Positions().count, Positions(2).count) == (None, 2)
