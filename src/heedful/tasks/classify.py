"""classify: a label for a text.

data         heedful/data/text: TSV, CSV, JSONL, data sets of Hugging Face
model        heedful/models/text_classifier.py
loss         cross entropy; what two passes with other dropout say is drawn together (R-Drop, Liang et al. 2021)
measure      accuracy, macro F1; baselines on the same texts
prediction   label, probability, runner-up
view         what each word said for the decision, and what each attended to
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from heedful._errors import DataError, RunFolderError, SettingsError
from heedful.data.batches import Bucketed, ByLength
from heedful.data.text.cutting import Cutting
from heedful.data.text.tables import read_table
from heedful.data.text.texts import Texts, read_texts
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.tokenizers import load as load_tokenizer
from heedful.data.text.words import WordVocabulary, split_words
from heedful.models.encoders import PositionName, visible
from heedful.models.text_classifier import Ensemble, PieceEncoder, Pieces, TextClassifier
from heedful.models.words import Words, WordSum
from heedful.tasks.classifier_of_texts import ROOM, ClassifierOfTexts, Prediction, metrics_of
from heedful.tasks.encoder_settings import EncoderSettings, encoder_of
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings, read_settings

if TYPE_CHECKING:
    from heedful.report import AttentionSection
    from heedful.training.fit import Judged


class DataSettings(Section):
    """Which texts, and what they are cut into."""

    text: str | int = Field("text", description="the column of the texts: a name, or a number from 1")
    label: str | int = Field("label", description="the column of the labels: a name, or a number from 1")
    tokens: Literal["words", "subwords", "characters"] = Field("words", description="what a text is cut into")
    vocabulary: int = Field(4000, ge=300, description="subwords: how many")
    at_least: int = Field(
        2, ge=1, description="words: known are those that occur so often; others are told by their pieces"
    )


class ModelSettings(EncoderSettings):
    """The text classifier."""

    width: int = Field(96, ge=1, description="features of a token")
    positions: PositionName = Field("none", description="how tokens know where they stand")
    longest: int = Field(4096, ge=1, description="the most positions that learned ones know")
    layers: int = Field(1, ge=1, description="layers of the encoder")
    hidden: int = Field(192, ge=1, description="features inside each layer's network")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of each sublayer's output that is dropped in training")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="share of a token's features that is dropped in training")
    token_dropout: float = Field(0.15, ge=0, lt=1, description="probability that a token is hidden in training")
    output_dropout: float = Field(
        0.4, ge=0, lt=1, description="share of the pooled features that is dropped in training"
    )
    pooling_heads: int = Field(4, ge=1, description="each weighs its own part of the features")
    members: int = Field(5, ge=1, description="so many models are trained side by side, and asked together")


class LossSettings(Section):
    """What is minimised."""

    label_smoothing: float = Field(0.05, ge=0, lt=1, description="share of the target that is spread over all classes")
    consistency: float = Field(
        2.0, ge=0, description="weight of the divergence between two passes with other dropout; 0: one pass alone"
    )


class ClassifierTraining(TrainingSettings):
    """How the classifier is trained."""

    epochs: int = Field(5, ge=1, description="passes over the training data")
    batch_size: int = Field(100, ge=1, description="texts a step")
    average: float = Field(
        0.998, ge=0, lt=1, description="decay of the moving average of the weights that is evaluated and kept; 0: none"
    )
    beta2: float = Field(
        0.98, ge=0, lt=1, description="AdamW's decay of squared gradients; lower where some weights are seldom used"
    )


class Settings(Section):
    """All settings of classify."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    training: ClassifierTraining = ClassifierTraining()


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: Texts
    validation: Texts
    held_out: str
    classes: tuple[str, ...]
    cutting: Cutting
    batches: tuple["_Batches", "_Batches"]  # of the training texts, and of those that are held out
    model: Ensemble
    started: float

    def checksum(self) -> str:
        """Of the texts and their labels: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            digest.update(repr((part.texts, part.labels)).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the data and builds the model.

    Args:
        settings: all of them.
        sources: "data" (every tenth text of each class is held out), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit each other, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(settings.data, sources)
    assert training.labels is not None
    classes = tuple(sorted(set(training.labels)))
    cutting = _cut(settings, training.texts)
    batches = _Batches(training, cutting, classes), _Batches(validation, cutting, classes)
    seed_everything(settings.training.seed)
    model = _build(settings.model, cutting, len(classes))
    shown = ", ".join(classes[:10]) + (" ..." if len(classes) > 10 else "")
    console.out(
        f"{len(training):,} texts of {len(classes)} classes to train on ({shown}); held out: {held_out}\n"
        f"text classifier, {sum(p.numel() for p in model.parameters()):,} parameters",
        highlight=False,
    )
    return Prepared(settings, training, validation, held_out, classes, cutting, batches, model, started)


def train(run: RunFolder, prepared: Prepared, console: Any, *, resume: bool = False) -> dict[str, Any]:
    """Trains into a begun run folder, and gives what goes into metrics.json.

    Args:
        run: the folder.
        prepared: data, model and settings; the model is trained in place.
        console: a rich console that shows the progress.
        resume: go on from the last checkpoint, if there is one.
    """
    from heedful.training.fit import fit, loader

    settings, model, cutting = prepared.settings, prepared.model, prepared.cutting
    batches, held_out = prepared.batches
    order = Bucketed(batches.corpus.lengths, settings.training.batch_size, settings.training.seed)
    weights = fit(
        model,
        loss=lambda model, batch: _loss(model, batch, settings.loss),
        judge=_judge,
        metrics=metrics_of(len(prepared.classes)),
        monitor=None,  # few held-out texts tell epochs apart by their loss, not by how many are right
        training=loader(batches, order),
        validation=loader(held_out, ByLength(held_out.corpus.lengths, ROOM)),
        settings=settings.training,
        folder=run,
        console=console,
        unit="tokens",
        count=lambda batch: int(batch[0].lengths.sum()),
        resume=resume,
    )
    model.load_state_dict(weights)
    classifier = ClassifierOfTexts(model, prepared.classes, cutting)
    metrics = {
        "held_out": prepared.held_out,
        "texts": {"training": len(prepared.training), "held out": len(prepared.validation)},
        "parameters": sum(p.numel() for p in model.parameters()),
        "real_tokens": order.real(),
        **classifier.measures(prepared.validation),
        "baselines": _baselines(prepared.training, prepared.validation),
        "seconds": time.monotonic() - prepared.started,
    }
    vocabulary: dict[str, Any] = {"classes": list(prepared.classes)}
    if isinstance(cutting.by, WordVocabulary):
        vocabulary |= {"words": cutting.by.words, "pieces": cutting.by.pieces}
        run.finish(weights, vocabulary, metrics)
    else:
        run.finish(weights, vocabulary, metrics, tokenizer=cutting.by.save())
    return metrics


def load(run: RunFolder) -> ClassifierOfTexts:
    """The trained model of a finished run folder."""
    run.verified()
    settings, known, weights = read_settings(Settings, run.config()), run.vocabulary(), run.weights()
    try:
        by = (
            WordVocabulary(known["words"], {}, tuple(known["pieces"]))
            if settings.data.tokens == "words"
            else load_tokenizer(run.tokenizer())
        )
        classes, cutting = known["classes"], Cutting(by, _room(settings.model))
        model = _build(settings.model, cutting, len(classes))
        model.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the classes must fit each other: {str(error).splitlines()[0]}"
        ) from None
    return ClassifierOfTexts(model, classes, cutting)


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on labelled texts, beside baselines fitted on the training texts in the same run."""
    classifier = load(run)
    data = read_settings(Settings, run.config()).data
    texts = read_texts(source, data.text, data.label, classes=classifier.classes)
    training, *_ = _read(data, run.about()["data"])
    return {
        "on": f"{len(texts):,} texts",
        "texts": len(texts),
        **classifier.measures(texts),
        "baselines": _baselines(training, texts),
    }


