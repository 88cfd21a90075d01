"""translate: a text from a text.

data         heedful/data/text/parallel.py: two aligned files, TSV, CSV, JSONL; `dates`, embedded: heedful/data/text/dates.py
model        heedful/models/sequence_to_sequence.py: Transformer, or recurrent with attention; beam search: heedful/models/search.py
loss         cross entropy of the next token, smoothed: heedful/tasks/text_generation.py
metrics      BLEU and chrF (sacreBLEU), exact matches: heedful/tasks/bleu.py
view         heedful/tasks/views/generation.py: what each token attends to, in the source and in what was generated
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field
from torch import Tensor

from heedful.data._rows import RowLog
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text import ParallelTexts, read_pairs
from heedful.data.text.dates import dates
from heedful.data.text.parallel import read_sources
from heedful.models.sequence_to_sequence import SequenceToSequence
from heedful.tasks.baselines import translation_baselines
from heedful.tasks.bleu import Tokenizer, bleu_metric
from heedful.tasks.contract import TRAINING, Embedded, Metric, Reading, Rows, Scores, Task
from heedful.tasks.text_generation import (
    Generated,
    GenerationOptions,
    GenerationSettings,
    GenerationVocabulary,
    TextGenerator,
    check_columns,
    one_line,
)
from heedful.tasks.vocabularies import token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import Section

_DATES = (
    "data.tokenizer=characters", "model.width=64", "model.layers=2", "model.ffn_width=128", "model.dropout=0.0",
    "training.epochs=3", "training.batch_size=1024", "training.learning_rate=5e-3", "loss.label_smoothing=0.0",
    "search.beams=1",
)  # fmt: skip


class MetricSettings(Section):
    """How translations are measured."""

    tokenize: Tokenizer = Field(
        "auto",
        description="sacreBLEU's tokenizer; auto: zh for Chinese, ja-mecab and ko-mecab where they are installed, char for other "
        "scripts without blanks, else 13a",
    )


class TranslateSettings(GenerationSettings):
    """All settings of translate."""

    metric: MetricSettings = MetricSettings()


class Translate(Task[ParallelTexts]):
    """A text from a text."""

    name = "translate"
    example, unit, input = "pair", "target tokens", InputKind.TEXT
    Settings, Options, Vocabulary = TranslateSettings, GenerationOptions, GenerationVocabulary
    split = EveryTenth(at_most=1000)
    embedded = {
        "dates": Embedded(("train", "valid", "test"), _DATES, "dates of the training's pairs of language and format")
    }

    def __init__(self, settings: TranslateSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.generator = TextGenerator(settings, vocabulary)

    @classmethod
    def read(cls, source: Any, settings: TranslateSettings, reading: Reading = TRAINING) -> ParallelTexts:
        columns = check_columns(settings.data)
        if source == "dates":
            return dates(reading.part)
        if reading.labeled:
            return read_pairs(source, columns, skip=settings.data.skip)
        log = RowLog()
        texts = read_sources(source, columns, log)
        return ParallelTexts(texts, [], [], tuple(log.notes))

    @classmethod
    def adapt(cls, training: ParallelTexts, settings: TranslateSettings) -> Mapping[str, Any]:
        return TextGenerator.adapt(settings, training, usual=40)

    @classmethod
    def learn(cls, training: ParallelTexts, settings: TranslateSettings) -> dict[str, Any]:
        if settings.metric.tokenize != "auto":
            bleu_metric(settings.metric.tokenize, ())  # what cannot be used is known before the training
        return TextGenerator.learn(settings.data, training)

    @classmethod
    def extend(cls, training: ParallelTexts, settings: TranslateSettings, base: Self) -> dict[str, Any]:
        return TextGenerator.extend(settings, training, base)

    def describe(self) -> str:
        return self.generator.describe()

    def check(self, examples: ParallelTexts) -> None:
        self.generator.check(examples)

    def build(self) -> SequenceToSequence:
        return self.generator.build()

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.generator.tokenizer)

    def batches(self, examples: ParallelTexts, *, training: bool) -> Batches:
        return self.generator.batches(examples, training=training)

    def loss(self, model: SequenceToSequence, batch: Any, optimizer: str) -> Tensor:
        return self.generator.loss(model, batch)

    def validate(self, model: SequenceToSequence, batch: Any) -> Mapping[str, Mean]:
        return self.generator.validate(model, batch)

    def predict(
        self,
        model: SequenceToSequence,
        inputs: Sequence[str],
        options: GenerationOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[Generated]:
        return self.generator.predict(model, inputs, options, numbers)

    def inputs(self, examples: ParallelTexts) -> Sequence[str]:
        return examples.sources

    def score(self, predictions: Sequence[Generated], examples: ParallelTexts) -> Scores:
        lowercase = self.settings.data.lowercase
        bleu = bleu_metric(self.settings.metric.tokenize, examples.targets, lowercase=lowercase)
        from sacrebleu.metrics.chrf import CHRF

        outputs, targets = [prediction.to_format() for prediction in predictions], list(map(one_line, examples.targets))
        chrf = CHRF(lowercase=lowercase)
        equal = [a.lower() == b.lower() if lowercase else a == b for a, b in zip(outputs, targets, strict=True)]
        metrics = {
            "bleu": Metric(bleu.corpus_score(outputs, [examples.targets]).score, "of 100"),
            "chrf": Metric(chrf.corpus_score(outputs, [examples.targets]).score, "of 100"),
            "exact_match": Metric(sum(equal) / len(equal)),
        }
        return Scores(metrics, {"signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}})

    def baselines(self, training: ParallelTexts, examples: ParallelTexts) -> Mapping[str, list[Generated]]:
        return {
            name: list(map(Generated, examples.sources, outputs))
            for name, outputs in translation_baselines(training, examples).items()
        }

    def expected(self, example: ParallelTexts) -> str:
        return example.targets[0]

    def inspect(self, model: SequenceToSequence, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.generation import generated_section

        return [generated_section(self.generator, model, text) for text in inputs]
