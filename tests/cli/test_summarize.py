"""`summarize` at the command line: summaries that are cut out of texts, and written ones."""

import json
import re

import pytest
from torchmetrics.functional.text import rouge_score

import heedful as package
from heedful.tasks import summarize
from heedful.training.run_folder import RunFolder
from tests import languages
from tests.cli.test_predict import typed  # noqa: F401
from tests.cli.test_train import Killed, killing
from tests.texts import options
from tests.tiny import outcome

TEXT = "Dog sees cat. Indeed man has new car. Old cat eats dog. Man wants big car."
WRITES = (*languages.TINY, "search.no_repeat=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return languages.papers(tmp_path_factory.mktemp("papers") / "papers.jsonl", 80)


@pytest.fixture(scope="module")
def other_data(tmp_path_factory):
    return languages.papers(tmp_path_factory.mktemp("papers") / "test.jsonl", 20, seed=5, whole=True)


def trained(task, data, folder, *settings):
    from heedful.cli import run

    assert run(["train", task, "--data", str(data), "--out", str(folder), *options(settings)]) == 0
    return folder


@pytest.fixture(scope="module")
def chooser(data, tmp_path_factory):
    """Learned from summaries which sentence they are cut from; not to be changed."""
    return trained("summarize", data, tmp_path_factory.mktemp("runs") / "chooser", *languages.CHOOSES)


@pytest.fixture(scope="module")
def writer(data, tmp_path_factory):
    """One epoch of a model that writes; not to be changed."""
    return trained("summarize", data, tmp_path_factory.mktemp("runs") / "writer", *WRITES)


def rouge(outputs, documents):
    """The three, in percent."""
    found = [
        [rouge_score(text, row["target"], rouge_keys=key)[f"{key}_fmeasure"].item() for key in ("rouge1", "rouge2", "rougeL")]
        for text, row in zip(outputs, documents, strict=True)
    ]  # fmt: skip
    return [sum(column) / len(column) for column in zip(*found, strict=True)]


def chosen(folder, documents):
    found = package.load(folder).predict([row["source"] for row in documents])
    return sum(one.sentences == [row["labels"].index(1)] for one, row in zip(found, documents, strict=True))


def test_sentences_are_chosen_as_summaries_show(chooser):
    metrics = json.loads((chooser / "metrics.json").read_text())
    assert metrics["documents"] == {"training": 72, "held out": 8}
    assert metrics["measures"]["rouge_1"] > 0.7
    assert metrics["baselines"]["the first sentence, ROUGE-1"] < 0.6
    assert metrics["baselines"]["the best sentence, ROUGE-1 (nobody can know it)"] >= metrics["measures"]["rouge_1"]
    assert chosen(chooser, languages.documents(20, seed=9)) >= 18


def test_sentences_are_chosen_as_labels_show(data, tmp_path):
    folder = trained("summarize", data, tmp_path / "run", *languages.CHOOSES, "data.labels=labels")
    assert chosen(folder, languages.documents(20, seed=9)) >= 18
    other = tmp_path / "wrong.jsonl"
    rows = languages.documents(80)
    other.write_text("".join(json.dumps(row | {"labels": [1, 0, 0, 0]}) + "\n" for row in rows))
    folder = trained("summarize", other, tmp_path / "first", *languages.CHOOSES, "data.labels=labels")
    assert chosen(folder, languages.documents(20, seed=9)) < 12, "labels outweigh what summaries show"


def test_labels_without_summaries(heedful, tmp_path):
    file = tmp_path / "labelled.jsonl"
    rows = [{name: row[name] for name in ("source", "labels")} for row in languages.documents(80)]
    rows[0]["labels"] = [0] * len(rows[0]["labels"])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ("data.labels=labels", "data.target=")
    folder = trained("summarize", file, tmp_path / "run", *languages.CHOOSES, *settings)
    assert chosen(folder, languages.documents(20, seed=9)) >= 18
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["documents"] == {"training": 72, "held out": 7}, "without a chosen sentence there is no summary"
    assert metrics["baselines"]["the best sentence, ROUGE-1 (nobody can know it)"] == pytest.approx(1)
    assert json.loads(heedful("evaluate", folder, "--data", file, "--json").out)["documents"] == 79


@pytest.mark.parametrize("kind", ["chooser", "writer"])
def test_evaluate_says_what_torchmetrics_says(heedful, request, other_data, kind):
    run = request.getfixturevalue(kind)
    found = json.loads(heedful("evaluate", run, "--data", other_data, "--json").out)
    outputs = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    documents = languages.documents(20, seed=5)
    expected = rouge(outputs, documents)
    assert list(found["measures"].values()) == pytest.approx(expected, abs=1e-6)
    assert list(found["measures"]) == ["rouge_1", "rouge_2", "rouge_l"]
    first = rouge([row["source"][0] for row in documents], documents)
    assert list(found["baselines"].values())[:3] == pytest.approx(first, abs=1e-6)
    assert found["words"] == pytest.approx(sum(len(text.split()) for text in outputs) / 20)
    assert "torchmetrics" in found["signatures"]["rouge"]
    out = heedful("evaluate", run, "--data", other_data).out
    assert out.startswith(f"on {other_data}, 20 documents\n")
    assert re.search(rf"    rouge 1 +{100 * expected[0]:.1f} %\n", out)


def test_a_line_for_each_text_an_empty_one_for_an_empty_one(heedful, chooser, typed):  # noqa: F811
    typed(f"{TEXT}\n\n \nOne sentence\n".encode())
    status, out, err = heedful("predict", chooser)
    assert (status, err) == (0, "")
    assert out == "Indeed man has new car.\n\n\nOne sentence\n"
    (row,) = map(json.loads, heedful("predict", chooser, TEXT, "--format", "jsonl").out.splitlines())
    assert set(row) == {"text", "output", "sentences", "probabilities", "scored"}
    assert (row["text"], row["sentences"]) == (TEXT, [1])
    assert 0.3 < row["probabilities"][0] <= 1


def test_several_sentences_in_their_order_with_their_probabilities(heedful, chooser):
    text, scores = heedful("predict", chooser, TEXT, "--n-best", 2, "--scores").out.rstrip("\n").split("\t")
    first, second = map(float, scores.split(" "))
    assert text.count(".") == 2
    assert TEXT.index(text.split(". ")[0]) < TEXT.index(text.split(". ")[1])
    assert max(first, second) > 0.3
    assert 0 < first + second <= 1.0001
    assert heedful("predict", chooser, TEXT, "--n-best", 9).out == TEXT + "\n"
    (one,) = package.load(chooser).predict(TEXT, n_best=2)
    assert one.output == text


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["--beams", 3], "beams"), (["--tokens", 3], "tokens"), (["--samples", 3], "samples"), (["--alignment"], "alignment"),
        (["--no-repeat", 2], "no-repeat"), (["--length-penalty", 1], "length-penalty"), (["--seed", 1], "seed"),
    ],
)  # fmt: skip
def test_options_of_a_model_that_writes(refused, chooser, given, name):
    assert refused("predict", chooser, TEXT, *given) == f"`--{name}` is no option of a model that chooses sentences."


