"""Pictures with boxes: Pascal VOC, COCO and Python; each kind of bad input is named with its file and its object."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import DataError
from heedful.data.boxes import read_boxes, read_without_boxes

BOX = (4, 6, 12, 14)


def picture(file: Path, size=(32, 24), orientation=None, mode="RGB", **more) -> Path:
    """A picture with a white box at `BOX`."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    image, exif = Image.fromarray(pixels).convert(mode), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(file, exif=exif, **more)
    return file


def xml(boxes, name="a.png", size=(32, 24), more="") -> str:
    """An annotation of VOC; boxes as (name, xmin, ymin, xmax, ymax)."""
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>{more}"
        "</object>\n"
        for label, a, b, c, d in boxes
    )
    width, height = size
    return (
        f"<annotation>\n<filename>{name}</filename>\n<size><width>{width}</width><height>{height}</height></size>\n"
        f"{objects}</annotation>"
    )


def voc(folder: Path, *boxes, **more) -> Path:
    picture(folder / "a.png")
    (folder / "a.xml").write_text(xml(boxes or [("cell", 5, 7, 12, 14)], **more))
    return folder


def coco(folder: Path, **changes) -> Path:
    picture(folder / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 32, "height": 24}],
        "categories": [{"id": 3, "name": "cell"}, {"id": 5, "name": "dust"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [4, 6, 8, 8], "iscrowd": 0}],
    }
    file = folder / "boxes.json"
    file.write_text(json.dumps(content | changes))
    return file


def test_voc_counts_pixels_from_one_and_coco_from_zero(tmp_path):
    for source in (voc(tmp_path), coco(tmp_path)):
        found = read_boxes(source)
        assert found.boxes[0].corners.tolist() == [list(map(float, BOX))]
        assert found.sizes.tolist() == [[24, 32]]
    assert (found.classes, found.categories, found.ids) == (("cell", "dust"), (3, 5), (7,))
    assert found.boxes[0].labels.tolist() == [1]


def test_lists_slices_and_classes_that_are_known(tmp_path):
    folders = [tmp_path / name for name in ("Annotations", "JPEGImages", "ImageSets/Main")]
    for folder in folders:
        folder.mkdir(parents=True)
    for name in ("b10", "b9", "c"):
        picture(folders[1] / f"{name}.jpg")
        (folders[0] / f"{name}.xml").write_text(xml([(name, 5, 7, 12, 14)], f"{name}.jpg"))
    (folders[2] / "train.txt").write_text("c\nb10\n")
    assert [Path(name).stem for name in read_boxes(folders[2] / "train.txt").names] == ["c", "b10"]
    (folders[2] / "train.txt").unlink()
    found = read_boxes(f"{tmp_path}[:2]", classes=["b9"])
    assert [Path(name).stem for name in found.names] == ["b9", "b10"]
    assert found.classes == ("b9", "b10")
    assert read_without_boxes(f"{tmp_path}[1:]").ids == ("b10", "c")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("declared", ["stored", "upright"])
def test_boxes_turn_with_a_picture_that_a_camera_noted_the_way_up_of(tmp_path, orientation, declared):
    voc(tmp_path)
    file = picture(tmp_path / "a.png", orientation=orientation)
    with Image.open(file) as image:
        exchanged = orientation >= 5
        size = image.size[::-1] if exchanged and declared == "upright" else image.size
    found = read_boxes(voc_of(tmp_path, file, [("cell", 5, 7, 12, 14)], size))
    x0, y0, x1, y1 = map(int, found.boxes[0].corners[0])
    if not (exchanged and declared == "upright"):  # otherwise the box was that of the picture as it is seen
        assert bool((found.images[0, :, y0:y1, x0:x1] == 255).all())
        assert int((found.images[0, 0] == 255).sum()) == (x1 - x0) * (y1 - y0)
    else:
        assert (x0, y0, x1, y1) == BOX


