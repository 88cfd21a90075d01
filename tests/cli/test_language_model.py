"""`language-model` at the command line: from a text to continuations, and to gaps that are filled."""

import json
import re

import pytest

import heedful as package
from tests.cli.test_predict import typed  # noqa: F401

VERSE = "the cat sat on the mat, and the rat sat on the hat.\n"
SMALL = (
    "model.width=12", "model.heads=3", "model.ffn_width=20", "model.layers=2", "model.context_length=16", "training.batch_size=64",
    "training.epochs=2", "model.dropout=0.1",
)  # fmt: skip


def words(out, *sources, settings=()):
    assigned = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    return ["train", "language-model", *map(str, sources), "--out", str(out), *assigned]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "text.txt"
    file.write_text(VERSE * 20)
    return file


@pytest.fixture(scope="module")
def causal(tmp_path_factory, text):
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "causal"
    assert run(words(folder, "--data", text)) == 0
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory, text):
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "masked"
    tokens = ("data.tokenizer=subwords", "data.vocabulary_size=290")
    assert run(words(folder, "--masked", "--data", text, settings=tokens)) == 0
    return folder


def test_the_metrics_of_a_run(causal, text):
    metrics = json.loads((causal / "metrics.json").read_text())
    count = len(VERSE) * 20
    assert metrics["validation"] == f"the last tenth of {text}, {count // 10} characters"
    assert metrics["examples"] == {"train": count - count // 10, "validation": count // 10}
    assert set(metrics["metrics"]) == {"nats_per_character", "bits_per_character", "perplexity"}
    assert set(metrics["baselines"]) == {"unigram", "6-gram Kneser-Ney"}
    nats = {name: values["nats_per_character"] for name, values in metrics["baselines"].items()}
    assert nats["6-gram Kneser-Ney"] < nats["unigram"] < 3
    log = (causal / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,step,valid_loss,loss"
    losses = [float(row.split(",")[2]) for row in log[1:]]
    assert losses[1] < losses[0]


def test_continuations_at_the_command_line_and_from_python(heedful, causal):
    options = [
        "--max-new-tokens",
        "7",
        "--temperature",
        "0.5",
        "--top-k",
        "3",
        "--top-p",
        "0.9",
        "--num-samples",
        "2",
        "--seed",
        "5",
    ]
    out = heedful("predict", causal, "the cat", "a mat", *options, "--format", "jsonl").out
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(a["input"], a["sample"], len(a["output"])) for a in answers] == [
        ("the cat", 0, 7), ("the cat", 1, 7), ("a mat", 0, 7), ("a mat", 1, 7),
    ]  # fmt: skip
    model, more = package.load(causal), {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 5}
    found = model.predict(["the cat", "a mat"], max_new_tokens=7, num_samples=2, **more)
    assert [vars(prediction) for prediction in found] == answers
    shown = heedful("predict", causal, "the cat", "a mat", *options).out
    assert shown == "".join(f"{a['input']}{a['output']}\n" for a in answers)
    assert len(model.predict("the cat")[0].output) == 200


def test_lines_of_standard_input_and_of_a_file(heedful, causal, typed, tmp_path):  # noqa: F811
    content = "the\n\ncat sat\n" + "on\n" * 70
    typed(content.encode())
    streamed = heedful("predict", causal, "--max-new-tokens", 3, "--format", "jsonl")
    (tmp_path / "prompts.txt").write_text(content)
    assert (
        heedful("predict", causal, "--data", tmp_path / "prompts.txt", "--max-new-tokens", 3, "--format", "jsonl")
        == streamed
    )
    answers = [json.loads(line) for line in streamed.out.splitlines()]
    assert [answer["input"] for answer in answers] == content.splitlines()
    assert answers[1]["output"] == ""
    assert len({answer["output"] for answer in answers[3:]}) > 3  # each prompt draws anew, in all chunks


def test_gaps_at_the_command_line(heedful, masked, typed):  # noqa: F811
    typed(b"the [MASK]at\n\nno gap\n")
    status, out, err = heedful("predict", masked)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(r"the .*at", lines[0])
    assert lines[1:] == ["", "no gap"]
    answer = json.loads(heedful("predict", masked, "the [MASK]at", "--format", "jsonl").out)
    assert set(answer) == {"input", "output", "fills", "probabilities", "unknown"}
    assert answer["output"] == lines[0] == f"the {answer['fills'][0]}at"
    assert 0 < answer["probabilities"][0] <= 1


def test_another_text_is_measured(heedful, causal, masked, tmp_path):
    (tmp_path / "other.txt").write_text(VERSE * 2 + "Quite other words!")
    for run, last in ((causal, "perplexity"), (masked, "accuracy")):
        result = json.loads(heedful("evaluate", run, "--data", tmp_path / "other.txt", "--json").out)
        assert list(result["metrics"]) == ["nats_per_character", "bits_per_character", last]
        assert result["examples"] == 2 * len(VERSE) + 18
        assert len(result["baselines"]) == 2
    out = heedful("evaluate", causal, "--data", tmp_path / "other.txt").out
    assert out.startswith(f"on {tmp_path / 'other.txt'}, {2 * len(VERSE) + 18} characters\n")
    assert "note: 4.1 % of the characters are of 5 kinds that the model does not know.\n" in out


def test_a_report(heedful, causal, masked, tmp_path):
    for run, text in ((causal, "the cat <b>"), (masked, "the [MASK]at")):
        status, _, err = heedful("inspect", run, text, "--out", tmp_path / "report.html")
        assert (status, err) == (0, "")
        assert "<b>" not in (tmp_path / "report.html").read_text().split("</title>")[1][:2000]


def test_options_of_the_other_objective(refused, masked):
    line = refused("predict", masked, "[MASK]", "--max-new-tokens", 3)
    assert line == "`max_new_tokens` is for a model that continues a text: got 3 for a masked one."
