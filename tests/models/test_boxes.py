"""Overlaps, suppression, targets and matching of boxes beside loops in float64."""

import itertools

import numpy as np
import pytest
import torch

from heedful.models.boxes import (
    IGNORED,
    PADDING,
    BoxTargets,
    dense_targets,
    giou,
    iou,
    matched,
    suppress,
    to_centers,
    to_corners,
)


def boxes(count, seed=0):
    random = np.random.default_rng(seed)
    low = random.uniform(0, 0.7, (count, 2))
    return torch.from_numpy(np.concatenate([low, low + random.uniform(0.02, 0.5, (count, 2))], 1))


def reference(one, other):
    """Intersection over union and its generalization of two boxes, by their sides."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    hull = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
    return width * height / union, width * height / union - (hull - union) / hull


def test_overlaps():
    one, other = boxes(6), boxes(7, 1)
    found = torch.stack([iou(one[:, None], other), giou(one[:, None], other)], -1)
    expected = [[reference(a, b) for b in other.tolist()] for a in one.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(to_corners(to_centers(one)), one)


def test_suppression():
    found, labels = boxes(40), torch.arange(40) % 2
    scores = torch.from_numpy(np.random.default_rng(3).permutation(40) / 40)
    kept = suppress(found, scores, labels, 0.3).tolist()
    expected = []
    for row in scores.argsort(descending=True).tolist():
        if all(labels[row] != labels[o] or reference(found[row], found[o])[0] <= 0.3 for o in expected):
            expected.append(row)
    assert kept == expected
    assert 5 < len(kept) < 40


def test_matching_is_the_cheapest_of_all():
    cost = torch.from_numpy(np.random.default_rng(1).uniform(size=(5, 3)))
    rows, columns = matched(cost)
    cheapest = min(
        sum(cost[row, column] for column, row in enumerate(choice)) for choice in itertools.permutations(range(5), 3)
    )
    assert float(cost[rows, columns].sum()) == pytest.approx(float(cheapest))
    rows, columns = matched(cost, repeats=2)
    assert len(rows) == 5
    assert columns.bincount().max() == 2
    assert [len(part) for part in matched(cost[:, :0])] == [0, 0]


def test_targets_of_the_dense_head():
    corners = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    wanted = dense_targets(BoxTargets(corners, torch.tensor([[0, 1, IGNORED, PADDING]])), 2, (8, 8))
    assert wanted.heat.shape == (1, 2, 8, 8)
    assert [(wanted.heat[0, label] == 1).nonzero().tolist() for label in (0, 1)] == [[[2, 2]], [[2, 2]]]
    assert wanted.heat[0, :, 4:].max() < 0.01
    assert bool((~wanted.counted[0, 0]).nonzero().tolist() == [[y, x] for y in range(4, 8) for x in range(4, 8)])
    assert wanted.cells[0].nonzero().tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    inner = [[1, 1], [1, 2], [2, 1], [2, 2]]  # cells whose middle lies in the smaller box, which they belong to
    for cell, box in zip(wanted.cells[0].nonzero().tolist(), wanted.corners, strict=True):
        torch.testing.assert_close(box, corners[0, 1 if cell in inner else 0])
    nothing = dense_targets(BoxTargets(corners[:, :0], torch.zeros(1, 0, dtype=torch.int64)), 2, (8, 8))
    assert nothing.heat.max() == 0
    assert not nothing.cells.any()
    assert nothing.counted.all()
