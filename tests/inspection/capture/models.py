"""Tiny models of Hugging Face's library with random weights that make attention uneven, and inputs for them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import transformers as hf
from torch import nn

WORDS = 50
_TEXT = {"vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 16, **_TEXT}
_GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, **_SMALL}


class Tiny(NamedTuple):
    """A model's class, its configuration, its kind of input, and whether PyTorch's kernel may compute it."""

    kind: type
    config: Callable[[], object]
    takes: str
    sdpa: bool = True


def _whisper():
    return hf.WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=10, max_target_positions=20,
        decoder_start_token_id=1, **_TEXT,
    )  # fmt: skip


MODELS = {
    "bert": Tiny(hf.BertModel, lambda: hf.BertConfig(num_attention_heads=2, **_SMALL), "text"),
    "gpt2": Tiny(
        hf.GPT2LMHeadModel,
        lambda: hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, scale_attn_by_inverse_layer_idx=True, **_TEXT),
        "text",
    ),
    "llama": Tiny(hf.LlamaForCausalLM, lambda: hf.LlamaConfig(**_GROUPED), "text"),
    "t5": Tiny(
        hf.T5ForConditionalGeneration,
        lambda: hf.T5Config(
            d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=16, decoder_start_token_id=0, vocab_size=WORDS
        ),
        "both",
    ),
    "vit": Tiny(
        hf.ViTModel,
        lambda: hf.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
        ),
        "picture",
    ),
    "whisper": Tiny(hf.WhisperForConditionalGeneration, _whisper, "sound"),
    "gemma2": Tiny(
        hf.Gemma2ForCausalLM,
        lambda: hf.Gemma2Config(sliding_window=3, attn_logit_softcapping=0.7, query_pre_attn_scalar=8, **_GROUPED),
        "text",
        sdpa=False,
    ),
    "gpt_oss": Tiny(
        hf.GptOssForCausalLM,
        lambda: hf.GptOssConfig(num_local_experts=2, num_experts_per_tok=1, sliding_window=3, **_GROUPED),
        "text",
        sdpa=False,
    ),
}


def build(name: str, attention: str) -> nn.Module:
    """A model with that attention; the same weights for the same name."""
    torch.manual_seed(0)
    tiny = MODELS[name]
    model = tiny.kind._from_config(tiny.config(), attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "sinks" in parameter_name:
                parameter.normal_()
            elif parameter.dim() > 1 and name != "t5":  # whose scores are large as they are
                parameter.mul_(8)
    return model


def inputs(name: str, padding: str = "none") -> dict[str, torch.Tensor]:
    """A batch of two; the second sample padded by two, "left", "right" or "none"."""
    torch.manual_seed(1)
    ids, takes = torch.randint(3, WORDS, (2, 7)), MODELS[name].takes
    mask = torch.ones(2, 7, dtype=torch.long)
    if padding != "none":
        mask[1, slice(0, 2) if padding == "left" else slice(5, 7)] = 0
    if takes == "picture":
        return {"pixel_values": torch.randn(2, 3, 8, 8)}
    if takes == "sound":
        return {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": ids}
    both = {"decoder_input_ids": ids[:, :5]} if takes == "both" else {}
    return {"input_ids": ids, "attention_mask": mask, **both}


def own_weights(output) -> list[torch.Tensor]:
    """The weights that a model gives, encoder's first, then those of decoder and cross-attention as they are called."""
    if getattr(output, "attentions", None) is not None:
        return list(output.attentions)
    pairs = zip(output.decoder_attentions, output.cross_attentions, strict=True)
    return [*output.encoder_attentions, *(weights for pair in pairs for weights in pair)]
