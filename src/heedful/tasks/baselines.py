"""What a sensible person would try first, fitted on the same data in the same run."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from heedful.data import Pictures
from heedful.data.text import Pairs

Labels = Sequence[Sequence[str]]

_NEAREST = 100_000  # pairs among which the nearest one is looked for
_WORDS = 300_000  # words that a logistic regression is fitted on, within half a minute
_PIXELS = 4_000_000  # numbers that a logistic regression is fitted on within a few seconds


def picture_baselines(training: Pictures, held_out: Pictures) -> dict[str, float]:
    """Accuracies on `held_out` of the commonest class, the three nearest neighbours, and a logistic regression on pixels.

    Large pictures are shrunk first, to 32 x 32 for the neighbours and until the regression is a matter of seconds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    assert training.labels is not None
    assert held_out.labels is not None
    labels, truth = training.labels.numpy(), held_out.labels.numpy()
    small = _side(training, 32 * 32 * 3 * len(training))
    neighbours = KNeighborsClassifier(n_neighbors=min(3, len(training))).fit(_pixels(training, small), labels)
    tiny = _side(training, _PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not fully converged is good enough to compare with
        regression = LogisticRegression(max_iter=200).fit(_pixels(training, tiny), labels)
    return {
        "majority": float((truth == training.labels.bincount().argmax().item()).mean()),
        "nearest neighbours": float(neighbours.score(_pixels(held_out, small), truth)),
        "logistic regression": float(regression.score(_pixels(held_out, tiny), truth)),
    }


def _side(pictures: Pictures, numbers: int) -> int:
    """The side to which pictures are shrunk so that all of them together are at most so many numbers."""
    count, channels, height, width = pictures.images.shape
    side = int((numbers / (count * channels)) ** 0.5)
    return max(min(side, height, width, 32), 4)


def _pixels(pictures: Pictures, side: int) -> Tensor:
    images = pictures.images.float() / 255
    if side < min(images.shape[-2:]):
        images = F.adaptive_avg_pool2d(images, side)
    return images.flatten(1).numpy()  # type: ignore[return-value]


def text_baselines(
    texts: Sequence[str], labels: Sequence[str], others: Sequence[str], truth: Sequence[str]
) -> dict[str, float]:
    """Accuracies on other texts of the commonest class, and of a logistic regression on words and pairs of words (TF-IDF)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    commonest = Counter(labels).most_common(1)[0][0]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")
    regression = LogisticRegression(C=10.0, max_iter=1000).fit(vectorizer.fit_transform(texts), labels)
    return {
        "majority": sum(label == commonest for label in truth) / len(truth),
        "TF-IDF + logistic regression": float(regression.score(vectorizer.transform(others), truth)),
    }


def word_baselines(words: Labels, labels: Labels, others: Labels) -> dict[str, Labels]:
    """Labels for the words of other sentences: the commonest one of each word, and what a logistic regression says.

    A word that was never seen gets the commonest label of words with its last three characters. The regression sees the
    word, both neighbours, and their beginnings and ends.
    """
    return {
        "commonest label of the word": _commonest(words, labels, others),
        "logistic regression": _regression(words, labels, others),
    }


def _commonest(words: Labels, labels: Labels, others: Labels) -> Labels:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sentence, given in zip(words, labels, strict=True):
        for word, label in zip(sentence, given, strict=True):
            for key in (word, "-" + word[-3:], ""):
                counts[key][label] += 1
    best = {key: found.most_common(1)[0][0] for key, found in counts.items()}
    return [[best.get(word) or best.get("-" + word[-3:]) or best[""] for word in sentence] for sentence in others]


def _regression(words: Labels, labels: Labels, others: Labels) -> Labels:
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    fitted = 0
    for count, sentence in enumerate(words):
        fitted += len(sentence)
        if fitted > _WORDS:
            words, labels = words[:count], labels[:count]
            break
    hasher = FeatureHasher(n_features=2**20, input_type="string", alternate_sign=False)
    seen = hasher.transform(features for sentence in words for features in _around(sentence))
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=5, tol=None, random_state=0)
    model.fit(seen, [label for given in labels for label in given])
    guessed = iter(model.predict(hasher.transform(features for sentence in others for features in _around(sentence))))
    return [[str(next(guessed)) for _ in sentence] for sentence in others]


def _around(sentence: Sequence[str]) -> Iterator[list[str]]:
    """Features of each word."""
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


def translation_baselines(training: Pairs, held_out: Pairs, *, lowercase: bool) -> dict[str, float]:
    """BLEU on `held_out` of the sources as they are, and of the target of the training source that is most alike (TF-IDF).

    Of more than 100,000 pairs as many as that are looked through, evenly taken.
    """
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    looked_through = training.select(range(0, len(training), -(-len(training) // _NEAREST)))
    known = vectorizer.fit_transform(looked_through.sources)
    nearest = []
    for start in range(0, len(held_out), 100):
        alike = vectorizer.transform(held_out.sources[start : start + 100]) @ known.T
        nearest += [looked_through.targets[row] for row in alike.argmax(axis=1).A1.tolist()]
    bleu = BLEU(lowercase=lowercase)
    found = {"the source as it is": held_out.sources, "target of the nearest training source": nearest}
    return {name: bleu.corpus_score(texts, [held_out.targets]).score for name, texts in found.items()}
