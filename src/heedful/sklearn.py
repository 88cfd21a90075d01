"""Classifiers as scikit-learn estimators: in `cross_val_score`, `GridSearchCV`, a `Pipeline`, and pickled as safetensors.

Example:
    >>> from heedful.sklearn import TextClassifier
    >>> texts, labels = ["a fine film", "a dull film"] * 20, ["good", "bad"] * 20
    >>> model = TextClassifier(settings={"training.epochs": 4, "training.learning_rate": 0.02}).fit(texts, labels)
    >>> model.predict(["a fine one", "a dull one"]).tolist()
    ['good', 'bad']
"""

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from heedful.tasks.run import train

__all__ = ["ImageClassifier", "TextClassifier"]


class _Classifier(ClassifierMixin, BaseEstimator):
    _task: str

    def __init__(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.settings, self.random_state, self.verbose = settings, random_state, verbose

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Trains on inputs and their labels."""
        if not isinstance(self.settings, Mapping | None):
            raise TypeError(f"`settings` must be a mapping of names to values: got {self.settings!r}.")
        inputs = self._inputs(X)
        self.classes_, numbers = _classes(y, len(inputs))
        settings = dict(self.settings or {})
        if self.random_state is not None:
            seed = self.random_state
            settings["training.seed"] = int(
                seed if isinstance(seed, Integral) else check_random_state(seed).randint(2**31)
            )
        # The task knows classes by names; numbers with as many digits sort as the classes do.
        width = len(str(len(self.classes_)))
        names = [f"{number:0{width}}" for number in numbers]
        self.model_ = train(self._task, (inputs, names), settings=settings, progress=self.verbose)
        self.classes_ = self.classes_[[int(name) for name in self.model_.task.vocabulary["classes"]]]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class `[inputs, classes]`."""
        check_is_fitted(self)
        inputs = self._inputs(X)
        if not len(inputs):
            return np.zeros((0, len(self.classes_)))
        shares: NDArray[np.float64] = self._shares(inputs).double().numpy()
        normalized: NDArray[np.float64] = shares / shares.sum(1, keepdims=True)
        return normalized

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each input."""
        best = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def _inputs(self, X: Any) -> Any:
        raise NotImplementedError

    def _shares(self, inputs: Any) -> Tensor:
        raise NotImplementedError


class TextClassifier(_Classifier):
    """A text classifier: a Transformer encoder with attention pooling, the task `classify`.

    `X` holds texts: a list, an array, a column of a data frame. A tenth of them is held out, to choose the best epoch.

    Args:
        settings: those that differ from the defaults, as `heedful show classify` lists them: `{"model.layers": 2}`.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """

    _task = "classify"

    def _inputs(self, X: Any) -> list[str]:
        texts = np.asarray(list(X) if isinstance(X, Iterator) else X, dtype=object)
        if texts.ndim != 1:
            raise ValueError(f"`X` must be one text a row: got shape {texts.shape}.")
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"`X` must hold texts: got {text!r} in row {row}.")
            if not text.strip():
                raise ValueError(f"`X` must hold texts: got an empty one in row {row}.")
            if any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ValueError(f"`X` must hold texts: got half a character in row {row}, {text!r}.")
        return [str(text) for text in texts]

    def _shares(self, inputs: list[str]) -> Tensor:
        task: Any = self.model_.task
        shares: Tensor = task.probabilities(self.model_.model, inputs)
        return shares

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = False, True, True
        return tags


class ImageClassifier(_Classifier):
    """An image classifier: a Vision Transformer, the task `classify-image`.

    `X` holds images `[count, height, width]` or `[count, height, width, 3]`, numbers from 0 to 255, of one size. A tenth of them is
    held out, to choose the best epoch.

    Args:
        settings: those that differ from the defaults, as `heedful show classify-image` lists them.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order.
        image_size_: height and width of an image.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """

    _task = "classify-image"

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Trains on images and their labels."""
        super().fit(X, y)
        self.image_size_ = np.shape(X)[1:3]
        return self

    def _inputs(self, X: ArrayLike) -> NDArray[np.uint8]:
        try:
            images = np.asarray(X)
        except ValueError:
            raise ValueError("`X` must be images of one size: got several.") from None
        if (
            images.ndim not in (3, 4)
            or 0 in images.shape[1:]
            or (images.ndim == 4 and images.shape[3] not in (1, 3, 4))
        ):
            raise ValueError(
                f"`X` must be images, [count, height, width] or [count, height, width, 3]: got shape {images.shape}."
            )
        if images.dtype.kind not in "uif" or not np.isfinite(images).all():
            raise ValueError("`X` must hold numbers from 0 to 255: got NaN, infinity or no numbers.")
        if len(images) and (images.min() < 0 or images.max() > 255):
            raise ValueError(f"`X` must hold numbers from 0 to 255: got {images.min()} to {images.max()}.")
        if images.dtype.kind == "f" and images.max(initial=0) <= 1 and (images % 1).any():
            raise ValueError("`X` must hold numbers from 0 to 255: got numbers from 0 to 1; multiply them by 255.")
        pixels: NDArray[np.uint8] = np.rint(images).astype(np.uint8)
        return pixels

    def _shares(self, inputs: NDArray[np.uint8]) -> Tensor:
        size = inputs.shape[1:3]
        if size != self.image_size_:
            raise ValueError(
                f"`X` must be images of shape {self.image_size_}, height and width, as in `fit`: got {size}."
            )
        task: Any = self.model_.task
        logits: Tensor = task.logits(self.model_.model, task.images(list(inputs)).images)
        return logits.softmax(-1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


def _classes(y: ArrayLike, rows: int) -> tuple[NDArray[Any], list[int]]:
    """The classes in order, and the number of the class of each row."""
    if y is None:
        raise ValueError("`y` must be the labels: requires y to be passed, but the target y is None.")
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != rows:
        raise ValueError(f"`y` must be one label for each of {rows} rows of `X`: got shape {labels.shape}.")
    for row, label in enumerate(labels.tolist()):
        if label is None or label != label:  # NaN is not what it is
            raise ValueError(f"`y` must hold a label for each row of `X`: got {label} in row {row}.")
    check_classification_targets(labels)
    try:
        classes, numbers = np.unique(labels, return_inverse=True)
    except TypeError:
        raise ValueError("`y` must hold labels of one type: got several.") from None
    if len(classes) < 2:
        raise ValueError(f"`y` must hold at least two classes: got {len(classes)}.")
    return classes, numbers.tolist()
