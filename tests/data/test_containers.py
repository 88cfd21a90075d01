"""What all containers of examples have in common."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import DataError, SettingsError
from heedful.data import LabeledImages
from heedful.data.text import LabeledTexts, ParallelTexts, PlainText, SummaryExamples, Tagged

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
MAKE = {
    "texts": lambda: LabeledTexts.of(["a b", "c", "d"], ["x", "y", "x"]),
    "unlabeled texts": lambda: LabeledTexts.of(["a b", "", "d"]),
    "tagged": lambda: Tagged.of([["a", "b"], ["c"], ["d"]], [["X", "Y"], ["X"], ["Z"]]),
    "words": lambda: Tagged.of([["a", "b"], ["c"], ["d"]]),
    "parallel": lambda: ParallelTexts.of(["a", "b", "c"], ["x", "y", "z"]),
    "summaries": lambda: SummaryExamples.of(
        [["A.", "B."], ["C."], ["D."]], ["a", ["c", "cc"], "d"], [[0, 1], [1], [0]]
    ),
    "documents": lambda: SummaryExamples.of([["A.", "B."], ["C."], []]),
    "images": lambda: LabeledImages.of(PIXELS, ["2", "10", "2"]),
    "unlabeled images": lambda: LabeledImages.of(PIXELS),
}
EVERY = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def checksum(examples):
    digest = hashlib.sha256()
    for part in examples.content():
        assert isinstance(part, bytes)
        digest.update(part)
    return digest.hexdigest()


@EVERY
def test_selecting_and_counting(make):
    examples = make()
    assert len(examples) == 3
    assert examples.locations == ["row 0", "row 1", "row 2"]
    chosen = examples.select(iter([2, 0]))
    assert type(chosen) is type(examples)
    assert len(chosen) == 2
    assert chosen.locations == ["row 2", "row 0"]
    assert checksum(chosen.select([1, 0])) == checksum(examples.select([0, 2]))


@EVERY
def test_the_content_is_that_of_the_examples_and_their_order(make):
    examples = make()
    assert checksum(examples) == checksum(make())
    orders = {checksum(examples.select(rows)) for rows in ([0, 1, 2], [1, 0, 2], [0, 2], [0, 1], [0, 1, 2, 2])}
    assert len(orders) == 5


def test_the_content_changes_with_anything_that_a_training_sees():
    others = [
        *(make() for make in MAKE.values()),
        LabeledTexts.of(["a b", "c", "d"], ["x", "y", "y"]),
        LabeledTexts.of(["a", "b c", "d"], ["x", "y", "x"]),
        LabeledTexts(["a", "\ud800", "d"], None, ["", "", ""]),
        Tagged.of([["a", "b"], ["c"], ["d"]], [["X", "Y"], ["X"], ["X"]]),
        Tagged.of([["a", "b"], ["c"], ["d"]], [["X", "Y"], ["X"], ["Z"]], column="other"),
        Tagged.of([["a"], ["b", "c"], ["d"]]),
        ParallelTexts.of(["a", "b", "c"], ["x", "y", "w"]),
        SummaryExamples.of([["A.", "B."], ["C."], ["D."]], ["a", ["c", "cc"], "d"], [[1, 1], [1], [0]]),
        SummaryExamples.of([["A.", "B."], ["C."], ["D."]], ["a", ["c", "ccc"], "d"], [[0, 1], [1], [0]]),
        SummaryExamples.of([["A.", "B."], ["C."], ["D."]], ["a", ["c", "cc"], "d"]),
        LabeledImages.of(PIXELS, ["2", "2", "10"]),
        LabeledImages.of(PIXELS, ["2", "10", "2"], classes=["10", "2"]),
        LabeledImages.of(PIXELS + 1, ["2", "10", "2"]),
        LabeledImages.of(PIXELS.reshape(3, 5, 4), ["2", "10", "2"]),
        PlainText("a b"),
        PlainText("a  b"),
    ]
    assert len({checksum(one) for one in others}) == len(others)


@EVERY
def test_the_content_does_not_say_where_the_examples_lie(make, tmp_path):
    examples = make()
    fields = dict(vars(examples))
    match examples:
        case LabeledImages():
            moved = LabeledImages(**fields | {"names": ("a", "b", "c")})
        case Tagged():
            moved = Tagged.of([s.words for s in examples.sentences], [next(iter(s.labels.values())) for s in examples.sentences]
                              if examples.column else None, locations=["a", "b", "c"])  # fmt: skip
        case _:
            moved = type(examples)(**fields | {"locations": ["a", "b", "c"]})
    assert moved.locations == ["a", "b", "c"]
    assert checksum(moved) == checksum(examples)


def test_plain_text():
    text = PlainText.of(["One.\n", "", "Two."], "two books")
    assert (text.text, len(text), text.locations) == ("One.\n\nTwo.\n", 11, ["two books"])
    training, held_out = text.select(range(9)), text.select(range(9, len(text)))
    assert (training.text, held_out.text) == ("One.\n\nTwo", ".\n")
    assert training.location == held_out.location == "two books"
    assert text.select(range(0, 6, 2)).text == "Oe\n"
    assert list(text.content()) != list(training.content())
    for blank in ("", " \n", []):
        with pytest.raises(DataError, match="^two books: must hold text: got none$"):
            PlainText.of(blank, "two books")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabeledTexts.of(["a"], ["x", "y"]), "column 'labels' must have as many rows as 'texts', 1: got 2"),
        (
            lambda: LabeledTexts.of(["a", " "], ["x", "y"]),
            "row 1: must have a text: got an empty one, with the label 'y'",
        ),
        (
            lambda: LabeledTexts.of(["a", "b"], ["x", " "]),
            "row 1: must have a label: got an empty one, for the text 'b'",
        ),
        (lambda: LabeledTexts.of(["a", None]), "row 1: 'texts' must have a value: got nothing"),
        (lambda: LabeledTexts.of("abc"), "column 'texts' must be a list: got a value of type str"),
        (lambda: ParallelTexts.of(["a"], [" "]), "row 0: must have a target: got an empty one, for the source 'a'"),
        (lambda: ParallelTexts.of([""], ["b"]), "row 0: must have a source: got an empty one, for the target 'b'"),
        (lambda: Tagged.of([]), "`sentences`: must hold at least one sentence: got none"),
        (lambda: Tagged.of([["a"], []]), r"row 1: a sentence must have at least one word, and no empty one: got \[\]"),
        (
            lambda: Tagged.of([["a", ""]]),
            r"row 0: a sentence must have at least one word, and no empty one: got \['a', ''\]",
        ),
        (lambda: Tagged.of([["a", "b"]], [["X"]]), "row 0: must have one label for each of 2 words: got 1"),
        (lambda: Tagged.of([["a", "b"]], [["X", ""]]), "row 0: every word must have a label: got an empty one"),
        (lambda: Tagged.of(["a b"]), "row 0: 'sentences' must be a list of texts: got a value of type str"),
        (lambda: SummaryExamples.of([[]], ["a"]), "row 0: 'sources' must have a sentence: got an empty text"),
        (lambda: SummaryExamples.of([["A."]], [""]), "row 0: 'references' must be a summary: got an empty text"),
        (
            lambda: SummaryExamples.of([["A."]], labels=[[0, 1]]),
            "row 0: 'labels' must have one label for each of 1 sentences",
        ),
        (lambda: SummaryExamples.of([["A."]], labels=[[2]]), "row 0: 'labels' must be a list of 0 and 1: got 2 in it"),
        (
            lambda: SummaryExamples.of([[5]]),
            "row 0: 'sources' must be a text or a list of texts: got a list with something",
        ),
    ],
)
def test_what_python_may_not_give(make, message):
    with pytest.raises(DataError, match="^" + message):
        make()


def test_labels_become_text_and_sentences_are_split():
    assert LabeledTexts.of(["a", "b"], np.array([1, 0])).labels == ["1", "0"]
    assert LabeledTexts.of(["a", "b"], [" x", True]).labels == ["x", "true"]
    pytest.importorskip("sentencex")
    assert SummaryExamples.of(["It works. It is fast.", ("A.", " B. ")]).sources == [
        ["It works.", "It is fast."],
        ["A.", "B."],
    ]


def gray(mode="L"):
    return Image.fromarray(PIXELS[0]).convert(mode)


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS)[:, None],
        PIXELS[..., None],
        list(PIXELS),
        [torch.from_numpy(one) for one in PIXELS],
        PIXELS / 255,
        torch.from_numpy(PIXELS)[:, None] / 255,
        [Image.fromarray(one) for one in PIXELS],
    ],
)
def test_gray_images_of_python(images):
    found = LabeledImages.of(images, [3, 20, 3])
    assert found.images.shape == (3, 1, 4, 5)
    assert np.array_equal(found.images[:, 0].numpy(), PIXELS)
    assert found.classes == ("3", "20")
    assert found.labels.tolist() == [0, 1, 0]


def test_images_in_color_beside_gray_ones():
    color = np.stack([PIXELS[0], PIXELS[1], PIXELS[2]], -1)
    clear = np.concatenate([color, np.zeros((4, 5, 1), np.uint8)], -1)
    found = LabeledImages.of([gray(), color, color.transpose(2, 0, 1), clear, Image.fromarray(color)]).images
    assert torch.equal(found[0], torch.from_numpy(PIXELS[:1]).expand(3, -1, -1))
    for row in (1, 2, 4):
        assert np.array_equal(found[row].numpy(), PIXELS)
    assert (found[3] == 255).all(), "what is transparent is white"
    small = LabeledImages.of([gray(), np.zeros((9, 7), np.uint8)], size=(2, 3), channels=3)
    assert small.images.shape == (2, 3, 2, 3)


def test_the_image_of_a_caller_stays_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 6  # it lies on its side
    file = io.BytesIO()
    gray().save(file, "JPEG", exif=exif)
    image = Image.open(file)
    assert LabeledImages.of([image]).images.shape == (1, 1, 5, 4)
    assert image.size == (5, 4)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "`images` must hold at least one image: got none"),
        (["a.png"], {}, "row 0: an image must be an array, a tensor or an image of Pillow: got str"),
        (
            [PIXELS[0], np.zeros((5, 3), np.uint8)],
            {},
            "row 1: all pictures must have one size, .*: got 5 x 3 here and 4 x 5 in row 0",
        ),
        ([PIXELS[0], PIXELS[0, 0]], {}, "row 1: an image must be height x width, .*: got 5"),
        ([np.zeros((2, 4, 5), np.uint8)], {}, "row 0: an image must be height x width, .*: got 2 x 4 x 5"),
        (
            [PIXELS[0] * 1.0],
            {},
            "row 0: an image of floating point numbers must have them from 0 to 1: got 0.0 to 19.0",
        ),
        (
            [np.full((2, 2), np.nan)],
            {},
            "row 0: an image of floating point numbers must have them from 0 to 1: got nan",
        ),
        ([PIXELS[0].astype(np.int32)], {}, "row 0: an image must be uint8, or floating point .*: got int32"),
        ([PIXELS[0]], {"labels": ["x"], "classes": ["y"]}, "row 0: label must be a known class, 'y': got 'x'"),
        ([PIXELS[0]], {"labels": ["x", "y"]}, "column 'labels' must have as many rows as 'images', 1: got 2"),
    ],
)
def test_what_is_no_image(images, options, message):
    with pytest.raises(DataError, match="^" + message):
        LabeledImages.of(images, **options)
    with pytest.raises(SettingsError, match="`channels` must be 1, 3 or None: got 2"):
        LabeledImages.of([PIXELS[0]], channels=2)
