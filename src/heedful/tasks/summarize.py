"""summarize: a short text from a long one.

data         heedful/data/text/documents.py: JSONL whose texts may be lists of sentences, TSV, CSV, two aligned files
model        heedful/models/sequence_to_sequence.py, which may copy from the source; beam search: heedful/models/search.py
loss         cross entropy of the next token, smoothed: heedful/tasks/text_generation.py
metrics      ROUGE-1, -2 and -L: heedful/tasks/rouge.py
view         heedful/tasks/views/generation.py: what each token attends to
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field
from torch import Tensor

from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text import ParallelTexts
from heedful.data.text.documents import SummaryExamples, read_documents
from heedful.models.sequence_to_sequence import SequenceToSequence
from heedful.tasks.contract import TRAINING, Reading, Rows, Scores, Task
from heedful.tasks.rouge import summary_baselines, summary_scores
from heedful.tasks.text_generation import (
    Generated,
    GenerationLoss,
    GenerationOptions,
    GenerationTraining,
    GenerationVocabulary,
    ParallelData,
    RecurrentGenerator,
    SearchSettings,
    TextGenerator,
    TransformerGenerator,
    check_columns,
)
from heedful.tasks.vocabularies import token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import TaskSettings, defaults


@defaults(max_length=1024, vocabulary_size=8000)
class SummaryData(ParallelData):
    """Which texts and summaries, and how they are cut into tokens."""

    language: str = Field("en", description="by whose rules texts are cut into sentences: an ISO code")


@defaults(layers=2, dropout=0.2, pointer=True)
class TransformerSummarizer(TransformerGenerator):
    """Encoder and decoder of attention alone, with copying."""


@defaults(pointer=True)
class RecurrentSummarizer(RecurrentGenerator):
    """A recurrent encoder and decoder with attention between them, with copying."""


@defaults(no_repeat_ngram=3)
class SummarySearch(SearchSettings):
    """How summaries are generated."""


class SummarizeSettings(TaskSettings):
    """All settings of summarize."""

    data: SummaryData = SummaryData()
    model: Annotated[TransformerSummarizer | RecurrentSummarizer, Field(discriminator="architecture")] = (
        TransformerSummarizer()
    )
    loss: GenerationLoss = GenerationLoss()
    search: SummarySearch = SummarySearch()
    training: GenerationTraining = GenerationTraining()


class Summarize(Task[SummaryExamples]):
    """A short text from a long one."""

    name = "summarize"
    example, unit, input, lists = "document", "target tokens", InputKind.TEXT, True
    Settings, Options, Vocabulary = SummarizeSettings, GenerationOptions, GenerationVocabulary
    split = EveryTenth(at_most=1000)

    def __init__(self, settings: SummarizeSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.generator = TextGenerator(settings, vocabulary)

    @classmethod
    def read(cls, source: Any, settings: SummarizeSettings, reading: Reading = TRAINING) -> SummaryExamples:
        text, summary = check_columns(settings.data)
        data = settings.data
        return read_documents(source, text, summary, language=data.language, labeled=reading.labeled, skip=data.skip)

    @classmethod
    def adapt(cls, training: SummaryExamples, settings: SummarizeSettings) -> Mapping[str, Any]:
        return TextGenerator.adapt(settings, _pairs(training), usual=20)

    @classmethod
    def learn(cls, training: SummaryExamples, settings: SummarizeSettings) -> dict[str, Any]:
        return TextGenerator.learn(settings.data, _pairs(training))

    @classmethod
    def extend(cls, training: SummaryExamples, settings: SummarizeSettings, base: Self) -> dict[str, Any]:
        return TextGenerator.extend(settings, _pairs(training), base)

    def describe(self) -> str:
        return self.generator.describe()

    def check(self, examples: SummaryExamples) -> None:
        self.generator.check(_pairs(examples))

    def build(self) -> SequenceToSequence:
        return self.generator.build()

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.generator.tokenizer)

    def batches(self, examples: SummaryExamples, *, training: bool) -> Batches:
        return self.generator.batches(_pairs(examples), training=training)

    def loss(self, model: SequenceToSequence, batch: Any, optimizer: str) -> Tensor:
        return self.generator.loss(model, batch)

    def validate(self, model: SequenceToSequence, batch: Any) -> Mapping[str, Mean]:
        return self.generator.validate(model, batch)

    def predict(
        self,
        model: SequenceToSequence,
        inputs: Sequence[str | Sequence[str]],
        options: GenerationOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[Generated]:
        return self.generator.predict(model, list(map(_joined, inputs)), options, numbers)

    def inputs(self, examples: SummaryExamples) -> Sequence[Sequence[str]]:
        return examples.sources

    def score(self, predictions: Sequence[Generated], examples: SummaryExamples) -> Scores:
        outputs = [
            prediction.output.lower() if self.generator.lowercase else prediction.output for prediction in predictions
        ]
        return summary_scores(outputs, examples)

    def baselines(self, training: SummaryExamples, examples: SummaryExamples) -> Mapping[str, list[Generated]]:
        inputs = list(map(_joined, examples.sources))
        return {name: list(map(Generated, inputs, outputs)) for name, outputs in summary_baselines(examples).items()}

    def expected(self, example: SummaryExamples) -> str:
        return (example.references or [[""]])[0][0]

    def inspect(self, model: SequenceToSequence, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.generation import generated_section

        return [generated_section(self.generator, model, _joined(text)) for text in inputs]


def _pairs(documents: SummaryExamples) -> ParallelTexts:
    """Each text beside each of its summaries."""
    rows = [
        (_joined(sentences), reference, location)
        for sentences, references, location in zip(
            documents.sources, documents.references or (), documents.locations, strict=True
        )
        for reference in references
    ]
    sources, targets, locations = (list(column) for column in zip(*rows, strict=True))
    return ParallelTexts(sources, targets, locations)


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)
