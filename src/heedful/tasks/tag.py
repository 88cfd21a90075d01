"""tag: a label for each word of a sentence.

data         heedful/data/text: CoNLL-U, a word and its label a line, data sets of Hugging Face
model        heedful/models/tagger.py
loss         cross entropy of the labels, and of further columns of the same file that teach the encoder
measure      accuracy, that of words never seen in training apart; F1 of spans where the labels describe spans
prediction   a label for each word, with its probability
view         what each word attended to
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from heedful._errors import DataError, RunFolderError
from heedful.data.batches import ByLength
from heedful.data.text.sentences import Sentence
from heedful.data.text.tagged import Tagged, read_tagged
from heedful.data.text.words import Corpus, WordVocabulary, split_words
from heedful.models.encoders import PositionName, visible
from heedful.models.tagger import NeighborEncoder, Tagger
from heedful.models.words import WordEncoder, Words
from heedful.tasks.encoder_settings import EncoderSettings, encoder_of
from heedful.tasks.sequence_tagger import Prediction, SequenceTagger, baselines, check_longest, sentence_of
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings, read_settings

if TYPE_CHECKING:
    from heedful.report import AttentionSection
    from heedful.training.fit import Judged

_TEACHERS = ("XPOS", "FEATS", "DEPREL")
_NONE = -100  # where there is no word


class DataSettings(Section):
    """Which labels."""

    column: str | int = Field(
        "",
        description="the labels: a column's name in CoNLL-U (UPOS, XPOS, a feature such as Number), its number elsewhere; "
        "nothing: UPOS, or the last one",
    )
    also: tuple[str | int, ...] = Field(
        ("auto",),
        description="further columns that are learned beside it; auto: XPOS, FEATS and DEPREL of CoNLL-U, where they are",
    )
    longest: int = Field(2000, ge=1, description="the most words of a sentence")


class ModelSettings(EncoderSettings):
    """The tagger."""

    width: int = Field(192, ge=1, description="features of a word")
    heads: int = Field(6, ge=1, description="attention heads of a layer")
    hidden: int = Field(384, ge=1, description="features inside each layer's network")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of each sublayer's output that is dropped in training")
    positions: PositionName = Field("relative", description="how words know where they stand")
    mixing: Literal["attention", "window", "none"] = Field(
        "attention",
        description="how words see each other; to compare with attention, with as many parameters: a window of neighbours "
        "through a network, or not at all",
    )
    reach: int = Field(2, ge=1, description="window: how many neighbours on each side a layer sees")
    word_width: int = Field(128, ge=1, description="features that a known word has of its own")
    form_width: int = Field(128, ge=0, description="features that the way it is written, upper and lower case, adds")
    piece_width: int = Field(128, ge=1, description="features that a word has from the pieces that it is spelt with")
    input_dropout: float = Field(0.4, ge=0, lt=1, description="share of a word's features that is dropped in training")
    output_dropout: float = Field(
        0.2, ge=0, lt=1, description="share of the encoder's output that is dropped in training"
    )
    piece_dropout: float = Field(
        0.25, ge=0, lt=1, description="share of the pieces of a word that is dropped in training"
    )
    word_dropout: float = Field(0.15, ge=0, lt=1, description="probability that a word counts as unknown in training")
    forget: float = Field(
        0.25, ge=0, description="besides, a word seen n times counts as unknown with probability forget / (forget + n)"
    )


class LossSettings(Section):
    """What is minimised."""

    also: float = Field(0.5, ge=0, description="weight of each further column")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that is spread over all labels")


class TaggerTraining(TrainingSettings):
    """How the tagger is trained."""

    epochs: int = Field(9, ge=1, description="passes over the training data")
    batch_size: int = Field(1500, ge=1, description="words a step")
    beta2: float = Field(
        0.98, ge=0, lt=1, description="AdamW's decay of squared gradients; lower where some weights are seldom used"
    )
    weight_decay: float = Field(0.01, ge=0, description="of matrices; offsets, norms and positions have none")


class Settings(Section):
    """All settings of tag."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    training: TaggerTraining = TaggerTraining()


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: Tagged
    validation: Tagged
    held_out: str
    vocabulary: WordVocabulary
    labels: dict[str, tuple[str, ...]]
    model: Tagger
    started: float

    def checksum(self) -> str:
        """Of the words and their labels: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            for sentence in part.sentences:
                digest.update(repr((sentence.words, sentence.labels)).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the data and builds the model.

    Args:
        settings: all of them.
        sources: "data" (every tenth sentence is held out), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit each other, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(settings, sources)
    labels = {
        column: tuple(sorted(set(chain.from_iterable(s.labels[column] for s in training.sentences))))
        for column in training.sentences[0].labels
    }
    column = next(iter(labels))
    if len(labels[column]) < 2:
        raise DataError(
            f"{sources.get('data') or sources['train']}: must hold at least two different labels: got {labels[column][0]!r} alone"
        )
    _check_known(validation, column, labels[column])
    vocabulary = WordVocabulary.fit([s.words for s in training.sentences], forms_at_least=2)
    seed_everything(settings.training.seed)
    model = _build(settings, vocabulary, labels)
    parameters = sum(p.numel() for p in model.parameters())
    words = sum(len(s.words) for s in training.sentences)
    also = f" (and {', '.join(list(labels)[1:])})" if len(labels) > 1 else ""
    shown = f"column {column}" if column.isdigit() else column
    console.out(
        f"{len(training.sentences):,} sentences of {words:,} words to train on, {len(labels[column])} labels in {shown}{also}; "
        f"held out: {held_out}\ntagger, {parameters:,} parameters",
        highlight=False,
    )
    return Prepared(settings, training, validation, held_out, vocabulary, labels, model, started)


def train(run: RunFolder, prepared: Prepared, console: Any, *, resume: bool = False) -> dict[str, Any]:
    """Trains into a begun run folder, and gives what goes into metrics.json.

    Args:
        run: the folder.
        prepared: data, model and settings; the model is trained in place.
        console: a rich console that shows the progress.
        resume: go on from the last checkpoint, if there is one.
    """
    from heedful.training.fit import fit, loader

    settings, model, labels = prepared.settings, prepared.model, prepared.labels
    batches = _Batches(prepared.training, prepared.vocabulary, labels)
    held_out = _Batches(prepared.validation, prepared.vocabulary, dict([next(iter(labels.items()))]))
    order = ByLength(batches.corpus.lengths, settings.training.batch_size, settings.training.seed)
    weights = fit(
        model,
        loss=lambda model, batch: _loss(model, batch, settings.loss),
        judge=_judge,
        metrics=_metrics(len(next(iter(labels.values())))),
        monitor="accuracy",
        training=loader(batches, order),
        validation=loader(held_out, ByLength(held_out.corpus.lengths, 4 * settings.training.batch_size)),
        settings=settings.training,
        folder=run,
        console=console,
        unit="words",
        count=lambda batch: int(batch[0].lengths.sum()),
        resume=resume,
    )
    model.load_state_dict(weights)
    tagger = SequenceTagger(model, prepared.vocabulary, labels, settings.data.longest)
    sizes = {name: _sizes(part) for name, part in (("training", prepared.training), ("held out", prepared.validation))}
    metrics = {
        "held_out": prepared.held_out,
        "sizes": sizes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "real_tokens": order.real(),
        **tagger.measures(prepared.validation),
        "baselines": baselines(prepared.training, prepared.validation, tagger),
        "seconds": time.monotonic() - prepared.started,
    }
    words = prepared.vocabulary
    run.finish(weights, {"labels": labels, "words": words.words, "forms": words.forms, "pieces": words.pieces}, metrics)
    return metrics


def load(run: RunFolder) -> SequenceTagger:
    """The trained model of a finished run folder."""
    run.verified()
    settings, known, weights = read_settings(Settings, run.config()), run.vocabulary(), run.weights()
    try:
        vocabulary = WordVocabulary(known["words"], known["forms"], tuple(known["pieces"]))
        model = _build(settings, vocabulary, known["labels"])
        model.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the words must fit each other: {str(error).splitlines()[0]}"
        ) from None
    return SequenceTagger(model, vocabulary, known["labels"], settings.data.longest)


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on labelled sentences, beside baselines fitted on the training sentences in the same run."""
    tagger = load(run)
    settings = read_settings(Settings, run.config())
    tagged = _as(tagger.column, read_tagged(source, settings.data.column or None))
    _check_known(tagged, tagger.column, tagger.labels[tagger.column])
    check_longest(tagged.sentences, tagger.longest)
    training, *_ = _read(settings, run.about()["data"])
    sizes = _sizes(tagged)
    return {
        "on": f"{sizes['sentences']:,} sentences, {sizes['words']:,} words",
        **sizes,
        **tagger.measures(tagged),
        "baselines": baselines(training, tagged, tagger),
    }


