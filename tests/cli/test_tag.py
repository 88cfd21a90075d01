import json
import re

import pytest
import torch

import heedful as package
from tests import texts
from tests.cli.test_predict import typed  # noqa: F401


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return texts.conllu(tmp_path_factory.mktemp("text") / "made-up.conllu")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "tagger"
    assert command(["train", "tag", "--data", str(data), "--out", str(folder), *texts.options(texts.TAG)]) == 0
    return folder


def test_a_tagger_learns_and_says_what_it_learnt(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metrics"]["accuracy"] >= 0.9
    assert set(metrics["baselines"]) == {"most frequent tag", "logistic regression"}
    assert metrics["examples"] == {"train": 54, "validation": 6}
    assert 0.9 < metrics["non_padding_fraction"] <= 1
    known = json.loads((run / "vocabulary.json").read_text())
    assert list(known["labels"]) == ["UPOS", "XPOS", "FEATS", "DEPREL"]
    assert known["words"]["la"] == 54


def test_evaluate_tells_unseen_words_apart(heedful, run, tmp_path):
    other = texts.conllu(tmp_path / "other.conllu", seed=5)
    answer = heedful("evaluate", run, "--data", other)
    assert answer.status == 0
    assert "60 sentences" in answer.out
    assert "oov accuracy" in answer.out
    metrics = json.loads(heedful("evaluate", run, "--data", other, "--json").out)
    assert metrics["details"]["oov_words"] > 20
    wrong = sum(count for _, _, count in metrics["details"]["confusions"])
    assert metrics["metrics"]["accuracy"] == pytest.approx(1 - wrong / sum(map(len, texts.sentences(60, seed=5))))


def test_a_line_for_each_text_an_empty_one_for_an_empty_one(heedful, run, typed):  # noqa: F811
    typed(b"La kato.\n\n  \nla hundo\r\n")
    answer = heedful("predict", run)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.split("\n")
    assert [line.count("/") for line in lines] == [3, 0, 0, 2, 0]
    assert lines[0].startswith("La/DET kato/")
    rows = [json.loads(line) for line in heedful("predict", run, "La kato.", "", "--format", "jsonl").out.splitlines()]
    assert rows[0]["words"] == ["La", "kato", "."]
    assert len(rows[0]["probabilities"]) == 3
    assert rows[1]["labels"] == []


def test_raw_texts_are_cut_as_in_the_training_unless_told(heedful, run):
    assert json.loads((run / "vocabulary.json").read_text())["segmenter"]["weights"]
    words = {text: heedful("predict", run, text).out.split() for text in ("la biro.", "la biro .", "la biro. .")}
    assert [len(found) for found in words.values()] == [3, 3, 3]
    assert words["la biro."] == words["la biro ."]
    assert [word.rsplit("/")[0] for word in heedful("predict", run, "la biro.", "--words").out.split()] == [
        "la",
        "biro.",
    ]


def test_many_lines_keep_their_order(heedful, run, typed):  # noqa: F811
    given = [" ".join(word for word, _ in sentence) for sentence in texts.sentences(200, seed=3)]
    typed("\n".join(given).encode())
    lines = heedful("predict", run).out.splitlines()
    assert [" ".join(word.rsplit("/", 1)[0] for word in line.split(" ")) for line in lines] == given


def test_a_file_comes_back_with_its_column_filled(heedful, run, data):
    out = heedful("predict", run, "--data", data, "--format", "data").out
    assert out.count("\n\n") == 60
    given, back = data.read_text().splitlines(), out.splitlines()
    assert len(back) == len(given)
    changed = 0
    for before, after in zip(given, back, strict=True):
        old, new = before.split("\t"), after.split("\t")
        changed += old[3:4] != new[3:4]
        assert old[:3] + old[4:] == new[:3] + new[4:]
    assert changed < 50


def test_a_sentence_may_be_a_list_of_words(run):
    one, two = package.load(run).predict(["La kato dormas.", ["la", "kato"]])
    assert one.words == ["La", "kato", "dormas", "."]
    assert two.words == ["la", "kato"]
    assert all(0 < p <= 1 for p in one.probabilities)


def test_what_is_seen_is_what_runs(run):
    (section,) = package.load(run).inspect(["La rapida kato dormas ."])
    layer = section.layers[0]
    assert (layer.queries, layer.keys) == (5, 5)
    assert section.axes[layer.columns].tokens == ["La", "rapida", "kato", "dormas", "."]
    assert section.axes[layer.rows].tokens[0] == "La · DET"
    torch.testing.assert_close(torch.tensor(layer.pairs.weights).sum(-1), torch.ones(2, 5))
    assert section.output.startswith("La/DET")


def test_spans_are_measured_as_spans(heedful, tmp_path):
    data, folder = texts.spans(tmp_path / "things.txt"), tmp_path / "run"
    assert heedful("train", "tag", "--data", data, "--out", folder, *texts.options(texts.TAG)).status == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics["metrics"])[:3] == ["span_f1", "span_precision", "span_recall"]
    assert metrics["metrics"]["span_f1"] >= 0.6
    assert set(metrics["details"]["spans"]) == {"THING"}
    assert all(next(iter(values)) == "span_f1" for values in metrics["baselines"].values())
    out = heedful("predict", folder, "--data", data, "--format", "data").out
    assert [line.split(" ")[0] for line in out.splitlines()] == [
        line.split(" ")[0] for line in data.read_text().splitlines()
    ] + [""]


