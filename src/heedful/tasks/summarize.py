"""summarize: a short text for a long one, written or cut out of it.

data         heedful/data/text/documents.py: JSONL whose texts may be lists of sentences, TSV, CSV, two aligned files
model        heedful/models/sequence_to_sequence.py with copying; heedful/models/extractor.py (model.kind=extractive)
loss         cross entropy of the next token; extractive: of the choice of sentences
measure      ROUGE-1, -2 and -L (torchmetrics); the first sentence, and the best one that there is
prediction   the summary: heedful/tasks/writer_of_texts.py; heedful/tasks/sentence_extraction.py
view         what each token looked at; extractive: how probable each sentence is: heedful/tasks/writing_view.py
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from heedful._errors import DataError, HeedfulError, SettingsError
from heedful.data.text.documents import Summarized, read_documents, split_sentences
from heedful.data.text.pairs import Pairs, read_sources
from heedful.data.text.tables import table_form
from heedful.tasks.sentence_extraction import (
    Extracted,
    Extraction,
    ExtractionSettings,
    ExtractorOfSentences,
    load_extractor,
)
from heedful.tasks.text_to_text import (
    DataSettings,
    LossSettings,
    SearchSettings,
    WriterSettings,
    WriterTask,
    WriterTraining,
    Writing,
    columns,
    loaded,
)
from heedful.tasks.writer_of_texts import WriterOfTexts, Written
from heedful.training.run_folder import RunFolder
from heedful.training.settings import read_settings

if TYPE_CHECKING:
    from heedful.report import AttentionSection


class SummaryData(DataSettings):
    """Which texts and summaries, and what they are cut into."""

    labels: str = Field(
        "",
        description="extractive: the name of lists of 0 and 1, one a sentence; empty: learned from summaries; with labels, "
        "data.target may be empty",
    )
    language: str = Field("en", description="by whose rules texts are cut into sentences: an ISO code")
    longest: int = Field(
        1024, ge=1, description="pairs are left out of the training where a side has more tokens than this"
    )


class SummaryModel(WriterSettings):
    """The model that summarises."""

    kind: Literal["transformer", "recurrent", "extractive"] = Field(  # type: ignore[assignment]
        "transformer",
        description="encoder and decoder of attention alone, or recurrent ones; extractive: sentences are chosen",
    )
    layers: int = Field(2, ge=1, description="layers of the encoder, and of the decoder")
    copy_source: bool = Field(True, description="whether tokens can be copied from the source")


class SummarySearch(SearchSettings):
    """How is written."""

    no_repeat: int = Field(3, ge=0, description="no sequence of so many tokens stands twice in a text; 0: all may")


class SummaryTraining(WriterTraining):
    """How the model is trained."""

    epochs: int = Field(20, ge=1, description="passes over the training data")


class Settings(WriterTask):
    """All settings of summarize."""

    data: SummaryData = SummaryData()
    model: SummaryModel = SummaryModel()
    extraction: ExtractionSettings = ExtractionSettings()
    loss: LossSettings = LossSettings()
    search: SummarySearch = SummarySearch()
    training: SummaryTraining = SummaryTraining()


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: Summarized
    validation: Summarized
    held_out: str
    model: Writing | Extraction
    started: float

    def checksum(self) -> str:
        """Of the texts: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            digest.update(repr((part.sources, part.references, part.labels)).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the data and builds the model.

    Args:
        settings: all of them.
        sources: "data" (every tenth document is held out, 1,000 at most), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit each other, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(settings, sources)
    seed_everything(settings.training.seed)
    model: Writing | Extraction
    left_out = 0
    if settings.model.kind == "extractive":
        model = Extraction.of(settings, training, validation)
    else:
        model = Writing.of(settings, _pairs(training), _pairs(validation))
        left_out = model.training.left_out
    without = f", {left_out:,} pairs of text and summary left out that are longer than data.longest" if left_out else ""
    console.out(
        f"{len(training):,} documents to train on{without}; held out: {held_out}\n"
        f"{settings.model.kind}, {model.parameters:,} parameters{settings.unused()}",
        highlight=False,
    )
    return Prepared(settings, training, validation, held_out, model, started)


def train(run: RunFolder, prepared: Prepared, console: Any, *, resume: bool = False) -> dict[str, Any]:
    """Trains into a begun run folder, and gives what goes into metrics.json.

    Args:
        run: the folder.
        prepared: data, model and settings; the model is trained in place.
        console: a rich console that shows the progress.
        resume: go on from the last checkpoint, if there is one.
    """
    model = prepared.model
    tokenizer: str | None = None
    summarizer: WriterOfTexts | ExtractorOfSentences
    weights, real = model.train(run, console, resume=resume)
    if isinstance(model, Writing):
        vocabulary: dict[str, Any] = {"longest": model.longest}
        summarizer, tokenizer = model.writer(), model.parts.tokenizer.save()
    else:
        vocabulary = {"words": model.vocabulary.words, "pieces": model.vocabulary.pieces}
        summarizer = model.extractor()
    metrics = {
        "held_out": prepared.held_out,
        "documents": {"training": len(prepared.training), "held out": len(prepared.validation)},
        "parameters": model.parameters,
        "real_tokens": real,
        **_measured(summarizer, prepared.validation),
        "seconds": time.monotonic() - prepared.started,
    }
    run.finish(weights, vocabulary, metrics, tokenizer=tokenizer)
    return metrics


def load(run: RunFolder) -> WriterOfTexts | ExtractorOfSentences:
    """The trained model of a finished run folder."""
    run.verified()
    settings = read_settings(Settings, run.config())
    return load_extractor(run, settings) if settings.model.kind == "extractive" else loaded(run, settings)


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on other documents, beside baselines."""
    summarizer, settings = load(run), read_settings(Settings, run.config())
    data = settings.data
    documents = _documents(settings, source, labels=data.labels if data.target == "" else None)
    return {
        "on": f"{len(documents):,} documents",
        "documents": len(documents),
        **_measured(summarizer, documents),
    }


def predict(
    run: RunFolder, chunks: Iterable[Sequence[str | list[str]]], **manner: Any
) -> Iterator[Written | Extracted]:
    """Summaries in the order of the inputs; the options are those of `WriterOfTexts.predict`, extractive: `scores`, `n_best`."""
    summarizer, first = load(run), 0
    if isinstance(summarizer, ExtractorOfSentences):
        for name in manner:
            if name not in ("scores", "n_best"):
                raise HeedfulError(f"`--{name.replace('_', '-')}` is no option of a model that chooses sentences.")
    for chunk in chunks:
        if isinstance(summarizer, ExtractorOfSentences):
            yield from summarizer.predict(chunk, **manner)
        else:
            yield from summarizer.predict(list(map(_joined, chunk)), first=first, **manner)
        first += len(chunk)


def read_inputs(run: RunFolder, source: str) -> list[list[str]]:
    """The texts of a file, as their sentences: a text a line, or the column of the run's sources in a table."""
    data = read_settings(Settings, run.config()).data
    if table_form(source) == "jsonl":
        return read_documents(source, data.source, summary=None, language=data.language).sources
    return [split_sentences(text, data.language) for text in read_sources(source, columns(data))]


def inspect(run: RunFolder, inputs: Sequence[str]) -> "list[AttentionSection]":
    """Sections of a report, one a text: what each token looked at; extractive: how probable each sentence is."""
    from heedful.tasks.writing_view import chosen_section, written_section

    summarizer = load(run)
    for text in inputs:
        if not text.strip():
            raise DataError(f"a text must hold at least one character that is no blank: got {text!r}.")
    if isinstance(summarizer, ExtractorOfSentences):
        return [chosen_section(summarizer, text) for text in inputs]
    return [written_section(summarizer, text) for text in inputs]


def _read(settings: Settings, sources: dict[str, str]) -> tuple[Summarized, Summarized, str]:
    """Training documents, held-out documents, and a name for the latter."""
    data = settings.data
    columns(data)
    if data.labels and settings.model.kind != "extractive":
        raise SettingsError(
            f"`data.labels`: sentences are chosen by model.kind=extractive alone: got {data.labels!r} with "
            f"model.kind={settings.model.kind}."
        )
    if not data.labels and data.target == "":
        raise SettingsError("`data.target`: must name the summaries where data.labels names no labels: got ''.")

    def read(source: str) -> Summarized:
        return _documents(settings, source, labels=data.labels or None)

    documents = read(sources.get("data") or sources["train"])
    if "data" not in sources:
        other = read(sources["valid"])
        return documents, other, f"{sources['valid']}, {len(other):,} documents"
    if len(documents) < 10:
        raise DataError(
            f"{sources['data']}: must hold at least 10 documents, to hold one out (or give --train and --valid): got {len(documents)}"
        )
    every = max(10, -(-len(documents) // 1000))
    held_out = range(every - 1, len(documents), every)
    kept = [row for row in range(len(documents)) if row % every != every - 1]
    name = f"every {every}th document of {sources['data']}, {len(held_out):,} documents"
    return documents.select(kept), documents.select(held_out), name


def _documents(settings: Settings, source: str, *, labels: str | None) -> Summarized:
    """Documents with summaries; where the data have labels alone, the summary is made of the sentences that they choose."""
    data = settings.data
    found = read_documents(
        source, data.source, None if data.target == "" else data.target, labels, language=data.language
    )
    if found.references is not None:
        return found
    assert found.labels is not None
    chosen = [list(compress(*pair)) for pair in zip(found.sources, found.labels, strict=True)]
    kept = found.select(row for row, sentences in enumerate(chosen) if sentences)
    return replace(kept, references=[[" ".join(sentences)] for sentences in chosen if sentences])


def _pairs(documents: Summarized) -> Pairs:
    """Each text beside each of its summaries."""
    assert documents.references is not None
    rows = [
        (_joined(sentences), reference, place)
        for sentences, references, place in zip(documents.sources, documents.references, documents.places, strict=True)
        for reference in references
    ]
    return Pairs(*(list(column) for column in zip(*rows, strict=True)))


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)


def _measured(summarizer: WriterOfTexts | ExtractorOfSentences, documents: Summarized) -> dict[str, Any]:
    """ROUGE of the summaries, and of what a sensible person would try first."""
    from heedful.tasks.rouge import mean_rouge, oracle, rouge, rouge_name

    references = documents.references
    assert references is not None
    if isinstance(summarizer, ExtractorOfSentences):
        summaries = [found.output for found in summarizer.predict(documents.sources)]
    else:
        summaries = [found.output for found in summarizer.predict(list(map(_joined, documents.sources)))]
        if summarizer.lowercase:
            summaries = [summary.lower() for summary in summaries]
    found = mean_rouge(rouge(summaries, references))
    best = [
        " ".join(sentences[i] for i in oracle(sentences, others, 1))
        for sentences, others in zip(documents.sources, references, strict=True)
    ]
    first = mean_rouge(rouge([sentences[0] for sentences in documents.sources], references))
    words = [len(summary.split()) for summary in summaries]
    return {
        "measures": {"rouge_1": found.rouge1, "rouge_2": found.rouge2, "rouge_l": found.rouge_l},
        "signatures": {"rouge": rouge_name()},
        "words": sum(words) / len(words),
        "baselines": {
            "the first sentence, ROUGE-1": first.rouge1,
            "the first sentence, ROUGE-2": first.rouge2,
            "the first sentence, ROUGE-L": first.rouge_l,
            "the best sentence, ROUGE-1 (nobody can know it)": mean_rouge(rouge(best, references)).rouge1,
        },
    }
