import json

import pytest

import heedful as package
from tests import texts
from tests.cli.test_predict import typed  # noqa: F401


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts.reviews(tmp_path_factory.mktemp("text") / "reviews.tsv")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "classifier"
    assert (
        command(["train", "classify", "--data", str(data), "--out", str(folder), *texts.options(texts.CLASSIFY)]) == 0
    )
    return folder


def test_a_classifier_learns_and_says_what_it_learnt(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metrics"]["accuracy"] >= 0.8
    assert set(metrics["metrics"]) == {"accuracy", "macro_f1"}
    assert metrics["baselines"]["majority"]["accuracy"] < 0.8
    assert "TF-IDF + logistic regression" in metrics["baselines"]
    assert metrics["examples"] == {"train": 72, "validation": 8}
    assert 0.8 < metrics["non_padding_fraction"] <= 1
    assert not (run / "tokenizer.json").exists()


def test_evaluate_counts_what_is_taken_for_what(heedful, run, tmp_path):
    other = texts.reviews(tmp_path / "other.csv", seed=5)
    metrics = json.loads(heedful("evaluate", run, "--data", other, "--json").out)
    wrong = sum(count for _, _, count in metrics["details"]["confusions"])
    assert metrics["metrics"]["accuracy"] == pytest.approx(1 - wrong / 80)
    assert metrics["metrics"]["accuracy"] > 0.7
    assert "80 texts" in heedful("evaluate", run, "--data", other).out


def test_a_line_for_each_text_an_empty_one_for_an_empty_one(heedful, run, typed):  # noqa: F811
    typed(b"la bona kato\n\nla malbona kato")
    answer = heedful("predict", run)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.split("\n")
    assert [line.split(" ")[0] for line in lines] == ["good", "", "bad", ""]
    (row,) = map(json.loads, heedful("predict", run, "la bona kato", "--format", "jsonl").out.splitlines())
    assert (row["input"], row["label"], row["runner_up"]) == ("la bona kato", "good", "bad")
    assert row["probability"] + row["runner_up_probability"] == pytest.approx(1, abs=1e-5)


def test_a_file_of_texts(heedful, run, data):
    out = heedful("predict", run, "--data", data, "--format", "data").out
    given = [line.split("\t") for line in data.read_text().splitlines()]
    got = [line.split("\t") for line in out.splitlines()]
    assert [text for text, _ in got] == [text for text, _ in given]
    assert sum(a == b for a, b in zip(got, given, strict=True)) > 60


def test_the_words_that_decided_are_shown(run):
    (section,) = package.load(run).inspect(["la bela kato dormas ."])
    added, against, pooled = (section.layers[i] for i in (0, 1, 3))
    assert section.text.startswith("good: bela +")
    assert [layer.label for layer in section.layers[:4]] == [
        "supports it", "opposes it", "model 0, layer 0", "model 0, pooling"
    ]  # fmt: skip
    assert added.pairs.weights[0, 0].argmax() == 1
    assert added.pairs.weights.sum() + against.pairs.weights.sum() == pytest.approx(1, abs=1e-5)
    assert (pooled.queries, pooled.keys) == (1, 5)
    assert section.predictions[0][0] == "good"
    assert not any(layer.kind == "rollout" for layer in section.layers), "two members stand side by side"


def test_what_a_word_said_is_what_is_lost_without_it(run, monkeypatch):
    classifier = package.load(run)
    task, text = classifier.task, "la bona kato dormas ofte"
    said = task.occlusion(classifier.model, text)
    assert said.argmax() == 1
    monkeypatch.setattr("heedful.tasks.classify._PASSES", 2)
    grouped = task.occlusion(classifier.model, text)
    assert len(grouped) == 5
    assert grouped[0] == grouped[1] == grouped[2], "the first three are hidden together"
    assert grouped[0] > grouped[3]


@pytest.mark.parametrize(("tokens", "name"), [("subwords", "reviews.jsonl.gz"), ("characters", "reviews.csv")])
def test_other_tokens_are_kept_in_the_run_folder(heedful, tmp_path, tokens, name):
    data, folder = texts.reviews(tmp_path / name), tmp_path / "run"
    more = (
        f"data.tokenizer={tokens}",
        "data.vocabulary_size=300",
        "training.epochs=2",
        "model.ensemble_size=1",
        "model.window=5",
    )
    assert (
        heedful("train", "classify", "--data", data, "--out", folder, *texts.options(texts.CLASSIFY, *more)).status == 0
    )
    assert (folder / "tokenizer.json").exists()
    before = heedful("predict", folder, "la bona kato", "Ŝi ĝojas 🙂").out
    assert before.count("%") == 4
    (folder / "tokenizer.json").write_text("{}")
    assert heedful("predict", folder, "la bona kato").err.count("tokenizer.json: has changed") == 1


def test_a_class_that_was_never_seen(heedful, run, data, tmp_path):
    file = tmp_path / "made.tsv"
    file.write_text(data.read_text() + "la kato\tmeh\n")
    out = heedful("evaluate", run, "--data", file).out
    assert (
        f"note: {file}: column 1 is the text, column 2 is the label; there is no header. 1 of 81 labels occur" in out
        or ("1 of 81 labels occur nowhere in the training data and count as wrong: meh." in out)
    )


def test_the_columns_of_a_run_are_those_of_its_inputs(heedful, tmp_path):
    rows = [line.split("\t") for line in texts.reviews(tmp_path / "r.tsv").read_text().splitlines()]
    table, numbered, lines = (tmp_path / name for name in ("named.csv", "numbered.tsv", "texts.jsonl"))
    table.write_text("id,review,stars\n" + "".join(f"{i},{text},{label}\n" for i, (text, label) in enumerate(rows)))
    numbered.write_text("".join(f"{i}\t{text}\t{label}\n" for i, (text, label) in enumerate(rows)))
    lines.write_text("".join(json.dumps({"review": text}) + "\n" for text, _ in rows))
    one = texts.options(texts.CLASSIFY, "training.epochs=1", "model.ensemble_size=1")
    for data, columns in ((table, ("review", "stars")), (numbered, ("2", "3"))):
        folder = tmp_path / data.stem
        settings = ["--set", f"data.text={columns[0]}", "--set", f"data.label={columns[1]}", *one]
        assert heedful("train", "classify", "--data", data, "--out", folder, *settings).status == 0
        out = heedful("predict", folder, "--data", data, "--format", "data").out
        assert [line.split("\t")[0] for line in out.splitlines()] == [text for text, _ in rows]
    out = heedful("predict", tmp_path / "named", "--data", lines, "--format", "data").out
    assert [line.split("\t")[0] for line in out.splitlines()] == [text for text, _ in rows]


def test_a_text_longer_than_the_learned_positions(heedful, refused, data, tmp_path):
    settings = texts.options(texts.CLASSIFY, "model.positions=learned", "model.max_positions=20", "training.epochs=1")
    folder, long = tmp_path / "run", "la " * 21
    assert heedful("train", "classify", "--data", data, "--out", folder, *settings).status == 0
    words = "a text must have at most 20 tokens (model.max_positions): got 21, 'la la"
    assert refused("predict", folder, long).startswith(f"input 1: {words}")
    file = tmp_path / "long.tsv"
    file.write_text(data.read_text() + f"{long}\tgood\n")
    for line in (
        refused("evaluate", folder, "--data", file),
        refused("train", "classify", "--train", file, "--valid", data, "--out", tmp_path / "other", *settings),
    ):
        assert line.startswith(f"{file}:{len(file.read_text().splitlines())}: {words}")
    assert not (tmp_path / "other").exists()