@pytest.mark.parametrize("reach", [2, 0])
def test_the_control_has_as_many_parameters(heedful, data, tmp_path, reach):
    counts = []
    others = [word for word in texts.TAG if not word.startswith("model.heads")]
    for kind, more in (
        ("transformer", ("model.heads=2", "model.positions=none")),
        ("window", (f"model.reach={reach}",)),
    ):
        folder = tmp_path / kind
        settings = texts.options(tuple(others), f"model.architecture={kind}", "training.epochs=1", *more)
        assert heedful("train", "tag", "--data", data, "--out", folder, *settings).status == 0
        counts.append(json.loads((folder / "metrics.json").read_text())["parameters"])
    assert counts[1] == pytest.approx(counts[0], rel=0.05)
    assert heedful("predict", folder, "La kato").out.startswith("La/")


def test_a_feature_can_be_the_label(heedful, data, tmp_path):
    settings = texts.options(texts.TAG, "data.column=Number", "training.epochs=1")
    assert heedful("train", "tag", "--data", data, "--out", tmp_path / "run", *settings).status == 0
    assert next(iter(json.loads((tmp_path / "run/vocabulary.json").read_text())["labels"])) == "Number"


def test_one_label_alone(refused, data, tmp_path):
    file = tmp_path / "made.conllu"
    file.write_text(re.sub("\t(ADJ|ADV|DET|PUNCT|VERB)\t", "\tNOUN\t", data.read_text()))
    line = refused("train", "tag", "--data", file, "--out", tmp_path / "run")
    assert line == f"{file}: must hold at least two different labels: got 'NOUN' alone"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("_", "must hold words in column FORM: got '_' for all 375; the text of this treebank must be added first"),
        ("kato", "must hold at least two different words: got 'kato' alone"),
    ],
)
def test_one_word_alone(refused, data, tmp_path, word, message):
    file = tmp_path / "made.conllu"
    file.write_text(re.sub(r"(?m)^(\d+)\t[^\t]+", rf"\1\t{word}", data.read_text()))
    assert refused("train", "tag", "--data", file, "--out", tmp_path / "run") == f"{file}: {message}"


def test_words_that_have_no_part_in_common(heedful, tmp_path):
    file = tmp_path / "signs.txt"
    file.write_text("a L\n1 N\n\n" * 20)
    settings = texts.options(texts.TAG, "training.epochs=1")
    assert heedful("train", "tag", "--data", file, "--out", tmp_path / "run", *settings).status == 0


