"""Small files that would become large: every reader counts what it really reads."""

import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import wave
import zipfile

import pytest

from heedful._errors import DataError, SettingsError
from heedful.data import _limits, inputs, read_images, read_unlabeled, sounds
from heedful.data._entries import reading
from heedful.data.inputs import InputKind, all_inputs, from_bytes, inputs_of, read_input, resampled
from heedful.data.text.documents import read_documents
from heedful.data.text.labeled import read_texts
from heedful.data.text.parallel import read_pairs, read_sources
from heedful.data.text.plain import read_plain
from heedful.data.text.tables import read_table
from heedful.data.text.tagged import read_tagged

MEGABYTE = 1 << 20
BYTES = (
    "must hold at most 1,048,576 bytes, unpacked: got more; the environment variable HEEDFUL_MAX_BYTES sets the limit"
)
ITEMS = "must hold at most 1,000 lines, files or images: got more; the environment variable HEEDFUL_MAX_ITEMS sets the limit"
ONE = "must have at most 1,048,576 bytes: got more"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Limits that a test reaches in no time, and what was allocated."""
    monkeypatch.setenv("HEEDFUL_MAX_BYTES", str(MEGABYTE))
    monkeypatch.setenv("HEEDFUL_MAX_ITEMS", "1000")
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * MEGABYTE, f"{peak / MEGABYTE:.0f} MB"


def zeros(count):
    return b"".join([gzip.compress(bytes(MEGABYTE), mtime=0)] * count)


def packed(path, text):
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


READERS = {
    "lines.conllu.gz": read_tagged, "lines.txt.gz": read_tagged, "table.tsv.gz": read_texts, "table.csv.gz": read_texts,
    "table.jsonl.gz": read_texts, "pairs.tsv.gz": read_pairs, "sources.txt.gz": read_sources,
    "documents.jsonl.gz": read_documents, "plain.txt.gz": read_plain,
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_text_of_blank_lines_and_one_of_long_lines(tmp_path, name):
    read = READERS[name]
    blank = packed(tmp_path / name, "\n" * 100_000)
    with pytest.raises(DataError, match=ITEMS if read is not read_plain else "must hold text: got none"):
        read(blank)
    long = packed(tmp_path / f"long{name}", ("a" * 9_999 + "\n") * 400)
    with pytest.raises(DataError, match=f"{BYTES}|column|object of JSON"):
        read(long)


def endless(folder):
    """Every file that could be read, as a link to a device that has no end, or as a pipe to which nobody writes."""
    for suffix in ("", ".txt", ".tsv", ".jsonl", ".conllu", ".png", ".zip", ".tar", ".idx", ".gz"):
        for kind in ("device", "pipe"):
            path = folder / f"{kind}{suffix}"
            path.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(path)
            yield str(path), kind


def test_devices_and_pipes_are_refused_by_every_reader_of_data(tmp_path):
    files = list(endless(tmp_path))
    readers = [
        read_tagged,
        read_texts,
        read_pairs,
        read_sources,
        read_documents,
        read_plain,
        read_images,
        read_unlabeled,
    ]
    count = 0
    for path, kind in files:
        for read in readers:
            with pytest.raises(DataError, match="must be ") as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: ")
            count += f"got a {kind}" in str(caught.value)
    assert count > 100
    with pytest.raises(
        DataError, match="must be a regular file: got a pipe, which can be read only once; write what it holds"
    ):
        list(read_table(tmp_path / "pipe.tsv"))


def tar(path, *members):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, size, headers in members:
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = size, headers
            archive.addfile(member, io.BytesIO(bytes(size)))
    return path


def many_names(path):
    return tar(path / "x.tgz", *[(f"a/{row}.png", 0, {}) for row in range(1200)]), ITEMS


def long_names(path):
    return tar(
        path / "x.tgz", ("a/" + "b" * 5000, 0, {})
    ), "must have paths of at most 4,096 characters and 100 folders"


def deep_names(path):
    return tar(
        path / "x.tgz", ("a/" * 200 + "b.png", 0, {})
    ), "must have paths of at most 4,096 characters and 100 folders"


def large_headers(path):
    return tar(path / "x.tgz", ("a/1.png", 0, {"comment": "x" * 2 * MEGABYTE})), BYTES


def skipped_members(path):
    return tar(path / "x.tgz", ("a/1.png", 8 * MEGABYTE, {}), ("a/2.png", 0, {})), BYTES


def skipped_members_of_xz(path):
    plain = tar(path / "x.tar", ("a/1.png", 8 * MEGABYTE, {}), ("a/2.png", 0, {}))
    plain.write_bytes(lzma.compress(plain.read_bytes()))
    return plain, BYTES


def large_members(path):
    return tar(path / "x.tar", ("a/1.png", 2 * MEGABYTE, {}), ("b/2.png", 0, {})), ONE


def a_member_that_lies(path):
    with zipfile.ZipFile(path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(64 * MEGABYTE))
        archive.writestr("b/1.png", b"")
    content = (path / "x.zip").read_bytes().replace(struct.pack("<I", 64 * MEGABYTE), struct.pack("<I", 10))
    (path / "x.zip").write_bytes(content)
    return path / "x.zip", "must be a whole picture: got the error 'Bad CRC-32"


def a_member_of_zeros(path, method=zipfile.ZIP_BZIP2):
    with zipfile.ZipFile(path / "x.zip", "w", method) as archive:
        archive.writestr("a/1.png", bytes(16 * MEGABYTE))
        archive.writestr("b/1.png", b"")
    return path / "x.zip", ONE


def many_zipped(path):
    with zipfile.ZipFile(path / "x.zip", "w") as archive:
        for row in range(1200):
            archive.writestr(f"a/{row}.png", b"")
    return path / "x.zip", ITEMS


def a_chain_of_links(path):
    with tarfile.open(path / "x.tar", "w:") as archive:
        for row in range(500):
            member = tarfile.TarInfo(f"a/{row}.png")
            member.type, member.linkname = tarfile.SYMTYPE, f"{row + 1}.png"
            archive.addfile(member)
        archive.addfile(tarfile.TarInfo("b/1.png"))
    return path / "x.tar", "must be a file: got a link to something that is not in the archive"


def a_promise(path):
    file = path / "images.idx3-ubyte"
    file.write_bytes(struct.pack(">4I", 0x803, 1 << 20, 1 << 10, 1 << 10) + bytes(100))
    return file, "must hold the 1,099,511,627,776 bytes of its 1048576 x 1024 x 1024 header: got 100"


def zeros_behind_a_header(path):
    file = path / "images.idx3-ubyte.gz"
    file.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 1, 1, 1), mtime=0) + zeros(8))
    return file, BYTES


def many_images(path):
    file = path / "images.idx3-ubyte"
    file.write_bytes(struct.pack(">4I", 0x803, 2000, 1, 1) + bytes(2000))
    return file, ITEMS


def many_rows(path):
    (path / "x.csv").write_text("path,label\n" + "\n" * 2000)
    return path / "x.csv", ITEMS


def many_pixels(path):
    from PIL import Image

    for label in "ab":
        (path / label).mkdir()
        for row in range(4):
            Image.new("L", (600, 600)).save(path / label / f"{row}.png")
    return path, f"the pictures: {BYTES}"


def many_files(path):
    (path / "a").mkdir()
    for row in range(1001):
        (path / "a" / f"{row}.png").touch()
    return path, ITEMS


def deep_folders(path):
    inside = path
    for _ in range(120):
        inside = inside / "a"
    inside.mkdir(parents=True)
    return (
        path,
        "must have paths of at most 4,096 characters and 100 folders in each other: got 202 characters and 101 ",
    )


@pytest.mark.parametrize(
    "make",
    [
        many_names, long_names, deep_names, large_headers, skipped_members, skipped_members_of_xz, large_members, a_member_that_lies,
        a_member_of_zeros, many_zipped, a_chain_of_links, a_promise, zeros_behind_a_header, many_images, many_rows,
        many_pixels, many_files, deep_folders,
    ],
)  # fmt: skip
def test_pictures(tmp_path, make):
    source, message = make(tmp_path)
    tracemalloc.reset_peak()
    with pytest.raises(DataError, match=message) as caught:
        read_images(str(source))
    assert "\n" not in str(caught.value)


def test_a_header_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("heedful.data._trees.LONGEST_HEADER", 10_000)
    with pytest.raises(DataError, match="a header in an archive must have at most 10,000 bytes: got more"):
        read_images(str(tar(tmp_path / "x.tar", ("a/1.png", 0, {"comment": "x" * 20_000}))))


class Endless(io.RawIOBase):
    """A stream that has no end."""

    def __init__(self, piece):
        self.piece = piece

    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = (self.piece * len(buffer))[: len(buffer)]
        return len(buffer)

    def isatty(self):
        return False


@pytest.mark.parametrize("piece", [b"\x89PNG", b"\0", b"a", b"RIFF"])
def test_standard_input_without_an_end(piece, monkeypatch):
    stream = io.BufferedReader(Endless(piece))
    with pytest.raises(DataError, match=f"^standard input: {ONE}$"):
        from_bytes(inputs.read_stream(stream, "standard input"), "standard input")
    with pytest.raises(DataError, match="^stream: must "):
        read_unlabeled([io.BytesIO(bytes(2 * MEGABYTE))])
    if piece != b"a":
        for kind in (InputKind.IMAGE, InputKind.AUDIO, InputKind.SERIES):
            with pytest.raises(DataError, match="^standard input: (a path )?must have at most"):
                list(inputs_of(kind, (), stream))


def test_lines_without_an_end_come_one_by_one_but_not_all_at_once():
    stream = io.BufferedReader(Endless(b"y\n"))
    assert next(inputs_of(InputKind.TEXT, (), stream)) == "y"
    with pytest.raises(DataError, match=f"^standard input: {ITEMS}$"):
        all_inputs(InputKind.TEXT, (), stream)


def test_an_input_that_is_a_device():
    with pytest.raises(DataError, match=f"^/dev/zero: {ONE}$"):
        read_input("/dev/zero")


def sound(rate, count):
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * count))
    return content.getvalue()


def test_sounds(monkeypatch):
    slow = from_bytes(sound(1000, 5_000_000), "slow.wav")
    with pytest.raises(
        DataError, match=r"^slow.wav: must have at most 67,108,864 samples: got 80,000,000, at 16,000 a second "
    ):
        resampled(slow.value, slow.rate, 16_000, "slow.wav")
    monkeypatch.setattr(sounds, "_MAX_SAMPLES", 50_000)
    with pytest.raises(DataError, match=r"^long.wav: must hold at most 50,000 samples: got more\.$"):
        from_bytes(sound(8000, 200_000), "long.wav")


def test_too_little_memory_is_no_fault_of_the_file():
    with pytest.raises(MemoryError), reading("a.png", "a picture"):
        raise MemoryError


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "1" * 30])
def test_a_limit_that_is_none(monkeypatch, value):
    monkeypatch.setenv("HEEDFUL_MAX_ITEMS", value)
    with pytest.raises(
        SettingsError, match="the environment variable HEEDFUL_MAX_ITEMS must be a whole number from 1: got "
    ):
        _limits.Budget("x")
