"""The settings, the options and the predictions of tag."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from heedful._terminal import visible
from heedful.tasks.classification import ClassificationOptions
from heedful.tasks.encoder_settings import EncoderSettings
from heedful.tasks.pretrained import PretrainedModel, PretrainedVocabulary
from heedful.training.schema import Counts, Schema, Words
from heedful.training.settings import (
    LossSettings,
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    follows_data,
)


class TagData(Section):
    """Which labels."""

    column: str | int = Field(
        "",
        description="the labels: a column's name in CoNLL-U (UPOS, XPOS, a feature such as Number), its number elsewhere; "
        "empty: UPOS, or the last one",
    )
    auxiliary_columns: tuple[str | int, ...] = Field(
        ("auto",),
        description="auxiliary columns, which the encoder learns too; auto: XPOS, FEATS and DEPREL of CoNLL-U, where they are",
    )
    word_column: int = Field(
        0, ge=0, description="the words: a column's number; 0: the first, or the second after one that counts them"
    )
    max_length: int = Field(2000, ge=1, description="the most words of a sentence")


class WordSettings(Section):
    """How words become vectors."""

    word_width: int = Field(128, ge=1, description="features of a known word's own embedding")
    form_width: int = Field(128, ge=0, description="features of a known word's spelling, case-sensitive")
    ngram_width: int = Field(128, ge=1, description="features of a word's character n-grams")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of the features of a word")
    output_dropout: float = Field(0.2, ge=0, lt=1, description="dropout of the encoder's output")
    ngram_dropout: float = Field(0.25, ge=0, lt=1, description="dropout of the character n-grams of a word")
    word_dropout: float = Field(0.15, ge=0, lt=1, description="probability that a word counts as unknown in training")
    rare_word_dropout: float = Field(
        0.25, ge=0, description="besides, a word seen n times counts as unknown with probability r / (r + n)"
    )


@defaults(width=192, heads=6, ffn_width=384, dropout=0.2, positions="relative")
class TransformerTagger(EncoderSettings, WordSettings):
    """A Transformer encoder over the words."""

    architecture: Literal["transformer"] = Field("transformer", description="how words see each other")


class WindowTagger(WordSettings):
    """The control of a Transformer, with as many parameters: a feed-forward network over a window of neighbors."""

    architecture: Literal["window"] = Field("window", description="how words see each other")
    width: int = Field(192, ge=1, description="features of a word")
    layers: int = Field(2, ge=1, description="layers of the encoder")
    ffn_width: int = Field(
        384, ge=1, description="width of the feed-forward network of the Transformer to compare with"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout of each layer's output")
    reach: int = Field(2, ge=0, description="how many neighbors on each side a layer sees; 0: each word alone")


class PretrainedTaggerModel(PretrainedModel):
    """A pretrained encoder; the first token of a word stands for it."""

    suits: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PretrainedModel.suits,
        "training": {**PretrainedModel.suits["training"], "batch_size": 500},
        "data": {"auxiliary_columns": ()},
    }


class TagLoss(LossSettings):
    """What is minimized."""

    auxiliary_weight: float = Field(0.5, ge=0, description="weight of each auxiliary column")


@defaults(beta2=0.98, weight_decay=0.01)
class TagTraining(TrainingSettings):
    """How the tagger is trained."""

    epochs: int = follows_data(
        ge=1, description="passes over the training data; auto: 9, or more where these are fewer than 400 steps"
    )
    batch_size: int = follows_data(1500, ge=1, description="words a step; auto: what is fastest on this machine")


class TagSettings(TaskSettings):
    """All settings of tag."""

    data: TagData = TagData()
    model: Annotated[TransformerTagger | WindowTagger | PretrainedTaggerModel, Field(discriminator="architecture")] = (
        TransformerTagger()
    )
    loss: TagLoss = TagLoss()
    training: TagTraining = TagTraining()


class TagOptions(ClassificationOptions):
    """How texts are read, and what is told of them."""

    words: bool = Field(False, description="blanks separate the words of a text already: it is not cut any further")


class TagVocabulary(Schema):
    """What the weights know by number, and how raw texts are cut into words."""

    labels: dict[str, Words] = Field(min_length=1)  # of each column; the first one is predicted
    words: Counts
    forms: Counts
    char_ngrams: Words
    segmenter: dict[str, Any] | None = None
    tokenizer: str | None = None
    pretrained: PretrainedVocabulary | None = None


@dataclass(frozen=True)
class TaggedSentence:
    """The labels of one sentence.

    Attributes:
        input: the text, or the words, joined by blanks.
        words: of the sentence.
        labels: one a word.
        probabilities: of the labels.
        raw_lines: the sentence as a data file has it, with these labels in their column.
        candidates: of each word the most probable labels and their probabilities, as many as were asked for.
    """

    input: str
    words: list[str]
    labels: list[str]
    probabilities: list[float]
    raw_lines: str
    candidates: list[dict[str, float]] | None = field(default=None, metadata={"json": "set"})

    def to_format(self) -> str:
        return self.raw_lines

    def __str__(self) -> str:
        return " ".join(
            f"{visible(word)}/{visible(label)}" for word, label in zip(self.words, self.labels, strict=True)
        )
