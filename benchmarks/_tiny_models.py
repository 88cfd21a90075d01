"""Models of Hugging Face in tiny form, with random weights, and inputs that they take."""

import copy
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY, BATCH, TOKENS = 200, 2, 12
# Names of settings that are widths, those that are not although they look so, and those of depths.
_WIDTHS = re.compile(
    r"size|dim|(?<!num_)filters|d_head|d_state|width|channels|d_model|d_ff|d_kv|d_inner|n_embd|n_inner|_rank|hidden|embed|ffn"
    r"|lora|inner|section"
)
_NO_WIDTHS = re.compile(
    r"image|img|patch|window|kernel|stride|position|max_|_mel|batch|num_|crop|grid|pool|chunk|vocab|temporal|resolution"
    r"|block_size|bucket|input_size|context|split|sampling|theta|local|attn_size|attention_size"
)
_DEPTHS = re.compile(
    r"(^|_)(layers?|n_layers?|depths?|num_blocks|blocks)$|num_hidden_layers|num_layers|layer_repeats|_layers_num"
)
_EXPERTS = re.compile(r"num_(local_|routed_)?experts$|n_routed_experts|num_total_experts")
_HEADS = re.compile(r"(num|n)_.*heads?$|^n_heads?$|num_heads$")
_NOT_GIVEN = ("transformers_version", "id2label", "label2id", "architectures", "dtype")
# With few layers, every second of a mixed model has attention.
_SET = {
    "attn_layer_indices": [1], "attn_layer_period": 2, "attn_layer_offset": 1, "full_attention_interval": 2,
    "layer_group_size": 2, "num_kv_shared_layers": 0, "max_source_positions": 100,
}  # fmt: skip
# Of what has no default.
_MISSING = {"num_experts_per_tok": 2, "prediction_length": 8, "context_length": 16, "vocab_size": VOCABULARY}
_RESNET = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "layer_type": "basic",
}  # fmt: skip
_WITH_HEAD = re.compile(r"For[A-Z]|Wrapper|LMHead|DoubleHeads|WithProjection|WithNoAttention|^Pretrained")


class Variant(NamedTuple):
    """How a configuration is made small: by what its widths and its heads are divided, how deep and how large it may be.

    With fewer heads the width of each stays.
    """

    divisor: int = 8
    depth: int = 2
    image: int = 64
    heads: int = 1


VARIANTS = (
    Variant(), Variant(image=0), Variant(4), Variant(4, heads=4), Variant(4, image=0, heads=4), Variant(16), Variant(8, 0),
    Variant(1, 1), Variant(1, 0, 0),
)  # fmt: skip
PARAMETERS = 40_000_000  # of a model that is called tiny


def families(names: Sequence[str] = ()) -> dict[str, list[str]]:
    """The model classes of each architecture, by the name of its folder; those with a head only where there are no others."""
    root = Path(transformers.__file__).parent / "models"
    found: dict[str, list[str]] = {}
    for file in sorted(root.glob("*/modeling_*.py")):
        if names and file.parent.name not in names:
            continue
        try:
            module = importlib.import_module(f"transformers.models.{file.parent.name}.{file.stem}")
        except ImportError:
            continue
        classes = [name for name, one in vars(module).items() if _is_model(name, one, module.__name__)]
        bare = [name for name in classes if not _WITH_HEAD.search(name)]
        found.setdefault(file.parent.name, []).extend(f"{module.__name__}:{name}" for name in bare or classes)
    return {name: classes for name, classes in found.items() if classes}


def _is_model(name: str, one: Any, module: str) -> bool:
    own = inspect.isclass(one) and issubclass(one, PreTrainedModel) and one.__module__ == module
    return own and (not name.endswith(("PreTrainedModel", "PretrainedModel")) or "Transformer" in name)


def tiny_config(kind: type[PreTrainedModel], variant: Variant) -> Any:
    """The standard configuration of a class, with fewer and narrower layers, a small vocabulary and small images."""
    config = kind.config_class()
    return kind.config_class(**_shrunk(config.to_dict(), variant))


