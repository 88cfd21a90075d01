"""`translate` at the command line: from two aligned files to translations, their measures and where the model looked."""

import csv
import hashlib
import json
import re
import shutil

import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from safetensors.torch import save_file

import heedful as package
from heedful.tasks import translate
from heedful.training.run_folder import RunFolder
from tests import languages
from tests.cli.test_predict import typed  # noqa: F401
from tests.cli.test_train import Killed, killing
from tests.texts import options
from tests.tiny import outcome

NAMES = ("data.source=en", "data.target=eo")
LINES = [source for source, _ in languages.pairs(5, seed=3)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The common beginning of two aligned files, one of them packed."""
    return languages.aligned(tmp_path_factory.mktemp("pairs"), 300, packed=True)


@pytest.fixture(scope="module")
def other_data(tmp_path_factory):
    """Two other aligned files."""
    return languages.aligned(tmp_path_factory.mktemp("pairs"), 40, seed=5, name="test")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A Transformer that has learned the language; not to be changed."""
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "learned"
    words = ["train", "translate", "--data", str(data), "--out", str(folder), *options(languages.LEARNS, *NAMES)]
    assert command(words) == 0
    return folder


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory):
    return languages.table(tmp_path_factory.mktemp("pairs") / "tiny.tsv")


@pytest.fixture(scope="module")
def tiny(tiny_data, tmp_path_factory):
    """One step of a Transformer with few learned positions, which has learned nothing; not to be changed."""
    from heedful.cli import run as command

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    settings = options(languages.TINY, "data.tokens=characters", "model.positions=learned", "model.longest=40")
    assert command(["train", "translate", "--data", str(tiny_data), "--out", str(folder), *settings]) == 0
    return folder


@pytest.fixture
def trained_tiny(heedful, tmp_path):
    """Trains with tiny settings, and others after them."""

    def train(data, *settings, out="run"):
        status, _, err = heedful(
            "train", "translate", "--data", data, "--out", tmp_path / out, *options(languages.TINY, *settings)
        )
        assert (status, err) == (0, "")
        return tmp_path / out

    return train


def test_a_transformer_learns_the_language(run, data):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["held_out"] == f"every 10th pair of {data}, 30 pairs"
    assert metrics["pairs"] == {"training": 270, "held out": 30}
    assert metrics["measures"]["bleu"] > 80
    assert metrics["measures"]["chrf"] > 90
    assert metrics["measures"]["right"] > 0.7
    assert metrics["baselines"]["the source as it is"] < 5
    assert 5 < metrics["baselines"]["target of the nearest training source"] < metrics["measures"]["bleu"]
    assert 0.7 < metrics["real_tokens"] <= 1
    log = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert list(log[0]) == ["epoch", "step", "valid_loss", "loss"]
    assert float(log[-1]["valid_loss"]) < 0.5 * float(log[0]["valid_loss"])


def test_what_is_printed(heedful, tiny_data, tmp_path):
    settings = options(languages.TINY)
    status, out, err = heedful("train", "translate", "--data", tiny_data, "--out", tmp_path / "run", *settings)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(
        rf"54 pairs to train on; 3\d\d subwords; held out: every 10th pair of {tiny_data}, 6 pairs",
        lines[0],
    )
    assert re.fullmatch(r"transformer, \d,\d{3} parameters", lines[1])
    assert re.fullmatch(r"epoch 1/1  valid loss .* [\d,]+ target tokens/s  remaining 0:00", lines[2])
    assert re.fullmatch(r"    bleu {20,}\d+\.\d{4} of 100", lines[4])
    assert re.fullmatch(r"    right +\d+\.\d %", lines[6])
    assert lines[7].startswith("    baseline: the source as it is ")
    assert lines[7].endswith(" of 100")
    assert lines[9] == f"run folder: {tmp_path / 'run'}"


