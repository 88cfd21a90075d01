import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from zipfile import ZipFile

import pytest

import heedful as package
from tests.tiny import draw, words

TEXT = r"^.+: (dark|light) \d+\.\d % \(then (dark|light) \d+\.\d %\)$"


class Terminal(io.BytesIO):
    def isatty(self):
        return True


@pytest.fixture
def typed(monkeypatch):
    """Makes standard input."""

    def give(content: bytes, terminal: bool = False):
        raw = Terminal(content) if terminal else io.BytesIO(content)
        stream = io.TextIOWrapper(raw)
        monkeypatch.setattr(sys, "stdin", stream)

    return give


@pytest.fixture
def files(shades):
    return [
        shades / "light" / "7.png",
        shades / "dark" / "3.png",
        shades / "light" / "0.png",
        shades / "dark" / "11.png",
    ]


def test_a_line_for_each_file_in_their_order(heedful, trained, files):
    status, out, err = heedful("predict", trained, *files)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(file) for file in files]
    assert all(re.fullmatch(TEXT, line) for line in lines)
    # The model tells bright from dark better than chance, or nothing could notice labels that are exchanged.
    assert sum(line.split(": ")[1].startswith(file.parent.name) for line, file in zip(lines, files, strict=True)) >= 3


def test_help_is_that_of_the_task_of_the_run(heedful, refused, trained, tmp_path):
    for given in ((), (trained,)):
        answer = heedful("predict", *given, "--help")
        assert answer.status == 0
        assert "Usage: heedful predict" in answer.out
        assert "--format" in answer.out
        assert ("Options of classify-image" in answer.out) == bool(given)
    assert "must be a run folder" in refused("predict", tmp_path / "none", "--help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "xml"], 'Invalid value "xml" for --format. Choose from: "text", "label", "jsonl", "data".'),
        (["--top-p", "3"], "Unknown option: --top-p"),
        (["--top-k", "-1"], "`top_k`: input should be greater than or equal to 0: got"),
        (["--data", "x.csv"], "give inputs by position or --data, not both: got 'x.png' and --data x.csv."),
        (["--task", "tag"], "is a run of classify-image: got tag."),
    ],
)
def test_an_option_that_cannot_be(refused, trained, words, message):
    assert message in refused("predict", trained, "x.png", *words)


def test_an_input_that_begins_with_a_hyphen(heedful, refused, trained, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("-x.png").write_bytes(files[0].read_bytes())
    assert refused("predict", trained, "-x.png").startswith("Unknown option: -x.png")
    for given in (["--format", "jsonl", "--", "-x.png"], ["--format", "jsonl", files[0], "--", "-x.png"]):
        lines = heedful("predict", trained, *given).out.splitlines()
        assert json.loads(lines[-1])["input"] == "-x.png"
        assert len(lines) == len(given) - 3


def test_a_folder_and_an_embedded_set(heedful, trained, shades):
    out = heedful("predict", trained, shades, "digits[:3]").out
    names = [line.split(": ")[0] for line in out.splitlines()]
    assert len(names) == 43
    assert names[:3] == [f"{shades}/dark/{i}.png" for i in range(3)]
    assert names[40:] == ["digits[1437]", "digits[1438]", "digits[1439]"]


def test_more_inputs_than_a_batch_one_by_one_or_together(heedful, trained, shades):
    files = sorted(shades.glob("*/*.png"))
    many = (files * 2)[:67]
    out = heedful("predict", trained, *many).out
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(file) for file in many]
    assert out.splitlines()[66] == heedful("predict", trained, many[66]).out.rstrip("\n")


def test_paths_on_standard_input(heedful, trained, files, typed):
    typed("\n".join(["", *map(str, files), "", "  "]).encode())
    found = heedful("predict", trained)
    assert found == heedful("predict", trained, *files)
    typed("\n".join(map(str, files)).encode())
    assert heedful("predict", trained, "-") == found
    typed(b"")
    assert heedful("predict", trained, "--", "-") == (0, "", "")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_the_bytes_of_a_picture_on_standard_input(heedful, trained, files, typed, kind, tmp_path):
    from PIL import Image

    file = tmp_path / f"x.{kind.lower()}"
    Image.open(files[0]).save(file, kind)
    typed(file.read_bytes())
    status, out, err = heedful("predict", trained)
    assert (status, err) == (0, "")
    assert out == heedful("predict", trained, file).out.replace(str(file), "stream")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nowhere.png\n", "nowhere.png: must be a picture, a folder"),
        (b"\x89PNG\r\n\x1a\n", "stream: must be "),
        (b"\xff\xfe\x00rest", "stream: must be a picture"),
    ],
)
def test_standard_input_that_is_no_picture(refused, trained, typed, content, message):
    typed(content)
    assert message in refused("predict", trained)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_of_nothing_there_is_nothing_to_predict_and_to_show(heedful, refused, trained, typed, content, tmp_path):
    typed(content)
    assert heedful("predict", trained) == (0, "", "")
    typed(content)
    assert "give inputs by position, or on standard input: got none" in refused(
        "inspect", trained, "--out", tmp_path / "report.html"
    )
    assert not (tmp_path / "report.html").exists()


