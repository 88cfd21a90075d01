"""What a sensible person would try first, fitted on the same data in the same run."""

import warnings

import torch.nn.functional as F
from torch import Tensor

from heedful.data import Pictures

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
