import math

import pytest
import torch

from heedful import nn


def test_the_formula():
    table = nn.sinusoidal(torch.arange(7.0), 10)
    for position in range(7):
        for i in range(5):
            angle = position / 10_000 ** (2 * i / 10)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_far_positions_keep_their_precision():
    far = nn.sinusoidal(torch.tensor([100_000.0]), 4)[0]
    assert far[0].item() == pytest.approx(math.sin(100_000), abs=1e-6)


def test_a_grid_has_its_row_in_the_first_half_and_its_column_in_the_second():
    table = nn.SinusoidalPositions(8)(torch.zeros(1, 3, 5, 8))[0]
    assert torch.equal(table[1, 2, :4], nn.sinusoidal(torch.tensor(1.0), 4))
    assert torch.equal(table[1, 2, 4:], nn.sinusoidal(torch.tensor(2.0), 4))


def test_learned_positions_on_smaller_inputs():
    layer = nn.LearnedPositions((3, 5), 4)
    assert torch.equal(layer(torch.zeros(2, 2, 4, 4))[1], layer.table[:2, :4])
    line = nn.LearnedPositions(5, 4)
    assert torch.equal(line(torch.zeros(2, 3, 4))[0], line.table[:3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.SinusoidalPositions(7), "`width` must be a positive multiple of 2: got 7"),
        (
            lambda: nn.SinusoidalPositions(6)(torch.zeros(1, 3, 5, 6)),
            "`width` must be a positive multiple of 4: got 6",
        ),
        (lambda: nn.LearnedPositions(5, 4)(torch.zeros(1, 6, 4)), r"at most \[5\] positions, .*: got \[6\]"),
        (lambda: nn.LearnedPositions((3, 5), 4)(torch.zeros(1, 3, 4)), r"at most \[3, 5\] positions, .*: got \[3\]"),
        (lambda: nn.LearnedPositions(0, 4), "must be positive: got 0"),
        (lambda: nn.LearnedPositions(3, 4)(torch.zeros(3, 4)), r"`x` must be \[batch, positions, width\] or"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
