"""What translating and summarising have in common: settings, batches, the training of a model that writes one text for another."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.data import Dataset

from heedful._errors import DataError, RunFolderError, SettingsError
from heedful.data.batches import ByLength
from heedful.data.text import Characters, Pairs, Subwords, load_tokenizer
from heedful.models.encoders import ScoreName
from heedful.models.sequence_to_sequence import SequenceToSequence, sequence_to_sequence
from heedful.models.text_classifier import Pieces
from heedful.tasks.encoder_settings import EncoderSettings
from heedful.tasks.writer_of_texts import Manner, WriterOfTexts, pieces, plain
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings

if TYPE_CHECKING:
    from heedful.training.fit import Judged


class DataSettings(Section):
    """Which texts, and what they are cut into."""

    source: str | int = Field(
        "source",
        description="the column of the texts: a name, or a number from 1; of two files the end of the first name",
    )
    target: str | int = Field(
        "target", description="the column of what is written for them; of two files the end of the second name"
    )
    tokens: Literal["subwords", "characters"] = Field(
        "subwords", description="what texts are cut into, those of both sides alike"
    )
    vocabulary: int = Field(8000, ge=300, description="subwords: how many are learned from both sides together")
    lowercase: bool = Field(False, description="whether all is read and written in lower case")
    longest: int = Field(
        256, ge=1, description="pairs are left out of the training where a side has more tokens than this"
    )


class WriterSettings(EncoderSettings):
    """The model that writes."""

    kind: Literal["transformer", "recurrent"] = Field(
        "transformer",
        description="encoder and decoder of attention alone, or recurrent ones with attention between them",
    )
    score: ScoreName | Literal["none"] = Field(  # type: ignore[assignment]
        "scaled-dot", description="how relevant a key is to a query; none: recurrent, without attention"
    )
    layers: int = Field(4, ge=1, description="layers of the encoder, and of the decoder")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of each sublayer's output that is dropped in training")
    copy_source: bool = Field(False, description="whether tokens can be copied from the source")
    longest: int = Field(1024, ge=1, description="the most positions that learned ones know")


class SearchSettings(Section):
    """How is written."""

    beams: int = Field(5, ge=1, description="beginnings that a beam search keeps; 1: greedy")
    length_penalty: float = Field(1.0, ge=0, description="0 prefers short texts, 1 takes nearly the mean over tokens")
    no_repeat: int = Field(0, ge=0, description="no sequence of so many tokens stands twice in a text; 0: all may")


class LossSettings(Section):
    """What is minimised."""

    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target that is spread over all tokens")


class WriterTraining(TrainingSettings):
    """How the model is trained."""

    epochs: int = Field(40, ge=1, description="passes over the training data")
    batch_size: int = Field(
        4096, ge=1, description="tokens a step, of the longer side, with what little padding there is"
    )
    learning_rate: float = Field(3e-3, gt=0, description="of AdamW, at its highest")
    beta2: float = Field(
        0.98, ge=0, lt=1, description="AdamW's decay of squared gradients; lower where some weights are seldom used"
    )
    average: float = Field(
        0.99, ge=0, lt=1, description="decay of the moving average of the weights that is evaluated and kept; 0: none"
    )


# What suits a kind of model where nobody says otherwise; the defaults above suit a Transformer.
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "recurrent": {
        "model": {"score": "additive", "layers": 1, "width": 192, "dropout": 0.1},
        "training": {"epochs": 20, "batch_size": 2048, "learning_rate": 5e-3, "average": 0.998},
    },
    "extractive": {
        "model": {"width": 64, "hidden": 128, "layers": 1, "positions": "sinusoidal"},
        "training": {"epochs": 3, "batch_size": 2560, "learning_rate": 2e-3, "weight_decay": 0.01, "average": 0.995},
    },
}

# What a model of a kind makes no use of: whole sections, or some of their settings.
_UNUSED: dict[str, tuple[str, ...]] = {
    "transformer": ("extraction",),
    "recurrent": (
        "extraction", "model.heads", "model.hidden", "model.drop_path", "model.norm", "model.positions", "model.window",
        "model.longest",
    ),
    "extractive": (
        "search", "loss", "model.copy_source", "data.tokens", "data.vocabulary", "data.lowercase", "data.longest",
    ),
}  # fmt: skip


class WriterTask(Section):
    """All settings of a task whose model is of one of several kinds, each with defaults of its own."""

    @model_validator(mode="before")
    @classmethod
    def _of_kind(cls, values: Any) -> Any:
        model = values.get("model") if isinstance(values, dict) else None
        kind = model.get("kind") if isinstance(model, dict) else None
        if not isinstance(kind, str) or not all(isinstance(values.get(name, {}), dict) for name in KINDS.get(kind, {})):
            return values
        return values | {name: {**own, **values.get(name, {})} for name, own in KINDS.get(kind, {}).items()}

    def unused(self) -> str:
        """Words about what was set although a model of this kind makes no use of it, to stand behind what is said of it."""
        kind: str = self.model.kind  # type: ignore[attr-defined]
        changed = [
            f"{name}.{key}"
            for name, section in self
            for key in type(section).model_fields
            if key in section.model_fields_set and getattr(section, key) != type(section).model_fields[key].default
        ]
        idle = [key for key in changed if {key, key.partition(".")[0]} & {*_UNUSED[kind]}]
        return f"; not used by this kind: {', '.join(idle)}" if idle else ""


def columns(data: DataSettings) -> tuple[str | int, str | int]:
    """The names of both sides.

    Raises:
        SettingsError: they are one and the same.
    """
    if data.source == data.target:
        raise SettingsError(f"`data.target`: must be another one than data.source: got {data.target!r} for both.")
    return data.source, data.target


@dataclass(frozen=True)
class Parts:
    """What a writing model is made of.

    Attributes:
        model: is trained in place.
        tokenizer: of both sides.
        data: settings.
        search: settings.
        loss: settings.
        training: settings.
        room: the most tokens of a source that the model has positions for; None: any number.
    """

    model: SequenceToSequence
    tokenizer: Characters | Subwords
    data: DataSettings
    search: SearchSettings
    loss: LossSettings
    training: WriterTraining
    room: int | None

    def writer(self, longest: int) -> WriterOfTexts:
        """The model with all that it needs to take texts as they are."""
        manner = Manner(**self.search.model_dump())
        return WriterOfTexts(
            self.model, self.tokenizer, lowercase=self.data.lowercase, longest=longest, room=self.room, manner=manner
        )


def prepared_parts(settings: Any, texts: Iterable[str] | None, tokenizer: str | None = None) -> Parts:
    """The tokeniser, learned from texts or read, and a new model.

    Args:
        settings: with the sections data, model, search, loss and training.
        texts: all training texts of both sides.
        tokenizer: as it was saved, in the place of texts.
    """
    data: DataSettings = settings.data
    if tokenizer is not None:
        cut = load_tokenizer(tokenizer)
    else:
        assert texts is not None
        plain = (text.lower() if data.lowercase else text for text in texts)
        cut = Characters.fit(plain) if data.tokens == "characters" else Subwords.fit(plain, data.vocabulary)
    model = build(settings.model, cut)
    learned = settings.model.kind == "transformer" and settings.model.positions == "learned"
    room = settings.model.longest if learned else None
    return Parts(model, cut, data, settings.search, settings.loss, settings.training, room)


def build(settings: WriterSettings, tokenizer: Characters | Subwords) -> SequenceToSequence:
    """A new model.

    Raises:
        SettingsError: the settings do not fit each other.
    """
    words = settings.model_dump()
    copy = words.pop("copy_source")
    try:
        model = sequence_to_sequence(vocabulary=tokenizer.size, end=tokenizer.end, copy=copy, **words)
        with torch.no_grad():  # some parts check what they get only then
            model.eval()(pieces([[tokenizer.end]]), torch.tensor([[tokenizer.end]]))
        return model.train()
    except ValueError as error:
        raise SettingsError(f"[model]: {error}") from None


class Aligned(Dataset[tuple[Pieces, Pieces]]):
    """Pairs of texts as tokens, taken a whole batch at a time.

    Args:
        pairs: the texts.
        parts: tokeniser and settings.
        longest: pairs with a side of more tokens are left out; None: all are kept.

    Raises:
        DataError: a source has more tokens than the model has positions for.
    """

    def __init__(self, pairs: Pairs, parts: Parts, longest: int | None = None) -> None:
        cut, end = parts.tokenizer, parts.tokenizer.end
        read = [plain(text, lowercase=parts.data.lowercase) for text in pairs.sources]
        written = [text.lower() if parts.data.lowercase else text for text in pairs.targets]
        sources, targets = ([tokens.tolist() for tokens in cut.encode_batch(texts)] for texts in (read, written))
        lengths = [(len(a) + 1, len(b) + 1) for a, b in zip(sources, targets, strict=True)]
        kept = [i for i, sizes in enumerate(lengths) if longest is None or max(sizes) <= longest + 1]
        for i in kept:
            if parts.room is not None and max(lengths[i]) > parts.room:
                raise DataError(
                    f"{pairs.places[i]}: a text must have at most {parts.room - 1:,} tokens, the model's positions (model.longest): "
                    f"got {max(lengths[i]) - 1:,}"
                )
        self.sources, self.targets = [[*sources[i], end] for i in kept], [targets[i] for i in kept]
        self.lengths = [lengths[i] for i in kept]
        self.left_out = len(pairs) - len(kept)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, indices: list[int]) -> tuple[Pieces, Pieces]:
        return pieces([self.sources[i] for i in indices]), pieces([self.targets[i] for i in indices])


@dataclass(frozen=True)
class Writing:
    """A model that writes, and its data as tokens."""

    parts: Parts
    training: Aligned
    validation: Aligned

    @classmethod
    def of(cls, settings: Any, training: Pairs, validation: Pairs) -> "Writing":
        """A new model for pairs of texts; `settings` are those of `prepared_parts`.

        Raises:
            DataError: every training pair is longer than it may be.
        """
        parts = prepared_parts(settings, (*training.sources, *training.targets))
        writing = cls(parts, Aligned(training, parts, settings.data.longest), Aligned(validation, parts))
        if not len(writing.training):
            raise DataError(
                f"{training.places[0]}: at least one pair must have at most {settings.data.longest} tokens a side (data.longest): "
                f"got {len(training):,} that have more"
            )
        return writing

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(p.numel() for p in self.parts.model.parameters())

    @property
    def longest(self) -> int:
        """Tokens of the longest training target."""
        return max(map(len, self.training.targets))

    def writer(self) -> WriterOfTexts:
        """The model with all that it needs to take texts as they are."""
        return self.parts.writer(self.longest)

    def train(self, run: RunFolder, console: Any, *, resume: bool) -> tuple[dict[str, Tensor], float]:
        """Trains into a begun run folder: the weights that are kept, and the share of computed tokens that were real."""
        from torchmetrics import MetricCollection

        from heedful.training.fit import fit, loader

        parts, settings = self.parts, self.parts.training
        order = ByLength(self.training.lengths, settings.batch_size, settings.seed)
        weights = fit(
            parts.model,
            loss=lambda model, batch: model.loss(*batch, parts.loss.label_smoothing),  # type: ignore[operator]
            judge=_judge,
            metrics=MetricCollection({}),
            monitor=None,
            training=loader(self.training, order),
            validation=loader(self.validation, ByLength(self.validation.lengths, settings.batch_size)),
            settings=settings,
            folder=run,
            console=console,
            unit="target tokens",
            count=lambda batch: _count(batch[1]),
            resume=resume,
        )
        parts.model.load_state_dict(weights)
        return weights, order.real()


def loaded(run: RunFolder, settings: Any) -> WriterOfTexts:
    """The trained model of a finished run folder."""
    known, weights = run.vocabulary(), run.weights()
    try:
        parts = prepared_parts(settings, None, run.tokenizer())
        parts.model.load_state_dict(weights)
        return parts.writer(int(known["longest"]))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the tokens must fit each other: {str(error).splitlines()[0]}"
        ) from None


def _judge(model: nn.Module, batch: tuple[Pieces, Pieces]) -> "Judged":
    from heedful.training.fit import Judged

    assert isinstance(model, SequenceToSequence)
    none = torch.zeros(0)
    return Judged(model.loss(*batch), _count(batch[1]), none, none)


def _count(target: Pieces) -> int:
    """Tokens of targets, each with its end."""
    return int(target.lengths.sum()) + len(target.lengths)
