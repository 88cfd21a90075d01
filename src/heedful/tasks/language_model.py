"""language-model: continues a text, or fills its gaps.

data         heedful/data/text/plain.py: plain text, as characters or subwords; heedful/tasks/lm_batches.py
model        heedful/models/language_model.py
loss         cross entropy of the next token; masked: of 15 % of the tokens
metrics      nats and bits per character over the whole text, perplexity; masked: accuracy
view         heedful/tasks/views/language.py: what each token attends to
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._errors import DataError, SettingsError
from heedful.data.batches import SequentialBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import LastTenth
from heedful.data.text import Characters, Subwords, load_tokenizer
from heedful.data.text.labeled import LabeledTexts
from heedful.data.text.plain import PlainText, read_lines, read_plain
from heedful.models import LanguageModel, fill_masks, generate, language_model
from heedful.tasks.contract import TRAINING, Metric, Reading, Rows, Scores, Shortcut, Task
from heedful.tasks.forward_pass import ForwardPass, Operand, running_text
from heedful.tasks.language_predictions import Continuation, FilledText, TextLikelihood
from heedful.tasks.language_settings import LanguageSettings, LanguageVocabulary
from heedful.tasks.lm_batches import (
    IGNORED,
    SPECIAL,
    EvalWindows,
    RandomWindows,
    TextWindows,
    blocks,
    encode,
    mask_tokens,
    masked_positions,
    masked_tokens,
    next_tokens,
    with_bos,
)
from heedful.tasks.ngrams import nats_around, nats_before
from heedful.tasks.sampling_options import SamplingOptions
from heedful.tasks.vocabularies import extended, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_PIECE = 200  # characters of a text that are told apart in an error analysis
_MAX_TOKENS = 16_384  # tokens that are computed together
_NEW_TOKENS = 200  # by default
_ROUNDS = 8  # in which gaps are filled, the most probable first
_COUNTED = 5_000_000  # tokens of the training text that the baselines count: its last ones
_NEIGHBORS = {"characters": (5, 3), "subwords": (2, 1)}  # that the baselines count: before a token; on each side


class ModelLanguage(Task[Any]):
    """Continues a text, or fills its gaps."""

    name = "language-model"
    example, unit, input = "character", "tokens", InputKind.TEXT
    Settings, Options, Vocabulary = LanguageSettings, SamplingOptions, LanguageVocabulary
    split = LastTenth()
    GAP = "[MASK]"  # how a gap is written
    shortcuts = {"masked": Shortcut("model.objective=masked", "a language model that fills gaps")}

    def __init__(self, settings: LanguageSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.tokenizer = load_tokenizer(vocabulary["tokenizer"])
        self.masked, self.context = settings.model.objective == "masked", settings.model.context_length

    @classmethod
    def read(cls, source: Any, settings: LanguageSettings, reading: Reading = TRAINING) -> PlainText | LabeledTexts:
        """A whole text; unlabeled, the prompts or texts with gaps of a file: one a line."""
        if reading.labeled:
            return read_plain(source)
        return read_lines(source)

    @classmethod
    def adapt(cls, training: PlainText, settings: LanguageSettings) -> Mapping[str, Any]:
        characters = len(training.text)
        tokens = characters if settings.data.tokenizer == "characters" else characters // 4
        epochs = epochs_for(tokens, settings.training, usual=2, steps=1500)
        return {"training.epochs": epochs, "model.dropout": 0.2 if epochs > 4 else 0.0}

    @classmethod
    def learn(cls, training: PlainText, settings: LanguageSettings) -> dict[str, Any]:
        tokenizer: Characters | Subwords = (
            Characters.fit(training.text) if settings.data.tokenizer == "characters"
            else Subwords.fit(blocks(training.text), settings.data.vocabulary_size)
        )  # fmt: skip
        count, context = len(encode(tokenizer, training.text)), settings.model.context_length
        if count < context:
            raise DataError(
                f"the training text must have at least {context} tokens (model.context_length): got {count}"
            )
        return {"tokenizer": tokenizer.save()}

    @classmethod
    def extend(cls, training: PlainText, settings: LanguageSettings, base: Self) -> dict[str, Any]:
        return extended(cls.learn(training, settings), settings, base)

    def describe(self) -> str:
        return f"{self.tokenizer.size - SPECIAL:,} {self.settings.data.tokenizer}, {self.settings.model.objective}"

    def check(self, examples: PlainText) -> None:
        """Nothing: any text is cut into tokens, and into windows."""

    def build(self) -> LanguageModel:
        model = language_model(vocabulary_size=self.tokenizer.size, **self.settings.model.model_dump())
        with torch.no_grad():  # some parts check what they get only then
            model.eval()(torch.zeros(1, min(2, self.context), dtype=torch.long))
        return model.train()

    def rows(self) -> Mapping[str, Rows]:
        return token_rows(self.tokenizer)

    def batches(self, examples: PlainText, *, training: bool) -> Batches:
        ids, context = encode(self.tokenizer, examples.text), self.context
        if not training:
            windows = self._windows(ids, context)
            order = SequentialBatches(len(windows), max(_MAX_TOKENS // context, 1))
            return Batches(windows.__getitem__, order, lambda batch: batch[0].numel())
        text = torch.from_numpy(ids) if self.masked else with_bos(ids, self.tokenizer)
        settings = self.settings.training
        size = max(int(settings.batch_size) // context, 1)
        length = context if self.masked else context + 1
        starts = RandomWindows(len(text), context, size, settings.seed)
        return Batches(TextWindows(text, length).__getitem__, starts, lambda batch: len(batch) * context)

    def loss(self, model: Any, batch: Tensor, optimizer: str) -> Tensor:
        if not self.masked:
            logits = model(batch[:, :-1])
            return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
        tokens, targets = mask_tokens(batch, self.tokenizer.mask, self.tokenizer.size)
        return F.cross_entropy(model.logits(model.features(tokens)[targets]).float(), batch[targets])

    def validate(self, model: Any, batch: tuple[Tensor, Tensor]) -> Mapping[str, Mean]:
        logits, truth = _at_targets(model, batch)
        return {"loss": Mean(F.cross_entropy(logits, truth, reduction="sum"), len(truth))}

    def predict(
        self, model: Any, inputs: Sequence[Any], options: SamplingOptions, numbers: Sequence[int] | None = None
    ) -> list[Any]:
        """Continuations, or texts whose gaps, written `[MASK]`, are filled; of a whole text of the data its likelihood."""
        if any(isinstance(one, PlainText) for one in inputs):
            return [self.likelihood(model, one) for one in inputs]
        if not self.masked:
            return self._continued(model, inputs, options, numbers or range(len(inputs)))
        for name in sorted(options.model_fields_set):
            raise SettingsError(
                f"`{name}` is for a model that continues a text: got {getattr(options, name)} for a masked one."
            )
        return [self._filled(model, text) for text in inputs]

    @torch.inference_mode()
    def likelihood(self, model: Any, text: PlainText) -> TextLikelihood:
        """The surprisal of each token, with at least half a context before it."""
        windows = self._windows(encode(self.tokenizer, text.text), self.context - self.context // 2)
        nats, right = [], 0
        for logits, truth in _predicted(model, windows, self.context):
            nats.append(F.cross_entropy(logits, truth, reduction="none"))
            right += int((logits.argmax(-1) == truth).sum())
        whole = torch.cat(nats).numpy()
        return TextLikelihood(text.text[:80], whole, right / len(whole) if self.masked else None)

    def forward_pass(self) -> ForwardPass:
        of = "at the position" if self.masked else "behind it"
        return ForwardPass(
            running_text(), lambda model, batch: model(batch), "logits",
            Operand(("batch", "length", self.tokenizer.size), f"of each token {of}"),
            notes=(f"It takes at most {self.context:,} tokens.",),
        )  # fmt: skip

    def inputs(self, examples: PlainText | LabeledTexts) -> Sequence[Any]:
        return [examples] if isinstance(examples, PlainText) else examples.texts

    def score(self, predictions: Sequence[TextLikelihood], examples: PlainText) -> Scores:
        (prediction,), text = predictions, examples.text
        ids = encode(self.tokenizer, text)
        nats = float(prediction.nats.sum()) / (len(text) * len(prediction.nats) / len(ids))  # per character
        metrics = {"nats_per_character": Metric(nats, "nats"), "bits_per_character": Metric(nats / math.log(2), "bits")}
        if self.masked:
            metrics |= {} if prediction.accuracy is None else {"accuracy": Metric(prediction.accuracy)}
        else:
            metrics["perplexity"] = Metric(math.exp(min(float(prediction.nats.mean()), 700.0)), "per token")
        note, unknown = "", self.unknown(text)
        if unknown:
            share = sum(map(text.count, unknown)) / len(text)
            note = f"{100 * share:.1f} % of the characters are of {len(unknown):,} kinds that the model does not know."
        return Scores(metrics, {"tokens": len(ids)}, note)

    def baselines(self, training: PlainText, examples: PlainText) -> Mapping[str, list[TextLikelihood]]:
        learned, ids = (encode(self.tokenizer, part.text) for part in (training, examples))
        learned, size = learned[-_COUNTED:], self.tokenizer.size
        counted, sides = _NEIGHBORS[self.settings.data.tokenizer]
        if self.masked:
            masked, mask = masked_positions(len(ids)).numpy(), self.tokenizer.mask
            counts = {"unigram": 0, f"{sides} neighbors on each side, Kneser-Ney": sides}
            nats = {name: nats_around(learned, ids, masked, size, count, mask) for name, count in counts.items()}
        else:
            counts = {"unigram": 0, f"{counted + 1}-gram Kneser-Ney": counted}
            nats = {name: nats_before(learned, ids, size, count) for name, count in counts.items()}
        return {name: [TextLikelihood(examples.text[:80], of)] for name, of in nats.items()}

    def alone(self, examples: PlainText, most: int) -> list[tuple[PlainText, str]]:
        """Pieces of the text, evenly spaced."""
        count = len(examples)
        starts = range(0, max(count - _PIECE, 0) + 1, max(_PIECE, -(-count // most)))
        pieces = [examples.select(range(start, min(start + _PIECE, count))) for start in starts]
        return [(piece, piece.text) for piece in pieces if piece.text.strip()]

    def inspect(self, model: Any, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.language import language_section

        return [language_section(self, model, text) for text in inputs]

    def generate(
        self, model: Any, prompts: Sequence[Sequence[int]], options: SamplingOptions, draws: Sequence[int]
    ) -> list[list[int]]:
        """The continuations of prompts by a causal model; each is sampled by its own number."""
        return generate(
            model, prompts, options.max_new_tokens or _NEW_TOKENS, temperature=options.temperature, top_k=options.top_k,
            top_p=options.top_p, seed=options.seed, numbers=draws, suppress=range(SPECIAL),
        )  # fmt: skip

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of a text, and the positions of its gaps among them; only a masked model has any."""
        ids: list[int] = []
        for number, part in enumerate(text.split(self.GAP) if self.masked else [text]):
            ids += [self.tokenizer.mask] * (number > 0) + self.tokenizer.encode(part).tolist()
        return ids, [position for position, token in enumerate(ids) if token == self.tokenizer.mask]

    def unknown(self, text: str) -> str:
        """The characters that the model does not know, each once."""
        known = self.tokenizer.alphabet if isinstance(self.tokenizer, Characters) else text
        return "".join(sorted(set(text) - set(known)))

    def _continued(
        self, model: Any, texts: Sequence[str], options: SamplingOptions, numbers: Sequence[int]
    ) -> list[Continuation]:
        prompts, samples = [self.tokenizer.encode(text).tolist() for text in texts], options.num_samples or 1
        drawn = [(i, sample) for i, prompt in enumerate(prompts) for sample in range(samples) if prompt]
        draws = [numbers[i] * samples + sample for i, sample in drawn]
        outputs = self.generate(model, [prompts[i] for i, _ in drawn], options, draws)
        decoded = {which: self.tokenizer.decode(ids) for which, ids in zip(drawn, outputs, strict=True)}
        return [
            Continuation(text, decoded.get((i, sample), ""), sample, self.unknown(text))
            for i, text in enumerate(texts)
            for sample in range(samples)
        ]

    def _filled(self, model: Any, text: str) -> FilledText:
        filled = fill_masks(model, self.encode(text)[0], self.tokenizer.mask, rounds=_ROUNDS, suppress=range(SPECIAL))
        fills = [self.tokenizer.decode([filled.ids[position]]) for position in filled.positions]
        parts = text.split(self.GAP)
        whole = "".join(part for both in zip(parts, [*fills, ""], strict=True) for part in both)
        return FilledText(text, whole, fills, filled.probabilities, self.unknown("".join(parts)))

    def _windows(self, ids: Any, stride: int) -> EvalWindows:
        if not self.masked:
            return next_tokens(with_bos(ids, self.tokenizer), self.context, stride)
        return masked_tokens(torch.from_numpy(ids), masked_positions(len(ids)), self.context, self.tokenizer.mask)


def _predicted(model: Any, windows: EvalWindows, context: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits of the targets, and the targets, some windows at a time."""
    for rows in SequentialBatches(len(windows), max(_MAX_TOKENS // context, 1)):
        yield _at_targets(model, windows[rows])


def _at_targets(model: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    tokens, targets = batch
    chosen = targets != IGNORED
    return model.logits(model.features(tokens)[chosen]).float(), targets[chosen]
