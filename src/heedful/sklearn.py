"""Classifiers, regressors and a smoother for scikit-learn: in `cross_val_score`, `GridSearchCV`, a `Pipeline`.

Trained models are pickled as safetensors.

Example:
    >>> from heedful.sklearn import TextClassifier
    >>> texts, labels = ["a fine film", "a dull film"] * 20, ["good", "bad"] * 20
    >>> model = TextClassifier(settings={"training.epochs": 4, "training.learning_rate": 0.02}).fit(texts, labels)
    >>> model.predict(["a fine one", "a dull one"]).tolist()
    ['good', 'bad']
"""

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, OneToOneFeatureMixin, RegressorMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from heedful.smoothing import smooth
from heedful.tasks.run import train

__all__ = ["ImageClassifier", "ImageRegressor", "Smoother", "TextClassifier", "TextRegressor"]


class _Estimator(BaseEstimator):
    _task: str

    def __init__(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.settings, self.random_state, self.verbose = settings, random_state, verbose

    def _train(self, inputs: Any, cells: Any, target: str) -> None:
        if not isinstance(self.settings, Mapping | None):
            raise TypeError(f"`settings` must be a mapping of names to values: got {self.settings!r}.")
        settings = {**(self.settings or {}), "data.target": target}
        if self.random_state is not None:
            seed = self.random_state
            settings["training.seed"] = int(
                seed if isinstance(seed, Integral) else check_random_state(seed).randint(2**31)
            )
        self.model_ = train(self._task, (inputs, cells), settings=settings, progress=self.verbose)

    def _values(self, X: Any) -> NDArray[np.float64]:
        """Probabilities or numbers, `[inputs, outputs]`."""
        check_is_fitted(self)
        inputs, task = self._inputs(X), cast(Any, self.model_.task)
        if not len(inputs):
            return np.zeros([0, task.target.outputs])
        values: NDArray[np.float64] = task.target.values(self._outputs(inputs)).double().numpy()
        return values

    def _inputs(self, X: Any) -> Any:
        raise NotImplementedError

    def _outputs(self, inputs: Any) -> Any:
        raise NotImplementedError


class _Classifier(ClassifierMixin, _Estimator):
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Trains on inputs and their labels: one a row; or of several labels an array of 0 and 1, `[rows, labels]`."""
        inputs = self._inputs(X)
        self.multilabel_ = np.ndim(y) == 2 and type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            there = _indicator(y, len(inputs))
            self.classes_ = np.arange(there.shape[1])
            names = _names(range(there.shape[1]))
            self._train(inputs, [[names[i] for i in row.nonzero()[0]] for row in there], "labels")
            self._known = [int(name) for name in self.model_.task.vocabulary["classes"]]
            return self
        self.classes_, numbers = _classes(y, len(inputs))
        # The task knows classes by names; numbers with as many digits sort as the classes do.
        names = _names(range(len(self.classes_)))
        self._train(inputs, [names[number] for number in numbers], "label")
        self.classes_ = self.classes_[[int(name) for name in self.model_.task.vocabulary["classes"]]]
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class, or of each label, `[inputs, classes]`."""
        shares = self._values(X)
        if not self.multilabel_:
            shares /= shares.sum(1, keepdims=True)
            return shares
        probabilities = np.zeros((len(shares), len(self.classes_)))  # of a label that the training did not have 0
        probabilities[:, self._known] = shares
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each input; of several labels an array of 0 and 1."""
        probabilities = self.predict_proba(X)
        if self.multilabel_:
            thresholds = np.full(len(self.classes_), np.inf)
            thresholds[self._known] = self.model_.task.target.thresholds  # type: ignore[attr-defined]
            there: NDArray[Any] = (probabilities >= thresholds).astype(int)
            return there
        labels: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return labels


class _Regressor(RegressorMixin, _Estimator):
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Trains on inputs and their numbers."""
        inputs = self._inputs(X)
        if y is None:
            raise ValueError("`y` must be the numbers: requires y to be passed, but the target y is None.")
        numbers = np.asarray(y)
        if numbers.shape != (len(inputs),):
            raise ValueError(
                f"`y` must be one number for each of {len(inputs)} rows of `X`: got shape {numbers.shape}."
            )
        if numbers.dtype.kind not in "uifb" or not np.isfinite(numbers).all():
            raise ValueError("`y` must hold numbers: got NaN, infinity or no numbers.")
        self._train(inputs, numbers.astype(float).tolist(), "number")
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number of each input."""
        numbers: NDArray[np.float64] = self._values(X)[:, 0]
        return numbers


class _Texts(_Estimator):
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

    def _outputs(self, inputs: list[str]) -> Any:
        return self.model_.task.outputs(self.model_.model, inputs)  # type: ignore[attr-defined]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.input_tags.one_d_array = False, True, True
        return tags


class TextClassifier(_Classifier, _Texts):
    """A text classifier: a Transformer encoder with attention pooling, the task `classify`.

    `X` holds texts: a list, an array, a column of a data frame. A tenth of them is held out, to choose the best epoch and to
    calibrate the probabilities. `y` holds a label for each, or is an array of 0 and 1, `[texts, labels]`.

    Args:
        settings: those that differ from the defaults, as `heedful show classify` lists them: `{"model.layers": 2}`.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order; of an array of 0 and 1 the numbers of its columns.
        multilabel_: whether there is any number of labels a text.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """


class TextRegressor(_Regressor, _Texts):
    """Predicts a number for a text: the task `classify` with `data.target=number`.

    `X` holds texts, as for `TextClassifier`, and `y` numbers.

    Args:
        settings: those that differ from the defaults, as `heedful show classify` lists them.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.

    Example:
        >>> texts = ["one day", "two days", "three days", "four days"] * 10
        >>> settings = {"training.epochs": 2, "model.ensemble_size": 1}
        >>> TextRegressor(settings=settings).fit(texts, [1.0, 2.0, 3.0, 4.0] * 10).predict(["five days"]).shape
        (1,)
    """


class _Images(_Estimator):
    _task = "classify-image"

    def _train(self, inputs: Any, cells: Any, target: str) -> None:
        super()._train(inputs, cells, target)
        self.image_size_ = inputs.shape[1:3]

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

    def _outputs(self, inputs: NDArray[np.uint8]) -> Any:
        size = inputs.shape[1:3]
        if size != self.image_size_:
            raise ValueError(
                f"`X` must be images of shape {self.image_size_}, height and width, as in `fit`: got {size}."
            )
        task: Any = self.model_.task
        return task.outputs(self.model_.model, task.images(list(inputs)).images)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


class ImageClassifier(_Classifier, _Images):
    """An image classifier: a Vision Transformer, the task `classify-image`.

    `X` holds images `[count, height, width]` or `[count, height, width, 3]`, numbers from 0 to 255, of one size. A tenth of them is
    held out, to choose the best epoch and to calibrate the probabilities. `y` is as for `TextClassifier`.

    Args:
        settings: those that differ from the defaults, as `heedful show classify-image` lists them.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        classes_: the labels, in order; of an array of 0 and 1 the numbers of its columns.
        multilabel_: whether there is any number of labels an image.
        image_size_: height and width of an image.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """


class ImageRegressor(_Regressor, _Images):
    """Predicts a number for an image: the task `classify-image` with `data.target=number`.

    `X` holds images, as for `ImageClassifier`, and `y` numbers.

    Args:
        settings: those that differ from the defaults, as `heedful show classify-image` lists them.
        random_state: the seed of the training, or a generator to draw it from; None: the one of the settings.
        verbose: whether to print a line an epoch.

    Attributes:
        image_size_: height and width of an image.
        model_: the trained model, with `inspect`, `predict` and `evaluate` of its own.
    """


class Smoother(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Smooths the columns of a series by self-similarity: `heedful.smooth` as a transformer. Rows are in the order of time.

    `fit` estimates the noise and chooses settings, `transform` smooths any series of as many columns by them. NaN is missing, and filled.

    Args:
        strength: as of `heedful.smooth`.
        length: likewise.
        window: likewise.
        decay: likewise.
        stages: 1 or 2.
        online: whether each value is made of itself and earlier ones only.
        random_state: the seed by which the expected error is estimated.

    Attributes:
        settings_: those that were chosen or set.
        noise_: the standard deviation of the noise of each column.
        n_features_in_: how many columns there are.

    Example:
        >>> X = np.sin(np.arange(200.0) / 20)[:, None] + 0.1 * np.random.default_rng(0).standard_normal((200, 1))
        >>> Smoother().fit_transform(X).shape
        (200, 1)
    """

    def __init__(
        self,
        *,
        strength: Any = "auto",
        length: Any = "auto",
        window: Any = "auto",
        decay: Any = "auto",
        stages: Any = 2,
        online: bool = False,
        random_state: int = 0,
    ) -> None:
        self.strength, self.length, self.window, self.decay = strength, length, window, decay
        self.stages, self.online, self.random_state = stages, online, random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Estimates the noise of each column, and chooses settings."""
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan")
        found = smooth(
            X, strength=self.strength, length=self.length, window=self.window, decay=self.decay, stages=self.stages,
            online=self.online, seed=self.random_state,
        )  # fmt: skip
        self.settings_, self.noise_ = found.settings, found.noise
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """The smoothed series, `[rows, columns]`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return smooth(X, online=self.online, noise=self.noise_, settings=self.settings_).values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _names(numbers: Iterable[int]) -> list[str]:
    """Numbers as texts of one length."""
    numbers = list(numbers)
    return [f"{number:0{len(str(len(numbers)))}}" for number in numbers]


def _indicator(y: ArrayLike, rows: int) -> NDArray[Any]:
    """Which labels there are, `[rows, labels]`."""
    there = np.asarray(y)
    if len(there) != rows:
        raise ValueError(f"`y` must have a row for each of {rows} rows of `X`: got shape {there.shape}.")
    return there


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
