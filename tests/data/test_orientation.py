import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from heedful.data._decode import decode_one
from heedful.data.orientation import belongs_upright, turn, turn_boxes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_and_boxes_turn_as_pillow_turns_pictures(orientation):
    stored = np.zeros((5, 7, 3), np.uint8)
    stored[1:3, 2:6] = 200
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, "PNG", exif=picture.getexif())
    found = decode_one(file.getvalue(), "a.png")
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert np.array_equal(found.pixels, upright.transpose(2, 0, 1))
    assert np.array_equal(turn(stored, orientation), upright)
    assert (found.size, found.orientation) == (upright.shape[:2], orientation)
    ((left, top, right, bottom),) = turn_boxes(np.array([[2, 1, 6, 3]]), orientation, (5, 7))
    expected = np.zeros(upright.shape[:2], np.uint8)
    expected[top:bottom, left:right] = 200
    assert np.array_equal(expected, upright[..., 0])


def test_the_own_size_is_that_before_resizing():
    file = io.BytesIO()
    Image.new("RGB", (700, 500)).save(file, "JPEG")
    found = decode_one(file.getvalue(), "a.jpg", size=(50, 70))
    assert (found.size, found.pixels.shape) == ((500, 700), (3, 50, 70))


def test_a_mask_of_the_size_that_is_seen_is_not_turned():
    assert belongs_upright((5, 7), (5, 7), 1)
    assert belongs_upright((7, 5), (7, 5), 8)
    assert not belongs_upright((5, 7), (7, 5), 8)
    assert not belongs_upright((5, 5), (5, 5), 3)
