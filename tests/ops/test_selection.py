"""One key of many: the best, or one that is drawn; and the random numbers that draw."""

import math

import pytest
import torch

import heedful
from heedful.ops import _random
from heedful.ops.normalizers import softmax1

N, M = 5, 7
WEIGHTS = torch.rand(3, N, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).square()
WEIGHTS = (WEIGHTS * (WEIGHTS > 0.05)) / 4
WEIGHTS[0, 2] = 0


def test_soft_is_nothing():
    assert heedful.Soft().apply(WEIGHTS) is WEIGHTS


def test_hard_takes_the_first_of_the_best():
    weights = torch.tensor([[0.1, 0.4, 0.4, 0.1], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    want = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert torch.equal(heedful.Hard().apply(weights), want)


@pytest.mark.parametrize("select", [heedful.Hard(), heedful.Sampled()])
def test_the_gradient_goes_straight_through(select):
    weights = (WEIGHTS * 0.7).requires_grad_()
    uniform = _random.uniform(3, (3,), torch.arange(N))
    got = select.apply(weights, uniform)
    assert set(got.unique().tolist()) == {0.0, 1.0}
    grad = torch.randn(3, N, M, dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(got, weights, grad)[0], grad)


def test_a_drawn_key_is_where_the_sum_passes_the_number():
    weights = torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]])
    marks = {0.0: 0, 0.2499: 0, 0.25: 2, 0.7499: 2, 0.75: 3, 1 - 2**-53: 3}
    for mark, place in marks.items():
        for scale in (1, 3, 1 - 2**-23):
            got = heedful.Sampled().apply(weights * scale, torch.tensor([[mark]], dtype=torch.float64))
            if scale == 1 or mark not in (0.25, 0.75):
                assert got.argmax() == place, (mark, scale)
                assert got.sum() == 1


def test_what_is_missing_to_1_draws_nothing():
    weights = torch.tensor([[0.25, 0.25], [0.0, 0.0]])
    drawn = [heedful.Sampled().apply(weights, torch.full((2, 1), mark)) for mark in (0.0, 0.3, 0.6)]
    assert [d[0].tolist() for d in drawn] == [[1, 0], [0, 1], [0, 0]]
    assert all(d[1].tolist() == [0, 0] for d in drawn)


def test_keys_are_drawn_as_often_as_their_weights_say():
    weights = torch.tensor([0.5, 0.0, 0.2, 0.05])
    draws = 100_000
    uniform = _random.uniform(11, (1,), torch.arange(draws))
    drawn = heedful.Sampled().apply(weights.expand(1, draws, 4), uniform).mean(-2)[0]
    assert drawn[1] == 0
    assert ((drawn - weights).abs() <= 4 * (weights * (1 - weights) / draws).sqrt()).all()


def test_the_logarithm_of_the_probability():
    select = heedful.Sampled(gradient="score-function")
    scores = torch.randn(3, N, M, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = softmax1(scores, WEIGHTS > 0)
    drawn = select.apply(weights, _random.uniform(2, (3,), torch.arange(N)))
    assert not drawn.requires_grad
    got = select.log_probability(weights, drawn)
    rest = 1 - weights.sum(-1)
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(N)).tolist():
        p, d = weights[tuple(place)], drawn[tuple(place)]
        want = p[d > 0].log().sum() if d.sum() else rest[tuple(place)].log()
        torch.testing.assert_close(got[tuple(place)], want)
    assert 0 < drawn.sum() < 3 * N - 1  # some rows draw, some do not
    assert got[0, 2] == 0
    [gradient] = torch.autograd.grad(got.sum(), scores)
    assert gradient.isfinite().all()
    assert torch.equal(gradient[0, 2], torch.zeros(M, dtype=torch.float64))


def test_the_expected_score_function_is_0():
    """sum_j p_j d log p_j = 0, of what may be drawn and of nothing together."""
    select, p = heedful.Sampled(gradient="score-function"), torch.tensor([[0.2, 0.5]], dtype=torch.float64)
    total = torch.zeros_like(p)
    for drawn, chance in (([1.0, 0.0], 0.2), ([0.0, 1.0], 0.5), ([0.0, 0.0], 0.3)):
        weights = p.clone().requires_grad_()
        log = select.log_probability(weights, torch.tensor([drawn], dtype=torch.float64))
        assert log.item() == pytest.approx(math.log(chance))
        total += chance * torch.autograd.grad(log.sum(), weights)[0]
    torch.testing.assert_close(total, torch.zeros_like(p))


def test_weights_above_1_are_shares():
    select, weights = heedful.Sampled(), torch.tensor([[3.0, 1.0]], requires_grad=True)
    drawn = select.apply(weights, torch.tensor([[0.7]]))
    assert drawn.tolist() == [[1, 0]]
    log = select.log_probability(weights, drawn)
    assert log.item() == pytest.approx(math.log(0.75))
    torch.testing.assert_close(torch.autograd.grad(log.sum(), weights)[0], torch.tensor([[1 / 3 - 1 / 4, -1 / 4]]))


