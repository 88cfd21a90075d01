import numpy as np
import pytest

from heedful._errors import SettingsError
from heedful.tasks.caption import Caption
from heedful.tasks.caption_augmentation import CaptionAugmentation, augmented
from heedful.training.settings import settings_of

COLORS = ("black #000000", "blue #0099ff", "yellow #ffff00")
VALUES = {color.split()[0]: [*bytes.fromhex(color.split()[1][1:])] for color in COLORS}
GRAY = [128, 128, 128]


def picture(parts, gap=0):
    """Two pixels of each color, and so many gray ones between them."""
    columns = []
    for color in parts:
        columns += [VALUES[color]] * 2 + [GRAY] * gap
    return np.array(columns[: len(columns) - gap], np.uint8).T[:, None]  # [3, 1, W]


def test_parts_are_put_into_a_new_order_and_what_is_between_them_stays():
    names, orders = ["black", "blue", "yellow"], set()
    settings = CaptionAugmentation(parts=3, gap=0.5)
    for seed in range(30):
        pixels, captions = augmented(picture(names, 1), ["a box"], settings, np.random.default_rng(seed))
        assert captions == ["a box"]
        found = [name for start in (0, 3, 6) for name in names if pixels[:, 0, start].tolist() == VALUES[name]]
        np.testing.assert_array_equal(pixels, picture(found, 1))
        orders.add(tuple(found))
    assert len(orders) == 6


def test_colors_are_swapped_in_pictures_and_captions():
    settings, seen = CaptionAugmentation(colors=COLORS), set()
    for seed in range(30):
        pixels, captions = augmented(
            picture(["black", "yellow"], 1), ["Black above yellow, blackish"], settings, np.random.default_rng(seed)
        )
        above, below = captions[0].removesuffix(", blackish").split(" above ")
        assert above[0].isupper()
        assert below.islower()
        np.testing.assert_array_equal(pixels, picture([above.lower(), below], 1))
        seen.add(captions[0])
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('["red #ff0000"]', "must be none, or several with different words: got red #ff0000"),
        (
            '["red #ff0000", "Red #00ff00"]',
            "must be none, or several with different words: got red #ff0000, Red #00ff00",
        ),
    ],
)
def test_colors_that_cannot_be_swapped(value, says):
    with pytest.raises(SettingsError, match=says):
        settings_of(Caption.Settings, [f"augmentation.colors={value}"])