def test_pairs_that_are_too_long_are_left_out_of_the_training_alone(heedful, tmp_path):
    file = languages.table(tmp_path / "pairs.tsv", 20)
    lines = file.read_text().splitlines()
    lines[0] = lines[9] = "big dog\t" + "granda " * 50
    file.write_text("\n".join(lines) + "\n")
    settings = options(languages.TINY, "data.tokens=characters", "data.longest=60")
    status, out, _ = heedful("train", "translate", "--data", file, "--out", tmp_path / "run", *settings)
    assert status == 0
    assert out.startswith("17 pairs to train on, 1 more are longer than data.longest; ")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["pairs"] == {"training": 17, "held out": 2}


def test_the_columns_of_a_run_are_those_of_its_inputs(trained_tiny, heedful, tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("id,meaning,said\n" + "".join(f"{i},{b},{a}\n" for i, (a, b) in enumerate(languages.pairs(30))))
    (tmp_path / "texts.jsonl").write_text('{"said": "big dog"}\n{"said": ""}\n')
    folder = trained_tiny(file, "data.source=said", "data.target=meaning")
    out = heedful("predict", folder, "--data", file, "--tokens", 2, "--format", "jsonl").out
    assert [json.loads(line)["text"] for line in out.splitlines()] == [source for source, _ in languages.pairs(30)]
    out = heedful("predict", folder, "--data", tmp_path / "texts.jsonl", "--tokens", 2, "--format", "jsonl").out
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["big dog", ""]


def test_train_and_valid_are_read_separately(heedful, tiny_data, tmp_path):
    other = languages.table(tmp_path / "other.csv", 40)
    sources = ("--train", tiny_data, "--valid", other)
    status, out, _ = heedful("train", "translate", *sources, "--out", tmp_path / "run", *options(languages.TINY))
    assert status == 0
    assert out.startswith("60 pairs to train on; ")
    assert f"; held out: {other}, 40 pairs\n" in out


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        (("model.kind=recurrent", "training.epochs=1"), ["alignment"]),
        (("model.kind=recurrent", "model.score=general", "model.copy_source=true", "model.layers=2"), ["alignment"]),
        (("model.kind=recurrent", "model.score=dot", "model.positions=learned", "model.longest=3"), ["alignment"]),
        (("model.kind=recurrent", "model.score=none", "data.tokens=characters"), ["alignment"]),
        (
            ("data.lowercase=true", "model.copy_source=true", "training.average_epochs=1"),
            [
                "alignment",
                *(f"{name}attention" for name in ("encoder.layers.0.", "decoder.layers.0.", "decoder.layers.0.cross_")),
            ],
        ),
        (("model.positions=relative", "model.window=2", "model.norm=post"), None),
    ],
)
def test_each_kind_of_model_trains_writes_and_is_looked_into(heedful, trained_tiny, tiny_data, settings, layers):
    folder = trained_tiny(tiny_data, *settings)
    status, out, err = heedful(
        "predict", folder, "Big dog", "", "cat", "--tokens", 9, "--alignment", "--format", "jsonl"
    )
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == ["Big dog", "", "cat"]
    assert rows[1]["output"] == ""
    for row in rows:
        words = 0 if "model.score=none" in settings else len(row["output"].split())
        assert [to for _, to in row["alignment"] or []] == list(range(words))
    writer = package.load(folder)
    assert [one.output for one in writer.predict(["Big dog", "", "cat"], tokens=9)] == [row["output"] for row in rows]
    (section,) = translate.inspect(RunFolder(folder), ["Big dog"])
    if layers:
        assert [layer.name for layer in section.layers] == layers
    shares = section.layers[0].pairs.weights[0]
    assert shares.shape == (section.layers[0].queries, section.layers[0].keys)
    assert shares.sum(-1) == pytest.approx(1, abs=1e-2)
    if "model.score=none" in settings:
        assert shares == pytest.approx(1 / len("Big dog!"), abs=1e-3)


