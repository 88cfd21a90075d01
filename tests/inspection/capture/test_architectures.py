"""Models of Hugging Face that write their attention by hand: each matrix is the one that the model itself gives."""

import pytest
import torch
import transformers as hf

from heedful.inspection import watch

hf.logging.set_verbosity_error()
WORDS = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, **WORDS}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, **WORDS}
XLM = {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "n_words": 50, "vocab_size": 50, "pad_index": 0}
NARROW = {"embedding_size": 16, **BERT}
# The class, its configuration, and how many calls there are.
TEXT = {
    "Bloom": ("BloomModel", hf.BloomConfig(hidden_size=16, n_layer=2, n_head=2, **WORDS), 2),
    "ConvBERT": ("ConvBertModel", hf.ConvBertConfig(head_ratio=1, **NARROW), 2),
    "CodeGen": ("CodeGenModel", hf.CodeGenConfig(rotary_dim=2, **GPT | {"n_head": 4}), 2),
    "DeBERTa": ("DebertaModel", hf.DebertaConfig(**BERT), 2),
    "DeBERTa 2": ("DebertaV2Model", hf.DebertaV2Config(relative_attention=True, pos_att_type=["p2c", "c2p"], **BERT), 2),
    "Falcon": ("FalconModel", hf.FalconConfig(**{k: v for k, v in BERT.items() if k != "intermediate_size"}), 2),
    "FlauBERT": ("FlaubertModel", hf.FlaubertConfig(**XLM), 2),
    "Funnel": ("FunnelModel",
        hf.FunnelConfig(d_model=16, n_head=2, d_head=8, d_inner=16,
            block_sizes=[1, 1], num_decoder_layers=1, **WORDS), 3),
    "GPT": ("OpenAIGPTModel", hf.OpenAIGPTConfig(**GPT), 2),
    "GPT-J": ("GPTJModel", hf.GPTJConfig(rotary_dim=4, **GPT), 2),
    "GPT-Neo": ("GPTNeoModel",
        hf.GPTNeoConfig(hidden_size=16, num_layers=2, num_heads=2,
            attention_types=[[["global", "local"], 1]], window_size=4, **WORDS), 2),
    "I-BERT": ("IBertModel", hf.IBertConfig(**BERT), 2),
    "LUKE": ("LukeModel", hf.LukeConfig(entity_vocab_size=5, entity_emb_size=8, **BERT), 2),
    "MegatronBERT": ("MegatronBertModel", hf.MegatronBertConfig(**BERT), 2),
    "MPNet": ("MPNetModel", hf.MPNetConfig(**BERT), 2),
    "MPT": ("MptModel", hf.MptConfig(d_model=16, n_heads=2, n_layers=2, vocab_size=50), 2),
    "Nystromformer": ("NystromformerModel", hf.NystromformerConfig(**BERT), 2),
    "RoFormer": ("RoFormerModel", hf.RoFormerConfig(**NARROW), 2),
    "TAPAS": ("TapasModel", hf.TapasConfig(**BERT), 2),
    "XGLM": ("XGLMModel", hf.XGLMConfig(d_model=16, num_layers=2, attention_heads=2, ffn_dim=16, **WORDS), 2),
    "XLM": ("XLMModel", hf.XLMConfig(**XLM), 2),
    "XLNet": ("XLNetModel", hf.XLNetConfig(d_model=16, n_layer=2, n_head=2, d_inner=16, **WORDS), 2),
}  # fmt: skip
IMAGES = {
    "LeViT": ("LevitModel",
        hf.LevitConfig(image_size=32, hidden_sizes=[16, 16, 16], num_attention_heads=[2, 2, 2],
            depths=[1, 1, 1], key_dim=[4, 4, 4]), 5),
    "MobileViT": ("MobileViTModel",
        hf.MobileViTConfig(image_size=32, hidden_sizes=[8, 8, 8],
            neck_hidden_sizes=[4, 4, 8, 8, 8, 8, 16], num_attention_heads=2), 9),
    "PVT": ("PvtModel",
        hf.PvtConfig(image_size=32, depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1, 2, 2, 2],
            sequence_reduction_ratios=[2, 2, 2, 1]), 4),
    "Swin 2": ("Swinv2Model", hf.Swinv2Config(image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4), 2),
}  # fmt: skip


