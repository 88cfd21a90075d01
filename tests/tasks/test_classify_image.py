import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score

from heedful.data import Pictures, read_pictures
from heedful.tasks import classify_image
from heedful.tasks.classify_image import Prediction, Settings, prepare
from heedful.training.run_folder import RunFolder
from heedful.training.settings import read_settings
from tests.tiny import TINY, draw


@pytest.fixture(scope="module")
def classifier(trained):
    return classify_image.load(RunFolder(trained))


def prepared(data, *settings):
    sources = data if isinstance(data, dict) else {"data": str(data)}
    return prepare(read_settings(Settings, None, [*TINY, *settings]), sources, Console(file=io.StringIO()))


def test_a_prediction_is_a_line_for_a_person():
    prediction = Prediction("a.png", "cat", 0.9164, "dog", 0.0836)
    assert str(prediction) == "a.png: cat 91.6 % (then dog 8.4 %)"


def test_predictions_are_the_softmax_of_the_logits(classifier, shades):
    pictures = classifier.read_labelled(str(shades))
    probabilities = classifier.logits(pictures.images).softmax(-1)
    predictions = classifier.predict(pictures)
    assert len(predictions) == 40
    for row, prediction in enumerate(predictions):
        assert prediction.input == pictures.names[row]
        assert prediction.label == classifier.classes[int(probabilities[row].argmax())]
        assert prediction.probability == probabilities[row].max().item()
        assert prediction.runner_up_probability == probabilities[row].min().item()


def test_a_batch_says_the_same_as_one_by_one(classifier, shades):
    images = classifier.read(str(shades)).images
    torch.testing.assert_close(classifier.logits(images, batch_size=3), classifier.logits(images), rtol=1e-5, atol=1e-6)


def test_pictures_of_any_size_and_colour_are_taken_as_they_are(classifier, tmp_path):
    for name, mode, size in (("grey.png", "L", (31, 17)), ("colour.jpg", "RGB", (8, 8)), ("clear.png", "RGBA", (3, 5))):
        Image.new(mode, size).save(tmp_path / name)
    images = classifier.read(
        [tmp_path / "grey.png", str(tmp_path / "colour.jpg"), io.BytesIO((tmp_path / "clear.png").read_bytes())]
    )
    assert images.images.shape == (3, 1, 8, 8)
    assert len(classifier.predict(images)) == 3


def test_measures_are_those_of_scikit_learn(classifier, tmp_path):
    pictures = classifier.read_labelled(str(draw(tmp_path / "x", count=17, seed=5)))
    guess = classifier.logits(pictures.images).argmax(1)
    measures = classifier.measures(pictures)
    assert measures["accuracy"] == pytest.approx(accuracy_score(pictures.labels, guess))
    assert measures["macro_f1"] == pytest.approx(f1_score(pictures.labels, guess, average="macro", zero_division=0))


def test_a_tenth_of_each_class_is_held_out_and_the_model_knows_the_channels(shades):
    ready = prepared(shades)
    assert ready.training.labels.bincount().tolist() == [18, 18]
    assert ready.validation.labels.bincount().tolist() == [2, 2]
    assert not set(ready.training.names) & set(ready.validation.names)
    assert ready.model.training
    numbers = ready.training.images / 255
    assert ready.model.mean.item() == pytest.approx(numbers.mean().item(), rel=1e-5)
    assert ready.model.deviation.item() == pytest.approx(numbers.std().item(), rel=1e-4)


@pytest.mark.parametrize(("size", "shape"), [("0", (8, 8)), ("12", (12, 12)), ("[4, 12]", (4, 12))])
@pytest.mark.parametrize(("colour", "channels"), [("auto", 1), ("grey", 1), ("colour", 3)])
def test_pictures_are_read_as_the_settings_say(shades, size, shape, colour, channels):
    ready = prepared({"train": str(shades), "valid": str(shades)}, f"data.size={size}", f"data.colour={colour}")
    for part in (ready.training, ready.validation):
        assert part.images.shape == (40, channels, *shape)


def test_the_same_seed_builds_the_same_model(shades):
    one, same, other = prepared(shades), prepared(shades), prepared(shades, "training.seed=2")
    weights = [torch.cat([p.flatten() for p in ready.model.parameters()]) for ready in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_checksum_notices_every_change_of_the_data(shades):
    import dataclasses

    ready = prepared(shades)

    def changed(**parts):
        old = ready.training
        new = Pictures(
            **{name: parts.get(name, getattr(old, name)) for name in ("images", "labels", "classes", "names")}
        )
        return dataclasses.replace(ready, training=new).checksum()

    pixel = ready.training.images.clone()
    pixel[7, 0, 3, 5] ^= 1
    checksums = {
        ready.checksum(),
        changed(images=pixel),
        changed(images=ready.training.images.reshape(36, 1, 4, 16)),
        changed(labels=ready.training.labels.flip(0)),
        changed(classes=("light", "dark")),
        dataclasses.replace(ready, training=ready.validation, validation=ready.training).checksum(),
    }
    assert len(checksums) == 6
    assert prepared(shades).checksum() == ready.checksum()


def test_the_loss_of_mixed_pictures_is_the_mixture_of_losses():
    logits, labels = torch.randn(5, 7), torch.arange(5)
    share = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    mixed = torch.stack([labels, labels + 2, share], dim=1)
    batch = torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels
    loss = classify_image._loss(lambda _: logits, batch, lambda pictures, _: (pictures, mixed), 0.1)
    expected = [
        s * F.cross_entropy(logits[i], labels[i], label_smoothing=0.1)
        + (1 - s) * F.cross_entropy(logits[i], labels[i] + 2, label_smoothing=0.1)
        for i, s in enumerate(share)
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_a_model_on_digits_reads_the_test_part_of_other_writers():
    assert len(read_pictures("digits")) + len(read_pictures("digits", split="test")) == 1797
