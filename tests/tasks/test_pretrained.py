"""Pretrained encoders in tasks: what a run folder keeps, what is trained, what is shown, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from heedful.tasks.run import load, train
from tests import texts, tiny
from tests.inspection import folders

TINY = {"model.architecture": "pretrained", "training.epochs": 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models; not to be changed."""
    place = tmp_path_factory.mktemp("models")
    return {name: getattr(folders, name)(place / name) for name in ("bert", "modernbert", "vit")}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return texts.reviews(tmp_path_factory.mktemp("data") / "data.tsv", 40)


def fitted(model, data, task="classify", **settings):
    return train(task, str(data), settings={**TINY, "model.name": str(model), **settings}, progress=False)


def words(model, data, out, *settings, task="classify"):
    own = ("model.architecture=pretrained", f"model.name={model}", "training.epochs=1", *settings)
    return ["train", task, "--data", data, "--out", out, *texts.options(own)]


def test_a_run_needs_neither_the_folder_nor_the_hub(models, reviews, tmp_path, heedful):
    gone = shutil.copytree(models["modernbert"], tmp_path / "model")
    assert heedful(*words(gone, reviews, tmp_path / "run")).status == 0
    before = load(tmp_path / "run").predict(["bona boro", "malbona biro"])
    shutil.rmtree(gone)
    assert load(tmp_path / "run").predict(["bona boro", "malbona biro"]) == before
    again = load(tmp_path / "run").evaluate(str(reviews))
    assert again.baselines["majority"]
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "vocabulary.json"} <= files
    kept = json.loads((tmp_path / "run" / "vocabulary.json").read_text())["pretrained"]
    assert kept["config"]["model_type"] == "modernbert"
    assert kept["max_tokens"] == 64
    settings = texts.options(("model.architecture=pretrained", "training.epochs=1"))
    answer = heedful(
        "train", "classify", "--data", reviews, "--from", tmp_path / "run", "--out", tmp_path / "on", *settings
    )
    assert answer.status == 0, answer.err


@pytest.mark.parametrize("frozen", [True, False])
def test_a_linear_probe_leaves_the_weights_as_they_were(models, reviews, frozen):
    trained = fitted(models["bert"], reviews, **{"model.encoder_rate": 0.0 if frozen else 1.0})
    before, prefix = load_file(models["bert"] / "model.safetensors"), "members.0.encoder.network."
    after = {name.removeprefix(prefix): tensor for name, tensor in trained.model.state_dict().items()}
    same = [
        torch.equal(after[name.removeprefix("bert.")], tensor) for name, tensor in before.items() if "layer" in name
    ]
    assert len(same) > 20
    assert all(same) is frozen
    assert any(same) is frozen


def test_the_attention_that_is_shown_is_the_models_own(models, reviews):
    trained = fitted(models["bert"], reviews)
    (section,) = trained.inspect([folders.TEXT]).sections
    network = trained.model.members[0].encoder.network
    tokenizer = hf.AutoTokenizer.from_pretrained(models["bert"])
    eager = hf.BertModel.from_pretrained(models["bert"], attn_implementation="eager", add_pooling_layer=False).eval()
    eager.load_state_dict(network.state_dict())
    with torch.no_grad():
        output = eager(**tokenizer(folders.TEXT, return_tensors="pt"), output_attentions=True)
    shown = [layer for layer in section.layers if layer.kind == "self"]
    assert len(shown) == len(output.attentions) == 2
    for layer, expected in zip(shown, output.attentions, strict=True):
        np.testing.assert_allclose(layer.pairs.weights, expected[0].numpy(), atol=1e-5)
    text = section.axes[0]
    assert (text.tokens[0], text.special[0], text.words[6:8]) == ("[CLS]", 0, [5, 5])
    drops = trained.task.occlusion(trained.model, folders.TEXT)
    assert drops[0] == drops[-1] == 0
    assert drops[1:-1].abs().min() > 0


def test_a_label_stands_on_the_first_token_of_its_word(models, tmp_path):
    trained = fitted(models["modernbert"], texts.conllu(tmp_path / "data.conllu", 40), "tag")
    (prediction,) = trained.predict(["la boro bira."])
    assert prediction.words == ["la", "boro", "bira", "."]
    (section,) = trained.inspect(["la boro bira."]).sections
    tokens, rows = section.axes[0], section.axes[1].tokens
    labeled = [row for row in rows if " \u00b7 " in row]
    assert [row.rpartition(" \u00b7 ")[2] for row in labeled] == prediction.labels
    assert len(rows) == len(tokens.tokens) > len(labeled)


def test_long_texts_are_cut_and_that_is_said(models, tmp_path, heedful):
    data = tmp_path / "long.tsv"
    data.write_text("".join(f"{'bona boro ' * (30 if i < 20 else 1)}\t{'ab'[i % 2]}\n" for i in range(40)))
    answer = heedful(*words(models["bert"], data, tmp_path / "run"))
    assert "note: 18 texts have 32 tokens or more, of which the pretrained model reads the first ones." in answer.out


def test_images_have_the_size_and_the_channels_of_the_model(models, tmp_path, refused):
    data = tiny.draw(tmp_path / "shades", 20)
    trained = fitted(models["vit"], data, "classify-image")
    assert (trained.task.size, trained.task.channels) == ((12, 12), 3)
    assert trained.model.mean.tolist() == [0.5] * 3
    (section,) = trained.inspect([str(data / "dark" / "3.png")]).sections
    assert (section.axes[0].grid, section.axes[0].extra) == ((3, 3), ["class token"])
    line = refused(*words(models["vit"], data, tmp_path / "run", "data.size=20", task="classify-image"))
    assert line.startswith("[model] does not fit images of 20 x 20 pixels: ")


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    return f"{folder}: has no tokenizer: its vocabulary is empty."


def unknown(folder):
    (folder / "evil.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w').close()\n")
    folders.change(folder, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    known = f"must be of an architecture that transformers {hf.__version__} knows"
    return f"{folder}: {known}: code that comes with a model is never run."


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    got = "got pytorch_model.bin, which could run code when it is read."
    return f"{folder}: must hold the model's weights as .safetensors: {got}"


@pytest.mark.parametrize("spoil", [without_tokenizer, unknown, pickled])
def test_a_folder_that_is_refused(models, reviews, tmp_path, refused, spoil):
    folder = shutil.copytree(models["bert"], tmp_path / "model")
    message = spoil(folder)
    assert refused(*words(folder, reviews, tmp_path / "run")) == message
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


def test_a_model_without_a_name(reviews, tmp_path, refused):
    line = refused(
        "train", "classify", "--data", reviews, "--out", tmp_path / "run", "--set", "model.architecture=pretrained"
    )
    assert line == "`model.name`: must be a model's folder, or its name on huggingface.co: got ''."
    line = refused(*words("x/y", reviews, tmp_path / "run", "model.width=3"))
    assert line == "`model.width` is no setting of model.architecture = 'pretrained'."
