"""Folders of tiny models of Hugging Face's library with random weights, as `save_pretrained` makes them, and inputs for them."""

import json
import struct
import wave
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from PIL import Image
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordPiece

TEXT = "the small cat sees the unseen dog and the small cat sleeps"
OTHER = "a dog sees the cat"
CORPUS = [TEXT, OTHER, "it sleeps where the sun warms the floor", "caf\u00e9 \u4f60\u597d"]


def word_pieces():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "small", "cat", "sees", "un", "##seen", "dog", "and", "sleep", "##s", "a"]
    vocabulary = {token: i for i, token in enumerate([*special, *words])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def bytes_pairs(*special):
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<end>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>")


def pieces():
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def save(folder: Path, kind, config, *parts) -> Path:
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and not kind.__name__.startswith("T5"):
                parameter.mul_(8)
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def bert(folder: Path, kind=hf.BertForSequenceClassification, **changes) -> Path:
    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    config = hf.BertConfig(vocab_size=16, max_position_embeddings=32, **_SMALL, **(names | changes))
    return save(folder, kind, config, word_pieces())


def roberta(folder: Path) -> Path:
    tokenizer = around(bytes_pairs("<s>", "<pad>", "<unk>"), "<s>", "<end>")
    config = hf.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=403, pad_token_id=2, bos_token_id=1, eos_token_id=0, **_SMALL
    )
    return save(folder, hf.RobertaForMaskedLM, config, tokenizer)


def distilbert(folder: Path) -> Path:
    tokenizer = around(bytes_pairs("<s>"), "<s>", "<end>")
    config = hf.DistilBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, dim=16, n_layers=2, n_heads=2, hidden_dim=16
    )
    return save(folder, hf.DistilBertForMaskedLM, config, tokenizer)


def modernbert(folder: Path) -> Path:
    tokenizer = around(bytes_pairs("<s>", "<pad>"), "<s>", "<end>")
    config = hf.ModernBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=2, bos_token_id=1, eos_token_id=0,
        cls_token_id=1, sep_token_id=0, local_attention=4, global_attn_every_n_layers=2, **_SMALL,
    )  # fmt: skip
    return save(folder, hf.ModernBertForMaskedLM, config, tokenizer)


def around(tokenizer, begin: str, end: str):
    """The tokenizer with a special token before and one behind each text."""
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (begin, end)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=ids
    )
    tokenizer.model_max_length = 400
    return tokenizer


def gpt2(folder: Path) -> Path:
    tokenizer = bytes_pairs()
    config = hf.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=40, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0
    )
    return save(folder, hf.GPT2LMHeadModel, config, tokenizer)


def t5(folder: Path) -> Path:
    tokenizer = pieces()
    config = hf.T5Config(
        d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=16, decoder_start_token_id=0, vocab_size=len(tokenizer),
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return save(folder, hf.T5ForConditionalGeneration, config, tokenizer)


def bart(folder: Path) -> Path:
    tokenizer = bytes_pairs("<pad>", "<begin>")
    config = hf.BartConfig(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=40, vocab_size=len(tokenizer), eos_token_id=0,
        pad_token_id=1, bos_token_id=2, decoder_start_token_id=0, forced_eos_token_id=None,
    )  # fmt: skip
    return save(folder, hf.BartForConditionalGeneration, config, tokenizer)


def vit(folder: Path, *, processor: bool = True, **changes) -> Path:
    config = hf.ViTConfig(image_size=12, patch_size=4, id2label={0: "cat", 1: "dog"}, **(_SMALL | changes))
    parts = [hf.ViTImageProcessorPil(size={"height": 12, "width": 12})] if processor else []
    return save(folder, hf.ViTForImageClassification, config, *parts)


def swin(folder: Path) -> Path:
    sizes = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4}
    processor = hf.ViTImageProcessorPil(size={"height": 16, "width": 16})
    return save(folder, hf.SwinForImageClassification, hf.SwinConfig(**sizes), processor)


def clip(folder: Path) -> Path:
    tokenizer = bytes_pairs()
    text = {**_SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 40, "eos_token_id": 0, "bos_token_id": 0}
    config = hf.CLIPConfig(
        text_config=text, vision_config={**_SMALL, "image_size": 12, "patch_size": 4}, projection_dim=8
    )
    size = {"height": 12, "width": 12}
    return save(folder, hf.CLIPModel, config, tokenizer, hf.CLIPImageProcessorPil(size=size, crop_size=size))


def llava(folder: Path) -> Path:
    tokenizer = bytes_pairs("<image>")
    text = {"num_key_value_heads": 2, "vocab_size": len(tokenizer), "max_position_embeddings": 60}
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**_SMALL, image_size=16, patch_size=4),
        text_config=hf.LlamaConfig(**_SMALL, **text, bos_token_id=0, eos_token_id=0, pad_token_id=0),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    size = {"height": 16, "width": 16}
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessorPil(size=size, crop_size=size), tokenizer, patch_size=4, image_token="<image>",
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    return save(folder, hf.LlavaForConditionalGeneration, config, processor)


def whisper(folder: Path) -> Path:
    tokenizer = bytes_pairs("<start>")
    config = hf.WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=50, max_target_positions=20,
        decoder_start_token_id=1, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
        suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    extractor = hf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    return save(folder, hf.WhisperForConditionalGeneration, config, tokenizer, extractor)


def wav2vec2(folder: Path) -> Path:
    config = hf.Wav2Vec2Config(
        **_SMALL, conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 4), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, id2label={0: "yes", 1: "no"},
    )  # fmt: skip
    return save(folder, hf.Wav2Vec2ForSequenceClassification, config, hf.Wav2Vec2FeatureExtractor())


def ast(folder: Path) -> Path:
    config = hf.ASTConfig(
        **_SMALL, num_mel_bins=16, max_length=32, patch_size=8, frequency_stride=4, time_stride=8,
        id2label={0: "speech", 1: "music"},
    )  # fmt: skip
    return save(folder, hf.ASTForAudioClassification, config, hf.ASTFeatureExtractor(num_mel_bins=16, max_length=32))


def picture(file: Path, size=(20, 14)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def sound(file: Path, seconds=0.5, rate=8000) -> Path:
    wave_form = np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((wave_form * 20000).astype("<i2").tobytes())
    return file


def broken_weights(folder: Path) -> Path:
    """Half of the file of weights."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return folder


def fewer_weights(folder: Path, keep) -> Path:
    """Only those weights whose names `keep` likes."""
    file = folder / "model.safetensors"
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    names = [name for name in json.loads(data[8 : 8 + length]) if name != "__metadata__"]
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    save_file({name: tensors[name] for name in names if keep(name)}, file, metadata={"format": "pt"})
    return folder


def change(folder: Path, **changes) -> Path:
    """Writes other values into config.json; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return folder
