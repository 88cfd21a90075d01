"""Boxes without a network: where they mostly are, those of a similar picture, and spots of a class's colors."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from heedful.data.boxes import BoxedImages

Floats = NDArray[np.float64]
_SIDE = 12  # pixels by which pictures are compared
_LEVELS = 12  # of each channel, by which colors are told apart
_EVERY = 2  # pixels of which one is looked at
_NEAREST_MOST = 400  # boxes of a class that are grouped
_MOST = 100  # boxes of a picture


class Rough(NamedTuple):
    """Boxes of a picture in shares of its width and height, with positions of classes and scores."""

    corners: Floats
    labels: NDArray[np.int64]
    scores: Floats


def rough_boxes(training: BoxedImages, examples: BoxedImages) -> dict[str, list[Rough]]:
    """The boxes of each simple method for each of the examples."""
    own = [_shares(training, row) for row in range(len(training))]
    return {
        "mean boxes": _mean_boxes(own, len(training.classes), len(examples)),
        "boxes of the nearest picture": _nearest(training, own, examples),
        "spots of color": _spots(training, own, examples),
    }


def _shares(images: BoxedImages, row: int) -> tuple[Floats, NDArray[np.int64]]:
    assert images.boxes is not None
    boxes, (h, w) = images.boxes[row], images.sizes[row].tolist()
    counted = ~boxes.ignored
    return boxes.corners[counted].double().numpy() / [w, h, w, h], boxes.labels[counted].numpy()


def _mean_boxes(own: Sequence[tuple[Floats, NDArray[np.int64]]], classes: int, count: int) -> list[Rough]:
    """Of each class as many boxes as a picture has on average, where and as large as they mostly are (k-means)."""
    from sklearn.cluster import KMeans

    corners, labels = (np.concatenate(parts) for parts in zip(*own, strict=True))
    found: list[tuple[Floats, int, float]] = []
    for number in range(classes):
        boxes = corners[labels == number]
        if not len(boxes):
            continue
        groups = min(max(round(len(boxes) / len(own)), 1), _MOST)
        some = boxes[:: max(len(boxes) // _NEAREST_MOST, 1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer different boxes than groups
            fitted = KMeans(min(groups, len(some)), n_init=1, random_state=0).fit(some)
        shares = np.bincount(fitted.labels_, minlength=len(fitted.cluster_centers_)) / len(some)
        per_picture = len(boxes) / len(own)
        found += [
            (box, number, min(share * per_picture, 1.0))
            for box, share in zip(fitted.cluster_centers_, shares, strict=True)
        ]
    return [_rough(found)] * count


def _nearest(
    training: BoxedImages, own: Sequence[tuple[Floats, NDArray[np.int64]]], examples: BoxedImages
) -> list[Rough]:
    """The boxes of the training picture whose pixels, shrunk, differ least."""
    from sklearn.neighbors import NearestNeighbors

    known, asked = (
        np.concatenate([F.adaptive_avg_pool2d(part.float(), _SIDE).flatten(1).numpy() for part in one.images.split(64)])
        for one in (training, examples)
    )
    nearest = NearestNeighbors(n_neighbors=1).fit(known).kneighbors(asked, return_distance=False)[:, 0]
    return [Rough(own[row][0], own[row][1], np.full(len(own[row][1]), 0.5)) for row in nearest]


def _spots(
    training: BoxedImages, own: Sequence[tuple[Floats, NDArray[np.int64]]], examples: BoxedImages
) -> list[Rough]:
    """Connected pixels whose color is most frequent in boxes of a class, of a size that its boxes have."""
    from scipy import ndimage

    classes, bins = len(training.classes), _LEVELS ** training.images.shape[1]
    counts = np.ones((classes + 1, bins))  # the last one: outside of all boxes
    areas: list[list[float]] = [[] for _ in range(classes)]
    for row, (corners, labels) in enumerate(own):
        colors = _colors(training, row)
        owner = np.full(colors.shape, classes)
        order = np.argsort(-(corners[:, 2:] - corners[:, :2]).prod(1))  # small ones lie upon large ones
        for (x0, y0, x1, y1), number in zip(corners[order], labels[order], strict=True):
            areas[number].append((x1 - x0) * (y1 - y0))
            dx, dy = (x1 - x0) / 8, (y1 - y0) / 8  # corners of a box are mostly not of its object
            h, w = colors.shape
            owner[round((y0 + dy) * h) : round((y1 - dy) * h) + 1, round((x0 + dx) * w) : round((x1 - dx) * w) + 1] = (
                number
            )
        np.add.at(counts, (owner.ravel(), colors.ravel()), 1)
    shares = counts / counts.sum(0)
    bounds = [np.quantile(one, (0.05, 0.95)) if one else (1.0, 0.0) for one in areas]
    found = []
    for row in range(len(examples)):
        colors, ones = _colors(examples, row), []
        likely = shares[:, colors]  # [classes + 1, h, w]
        best = likely.argmax(0)
        for number in range(classes):
            spots, _ = ndimage.label(ndimage.binary_opening(best == number))
            for spot, place in enumerate(ndimage.find_objects(spots), start=1):
                (y0, y1), (x0, x1) = ((part.start, part.stop) for part in place)
                h, w = colors.shape
                box = np.array([x0 / w, y0 / h, x1 / w, y1 / h])
                low, high = bounds[number]
                if low / 2 <= (box[2:] - box[:2]).prod() <= high * 2:
                    score = likely[number][place][spots[place] == spot].mean()
                    ones.append((box, number, float(score)))
        found.append(_rough(ones))
    return found


def _colors(images: BoxedImages, row: int) -> NDArray[np.int64]:
    """The number of each pixel's color, [h, w]."""
    pixels = images.images[[row]][0, :, ::_EVERY, ::_EVERY].numpy().astype(np.int64) * _LEVELS // 256
    numbers: NDArray[np.int64] = np.zeros(pixels.shape[1:], np.int64)
    for channel in pixels:
        numbers = numbers * _LEVELS + channel
    return numbers


def _rough(found: list[tuple[Floats, int, float]]) -> Rough:
    best = sorted(found, key=lambda one: -one[2])[:_MOST]
    corners, labels, scores = zip(*best, strict=True) if best else ((), (), ())
    return Rough(np.array(corners).reshape(-1, 4), np.array(labels, np.int64), np.array(scores))
