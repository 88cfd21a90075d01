import gzip

import pytest

from heedful._errors import DataError
from heedful.data.text import read_plain

LONG = "To be, or not\r\nto be\n" + "x" * 1_200_000


@pytest.mark.parametrize("name", ["a.txt", "a", "a.gz"])
def test_a_file(write, name):
    content = LONG.encode()
    source = write(gzip.compress(content) if name == "a.gz" else b"\xef\xbb\xbf" + content, name)
    assert read_plain(source).text == LONG.replace("\r\n", "\n")


def test_a_folder(write, tmp_path):
    write("ten\n\n", "book/10.txt")
    write("two\n\nparts\n", "book/2.txt")
    write(gzip.compress(b"deep"), "book/a/1.txt.gz")
    write("", "book/3.txt")
    write("other", "book/notes.md")
    write("hidden", "book/.txt")
    assert read_plain(tmp_path / "book").text == "two\n\nparts\n\nten\n\ndeep\n"


def test_the_file_of_a_folder_is_named(write, tmp_path):
    write(b"ok\n\xff", "book/1.txt")
    with pytest.raises(DataError, match="book/1.txt:2: must be UTF-8: got byte 0xff at column 1"):
        read_plain(tmp_path / "book")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_nothing(write, tmp_path, content):
    with pytest.raises(DataError, match="book/a.txt: must hold text: got none"):
        read_plain(write(content, "book/a.txt"))
    with pytest.raises(DataError, match="book: must hold text: got none"):
        read_plain(tmp_path / "book")


def test_a_folder_without_texts(tmp_path):
    with pytest.raises(DataError, match=r"must hold .txt or .txt.gz files: got a folder without any"):
        read_plain(tmp_path)
