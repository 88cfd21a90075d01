"""`language-model` at the command line: from a text to continuations, and to gaps that are filled."""

import io
import json
import re
import shutil
import sys

import pytest

import heedful as package
from tests.tiny import outcome

VERSE = "the cat sat on the mat, and the rat sat on the hat.\n"
SMALL = (
    "model.width=12", "model.heads=3", "model.hidden=20", "model.layers=2", "model.context=16", "training.batch_size=64",
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
    tokens = ("data.tokens=subwords", "data.vocabulary=290")
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
    assert metrics["held_out"] == f"the last tenth of {text}, {count // 10} characters"
    assert metrics["characters"] == {"training": count - count // 10, "held out": count // 10}
    assert set(metrics["measures"]) == {"nats_a_character", "bits_a_character", "perplexity"}
    assert set(metrics["baselines"]) == {"frequencies", "counts after 5 tokens (Kneser-Ney)"}
    assert metrics["baselines"]["counts after 5 tokens (Kneser-Ney)"] < metrics["baselines"]["frequencies"] < 3
    log = (causal / "log.csv").read_text().splitlines()
    assert log[0] == "epoch,step,valid_loss,loss"
    losses = [float(row.split(",")[2]) for row in log[1:]]
    assert losses[1] < losses[0]


def test_what_is_printed(heedful, text, tmp_path):
    status, out, err = heedful(*words(tmp_path / "run", "--train", text, "--valid", text))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"1,040 characters to train on, 1,040 tokens of 15 kinds; held out: {text}, 1,040 characters"
    assert re.fullmatch(r"Language model, causal, 2,\d{3} parameters", lines[1])
    assert re.fullmatch(r"epoch 1/2  valid loss \d.\d{4}  loss \d.\d{4}  [\d,]+ tokens/s  remaining 0:\d\d", lines[2])
    assert re.fullmatch(r"    nats a character +\d\.\d{4} nats", lines[5])
    assert lines[-1] == f"run folder: {tmp_path / 'run'}"


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_an_interrupted_run_comes_out_as_one_that_was_not(heedful, request, kind, text, tmp_path, monkeypatch):
    from heedful.training.callbacks import Log

    whole = request.getfixturevalue(kind)
    log = Log.on_train_epoch_end

    class Killed(BaseException):
        pass

    def kill_in_the_second(self, trainer, module):
        if trainer.current_epoch == 1:
            raise Killed
        log(self, trainer, module)

    more = ["--masked"] if kind == "masked" else []
    settings = ("data.tokens=subwords", "data.vocabulary=290") if more else ()
    command = words(tmp_path / "run", *more, "--data", text, settings=settings)
    with monkeypatch.context() as patch:
        patch.setattr(Log, "on_train_epoch_end", kill_in_the_second)
        with pytest.raises(Killed):
            heedful(*command)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert heedful("train", "language-model", "--out", tmp_path / "run", "--resume").status == 0
    assert outcome(tmp_path / "run") == outcome(whole)


def test_continuations_at_the_command_line_and_from_python(heedful, causal):
    options = ("--tokens", 7, "--temperature", 0.5, "--top-k", 3, "--top-p", 0.9, "--samples", 2, "--seed", 5)
    out = heedful("predict", causal, "the cat", "a mat", *options, "--format", "jsonl").out
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(a["prompt"], a["sample"], len(a["text"])) for a in answers] == [
        ("the cat", 0, 7), ("the cat", 1, 7), ("a mat", 0, 7), ("a mat", 1, 7),
    ]  # fmt: skip
    writer = package.load(causal)
    found = writer.predict(["the cat", "a mat"], tokens=7, temperature=0.5, top_k=3, top_p=0.9, samples=2, seed=5)
    assert [vars(prediction) for prediction in found] == answers
    shown = heedful("predict", causal, "the cat", "a mat", *options).out
    assert shown == "".join(f"{a['prompt']}{a['text']}\n" for a in answers)
    assert len(writer.generate("the cat")) == 200


def test_lines_of_standard_input_and_of_a_file(heedful, causal, typed, tmp_path):
    content = "the\n\ncat sat\n" + "on\n" * 70
    typed(content.encode())
    streamed = heedful("predict", causal, "--tokens", 3, "--format", "jsonl")
    (tmp_path / "prompts.txt").write_text(content)
    assert (
        heedful("predict", causal, "--data", tmp_path / "prompts.txt", "--tokens", 3, "--format", "jsonl") == streamed
    )
    answers = [json.loads(line) for line in streamed.out.splitlines()]
    assert [answer["prompt"] for answer in answers] == content.splitlines()
    assert answers[1]["text"] == ""
    assert len({answer["text"] for answer in answers[3:]}) > 3  # each prompt draws anew, in all chunks


def test_gaps_at_the_command_line(heedful, masked, typed):
    typed(b"the [MASK]at\n\nno gap\n")
    status, out, err = heedful("predict", masked)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(r"the .*at", lines[0])
    assert lines[1:] == ["", "no gap"]
    answer = json.loads(heedful("predict", masked, "the [MASK]at", "--format", "jsonl").out)
    assert set(answer) == {"input", "text", "gaps", "probabilities", "unknown"}
    assert answer["text"] == lines[0] == f"the {answer['gaps'][0]}at"
    assert 0 < answer["probabilities"][0] <= 1


def test_another_text_is_measured(heedful, causal, masked, tmp_path):
    (tmp_path / "other.txt").write_text(VERSE * 2 + "Quite other words!")
    for run, last in ((causal, "perplexity"), (masked, "accuracy")):
        result = json.loads(heedful("evaluate", run, "--data", tmp_path / "other.txt", "--json").out)
        assert list(result["measures"]) == ["nats_a_character", "bits_a_character", last]
        assert result["characters"] == 2 * len(VERSE) + 18
        assert len(result["baselines"]) == 2
    out = heedful("evaluate", causal, "--data", tmp_path / "other.txt").out
    assert out.startswith(
        f"on {tmp_path / 'other.txt'}, {2 * len(VERSE) + 18} characters, of which 4.1 % are of 5 kinds"
    )


def test_a_report(heedful, causal, masked, tmp_path):
    for run, text in ((causal, "the cat <b>"), (masked, "the [MASK]at")):
        status, _, err = heedful("inspect", run, text, "--out", tmp_path / "report.html")
        assert (status, err) == (0, "")
        assert "<b>" not in (tmp_path / "report.html").read_text().split("</title>")[1][:2000]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--temperature", "-1", "the"], "`temperature` must be at least 0 and finite: got -1.0."),
        (["--tokens", "0", "the"], "`tokens` must be positive: got 0."),
        (["--top-p", "2", "the"], "`top_p` must be more than 0 and at most 1: got 2.0."),
    ],
)
def test_impossible_options(refused, causal, given, message):
    assert refused("predict", causal, *given) == message


def test_options_of_the_other_kind(refused, masked, trained):
    assert "`tokens` is for a model that goes on with a text" in refused("predict", masked, "[MASK]", "--tokens", 3)
    assert refused("predict", trained, "x.png", "--tokens", 3) == "`--tokens` is no option of classify-image."


def test_a_run_that_was_changed(refused, causal, tmp_path):
    copy = shutil.copytree(causal, tmp_path / "run")
    vocabulary = copy / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace("a", "b", 1))
    assert f"{vocabulary}: has changed" in refused("predict", copy, "the")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text.txt: must hold text: got none"),
        (b"short", "must have at least 10 characters"),
        (b"not so long as", "the training text must have at least 16 tokens, one context (model.context): got 13"),
        (b"\xff\xfet\x00h\x00e\x00", "text.txt:1: must be UTF-8: got byte 0xff at column 1"),
        (b"the\0cat", "text.txt:1: must be a text file: got a NUL byte"),
    ],
)
def test_texts_that_are_none(refused, tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    sources = ["--data", tmp_path / "text.txt"]
    assert message in refused(*words(tmp_path / "run", *sources))
    assert not (tmp_path / "run").exists()
