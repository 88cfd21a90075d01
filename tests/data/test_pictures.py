import pytest
import torch

from heedful._errors import DataError, SettingsError
from heedful.data import Pictures, hold_out, read_pictures, read_unlabelled


def numbered(count):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 3)
    return Pictures(images, torch.arange(count) % 2, ("even", "odd"), tuple(f"{row}.png" for row in range(count)))


def test_select_keeps_order_labels_and_classes():
    pictures = numbered(11)
    for indices in ([7, 2, 2], torch.tensor([7, 2, 2])):
        chosen = pictures.select(indices)
        assert len(chosen) == 3
        assert chosen.images[:, 0, 1, 2].tolist() == [7, 2, 2]
        assert chosen.labels.tolist() == [1, 0, 0]
        assert chosen.names == ("7.png", "2.png", "2.png")
        assert chosen.classes == ("even", "odd")


def test_select_of_nothing_and_of_too_much():
    assert numbered(3).select([]).images.shape == (0, 1, 2, 3)
    with pytest.raises(IndexError, match="out of"):
        numbered(3).select([3])


def test_parts_that_do_not_fit():
    images = torch.zeros(2, 1, 3, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"^`images` must be torch.uint8 with 4 dimensions: got torch.float32 with 4$"):
        Pictures(images.float(), None, (), ("a", "b"))
    with pytest.raises(ValueError, match=r"^`names` must be as many as `images`: got 1 and 2$"):
        Pictures(images, None, (), ("a",))
    with pytest.raises(
        ValueError, match=r"^`labels` must hold one number for each of `images`: got shape \(3,\) for 2$"
    ):
        Pictures(images, torch.zeros(3, dtype=torch.int64), ("x",), ("a", "b"))


def test_every_tenth_is_held_out():
    kept, held_out = hold_out(numbered(29))
    assert held_out.images[:, 0, 0, 0].tolist() == [
        9,
        18,
    ]  # the tenth even number, and the twentieth of evens, then odds
    assert held_out.names == ("9.png", "18.png")
    assert kept.images[:, 0, 0, 0].tolist() == [row for row in range(29) if row not in (9, 18)]
    assert hold_out(numbered(7), every=3)[1].names == ("3.png", "4.png")


@pytest.mark.parametrize(("count", "every"), [(9, 10), (5, 1), (5, 0), (0, 2)])
def test_a_part_that_would_be_empty(count, every):
    message = f"^`every` must be between 2 and the number of pictures to hold one out: got {every} and {count}$"
    with pytest.raises(DataError, match=message):
        hold_out(numbered(count), every)


def test_known_classes_give_the_numbers(folder):
    pictures = read_pictures(str(folder), classes=["birds", "dogs", "cats"])
    assert pictures.classes == ("birds", "dogs", "cats")
    assert pictures.labels.tolist() == [2, 2, 2, 1, 1]


def test_a_label_that_is_not_known(folder):
    message = rf"^{folder}/dogs/1.png: label must be a known class, 'cats', 'birds': got 'dogs'$"
    with pytest.raises(DataError, match=message):
        read_pictures(str(folder), classes=["cats", "birds"])
    with pytest.raises(DataError, match=r"known class, 'c0', .*, 'c9' and 13 more: got 'cats'$"):
        read_pictures(str(folder), classes=[f"c{number}" for number in range(23)])


def test_progress_sees_every_picture_that_is_decoded(folder):
    seen = []

    def watch(rows):
        for row in rows:
            yield row
            seen.append(row)

    read_pictures(f"{folder}[1:]", progress=watch)
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(0, 3), (3, -1), (3,)])
def test_a_size_that_no_picture_has(size):
    with pytest.raises(SettingsError, match=r"^`size` must be a height and a width of at least 1: got \("):
        read_pictures("digits", size=size)


def test_a_number_of_channels_that_no_picture_has():
    with pytest.raises(SettingsError, match=r"^`channels` must be 1, 3 or None: got 2$"):
        read_unlabelled("digits", channels=2)
