"""Baselines: simple methods, fitted on the same data in the same run."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from heedful.data import LabeledImages
from heedful.data.text import ParallelTexts
from heedful.data.text.words import folded_words
from heedful.tasks.targets import BaselineFeatures

Labels = Sequence[Sequence[str]]

_NEAREST = 100_000  # pairs that are searched for the nearest one
_WORDS = 300_000  # words that a logistic regression is fitted on, within half a minute
_LABELS = 500  # with more of them, a regression takes hours
_NEIGHBORS = 200_000_000  # numbers in which the nearest neighbors are searched: 800 megabytes
_PIXELS = 4_000_000  # numbers that a logistic regression is fitted on within a few seconds


def image_features(training: LabeledImages, examples: LabeledImages) -> BaselineFeatures:
    """Pixels; large images are shrunk first, to 32 x 32 for the neighbors and until a regression is a matter of seconds."""
    small, tiny = _side(training, min(32 * 32 * 3 * len(training), _NEIGHBORS)), _side(training, _PIXELS)
    near, linear = ((_pixels(training, side), _pixels(examples, side)) for side in (small, tiny))
    return BaselineFeatures(*linear, name="", logistic={"max_iter": 200}, neighbors=near)


def _side(images: LabeledImages, numbers: int) -> int:
    """The side to which images are shrunk so that all of them together have at most this many numbers."""
    count, channels, height, width = images.images.shape
    side = int((numbers / (count * channels)) ** 0.5)
    return max(min(side, height, width, 32), 4)


def _pixels(images: LabeledImages, side: int) -> Any:
    parts = []
    for part in images.images.split(256):
        pixels = part.float() / 255
        parts.append(F.adaptive_avg_pool2d(pixels, side) if side < min(pixels.shape[-2:]) else pixels)
    return torch.cat(parts).flatten(1).numpy()


def text_features(texts: Sequence[str], others: Sequence[str]) -> BaselineFeatures:
    """Words and pairs of words (TF-IDF)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, preprocessor=str, tokenizer=folded_words, token_pattern=None
    )
    fitted = vectorizer.fit_transform(texts)
    return BaselineFeatures(fitted, vectorizer.transform(others), "TF-IDF + ", {"C": 10.0, "max_iter": 1000})


def word_baselines(words: Labels, labels: Labels, others: Labels) -> dict[str, Labels]:
    """Labels for the words of other sentences: the most frequent one of each word, and the prediction of a logistic regression.

    A word that was never seen gets the most frequent label of words with its last three characters. The regression sees the
    word, both neighbors, and their beginnings and ends; with more than 500 labels, such as lemmas, there is none.
    """
    baselines = {"most frequent tag": _most_frequent(words, labels, others)}
    count = len({label for given in labels for label in given})
    if count <= _LABELS:
        baselines["logistic regression"] = _regression(words, labels, others, count)
    return baselines


def _most_frequent(words: Labels, labels: Labels, others: Labels) -> Labels:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence, given in zip(words, labels, strict=True):
        for word, label in zip(sentence, given, strict=True):
            for key in (word, "-" + word[-3:], ""):
                counts[key][label] += 1
    best = {key: found.most_common(1)[0][0] for key, found in counts.items()}
    return [[best.get(word) or best.get("-" + word[-3:]) or best[""] for word in sentence] for sentence in others]


def _regression(words: Labels, labels: Labels, others: Labels, classes: int) -> Labels:
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    fitted = 0
    for count, sentence in enumerate(words):
        fitted += len(sentence)
        if fitted > _WORDS:
            words, labels = words[:count], labels[:count]
            break
    features = 2 ** (20 - max(classes.bit_length() - 7, 0))  # at most 2**27 weights: a gigabyte
    hasher = FeatureHasher(n_features=features, input_type="string", alternate_sign=False)
    seen = hasher.transform(features for sentence in words for features in _around(sentence))
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=5, tol=None, random_state=0)
    model.fit(seen, [label for given in labels for label in given])
    guessed = iter(model.predict(hasher.transform(features for sentence in others for features in _around(sentence))))
    return [[str(next(guessed)) for _ in sentence] for sentence in others]


def _around(sentence: Sequence[str]) -> Iterator[list[str]]:
    """BaselineFeatures of each word."""
    padded = ["<", *sentence, ">"]
    for before, word, after in zip(padded, padded[1:], padded[2:], strict=False):
        lower = word.lower()
        shape = "".join(
            "X" if sign.isupper() else "x" if sign.islower() else "0" if sign.isdigit() else "." for sign in word[:4]
        )
        yield [
            "word " + word, "lower " + lower, "shape " + shape, "before " + before.lower(), "after " + after.lower(),
            "pair " + before.lower() + " " + lower, "before ends " + before[-3:], "after ends " + after[-3:],
            *("ends " + lower[-size:] for size in range(1, 5)), *("begins " + lower[:size] for size in range(1, 4)),
        ]  # fmt: skip


def translation_baselines(training: ParallelTexts, examples: ParallelTexts) -> dict[str, list[str]]:
    """The sources themselves; and the target of the most similar training source (TF-IDF of character n-grams).

    Of more than 100,000 pairs, that many at equal distances are searched.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    candidates = training.select(range(0, len(training), -(-len(training) // _NEAREST)))
    known = vectorizer.fit_transform(candidates.sources)
    nearest = []
    for start in range(0, len(examples), 100):
        similarity = vectorizer.transform(examples.sources[start : start + 100]) @ known.T
        nearest += [candidates.targets[row] for row in similarity.argmax(axis=1).A1.tolist()]
    return {"copy source": list(examples.sources), "nearest neighbor (TF-IDF)": nearest}
