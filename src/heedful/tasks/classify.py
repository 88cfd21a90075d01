"""classify: a label for a text.

data         heedful/data/text/labeled.py: TSV, CSV, JSONL, data sets of Hugging Face
model        heedful/models/text_classifier.py
loss         cross entropy; predictions under two dropout masks are pulled together (R-Drop, Liang et al. 2021)
metrics      accuracy, macro F1
view         heedful/tasks/views/text.py: what each token contributes to the decision, and what each attends to
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from heedful._errors import DataError
from heedful.data._rows import check_some_known
from heedful.data.batches import BucketBatches, LengthBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text.labeled import LabeledTexts, read_texts
from heedful.data.text.tokenization import Tokenization
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.tokenizers import load as load_tokenizer
from heedful.data.text.words import WordVocabulary, split_words
from heedful.models.encoders import attention_pattern
from heedful.models.ensemble import Ensemble
from heedful.models.text_classifier import TextClassificationModel, TokenEmbedding
from heedful.models.words import FastTextEmbedding
from heedful.tasks.baselines import text_baselines
from heedful.tasks.classification import (
    UNSEEN,
    Classification,
    ClassificationOptions,
    class_means,
    classification_scores,
    classifications,
    described_classes,
)
from heedful.tasks.contract import TRAINING, Reading, Rows, Scores, Task
from heedful.tasks.encoder_settings import EncoderSettings, encoder_of
from heedful.tasks.vocabularies import extended, label_rows, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.schema import Classes, Counts, Schema, Words
from heedful.training.settings import LossSettings, RowSettings, TaskSettings, TrainingSettings, defaults

_MAX_TOKENS = 8000  # tokens that are computed together
_PASSES = 256  # in which tokens are masked in turn


class ClassifyData(RowSettings):
    """Which texts, and how they are cut into tokens."""

    text: str | int = Field("text", description="the column of the texts: a name, or a number from 1")
    label: str | int = Field("label", description="the column of the labels: a name, or a number from 1")
    tokenizer: Literal["words", "subwords", "characters"] = Field("words", description="what a text is cut into")
    vocabulary_size: int = Field(4000, ge=300, description="subwords: how many are learned")
    min_count: int = Field(2, ge=1, description="words: minimum count of a word to get an embedding of its own")


@defaults(width=96, positions="none", layers=1, ffn_width=192, dropout=0.2)
class ClassifierModel(EncoderSettings):
    """The text classifier."""

    max_positions: int = Field(4096, ge=1, description="the most positions that learned ones know")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of a token's features")
    token_dropout: float = Field(0.15, ge=0, lt=1, description="probability that a token is masked in training")
    output_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of the pooled features")
    pooling_heads: int = Field(4, ge=1, description="heads of the attention pooling")
    ensemble_size: int = Field(5, ge=1, description="models that are trained side by side and averaged")


@defaults(label_smoothing=0.05)
class ClassifierLoss(LossSettings):
    """What is minimized."""

    consistency: float = Field(
        2.0,
        ge=0,
        description="weight of the divergence between predictions under two dropout masks (R-Drop); 0: one pass",
    )


@defaults(epochs=5, ema_decay=0.998, beta2=0.98)
class ClassifierTraining(TrainingSettings):
    """How the classifier is trained."""

    batch_size: int = Field(100, ge=1, description="texts a step")


class ClassifySettings(TaskSettings):
    """All settings of classify."""

    data: ClassifyData = ClassifyData()
    model: ClassifierModel = ClassifierModel()
    loss: ClassifierLoss = ClassifierLoss()
    training: ClassifierTraining = ClassifierTraining()


class ClassifyVocabulary(Schema):
    """What the weights know by number."""

    classes: Classes
    words: Counts | None = None
    char_ngrams: Words | None = None
    tokenizer: str | None = None


class Classify(Task[LabeledTexts]):
    """A label for a text."""

    name = "classify"
    example, unit, input = "text", "tokens", InputKind.TEXT  # few validation texts tell epochs apart by their loss
    Settings, Options, Vocabulary = ClassifySettings, ClassificationOptions, ClassifyVocabulary
    split = EveryTenth(lambda texts: texts.labels)

    def __init__(self, settings: ClassifySettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.classes: list[str] = vocabulary["classes"]
        by = (
            load_tokenizer(vocabulary["tokenizer"]) if "tokenizer" in vocabulary
            else WordVocabulary(vocabulary["words"], {}, tuple(vocabulary["char_ngrams"]))
        )  # fmt: skip
        model = settings.model
        self.tokenization = Tokenization(by, model.max_positions if model.positions == "learned" else None)

    @classmethod
    def read(cls, source: Any, settings: ClassifySettings, reading: Reading = TRAINING) -> LabeledTexts:
        data, classes = settings.data, None if reading.vocabulary is None else reading.vocabulary["classes"]
        return read_texts(source, data.text, data.label, classes=classes, labeled=reading.labeled, skip=data.skip)

    @classmethod
    def learn(cls, training: LabeledTexts, settings: ClassifySettings) -> dict[str, Any]:
        classes, data = {"classes": sorted(set(training.labels or ()))}, settings.data
        if len(classes["classes"]) < 2:
            raise DataError(f"must hold at least two classes: got {classes['classes'][0]!r} alone")
        if data.tokenizer == "words":
            words = WordVocabulary.fit([split_words(text) for text in training.texts], min_count=data.min_count)
            return classes | {"words": words.words, "char_ngrams": list(words.char_ngrams)}
        if data.tokenizer == "characters":
            return classes | {"tokenizer": Characters.fit(training.texts).save()}
        return classes | {"tokenizer": Subwords.fit(training.texts, data.vocabulary_size).save()}

    @classmethod
    def extend(cls, training: LabeledTexts, settings: ClassifySettings, base: Self) -> dict[str, Any]:
        return extended(cls.learn(training, settings), settings, base)

    def describe(self) -> str:
        return described_classes(self.classes)

    def check(self, examples: LabeledTexts) -> None:
        self.tokenization.encode(examples.texts, examples.locations)
        check_some_known(zip(examples.labels or (), examples.locations, strict=True), self.classes)

    def build(self) -> Ensemble:
        s, by = self.settings.model, self.tokenization.by
        members = []
        for _ in range(s.ensemble_size):
            positions, encoder = encoder_of(s, s.max_positions)
            tokens = (
                FastTextEmbedding(len(by.words), len(by.char_ngrams), s.width, dropout=s.input_dropout)
                if isinstance(by, WordVocabulary)
                else TokenEmbedding(by.size, s.width, dropout=s.input_dropout)
            )
            members.append(
                TextClassificationModel(
                    tokens=tokens, positions=positions, encoder=encoder, pattern=attention_pattern(s.window),
                    pooling_heads=s.pooling_heads, classes=len(self.classes), token_dropout=s.token_dropout,
                    dropout=s.output_dropout,
                )
            )  # fmt: skip
        return Ensemble(members)

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.tokenization.by) | label_rows(self.classes)

    def batches(self, examples: LabeledTexts, *, training: bool) -> Batches:
        texts, s = self.tokenization.encode(examples.texts, examples.locations), self.settings.training
        numbers = {name: number for number, name in enumerate(self.classes)}
        labels = torch.tensor([numbers.get(label, UNSEEN) for label in examples.labels or ()])
        order = (
            BucketBatches(texts.lengths, s.batch_size, s.seed)
            if training
            else LengthBatches(texts.lengths, _MAX_TOKENS)
        )
        return Batches(lambda rows: (texts.batch(rows), labels[rows]), order, lambda batch: int(batch[0].lengths.sum()))

    def loss(self, model: Ensemble, batch: Any, optimizer: str) -> Tensor:
        """The sum over the members, each of which learns as if it were alone."""
        tokens, labels = batch
        settings, first = self.settings.loss, model(tokens)  # [K, B, classes]
        targets = labels.expand(len(first), -1)
        if not settings.consistency:
            return _cross_entropy(first, targets, settings.label_smoothing)
        second = model(tokens)
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        divergence = F.kl_div(p, q, log_target=True, reduction="none") + F.kl_div(
            q, p, log_target=True, reduction="none"
        )
        both = (_cross_entropy(logits, targets, settings.label_smoothing) for logits in (first, second))
        total: Tensor = 0.5 * (sum(both, torch.zeros(())) + settings.consistency * divergence.sum(-1).mean(1).sum())
        return total

    def validate(self, model: Ensemble, batch: Any) -> Mapping[str, Mean]:
        tokens, labels = batch
        probabilities = model.probabilities(tokens)
        return class_means(
            probabilities, labels, F.nll_loss(probabilities.log(), labels, reduction="sum", ignore_index=UNSEEN)
        )

    def predict(
        self, model: Ensemble, inputs: Sequence[str], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Classification]:
        predictions = [Classification(text) for text in inputs]
        filled = [i for i, text in enumerate(inputs) if text.strip()]
        texts = [inputs[i] for i in filled]
        found = classifications(texts, self.probabilities(model, texts), self.classes, options)
        for i, prediction in zip(filled, found, strict=True):
            predictions[i] = prediction
        return predictions

    @torch.inference_mode()
    def probabilities(self, model: Ensemble, texts: Sequence[str]) -> Tensor:
        """Of each class, `[texts, classes]`; texts of nearly one length are computed together, none may be blank."""
        corpus = self.tokenization.encode(texts)
        probabilities = torch.empty(len(texts), len(self.classes))
        for rows in LengthBatches(corpus.lengths, _MAX_TOKENS) if texts else ():
            probabilities[rows] = model.probabilities(corpus.batch(rows))
        return probabilities

    def inputs(self, examples: LabeledTexts) -> Sequence[str]:
        return examples.texts

    def score(self, predictions: Sequence[Classification], examples: LabeledTexts) -> Scores:
        return classification_scores(predictions, examples.labels or [], self.classes)

    def baselines(self, training: LabeledTexts, examples: LabeledTexts) -> Mapping[str, list[Classification]]:
        labels = text_baselines(training.texts, training.labels or (), examples.texts)
        return {name: list(map(Classification, examples.texts, of)) for name, of in labels.items()}

    def inspect(self, model: Ensemble, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.text import classified_section

        return [classified_section(self, model, text) for text in inputs]

    @torch.inference_mode()
    def occlusion(self, model: Ensemble, text: str) -> Tensor:
        """What each token of a text contributes to its class: by how much the log-odds fall when it is masked.

        Of a long text neighbors are masked together, so that at most 256 passes are made.
        """
        batch = self.tokenization.encode([text]).batch([0])
        whole = model.probabilities(batch)[0]
        count, best = int(batch.lengths), int(whole.argmax())
        cells = min(count, _PASSES)
        cell = torch.arange(count) * cells // count
        drops = []
        for rows in torch.arange(cells).split(max(_MAX_TOKENS // count, 1)):
            masked = model.probabilities(_repeated(batch, len(rows)), cell == rows[:, None])[:, best]
            drops.append(torch.logit(whole[best], eps=1e-6) - torch.logit(masked, eps=1e-6))
        return torch.cat(drops)[cell] / torch.bincount(cell)[cell]


def _repeated(batch: Any, times: int) -> Any:
    """A batch of one text, this many times."""
    of_texts = {name: getattr(batch, name) for name in batch._fields if name not in ("char_ngrams", "offsets")}
    return batch._replace(**{name: tensor.expand(times, *tensor.shape[1:]) for name, tensor in of_texts.items()})


def _cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=label_smoothing, reduction="none")
    return losses.view_as(targets).mean(1).sum()