@pytest.mark.parametrize("text", [TEXT, ""])
def test_no_sentence_is_too_few(refused, chooser, text):
    assert refused("predict", chooser, text, "--n-best", 0) == "`n_best` must be positive: got 0."


def test_what_was_chosen_is_shown(heedful, chooser, tmp_path):
    (section,) = summarize.inspect(RunFolder(chooser), [TEXT])
    assert [layer.name for layer in section.layers] == ["choice"]
    shares = section.layers[0].pairs.weights[0, 0]
    assert shares.argmax() == 1
    assert shares.sum() == pytest.approx(1, abs=1e-2)
    assert section.output == "Indeed man has new car."
    assert list(section.sides[0].tokens) == [part + "." for part in TEXT.rstrip(".").split(". ")]
    assert heedful("inspect", chooser, TEXT, "--out", tmp_path / "report.html").status == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_model_that_writes(heedful, writer, typed):  # noqa: F811
    typed(f"{TEXT}\n\n".encode())
    status, out, err = heedful("predict", writer, "--n-best", 2, "--scores", "--alignment", "--tokens", 6)
    assert (status, err) == (0, "")
    lines = out.split("\n")
    assert lines[2:] == ["", "", ""]
    assert [line.count("\t") for line in lines[:2]] == [2, 2]
    (section,) = summarize.inspect(RunFolder(writer), [TEXT])
    assert section.layers[0].name == "alignment"
    metrics = json.loads((writer / "metrics.json").read_text())
    assert set(metrics["measures"]) == {"rouge_1", "rouge_2", "rouge_l"}


