"""Folders of models become sections: what stands along the axes, what was predicted, what is refused."""

import importlib
import os

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from heedful._errors import HeedfulError
from heedful.data.inputs import read_input
from heedful.hugging_face import chosen, load_model, number_range, run
from heedful.hugging_face.multimodal import pictures_among
from heedful.hugging_face.run import nan_origin
from heedful.inspection.calls import Unseen
from heedful.report import Picture, Positions, Sound, Text
from tests.inspection import folders
from tests.tiny import little_memory


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model's folder, made once."""
    place, known = tmp_path_factory.mktemp("models"), {}

    def of(name, **options):
        key = repr((name, sorted(options.items(), key=str)))
        if key not in known:
            known[key] = getattr(folders, name)(place / f"{len(known)}-{name}", **options)
        return known[key]

    return of


def looked(folder, *words, **options):
    return run(load_model(str(folder)), [read_input(str(word)) for word in words], **options)[:2]


def along(section):
    """Of each call its kind and the kinds of things that stand along it."""
    return [(layer.kind, section.axes[layer.rows].name, section.axes[layer.columns].name) for layer in section.layers]


def weights(layer):
    assert layer.pairs is not None
    return layer.pairs.weights


def own_weights(folder, kind, **numbers):
    model = kind.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**numbers, output_attentions=True)


def test_a_text_has_tokens_words_special_tokens_and_the_models_own_weights(made):
    folder = made("bert")
    section, notes = looked(folder, folders.TEXT)
    [side] = section.axes
    assert isinstance(side, Text)
    assert list(side.tokens[:8]) == ["[CLS]", "the", "small", "cat", "sees", "the", "un", "##seen"]
    assert list(side.words[:8]) == [-1, 0, 1, 2, 3, 4, 5, 5]
    assert list(side.special) == [0, 15]
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    output = own_weights(folder, hf.BertForSequenceClassification, **tokenizer(folders.TEXT, return_tensors="pt"))
    assert [layer.kind for layer in section.layers] == ["self", "self", "rollout"]
    for layer, expected in zip(section.layers, output.attentions, strict=False):
        np.testing.assert_allclose(weights(layer), expected[0].numpy(), atol=1e-5)
    shares = output.logits[0].softmax(-1)
    best = [(("bad", "fair", "good")[i], shares[i].item()) for i in shares.argsort(descending=True).tolist()]
    assert [name for name, _ in section.predictions] == [name for name, _ in best]
    assert [p for _, p in section.predictions] == pytest.approx([p for _, p in best], abs=1e-5)
    assert (notes, section.output) == ([], None)
    assert "BertForSequenceClassification" in section.text
    assert "same" in section.layers[0].numbers


def test_a_generation_has_the_weights_of_one_pass_over_the_whole_text(made):
    folder = made("gpt2")
    section, notes = looked(folder, folders.OTHER, generate=12)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    whole = hf.GPT2LMHeadModel.from_pretrained(folder).generate(
        **tokenizer(folders.OTHER, return_tensors="pt"), max_new_tokens=12, do_sample=False
    )
    output = own_weights(folder, hf.GPT2LMHeadModel, input_ids=whole[:, :-1])
    for layer, expected in zip(section.layers[:2], output.attentions, strict=True):
        np.testing.assert_allclose(weights(layer), expected[0].numpy(), atol=1e-5)
    assert list(section.axes[0].tokens) == tokenizer.convert_ids_to_tokens(whole[0, :-1].tolist())
    assert "were generated greedily" in notes[0]
    assert section.text.endswith("The probabilities are of the first token that was generated.")
    first = output.logits[0, len(tokenizer(folders.OTHER)["input_ids"]) - 1].softmax(-1).max()
    assert section.predictions[0][1] == pytest.approx(first.item(), abs=1e-5)
    assert len(looked(made("t5"), folders.TEXT, generate=5)[0].axes[-1].tokens) <= 6


