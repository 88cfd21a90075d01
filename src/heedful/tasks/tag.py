"""tag: a label for each word of a sentence.

data         heedful/data/text/tagged.py: CoNLL-U, a word and its label a line, data sets of Hugging Face
settings     heedful/tasks/tag_settings.py
words        heedful/data/text/segmentation.py: where raw texts are cut, learned from the same data
model        heedful/models/tagger.py
loss         cross entropy of the labels, and of auxiliary columns of the same file that teach the encoder
metrics      accuracy, that of words never seen in training apart; F1 of spans where the labels describe spans
view         heedful/tasks/views/text.py: what each word attends to
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful._errors import DataError
from heedful._terminal import visible
from heedful.data._rows import check_label, check_some_known
from heedful.data.batch_types import PieceBatch, WordBatch
from heedful.data.batches import LengthBatches
from heedful.data.inputs import InputKind
from heedful.data.splits import EveryTenth
from heedful.data.text.pieces import EncodedPieces, Pieces
from heedful.data.text.segmentation import Segmenter, sentences_of
from heedful.data.text.sentences import Sentence
from heedful.data.text.spans import is_bio, score_spans
from heedful.data.text.tagged import Tagged, read_tagged, write_like
from heedful.data.text.words import EncodedWords, WordVocabulary
from heedful.models.encoders import attention_pattern
from heedful.models.pretrained import PretrainedTagger
from heedful.models.tagger import NeighborEncoder, Tagger
from heedful.models.words import WordEmbedding
from heedful.tasks.baselines import word_baselines
from heedful.tasks.classification import UNSEEN, accuracy, by_class, candidates, confusions, unseen_labels
from heedful.tasks.contract import TRAINING, Metric, Reading, Rows, Scores, Task
from heedful.tasks.encoder_settings import encoder_of
from heedful.tasks.forward_pass import ForwardPass, Operand, pieces, words
from heedful.tasks.pretrained import PRETRAINED_EPOCHS, PretrainedModel, begin, learned_text, rates_of
from heedful.tasks.pretrained import encoder_of as pretrained_encoder
from heedful.tasks.tag_settings import TaggedSentence, TagOptions, TagSettings, TagVocabulary, WindowTagger
from heedful.tasks.vocabularies import extended, label_rows, token_rows
from heedful.training.objective import Batches, Mean
from heedful.training.settings import epochs_for

_IGNORED = -100  # the target of padding
_MAX_TOKENS = 8000  # words that are computed together


class Tag(Task[Tagged]):
    """A label for each word."""

    name = "tag"
    example, unit, input, lists, monitor = "sentence", "words", InputKind.TEXT, True, "accuracy"
    Settings, Options, Vocabulary = TagSettings, TagOptions, TagVocabulary
    split = EveryTenth()

    def __init__(self, settings: TagSettings, vocabulary: Mapping[str, Any]) -> None:
        super().__init__(settings, vocabulary)
        self.words = WordVocabulary(vocabulary["words"], vocabulary["forms"], tuple(vocabulary["char_ngrams"]))
        self.labels: dict[str, list[str]] = vocabulary["labels"]
        self.column = next(iter(self.labels))
        self.segmenter = Segmenter.load(vocabulary["segmenter"]) if "segmenter" in vocabulary else None
        self.pieces: Pieces | None = None
        if isinstance(settings.model, PretrainedModel):
            self.pieces = Pieces(vocabulary["tokenizer"], vocabulary["pretrained"]["max_tokens"])

    @classmethod
    def read(cls, source: Any, settings: TagSettings, reading: Reading = TRAINING) -> Tagged:
        data, vocabulary = settings.data, reading.vocabulary
        auxiliary = data.auxiliary_columns if vocabulary is None else ()
        main, labels = next(iter((vocabulary or {"labels": {"": ()}})["labels"].items()))
        column, word_column = data.column or None, data.word_column or None
        tagged = read_tagged(source, column, auxiliary, labels=reading.labeled, word_column=word_column, known=labels)
        return tagged.with_column(main) if main and reading.labeled else tagged

    @classmethod
    def adapt(cls, training: Tagged, settings: TagSettings) -> Mapping[str, Any]:
        words = sum(len(sentence.words) for sentence in training.sentences)
        usual, steps = PRETRAINED_EPOCHS if isinstance(settings.model, PretrainedModel) else (9, 400)
        return {"training.epochs": epochs_for(words, settings.training, usual=usual, steps=steps)}

    @classmethod
    def learn(cls, training: Tagged, settings: TagSettings) -> dict[str, Any]:
        return cls._learned(training, settings, None)

    @classmethod
    def _learned(cls, training: Tagged, settings: TagSettings, base: Self | None) -> dict[str, Any]:
        columns = training.sentences[0].labels
        labels = {
            column: sorted(set(chain.from_iterable(s.labels[column] for s in training.sentences))) for column in columns
        }
        if len(labels[str(training.column)]) < 2:
            raise DataError(f"must hold at least two different labels: got {labels[str(training.column)][0]!r} alone")
        for label in labels[str(training.column)]:
            check_label(label, str(training.column))
        words = WordVocabulary.fit([s.words for s in training.sentences], min_form_count=2)
        if len(words.words) < 2:
            raise DataError(f"must hold at least two different words: got {next(iter(words.words))!r} alone")
        segmenter = Segmenter.fit(training.sentences)
        learned = {"labels": labels, "words": words.words, "forms": words.forms, "char_ngrams": list(words.char_ngrams)}
        learned |= learned_text(settings.model, base) if isinstance(settings.model, PretrainedModel) else {}
        return learned if segmenter is None else learned | {"segmenter": segmenter.save()}

    @classmethod
    def extend(cls, training: Tagged, settings: TagSettings, base: Self) -> dict[str, Any]:
        known = {name: part for name, part in base.vocabulary.items() if name == "segmenter"}
        return known | extended(cls._learned(training, settings, base), settings, base)

    def describe(self) -> str:
        also = f" (and {', '.join(list(self.labels)[1:])})" if len(self.labels) > 1 else ""
        column = f"column {self.column}" if self.column.isdigit() else self.column
        return f"{len(self.labels[self.column])} labels in {column}{also}"

    def check(self, examples: Tagged) -> None:
        self._encoded(examples.sentences)
        labels = ((label, s.location) for s in examples.sentences for label in s.labels[self.column])
        check_some_known(labels, self.labels[self.column])

    def build(self) -> Tagger | PretrainedTagger:
        s, words, sizes = self.settings.model, self.words, [len(names) for names in self.labels.values()]
        if isinstance(s, PretrainedModel):
            encoder = pretrained_encoder(s, self.vocabulary, self.pieces)
            return PretrainedTagger(encoder, labels=sizes, dropout=s.output_dropout)
        embedding = WordEmbedding(
            list(words.words.values()), list(words.forms.values()), len(words.char_ngrams), word_width=s.word_width,
            form_width=s.form_width, ngram_width=s.ngram_width, width=s.width, dropout=s.input_dropout,
            ngram_dropout=s.ngram_dropout, word_dropout=s.word_dropout, rare_word_dropout=s.rare_word_dropout,
        )  # fmt: skip
        if isinstance(s, WindowTagger):
            ffn_width = (4 * s.width + 2 * s.ffn_width) // (2 * s.reach + 2)  # as many parameters as with attention
            neighbors = NeighborEncoder(s.width, s.layers, ffn_width=ffn_width, reach=s.reach, dropout=s.dropout)
            return Tagger(words=embedding, encoder=neighbors, labels=sizes, dropout=s.output_dropout)
        positions, layers = encoder_of(s, self.settings.data.max_length)
        return Tagger(
            words=embedding, positions=positions, encoder=layers, pattern=attention_pattern(s.window), labels=sizes,
            dropout=s.output_dropout,
        )  # fmt: skip

    def rows(self) -> Mapping[str, Rows]:
        named = [label_rows(labels, f"heads.{column}") for column, labels in enumerate(self.labels.values())]
        (main, *auxiliary), also = named, list(self.labels)[1:]
        others = {
            end: rows._replace(kind=f"labels of {name}")
            for name, one in zip(also, auxiliary, strict=True)
            for end, rows in one.items()
        }
        return token_rows(self.words) | main | others

    def begin(self, model: Any, base: Self | None = None) -> list[str]:
        return begin(self.settings.model, model, "text", base and base.settings.model)

    def rates(self, model: Any) -> Mapping[str, float]:
        return rates_of(self.settings.model, model)

    def batches(self, examples: Tagged, *, training: bool) -> Batches:
        columns = self.labels if training else {self.column: self.labels[self.column]}
        words = self._encoded(examples.sentences)
        targets = []
        for column, names in columns.items():
            numbers = {name: number for number, name in enumerate(names)}
            labels = chain.from_iterable(sentence.labels[column] for sentence in examples.sentences)
            targets.append(torch.tensor([numbers.get(label, UNSEEN) for label in labels]))

        def make(rows: list[int]) -> tuple[WordBatch | PieceBatch, list[Tensor]]:
            return words.batch(rows), [words.padded(target, rows, _IGNORED) for target in targets]

        size, seed = int(self.settings.training.batch_size), self.settings.training.seed
        order = LengthBatches(words.lengths, size, seed) if training else LengthBatches(words.lengths, 4 * size)
        return Batches(make, order, lambda batch: int(batch[0].lengths.sum()))

    def loss(self, model: Tagger, batch: Any, optimizer: str) -> Tensor:
        words, targets = batch
        words_only = targets[0] != _IGNORED
        encoded = model(words)[words_only]  # [words, D]
        smoothing = self.settings.loss.label_smoothing
        losses: list[Tensor] = [
            F.cross_entropy(model.logits(encoded, column), target[words_only], label_smoothing=smoothing)
            for column, target in enumerate(targets)
        ]
        total: Tensor = losses[0] + self.settings.loss.auxiliary_weight * sum(losses[1:], torch.zeros(()))
        return total

    def validate(self, model: Tagger, batch: Any) -> Mapping[str, Mean]:
        words, (target,) = batch
        words_only = target != _IGNORED
        logits, target = model.logits(model(words)[words_only]), target[words_only]
        loss = F.cross_entropy(logits, target, reduction="sum", ignore_index=UNSEEN)
        return {
            "loss": Mean(loss, (target != UNSEEN).sum()),
            "accuracy": Mean((logits.argmax(-1) == target).sum(), len(target)),
        }

    @torch.inference_mode()
    def predict(
        self, model: Tagger, inputs: Sequence[Any], options: Any, numbers: Sequence[int] | None = None
    ) -> list[TaggedSentence]:
        sentences = sentences_of(inputs, self.segmenter, words=options.words)
        names = self.labels[self.column]
        told: Any = None if options.top_k is None else []
        best: list[tuple[list[str], list[float], Any]] = [([], [], told)] * len(sentences)
        filled = [i for i, sentence in enumerate(sentences) if sentence.words]
        corpus = self._encoded([sentences[i] for i in filled])
        for rows in LengthBatches(corpus.lengths, _MAX_TOKENS) if filled else ():
            probabilities = model.logits(model(corpus.batch(rows))).float().softmax(-1)
            for row, i in enumerate(rows):
                of_words = probabilities[row, : corpus.lengths[i]]
                top = of_words.max(-1)
                told = None if options.top_k is None else candidates(of_words, names, options)
                best[filled[i]] = [names[label] for label in top.indices.tolist()], top.values.tolist(), told
        return [self._prediction(sentence, *found) for sentence, found in zip(sentences, best, strict=True)]

    def forward_pass(self) -> ForwardPass:
        names = self.labels[self.column]
        layout = pieces() if isinstance(self.settings.model, PretrainedModel) else words(forms=True)
        return ForwardPass(
            layout, lambda model, batch: model.logits(model(batch)).softmax(-1), "probabilities",
            Operand(("batch", "length", len(names)), "of each label of labels.json, for each word; those of padding mean nothing"),
            files={"labels.json": names},
        )  # fmt: skip

    def inputs(self, examples: Tagged) -> Sequence[Sentence]:
        return examples.sentences

    def score(self, predictions: Sequence[TaggedSentence], examples: Tagged) -> Scores:
        truth = [sentence.labels[self.column] for sentence in examples.sentences]
        predicted = [prediction.labels for prediction in predictions]
        unseen = [[word not in self.words for word in sentence.words] for sentence in examples.sentences]
        metrics = {"accuracy": Metric(accuracy(truth, predicted))}
        if any(chain.from_iterable(unseen)):
            metrics["oov_accuracy"] = Metric(accuracy(truth, predicted, unseen))
        details, note = unseen_labels(truth, set(self.labels[self.column]))
        details |= {"oov_words": sum(map(sum, unseen)), "confusions": confusions(truth, predicted)}
        details["by_class"] = by_class(truth, predicted)
        if is_bio(chain.from_iterable(truth)):
            spans = score_spans(truth, predicted)
            names = {"span_f1": "f1", "span_precision": "precision", "span_recall": "recall"}
            metrics = {name: Metric(getattr(spans.overall, key)) for name, key in names.items()} | metrics
            details["spans"] = {kind: score._asdict() for kind, score in spans.by_label.items()}
        return Scores(metrics, details, note)

    def baselines(self, training: Tagged, examples: Tagged) -> Mapping[str, list[TaggedSentence]]:
        truth = [sentence.labels[self.column] for sentence in training.sentences]
        words = [[sentence.words for sentence in part.sentences] for part in (training, examples)]
        unsure: list[float] = []
        return {
            name: [self._prediction(s, row, unsure) for s, row in zip(examples.sentences, labels, strict=True)]
            for name, labels in word_baselines(words[0], truth, words[1]).items()
        }

    def expected(self, example: Tagged) -> str:
        (sentence,) = example.sentences
        pairs = zip(sentence.words, sentence.labels[self.column], strict=True)
        return " ".join(f"{visible(word)}/{visible(label)}" for word, label in pairs)

    def inspect(self, model: Tagger, inputs: Sequence[Any]) -> list[Any]:
        from heedful.tasks.views.text import tagged_section

        sentences = sentences_of(inputs, self.segmenter)
        for sentence in sentences:
            if not sentence.words:
                raise DataError(f"{sentence.location}: a sentence must hold at least one word: got none.")
        return [tagged_section(self, model, sentence) for sentence in sentences]

    def _prediction(
        self, sentence: Sentence, labels: Iterable[str], probabilities: Iterable[float], told: Any = None
    ) -> TaggedSentence:
        words, labels = list(sentence.words), list(labels)
        raw_lines = write_like(sentence, labels, self.column)
        text = sentence.text or " ".join(words)
        return TaggedSentence(text, words, labels, list(probabilities), raw_lines, told)

    def _encoded(self, sentences: Sequence[Sentence]) -> EncodedWords | EncodedPieces:
        """Sentences as numbers. Raises DataError for one that is too long."""
        most = self.settings.data.max_length
        for sentence in sentences:
            if len(sentence.words) > most:
                location = f"{sentence.location}: " if sentence.location else ""
                raise DataError(
                    f"{location}a sentence must have at most {most:,} words (data.max_length): got {len(sentence.words):,}"
                )
        if self.pieces is not None:
            return EncodedPieces(self.pieces, sentences)
        return EncodedWords(self.words, [sentence.words for sentence in sentences])
