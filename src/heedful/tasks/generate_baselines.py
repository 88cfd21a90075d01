"""Baselines of generate-images: pictures that were there already, and what simple distributions of pixels give."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.data import LabeledImages

Pictures = tuple[NDArray[np.uint8], Tensor]  # [count, C, h, w] and the class of each
_COMPONENTS = 64  # directions in which a Gaussian varies
_FITTED = 5000  # pictures that it is fitted on


def baseline_pictures(training: LabeledImages, examples: LabeledImages) -> Mapping[str, Pictures]:
    """As many pictures as the examples, of their classes.

    - training pictures: what a perfect generator would come near to: the floor.
    - Gaussian of pixels: with the mean of each class, and their common covariance along its largest directions.
    - mean picture and noise: the mean of each class, and noise of each pixel's deviation.
    """
    assert training.labels is not None
    assert examples.labels is not None
    random, known = np.random.default_rng(0), training.labels.numpy()
    wanted = np.where(np.isin(examples.labels.numpy(), known), examples.labels.numpy(), known[0])
    rows = np.array([random.choice(np.flatnonzero(known == label)) for label in wanted])
    step = max(len(training) // _FITTED, 1)
    shape = training.images.shape[1:]
    pixels, fitted = training.images[::step].flatten(1).numpy().astype(np.float32), known[::step]
    everywhere = pixels.mean(0)
    means = {label: pixels[fitted == label].mean(0) if (fitted == label).any() else everywhere for label in set(wanted)}
    rest = pixels - np.stack([means.get(label, everywhere) for label in fitted])
    _, spread, directions = np.linalg.svd(rest, full_matrices=False)
    spread, directions = spread[:_COMPONENTS] / np.sqrt(len(rest)), directions[:_COMPONENTS]
    center = np.stack([means[label] for label in wanted])
    gaussian = center + random.standard_normal((len(wanted), len(spread))) * spread @ directions
    noisy = center + random.standard_normal(center.shape) * rest.std(0)
    found = {"Gaussian of pixels": gaussian, "mean picture and noise": noisy}
    classes = torch.from_numpy(wanted)
    made = {
        name: (values.round().clip(0, 255).astype(np.uint8).reshape(-1, *shape), classes)
        for name, values in found.items()
    }
    return {"training pictures": (training.images[rows.tolist()].numpy(), classes), **made}
