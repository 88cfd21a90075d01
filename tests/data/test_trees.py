import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from heedful._errors import DataError
from heedful.data import _limits, _trees, read_images, read_unlabeled
from heedful.data.text.plain import read_plain

KINDS = [".zip", ".tar", ".tar.gz", ".tgz"]


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.rstrip("/"))
            member.size = len(content)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_pets(pictures):
    assert pictures.classes == ("cats", "dogs")
    assert pictures.names == ("cats/2.png", "cats/10.png", "cats/old/1.png", "dogs/1.png", "dogs/3.png")
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1]
    assert pictures.images.shape == (5, 1, 5, 7)
    assert pictures.images[:, 0, 4, 6].tolist() == [2, 10, 11, 101, 103]


def test_folder_of_class_folders(folder):
    assert_pets(read_images(str(folder)))
    assert_pets(read_images(f"{folder}/"))


@pytest.mark.parametrize("kind", KINDS)
def test_archive_of_class_folders(tmp_path, pets, kind):
    backwards = dict(reversed(pets.items()))
    assert_pets(read_images(str(pack(tmp_path / f"pets{kind}", backwards))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_inside_an_archive_is_named_behind_it(tmp_path, pets, kind):
    split = {f"train/{name}": content for name, content in pets.items()} | {"test/cats/1.png": pets["cats/2.png"]}
    archive = pack(tmp_path / f"pets{kind}", split)
    assert_pets(read_images(f"{archive}/train"))
    assert_pets(read_images(f"{archive}/train/"))
    with pytest.raises(DataError, match=rf"^{archive}: must be one split: .* '{archive}/train' or '{archive}/test'$"):
        read_images(str(archive))
    with pytest.raises(DataError, match=rf"^{archive}: must hold 'valid': got 'test', 'train' at its top$"):
        read_images(f"{archive}/valid")


@pytest.mark.parametrize(
    ("tops", "same"),
    [
        (("Training", "Testing"), False),
        (("TRAIN", "Val"), False),
        (("seg_train", "seg_test"), False),
        (("train2017", "val2017", "extra"), False),
        (("part one", "part two"), True),
    ],
)
def test_split_folders_of_other_names(tmp_path, pets, tops, same):
    """Known by their names, whatever lies in them, or since all hold the same folders."""
    layout = {
        f"data/{top}/{name}": pets[name] for top in tops for name in pets if same or top == tops[0] or "cats" in name
    }
    archive = pack(tmp_path / "pets.zip", layout)
    with pytest.raises(DataError, match=rf"must be one split: got several, name one: .*/{tops[0]}' or .*/{tops[1]}'$"):
        read_images(str(archive))
    assert_pets(read_images(f"{archive}/data/{tops[0]}"))


def test_classes_that_only_look_like_splits(tmp_path, pets):
    for one, other in (("train", "tram"), ("train_station", "test_tube"), ("train", "trainer")):
        archive = pack(
            tmp_path / f"{one}.zip", {f"{one}/1.png": pets["cats/2.png"], f"{other}/1.png": pets["dogs/1.png"]}
        )
        assert read_images(str(archive)).classes == tuple(sorted((one, other)))


@pytest.mark.parametrize("around", ["flowers/", "a/b/", "./", "/", "../", "../../x/"])
@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_a_lone_folder_around_the_class_folders_is_stepped_over(tmp_path, pets, kind, around):
    assert_pets(read_images(str(pack(tmp_path / f"pets{kind}", {around + name: pets[name] for name in pets}))))


def test_a_lone_folder_that_is_a_known_class_is_not_stepped_over(tmp_path, png):
    archive = pack(tmp_path / "one.zip", {"cats/a/1.png": png(1), "cats/b/2.png": png(2)})
    assert read_images(str(archive)).classes == ("a", "b")
    pictures = read_images(str(archive), classes=["dogs", "cats"])
    assert pictures.classes == ("dogs", "cats")
    assert pictures.labels.tolist() == [1, 1]


def test_names_with_backslashes_in_a_zip_are_paths(tmp_path, pets):
    assert_pets(read_images(str(pack(tmp_path / "pets.zip", {name.replace("/", "\\"): pets[name] for name in pets}))))


def test_classes_are_in_natural_order(tmp_path, png):
    archive = pack(tmp_path / "x.zip", {f"{name}/a.png": png(int(name)) for name in ("10", "9", "1", "2")})
    pictures = read_images(str(archive))
    assert pictures.classes == ("1", "2", "9", "10")
    assert pictures.images[:, 0, 0, 0].tolist() == [1, 2, 9, 10]


def test_files_that_usually_lie_among_pictures_are_ignored(folder):
    for name in ("Thumbs.db", ".DS_Store", "notes.TXT", "dogs/LICENSE", "cats/desktop.ini", "labels.csv", ".git/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not a picture")
    assert_pets(read_images(str(folder)))


def test_a_class_may_be_named_like_an_ignored_file(tmp_path, png):
    archive = pack(tmp_path / "x.zip", {"license/1.png": png(1), "passport.txt/1.png": png(2)})
    assert read_images(str(archive)).classes == ("license", "passport.txt")


def test_other_files_are_an_error_that_names_the_file(folder):
    (folder / "dogs" / "2.bin").write_bytes(b"hello there")
    with pytest.raises(DataError, match=rf"^{folder}/dogs/2.bin: must be a picture .*: got 11 bytes .* b'hello th'$"):
        read_images(str(folder))


def test_a_picture_outside_the_class_folders(folder, png):
    (folder / "7.png").write_bytes(png(7))
    with pytest.raises(DataError, match=rf"^{folder}/7.png: must lie in a folder that is named like its class"):
        read_images(str(folder))


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match=rf"^{tmp_path}: must hold one folder a class: got no picture$"):
        read_images(str(tmp_path))
    with pytest.raises(DataError, match=rf"^{tmp_path}: must hold at least one picture: got none$"):
        read_unlabeled(tmp_path)


def test_empty_class_folder(folder):
    (folder / "birds").mkdir()
    with pytest.raises(DataError, match=rf"^{folder}/birds: a class folder must hold at least one picture: got none$"):
        read_images(str(folder))


@pytest.mark.parametrize("kind", [".zip", ".tar"])
def test_empty_class_folder_in_an_archive(tmp_path, pets, kind):
    archive = pack(tmp_path / f"x{kind}", {**pets, "birds/": b""})
    with pytest.raises(DataError, match=rf"^{archive}/birds: a class folder must hold at least one picture: got none$"):
        read_images(str(archive))


def test_one_class_only(tmp_path, png):
    archive = pack(tmp_path / "x.zip", {"cats/1.png": png(1)})
    with pytest.raises(DataError, match=rf"^{archive}: must hold at least two classes: got 1, 'cats'$"):
        read_images(str(archive))
    assert read_images(str(archive), split="test").classes == ("cats",)


def test_one_class_only_after_slicing(folder):
    with pytest.raises(DataError, match=r"\[:3\]: must hold at least two classes: got 1, 'cats'$"):
        read_images(f"{folder}[:3]")


def test_an_encrypted_zip(tmp_path, pets):
    archive = pack(tmp_path / "x.zip", pets)
    content = bytearray(archive.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"^{archive}: must not be encrypted: got 'cats/2.png', which needs a password$"
    ):
        read_images(str(archive))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive(tmp_path, png, kind):
    files = {f"{label}/{number}.png": png(number) for label in "ab" for number in range(13)}
    archive = pack(tmp_path / f"x{kind}", files)
    content = archive.read_bytes()
    for part in (0, 1, len(content) // 7, len(content) // 2):
        archive.write_bytes(content[:part])
        with pytest.raises(
            DataError, match=rf"^{archive}: must be a (whole archive|file packed by gzip, as its name says): got "
        ):
            read_images(str(archive))


def test_a_tar_cut_between_two_files(tmp_path, pets):
    archive = pack(tmp_path / "x.tar", pets)
    with tarfile.open(archive) as opened:
        border = opened.getmember("dogs/1.png").offset
    archive.write_bytes(archive.read_bytes()[:border])
    with pytest.raises(DataError, match=rf"^{archive}: must be a whole archive: .* at byte {border:,}$"):
        read_images(str(archive))


def test_a_tar_with_a_damaged_header_in_the_middle(tmp_path, pets):
    archive = pack(tmp_path / "x.tar", pets)
    with tarfile.open(archive) as opened:
        border = opened.getmember("dogs/1.png").offset
    content = bytearray(archive.read_bytes())
    content[border] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{archive}: must be a whole archive: got damage .* at byte {border:,}$"):
        read_images(str(archive))


def test_a_wrong_checksum_of_a_compressed_tar(tmp_path, pets):
    archive = pack(tmp_path / "x.tgz", pets)
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{archive}: must be a whole archive: got the error 'CRC check failed"):
        read_images(str(archive))


def test_damage_inside_a_zipped_picture(tmp_path, pets):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, content in pets.items():
            opened.writestr(name, content)
    archive.write_bytes(archive.read_bytes().replace(pets["dogs/1.png"], pets["dogs/1.png"][:-3] + b"xyz"))
    with pytest.raises(DataError, match=rf"^{archive}/dogs/1.png: must be a whole picture: got .*CRC-32"):
        read_images(str(archive))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_larger_than_a_picture_may_be(tmp_path, pets, kind, monkeypatch):
    monkeypatch.setattr(_trees, "LARGEST_FILE", 1000)
    archive = pack(tmp_path / f"x{kind}", {**pets, "dogs/bomb.png": bytes(1001)})
    with pytest.raises(DataError, match=rf"^{archive}/dogs/bomb.png: .* at most 1,000 bytes: got more$"):
        read_images(str(archive))


def test_a_link_in_a_tar_is_the_file_it_points_to(tmp_path, pets):
    archive = pack(tmp_path / "x.tar", pets)
    with tarfile.open(archive, "a") as opened:
        for name, kind, target in [
            ("dogs/4.png", tarfile.LNKTYPE, "cats/2.png"),
            ("dogs/5.png", tarfile.SYMTYPE, "1.png"),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            opened.addfile(member)
    assert read_images(str(archive)).images[:, 0, 0, 0].tolist() == [2, 10, 11, 101, 103, 2, 101]


def test_a_link_in_a_tar_that_leads_outside(tmp_path, pets):
    archive = pack(tmp_path / "x.tar", pets)
    with tarfile.open(archive, "a") as opened:
        member = tarfile.TarInfo("dogs/4.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(member)
    with pytest.raises(
        DataError, match=rf"^{archive}/dogs/4.png: must be a file: got a link to something that is not in"
    ):
        read_images(str(archive))


def test_links_to_folders_are_followed(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cats").symlink_to(folder / "cats")
    (tmp_path / "linked" / "dogs").symlink_to(folder / "dogs")
    assert_pets(read_images(str(tmp_path / "linked")))


def test_a_link_to_nothing(folder):
    (folder / "dogs" / "2.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=rf"^{folder}/dogs/2.png: cannot be read: No such file or directory$"):
        read_images(str(folder))


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "dogs" / "2.png")
    with pytest.raises(
        DataError, match=rf"^{folder}/dogs/2.png: must be a regular file: got a pipe, which can be read only once"
    ):
        read_images(str(folder))


def test_a_file_and_a_folder_without_permission(folder, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    # The tests may run as a user to whom nothing is forbidden.
    monkeypatch.setattr(_limits, "open", refuse, raising=False)
    with pytest.raises(DataError, match=rf"^{folder}/cats/2.png: cannot be read: Permission denied$"):
        read_images(str(folder))
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if path.endswith("old") else scandir(path))
    for read in (read_images, read_plain):
        with pytest.raises(DataError, match=rf"^{folder}/cats/old: cannot be read: Permission denied$"):
            read(str(folder))


def test_a_folder_that_holds_itself(folder):
    (folder / "cats" / "old" / "again").symlink_to(folder)
    (folder / "dogs" / "4.png").symlink_to(folder / "cats" / "2.png")
    for read in (read_images, read_unlabeled, read_plain):
        with pytest.raises(
            DataError, match=rf"^{folder}/cats/old/again: a folder must not hold itself: got a link to "
        ):
            read(str(folder))


def test_a_name_cannot_break_the_line_of_a_message(tmp_path, png):
    archive = pack(tmp_path / "x.zip", {"a/1.png": png(1), "b/\x1b[31m\n.png": b"no"})
    with pytest.raises(DataError, match=r"x.zip/b/\\x1b\[31m\\n.png: must be a picture"):
        read_images(str(archive))


def test_a_compressed_tar_is_unpacked_once(tmp_path, png, monkeypatch):
    names = [f"{label}/{number}.png" for number in range(7) for label in "ab"]
    archive = pack(tmp_path / "x.tgz", {name: png(index) for index, name in enumerate(names)})
    rewinds = []
    rewind = gzip._GzipReader._rewind
    monkeypatch.setattr(gzip._GzipReader, "_rewind", lambda self: (rewinds.append(self), rewind(self)))
    pictures = read_images(str(archive))
    assert pictures.images[:, 0, 0, 0].tolist() == [*range(0, 14, 2), *range(1, 14, 2)]
    assert len(rewinds) == 1  # once listed, once read


def test_unlabeled_folder_and_archive_to_any_depth(folder, tmp_path, pets, png):
    names = ("7.png", "cats/2.png", "cats/10.png", "cats/old/1.png", "dogs/1.png", "dogs/3.png")
    (folder / "7.png").write_bytes(png(7))
    archive = pack(tmp_path / "x.tgz", {**pets, "7.png": png(7)})
    for source in (folder, archive):
        pictures = read_unlabeled(source)
        assert pictures.names == tuple(f"{source}/{name}" for name in names)
        assert pictures.images[:, 0, 0, 0].tolist() == [7, 2, 10, 11, 101, 103]
        assert pictures.labels is None
        assert pictures.classes == ()


def test_one_picture_inside_an_archive(tmp_path, pets):
    archive = pack(tmp_path / "x.zip", pets)
    pictures = read_unlabeled(f"{archive}/dogs/3.png")
    assert pictures.names == (f"{archive}/dogs/3.png",)
    assert pictures.images.unique().tolist() == [103]
