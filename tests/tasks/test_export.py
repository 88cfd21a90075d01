"""`heedful export`: what onnxruntime computes is what the model computes."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import heedful as package
from heedful._errors import DataError, HeedfulError
from heedful.data.batch_types import IndexedSentences, PaddedWords, SentenceBatch, sentence_rows
from heedful.data.text.words import WordVocabulary
from heedful.models.ensemble import Ensemble
from heedful.models.extractor import SentenceExtractor
from heedful.models.words import FastTextEmbedding, WordEmbedding
from heedful.nn import TransformerEncoder
from heedful.tasks.export import _original as original
from heedful.tasks.export import export
from tests import texts

SMALL = {
    "model.width": 8, "model.heads": 2, "model.ffn_width": 8, "model.layers": 1, "training.epochs": 1,
    "model.word_width": 8, "model.form_width": 4, "model.ngram_width": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A tagger with a learned bias of distances, and its exported model; not to be changed."""
    folder = tmp_path_factory.mktemp("export")
    data = texts.conllu(folder / "data.conllu", 40, 0)
    model = package.train("tag", str(data), settings=SMALL, out=folder / "run", progress=False)
    return model, export(model, folder / "onnx"), folder


def test_what_is_written(tagger):
    model, check, folder = tagger
    names = {"README.md", "check.json", "labels.json", "model.onnx", "vocabulary.json"}
    assert {file.name for file in (folder / "onnx").iterdir()} == names
    assert json.loads((folder / "onnx" / "check.json").read_text()) == vars(check)
    assert check.data == "the validation examples of the run, 4 sentences"
    assert (check.examples, check.agreement) == (4, 1.0)
    assert 0 < check.predictions < 100
    assert check.largest_difference < 1e-5
    assert json.loads((folder / "onnx" / "labels.json").read_text()) == model.task.labels["UPOS"]
    page = (folder / "onnx" / "README.md").read_text()
    assert "| input `char_ngrams` | int64 | batch, length, ngrams |" in page
    assert str(folder) not in page
    assert not any(word in (folder / "onnx" / "model.onnx").read_bytes() for word in (b".py", b"/tmp", b"/home"))


def test_any_batch_of_any_length_by_what_the_folder_holds(tagger):
    """Made by README.md and the files beside it alone, with other sizes than those that were traced."""
    model, _, folder = tagger
    names = json.loads((folder / "onnx" / "vocabulary.json").read_text())
    vocabulary = WordVocabulary(
        dict.fromkeys(names["words"], 1), dict.fromkeys(names["forms"], 1), tuple(names["char_ngrams"])
    )
    labels = json.loads((folder / "onnx" / "labels.json").read_text())
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    for sentences in ([["la"]], [["bona", "Boro", "unknownword"], ["."]], [["la", "boro", "biras"] * 9] * 5):
        length = max(map(len, sentences))
        numbers = np.zeros((2, len(sentences), length), np.int64)
        ngrams = np.full((len(sentences), length, 200), -1)
        for row, words in enumerate(sentences):
            for column, word in enumerate(words):
                numbers[:, row, column] = vocabulary.numbers(word)
                own = vocabulary.ngrams_of(word)
                ngrams[row, column, : len(own)] = own
        inputs = {"words": numbers[0], "forms": numbers[1], "char_ngrams": ngrams}
        inputs["lengths"] = np.array(list(map(len, sentences)))
        (probabilities,) = session.run(["probabilities"], inputs)
        for row, one in enumerate(model.predict([list(words) for words in sentences])):
            found = probabilities[row, : len(one.words)]
            assert [labels[i] for i in found.argmax(-1)] == one.labels
            assert found.max(-1) == pytest.approx(one.probabilities, abs=1e-5)


@pytest.fixture
def traced_once(tagger, monkeypatch):
    """The graph of the tagger is taken from the folder: to trace it takes seconds."""
    traced = tagger[2] / "onnx" / "model.onnx"
    program = SimpleNamespace(save=lambda path: shutil.copy(traced, path))
    monkeypatch.setattr("heedful.tasks.export._program", lambda *_: program)


