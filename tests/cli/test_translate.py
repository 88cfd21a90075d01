"""`translate` at the command line: from two aligned files to translations, their measures and where the model looked."""

import csv
import hashlib
import json
import re
import shutil

import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF

import heedful as package
from heedful._terminal import visible
from tests import languages
from tests.cli.test_predict import typed  # noqa: F401
from tests.texts import options

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
    settings = options(languages.TINY, "data.tokenizer=characters", "model.positions=learned", "model.max_positions=40")
    assert command(["train", "translate", "--data", str(tiny_data), "--out", str(folder), *settings]) == 0
    return folder


@pytest.fixture
def trained_tiny(heedful, tmp_path):
    """Trains with tiny settings, and others after them."""

    def train(data, *settings, out="run"):
        recurrent = "model.architecture=recurrent" in settings  # it has no heads and no feed-forward network
        tiny = [word for word in languages.TINY if not (recurrent and word.startswith(("model.heads", "model.ffn")))]
        status, _, err = heedful(
            "train", "translate", "--data", data, "--out", tmp_path / out, *options(tuple(tiny), *settings)
        )
        assert (status, err) == (0, "")
        return tmp_path / out

    return train


def test_a_transformer_learns_the_language(run, data):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["validation"] == f"every tenth pair of {data}, 30 pairs"
    assert metrics["examples"] == {"train": 270, "validation": 30}
    assert metrics["metrics"]["bleu"] > 80
    assert metrics["metrics"]["chrf"] > 90
    assert metrics["metrics"]["exact_match"] > 0.7
    assert metrics["baselines"]["copy source"]["bleu"] < 5
    assert 5 < metrics["baselines"]["nearest neighbor (TF-IDF)"]["bleu"] < metrics["metrics"]["bleu"]
    assert 0.7 < metrics["non_padding_fraction"] <= 1
    log = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert list(log[0]) == ["epoch", "step", "valid_loss", "loss"]
    assert float(log[-1]["valid_loss"]) < 0.5 * float(log[0]["valid_loss"])


def test_pairs_that_are_too_long_are_left_out_of_the_training_alone(heedful, tmp_path):
    file = languages.table(tmp_path / "pairs.tsv", 20)
    lines = file.read_text().splitlines()
    lines[0] = lines[9] = "big dog\t" + "granda " * 50
    file.write_text("\n".join(lines) + "\n")
    settings = options(languages.TINY, "data.tokenizer=characters", "data.max_length=60")
    status, out, _ = heedful("train", "translate", "--data", file, "--out", tmp_path / "run", *settings)
    assert status == 0
    assert "note: 1 pairs are left out that are longer than data.max_length = 60.\n" in out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["examples"] == {"train": 18, "validation": 2}


def test_the_columns_of_a_run_are_those_of_its_inputs(trained_tiny, heedful, tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("id,meaning,said\n" + "".join(f"{i},{b},{a}\n" for i, (a, b) in enumerate(languages.pairs(30))))
    (tmp_path / "texts.jsonl").write_text('{"said": "big dog"}\n{"said": ""}\n')
    folder = trained_tiny(file, "data.source=said", "data.target=meaning")
    out = heedful("predict", folder, "--data", file, "--max-new-tokens", 2, "--format", "jsonl").out
    assert [json.loads(line)["input"] for line in out.splitlines()] == [source for source, _ in languages.pairs(30)]
    out = heedful("predict", folder, "--data", tmp_path / "texts.jsonl", "--max-new-tokens", 2, "--format", "jsonl").out
    assert [json.loads(line)["input"] for line in out.splitlines()] == ["big dog", ""]


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        (
            ("model.architecture=recurrent", "model.score=general", "model.pointer=true", "model.layers=2"),
            ["alignment"],
        ),
        (("model.architecture=recurrent", "model.score=none", "data.tokenizer=characters"), ["alignment"]),
        (
            ("data.lowercase=true", "model.pointer=true", "training.average_last_epochs=1"),
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
        "predict", folder, "Big dog", "", "cat", "--max-new-tokens", 9, "--alignment", "--format", "jsonl"
    )
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["input"] for row in rows] == ["Big dog", "", "cat"]
    assert rows[1]["output"] == ""
    for row in rows:
        words = 0 if "model.score=none" in settings else len(row["output"].split())
        assert [to for _, to in row["alignment"] or []] == list(range(words))
    model = package.load(folder)
    assert [one.output for one in model.predict(["Big dog", "", "cat"], max_new_tokens=9)] == [
        row["output"] for row in rows
    ]
    (section,) = model.inspect(["Big dog"])
    if layers:
        assert [layer.name for layer in section.layers] == layers
    shares = section.layers[0].pairs.weights[0]
    assert shares.shape == (section.layers[0].queries, section.layers[0].keys)
    assert shares.sum(-1) == pytest.approx(1, abs=1e-2)
    if "model.score=none" in settings:
        assert shares == pytest.approx(1 / len("Big dog!"), abs=1e-3)


