"""language-model: goes on with a text, or fills its gaps.

data         heedful/data/text: plain text, as characters or subwords; heedful/tasks/language_pieces.py
model        heedful/models/language_model.py
loss         cross entropy of the next token; masked: of the tokens at 15 % of the places
measure      nats and bits a character over the whole held-out text; counts of neighbours learned from the same text
prediction   a continuation; masked: what stands in the gaps: heedful/tasks/language_writer.py, heedful/models/sampling.py
view         what each token looked at: heedful/tasks/language_view.py
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from heedful._errors import DataError, RunFolderError, SettingsError
from heedful.data.batches import InOrder
from heedful.data.text import Characters, Subwords, load_tokenizer, read_plain
from heedful.data.text._lines import lines
from heedful.models import LanguageModel, language_model
from heedful.tasks.encoder_settings import EncoderSettings
from heedful.tasks.language_pieces import (
    NOT_ASKED,
    SPECIAL,
    Cuts,
    Pieces,
    begun,
    blocks,
    encoded,
    gaps_of,
    hidden_places,
    hide,
    next_tokens,
)
from heedful.tasks.language_writer import TOGETHER, Continuation, Filling, Writer
from heedful.tasks.ngrams import nats_around, nats_before
from heedful.training.run_folder import RunFolder
from heedful.training.settings import Section, TrainingSettings, read_settings

if TYPE_CHECKING:
    from heedful.report import AttentionSection
    from heedful.training.fit import Judged

_COUNTED = 5_000_000  # tokens of the training text that the baselines count: its last ones
_NEIGHBORS = {"characters": (5, 3), "subwords": (2, 1)}  # that the baselines count: before a token; on each side


class DataSettings(Section):
    """What a text becomes before the model sees it."""

    tokens: Literal["characters", "subwords"] = Field("characters", description="what the text is cut into")
    vocabulary: int = Field(4096, ge=260, description="subwords: how many are learned from the training text")


class ModelSettings(EncoderSettings):
    """The language model."""

    masked: bool = Field(False, description="false: sees the past and goes on; true: sees both sides and fills gaps")
    context: int = Field(128, ge=1, description="the most tokens that it sees together")
    layers: int = Field(4, ge=1, description="layers of the encoder")
    hidden: int = Field(512, ge=1, description="features inside each layer's network")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of each sublayer's output that is dropped in training")


class LanguageTraining(TrainingSettings):
    """How the language model is trained."""

    epochs: int = Field(2, ge=1, description="passes over the training text, each cut at other places")
    batch_size: int = Field(1024, ge=1, description="tokens a step, in sequences as long as the context")
    learning_rate: float = Field(3e-3, gt=0, description="of AdamW, at its highest")
    weight_decay: float = Field(0.1, ge=0, description="of matrices; offsets, norms and positions have none")


class Settings(Section):
    """All settings of language-model."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: LanguageTraining = LanguageTraining()


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: str
    validation: str
    held_out: str
    tokenizer: Characters | Subwords
    model: LanguageModel
    started: float

    def checksum(self) -> str:
        """Of both texts: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for text in (self.training, self.validation):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\xff")
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the text and builds the model.

    Args:
        settings: all of them.
        sources: "data" (its last tenth is held out), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit the data, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(sources)
    tokenizer = _tokenizer(settings.data, training)
    count = len(encoded(tokenizer, training))
    if count < settings.model.context:
        raise DataError(
            f"{sources.get('data') or sources['train']}: the training text must have at least {settings.model.context} "
            f"tokens, one context (model.context): got {count}"
        )
    seed_everything(settings.training.seed)
    model = _build(settings, tokenizer.size)
    kind = "masked" if settings.model.masked else "causal"
    console.out(
        f"{len(training):,} characters to train on, {count:,} tokens of {tokenizer.size - SPECIAL:,} kinds; held out: {held_out}\n"
        f"Language model, {kind}, {sum(p.numel() for p in model.parameters()):,} parameters",
        highlight=False,
    )
    return Prepared(settings, training, validation, held_out, tokenizer, model, started)


def train(run: RunFolder, prepared: Prepared, console: Any, *, resume: bool = False) -> dict[str, Any]:
    """Trains into a begun run folder, and gives what goes into metrics.json.

    Args:
        run: the folder.
        prepared: data, model and settings; the model is trained in place.
        console: a rich console that shows the progress.
        resume: go on from the last checkpoint, if there is one.
    """
    from torchmetrics import MetricCollection

    from heedful.training.fit import fit, loader

    settings, model, tokenizer = prepared.settings.training, prepared.model, prepared.tokenizer
    masked, context = model.masked, model.context
    text = begun(encoded(tokenizer, prepared.training), tokenizer)
    held_out = encoded(tokenizer, prepared.validation)
    if masked:
        text = text[1:]
        windows = gaps_of(torch.from_numpy(held_out), hidden_places(len(held_out)), context, tokenizer.mask)
    else:
        windows = next_tokens(begun(held_out, tokenizer), context, context)
    size = max(settings.batch_size // context, 1)
    weights = fit(
        model,
        loss=(lambda model, batch: _masked_loss(model, batch, tokenizer)) if masked else _causal_loss,
        judge=_judge,
        metrics=MetricCollection({}),
        monitor=None,
        training=loader(
            Pieces(text, context if masked else context + 1), Cuts(len(text), context, size, settings.seed)
        ),
        validation=loader(windows, InOrder(len(windows), max(TOGETHER // context, 1))),
        settings=settings,
        folder=run,
        console=console,
        unit="tokens",
        count=lambda batch: len(batch) * context,
        resume=resume,
    )
    model.load_state_dict(weights)
    metrics = {
        "held_out": prepared.held_out,
        "characters": {"training": len(prepared.training), "held out": len(prepared.validation)},
        "tokens": {"kinds": tokenizer.size, "training": len(text), "held out": len(held_out)},
        "parameters": sum(p.numel() for p in model.parameters()),
        **_judged(Writer(model, tokenizer), prepared.settings, prepared.training, prepared.validation),
        "seconds": time.monotonic() - prepared.started,
    }
    run.finish(weights, {}, metrics, tokenizer=tokenizer.save())
    return metrics


def load(run: RunFolder) -> Writer:
    """The trained model of a finished run folder."""
    run.verified()
    settings, weights = read_settings(Settings, run.config()), run.weights()
    try:
        tokenizer = load_tokenizer(run.tokenizer())
        model = _build(settings, tokenizer.size)
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{run.path}: the weights, the settings and the tokens must fit each other: {str(error).splitlines()[0]}"
        ) from None
    return Writer(model, tokenizer)


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on another text, beside baselines learned from the training text in the same run."""
    writer, text = load(run), read_plain(source)
    training, *_ = _read(run.about()["data"])
    settings = read_settings(Settings, run.config())
    on, unknown = f"{len(text):,} characters", writer.unknown(text)
    if unknown:
        share = sum(map(text.count, unknown)) / len(text)
        on += f", of which {100 * share:.1f} % are of {len(unknown):,} kinds that the model does not know"
    return {"on": on, "characters": len(text)} | _judged(writer, settings, training, text)


