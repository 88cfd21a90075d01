"""Pictures with masks, however they lie on a disk and whatever is wrong with them."""

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from heedful._errors import DataError
from heedful.data.class_tables import palette_color, read_class_table
from heedful.data.masks import VOID, read_masks, read_unmasked
from heedful.data.rle import decode_rle, encode_classes, fill_polygon

H, W = 11, 13
RANDOM = np.random.default_rng(0)
PICTURES = [RANDOM.integers(0, 256, (H, W, 3), dtype=np.uint8) for _ in range(3)]
MASKS = [RANDOM.integers(0, 3, (H, W), dtype=np.uint8) for _ in range(3)]
COLORS = np.array([[0, 0, 0], [128, 64, 128], [64, 128, 64], [192, 192, 0]], np.uint8)


def save(array, file: Path, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, **options)


def write(folder: Path, pictures="images/{}.png", masks="masks/{}.png") -> Path:
    for row, (picture, mask) in enumerate(zip(PICTURES, MASKS, strict=True)):
        save(picture, folder / pictures.format(row))
        save(mask, folder / masks.format(row))
    return folder


def _images_and_masks(folder):
    return write(folder)


def _beside(folder):
    return write(folder, "train/{}.png", "trainannot/{}.png") / "train"


def _splits_inside(folder):
    return write(folder, "images/train/{}.png", "labels/train/{}.png") / "images" / "train"


def _by_ending(folder):
    return write(folder, "{}.png", "{}_mask.png")


def _two_folders(folder):
    write(folder, "seen/{}.png", "meant/{}.png")
    return f"{folder / 'seen'},{folder / 'meant'}"


def _list(folder):
    write(folder, "a/{}.png", "b/{}.png")
    (folder / "lists").mkdir()
    (folder / "lists" / "train.txt").write_text("".join(f"/a/{row}.png b/{row}.png;\n" for row in range(3)))
    return folder / "lists" / "train.txt"


def _table(folder):
    write(folder, "a b/{}.png", "m/{}.png")
    (folder / "train.csv").write_text(
        "id,mask,image\n" + "".join(f"{row},m/{row}.png,a b/{row}.png\n" for row in range(3))
    )
    return folder / "train.csv"


