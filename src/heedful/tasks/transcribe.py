"""transcribe: speech to text.

data         heedful/data/recordings.py: tables, folders, archives, Kaldi, LibriSpeech, Common Voice, tones
model        heedful/models/transcriber.py: convolutions, conformer layers over a window, CTC, a decoder
augmentation tasks/speech_augmentation.py
predict      tasks/hearing.py: words as they are found, of recordings and of streams; tasks/decoding.py: several texts of each
score        tasks/transcribe_scores.py: error rates of words and characters
view         heedful/tasks/views/transcribe.py: what each word attended to
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful.data.batch_types import TokenBatch
from heedful.data.batches import BucketBatches, LengthBatches, ShuffledBatches, padded_tokens
from heedful.data.inputs import InputKind
from heedful.data.log_mel import SHIFT, LogMel
from heedful.data.recordings import Recordings, SoundClip, read_recordings, read_unlabeled_recordings
from heedful.data.sounds import Resampler
from heedful.data.splits import EveryTenth
from heedful.data.text.tokenizers import Characters, Subwords
from heedful.data.text.word_tokens import Tokens, WholeWords, joined_tokens, load_tokens
from heedful.models.conformer import FrameWindow
from heedful.models.ctc import PrefixBeamSearch
from heedful.models.transcriber import Transcriber
from heedful.tasks.contract import TRAINING, Embedded, Reading, Rows, Scores, Task
from heedful.tasks.decoding import decoded
from heedful.tasks.hearing import Hearing, encoded_pieces
from heedful.tasks.raw_samples import samples_of
from heedful.tasks.sound_settings import learned, padded, prepared
from heedful.tasks.speech_augmentation import changed, groups_of, hide, joined, silence
from heedful.tasks.transcribe_scores import baseline_texts, errors_of, scores_of
from heedful.tasks.transcribe_settings import TranscribeOptions, TranscribeSettings, TranscribeVocabulary, window_of
from heedful.tasks.transcripts import SubtitleFormat, Transcript, subtitles
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_FEW_WORDS, _OFTEN = 500, 10  # words that are tokens: at most so many, each so often
_BATCH_FRAMES = 20_000  # of 10 ms that are validated at once
_TONES = (  # settings that suit them: about a minute
    "model.subsampling=4", "model.width=64", "model.layers=3", "model.ffn_width=128",
    "training.epochs=6", "training.batch_size=8", "training.learning_rate=0.004", "training.ema_decay=0.97",
)  # fmt: skip


class Transcribe(Task[Recordings]):
    """Speech to text."""

    name = "transcribe"
    example, unit, input = "recording", "recordings", InputKind.AUDIO
    Settings, Options, Vocabulary = TranscribeSettings, TranscribeOptions, TranscribeVocabulary
    split = EveryTenth()
    embedded = {"tones": Embedded(("train", "valid", "test"), _TONES)}
    formats = {name: partial(subtitles, format=name) for name in get_args(SubtitleFormat)}

    def __init__(self, settings: TranscribeSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.tokenizer = load_tokens(vocabulary["tokenizer"])
        self.features = LogMel(vocabulary["rate"], vocabulary["bands"])
        self.lowercase: bool = settings.data.lowercase

    @classmethod
    def read(cls, source: Any, settings: TranscribeSettings, reading: Reading = TRAINING) -> Recordings:
        data = settings.data
        found = read_recordings(
            source, "text", path=data.path, column=data.text, part=reading.part, labeled=reading.labeled,
            rate=data.rate, skip=data.skip,
        )  # fmt: skip
        return prepared(found, data, reading.vocabulary) if reading.labeled else found

    @classmethod
    def adapt(cls, training: Recordings, settings: TranscribeSettings) -> Mapping[str, Any]:
        words = Counter(word for text in _texts(training, settings) for word in text.split())
        few = len(words) <= _FEW_WORDS and words.total() >= _OFTEN * len(words)
        return {
            "data.tokenizer": "words" if few else "characters",
            "training.epochs": epochs_for(len(training), settings.training, usual=40, steps=2000),
        }

    @classmethod
    def learn(cls, training: Recordings, settings: TranscribeSettings) -> dict[str, Any]:
        texts, kind = _texts(training, settings), settings.data.tokenizer
        if not any(texts):
            raise DataError("its texts must have at least one word: got none")
        tokenizer: Tokens = WholeWords.fit(texts) if kind == "words" else Characters.fit(texts)
        if kind == "subwords":
            tokenizer = Subwords.fit(texts, settings.data.vocabulary_size)
        loudness = np.concatenate([training.features(row).mean(1).numpy() for row in range(len(training))])
        low, high = np.percentile(loudness, (10, 90))
        return learned(training) | {
            "tokenizer": tokenizer.save(), "loud": float(low + high) / 2, "quiet": float(loudness.min()) - 1,
        }  # fmt: skip

    @classmethod
    def extend(cls, training: Recordings, settings: TranscribeSettings, base: "Transcribe") -> dict[str, Any]:
        found, heard = cls.learn(training, settings), ("rate", "bands", "mean", "std", "loud", "quiet")
        for name in heard[:2]:
            if found[name] != base.vocabulary[name]:
                raise DataError(
                    f"must be heard as the run hears, data.{name}={base.vocabulary[name]}: got {found[name]}"
                )
        known = {name: base.vocabulary[name] for name in heard}
        return (
            found
            | known
            | {
                "tokenizer": joined_tokens(
                    base.vocabulary["tokenizer"], found["tokenizer"], frozen=settings.transfer.frozen
                )
            }
        )

    def describe(self) -> str:
        return f"{self.tokenizer.size - 4:,} {self.settings.data.tokenizer}, {self.features.rate:,} samples a second"

    def check(self, examples: Recordings) -> None:
        """Recordings were decoded when they were read; words that are not known are errors of the model."""

    def build(self) -> Transcriber:
        s = self.settings.model
        if not s.decoder_layers and self.settings.search.decoder != "ctc":
            raise ValueError("`search.decoder` must be ctc where `model.decoder_layers` is 0.")
        if s.decoder_layers and not self.settings.loss.ctc_weight and self.settings.search.decoder != "attention":
            raise ValueError("`search.decoder` must be attention where `loss.ctc_weight` is 0.")
        model = Transcriber(
            vocabulary_size=self.tokenizer.size, end=self.tokenizer.end, bands=self.features.bands,
            subsampling=s.subsampling, width=s.width, heads=s.heads, layers=s.layers, ffn_width=s.ffn_width,
            kernel=s.kernel, causal=s.convolution == "causal", decoder_layers=s.decoder_layers, dropout=s.dropout,
        )  # fmt: skip
        model.mean.copy_(torch.tensor(self.vocabulary["mean"]))
        model.std.copy_(torch.tensor(self.vocabulary["std"]))
        return model.train()

    def rows(self) -> Mapping[str, Rows]:
        tokens = Rows("tokens", self.tokenizer.tokens)
        return {"head.weight": tokens, "head.bias": tokens, "decoder.embedding.weight": tokens}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        text = " ".join(text.split())
        tokens: list[int] = self.tokenizer.encode(text.lower() if self.lowercase else text).tolist()
        return tokens

    def batches(self, examples: Recordings, *, training: bool) -> Batches:
        settings, most = self.settings.training, self.settings.data.max_seconds / SHIFT
        assert examples.answers is not None
        tokens = [self.encode(text) for text in examples.answers]
        if not training:
            lengths = [examples.frames(row) for row in range(len(examples))]
            return Batches(
                lambda rows: ([examples.features(row) for row in rows], [tokens[row] for row in rows], rows),
                LengthBatches(lengths, _BATCH_FRAMES),
            )
        kept = [row for row in range(len(examples)) if examples.frames(row) <= most]
        if not kept:
            raise DataError(f"must have a recording of at most {self.settings.data.max_seconds:g} s (data.max_seconds)")
        note = f"{len(examples) - len(kept):,} recordings are left out that are longer than data.max_seconds."
        size = min(int(settings.batch_size), len(kept))
        order: Any = ShuffledBatches(len(kept), size, settings.seed)
        if self.settings.augmentation.join == 1:
            order = BucketBatches([examples.frames(row) for row in kept], size, settings.seed)
        cache = _SampleCache(examples, self.features.rate, self.settings.data.cache_mb * 10**6)
        return Batches(
            lambda rows: ([cache(kept[row]) for row in rows], [tokens[kept[row]] for row in rows]), order,
            note=note if len(kept) < len(examples) else "",
        )  # fmt: skip

    def loss(self, model: Transcriber, batch: Any, optimizer: str) -> Tensor:
        samples, tokens = batch
        settings, rate = self.settings.augmentation, self.features.rate
        random = np.random.default_rng(int(torch.randint(2**62, ())))
        sounds, targets = [], []
        for group in groups_of(len(samples), settings.join, random):
            parts = [samples[row] for row in group]
            whole = joined(parts, rate, settings.pause, random)[0] if settings.join > 1 else parts[0]
            sounds.append(changed(whole, rate, settings, random))
            targets.append([token for row in group for token in tokens[row]])
        if random.random() < settings.silence:
            sounds.append(silence(rate, random))
            targets.append([])
        frames, lengths = padded([self.features(sound) for sound in sounds])
        hide(frames, lengths, model.mean, settings, random)
        window = self.window() if self.settings.model.window == "fixed" else _random_window(self.window(), random)
        return self._loss(model, model.encode(frames, lengths, window), targets, self.settings.loss.label_smoothing)

    def _loss(self, model: Transcriber, encoded: Any, targets: Sequence[Sequence[int]], smoothing: float) -> Tensor:
        share = self.settings.loss.ctc_weight if model.decoder is not None else 1.0
        target = (
            padded_tokens(targets)
            if any(targets)
            else TokenBatch(torch.zeros(len(targets), 1).long(), torch.zeros(len(targets)).long())
        )
        return model.loss(encoded, target, ctc_weight=share, label_smoothing=smoothing)

    def validate(self, model: Transcriber, batch: Any) -> Mapping[str, Mean]:
        features, tokens, _ = batch
        frames, lengths = padded(features)
        encoded = model.encode(frames, lengths, self.window())
        count = sum(map(len, tokens)) + len(tokens)
        rows = model.log_probabilities(encoded.features).double().cpu().numpy()
        outputs = []
        for row, length in zip(rows, encoded.lengths.tolist(), strict=True):
            search = PrefixBeamSearch()
            found = search.push(row[:length]) + search.finish()
            outputs.append(self.tokenizer.decode([one.token for one in found]))
        texts = [self.tokenizer.decode(own) for own in tokens]
        *wrong, words = errors_of(outputs, texts)
        return {
            "loss": Mean(self._loss(model, encoded, tokens, 0.0) * count, count),
            "wer": Mean(torch.tensor(float(sum(wrong))), words),
        }

    def window(self, options: TranscribeOptions | None = None) -> FrameWindow:
        """Of the settings, or of what the options say instead."""
        own, told = self.settings.model, options or TranscribeOptions()
        before, after, chunk = (
            getattr(own, name) if getattr(told, name) is None else getattr(told, name)
            for name in ("before", "after", "chunk")
        )
        return window_of(before, after, chunk)

    def predict(
        self, model: Transcriber, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Transcript]:
        if options.stream:
            raise SettingsError("`stream` must be left out where there are inputs: it reads standard input.")
        found = []
        for recording in self.recordings(inputs):
            pieces = encoded_pieces(model, self.features, recording.blocks(self.features.rate), self.window(options))
            found += decoded(self, model, recording.name, pieces, options)
        return found

    def recordings(self, inputs: Sequence[Any]) -> Iterable[Any]:
        """Of data that were read already, or of paths, folders, streams and samples."""
        if len(inputs) == 1 and isinstance(inputs[0], Recordings):
            return inputs[0].recordings
        if all(isinstance(one, SoundClip) for one in inputs):
            return inputs
        return read_unlabeled_recordings(inputs).recordings

    def hearing(self, model: Transcriber, options: TranscribeOptions) -> Hearing:
        """What finds the words of one recording."""
        search = self.settings.search
        return Hearing(
            model, self.tokenizer, beams=options.beams or search.beams,
            settle=search.settle if options.settle is None else options.settle, loud=self.vocabulary["loud"],
            quiet=self.vocabulary["quiet"],
        )  # fmt: skip

    def listen(self, model: Transcriber, stream: Any, options: TranscribeOptions) -> Iterator[Transcript]:
        """The words of raw samples, each as soon as it is settled."""
        window = self.window(options)
        if not window.streams or not model.encoder.causal:
            raise SettingsError(
                f"a stream needs a window that ends (--before; --after or --chunk) and model.convolution=causal: got {window}."
            )
        if (options.decoder or self.settings.search.decoder) != "ctc" or options.n_best > 1:
            raise SettingsError("a stream is decoded by ctc, to one text: leave out --decoder and --n-best.")
        hearing, change = self.hearing(model, options), Resampler(options.rate, self.features.rate)
        told, errors = "standard input", list[DataError]()
        blocks = _until_error(samples_of(stream, options.encoding, change), errors)
        for piece in encoded_pieces(model, self.features, blocks, window):
            for word in hearing.push(piece):
                yield Transcript(told, word.word, [word], spoken=True)
        for word in hearing.finish():
            yield Transcript(told, word.word, [word], spoken=True)
        if errors:
            raise errors[0]

    def inputs(self, examples: Recordings) -> Sequence[Recordings]:
        return [examples]

    def score(self, predictions: Sequence[Transcript], examples: Recordings) -> Scores:
        assert examples.answers is not None
        return scores_of([one.output for one in predictions if not one.rank], examples.answers, self.lowercase)

    def baselines(self, training: Recordings, examples: Recordings) -> Mapping[str, list[Transcript]]:
        return {
            name: [Transcript(one, text, []) for one, text in zip(examples.names, texts, strict=True)]
            for name, texts in baseline_texts(training, examples).items()
        }

    def expected(self, example: Recordings) -> str:
        assert example.answers is not None
        return example.answers[0]

    def inspect(self, model: Transcriber, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.transcribe import transcribed_section

        return [transcribed_section(self, model, one) for one in self.recordings(inputs)]

    def file(self, prediction: Transcript, options: TranscribeOptions) -> tuple[str, bytes]:
        return f".{options.subtitles}", "".join(
            f"{line}\n" for line in subtitles([prediction], options.subtitles)
        ).encode()


class _SampleCache:
    """Samples of recordings at one rate, kept as far as they fit."""

    def __init__(self, examples: Recordings, rate: int, most: int) -> None:
        self._examples, self._rate, self._left = examples, rate, most
        self._kept: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}

    def __call__(self, row: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        if row in self._kept:
            return self._kept[row]
        samples = self._examples.samples(row, self._rate)
        if samples.nbytes <= self._left:
            self._left -= samples.nbytes
            self._kept[row] = samples
        return samples


def _until_error(blocks: Iterable[Any], errors: list[DataError]) -> Iterator[Any]:
    """The blocks until one cannot be read, so that what was said until then is told before the error."""
    try:
        yield from blocks
    except DataError as error:
        errors.append(error)


def _texts(examples: Recordings, settings: TranscribeSettings) -> list[str]:
    assert examples.answers is not None
    plain = (" ".join(text.split()) for text in examples.answers)
    return [text.lower() if settings.data.lowercase else text for text in plain]


def _random_window(own: FrameWindow, random: np.random.Generator) -> FrameWindow:
    """A window for a training step: the own one, all frames, chunks, or any other, each as often."""
    before = None if random.random() < 0.25 else round(2 ** random.uniform(1, 7))
    return (
        own,
        FrameWindow(),
        FrameWindow(before, 0, round(2 ** random.uniform(1, 5))),
        FrameWindow(before, round(2 ** random.uniform(0, 5)) - 1),
    )[random.integers(4)]