def test_two_texts_are_a_pair_whose_words_are_counted_through(made):
    section, _ = looked(made("bert"), folders.TEXT, folders.OTHER)
    [side] = section.axes
    assert list(side.words[-7:]) == [-1, 12, 13, 14, 15, 16, -1]
    assert list(side.special) == [0, 15, 21]
    assert section.title == f"{folders.TEXT} / {folders.OTHER}"


def test_a_text_that_is_too_long_is_cut_and_this_is_said(made):
    section, notes = looked(made("bert"), " ".join(["cat"] * 50))
    assert section.axes[0].count == 32
    assert notes == ["The text has 52 tokens, of which the model takes the first 32."]
    assert notes[0] in section.text


def test_a_masked_model_says_what_it_would_put_in_place_of_the_first_mask(made):
    section, _ = looked(made("bert", kind=hf.BertForMaskedLM), "the small [MASK] sees the dog")
    assert len(section.predictions) == 5
    assert {name for name, _ in section.predictions} <= set(folders.word_pieces().get_vocab()) | {"unseen", "s"}
    assert section.text.endswith("The probabilities are of the first [MASK].")
    assert looked(made("bert", kind=hf.BertForMaskedLM), "the small cat")[0].predictions == []


def test_a_language_model_says_the_next_token(made):
    folder = made("gpt2")
    section, _ = looked(folder, folders.TEXT)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    output = own_weights(folder, hf.GPT2LMHeadModel, **tokenizer(folders.TEXT, return_tensors="pt"))
    np.testing.assert_allclose(weights(section.layers[1]), output.attentions[1][0].numpy(), atol=1e-5)
    shares = output.logits[0, -1].softmax(-1)
    assert section.predictions[0][1] == pytest.approx(shares.max().item(), abs=1e-5)
    assert section.predictions[0][0] == tokenizer.decode([int(shares.argmax())]).strip()
    assert "\u0120small" in section.axes[0].tokens
    assert section.text.endswith("The probabilities are of the next token.")


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_and_decoder_each_have_their_text(made, name):
    folder = made(name)
    section, _ = looked(folder, folders.TEXT, folders.OTHER)
    crossing = [("self", "target", "target"), ("cross", "target", "source")]
    rollouts = [("rollout", "source", "source"), ("rollout", "target", "target")]
    assert along(section) == [("self", "source", "source")] * 2 + crossing * 2 + rollouts
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(folders.OTHER)["input_ids"]
    ids = [0, *(i for i in ids if i != tokenizer.eos_token_id)]
    kind = hf.T5ForConditionalGeneration if name == "t5" else hf.BartForConditionalGeneration
    output = own_weights(
        folder, kind, **tokenizer(folders.TEXT, return_tensors="pt"), decoder_input_ids=torch.tensor([ids])
    )
    np.testing.assert_allclose(weights(section.layers[5]), output.cross_attentions[1][0].numpy(), atol=1e-5)
    assert section.output is None


def test_source_and_target_of_one_length_keep_their_axes(made):
    section, _ = looked(made("bart"), "a dog sees the cat", "a dog sees the")
    counts = {side.count for side in section.axes}
    assert len(counts) == 1
    assert along(section)[0] == ("self", "source", "source")
    assert along(section)[2:4] == [("self", "target", "target"), ("cross", "target", "source")]


def test_without_a_target_the_model_writes_first(made):
    folder = made("whisper")
    section, notes = looked(folder, folders.sound(folder / "tone.wav"))
    assert section.axes[1].name == "generated target"
    assert section.axes[1].count == section.layers[2].queries == section.layers[2].keys > 1
    assert section.axes[1].tokens[0] == "<start>"
    assert section.output
    assert notes == ["The target was generated greedily; the decoder then ran over it once."]


