"""`heedful inspect FOLDER ...` for models of Hugging Face, as a person runs it."""

import importlib
import io
import json
import re
import shutil
import sys

import pytest

from tests.inspection import folders


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A text model, one that writes, one that sees; not to be changed."""
    place = tmp_path_factory.mktemp("models")
    return {name: getattr(folders, name)(place / name) for name in ("bert", "gpt2", "vit", "bart")}


@pytest.fixture
def damaged(tmp_path, models):
    """A copy of the text model that may be damaged."""
    return shutil.copytree(models["bert"], tmp_path / "damaged")


def payload(file):
    """What the page reads, and its text."""
    page = file.read_text(encoding="utf-8")
    [found] = re.findall(r'<script type="application/json" id="payload">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_one_file_about_a_text(heedful, models, tmp_path):
    report = tmp_path / "report.html"
    status, out, err = heedful("inspect", models["bert"], folders.TEXT, "--out", report)
    assert (status, out, err) == (0, f"report: {report}\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    page = payload(report)
    about = dict(page["about"])
    assert about["model"] == str(models["bert"])
    assert set(about) == {"model", "heedful", "command"}
    [section] = page["sections"]
    assert (section["title"], section["kind"]) == (folders.TEXT, "attention")
    assert section["axes"][0]["tokens"][0] == "[CLS]"
    assert len(section["predictions"]) == 3
    assert page["title"] == "What bert attends to"


def test_a_text_of_a_file_or_of_standard_input(heedful, models, tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text(folders.OTHER)
    monkeypatch.chdir(tmp_path)
    assert heedful("inspect", models["gpt2"], "words.txt", "--out", tmp_path / "a.html").status == 0
    [section] = payload(tmp_path / "a.html")["sections"]
    assert section["title"] == "words.txt"
    tokens = section["axes"][0]["tokens"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(folders.OTHER.encode())))
    assert heedful("inspect", models["gpt2"], "--out", tmp_path / "b.html").status == 0
    [section] = payload(tmp_path / "b.html")["sections"]
    assert (section["title"], section["axes"][0]["tokens"]) == ("standard input", tokens)


def test_what_one_should_know_is_said_on_the_page_and_in_the_terminal(heedful, models, tmp_path):
    status, out, _ = heedful("inspect", models["bart"], folders.TEXT, "--out", tmp_path / "report.html")
    assert status == 0
    note, report = out.splitlines()
    assert note.startswith("note: ")
    assert report == f"report: {tmp_path / 'report.html'}"
    assert note.removeprefix("note: ") in payload(tmp_path / "report.html")["sections"][0]["text"]


def test_layers_and_heads(heedful, models, tmp_path):
    report = tmp_path / "report.html"
    status, out, _ = heedful(
        "inspect", models["bert"], folders.TEXT, "--out", report, "--layers", "1", "--heads", "0-1"
    )
    assert status == 0
    assert out.splitlines() == [f"report: {report}", f"with these heads: {report.as_uri()}#section-0&head=0,1"]
    [section] = payload(report)["sections"]
    assert [layer["name"] for layer in section["layers"]] == ["bert.encoder.layer.1.attention.self"]
    assert section["layers"][0]["heads"] == 2


def test_another_input_is_a_section_of_its_own(heedful, models, tmp_path):
    report = tmp_path / "report.html"
    assert heedful("inspect", models["bert"], folders.TEXT, "--compare", folders.OTHER, "--out", report).status == 0
    assert [section["title"] for section in payload(report)["sections"]] == [folders.TEXT, folders.OTHER]


def test_another_model_gets_the_same_input(heedful, models, tmp_path):
    report = tmp_path / "report.html"
    given = ("inspect", models["bert"], folders.TEXT, "--compare", models["gpt2"], "--out", report)
    assert heedful(*given).status == 0
    page = payload(report)
    assert [section["title"] for section in page["sections"]] == [f"bert: {folders.TEXT}", f"gpt2: {folders.TEXT}"]
    assert page["title"] == "What bert and gpt2 attend to"
    assert dict(page["about"])["compared with"] == str(models["gpt2"])
    assert [section["opens"] for section in page["sections"]] == [{"view": "compare", "with": "1:0:mean"}, {}]


def test_a_budget_is_in_megabytes(heedful, models, trained, refused, tmp_path):
    given = ("inspect", models["bert"], folders.TEXT, "--out", tmp_path / "report.html", "--budget")
    assert heedful(*given, 1).status == 0
    assert refused(*given, 0) == "--budget must be at least 1 megabyte: got 0."
    line = refused("inspect", trained, "3.png", "--out", tmp_path / "report.html", "--budget", 1)
    assert line == "--budget is for models of Hugging Face: a run folder was given."


def test_a_generation_is_one_page(heedful, models, trained, refused, tmp_path):
    report = tmp_path / "report.html"
    given = ("inspect", models["gpt2"], folders.OTHER, "--out", report, "--generate")
    done = heedful(*given, 20)
    assert done.status == 0
    [section] = payload(report)["sections"]
    (axis,), layers = section["axes"], section["layers"]
    assert [layer["kind"] for layer in layers] == ["self", "self", "rollout"]
    assert [layer["label"] for layer in layers] == ["layer 0", "layer 1", "rollout"]
    count = len(axis["tokens"])
    assert {(layer["queries"], layer["keys"]) for layer in layers} == {(count, count)}
    assert re.search(r"The first (\d+) tokens were given; (\d+) were generated greedily", done.out)
    first, new = map(int, re.search(r"first (\d+) tokens were given; (\d+) were", done.out).groups())
    assert count == first + new - 1
    assert section["output"].startswith(folders.OTHER)
    assert refused(*given, 0) == "--generate must be at least 1 token: got 0."
    line = refused(*given, 50)
    assert line.endswith(
        f"--generate must be at most {40 - first}, with {first} tokens of text in 40 positions: got 50."
    )
    line = refused("inspect", models["bert"], folders.TEXT, "--generate", 3)
    assert line == f"{models['bert']}: --generate needs a language model: got a BertForSequenceClassification."
    line = refused("inspect", models["bart"], folders.TEXT, folders.OTHER, "--generate", 3)
    assert line == f"{models['bart']}: --generate makes the target text: give none."
    line = refused("inspect", trained, "3.png", "--out", report, "--generate", 3)
    assert line == "--generate is for models of Hugging Face: a run folder was given."


def test_a_run_folder_beside_a_model_and_with_some_layers(heedful, models, trained, shades, tmp_path):
    report, picture = tmp_path / "report.html", shades / "dark" / "3.png"
    assert heedful("inspect", trained, picture, "--compare", models["vit"], "--out", report).status == 0
    titles = [section["title"] for section in payload(report)["sections"]]
    assert [title.split(":")[0] for title in titles] == [trained.name, "vit"]
    other = shades / "light" / "5.png"
    given = ("inspect", trained, picture, "--compare", other, "--layers", "0,pooling", "--out", report)
    assert heedful(*given).status == 0
    sections = payload(report)["sections"]
    assert [str(other) in section["title"] for section in sections] == [False, True]
    assert [len(section["layers"]) for section in sections] == [2, 2]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_drawing_beside_the_report(heedful, models, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    drawing = tmp_path / f"view.{suffix}"
    given = ("inspect", models["bert"], folders.TEXT, "--out", tmp_path / "report.html", "--png", drawing)
    assert heedful(*given).status == 0
    assert drawing.stat().st_size > 1000
    whole = drawing.read_bytes()
    assert heedful(*given, "--layers", "0", "--heads", "1").status == 0
    assert drawing.read_bytes() != whole


def broken_json(folder, _):
    (folder / "config.json").write_text('{"model_type":')
    return (folder, folders.TEXT), f"{folder / 'config.json'}: must be JSON: "


def foreign_json(folder, _):
    (folder / "config.json").write_text("{}")
    return (folder, folders.TEXT), f"{folder / 'config.json'}: must be the configuration of a model of Hugging Face's: "


def unknown_type(folder, _):
    folders.change(folder, model_type="perceptron9000")
    return (folder, folders.TEXT), f"{folder}: must be of an architecture that transformers "


def unknown_architecture(folder, _):
    folders.change(folder, architectures=["BertForPoetry"])
    return (folder, folders.TEXT), f"{folder}: `architectures` in config.json must name a class of transformers "


def architecture_of_another_type(folder, _):
    folders.change(folder, architectures=["GPT2LMHeadModel"])
    return (folder, folders.TEXT), f"{folder}: `architectures` in config.json must fit its `model_type`: got "


def code_of_its_own(folder, _):
    ran = folder.parent / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    folders.change(
        folder, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, architectures=None
    )
    return (folder, folders.TEXT), f"{folder}: must be of an architecture that transformers "


def other_shapes(folder, _):
    folders.change(folder, hidden_size=32)
    return (folder, folders.TEXT), f"{folder}: cannot be loaded: "


def no_weights(folder, _):
    (folder / "model.safetensors").unlink()
    return (folder, folders.TEXT), f"{folder}: must hold the model's weights as .safetensors: got none."


def pickled_weights(folder, _):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return (folder, folders.TEXT), f"{folder}: must hold the model's weights as .safetensors: got pytorch_model.bin, "


def half_of_the_weights(folder, _):
    return (folders.broken_weights(folder), folders.TEXT), f"{folder}: cannot be loaded: "


def no_tokenizer(folder, _):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    return (folder, folders.TEXT), f"{folder}: has no tokenizer: its vocabulary is empty."


def broken_tokenizer(folder, _):
    (folder / "tokenizer.json").write_text("{")
    return (folder, folders.TEXT), f"{folder}: has no tokenizer that can be loaded: "


def a_picture_for_a_text_model(folder, models):
    file = folders.picture(folder.parent / "noise.png")
    return (folder, file), f"{folder}: takes text, or two texts: got a picture."


def a_text_for_a_picture_model(folder, models):
    return (models["vit"], folders.TEXT), f"{models['vit']}: takes a picture: got text."


def three_texts(folder, _):
    return (folder, "a", "b", "c"), f"{folder}: takes text, or two texts: got text, text, text."


def two_texts_for_a_language_model(folder, models):
    return (models["gpt2"], "a", "b"), f"{models['gpt2']}: takes text: got text, text."


def three_texts_for_one_that_writes(folder, models):
    where = models["bart"]
    return (
        where,
        "a",
        "b",
        "c",
    ), f"{where}: takes text, and after it a target text: got text, text"


def no_such_layer(folder, _):
    return (
        folder,
        folders.TEXT,
        "--layers",
        "2",
    ), "--layers must be numbers from 0 to 1, ranges of them, or parts of bert."


def no_such_head(folder, _):
    return (folder, folders.TEXT, "--heads", "0,2"), "--heads must be numbers from 0 to 1: got 2."


def no_head(folder, _):
    return (folder, folders.TEXT, "--heads", "first"), "--heads must be numbers and ranges, such as 0,2-4: got 'first'."


def drawing_of_another_kind(folder, _):
    return (
        folder,
        folders.TEXT,
        "--png",
        folder / "view.gif",
    ), f"{folder / 'view.gif'}: the drawing must be a file in "


def drawing_nowhere(folder, _):
    file = folder / "nowhere" / "view.png"
    return (folder, folders.TEXT, "--png", file), f"{file}: the drawing must be a file in a folder that exists"


BAD = [
    broken_json, foreign_json, unknown_type, unknown_architecture, architecture_of_another_type, code_of_its_own,
    other_shapes, no_weights, pickled_weights, half_of_the_weights, no_tokenizer, broken_tokenizer,
    a_picture_for_a_text_model, a_text_for_a_picture_model, three_texts, two_texts_for_a_language_model,
    three_texts_for_one_that_writes, no_such_layer, no_such_head, no_head, drawing_of_another_kind, drawing_nowhere,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_is_wrong_is_one_line_and_the_old_report_stays(refused, models, damaged, tmp_path, bad):
    report = tmp_path / "report.html"
    report.write_text("old")
    given, message = bad(damaged, models)
    line = refused("inspect", *given, "--out", report)
    assert line.startswith(message), line
    assert report.read_text() == "old"
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob(".*"))


def test_where_no_report_can_be_written(refused, models, tmp_path):
    for out in (tmp_path, tmp_path / "nowhere" / "report.html"):
        line = refused("inspect", models["bert"], folders.TEXT, "--out", out)
        assert line == f"{out}: the report must be a file in a folder that exists."
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_given(refused, models, monkeypatch):
    class Terminal:
        @property
        def buffer(self):
            return self

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert refused("inspect", models["bert"]) == "give inputs by position, or one on standard input: got neither."


class Hub:
    """Stands for the client of the hub: it answers, or it raises."""

    error: Exception | None = None
    asked: list[str] = []  # noqa: RUF012

    def model_info(self, name, timeout):
        self.asked.append(name)
        if self.error is not None:
            raise self.error


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "asked", [])
    return Hub


def test_a_name_without_a_network(refused, hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "error", OSError("no network"))
    for name in ("nobody/no-such-model", "no-such-model-2"):
        line = refused("inspect", name, folders.TEXT)
        assert line == f"{name}: is no folder, has not been downloaded yet, and huggingface.co cannot be reached."
    assert hub.asked == ["nobody/no-such-model", "no-such-model-2"]
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_hub_does_not_have(refused, hub, monkeypatch):
    errors = importlib.import_module("huggingface_hub.errors")
    monkeypatch.setattr(hub, "error", errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError))
    line = refused("inspect", "nobody/no-such-model", folders.TEXT)
    assert line == "nobody/no-such-model: there is no such folder, and no such model on huggingface.co."
    monkeypatch.setattr(hub, "error", errors.GatedRepoError.__new__(errors.GatedRepoError))
    assert "asks for consent on huggingface.co" in refused("inspect", "nobody/no-such-model", folders.TEXT)


def test_a_folder_never_asks_the_network(heedful, hub, models, tmp_path, monkeypatch):
    import socket

    def connect(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    assert heedful("inspect", models["gpt2"], folders.TEXT, "--out", tmp_path / "report.html").status == 0
    assert hub.asked == []


def test_transformers_may_be_missing(refused, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    line = refused("inspect", models["bert"], folders.TEXT)
    assert line == "a model of Hugging Face needs `pip install 'heedful[hub]'`: the package transformers is missing."


def test_a_page_is_served_until_it_is_interrupted(heedful, models, tmp_path, monkeypatch):
    import urllib.request
    import webbrowser

    from heedful.report.live import LivePage

    pages, opened = [], []

    def interrupted(page):
        pages.append(urllib.request.urlopen(page.address).read().decode("utf-8"))
        page.close()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LivePage, "serve", interrupted)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    status, out, _ = heedful("inspect", models["bert"], folders.TEXT, "--serve")
    assert status == 0
    assert re.fullmatch(r"page, until Ctrl-C: http://127\.0\.0\.1:[0-9]+/\S+/\n", out)
    assert folders.TEXT in pages[0]
    assert (list(tmp_path.iterdir()), opened) == ([], [])
    assert heedful("inspect", models["bert"], folders.TEXT, "--serve", "--open", "--out", "a.html").status == 0
    assert (tmp_path / "a.html").exists()
    assert len(opened) == 1
