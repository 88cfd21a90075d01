import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from heedful._errors import HeedfulError
from heedful._files import UNFINISHED, checked_target, user_path, write_atomic
from tests.tiny import full_disk


@pytest.mark.parametrize(
    ("content", "written"),
    [("süß\n", "süß\n".encode()), (b"\0\r\n", b"\0\r\n"), (iter([b"one ", b"", b"two"]), b"one two"), ([], b"")],
)
def test_text_bytes_and_chunks_are_written_and_replace_what_was_there(tmp_path, content, written):
    file = tmp_path / "x"
    file.write_text("old")
    write_atomic(file, content)
    assert file.read_bytes() == written
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_file_and_is_said_of_the_file(tmp_path):
    file = tmp_path / "x"
    write_atomic(file, "old")
    for content in (b"x" * 11, [b"x" * 6, b"x" * 5]):
        with full_disk(10), pytest.raises(OSError, match="File too large") as caught:
            write_atomic(file, content)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(file))
        assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x", "old")]


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "no" / "x"
    for check in (lambda: write_atomic(path, "text"), lambda: checked_target(str(path))):
        with pytest.raises(FileNotFoundError, match=f"must lie in a folder that exists: '{path}'") as caught:
            check()
        assert caught.value.filename == str(path)
    assert checked_target(str(tmp_path / "x")) == tmp_path / "x"


def test_a_symbolic_link_stays_and_its_file_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/x")
    for content in ("new", "newer"):  # at first there is no such file
        write_atomic(tmp_path / "link", content)
        assert (tmp_path / "folder" / "x").read_text() == content
    assert (tmp_path / "link").is_symlink()
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["x"]


def test_devices_and_pipes_are_written_into_and_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic("/dev/full", [b"x" * 100_000])
    assert caught.value.filename == "/dev/full"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, [b"two ", b"chunks"])
    reader.join()
    assert read == [b"two chunks"]
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    with pytest.raises(IsADirectoryError, match="must be a file, not a folder"):
        write_atomic(tmp_path, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def test_what_a_person_types(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert [str(user_path(path)) for path in ("~/x", "x~", Path("a::b"))] == ["/home/ada/x", "x~", "a::b"]
    with pytest.raises(HeedfulError, match="a path must not be empty"):
        user_path("")


def test_a_name_as_long_as_a_name_may_be(tmp_path):
    file = tmp_path / ("x" * 255)
    write_atomic(file, "text")
    assert file.read_text() == "text"


def interrupted(*_):
    raise KeyboardInterrupt


def half():
    yield b"half"
    raise KeyboardInterrupt


@pytest.mark.parametrize("content", ["new", half])
def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch, content):
    file = tmp_path / "x"
    write_atomic(file, "old")
    if content == "new":
        monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, content if content == "new" else content())
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x", "old")]


def test_what_is_being_written_has_a_name_that_tells_so(tmp_path):
    def names():
        yield b"1"
        [name] = [entry.name for entry in tmp_path.iterdir()]
        assert name.startswith(".x.")
        assert name.endswith(UNFINISHED)

    write_atomic(tmp_path / "x", names())