def test_a_sound_covers_the_padding_too(made):
    folder = made("whisper")
    section, _ = looked(folder, folders.sound(folder / "tone.wav", seconds=0.5), folders.OTHER)
    sound = section.axes[0]
    assert isinstance(sound, Sound)
    assert (len(sound.samples), sound.rate, sound.seconds, sound.count) == (8000, 16000, 1.0, 50)
    assert sound.spectrogram.shape == (8, 100)
    assert sound.spectrogram[:, :50].max() > sound.spectrogram[:, 60:].max()
    crossing = [("self", "target", "target"), ("cross", "target", "recording")]
    rollouts = [("rollout", "recording", "recording"), ("rollout", "target", "target")]
    assert along(section) == [("self", "recording", "recording")] * 2 + crossing * 2 + rollouts
    assert list(section.axes[1].tokens) == ["<start>", "a", "\u0120dog", "\u0120sees", "\u0120the", "\u0120cat"]


def test_a_long_sound_is_cut_and_this_is_said(made):
    folder = made("whisper")
    section, notes = looked(folder, folders.sound(folder / "long.wav", seconds=1.5), folders.OTHER)
    assert notes == ["The model takes the first 1 s of 1.5 s."]
    assert len(section.axes[0].samples) == 16000


def test_words_stand_where_they_were_heard(made):
    folder = made("whisper")
    loaded = load_model(str(folder))
    target = folder / "target.txt"
    target.write_text("the cat sat")
    tone = read_input(str(folders.sound(folder / "tone.wav")))
    for heads in ([[0, 0], [1, 1]], [[7, 0]]):  # the latter does not exist
        loaded.model.generation_config.alignment_heads = heads
        section, *_ = run(loaded, [tone, read_input(str(target))])
        [sound] = [axis for axis in section.axes if isinstance(axis, Sound)]
        if heads == [[7, 0]]:
            assert sound.words == ()
        else:
            words, starts, ends = zip(*sound.words, strict=True)
            assert " ".join(words) == "the cat sat"
            assert list(starts) == sorted(starts)
            assert ends[:-1] == starts[1:]
            assert 0 <= starts[0] <= ends[-1] <= 0.52  # of half a second, in a second of padding


def test_a_model_of_waves_and_one_of_spectrogram_patches(made):
    folder = made("wav2vec2")
    section, _ = looked(folder, folders.sound(folder / "tone.wav"))
    assert along(section)[:2] == [("self", "recording", "recording")] * 2
    assert (section.axes[0].spectrogram, section.axes[0].seconds) == (None, 0.5)
    assert {name for name, _ in section.predictions} == {"yes", "no"}
    section, _ = looked(made("ast"), folder / "tone.wav")
    [side] = section.axes
    assert isinstance(side, Picture)
    assert (side.grid, side.extra, side.pixels.shape) == ((3, 4), ["class token", "distillation token"], (16, 32))


@pytest.mark.parametrize("processor", [True, False])
def test_a_picture_is_what_the_model_saw(made, processor):
    folder = made("vit", processor=processor)
    section, notes = looked(folder, folders.picture(folder / "noise.png", size=(12, 12)))
    [side] = section.axes
    assert (side.grid, list(side.extra), side.pixels.shape) == ((3, 3), ["class token"], (12, 12, 3))
    original = read_input(str(folder / "noise.png")).value
    assert np.abs(side.pixels.astype(int) - np.array(original).astype(int)).max() <= 1
    assert len(notes) == (0 if processor else 1)
    assert {name for name, _ in section.predictions} == {"cat", "dog"}


def test_each_stage_has_the_picture_in_its_own_grid(made):
    folder = made("swin")
    section, _ = looked(folder, folders.picture(folder / "noise.png", size=(16, 16)))
    assert [(section.axes[layer.columns].grid, layer.kind) for layer in section.layers] == [
        ((8, 8), "self"), ((8, 8), "self"), ((4, 4), "self"), ((8, 8), "rollout"),
    ]  # fmt: skip


def test_positions_stand_where_patches_cannot_be_known(made):
    folder = folders.change(folders.vit(made("vit").parent / "odd"), num_channels=3)
    loaded = load_model(str(folder))
    loaded.config.patch_size = 6
    section, *_ = run(loaded, [read_input(str(folders.picture(folder / "noise.png")))])
    assert isinstance(section.axes[0], Positions)


