import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from heedful.data import LabeledImages, read_images
from heedful.data.splits import EveryTenth
from heedful.data.targets import ONE_LABEL
from heedful.data.text import ParallelTexts
from heedful.tasks.baselines import image_features, text_features, translation_baselines, word_baselines
from heedful.tasks.classification import OneLabel


def image_baselines(training, examples):
    target = OneLabel(ONE_LABEL, {"classes": list(training.classes)})
    found = target.baselines(examples.names, training.cells, image_features(training, examples))
    return {name: [training.classes.index(one.label) for one in labels] for name, labels in found.items()}


def text_baselines(texts, labels, others):
    target = OneLabel(ONE_LABEL, {"classes": sorted(set(labels))})
    found = target.baselines(others, labels, text_features(texts, others))
    return {name: [one.label for one in predictions] for name, predictions in found.items()}


def test_they_are_what_scikit_learn_makes_of_the_pixels():
    split = EveryTenth(lambda images: images.labels.tolist())(read_images("digits[:200]"), "image")
    X, y, x, truth = (
        split.training.images.flatten(1).numpy() / 255, split.training.labels.numpy(),
        split.validation.images.flatten(1).numpy() / 255, split.validation.labels.numpy(),
    )  # fmt: skip
    labels = image_baselines(split.training, split.validation)
    assert len(set(labels["majority"])) == 1
    assert np.mean(labels["majority"] == truth) == pytest.approx(DummyClassifier().fit(X, y).score(x, truth), abs=0.051)
    assert labels["nearest neighbors"] == KNeighborsClassifier(3).fit(X, y).predict(x).tolist()
    # Both stop at the solver's tolerance; one image of twenty may fall on the other side.
    expected = LogisticRegression(max_iter=500).fit(X, y).predict(x)
    assert np.mean(labels["logistic regression"] == expected) >= 0.95


def test_two_images_are_enough():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 5, 7)
    two = LabeledImages(images, torch.tensor([0, 1]), ("a", "b"), ("x", "y"))
    labels = image_baselines(two, two)
    assert labels["majority"] in ([0, 0], [1, 1])
    assert labels["logistic regression"] == [0, 1]


def test_large_images_are_shrunk_first():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 2
    images = (
        torch.randint(0, 100, (12, 3, 120, 90), generator=generator, dtype=torch.uint8)
        + 100 * labels.byte()[:, None, None, None]
    )
    images = LabeledImages(images, labels, ("a", "b"), tuple(map(str, range(12))))
    found = image_baselines(images, images)
    assert found["nearest neighbors"] == found["logistic regression"] == labels.tolist()


def test_the_words_tell_texts_apart():
    texts, labels = ["a fine film", "a dull film", "what a fine day", "dull, dull"], ["good", "bad", "good", "bad"]
    found = text_baselines([*texts, "so dull"], [*labels, "bad"], ["fine!", "the dull one"])
    assert found == {"majority": ["bad", "bad"], "TF-IDF + logistic regression": ["good", "bad"]}


def test_words_that_differ_in_marks_alone_tell_texts_apart():
    texts, labels = ["कि कम", "की कम", "कि तब", "की तब"], ["a", "b", "a", "b"]
    assert text_baselines(texts, labels, ["कि", "की"])["TF-IDF + logistic regression"] == ["a", "b"]


def test_the_most_frequent_tag_of_a_word_or_of_its_end():
    words = [["la", "bona"], ["la", "hundo", "bona"], ["bona"], ["granda"]]
    labels = [["D", "A"], ["D", "N", "A"], ["N"], ["A"]]
    found = word_baselines(words, labels, [["bona", "la", "xonda"], [], ["zzz"]])
    assert found["most frequent tag"] == [["A", "D", "A"], [], ["A"]]
    assert list(map(len, found["logistic regression"])) == [3, 0, 1]
    assert found["logistic regression"][0][1] == "D"


def test_the_nearest_source_and_the_source_itself_are_translations():
    training = ParallelTexts(
        ["the big old dog runs", "a small red cat sleeps"],
        ["one two three four five", "six seven eight nine"],
        ["", ""],
    )
    alike = ParallelTexts(["small red cats sleep", "the big old dog ran"], ["x", "y"], ["", ""])
    assert translation_baselines(training, alike) == {
        "copy source": alike.sources,
        "nearest neighbor (TF-IDF)": training.targets[::-1],
    }
