import bz2
import gzip
import io
import lzma
import re
import tracemalloc
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful._errors import DataError
from heedful.data.text._lines import LONGEST, lines, quoted, whole

pack = partial(gzip.compress, mtime=0)  # the same names of tests in every process
GERMAN = "Käse\nBrötchen 🧀\n\nEi"


@pytest.mark.parametrize(
    "content",
    [
        GERMAN.encode(),
        GERMAN.encode() + b"\n",
        GERMAN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GERMAN.encode(),
        pack(GERMAN.encode()),
        pack(GERMAN[:6].encode()) + pack(GERMAN[6:].encode()),
    ],
)
@pytest.mark.parametrize(
    ("name", "pack"), [("a.txt", None), ("b.gz", pack), ("c.xz", lzma.compress), ("d.bz2", bz2.compress)]
)
def test_lines(write, content, name, pack):
    if pack is not None:
        content = pack(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    source = write(content, name)
    assert list(lines(source)) == [(1, "Käse"), (2, "Brötchen 🧀"), (3, ""), (4, "Ei")]
    assert whole(source).rstrip("\n") == GERMAN


def test_only_a_newline_ends_a_line(write):
    source = write("a\u2028b\x0bc\x85d\re\n")
    assert list(lines(source)) == [(1, "a\u2028b\x0bc\x85d\re")]


def test_lines_are_read_as_they_are_asked_for(write):
    found = lines(write(b"fine\n" + b"also\n" * 30_000 + b"\xff\n"))
    assert next(found) == (1, "fine")
    with pytest.raises(DataError, match="data.txt:30002: must be UTF-8"):
        list(found)


@pytest.mark.parametrize("read", [lambda path: list(lines(path)), whole])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "ok\ncaf\xe9s\n".encode("latin1"),
            ":2: must be UTF-8: got byte 0xe9 at column 4; convert it, e.g. with iconv -f windows-1252 -t utf-8",
        ),
        (
            "ok\n5 €, it’s fine".encode("cp1252"),
            ":2: must be UTF-8: got byte 0x80 at column 3; .* iconv -f windows-1252 ",
        ),
        ("ok\nпривет".encode("cp1251"), ":2: must be UTF-8: .* iconv -f ENCODING -t utf-8 .windows-1251, "),
        ("ok\n日本語".encode("shift_jis"), ":2: must be UTF-8: .* iconv -f ENCODING -t utf-8 .windows-1251, shift_jis"),
        (b"ok\nK\xc3\xa4se \xc3\n", ":2: must be UTF-8: got byte 0xc3 at column 7; all else in it is"),
        (b"ok\nK\xc3", ":2: must be UTF-8: got byte 0xc3 at column 2"),
        (b"\xef\xbb\xbf\xe9", ":1: must be UTF-8: got byte 0xe9 at column 1"),
        ("hello\n".encode("utf-16"), ":1: must be UTF-8: got byte 0xff at column 1; .* iconv -f utf-16 -t utf-8"),
        ("hello\n".encode("utf-16-le"), ":1: must be a text file in UTF-8: got UTF-16; .* iconv -f utf-16le -t utf-8"),
        ("hello\n".encode("utf-16-be"), ":1: must be a text file in UTF-8: got UTF-16; .* iconv -f utf-16be -t utf-8"),
        (b"a\n\nb and c and \0d\n", ":3: must be a text file in UTF-8: got a NUL byte"),
        (pack(b"a\n" * 999)[:-9], ": must be a readable file: got the error 'Compressed file ended"),
        (pack(b"a\n" * 999)[:10] + b"\xff" * 20, ": must be a readable file: got the error 'Error -3"),
        (pack(b"a\n") + b"rest", ": must be a readable file: got the error 'Not a gzipped file"),
    ],
)
def test_what_is_no_text(write, read, content, message):
    source = write(content)
    with pytest.raises(DataError, match="^" + re.escape(source) + message):
        read(source)


@pytest.mark.parametrize(("name", "packer"), [("a.gz", "gzip"), ("a.xz", "xz"), ("a.bz2", "bzip2")])
def test_a_packed_file_that_is_none(write, name, packer):
    message = f"{name}: must be a file packed by {packer}, as its name says: got the first bytes 61 62$"
    with pytest.raises(DataError, match=message):
        list(lines(write("abc", name)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "a zip archive or a document such as .xlsx; unpack it, or save the sheet as .csv$"),
        (b"PAR1\x15\x04", "a Parquet file; put it into a folder of its own and name that, as hf:FOLDER$"),
        (b"\x28\xb5\x2f\xfd\0", "a file packed by Zstandard; unpack it, e.g. with zstd -d$"),
        (pack(b"%PDF-1.4\n"), "a PDF; extract its text, e.g. with pdftotext$"),
    ],
)
def test_a_file_of_another_kind_is_named(write, content, message):
    for read in (whole, lambda source: list(lines(source))):
        with pytest.raises(DataError, match=f"data.txt: must be a text file: got {message}"):
            read(write(content))


def test_a_hyphen_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pack(GERMAN.encode()))))
    assert whole("-") == GERMAN
    assert next(lines("-")) == (1, "Käse"), "as often as it is asked for"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff")))
    with pytest.raises(DataError, match="^standard input:2: must be UTF-8"):
        whole("-")


@pytest.mark.parametrize("content", [b"", pack(b"")])
def test_an_empty_file(write, content):
    with pytest.raises(DataError, match="data.txt: must hold at least one line: got an empty file"):
        list(lines(write(content)))


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match="none.txt: cannot be read: No such file or directory"):
        list(lines(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=f"^{tmp_path}: must be a regular file: got a folder"):
        list(lines(tmp_path))
    with pytest.raises(DataError, match=r"a\\x00b: must be a readable file: got the error 'embedded null byte'"):
        list(lines("a\0b"))


@pytest.mark.parametrize("letter", ["a", "é", "🧀"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_longest_line(write, letter, end):
    source = write("\ufeff" + letter * 7 + end + "b")
    assert (end and list(lines(source, longest=7))) in ("", [(1, letter * 7), (2, "b")])
    with pytest.raises(DataError, match="data.txt:1: a line must have at most 6 characters: got"):
        list(lines(source, longest=6))
    assert next(lines(source, longest=None))[1].startswith(letter * 7)


def test_a_line_without_end_takes_no_memory(write):
    packed = io.BytesIO()
    with gzip.open(packed, "wb") as file:
        for _ in range(40):
            file.write(b"a" * 1_000_000)
    source = write(packed.getvalue(), "long.gz")
    tracemalloc.start()
    with pytest.raises(DataError, match="long.gz:1: a line must have at most 1,000,000 characters: got more"):
        list(lines(source))
    assert tracemalloc.get_traced_memory()[1] < 12 * LONGEST
    tracemalloc.stop()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")), min_size=1), st.booleans())
def test_every_text_comes_back(write, texts, packed):
    content = "".join(text + "\n" for text in ["start", *texts]).encode()
    source = write(pack(content) if packed else content)
    assert [text for _, text in lines(source)] == ["start", *texts]
    assert whole(source).encode() == content


def test_quoted_is_one_short_line():
    assert quoted("a\n\x1b[31m" + "b" * 99) == r"'a\n\x1b[31m" + "b" * 53 + "...'"


def test_lines_that_end_with_cr_alone(write):
    source = write(b"a\rb c\r\rd\r")
    assert [line for _, line in lines(source)] == ["a", "b c", "", "d"]
    assert whole(source) == "a\nb c\n\nd\n"
    assert [line for _, line in lines(write(b"a\rb\nc\n"))] == ["a\rb", "c"]
