"""Classifiers as scikit-learn estimators: in `cross_val_score`, `GridSearchCV`, a `Pipeline`, and pickled as safetensors.

Example:
    >>> from heedful.sklearn import TextClassifier
    >>> texts, labels = ["a fine film", "a dull film"] * 20, ["good", "bad"] * 20
    >>> model = TextClassifier(settings={"training.epochs": 4, "training.learning_rate": 0.02}).fit(texts, labels)
    >>> model.predict(["a fine one", "a dull one"]).tolist()
    ['good', 'bad']
"""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from heedful.tasks.run import TrainedModel, train

__all__ = ["ImageClassifier", "TextClassifier"]


class TextClassifier(ClassifierMixin, BaseEstimator):
    """A text classifier: a Transformer encoder with attention pooling, the task `classify`.

    A tenth of the texts is held out, to choose the best epoch.

    Args:
        settings: those that differ from the defaults, as `heedful show classify` lists them: `{"model.layers": 2}`.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.settings, self.random_state, self.verbose = settings, random_state, verbose

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Trains on texts and their labels."""
        self.classes_, self.model_ = _fitted("classify", _texts(X), y, self)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class `[texts, classes]`."""
        check_is_fitted(self)
        task: Any = self.model_.task
        return _normalized(task.probabilities(self.model_.model, _texts(X)))

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each text."""
        return _best(self.predict_proba(X), self.classes_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = False, True, True
        tags.non_deterministic = False
        return tags


class ImageClassifier(ClassifierMixin, BaseEstimator):
    """An image classifier: a Vision Transformer, the task `classify-image`.

    A tenth of the images is held out, to choose the best epoch.

    Args:
        settings: those that differ from the defaults, as `heedful show classify-image` lists them.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.settings, self.random_state, self.verbose = settings, random_state, verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Trains on images `[count, height, width]` or `[count, height, width, 3]`, from 0 to 255, and their labels."""
        images = _images(X)
        if np.issubdtype(np.asarray(X).dtype, np.floating) and images.max(initial=0) <= 1:
            raise ValueError("`X` must hold numbers from 0 to 255: got numbers from 0 to 1; multiply them by 255.")
        self.classes_, self.model_ = _fitted("classify-image", images, y, self)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probability of each class `[images, classes]`."""
        check_is_fitted(self)
        task: Any = self.model_.task
        return _normalized(task.logits(self.model_.model, task.images(list(_images(X))).images).softmax(-1))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each image."""
        return _best(self.predict_proba(X), self.classes_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


def _fitted(task: str, inputs: Any, y: ArrayLike, estimator: Any) -> tuple[NDArray[Any], TrainedModel]:
    if y is None:
        raise ValueError("`y` must be the labels: requires y to be passed, but the target y is None.")
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(inputs):
        raise ValueError(f"`y` must be one label for each of {len(inputs)} rows of `X`: got shape {labels.shape}.")
    check_classification_targets(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"`y` must hold at least two classes: got {len(classes)}.")
    settings = dict(estimator.settings or {})
    if estimator.random_state is not None:
        seed = estimator.random_state
        settings["training.seed"] = int(seed if isinstance(seed, Integral) else check_random_state(seed).randint(2**31))
    # The task knows classes by names; numbers with as many digits sort as the classes do.
    width = len(str(len(classes)))
    names = [f"{number:0{width}}" for number in numbers.tolist()]
    model = train(task, (inputs, names), settings=settings, progress=estimator.verbose)
    return classes[[int(name) for name in model.task.vocabulary["classes"]]], model


def _texts(X: Any) -> list[str]:
    texts = np.asarray(X, dtype=object)
    if texts.ndim != 1:
        raise ValueError(f"`X` must be one text a row: got shape {texts.shape}.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"`X` must hold texts: got {text!r} in row {row}.")
        if not text.strip():
            raise ValueError(f"`X` must hold texts: got an empty one in row {row}.")
    return [str(text) for text in texts]


def _images(X: ArrayLike) -> NDArray[np.uint8]:
    images = np.asarray(X)
    if images.ndim not in (3, 4) or 0 in images.shape[1:] or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        raise ValueError(
            f"`X` must be images, [count, height, width] or [count, height, width, 3]: got shape {images.shape}."
        )
    if not np.issubdtype(images.dtype, np.number) or not np.isfinite(images).all():
        raise ValueError("`X` must hold numbers from 0 to 255: got NaN, infinity or no numbers.")
    if len(images) and (images.min() < 0 or images.max() > 255):
        raise ValueError(f"`X` must hold numbers from 0 to 255: got {images.min()} to {images.max()}.")
    pixels: NDArray[np.uint8] = np.rint(images).astype(np.uint8)
    return pixels


def _normalized(probabilities: Any) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = probabilities.double().numpy()
    normalized: NDArray[np.float64] = shares / shares.sum(1, keepdims=True)
    return normalized


def _best(probabilities: NDArray[np.float64], classes: NDArray[Any]) -> NDArray[Any]:
    best: NDArray[Any] = classes[probabilities.argmax(1)]
    return best
