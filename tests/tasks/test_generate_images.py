"""Generating pictures: losses, penalties, measures, and what is refused; the laws of all tasks are in test_every_task.py."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import SettingsError
from heedful.models.adversarial import gradient_penalty
from heedful.models.sagan import Sagan
from heedful.tasks.differentiable_augmentation import DifferentiableAugmentation, augmented
from heedful.tasks.feature_statistics import copying, diversity, feature_distance, kernel_distance
from heedful.tasks.generate_images import GenerateImages
from heedful.tasks.run import train
from tests import tiny

SMALL = ("model.widths=[8, 8]", "model.latent=5", "measure.steps=5", "training.batch_size=7", "training.epochs=1")


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    return tiny.draw(tmp_path_factory.mktemp("data") / "shades", 20, seed=0)


@pytest.fixture(scope="module")
def model(shades):
    return train("generate-images", str(shades), settings=SMALL, progress=False)


def words(data, out, *more):
    return [
        "train",
        "generate-images",
        "--data",
        data,
        "--out",
        out,
        *(w for s in (*SMALL, *more) for w in ("--set", s)),
    ]


TOO_LARGE = (
    "{data}: `size`: pictures must have at most 262,144 pixels (data.size makes them smaller): got 1,000 x 1,000"
)


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        ("one class", (), "{data}: must hold at least two classes: got 1, 'dark'"),
        ("none", ("training.batch_size=64",),
         "{data}: must have a batch of pictures to train on, `training.batch_size`, 64: got 36"),
        ("one larger", (), "{data}/light/7.png: all pictures must have one size, height x width: got 3 x 5 here"),
        ("none", ("data.size=1000",), TOO_LARGE),
        ("none", ("training.learning_rate=1e30", "training.epochs=3"), "the training stopped at step "),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on(tmp_path, refused, change, settings, says):
    data = tiny.draw(tmp_path / "data", 20, seed=0)
    if change == "one class":
        for file in (data / "light").iterdir():
            file.unlink()
        (data / "light").rmdir()
    if change == "one larger":
        Image.fromarray(np.zeros((3, 5), np.uint8)).save(data / "light" / "7.png")
    assert refused(*words(data, tmp_path / "run", *settings)).startswith(says.format(data=data))


def test_a_loss_that_is_not_finite_leaves_the_last_good_state(shades, tmp_path, refused, monkeypatch):
    real = GenerateImages.loss

    def loss(self, model, batch, optimizer):
        value = real(self, model, batch, optimizer)
        epoch = len(list((tmp_path / "run" / "samples").glob("*")))
        return value * math.nan if epoch else value

    monkeypatch.setattr(GenerateImages, "loss", loss)
    line = refused(*words(shades, tmp_path / "run", "training.epochs=3"))
    assert "`loss` must be finite: got nan; the last good checkpoint is " in line
    monkeypatch.undo()
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("conditional", [True, False])
def test_a_class_that_there_is_not(model, shades, conditional):
    if conditional:
        with pytest.raises(SettingsError, match="^`class`: must be one of dark, light: got 'red'.$"):
            model.predict(class_="red")
        assert {one.label for one in model.predict(class_="light", count=3)} == {"light"}
        return
    other = train("generate-images", str(shades), settings=(*SMALL, "model.conditional=false"), progress=False)
    says = "^`class`: the model was trained without classes, model.conditional=false: leave it out.$"
    with pytest.raises(SettingsError, match=says):
        other.predict(class_="light")
    assert "class_agreement" not in other.metrics["metrics"]


def test_samples_depend_on_seed_and_number_alone(model):
    some, more = model.predict(count=3, seed=5), model.predict(count=8, seed=5)
    assert some == more[:3]
    assert some != model.predict(count=3, seed=6)
    way = model.predict(count=5, interpolate=True, class_="dark")
    ends = model.predict(count=2, class_="dark")
    assert np.abs(way[0].pixels().astype(int) - ends[0].pixels()).max() <= 1
    assert np.abs(way[-1].pixels().astype(int) - ends[1].pixels()).max() <= 1


def test_files_and_a_grid(model, tmp_path, heedful):
    answer = heedful("predict", model.folder.path, "--count", "2", "--out", tmp_path / "out", "--format", "data")
    assert answer == (
        0,
        "".join(f"{tmp_path}/out/sample-{i}.png\t{label}\n" for i, label in enumerate(("dark", "light"))),
        "",
    )
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "out" / "sample-1.png")), model.predict(count=2)[1].pixels()[0]
    )
    (whole,) = model.predict(count=5, grid=True)
    rows, columns = whole.pixels().shape[1:]
    assert columns > rows > 60
    assert sorted(file.name for file in (model.folder.path / "samples").iterdir()) == ["epoch-0001.png"]


@pytest.mark.parametrize("attention", ["sagan", "none", "control"])
def test_networks_of_any_size(attention):
    counts = {}
    for size, channels in (((9, 14), 3), ((8, 8), 1)):
        model = Sagan(size=size, channels=channels, classes=3, widths=(24, 16), attention=attention, attention_size=9)
        classes = torch.tensor([0, 2])
        pictures = model.generator(torch.randn(2, 64), classes)
        assert pictures.shape == (2, channels, *size)
        assert model.discriminator(pictures, classes).shape == (2,)
        counts[size] = sum(p.numel() for p in model.discriminator.attention.parameters())
    like = Sagan(size=(8, 8), channels=1, classes=3, widths=(24, 16), attention="sagan", attention_size=9)
    assert counts[8, 8] == pytest.approx(
        0 if attention == "none" else sum(p.numel() for p in like.discriminator.attention.parameters()), rel=0.1
    )


def test_a_penalty_goes_through_attention_as_numbers_say():
    torch.manual_seed(0)
    model = Sagan(size=(4, 4), channels=1, classes=2, widths=(8,), attention_size=4).double().eval()
    torch.nn.init.constant_(model.discriminator.attention.gamma, 0.7)
    pictures, classes = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1])
    gamma = model.discriminator.attention.gamma

    def penalty():
        return gradient_penalty(model.discriminator(pictures, classes), pictures)

    penalty().backward()
    step = 1e-5
    with torch.no_grad():
        gamma.add_(step)
    above = penalty().item()
    with torch.no_grad():
        gamma.sub_(2 * step)
    assert gamma.grad.item() == pytest.approx((above - penalty().item()) / (2 * step), rel=1e-6)


def test_the_loss_with_penalties_and_pairs(shades):
    settings = (*SMALL, "loss.kind=relativistic", "loss.r1=1", "loss.r2=1", "augmentation.color=0.5")
    model = train("generate-images", str(shades), settings=settings, progress=False)
    assert math.isfinite(model.metrics["metrics"]["feature_distance"])


def test_largest_singular_values_are_found_again():
    model = Sagan(size=(8, 8), channels=1, classes=3, widths=(16, 8)).eval()
    norm = model.discriminator.blocks[0].first
    with torch.no_grad():
        norm.parametrizations.weight[0]._u.mul_(0.1)
        for _ in range(8):
            model.settle()
    assert not norm.parametrizations.weight.training
    assert torch.linalg.matrix_norm(norm.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_augmentation_moves_cuts_and_colors():
    torch.manual_seed(0)
    pictures = torch.ones(200, 3, 8, 12, requires_grad=True)
    nothing = DifferentiableAugmentation(translation=0, cutout=0)
    assert augmented(pictures, nothing) is pictures
    moved = augmented(pictures, DifferentiableAugmentation(translation=0.25, cutout=0))
    assert {round(one) for one in moved[:, 0].sum((1, 2)).tolist()} == {
        h * w for h in (6, 7, 8) for w in (9, 10, 11, 12)
    }
    cut = augmented(pictures, DifferentiableAugmentation(translation=0, cutout=0.5))
    assert cut[:, 0].sum((1, 2)).min().item() == 8 * 12 - 4 * 6
    colored = augmented(pictures, DifferentiableAugmentation(translation=0, cutout=0, color=0.5))
    assert colored.std().item() > 0.05
    (gradient,) = torch.autograd.grad((moved + cut + colored).sum(), pictures)
    assert gradient.abs().sum() > 0


def test_measures_against_what_is_known_of_them():
    random = np.random.default_rng(0)
    real = random.standard_normal((4000, 3)) * [1.0, 2.0, 3.0]
    fake = random.standard_normal((4000, 3)) * [2.0, 2.0, 1.0] + [1.0, 0.0, 0.0]
    assert feature_distance(real, fake) == pytest.approx(1 + 1 + 0 + 4, rel=0.1)
    assert feature_distance(real, real) == pytest.approx(0, abs=1e-9)
    ((one, two),) = [(real[:5], fake[:4])]
    kernel = lambda x, y: (sum(a * b for a, b in zip(x, y, strict=True)) / 3 + 1) ** 3  # noqa: E731
    within = [
        np.mean([kernel(x, y) for i, x in enumerate(of) for j, y in enumerate(of) if i != j]) for of in (one, two)
    ]
    across = np.mean([kernel(x, y) for x in one for y in two])
    assert kernel_distance(one, two) == pytest.approx(sum(within) - 2 * across)
    classes = np.arange(4000) % 2
    assert diversity(real, 0.5 * real + 9 * classes[:, None], classes) == pytest.approx(0.5)
    assert diversity(real[:1], real[:1], classes[:1]) == 1
    pictures = torch.from_numpy(random.integers(0, 256, (600, 1, 4, 4), dtype=np.uint8))
    found = copying(torch.cat([pictures[:3], pictures[-1:]]), pictures[500:], pictures[:500])
    assert found["share of copies"] == 0.75
    nearest = min(np.sqrt(np.square((pictures[-1] - pictures[i].float()).numpy() / 255).mean()) for i in range(500))
    assert found["samples"] == pytest.approx(nearest / 4, rel=1e-4)


def test_what_goes_wrong_in_a_training_is_named(model):
    good = {"epoch": 11, "valid_diversity": 0.8, "valid_loss": 1.0, "loss": 1.0}
    assert not model.task.warning({}, good)
    assert not model.task.warning(good, good)
    fallen = model.task.warning(good, good | {"valid_diversity": 0.1})
    assert fallen.startswith(
        "the generator collapses: its samples differ from each other 0.10 times as much as pictures do."
    )
    won = model.task.warning(good, good | {"valid_loss": 0.001})
    assert won.startswith("the discriminator has won: its loss on held-out pictures is 0.001,")