def test_lower_case_is_read_written_and_measured(heedful, trained_tiny, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a.upper()}\t{b.title()}\n" for a, b in languages.pairs()))
    folder = trained_tiny(file, "data.lowercase=true", "data.tokens=characters")
    alphabet = package.load(folder).tokenizer.alphabet
    assert alphabet == alphabet.lower()
    assert heedful("predict", folder, "BIG DOG").out == heedful("predict", folder, "big dog").out
    found = json.loads(heedful("evaluate", folder, "--data", file, "--json").out)
    assert "case:lc" in found["signatures"]["bleu"]
    outputs = heedful("predict", folder, "--data", file, "--format", "data").out.splitlines()
    expected = CHRF(lowercase=True).corpus_score(outputs, [[b.title() for _, b in languages.pairs()]]).score
    assert found["measures"]["chrf"] == pytest.approx(expected)


def test_an_interrupted_run_comes_out_as_one_that_was_not(heedful, monkeypatch, tiny_data, tmp_path):
    settings = (
        *languages.TINY,
        "training.epochs=3",
        "model.dropout=0.2",
        "model.copy_source=true",
        "training.average_epochs=2",
    )
    sources = ("translate", "--data", tiny_data)
    assert heedful("train", *sources, "--out", tmp_path / "whole", *options(settings)).status == 0
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.Log.on_train_epoch_end", 3)
        with pytest.raises(Killed):
            heedful("train", *sources, "--out", tmp_path / "run", *options(settings))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    status, out, _ = heedful("train", "translate", "--out", tmp_path / "run", "--resume")
    assert status == 0
    assert out.count("epoch ") == 1
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_evaluate_says_what_sacrebleu_says(heedful, run, other_data):
    found = json.loads(heedful("evaluate", run, "--data", other_data, "--json").out)
    outputs = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    targets = [target for _, target in languages.pairs(40, seed=5)]
    bleu, chrf = BLEU(), CHRF()
    assert found["measures"] == pytest.approx({
        "bleu": bleu.corpus_score(outputs, [targets]).score,
        "chrf": chrf.corpus_score(outputs, [targets]).score,
        "right": sum(a == b for a, b in zip(outputs, targets, strict=True)) / 40,
    })  # fmt: skip
    assert found["signatures"] == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert found["pairs"] == 40
    assert found["measures"]["bleu"] > 80
    out = heedful("evaluate", run, "--data", other_data).out
    assert out.startswith(f"on {other_data}, 40 pairs\n")
    assert re.search(rf"    bleu +{found['measures']['bleu']:.4f} of 100\n", out)


def test_a_line_for_each_text_an_empty_one_for_an_empty_one(heedful, run, typed):  # noqa: F811
    typed("\n".join([LINES[0], "", " ", LINES[1], ""]).encode())
    answer = heedful("predict", run)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.split("\n")
    assert [bool(line) for line in lines] == [True, False, False, True, False]
    assert [lines[0], lines[3]] == heedful("predict", run, LINES[0], LINES[1]).out.splitlines()
    assert package.load(run).predict(LINES[0])[0].output == lines[0]


def test_lines_are_written_while_others_are_waited_for(run):
    taken = []

    def chunks():
        for line in LINES[:3]:
            taken.append(line)
            yield [line]

    found = translate.predict(RunFolder(run), chunks())
    assert next(found).text == LINES[0]
    assert taken == LINES[:1]
    assert [one.text for one in found] == LINES[1:3]


def test_the_best_with_their_scores_and_alignments(heedful, run, typed):  # noqa: F811
    typed(f"{LINES[0]}\n\n{LINES[1]}\n".encode())
    out = heedful("predict", run, "--n-best", 3, "--scores", "--alignment").out
    lines = out.splitlines()
    assert len(lines) == 9
    assert lines[3:6] == ["", "", ""]
    for first in (0, 6):
        texts, scores, alignments = zip(*(line.split("\t") for line in lines[first : first + 3]), strict=True)
        assert len(set(texts)) == 3
        assert sorted(map(float, scores), reverse=True) == [*map(float, scores)]
        for text, alignment in zip(texts, alignments, strict=True):
            places = [tuple(map(int, pair.split("-"))) for pair in alignment.split(" ")]
            assert [to for _, to in places] == list(range(len(text.removesuffix(" [cut off]").split())))
    assert heedful("predict", run, LINES[0]).out == lines[0].split("\t")[0] + "\n"