@pytest.mark.parametrize("settings", [languages.CHOOSES, WRITES])
def test_other_forms_of_data_and_their_inputs(heedful, tmp_path, settings):
    rows = languages.documents(20)
    texts = [" ".join(row["source"]) for row in rows]
    (tmp_path / "x.long").write_text("".join(text + "\n" for text in texts))
    (tmp_path / "x.short").write_text("".join(row["target"] + "\n" for row in rows))
    (tmp_path / "x.csv").write_text(
        "short,by,long\n" + "".join(f"{row['target']},me,{text}\n" for row, text in zip(rows, texts, strict=True))
    )
    weights = set()
    for name in ("x", "x.csv"):
        columns = ("data.source=long", "data.target=short", "training.epochs=1")
        folder = trained("summarize", tmp_path / name, tmp_path / f"run-{name}", *settings, *columns)
        weights.add(outcome(folder)["weights"])
        for source in ("x", "x.long", "x.csv"):
            tokens = ("--tokens", 2) if settings is WRITES else ()
            out = heedful("predict", folder, "--data", tmp_path / source, "--format", "jsonl", *tokens).out
            assert [json.loads(line)["text"] for line in out.splitlines()] == texts
    assert len(weights) == 1


@pytest.mark.parametrize(
    "settings",
    [
        (*languages.CHOOSES, "training.epochs=3", "training.batch_size=1500", "extraction.token_dropout=0.2"),
        (*WRITES, "training.epochs=2", "model.kind=recurrent", "model.score=dot"),
    ],
)
def test_an_interrupted_run_comes_out_as_one_that_was_not(heedful, monkeypatch, data, tmp_path, settings):
    given = ("train", "summarize", "--data", data, *options(settings), "--out")
    assert heedful(*given, tmp_path / "whole").status == 0
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.Log.on_train_epoch_end", 2)
        with pytest.raises(Killed):
            heedful(*given, tmp_path / "run")
    assert heedful("train", "summarize", "--out", tmp_path / "run", "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def rewritten(data, change):
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    return "".join(json.dumps(row) + "\n" for row in change(rows))


def labels(rows):
    rows[6]["labels"].pop()
    return rows


def empty(rows):
    rows[6]["source"] = [" "]
    return rows


def unsummarised(rows):
    rows[6]["target"] = ""
    return rows


def long(rows):
    rows[6]["source"] = ["dog " * 5000]
    return rows


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (labels, ("data.labels=labels",), ":7: 'labels' must have one label for each of 4 sentences: got 3"),
        (empty, (), ":7: 'source' must have a sentence: got an empty text"),
        (unsummarised, (), ":7: 'target' must be a summary: got an empty text"),
        (lambda rows: rows[:9], (), ": must hold at least 10 documents, to hold one out (or give --train and --valid): got 9"),
        (lambda rows: rows, ("data.labels=marks",), ":1: must have 'marks': got 'source', 'target', 'labels'"),
        (
            long,
            ("model.positions=learned", "model.longest=4000"),
            ":7: a sentence must have at most 4,000 words, the model's positions (model.longest): got 5,000",
        ),
        (lambda rows: rows, ("model.kind=transformer", "data.longest=2"), ":1: at least one pair must have at most 2 tokens a side (data"),
    ],
)  # fmt: skip
def test_bad_data_begin_no_run(refused, data, tmp_path, change, settings, message):
    file = tmp_path / "made.jsonl"
    file.write_text(rewritten(data, change))
    given = options(languages.CHOOSES, *settings)
    assert refused("train", "summarize", "--data", file, "--out", tmp_path / "run", *given).startswith(
        f"{file}{message}"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.score=none",), "[model]: `score` must be a score, since sentences are read by attention: got 'none'."),
        (("model.heads=3",), "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (("extraction.pooling_heads=3",), "[extraction]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (("data.target=source",), "`data.target`: must be another one than data.source: got 'source' for both."),
        (("training.average_epochs=7",), "`training.average_epochs`: must be at most the 6 epochs: got 7."),
        (
            ("model.kind=transformer", "data.labels=labels"),
            "`data.labels`: sentences are chosen by model.kind=extractive alone: got 'labels' with model.kind=transformer.",
        ),
        (("data.target=",), "`data.target`: must name the summaries where data.labels names no labels: got ''."),
        (("model.kind=transformer", "model.score=none"), "[model]: `score` must be a score, since a Transf"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_begin_no_run(refused, data, tmp_path, settings, message):
    given = options(languages.CHOOSES, *settings)
    assert refused("train", "summarize", "--data", data, "--out", tmp_path / "run", *given).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_sentence_that_is_longer_than_the_positions(refused, data, tmp_path):
    settings = (
        *languages.CHOOSES,
        "model.positions=learned",
        "model.longest=4000",
        "training.epochs=1",
        "extraction.members=1",
    )
    folder = trained("summarize", data, tmp_path / "run", *settings)
    line = refused("predict", folder, "A dog. " + "cat " * 5000)
    assert (
        line == "a sentence must have at most 4,000 words, the model's positions (model.longest): got 5,000, 'A dog.'."
    )
