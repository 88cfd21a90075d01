import os
import signal
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from heedful._errors import DataError, HeedfulError
from heedful._loader import loader
from heedful.data import StoredImages, _decode, read_images

PICTURE = 3 * 5 * 7  # bytes


@pytest.fixture
def mixed(tmp_path):
    """Ten pictures of 5 x 7, of which the first of each class is gray."""
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for row in range(5):
            pixels = random.integers(0, 256, (5, 7) if row == 0 else (5, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{row}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", ["folder", "zip", "table", "slice"])
def test_what_is_decoded_again_is_what_would_be_in_memory(mixed, workers, form, monkeypatch):
    monkeypatch.setattr(_decode, "_FEW", 4)
    source = mixed
    if form == "zip":
        source = mixed.with_suffix(".zip")
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(mixed.rglob("*.png"), reverse=True):
                archive.write(file, file.relative_to(mixed))
    if form == "table":
        source = mixed / "all.csv"
        rows = "".join(f"{file.relative_to(mixed)},{file.parent.name}\n" for file in sorted(mixed.rglob("*.png")))
        source.write_text("path,label\n" + rows)
    source = f"{source}[::-1]" if form == "slice" else str(source)
    whole, stored = read_images(source), read_images(source, cache=3 * PICTURE + 50, workers=workers)
    assert isinstance(stored.images, StoredImages)
    assert (stored.images.shape, stored.names, stored.classes) == (whole.images.shape, whole.names, whole.classes)
    assert len(stored.images.storage.kept) == 3
    assert torch.equal(torch.cat([*stored.images.split(4)]), whole.images)
    rows = [9, 0, 4, 2, 7]
    assert torch.equal(stored.select(rows).images[1:4], whole.select(rows).images[1:4])
    order = [[7, 0], [3, 9], [2, 4], [8, 1]]
    for batch, own in zip(loader(stored.images.__getitem__, order, workers), order, strict=True):
        assert torch.equal(batch, whole.images[own])
    assert stored.notes == (
        "3 of 10 images are kept decoded (data.cache_mb); the others are decoded again each time that they are needed",
    )


def test_a_process_that_is_killed_is_told():
    def killed(rows):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(HeedfulError, match=r"^a process that makes batches was ended, perhaps for want of memory\.$"):
        list(loader(killed, [[1], [2]], workers=1))


def test_all_that_fits_is_kept(mixed):
    assert isinstance(read_images(str(mixed), cache=10 * PICTURE).images, torch.Tensor)
    assert isinstance(read_images("digits", cache=100).images, StoredImages)


def test_a_packed_archive_is_kept(mixed):
    with tarfile.open(mixed.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(mixed, "pets")
    assert isinstance(read_images(str(mixed.with_suffix(".tar.gz")), cache=1).images, torch.Tensor)


def test_content_changes_with_a_pixel(mixed):
    def content():
        return b"".join(read_images(str(mixed), cache=PICTURE).select([1, 8]).content())

    before = content()
    assert content() == before
    Image.new("RGB", (7, 5)).save(mixed / "dogs" / "3.png")
    assert content() != before


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_pictures_are_named(mixed, workers, monkeypatch):
    monkeypatch.setattr(_decode, "_FEW", 4)
    good = read_images(str(mixed), cache=PICTURE, workers=workers)
    (mixed / "dogs" / "3.png").write_bytes(b"not a picture")
    Image.new("RGB", (2, 2)).save(mixed / "cats" / "2.png")
    with pytest.raises(
        DataError, match=r"cats/2.png: all pictures must have one size, .*: got 2 x 2 here and 5 x 7 in"
    ):
        read_images(str(mixed), cache=PICTURE, workers=workers)
    skipped = read_images(str(mixed), cache=PICTURE, workers=workers, skip=0.5)
    assert [name for name in good.names if name not in skipped.names] == ["cats/2.png", "dogs/3.png"]
    assert torch.equal(torch.cat([*skipped.images.split(3)]), good.select([0, 1, 3, 4, 5, 6, 7, 9]).images[:])
    with pytest.raises(
        DataError, match=rf"^{mixed}/dogs/3.png: must be a picture \([A-Z, ]+\): got 13 bytes that begin"
    ):
        list(good.images.split(4))
    (mixed / "dogs" / "3.png").unlink()
    with pytest.raises(DataError, match=rf"^{mixed}/dogs/3.png: cannot be read: No such file or directory$"):
        list(good.images.split(4))
