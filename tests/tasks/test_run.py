"""Python's way in: what data and inputs may be, and what is said of those that may not."""

import copy
import csv
import gc
import io
import os
import pickle
import tempfile

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from datasets import Dataset
from PIL import Image

import heedful
from heedful._errors import DataError, HeedfulError, RunFolderError, SettingsError
from heedful.data import LabeledImages, read_images
from heedful.data.text import LabeledTexts, ParallelTexts, PlainText, Sentence, Tagged
from tests import languages
from tests.tiny import TINY
from tests.toys import Average

TEXTS = [f"a {word} film {row}" for row in range(20) for word in ("fine", "dull")]
LABELS = ["good", "bad"] * 20
FAST = {"training.epochs": 2, "model.ensemble_size": 1, "model.width": 12, "model.heads": 2, "model.pooling_heads": 2}


def fitted(data, **more):
    return heedful.train("classify", data, settings=FAST, progress=False, **more)


@pytest.fixture(scope="module")
def texts():
    """A model of texts; not to be changed."""
    return fitted((TEXTS, LABELS))


@pytest.fixture(scope="module")
def images(trained):
    return heedful.load(trained)


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"label": LABELS, "text": TEXTS}, index=range(40, 0, -1)),
        polars.DataFrame({"other": [0] * 40, "text": TEXTS, "label": LABELS}),
        Dataset.from_dict({"text": TEXTS, "label": LABELS}),
        {"text": np.array(TEXTS), "label": tuple(LABELS), "other": []},
        (pd.Series(TEXTS), pd.Series(LABELS, index=range(40, 0, -1))),
        (polars.Series(TEXTS), polars.Series(LABELS)),
        [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)],
        LabeledTexts.of(TEXTS, LABELS),
    ],
    ids=["pandas", "another frame", "datasets", "columns", "series", "other series", "rows", "examples"],
)
def test_the_same_texts_in_any_form_make_the_same_model(texts, data):
    model = fitted(data)
    assert model.metrics["metrics"] == texts.metrics["metrics"]
    weights = texts.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.model.state_dict().items())
    assert model.evaluate(data) == texts.evaluate((TEXTS, LABELS))


def test_examples_and_tables_of_other_tasks():
    lines = ["the cat sat on the mat", "and the rat"] * 8
    small = {"model.context_length": 8, "model.width": 8, "model.heads": 2, "model.layers": 1, "training.epochs": 1}
    text = PlainText.of(lines)
    metrics = [
        heedful.train("language-model", data, settings=small, progress=False).metrics["metrics"]
        for data in (text, lines, {"text": lines}, pd.DataFrame({"text": lines}), Dataset.from_dict({"text": lines}))
    ]
    assert all(one == metrics[0] for one in metrics)
    words, labels = [["la", "hundo"], ["bona"]] * 10, [["D", "N"], ["A"]] * 10
    fast = {"training.epochs": 1, "model.layers": 1, "model.width": 12, "model.heads": 2}
    tagged = [
        heedful.train("tag", data, settings=fast, progress=False)
        for data in ((words, labels), Tagged.of(words, labels), pd.DataFrame({"tokens": words, "labels": labels}))
    ]
    assert all(one.metrics["metrics"] == tagged[0].metrics["metrics"] for one in tagged)
    ours = [one.labels for one in tagged[0].predict([["la", "hundo"], ("bona",), "la hundo", np.array(["bona"])])]
    assert (ours[0], ours[1]) == (ours[2], ours[3])
    assert [one.labels for one in tagged[0].predict([Sentence.of(["la", "hundo"])])] == ours[:1]
    sources, targets = zip(*languages.pairs(20), strict=True)
    tiny = {
        **fast,
        "model.ffn_width": 12,
        "data.tokenizer": "characters",
        "search.beams": 1,
        "training.batch_size": 300,
    }
    metrics = [
        heedful.train("translate", data, settings=tiny, progress=False).metrics["metrics"]
        for data in ((sources, targets), ParallelTexts.of(sources, targets))
    ]
    assert metrics[0] == metrics[1]


def test_images_as_arrays_tensors_or_of_pillow(shades):
    read = read_images(str(shades))
    arrays, labels = read.images[:, 0].numpy(), [read.classes[i] for i in read.labels]
    models = [
        heedful.train("classify-image", data, settings=TINY, progress=False)
        for data in (
            (arrays, labels),
            (read.images, np.array(labels)),
            {"image": [Image.fromarray(array) for array in arrays], "label": labels},
            LabeledImages.of(arrays, labels),
        )
    ]
    assert all(model.metrics["metrics"] == models[0].metrics["metrics"] for model in models)


