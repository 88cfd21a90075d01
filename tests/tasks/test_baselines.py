import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from heedful.data import Pictures, hold_out, read_pictures
from heedful.data.text import Pairs
from heedful.tasks.baselines import picture_baselines, translation_baselines


def test_they_are_what_scikit_learn_makes_of_the_pixels():
    training, held_out = hold_out(read_pictures("digits[:200]"))
    X, y, x, truth = (
        training.images.flatten(1).numpy() / 255, training.labels.numpy(),
        held_out.images.flatten(1).numpy() / 255, held_out.labels.numpy(),
    )  # fmt: skip
    found = picture_baselines(training, held_out)
    assert found["majority"] == pytest.approx(DummyClassifier().fit(X, y).score(x, truth))
    assert found["nearest neighbours"] == KNeighborsClassifier(3).fit(X, y).score(x, truth)
    # Both stop at the solver's tolerance; one picture of twenty may fall on the other side.
    assert found["logistic regression"] == pytest.approx(
        LogisticRegression(max_iter=500).fit(X, y).score(x, truth), abs=0.051
    )


def test_two_pictures_are_enough():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 5, 7)
    two = Pictures(images, torch.tensor([0, 1]), ("a", "b"), ("x", "y"))
    found = picture_baselines(two, two)
    assert found["majority"] == 0.5
    assert found["logistic regression"] == 1.0


def test_large_pictures_are_shrunk_first():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 2
    images = (
        torch.randint(0, 100, (12, 3, 120, 90), generator=generator, dtype=torch.uint8)
        + 100 * labels.byte()[:, None, None, None]
    )
    pictures = Pictures(images, labels, ("a", "b"), tuple(map(str, range(12))))
    assert picture_baselines(pictures, pictures) == {
        "majority": 0.5,
        "nearest neighbours": 1.0,
        "logistic regression": 1.0,
    }


def test_the_nearest_source_and_the_source_itself_are_translations():
    training = Pairs(
        ["the big old dog runs", "a small red cat sleeps"],
        ["one two three four five", "six seven eight nine"],
        ["", ""],
    )
    alike = Pairs(["the big old dog ran", "small red cats sleep"], training.targets, ["", ""])
    found = translation_baselines(training, alike, lowercase=False)
    assert found["target of the nearest training source"] == pytest.approx(100)
    assert found["the source as it is"] == 0
    shouted = Pairs(alike.sources, [text.upper() for text in alike.sources], ["", ""])
    assert translation_baselines(training, shouted, lowercase=True)["the source as it is"] == pytest.approx(100)
    assert translation_baselines(training, shouted, lowercase=False)["the source as it is"] == 0
