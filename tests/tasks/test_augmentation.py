import pytest
import torch

from heedful.tasks.augmentation import AugmentationSettings, augmentation

OFF = {"rotate": 0, "shift": 0, "scale": 0, "shear": 0, "crop": 0, "flip": "no", "color": 0, "erase": 0, "cutmix": 0}


def batch(count=11, channels=1, height=8, width=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, height, width, generator=generator), torch.arange(count) % 3


def test_with_all_off_nothing_changes():
    pictures, labels = batch()
    out, mixed = augmentation(AugmentationSettings(**OFF), (8, 6), 1)(pictures, labels)
    assert torch.equal(out, pictures)
    assert mixed.tolist() == [[label, label, 1] for label in labels.tolist()]


@pytest.mark.parametrize(
    "change",
    [{"rotate": 30}, {"shift": 0.3}, {"scale": 0.3}, {"shear": 20}, {"crop": 2}, {"flip": "yes"}, {"color": 0.5}, {"erase": 1.0}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_each_setting_alone_changes_pictures_and_not_labels(change, channels):
    torch.manual_seed(0)
    pictures, labels = batch(channels=channels)
    out, mixed = augmentation(AugmentationSettings(**OFF | change), (8, 6), channels)(pictures.clone(), labels)
    assert out.shape == pictures.shape
    assert out.dtype == pictures.dtype
    assert not torch.equal(out, pictures)
    assert torch.equal(mixed[:, 0], labels)
    assert torch.equal(mixed[:, 2], torch.ones(11))
    assert out.min() >= -1e-5
    assert out.max() <= 1 + 1e-5


def test_color_images_are_flipped_unless_told_and_gray_ones_are_not():
    torch.manual_seed(0)
    for channels, flips in ((1, False), (3, True)):
        pictures, labels = batch(channels=channels)
        out, _ = augmentation(AugmentationSettings(**OFF | {"flip": "auto"}), (8, 6), channels)(pictures, labels)
        same = (out == pictures).flatten(1).all(1)
        mirrored = (out == pictures.flip(-1)).flatten(1).all(1)
        assert (same | mirrored).all()
        assert mirrored.any() == flips


def test_cutmix_says_how_much_of_which_picture_is_in_it():
    torch.manual_seed(0)
    labels = torch.arange(13)
    pictures = (labels / 13)[:, None, None, None].expand(13, 1, 8, 6).clone()
    out, mixed = augmentation(AugmentationSettings(**OFF | {"cutmix": 1.0}), (8, 6), 1)(pictures.clone(), labels)
    assert mixed[:, 2].lt(1).any()
    for picture, (first, second, share) in zip(out, mixed.tolist(), strict=True):
        of_first = (picture - first / 13).abs().lt(1e-6).float().mean().item()
        of_second = (picture - second / 13).abs().lt(1e-6).float().mean().item()
        assert of_first == pytest.approx(1.0 if first == second else share, abs=1e-5)
        assert of_first + of_second == pytest.approx(2.0 if first == second else 1.0, abs=1e-5)


def test_the_same_seed_draws_the_same():
    pictures, labels = batch(channels=3)
    settings = AugmentationSettings(color=0.3, erase=0.5, cutmix=0.5, crop=1)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(augmentation(settings, (8, 6), 3)(pictures.clone(), labels)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
