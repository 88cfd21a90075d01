import io
import tomllib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

import heedful
from heedful._errors import HeedfulError, SettingsError
from heedful.data import LabeledImages, read_images
from heedful.tasks.classification import Classification
from heedful.tasks.classify_image import ClassifyImage
from heedful.tasks.plans import read_plan
from heedful.tasks.run import load
from heedful.tasks.sources import checksum, prepare, preset
from heedful.training.settings import flat, settings_of
from tests.tiny import TINY, draw

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def classifier(trained):
    return load(trained)


def prepared(data, *settings):
    sources = data if isinstance(data, dict) else {"data": str(data)}
    return prepare(ClassifyImage, settings_of(ClassifyImage.Settings, [*TINY, *settings]), sources)


def test_a_prediction_is_a_line_for_a_person():
    assert str(Classification("a.png", "cat", 0.9164, "dog", 0.0836, True)) == "a.png: cat 91.6 % (then dog 8.4 %)"
    assert str(Classification("a text", "cat", 0.9164, "dog", 0.0836)) == "cat 91.6 % (then dog 8.4 %)"
    assert (str(Classification(" ")), Classification("a\tb", "x").to_format()) == ("", "a b\tx")


def test_predictions_are_the_softmax_of_the_logits(classifier, shades):
    images = read_images(str(shades))
    task = classifier.task
    probabilities = (
        task.outputs(classifier.model, images.images) / task.vocabulary["calibration"]["temperature"]
    ).softmax(-1)
    predictions = classifier.predict(images)
    assert len(predictions) == 40
    for row, prediction in enumerate(predictions):
        assert prediction.input == images.names[row]
        assert prediction.label == task.target.classes[int(probabilities[row].argmax())]
        assert prediction.probability == probabilities[row].max().item()
        assert prediction.runner_up_probability == probabilities[row].min().item()


def test_a_batch_says_the_same_as_a_few(classifier, shades, monkeypatch):
    images = read_images(str(shades)).images
    whole = classifier.task.outputs(classifier.model, images)
    monkeypatch.setattr("heedful.tasks.classify_image._TOGETHER", 3)
    torch.testing.assert_close(classifier.task.outputs(classifier.model, images), whole, rtol=1e-5, atol=1e-6)


def test_images_of_any_size_and_color_are_taken_as_they_are(classifier, tmp_path):
    for name, mode, size in (("gray.png", "L", (31, 17)), ("color.jpg", "RGB", (8, 8)), ("clear.png", "RGBA", (3, 5))):
        Image.new(mode, size).save(tmp_path / name)
    stream = io.BytesIO((tmp_path / "clear.png").read_bytes())
    inputs = [tmp_path / "gray.png", str(tmp_path / "color.jpg"), stream]
    assert classifier.task.images(inputs[:2]).images.shape == (2, 1, 8, 8)
    assert [one.input for one in classifier.predict(inputs)] == [*map(str, inputs[:2]), "stream"]


def test_metrics_are_those_of_scikit_learn(classifier, tmp_path):
    folder = draw(tmp_path / "x", count=17, seed=5)
    images = read_images(str(folder))
    guess = classifier.task.outputs(classifier.model, images.images).argmax(1)
    found = classifier.evaluate(str(folder))
    assert found.metrics["accuracy"] == pytest.approx(accuracy_score(images.labels, guess))
    assert found.metrics["macro_f1"] == pytest.approx(f1_score(images.labels, guess, average="macro", zero_division=0))


def test_a_tenth_of_each_class_is_held_out_and_the_model_knows_the_channels(shades):
    parts, task = prepared(shades)
    assert parts.training.labels.bincount().tolist() == [18, 18]
    assert parts.validation.labels.bincount().tolist() == [2, 2]
    assert not set(parts.training.names) & set(parts.validation.names)
    assert parts.held_out == f"every tenth image of each class of {shades}, 4 images"
    numbers, model = parts.training.images / 255, task.build()
    assert model.training
    assert model.mean.item() == pytest.approx(numbers.mean().item(), rel=1e-5)
    assert model.std.item() == pytest.approx(numbers.std().item(), rel=1e-4)


def test_a_channel_of_one_shade_is_divided_by_something():
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    images[:, 2] = 77
    vocabulary = ClassifyImage.learn(LabeledImages.of(images, ["a", "b"] * 25), ClassifyImage.Settings())
    assert vocabulary["mean"] == pytest.approx((images.float() / 255).mean((0, 2, 3)).tolist(), rel=1e-5)
    assert vocabulary["std"] == pytest.approx([*(images[:, :2].float() / 255).std((0, 2, 3)).tolist(), 1e-3], rel=1e-5)