def voc_of(folder, file, boxes, size):
    (folder / "a.xml").write_text(xml(boxes, file.name, size))
    return folder


def test_shapes_are_drawn_at_the_size_that_is_asked_for():
    labeled, alone = (
        read_boxes("shapes[:2]", split="test", size=(40, 48)),
        read_without_boxes("shapes[:2]", size=(40, 48)),
    )
    assert torch.equal(labeled.images, alone.images)
    assert labeled.names == alone.names == ("shapes[2400]", "shapes[2401]")
    with pytest.raises(
        DataError, match=r"^shapes: `data.size` must be at least 16 x 16, or shapes are not seen: got 8 x 9$"
    ):
        read_boxes("shapes", size=(8, 9))


def test_boxes_are_scaled_with_their_picture(tmp_path):
    found = read_boxes(voc(tmp_path), size=(12, 64))
    assert found.scaled(0).tolist() == [[8.0, 3.0, 24.0, 7.0]]


def test_what_is_left_out_is_counted_and_refused_where_that_is_asked_for(tmp_path):
    ones = {
        "1 box without area left out": ("cell", 5, 7, 5, 9),
        "1 box that stood there before left out": ("cell", 1, 1, 4, 4),
        "1 box beyond the edge of a picture cut": ("cell", 20, 7, 40, 9),
    }
    rules = ("must have an area", "must be there once", "must not stand out of its picture of 32 x 24 pixels")
    for (note, box), rule in zip(ones.items(), rules, strict=True):
        source = voc(tmp_path, ("cell", 1, 1, 4, 4), box)
        found = read_boxes(source)
        assert found.notes == (note,)
        assert len(found.boxes[0]) == 2 - ("left out" in note)
        where = rf"^{re.escape(str(tmp_path / 'a.xml'))}:5: object 2 \('cell'\): a box {rule}: got x0 "
        with pytest.raises(DataError, match=where):
            read_boxes(source, strict=True)
    assert found.boxes[0].corners[1].tolist() == [19.0, 6.0, 32.0, 9.0]


def test_difficult_and_crowds_are_ignored(tmp_path):
    crowd = [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [4, 6, 8, 8], "iscrowd": 1}]
    for source in (voc(tmp_path, more="<difficult>1</difficult>"), coco(tmp_path, annotations=crowd)):
        assert read_boxes(source).boxes[0].ignored.tolist() == [True]


def test_python(tmp_path):
    images = [np.zeros((6, 9, 3), np.uint8), np.ones((6, 9, 3), np.uint8)]
    found = read_boxes({"image": images, "boxes": [[], np.array([[1, 2, 3, 4]])], "labels": [[], ["cell"]]})
    assert [len(boxes) for boxes in found.boxes] == [0, 1]
    again = read_boxes((images, [[], torch.tensor([[1, 2, 3, 4]])], [[], ["cell"]]))
    assert b"".join(again.content()) == b"".join(found.content())
    assert b"".join(again.select([1]).content()) != b"".join(found.select([0]).content())
    with pytest.raises(DataError, match=r"^row 1: must have as many labels as boxes, 1: got 2$"):
        read_boxes((images, [[], [[1, 2, 3, 4]]], [[], ["cell", "dust"]]))
    with pytest.raises(DataError, match=r"^row 0: box 0: must be x0, y0, x1, y1: got 3 numbers$"):
        read_boxes((images, [[[1, 2, 3]], []], [["cell"], []]))
    with pytest.raises(DataError, match=r"^row 0: box 0: a box must have four finite numbers: got x0 nan"):
        read_boxes((images, [[[float("nan"), 2, 3, 4]], []], [["cell"], []]))


def _one(**change):
    return [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [4, 6, 8, 8]} | change]