def test_lower_case_is_read_and_measured(heedful, trained_tiny, tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a.upper()}\t{b.title()}\n" for a, b in languages.pairs()))
    folder = trained_tiny(file, "data.lowercase=true", "data.tokenizer=characters")
    assert heedful("predict", folder, "BIG DOG").out == heedful("predict", folder, "big dog").out
    found = json.loads(heedful("evaluate", folder, "--data", file, "--json").out)
    outputs = heedful("predict", folder, "--data", file, "--format", "data").out.splitlines()
    expected = CHRF(lowercase=True).corpus_score(outputs, [[b.title() for _, b in languages.pairs()]]).score
    assert found["metrics"]["chrf"] == pytest.approx(expected)


def test_evaluate_says_what_sacrebleu_says(heedful, run, other_data):
    found = json.loads(heedful("evaluate", run, "--data", other_data, "--json").out)
    outputs = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    targets = [target for _, target in languages.pairs(40, seed=5)]
    bleu, chrf = BLEU(), CHRF()
    assert found["metrics"] == pytest.approx({
        "bleu": bleu.corpus_score(outputs, [targets]).score,
        "chrf": chrf.corpus_score(outputs, [targets]).score,
        "exact_match": sum(a == b for a, b in zip(outputs, targets, strict=True)) / 40,
    })  # fmt: skip
    assert found["details"]["signatures"] == {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    assert found["examples"] == 40
    assert found["metrics"]["bleu"] > 80
    out = heedful("evaluate", run, "--data", other_data).out
    assert out.startswith(f"on {other_data}, 40 pairs\n")
    assert re.search(rf"    BLEU +{found['metrics']['bleu']:.4f} of 100\n", out)


def test_lines_are_written_while_others_are_waited_for(run):
    taken = []

    def chunks():
        for line in LINES[:3]:
            taken.append(line)
            yield [line]

    found = package.load(run).stream(chunks())
    assert next(found).input == LINES[0]
    assert taken == LINES[:1]
    assert [one.input for one in found] == LINES[1:3]


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
        source, target = found.input.split(), found.output.split()
        right += sum(languages.WORDS[source[i]] == target[j] for i, j in found.alignment)
        words += len(target)
    assert words > 90
    assert right > 0.6 * words, "by chance it would be a quarter"


def test_greedy_search_takes_the_most_probable_token(heedful, run):
    model = package.load(run)
    writer = model.task.generator
    source = torch.tensor([writer.encode(LINES[2])])
    tokens = [writer.tokenizer.end]
    for _ in range(30):
        with torch.inference_mode():
            (logits,) = model.model(translate_pieces(source), torch.tensor([tokens]))
        tokens.append(int(logits[-1].argmax()))
        if tokens[-1] == writer.tokenizer.end:
            break
    assert heedful("predict", run, LINES[2], "--beams", 1).out == writer.tokenizer.decode(tokens) + "\n"


@pytest.mark.parametrize("penalty", [0.0, 0.5, 2.0])
def test_scores_are_log_probabilities_for_their_length(heedful, run, penalty):
    model = package.load(run)
    writer = model.task.generator
    (best, *_), *_ = writer.search(model.model, [LINES[3]], model.options({"length_penalty": penalty}))
    given = torch.tensor([[writer.tokenizer.end, *best.tokens]])
    asked = torch.tensor([[*best.tokens, writer.tokenizer.end]])
    with torch.inference_mode():
        found = model.model(translate_pieces(torch.tensor([writer.encode(LINES[3])])), given)
    total = found.gather(-1, asked[..., None]).sum().item()
    score = heedful("predict", run, LINES[3], "--scores", "--length-penalty", penalty).out.split("\t")[1]
    assert float(score) == pytest.approx(total / ((5 + asked.shape[1]) / 6) ** penalty, abs=1e-3)


def translate_pieces(source):
    from heedful.data.batch_types import TokenBatch

    return TokenBatch(source, torch.tensor([source.shape[1]]))


def test_no_token_stands_twice_where_none_may(heedful, run):
    text = "red dog sees red cat"
    assert heedful("predict", run, text).out.split().count("ruga") == 2
    words = heedful("predict", run, text, "--no-repeat-ngram", 1).out.split()
    assert len(words) > 1
    assert words.count("ruga") < 2


def test_a_text_that_is_cut_off_says_so(heedful, run):
    given = ("predict", run, LINES[0], "--max-new-tokens", 2)
    shown = heedful(*given).out
    assert shown.endswith(" [cut off]\n")
    plain = heedful(*given, "--format", "data").out
    assert shown == plain.replace("\n", " [cut off]\n")
    assert len(plain.strip()) < len(heedful("predict", run, LINES[0]).out.strip())
    row = json.loads(heedful(*given, "--format", "jsonl").out)
    assert (row["finished"], row["output"].strip()) == (False, plain.strip())


def test_what_is_drawn_depends_on_seed_and_place_alone(heedful, run, typed):  # noqa: F811
    drawing = ("--num-samples", 2, "--temperature", 2, "--max-new-tokens", 7)
    seeded = (*drawing, "--seed", 3)
    together = heedful("predict", run, *LINES, *seeded).out
    assert len(together.splitlines()) == 10
    assert len(set(together.splitlines())) > 5
    typed("\n".join(LINES).encode())
    assert heedful("predict", run, *seeded).out == together
    chunks = [[line] for line in LINES]
    alone = list(package.load(run).stream(chunks, num_samples=2, seed=3, temperature=2.0, max_new_tokens=7))
    assert "".join(visible(one, keep="\n\t") + "\n" for one in alone) == together
    assert [one.rank for one in alone] == [0, 1] * 5
    assert heedful("predict", run, *LINES, *drawing, "--seed", 4).out != together
    cold = heedful("predict", run, LINES[0], "--num-samples", 2, "--temperature", 0).out.splitlines()
    assert cold == [heedful("predict", run, LINES[0], "--beams", 1).out.strip()] * 2


def test_a_file_of_texts_keeps_its_empty_lines(heedful, run, other_data, tmp_path):
    (tmp_path / "lines.txt").write_text(f"{LINES[0]}\n\n{LINES[1]}\n")
    lines = heedful("predict", run, "--data", tmp_path / "lines.txt").out.split("\n")
    assert [bool(line) for line in lines] == [True, False, True, False]
    out = heedful("predict", run, "--data", other_data, "--format", "data").out.splitlines()
    targets = other_data.with_name("test.eo").read_text().splitlines()
    assert sum(a == b for a, b in zip(out, targets, strict=True)) > 20


def test_characters_that_were_never_seen(heedful, tiny, tmp_path):
    row = json.loads(heedful("predict", tiny, "big Ж\tdog Ω", "--max-new-tokens", 5, "--format", "jsonl").out)
    assert row["unknown"] == "ΩЖ"
    assert "\ufffd" not in row["output"]
    (section,) = package.load(tiny).inspect(["a Ж"])
    assert "The model does not know 'Ж'." in section.text
    assert list(section.axes[0].tokens) == ["a", " ", "Ж", "[END]"]
    assert section.axes[0].special == [2, 3]
    assert heedful("inspect", tiny, "a Ж", "--out", tmp_path / "report.html").status == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--beams", 0], "`beams`: input should be greater than or equal to 1: got '0'."),
        (["--length-penalty", "nan"], "`length_penalty`: input should be a finite number: got 'nan'."),
        (["--num-samples", 1, "--top-p", 0], "`top_p`: input should be greater than 0: got '0'."),
        (["--seed", 3], "`seed` must be left out where no texts are drawn (`num_samples`): got 3."),
        (["--num-samples", 2, "--beams", 3], "`beams` must be left out where texts are drawn: got 3."),
    ],
)
@pytest.mark.parametrize("text", ["big dog", ""])
def test_impossible_options(refused, tiny, given, message, text):
    assert refused("predict", tiny, text, *given) == message