def predict(
    run: RunFolder,
    chunks: Iterable[Sequence[str]],
    *,
    tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int | None = None,
    seed: int | None = None,
) -> Iterator[Continuation | Filling]:
    """Continuations, or texts whose gaps are filled, in the order of the inputs; the options are those of `Writer.predict`."""
    writer, first = load(run), 0
    for chunk in chunks:
        yield from writer.predict(
            chunk, tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, samples=samples, seed=seed,
            first=first,
        )  # fmt: skip
        first += len(chunk)


def read_inputs(run: RunFolder, source: str) -> Iterator[str]:
    """The prompts, or texts with gaps, of a file: one a line."""
    return (line for _, line in lines(source))


def inspect(run: RunFolder, inputs: Sequence[str]) -> "list[AttentionSection]":
    """Sections of a report, one a text: what each token of a prompt and of its continuation looked at, or each gap."""
    from heedful.tasks.language_view import written_section

    writer = load(run)
    return [written_section(writer, text) for text in inputs]


def _causal_loss(model: nn.Module, batch: Tensor) -> Tensor:
    logits = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


def _masked_loss(model: Any, batch: Tensor, tokenizer: Characters | Subwords) -> Tensor:
    given, asked = hide(batch, tokenizer.mask, tokenizer.size)
    return F.cross_entropy(model.logits(model.features(given)[asked]).float(), batch[asked])


def _judge(model: Any, batch: tuple[Tensor, Tensor]) -> "Judged":
    from heedful.training.fit import Judged

    given, asked = batch
    places = asked != NOT_ASKED
    logits, truth = model.logits(model.features(given)[places]).float(), asked[places]
    loss = F.cross_entropy(logits, truth, reduction="sum") / max(len(truth), 1)
    return Judged(loss, len(truth), logits, truth)


def _judged(writer: Writer, settings: Settings, training: str, text: str) -> dict[str, Any]:
    """The measures on a text, the baselines, and their units."""
    tokenizer, (counted, sides) = writer.tokenizer, _NEIGHBORS[settings.data.tokens]
    learned, ids = encoded(tokenizer, training)[-_COUNTED:], encoded(tokenizer, text)
    if writer.model.masked:
        hidden = hidden_places(len(ids)).numpy()
        characters = len(text) * len(hidden) / len(ids)
        baselines = {
            name: nats_around(learned, ids, hidden, tokenizer.size, count, tokenizer.mask) / characters
            for name, count in (("frequencies", 0), (f"counts of {sides} neighbours on each side", sides))
        }
    else:
        baselines = {
            name: nats_before(learned, ids, tokenizer.size, count) / len(text)
            for name, count in (("frequencies", 0), (f"counts after {counted} tokens (Kneser-Ney)", counted))
        }
    units = {"nats_a_character": "nats", "bits_a_character": "bits", "perplexity": "a token"}
    return {"measures": writer.measures(text), "units": units, "baselines": baselines}


def _read(sources: dict[str, str]) -> tuple[str, str, str]:
    """The training text, the held-out text, and a name for the latter."""
    if "data" not in sources:
        training, validation = read_plain(sources["train"]), read_plain(sources["valid"])
        return training, validation, f"{sources['valid']}, {len(validation):,} characters"
    text = read_plain(sources["data"])
    if len(text) < 10:
        raise DataError(
            f"{sources['data']}: must have at least 10 characters, to hold a tenth out (or give --train and --valid): got {len(text)}"
        )
    cut = len(text) - len(text) // 10
    return text[:cut], text[cut:], f"the last tenth of {sources['data']}, {len(text) - cut:,} characters"


def _tokenizer(settings: DataSettings, text: str) -> Characters | Subwords:
    if settings.tokens == "characters":
        return Characters.fit(text)
    return Subwords.fit(blocks(text), settings.vocabulary)


def _build(settings: Settings, vocabulary: int) -> LanguageModel:
    try:
        model = language_model(vocabulary=vocabulary, **settings.model.model_dump())
        with torch.no_grad():
            model.eval()(
                torch.zeros(1, min(2, model.context), dtype=torch.long)
            )  # some parts check what they get only then
        return model.train()
    except ValueError as error:
        raise SettingsError(f"[model]: {error}") from None