COCO = {
    "category": ({"annotations": _one(category_id=9)}, ": annotations: id 1: `category_id` must be an id that the file declares: got 9"),
    "image": ({"annotations": _one(image_id=8)}, ": annotations: id 1: `image_id` must be an id that the file declares: got 8"),
    "annotation twice": ({"annotations": _one() * 2}, ": annotations[1] must have an `id` of its own: got 1 again"),
    "image twice": ({"images": [{"id": 7, "file_name": "a.png"}] * 2}, ": images[1] must have an `id` of its own: got 7 again"),
    "category twice": ({"categories": [{"id": 5, "name": "dust"}] * 2}, ": categories[1] must have an `id` of its own: got 5 again"),
    "name twice": ({"categories": [{"id": 5, "name": "dust"}, {"id": 6, "name": "dust"}]},
                   ": must have each category's name once: got 'dust' twice"),
    "outside": ({"annotations": _one(bbox=[40, 6, 8, 8])},
                ": annotations: id 1 ('dust'): a box must lie in its picture of 32 x 24 pixels: got x0 40, y0 6, x1 48, y1 14"),
    "box": ({"annotations": _one(bbox=[4, 6])}, ": annotations: id 1 ('dust'): `bbox` must be [x, y, width, height]: got [4, 6]"),
    "number": ({"annotations": _one(bbox=[4, 6, "x", 8])}, ": annotations: id 1 ('dust'): `bbox` must be a number: got 'x'"),
    "away": ({"images": [{"id": 7, "file_name": "../a.png"}]},
             ": images: id 7: `file_name` must lie below a folder: got '../a.png'"),
    "url": ({"images": [{"id": 7, "file_name": "http://a/b.png"}]},
            ": images: id 7: `file_name` must lie below a folder: got 'http://a/b.png'"),
    "size": ({"images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}]},
             ": images: id 7: must have the size of its picture PICTURE, 32 x 24 pixels: got 64 x 48"),
    "missing": ({"images": [{"id": 7, "file_name": "b.png"}]}, ": images: id 7: must have a picture 'b.png' below "),
    "none": ({"images": []}, ": must hold at least one picture: got none"),
}  # fmt: skip


@pytest.mark.parametrize("name", COCO)
def test_a_bad_coco_file_is_named_with_its_object(tmp_path, name):
    changes, says = COCO[name]
    file = coco(tmp_path, **({"annotations": []} if "images" in changes else {}) | changes)
    with pytest.raises(DataError) as error:
        read_boxes(file)
    assert str(error.value).startswith(f"{file}{says.replace('PICTURE', str(tmp_path / 'a.png'))}")


_ENTITIES = '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]>\n<annotation>&b;</annotation>'
VOC = {
    "another picture": (xml([], "b.png"), ": must name its own picture, 'a': got 'b.png'"),
    "no XML": ("<annotation>\n<object>", ":2: must be an XML file: got no element found"),
    "0 bytes": ("", ":1: must be an XML file: got no element found"),
    "entities": (_ENTITIES, ":2: must be an XML file without a DOCTYPE: got one"),
    "HTML": ("<html></html>", ":1: must begin with `annotation`: got `html`"),
    "no name": (xml([("", 1, 2, 3, 4)]), ":4: object 1: must have a `name`: got none"),
    "no number": (xml([("cell", "x", 2, 3, 4)]), ":4: object 1 ('cell'): `xmin` must be a number: got 'x'"),
    "outside": (xml([("cell", 1, 30, 3, 44)]),
                ":4: object 1 ('cell'): a box must lie in its picture of 32 x 24 pixels: got x0 0, y0 29, x1 3, y1 44"),
    "size": (xml([], size=(24, 32)), ": must have the size of its picture PICTURE, 32 x 24 pixels: got 24 x 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", VOC)
def test_a_bad_xml_file_is_named_with_its_line(tmp_path, name):
    content, says = VOC[name]
    (voc(tmp_path) / "a.xml").write_text(content)
    with pytest.raises(DataError) as error:
        read_boxes(tmp_path)
    assert str(error.value) == f"{tmp_path / 'a.xml'}{says.replace('PICTURE', str(tmp_path / 'a.png'))}"


def test_bad_pictures_may_be_skipped(tmp_path):
    voc(tmp_path)
    picture(tmp_path / "b.png")
    (tmp_path / "b.xml").write_text(xml([("cell", 90, 7, 95, 14)], "b.png"))
    found = read_boxes(tmp_path, skip=0.5)
    assert [Path(name).name for name in found.names] == ["a.png"]
    assert found.notes[0].startswith("1 of 2 rows are bad and were skipped; the first: ")


ANIMATED = {"format": "GIF", "save_all": True, "append_images": [Image.new("P", (32, 24))]}


@pytest.mark.parametrize(
    ("mode", "more"), [("CMYK", {"format": "TIFF"}), ("P", {}), ("I;16", {}), ("L", {}), ("P", ANIMATED)]
)
def test_pictures_of_any_kind(tmp_path, mode, more):
    voc(tmp_path)
    if mode == "I;16":
        pixels = np.zeros((24, 32), np.uint16)
        pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 65535
        Image.fromarray(pixels).save(tmp_path / "a.png")
    else:
        picture(tmp_path / "a.png", mode=mode, **more)
    found = read_boxes(tmp_path)
    x0, y0, x1, y1 = BOX
    assert int(found.images[0, 0, y0:y1, x0:x1].min()) > 250
    assert int(found.images[0, 0, 0, 0]) < 5


def test_bad_pictures_are_named(tmp_path):
    voc(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(tmp_path / 'a.png'))}: must be a picture \(PNG, .*: got an empty file$"
    ):
        read_boxes(tmp_path)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=rf"^{re.escape(str(tmp_path / 'a.png'))}: must be a whole picture: got the error 'Image size"
    ):
        read_boxes(tmp_path)