def _shrunk(values: Mapping[str, Any], variant: Variant) -> dict[str, Any]:
    values = {name: value for name, value in values.items() if isinstance(name, str) and name not in _NOT_GIVEN}
    depths = [v for n, v in values.items() if _DEPTHS.search(n) and isinstance(v, int) and not isinstance(v, bool)]
    patch = next((v for n, v in values.items() if n == "patch_size" and isinstance(v, int)), 8)
    result = {}
    for name, value in values.items():
        if value is None:
            value = _MISSING.get(name)
        elif name == "backbone_config" and isinstance(value, dict) and "timm" in str(value.get("model_type")):
            value = _RESNET | {
                "out_features": [f"stage{4 - i}" for i in reversed(range(len(value.get("out_indices") or [1])))]
            }
        elif isinstance(value, dict) and value and all(str(one).isdigit() for one in value) and depths:
            value = {one: inner for one, inner in value.items() if not variant.depth or int(one) < variant.depth}
        elif isinstance(value, dict) and all(isinstance(one, str) for one in value):
            value = _shrunk(value, variant)
        elif isinstance(value, bool):
            pass
        elif "token_id" in name or "token_index" in name or name.endswith("_id"):
            value = _tokens(name, value)
        elif "vocab" in name and isinstance(value, int) and value > VOCABULARY:
            value = VOCABULARY
        elif name in _SET and variant.depth:
            value = _SET[name]
        elif _EXPERTS.search(name) and isinstance(value, int):
            value = min(value, 16)
        elif name in ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts") and isinstance(value, int):
            value = min(value, 2)
        elif _DEPTHS.search(name) and not _NO_WIDTHS.search(name.replace("num_", "")):
            value = _shallow(value, variant.depth)
        elif (
            isinstance(value, list)
            and variant.depth
            and "depths" not in values
            and len(value) in depths
            and len(value) > variant.depth
            and not name.endswith("_dims")
        ):
            value = (
                [*dict.fromkeys(value), *value][: variant.depth]
                if isinstance(value[0], str)
                else value[: variant.depth]
            )
        elif re.search(r"image_size|img_size|crop_size", name) and variant.image:
            value = _image(value, variant.image, patch)
        elif variant.heads > 1 and ("head_dim" in name or "d_head" in name or "d_kv" in name or "section" in name):
            pass
        elif variant.heads > 1 and _HEADS.search(name):
            value = _narrow(value, variant.heads, 1)
        elif _WIDTHS.search(name) and not _NO_WIDTHS.search(name):
            value = _narrow(value, variant.divisor, 16 if "section" not in name else 1)
        result[name] = value
    return result


def _tokens(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_tokens(f"{name}{i}", one) for i, one in enumerate(value)]
    if not isinstance(value, int) or value < VOCABULARY // 2:
        return value
    return VOCABULARY // 2 + sum(map(ord, name)) % (VOCABULARY // 2)


