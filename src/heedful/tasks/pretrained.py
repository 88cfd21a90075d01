"""Pretrained encoders of Hugging Face in tasks: settings, what the run folder keeps of them, and their weights in a new model."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from heedful._errors import SettingsError
from heedful.data.text.pieces import Pieces
from heedful.models.pretrained import Pooling, PretrainedEncoder, rates
from heedful.tasks.contract import Task
from heedful.training.schema import Schema
from heedful.training.settings import Section

Modality = Literal["text", "image"]
PRETRAINED_EPOCHS = (3, 200)  # as many as are usual with texts, and how many steps there are of few


class PretrainedModel(Section):
    """A pretrained encoder, of which all or only a new head is trained."""

    suits: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {"learning_rate": 1e-3, "weight_decay": 0.01, "beta2": 0.999, "ema_decay": 0.0},
        "loss": {"label_smoothing": 0.0},
    }

    architecture: Literal["pretrained"] = Field("pretrained", description="a pretrained encoder of Hugging Face")
    name: str = Field("", description="the folder of a model, or its name on huggingface.co")
    encoder_rate: float = Field(
        0.05,
        ge=0,
        description="share of the learning rate that the pretrained weights have; 0: they stay as they are (a linear probe)",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="share that a layer's learning rate has of the one of the layer above it"
    )
    output_dropout: float = Field(0.1, ge=0, lt=1, description="dropout of what the new head reads")


class PretrainedClassifierModel(PretrainedModel):
    """A pretrained encoder whose vectors become one."""

    pooling: Pooling = Field(
        "auto", description="the vector of the first token or the mean of all; auto: the first where it stands for all"
    )


class PretrainedVocabulary(Schema):
    """What the run folder keeps of an encoder, beside its weights."""

    config: dict[str, Any]
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    mask: Annotated[int, Field(ge=0)] | None = None


def learned_text(settings: PretrainedModel, base: Task[Any] | None = None) -> dict[str, Any]:
    """The parts of a vocabulary: a tokenizer, and an encoder of texts; those of a run `base`, where it has the same encoder."""
    if base is not None and is_same(settings, base.settings.model):
        return {name: base.vocabulary[name] for name in ("tokenizer", "pretrained")}
    from heedful.hugging_face.encoder import configuration, load_encoder, text_input

    loaded = load_encoder(_name(settings), "text")
    read = text_input(loaded)
    return {"tokenizer": read.pop("tokenizer"), "pretrained": {"config": configuration(loaded), **read}}


def learned_image(settings: PretrainedModel) -> dict[str, Any]:
    """The parts of a vocabulary: size, channels, mean and standard deviation of images, and an encoder of these."""
    from heedful.hugging_face.encoder import configuration, image_input, load_encoder

    loaded = load_encoder(_name(settings), "image")
    return {**image_input(loaded), "pretrained": {"config": configuration(loaded)}}


def is_same(settings: PretrainedModel, base: Any) -> bool:
    """Whether a run, with the settings `base` of its model, has the same encoder."""
    return isinstance(base, PretrainedModel) and base.name == settings.name


def encoder_of(settings: PretrainedModel, vocabulary: Mapping[str, Any], by: Pieces | None = None) -> PretrainedEncoder:
    """The encoder of a vocabulary, with new weights: of texts that a tokenizer cuts, or of images.

    Raises:
        ValueError: the configuration is of no such encoder.
    """
    from heedful.hugging_face.encoder import build_encoder

    config = vocabulary["pretrained"]["config"]
    network = (
        build_encoder(config, "image") if by is None else
        build_encoder(config, "text", tokens=max(by.size, vocabulary["pretrained"]["mask"] + 1), length=by.max_tokens)
    )  # fmt: skip
    encoder = PretrainedEncoder(network, frozen=not settings.encoder_rate)
    if by is not None:
        encoder.try_texts()
    return encoder


def begin(settings: Any, model: nn.Module, modality: Modality, base: Any = None) -> list[str]:
    """Puts the pretrained weights into a new model, where it is one with a pretrained encoder; gives notes for a reader.

    A run that the training goes on from, with the settings `base` of its model, brings those of the same encoder itself.
    """
    if not isinstance(settings, PretrainedModel) or is_same(settings, base):
        return []
    from heedful.hugging_face.encoder import load_encoder

    loaded = load_encoder(_name(settings), modality)
    for part in model.modules():
        if isinstance(part, PretrainedEncoder):
            part.network.load_state_dict(loaded.model.state_dict())
    return loaded.notes


def rates_of(settings: Any, model: nn.Module) -> dict[str, float]:
    """The shares of the learning rate of a model's pretrained weights."""
    if not isinstance(settings, PretrainedModel):
        return {}
    return rates(model, settings.encoder_rate, settings.layer_decay)


def pooling_of(pooling: Pooling, encoder: PretrainedEncoder, begins: bool) -> Literal["class-token", "mean"]:
    """The pooling of an encoder; `begins`: whether its first token is of no text or patch."""
    causal = any(getattr(part, "is_causal", False) for part in encoder.modules())
    return ("class-token" if begins and not causal else "mean") if pooling == "auto" else pooling


def _name(settings: PretrainedModel) -> str:
    if not settings.name:
        raise SettingsError("`model.name`: must be a model's folder, or its name on huggingface.co: got ''.")
    return settings.name