def test_words_are_aligned_with_those_that_they_translate(run):
    words, right = 0, 0
    for found in package.load(run).predict([source for source, _ in languages.pairs(30, seed=7)], alignment=True):
        source, target = found.text.split(), found.output.split()
        right += sum(languages.WORDS[source[i]] == target[j] for i, j in found.alignment)
        words += len(target)
    assert words > 90
    assert right > 0.6 * words, "by chance it would be a quarter"


def test_json_lines(heedful, run):
    given = ("predict", run, LINES[0], "--n-best", 2, "--format", "jsonl")
    first, second = map(json.loads, heedful(*given).out.splitlines())
    assert set(first) == {"text", "output", "rank", "score", "complete", "alignment", "unknown", "scored"}
    assert (first["rank"], second["rank"], first["text"], first["alignment"]) == (0, 1, LINES[0], None)
    assert first["complete"] is True
    assert first["score"] > second["score"]
    assert json.loads(heedful(*given, "--alignment").out.splitlines()[0])["alignment"][0][1] == 0


def test_greedy_search_takes_the_most_probable_token(heedful, run):
    writer = package.load(run)
    source = torch.tensor([writer.encode(LINES[2])])
    tokens = [writer.tokenizer.end]
    for _ in range(30):
        with torch.inference_mode():
            (logits,) = writer.model(translate_pieces(source), torch.tensor([tokens]))
        tokens.append(int(logits[-1].argmax()))
        if tokens[-1] == writer.tokenizer.end:
            break
    assert heedful("predict", run, LINES[2], "--beams", 1).out == writer.tokenizer.decode(tokens) + "\n"


@pytest.mark.parametrize("penalty", [0.0, 0.5, 2.0])
def test_scores_are_log_probabilities_for_their_length(heedful, run, penalty):
    writer = package.load(run)
    (best, *_), *_ = writer.search([LINES[3]], writer.changed({"length_penalty": penalty}))
    given = torch.tensor([[writer.tokenizer.end, *best.tokens]])
    asked = torch.tensor([[*best.tokens, writer.tokenizer.end]])
    with torch.inference_mode():
        found = writer.model(translate_pieces(torch.tensor([writer.encode(LINES[3])])), given)
    total = found.gather(-1, asked[..., None]).sum().item()
    score = heedful("predict", run, LINES[3], "--scores", "--length-penalty", penalty).out.split("\t")[1]
    assert float(score) == pytest.approx(total / ((5 + asked.shape[1]) / 6) ** penalty, abs=1e-3)


def translate_pieces(source):
    from heedful.models.text_classifier import Pieces

    return Pieces(source, torch.tensor([source.shape[1]]))


def test_no_token_stands_twice_where_none_may(heedful, run):
    text = "red dog sees red cat"
    assert heedful("predict", run, text).out.split().count("ruga") == 2
    words = heedful("predict", run, text, "--no-repeat", 1).out.split()
    assert len(words) > 1
    assert words.count("ruga") < 2


def test_a_text_that_is_cut_off_says_so(heedful, run):
    given = ("predict", run, LINES[0], "--tokens", 2)
    shown = heedful(*given).out
    assert shown.endswith(" [cut off]\n")
    plain = heedful(*given, "--format", "data").out
    assert shown == plain.replace("\n", " [cut off]\n")
    assert len(plain.strip()) < len(heedful("predict", run, LINES[0]).out.strip())
    row = json.loads(heedful(*given, "--format", "jsonl").out)
    assert (row["complete"], row["output"].strip()) == (False, plain.strip())


