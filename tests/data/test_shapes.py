from collections import Counter

import numpy as np
import pytest

from heedful.data import read_images, shapes
from heedful.data.shapes import CLASSES, COLORS, KINDS, draw_shapes


def test_a_picture_depends_on_its_row_and_its_part_alone():
    together, alone = draw_shapes(range(5), size=(17, 23)), draw_shapes([3], size=(17, 23))
    assert np.array_equal(together.pictures[3:4], alone.pictures)
    assert np.array_equal(together.boxes[3], alone.boxes[0])
    assert (together.labels[3], together.captions[3]) == (alone.labels[0], alone.captions[0])
    assert not np.array_equal(draw_shapes([3], size=(17, 23), part="test").pictures, alone.pictures)
    assert draw_shapes([]).pictures.shape == (0, 3, 32, 32)


def test_size_changes_the_pixels_and_not_what_is_shown():
    small, large = (draw_shapes(range(20), size=size) for size in ((32, 48), (64, 96)))
    assert (small.labels, small.captions) == (large.labels, large.captions)
    for one, other in zip(small.boxes, large.boxes, strict=True):
        np.testing.assert_allclose(2 * one, other, atol=3)


def test_masks_boxes_labels_and_captions_tell_the_same():
    drawn = draw_shapes(range(40), size=(48, 64))
    assert drawn.pictures.dtype == drawn.masks.dtype == np.uint8
    for row, boxes in enumerate(drawn.boxes):
        mask, picture, seen = drawn.masks[row], drawn.pictures[row].astype(float), np.zeros((48, 64), bool)
        areas, colors = [], []
        for (left, top, right, bottom), kind in zip(boxes.astype(int), drawn.kinds[row], strict=True):
            here = np.zeros_like(seen)
            here[top:bottom, left:right] = mask[top:bottom, left:right] == CLASSES.index(KINDS[kind])
            assert here[top].any()
            assert here[bottom - 1].any()
            assert here[:, left].any()
            assert here[:, right - 1].any()
            areas.append(here.sum())
            seen |= here
            mean = picture[:, here].mean(1)
            colors.append(min(COLORS, key=lambda color: np.abs(mean - COLORS[color]).sum()))
        assert np.array_equal(seen, mask > 0), "every pixel of a shape is in its box"
        assert areas[0] == max(areas)
        assert drawn.labels[row] == colors[0]
        names = Counter((color, KINDS[kind]) for color, kind in list(zip(colors, drawn.kinds[row], strict=True))[1:])
        assert drawn.captions[row].startswith(f"a large {colors[0]} {KINDS[drawn.kinds[row][0]]}")
        assert all(f"small {color} {kind}" in drawn.captions[row] for color, kind in names)


def test_the_largest_area_of_a_color_deceives():
    drawn = draw_shapes(range(200))
    right = []
    for picture, label, mask in zip(drawn.pictures, drawn.labels, drawn.masks, strict=True):
        pixels = picture[:, mask > 0].T.astype(float)  # [pixels, 3]
        nearest = np.abs(pixels[:, None] - np.array(list(COLORS.values()))).sum(2).argmin(1)
        right.append(list(COLORS)[np.bincount(nearest, minlength=4).argmax()] == label)
    assert 0.3 < np.mean(right) < 0.7
    assert min(Counter(drawn.labels).values()) > 35


def test_parts_have_their_own_numbers():
    read = {part: read_images("shapes[:3]", split=part) for part in ("train", "valid", "test")}
    assert [images.names[0] for images in read.values()] == ["shapes[0]", "shapes[2000]", "shapes[2400]"]
    assert read["valid"].images.numpy().tobytes() == draw_shapes(range(3), part="valid").pictures.tobytes()
    assert read["train"].classes == ("blue", "green", "red", "yellow")
    assert sum(shapes.PARTS.values()) == 3000


def test_shapes_are_seen():
    with pytest.raises(ValueError, match=r"^`size` must be at least 16 x 16: got 15 x 32\.$"):
        draw_shapes([0], size=(15, 32))
