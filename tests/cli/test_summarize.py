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
    assert found["details"]["words_per_summary"] == pytest.approx(
        sum(len(re.findall(r"\w+", text)) for text in outputs) / 20
    )
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


def test_a_model_that_writes(heedful, writer, typed):  # noqa: F811
    typed(f"{TEXT}\n\n".encode())
    status, out, err = heedful("predict", writer, "--n-best", 2, "--scores", "--alignment", "--max-new-tokens", 6)
    assert (status, err) == (0, "")
    lines = out.split("\n")
    assert lines[2:] == ["", "", ""]
    assert [line.count("\t") for line in lines[:2]] == [2, 2]


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.score=none",), "`model.score`: input should be "),
        (("model.pooling_heads=3",), "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (("data.labels=marks",), "{data}:1: must have a column 'marks': got 'source', 'target', 'labels'"),
    ],
)
def test_settings_that_do_not_fit_begin_no_run(refused, data, tmp_path, settings, message):
    given = options(languages.CHOOSES, *settings)
    line = refused("train", EXTRACTIVE, "--data", data, "--out", tmp_path / "run", *given)
    assert line.startswith(message.replace("{data}", str(data)))
    assert not (tmp_path / "run").exists()