def test_validation_data_of_their_own(texts):
    model = fitted((TEXTS, LABELS), valid=(TEXTS[:6], LABELS[:6]))
    assert model.metrics["examples"] == {"train": 40, "validation": 6}
    assert model.metrics["validation"] == "the data, 6 texts"
    with pytest.raises(DataError, match="row 0: label must be a known class, 'bad', 'good': got 'so so', and no other"):
        fitted((TEXTS, LABELS), valid=(TEXTS[:2], ["so so", "so so"]))


def test_classes_that_training_never_saw_count_as_wrong(texts, shades):
    """In the metrics of an epoch, in those of the run, in the evaluation; and it is said how many there are."""
    images = read_images(str(shades))
    odd = LabeledImages(images.images[:4], torch.tensor([0, 1, 2, 2]), ("other", "light", "new"), images.names[:4])
    for task, data, valid, tiny in (
        ("classify", (TEXTS, LABELS), (TEXTS[:4], [*LABELS[:2], "so so", "else"]), FAST),
        ("classify-image", images, odd, TINY),
    ):
        model = heedful.train(task, data, valid=valid, settings=tiny, progress=False)
        unseen = 2 if task == "classify" else 3
        assert model.metrics["details"]["unseen_labels"] == unseen
        assert f"{unseen} of 4 labels occur nowhere in the training data and count as wrong: " in model.metrics["note"]
        assert model.metrics["metrics"]["accuracy"] <= (4 - unseen) / 4
        with open(model.folder.path / "log.csv") as file:
            assert [float(row["valid_accuracy"]) for row in csv.DictReader(file)][-1] <= (4 - unseen) / 4
        assert model.evaluate(valid).note == model.metrics["note"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((TEXTS, LABELS[:-1]), "column 'label' must have as many rows as 'text', 40: got 39"),
        ((TEXTS,), "data must be 2 columns, 'text', 'label', or rows that are mappings: got 1 items"),
        (([*TEXTS[:39], None], LABELS), "row 39: 'text' must have a value: got nothing"),
        ((TEXTS, [*LABELS[:39], float("nan")]), "row 39: 'label' must have a value: got NaN"),
        (([*TEXTS[:39], " "], LABELS), "row 39: must have a text: got an empty one"),
        (({"a": 1}, LABELS), "column 'text' must be a list: got a value of type dict"),
        (
            pd.DataFrame({"txt": TEXTS, "label": LABELS}),
            "the data: must have a column 'text': got 'txt', 'label'; ",
        ),
        ((TEXTS, ["good"] * 40), "the data: must hold at least two classes: got 1, 'good'"),
        ((TEXTS[:4], LABELS[:4]), "the data: must hold at least 10 texts, to hold one out .*: got 4"),
        (3, "data must be a data frame, a mapping of columns, .*: got a value of type int"),
    ],
)
def test_data_that_are_none(data, message):
    before = set(os.listdir(tempfile.gettempdir()))
    with pytest.raises(DataError, match=message):
        fitted(data)
    new = set(os.listdir(tempfile.gettempdir())) - before
    assert not [name for name in new if name.startswith("heedful-")], "no folder is left"


def test_no_data_at_all():
    with pytest.raises(HeedfulError, match="give .*: got neither"):
        heedful.train("classify")


@pytest.mark.parametrize(
    "settings",
    [
        FAST,
        [f"{key}={value}" for key, value in FAST.items()],
        {
            "training": {"epochs": 2},
            "model": {key[6:]: value for key, value in FAST.items() if key.startswith("model")},
        },
    ],
)
def test_settings_are_words_or_a_mapping_nested_or_dotted(texts, settings):
    model = heedful.train("classify", (TEXTS, LABELS), settings=settings, progress=False)
    assert model.task.settings == texts.task.settings
    assert model.metrics["metrics"] == texts.metrics["metrics"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.epoch": 3}, "^unknown setting `training.epoch`, did you mean `training.epochs`"),
        ({"training": {"epochs": "many"}}, "^`training.epochs`: input should be a valid integer.*: got 'many'"),
        ({"epochs": 3}, "^unknown setting `epochs`"),
        ("training.epochs=3", "^settings must be a mapping or a list of words: got 'training.epochs=3'"),
        (
            {"model.width": 10, "model.heads": 4},
            r"^\[model\]: `heads` must be a positive divisor of `width`: got 4 and 10",
        ),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(SettingsError, match=message):
        heedful.train("classify", (TEXTS, LABELS), settings=settings, progress=False)


def test_nothing_is_printed_without_progress(capfd, recwarn):
    fitted((TEXTS, LABELS)).predict(TEXTS[0])
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "heedful" in str(warning.filename)]
    heedful.train("classify", (TEXTS, LABELS), settings=FAST)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(
        "36 texts to train on, 2 classes (bad, good); validation: every tenth text of each class of the data"
    )
    assert len(lines) == 6