def test_a_label_that_was_never_seen_counts_as_wrong(heedful, refused, run, data, tmp_path):
    file = tmp_path / "made.conllu"
    file.write_text(data.read_text().replace("\tNOUN\t", "\tNOMO\t", 1))
    words = len(re.findall(r"^\d+\t", file.read_text(), re.MULTILINE))
    out = heedful("evaluate", run, "--data", file).out
    assert f"note: 1 of {words} labels occur nowhere in the training data and count as wrong: NOMO." in out
    before, after = (json.loads(heedful("evaluate", run, "--data", one, "--json").out) for one in (data, file))
    assert after["metrics"]["accuracy"] < before["metrics"]["accuracy"] == 1
    assert (after["details"]["unseen_labels"], before["note"]) == (1, "")
    file.write_text(re.sub(r"\t[A-Z]+\t[a-z]+\t", "\tX\tx\t", data.read_text()))
    line = refused("evaluate", run, "--data", file)
    assert (
        "label must be a known class, 'ADJ', 'ADV', 'DET', 'NOUN', 'PUNCT', 'VERB': got 'X', and no other one is"
        in line
    )


def test_words_without_labels_and_files_of_another_form(heedful, data, tmp_path):
    things, folder = texts.spans(tmp_path / "things.txt"), tmp_path / "run"
    settings = texts.options(texts.TAG, "training.epochs=1", "data.column=2")
    assert heedful("train", "tag", "--data", things, "--out", folder, *settings).status == 0
    bare = tmp_path / "words.txt"
    bare.write_text("la\nkato\n\nhundo\n")
    out = heedful("predict", folder, "--data", bare, "--format", "data").out
    assert [line.split()[0] if line else "" for line in out.splitlines()] == ["la", "kato", "", "hundo", ""]
    assert all(len(line.split()) == 2 for line in out.splitlines() if line)
    rows = heedful("predict", folder, "--data", data, "--format", "data").out.splitlines()
    assert {len(row.split("\t")) for row in rows if row} == {2}, "CoNLL-U has no column for such labels"


def test_the_held_out_part_may_have_another_form(heedful, data, tmp_path):
    other = tmp_path / "valid.txt"
    blocks = ["\n".join(f"{word}\t{label}" for word, label in sentence) for sentence in texts.sentences(20, seed=4)]
    other.write_text("\n\n".join(blocks) + "\n")
    settings = texts.options(texts.TAG, "training.epochs=1")
    words = ("--train", data, "--valid", other, "--out", tmp_path / "run", *settings)
    assert heedful("train", "tag", *words).status == 0
    assert heedful("evaluate", tmp_path / "run", "--data", other).status == 0


def test_held_out_sentences_may_have_labels_that_training_never_saw(heedful, data, tmp_path):
    file = tmp_path / "rare.conllu"
    blocks = data.read_text().split("\n\n")
    blocks[9] = blocks[9].replace("\tDET\t", "\tINTJ\t")
    file.write_text("\n\n".join(blocks))
    settings = texts.options(texts.TAG, "training.epochs=1")
    answer = heedful("train", "tag", "--data", file, "--out", tmp_path / "run", *settings)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["examples"]["validation"] == 6
    assert "labels occur nowhere in the training data and count as wrong: INTJ." in answer.out
    assert "INTJ" not in json.loads((tmp_path / "run/vocabulary.json").read_text())["labels"]["UPOS"]


def test_a_text_of_too_many_words_comes_after_those_before_it(heedful, run, typed):  # noqa: F811
    typed(b"la kato\n" + b"la " * 3000 + b"\nla hundo\n")
    status, out, err = heedful("predict", run)
    assert (status, out.count("\n")) == (2, 1)
    assert err == "heedful: input 2: a sentence must have at most 2,000 words (data.max_length): got 3,000\n"