def test_a_picture_and_a_text_each_have_their_tower_in_any_order(made):
    folder = made("clip")
    file = folders.picture(folder / "noise.png")
    for words in ((file, folders.TEXT), (folders.TEXT, file)):
        section, _ = looked(folder, *words)
        towers = ("picture", "text")
        expected = [("self", tower, tower) for tower in towers for _ in range(2)]
        assert along(section) == expected + [("rollout", tower, tower) for tower in towers]


def test_a_picture_among_the_tokens_of_a_text(made):
    """Of LLaVA's kind: those of its patches stand where the text has its sign, or before it."""
    folder = made("llava")
    file = folders.picture(folder / "noise.png")
    for words, first in ((folders.TEXT, 0), (f"a dog <image> {folders.TEXT}", None)):
        section, _ = looked(folder, file, words)
        axes = {axis.name: axis for axis in section.axes}
        [(start, shown)] = axes["text"].pictures
        assert shown.grid == (4, 4)
        assert start == first or axes["text"].tokens[:start]
        assert set(axes["text"].tokens[start : start + 16]) == {"<image>"}
        calls = along(section)
        assert ("self", "text", "text") in calls
        assert ("self", "picture", "picture") in calls
    with pytest.raises(HeedfulError, match="takes a picture and text: got text"):
        looked(folder, folders.TEXT)


def test_where_a_picture_stands_is_told_by_the_grid_of_its_patches():
    ids, picture = [5, *[9] * 6, 7], np.zeros((20, 30, 3), np.uint8)
    arguments = {"image_grid_thw": torch.tensor([[1, 4, 6]])}
    [(start, shown)] = pictures_among(ids, 9, arguments, {"spatial_merge_size": 2}, picture)
    assert (start, shown.grid) == (1, (2, 3))
    assert pictures_among(ids, 9, {}, {}, picture) == []  # six are no square
    assert pictures_among([9, 5, 9, 9, 9], 9, {}, {}, picture) == []  # parts of pictures
    assert pictures_among([5, 9, 9, 9, 9], 9, {}, {}, picture)[0][1].grid == (2, 2)


def test_some_layers_alone_leave_out_the_rollout(made):
    whole, _ = looked(made("bert"), folders.TEXT)
    section, _ = looked(made("bert"), folders.TEXT, layers="1")
    assert [layer.name for layer in section.layers] == ["bert.encoder.layer.1.attention.self"]
    np.testing.assert_array_equal(weights(section.layers[0]), weights(whole.layers[1]))
    assert "1 of 2 calls" in section.text
    section, _ = looked(made("bart"), folders.TEXT, folders.OTHER, layers="encoder_attn")
    assert [layer.kind for layer in section.layers] == ["cross", "cross"]


def test_layers_are_chosen_by_number_range_and_name():
    names = ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]
    assert chosen(names, None) == [0, 1, 2, 3]
    assert chosen(names, "3, 0-1") == [0, 1, 3]
    assert chosen(names, "decoder,0") == [0, 2, 3]
    for words, got in (("4", "4"), ("2-4", "2-4"), ("1-0", "1-0"), ("pooler", "pooler"), ("0,", "")):
        with pytest.raises(HeedfulError, match=f"--layers must be numbers from 0 to 3, .*: got '{got}'"):
            chosen(names, words)
    assert list(number_range("3-5")) == [3, 4, 5]


def test_what_was_not_seen_is_said(made, monkeypatch):
    module = importlib.import_module("heedful.hugging_face.run")

    loaded, text = load_model(str(made("bert"))), read_input(folders.TEXT)
    watch = module.watch

    class Watched:
        def __init__(self, model):
            self.inner = watch(model)

        def __enter__(self):
            self.seen = self.inner.__enter__()
            return self.seen

        def __exit__(self, *error):
            self.inner.__exit__(*error)
            self.seen.unseen = [Unseen(f"layer.{i}", "it was by hand") for i in range(5)]

    monkeypatch.setattr(module, "watch", Watched)
    section, notes, _ = run(loaded, [text])
    assert notes == [
        "NOT SEEN, though expected (5): layer.0: it was by hand; layer.1: it was by hand; layer.2: it was by hand; and 2 more."
    ]
    assert notes[0] in section.text