def test_without_a_folder_there_is_a_temporary_one_that_goes_with_the_model():
    model = fitted((TEXTS, LABELS))
    folder = model.folder.path
    assert (folder / "model.safetensors").exists()
    same, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert folder not in (same.folder.path, again.folder.path)
    expected = model.predict(TEXTS)
    del model
    gc.collect()
    assert not folder.exists()
    assert same.predict(TEXTS) == again.predict(TEXTS) == expected
    assert same.evaluate((TEXTS, LABELS)).baselines, "the training data went along"


def test_a_folder_of_ones_own_stays(tmp_path, texts):
    fitted((TEXTS, LABELS), out=tmp_path / "run")
    gc.collect()
    model = heedful.load(tmp_path / "run")
    assert model.predict(TEXTS) == texts.predict(TEXTS)
    found = model.evaluate((TEXTS, LABELS))
    assert (found.baselines, found.note) == ({}, "no baselines: they need the training data, which were in memory.")
    with pytest.raises(RunFolderError, match="holds a run already"):
        fitted((TEXTS, LABELS), out=tmp_path / "run")
    assert fitted((TEXTS, LABELS), out=tmp_path / "run", resume=True).predict(TEXTS) == texts.predict(TEXTS)
    model.save(tmp_path / "copy")
    with pytest.raises(RunFolderError, match="needs an empty folder"):
        model.save(tmp_path / "copy")


def test_one_text_or_several_in_any_form(texts):
    three = TEXTS[:3]
    expected = texts.predict(three)
    assert [one.input for one in expected] == three
    forms = [
        tuple(three), (text for text in three), dict.fromkeys(three).keys(), dict(zip("abc", three, strict=True)).values(),
        np.array(three), np.array(three, dtype=object), polars.Series(three),
        pd.Series(three, index=[2, 0, 1]), Dataset.from_dict({"text": three})["text"], LabeledTexts.of(three),
        LabeledTexts.of(three, LABELS[:3]),
    ]  # fmt: skip
    for form in forms:
        predictions = texts.predict(form)
        assert predictions == expected, type(form)
        assert {type(one.input) for one in predictions} == {str}
    for one in (TEXTS[0], np.str_(TEXTS[0]), np.array(TEXTS[0]), [TEXTS[0]]):
        assert texts.predict(one) == texts.predict([TEXTS[0]])
    assert texts.predict([]) == []
    assert [one.label for one in texts.predict([""])] == [""]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"^`inputs` must be a text: got nothing\.$"),
        (float("nan"), r"^`inputs` must be a text: got NaN\.$"),
        (3, r"^`inputs` must be a text: got a value of type int\.$"),
        (b"a", r"^`inputs` must be a text: got a value of type bytes\.$"),
        (["a", None], r"^`inputs\[1\]` must be a text: got nothing\.$"),
        (["a", 2.5, None], r"^`inputs\[1\]` must be a text: got a value of type float\.$"),
        (np.array([1.5, 2.5]), r"^`inputs\[0\]` must be a text: got a value of type float\.$"),
        (pd.Series(["a", None, "b"]), r"^`inputs\[1\]` must be a text: got (nothing|NaN)\.$"),
        (pd.Series(["a", pd.NA], dtype=object), r"^`inputs\[1\]` must be a text: got nothing\.$"),
        ([["a", "fine"], ["film"]], r"^`inputs\[0\]` must be a text: got a value of type list\.$"),
        (np.array([["a"], ["b"]]), r"^`inputs\[0\]` must be a text: got a value of type list\.$"),
        (["a", "\ud800"], r"^`inputs\[1\]` must be a text: got half a character"),
        ({"text": ["a"]}, "^`inputs` must be one input or a list of them, such as one column of a table: got a dict"),
        ({"a", "b"}, "^`inputs` must be one input or a list of them, .*: got a set"),
        (pd.DataFrame({"text": ["a"]}), "^`inputs` must be .* one column of a table: got a DataFrame"),
        (polars.DataFrame({"text": ["a"]}), "^`inputs` must be .* one column of a table: got a DataFrame"),
        (Dataset.from_dict({"text": ["a"]}), "^`inputs` must be .* one column of a table: got a Dataset"),
    ],
)
def test_inputs_that_are_no_texts(texts, inputs, message):
    for verb in (texts.predict, texts.inspect):
        with pytest.raises(DataError, match=message):
            verb(inputs)


