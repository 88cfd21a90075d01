"""The settings and the vocabulary of language-model."""

from typing import Literal

from pydantic import Field

from heedful.tasks.encoder_settings import EncoderSettings
from heedful.training.schema import Schema
from heedful.training.settings import Section, TaskSettings, TrainingSettings, defaults, follows_data


class LanguageData(Section):
    """What a text becomes before the model sees it."""

    tokenizer: Literal["characters", "subwords"] = Field("characters", description="what the text is cut into")
    vocabulary_size: int = Field(4096, ge=260, description="subwords: how many are learned from the training text")


@defaults(layers=4, ffn_width=512)
class LanguageModelSettings(EncoderSettings):
    """The language model."""

    objective: Literal["causal", "masked"] = Field(
        "causal", description="causal: sees the past and continues (GPT); masked: sees both sides and fills gaps (BERT)"
    )
    dropout: float = follows_data(ge=0, lt=1, description="dropout of each sublayer's output")
    context_length: int = Field(128, ge=1, le=2**20, description="the most tokens that it sees together")


@defaults(learning_rate=3e-3, weight_decay=0.1)
class LanguageTraining(TrainingSettings):
    """How the language model is trained."""

    batch_size: int = follows_data(
        1024,
        ge=1,
        description="tokens a step, in sequences as long as the context; auto: what is fastest on this machine",
    )


class LanguageSettings(TaskSettings):
    """All settings of language-model."""

    data: LanguageData = LanguageData()
    model: LanguageModelSettings = LanguageModelSettings()
    training: LanguageTraining = LanguageTraining()


class LanguageVocabulary(Schema):
    """What the weights know by number."""

    tokenizer: str