def predict(run: RunFolder, chunks: Iterable[Sequence[str | tuple[Sentence, str]]]) -> Iterator[Prediction]:
    """Predictions in the order of the inputs, which are texts or what `read_inputs` gives."""
    tagger, number = load(run), 0
    for chunk in chunks:
        given, form = [], "text"
        for item in chunk:
            number += 1
            if isinstance(item, str):
                given.append(replace(sentence_of(split_words(item)), place=f"input {number}"))
            else:
                given.append(item[0])
                form = item[1]
        fit = next((i for i, sentence in enumerate(given) if len(sentence.words) > tagger.longest), len(given))
        yield from tagger.predict_sentences(given[:fit], form)
        check_longest(given[fit:], tagger.longest)


def read_inputs(run: RunFolder, source: str) -> Iterator[tuple[Sentence, str]]:
    """The sentences of a file, and the form in which they are to be written."""
    tagged = read_tagged(source, labels=False)
    for sentence in tagged.sentences:
        yield sentence, tagged.form


def inspect(run: RunFolder, inputs: Sequence[str]) -> "list[AttentionSection]":
    """Sections of a report, one a sentence, that show what each word attended to."""
    from heedful.tasks.text_view import tagged_section

    tagger = load(run)
    sentences = [sentence_of(split_words(text)) for text in inputs]
    for text, sentence in zip(inputs, sentences, strict=True):
        if not sentence.words:
            raise DataError(f"a sentence must hold at least one word: got {text!r}.")
    return [tagged_section(tagger, sentence) for sentence in sentences]