def test_what_is_drawn_depends_on_seed_and_place_alone(heedful, run, typed):  # noqa: F811
    drawing = ("--samples", 2, "--temperature", 2, "--tokens", 7)
    seeded = (*drawing, "--seed", 3)
    together = heedful("predict", run, *LINES, *seeded).out
    assert len(together.splitlines()) == 10
    assert len(set(together.splitlines())) > 5
    typed("\n".join(LINES).encode())
    assert heedful("predict", run, *seeded).out == together
    chunks = [[line] for line in LINES]
    alone = list(translate.predict(RunFolder(run), chunks, samples=2, seed=3, temperature=2.0, tokens=7))
    assert "".join(f"{one}\n" for one in alone) == together
    assert [one.rank for one in alone] == [0, 1] * 5
    assert heedful("predict", run, *LINES, *drawing, "--seed", 4).out != together
    cold = heedful("predict", run, LINES[0], "--samples", 2, "--temperature", 0).out.splitlines()
    assert cold == [heedful("predict", run, LINES[0], "--beams", 1).out.strip()] * 2


def test_a_file_of_texts_keeps_its_empty_lines(heedful, run, other_data, tmp_path):
    (tmp_path / "lines.txt").write_text(f"{LINES[0]}\n\n{LINES[1]}\n")
    lines = heedful("predict", run, "--data", tmp_path / "lines.txt").out.split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False]
    out = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    targets = other_data.with_name("test.eo").read_text().splitlines()
    assert sum(a == b for a, b in zip(out, targets, strict=True)) > 20


def test_a_report_begins_with_the_alignment(heedful, run, tmp_path):
    status, _, err = heedful("inspect", run, LINES[0], "old <b> dog", "--out", tmp_path / "report.html")
    assert (status, err) == (0, "")
    page = (tmp_path / "report.html").read_text()
    assert "alignment" in page
    assert "<b>" not in page.split("</title>")[1][:2000]
    first, _ = translate.inspect(RunFolder(run), [LINES[0], "dog"])
    assert [layer.name for layer in first.layers][:2] == ["alignment", "encoder.layers.0.attention"]
    assert first.output == heedful("predict", run, LINES[0]).out.strip()


def test_characters_that_were_never_seen(heedful, tiny, tmp_path):
    row = json.loads(heedful("predict", tiny, "big Ж\tdog Ω", "--tokens", 5, "--format", "jsonl").out)
    assert row["unknown"] == "ΩЖ"
    assert "\ufffd" not in row["output"]
    (section,) = translate.inspect(RunFolder(tiny), ["a Ж"])
    assert "The model does not know 'Ж'." in section.text
    assert list(section.sides[0].tokens) == ["a", " ", "Ж", "[END]"]
    assert section.sides[0].special == [2, 3]
    assert heedful("inspect", tiny, "a Ж", "--out", tmp_path / "report.html").status == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--beams", 0], "`beams` must be positive: got 0."),
        (["--n-best", 0], "`n_best` must be positive: got 0."),
        (["--tokens", 0], "`tokens` must be positive: got 0."),
        (["--samples", -1], "`samples` must be at least 0: got -1."),
        (["--no-repeat", -1], "`no_repeat` must be at least 0: got -1."),
        (["--length-penalty", -1], "`length_penalty` must be a number from 0: got -1.0."),
        (["--length-penalty", "nan"], "`length_penalty` must be a number from 0: got nan."),
        (["--samples", 1, "--temperature", -1], "`temperature` must be at least 0 and finite: got -1.0."),
        (["--samples", 1, "--top-k", -1], "`top_k` must be at least 0: got -1."),
        (["--samples", 1, "--top-p", 0], "`top_p` must be more than 0 and at most 1: got 0.0."),
        (["--temperature", 0.5], "`temperature` must be left out where no texts are drawn (`samples`): got 0.5."),
        (["--seed", 3], "`seed` must be left out where no texts are drawn (`samples`): got 3."),
        (["--samples", 2, "--n-best", 3], "`n_best` must be left out where texts are drawn: got 3."),
        (["--samples", 2, "--beams", 3], "`beams` must be left out where texts are drawn: got 3."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["big dog", ""])
def test_impossible_options(refused, tiny, given, message, text):
    assert refused("predict", tiny, text, *given) == message