def test_other_sources_are_named(tmp_path):
    with pytest.raises(DataError, match=r": must be a folder of Pascal VOC .*: got no path; embedded data: shapes$"):
        read_boxes(tmp_path / "none")
    with pytest.raises(DataError, match=r": must be a folder of Pascal VOC .*: got a path that is none of these$"):
        read_boxes(tmp_path)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (tmp_path / "Annotations").mkdir()
    (lists / "train.txt").write_text("a\na\n")
    with pytest.raises(DataError, match=r"train.txt: must name each picture once: got 'a' twice$"):
        read_boxes(tmp_path)
    (lists / "val.txt").write_text("b\n")
    with pytest.raises(
        DataError, match=r": must be one list of pictures: got several, name one: '.*train.txt' or '.*val.txt'$"
    ):
        read_boxes(tmp_path)
    (lists / "train.txt").write_text("../../a\n")
    with pytest.raises(DataError, match=r"train.txt: must name files below its folder: got '../../a.xml'$"):
        read_boxes(lists / "train.txt")


def test_pictures_that_are_decoded_again_are_the_same(tmp_path):
    for row in range(3):
        Image.fromarray(np.full((24, 32, 3), 50 + row, np.uint8)).save(tmp_path / f"{row}.png")
        (tmp_path / f"{row}.xml").write_text(xml([("cell", 5, 7, 12, 14 + row)], f"{row}.png"))
    whole, some = read_boxes(tmp_path), read_boxes(tmp_path, cache=24 * 32 * 3)
    assert "1 of 3 images are kept decoded (data.cache_mb)" in some.notes[0]
    assert len(some.images.storage.kept) == 1
    assert torch.equal(torch.cat(list(some.images.split(2))), whole.images)
    chosen = some.select([2, 0])
    assert torch.equal(chosen.images[:2], whole.images[[2, 0]])
    assert torch.equal(chosen.boxes[0].corners, whole.boxes[2].corners)
    assert list(some.content()) == list(read_boxes(tmp_path, cache=24 * 32 * 3).content())