class _Batches(Dataset[Any]):
    """Sentences and the numbers of their labels, taken a whole batch at a time."""

    def __init__(self, tagged: Tagged, vocabulary: WordVocabulary, labels: Mapping[str, Sequence[str]]) -> None:
        self.corpus = Corpus(vocabulary, [sentence.words for sentence in tagged.sentences])
        self.targets = []
        for column, names in labels.items():
            numbers = {name: number for number, name in enumerate(names)}
            given = chain.from_iterable(sentence.labels[column] for sentence in tagged.sentences)
            self.targets.append(torch.tensor([numbers[label] for label in given]))

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, indices: list[int]) -> tuple[Words, list[Tensor]]:
        return self.corpus.batch(indices), [self.corpus.padded(t, indices, _NONE) for t in self.targets]


def _read(settings: Settings, sources: dict[str, str]) -> tuple[Tagged, Tagged, str]:
    """Training sentences, held-out sentences, and a name for the latter."""
    column = settings.data.column or None
    source = sources.get("data") or sources["train"]
    also = settings.data.also
    first = read_tagged(source, column, also) if also != ("auto",) else _read_auto(source, column)
    _check_upos(first)
    check_longest(first.sentences, settings.data.longest)
    if "data" in sources:
        if len(first.sentences) < 10:
            raise DataError(
                f"{source}: must hold at least 10 sentences, to hold one out (or give --train and --valid): got {len(first.sentences)}"
            )
        assert first.column is not None
        training = [s for i, s in enumerate(first.sentences) if i % 10 != 9]
        known = set(chain.from_iterable(s.labels[first.column] for s in training))
        validation = tuple(s for s in first.sentences[9::10] if known.issuperset(s.labels[first.column]))
        training += [s for s in first.sentences[9::10] if not known.issuperset(s.labels[first.column])]
        if not validation:
            raise DataError(
                f"{source}: its labels must occur more often than once, to hold sentences out: got new ones in each tenth"
            )
        held_out = f"every tenth sentence of {source}, {len(validation):,} sentences"
        return Tagged(tuple(training), first.form, first.column), Tagged(validation, first.form, first.column), held_out
    assert first.column is not None
    second = _as(first.column, read_tagged(sources["valid"], column))
    check_longest(second.sentences, settings.data.longest)
    return first, second, f"{sources['valid']}, {len(second.sentences):,} sentences"