def _archive(folder):
    write(folder / "inner")
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for file in sorted((folder / "inner").rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return folder / "data.zip"


LAYOUTS = (_images_and_masks, _beside, _splits_inside, _by_ending, _two_folders, _list, _table, _archive)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_found_wherever_they_lie(layout, tmp_path):
    found = read_masks(str(layout(tmp_path)))
    assert found.table.classes == ("0", "1", "2")
    for image, mask, picture, expected in zip(found.images, found.masks, PICTURES, MASKS, strict=True):
        assert np.array_equal(image.permute(1, 2, 0), picture)
        assert np.array_equal(mask, expected)


def test_pascal_voc(tmp_path):
    for row, mask in enumerate(MASKS):
        marked = mask.copy()
        marked[0, 0] = 255
        picture = Image.fromarray(marked, "P")
        picture.putpalette([part for number in range(256) for part in palette_color(number)])
        save(picture, tmp_path / "VOC" / "SegmentationClass" / f"2007_{row}.png")
        save(marked, tmp_path / "VOC" / "SegmentationObject" / f"2007_{row}.png")
        save(PICTURES[row], tmp_path / "VOC" / "JPEGImages" / f"2007_{row}.jpg")
    save(PICTURES[0], tmp_path / "VOC" / "JPEGImages" / "2007_9.jpg")
    names = tmp_path / "VOC" / "ImageSets" / "Segmentation" / "train.txt"
    names.parent.mkdir(parents=True)
    names.write_text("2007_0\n2007_2\n")
    listed, whole = read_masks(str(names)), read_masks(str(tmp_path / "VOC"))
    assert (len(listed), len(whole)) == (2, 3)
    assert listed.table.classes[:3] == ("background", "aeroplane", "bicycle")
    assert len(listed.table.classes) == 21
    assert listed.masks[1][0, 0] == VOID
    assert np.array_equal(listed.masks[1][1:], MASKS[2][1:])
    assert whole.notes == (
        f"1 pictures have no mask and are left out; the first: {tmp_path}/VOC/JPEGImages/2007_9.jpg",
    )


def coco(folder: Path, segmentation, size=(H, W), **changes) -> Path:
    save(PICTURES[0], folder / "train2017" / "7.png")
    annotation = {
        "id": 4,
        "image_id": 7,
        "category_id": 18,
        "segmentation": segmentation,
        "area": 1,
        "bbox": [0, 0, 1, 1],
    }
    crowd = {"size": [H, W], "counts": [0, H, H * (W - 1)]}
    content = {
        "images": [{"id": 7, "file_name": "7.png", "height": size[0], "width": size[1]}],
        "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
        "annotations": [
            annotation | changes,
            {"id": 5, "image_id": 7, "category_id": 3, "segmentation": crowd, "iscrowd": 1},
        ],
    }
    file = folder / "annotations" / "instances_train2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return file


def test_coco_polygons_and_run_lengths_small_things_above_large_ones(tmp_path):
    (run_lengths,) = encode_classes(np.pad(np.ones((3, 2), np.uint8), ((2, H - 5), (0, W - 2))), [1])
    for number, segmentation in enumerate(([[0, 2, 2, 2, 2, 5, 0, 5]], run_lengths)):
        found = read_masks(str(coco(tmp_path / str(number), segmentation)))
        assert found.table.classes == ("background", "car", "dog")
        expected = np.zeros((H, W), np.uint8)
        expected[:, 0], expected[2:5, :2] = 1, 2
        assert np.array_equal(found.masks[0], expected)
    assert [name for name, _ in read_unmasked([str(tmp_path / "0" / "annotations" / "instances_train2017.json")])]


def test_run_lengths_and_polygons_are_those_of_coco():
    mask = pytest.importorskip("faster_coco_eval").mask
    for row in range(20):
        labels = np.random.default_rng(row).integers(0, 3, (row + 1, 29), dtype=np.uint8).repeat(1 + row % 3, 1)
        for number, own in enumerate(encode_classes(labels, range(3))):
            theirs = mask.encode(np.asfortranarray((labels == number).astype(np.uint8)))
            assert own["counts"] == theirs["counts"].decode()
            assert np.array_equal(decode_rle(own, "a"), labels == number)
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    points = np.stack([50 + 40 * np.cos(angles), 60 + 30 * np.sin(angles)], 1).ravel().tolist()
    into = np.zeros((120, 100), bool)
    fill_polygon(points, (120, 100), into)
    theirs = mask.decode(mask.frPyObjects([points], 120, 100))[..., 0].astype(bool)
    assert (into & theirs).sum() / (into | theirs).sum() > 0.97


def _as_colors(folder):
    for row, mask in enumerate(MASKS):
        save(COLORS[mask], folder / "masks" / f"{row}.png")
    (folder / "class_dict.csv").write_text("name,r,g,b\nroad,0,0,0\nsky,128,64,128\ntree,64,128,64\nvoid,192,192,0\n")


def _as_layers(folder):
    for row, mask in enumerate(MASKS):
        np.save(folder / "masks" / f"{row}.npy", np.eye(3, dtype=np.uint8)[mask])
        (folder / "masks" / f"{row}.png").unlink()


def _as_16_bit(folder):
    for row, mask in enumerate(MASKS):
        save(mask.astype(np.uint16), folder / "masks" / f"{row}.png")


def _as_gray_colors(folder):
    for row, mask in enumerate(MASKS):
        save(np.repeat(mask[..., None], 3, -1), folder / "masks" / f"{row}.png")


@pytest.mark.parametrize("stored", [_as_colors, _as_layers, _as_16_bit, _as_gray_colors])
def test_values_of_masks(stored, tmp_path):
    stored(write(tmp_path))
    found = read_masks(str(tmp_path))
    assert found.table.classes == (("road", "sky", "tree") if stored is _as_colors else ("0", "1", "2"))
    for mask, expected in zip(found.masks, MASKS, strict=True):
        assert np.array_equal(mask, expected)


def test_void_names_and_binary_masks(tmp_path):
    write(tmp_path)
    found = read_masks(str(tmp_path), classes=("sky", "road", "rest"), void=("rest",))
    assert found.table.classes == ("sky", "road")
    assert np.array_equal(found.masks[0] == VOID, MASKS[0] == 2)
    binary = [np.where(mask == 2, 255, 0).astype(np.uint8) for mask in MASKS]
    found = read_masks((PICTURES, binary))
    assert found.table.values == (0, 255)
    assert np.array_equal(found.masks[0], MASKS[0] == 2)
    assert read_masks((PICTURES, [np.where(mask == 2, 255, mask) for mask in MASKS])).table.void == (255,)


def test_names_and_colors_of_classes_from_files(tmp_path):
    file = tmp_path / "labelmap.txt"
    file.write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nbig cat:1,2,3::\n")
    assert read_class_table(file) == (("background", "big cat"), ((0, 0, 0), (1, 2, 3)))
    file.write_text("64 128 64\tAnimal\n192 0 128\t\tArch way\n")
    assert read_class_table(file).names == ("Animal", "Arch way")
    file.write_text("a\nb 2\n")
    assert read_class_table(file) == (("a", "b 2"), None)
    file.write_text("a\na\n")
    with pytest.raises(DataError, match=f"{file}:2: must have a name of its own: got 'a'"):
        read_class_table(file)


def test_pictures_of_all_modes_are_read(tmp_path):
    write(tmp_path)
    odd = {
        "0.jpg": Image.fromarray(PICTURES[0]).convert("CMYK"),
        "1.png": Image.fromarray(PICTURES[1][..., 0].astype(np.uint16) * 257),
        "2.gif": Image.fromarray(PICTURES[2]).convert("P"),
    }
    for name, picture in odd.items():
        (tmp_path / "images" / name).with_suffix(".png").unlink()
        more = {"save_all": True, "append_images": [Image.new("P", (W, H))]} if name.endswith("gif") else {}
        save(picture, tmp_path / "images" / name, **more)
    found = read_masks(str(tmp_path))
    assert {tuple(image.shape) for image in found.images} == {(3, H, W)}
    assert np.array_equal(found.images[1][0], PICTURES[1][..., 0])


@pytest.mark.parametrize("upright", [False, True])
def test_a_mask_turns_with_its_picture_unless_it_was_drawn_on_the_turned_one(upright, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(PICTURES[0], tmp_path / "images" / "a.png", exif=exif)
    turned = np.rot90(MASKS[0], -1)
    save(np.ascontiguousarray(turned) if upright else MASKS[0], tmp_path / "masks" / "a.png")
    found = read_masks(str(tmp_path))
    assert found.images[0].shape == (3, W, H)
    assert np.array_equal(found.masks[0], turned)


def test_of_several_sizes_and_of_one(tmp_path):
    save(np.zeros((4, 6, 3), np.uint8), write(tmp_path) / "images" / "9.png")
    save(np.eye(4, 6, dtype=np.uint8), tmp_path / "masks" / "9.png")
    assert read_masks(str(tmp_path)).images[3].shape == (3, 4, 6)
    resized = read_masks(str(tmp_path), size=(8, 12))
    assert {tuple(mask.shape) for mask in resized.masks} == {(8, 12)}
    assert np.array_equal(resized.masks[3][::2, ::2], np.eye(4, 6))
    assert [image.shape[1:] for _, image in read_unmasked([str(tmp_path / "images")])] == [(H, W)] * 3 + [(4, 6)]


def _other_size(folder):
    save(MASKS[1][:5], folder / "masks" / "1.png")
    return (
        f"{folder}/masks/1.png: a mask must have the size of its picture {folder}/images/1.png, {H} x {W}: got 5 x {W}"
    )


def _unknown_color(folder):
    _as_colors(folder)
    colors = COLORS[MASKS[1]]
    colors[:2, 0] = (128, 64, 120)
    save(colors, folder / "masks" / "1.png")
    return (
        f"{folder}/masks/1.png: a mask must have known colors: got #804078 in 2 pixels; the nearest is #804080, 'sky'"
    )


def _unknown_number(folder):
    (folder / "classes.txt").write_text("sky\nroad\n")
    count = int((MASKS[0] == 2).sum())
    return f"{folder}/masks/0.png: a mask must have known classes, '0', '1': got 2 in {count} pixels"


def _no_picture(folder):
    (folder / "images" / "2.png").unlink()
    return f"{folder}/masks/2.png: a mask must have a picture: got none named '2' in {folder}"


def _empty(folder):
    (folder / "masks" / "1.png").write_bytes(b"")
    return f"{folder}/masks/1.png: must be a picture (PNG, JPEG, GIF, BMP, TIFF, WEBP, PPM): got an empty file"


def _huge(folder):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    data = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\1IDAT00000"
    )
    (folder / "images" / "1.png").write_bytes(data)
    return (
        f"{folder}/images/1.png: must be a whole picture: got the error 'Image size (3600000000 pixels) exceeds limit"
    )


def _floating(folder):
    save(MASKS[0].astype(np.float32), folder / "masks" / "0.tif")
    (folder / "masks" / "0.png").unlink()
    return f"{folder}/masks/0.tif: a mask must have whole numbers or colors: got floating point numbers"


def _two_masks(folder):
    save(MASKS[0], folder / "labels" / "0.png")
    return f"{folder}/masks/0.png: a picture must have one mask: got this one and 'labels/0.png'; name two folders: pictures,masks"


def _no_masks(folder):
    for file in (folder / "masks").iterdir():
        file.unlink()
    return f"{folder}: must be a folder of pictures and masks"


def _splits(folder):
    write(folder, "train/{}.png", "trainannot/{}.png")
    write(folder, "val/{}.png", "valannot/{}.png")
    return f"{folder}: must be one split: got several, name one: '{folder}/train' or '{folder}/val'"


BAD = (
    _other_size, _unknown_color, _unknown_number, _no_picture, _empty, _huge, _floating, _two_masks, _no_masks, _splits,
)  # fmt: skip


@pytest.mark.parametrize("spoil", BAD)
def test_what_is_wrong_is_told_in_one_line(spoil, tmp_path):
    says = spoil(write(tmp_path))
    with pytest.raises(DataError) as error:
        read_masks(str(tmp_path))
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_bad_lists_and_bad_coco_files(tmp_path):
    write(tmp_path)
    names = tmp_path / "train.txt"
    names.write_text("images/0.png masks/0.png\nimages/1.png\n")
    with pytest.raises(DataError, match=f"{names}:2: must name a picture and its mask: got 1 field"):
        read_masks(str(names))
    names.write_text("images/0.png masks/7.png\n")
    with pytest.raises(
        DataError, match=f"{names}:1: must name a file below {tmp_path}: got 'masks/7.png', which is not there"
    ):
        read_masks(str(names))
    file = coco(tmp_path / "a", [[1, 2, 3]])
    where = f"{file}: annotations: id 4"
    with pytest.raises(
        DataError, match=f"{where}: a polygon must have the x and y of at least three points: got \\[1, 2, 3\\]"
    ):
        read_masks(str(file))
    file = coco(tmp_path / "b", {"size": [H, W], "counts": [3]})
    with pytest.raises(DataError, match=f"annotations: id 4: run lengths must add up to {H * W} pixels: got 3"):
        read_masks(str(file))


def test_bad_masks_from_python_and_what_may_be_skipped(tmp_path):
    with pytest.raises(DataError, match="row 1, mask: a mask must have whole numbers: got float64"):
        read_masks((PICTURES[:2], [MASKS[0], MASKS[1] / 2]))
    with pytest.raises(DataError, match="row 0, mask: a mask of several layers must have at most one 1 a pixel"):
        read_masks((PICTURES[:1], [np.ones((H, W, 2), np.uint8)]))
    _other_size(write(tmp_path))
    found = read_masks(str(tmp_path), skip=0.5)
    assert len(found) == 2
    assert found.notes[0].startswith("1 of 3 rows are bad and were skipped; the first: ")


def test_the_checksum_follows_pixels_masks_and_classes():
    contents = {
        b"".join(one.content())
        for one in (
            read_masks((PICTURES, MASKS)), read_masks((PICTURES, MASKS[::-1])), read_masks((PICTURES[::-1], MASKS)),
            read_masks((PICTURES, MASKS), classes=("a", "b", "c")),
        )
    }  # fmt: skip
    assert len(contents) == 4


def test_the_embedded_pictures_are_named_where_there_is_no_path():
    with pytest.raises(DataError, match=r"no file or folder is; embedded data: shapes$"):
        read_masks("nothing")
    with pytest.raises(DataError, match=r"no file or folder is; did you mean 'shapes'\?$"):
        read_masks("shape")


@pytest.mark.parametrize("make", [_images_and_masks, _archive])
def test_pairs_that_are_read_again_are_the_same(make, tmp_path):
    source, kept = make(tmp_path), H * W * 4
    whole, some = read_masks(source), read_masks(source, cache=kept)
    assert some.notes == (
        "1 of 3 images are kept decoded (data.cache_mb); the others are decoded again each time that they are needed",
    )
    assert len(some.images.storage.kept) == 1
    for one in (some, some.select([2, 0])):
        expected = whole.select([2, 0]) if len(one) == 2 else whole
        assert (one.names, one.sizes, one.table) == (expected.names, expected.sizes, expected.table)
        for mine, his in zip((*one.images, *one.masks), (*expected.images, *expected.masks), strict=True):
            assert mine.equal(his)
    before = list(some.content())
    assert before == list(read_masks(source, cache=kept).content())
    MASKS[2][0, 0] += 1
    try:
        make(tmp_path)
        assert list(read_masks(source, cache=kept).content()) != before
    finally:
        MASKS[2][0, 0] -= 1


def test_a_value_that_is_unknown_is_told_with_its_pixels_where_masks_are_not_kept(tmp_path):
    write(tmp_path)
    table, mask = read_masks(tmp_path).table, MASKS[2].copy()
    mask[0, :5] = 9
    save(mask, tmp_path / "masks" / "2.png")
    with pytest.raises(DataError, match="a mask must have known classes, '0', '1', '2': got 9 in 5 pixels"):
        read_masks(tmp_path, table=table, cache=1)
