"""`summarize` at the command line: summaries that are cut out of texts, and written ones."""

import json
import re

import pytest
from torchmetrics.functional.text import rouge_score

import heedful as package
from tests import languages
from tests.cli.test_predict import typed  # noqa: F401
from tests.texts import options
from tests.tiny import outcome

EXTRACTIVE = "summarize-extractive"
TEXT = "Dog sees cat. Indeed man has new car. Old cat eats dog. Man wants big car."
WRITES = (*languages.TINY, "search.no_repeat_ngram=2")


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
    return trained(EXTRACTIVE, data, tmp_path_factory.mktemp("runs") / "chooser", *languages.CHOOSES)


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
    assert metrics["examples"] == {"train": 72, "validation": 8}
    assert metrics["metrics"]["rouge_1"] > 0.7
    assert metrics["baselines"]["lead-1"]["rouge_1"] < 0.6
    assert metrics["baselines"]["oracle-1"]["rouge_1"] >= metrics["metrics"]["rouge_1"]
    assert chosen(chooser, languages.documents(20, seed=9)) >= 18


def test_sentences_are_chosen_as_labels_show(data, tmp_path):
    folder = trained(EXTRACTIVE, data, tmp_path / "run", *languages.CHOOSES, "data.labels=labels")
    assert chosen(folder, languages.documents(20, seed=9)) >= 18
    other = tmp_path / "wrong.jsonl"
    rows = languages.documents(80)
    other.write_text("".join(json.dumps(row | {"labels": [1, 0, 0, 0]}) + "\n" for row in rows))
    folder = trained(EXTRACTIVE, other, tmp_path / "first", *languages.CHOOSES, "data.labels=labels")
    assert chosen(folder, languages.documents(20, seed=9)) < 12, "labels outweigh what summaries show"


def test_labels_without_summaries(heedful, tmp_path):
    file = tmp_path / "labelled.jsonl"
    rows = [{name: row[name] for name in ("source", "labels")} for row in languages.documents(80)]
    rows[0]["labels"] = [0] * len(rows[0]["labels"])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ("data.labels=labels", "data.target=")
    folder = trained(EXTRACTIVE, file, tmp_path / "run", *languages.CHOOSES, *settings)
    assert chosen(folder, languages.documents(20, seed=9)) >= 18
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["examples"] == {"train": 72, "validation": 7}, "without a chosen sentence there is no summary"
    assert metrics["baselines"]["oracle-1"]["rouge_1"] == pytest.approx(1)
    assert json.loads(heedful("evaluate", folder, "--data", file, "--json").out)["examples"] == 79


@pytest.mark.parametrize("kind", ["chooser", "writer"])
def test_evaluate_says_what_torchmetrics_says(heedful, request, other_data, kind):
    run = request.getfixturevalue(kind)
    found = json.loads(heedful("evaluate", run, "--data", other_data, "--json").out)
    outputs = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    documents = languages.documents(20, seed=5)
    expected = rouge(outputs, documents)
    assert list(found["metrics"].values()) == pytest.approx(expected, abs=1e-6)
    assert list(found["metrics"]) == ["rouge_1", "rouge_2", "rouge_l"]
    first = rouge([row["source"][0] for row in documents], documents)
    assert list(found["baselines"]["lead-1"].values()) == pytest.approx(first, abs=1e-6)
    assert found["details"]["words_per_summary"] == pytest.approx(sum(len(text.split()) for text in outputs) / 20)
    assert "torchmetrics" in found["details"]["signatures"]["rouge"]
    out = heedful("evaluate", run, "--data", other_data).out
    assert out.startswith(f"on {other_data}, 20 documents\n")
    assert re.search(rf"    ROUGE-1 +{100 * expected[0]:.1f} %\n", out)


def test_a_line_for_each_text_an_empty_one_for_an_empty_one(heedful, chooser, typed):  # noqa: F811
    typed(f"{TEXT}\n\n \nOne sentence\n".encode())
    status, out, err = heedful("predict", chooser)
    assert (status, err) == (0, "")
    assert out == "Indeed man has new car.\n\n\nOne sentence\n"
    (row,) = map(json.loads, heedful("predict", chooser, TEXT, "--format", "jsonl").out.splitlines())
    assert set(row) == {"input", "output", "sentences", "probabilities"}
    assert (row["input"], row["sentences"]) == (TEXT, [1])
    assert 0.3 < row["probabilities"][0] <= 1