def test_lists_hold_texts_alone():
    model = heedful.train("tag", ([["la", "hundo"], ["bona"]] * 10, [["D", "N"], ["A"]] * 10), progress=False,
                          settings={"training.epochs": 1, "model.layers": 1, "model.width": 12, "model.heads": 2})  # fmt: skip
    for inputs, message in (
        ([["la"], ["x", None]], r"^`inputs\[1\]\[1\]` must be a text: got nothing"),
        ([["la"], 3], r"^`inputs\[1\]` must be a text or a list of texts: got a value of type int"),
        ([[["la"]]], r"^`inputs\[0\]\[0\]` must be a text: got a value of type list"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(inputs)


def test_one_image_or_several_in_any_form(images, shades):
    read = read_images(str(shades)).select(range(5))
    pixels = read.images[:, 0].numpy()
    expected = [(one.label, pytest.approx(one.probability, abs=1e-6)) for one in images.predict(read)]
    stream = io.BytesIO()
    Image.fromarray(pixels[0]).save(stream, "PNG")
    forms = [
        pixels, read.images, list(pixels), list(read.images), pixels[..., None], [Image.fromarray(array) for array in pixels],
        (array for array in pixels), [str(shades / name) for name in read.names], [shades / name for name in read.names],
        [Image.fromarray(pixels[0]), pixels[1], read.images[2], str(shades / read.names[3]), shades / read.names[4]],
        pixels / 255, np.repeat(pixels[..., None], 3, 3),
    ]  # fmt: skip
    for form in forms:
        assert [(one.label, one.probability) for one in images.predict(form)] == expected
    one = expected[:1]
    stream.seek(0)
    for form in (pixels[0], read.images[0], Image.fromarray(pixels[0]), pixels[0, :, :, None], stream, pixels[:1],
                 np.repeat(pixels[0, :, :, None], 3, 2)):  # fmt: skip
        assert [(one.label, one.probability) for one in images.predict(form)] == one
    assert [one.input for one in images.predict(pixels[:2])] == ["row 0", "row 1"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "^row 0: an image must be an array, a tensor or an image of Pillow: got NoneType"),
        ([np.zeros((8, 8), np.uint8), None], "^row 1: an image must be an array, .*: got NoneType"),
        ([np.zeros((8, 8)) + 300], "^row 0: an image of floating point numbers must have them from 0 to 1: got 300.0 to 300.0"),
        (np.zeros((8, 8), int), "^row 0: an image must be uint8, or floating point numbers from 0 to 1: got int64"),
        (np.zeros((8, 8, 2, 2), np.uint8), "^row 0: an image must be height x width, .*: got 8 x 2 x 2"),
        (np.zeros(8), "^row 0: an image must be height x width, .*: got a number"),
        (np.zeros((3, 8, 8), np.uint8), r"^an array of shape \(3, 8, 8\) may be one image in color or 3 in gray: give a list"),
        (b"PNG", "^row 0: an image must be an array, .*: got bytes"),
        (pd.DataFrame({"image": ["a"]}), "^`inputs` must be .* one column of a table: got a DataFrame"),
        ("no/where.png", "no/where.png"),
    ],
)  # fmt: skip
def test_inputs_that_are_no_images(images, inputs, message):
    with pytest.raises(DataError, match=message):
        images.predict(inputs)


def test_options_that_are_none(texts):
    with pytest.raises(SettingsError, match="unknown setting `beams`"):
        texts.predict("a", beams=3)


def test_a_task_is_a_class_too():
    model = heedful.train(Average, [float(row) for row in range(12)], progress=False)
    assert repr(model).startswith("<average, one average, 0 parameters: ")
    assert model.predict("x")[0].value == pytest.approx(sum(row for row in range(12) if row % 3 != 2) / 8)