def test_a_terminal_is_not_waited_for(refused, trained, typed):
    typed(b"", terminal=True)
    assert refused("predict", trained) == "give inputs by position, or on standard input: got neither."


def test_a_bad_picture_among_good_ones(refused, trained, files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(files[0].read_bytes()[:60])
    assert refused("predict", trained, files[0], bad, files[1]).startswith(f"{bad}: must be a whole picture: got ")
    bad.write_bytes(b"")
    assert refused("predict", trained, files[0], bad).endswith("got an empty file")
    assert refused("predict", trained, files[0], tmp_path / "nowhere.png").startswith(
        f"{tmp_path / 'nowhere.png'}: must be "
    )


@pytest.mark.parametrize("kind", ["words", "folder", "archive"])
def test_a_bad_picture_among_good_ones_costs_none_of_the_answers_before_it(heedful, trained, files, tmp_path, kind):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"bad" if number == 3 else files[0].read_bytes())
    given = sorted(folder.iterdir()) if kind == "words" else [folder]
    if kind == "archive":
        with ZipFile(tmp_path / "x.zip", "w") as archive:  # in another order
            for file in sorted(folder.iterdir(), reverse=True):
                archive.write(file, file.name)
        given = [tmp_path / "x.zip"]
    status, out, err = heedful("predict", trained, *given)
    assert [line.partition(": ")[0].rpartition("/")[2] for line in out.splitlines()] == ["0.png", "1.png", "2.png"]
    assert (status, err.count("\n")) == (2, 1)
    assert "3.png: must be a picture" in err


def test_a_bad_end_while_standard_input_is_open(trained, files):
    """In a process of its own: what reads standard input must not stand in the way of its end."""
    script = "import sys; from heedful.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "predict", str(trained)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        process.stdin.write(f"{files[0]}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline().startswith(f"{files[0]}: ".encode())  # at once
        process.stdin.write(b"no.png\n")
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"heedful: no.png: must be a picture")
        assert process.wait() == 2


def test_standard_input_that_is_closed(refused, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    for given in (("predict", trained), ("inspect", trained, "--out", tmp_path / "x.html")):
        assert "give inputs by position, or on" in refused(*given)


def test_classes_and_files_with_any_name(heedful, tmp_path, monkeypatch):
    names = ("Katze (süß)", "新しい [猫] :cat:", "e\u0301 % {x}")
    data = draw(tmp_path / "naïve ☃", count=7, classes=names)
    status, out, _ = heedful(*words(data, tmp_path / "läufe"))
    assert status == 0
    assert str(data) in out
    out = heedful("predict", tmp_path / "läufe", data / names[1] / "0.png", "--format", "jsonl").out
    assert json.loads(out)["label"] in names
    assert "\\u" not in out
    assert set(package.load(tmp_path / "läufe").task.target.classes) == set(names)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_standard_output_cannot_encode_is_escaped(trained, files, tmp_path, monkeypatch):
    from heedful.cli import main

    odd = tmp_path / "新.png"
    odd.write_bytes(files[0].read_bytes())
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit, match="^0$"):
        main(["predict", str(trained), str(odd)])
    stream.seek(0)
    assert "\\u65b0.png: " in stream.read()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_out_of_memory_says_what_to_set_for_the_task(refused, trained, files, tmp_path, monkeypatch, error):
    from heedful.tasks.classify_image import ClassifyImage
    from heedful.tasks.memory import less_memory
    from heedful.tasks.translate import Translate

    def fail(*args, **kwargs):
        raise error

    for name in ("predict", "inspect", "loss"):
        monkeypatch.setattr(ClassifyImage, name, fail)
    line = "there is not enough memory: "
    assert refused("predict", trained, *files) == line + "fewer or smaller inputs may do."
    assert refused("inspect", trained, *files, "--out", tmp_path / "r.html") == line + "a shorter input needs less."
    assert refused(*words(files[0].parents[1], tmp_path / "run")).startswith(
        line + "a smaller training.batch_size, data.size, "
    )
    assert issubclass(package.OutOfMemoryError, MemoryError)
    with pytest.raises(package.OutOfMemoryError, match=line):
        package.load(trained).predict(files)
    assert less_memory(Translate, predicting=True) == (
        "a smaller --num-samples, --beams, --n-best, --max-new-tokens, or fewer or smaller inputs, may do"
    )


def test_options_have_bounds():
    from heedful._errors import SettingsError
    from heedful.tasks.text_generation import GenerationOptions
    from heedful.training.settings import validated

    for name, most in (("beams", 1000), ("n_best", 1000), ("num_samples", 10_000), ("max_new_tokens", 1_000_000)):
        validated(GenerationOptions, {name: most})
        with pytest.raises(
            SettingsError, match=f"`{name}`: input should be less than or equal to {most}: got {most + 1}"
        ):
            validated(GenerationOptions, {name: most + 1})
