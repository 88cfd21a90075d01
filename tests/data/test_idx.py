import gzip
import struct

import numpy as np
import pytest
import torch

from heedful._errors import DataError
from heedful.data import read_images, read_unlabeled

SHAPE = (11, 5, 7)
LABELS = np.array([3, 0, 10, 3, 3, 0, 0, 10, 3, 0, 3], np.uint8)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def idx(array, kind=8):
    return struct.pack(f">2x2B{array.ndim}I", kind, array.ndim, *array.shape) + array.tobytes()


def write(path, content):
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def beside(tmp_path, images, labels="labels-idx1-ubyte", name="images-idx3-ubyte"):
    write(tmp_path / labels, idx(LABELS))
    return write(tmp_path / name, images)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "t10k-labels.idx1-ubyte.gz"),
        ("images.idx", "labels.idx"),
    ],
)
def test_round_trip(tmp_path, images, labels):
    write(tmp_path / labels, idx(LABELS))
    pictures = read_images(str(write(tmp_path / images, idx(IMAGES))))
    assert torch.equal(pictures.images, torch.from_numpy(IMAGES)[:, None])
    assert pictures.images.dtype == torch.uint8
    assert pictures.labels.dtype == torch.int64
    assert pictures.classes == ("0", "3", "10")
    assert [pictures.classes[label] for label in pictures.labels] == [str(label) for label in LABELS]
    assert pictures.names[10] == f"{images}[10]"


@pytest.mark.parametrize("channels_last", [True, False])
def test_color(tmp_path, channels_last):
    color = np.random.default_rng(1).integers(0, 256, (11, 3, 5, 7), np.uint8)
    path = beside(tmp_path, idx(color.transpose(0, 2, 3, 1) if channels_last else color), name="images-idx4-ubyte")
    assert torch.equal(read_images(str(path)).images, torch.from_numpy(color))


def test_four_dimensions_of_one_channel_are_gray(tmp_path):
    for images in (IMAGES, IMAGES[:, :3]):  # three rows are not three channels
        path = beside(tmp_path, idx(images[..., None]))
        assert torch.equal(read_images(str(path)).images, torch.from_numpy(images)[:, None])


def test_slices_keep_the_numbers_and_the_classes_of_the_whole(tmp_path):
    path = beside(tmp_path, idx(IMAGES))
    pictures = read_images(f"{path}[8:]")
    assert torch.equal(pictures.images[:, 0], torch.from_numpy(IMAGES[8:]))
    assert pictures.names == ("images-idx3-ubyte[8]", "images-idx3-ubyte[9]", "images-idx3-ubyte[10]")
    assert pictures.classes == ("0", "3", "10")
    assert pictures.labels.tolist() == [1, 0, 1]


def test_unlabeled_needs_no_label_file(tmp_path):
    path = write(tmp_path / "images-idx3-ubyte.gz", idx(IMAGES))
    assert torch.equal(read_unlabeled(path).images[:, 0], torch.from_numpy(IMAGES))


def test_absent_labels_name_what_was_looked_for(tmp_path):
    path = write(tmp_path / "t10k-images-idx3-ubyte.gz", idx(IMAGES))
    looked_for = (
        "'t10k-labels-idx1-ubyte.gz', 't10k-labels-idx1-ubyte', 't10k-labels.idx1-ubyte.gz', 't10k-labels.idx1-ubyte'"
    )
    with pytest.raises(DataError, match=rf"^{path}: must have a label file beside it: looked for {looked_for}$"):
        read_images(str(path))


def test_no_label_name_follows_from_a_name_without_images(tmp_path):
    path = write(tmp_path / "digits.idx3", idx(IMAGES))
    with pytest.raises(DataError, match=rf"^{path}: .* looked for none, as 'images' is not in its name$"):
        read_images(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with the IDX magic number 00 00 08 0n: got nothing"),
        (b"\0\0\x08", "must begin with the IDX magic number 00 00 08 0n: got 00 00 08"),
        (b"\x89PNG\r\n", "must begin with the IDX magic number 00 00 08 0n: got 89 50 4e 47"),
        (idx(IMAGES, kind=13), r"must hold unsigned bytes \(IDX type 08\): got type 0d"),
        (idx(IMAGES)[:13], "must have a header of 16 bytes: got 13"),
        (b"\0\0\x08\0", "must have a header of 4 bytes: got 4"),
        (idx(IMAGES)[:-2], "must hold the 385 bytes of its 11 x 5 x 7 header: got 383"),
        (idx(IMAGES) + b"abc", "must hold the 385 bytes of its 11 x 5 x 7 header: got 388"),
        (struct.pack(">2x2B3I", 8, 3, *[2**32 - 1] * 3), r"must hold the 79,228,[\d,]* bytes of its .* header: got 0"),
        (idx(IMAGES[0]), "must have dimensions count x height x width, .*: got 5 x 7"),
        (idx(np.zeros((2, 5, 7, 2), np.uint8)), "must have dimensions .* 1 or 3 channels .*: got 2 x 5 x 7 x 2"),
        (idx(IMAGES[:0]), "must hold at least one picture of at least one pixel: got 0 x 5 x 7"),
        (idx(IMAGES[:, :0]), "must hold at least one picture of at least one pixel: got 11 x 0 x 7"),
    ],
)
@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images-idx3-ubyte.gz"])
def test_a_header_that_lies(tmp_path, name, content, message):
    path = beside(tmp_path, content, name=name)
    with pytest.raises(DataError, match=f"^{path}: {message}$"):
        read_images(str(path))


def test_a_count_of_labels_that_differs(tmp_path):
    path = beside(tmp_path, idx(IMAGES[:9]))
    expected = f"^{tmp_path}/labels-idx1-ubyte: must hold a label for each picture of images-idx3-ubyte: got 11 and 9$"
    with pytest.raises(DataError, match=expected):
        read_images(str(path))


def test_a_label_file_of_pictures(tmp_path):
    path = beside(tmp_path, idx(IMAGES))
    write(tmp_path / "labels-idx1-ubyte", idx(IMAGES))
    with pytest.raises(DataError, match=f"^{tmp_path}/labels-idx1-ubyte: .* one dimension: got 11 x 5 x 7$"):
        read_images(str(path))


def test_a_cut_or_wrong_gz(tmp_path):
    path = beside(tmp_path, idx(IMAGES), name="images-idx3-ubyte.gz")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=f"^{path}: must be a whole IDX file: got the error 'Compressed file ended"):
        read_images(str(path))
    path.write_bytes(idx(IMAGES))
    with pytest.raises(
        DataError, match=f"^{path}: must be a file packed by gzip, as its name says: got the first bytes 00 00"
    ):
        read_images(str(path))
