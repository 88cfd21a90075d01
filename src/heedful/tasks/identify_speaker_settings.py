"""The settings, options and vocabulary of identify-speaker."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from heedful.tasks.sound_settings import SoundData, SoundVocabulary
from heedful.tasks.speaker_augmentation import SpeakerAugmentation
from heedful.tasks.targets import TargetLoss
from heedful.training.schema import Classes, Schema
from heedful.training.settings import Section, TaskSettings, TrainingSettings, defaults, follows_data


class SpeakerData(SoundData):
    """How recordings are read, and what they become before the model hears them."""

    speaker: str = Field(
        "speaker", min_length=1, description="the column of speakers, or any other label of a recording"
    )


class SpeakerModel(Section):
    """Convolutions and self-attention in turn, attention over the frames, cosines to the speakers."""

    width: int = Field(64, ge=1, description="features of a frame in the encoder")
    layers: int = Field(2, ge=0, description="blocks of a convolution and self-attention")
    heads: int = Field(4, ge=1, description="attention heads of a block")
    ffn_width: int = Field(128, ge=1, description="width of each block's feed-forward network")
    kernel: int = Field(5, ge=1, description="frames that a convolution covers; odd")
    window: int = Field(0, ge=0, description="how many frames before and after a frame sees; 0: all")
    pooling_heads: int = Field(4, ge=1, description="heads of the attention over frames; each weighs its own features")
    embedding: int = Field(64, ge=1, description="features of a recording")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of each sublayer's output")


class SpeakerLoss(TargetLoss):
    """A cross entropy of cosines, that of the right speaker with its angle larger by a margin."""

    margin: float = Field(0.2, ge=0, le=1, description="by which the angle of the right speaker is larger, in radians")
    scale: float = Field(30.0, gt=0, le=1000, description="by which cosines become logits")


@defaults(batch_size=32, learning_rate=3e-3)
class SpeakerTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 20, or more where these are fewer than 800 steps"
    )


class IdentifySpeakerSettings(TaskSettings):
    """All settings of identify-speaker."""

    data: SpeakerData = SpeakerData()
    model: SpeakerModel = SpeakerModel()
    augmentation: SpeakerAugmentation = SpeakerAugmentation()
    loss: SpeakerLoss = SpeakerLoss()
    training: SpeakerTraining = SpeakerTraining()


class SpeakerOptions(Section):
    """What is told of each recording."""

    top_k: int | None = Field(None, ge=0, description="also tell this many of the most probable speakers; 0: all")
    embedding: bool = Field(False, description="tell the embedding, a vector of length 1")
    verify: str | None = Field(
        None,
        min_length=1,
        description="another recording: whether both are of one speaker",
        json_schema_extra={"path": True},
    )
    enroll: tuple[str, ...] = Field(
        (),
        description="name=FILE, several times: choose among these speakers, of whom training may know none, or say unknown",
        json_schema_extra={"path": True},
    )

    @field_validator("enroll", mode="before")
    @classmethod
    def _several(cls, values: Any) -> Any:
        """One alone is a list of one."""
        return (values,) if isinstance(values, str) else values

    @field_validator("enroll")
    @classmethod
    def _named(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            name, equals, file = value.partition("=")
            if not (equals and name.strip() and file.strip()):
                raise ValueError("must be name=FILE, as in ann=a.wav")
        return values


class Verification(Schema):
    """What is fitted on the validation part after the training.

    Attributes:
        temperature: by which logits are divided.
        threshold: of scores, from which on two recordings are taken for one speaker's.
        equal_error_rate: of all pairs of the validation part; None where there are none of one kind.
    """

    temperature: Annotated[float, Field(gt=0, le=1e3)]
    threshold: Annotated[float, Field(ge=-2, le=2)]
    equal_error_rate: Annotated[float, Field(ge=0, le=1)] | None = None


class SpeakerVocabulary(SoundVocabulary):
    """What the weights know by number, and the features that they take."""

    classes: Classes
    class_weights: list[list[float]] | None = None
    calibration: Verification | None = None