def test_a_model_without_attention_that_can_be_seen(tmp_path):
    config = hf.ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1], layer_type="basic")
    folder = folders.save(tmp_path / "resnet", hf.ResNetForImageClassification, config)
    with pytest.raises(HeedfulError, match="no attention was seen"):
        looked(folder, folders.picture(tmp_path / "noise.png"))


def test_weights_that_are_missing_are_named_or_refused(tmp_path):
    folder = folders.fewer_weights(folders.bert(tmp_path / "bert"), lambda name: not name.startswith("classifier"))
    _, notes = looked(folder, folders.TEXT)
    assert notes == [
        "2 weights are not in the folder and were initialized at random: classifier.bias, classifier.weight."
    ]
    folders.fewer_weights(folder, lambda name: "embeddings" in name)
    with pytest.raises(HeedfulError, match="must hold the weights of BertForSequenceClassification: [0-9]+ of them"):
        load_model(str(folder))


def test_where_nan_begins(tmp_path):
    folder = folders.bert(tmp_path / "bert")
    name = "bert.encoder.layer.1.attention.self.key"

    def damage(value):
        tensors = load_file(folder / "model.safetensors")
        tensors[f"{name}.weight"][2, 1] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    damage(float("nan"))
    section, notes = looked(folder, folders.TEXT)
    assert notes == [f"NaN begins in the outputs of `{name}`, whose weights are not finite: `{name}.weight`."]
    assert notes[0] in section.text
    damage(0.0)
    assert looked(folder, folders.TEXT)[1] == []


def test_nan_that_no_layer_makes():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.second(self.first(x) / 0 * 0)

    model = Model()
    assert nan_origin(model, lambda: model(torch.ones(2))).startswith("NaN begins before `second`")
    assert nan_origin(model, lambda: torch.nan) == "The outputs hold NaN, but those of no single layer do."


def blown_up(folder, key):
    folders.change(folder, **{key: 10**9})
    return "cannot be loaded: " + (
        "the model must be of the size of its weights, " if key == "num_hidden_layers" else ""
    )


HOSTILE = {
    "layers": lambda folder: blown_up(folder, "num_hidden_layers"),
    "width": lambda folder: blown_up(folder, "intermediate_size"),
    "words": lambda folder: blown_up(folder, "vocab_size"),
    "positions": lambda folder: blown_up(folder, "max_position_embeddings"),
    "nested": lambda folder: (
        (folder / "config.json").write_text("[" * 100_000) and "config.json: must be JSON: it is nested too deeply"
    ),
    "digits": lambda folder: (
        (folder / "config.json").write_text("1" * 5000) and "config.json: must be JSON: Exceeds the limit"
    ),
    "pipe": lambda folder: os.mkfifo(folder / "vocab.txt") or "vocab.txt: must be a regular file",
    "tokenizer": lambda folder: (
        (folder / "tokenizer.json").write_text("[" * 100_000) and "has no tokenizer that can be loaded"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_one_line(name, tmp_path):
    folder = folders.bert(tmp_path / "bert")
    message = HOSTILE[name](folder)
    with little_memory(2000), pytest.raises(HeedfulError, match=message) as raised:
        looked(folder, folders.TEXT)
    assert "\n" not in str(raised.value)


class PanicException(BaseException):
    """As Rust's are."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PanicException("index out of bounds\nmore"), "bert: cannot take these inputs: index out of bounds\\.$"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "there is not enough memory: a shorter input"),
        (MemoryError(), "bert: there is not enough memory: a shorter input needs less"),
    ],
)  # fmt: skip
def test_panics_and_no_memory_left(tmp_path, monkeypatch, error, message):
    loaded = load_model(str(folders.bert(tmp_path / "bert")))

    def fail(*args, **kwargs):
        raise error

    where = loaded.model if "memory" in message else loaded.tokenizer
    monkeypatch.setattr(type(where), "forward" if "memory" in message else "__call__", fail)
    with pytest.raises(HeedfulError, match=message):
        run(loaded, [read_input(folders.TEXT)])