def predict(run: RunFolder, chunks: Iterable[Sequence[str]]) -> Iterator[Prediction]:
    """Predictions in the order of the inputs, a chunk of inputs at a time."""
    classifier = load(run)
    for chunk in chunks:
        yield from classifier.predict(chunk)


def read_inputs(run: RunFolder, source: str) -> list[str]:
    """The texts of a file: a text a line, or the column of the run's texts in a table, with labels beside it or without."""
    data = read_settings(Settings, run.config()).data
    try:
        return read_texts(source, data.text, label=None).texts
    except DataError as error:
        try:
            return [text for (text, _), _ in read_table(source, (data.text, data.label))]
        except DataError:
            raise error from None  # it is no table with labels either


def inspect(run: RunFolder, inputs: Sequence[str]) -> "list[AttentionSection]":
    """Sections of a report, one a text: what each word said for the decision, and what each attended to."""
    from heedful.tasks.text_view import classified_section

    classifier = load(run)
    for text in inputs:
        if not text.strip():
            raise DataError(f"a text must hold at least one word: got {text!r}.")
    return [classified_section(classifier, text) for text in inputs]


class _Batches(Dataset[Any]):
    """Texts and their classes, taken a whole batch at a time."""

    def __init__(self, texts: Texts, cutting: Cutting, classes: Sequence[str]) -> None:
        assert texts.labels is not None
        self.corpus = cutting.corpus(texts.texts, texts.places)
        self.labels = torch.tensor([classes.index(label) for label in texts.labels])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: list[int]) -> tuple[Words | Pieces, Tensor]:
        return self.corpus.batch(indices), self.labels[indices]