@pytest.mark.usefixtures("traced_once")
def test_at_a_terminal(heedful, refused, tagger, tmp_path):
    folder = tagger[2]
    data = texts.conllu(tmp_path / "other.conllu", 12, 1)
    moved = shutil.copytree(folder / "run", tmp_path / "run")
    (folder / "data.conllu").rename(folder / "away.conllu")
    try:
        line = refused("export", moved, "--out", tmp_path / "onnx")
        assert line.startswith(f"{moved}: the validation examples are not there, so --data must name labeled data: ")
        answer = heedful("export", moved, "--out", tmp_path / "onnx", "--data", data)
    finally:
        (folder / "away.conllu").rename(folder / "data.conllu")
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[0] == f"on {data}, 12 sentences"
    assert answer.out.splitlines()[1].startswith("    same predictions    100.00 % of ")
    assert answer.out.splitlines()[-1] == f"exported to {tmp_path / 'onnx'}"
    assert refused("export", moved, "--out", tmp_path / "onnx") == (
        f"{tmp_path / 'onnx'}: must be a new folder: there is one of this name."
    )


@pytest.mark.usefixtures("traced_once")
def test_a_model_that_predicts_others_is_not_written(tagger, tmp_path, monkeypatch):
    monkeypatch.setattr("heedful.tasks.export._original", lambda *given: 1 - original(*given))
    says = (
        f"{tmp_path / 'onnx'}: is not written: the exported model predicts the same for .* % of the validation examples"
    )
    with pytest.raises(HeedfulError, match=says):
        export(tagger[0], tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path):
    pairs = ["big dog", "red cat"] * 10
    small = {"model.width": 8, "model.heads": 1, "model.ffn_width": 8, "model.layers": 1, "training.epochs": 1}
    model = package.train(
        "translate", (pairs, pairs), settings={**small, "data.tokenizer": "characters"}, progress=False
    )
    with pytest.raises(
        HeedfulError, match="translate cannot be exported: its prediction is more than one forward pass of its model."
    ):
        export(model, tmp_path / "onnx")


def test_data_in_memory_are_not_there_to_compare_on(tagger, tmp_path, monkeypatch):
    model, _, _ = tagger
    manifest = model.folder.manifest() | {"data": {"data": "data in memory"}}
    monkeypatch.setattr(type(model.folder), "manifest", lambda _: manifest)
    with pytest.raises(DataError, match="so --data must name labeled data: they were in memory."):
        export(model, tmp_path / "onnx")


def test_a_package_that_is_missing(refused, tagger, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    line = refused("export", tagger[2] / "run", "--out", tmp_path / "onnx")
    assert line == "exporting needs `pip install 'heedful[onnx]'`: the package onnxscript is missing."


@pytest.mark.parametrize("kind", ["fasttext", "words"])
def test_words_with_their_ngrams_beside_them_are_the_same_words(kind):
    sentences = [["la", "boro", "biras"], ["Boro"], ["unknown", "la"]]
    vocabulary = WordVocabulary.fit([["la", "boro", "biras", "Boro"]])
    counts, known = list(vocabulary.words.values()), len(vocabulary.char_ngrams)
    layer = (
        (
            FastTextEmbedding(len(counts), known, 5)
            if kind == "fasttext"
            else WordEmbedding(
                counts, list(vocabulary.forms.values()), known, word_width=3, form_width=2, ngram_width=7, width=5
            )
        )
        .double()
        .eval()
    )
    batch = vocabulary.encode(sentences)
    real = torch.arange(3) < batch.lengths[:, None]
    torch.testing.assert_close(layer(PaddedWords.of(batch))[real], layer(batch)[real])


def test_sentences_by_their_rows_are_the_same_documents():
    torch.manual_seed(0)
    vocabulary = WordVocabulary.fit([["la", "boro", "biras", "Boro"]])
    words = FastTextEmbedding(len(vocabulary.words), len(vocabulary.char_ngrams), 6)
    encoders = (TransformerEncoder(6, 2, 1) for _ in range(2))
    model = Ensemble([SentenceExtractor(tokens=words, encoder=next(encoders), document=next(encoders))]).double().eval()
    tokens = vocabulary.encode([["la"], ["boro", "la"], ["biras", "x"], ["Boro"]])
    counts = torch.tensor([1, 3])
    shuffled = vocabulary.encode([["Boro"], ["biras", "x"], ["boro", "la"], ["la"]])
    rows = torch.tensor([[3, -1, -1], [2, 1, 0]])
    together = model.probabilities(SentenceBatch(tokens, counts))
    torch.testing.assert_close(model.probabilities(IndexedSentences(PaddedWords.of(shuffled), rows)), together)
    assert sentence_rows(counts).tolist() == [[0, -1, -1], [1, 2, 3]]
    assert together[0].tolist() == [1.0, 0.0, 0.0]
