"""The settings and the vocabulary of classify."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from heedful.tasks.encoder_settings import EncoderSettings
from heedful.tasks.pretrained import PretrainedClassifierModel, PretrainedModel, PretrainedVocabulary
from heedful.tasks.targets import TargetLoss, TargetSettings, TargetVocabulary
from heedful.training.schema import Counts, Words
from heedful.training.settings import TaskSettings, TrainingSettings, defaults, follows_data


class ClassifyData(TargetSettings):
    """Which texts, and how they are cut into tokens."""

    text: str | int = Field("text", description="the column of the texts: a name, or a number from 1")
    label: str | int = Field("label", description="the column of the labels: a name, or a number from 1")
    tokenizer: Literal["words", "subwords", "characters"] = Field("words", description="what a text is cut into")
    vocabulary_size: int = Field(4000, ge=300, description="subwords: how many are learned")
    min_count: int = follows_data(
        ge=1, description="words: minimum count of a word to get an embedding of its own; auto: 1 of few texts, else 2"
    )


@defaults(width=96, positions="none", layers=1, ffn_width=192, dropout=0.2)
class ClassifierModel(EncoderSettings):
    """The text classifier."""

    architecture: Literal["transformer"] = Field("transformer", description="an encoder of its own")
    max_positions: int = Field(4096, ge=1, description="the most positions that learned ones know")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of a token's features")
    token_dropout: float = Field(0.15, ge=0, lt=1, description="probability that a token is masked in training")
    output_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of the pooled features")
    pooling_heads: int = Field(4, ge=1, description="heads of the attention pooling")
    ensemble_size: int = Field(5, ge=1, description="models that are trained side by side and averaged")
    linear: bool = follows_data(
        description="whether a linear model of words and pairs of words counts as much as all these together; "
        "auto: of up to 20,000 texts as words"
    )


class PretrainedTextModel(PretrainedClassifierModel):
    """A pretrained encoder of texts."""

    suits: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "training": {**PretrainedModel.suits["training"], "batch_size": 32},
        "loss": {**PretrainedModel.suits["loss"], "consistency": 0.0},
    }


@defaults(label_smoothing=0.05)
class ClassifierLoss(TargetLoss):
    """What is minimized."""

    consistency: float = Field(
        2.0,
        ge=0,
        description="weight of the divergence between predictions under two dropout masks (R-Drop); 0: one pass",
    )


@defaults(ema_decay=0.998, beta2=0.98)
class ClassifierTraining(TrainingSettings):
    """How the classifier is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 5, or more where these are fewer than 400 steps"
    )
    batch_size: int = follows_data(100, ge=1, description="texts a step; auto: what is fastest on this machine")


class ClassifySettings(TaskSettings):
    """All settings of classify."""

    data: ClassifyData = ClassifyData()
    model: Annotated[ClassifierModel | PretrainedTextModel, Field(discriminator="architecture")] = ClassifierModel()
    loss: ClassifierLoss = ClassifierLoss()
    training: ClassifierTraining = ClassifierTraining()


class ClassifyVocabulary(TargetVocabulary):
    """What the weights know by number."""

    words: Counts | None = None
    pairs: Counts | None = None  # of words side by side, with a blank between them
    texts: int | None = None  # how many were learned from
    char_ngrams: Words | None = None
    tokenizer: str | None = None
    pretrained: PretrainedVocabulary | None = None
