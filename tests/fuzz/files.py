"""Files, folders and requests from strangers, mutated by hypothesis, in a process with limits: what is no good is one line.

python -m tests.fuzz files                              # ten minutes
python -m tests.fuzz files --only folder --minutes 60
python -m tests.fuzz files --seed 7 --rounds 1          # the same cases again
"""

import argparse
import contextlib
import faulthandler
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import resource
import shutil
import socket
import struct
import sys
import tarfile
import tempfile
import time
import wave
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from PIL import Image

import heedful
from heedful import HeedfulError
from heedful.cli import run
from heedful.data.images import read_images, read_unlabeled
from heedful.data.inputs import InputKind, all_inputs, read_input
from heedful.data.text.documents import read_documents
from heedful.data.text.labeled import read_texts
from heedful.data.text.parallel import read_pairs, read_sources
from heedful.data.text.plain import read_plain
from heedful.data.text.tagged import read_tagged
from heedful.inspection.calls import AttentionCall
from heedful.inspection.recording import Recording
from heedful.inspection.storage import save
from heedful.ops import ALiBi, AttentionMatrix, Causal, Local
from heedful.report import attention_section
from heedful.report.live import LivePage
from tests.inspection import folders

MEMORY = 2 << 30  # bytes that the process may take beyond what it has when it begins
PATIENCE = 60  # seconds that a case may take
LIMITS = {"HEEDFUL_MAX_BYTES": str(32 << 20), "HEEDFUL_MAX_ITEMS": "100000"}
TROUBLE = [
    b"", b"\0", b"\xff", b"\xff\xfe", b"\x1f\x8b", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\n", b"\r", b"\t", b" ", b'"', b",", b"}",
    b"1e999", b"-1", b"0", b"NaN", b"null", b"true", b"\\ud800", b"\\u0000", b"\xe2\x80\xae", b"\x1b[2J", b"9" * 5000,
    b"[" * 100_000, b'{"a":' * 50_000, b"../" * 50, b"/dev/zero", b"__proto__",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, 10**4000, 1e308, 0.5, "", "a", "../x", "/dev/zero", "\x1b[2J", "\ud800", [], {}, [[]],
    ["a"] * 3, {"a": 1}, [None], "9" * 400,
]  # fmt: skip


class Subject(NamedTuple):
    """What is mutated, and who reads it; the name tells where a mutation of JSON makes sense."""

    name: str
    content: bytes
    read: Callable[[bytes], object]


@st.composite
def mutated(draw: Any, content: bytes) -> bytes:
    """The content with some bytes cut, left out, put in, replaced or repeated; of JSON also with other values."""
    if content[:1] in (b"{", b"[") and draw(st.booleans()):
        with contextlib.suppress(ValueError):
            return json.dumps(_other_values(draw, json.loads(content))).encode()
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        middle = draw(st.sampled_from(TROUBLE) | st.binary(max_size=8))
        match draw(st.sampled_from(["cut", "insert", "replace", "leave out", "repeat"])):
            case "cut":
                content = content[:at]
            case "insert":
                content = content[:at] + middle + content[at:]
            case "replace":
                content = content[:at] + middle + content[at + len(middle) :]
            case "leave out":
                content = content[:at] + content[at + size :]
            case "repeat":
                content = content[:at] + content[at : at + size] * draw(st.sampled_from([2, 50, 3000])) + content[at:]
    return content


