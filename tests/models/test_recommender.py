"""The recommender and its losses, beside naive twins."""

import math

import pytest
import torch
import torch.nn.functional as F

from heedful.models.encoders import attention_pattern, build_encoder
from heedful.models.recommender import (
    HistoryBatch,
    Negatives,
    Recommender,
    TimeBias,
    binary_loss,
    draw_negatives,
    gbce_beta,
    sampled_softmax_loss,
    softmax_loss,
)
from heedful.ops import Causal, attention

ITEMS, WIDTH, COUNT = 11, 6, 7


@pytest.fixture
def given():
    torch.manual_seed(0)
    x, weight = torch.randn(COUNT, WIDTH, dtype=torch.float64), torch.randn(ITEMS, WIDTH, dtype=torch.float64)
    return x, weight, torch.randint(ITEMS, (COUNT,)), torch.rand(COUNT, dtype=torch.float64) + 0.5


def model(**more):
    torch.manual_seed(0)
    built = build_encoder(width=8, heads=2, layers=2, ffn_width=12, positions="learned", max_positions=9)
    return Recommender(ITEMS, built.layers, positions=built.positions, **more).eval()


@pytest.mark.parametrize("time_bias", [False, True])
def test_padding_and_the_future_change_nothing(time_bias):
    net = model(time_bias=time_bias)
    if time_bias:
        torch.nn.init.normal_(net.time_table)
    items, times = torch.tensor([[3, 1, 4, 0, 0], [5, 9, 2, 6, 7]]), torch.tensor([[0.0, 1, 5, 0, 0], [0, 2, 3, 9, 11]])
    scores = net(HistoryBatch(items, torch.tensor([3, 5]), times))
    alone = net(HistoryBatch(items[:1, :3], torch.tensor([3]), times[:1, :3]))
    torch.testing.assert_close(scores[:1], alone)
    features = net.features(HistoryBatch(items, torch.tensor([3, 5]), times))
    torch.testing.assert_close(
        features[1:, :3], net.features(HistoryBatch(items[1:, :3], torch.tensor([3]), times[1:, :3]))
    )
    assert scores.shape == (2, ITEMS)
    torch.testing.assert_close(scores[1], net.embedding.weight[1:] @ features[1, 4])


def test_a_window_of_earlier_items():
    net = model(pattern=attention_pattern(1, causal=True))
    items = torch.tensor([[3, 1, 4, 2]])
    other = torch.tensor([[5, 1, 4, 2]])
    lengths = torch.tensor([4])
    torch.testing.assert_close(net(HistoryBatch(items, lengths)), net(HistoryBatch(other, lengths)))


def test_the_bias_of_times_is_the_naive_one_and_learns():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64).unbind()
    times = torch.rand(2, 5, dtype=torch.float64).cumsum(1) * 7
    table = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    out = attention(query, key, value, pattern=Causal(), bias=TimeBias(table, times))
    bias = torch.zeros(2, 2, 5, 5, dtype=torch.float64)
    for b in range(2):
        for i in range(5):
            for j in range(5):
                bucket = min(int(2 * math.log2(1 + max(float(times[b, i] - times[b, j]), 0))), 5)
                bias[b, :, i, j] = table[:, bucket]
    visible = torch.ones(5, 5, dtype=torch.bool).tril()
    scores = (query @ key.mT / 2 + bias).masked_fill(~visible, -torch.inf)
    expected = scores.softmax(-1) @ value
    torch.testing.assert_close(out, expected)
    (grad,) = torch.autograd.grad(out.square().sum(), table, retain_graph=True)
    (naive,) = torch.autograd.grad(expected.square().sum(), table)
    torch.testing.assert_close(grad, naive)
    with pytest.raises(
        ValueError, match=r"^`times` must be \[2, 5\] and `table` \[2, K\]: got \[2, 4\] and \[2, 6\]\.$"
    ):
        attention(query, key, value, pattern=Causal(), bias=TimeBias(table, times[:, 1:]))
    with pytest.raises(ValueError, match="`times` must be given"):
        model(time_bias=True)(HistoryBatch(torch.ones(1, 1, dtype=torch.long), torch.tensor([1])))


def test_softmax_over_all_items(given):
    x, weight, targets, weights = given
    each = F.cross_entropy(x @ weight.T, targets, reduction="none")
    torch.testing.assert_close(softmax_loss(x, weight, targets), each.sum())
    torch.testing.assert_close(softmax_loss(x, weight, targets, weights), (each * weights).sum())


@pytest.mark.parametrize("log_q", [True, False])
def test_sampled_softmax_is_the_naive_one(given, log_q):
    x, weight, targets, weights = given
    negatives = Negatives(torch.tensor([0, 3, 3, 5]), torch.tensor([0.1, 0.5, 0.5, 2.0], dtype=torch.float64).log())
    expected = 0.0
    for row in range(COUNT):
        right = float(x[row] @ weight[targets[row]])
        total = math.exp(right)
        for item, log in zip(negatives.items.tolist(), negatives.log_expected.tolist(), strict=True):
            if item != targets[row]:
                total += math.exp(float(x[row] @ weight[item]) - (log if log_q else 0.0))
        expected += float(weights[row]) * (math.log(total) - right)
    found = sampled_softmax_loss(x, weight, targets, negatives, log_q=log_q, weights=weights)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_with_the_correction_many_drawn_items_estimate_all_of_them(given):
    x, weight, targets, _ = given
    torch.manual_seed(0)
    chances = torch.arange(1.0, ITEMS + 1).double()
    for probabilities in (None, chances / chances.sum()):
        negatives = draw_negatives(200_000, ITEMS, probabilities, x.device)
        found = sampled_softmax_loss(x, weight, targets, negatives)
        assert float(found) == pytest.approx(float(softmax_loss(x, weight, targets)), rel=0.01)


def test_drawn_items_that_are_all_the_target_give_no_loss_and_finite_gradients(given):
    x, weight, _, _ = given
    x = x[:1].clone().requires_grad_()
    loss = sampled_softmax_loss(x, weight, torch.tensor([2]), Negatives(torch.tensor([2]), torch.zeros(1).double()))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("shared", [True, False])
def test_binary_losses_are_the_naive_ones(given, shared):
    x, weight, targets, weights = given
    negatives = torch.randint(ITEMS, (4,) if shared else (COUNT, 4))
    beta, expected = 0.3, 0.0
    for row in range(COUNT):
        own = negatives if shared else negatives[row]
        one = -beta * math.log(1 / (1 + math.exp(-float(x[row] @ weight[targets[row]]))))
        one -= sum(
            math.log(1 - 1 / (1 + math.exp(-float(x[row] @ weight[item])))) for item in own if item != targets[row]
        )
        expected += float(weights[row]) * one
    assert float(binary_loss(x, weight, targets, negatives, beta=beta, weights=weights)) == pytest.approx(
        expected, rel=1e-12
    )


def test_beta_where_all_items_are_drawn():
    assert gbce_beta(10, 11, 1.0) == gbce_beta(10, 11, 0.3) == 1.0
