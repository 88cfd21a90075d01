"""Pretrained encoders: what is kept of them builds the same network, and nothing that a configuration names is loaded or run."""

import json

import pytest
import torch
import transformers as hf

from heedful._errors import HeedfulError
from heedful.hugging_face.encoder import build_encoder, configuration, image_input, load_encoder, text_input
from tests.inspection import folders


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "t5", "vit", "swin"])
def test_plain_values_and_weights_make_the_same_network(name, tmp_path):
    modality = "image" if name in ("vit", "swin") else "text"
    loaded = load_encoder(str(getattr(folders, name)(tmp_path / name)), modality)
    config = json.loads(json.dumps(configuration(loaded)))
    again = build_encoder(config, modality).eval()
    again.load_state_dict(loaded.model.state_dict())
    inputs = (
        torch.rand(1, 3, 16, 16)
        if name == "swin"
        else torch.rand(1, 3, 12, 12)
        if name == "vit"
        else torch.tensor([[1, 5, 7]])
    )
    with torch.no_grad():
        outputs = [network(inputs).last_hidden_state for network in (loaded.model, again)]
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    assert loaded.notes == []
    assert not any("pooler" in key for key in again.state_dict())


def test_what_a_text_and_an_image_become(tmp_path):
    read = text_input(load_encoder(str(folders.bert(tmp_path / "bert")), "text"))
    assert (read["max_tokens"], read["mask"]) == (32, 4)
    assert json.loads(read["tokenizer"])["model"]["type"] == "WordPiece"
    assert text_input(load_encoder(str(folders.roberta(tmp_path / "roberta")), "text"))["max_tokens"] == 400
    processor = hf.ViTImageProcessorPil(
        size={"height": 12, "width": 12}, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]
    )
    folder = folders.vit(tmp_path / "vit")
    processor.save_pretrained(folder)
    read = image_input(load_encoder(str(folder), "image"))
    assert read == {"size": [12, 12], "channels": 3, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    folder = folders.vit(tmp_path / "bare", processor=False)
    read = image_input(load_encoder(str(folder), "image"))
    assert read == {"size": [12, 12], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}


def test_a_configuration_cannot_name_code_or_kernels(tmp_path):
    config = configuration(load_encoder(str(folders.bert(tmp_path / "bert")), "text"))
    hostile = config | {
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, "trust_remote_code": True,
        "_attn_implementation": "somebody/kernel", "attn_implementation": "somebody/kernel",
        "quantization_config": {"quant_method": "bitsandbytes"}, "torch_dtype": "float16",
    }  # fmt: skip
    network = build_encoder(hostile, "text")
    assert network.config._attn_implementation in ("sdpa", "eager")
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    assert not hasattr(network.config, "auto_map")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "nonesuch"}, "the pretrained encoder cannot be built: Unrecognized model identifier: nonesuch"),
        ({"model_type": "vit"}, "the pretrained encoder cannot be built: vit: must be an encoder of texts: got vit"),
        (
            {"num_attention_heads": 3},
            "the pretrained encoder cannot be built: .*multiple of the number of attention heads",
        ),
        ({"vocab_size": 4}, "`vocab_size` of the pretrained encoder must be 16 or more: got 4"),
        (
            {"max_position_embeddings": 8},
            "`max_position_embeddings` of the pretrained encoder must be 32 or more: got 8",
        ),
    ],
)
def test_a_configuration_that_is_of_no_such_encoder(changes, message, tmp_path):
    config = configuration(load_encoder(str(folders.bert(tmp_path / "bert")), "text"))
    with pytest.raises(ValueError, match=message):
        build_encoder(config | changes, "text", tokens=16, length=32)


@pytest.mark.parametrize(
    ("name", "modality", "message"),
    [
        ("bart", "text", "must be an encoder of texts: got bart."),
        ("clip", "text", "must be an encoder of texts: got clip, of image and text."),
        ("vit", "text", "must be an encoder of texts: got vit."),
        ("bert", "image", "must be an encoder of images: got bert."),
    ],
)
def test_a_model_that_is_no_such_encoder(name, modality, message, tmp_path):
    folder = getattr(folders, name)(tmp_path / name)
    with pytest.raises(HeedfulError) as error:
        load_encoder(str(folder), modality)
    assert str(error.value) == f"{folder}: {message}"


def test_a_tokenizer_of_more_tokens_than_the_model_has(tmp_path):
    folder = folders.bert(tmp_path / "bert")
    folders.bytes_pairs().save_pretrained(folder)
    with pytest.raises(HeedfulError, match="its tokenizer must have no more tokens than the model: got .* and 16"):
        text_input(load_encoder(str(folder), "text"))
