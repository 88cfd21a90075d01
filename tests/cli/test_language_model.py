"""`language-model` at the command line: from a text to continuations, and to gaps that are filled."""

import io
import json
import re
import sys

import pytest

import heedful as package

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


@pytest.fixture
def typed(monkeypatch):
    """Makes standard input."""

    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def test_the_measures_of_a_run(causal, text):
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


def test_what_is_printed(heedful, text, tmp_path):
    status, out, err = heedful(*words(tmp_path / "run", "--train", text, "--valid", text))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"1,040 characters to train on, 15 characters, causal; validation: {text}, 1,040 characters"
    assert re.fullmatch(r"LanguageModel, 2,\d{3} parameters", lines[1])
    assert re.fullmatch(r"epoch 1/2  valid loss \d.\d{4}  loss \d.\d{4}  [\d,]+ tokens/s  remaining 0:\d\d", lines[2])
    assert re.fullmatch(r"    nats per character +\d\.\d{4} nats", lines[5])
    assert lines[-1] == f"run folder: {tmp_path / 'run'}"


def test_continuations_at_the_command_line_and_from_python(heedful, causal):
    options = (
        "--max-new-tokens",
        7,
        "--temperature",
        0.5,
        "--top-k",
        3,
        "--top-p",
        0.9,
        "--num-samples",
        2,
        "--seed",
        5,
    )
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


def test_lines_of_standard_input_and_of_a_file(heedful, causal, typed, tmp_path):
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


def test_gaps_at_the_command_line(heedful, masked, typed):
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--temperature", "-1", "the"], "`temperature`: input should be greater than or equal to 0: got '-1'."),
        (["--max-new-tokens", "0", "the"], "`max_new_tokens`: input should be greater than or equal to 1: got '0'."),
        (["--top-p", "2", "the"], "`top_p`: input should be less than or equal to 1: got '2'."),
    ],
)
def test_impossible_options(refused, causal, given, message):
    assert refused("predict", causal, *given) == message


def test_options_of_the_other_kind(refused, masked, trained):
    assert "`max_new_tokens` is for a model that continues a text" in refused(
        "predict", masked, "[MASK]", "--max-new-tokens", 3
    )
    assert refused("predict", trained, "x.png", "--max-new-tokens", 3).startswith("Unknown option: --max-new-tokens")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text.txt: must hold text: got none"),
        (b"short", "must have at least 10 characters"),
        (b"not so long as", "the training text must have at least 16 tokens (model.context_length): got 13"),
        (b"\xff\xfet\x00h\x00e\x00", "text.txt:1: must be UTF-8: got byte 0xff at column 1"),
        (b"the\0cat", "text.txt:1: must be a text file: got a NUL byte"),
    ],
)
def test_texts_that_are_none(refused, tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    sources = ["--data", tmp_path / "text.txt"]
    assert message in refused(*words(tmp_path / "run", *sources))
    assert not (tmp_path / "run").exists()
