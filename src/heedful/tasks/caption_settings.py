"""The settings and the vocabulary of caption."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from heedful.tasks.caption_augmentation import CaptionAugmentation
from heedful.tasks.image_settings import KeptImages, Size, SizedVocabulary
from heedful.tasks.text_generation import GenerationLoss, SearchSettings
from heedful.training.settings import RowSettings, Section, TaskSettings, TrainingSettings, defaults, follows_data

_MAX_LENGTH = 100_000  # tokens of a caption


class CaptionData(KeptImages, RowSettings):
    """Which pictures and captions, and what they become before the model sees them."""

    path: str | int = Field("path", description="the column of the pictures in a table: a name, or a number from 1")
    caption: str | int = Field("caption", description="the column of the captions in a table")
    size: Size = Field(
        0, description="resize to so many pixels, or to [height, width]; 0: as they are, all of one size"
    )
    max_words: int = Field(200, ge=1, le=10_000, description="the most words of a caption; a longer one is an error")
    tokenizer: Literal["subwords", "characters"] = Field("subwords", description="what captions are cut into")
    vocabulary_size: int = follows_data(ge=300, description="subwords: how many are learned from the captions")
    lowercase: bool = Field(True, description="whether captions are written in lower case")


class _Captioner(Section):
    stages: tuple[PositiveInt, ...] = Field(
        (16, 32, 64),
        min_length=1,
        max_length=6,
        description="channels of each stage of the reader, which halves the picture",
    )
    width: int = Field(128, ge=1, description="features of a place of the picture, and of a token")
    layers: int = Field(1, ge=1, description="layers of the decoder; of a recurrent one, above its first")
    dropout: float = follows_data(
        ge=0, lt=1, description="dropout of each layer's output; auto: 0.3, of many captions 0.1"
    )


class SoftCaptioner(_Captioner):
    """A recurrent decoder, each of whose tokens attends to all places of the picture, by additive attention."""

    architecture: Literal["soft"] = Field("soft", description="how the decoder looks at the picture")


class HardCaptioner(_Captioner):
    """A recurrent decoder, each of whose tokens looks at one place of the picture."""

    architecture: Literal["hard"] = Field("hard", description="how the decoder looks at the picture")
    begin_soft: float = Field(
        0.5, ge=0, le=1, description="share of the epochs in which attention is soft, at the beginning; with --from 0"
    )
    draws: int = Field(6, ge=2, le=100, description="in training, how often all places of a caption are drawn")
    soft_share: float = Field(0.5, ge=0, le=1, description="share of the captions of a step whose attention stays soft")
    entropy: float = Field(0.01, ge=0, description="weight of the entropy of the attention, which is raised")


@defaults(layers=2)
class TransformerCaptioner(_Captioner):
    """A Transformer decoder, each of whose layers attends to all places of the picture."""

    architecture: Literal["transformer"] = Field("transformer", description="how the decoder looks at the picture")
    heads: int = Field(4, ge=1, description="attention heads of a layer")
    ffn_width: int = Field(256, ge=1, description="width of each layer's feed-forward network")


class PooledCaptioner(_Captioner):
    """A recurrent decoder that sees the mean of the picture, with as many parameters as the soft one."""

    architecture: Literal["pooled"] = Field("pooled", description="how the decoder looks at the picture")


Captioner = Annotated[
    SoftCaptioner | HardCaptioner | TransformerCaptioner | PooledCaptioner, Field(discriminator="architecture")
]


class CaptionLoss(GenerationLoss):
    """What is minimized."""

    words: float = Field(
        0.5, ge=0, description="weight of a loss by which each place of a picture learns the words that are said of it"
    )


@defaults(beams=3)
class CaptionSearch(SearchSettings):
    """How captions are generated."""


@defaults(batch_size=32, learning_rate=3e-3, ema_decay=0.99)
class CaptionTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training pictures; auto: 30, or more where these are fewer than 2,000 steps"
    )
    reader_epochs: int = Field(
        1,
        ge=0,
        description="passes before the others, in which the reader alone learns which words are said of pictures",
    )
    captions: int = Field(
        2,
        ge=1,
        le=100,
        description="captions of each picture of a step, drawn anew in each epoch; at most those that there are",
    )


class CaptionSettings(TaskSettings):
    """All settings of caption."""

    data: CaptionData = CaptionData()
    model: Captioner = SoftCaptioner()
    augmentation: CaptionAugmentation = CaptionAugmentation()
    loss: CaptionLoss = CaptionLoss()
    search: CaptionSearch = CaptionSearch()
    training: CaptionTraining = CaptionTraining()


class CaptionVocabulary(SizedVocabulary):
    """What the weights know by number, and the pictures that they take."""

    tokenizer: str
    max_target_length: int = Field(ge=0, le=_MAX_LENGTH)
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=3, max_length=3)