def _other_values(draw: Any, value: Any) -> Any:
    """The value of JSON with something else at one place."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(VALUES))
    key = draw(st.sampled_from(keys))
    other = _other_values(draw, value[key])
    return {**value, key: other} if isinstance(value, dict) else [*value[:key], other, *value[key + 1 :]]


def assert_one_line(message: str) -> None:
    assert "\n" not in message.rstrip("\n"), message[:3000]
    assert message


def of_file(folder: Path, name: str, content: bytes, *readers: Callable[[str], object]) -> Iterator[Subject]:
    """Readers of a file of this name."""
    for reader in readers:
        file = folder / f"{reader.__name__}-{name}"

        def read(content: bytes, file: Path = file, reader: Callable[[str], object] = reader) -> None:
            file.write_bytes(content)
            try:
                reader(str(file))
            except HeedfulError as error:
                assert_one_line(str(error))

        yield Subject(f"{reader.__name__} {name}", content, read)


def tagged_alone(path: str) -> object:
    return read_tagged(path, labels=False)


def texts_alone(path: str) -> object:
    return read_texts(path, labeled=False)


def standard_input(path: str) -> object:
    kinds = (InputKind.IMAGE, InputKind.TEXT)
    return [all_inputs(kind, (), io.BufferedReader(io.FileIO(path))) for kind in kinds]


def settings(path: str) -> object:
    from heedful.tasks.classify import ClassifySettings
    from heedful.training.settings import settings_of

    return settings_of(ClassifySettings, config=path)


def readers(folder: Path) -> Iterator[Subject]:
    """Every reader of data."""
    row = "{}\t{}\t_\tNOUN\t_\tNumber=Sing\t0\troot\t_\t_\n"
    conllu = "# text = a b\n" + row.format(1, "a") + row.format(2, "b") + "\n" + row.format(1, "c") + "\n"
    table = b"text\tlabel\na fine film\tgood\n\xc3\xa4wful\tbad\n"
    comma = b'source,target,label\n"a, ""fine"" film",gut,x\nbad,schlecht,y\n'
    objects = b'{"source": ["We sort.", "It works."], "target": "Sorting", "text": "a", "label": 1}\n' * 2
    yield from of_file(folder, "a.conllu", conllu.encode(), read_tagged, tagged_alone)
    yield from of_file(folder, "a.txt", b"Bo NN B-PER\nran VB O\n\nRun VB O\n", read_tagged, read_plain, read_sources)
    yield from of_file(folder, "a.tsv", table, read_texts, texts_alone, read_sources)
    yield from of_file(folder, "a.csv", comma, read_pairs, read_texts)
    yield from of_file(folder, "a.jsonl", objects, read_documents, read_texts, read_pairs)
    yield from of_file(folder, "a.tsv.gz", gzip.compress(table * 40, mtime=0), read_texts, read_plain)
    yield from of_file(folder, "a.toml", b"[model]\nlayers = 2\n[data]\ntokenizer = 'words'\n", settings)
    pictures = {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        stream = io.BytesIO()
        Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(stream, kind)
        pictures[kind] = stream.getvalue()
        yield from of_file(folder, f"a.{kind.lower()}", pictures[kind], read_unlabeled, read_input)
    yield from of_file(folder, "b.png", pictures["PNG"], standard_input)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(range(200)))
    yield from of_file(folder, "a.wav", sound.getvalue(), read_input)
    names = ["a/1.png", "a/2.png", "b/1.png"]
    for suffix, method in ((".zip", zipfile.ZIP_DEFLATED), ("-stored.zip", zipfile.ZIP_STORED)):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name in names:
                archive.writestr(name, pictures["PNG"])
        yield from of_file(folder, f"a{suffix}", stream.getvalue(), read_images)
    for suffix, mode in ((".tar", "w:"), (".tgz", "w:gz")):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.pax_headers = len(pictures["PNG"]), {"comment": "ä"}
                archive.addfile(member, io.BytesIO(pictures["PNG"]))
        yield from of_file(folder, f"a{suffix}", stream.getvalue(), read_images)
    (folder / "read_images-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 2) + b"\0\1")
    idx = struct.pack(">4I", 0x803, 2, 3, 4) + bytes(24)
    yield from of_file(folder, "images-idx3-ubyte", idx, read_images)
    (folder / "1.png").write_bytes(pictures["PNG"])
    yield from of_file(folder, "pictures.csv", b"path,label\n1.png,a\n1.png,b\n", read_images)


def command(*words: str) -> None:
    """Runs a command: done, or one line and status 2."""
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        status = run(words)
        err.flush()
    said = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert status == 0 or (status == 2 and said.startswith("heedful: ") and said.count("\n") == 1), (
        status,
        said[:3000],
    )


def run_folders(folder: Path) -> Iterator[Subject]:
    """The files of a run folder, whose checksums are put right behind a mutation."""
    place = folder / "run"
    texts = ["a fine film", "a dull film", "a fine day", "a dull day"] * 5
    tiny = (
        "model.width=8",
        "model.heads=2",
        "model.layers=1",
        "model.ffn_width=8",
        "model.ensemble_size=1",
        "training.epochs=1",
    )
    heedful.train(
        "classify", (texts, ["good", "bad"] * 10), settings=[*tiny, "model.pooling_heads=1"], out=place, progress=False
    )
    good = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}

    def read(content: bytes, name: str) -> None:
        for other, was in good.items():
            (place / other).write_bytes(was)
        (place / name).write_bytes(content)
        if name != "run.json":
            manifest = json.loads(good["run.json"])
            manifest["files"][name] = hashlib.sha256(content).hexdigest()
            (place / "run.json").write_text(json.dumps(manifest))
        command("predict", str(place), "a fine film")

    for name in sorted(set(json.loads(good["run.json"])["files"]) & set(good) | {"run.json"}):
        yield Subject(f"folder {name}", good[name], functools.partial(read, name=name))


def recordings(folder: Path) -> Iterator[Subject]:
    """The files of a recording."""
    place = folder / "recording"
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 2, 6, 4).unbind()
    matrix = AttentionMatrix(query, key, pattern=Causal() & Local(2), bias=ALiBi(2))
    save(Recording([AttentionCall("layer", "self", matrix, "eager")]), place)
    good = {file.name: file.read_bytes() for file in place.iterdir()}

    def read(content: bytes, name: str) -> None:
        for other, was in good.items():
            (place / other).write_bytes(was)
        (place / name).write_bytes(content)
        try:
            heedful.load_watch(place)[0].matrix.entropy()
        except (HeedfulError, ValueError) as error:
            assert_one_line(str(error))

    for name in good:
        yield Subject(f"recording {name}", good[name], functools.partial(read, name=name))


def requests(folder: Path) -> Iterator[Subject]:
    """Requests of a live page, as bytes in a connection."""
    query, key = torch.randn(2, 1, 2, 20, 4).unbind()
    seen = Recording([AttentionCall("layer", "self", AttentionMatrix(query, key), "eager")])
    page = LivePage(title="T", sections=[attention_section(seen, title="A")], recordings=[seen])
    address = page.address.split("/", 3)[3]
    window = "window?section=0&layer=0&heads=0,1&top=0&bottom=20&left=0&right=20&rows=5&columns=5&effort=0&pairs=0"

    def read(content: bytes) -> None:
        with socket.create_connection(("127.0.0.1", page.port), timeout=PATIENCE / 2) as connection:
            answer = b""
            with contextlib.suppress(OSError):  # it may be refused before all is sent
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    answer += part
        assert answer == b"" or answer.startswith((b"HTTP/1.1 ", b"<", b"HTTP/1.0 ")) or b"\n" not in answer, answer[
            :200
        ]
        assert not answer.startswith(b"HTTP/1.1 500"), answer[:2000]

    for path in (f"/{address}", f"/{address}{window}"):
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nSec-Fetch-Site: none\r\n\r\n"
        yield Subject(f"request {path[-6:]}", request.encode(), read)


def models(folder: Path) -> Iterator[Subject]:
    """The files of a model folder of Hugging Face."""
    place = folders.bert(folder / "bert")
    good = {file.name: file.read_bytes() for file in place.iterdir()}

    def read(content: bytes, name: str) -> None:
        for other, was in good.items():
            (place / other).write_bytes(was)
        (place / name).write_bytes(content)
        command("inspect", str(place), "a fine film", "--out", str(folder / "report.html"))

    for name in good:
        yield Subject(f"model {name}", good[name], functools.partial(read, name=name))


def addresses(folder: Path) -> Iterator[Subject]:
    """What stands behind # in the address of a page, in a browser."""
    from playwright.sync_api import sync_playwright

    query, key = torch.randn(2, 1, 2, 6, 4).unbind()
    calls = [AttentionCall(f"layers.{i}", "self", AttentionMatrix(query, key), "eager") for i in range(2)]
    Recording(calls).report(folder / "page.html", tokens=list("abcdef"))
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    page = sync_playwright().start().chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))

    def read(content: bytes) -> None:
        page.goto("about:blank")
        page.goto((folder / "page.html").as_uri() + "#" + content.decode("utf-8", "replace"))
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert "cannot be shown" not in page.locator("main").inner_text()
        assert not complaints

    for view in ("overview", "map", "input", "layers", "compare"):
        rest = "&layer=1&head=0&scale=sqrt&query=3&pins=1,2&rect=0,0,3,3&cell=1,2&with=0:0:1&order=up&sort=entropy&pair=1,2"
        yield Subject(f"address {view}", f"section-0&theme=dark&view={view}{rest}".encode(), read)


