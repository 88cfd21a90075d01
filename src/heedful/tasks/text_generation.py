"""What translating and summarizing share: settings, batches, and a model that generates one text from another."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful._types import Float
from heedful.data.batch_types import TokenBatch
from heedful.data.batches import LengthBatches, padded_tokens
from heedful.data.text import Characters, ParallelTexts, Subwords, load_tokenizer
from heedful.inspection import watch
from heedful.models.encoders import NormalizerName, ScoreName
from heedful.models.search import Hypothesis, beam_search, sample
from heedful.models.sequence_to_sequence import SequenceToSequence, sequence_to_sequence
from heedful.ops import AttentionMatrix
from heedful.tasks.contract import Task
from heedful.tasks.encoder_settings import EncoderSettings
from heedful.tasks.sampling_options import SamplingOptions
from heedful.tasks.vocabularies import extended
from heedful.training.objective import Batches, Mean
from heedful.training.schema import Schema
from heedful.training.settings import (
    LossSettings,
    RowSettings,
    Section,
    TaskSettings,
    TrainingSettings,
    defaults,
    epochs_for,
    follows_data,
)

_MAX_TOKENS = 8192  # source tokens, once for each beam, that are computed together
_MAX_LENGTH = 100_000  # tokens of a text that may be learned from
_FEW = 5_000_000  # characters
_STEPS = 1500  # that few data need
_BYTES = 4  # a subword has about so many
_CUT_OFF, _END = " [cut off]", "[END]"
_SEARCHING, _DRAWING = {"beams", "n_best", "length_penalty"}, {"temperature", "top_k", "top_p", "seed"}


class ParallelData(RowSettings):
    """Which texts, and how they are cut into tokens."""

    source: str | int = Field(
        "source",
        description="the column of the source texts: a name, or a number from 1; of two files the end of the first name",
    )
    target: str | int = Field(
        "target", description="the column of the target texts; of two files the end of the second name"
    )
    tokenizer: Literal["subwords", "characters"] = Field(
        "subwords", description="what texts are cut into, on both sides"
    )
    vocabulary_size: int = follows_data(ge=300, description="subwords: how many are learned from both sides together")
    lowercase: bool = Field(False, description="whether all is read and written in lower case")
    max_length: int = Field(
        256, ge=1, le=_MAX_LENGTH, description="pairs with a side of more tokens are left out of the training"
    )


@defaults(layers=4)
class TransformerGenerator(EncoderSettings):
    """Encoder and decoder of attention alone."""

    dropout: float = follows_data(ge=0, lt=1, description="dropout of each sublayer's output")
    architecture: Literal["transformer"] = Field("transformer", description="encoder and decoder")
    pointer: bool = Field(False, description="whether tokens can be copied from the source (pointer-generator)")
    max_positions: int = Field(1024, ge=1, description="the most positions that learned ones know")


class RecurrentGenerator(Section):
    """A recurrent encoder and decoder with attention between them."""

    suits = {"training": {"epochs": 20, "batch_size": 2048, "learning_rate": 5e-3, "ema_decay": 0.998}}
    architecture: Literal["recurrent"] = Field("recurrent", description="encoder and decoder")
    width: int = Field(192, ge=1, description="features of a token")
    layers: int = Field(1, ge=1, description="layers of the encoder, and of the decoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of each layer's output")
    score: ScoreName | Literal["none"] = Field(
        "additive", description="how relevant a key is to a query; none: no attention"
    )
    normalize: NormalizerName = Field("softmax", description="what turns scores into weights")
    pointer: bool = Field(False, description="whether tokens can be copied from the source (pointer-generator)")


Generator = Annotated[TransformerGenerator | RecurrentGenerator, Field(discriminator="architecture")]


class SearchSettings(Section):
    """How texts are generated."""

    beams: int = Field(5, ge=1, le=1000, description="hypotheses that the beam search keeps; 1: greedy")
    length_penalty: float = Field(1.0, ge=0, description="0 prefers short texts, 1 takes nearly the mean over tokens")
    no_repeat_ngram: int = Field(
        0, ge=0, description="no sequence of this many tokens occurs twice in a text; 0: all may"
    )


@defaults(label_smoothing=0.1)
class GenerationLoss(LossSettings):
    """What is minimized."""


@defaults(learning_rate=3e-3, beta2=0.98, ema_decay=0.99)
class GenerationTraining(TrainingSettings):
    """How the model is trained."""

    batch_size: int = follows_data(
        4096,
        ge=1,
        description="tokens a step, of the longer side, padding included; auto: what is fastest on this machine",
    )


class GenerationSettings(TaskSettings):
    """The settings of a model that generates texts from texts."""

    data: ParallelData = ParallelData()
    model: Generator = TransformerGenerator()
    loss: GenerationLoss = GenerationLoss()
    search: SearchSettings = SearchSettings()
    training: GenerationTraining = GenerationTraining()


class GenerationVocabulary(Schema):
    """What the weights know by number, and how many tokens the longest target of the training has."""

    tokenizer: str
    max_target_length: int = Field(ge=0, le=_MAX_LENGTH)


class GenerationOptions(SamplingOptions):
    """How texts are generated: by beam search, with the settings of the run, or sampled."""

    beams: int | None = Field(None, ge=1, le=1000, description="hypotheses that the beam search keeps; 1: greedy")
    n_best: int = Field(1, ge=1, le=1000, description="how many texts for each input, the best first")
    length_penalty: float | None = Field(
        None, ge=0, description="0 prefers short texts, 1 takes nearly the mean over tokens"
    )
    no_repeat_ngram: int | None = Field(
        None, ge=0, description="no sequence of this many tokens occurs twice; 0: all may"
    )
    scores: bool = Field(False, description="behind a tab, the log probability of each text for its length")
    alignment: bool = Field(
        False, description="behind a tab, pairs of words as in 0-0 1-2: of the input, and of the output"
    )


@dataclass(frozen=True)
class Generated:
    """What a model generated from one text; from an empty one nothing.

    Attributes:
        input: the source.
        output: what was generated.
        rank: 0 is the best of several, or the first sample.
        score: by which they are ranked: the log probability for its length, nat.
        finished: whether it ended by itself; otherwise the limit of tokens cut it off.
        alignment: pairs (word of the input, word of the output), counted from 0, where they were asked for.
        unknown: characters of the input that the model does not know.
        scored: whether the printed line shows the score.
    """

    input: str
    output: str
    rank: int = 0
    score: float = 0.0
    finished: bool = True
    alignment: list[tuple[int, int]] | None = None
    unknown: str = ""
    scored: bool = field(default=False, metadata={"json": False})

    def to_format(self) -> str:
        """A line of the file of targets."""
        return one_line(self.output)

    def __str__(self) -> str:
        """One line: the text, and behind tabs the score and the alignment, where they were asked for."""
        parts = [self.to_format() + ("" if self.finished else _CUT_OFF)]
        if self.scored:
            parts.append(f"{self.score:.4f}")
        if self.alignment is not None:
            parts.append(" ".join(f"{i}-{j}" for i, j in self.alignment))
        return "\t".join(parts)


def learn_tokenizer(data: Any, texts: Iterable[str]) -> Characters | Subwords:
    """A tokenizer of texts, of both sides; `data` has `tokenizer`, `vocabulary_size` and `lowercase`."""
    plain = (text.lower() if data.lowercase else text for text in texts)
    return Characters.fit(plain) if data.tokenizer == "characters" else Subwords.fit(plain, data.vocabulary_size)


def check_columns(data: ParallelData) -> tuple[str | int, str | int]:
    """The names of both sides. Raises SettingsError where they are one and the same."""
    if data.source == data.target:
        raise SettingsError(f"`data.target`: must be another one than data.source: got {data.target!r} for both.")
    return data.source, data.target


class SearchGroup(NamedTuple):
    """Sources that are computed together: their numbers, a batch as the model takes it, and the most tokens of each target."""

    rows: list[int]
    batch: Any
    limits: list[int]


class TextGenerator:
    """All that a task needs to train a model that generates one text from another, and to generate texts.

    Args:
        settings: with the sections data, model, search, loss and training.
        vocabulary: "tokenizer", its text; "max_target_length", tokens of the longest training target.
    """

    def __init__(self, settings: Any, vocabulary: Mapping[str, Any]) -> None:
        self.settings = settings
        self.tokenizer = load_tokenizer(vocabulary["tokenizer"])
        self.max_target_length: int = vocabulary["max_target_length"]
        model = settings.model
        learned = model.architecture == "transformer" and model.positions == "learned"
        self.max_positions: int | None = model.max_positions if learned else None
        self.lowercase: bool = settings.data.lowercase

    @staticmethod
    def adapt(settings: Any, pairs: ParallelTexts, *, usual: int) -> dict[str, Any]:
        """The settings that are "auto": the fewer the texts, the fewer subwords, the more dropout and epochs; `usual` of many."""
        texts = (*pairs.sources, *pairs.targets)
        characters = sum(map(len, texts))
        subwords = settings.data.tokenizer == "subwords"
        longer = sum(max(len(a.encode()), len(b.encode())) for a, b in zip(pairs.sources, pairs.targets, strict=True))
        tokens = round(longer / _BYTES) if subwords else longer
        return {
            "data.vocabulary_size": int(min(max(round(2 * math.sqrt(characters), -2), 500), 8000)),
            "model.dropout": 0.3 if characters < _FEW else 0.2,
            "training.epochs": epochs_for(tokens, settings.training, usual=usual, steps=_STEPS),
        }

    @staticmethod
    def learn(
        data: ParallelData, pairs: ParallelTexts, tokenizer: Characters | Subwords | None = None
    ) -> dict[str, Any]:
        """The vocabulary of training pairs, or what else a known tokenizer needs. Raises DataError where each of them is too long."""
        tokenizer = tokenizer or learn_tokenizer(data, (*pairs.sources, *pairs.targets))
        lengths = _Pairs.lengths_of(tokenizer, pairs, data.lowercase)
        targets = [target - 1 for source, target in lengths if max(source, target) <= data.max_length + 1]
        if not targets:
            raise DataError(
                f"at least one pair must have at most {data.max_length} tokens a side (data.max_length): got {len(pairs):,} that have more"
            )
        return {"tokenizer": tokenizer.save(), "max_target_length": max(targets)}

    @staticmethod
    def extend(settings: Any, pairs: ParallelTexts, base: Task[Any]) -> dict[str, Any]:
        """The vocabulary of training pairs, with the tokens that a run knows."""
        learned = TextGenerator.learn(settings.data, pairs)
        whole = TextGenerator.learn(
            settings.data, pairs, load_tokenizer(extended(learned, settings, base)["tokenizer"])
        )
        known: int = base.vocabulary["max_target_length"]
        return whole | {"max_target_length": max(known, whole["max_target_length"])}

    def describe(self) -> str:
        """The vocabulary in a few words."""
        return f"{self.tokenizer.size:,} {self.settings.data.tokenizer}"

    def check(self, pairs: ParallelTexts) -> None:
        """Raises DataError for a text that the model has no positions for."""
        _Pairs(self, pairs, None)

    def build(self) -> SequenceToSequence:
        """A new model."""
        model = sequence_to_sequence(
            vocabulary_size=self.tokenizer.size, end=self.tokenizer.end, **self.settings.model.model_dump()
        )
        with torch.no_grad():  # some parts check what they get only then
            model.eval()(padded_tokens([[self.tokenizer.end]]), torch.tensor([[self.tokenizer.end]]))
        return model.train()

    def batches(self, pairs: ParallelTexts, *, training: bool) -> Batches:
        """The pairs as batches of source and target."""
        settings, longest = self.settings.training, self.settings.data.max_length
        data = _Pairs(self, pairs, longest if training else None)
        order = LengthBatches(data.lengths, int(settings.batch_size), settings.seed if training else None)
        left_out = len(pairs) - len(data)
        note = f"{left_out:,} pairs are left out that are longer than data.max_length = {longest}." if left_out else ""
        return Batches(data.batch, order, lambda batch: _count(batch[1]), note)

    def loss(self, model: SequenceToSequence, batch: Any) -> Tensor:
        """The cross entropy of the next target token."""
        source, target = batch
        return model.loss(source, target, self.settings.loss.label_smoothing)

    def validate(self, model: SequenceToSequence, batch: Any) -> dict[str, Mean]:
        """Its sum, without smoothing."""
        count = _count(batch[1])
        return {"loss": Mean(model.loss(*batch) * count, count)}

    def predict(
        self,
        model: SequenceToSequence,
        sources: Sequence[Any],
        options: GenerationOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[Generated]:
        """What is generated from each source; `n_best` or `num_samples` of each, one after the other."""
        generated = []
        for source, hypotheses in zip(sources, self.search(model, sources, options, numbers), strict=True):
            text, unknown = self.named(source), self.unknown(source)
            for rank in range(options.num_samples or options.n_best):
                if rank >= len(hypotheses):  # an empty text, or fewer targets than were asked for
                    generated.append(Generated(text, "", rank, unknown=unknown))
                    continue
                one = hypotheses[rank]
                pairs = self.alignment(model, source, one.tokens) if options.alignment else None
                output = self.tokenizer.decode(one.tokens)
                generated.append(Generated(text, output, rank, one.score, one.finished, pairs, unknown, options.scores))
        return generated

    def search(
        self,
        model: SequenceToSequence,
        sources: Sequence[Any],
        options: GenerationOptions,
        numbers: Sequence[int] | None = None,
    ) -> list[list[Hypothesis]]:
        """The targets of each source, none for an empty text."""
        samples, run = options.num_samples, self.settings.search
        for name in sorted((_SEARCHING if samples else _DRAWING) & options.model_fields_set):
            where = "texts are drawn" if samples else "no texts are drawn (`num_samples`)"
            raise SettingsError(f"`{name}` must be left out where {where}: got {getattr(options, name)}.")
        beams = max(options.beams or run.beams, options.n_best)
        penalty = run.length_penalty if options.length_penalty is None else options.length_penalty
        no_repeat = run.no_repeat_ngram if options.no_repeat_ngram is None else options.no_repeat_ngram
        hypotheses: list[list[Hypothesis]] = [[] for _ in sources]
        suppress = [token for token in range(4) if token != self.tokenizer.end]
        for rows, batch, limits in self.groups(sources, samples or beams, options.max_new_tokens):
            if samples:
                outputs = sample(
                    model, batch, limits, num_samples=samples, temperature=options.temperature, top_k=options.top_k,
                    top_p=options.top_p, no_repeat_ngram=no_repeat, seed=options.seed,
                    numbers=[i if numbers is None else numbers[i] for i in rows], suppress=suppress,
                )  # fmt: skip
            else:
                outputs = beam_search(
                    model,
                    batch,
                    limits,
                    beams=beams,
                    length_penalty=penalty,
                    no_repeat_ngram=no_repeat,
                    suppress=suppress,
                )
            for i, some in zip(rows, outputs, strict=True):
                hypotheses[i] = some
        return hypotheses

    def groups(self, sources: Sequence[Any], beams: int, tokens: int | None) -> Iterator[SearchGroup]:
        """Sources that are computed together: texts of one length, but empty ones."""
        filled = [i for i, text in enumerate(sources) if text.strip()]
        encoded = [self.encode(sources[i]) for i in filled]
        lengths = [len(source) for source in encoded]
        for rows in LengthBatches(lengths, max(_MAX_TOKENS // beams, 1)) if filled else ():
            limits = [self._limit(lengths[i], tokens) for i in rows]
            yield SearchGroup([filled[i] for i in rows], self.batch([encoded[i] for i in rows]), limits)

    def named(self, source: Any) -> str:
        """What a prediction calls its source: the text itself."""
        text: str = source
        return text

    def batch(self, encoded: Sequence[Any]) -> Any:
        """Sources that are encoded, as a model takes them."""
        return padded_tokens(encoded)

    def columns(self, source: Any) -> list[int]:
        """The word of each token of a source, -1 for none."""
        return words_of(self.source_tokens(source)[:-1])

    def encode(self, text: Any) -> Any:
        """The tokens of a source; its end is one of them."""
        ids = self.tokenizer.encode(self.plain(text)).tolist()
        if self.max_positions is not None and len(ids) >= self.max_positions:
            raise DataError(
                f"a text must have at most {self.max_positions - 1:,} tokens (model.max_positions): got {len(ids):,}, {shortened(text)!r}"
            )
        return [*ids, self.tokenizer.end]

    def plain(self, text: str) -> str:
        """A source as the model reads it: words between single blanks."""
        text = " ".join(text.split())
        return text.lower() if self.lowercase else text

    def unknown(self, text: Any) -> str:
        """The characters of a text that the model does not know, each once."""
        if not isinstance(self.tokenizer, Characters):
            return ""
        return "".join(sorted(set(self.plain(text)) - set(self.tokenizer.alphabet)))

    def alignment(self, model: SequenceToSequence, source: Any, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Pairs (word of the source, word of the target): each word of the target with the one it attends to most.

        Words stand between blanks. Heads of one layer are averaged: of a Transformer the last but one, since the last one
        attends to where the next token is predicted rather than to its source (Garg et al. 2019); a model without attention has none.
        """
        weights = self.cross_attention(model, self.encode(source), tokens)
        if weights is None or not tokens:
            return []
        columns, rows = self.columns(source), words_of(self.target_tokens(tokens))
        row, column = torch.tensor(rows), torch.tensor(columns)
        weights = weights[: len(rows), : len(columns)][row >= 0][:, column >= 0].float()
        by_word = weights.new_zeros(max(rows) + 1, weights.shape[1]).index_add_(0, row[row >= 0], weights)
        sums = by_word.new_zeros(len(by_word), max(columns) + 1).index_add_(1, column[column >= 0], by_word)
        return [(int(best), word) for word, best in enumerate(sums.argmax(1).tolist())]

    def cross_attention(
        self, model: SequenceToSequence, source: Any, target: Sequence[int]
    ) -> Float[Tensor, "N M"] | None:
        """How much each token of a target, and its end, attends to each token of an encoded source; None without attention."""
        with torch.inference_mode(), watch(model) as recording:
            model(self.batch([source]), torch.tensor([[model.end, *target]]))
        calls: dict[str, list[AttentionMatrix]] = {}
        for call in recording:
            if call.module == "attention" or call.module.endswith("cross_attention"):
                calls.setdefault(call.module, []).append(call.matrix)
        if not calls:
            return None
        chosen = list(calls.values())[max(len(calls) - 2, 0)]  # with input feeding a call for each token
        return torch.cat([matrix.dense()[0].mean(0) for matrix in chosen])

    def source_tokens(self, text: str) -> list[str]:
        """What each token of a source shows as, also one that the model does not know."""
        return [*self.tokenizer.tokenize(self.plain(text)), _END]

    def axis(self, text: Any) -> Any:
        """A source as a report shows it."""
        from heedful.report import Text

        shown, tokens = self.source_tokens(text), self.encode(text)
        special = [i for i, token in enumerate(tokens) if token in (self.tokenizer.unknown, self.tokenizer.end)]
        return Text(shown, words=words_of(shown), special=special, name="source")

    def target_tokens(self, tokens: Sequence[int]) -> list[str]:
        """What each token of a target shows as."""
        return [self.tokenizer.decode([token]) or _END for token in tokens]

    def _limit(self, length: int, tokens: int | None) -> int:
        limit = tokens or 2 * max(self.max_target_length, length)
        return limit if self.max_positions is None else min(limit, self.max_positions - 1)