@pytest.mark.parametrize(("size", "shape"), [("0", (8, 8)), ("12", (12, 12)), ("[4, 12]", (4, 12))])
@pytest.mark.parametrize(("color", "channels"), [("auto", 1), ("gray", 1), ("color", 3)])
def test_images_are_read_as_the_settings_say(shades, size, shape, color, channels):
    parts, task = prepared({"train": str(shades), "valid": str(shades)}, f"data.size={size}", f"data.color={color}")
    for part in (parts.training, parts.validation):
        assert part.images.shape == (40, channels, *shape)
    assert task.build()(parts.training.images[:2]).shape == (2, 2)


def test_the_seed_says_which_model_is_made(shades):
    models = [
        heedful.train("classify-image", str(shades), settings=[*TINY, f"training.seed={seed}"], progress=False).model
        for seed in (1, 1, 2)
    ]
    weights = [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_architecture_says_which_settings_the_model_has():
    def read(*words):
        return settings_of(ClassifyImage.Settings, words).model

    assert read("model.architecture=vit", "model.patch_size=3").patch_size == 3
    assert read("model.stages=[8]", "model.convolutions=[2]").convolutions == (2,)
    for words, architecture in (
        (["model.patch_size=3"], "cct"),
        (["model.architecture=vit", "model.stages=[8]"], "vit"),
    ):
        with pytest.raises(
            SettingsError, match=rf"^`model\.\w+` is no setting of model.architecture = '{architecture}'\.$"
        ):
            read(*words)


def test_the_checksum_notices_every_change_of_the_data(shades):
    old = prepared(shades)[0].training

    def changed(**parts):
        names = ("images", "labels", "classes", "names")
        return checksum(LabeledImages(**{name: parts.get(name, getattr(old, name)) for name in names}))

    pixel = old.images.clone()
    pixel[7, 0, 3, 5] ^= 1
    checksums = {
        changed(),
        changed(images=pixel),
        changed(images=old.images.reshape(36, 1, 4, 16)),
        changed(labels=old.labels.flip(0)),
        changed(classes=("light", "dark")),
        checksum(prepared(shades)[0].validation),
    }
    assert len(checksums) == 6
    assert changed() == checksum(prepared(shades)[0].training)


def test_the_loss_of_mixed_images_is_the_mixture_of_losses(shades, monkeypatch):
    task = prepared(shades)[1]
    logits, labels = torch.randn(5, 7), torch.tensor([6, 0, 2, 2, 5])
    share = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    mixed = torch.stack([torch.arange(5), torch.arange(2, 7) % 5, share], dim=1)
    monkeypatch.setattr(task, "augment", lambda images, _: (images, mixed))
    loss = task.loss(lambda _: logits, (torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels), "")
    expected = [
        s * F.cross_entropy(logits[i], labels[i], label_smoothing=0.1)
        + (1 - s) * F.cross_entropy(logits[i], labels[(i + 2) % 5], label_smoothing=0.1)
        for i, s in enumerate(share)
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_a_model_on_digits_reads_the_test_part_of_other_writers():
    read = [ClassifyImage.read("digits", ClassifyImage.Settings(), reading) for reading in _readings()]
    assert [len(images) for images in read] == [1437, 360, 360]
    assert [images.labels is None for images in read] == [False, False, True]


def test_the_plan_of_the_comparison_has_the_settings_of_the_preset():
    plan = read_plan(ROOT / "benchmarks" / "plans" / "cifar10-attention.toml")
    preset = dict(flat(tomllib.loads((ROOT / "examples" / "classify-image" / "cifar10-cnn.toml").read_text())))
    runs = [*plan.runs()]
    assert {run.variant for run in runs} == {"cnn", "cnn_spatial", "cnn_channel", "cnn_dual"}
    assert len(runs) == 12
    for run in runs:
        assert dict(flat(run.settings)) == {**preset, "model.architecture": run.variant, "training.seed": run.seed}


def test_a_model_without_attention_says_so(shades):
    settings = {
        "model.architecture": "cnn",
        "model.stages": [4],
        "model.blocks": [1],
        "model.attention_after": [],
        "training.epochs": 1,
    }
    model = heedful.train("classify-image", str(shades), settings=settings, progress=False)
    with pytest.raises(
        HeedfulError, match=r"^there is no attention to look at in a model with model\.architecture=cnn\.$"
    ):
        model.inspect(str(shades / "dark" / "3.png"))


def test_digits_have_settings_of_their_own(shades):
    chosen = settings_of(ClassifyImage.Settings, preset=preset(ClassifyImage, {"data": "digits[:50]"}))
    assert (chosen.data.size, chosen.model.pooling) == (16, "class-token")
    assert preset(ClassifyImage, {"data": str(shades)}) == ()


def _readings():
    from heedful.tasks.contract import TRAINING, Reading

    known = {"size": [8, 8], "channels": 1, "classes": [str(digit) for digit in range(10)]}
    return TRAINING, Reading("test", vocabulary=known), Reading("test", False, known)
