"""translate: a text for a text.

data         heedful/data/text/pairs.py: two aligned files, TSV, CSV, JSONL; `dates`, embedded: heedful/data/text/dates.py
model        heedful/models/sequence_to_sequence.py: Transformer, or recurrent with attention; beam search: heedful/models/search.py
loss         cross entropy of the next token, smoothed
measure      BLEU and chrF (sacreBLEU), whole texts that are right; the nearest training text's target as a baseline
prediction   the translation, with score and alignment: heedful/tasks/writer_of_texts.py
view         what each token looked at, of the source and of what was written: heedful/tasks/writing_view.py
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heedful._errors import DataError
from heedful.data.text import Pairs, read_pairs, read_sources
from heedful.data.text.dates import dates
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
from heedful.tasks.writer_of_texts import WriterOfTexts, Written, one_line
from heedful.training.run_folder import RunFolder
from heedful.training.settings import read_settings

if TYPE_CHECKING:
    from heedful.report import AttentionSection

_DATES = "dates"


class Settings(WriterTask):
    """All settings of translate."""

    data: DataSettings = DataSettings()
    model: WriterSettings = WriterSettings()
    loss: LossSettings = LossSettings()
    search: SearchSettings = SearchSettings()
    training: WriterTraining = WriterTraining()


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read, built and checked; nothing has been written."""

    settings: Settings
    training: Pairs
    validation: Pairs
    held_out: str
    model: Writing
    started: float

    def checksum(self) -> str:
        """Of the texts: a run is resumed with the data with which it was begun."""
        digest = hashlib.sha256()
        for part in (self.training, self.validation):
            digest.update(repr((part.sources, part.targets)).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def prepare(settings: Settings, sources: dict[str, str], console: Any) -> Prepared:
    """Reads the data and builds the model.

    Args:
        settings: all of them.
        sources: "data" (every tenth pair is held out, 1,000 at most), or "train" and "valid".
        console: a rich console.

    Raises:
        DataError: the data are not what they should be.
        SettingsError: the settings do not fit each other, or this machine.
    """
    from heedful.training.fit import check_training, seed_everything

    started = time.monotonic()
    check_training(settings.training)
    training, validation, held_out = _read(settings.data, sources)
    seed_everything(settings.training.seed)
    model = Writing.of(settings, training, validation)
    left_out = model.training.left_out
    without = f", {left_out:,} more are longer than data.longest" if left_out else ""
    console.out(
        f"{len(model.training):,} pairs to train on{without}; {model.parts.tokenizer.size:,} {settings.data.tokens}; held out: {held_out}\n"
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
    weights, real = model.train(run, console, resume=resume)
    metrics = {
        "held_out": prepared.held_out,
        "pairs": {"training": len(model.training), "held out": len(model.validation)},
        "parameters": model.parameters,
        "real_tokens": real,
        **_measured(model.writer(), prepared.validation),
        "baselines": _baselines(prepared.training, prepared.validation, prepared.settings.data.lowercase),
        "seconds": time.monotonic() - prepared.started,
    }
    run.finish(weights, {"longest": model.longest}, metrics, tokenizer=model.parts.tokenizer.save())
    return metrics


def load(run: RunFolder) -> WriterOfTexts:
    """The trained model of a finished run folder."""
    run.verified()
    return loaded(run, read_settings(Settings, run.config()))


def evaluate(run: RunFolder, source: str) -> dict[str, Any]:
    """Measures a finished run on other pairs, beside a baseline made of the training pairs in the same run."""
    writer, data = load(run), read_settings(Settings, run.config()).data
    pairs = dates("test") if source == _DATES else read_pairs(source, (data.source, data.target))
    training, *_ = _read(data, run.about()["data"])
    return {
        "on": f"{len(pairs):,} pairs",
        "pairs": len(pairs),
        **_measured(writer, pairs),
        "baselines": _baselines(training, pairs, data.lowercase),
    }


def predict(run: RunFolder, chunks: Iterable[Sequence[str]], **manner: Any) -> Iterator[Written]:
    """Translations in the order of the inputs; the options are those of `WriterOfTexts.predict`."""
    writer, first = load(run), 0
    for chunk in chunks:
        yield from writer.predict(chunk, first=first, **manner)
        first += len(chunk)


def read_inputs(run: RunFolder, source: str) -> list[str]:
    """The texts of a file: a text a line, or the column of the run's sources in a table."""
    data = read_settings(Settings, run.config()).data
    return dates("test").sources if source == _DATES else read_sources(source, (data.source, data.target))


def inspect(run: RunFolder, inputs: Sequence[str]) -> "list[AttentionSection]":
    """Sections of a report, one a text: what each token looked at, of the source and of what was written."""
    from heedful.tasks.writing_view import written_section

    writer = load(run)
    for text in inputs:
        if not text.strip():
            raise DataError(f"a text must hold at least one character that is no blank: got {text!r}.")
    return [written_section(writer, text) for text in inputs]


def _read(data: DataSettings, sources: dict[str, str]) -> tuple[Pairs, Pairs, str]:
    """Training pairs, held-out pairs, and a name for the latter."""
    names = columns(data)
    if "data" not in sources:
        pairs = dates("train") if sources["train"] == _DATES else read_pairs(sources["train"], names)
        other = dates("valid") if sources["valid"] == _DATES else read_pairs(sources["valid"], names)
        return pairs, other, f"{sources['valid']}, {len(other):,} pairs"
    source = sources["data"]
    if source == _DATES:
        return dates("train"), dates("valid"), "dates of the training's pairs of language and format"
    pairs = read_pairs(source, names)
    if len(pairs) < 10:
        raise DataError(
            f"{source}: must hold at least 10 pairs, to hold one out (or give --train and --valid): got {len(pairs)}"
        )
    every = max(10, -(-len(pairs) // 1000))
    held_out = range(every - 1, len(pairs), every)
    kept = [row for row in range(len(pairs)) if row % every != every - 1]
    name = f"every {every}th pair of {source}, {len(held_out):,} pairs"
    return pairs.select(kept), pairs.select(held_out), name


def _measured(writer: WriterOfTexts, pairs: Pairs) -> dict[str, Any]:
    """Measures of what is written for the sources, how they were computed, and their units."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    outputs = [written.as_data() for written in writer.predict(pairs.sources)]
    bleu, chrf = BLEU(lowercase=writer.lowercase), CHRF(lowercase=writer.lowercase)
    references = [pairs.targets]

    def shown(text: str) -> str:
        return one_line(text.lower() if writer.lowercase else text)

    right = sum(a == b for a, b in zip(map(shown, outputs), map(shown, pairs.targets), strict=True))
    measures = {
        "bleu": bleu.corpus_score(outputs, references).score,
        "chrf": chrf.corpus_score(outputs, references).score,
        "right": right / len(pairs),
    }
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    return {"measures": measures, "units": {"bleu": "of 100", "chrf": "of 100"}, "signatures": signatures}


def _baselines(training: Pairs, pairs: Pairs, lowercase: bool) -> dict[str, float]:
    from heedful.tasks.baselines import translation_baselines

    return translation_baselines(training, pairs, lowercase=lowercase)