def test_several_sentences_in_their_order_with_their_probabilities(heedful, chooser):
    text, scores = heedful("predict", chooser, TEXT, "--num-sentences", 2, "--scores").out.rstrip("\n").split("\t")
    first, second = map(float, scores.split(" "))
    assert text.count(".") == 2
    assert TEXT.index(text.split(". ")[0]) < TEXT.index(text.split(". ")[1])
    assert max(first, second) > 0.3
    assert 0 < first + second <= 1.0001
    assert heedful("predict", chooser, TEXT, "--num-sentences", 9).out == TEXT + "\n"
    (one,) = package.load(chooser).predict(TEXT, num_sentences=2)
    assert one.output == text


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["--beams", 3], "beams"), (["--alignment"], "alignment"), (["--seed", 1], "seed"),
    ],
)  # fmt: skip
def test_options_of_a_model_that_writes(refused, chooser, given, name):
    assert refused("predict", chooser, TEXT, *given).startswith(f"Unknown option: --{name}")


def test_what_was_chosen_is_shown(heedful, chooser, tmp_path):
    (section,) = package.load(chooser).inspect([TEXT])
    assert [layer.name for layer in section.layers] == ["choice"]
    shares = section.layers[0].pairs.weights[0, 0]
    assert shares.argmax() == 1
    assert shares.sum() == pytest.approx(1, abs=1e-2)
    assert section.output == "Indeed man has new car."
    assert list(section.axes[0].tokens) == [part + "." for part in TEXT.rstrip(".").split(". ")]
    assert heedful("inspect", chooser, TEXT, "--out", tmp_path / "report.html").status == 0
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_a_model_that_writes(heedful, writer, typed):  # noqa: F811
    typed(f"{TEXT}\n\n".encode())
    status, out, err = heedful("predict", writer, "--n-best", 2, "--scores", "--alignment", "--max-new-tokens", 6)
    assert (status, err) == (0, "")
    lines = out.split("\n")
    assert lines[2:] == ["", "", ""]
    assert [line.count("\t") for line in lines[:2]] == [2, 2]
    (section,) = package.load(writer).inspect([TEXT])
    assert section.layers[0].name == "alignment"
    metrics = json.loads((writer / "metrics.json").read_text())
    assert set(metrics["metrics"]) == {"rouge_1", "rouge_2", "rouge_l"}


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
        task = EXTRACTIVE if settings is languages.CHOOSES else "summarize"
        folder = trained(task, tmp_path / name, tmp_path / f"run-{name}", *settings, *columns)
        weights.add(outcome(folder)["weights"])
        for source in ("x", "x.long", "x.csv"):
            tokens = ("--max-new-tokens", 2) if settings is WRITES else ()
            out = heedful("predict", folder, "--data", tmp_path / source, "--format", "jsonl", *tokens).out
            assert [json.loads(line)["input"] for line in out.splitlines()] == texts
    assert len(weights) == 1


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
            ("model.positions=learned", "model.max_positions=4000"),
            ":7: a sentence must have at most 4,000 words (model.max_positions): got 5,000",
        ),
    ],
)  # fmt: skip
def test_bad_data_begin_no_run(refused, data, tmp_path, change, settings, message):
    file = tmp_path / "made.jsonl"
    file.write_text(rewritten(data, change))
    given = options(languages.CHOOSES, *settings)
    assert refused("train", EXTRACTIVE, "--data", file, "--out", tmp_path / "run", *given).startswith(
        f"{file}{message}"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.score=none",), "`model.score`: input should be "),
        (("model.heads=3",), "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (("model.pooling_heads=3",), "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (("data.target=source",), "`data.target`: must be another one than data.source: got 'source' for both."),
        (("training.average_last_epochs=7",), "`training.average_last_epochs`: must be at most the 6 epochs: got 7."),
        (("data.target=",), "`data.target`: must name the summaries where data.labels names no labels: got ''."),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_begin_no_run(refused, data, tmp_path, settings, message):
    given = options(languages.CHOOSES, *settings)
    assert refused("train", EXTRACTIVE, "--data", data, "--out", tmp_path / "run", *given).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_sentence_that_is_longer_than_the_positions(refused, data, tmp_path):
    settings = (
        *languages.CHOOSES,
        "model.positions=learned",
        "model.max_positions=4000",
        "training.epochs=1",
        "model.ensemble_size=1",
    )
    folder = trained(EXTRACTIVE, data, tmp_path / "run", *settings)
    line = refused("predict", folder, "A dog. " + "cat " * 5000)
    assert line == "input 1: a sentence must have at most 4,000 words (model.max_positions): got 5,000, 'A dog.'"
