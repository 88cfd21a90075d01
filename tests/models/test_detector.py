"""The detector: shapes, groups of queries that do not see each other, attention near a box, losses that can be overfitted."""

import math

import pytest
import torch

import heedful
from heedful.models.boxes import IGNORED, PADDING, BoxTargets, iou, to_centers
from heedful.models.detector import Detector
from heedful.models.detector_losses import LossWeights, detection_loss

SMALL = {
    "channels": 3,
    "classes": 2,
    "stages": (8, 8, 8, 16),
    "blocks": (1, 1, 1, 1),
    "width": 16,
    "heads": 2,
    "ffn_width": 16,
}


@pytest.fixture
def targets():
    corners = torch.tensor([[[0.1, 0.1, 0.5, 0.6], [0.5, 0.5, 0.9, 0.9]], [[0.2, 0.4, 0.8, 0.9], [0.0, 0.0, 0.0, 0.0]]])
    return BoxTargets(corners, torch.tensor([[0, 1], [1, PADDING]]))


@pytest.fixture
def images(targets):
    """Boxes in a color for each class."""
    pixels = torch.zeros(2, 3, 40, 56)
    for row, (boxes, labels) in enumerate(zip(*targets, strict=True)):
        for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            pixels[row, label, round(40 * y0) : round(40 * y1), round(56 * x0) : round(56 * x1)] = 1
    return pixels


@pytest.mark.parametrize("size", [(8, 8), (33, 47), (40, 56)])
def test_any_size(size):
    found = Detector(**SMALL, head="set", queries=9, layers=2).eval()(torch.zeros(1, 3, *size, dtype=torch.uint8))
    h, w = (math.ceil(side / 8) for side in size)
    assert found.heat.shape == (1, 2, h, w)
    assert [layer.corners.shape for layer in found.layers] == [(1, min(9, h * w), 4)] * 2


def test_both_heads_are_overfitted(images, targets):
    torch.manual_seed(0)
    model = Detector(**SMALL, head="set", queries=10, layers=2, repeated=10, denoised=2)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(45):
        loss = detection_loss(model(images, targets), targets, LossWeights(), 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.eval()(images)
    best = found.layers[-1].scores.flatten(1).argmax(1)
    for row, index in enumerate(best.tolist()):
        query, label = divmod(index, 2)
        overlap = iou(found.layers[-1].corners[row, query], targets.corners[row])
        assert overlap.max() > 0.6
        assert targets.labels[row, overlap.argmax()] == label
    peaks = found.heat.flatten(1).argmax(1)
    assert {divmod(int(peak), 35)[0] for peak in peaks} <= {0, 1}
    assert found.heat.max().sigmoid() > 0.5


def test_queries_of_training_do_not_change_those_of_predicting(images, targets):
    model = Detector(**SMALL, head="set", queries=10, layers=2, repeated=8, denoised=2).eval()
    plain, found = model(images), model(images, targets)
    assert found.groups == (10, 8, 2)
    assert found.layers[-1].scores.shape == (2, 10 + 8 + 2 * 2, 2)
    torch.testing.assert_close(found.layers[-1].scores[:, :10], plain.layers[-1].scores, atol=1e-5, rtol=1e-5)
    assert plain.layers[-1].scores.shape == (2, 10, 2)


def test_queries_look_at_the_features_around_their_box(images):
    """Beside weights whose Gaussian is computed by itself, in float64."""
    model = Detector(**SMALL, head="set", queries=5, layers=1).eval()
    layer, features = model.set.layers[0], torch.randn(1, 16, 5, 7)
    boxes = torch.tensor([[[0.3, 0.4, 0.2, 0.3], [0.8, 0.7, 0.3, 0.2]]])
    x = torch.randn(1, 2, 16)
    with heedful.watch(layer) as recording, torch.no_grad():
        layer(x, torch.zeros_like(x), features.flatten(2).mT, boxes, (5, 7), None)
    bias = recording[1].matrix.bias
    shape = (1, 2, 2, 35)
    found = bias.at(torch.arange(2)[:, None], torch.arange(35)[None], shape).double()
    with torch.no_grad():
        normed = layer.features_norm(x + layer.among(*[layer.among_norm(x)] * 3))
        offset, spread = layer.where(normed).unflatten(-1, (2, 4)).transpose(1, 2).double().split(2, -1)
    size = boxes[:, None, :, 2:].double().maximum(torch.tensor([1 / 7, 1 / 5]))
    center = boxes[:, None, :, :2] + offset * size
    keys = torch.tensor([[(x + 0.5) / 7, (y + 0.5) / 5] for y in range(5) for x in range(7)], dtype=torch.float64)
    expected = -(((keys - center[..., None, :]) / (spread.exp() * size)[..., None, :]) ** 2).sum(-1) / 2
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), atol=1e-5, rtol=1e-4)
    assert recording[1].kind == "cross"


def test_ignored_boxes_and_pictures_without_boxes(images, targets):
    model = Detector(**SMALL, head="set", queries=5, layers=1, repeated=5, denoised=1)
    empty = BoxTargets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64))
    ignored = targets._replace(labels=torch.full_like(targets.labels, IGNORED))
    losses = [detection_loss(model(images, one), one, LossWeights(), 2) for one in (empty, ignored)]
    for loss in losses:
        loss.backward()
        assert bool(loss.isfinite())
    assert losses[1] < losses[0]  # what is found there is not wrong
    assert to_centers(targets.corners)[1, 0].tolist() == pytest.approx([0.5, 0.65, 0.6, 0.5])


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^`stages` and `blocks` must have four numbers each: got 3 and 4\.$"):
        Detector(**SMALL | {"stages": (8, 8, 8)})
    with pytest.raises(ValueError, match=r"^`blocks` must be at least 1 each: got \[1, 0, 1, 1\]\.$"):
        Detector(**SMALL | {"blocks": (1, 0, 1, 1)})
