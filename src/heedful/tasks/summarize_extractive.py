"""summarize-extractive: sentences of a text that make its summary.

data         heedful/data/text/documents.py: JSONL whose texts may be lists of sentences, TSV, CSV, two aligned files
model        heedful/models/extractor.py
loss         cross entropy of the choice of sentences: labels, or what ROUGE says of each sentence
metrics      ROUGE-1, -2 and -L: heedful/tasks/rouge.py
view         heedful/tasks/views/generation.py: how probable each sentence is
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful.data.batch_types import SentenceBatch
from heedful.data.batches import BucketBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text.documents import EncodedDocuments, SummaryExamples, read_documents, split_sentences
from heedful.data.text.tokenization import Tokenization
from heedful.data.text.words import WordVocabulary, split_words
from heedful.models.encoders import attention_pattern
from heedful.models.ensemble import Ensemble
from heedful.models.extractor import SentenceExtractor, label_targets, soft_cross_entropy, soft_targets
from heedful.models.words import FastTextEmbedding
from heedful.tasks.contract import TRAINING, Reading, Rows, Scores, Task
from heedful.tasks.encoder_settings import EncoderSettings, encoder_of
from heedful.tasks.forward_pass import ForwardPass, Operand, sentences
from heedful.tasks.rouge import sentence_gains, summary_baselines, summary_scores
from heedful.tasks.text_generation import one_line, shortened
from heedful.tasks.vocabularies import extended, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.schema import Counts, Schema, Words
from heedful.training.settings import RowSettings, Section, TaskSettings, TrainingSettings, defaults, follows_data

_MAX_TOKENS = 20_000  # tokens of sentences that are computed together


class ExtractiveData(RowSettings):
    """Which texts and summaries."""

    source: str | int = Field(
        "source", description="the column of the source texts; of two files the end of the first name"
    )
    target: str | int = Field("target", description="the column of the summaries; with labels, it may be empty")
    labels: str = Field("", description="the name of lists of 0 and 1, one a sentence; empty: learned from summaries")
    language: str = Field("en", description="by whose rules texts are cut into sentences: an ISO code")


@defaults(width=64, ffn_width=128, layers=1, positions="sinusoidal", dropout=0.2)
class ExtractiveModel(EncoderSettings):
    """How sentences are read and chosen."""

    max_positions: int = Field(1024, ge=1, description="the most positions that learned ones know")
    num_sentences: int = Field(1, ge=1, description="the most sentences of a summary")
    temperature: float = Field(0.1, gt=0, description="temperature of the softmax that turns ROUGE into targets")
    ensemble_size: int = Field(3, ge=1, description="models that are trained side by side and averaged")
    pooling_heads: int = Field(4, ge=1, description="heads of the attention pooling of a sentence")
    min_count: int = Field(2, ge=1, description="minimum count of a word to get an embedding of its own")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of a word's features")
    token_dropout: float = Field(0.2, ge=0, lt=1, description="probability that a word is masked in training")
    output_dropout: float = Field(0.4, ge=0, lt=1, description="dropout of a sentence's vector")


@defaults(epochs=3, learning_rate=2e-3, weight_decay=0.01, beta2=0.98, ema_decay=0.995)
class ExtractiveTraining(TrainingSettings):
    """How the model is trained."""

    batch_size: int = follows_data(
        2560, ge=1, description="sentences a step, about; auto: what is fastest on this machine"
    )


class ExtractiveSettings(TaskSettings):
    """All settings of summarize-extractive."""

    data: ExtractiveData = ExtractiveData()
    model: ExtractiveModel = ExtractiveModel()
    training: ExtractiveTraining = ExtractiveTraining()


class ExtractiveVocabulary(Schema):
    """What the weights know by number."""

    words: Counts
    char_ngrams: Words


class ExtractiveOptions(Section):
    """How summaries are made."""

    num_sentences: int | None = Field(None, ge=1, description="the most sentences of a summary")
    scores: bool = Field(False, description="behind a tab, the probabilities of the sentences")


@dataclass(frozen=True)
class ExtractedSummary:
    """The sentences that a model chose of one text; of an empty one none.

    Attributes:
        input: the text.
        output: the sentences, in their order.
        sentences: their numbers, from 0.
        probabilities: of each of them, to be the best one.
        scored: whether the printed line shows these.
    """

    input: str
    output: str
    sentences: list[int]
    probabilities: list[float]
    scored: bool = field(default=False, metadata={"json": False})

    def to_format(self) -> str:
        """A line of the file of summaries."""
        return one_line(self.output)

    def __str__(self) -> str:
        """One line: the summary, and behind a tab the probabilities, where they were asked for."""
        return self.to_format() + ("\t" + " ".join(f"{p:.4f}" for p in self.probabilities) if self.scored else "")


class SummarizeExtractive(Task[SummaryExamples]):
    """Sentences of a text that make its summary."""

    name = "summarize-extractive"
    example, unit, input, lists = "document", "documents", InputKind.TEXT, True
    Settings, Options, Vocabulary = ExtractiveSettings, ExtractiveOptions, ExtractiveVocabulary
    split = EveryTenth(at_most=1000)

    def __init__(self, settings: ExtractiveSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.words = WordVocabulary(vocabulary["words"], {}, tuple(vocabulary["char_ngrams"]))
        model = settings.model
        self.max_words = model.max_positions if model.positions == "learned" else None

    @classmethod
    def read(cls, source: Any, settings: ExtractiveSettings, reading: Reading = TRAINING) -> SummaryExamples:
        data = settings.data
        if not data.labels and data.target == "":
            raise SettingsError("`data.target`: must name the summaries where data.labels names no labels: got ''.")
        if data.source == data.target:
            raise SettingsError(f"`data.target`: must be another one than data.source: got {data.target!r} for both.")
        if not reading.labeled:
            return read_documents(source, data.source, data.target or None, language=data.language, labeled=False)
        labels = data.labels if data.target == "" or reading.part != "test" else ""
        documents = read_documents(
            source, data.source, data.target or None, labels or None, language=data.language, skip=data.skip
        )
        return _with_references(documents)

    @classmethod
    def learn(cls, training: SummaryExamples, settings: ExtractiveSettings) -> dict[str, Any]:
        sentences = [split_words(sentence) for document in training.sources for sentence in document]
        words = WordVocabulary.fit(sentences, min_count=settings.model.min_count)
        return {"words": words.words, "char_ngrams": list(words.char_ngrams)}

    @classmethod
    def extend(cls, training: SummaryExamples, settings: ExtractiveSettings, base: Self) -> dict[str, Any]:
        return extended(cls.learn(training, settings), settings, base)

    def describe(self) -> str:
        return f"{len(self.words.words):,} words"

    def check(self, examples: SummaryExamples) -> None:
        for location, document in zip(examples.locations, examples.sources, strict=True):
            self._check_length(document, f"{location}: ")

    def build(self) -> Ensemble:
        s, members = self.settings.model, []
        for _ in range(s.ensemble_size):
            positions, encoder = encoder_of(s, s.max_positions)
            # Sentences have their positions already.
            _, document = encoder_of(s.model_copy(update={"positions": "none"}), s.max_positions)
            words = FastTextEmbedding(
                len(self.words.words), len(self.words.char_ngrams), s.width, dropout=s.input_dropout
            )
            members.append(
                SentenceExtractor(
                    tokens=words, positions=positions, encoder=encoder, pattern=attention_pattern(s.window),
                    pooling_heads=s.pooling_heads, document=document, token_dropout=s.token_dropout, dropout=s.output_dropout,
                )
            )  # fmt: skip
        return Ensemble(members)

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.words)

    def batches(self, examples: SummaryExamples, *, training: bool) -> Batches:
        documents, labels = EncodedDocuments(Tokenization(self.words), examples.sources), examples.labels
        pairs = zip(examples.sources, examples.references or (), strict=True)
        gains = [sentence_gains(*pair) for pair in pairs] if labels is None else []
        settings, temperature = self.settings.training, self.settings.model.temperature

        def make(rows: list[int]) -> tuple[SentenceBatch, Tensor]:
            if labels is not None:
                return documents.batch(rows), label_targets([labels[i] for i in rows])
            return documents.batch(rows), soft_targets([gains[i] for i in rows], temperature)

        lengths = documents.lengths
        size = max(round(int(settings.batch_size) * len(lengths) / sum(lengths)), 1)
        order = BucketBatches(lengths, size, settings.seed) if training else documents.batches(_MAX_TOKENS)
        return Batches(make, order, lambda batch: len(batch[1]))

    def loss(self, model: Ensemble, batch: Any, optimizer: str) -> Tensor:
        return soft_cross_entropy(model(batch[0]), batch[1])

    def validate(self, model: Ensemble, batch: Any) -> Mapping[str, Mean]:
        """Of the members together: what their mean says of the sentence that is the target."""
        sentences, targets = batch
        log = model.probabilities(sentences).clamp_min(1e-9).log()
        return {"loss": Mean(-(targets * log).sum(), len(targets))}

    def predict(
        self,
        model: Ensemble,
        inputs: Sequence[str | Sequence[str]],
        options: ExtractiveOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[ExtractedSummary]:
        documents = [self.sentences(text) for text in inputs]
        texts = [text if isinstance(text, str) else " ".join(text) for text in inputs]
        summaries = [ExtractedSummary(text, "", [], [], options.scores) for text in texts]
        filled = [i for i, document in enumerate(documents) if document]
        most = options.num_sentences or self.settings.model.num_sentences
        for i, probabilities in zip(filled, self.probabilities(model, [documents[i] for i in filled]), strict=True):
            best = probabilities.topk(min(most, len(probabilities))).indices.sort().values.tolist()
            output = " ".join(documents[i][row] for row in best)
            summaries[i] = ExtractedSummary(texts[i], output, best, probabilities[best].tolist(), options.scores)
        return summaries

    def sentences(self, text: str | Sequence[str]) -> list[str]:
        """The sentences of a text, without blank ones."""
        if isinstance(text, str):
            return split_sentences(text, self.settings.data.language)
        return [sentence for sentence in text if sentence.strip()]

    @torch.inference_mode()
    def probabilities(self, model: Ensemble, documents: Sequence[Sequence[str]]) -> list[Tensor]:
        """Of each sentence of each document, none of which may be empty."""
        probabilities: list[Tensor] = [torch.zeros(0)] * len(documents)
        for document in documents:
            self._check_length(document, "")
        corpus = EncodedDocuments(Tokenization(self.words), documents) if documents else None
        for rows in corpus.batches(_MAX_TOKENS) if corpus is not None else ():
            for i, row in zip(rows, model.probabilities(corpus.batch(rows)), strict=True):  # type: ignore[union-attr]
                probabilities[i] = row[: len(documents[i])]
        return probabilities

    def forward_pass(self) -> ForwardPass:
        return ForwardPass(
            sentences(), lambda model, batch: model.probabilities(batch), "probabilities",
            Operand(("batch", "positions"), "of each sentence of a document to be the best one; 0 of padding"),
            notes=("A summary is the most probable sentences, in their order.",),
        )  # fmt: skip

    def inputs(self, examples: SummaryExamples) -> Sequence[Sequence[str]]:
        return examples.sources

    def score(self, predictions: Sequence[ExtractedSummary], examples: SummaryExamples) -> Scores:
        return summary_scores([prediction.output for prediction in predictions], examples)

    def baselines(self, training: SummaryExamples, examples: SummaryExamples) -> Mapping[str, list[ExtractedSummary]]:
        inputs = [" ".join(sentences) for sentences in examples.sources]
        return {
            name: [ExtractedSummary(text, output, [], []) for text, output in zip(inputs, outputs, strict=True)]
            for name, outputs in summary_baselines(examples).items()
        }

    def expected(self, example: SummaryExamples) -> str:
        return (example.references or [[""]])[0][0]

    def inspect(self, model: Ensemble, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.generation import extracted_section

        return [extracted_section(self, model, text) for text in inputs]

    def _check_length(self, sentences: Sequence[str], location: str) -> None:
        most = 0 if self.max_words is None else max((len(split_words(sentence)) for sentence in sentences), default=0)
        if self.max_words is not None and most > self.max_words:
            raise DataError(
                f"{location}a sentence must have at most {self.max_words:,} words (model.max_positions): got {most:,}, "
                f"{shortened(sentences[0])!r}"
            )


def _with_references(documents: SummaryExamples) -> SummaryExamples:
    """Where the data have labels alone, a summary is made of the sentences that they choose."""
    if documents.references is not None:
        return documents
    pairs = zip(documents.sources, documents.labels or (), strict=True)
    chosen = [list(compress(sentences, flags)) for sentences, flags in pairs]
    filled = documents.select(row for row, sentences in enumerate(chosen) if sentences)
    return replace(filled, references=[[" ".join(sentences)] for sentences in chosen if sentences])