def _read(data: DataSettings, sources: dict[str, str]) -> tuple[Texts, Texts, str]:
    """Training texts, held-out texts, and a name for the latter."""
    source = sources.get("data") or sources["train"]
    first = read_texts(source, data.text, data.label)
    assert first.labels is not None
    classes = sorted(set(first.labels))
    if "data" not in sources:
        second = read_texts(sources["valid"], data.text, data.label, classes=classes)
        return first, second, f"{sources['valid']}, {len(second):,} texts"
    if len(first) < 10:
        raise DataError(
            f"{source}: must hold at least 10 texts, to hold one out (or give --train and --valid): got {len(first)}"
        )
    by_class: defaultdict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(first.labels):
        by_class[label].append(row)
    # Small classes together, where no class has ten texts.
    parts = [rows for rows in by_class.values() if len(rows) >= 10] or [sorted(chain(*by_class.values()))]
    held_out = {row for rows in parts for row in rows[9::10]}
    kept = [row for row in range(len(first)) if row not in held_out]
    lost = sorted({first.labels[row] for row in held_out} - {first.labels[row] for row in kept})
    if lost:
        raise DataError(
            f"{source}: must hold at least two texts of each class, to hold a tenth out: got one of {lost[0]!r}"
        )
    name = f"every tenth text of each class of {source}, {len(held_out):,} texts"
    return first.select(kept), first.select(sorted(held_out)), name


def _cut(settings: Settings, texts: Sequence[str]) -> Cutting:
    data = settings.data
    by: WordVocabulary | Characters | Subwords
    if data.tokens == "words":
        by = WordVocabulary.fit([split_words(text) for text in texts], at_least=data.at_least)
    elif data.tokens == "characters":
        by = Characters.fit(texts)
    else:
        by = Subwords.fit(texts, data.vocabulary)
    return Cutting(by, _room(settings.model))


def _room(model: ModelSettings) -> int | None:
    return model.longest if model.positions == "learned" else None


def _build(settings: ModelSettings, cutting: Cutting, classes: int) -> Ensemble:
    s, by = settings, cutting.by
    try:
        members = []
        for _ in range(s.members):
            positions, encoder = encoder_of(s, s.longest)
            tokens: WordSum | PieceEncoder = (
                WordSum(len(by.words), len(by.pieces), s.width, dropout=s.input_dropout)
                if isinstance(by, WordVocabulary)
                else PieceEncoder(by.size, s.width, dropout=s.input_dropout)
            )
            members.append(
                TextClassifier(
                    tokens=tokens, positions=positions, encoder=encoder, pattern=visible(s.window),
                    pooling_heads=s.pooling_heads, classes=classes, token_dropout=s.token_dropout, dropout=s.output_dropout,
                )
            )  # fmt: skip
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"[model]: {error}") from None
    return Ensemble(members)


def _loss(model: nn.Module, batch: tuple[Words | Pieces, Tensor], settings: LossSettings) -> Tensor:
    """The sum over the members, each of which learns as if it were alone."""
    tokens, labels = batch
    first = model(tokens)  # [K, B, classes]
    targets = labels.expand(len(first), -1)
    if not settings.consistency:
        return _entropy(first, targets, settings.label_smoothing)
    second = model(tokens)
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    apart = F.kl_div(p, q, log_target=True, reduction="none") + F.kl_div(q, p, log_target=True, reduction="none")
    both = (_entropy(logits, targets, settings.label_smoothing) for logits in (first, second))
    return 0.5 * (sum(both) + settings.consistency * apart.sum(-1).mean(1).sum())


def _entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=label_smoothing, reduction="none")
    return losses.view_as(targets).mean(1).sum()


def _judge(model: nn.Module, batch: tuple[Words | Pieces, Tensor]) -> "Judged":
    from heedful.training.fit import Judged

    assert isinstance(model, Ensemble)
    tokens, labels = batch
    probabilities = model.probabilities(tokens)
    return Judged(F.nll_loss(probabilities.log(), labels), len(labels), probabilities, labels)


def _baselines(training: Texts, texts: Texts) -> dict[str, float]:
    from heedful.tasks.baselines import text_baselines

    assert training.labels is not None
    assert texts.labels is not None
    return text_baselines(training.texts, training.labels, texts.texts, texts.labels)
