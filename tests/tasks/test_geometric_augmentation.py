import pytest
import torch

from heedful._errors import SettingsError
from heedful.tasks.geometric_augmentation import (
    PlacementSettings,
    draw_placements,
    jitter_colors,
    place_boxes,
    place_images,
    place_masks,
)
from heedful.training.settings import validated

SIZE = (13, 17)
ALL = PlacementSettings(scale=(0.5, 2.0), rotate=40, flip="both", quarter_turns=True)


def test_without_anything_to_do_all_stays_as_it_is():
    image, mask = torch.randint(0, 256, (3, *SIZE)), torch.randint(0, 5, SIZE)
    none = draw_placements([SIZE], SIZE, PlacementSettings(scale=(1, 1), flip="none"))
    torch.testing.assert_close(place_images([image], none, SIZE, torch.zeros(3))[0], image.float(), atol=1e-2, rtol=0)
    assert torch.equal(place_masks([mask], none, SIZE, 255)[0], mask)
    boxes = torch.tensor([[1.0, 2.0, 5.0, 7.0]])
    assert torch.equal(place_boxes(boxes, none[0], SIZE)[0], boxes)


@pytest.mark.parametrize("mirrored", [0, 1])
def test_mirrors_and_quarter_turns_move_whole_pixels(mirrored):
    image = torch.arange(12.0).reshape(1, 3, 4)
    linear = torch.tensor([[-1.0, 0.0], [0.0, 1.0]]) if mirrored else torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    shift = torch.tensor([[4.0], [0.0]]) if mirrored else torch.tensor([[3.0], [0.0]])
    placement = torch.cat([linear, shift], dim=1).double()
    size = (3, 4) if mirrored else (4, 3)
    expected = image.flip(2) if mirrored else image.rot90(-1, (1, 2))
    torch.testing.assert_close(place_images([image], placement[None], size, torch.zeros(1))[0], expected)


def test_a_picture_its_mask_and_its_box_stay_together():
    """A white rectangle: what is white is what the mask marks, and the box encloses it."""
    torch.manual_seed(3)
    image, mask = torch.zeros(1, 60, 80), torch.zeros(60, 80, dtype=torch.uint8)
    image[:, 20:44, 30:62], mask[20:44, 30:62] = 255, 1
    placements = draw_placements([(60, 80)] * 40, (50, 70), ALL)
    images = place_images([image] * 40, placements, (50, 70), torch.tensor([9.0]))
    masks = place_masks([mask] * 40, placements, (50, 70), 255)
    agreement = ((images[:, 0] > 128) == (masks == 1)).float().mean()
    assert agreement > 0.99
    seen = 0
    for one, placement in zip(masks, placements, strict=True):
        (box,), (share,) = place_boxes(torch.tensor([[30.0, 20.0, 62.0, 44.0]]), placement, (50, 70))
        rows, columns = torch.nonzero(one == 1, as_tuple=True)
        if share > 0 and len(rows):
            seen += 1
            inner = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (box[:2] <= inner[:2] + 1).all()
            assert (box[2:] >= inner[2:] - 1).all()
        assert bool(share > 0) == bool(box[0] < box[2] and box[1] < box[3])
    assert seen > 20


def test_a_smaller_picture_lies_within_and_of_a_larger_one_a_part_is_seen():
    small = draw_placements([(5, 7)] * 50, SIZE, PlacementSettings(scale=(1, 1)))
    large = draw_placements([(50, 70)] * 50, SIZE, PlacementSettings(scale=(1, 1)))
    for placement in small:
        assert place_boxes(torch.tensor([[0.0, 0.0, 7.0, 5.0]]), placement, SIZE)[1].item() == pytest.approx(1)
    beyond = place_images([torch.full((1, 5, 7), 9.0)] * 50, small, SIZE, torch.tensor([9.0]))
    torch.testing.assert_close(beyond, torch.full_like(beyond, 9))
    assert (place_masks([torch.zeros(50, 70)] * 50, large, SIZE, 255) == 0).all()


def test_scales_are_drawn_between_the_two_factors():
    torch.manual_seed(0)
    factors = torch.linalg.det(draw_placements([SIZE] * 200, SIZE, ALL)[:, :, :2]).abs().sqrt()
    assert 0.5 <= factors.min() < 0.6
    assert 1.7 < factors.max() <= 2
    assert factors.log().mean().item() == pytest.approx(0, abs=0.1)
    with pytest.raises(SettingsError, match="the factors of `scale` must be in order: got \\[2.0, 0.5\\]"):
        validated(PlacementSettings, {"scale": [2, 0.5]})


def test_colors():
    images = torch.rand(2, 3, *SIZE)
    assert jitter_colors(images, PlacementSettings()) is images
    changed = jitter_colors(images, PlacementSettings(brightness=0.4, hue=0.1))
    assert changed.shape == images.shape
    assert not torch.allclose(changed, images)
    assert 0 <= changed.min() <= changed.max() <= 1
