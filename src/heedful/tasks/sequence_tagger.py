"""A trained tagger with all that it needs to take sentences as they are, what it says, and how that is measured."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from heedful._errors import DataError
from heedful.data.batches import ByLength
from heedful.data.text.columns import write_columns
from heedful.data.text.conllu import write_conllu
from heedful.data.text.sentences import Sentence
from heedful.data.text.spans import is_bio, score_spans
from heedful.data.text.tagged import Tagged
from heedful.data.text.words import Corpus, WordVocabulary, split_words
from heedful.models.tagger import Tagger


@dataclass(frozen=True)
class Prediction:
    """What a model says of one sentence.

    Attributes:
        words: of the sentence.
        labels: one a word.
        probabilities: of the labels.
        block: the sentence as a data file has it, with these labels in their column.
    """

    words: list[str]
    labels: list[str]
    probabilities: list[float]
    block: str

    def as_data(self) -> str:
        """The sentence as a data file has it."""
        return self.block

    def __str__(self) -> str:
        """One line for a person: each word with its label."""
        return " ".join(f"{word}/{label}" for word, label in zip(self.words, self.labels, strict=True))


class SequenceTagger:
    """A trained model with all that it needs to take sentences as they are.

    Args:
        model: the network.
        vocabulary: of the words.
        labels: for each column its labels, in the order of the logits; the first column is the one that is predicted.
        longest: the most words of a sentence.
    """

    def __init__(
        self, model: Tagger, vocabulary: WordVocabulary, labels: Mapping[str, Sequence[str]], longest: int
    ) -> None:
        self.model, self.vocabulary, self.longest = model.eval(), vocabulary, longest
        self.labels = {column: tuple(names) for column, names in labels.items()}
        self.column = next(iter(self.labels))

    def predict(self, sentences: str | Sequence[str | Sequence[str]]) -> list[Prediction]:
        """The labels of a sentence, or of each of several: a text, which is split into words and signs, or a list of words."""
        sentences = [sentences] if isinstance(sentences, str) else sentences
        words = [split_words(given) if isinstance(given, str) else tuple(given) for given in sentences]
        return self.predict_sentences([sentence_of(each) for each in words])

    def predict_sentences(self, sentences: Sequence[Sentence], form: str = "text") -> list[Prediction]:
        """The labels of sentences of a file of that form."""
        return [
            Prediction(list(sentence.words), labels, shares, _block(sentence, labels, self.column, form))
            for sentence, (labels, shares) in zip(sentences, self.labelled(sentences), strict=True)
        ]

    def labelled(self, sentences: Sequence[Sentence]) -> list[tuple[list[str], list[float]]]:
        """The most probable label of each word of each sentence, and its probability."""
        names = self.labels[self.column]
        every = [probabilities.max(-1) for probabilities in self.probabilities(sentences)]
        return [([names[i] for i in best.indices.tolist()], best.values.tolist()) for best in every]

    @torch.inference_mode()
    def probabilities(self, sentences: Sequence[Sentence], room: int = 8000) -> list[Tensor]:
        """Of each label `[words, labels]` for each sentence; sentences of nearly one length are computed together."""
        check_longest(sentences, self.longest)
        found = [torch.empty(0, len(self.labels[self.column]))] * len(sentences)
        filled = [i for i, sentence in enumerate(sentences) if sentence.words]
        if not filled:
            return found
        corpus = Corpus(self.vocabulary, [sentences[i].words for i in filled])
        for indices in ByLength(corpus.lengths, room):
            batch = corpus.batch(indices)
            probabilities = self.model.logits(self.model(batch)).float().softmax(-1)
            for row, index in enumerate(indices):
                found[filled[index]] = probabilities[row, : corpus.lengths[index]]
        return found

    def measures(self, tagged: Tagged) -> dict[str, Any]:
        """Accuracies, F1 of spans where the labels describe some, and what is taken for what."""
        truth = _truth(tagged.sentences, self.column)
        predicted = [labels for labels, _ in self.labelled(tagged.sentences)]
        return _measures(tagged.sentences, truth, predicted, self.vocabulary)


def sentence_of(words: Sequence[str]) -> Sentence:
    """A sentence that stands in no file."""
    return Sentence(tuple(words), place="the input", block=tuple(words))


def check_longest(sentences: Sequence[Sentence], longest: int) -> None:
    """Raises for a sentence that has more words than the model takes."""
    for sentence in sentences:
        if len(sentence.words) > longest:
            raise DataError(
                f"{sentence.place}: a sentence must have at most {longest:,} words, as data.longest says: got {len(sentence.words):,}"
            )


def baselines(training: Tagged, tagged: Tagged, tagger: SequenceTagger) -> dict[str, float]:
    """The first measure of `measures`, for what a sensible person would try first."""
    from heedful.tasks.baselines import word_baselines

    truth = _truth(tagged.sentences, tagger.column)
    guessed = word_baselines(
        [s.words for s in training.sentences],
        _truth(training.sentences, tagger.column),
        [s.words for s in tagged.sentences],
    )
    if is_bio(chain.from_iterable(truth)):
        return {f"{name}, span F1": score_spans(truth, labels).overall.f1 for name, labels in guessed.items()}
    return {name: _accuracy(truth, labels) for name, labels in guessed.items()}


def _truth(sentences: Sequence[Sentence], column: str) -> list[tuple[str, ...]]:
    """The labels of each sentence; in a file of another form the column has another name."""
    return [sentence.labels.get(column) or next(iter(sentence.labels.values())) for sentence in sentences]


def _measures(
    sentences: Sequence[Sentence],
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    known: WordVocabulary,
) -> dict[str, Any]:
    """What `metrics.json` says of predictions."""
    pairs = Counter(zip(chain.from_iterable(truth), chain.from_iterable(predicted), strict=True))
    unseen = [
        label == guess
        for sentence, labels, guesses in zip(sentences, truth, predicted, strict=True)
        for word, label, guess in zip(sentence.words, labels, guesses, strict=True)
        if word not in known
    ]
    measures = {"accuracy": _accuracy(truth, predicted)}
    if unseen:
        measures["accuracy of unseen words"] = sum(unseen) / len(unseen)
    kinds: dict[str, Any] = {}
    if is_bio(chain.from_iterable(truth)):
        scores = score_spans(truth, predicted)
        overall = scores.overall
        measures = {
            "span F1": overall.f1, "span precision": overall.precision, "span recall": overall.recall, **measures
        }  # fmt: skip
        kinds = {"spans": {kind: score._asdict() for kind, score in scores.by_kind.items()}}
    confusions = [[label, guess, count] for (label, guess), count in pairs.most_common() if label != guess]
    return {"measures": measures, "unseen_words": len(unseen), **kinds, "confusions": confusions}


def _accuracy(truth: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    equal = [a == b for a, b in zip(chain.from_iterable(truth), chain.from_iterable(predicted), strict=True)]
    return sum(equal) / len(equal)


def _block(sentence: Sentence, labels: Sequence[str], column: str, form: str) -> str:
    """The sentence in the form of its file; in rows of words and labels where that cannot hold such labels."""
    if not sentence.words:
        return ""
    number = int(column) if column.isdigit() else None
    if form == "conllu" and number is None:
        return write_conllu(sentence, {column: labels}).removesuffix("\n")
    if form != "columns" or number is None:
        return write_columns(sentence_of(sentence.words), labels).removesuffix("\n")
    there = min(len(row.split()) for row in sentence.block if row.strip() and not row.startswith("-DOCSTART-"))
    return write_columns(sentence, labels, number if number <= there else None).removesuffix("\n")