def test_a_batch_is_one_by_one():
    uniform = _random.uniform(5, (3,), torch.arange(N))
    for select in (heedful.Hard(), heedful.Sampled()):
        want = torch.stack([select.apply(w, u) for w, u in zip(WEIGHTS, uniform, strict=True)])
        assert torch.equal(torch.vmap(select.apply)(WEIGHTS, uniform), want)
        assert torch.equal(select.apply(WEIGHTS, uniform), want)


def test_a_draw_needs_numbers():
    with pytest.raises(ValueError, match=r"`uniform` must be a number in \[0, 1\) for each row: got None."):
        heedful.Sampled().apply(WEIGHTS)


# The random numbers


LEAD, ROWS, COLUMNS = (2, 3), torch.arange(257), torch.arange(263)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_should_be(p):
    kept = _random.keep_mask(7, LEAD, ROWS, COLUMNS, p).double()
    assert kept.shape == (*LEAD, len(ROWS), len(COLUMNS))
    deviation = (p * (1 - p)) ** 0.5
    for axes in ((0, 1, 2, 3), (0, 1, 3), (0, 1, 2), (2, 3)):
        means = kept.mean(axes)
        error = deviation / (kept.numel() / max(means.numel(), 1)) ** 0.5
        assert ((means - (1 - p)).abs() < 5 * error).all(), axes
        if means.numel() > 100:  # no more even than chance, and no less
            assert 0.7 < means.std() / error < 1.3, axes


def test_neighbors_know_nothing_of_each_other():
    p = 0.3
    kept = (_random.keep_mask(7, LEAD, ROWS, COLUMNS, p).double() - (1 - p)) / (p * (1 - p)) ** 0.5
    other = (_random.keep_mask(8, LEAD, ROWS, COLUMNS, p).double() - (1 - p)) / (p * (1 - p)) ** 0.5
    pairs = {
        "row": (kept[:, :, 1:], kept[:, :, :-1]),
        "column": (kept[..., 1:], kept[..., :-1]),
        "diagonal": (kept[:, :, 1:, 1:], kept[:, :, :-1, :-1]),
        "head": (kept[:, 1:], kept[:, :-1]),
        "batch": (kept[1:], kept[:-1]),
        "seed": (kept, other),
        "transposed": (kept[..., :200, :200], kept[..., :200, :200].mT),
        "two rows and columns": (
            kept[:, :, 1:, 1:] * kept[:, :, :-1, :-1],
            kept[:, :, 1:, :-1] * kept[:, :, :-1, 1:],
        ),
    }
    for name, (a, b) in pairs.items():
        assert (a * b).mean().abs() < 6 / a.numel() ** 0.5, name


def test_a_tile_is_drawn_as_in_the_whole():
    whole = _random.keep_mask(-3, LEAD, ROWS, COLUMNS, 0.4)
    rows, columns = torch.tensor([250, 3, 4]), torch.arange(31, 200, 7)
    assert torch.equal(_random.keep_mask(-3, LEAD, rows, columns, 0.4), whole[:, :, rows[:, None], columns])
    flat = whole.flatten(0, 1)
    assert torch.equal(_random.keep_mask(-3, LEAD, ROWS, COLUMNS, 0.4, heads=slice(1, 4)), flat[1:4])
    numbers = _random.uniform(-3, LEAD, ROWS)
    assert torch.equal(_random.uniform(-3, LEAD, rows), numbers[:, :, rows])
    assert torch.equal(_random.uniform(-3, LEAD, ROWS, heads=slice(1, 4)), numbers.flatten(0, 1)[1:4])


def test_all_or_nothing():
    assert _random.keep_mask(1, LEAD, ROWS, COLUMNS, 0.0).all()
    assert not _random.keep_mask(1, LEAD, ROWS, COLUMNS, 1.0).any()


def test_numbers_of_rows_are_uniform():
    numbers = _random.uniform(2**63 + 5, LEAD, torch.arange(4096))
    assert numbers.dtype == torch.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    flat = numbers.flatten()
    assert abs(flat.mean().item() - 0.5) < 5 * (1 / 12 / len(flat)) ** 0.5
    assert abs(flat.var().item() - 1 / 12) < 5 * (1 / 180 / len(flat)) ** 0.5
    counts = torch.histc(flat, 64, 0, 1)
    chi = ((counts - len(flat) / 64) ** 2 / (len(flat) / 64)).sum()
    assert 63 - 5 * 126**0.5 < chi < 63 + 5 * 126**0.5
    a = flat - 0.5
    for step in (1, 2, 4096):
        assert (a[step:] * a[:-step]).mean().abs() * 12 < 5 / len(flat) ** 0.5