def test_options_that_a_task_does_not_know(refused, trained):
    assert refused("predict", trained, "x.png", "--beams", 3) == "`--beams` is no option of classify-image."
    assert refused("predict", trained, "x.png", "--alignment") == "`--alignment` is no option of classify-image."


def test_a_text_that_is_longer_than_the_positions(refused, tiny, tmp_path):
    long = "cat " * 20
    message = (
        "a text must have at most 39 tokens, the model's positions: got 79, 'cat cat cat cat cat cat cat cat cat cat…'."
    )
    assert refused("predict", tiny, "dog", long) == message
    assert refused("inspect", tiny, "dog", long, "--out", tmp_path / "report.html") == message
    assert not (tmp_path / "report.html").exists()


def test_the_limit_of_positions_is_that_of_the_output_too(heedful, tiny):
    assert heedful("predict", tiny, "b" * 39, "--tokens", 500).status == 0
    assert len(heedful("predict", tiny, "b", "--tokens", 500, "--format", "data").out.strip()) <= 39


def test_bytes_that_are_no_text(refused, tiny, typed):  # noqa: F811
    typed(b"big dog\ncaf\xe9\n")
    assert refused("predict", tiny) == "standard input:2: must be UTF-8: got byte 0xe9 at column 4."


def test_nothing_to_look_at(refused, tiny, tmp_path):
    line = refused("inspect", tiny, "dog", " ", "--out", tmp_path / "report.html")
    assert line == "a text must hold at least one character that is no blank: got ' '."
    assert not (tmp_path / "report.html").exists()


def shorter(place):
    languages.aligned(place)
    (place / "train.eo").write_text("".join((place / "train.eo").read_text().splitlines(True)[:-3]))
    return (
        f"{place}/train.en,{place}/train.eo",
        f"{place}/train.en: must have as many lines as {place}/train.eo: got 60 and 57",
    )


def without_a_target(place):
    languages.aligned(place)
    lines = (place / "train.eo").read_text().splitlines()
    (place / "train.eo").write_text("\n".join([*lines[:6], "", *lines[7:]]) + "\n")
    return (
        f"{place}/train.en,{place}/train.eo",
        f"{place}/train.eo:7: must have a target: got an empty one, for the source ",
    )


def without_a_source(place):
    file = languages.table(place / "x.tsv")
    file.write_text("\tviro\n" + file.read_text())
    return file, f"{file}:1: must have a source: got an empty one, for the target 'viro'"


def latin(place):
    file = languages.table(place / "x.tsv")
    file.write_bytes(file.read_bytes() + b"caf\xe9\tkafo\n")
    return file, f"{file}:61: must be UTF-8: got byte 0xe9 at column 4"


def few(place):
    file = languages.table(place / "x.tsv", 9)
    return file, f"{file}: must hold at least 10 pairs, to hold one out (or give --train and --valid): got 9"


def nowhere(place):
    return place / "x", f"{place / 'x'}: must be a .csv, .tsv or .jsonl"


