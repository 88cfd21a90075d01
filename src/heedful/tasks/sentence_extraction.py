"""Summaries that are cut out of their texts: the training of a sentence extractor, and a trained one that takes texts as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from heedful._errors import DataError, HeedfulError, RunFolderError, SettingsError
from heedful.data.batches import Bucketed
from heedful.data.text.cutting import Cutting
from heedful.data.text.documents import SentenceCorpus, Summarized, split_sentences
from heedful.data.text.words import WordVocabulary, split_words
from heedful.models.encoders import visible
from heedful.models.extractor import (
    Extractors,
    SentenceExtractor,
    Sentences,
    choice_loss,
    even_choice,
    soft_choice,
)
from heedful.models.words import WordSum
from heedful.tasks.encoder_settings import encoder_of
from heedful.tasks.rouge import sentence_gains
from heedful.tasks.writer_of_texts import one_line, shortened
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings

if TYPE_CHECKING:
    from heedful.training.fit import Judged

ROOM = 20_000  # tokens of sentences that are computed together


class ExtractionSettings(Section):
    """Where model.kind is extractive: how sentences are chosen."""

    sentences: int = Field(1, ge=1, description="the most sentences of a summary")
    temperature: float = Field(
        0.1, gt=0, description="without labels, a sentence is wanted by exp(its likeness to the summary / temperature)"
    )
    members: int = Field(3, ge=1, description="so many models are trained side by side, and asked together")
    pooling_heads: int = Field(4, ge=1, description="each weighs its own part of the features of a sentence")
    at_least: int = Field(2, ge=1, description="known are words that occur so often; others are told by their pieces")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="share of a word's features that is dropped in training")
    token_dropout: float = Field(0.2, ge=0, lt=1, description="probability that a word is hidden in training")
    output_dropout: float = Field(
        0.4, ge=0, lt=1, description="share of a sentence's vector that is dropped in training"
    )


@dataclass(frozen=True)
class Extracted:
    """The sentences that a model chose of one text; of an empty one none.

    Attributes:
        text: the input.
        output: the sentences, in their order.
        sentences: their numbers, from 0.
        probabilities: of each of them, to be the best one.
        scored: whether these are shown.
    """

    text: str
    output: str
    sentences: list[int]
    probabilities: list[float]
    scored: bool = False

    def as_data(self) -> str:
        """A line of the file of summaries."""
        return one_line(self.output)

    def __str__(self) -> str:
        """One line: the summary, and behind a tab the probabilities, where they were asked for."""
        parts = [self.as_data()]
        if self.scored:
            parts.append(" ".join(f"{p:.4f}" for p in self.probabilities))
        return "\t".join(parts)


class ExtractorOfSentences:
    """A trained model with all that it needs to take texts as they are.

    Args:
        model: the network.
        vocabulary: the words that it knows.
        language: of the texts that are to be cut into sentences.
        most: sentences of a summary.
        room: the most words of a sentence that the model has positions for; None: any number.
    """

    def __init__(
        self, model: Extractors, vocabulary: WordVocabulary, *, language: str, most: int, room: int | None
    ) -> None:
        self.model, self.vocabulary, self.language, self.most = model.eval(), vocabulary, language, most
        self.room = room

    def predict(
        self, texts: str | Sequence[str | Sequence[str]], *, scores: bool = False, n_best: int | None = None
    ) -> list[Extracted]:
        """The summary of a text, or of each of several.

        Args:
            texts: each one string, which is cut into sentences, or its sentences.
            scores: whether a line shows the probabilities.
            n_best: the most sentences of a summary; None: as the run has it.
        """
        if n_best is not None and n_best < 1:
            raise HeedfulError(f"`n_best` must be positive: got {n_best}.")
        texts = [texts] if isinstance(texts, str) else texts
        documents = [self.sentences(text) for text in texts]
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        found = [Extracted(text, "", [], [], scores) for text in whole]
        filled = [place for place, document in enumerate(documents) if document]
        for place, chances in zip(filled, self.probabilities([documents[i] for i in filled]), strict=True):
            best = chances.topk(min(n_best or self.most, len(chances))).indices.sort().values.tolist()
            output = " ".join(documents[place][i] for i in best)
            found[place] = Extracted(whole[place], output, best, chances[best].tolist(), scores)
        return found

    def sentences(self, text: str | Sequence[str]) -> list[str]:
        """The sentences of a text, without blank ones."""
        if isinstance(text, str):
            return split_sentences(text, self.language)
        return [sentence for sentence in text if sentence.strip()]

    @torch.inference_mode()
    def probabilities(self, documents: Sequence[Sequence[str]]) -> list[Tensor]:
        """Of each sentence of each document."""
        found: list[Tensor] = [torch.zeros(0)] * len(documents)
        if not documents:
            return found
        for document in documents:
            if too_long := _beyond(document, self.room):
                raise HeedfulError(f"{too_long}, {shortened(document[0])!r}.")
        corpus = SentenceCorpus(Cutting(self.vocabulary), documents)
        for some in corpus.batches(ROOM):
            chances = self.model.probabilities(corpus.batch(some))
            for i, row in zip(some, chances, strict=True):
                found[i] = row[: len(documents[i])]
        return found


class Chosen(Dataset[tuple[Sentences, Tensor]]):
    """Documents and how much each of their sentences is wanted, taken a whole batch at a time.

    Args:
        documents: with labels, or with references, from which is told what is wanted.
        vocabulary: the words that the model knows.
        temperature: of what is told from references.
        room: the most words of a sentence that the model has positions for; None: any number.

    Raises:
        DataError: a sentence has more words.
    """

    def __init__(self, documents: Summarized, vocabulary: WordVocabulary, temperature: float, room: int | None) -> None:
        for place, document in zip(documents.places, documents.sources, strict=True):
            if too_long := _beyond(document, room):
                raise DataError(f"{place}: {too_long}")
        self.corpus = SentenceCorpus(Cutting(vocabulary), documents.sources)
        self.labels = documents.labels
        self.temperature = temperature
        self.gains: list[list[float]] = []
        if documents.labels is None:
            assert documents.references is not None
            self.gains = [
                sentence_gains(sentences, references)
                for sentences, references in zip(documents.sources, documents.references, strict=True)
            ]

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, indices: list[int]) -> tuple[Sentences, Tensor]:
        if self.labels is not None:
            wanted = even_choice([self.labels[i] for i in indices])
        else:
            wanted = soft_choice([self.gains[i] for i in indices], self.temperature)
        return self.corpus.batch(indices), wanted


@dataclass(frozen=True)
class Extraction:
    """A model that chooses sentences, and its data as numbers."""

    model: Extractors
    vocabulary: WordVocabulary
    settings: Any
    training: Chosen
    validation: Chosen

    @classmethod
    def of(cls, settings: Any, training: Summarized, validation: Summarized) -> "Extraction":
        """A new model for documents; `settings` has the sections data, model, extraction and training."""
        words = [split_words(sentence) for document in training.sources for sentence in document]
        vocabulary = WordVocabulary.fit(words, at_least=settings.extraction.at_least)
        model, room = build_extractors(settings, vocabulary), _room(settings)
        chosen = (Chosen(part, vocabulary, settings.extraction.temperature, room) for part in (training, validation))
        return cls(model, vocabulary, settings, *chosen)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(p.numel() for p in self.model.parameters())

    def train(self, run: RunFolder, console: Any, *, resume: bool) -> tuple[dict[str, Tensor], float]:
        """Trains into a begun run folder: the weights that are kept, and the share of computed tokens that were real."""
        from torchmetrics import MetricCollection

        from heedful.training.fit import fit, loader

        settings: TrainingSettings = self.settings.training
        training, validation = self.training, self.validation
        lengths = training.corpus.lengths
        size = max(round(settings.batch_size * len(lengths) / sum(lengths)), 1)
        order = Bucketed(lengths, size, settings.seed)
        weights = fit(
            self.model,
            loss=lambda model, batch: choice_loss(model(batch[0]), batch[1]),
            judge=_judge,
            metrics=MetricCollection({}),
            monitor=None,
            training=loader(training, order),
            validation=loader(validation, validation.corpus.batches(ROOM)),
            settings=settings,
            folder=run,
            console=console,
            unit="documents",
            count=lambda batch: len(batch[1]),
            resume=resume,
        )
        self.model.load_state_dict(weights)
        return weights, order.real()

    def extractor(self) -> ExtractorOfSentences:
        """The model with all that it needs to take texts as they are."""
        return _extractor(self.model, self.vocabulary, self.settings)


def build_extractors(settings: Any, vocabulary: WordVocabulary) -> Extractors:
    """New models.

    Raises:
        SettingsError: the settings do not fit each other.
    """
    extraction, width, members = settings.extraction, settings.model.width, []
    if settings.model.score == "none":
        raise SettingsError("[model]: `score` must be a score, since sentences are read by attention: got 'none'.")
    try:
        for _ in range(extraction.members):
            positions, encoder = encoder_of(settings.model, settings.model.longest)
            # Sentences know their places already.
            _, document = encoder_of(settings.model.model_copy(update={"positions": "none"}), settings.model.longest)
            words = WordSum(len(vocabulary.words), len(vocabulary.pieces), width, dropout=extraction.input_dropout)
            members.append(
                SentenceExtractor(
                    tokens=words, positions=positions, encoder=encoder, pattern=visible(settings.model.window),
                    pooling_heads=extraction.pooling_heads, document=document,
                    token_dropout=extraction.token_dropout, dropout=extraction.output_dropout,
                )
            )  # fmt: skip
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"[extraction]: {error}") from None
    return Extractors(members)


def load_extractor(run: RunFolder, settings: Any) -> ExtractorOfSentences:
    """The trained model of a finished run folder."""
    known, weights = run.vocabulary(), run.weights()
    try:
        vocabulary = WordVocabulary(known["words"], {}, tuple(known["pieces"]))
        model = build_extractors(settings, vocabulary)
        model.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the words must fit each other: {str(error).splitlines()[0]}"
        ) from None
    return _extractor(model, vocabulary, settings)


def _extractor(model: Extractors, vocabulary: WordVocabulary, settings: Any) -> ExtractorOfSentences:
    return ExtractorOfSentences(
        model, vocabulary, language=settings.data.language, most=settings.extraction.sentences, room=_room(settings)
    )


def _room(settings: Any) -> int | None:
    return settings.model.longest if settings.model.positions == "learned" else None


def _beyond(sentences: Sequence[str], room: int | None) -> str:
    """What to say of a document with a sentence that the model has no room for."""
    most = 0 if room is None else max(len(split_words(sentence)) for sentence in sentences)
    if room is None or most <= room:
        return ""
    return f"a sentence must have at most {room:,} words, the model's positions (model.longest): got {most:,}"


def _judge(model: nn.Module, batch: tuple[Sentences, Tensor]) -> "Judged":
    """Of the members together: what their mean says of the sentence that is wanted."""
    from heedful.training.fit import Judged

    assert isinstance(model, Extractors)
    sentences, wanted = batch
    log = model.probabilities(sentences).clamp_min(1e-9).log()
    none = torch.zeros(0)
    return Judged(-(wanted * log).sum(-1).mean(), len(wanted), none, none)
