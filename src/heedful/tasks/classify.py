"""classify: a label for a text, several labels, or a number.

data         heedful/data/text/labeled.py: TSV, CSV, JSONL, data sets of Hugging Face
model        heedful/models/text_classifier.py
target       heedful/tasks/targets.py: one label, several labels or a number, each with its loss and its metrics
loss         that of the target; predictions under two dropout masks are pulled together (R-Drop, Liang et al. 2021)
view         heedful/tasks/views/text.py: what each token contributes to the decision, and what each attends to
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from heedful.data.batches import BucketBatches, LengthBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text.labeled import LabeledTexts, read_texts
from heedful.data.text.pieces import Pieces
from heedful.data.text.tokenization import Tokenization
from heedful.data.text.tokenizers import Characters, Subwords, Tokenizer
from heedful.data.text.tokenizers import load as load_tokenizer
from heedful.data.text.words import WordVocabulary, split_words
from heedful.models.encoders import attention_pattern
from heedful.models.ensemble import Ensemble
from heedful.models.ngrams import NgramClassificationModel
from heedful.models.pretrained import PretrainedTextClassifier
from heedful.models.text_classifier import TextClassificationModel, TokenEmbedding
from heedful.models.words import FastTextEmbedding
from heedful.tasks.baselines import text_features
from heedful.tasks.classification import ClassificationOptions
from heedful.tasks.classify_settings import ClassifySettings, ClassifyVocabulary, PretrainedTextModel
from heedful.tasks.contract import TRAINING, Reading, Rows, Scores, Task
from heedful.tasks.encoder_settings import encoder_of
from heedful.tasks.forward_pass import ForwardPass, of_target, tokens, words
from heedful.tasks.pretrained import PRETRAINED_EPOCHS, PretrainedModel, begin, learned_text, pooling_of, rates_of
from heedful.tasks.pretrained import encoder_of as pretrained_encoder
from heedful.tasks.target_kinds import learn_target, target_of
from heedful.tasks.vocabularies import extended, label_rows, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_MAX_TOKENS = 8000  # tokens that are computed together
_FEW_WORDS = 5_000  # texts of which each word counts
_FEW, _LINEAR = 20_000, 4_000_000  # texts, and words times classes, with a linear model beside the attention
_PASSES = 256  # in which tokens are masked in turn


class Classify(Task[LabeledTexts]):
    """A label for a text, several labels, or a number."""

    name = "classify"
    example, unit, input = "text", "tokens", InputKind.TEXT  # few validation texts tell epochs apart by their loss
    Settings, Options, Vocabulary = ClassifySettings, ClassificationOptions, ClassifyVocabulary
    split = EveryTenth(lambda texts: texts.labels if texts.format.kind == "label" else ())

    def __init__(self, settings: ClassifySettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.target = target_of(settings, vocabulary)
        self.prediction, self.classes = self.target.prediction, list(self.target.classes)
        self._outputs = self.classes or ["number"]
        model, most = settings.model, None
        by: WordVocabulary | Tokenizer | Pieces
        if isinstance(model, PretrainedModel):
            by = Pieces(vocabulary["tokenizer"], vocabulary["pretrained"]["max_tokens"])
        else:
            most = model.max_positions if model.positions == "learned" else None
            by = (
                load_tokenizer(vocabulary["tokenizer"]) if "tokenizer" in vocabulary
                else WordVocabulary(vocabulary["words"], {}, tuple(vocabulary["char_ngrams"]))
            )  # fmt: skip
        self.tokenization = Tokenization(by, most)
        self._pairs = sorted(vocabulary.get("pairs") or (), key=by.pair) if isinstance(by, WordVocabulary) else []

    @classmethod
    def read(cls, source: Any, settings: ClassifySettings, reading: Reading = TRAINING) -> LabeledTexts:
        data = settings.data
        known = reading.vocabulary["classes"] if reading.vocabulary and data.target == "label" else None
        return read_texts(
            source, data.text, data.label, classes=known, labeled=reading.labeled, skip=data.skip, format=data.format
        )

    @classmethod
    def adapt(cls, training: LabeledTexts, settings: ClassifySettings) -> dict[str, Any]:
        words, data, cells = (
            sum(len(text.split()) for text in training.texts),
            settings.data,
            set(training.labels or ()),
        )
        labels = {label for cell in cells for label in data.format.labels(cell)} if data.target == "labels" else cells
        outputs = 1 if data.target == "number" else len(labels)
        usual, steps = PRETRAINED_EPOCHS if isinstance(settings.model, PretrainedModel) else (5, 400)
        few = len(training) <= _FEW and words * outputs <= _LINEAR
        return {
            "data.min_count": 1 if len(training) <= _FEW_WORDS else 2,
            "model.linear": few and data.tokenizer == "words",
            "training.epochs": epochs_for(len(training), settings.training, usual=usual, steps=steps),
        }

    @classmethod
    def learn(cls, training: LabeledTexts, settings: ClassifySettings) -> dict[str, Any]:
        target, data = learn_target(training.labels or (), settings), settings.data
        if isinstance(settings.model, PretrainedModel):
            return target | learned_text(settings.model)
        if data.tokenizer == "words":
            texts = [split_words(text) for text in training.texts]
            words = WordVocabulary.fit(texts, min_count=data.min_count)
            found = target | {"words": words.words, "char_ngrams": list(words.char_ngrams)}
            linear = {"pairs": words.pairs(texts, data.min_count), "texts": len(texts)} if settings.model.linear else {}
            return found | linear
        if data.tokenizer == "characters":
            return target | {"tokenizer": Characters.fit(training.texts).save()}
        return target | {"tokenizer": Subwords.fit(training.texts, data.vocabulary_size).save()}

    @classmethod
    def extend(cls, training: LabeledTexts, settings: ClassifySettings, base: Self) -> dict[str, Any]:
        if isinstance(settings.model, PretrainedModel):
            return learn_target(training.labels or (), settings) | learned_text(settings.model, base)
        return extended(cls.learn(training, settings), settings, base)

    def describe(self) -> str:
        return self.target.describe()

    def check(self, examples: LabeledTexts) -> None:
        self.tokenization.encode(examples.texts, examples.locations)
        self.target.check(zip(examples.labels or (), examples.locations, strict=True))

    def build(self) -> Ensemble:
        s, by = self.settings.model, self.tokenization.by
        if isinstance(s, PretrainedTextModel):
            return Ensemble([self._pretrained(s)])
        assert not isinstance(by, Pieces)
        members = []
        for _ in range(s.ensemble_size):
            positions, layers = encoder_of(s, s.max_positions)
            tokens = (
                FastTextEmbedding(len(by.words), len(by.char_ngrams), s.width, dropout=s.input_dropout)
                if isinstance(by, WordVocabulary)
                else TokenEmbedding(by.size, s.width, dropout=s.input_dropout)
            )
            members.append(
                TextClassificationModel(
                    tokens=tokens, positions=positions, encoder=layers, pattern=attention_pattern(s.window),
                    pooling_heads=s.pooling_heads, classes=self.target.outputs, token_dropout=s.token_dropout,
                    dropout=s.output_dropout,
                )
            )  # fmt: skip
        return Ensemble(members, self._linear() if s.linear else None)

    def _linear(self) -> NgramClassificationModel:
        words, settings = self.tokenization.by, self.settings
        if not isinstance(words, WordVocabulary):
            raise ValueError(f"`model.linear` needs data.tokenizer=words: got {settings.data.tokenizer}.")
        counts = self.vocabulary["pairs"]
        return NgramClassificationModel(
            list(words.words.values()), list(map(words.pair, self._pairs)), [counts[pair] for pair in self._pairs],
            texts=self.vocabulary["texts"], classes=self.target.outputs, token_dropout=settings.model.token_dropout,
        )  # fmt: skip

    def rows(self) -> Mapping[str, Rows]:
        by = self.tokenization.by
        rows = ({} if isinstance(by, Pieces) else token_rows(by)) | label_rows(self._outputs)
        if not isinstance(by, WordVocabulary) or not self._pairs:
            return rows
        ngrams = ("", " ", *by.words, *self._pairs)  # as the linear model has them: padding and unknown words first
        numbers = [f"{ngram} {label}" for ngram in ngrams for label in self._outputs]
        return rows | {
            "linear.weight": Rows("labels of n-grams", numbers),
            "linear.bias": Rows("labels", self._outputs),
        }

    def _pretrained(self, settings: PretrainedTextModel) -> PretrainedTextClassifier:
        by = self.tokenization.by
        assert isinstance(by, Pieces)
        encoder = pretrained_encoder(settings, self.vocabulary, by)
        return PretrainedTextClassifier(
            encoder,
            pooling=pooling_of(settings.pooling, encoder, 0 in by.show("a").special),
            classes=self.target.outputs,
            mask=self.vocabulary["pretrained"]["mask"],
            dropout=settings.output_dropout,
        )

    def begin(self, model: Ensemble, base: Self | None = None) -> list[str]:
        return begin(self.settings.model, model, "text", base and base.settings.model)

    def rates(self, model: Ensemble) -> Mapping[str, float]:
        return rates_of(self.settings.model, model)

    def batches(self, examples: LabeledTexts, *, training: bool) -> Batches:
        texts, s = self.tokenization.encode(examples.texts, examples.locations), self.settings.training
        targets = self.target.encode(examples.labels or ())
        order = (
            BucketBatches(texts.lengths, int(s.batch_size), s.seed)
            if training
            else LengthBatches(texts.lengths, _MAX_TOKENS)
        )
        note, by = "", self.tokenization.by
        if isinstance(by, Pieces) and (long := sum(length == by.max_tokens for length in texts.lengths)):
            note = f"{long:,} texts have {by.max_tokens:,} tokens or more, of which the pretrained model reads the first ones."
        return Batches(
            lambda rows: (texts.batch(rows), targets[rows]), order, lambda batch: int(batch[0].lengths.sum()), note
        )

    def loss(self, model: Ensemble, batch: Any, optimizer: str) -> Tensor:
        """The sum over the members, each of which learns as if it were alone."""
        tokens, targets = batch
        settings, first = self.settings.loss, model(tokens)  # [K, B, outputs]
        losses = self.target.loss(first, targets, settings.label_smoothing).mean(-1).sum()
        if not settings.consistency:
            return losses
        second = model(tokens)
        both = losses + self.target.loss(second, targets, settings.label_smoothing).mean(-1).sum()
        apart = self.target.divergence(first, second).mean(-1).sum()
        return both.add(apart, alpha=settings.consistency).mul(0.5)

    def validate(self, model: Ensemble, batch: Any) -> Mapping[str, Mean]:
        tokens, targets = batch
        return self.target.means(self.merged(model, tokens), targets)

    def merged(self, model: Ensemble, batch: Any, masked: Tensor | None = None) -> Tensor:
        """The outputs of all models as one, `[texts, outputs]`."""
        return self.target.merge(model(batch, masked), model.shares)

    def predict(
        self, model: Ensemble, inputs: Sequence[str], options: Any, numbers: Sequence[int] | None = None
    ) -> list[Any]:
        predictions: list[Any] = [self.target.blank(text) for text in inputs]
        filled = [i for i, text in enumerate(inputs) if text.strip()]
        texts = [inputs[i] for i in filled]
        found = self.target.predictions(texts, self.outputs(model, texts), options)
        for i, prediction in zip(filled, found, strict=True):
            predictions[i] = prediction
        return predictions

    @torch.inference_mode()
    def outputs(self, model: Ensemble, texts: Sequence[str]) -> Tensor:
        """Of each text, `[texts, outputs]`; texts of nearly one length are computed together, none may be blank."""
        corpus = self.tokenization.encode(texts)
        outputs = torch.empty(len(texts), self.target.outputs)
        for rows in LengthBatches(corpus.lengths, _MAX_TOKENS) if texts else ():
            outputs[rows] = self.merged(model, corpus.batch(rows))
        return outputs

    def calibrate(self, model: Ensemble, examples: LabeledTexts) -> dict[str, Any]:
        return self.target.calibrate(self.outputs(model, examples.texts), examples.labels or ())

    def forward_pass(self) -> ForwardPass:
        return of_target(
            self.target, words(forms=False) if isinstance(self.tokenization.by, WordVocabulary) else tokens()
        )

    def inputs(self, examples: LabeledTexts) -> Sequence[str]:
        return examples.texts

    def score(self, predictions: Sequence[Any], examples: LabeledTexts) -> Scores:
        return self.target.score(predictions, examples.labels or ())

    def baselines(self, training: LabeledTexts, examples: LabeledTexts) -> Mapping[str, list[Any]]:
        features = text_features(training.texts, examples.texts)
        return self.target.baselines(examples.texts, training.labels or (), features)

    def expected(self, example: LabeledTexts) -> str:
        return self.target.shown((example.labels or [""])[0])

    def inspect(self, model: Ensemble, inputs: Sequence[str]) -> list[Any]:
        from heedful.tasks.views.text import classified_section

        return [classified_section(self, model, text) for text in inputs]

    @torch.inference_mode()
    def occlusion(self, model: Ensemble, text: str) -> Tensor:
        """What each token of a text contributes to its prediction: by how much its log-odds, or its number, fall when it is masked.

        Of a long text neighbors are masked together, so that at most 256 passes are made.
        """
        batch = self.tokenization.encode([text]).batch([0])
        whole, count = self.merged(model, batch), int(batch.lengths)
        cells = min(count, _PASSES)
        cell = torch.arange(count) * cells // count
        drops = []
        for rows in torch.arange(cells).split(max(_MAX_TOKENS // count, 1)):
            masked = self.merged(model, _repeated(batch, len(rows)), cell == rows[:, None])
            drops.append(self.target.evidence(whole, whole[0]) - self.target.evidence(masked, whole[0]))
        found = torch.cat(drops)[cell] / torch.bincount(cell)[cell]
        if isinstance(by := self.tokenization.by, Pieces):
            found[by.show(text).special] = 0
        return found


def _repeated(batch: Any, times: int) -> Any:
    """A batch of one text, this many times."""
    of_texts = {name: getattr(batch, name) for name in batch._fields if name not in ("char_ngrams", "offsets")}
    return batch._replace(**{name: tensor.expand(times, *tensor.shape[1:]) for name, tensor in of_texts.items()})
