import pytest
import torch

from heedful._errors import DataError, SettingsError
from heedful.data import LabeledImages, read_images, read_unlabeled
from heedful.data.splits import EveryTenth


def numbered(count):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 3)
    return LabeledImages(images, torch.arange(count) % 2, ("even", "odd"), tuple(f"{row}.png" for row in range(count)))


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
        LabeledImages(images.float(), None, (), ("a", "b"))
    with pytest.raises(ValueError, match=r"^`names` must be as many as `images`: got 1 and 2$"):
        LabeledImages(images, None, (), ("a",))
    with pytest.raises(
        ValueError, match=r"^`labels` must hold one number for each of `images`: got shape \(3,\) for 2$"
    ):
        LabeledImages(images, torch.zeros(3, dtype=torch.int64), ("x",), ("a", "b"))


def test_every_tenth_of_each_class_is_held_out():
    split = EveryTenth(lambda images: images.labels.tolist())(numbered(29), "image")
    # The tenth even number, and the twentieth of evens, then odds.
    assert split.validation.images[:, 0, 0, 0].tolist() == [9, 18]
    assert split.validation.names == ("9.png", "18.png")
    assert split.training.images[:, 0, 0, 0].tolist() == [row for row in range(29) if row not in (9, 18)]


def test_known_classes_give_the_numbers(folder):
    pictures = read_images(str(folder), classes=["birds", "dogs", "cats"])
    assert pictures.classes == ("birds", "dogs", "cats")
    assert pictures.labels.tolist() == [2, 2, 2, 1, 1]


def test_a_label_that_is_not_known(folder):
    assert read_images(str(folder), classes=["cats", "birds"]).classes == ("cats", "birds", "dogs")
    message = (
        r"cats/2.png: label must be a known class, 'c0', .*, 'c9' and 13 more: got 'cats', and no other one is known$"
    )
    with pytest.raises(DataError, match=message):
        read_images(str(folder), classes=[f"c{number}" for number in range(23)])


def test_bad_pictures_are_skipped_up_to_a_share(folder):
    (folder / "cats" / "0.png").write_bytes(b"no picture")
    (folder / "dogs" / "2.png").write_bytes((folder / "dogs" / "1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=rf"^{folder}/cats/0.png: must be a picture"):
        read_images(str(folder))
    pictures = read_images(str(folder), skip=0.3)
    assert pictures.images[:, 0, 4, 6].tolist() == [2, 10, 11, 101, 103]
    assert pictures.names[2:4] == ("cats/old/1.png", "dogs/1.png")
    assert pictures.notes[0].startswith(
        f"2 of 7 rows are bad and were skipped; the first: {folder}/cats/0.png: must be"
    )
    with pytest.raises(DataError, match=r"cats/0.png: .*; 2 of 7 rows are bad, and at most 20 % may be skipped"):
        read_images(str(folder), skip=0.2)
    table = folder / "table.csv"
    table.write_text("file,class\ncats/2.png,a\ncats/3.png,a\ndogs/1.png,b\ncats/0.png,b\n")
    assert read_images(str(table), skip=0.5).labels.tolist() == [0, 1]


def test_progress_sees_every_picture_that_is_decoded(folder):
    seen = []

    def watch(rows):
        for row in rows:
            yield row
            seen.append(row)

    read_images(f"{folder}[1:]", progress=watch)
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(0, 3), (3, -1), (3,)])
def test_a_size_that_no_picture_has(size):
    with pytest.raises(SettingsError, match=r"^`size` must be a height and a width of at least 1: got \("):
        read_images("digits", size=size)


def test_a_number_of_channels_that_no_picture_has():
    with pytest.raises(SettingsError, match=r"^`channels` must be 1, 3 or None: got 2$"):
        read_unlabeled("digits", channels=2)
