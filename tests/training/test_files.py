import errno
import os

import pytest

from heedful.training.files import write_whole
from tests.tiny import full_disk


def test_text_and_bytes_are_written_and_replace_what_was_there(tmp_path):
    file = tmp_path / "x"
    write_whole(file, "süß\n")
    assert file.read_bytes() == "süß\n".encode()
    write_whole(file, b"\0\r\n")
    assert file.read_bytes() == b"\0\r\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_leaves_the_old_file_and_is_said_of_the_file(tmp_path):
    file = tmp_path / "x"
    write_whole(file, "old")
    with full_disk(10), pytest.raises(OSError, match="File too large") as caught:
        write_whole(file, b"x" * 11)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(file))
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x", "old")]


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path / 'no' / 'x'}'"):
        write_whole(tmp_path / "no" / "x", "text")


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "x"
    write_whole(file, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(file, "new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("x", "old")]