def _shallow(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [_shallow(one, depth) for one in value] if all(isinstance(one, int) for one in value) else value
    return min(value, depth) if depth and isinstance(value, int) else value


def _narrow(value: Any, divisor: int, least: int) -> Any:
    if isinstance(value, list):
        return [_narrow(one, divisor, least) for one in value]
    return (
        value // divisor
        if isinstance(value, int) and not isinstance(value, bool) and value >= least and value % divisor == 0
        else value
    )


def _image(value: Any, size: int, patch: int) -> Any:
    if isinstance(value, (list, tuple)):
        return [_image(one, size, patch) for one in value]
    if isinstance(value, dict):
        return {name: _image(one, size, patch) for name, one in value.items()}
    if not isinstance(value, int) or value <= size:
        return value
    return size if size % patch == 0 else 4 * patch


def tiny(kind: type[PreTrainedModel], variant: Variant, attention: str) -> PreTrainedModel:
    """A model with random weights that are large enough for attention to differ."""
    torch.manual_seed(0)
    config = tiny_config(kind, variant)
    if _parameters(kind, config) > PARAMETERS:
        raise ValueError("the model is not tiny")
    model = kind._from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def _parameters(kind: type[PreTrainedModel], config: Any) -> int:
    try:
        with torch.device("meta"):
            return sum(one.numel() for one in kind(copy.deepcopy(config)).parameters())
    except Exception:  # it reads numbers while it is built
        return 0


def find(config: Any, *names: str, default: Any = None) -> Any:
    """The first of these that the configuration, or one inside it, has."""
    for name in names:
        for one in nested(config):
            value = getattr(one, name, None)
            if value is not None:
                return value
    return default


def nested(config: Any) -> Iterator[Any]:
    """The configuration and those inside it."""
    yield config
    for name in getattr(config, "sub_configs", {}):
        inner = getattr(config, name, None)
        if inner is not None and not isinstance(inner, dict):
            yield from nested(inner)


def tokens(config: Any, length: int = TOKENS) -> torch.Tensor:
    top = find(config, "vocab_size", "n_words", "n_token", default=VOCABULARY)
    top = top if isinstance(top, int) else VOCABULARY
    return torch.randint(
        3, max(min(top, VOCABULARY // 2), 5), (BATCH, length), generator=torch.Generator().manual_seed(1)
    )


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def side(config: Any) -> tuple[int, int]:
    """Height and width of an image."""
    size = find(config, "image_size", "img_size", "input_size", default=64)
    if isinstance(size, dict):
        size = list(size.values())
    if isinstance(size, (list, tuple)):
        return (int(size[-2]), int(size[-1])) if len(size) > 1 else (int(size[0]),) * 2
    return int(size), int(size)


def inputs(model: PreTrainedModel) -> Iterator[dict[str, Any]]:
    """What the model may take, the most first."""
    config, names = model.config, set(inspect.signature(model.forward).parameters)
    text = {}
    if "input_ids" in names:
        text["input_ids"] = tokens(config)
        if "bbox" in names:
            text["bbox"] = torch.tensor([1, 2, 30, 40]).expand(BATCH, TOKENS, 4) // 1
        if "visual_feats" in names:
            text["visual_feats"], text["visual_pos"] = (
                normal(BATCH, 5, find(config, "visual_feat_dim", default=8)),
                normal(BATCH, 5, 4),
            )
    padded = {}
    if "attention_mask" in names and text:
        padded["attention_mask"] = (torch.arange(TOKENS) < torch.tensor([[TOKENS], [TOKENS - 4]])).long()
    decoder = {"decoder_input_ids": tokens(config, 7)} if "decoder_input_ids" in names else {}
    pixels = {}
    height, width = side(config)
    channels = find(config, "num_channels", "in_channels", "in_chans", "image_channels", default=3)
    channels = channels if isinstance(channels, int) else 3
    if "pixel_values" in names:
        pixels["pixel_values"] = normal(BATCH, channels, height, width)
    if "pixel_values_videos" in names and not pixels:
        frames = find(config, "num_frames", "frames_per_clip", default=4)
        pixels["pixel_values_videos"] = normal(BATCH, frames, channels, height, width)
    sound = {}
    if "input_features" in names:
        mels = find(config, "num_mel_bins", "input_feat_per_channel", "n_mels", "feature_size", "num_mels", default=80)
        length = 2 * find(config, "max_source_positions", default=100)
        mels = mels if isinstance(mels, int) else 80
        sound["input_features"] = normal(BATCH, mels, min(length, 4000))
        for name in {"input_features_mask", "feature_attention_mask"} & names:
            sound[name] = torch.ones(BATCH, sound["input_features"].shape[-1], dtype=torch.long)
    if "input_values" in names:
        mels = find(config, "num_mel_bins")
        length = find(config, "max_length", default=8000)
        sound["input_values"] = normal(BATCH, min(length, 8000), mels) if mels else normal(BATCH, 8000)
    for mask in [padded, {}] if padded else [{}]:
        for one in ({**text, **mask, **pixels, **sound}, {**text, **mask}, pixels, sound):
            if one:
                yield {**one, **decoder}
                if decoder:
                    yield one
    if pixels:
        frames = find(config, "num_frames", "frames_per_clip", default=4)
        yield {"pixel_values": normal(BATCH, frames, channels, height, width)}
        yield {"pixel_values": normal(BATCH, 2, channels, height, width)}
    if "input_features" in names:
        turned = sound["input_features"].mT.contiguous()
        yield {"input_features": turned, **decoder}
        yield {"input_features": turned, "attention_mask": torch.ones(turned.shape[:2], dtype=torch.long)}
        yield {"input_features": normal(BATCH, 1, 1024, 64)}
    if "input_values" in names:
        yield {"input_values": normal(BATCH, 8000)}
        yield {"input_values": normal(BATCH, 1, 8000)}
    yield from _packed(names, config)
    wide = find(config, "hidden_size", "d_model", default=16)
    if "hidden_states" in names:
        yield {"hidden_states": normal(BATCH, TOKENS, wide)}
    if "inputs_embeds" in names:
        yield {"inputs_embeds": normal(BATCH, TOKENS, wide)}
    if "past_values" in names:
        yield from _series(config)


def _packed(names: set[str], config: Any) -> Iterator[dict[str, Any]]:
    """Patches of images of several sizes, one behind the other."""
    grid = torch.tensor([[1, 4, 4], [1, 4, 8]])
    patch = find(config, "patch_size", default=14)
    frames = find(config, "temporal_patch_size", default=1)
    channels = find(config, "in_channels", "num_channels", "in_chans", default=3)
    for deep in (channels * frames * patch**2, channels * patch**2):
        pixels = normal(int(grid.prod(-1).sum()), deep)
        for name in {"grid_thw", "image_grid_thw"} & names:
            for first in ("hidden_states", "pixel_values"):
                if first in names:
                    yield {first: pixels, name: grid}


def _series(config: Any) -> Iterator[dict[str, Any]]:
    length, channels = find(config, "context_length", default=16), find(config, "num_input_channels", default=1)
    yield {"past_values": normal(BATCH, length, channels)}
    yield {"past_values": normal(BATCH, length)}
    long = length + max(find(config, "lags_sequence", default=[0]))
    future = find(config, "prediction_length", default=8)
    times = find(config, "num_time_features", default=0)
    yield {
        "past_values": normal(BATCH, long), "past_time_features": normal(BATCH, long, times),
        "past_observed_mask": torch.ones(BATCH, long), "future_values": normal(BATCH, future),
        "future_time_features": normal(BATCH, future, times),
    }  # fmt: skip