GROUPS = {
    "readers": readers, "folder": run_folders, "recording": recordings, "requests": requests, "models": models,
    "addresses": addresses,
}  # fmt: skip


def limit() -> None:
    """From now on, this process has little memory and no large files."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def attempt(subject: Subject, seed: int, examples: int) -> None:
    """Reads so many mutations of it."""

    def check(content: bytes) -> None:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)  # who hangs dies
        try:
            subject.read(content)
        finally:
            faulthandler.cancel_dump_traceback_later()

    options = hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    hypothesis.seed(seed)(options(hypothesis.given(mutated(subject.content))(check)))()


def main() -> int:
    """The command line; the first case that is no good ends it with a traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz files", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first round")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="how often every subject is tried")
    parser.add_argument("--examples", type=int, default=50, help="mutations of each subject in a round")
    parser.add_argument("--minutes", type=float, default=10.0, help="to stop after")
    parser.add_argument("--only", choices=[*GROUPS], action="append", help="some of the subjects")
    given = parser.parse_args(sys.argv[2:])
    os.environ.update(LIMITS)
    end, tried = time.monotonic() + 60 * given.minutes, 0
    with tempfile.TemporaryDirectory() as folder:
        subjects = [one for name in given.only or GROUPS for one in GROUPS[name](Path(folder))]
        limit()
        for seed, subject in itertools.product(range(given.seed, given.seed + given.rounds), subjects):
            if time.monotonic() > end:
                break
            try:
                attempt(subject, seed, given.examples)
            except BaseException:
                print(f"{subject.name}, seed {seed}:", file=sys.stderr)
                raise
            tried += given.examples
    print(f"{tried} mutations of {len(subjects)} kinds of files and requests")
    return 0
