"""The settings of an encoder, the same for every task on sequences."""

from typing import Literal

from pydantic import Field

from heedful.models.encoders import Encoder, NormalizerName, PositionName, ScoreName, build_encoder
from heedful.training.settings import Section


class EncoderSettings(Section):
    """What attends to what, and how."""

    width: int = Field(128, ge=1, description="features of a token")
    heads: int = Field(4, ge=1, description="attention heads of a layer")
    layers: int = Field(2, ge=1, description="layers of the encoder")
    ffn_width: int = Field(256, ge=1, description="width of each layer's feed-forward network")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of each sublayer's output")
    drop_path: float = Field(0.0, ge=0, lt=1, description="probability that a sample skips the last layer in training")
    norm: Literal["pre", "post"] = Field("pre", description="layer norm before or after each sublayer")
    score: ScoreName = Field("scaled-dot", description="how relevant a key is to a query")
    normalize: NormalizerName = Field("softmax", description="what turns scores into weights")
    positions: PositionName = Field("rotary", description="how the positions of tokens are encoded")
    window: int = Field(
        0, ge=0, description="a token attends to those up to this many positions away, at a cost that follows; 0: all"
    )


def encoder_of(settings: EncoderSettings, max_positions: int, align: Literal["end"] | None = None) -> Encoder:
    """The encoder that the settings describe.

    Args:
        settings: which.
        max_positions: the most positions that learned ones know.
        align: "end" for a model that goes on with a cache.

    Raises:
        ValueError: the settings do not fit each other.
    """
    names = set(EncoderSettings.model_fields) - {"window"}
    return build_encoder(**settings.model_dump(include=names), max_positions=max_positions, align=align)