def _as(column: str, tagged: Tagged) -> Tagged:
    """Sentences of another form, whose column of labels has another name, as if it had this one."""
    if tagged.column == column:
        return tagged
    renamed = (replace(s, labels={column: s.labels[tagged.column or ""]}) for s in tagged.sentences)
    return Tagged(tuple(renamed), tagged.form, column)


def _check_upos(tagged: Tagged) -> None:
    """Every word has a UPOS, or none has: `_` is what stands where nobody has said one."""
    for sentence in tagged.sentences if tagged.column == "UPOS" else ():
        for place, label in zip(sentence.places, sentence.labels["UPOS"], strict=True):
            if label == "_":
                raise DataError(f"{place}: must have a UPOS: got '_'")


def _read_auto(source: str, column: str | int | None) -> Tagged:
    """With the other columns of CoNLL-U that say something of each word, where the file has them."""
    tagged = read_tagged(source, column)
    also: list[str] = []
    for name in _TEACHERS if tagged.form == "conllu" else ():
        if name != tagged.column:
            try:
                tagged = read_tagged(source, column, [*also, name])
                also.append(name)
            except DataError:
                continue  # the file has no such labels
    return tagged


def _check_known(tagged: Tagged, column: str, names: Sequence[str]) -> None:
    known = set(names)
    for sentence in tagged.sentences:
        for place, label in zip(sentence.places, sentence.labels[column], strict=True):
            if label not in known:
                shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
                raise DataError(f"{place}: must have one of the labels of the training data ({shown}): got {label!r}")


def _build(settings: Settings, vocabulary: WordVocabulary, labels: Mapping[str, Sequence[str]]) -> Tagger:
    s = settings.model
    words = WordEncoder(
        list(vocabulary.words.values()), list(vocabulary.forms.values()), len(vocabulary.pieces),
        word_width=s.word_width, form_width=s.form_width, piece_width=s.piece_width, width=s.width,
        dropout=s.input_dropout, piece_dropout=s.piece_dropout, word_dropout=s.word_dropout, forget=s.forget,
    )  # fmt: skip
    sizes, dropout = [len(names) for names in labels.values()], s.output_dropout
    if s.mixing != "attention":
        reach = s.reach if s.mixing == "window" else 0
        hidden = (4 * s.width + 2 * s.hidden) // (2 * reach + 2)  # as many parameters as a layer with attention
        neighbors = NeighborEncoder(s.width, s.layers, hidden=hidden, reach=reach, dropout=s.dropout)
        return Tagger(words=words, encoder=neighbors, labels=sizes, dropout=dropout)
    positions, encoder = encoder_of(s, settings.data.longest)
    return Tagger(
        words=words, positions=positions, encoder=encoder, pattern=visible(s.window), labels=sizes, dropout=dropout
    )


def _loss(model: nn.Module, batch: tuple[Words, list[Tensor]], settings: LossSettings) -> Tensor:
    assert isinstance(model, Tagger)
    words, targets = batch
    real = targets[0] != _NONE
    encoded = model(words)[real]  # [words, D]
    losses = [
        F.cross_entropy(model.logits(encoded, column), target[real], label_smoothing=settings.label_smoothing)
        for column, target in enumerate(targets)
    ]
    return losses[0] + settings.also * sum(losses[1:], torch.zeros(()))


def _judge(model: nn.Module, batch: tuple[Words, list[Tensor]]) -> "Judged":
    from heedful.training.fit import Judged

    assert isinstance(model, Tagger)
    words, (target,) = batch
    real = target != _NONE
    logits = model.logits(model(words)[real])
    return Judged(F.cross_entropy(logits, target[real]), len(logits), logits, target[real])


def _metrics(labels: int) -> Any:
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    return MetricCollection({"accuracy": MulticlassAccuracy(labels, average="micro")})


def _sizes(tagged: Tagged) -> dict[str, int]:
    return {"sentences": len(tagged.sentences), "words": sum(len(s.words) for s in tagged.sentences)}