def run(name):
    """A model's call, and what a watch saw of it."""
    kind, config, count = (TEXT | IMAGES)[name]
    torch.manual_seed(0)
    model = getattr(hf, kind)._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
        if name in IMAGES:
            x = {"pixel_values": torch.randn(2, 3, config.image_size, config.image_size)}
        else:
            x = {
                "input_ids": torch.randint(3, 50, (2, 8)),
                "attention_mask": (torch.arange(8) < torch.tensor([[8], [5]])).long(),
            }
        plain = model(**x)[0]
        with watch(model) as seen:
            out = model(**x)[0]
        assert torch.equal(out, plain)
        assert not seen.unseen
        assert len(seen) == count
        return model, x, seen


@pytest.mark.parametrize("name", sorted({*TEXT, *IMAGES} - {"LeViT", "MobileViT", "Swin 2"}))
def test_each_matrix_is_the_one_that_the_model_gives(name):
    model, x, seen = run(name)
    with torch.no_grad():
        given = [
            weights for weights in model(**x, output_attentions=True).attentions if isinstance(weights, torch.Tensor)
        ]
    for call, weights in zip(seen, given, strict=True):
        assert call.engine == "softmax by hand"
        torch.testing.assert_close(call.matrix.dense(), weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["LeViT", "MobileViT"])
def test_models_that_give_no_weights(name):
    assert {call.engine for call in run(name)[2]} == {"softmax by hand"}


def test_a_band_is_a_part_of_the_matrix():
    """Longformer stores its weights by their distance."""
    config = hf.LongformerConfig(attention_window=4, **BERT)
    model, x = hf.LongformerModel(config).eval(), torch.randint(3, 50, (2, 8))
    with torch.no_grad(), watch(model) as seen:
        given = model(x, output_attentions=True).attentions
    for call, weights in zip(seen, given, strict=True):
        near = torch.arange(8)[:, None] + torch.arange(5)
        band = torch.nn.functional.pad(call.matrix.dense(), (2, 2)).gather(-1, near.expand(2, 2, 8, 5))
        torch.testing.assert_close(band, weights[..., -5:])


def test_rows_of_global_tokens_are_of_another_softmax():
    config = hf.LongformerConfig(attention_window=4, **BERT)
    model, x = hf.LongformerModel(config).eval(), torch.randint(3, 50, (1, 8))
    with torch.no_grad(), watch(model) as seen:
        model(x, global_attention_mask=torch.eye(8, dtype=torch.long)[:1])
    assert {one.why for one in seen.unseen} == {"computed by hand, in blocks: another softmax gives some of its rows"}
    assert {call.matrix.shape for call in seen} == {(1, 2, 1, 8)}


# Other ways of attending, in the tiny form of `benchmarks/coverage_models.py`.
SAMPLE = {
    "big_bird": "BigBirdModel", "longt5": "LongT5EncoderModel", "prophetnet": "ProphetNetDecoder",
    "squeezebert": "SqueezeBertModel", "deformable_detr": "DeformableDetrModel", "groupvit": "GroupViTVisionModel",
    "granite_swa": "GraniteSWAModel", "inkling2": "Inkling2TextModel", "t5": "T5Model", "bart": "BartModel", "llama": "LlamaModel",
    "clip": "CLIPModel", "gpt_oss": "GptOssModel", "deepseek_v3": "DeepseekV3Model",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_seen_whole(name):
    from benchmarks.coverage_models import attempt

    runs = attempt(f"transformers.models.{name}.modeling_{name}:{SAMPLE[name]}")["runs"]
    assert {run["verdict"] for run in runs} == {"whole"}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_float64_whose_softmax_runs_in_float32(attention):
    config = hf.LlamaConfig(num_key_value_heads=1, **BERT)
    model = hf.LlamaModel._from_config(config, attn_implementation=attention).double().eval()
    with torch.no_grad(), watch(model) as seen:
        model(torch.randint(3, 50, (2, 8)))
    assert len(seen) == 2
    assert not seen.unseen
