"""How good maps of classes are: one confusion matrix over all pixels, and simple methods to compare with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.data._mask_values import VOID
from heedful.data.masks import SegmentedImages, nearest
from heedful.tasks.contract import Metric, Scores

Map = NDArray[np.uint8]
_MOST_CONFUSIONS = 200
_GRID = 128  # the largest side of a place prior
_THUMB = (12, 16)  # a picture as nearest ones are looked for
_SAMPLED, _PREDICTED = 60_000, 20_000  # pixels that trees are fitted on; pixels of a picture that they are asked of
_TREES = 60


def confusion(found: Map, truth: Map, classes: int) -> NDArray[np.int64]:
    """How many pixels of each class (rows) were predicted as which (columns), `[classes, classes]`; those without a class do not count."""
    known = (truth != VOID) & (found != VOID)
    pairs = truth[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def overlaps(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union of each class."""
    right = counts.diagonal()
    return right, counts.sum(0) + counts.sum(1) - right


def mean_iou(counts: NDArray[np.int64]) -> float:
    """The mean intersection over union of the classes that occur or are predicted."""
    right, union = overlaps(counts)
    return float((right[union > 0] / union[union > 0]).mean()) if union.any() else 0.0


def scores_of(counts: NDArray[np.int64], classes: Sequence[str]) -> Scores:
    """The metrics of a confusion matrix."""
    right, union = overlaps(counts)
    there, guessed, pixels = counts.sum(1), counts.sum(0), max(int(counts.sum()), 1)
    accuracy = right[there > 0] / there[there > 0]
    metrics = {
        "mean_iou": Metric(mean_iou(counts)),
        "pixel_accuracy": Metric(int(right.sum()) / pixels),
        "mean_accuracy": Metric(float(accuracy.mean()) if len(accuracy) else 0.0),
    }
    by_class = {
        classes[i]: {
            "pixels": int(there[i]), "iou": _share(right[i], union[i]), "precision": _share(right[i], guessed[i]),
            "recall": _share(right[i], there[i]), "f1": _share(2 * right[i], there[i] + guessed[i]),
        }
        for i in np.argsort(-there, kind="stable") if union[i]
    }  # fmt: skip
    wrong: list[tuple[str, str, int]] = [
        (classes[i], classes[j], int(counts[i, j]))
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and counts[i, j]
    ]
    wrong.sort(key=lambda one: -one[2])
    return Scores(metrics, {"by_class": by_class, "confusions": wrong[:_MOST_CONFUSIONS]})


def _share(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else 0.0


def baseline_maps(training: SegmentedImages, examples: SegmentedImages) -> Mapping[str, list[Map]]:
    """What simple methods predict of each picture.

    The most frequent class of each place; the mask of the training picture of the most similar colors; and gradient boosting of trees on
    the color, the place and the texture of single pixels.
    """
    assert training.masks is not None
    return {
        "place prior": _place_prior(training, examples),
        "nearest training picture": _nearest(training, examples),
        "gradient boosting": list(_boosting(training, examples)),
    }


def _masks(training: SegmentedImages) -> Iterator[Map]:
    return (mask.numpy() for mask in training.masks or ())


def _place_prior(training: SegmentedImages, examples: SegmentedImages) -> list[Map]:
    classes, (height, width) = len(training.table.classes), map(int, np.median(training.sizes, axis=0))
    shrink = max(height / _GRID, width / _GRID, 1)
    grid = (max(round(height / shrink), 1), max(round(width / shrink), 1))
    counts = np.zeros((classes, *grid), np.int64)
    for mask in _masks(training):
        small = nearest(mask, grid)
        for number in range(classes):
            counts[number] += small == number
    prior = counts.argmax(0).astype(np.uint8)
    return [nearest(prior, size) for size in examples.sizes]


def _nearest(training: SegmentedImages, examples: SegmentedImages) -> list[Map]:
    import torch.nn.functional as F

    def thumbs(images: SegmentedImages) -> NDArray[np.float32]:
        return np.stack([F.adaptive_avg_pool2d(image.float(), _THUMB).flatten().numpy() for image in images.images])

    known, others = thumbs(training), thumbs(examples)
    nearest_rows = [int(((known - one) ** 2).sum(1).argmin()) for one in others]
    counts = sum(np.bincount(mask.ravel(), minlength=VOID + 1) for mask in _masks(training))
    commonest, masks = np.asarray(counts)[:VOID].argmax(), training.masks or ()
    found = (nearest(masks[row].numpy(), size) for row, size in zip(nearest_rows, examples.sizes, strict=True))
    return [np.where(one == VOID, commonest, one).astype(np.uint8) for one in found]


def _boosting(training: SegmentedImages, examples: SegmentedImages) -> Iterator[Map]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    random = np.random.default_rng(0)
    each = max(_SAMPLED // len(training), 1)
    features, labels = [], []
    for image, mask in zip(training.images, _masks(training), strict=True):
        rows = np.flatnonzero(mask.ravel() != VOID)
        rows = random.choice(rows, min(each, len(rows)), replace=False)
        features.append(_pixel_features(image.numpy())[rows])
        labels.append(mask.ravel()[rows])
    model = HistGradientBoostingClassifier(max_iter=_TREES, early_stopping=False, random_state=0)
    model.fit(np.concatenate(features), np.concatenate(labels))
    for image in examples.images:
        pixels, (height, width) = image.numpy(), image.shape[1:]
        step = max(int(np.ceil((height * width / _PREDICTED) ** 0.5)), 1)
        values = _pixel_features(pixels).reshape(height, width, -1)[::step, ::step]
        found = model.predict(values.reshape(-1, values.shape[-1])).astype(np.uint8).reshape(values.shape[:2])
        yield nearest(found, (height, width))


def _pixel_features(pixels: NDArray[np.uint8]) -> Any:
    """Of each pixel: color, its means and deviations nearby and farther off, and place: `[h * w, features]`."""
    from scipy.ndimage import uniform_filter

    colors = pixels.astype(np.float32) / 255
    gray = colors.mean(0)
    height, width = gray.shape
    found = [*colors]
    for side in (5, 15):
        means = [uniform_filter(color, side) for color in colors]
        square = uniform_filter(gray * gray, side) - uniform_filter(gray, side) ** 2
        found += [*means, np.sqrt(np.maximum(square, 0))]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    found += [rows / height, columns / width]
    return np.stack(found, axis=-1).reshape(height * width, -1)
