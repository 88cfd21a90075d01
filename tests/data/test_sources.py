import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from heedful._errors import DataError
from heedful.data import EMBEDDED, _decode, read_images, read_unlabeled


def test_digits_are_parted_by_writer():
    bunch = load_digits()
    train, test = read_images("digits"), read_images("digits", split="test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape[1:] == (1, 8, 8)
    both = np.concatenate([train.images.numpy(), test.images.numpy()])[:, 0]
    assert np.array_equal(both, np.rint(bunch.images * 255 / 16))
    assert np.array_equal(np.concatenate([train.labels, test.labels]), bunch.target)
    assert train.classes == test.classes == tuple("0123456789")
    assert (train.names[0], train.names[-1]) == ("digits[0]", "digits[1436]")
    assert (test.names[0], test.names[-1]) == ("digits[1437]", "digits[1796]")


def test_every_embedded_set_can_be_read():
    assert set(EMBEDDED) == {"digits", "shapes"}
    for name in EMBEDDED:
        assert len(read_images(name)) > len(read_images(name, split="test")) > 0


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("[:]", range(1437)),
        ("[100:200]", range(100, 200)),
        ("[1400:]", range(1400, 1437)),
        ("[-5:]", range(1432, 1437)),
        ("[:20:3]", range(0, 20, 3)),
        ("[1430:9999]", range(1430, 1437)),
        ("[20::-5]", range(20, -1, -5)),
    ],
)
def test_slices(text, rows):
    pictures = read_images(f"digits{text}")
    assert pictures.names == tuple(f"digits[{row}]" for row in rows)
    assert pictures.classes == tuple("0123456789")


@pytest.mark.parametrize("text", ["[5]", "[]", "[a:b]", "[1:2:3:4]", "[::0]", "[1.5:]", "[1:2", "[1 :2]"])
def test_bad_slices(text):
    expected = "a slice must look like" if text.endswith("]") else "must be a folder"
    with pytest.raises(DataError, match=rf"^digits\[.*: {expected}"):
        read_images(f"digits{text}")


def test_a_slice_that_leaves_nothing():
    with pytest.raises(
        DataError, match=r"^digits\[1437:\]: the slice must leave at least one of 1,437 pictures: got none$"
    ):
        read_images("digits[1437:]")


def test_a_slice_does_not_decode_what_it_leaves_out(folder):
    (folder / "dogs" / "9.png").write_bytes(b"not a picture")
    assert len(read_images(f"{folder}[:5]")) == 5
    with pytest.raises(DataError, match=r"dogs/9.png: must be a picture"):
        read_images(str(folder))


def test_a_folder_whose_name_looks_like_a_slice(folder):
    assert read_images(str(folder.rename(folder.with_name("pets[1:2]")))).classes == ("cats", "dogs")


def test_an_embedded_name_wins_over_a_file_unless_written_as_a_path(folder, monkeypatch):
    monkeypatch.chdir(folder.rename(folder.with_name("work")))
    Path("digits").mkdir()
    for name in ("cats", "dogs"):
        Path(name).rename(Path("digits", name))
    assert len(read_images("digits")) == 1437
    assert read_images("./digits").classes == ("cats", "dogs")
    assert len(read_images("./digits[1:]")) == 4


@pytest.mark.parametrize("source", ["digit", "Digits", "digts[:5]"])
def test_an_unknown_name_that_is_near_an_embedded_one(source):
    with pytest.raises(DataError, match=rf"^{source.partition('[')[0]}: must be .*; did you mean 'digits'\?$"):
        read_images(source)


def test_a_path_where_nothing_is(tmp_path):
    for missing in ("none", "none/train", "none.zip/train"):
        with pytest.raises(
            DataError, match=rf"^{tmp_path}/{missing}: must be a folder .*; embedded data: digits, shapes$"
        ):
            read_images(f"{tmp_path}/{missing}")
    with pytest.raises(DataError, match=r"^a\\x00b: must be .*: got a path where no file or folder is"):
        read_images("a\0b")
    with pytest.raises(DataError, match=r"^x+: cannot be read: File name too long$"):
        read_images("x" * 5000)


def test_a_file_of_another_kind(tmp_path, png):
    (tmp_path / "data.xyz").write_bytes(b"")
    with pytest.raises(DataError, match=rf"^{tmp_path}/data.xyz: must be a folder .*: got a file named 'data.xyz'$"):
        read_images(f"{tmp_path}/data.xyz")
    with pytest.raises(DataError, match=rf"^{tmp_path}/data.xyz: must be a picture"):
        read_unlabeled(f"{tmp_path}/data.xyz")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(DataError, match=rf"^{tmp_path}/a.csv/train: must be a folder"):
        read_images(f"{tmp_path}/a.csv/train")


def test_unlabeled_from_several_sources(folder, png):
    pictures = read_unlabeled(
        [f"{folder}/dogs[1:]", folder / "cats" / "2.png", io.BytesIO(png(77)), "digits[:1]"], size=(5, 7)
    )
    assert pictures.names == (f"{folder}/dogs/3.png", f"{folder}/cats/2.png", "stream", "digits[1437]")
    assert pictures.images[:3, 0, 0, 0].tolist() == [103, 2, 77]
    with (folder / "dogs" / "1.png").open("rb") as file:
        assert read_unlabeled([file]).names == (f"{folder}/dogs/1.png",)


def test_unlabeled_of_nothing():
    with pytest.raises(DataError, match=r"^`sources` must name at least one picture: got none$"):
        read_unlabeled([])


def test_importing_loads_neither_pillow_nor_scikit_learn():
    import subprocess
    import sys

    check = "import sys, heedful.data; sys.exit(any(name in sys.modules for name in ('PIL', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_warnings_of_the_decoder_do_not_escape(monkeypatch):
    import warnings

    def warn(raw, location, size, channels):
        warnings.warn("from the decoder", stacklevel=1)
        return _decode.Decoded(np.zeros((1, 2, 2), np.uint8), (2, 2), 1)

    monkeypatch.setattr(_decode, "_decoded", warn)
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "PNG")
    assert len(read_unlabeled([content])) == 1
