"""Pretrained encoders: from a folder or a name to plain values and weights, and from plain values to a new network.

A run folder holds these values, the tokenizer and the weights: it needs neither the folder nor the hub.
"""

import inspect
import json
from typing import Any, Literal

import torch
from torch import nn

from heedful._errors import HeedfulError, needing
from heedful.data.inputs import one_line
from heedful.hugging_face.inputs import both, position_limit, token_limit
from heedful.hugging_face.loading import MODALITY, HuggingFaceModel, load_model, quiet

__all__ = ["build_encoder", "configuration", "image_input", "load_encoder", "text_input"]

Modality = Literal["text", "image"]
# What says where code or kernels lie, how weights were stored, or what an earlier task was called.
_LEFT_OUT = frozenset({
    "architectures", "attn_implementation", "auto_map", "dtype", "experts_implementation", "id2label", "label2id",
    "problem_type", "quantization_config", "torch_dtype", "transformers_version", "trust_remote_code", "use_kernels",
})  # fmt: skip


def load_encoder(where: str, modality: Modality) -> HuggingFaceModel:
    """The encoder of a model's folder or name, without the head of its task, in float32.

    Raises:
        HeedfulError: it is not there or damaged, has pickled weights, or is no encoder of texts, or of images.
    """
    loaded = load_model(where, lambda config, where: _class_of(config, modality, where))
    if loaded.modalities != (modality,):
        raise HeedfulError(
            f"{where}: must be an encoder of {modality}s: got {loaded.config.model_type}, of {' and '.join(loaded.modalities)}."
        )
    return loaded


def configuration(loaded: HuggingFaceModel) -> dict[str, Any]:
    """What `build_encoder` needs to know, as JSON."""
    plain: dict[str, Any] = _cleaned(json.loads(loaded.config.to_json_string(use_diff=False)))
    return plain


def build_encoder(config: dict[str, Any], modality: Modality, *, tokens: int = 0, length: int = 0) -> nn.Module:
    """A new network of a configuration, which may be a stranger's: nothing that it names is loaded or run.

    Args:
        config: as `configuration` gives it.
        modality: what it reads.
        tokens: how many tokens its tokenizer has.
        length: how many tokens of a text it is to read.

    Raises:
        ValueError: the configuration is of no encoder that is known, or of one for fewer tokens.
    """
    with needing("hub", "a pretrained encoder"):
        import transformers
    values = _cleaned(config)
    kind = values.pop("model_type", None)
    with quiet():
        try:
            made = transformers.AutoConfig.for_model(str(kind), **values)
            network_class, own = _class_of(made, modality, str(kind))
            network: nn.Module = network_class._from_config(made, **own)
        except Exception as error:  # whatever a stranger's values make of the library
            if isinstance(error, RuntimeError | MemoryError):  # there is no memory, or too much is asked for
                raise
            raise ValueError(f"the pretrained encoder cannot be built: {one_line(error)}") from None
    for name, asked, known in (
        ("vocab_size", tokens, getattr(made, "vocab_size", None)),
        ("max_position_embeddings", length, position_limit(made)),
    ):
        if isinstance(known, int) and asked > known:
            raise ValueError(f"`{name}` of the pretrained encoder must be {asked:,} or more: got {known:,}")
    return network.train()


def text_input(loaded: HuggingFaceModel) -> dict[str, Any]:
    """The text of its tokenizer.json, the most tokens of a text, and the token that stands for a hidden one."""
    tokenizer = loaded.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise HeedfulError(
            f"{loaded.where}: must have a tokenizer.json, or a tokenizer that can be written as one: got {type(tokenizer).__name__}."
        )
    largest, known = max(backend.get_vocab(with_added_tokens=True).values()), int(loaded.config.vocab_size)
    if largest >= known:
        raise HeedfulError(
            f"{loaded.where}: its tokenizer must have no more tokens than the model: got {largest + 1:,} and {known:,}."
        )
    hidden = (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    mask = next(token for token in hidden if token is not None)
    return {"tokenizer": backend.to_str(), "max_tokens": token_limit(loaded), "mask": int(mask)}


def image_input(loaded: HuggingFaceModel) -> dict[str, Any]:
    """Height and width, channels, and the mean and the standard deviation of each, as its image processor has them."""
    channels = int(getattr(loaded.config, "num_channels", 3))
    processor = loaded.image_processor
    size = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    size = size or getattr(processor, "size", None) or getattr(loaded.config, "image_size", None) or 224
    mean, std, scale = (0.5, 0.5, 1.0) if processor is None else (0.0, 1.0, 1.0)
    if getattr(processor, "do_normalize", False):
        scale = 255 * getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 255.0
        mean, std = processor.image_mean, processor.image_std
    return {
        "size": list(both(size)),
        "channels": channels,
        "mean": [one / scale for one in _each(mean, channels)],
        "std": [one / scale for one in _each(std, channels)],
    }


def _class_of(config: Any, modality: Modality, where: str) -> tuple[Any, dict[str, Any]]:
    """The class of the bare encoder of a configuration, and arguments for it."""
    import transformers

    kinds = [transformers.MODEL_MAPPING]
    if modality == "text":
        kinds.insert(0, transformers.MODEL_FOR_TEXT_ENCODING_MAPPING)
    kind = next((known[type(config)] for known in kinds if type(config) in known), None)
    takes = MODALITY.get(getattr(kind, "main_input_name", ""), "text")
    if (
        takes != modality
        or not isinstance(kind, type)
        or (config.is_encoder_decoder and "Encoder" not in kind.__name__)
    ):
        raise HeedfulError(f"{where}: must be an encoder of {modality}s: got {config.model_type}.")
    pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return kind, {"dtype": torch.float32} | ({"add_pooling_layer": False} if pooler else {})


def _cleaned(value: Any) -> Any:
    """Without what `_LEFT_OUT` names, also in configurations of parts."""
    if isinstance(value, dict):
        return {
            key: _cleaned(inner) for key, inner in value.items() if key not in _LEFT_OUT and not key.startswith("_")
        }
    return value


def _each(value: Any, channels: int) -> list[float]:
    """A number for each channel."""
    numbers = [float(one) for one in (value if isinstance(value, list | tuple) else [value])]
    return numbers * channels if len(numbers) == 1 else numbers