class _Pairs:
    """Pairs of texts as tokens, taken a whole batch at a time; those with a side of more than `max_length` are left out."""

    def __init__(self, generator: TextGenerator, pairs: ParallelTexts, max_length: int | None) -> None:
        tokenizer, end, most = generator.tokenizer, generator.tokenizer.end, generator.max_positions
        sources, targets = self._encoded(tokenizer, pairs, generator.lowercase)
        lengths = self._lengths(sources, targets)
        kept = [i for i, sizes in enumerate(lengths) if max_length is None or max(sizes) <= max_length + 1]
        for i in kept:
            if most is not None and max(lengths[i]) > most:
                raise DataError(
                    f"{pairs.locations[i]}: a text must have at most {most - 1:,} tokens (model.max_positions): got {max(lengths[i]) - 1:,}"
                )
        self.sources, self.targets = [[*sources[i].tolist(), end] for i in kept], [targets[i].tolist() for i in kept]
        self.lengths = [lengths[i] for i in kept]

    def __len__(self) -> int:
        return len(self.sources)

    def batch(self, indices: list[int]) -> tuple[TokenBatch, TokenBatch]:
        return padded_tokens([self.sources[i] for i in indices]), padded_tokens([self.targets[i] for i in indices])

    @classmethod
    def lengths_of(cls, tokenizer: Any, pairs: ParallelTexts, lowercase: bool) -> list[tuple[int, int]]:
        """Tokens of both sides, each with its end."""
        return cls._lengths(*cls._encoded(tokenizer, pairs, lowercase))

    @staticmethod
    def _lengths(sources: Sequence[Any], targets: Sequence[Any]) -> list[tuple[int, int]]:
        return [(len(source) + 1, len(target) + 1) for source, target in zip(sources, targets, strict=True)]

    @staticmethod
    def _encoded(tokenizer: Any, pairs: ParallelTexts, lowercase: bool) -> tuple[list[Any], list[Any]]:
        sources = [" ".join(text.split()) for text in pairs.sources]
        sides = ([text.lower() for text in side] if lowercase else side for side in (sources, pairs.targets))
        first, second = (tokenizer.encode_batch(side) for side in sides)
        return first, second


def _count(target: Any) -> int:
    """Tokens of targets, each with its end."""
    return int(target.lengths.sum()) + len(target.lengths)


def one_line(text: str) -> str:
    """A text without what ends a line or a column; other blanks stay what they are, such as those that do not break."""
    return re.sub(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+", " ", text).strip(" ")


def words_of(tokens: Sequence[str]) -> list[int]:
    """The index of the word of each token: a new word begins after a blank, which belongs to no word itself."""
    words, word, between = [], -1, True
    for token in tokens:
        if not token.strip():
            words.append(-1)
            between = True
            continue
        word += between or token[0].isspace()
        between = token[-1].isspace()
        words.append(word)
    return words


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= 40 else line[:39] + "…"