def test_a_text_that_is_longer_than_the_positions(refused, tiny, tmp_path):
    long = "cat " * 20
    message = (
        "a text must have at most 39 tokens (model.max_positions): got 79, 'cat cat cat cat cat cat cat cat cat cat…'"
    )
    assert refused("predict", tiny, "dog", long) == f"input 2: {message}"
    assert refused("inspect", tiny, "dog", long, "--out", tmp_path / "report.html") == message
    assert not (tmp_path / "report.html").exists()


def test_the_limit_of_positions_is_that_of_the_output_too(heedful, tiny):
    assert heedful("predict", tiny, "b" * 39, "--max-new-tokens", 500).status == 0
    assert len(heedful("predict", tiny, "b", "--max-new-tokens", 500, "--format", "data").out.strip()) <= 39


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.max_length=2"], "{data}: at least one pair must have at most 2 tokens a side (data.max_length): got 5"),
        (["model.positions=learned", "model.max_positions=4"], "{data}:1: a text must have at most 3 tokens (model.max_positions)"),
        (["model.score=none"], "`model.score`: input should be 'scaled-dot', 'dot', "),
        (["model.heads=3"], "[model]: `heads` must be a positive divisor of `width`: got 3 and 16."),
        (["model.architecture=extractive"], "`model.architecture`: must be one of transformer, recurrent: got 'extractive'."),
        (["data.source=3", "data.target=1"], "{data}:1: must have a column 3: got 2, "),
        (["training.average_last_epochs=2"], "`training.average_last_epochs`: must be at most the 1 epochs: got 2."),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_begin_no_run(refused, tiny_data, tmp_path, settings, message):
    given = options(languages.TINY, *settings)
    line = refused("train", "translate", "--data", tiny_data, "--out", tmp_path / "run", *given)
    assert line.startswith(message.format(data=tiny_data)), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocabulary.json", "{}"),
        ("vocabulary.json", '{"longest": null}'),
        ("tokenizer.json", '{"format": "heedful characters 1", "alphabet": "ab"}'),
        ("tokenizer.json", "[]"),
    ],
)
def test_parts_that_do_not_fit_each_other(refused, tiny, tmp_path, name, content):
    folder = shutil.copytree(tiny, tmp_path / "copy")
    (folder / name).write_text(content)
    about = json.loads((folder / "run.json").read_text())
    about["files"][name] = hashlib.sha256(content.encode()).hexdigest()
    (folder / "run.json").write_text(json.dumps(about))
    line = refused("predict", folder, "x")
    assert line.startswith(
        (f"{folder}/", f"{folder}: the weights, the settings and the vocabulary must fit each other: ")
    )


def test_heads_of_layers_that_have_several(heedful, refused, run, tmp_path):
    report, png = tmp_path / "report.html", tmp_path / "heads.png"
    answer = heedful("inspect", run, LINES[0], "--heads", "1", "--out", report, "--png", png)
    assert (answer.status, answer.err) == (0, "")
    assert png.stat().st_size > 0
    assert refused("inspect", run, LINES[0], "--heads", "7", "--out", report).startswith(
        "--heads must be numbers from 0 to"
    )