@pytest.mark.parametrize("bad", [shorter, without_a_target, without_a_source, latin, few, nowhere])
@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["train", "resume"])
def test_bad_data_begin_no_run(refused, tmp_path, bad, resume):
    data, message = bad(tmp_path)
    line = refused("train", "translate", "--data", data, "--out", tmp_path / "new" / "run", *resume)
    assert line.startswith(message), line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.longest=2"], "{data}:1: at least one pair must have at most 2 tokens a side (data.longest): got 5"),
        (["model.positions=learned", "model.longest=4"], "{data}:1: a text must have at most 3 tokens, the model's positions (model"),
        (["model.score=none"], "[model]: `score` must be a score, since a Transformer is made of attention: got 'none'."),
        (["model.heads=3"], "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (["model.kind=extractive"], "`model.kind`: input should be 'transformer' or 'recurrent': got 'extractive'."),
        (["data.target=source"], "`data.target`: must be another one than data.source: got 'source' for both."),
        (["data.source=3", "data.target=1"], "{data}:1: must have a column 3: got 2, "),
        (["search.beams=0"], "`search.beams`: input should be greater than or equal to 1: got 0."),
        (["search.length_penalty=-1"], "`search.length_penalty`: input should be greater than or equal to 0: got -1."),
        (["training.average_epochs=2"], "`training.average_epochs`: must be at most the 1 epochs: got 2."),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_begin_no_run(refused, tiny_data, tmp_path, settings, message):
    given = options(languages.TINY, *settings)
    line = refused("train", "translate", "--data", tiny_data, "--out", tmp_path / "run", *given)
    assert line.startswith(message.format(data=tiny_data)), line
    assert not (tmp_path / "run").exists()


def test_a_text_without_room_among_those_held_out_begins_no_run(refused, tiny_data, tmp_path):
    (tmp_path / "x.tsv").write_text("big dog\thundo granda\n" + "big " * 30 + "\tgranda\n")
    settings = options(languages.TINY, "data.tokens=characters", "model.positions=learned", "model.longest=60")
    sources = ("--train", tiny_data, "--valid", tmp_path / "x.tsv")
    line = refused("train", "translate", *sources, "--out", tmp_path / "run", *settings)
    assert line == (
        f"{tmp_path / 'x.tsv'}:2: a text must have at most 59 tokens, the model's positions (model.longest): got 119"
    )
    assert not (tmp_path / "run").exists()


@pytest.fixture
def damaged(tiny, tmp_path):
    """Changes a file of a copy of a run, and its checksum."""
    copy = shutil.copytree(tiny, tmp_path / "copy")

    def change(name, write):
        write(copy / name)
        about = json.loads((copy / "run.json").read_text())
        about["files"][name] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
        (copy / "run.json").write_text(json.dumps(about))
        return copy

    return change


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("model.safetensors", lambda file: save_file({"x": torch.zeros(3)}, file)),
        ("vocabulary.json", lambda file: file.write_text("{}")),
        ("vocabulary.json", lambda file: file.write_text('{"longest": null}')),
        ("tokenizer.json", lambda file: file.write_text('{"format": "heedful characters 1", "alphabet": "ab"}')),
        ("tokenizer.json", lambda file: file.write_text("[]")),
    ],
)
def test_parts_that_do_not_fit_each_other(refused, damaged, other_data, tmp_path, name, write):
    folder = damaged(name, write)
    report = tmp_path / "report.html"
    for verb in (
        ["predict", folder, "x"],
        ["evaluate", folder, "--data", other_data],
        ["inspect", folder, "x", "--out", report],
    ):
        line = refused(*verb)
        assert line.startswith(f"{folder}: the weights, the settings and the tokens must fit each other: ")
    assert not report.exists()


def test_a_file_that_has_changed(refused, tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "tokenizer.json").write_text("{}")
    assert refused("predict", copy, "x").startswith(f"{copy / 'tokenizer.json'}: has changed: ")
    (copy / "tokenizer.json").unlink()
    assert refused("predict", copy, "x") == f"{copy / 'tokenizer.json'}: belongs to the run folder, but is missing."


def test_heads_of_layers_that_have_several(heedful, refused, run, tmp_path):
    report, png = tmp_path / "report.html", tmp_path / "heads.png"
    answer = heedful("inspect", run, LINES[0], "--heads", "1", "--out", report, "--png", png)
    assert (answer.status, answer.err) == (0, "")
    assert png.stat().st_size > 0
    assert refused("inspect", run, LINES[0], "--heads", "7", "--out", report).startswith(
        "--heads must be numbers from 0 to"
    )


@pytest.mark.parametrize("verb", ["predict", "inspect"])
def test_an_input_that_is_no_utf_8(refused, run, tmp_path, verb):
    out = ["--out", tmp_path / "report.html"] if verb == "inspect" else []
    assert refused(verb, run, "caf\udce9", *out) == "an input must be UTF-8: got byte 0xe9 at character 4."
